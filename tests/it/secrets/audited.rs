//! Opened values and the audit trail: reads are counted, uses of the keys are acts.

use std::io::{Read, Write};
use std::net::TcpStream;

use headwater_access::audit::AuditEvent;

use super::keys::KeyFiles;
use super::sealing::{TEXT, post};
use crate::audit::TrailFile;
use crate::fixture::{Address, Repository, Server, settings};

/// A server whose application `app` has a sealed value, and whose application `plain` has none.
fn server_with(trail: &TrailFile, is_required: bool) -> (Repository, KeyFiles, Server) {
    let keys = KeyFiles::passphrases(&["k"]);
    let sealed = keys.seal("hunter2value");
    let files = format!(
        "//- app.yml\nsecret: '{sealed}'\n//- plain.yml\na: 1\n//- note.txt\nthe ${{secret}}\n"
    );
    let repository = Repository::new(&files);
    let mut settings = settings(&repository.uri());
    settings.secrets = keys.settings.clone();
    settings.secrets.decrypt_endpoint = true;
    settings.audit.file = Some(trail.path());
    settings.audit.required = is_required;
    let server = Server::with(settings);
    (repository, keys, server)
}

#[test]
fn reads_of_opened_values_and_uses_of_keys_are_recorded() {
    let trail = TrailFile::new();
    let (_repository, _keys, server) = server_with(&trail, false);
    for _ in 0..5 {
        server.get("/app/default").expect(200);
        server.get("/plain/default").expect(200);
    }
    server.get("/app-default.yml").expect(200);
    let note = server.get("/app/default/main/note.txt").expect(200).text();
    assert_eq!(note, "the hunter2value\n");
    drop(stream(*server));
    let sealed = post(*server, "/encrypt", &[TEXT], "hunter2text").expect(200).text();
    post(*server, "/decrypt", &[TEXT], &sealed).expect(200);
    post(*server, "/decrypt", &[TEXT], "00").expect(400);
    // Acts are durable before they are answered.
    let outcomes = |event| {
        let lines = trail.of(event).into_iter();
        lines.filter_map(|line| line.outcome).collect::<Vec<_>>()
    };
    assert_eq!(outcomes(AuditEvent::Seal), ["answered"]);
    assert_eq!(outcomes(AuditEvent::Unseal), ["answered", "failed"]);
    assert_eq!(trail.of(AuditEvent::KeysLoaded)[0].details, ["key file key0"]);
    let etag = server.get("/app/default").header("etag").unwrap().to_owned();
    server.get_with("/app/default", &[("If-None-Match", &etag)]).expect(304);
    drop(server);
    let reads = trail.of(AuditEvent::Open);
    assert!(reads.iter().all(|line| line.application.as_deref() == Some("app")), "{reads:?}");
    let first = &reads[0];
    assert_eq!(first.principal.as_deref(), Some("anonymous"));
    assert_eq!(first.address.as_deref(), Some("127.0.0.1"));
    assert!(first.digest.is_some() && first.revision.is_some());
    // Six environments, one flat form and one stream, but no 304. The first one has a line of its own.
    let counts = |label: Option<&str>| {
        let of = reads.iter().filter(|line| line.label.as_deref() == label);
        of.map(|line| line.count.unwrap_or(1)).collect::<Vec<_>>()
    };
    assert_eq!((counts(None), counts(Some("main"))), (vec![1, 7], vec![1]));
    trail.verify();
    let text = std::fs::read_to_string(trail.path()).unwrap();
    assert!(!text.contains("hunter2") && !text.contains(&sealed), "{text}");
}

/// Opens an event stream, and reads the beginning of its first event.
fn stream(server: Address) -> TcpStream {
    let mut stream = server.connect();
    let request = "GET /app/default HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let (mut text, mut byte) = (String::new(), [0]);
    while !text.contains("\r\n\r\n") {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "{text}");
        text.push(char::from(byte[0]));
    }
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    stream
}

#[test]
fn a_required_trail_that_cannot_be_written_stops_opened_reads() {
    for is_required in [true, false] {
        let trail = TrailFile::new();
        let (_repository, _keys, server) = server_with(&trail, is_required);
        server.get("/app/default").expect(200);
        server.get("/app/default").expect(200);
        trail.block();
        let rejected = post(*server, "/encrypt", &[TEXT], "text").expect(503);
        assert!(rejected.text().contains("audit trail"), "{}", rejected.text());
        post(*server, "/decrypt", &[TEXT], "00").expect(503);
        let status = if is_required { 503 } else { 200 };
        for path in ["/app/default", "/app-default.properties", "/app/other"] {
            server.get(path).expect(status);
        }
        server.get("/plain/default").expect(200);
        trail.unblock();
        crate::fixture::eventually("the trail is written again", || {
            post(*server, "/encrypt", &[TEXT], "text").status == 200
        });
        server.get("/app/default").expect(200);
        drop(server);
        trail.verify();
    }
}

#[test]
fn keys_that_are_read_again_are_recorded_by_their_names() {
    let trail = TrailFile::new();
    let (_repository, keys, server) = server_with(&trail, false);
    let file = &keys.settings.key_files[0];
    let new = file.with_extension("new");
    std::fs::write(&new, "hunter2key\n").unwrap();
    std::fs::set_permissions(&new, std::fs::metadata(file).unwrap().permissions()).unwrap();
    std::fs::rename(&new, file).unwrap();
    crate::fixture::eventually("the new key is recorded", || {
        trail.of(AuditEvent::KeysLoaded).len() == 2
    });
    let loaded = trail.of(AuditEvent::KeysLoaded);
    assert_eq!(loaded[1].details, ["key file key0"]);
    drop(server);
    trail.verify();
    assert!(!std::fs::read_to_string(trail.path()).unwrap().contains("hunter2"));
}
