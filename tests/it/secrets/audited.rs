//! Opened values and the audit trail: reads are counted, uses of the keys are acts.

use headwater_access::audit::AuditEvent;

use super::keys::KeyFiles;
use super::sealing::{TEXT, post};
use crate::audit::TrailFile;
use crate::fixture::{Repository, Server, settings};

/// A server whose application `app` has a sealed value, and whose application `plain` has none.
fn server_with(trail: &TrailFile, is_required: bool) -> (Repository, KeyFiles, Server) {
    let keys = KeyFiles::passphrases(&["k"]);
    let sealed = keys.seal("hunter2value");
    let files = format!("//- app.yml\nsecret: '{sealed}'\n//- plain.yml\na: 1\n");
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
    // Six environments and one flat form, but no 304. The first one has a line of its own.
    let counts: u64 = reads.iter().map(|line| line.count.unwrap_or(1)).sum();
    assert_eq!((reads.len(), counts), (2, 7));
    trail.verify();
    let text = std::fs::read_to_string(trail.path()).unwrap();
    assert!(!text.contains("hunter2") && !text.contains(&sealed), "{text}");
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
