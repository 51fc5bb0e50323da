//! `/encrypt`, `/decrypt` and `/key`: who may use the keys, and the answers of the original.

use headwater::settings::Settings;
use serde_json::json;

use super::keys::{KeyFiles, Vectors};
use crate::fixture::{Address, Child, Reply, Repository, Server, directory, settings};

pub(super) const TEXT: (&str, &str) = ("Content-Type", "text/plain");

fn repository() -> Repository {
    Repository::new("//- app.yml\na: 1\n")
}

fn server_with(keys: &KeyFiles, change: impl FnOnce(&mut Settings)) -> (Repository, Server) {
    let repository = repository();
    let mut settings = settings(&repository.uri());
    settings.secrets = keys.settings.clone();
    change(&mut settings);
    (repository, Server::with(settings))
}

/// Sends a text.
#[track_caller]
pub(super) fn post(server: Address, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let mut request = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += &format!("Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    server.send(request.as_bytes())
}

#[test]
fn a_sealed_text_opens_again() {
    let keys = KeyFiles::passphrases(&["new", "old"]);
    let (_repository, server) = server_with(&keys, |settings| {
        settings.secrets.decrypt_endpoint = true;
    });
    assert_eq!(server.get("/encrypt/status").expect(200).json(), json!({"status": "OK"}));
    server.get("/key").expect(404);
    for path in ["/encrypt", "/encrypt/app/dev"] {
        let sealed = post(*server, path, &[TEXT], "s3cret ü").expect(200);
        assert_eq!(sealed.header("content-type"), Some("text/plain;charset=UTF-8"));
        let sealed = sealed.text();
        assert!(sealed.bytes().all(|byte| byte.is_ascii_hexdigit()), "{sealed}");
        let opened = post(*server, "/decrypt/app/dev", &[TEXT], &sealed).expect(200);
        assert_eq!(opened.text(), "s3cret ü");
    }
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let sealed = post(*server, "/encrypt", &form, "a+b%21").expect(200).text();
    assert_eq!(post(*server, "/decrypt", &form, &sealed).expect(200).text(), "a b!");
    let prefixed = post(*server, "/encrypt", &[TEXT], "{\"a\":1}").expect(200).text();
    assert!(prefixed.starts_with("{\"a\":1}") && prefixed.len() > 64, "{prefixed}");
    for body in ["00", "no hexadecimal", &format!("{sealed}\n"), &"ab".repeat(32)] {
        let failed = post(*server, "/decrypt", &[TEXT], body).expect(400);
        let expected =
            json!({"description": "Text not encrypted with this key", "status": "INVALID"});
        assert_eq!(failed.json(), expected, "{body}");
    }
    for path in ["/encrypt", "/decrypt"] {
        post(*server, path, &[TEXT], "").expect(400);
        post(*server, path, &[], "text").expect(400);
        server.get(path).expect(405);
    }
    let huge = "x".repeat(2 * 1024 * 1024);
    post(*server, "/encrypt", &[TEXT], &huge).expect(413);
}

#[test]
fn a_keystore_shows_its_public_key_and_chooses_entries() {
    let keys = Vectors::read().key_files("jks-default");
    let (_repository, server) = server_with(&keys, |settings| {
        settings.secrets.decrypt_endpoint = true;
    });
    for path in ["/key", "/key/app/dev"] {
        let key = server.get(path).expect(200).text();
        assert!(key.starts_with("ssh-rsa AAAA") && key.ends_with(" application"), "{key}");
    }
    let sealed = post(*server, "/encrypt", &[TEXT], "{key:old}{secret:oldpass}text").expect(200);
    let sealed = sealed.text();
    assert!(sealed.starts_with("{key:old}{secret:oldpass}"), "{sealed}");
    assert_eq!(post(*server, "/decrypt", &[TEXT], &sealed).expect(200).text(), "text");
    post(*server, "/encrypt", &[TEXT], "{key:none}text").expect(400);
}

#[test]
fn decryption_is_off_unless_it_is_configured() {
    let keys = KeyFiles::passphrases(&["k"]);
    let (_repository, server) = server_with(&keys, |_| {});
    let sealed = post(*server, "/encrypt", &[TEXT], "text").expect(200).text();
    let off = post(*server, "/decrypt", &[TEXT], &sealed).expect(404);
    assert_eq!(off.json()["status"], "INVALID");
}

#[test]
fn the_keys_serve_clients_that_may_push() {
    let keys = KeyFiles::passphrases(&["k"]);
    let (_repository, server) = server_with(&keys, |_| {});
    // A request through a proxy does not come from this machine.
    let forwarded = ("X-Forwarded-For", "192.0.2.1");
    let refused = post(*server, "/encrypt", &[TEXT, forwarded], "text").expect(403);
    assert!(refused.text().contains("push token"), "{}", refused.text());
    server.get_with("/encrypt/status", &[forwarded]).expect(403);
    server.get_with("/key", &[forwarded]).expect(403);

    let place = directory("//- read\nreader-token\n//- push\npusher-token\n");
    let (_repository, server) = server_with(&keys, |settings| {
        settings.token_file = Some(place.path().join("read"));
        settings.push.token_file = Some(place.path().join("push"));
    });
    let reader = ("Authorization", "Bearer reader-token");
    let pusher = ("Authorization", "Bearer pusher-token");
    post(*server, "/encrypt", &[TEXT], "text").expect(401);
    post(*server, "/encrypt", &[TEXT, reader], "text").expect(401);
    post(*server, "/encrypt", &[TEXT, pusher], "text").expect(200);
    server.get_with("/encrypt/status", &[reader]).expect(401);
    server.get_with("/encrypt/status", &[pusher]).expect(200);
}

#[test]
fn invariant_8_opened_values_and_keys_are_in_no_log() {
    let keys = KeyFiles::passphrases(&["canary-key"]);
    let other = KeyFiles::passphrases(&["another"]);
    let repository = Repository::new(&format!(
        "//- app.yml\ngood: '{}'\nbad: '{}'\n",
        keys.seal("canary-value"),
        other.seal("canary-unopened"),
    ));
    let key = keys.settings.key_files[0].display();
    let config = format!("[secrets]\nkey_files = [\"{key}\"]\ndecrypt_endpoint = true\n");
    let place = directory(&format!("//- headwater.toml\n{config}"));
    let file = place.path().join("headwater.toml").display().to_string();
    let server = Child::serve_with(
        &["--config", &file, "--source", &repository.uri()],
        &[("HEADWATER_LOG", "trace")],
    );
    let answer = server.get("/app/none").expect(200).text();
    assert!(answer.contains("canary-value") && answer.contains("invalid.bad"), "{answer}");
    let sealed = post(*server, "/encrypt", &[TEXT], "canary-sealed").expect(200).text();
    post(*server, "/decrypt", &[TEXT], &sealed).expect(200);
    post(*server, "/decrypt", &[TEXT], "canary-undecryptable").expect(400);
    for path in ["/metrics", "/-/problems", "/-/environments", "/actuator/health", "/"] {
        let everything = server.get(path).expect(200).everything();
        assert!(!everything.contains("canary-"), "{path}: {everything}");
    }
    let (_, log) = server.stop();
    assert!(log.contains("TRACE"), "the log is at its highest level");
    assert_eq!(log.lines().find(|line| line.contains("canary-") || line.contains(&sealed)), None);
}
