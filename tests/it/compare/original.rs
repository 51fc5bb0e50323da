//! The real original beside Headwater: public-style repositories, and the fixtures of the oracle.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use super::{build, compare};
use crate::fixture::{ORIGINAL, Original, installed};
use crate::oracle::{lay_out, recording};

/// The repositories, with the profiles and files that are compared too.
const REPOSITORIES: &[(&str, &[&str])] = &[
    ("petclinic", &["--profiles", "docker,mysql"]),
    ("gitflow", &["--profiles", "dev,prod", "--config", "gitflow.toml"]),
    ("monorepo", &["--search-path", "{application}", "--profiles", "k8s,eu"]),
    ("imports", &["--profiles", "prod,eu"]),
    (
        "templates",
        &[
            "--file",
            "nginx.conf",
            "--file",
            "motd",
            "--file",
            "logo.json",
            "--file",
            "logback.xml",
            "--file",
            "telegraf.toml",
        ],
    ),
];

/// What the original is told about a repository beyond its address.
fn options(name: &str) -> Vec<String> {
    match name {
        "monorepo" => {
            vec!["--spring.cloud.config.server.git.search-paths={application}".to_owned()]
        }
        _ => Vec::new(),
    }
}

#[test]
fn public_repositories_are_served_as_by_the_original() {
    if !installed(&ORIGINAL) {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let mut original = Original::start();
    let mut found = String::new();
    for &(name, arguments) in REPOSITORIES {
        build(name, place.path());
        let clone = place.path().join(name);
        let uri = format!("--spring.cloud.config.server.git.uri=file://{}", clone.display());
        let spring = original.serve(&[vec![uri], options(name)].concat());
        fs::write(
            place.path().join("gitflow.toml"),
            "[[source]]\nuri = \"gitflow.git\"\ndefault_label = \"main\"\n",
        )
        .unwrap();
        let source = format!("{name}.git");
        let forms = ["--forms", "yml,properties,json"];
        let said = compare(place.path(), &[&[&*spring, &source], &forms[..], arguments].concat());
        println!("{name}: {}", said.summary());
        let documented = match name {
            "templates" => {
                said.summary().contains("as documented (Keys of XML files keep their order)")
            }
            // Spring refuses two applications whole; where one of them is answered, its nested forms hold a list beside a text.
            "imports" => said.summary().contains(
                "as documented (A bad file is an error of its own, not a missing master; \
                 Imports of other stores are data)",
            ),
            _ => !said.summary().contains("as documented"),
        };
        if said.code != Some(0) || !documented {
            writeln!(found, "{name}: {}{}", said.out, said.err).unwrap();
        }
    }
    assert!(found.is_empty(), "{found}");
}

/// A setup of the oracle as the arguments of the original and as our settings file, with all that is in it beside them.
struct Setup {
    place: TempDir,
    arguments: Vec<String>,
}

impl Setup {
    fn of(name: &str) -> Self {
        let recorded = recording(name);
        let place = tempfile::tempdir().unwrap();
        lay_out(&recorded, place.path());
        let sources = recorded["server"]["sources"].as_array().unwrap();
        for source in sources.iter().filter(|source| source["kind"] == "git") {
            with_git(place.path(), source["fixture"].as_str().unwrap());
        }
        fs::write(place.path().join("headwater.toml"), settings(&recorded["server"])).unwrap();
        let arguments = arguments(&recorded["server"], place.path());
        Self { place, arguments }
    }
}

/// The fixture as a clone in place of a checkout without its repository.
fn with_git(place: &Path, fixture: &str) {
    let clone = place.join(fixture);
    fs::remove_dir_all(&clone).unwrap();
    let bare = place.join(format!("{fixture}.git"));
    crate::oracle::repository::git(&[
        "clone",
        "-q",
        bare.to_str().unwrap(),
        clone.to_str().unwrap(),
    ]);
}

const SERVER: &str = "--spring.cloud.config.server.";

fn arguments(server: &Value, place: &Path) -> Vec<String> {
    let mut arguments = Vec::new();
    let sources = server["sources"].as_array().unwrap();
    let is_composite = sources.len() > 1 || server["composite"] == true;
    for (number, source) in sources.iter().enumerate() {
        let kind = source["kind"].as_str().unwrap();
        let at = if is_composite {
            format!("{SERVER}composite[{number}].")
        } else {
            format!("{SERVER}{kind}.")
        };
        let fixture = place.join(source["fixture"].as_str().unwrap());
        match kind {
            "git" => arguments.push(format!("{at}uri=file://{}", fixture.display())),
            _ => arguments.push(format!("{at}search-locations[0]=file:{}/", fixture.display())),
        }
        for (number, path) in texts(&source["search_paths"]).iter().enumerate() {
            arguments.push(format!("{at}search-paths[{number}]={path}"));
        }
        if let Some(label) = source["default_label"].as_str() {
            arguments.push(format!("{at}default-label={label}"));
        }
        if is_composite {
            arguments.push(format!("{at}type={kind}"));
        } else if kind == "native" {
            arguments.push("--spring.profiles.active=native".to_owned());
        }
    }
    if is_composite {
        arguments.push("--spring.profiles.active=composite".to_owned());
    }
    for (key, value) in server["overrides"].as_object().into_iter().flatten() {
        arguments.push(format!("{SERVER}overrides.{key}={}", value.as_str().unwrap()));
    }
    arguments
}

fn texts(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items.map(|item| item.as_str().unwrap().to_owned()).collect()
}

fn settings(server: &Value) -> String {
    let mut text = String::new();
    let overrides = server["overrides"].as_object().into_iter().flatten();
    writeln!(text, "[overrides]").unwrap();
    for (key, value) in overrides {
        let value = value.as_str().unwrap().replace("\\${", "${").replace("\\{", "{");
        writeln!(text, "{key:?} = {value:?}").unwrap();
    }
    for source in server["sources"].as_array().unwrap() {
        let fixture = source["fixture"].as_str().unwrap();
        let uri =
            if source["kind"] == "git" { format!("{fixture}.git") } else { fixture.to_owned() };
        writeln!(text, "[[source]]\nuri = {uri:?}").unwrap();
        writeln!(text, "search_paths = {:?}", texts(&source["search_paths"])).unwrap();
        if let Some(label) = source["default_label"].as_str() {
            writeln!(text, "default_label = {label:?}").unwrap();
        }
    }
    text
}

/// The setups that are compared: the fleet, and one for each way to arrange sources.
const SETUPS: [&str; 11] = [
    "fleet-git",
    "fleet-native",
    "labels",
    "native",
    "search-two",
    "search-star",
    "search-profile",
    "search-label",
    "composite-git",
    "composite-native",
    "overrides",
];

#[test]
fn fixtures_of_the_oracle_differ_only_as_documented() {
    if !installed(&ORIGINAL) {
        return;
    }
    let only = std::env::var("COMPARE_ONLY").ok();
    let mut original = Original::start();
    let mut found = String::new();
    for name in SETUPS.iter().filter(|name| only.as_ref().is_none_or(|only| only == *name)) {
        let setup = Setup::of(name);
        let spring = original.serve(&setup.arguments);
        let few: &[&str] = if recording(name)["fixtures"][0] == "surprises" {
            // It has thousands of environments.
            &["--application", "application", "--label", "main"]
        } else {
            &[]
        };
        let said =
            compare(setup.place.path(), &[&[&*spring, "--forms", "properties"], few].concat());
        println!("{name}: {}", said.summary());
        if said.code != Some(0) {
            writeln!(found, "{name}: {}{}", said.out, said.err).unwrap();
        }
    }
    assert!(found.is_empty(), "{found}");
}
