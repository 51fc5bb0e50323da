//! SOPS files that the real program made, with and without an identity.

use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use headwater::settings::{OnFailure, SecretsSettings};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::fixture::{Hosted, Repository, Server, directory, settings};

/// The recorded files with their identity.
struct Vectors {
    json: Json,
    place: TempDir,
}

impl Vectors {
    fn read() -> Self {
        let text = include_str!("../../../secrets/tests/vectors/sops.json");
        let json: Json = serde_json::from_str(text).unwrap();
        let place = directory(&format!("//- age.txt\n{}\n", json["identity"].as_str().unwrap()));
        let path = place.path().join("age.txt");
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
        Self { json, place }
    }

    fn identity(&self) -> SecretsSettings {
        let path: PathBuf = self.place.path().join("age.txt");
        SecretsSettings { age_identity_file: Some(path), ..SecretsSettings::default() }
    }

    fn all(&self) -> impl Iterator<Item = &Json> {
        let all = self.json["vectors"].as_array().unwrap().iter();
        all.filter(|vector| ["yaml", "json"].contains(&vector["format"].as_str().unwrap()))
    }

    fn text(&self, id: &str) -> &str {
        let mut all = self.all();
        all.find(|vector| vector["id"] == id).unwrap()["text"].as_str().unwrap()
    }
}

fn server(repository: &Repository, secrets: SecretsSettings) -> Server {
    let mut settings = settings(&repository.uri());
    settings.sources[0].json = true;
    settings.secrets = secrets;
    Server::with(settings)
}

/// Numbers are equal if their values are.
fn normal(value: &Json) -> Json {
    match value {
        Json::Number(number) => json!(format!("{:e}", number.as_f64().unwrap())),
        Json::Array(items) => items.iter().map(normal).collect(),
        Json::Object(entries) => {
            entries.iter().map(|(key, value)| (key.clone(), normal(value))).collect()
        }
        other => other.clone(),
    }
}

#[test]
fn files_open_as_the_real_program_opens_them() {
    let vectors = Vectors::read();
    let (mut sealed, mut plain) = (String::new(), String::new());
    let mut opened = Vec::new();
    let mut broken = Vec::new();
    for (number, vector) in vectors.all().enumerate() {
        let extension = vector["format"].as_str().unwrap();
        writeln!(sealed, "//- v{number}.{extension}\n{}", vector["text"].as_str().unwrap())
            .unwrap();
        match vector["plain"].as_str() {
            // The tag of the merge key is one that neither Spring nor Headwater reads.
            Some(_) if vector["id"] == "anchors.yaml" => {}
            Some(text) => {
                writeln!(plain, "//- v{number}.{extension}\n{text}").unwrap();
                opened.push(number);
            }
            None if vector["id"] == "other-recipient.yaml" => {}
            None => broken.push(number),
        }
    }
    let (sealed, plain) = (Repository::new(&sealed), Repository::new(&plain));
    let with = server(&sealed, vectors.identity());
    let without = server(&sealed, SecretsSettings::default());
    let plain = server(&plain, SecretsSettings::default());
    for number in &opened {
        let path = format!("/v{number}-none.json");
        let [found, expected] = [&with, &plain].map(|it| normal(&it.get(&path).expect(200).json()));
        assert_eq!(found, expected, "{number}");
        let kept = without.get(&path).expect(200).json();
        assert!(kept.get("sops").is_none(), "{kept}");
        assert!(kept.to_string().contains("ENC[AES256_GCM,"), "{kept}");
        assert_eq!(with.get("/-/problems").expect(200).json()["problems"], json!([]));
    }
    for number in &broken {
        let path = format!("/v{number}/none");
        let error = with.get(&path).expect(500).text();
        assert!(error.contains("SOPS file"), "{error}");
        without.get(&path).expect(200);
    }
    assert!(opened.len() >= 9 && broken.len() >= 6, "{opened:?} {broken:?}");
}

#[test]
fn a_push_of_a_changed_file_is_rejected_and_one_by_another_way_is_held_back() {
    let vectors = Vectors::read();
    let good = vectors.text("part.yaml");
    let bad = vectors.text("bad-clear-changed.yaml");
    let hosted = Hosted::with(&format!("//- app.yml\n{good}"), |settings| {
        settings.secrets = vectors.identity();
    });
    let tree = hosted.clone("work");
    for (text, reason) in [
        (bad, "app.yml: the MAC of the SOPS file does not match its values"),
        (
            vectors.text("other-recipient.yaml"),
            "db.password: the SOPS file is sealed for other age recipients",
        ),
        (
            &*good.replacen("age:", "kms:", 1),
            "db.password: the SOPS file has no age recipient. Its kinds of recipients: kms",
        ),
    ] {
        tree.commit(&format!("//- app.yml\n{text}"));
        let said = tree.push(&["main"]).fails(&[reason]);
        assert!(!said.err.contains("s3cret") && !said.err.contains("ENC["), "{}", said.err);
        tree.git(&["reset", "--quiet", "--hard", "origin/main"]).succeeds();
    }
    let flat = hosted.server.get("/app-none.json").expect(200).json();
    assert_eq!(flat["db"]["password"], "s3cret-\u{fc}\u{20ac}");

    let repository = Repository::new(&format!("//- app.yml\n{good}//- other.yml\na: 1\n"));
    let tip = repository.commit(&format!("//- app.yml\n{bad}"));
    let server = server(&repository, vectors.identity());
    let reply = server.get("/app/none").expect(200);
    assert_eq!(reply.header("headwater-held-at"), Some(&*tip));
    assert!(server.get("/other/none").expect(200).header("headwater-held-at").is_none());
    let problems = server.get("/-/problems").expect(200).text();
    assert!(problems.contains("the MAC of the SOPS file"), "{problems}");
}

#[test]
fn a_value_that_does_not_open_can_hold_the_environment() {
    let vectors = Vectors::read();
    let repository = Repository::new("//- app.yml\na: 1\n");
    let file = format!("//- app.yml\n{}", vectors.text("other-recipient.yaml"));
    let tip = repository.commit(&file);
    let spring = server(&repository, vectors.identity());
    let body = spring.get("/app/none").expect(200).json();
    assert_eq!(body["propertySources"][0]["source"], json!({"invalid.db.password": "<n/a>"}));
    let hold = SecretsSettings { on_failure: OnFailure::Hold, ..vectors.identity() };
    let reply = server(&repository, hold).get("/app/none").expect(200);
    assert_eq!(reply.header("headwater-held-at"), Some(&*tip));
    assert_eq!(reply.json()["propertySources"][0]["source"], json!({"a": 1}));
}
