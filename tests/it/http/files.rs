//! Text and binary files (docs/protocol.md#6-files).

use std::io::{Read, Write};
use std::net::TcpStream;

use super::shop;
use crate::fixture::Server;

#[test]
fn text_is_resolved_and_bytes_are_not() {
    let (_repository, server) = shop();
    let path = "/orders/prod/main/plain.txt";
    let text = server.get(path).expect(200);
    assert_eq!(text.header("content-type"), Some("text/plain;charset=UTF-8"));
    assert_eq!(text.text(), "I am Orders of everywhere, not ${name}\n");
    let raw = server.get(&format!("{path}?resolvePlaceholders=false")).expect(200);
    assert_eq!(raw.text(), "I am ${name} of ${shared}, not \\${name}\n");
    let bytes = server.get_with(path, &[("Accept", "application/octet-stream")]).expect(200);
    assert_eq!(bytes.header("content-type"), Some("application/octet-stream"));
    assert_eq!(bytes.text(), raw.text());
    let tags = [&text, &raw, &bytes].map(|reply| reply.header("etag").expect("a tag"));
    assert!(tags.iter().all(|tag| tag.starts_with('"')), "strong: {tags:?}");
    assert!(tags[0] != tags[1] && tags[0] != tags[2], "{tags:?}");
    for reply in [&text, &raw, &bytes] {
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert!(reply.header("headwater-revision").is_some());
    }
}

#[test]
fn a_file_is_never_a_page() {
    let (repository, server) = shop();
    repository.commit("//- page.html\n<script>alert(1)</script>\n");
    crate::fixture::eventually("the page", || {
        server.get("/orders/dev/main/page.html").status == 200
    });
    for accept in ["text/html", "image/svg+xml", "text/html,application/xhtml+xml,*/*;q=0.8", "*/*"]
    {
        let reply =
            server.get_with("/orders/dev/main/page.html", &[("Accept", accept)]).expect(200);
        assert_eq!(reply.header("content-type"), Some("text/plain;charset=UTF-8"), "{accept}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    }
}

#[test]
fn the_charset_is_the_one_asked_for() {
    let (repository, server) = shop();
    repository.commit_bytes("main", &[("latin.txt", Some(b"caf\xe9 ${name}\n"))]);
    crate::fixture::eventually("the file", || {
        server.get("/orders/dev/main/latin.txt").status == 200
    });
    let get =
        |charset| server.get_with("/orders/dev/main/latin.txt", &[("Accept-Charset", charset)]);
    for charset in ["iso-8859-1", "ISO-8859-1", "latin1", "iso-8859-1;q=0.5, utf-8;q=0.1"] {
        assert_eq!(get(charset).expect(200).text(), "café Orders\n", "{charset}");
    }
    for charset in ["utf-8", "*", ""] {
        assert_eq!(get(charset).expect(200).text(), "caf\u{fffd} Orders\n", "{charset}");
    }
    let refused = get("nonsense").expect(406).json();
    let expected = "Accept-Charset: charset \"nonsense\" is not supported; request utf-8";
    assert_eq!(refused["message"], expected);
}

#[test]
fn what_has_not_changed_since_is_304() {
    let (_repository, server) = shop();
    let path = "/orders/prod/main/plain.txt";
    let first = server.get(path).expect(200);
    let modified = first.header("last-modified").expect("a time");
    assert_eq!(modified, "Tue, 14 Nov 2023 22:14:20 GMT");
    let since = |text: &str| server.get_with(path, &[("If-Modified-Since", text)]);
    since(modified).expect(304);
    since("Fri, 01 Jan 2100 00:00:00 GMT").expect(304);
    for earlier in ["Tue, 14 Nov 2023 22:14:19 GMT", "nonsense", "", "99999999999999999999"] {
        since(earlier).expect(200);
    }
    let tag = first.header("etag").expect("a tag");
    let reply = server.get_with(path, &[("If-None-Match", tag)]).expect(304);
    assert_eq!(reply.header("etag"), Some(tag));
    let both = [("If-None-Match", "\"x\""), ("If-Modified-Since", modified)];
    server.get_with(path, &both).expect(200);
}

#[test]
fn links_are_followed_inside_the_tree_only() {
    let (repository, server) = shop();
    repository.commit_link("inside.txt", "sub/deep/text.conf");
    repository.commit_link("outside.txt", "/etc/passwd");
    repository.commit_link("climbing.txt", "../../../../../../etc/passwd");
    repository.commit_link("itself.txt", "itself.txt");
    repository.commit_link("away", "/etc");
    repository.commit("//- last.txt\nlast\n");
    crate::fixture::eventually("the last file", || {
        server.get("/orders/dev/main/last.txt").status == 200
    });
    assert_eq!(server.get("/orders/dev/main/inside.txt").expect(200).text(), "port=8080\n");
    for path in ["outside.txt", "climbing.txt", "itself.txt", "away/passwd"] {
        assert_eq!(
            server.get(&format!("/orders/dev/main/{path}")).expect(404).text(),
            "",
            "{path}"
        );
    }
}

/// A figure of `/metrics`.
fn figure(server: &Server, name: &str) -> f64 {
    let text = server.get("/metrics").expect(200).text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.expect("a figure").parse().expect("a number")
}

#[test]
fn clients_of_a_large_text_share_it_until_the_last_has_it() {
    let (repository, server) = shop();
    let (line, path) = ("${name} are resolved in this line\n", "/orders/prod/main/large.txt");
    let count = 4 * 1024 * 1024 / line.len();
    repository.commit_bytes("main", &[("large.txt", Some(line.repeat(count).as_bytes()))]);
    crate::fixture::eventually("the file", || server.ask("HEAD", path, &[]).status == 200);
    let taken = || figure(&server, "headwater_texts_bytes");
    crate::fixture::eventually("nothing is sent", || taken() == 0.0);

    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut streams: Vec<TcpStream> = (0..6).map(|_| server.connect()).collect();
    for stream in &mut streams {
        stream.write_all(request.as_bytes()).expect("it is sent");
        let mut begin = [0; 12];
        stream.peek(&mut begin).expect("it is answered");
        assert_eq!(&begin, b"HTTP/1.1 200");
    }
    let text = line.replace("${name}", "Orders").repeat(count);
    let text_bytes = f64::from(u32::try_from(text.len()).expect("a size"));
    assert!((text_bytes..text_bytes + 2048.0).contains(&taken()), "{} bytes", taken());
    let mut last = streams.pop().expect("one of them");
    drop(streams);
    let mut reply = Vec::new();
    last.read_to_end(&mut reply).expect("the rest");
    assert!(reply.ends_with(text.as_bytes()), "it is whole");
    drop(last);
    crate::fixture::eventually("the room is given back", || taken() == 0.0);
}
