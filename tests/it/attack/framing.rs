//! Requests that are framed to be read in two ways, headers beyond measure, clients that never finish.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use super::{assert_well, shop};
use crate::fixture::{Address, Child, directory, read};

/// Everything that comes back until the server closes the connection.
fn exchange(server: Address, request: &[u8]) -> String {
    let mut stream = server.connect();
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    // A reset after the answer is as good as an end.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let repository = shop();
    let server = Child::serve(&["--source", &repository.uri()]);
    const SMUGGLED: &str = "GET /orders/dev HTTP/1.1\r\nHost: x\r\n\r\n";
    let length = SMUGGLED.len();
    for head in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked".to_owned(),
        "Transfer-Encoding: chunked\r\nContent-Length: 4".to_owned(),
        format!("Content-Length: 0\r\nContent-Length: {length}"),
        format!("Content-Length: {length}\r\nContent-Length: 0"),
        "Content-Length: 0, 5".to_owned(),
        "Content-Length: +5".to_owned(),
        "Content-Length: -1".to_owned(),
        "Content-Length: 0x10".to_owned(),
        "Content-Length: 99999999999999999999999".to_owned(),
        "Content-Length : 5".to_owned(),
        "Transfer-Encoding: xchunked".to_owned(),
        "Transfer-Encoding: chunked, identity".to_owned(),
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity".to_owned(),
        "Transfer-Encoding : chunked".to_owned(),
        "Transfer-Encoding: \x0bchunked".to_owned(),
        " Folded: header".to_owned(),
        "X: a\r\n folded".to_owned(),
        "X: a\0b".to_owned(),
        "X: a\rb".to_owned(),
        "NoColon".to_owned(),
        ": nameless".to_owned(),
        "Ho\u{7f}st: x".to_owned(),
    ] {
        for path in ["/livez", "/encrypt"] {
            let method = if path == "/encrypt" { "POST" } else { "GET" };
            let request =
                format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n{SMUGGLED}");
            let answer = exchange(*server, request.as_bytes());
            assert!(answer.starts_with("HTTP/1.1 400"), "{head:?} {path}: {answer}");
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{head:?} {path}: {answer}");
        }
    }
    assert_well(*server);
    let (_, log) = server.stop();
    assert!(!log.contains("ERROR"), "nobody has to get up for a malformed request: {log}");
}

#[test]
fn a_body_is_never_a_second_request() {
    let repository = shop();
    let server = Child::serve(&["--source", &repository.uri()]);
    const SMUGGLED: &str = "GET /orders/dev HTTP/1.1\r\nHost: x\r\n\r\n";
    for (head, body) in [
        (format!("Content-Length: {}", SMUGGLED.len()), SMUGGLED.to_owned()),
        (
            "Transfer-Encoding: chunked".to_owned(),
            format!("{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len()),
        ),
        (
            "Transfer-Encoding: chunked".to_owned(),
            format!("{:x};ext=\"{SMUGGLED}\"\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len()),
        ),
        ("Transfer-Encoding: chunked".to_owned(), format!("zz\r\n{SMUGGLED}")),
        ("Transfer-Encoding: chunked".to_owned(), format!("ffffffffffffffff1\r\n{SMUGGLED}")),
        ("Transfer-Encoding: chunked".to_owned(), format!("-1\r\n{SMUGGLED}")),
    ] {
        for line in ["GET /livez HTTP/1.1", "POST /encrypt HTTP/1.1", "POST /livez HTTP/1.1"] {
            let request = format!("{line}\r\nHost: x\r\nConnection: close\r\n{head}\r\n\r\n{body}");
            let answer = exchange(*server, request.as_bytes());
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{line} {head}: {answer}");
            assert!(!answer.contains("propertySources"), "{line} {head}: {answer}");
        }
    }
    assert_well(*server);
}

#[test]
fn odd_request_lines_are_refused() {
    let repository = shop();
    let server = Child::serve(&["--source", &repository.uri()]);
    for line in [
        "GET",
        "GET /orders/dev",
        "GET  /orders/dev  HTTP/1.1",
        "GET /orders dev HTTP/1.1",
        "GET /orders/dev HTTP/9.9",
        "GET /orders/dev HTTP/1.1 x",
        "GET orders/dev HTTP/1.1",
        "G\u{e9}T /orders/dev HTTP/1.1",
        "GET /ord\u{e9}rs/dev HTTP/1.1",
        "GET \\orders\\dev HTTP/1.1",
        "GET /orders/dev#x HTTP/1.1",
        "\0GET /orders/dev HTTP/1.1",
        "PRI * HTTP/2.0",
    ] {
        let answer =
            exchange(*server, format!("{line}\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes());
        let refused = ["HTTP/1.1 400", "HTTP/1.1 404", "HTTP/1.1 405"];
        let served = line.contains('#') && answer.starts_with("HTTP/1.1 200");
        let silent = answer.is_empty();
        assert!(
            served || silent || refused.iter().any(|status| answer.starts_with(status)),
            "{line:?}: {answer}"
        );
    }
    for host in ["", "Host: a\r\nHost: b\r\n"] {
        let request = format!("GET /livez HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
        let answer = exchange(*server, request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400"), "{host:?}: {answer}");
    }
    assert_well(*server);
}

#[test]
fn headers_of_proxies_change_nothing() {
    let repository = shop();
    let server = Child::serve(&["--source", &repository.uri()]);
    let plain = server.get("/orders/dev").expect(200);
    for (name, value) in [
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Prefix", "/evil"),
        ("Forwarded", "for=127.0.0.1;host=evil.example"),
        ("X-Original-URL", "/metrics"),
        ("X-Rewrite-URL", "/metrics"),
        ("X-HTTP-Method-Override", "DELETE"),
        ("X-HTTP-Method", "PUT"),
        ("Range", "bytes=0-3"),
        ("Range", "bytes=-1,0-,5-2"),
        ("If-Range", "\"x\""),
        ("If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("Upgrade", "h2c"),
        ("Accept-Language", "../../etc/passwd"),
    ] {
        // Of the long way as well, where nothing is remembered.
        for path in ["/orders/dev", "/orders/dev?x"] {
            let reply = server.get_with(path, &[(name, value)]);
            assert_eq!(reply.status, 200, "{name}: {}", reply.everything());
            assert_eq!(reply.body, plain.body, "{name}: {value}");
            assert!(!reply.everything().contains("evil"), "{name}");
        }
    }
    for path in ["/", "/openapi.json", "/-/environments"] {
        let reply = server.get_with(path, &[("X-Forwarded-Host", "evil.example")]).expect(200);
        assert!(!reply.everything().contains("evil"), "{path}");
    }
    assert_well(*server);
}

#[test]
fn headers_beyond_measure_cost_nothing() {
    let repository = shop();
    let server = Child::serve(&["--source", &repository.uri()]);
    let etag = server.get("/orders/dev").header("etag").expect("a tag").to_owned();
    let tags: Vec<String> = (0..1_000).map(|count| format!("W/\"{count:064x}.v1\"")).collect();
    let tags = format!("{}, {etag}", tags.join(", "));
    let types: Vec<String> = (0..1_000).map(|count| format!("text/x{count};q=0.{count}")).collect();
    let types = format!("{}, */*;q=0.1", types.join(","));
    let charsets = vec!["x-unknown"; 1_000].join(", ") + ", utf-8";
    let commas = ",".repeat(60_000);
    let weights = format!("application/json;{}", "q=0;".repeat(10_000));
    for (path, name, value, status) in [
        ("/orders/dev", "If-None-Match", tags.as_str(), 304),
        ("/orders-dev.yml", "If-None-Match", tags.as_str(), 200),
        ("/orders/dev", "If-None-Match", commas.as_str(), 200),
        ("/orders/dev", "Accept", types.as_str(), 200),
        ("/orders/dev", "Accept", commas.as_str(), 200),
        ("/orders/dev", "Accept", weights.as_str(), 406),
        ("/orders/dev/main/plain.txt", "Accept", types.as_str(), 200),
        ("/orders/dev/main/plain.txt", "Accept-Charset", charsets.as_str(), 200),
        ("/orders/dev/main/plain.txt", "If-Modified-Since", commas.as_str(), 200),
        ("/orders/dev/main/plain.txt", "If-Modified-Since", "Thu, 32 Foo 99999 99:99:99 GMT", 200),
        ("/orders/dev", "Accept", "application/json;q=NaN", 406),
        ("/orders/dev", "Accept", "application/json;q=-1, */*;q=1e400", 406),
        ("/orders/dev", "Accept", ";;;,/,*,*/,;q=", 406),
    ] {
        let begun = Instant::now();
        let reply = server.get_with(path, &[(name, value)]);
        let short: String = value.chars().take(40).collect();
        assert_eq!(reply.status, status, "{path} {name}: {short}: {}", reply.everything());
        assert!(begun.elapsed() < Duration::from_secs(1), "{name}: {:?}", begun.elapsed());
    }
    let huge = "x".repeat(300 * 1024);
    let many: String = (0..2_000).map(|count| format!("X-{count}: y\r\n")).collect();
    for head in [format!("X: {huge}"), many.trim_end().to_owned()] {
        let request =
            format!("GET /orders/dev HTTP/1.1\r\nHost: x\r\n{head}\r\nConnection: close\r\n\r\n");
        let answer = exchange(*server, request.as_bytes());
        assert!(["HTTP/1.1 431", "HTTP/1.1 400"].iter().any(|s| answer.starts_with(s)), "{answer}");
    }
    let line = format!("GET /{huge} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let answer = exchange(*server, line.as_bytes());
    assert!(
        ["HTTP/1.1 414", "HTTP/1.1 400", "HTTP/1.1 431"].iter().any(|s| answer.starts_with(s)),
        "{answer}"
    );
    let query = format!("/orders/dev?{}", "a=b&".repeat(10_000));
    server.get(&query).expect(200);
    assert!(server.resident_kib() < 200 * 1024);
    assert_well(*server);
}

#[test]
fn whoever_never_finishes_is_let_go() {
    let repository = shop();
    let server = Child::serve(&["--source", &repository.uri()]);
    let begun = Instant::now();
    let unfinished: Vec<_> = ["G", "GET /orders/dev HTTP/1.1\r\nHost: x\r\nX: ", ""]
        .map(|text| {
            let mut stream = server.connect();
            stream.write_all(text.as_bytes()).expect("sent");
            stream
        })
        .into();
    // A body that never comes keeps nobody waiting.
    for line in ["POST /encrypt HTTP/1.1", "GET /livez HTTP/1.1"] {
        let request = format!("{line}\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
        let mut stream = server.connect();
        stream.write_all(request.as_bytes()).expect("sent");
        let reply = read(&mut stream, false);
        assert!(matches!(reply.status, 200 | 404), "{}", reply.everything());
        assert!(begun.elapsed() < Duration::from_secs(2));
    }
    assert_well(*server);
    for mut stream in unfinished {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an end");
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }
    assert_well(*server);
}

#[test]
fn whoever_has_the_answer_and_goes_on_sending_is_let_go() {
    let (place, seed) = (directory(""), directory("//- orders.yml\nlimit: 1\n"));
    let path = |directory: &tempfile::TempDir| directory.path().display().to_string();
    let (data, seed) = (path(&place), path(&seed));
    let server = Child::serve(&["--source", "hosted:main", "--data", &data, "--seed", &seed]);
    // Known to the hot path.
    server.get("/orders/dev").expect(200);
    const CASES: [(&str, &str); 7] = [
        ("GET /livez", "HTTP/1.1 200"),
        ("GET /orders/dev", "HTTP/1.1 200"),
        ("GET /nope/a/b/c", "HTTP/1.1 404"),
        ("POST /encrypt", "HTTP/1.1 404"),
        ("POST /monitor", "HTTP/1.1 408"),
        ("POST /-/git/main.git/git-upload-pack", "HTTP/1.1 415"),
        ("POST /-/git/none.git/git-upload-pack", "HTTP/1.1 404"),
    ];
    let address = *server;
    std::thread::scope(|scope| {
        for (line, expected) in CASES {
            scope.spawn(move || {
                let mut stream = address.connect();
                let head = format!(
                    "{line} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                     Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n"
                );
                stream.write_all(head.as_bytes()).expect("sent");
                let started = Instant::now();
                let answer = read(&mut stream, false);
                let mut rest = Vec::new();
                // A piece now and then, so that it is never silent for long.
                stream.set_read_timeout(Some(Duration::from_millis(200))).expect("set");
                while stream.write_all(b"1\r\na\r\n").is_ok() {
                    assert!(started.elapsed() < Duration::from_secs(15), "{line} is kept");
                    match stream.read_to_end(&mut rest) {
                        Ok(_) => break,
                        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                        Err(_) => break,
                    }
                }
                let answer = answer.everything();
                assert!(answer.starts_with(&expected["HTTP/1.1 ".len()..]), "{line}: {answer}");
                assert!(rest.is_empty(), "{line}");
            });
        }
    });
    server.get("/orders/dev").expect(200);
}

#[test]
fn requests_in_a_row_are_answered_in_their_order() {
    let repository = shop();
    let server = Child::serve(&["--source", &repository.uri()]);
    let mut row = String::new();
    for path in ["/orders/dev", "/orders/nope/nope", "/orders/dev", "/livez", "/orders-dev.yml"] {
        row += &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    let statuses = |end: &str| {
        let answer = exchange(*server, format!("{row}{end}").as_bytes());
        let starts = answer.match_indices("HTTP/1.1 ");
        starts.map(|(at, _)| answer[at + 9..at + 12].to_owned()).collect::<Vec<_>>()
    };
    let close = "GET /orders/dev HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert_eq!(statuses(close), ["200", "404", "200", "200", "200", "200"]);
    // Garbage ends the connection; whoever sends it may lose answers, and gets no wrong ones.
    let cut_short = statuses("garbage\r\n\r\n");
    let whole = ["200", "404", "200", "200", "200", "400"];
    assert!(whole.iter().zip(&cut_short).all(|(one, other)| one == other), "{cut_short:?}");
    assert_well(*server);
}
