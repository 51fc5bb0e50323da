//! `POST /monitor`: the body of every git host, authentication, and limits (docs/protocol.md#15-webhooks).

use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};

use crate::fixture::{
    Address, Child, Reply, Repository, Server, command, eventually, read, settings,
};

const SECRET: &str = "canary of the hook";

fn shop() -> Repository {
    Repository::new("//- orders.yml\na: 1\n")
}

/// A call with headers, each with its line's end, and a body.
fn call(server: &Address, headers: &str, body: &[u8]) -> Reply {
    let mut request = format!(
        "POST /monitor HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend(body);
    server.send(&request)
}

fn json(server: &Address, headers: &str, body: &str) -> Reply {
    call(server, &format!("Content-Type: application/json\r\n{headers}"), body.as_bytes())
}

fn payloads() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/monitor")
}

#[test]
fn every_git_host_is_answered_as_spring_answers_it() {
    let repository = shop();
    let server = Server::start(&repository.uri());
    let cases = std::fs::read_to_string(payloads().join("cases.txt")).unwrap();
    let mut count = 0;
    for case in cases.lines().filter(|line| !line.starts_with('#')) {
        let parts: Vec<&str> = case.split('|').map(str::trim).collect();
        let (body, rest) = parts.split_first().unwrap();
        let (expected, headers) = rest.split_last().unwrap();
        let headers: String = headers
            .iter()
            .filter(|header| !header.trim().is_empty())
            .map(|header| format!("{}\r\n", header.trim()))
            .collect();
        let reply = match body.strip_prefix('=') {
            Some(form) => {
                let kind = "Content-Type: application/x-www-form-urlencoded\r\n";
                call(&server, &format!("{kind}{headers}"), form.as_bytes())
            }
            None if body.starts_with('{') => json(&server, &headers, body),
            None => {
                json(&server, &headers, &std::fs::read_to_string(payloads().join(body)).unwrap())
            }
        };
        assert_eq!((reply.status, reply.text().as_str()), (200, expected.trim()), "{case}");
        assert_eq!(reply.header("content-type"), Some("application/json"), "{case}");
        count += 1;
    }
    assert!(count >= 30, "{count}");
}

#[test]
fn what_is_no_call_is_refused() {
    let repository = shop();
    let server = Server::start(&repository.uri());
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    for (headers, body, status) in [
        ("Content-Type: application/json\r\n", "", 400),
        ("Content-Type: application/json\r\n", "{", 400),
        ("Content-Type: application/json\r\n", "[]", 400),
        ("Content-Type: application/json\r\n", "null", 400),
        ("Content-Type: application/json\r\n", "\"orders\"", 400),
        ("Content-Type: application/vnd.x+json; charset=utf-8\r\n", "{}", 200),
        (form, "", 400),
        (form, "x=y", 400),
        // GitHub's other way of sending it.
        (form, "payload=%7B%22commits%22%3A%5B%5D%7D", 400),
        ("Content-Type: text/plain\r\n", "{}", 415),
        ("", "{}", 415),
        ("", "", 400),
    ] {
        let reply = call(&server, headers, body.as_bytes());
        assert_eq!(reply.status, status, "{headers}{body}: {}", reply.everything());
    }
    for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH", "TRACE"] {
        let reply = server.ask(method, "/monitor", &[]);
        assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")), "{method}");
    }
    let options = server.ask("OPTIONS", "/monitor", &[]).expect(200);
    assert_eq!(options.header("allow"), Some("POST,OPTIONS"));
    server.get("/monitor/").expect(404);
    server.get("/orders/dev").expect(200);
}

#[test]
fn no_prefix_and_no_read_token_stands_before_it() {
    let repository = shop();
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("token"), "s3cret").unwrap();
    let token = place.path().join("token").display().to_string();
    let server =
        Child::serve(&["--source", &repository.uri(), "--prefix", "/cfg", "--token-file", &token]);
    assert_eq!(json(&server, "", r#"{"path": "orders.yml"}"#).expect(200).text(), r#"["orders"]"#);
    server.get("/cfg/orders/dev").expect(401);
    assert!(server.log().contains("/monitor does not"), "{}", server.log());
}

/// A server that asks for a proof of `SECRET`, or of another one.
fn guarded(repository: &Repository) -> (tempfile::TempDir, Server) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("secrets");
    std::fs::write(&path, format!("an older one\n\n{SECRET}\n")).unwrap();
    let mut settings = settings(&repository.uri());
    settings.monitor.secret_file = Some(path);
    (place, Server::with(settings))
}

fn signature(secret: &str, body: &[u8]) -> String {
    let tag = sign(&Key::new(HMAC_SHA256, secret.as_bytes()), body);
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn hook_1_only_who_proves_the_secret_is_heard() {
    let repository = shop();
    let (_place, server) = guarded(&repository);
    // Blanks that no writer of JSON would put there: what is signed is what came.
    let body = "{ \"commits\" :\t[ {\"added\": [\"orders.yml\"]} ] }\n";
    let good = signature(SECRET, body.as_bytes());
    let compact = signature(SECRET, br#"{"commits":[{"added":["orders.yml"]}]}"#);
    let github = "X-GitHub-Event: push\r\n";
    for headers in [
        format!("{github}X-Hub-Signature-256: sha256={good}\r\n"),
        format!(
            "{github}X-Hub-Signature-256: sha256={}\r\n",
            signature("an older one", body.as_bytes())
        ),
        format!(
            "X-Gitea-Event: push\r\n{github}X-Gitea-Signature: {good}\r\nX-Hub-Signature: sha1=00\r\n"
        ),
        format!("X-Gogs-Event: push\r\nX-Gogs-Signature: {good}\r\n"),
        format!("X-Gitlab-Event: Push Hook\r\nX-Gitlab-Token: {SECRET}\r\n"),
        format!("X-Event-Key: repo:push\r\nX-Hub-Signature: sha256={good}\r\n"),
        format!("Authorization: Bearer {SECRET}\r\n"),
    ] {
        assert_eq!(json(&server, &headers, body).status, 200, "{headers}");
    }
    let upper = good.to_uppercase();
    for headers in [
        String::new(),
        github.to_owned(),
        format!("{github}X-Hub-Signature-256: {good}\r\n"),
        format!("{github}X-Hub-Signature-256: sha1={good}\r\n"),
        format!("{github}X-Hub-Signature: sha1={}\r\n", &good[..40]),
        format!("{github}X-Hub-Signature-256: sha256={upper}\r\n"),
        format!("{github}X-Hub-Signature-256: SHA256={good}\r\n"),
        format!("{github}X-Hub-Signature-256: sha256={compact}\r\n"),
        format!("{github}X-Hub-Signature-256: sha256={}\r\n", signature("guess", body.as_bytes())),
        format!("{github}X-Hub-Signature-256: sha256={}\r\n", signature("", body.as_bytes())),
        format!(
            "{github}X-Hub-Signature-256: sha256={good}\r\nX-Hub-Signature-256: sha256={good}\r\n"
        ),
        format!("{github}X-Hub-Signature-256: \r\n"),
        // Another host's name, or nobody's, is no way around.
        "X-Gitlab-Event: Push Hook\r\n".to_owned(),
        "X-Gitlab-Event: Push Hook\r\nX-Gitlab-Token: guess\r\n".to_owned(),
        format!("X-Gitlab-Event: Push Hook\r\nX-Gitlab-Token: {}\r\n", &SECRET[..SECRET.len() - 1]),
        format!("X-Gitlab-Event: Push Hook\r\nX-Gitlab-Token: {good}\r\n"),
        format!("X-Gitlab-Token: {SECRET}\r\nX-Gitlab-Token: {SECRET}\r\n"),
        format!("X-Gitea-Event: push\r\nX-Gitea-Signature: {upper}\r\n"),
        format!("X-Gitea-Event: push\r\nX-Gitea-Signature: sha256={good}\r\n"),
        "X-Git-Oschina-Event: Push Hook\r\n".to_owned(),
        "X-Event-Key: repo:push\r\nX-Hook-UUID: x\r\n".to_owned(),
    ] {
        let reply = json(&server, &headers, body);
        assert_eq!(reply.status, 401, "{headers}: {}", reply.everything());
        assert!(!reply.everything().contains(SECRET));
    }
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    call(&server, form, b"path=orders.yml").expect(401);
    call(&server, &format!("{form}Authorization: Bearer {SECRET}\r\n"), b"path=orders.yml")
        .expect(200);
    // Who is not heard learns nothing of whether a body could be read, and fills no one's allowance.
    for _ in 0..300 {
        json(&server, "", "{").expect(401);
    }
    json(&server, &format!("X-Gitlab-Token: {SECRET}\r\n"), "{}").expect(200);
}

#[test]
fn a_secret_comes_from_a_file_or_the_environment_and_shows_nowhere() {
    let repository = shop();
    let variables = [("HEADWATER_MONITOR_SECRET", SECRET), ("HEADWATER_LOG", "trace")];
    let server = Child::serve_with(&["--source", &repository.uri()], &variables);
    json(&server, "", "{}").expect(401);
    json(&server, &format!("X-Gitlab-Token: {SECRET}\r\n"), "{}").expect(200);
    for path in ["/metrics", "/actuator/health", "/", "/openapi.json"] {
        assert!(!server.get(path).everything().contains(SECRET), "{path}");
    }
    let (_, log) = server.stop();
    let ours: Vec<&str> = log.lines().filter(|line| !line.contains("actix_http")).collect();
    assert!(!ours.concat().contains(SECRET), "{ours:?}");

    let place = tempfile::tempdir().unwrap();
    for (text, message) in [(Some("\n \n"), "is empty"), (None, "No such file")] {
        let path = place.path().join("secrets");
        match text {
            Some(text) => std::fs::write(&path, text).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let output = command(place.path())
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--source",
                &repository.uri(),
                "--monitor-secret-file",
            ])
            .arg(&path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("monitor secret file") && said.contains(message), "{said}");
    }
}

#[test]
fn hook_2_a_delivery_is_answered_each_time_and_there_are_so_many_at_most() {
    let repository = shop();
    let (_place, server) = guarded(&repository);
    let headers = format!("X-Gitlab-Token: {SECRET}\r\nIdempotency-Key: 1\r\n");
    for _ in 0..3 {
        let reply = json(&server, &headers, r#"{"path": "orders.yml"}"#).expect(200);
        assert_eq!(reply.text(), r#"["orders"]"#);
    }
    let mut refused = 0;
    for number in 0..1_000 {
        let headers = format!("X-Gitlab-Token: {SECRET}\r\nIdempotency-Key: {number}\r\n");
        let reply = json(&server, &headers, "{}");
        if reply.status == 429 {
            assert!(reply.header("retry-after").is_some());
            refused += 1;
        }
    }
    assert!(refused > 500, "{refused}");
    server.get("/orders/dev").expect(200);
}

#[test]
fn hook_3_what_a_body_says_is_not_believed() {
    let repository = shop();
    let server = Server::start(&repository.uri());
    let before = server.get("/orders/dev").expect(200).body;
    let body = r#"{"ref": "refs/heads/other", "after": "1111111111111111111111111111111111111111",
        "repository": {"clone_url": "http://127.0.0.1:1/other.git"},
        "commits": [{"removed": ["orders.yml"]}]}"#;
    json(&server, "X-GitHub-Event: push\r\n", body).expect(200);
    assert_eq!(server.get("/orders/dev").expect(200).body, before);
}

#[test]
fn a_call_makes_a_local_source_look_too() {
    let directory = crate::fixture::directory("//- orders.yml\na: 1\n");
    let server = Server::start(&directory.path().display().to_string());
    server.get("/orders/dev").expect(200);
    std::fs::write(directory.path().join("orders.yml"), "a: 2\n").unwrap();
    json(&server, "", r#"{"path": "orders.yml"}"#).expect(200);
    eventually("it is served", || server.get("/orders/dev").text().contains("\"a\":2"));
}

#[test]
fn hook_4_and_5_large_slow_and_deep_bodies_are_refused() {
    let repository = shop();
    let server = Child::serve(&["--source", &repository.uri()]);
    server.get("/orders/dev").expect(200);
    let resident = server.resident_kib();
    let head = |more: &str| {
        format!(
            "POST /monitor HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{more}\r\n"
        )
    };
    // By what it says, before it is sent.
    let reply = server.send(head("Content-Length: 104857600\r\n").as_bytes()).expect(413);
    assert_eq!(reply.header("connection"), Some("close"));
    // By what comes, where it does not say.
    let mut stream = server.connect();
    stream.write_all(head("Transfer-Encoding: chunked\r\n").as_bytes()).unwrap();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    for _ in 0..32 {
        // It may be refused before all of it is sent.
        let _ = stream.write_all(chunk.as_bytes());
    }
    let reply = read(&mut stream, false).expect(413);
    assert_eq!(reply.header("connection"), Some("close"));
    assert!(server.resident_kib() < resident + 24 * 1024);
    // Just under the bound.
    let mut padded = r#"{"path": "orders.yml"}"#.to_owned();
    padded.push_str(&" ".repeat(1024 * 1024 - padded.len()));
    assert_eq!(json(&server, "", &padded).status, 200);
    json(&server, "", &format!("{padded} ")).expect(413);

    let begun = Instant::now();
    let mut stream = server.connect();
    stream.write_all(head("Content-Length: 100\r\n").as_bytes()).unwrap();
    stream.write_all(b"{").unwrap();
    let reply = read(&mut stream, false).expect(408);
    assert_eq!(reply.header("connection"), Some("close"));
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());

    let deep = format!("{{\"path\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    json(&server, "", &deep).expect(400);
    server.get("/orders/dev").expect(200);
    assert_eq!(server.stop().0.code(), Some(0));
}

/// Opens as many calls as the server reads bodies at a time, and sends no body.
fn slow_bodies(server: &Address, headers: &str) -> Vec<TcpStream> {
    let head = format!(
        "POST /monitor HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}Content-Length: 9\r\n\r\n"
    );
    let open = |_| {
        let mut stream = server.connect();
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    (0..40).map(open).collect()
}

#[test]
fn bodies_that_are_being_read_are_bounded_and_slow_ones_make_room() {
    let repository = shop();
    // One worker takes connections in the order in which they come.
    let server = Child::serve(&["--source", &repository.uri(), "--workers", "1"]);
    let begun = Instant::now();
    let mut waiting = slow_bodies(&server, "");
    // Eight more than there are places: the oldest have made room for them.
    for stream in &mut waiting[..8] {
        let reply = read(stream, false).expect(408);
        assert_eq!(reply.header("connection"), Some("close"));
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "they were read until their time was up");
    for _ in 0..8 {
        json(&server, "", "{}").expect(200);
    }
    server.get("/orders/dev").expect(200);
    for stream in &mut waiting[8..] {
        read(stream, false).expect(408);
    }
    json(&server, "", "{}").expect(200);
}

#[test]
fn whoever_proves_nothing_takes_no_place_of_those_who_do() {
    let repository = shop();
    let (_place, server) = guarded(&repository);
    let body = r#"{"path": "orders.yml"}"#;
    let good = format!("X-Hub-Signature-256: sha256={}\r\n", signature(SECRET, body.as_bytes()));
    // Without a proof the body is not waited for.
    for headers in ["", "X-Gitlab-Token: guess\r\n", "X-Hub-Signature-256: sha256=00\r\n"] {
        let begun = Instant::now();
        for stream in &mut slow_bodies(&server, headers) {
            read(stream, false).expect(401);
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{headers}: bodies were waited for");
    }
    // What looks like a proof until the body is there, from as many clients as there are places.
    let forged = format!("X-Hub-Signature-256: sha256={}\r\n", "0".repeat(64));
    for _ in 0..3 {
        let slow = slow_bodies(&server, &forged);
        for _ in 0..20 {
            json(&server, &good, body).expect(200);
        }
        drop(slow);
    }
}
