//! The original and Headwater with the same keystore: each opens what the other sealed, and their answers are equal.

use std::process::Command;

use serde_json::{Value as Json, json};

use super::keys::Vectors;
use super::sealing::{TEXT, post};
use crate::fixture::{Address, ORIGINAL, Original, Reply, Repository, Server, installed, settings};

/// The media type of the second representation.
const V2: &str = "Accept: application/vnd.spring-cloud.config-server.v2+json\r\n";

fn address(url: &str) -> Address {
    Address(url.strip_prefix("http://").unwrap().parse().unwrap())
}

/// Asks by HTTP/1.0, to which the original answers in one piece.
#[track_caller]
fn get(server: Address, path: &str, header: &str) -> Reply {
    server.send(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n{header}\r\n").as_bytes())
}

/// The properties of the only source, in the order of the answer.
#[track_caller]
fn source(server: Address, header: &str) -> String {
    let body = get(server, "/app/dev", header).expect(200).json();
    let sources = body["propertySources"].as_array().unwrap();
    assert_eq!(sources.len(), 1, "{body}");
    sources[0]["source"].to_string()
}

#[test]
fn twenty_values_are_answered_as_by_the_original() {
    if !installed(&ORIGINAL) {
        return;
    }
    let keys = Vectors::read().key_files("jks-default");
    let path = |file: &Option<std::path::PathBuf>| file.as_ref().unwrap().display().to_string();
    let text = |file| std::fs::read_to_string(path(file)).unwrap();
    let secrets = &keys.settings;
    let encrypt = [
        format!("--encrypt.key-store.location=file:{}", path(&secrets.keystore)),
        format!("--encrypt.key-store.password={}", text(&secrets.keystore_password_file)),
        format!("--encrypt.key-store.alias={}", secrets.alias.as_ref().unwrap()),
        format!("--encrypt.key-store.secret={}", text(&secrets.key_password_file)),
    ];
    let mut original = Original::start();
    let mut serve = |repository: &Repository| {
        let clone = repository.around().join("clone");
        let clone_of = ["clone", "--quiet", &repository.uri()];
        assert!(Command::new("git").args(clone_of).arg(&clone).status().unwrap().success());
        let uri = format!("--spring.cloud.config.server.git.uri=file://{}", clone.display());
        let spring = address(&original.serve(&[vec![uri], encrypt.to_vec()].concat()));
        let mut settings = settings(&repository.uri());
        settings.secrets = secrets.clone();
        (spring, Server::with(settings))
    };
    let first = Repository::new("//- app.yml\na: 1\n");
    let (spring, server) = serve(&first);
    assert_eq!(get(spring, "/key", "").expect(200).text(), server.get("/key").text());
    let mut file = String::from("//- app.yml\nplain: 1\ntext: in {cipher}00 it\n");
    let mut values = Vec::new();
    for number in 0..20 {
        let plain = format!("value {number} ü");
        let sealer = if number % 2 == 0 { spring } else { *server };
        let sealed = post(sealer, "/encrypt", &[TEXT], &plain).expect(200).text();
        let key = if number < 16 { format!("v{number}") } else { format!("list[{}]", number - 16) };
        file += &format!("{key}: {}\n", Json::from(format!("{{cipher}}{sealed}")));
        values.push((key, plain));
    }
    file += "bad: '{cipher}AQA'\nurl: db://u:${v3}@host\n";
    drop(server);
    let second = Repository::new(&file);
    let (spring, server) = serve(&second);
    for header in ["", V2] {
        let ours = source(*server, header);
        assert_eq!(ours, source(spring, header));
        let ours: Json = serde_json::from_str(&ours).unwrap();
        assert!(values.iter().all(|(key, plain)| ours[key] == json!(plain)), "{ours}");
        assert_eq!(ours["invalid.bad"], "<n/a>");
    }
    for extension in ["yml", "properties", "json"] {
        let path = format!("/app-dev.{extension}");
        let ours = get(*server, &path, "").expect(200).text();
        assert_eq!(ours, get(spring, &path, "").expect(200).text());
        assert!(ours.contains("db://u:value 3 ü@host"), "{ours}");
    }
}
