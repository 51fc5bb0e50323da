//! Requests that no git sends: wrong services, names, types, lengths and encodings.

use std::io::{Read, Write};

use super::SHOP;
use crate::fixture::{Hosted, Reply};

const UPLOAD: &str = "/-/git/main.git/git-upload-pack";
const RECEIVE: &str = "/-/git/main.git/git-receive-pack";

fn post(hosted: &Hosted, path: &str, kind: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {kind}\r\n"
    );
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += &format!("Content-Length: {}\r\n\r\n", body.len());
    hosted.server.send(&[request.as_bytes(), body].concat())
}

#[test]
fn only_the_two_services_of_the_repositories_that_are_hosted_are_there() {
    let hosted = Hosted::new(SHOP);
    let long = "a".repeat(3_000);
    for (path, status) in [
        ("/-/git/main.git/info/refs?service=git-upload-pack", 200),
        ("/-/git/main.git/info/refs?service=git-receive-pack", 200),
        // The dumb protocol, and what else one might run.
        ("/-/git/main.git/info/refs", 403),
        ("/-/git/main.git/info/refs?service=", 403),
        ("/-/git/main.git/info/refs?service=upload-pack", 403),
        ("/-/git/main.git/info/refs?service=git-upload-archive", 403),
        ("/-/git/main.git/info/refs?service=git-upload-pack%20--x", 403),
        ("/-/git/main.git/info/refs?service=git-upload-pack;id", 403),
        ("/-/git/main.git/info/refs?service=--help", 403),
        ("/-/git/main.git/HEAD", 404),
        ("/-/git/main.git/config", 404),
        ("/-/git/main.git/objects/info/packs", 404),
        ("/-/git/main.git/info/refs/", 200),
        ("/-/git/main/info/refs?service=git-upload-pack", 404),
        ("/-/git/other.git/info/refs?service=git-upload-pack", 404),
        ("/-/git/.git/info/refs?service=git-upload-pack", 404),
        ("/-/git/--upload-pack=id.git/info/refs?service=git-upload-pack", 404),
        ("/-/git/..%2Fhosted%2Fmain.git/info/refs?service=git-upload-pack", 404),
        ("/-/git/../main.git/info/refs?service=git-upload-pack", 404),
        ("/-/git/main.git%00/info/refs?service=git-upload-pack", 400),
        (&format!("/-/git/{long}.git/info/refs?service=git-upload-pack"), 404),
        (UPLOAD, 405),
        (RECEIVE, 405),
    ] {
        let path = match path.ends_with("refs/") {
            true => format!("{path}?service=git-upload-pack"),
            false => path.to_owned(),
        };
        let reply = hosted.server.get(&path).expect(status);
        if status >= 400 {
            assert!(!reply.text().contains("/tmp"), "{}", reply.everything());
        }
    }
    let reply = hosted.server.ask("POST", "/-/git/main.git/info/refs?service=git-upload-pack", &[]);
    reply.expect(405);
}

#[test]
fn a_body_has_gits_own_type_and_encoding() {
    let hosted = Hosted::new(SHOP);
    let good = "application/x-git-receive-pack-request";
    for (path, kind) in [
        (RECEIVE, "text/plain"),
        (RECEIVE, "application/x-git-upload-pack-request"),
        (RECEIVE, "application/x-git-receive-pack-request; charset=utf-8"),
        (UPLOAD, good),
    ] {
        post(&hosted, path, kind, &[], b"0000").expect(415);
    }
    post(&hosted, RECEIVE, good, &[("Content-Encoding", "br")], b"0000").expect(415);
    post(&hosted, RECEIVE, good, &[("Content-Encoding", "gzip")], b"0000").expect(400);
    // What git sends first when it has much to say.
    post(&hosted, RECEIVE, good, &[], b"0000").expect(200);
}

#[test]
fn no_wish_for_a_version_reaches_git() {
    let hosted = Hosted::new(SHOP);
    let path = "/-/git/main.git/info/refs?service=git-upload-pack";
    for version in
        ["version=2", "version=1", "version=2;id", "version=2\tx", "$(id)", "version", "version=9"]
    {
        let reply = hosted.server.get_with(path, &[("Git-Protocol", version)]).expect(200);
        assert!(reply.text().starts_with("001e# service=git-upload-pack\n0000"), "{version}");
        assert!(!reply.text().contains("version "), "{version}");
    }
}

#[test]
fn bombs_and_bodies_that_are_too_long_end_at_the_bound() {
    let hosted = Hosted::with(SHOP, |settings| settings.push.pack_bytes_max = 1 << 20);
    let before = hosted.contents();
    let mut zeros = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    zeros.write_all(&vec![b'0'; 64 << 20]).unwrap();
    let bomb = zeros.finish().unwrap();
    for (path, kind) in [(RECEIVE, "receive"), (UPLOAD, "upload")] {
        let kind = format!("application/x-git-{kind}-pack-request");
        let reply = post(&hosted, path, &kind, &[("Content-Encoding", "gzip")], &bomb);
        // Git may have said that it is no request at all before the bound was reached.
        assert!(matches!(reply.status, 413 | 200 | 0), "{}", reply.everything());
        let long = format!("{}", 1_u64 << 40);
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {kind}\r\n\
             Content-Length: {long}\r\n\r\n"
        );
        hosted.server.send(head.as_bytes()).expect(413);
    }
    assert_eq!(hosted.contents(), before);
    hosted.server.get("/orders/dev").expect(200);
}

#[test]
fn a_request_that_never_ends_is_let_go() {
    let hosted = Hosted::new(SHOP);
    std::thread::scope(|scope| {
        // Who fetches may be anybody and has little to say; who pushes packs while it sends.
        for (path, kind, seconds) in [(UPLOAD, "upload", 5), (RECEIVE, "receive", 30)] {
            for framing in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
                let server = &hosted.server;
                scope.spawn(move || {
                    let mut stream = server.connect();
                    let head = format!(
                        "POST {path} HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\
                         Content-Type: application/x-git-{kind}-pack-request\r\n\r\n"
                    );
                    stream.write_all(head.as_bytes()).unwrap();
                    let begun = std::time::Instant::now();
                    stream.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
                    let mut answer = String::new();
                    stream.read_to_string(&mut answer).expect("an end");
                    assert!(answer.starts_with("HTTP/1.1 408"), "{kind} {framing}: {answer}");
                    let took = begun.elapsed().as_secs();
                    assert!((seconds..seconds + 12).contains(&took), "{kind} {framing}: {took} s");
                });
            }
        }
    });
    assert_eq!(hosted.clone("work").git(&["status", "--short"]).out, "");
}
