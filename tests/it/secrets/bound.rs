//! `headwater seal`, and values that are bound to their place.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use headwater::settings::SecretsSettings;
use serde_json::json;

use super::keys::KeyFiles;
use crate::fixture::{Hosted, Server, command, directory, settings};

/// Runs `headwater seal` with a text as its input.
fn seal(place: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = command(place)
        .arg("seal")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that needs no input may end before it reads any.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// The sealed value that the command prints.
#[track_caller]
fn sealed(place: &Path, arguments: &[&str], input: &str) -> String {
    let output = seal(place, arguments, input);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let value = text.strip_suffix('\n').unwrap().to_owned();
    assert!(value.starts_with("{sealed}"), "{value}");
    assert!(!value.contains(char::is_whitespace), "{value}");
    value
}

/// A directory with a new seal key.
fn with_key() -> (tempfile::TempDir, PathBuf) {
    let place = directory("");
    let output = seal(place.path(), &["--new-key", "seal-2027"], "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let key = place.path().join("seal-2027");
    (place, key)
}

fn seal_settings(keys: &[&Path]) -> SecretsSettings {
    let seal_key_files = keys.iter().map(|key| (*key).to_owned()).collect();
    SecretsSettings { seal_key_files, ..SecretsSettings::default() }
}

#[test]
fn a_new_key_is_for_its_owner_and_never_replaced() {
    let (place, key) = with_key();
    let mode = std::fs::metadata(&key).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let text = std::fs::read_to_string(&key).unwrap();
    assert!(text.starts_with("seal-2027."), "the id is the name of the file");
    let again = seal(place.path(), &["--new-key", "seal-2027"], "");
    assert_eq!(again.status.code(), Some(2));
    assert_eq!(std::fs::read_to_string(&key).unwrap(), text);
    let no_id = seal(place.path(), &["--new-key", "seal.key"], "");
    assert_eq!(no_id.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&no_id.stderr).contains("--id"));
    assert!(!place.path().join("seal.key").exists());
    let none = seal(place.path(), &["password"], "s3cret");
    assert_eq!(none.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&none.stderr).contains("--new-key"));
}

#[test]
fn a_value_opens_at_its_place_and_a_push_to_another_place_is_rejected() {
    let (place, key) = with_key();
    let arguments = ["--key-file", "seal-2027", "--for", "orders", "db.password"];
    let own = sealed(place.path(), &arguments, "s3cret-1 \u{fc}\n");
    let shared = sealed(place.path(), &["--key-file", "seal-2027", "token"], "s3cret-2");
    assert_ne!(own, sealed(place.path(), &arguments, "s3cret-1 \u{fc}"), "each value has a nonce");
    let hosted = Hosted::with("//- orders.yml\na: 1\n", |settings| {
        settings.secrets = seal_settings(&[&key]);
    });
    let tree = hosted.clone("work");
    let orders = format!("//- orders-prod.yml\ndb:\n  password: '{own}'\n");
    tree.commit(&format!(
        "{orders}//- application.yml\ntoken: '{shared}'\nspring: '{{cipher}}00'\n"
    ));
    tree.push(&["main"]).succeeds();
    let flat = hosted.server.get("/orders-prod.json").expect(200).json();
    // A server without keys for {cipher} leaves these values alone.
    let expected = json!({
        "a": 1, "db": {"password": "s3cret-1 \u{fc}"}, "token": "s3cret-2", "spring": "{cipher}00"
    });
    assert_eq!(flat, expected);
    let before = hosted.tip("main");
    for (file, place) in [
        (format!("//- billing.yml\ndb.password: '{own}'\n"), "billing.yml:1:14: db.password: "),
        (format!("//- orders.yml\nx: '{own}'\n"), "orders.yml:1:4: x: "),
        (
            format!("//- application-prod.yml\ndb.password: '{own}'\n"),
            "application-prod.yml:1:14: ",
        ),
        (format!("//- orders.yml\ntoken: '{shared}'\n"), "orders.yml:1:8: token: "),
    ] {
        tree.commit(&file);
        let said = tree.push(&["main"]).fails(&[place, "no seal key of the server opens"]);
        assert!(!said.err.contains(&own[8..]) && !said.err.contains("s3cret"), "{}", said.err);
        tree.git(&["reset", "--quiet", "--hard", "origin/main"]).succeeds();
    }
    // A value that moves to another key of its own file opens there no more.
    tree.commit(&orders.replace("password", "passwort"));
    tree.push(&["main"]).fails(&["orders-prod.yml:2:13: db.passwort: "]);
    assert_eq!(hosted.tip("main"), before);
}

#[test]
fn a_checkout_is_sealed_anew_in_place_with_equal_values() {
    let old = KeyFiles::passphrases(&["old"]);
    let (place, key) = with_key();
    let value = |text: &str| old.seal(text);
    let files = [
        ("application.yml", format!("# shared\ntoken:   '{}'  # why\n", value("t"))),
        ("orders.properties", format!("a=\u{fc}\r\nb : {}\r\n", value("b"))),
        ("orders-prod.yml", format!("db: {{ password: \"{}\" }}\n", value("prod"))),
        ("billing.json", format!("{{\"list\": [\"{}\", 1.50]}}", value("l"))),
        ("toml.toml", format!("[t]\nx = '{}'\n", value("x"))),
        ("plain.yml", "a:   1\n".to_owned()),
    ];
    let checkout = place.path().join("config");
    std::fs::create_dir(&checkout).unwrap();
    for (name, text) in &files {
        std::fs::write(checkout.join(name), text).unwrap();
    }
    let start = |secrets: SecretsSettings| {
        let mut settings = settings(checkout.to_str().unwrap());
        settings.sources[0].toml = Some(true);
        settings.sources[0].json = true;
        settings.secrets = secrets;
        Server::with(settings)
    };
    let paths = ["/orders-prod.json", "/billing-x.json", "/toml-x.json", "/plain-x.json"];
    let answers = |server: &Server| paths.map(|path| server.get(path).expect(200).json());
    let before = answers(&start(old.settings.clone()));
    assert_eq!(before[0]["db"]["password"], "prod");
    let key_files: Vec<String> = old
        .settings
        .key_files
        .iter()
        .map(|path| format!("{:?}", path.display().to_string()))
        .collect();
    let text =
        format!("[secrets]\nkey_files = [{}]\nseal_key_files = [{key:?}]\n", key_files.join(","));
    std::fs::write(place.path().join("headwater.toml"), text).unwrap();
    let output = seal(place.path(), &["--migrate", "config"], "");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.lines().count(), 5, "{said}");
    for (name, text) in &files {
        let new = std::fs::read_to_string(checkout.join(name)).unwrap();
        assert!(!new.contains("{cipher}"), "{name}: {new}");
        let parts = |text: &str, marker: &str| {
            let (head, tail) = text.split_once(marker)?;
            let end = tail.find(['\'', '"', '\r'])?;
            Some((head.to_owned(), tail[end..].to_owned()))
        };
        assert_eq!(parts(&new, "{sealed}"), parts(text, "{cipher}"), "{name}");
    }
    assert_eq!(answers(&start(seal_settings(&[&key]))), before);
    // There is nothing left to do.
    let again = seal(place.path(), &["--migrate", "config"], "");
    assert_eq!((again.status.code(), &*again.stdout), (Some(0), &b""[..]));
    std::fs::write(checkout.join("plain.yml"), "b: '{cipher}00'\n").unwrap();
    let left = seal(place.path(), &["--migrate", "config/plain.yml"], "");
    assert_eq!(left.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&left.stderr).contains("plain.yml:1:4: b: no key"));
}
