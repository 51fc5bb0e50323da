//! The server opens Spring's `{cipher}` values: the answers, their tags, and the start without usable keys.

use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use headwater::settings::{RsaAlgorithm, SecretsSettings};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::keys::{KeyFiles, Vectors};
use crate::fixture::{Hosted, Repository, Server, command, directory, eventually, settings};

/// The media type of the second representation.
const V2: (&str, &str) = ("Accept", "application/vnd.spring-cloud.config-server.v2+json");
/// The phrase of a problem for a value that no key opens.
const UNOPENED: &str = "no key of the server opens this sealed value";

fn server_with(repository: &Repository, keys: &KeyFiles) -> Server {
    let mut settings = settings(&repository.uri());
    settings.secrets = keys.settings.clone();
    Server::with(settings)
}

/// A line of YAML with any text as its value.
fn line(key: &str, value: &str) -> String {
    format!("{key}: {}\n", Json::from(value))
}

/// The properties of the only source, in the order of the answer.
#[track_caller]
fn properties(server: &Server, path: &str, representation: &[(&str, &str)]) -> Vec<(String, Json)> {
    let body = server.get_with(path, representation).expect(200).json();
    let sources = body["propertySources"].as_array().unwrap();
    assert_eq!(sources.len(), 1, "{body}");
    let source = sources[0]["source"].as_object().unwrap();
    source.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// All good values and oddities of the original, with every set of keys that settings can describe.
#[test]
fn every_vector_is_answered_as_the_original_answers_it() {
    let vectors = Vectors::read();
    let sets = vectors.configurable_sets();
    let mut files = String::new();
    for set in &sets {
        writeln!(files, "//- {set}.yml\nplain: in {{cipher}}00 it").unwrap();
        for (number, vector) in vectors.of_set(set).enumerate() {
            files += &line(&format!("v{number}"), &vector.value);
            files += &line(&format!("list[{number}]"), &vector.value);
        }
    }
    let repository = Repository::new(&files);
    let mut count = 0;
    for set in &sets {
        let keys = vectors.key_files(set);
        let server = server_with(&repository, &keys);
        let mut expected = vec![("plain".to_owned(), json!("in {cipher}00 it"))];
        let mut opened = Vec::new();
        for (number, vector) in vectors.of_set(set).enumerate() {
            for key in [format!("v{number}"), format!("list[{number}]")] {
                expected.push(match &vector.plain {
                    Some(plain) => (key, json!(plain)),
                    None => (format!("invalid.{key}"), json!("<n/a>")),
                });
            }
            opened.push(vector.plain.clone());
            count += 1;
        }
        let path = format!("/{set}/none");
        assert_eq!(properties(&server, &path, &[]), expected, "{set}");
        // Opened values have no origin.
        let tracked = properties(&server, &path, &[V2]);
        assert_eq!(tracked[1..], expected[1..], "{set}");
        assert_eq!(tracked[0].1["value"], "in {cipher}00 it");
        let flat = server.get(&format!("/{set}-none.json?resolvePlaceholders=false"));
        let flat = flat.expect(200).json();
        let failed = &flat["invalid"];
        for (number, plain) in opened.iter().enumerate() {
            let key = format!("v{number}");
            match plain {
                Some(plain) => {
                    assert_eq!(flat[&key], *plain, "{set}");
                    assert_eq!(flat["list"][number], *plain, "{set}");
                }
                None => {
                    assert_eq!(failed[&key], "<n/a>", "{set}");
                    assert_eq!(failed["list"][number], "<n/a>", "{set}");
                    assert_eq!(flat["list"].get(number).unwrap_or(&Json::Null), &Json::Null);
                }
            }
        }
    }
    assert_eq!(sets.len(), 19);
    assert_eq!(count, vectors.count_of(&sets));
    assert!(count >= 46, "{count}");
}

#[test]
fn a_changed_value_is_never_answered_with_its_text() {
    let vectors = Vectors::read();
    let vector = vectors.of_set("sym-default").next().unwrap();
    let plain = vector.plain.clone().unwrap();
    let start = "{cipher}".len();
    let mut files = String::from("//- app.yml\n");
    for at in start..vector.value.len() {
        let mut changed = vector.value.clone().into_bytes();
        changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
        files += &line(&format!("at{at}"), &String::from_utf8(changed).unwrap());
    }
    let repository = Repository::new(&files);
    let server = server_with(&repository, &vectors.key_files("sym-default"));
    let found = properties(&server, "/app/none", &[]);
    assert_eq!(found.len(), vector.value.len() - start);
    let same = found.iter().filter(|(_, value)| *value == json!(plain));
    // The last block is only padding to some extent, and the IV is not authentic: no text equals the sealed one.
    assert_eq!(same.count(), 0);
    assert!(found.iter().any(|(key, value)| key.starts_with("invalid.at") && value == "<n/a>"));
}

#[test]
fn flat_forms_and_files_see_opened_values_and_a_file_is_never_opened() {
    let keys = KeyFiles::passphrases(&["k"]);
    let repository = Repository::new(&format!(
        "//- app.yml\n{}url: db://u:${{password}}@host\nlist:\n- a\n- {}\n//- app.txt\n{} ${{password}}\n",
        line("password", &keys.seal("s3cret")),
        Json::from(keys.seal("b")),
        keys.seal("in a file"),
    ));
    let server = server_with(&repository, &keys);
    let flat = server.get("/app-none.json").expect(200).json();
    assert_eq!(flat["url"], "db://u:s3cret@host");
    assert_eq!(flat["list"], json!(["a", "b"]));
    let text = server.get("/app-none.properties").expect(200).text();
    assert!(text.contains("url: db://u:s3cret@host"), "{text}");
    let yaml = server.get("/app-none.yml").expect(200).text();
    assert!(yaml.contains("password: s3cret"), "{yaml}");
    let file = server.get("/app/none/main/app.txt").expect(200);
    // The text can change without a new revision, so that it has no time of change.
    assert_eq!(file.header("last-modified"), None);
    let later = [("If-Modified-Since", "Fri, 31 Dec 2100 23:59:59 GMT")];
    server.get_with("/app/none/main/app.txt", &later).expect(200);
    let file = file.text();
    assert!(file.starts_with("{cipher}") && file.contains(" s3cret"), "{file}");
    let first = server.get("/app/none").expect(200).json();
    assert_eq!(first["propertySources"][0]["source"]["url"], "db://u:${password}@host");
}

#[test]
fn a_key_changes_the_tag_of_environments_with_sealed_values_and_of_no_other() {
    let keys = KeyFiles::passphrases(&["k"]);
    let other = KeyFiles::passphrases(&["other"]);
    let files =
        format!("//- app.yml\n{}//- plain.yml\na: 1\n", line("password", &keys.seal("s3cret")));
    let repository = Repository::new(&files);
    let none = Server::start(&repository.uri());
    let (wrong, right) = (server_with(&repository, &other), server_with(&repository, &keys));
    let again = server_with(&repository, &keys);
    let tag = |server: &Server, path: &str| {
        server.get(path).expect(200).header("etag").unwrap().to_owned()
    };
    let sealed = none.get("/app/none").expect(200).text();
    assert!(sealed.contains("{cipher}") && !sealed.contains("invalid."), "{sealed}");
    let [without, failed, opened] = [&none, &wrong, &right].map(|it| tag(it, "/app/none"));
    assert_ne!(without, failed);
    assert_ne!(failed, opened);
    assert_ne!(without, opened);
    assert_eq!(tag(&again, "/app/none"), opened);
    right.get_with("/app/none", &[("If-None-Match", &failed)]).expect(200);
    right.get_with("/app/none", &[("If-None-Match", &opened)]).expect(304);
    assert_eq!(tag(&none, "/plain/none"), tag(&right, "/plain/none"));
}

#[test]
fn a_watcher_wakes_when_a_sealed_value_changes() {
    let keys = KeyFiles::passphrases(&["k"]);
    let file = |text: &str| format!("//- app.yml\n{}", line("password", &keys.seal(text)));
    let repository = Repository::new(&format!("{}//- other.yml\na: 1\n", file("first")));
    let server = server_with(&repository, &keys);
    let tag = server.get("/app/none").expect(200).header("etag").unwrap().to_owned();
    let other = server.get("/other/none").expect(200).header("etag").unwrap().to_owned();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let headers = [("If-None-Match", tag.as_str()), ("Prefer", "wait=3155760000")];
            server.get_with("/app/none", &headers)
        });
        eventually("the long poll waits", || {
            server.get("/metrics").text().contains("headwater_watchers 1")
        });
        repository.commit(&file("second"));
        let changed = waiting.join().unwrap().expect(200).text();
        assert!(changed.contains("\"password\":\"second\""), "{changed}");
    });
    server.get_with("/other/none", &[("If-None-Match", &other)]).expect(304);
}

#[test]
fn an_older_key_opens_until_it_is_removed_and_problems_name_what_no_key_opens() {
    let both = KeyFiles::passphrases(&["new", "old"]);
    let old = KeyFiles::passphrases(&["old"]);
    let new = KeyFiles::passphrases(&["new"]);
    let repository = Repository::new(&format!(
        "//- app.yml\na: 1\n{}{}",
        line("before", &old.seal("s3cret-old")),
        line("after", &new.seal("s3cret-new")),
    ));
    let server = server_with(&repository, &both);
    let expected =
        [("a", json!(1)), ("before", json!("s3cret-old")), ("after", json!("s3cret-new"))];
    let expected = expected.map(|(key, value)| (key.to_owned(), value));
    assert_eq!(properties(&server, "/app/none", &[]), expected);
    assert_eq!(server.get("/-/problems").expect(200).json()["problems"], json!([]));
    let server = server_with(&repository, &new);
    server.get("/app/none").expect(200);
    let problems = server.get("/-/problems").expect(200);
    let listed = problems.json()["problems"].as_array().unwrap().clone();
    assert_eq!(listed.len(), 1, "{}", problems.text());
    assert_eq!(listed[0]["file"], "app.yml");
    assert_eq!(listed[0]["line"], 2);
    assert_eq!(listed[0]["key"], "before");
    assert!(listed[0]["reason"].as_str().unwrap().contains(UNOPENED), "{}", problems.text());
    assert!(!problems.text().contains("s3cret") && !problems.text().contains("{cipher}"));
}

#[test]
fn a_push_with_a_value_that_no_key_opens_is_rejected_and_an_old_value_stays() {
    let keys = KeyFiles::passphrases(&["k"]);
    let other = KeyFiles::passphrases(&["other"]);
    let stale = line("stale", &other.seal("s3cret-stale"));
    let hosted = Hosted::with(&format!("//- app.yml\n{stale}"), |settings| {
        settings.secrets = keys.settings.clone();
    });
    let before = hosted.tip("main");
    let tree = hosted.clone("work");
    let bad = other.seal("s3cret-bad");
    tree.commit(&format!("//- app.yml\n{stale}a: 1\n{}", line("password", &bad)));
    let said = tree.push(&["main"]).fails(&[
        &format!("app.yml:3:11: password: {UNOPENED}"),
        "push rejected, no branch was updated",
    ]);
    assert!(!said.err.contains("stale") && !said.err.contains(&bad[8..]), "{}", said.err);
    assert_eq!(hosted.tip("main"), before);
    let good = line("password", &keys.seal("s3cret-good"));
    tree.commit(&format!("//- app.yml\n{stale}a: 1\n{good}"));
    tree.push(&["main"]).succeeds();
    let body = hosted.server.get("/app/none").expect(200).json();
    let source = &body["propertySources"][0]["source"];
    let expected = json!({"a": 1, "invalid.stale": "<n/a>", "password": "s3cret-good"});
    assert_eq!(*source, expected);
}

#[test]
fn overrides_are_opened_in_their_place() {
    let keys = KeyFiles::passphrases(&["k"]);
    let repository = Repository::new("//- app.yml\na: 1\n");
    let mut settings = settings(&repository.uri());
    settings.secrets = keys.settings.clone();
    settings.overrides =
        vec![("password".to_owned(), keys.seal("s3cret")), ("last".to_owned(), "x".to_owned())];
    let server = Server::with(settings);
    let source = |representation: &[(&str, &str)]| {
        let body = server.get_with("/app/none", representation).expect(200).json();
        body["propertySources"][0]["source"].to_string()
    };
    assert_eq!(source(&[]), r#"{"password":"s3cret","last":"x"}"#);
    assert!(
        source(&[V2])
            .starts_with(r#"{"password":{"value":"s3cret","origin":"Config server overrides"}"#)
    );
}

/// A directory with settings, and the output of a start that fails.
#[track_caller]
fn start_fails(fixture: &str, open_files: &[&str], variables: &[(&str, &str)]) -> String {
    let place: TempDir = directory(fixture);
    for entry in std::fs::read_dir(place.path()).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let mode = if open_files.contains(&&*name) { 0o644 } else { 0o600 };
        if path.is_file() {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        }
    }
    let mut start = command(place.path());
    start.args(["serve", "--listen", "127.0.0.1:0"]).envs(variables.iter().copied());
    let output = start.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(!said.contains("s3cret"), "{said}");
    said
}

#[test]
fn a_server_with_an_unusable_key_does_not_start() {
    let table = |text: &str| {
        format!("//- config-repo/a.yml\na: 1\n//- headwater.toml\n[secrets]\n{text}\n")
    };
    let key_file = |text: &str| format!("{}//- key\n{text}\n", table("key_files = [\"key\"]"));
    let pem = "-----BEGIN RSA PRIVATE KEY----- s3cret -----END RSA PRIVATE KEY-----";
    for (fixture, open_files, expected) in [
        (
            key_file("s3cret"),
            &["key"][..],
            "the key file key cannot be used: every user of this machine",
        ),
        (key_file(" "), &[], "the key file key cannot be used: the key is empty"),
        (key_file(pem), &[], "the key file key cannot be used: the key is not a PEM"),
        (table("key_files = [\"none\"]"), &[], "the key file none cannot be used: No such file"),
        (table("key_files = [\".\"]"), &[], "the key file . cannot be used: not a regular file"),
        (
            table(
                "keystore = \"s\"\nkeystore_password_file = \"p\"\nalias = \"a\"\n//- s\nx\n//- p\ns3cret",
            ),
            &[],
            "the keystore s cannot be used: the keystore is neither JKS nor PKCS#12",
        ),
        (table("alias = \"a\""), &[], "must be set together"),
        (table("key = \"s3cret\""), &[], "unknown field `key`"),
        (
            format!("{}\n//- key\ns3cret\n", table("key_files = [\"key\"]\nsalt = \"xyz\"")),
            &[],
            "the salt is not hexadecimal",
        ),
        (
            format!(
                "{}[overrides]\np = \"{{cipher}}00\"\n//- key\ns3cret\n",
                table("key_files = [\"key\"]")
            ),
            &[],
            "the override p cannot be used",
        ),
    ] {
        let said = start_fails(&fixture, open_files, &[]);
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let variable = [("HEADWATER_ENCRYPT_KEY", "-----BEGIN PUBLIC KEY----- s3cret")];
    let said = start_fails(&table(""), &[], &variable);
    assert!(said.contains("HEADWATER_ENCRYPT_KEY cannot be used: the key is not a PEM"), "{said}");
    let variable = [("HEADWATER_ENCRYPT_KEY", "s3cret")];
    let said = start_fails(&key_file("s3cret"), &[], &variable);
    assert!(said.contains("set key_files or HEADWATER_ENCRYPT_KEY, not both"), "{said}");
}

#[test]
fn the_default_use_of_rsa_is_that_of_the_original() {
    let rsa = SecretsSettings::default().rsa;
    assert_eq!((rsa.algorithm, rsa.strong, &*rsa.salt), (RsaAlgorithm::Default, false, "deadbeef"));
}
