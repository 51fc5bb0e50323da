//! The files in `deploy/monitoring`: Prometheus' own program reads and tests them, and a running server has every metric
//! that they name.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use headwater::settings::SourceSettings;
use serde_json::Value;

use super::{read, root};
use crate::fixture::{Repository, Server, directory, eventually, settings};

const DIRECTORY: &str = "deploy/monitoring";
const RULES: &str = "deploy/monitoring/alerts.yaml";

/// Runs promtool in a directory, with an input. Returns its output if it succeeds, and its complaint otherwise.
fn promtool(place: &Path, arguments: &[&str], input: &str) -> Result<String, String> {
    let mut child = Command::new("promtool")
        .args(arguments)
        .current_dir(place)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs: scripts/install-test-deps.sh installs it");
    // A program that needs no input does not read it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    if output.status.success() { Ok(text) } else { Err(text) }
}

#[test]
fn promtool_takes_the_rules_and_would_refuse_wrong_ones() {
    let place = root().join(DIRECTORY);
    promtool(&place, &["check", "rules", "alerts.yaml"], "").unwrap();
    promtool(&place, &["test", "rules", "alerts-test.yaml"], "").unwrap();
    promtool(&place, &["check", "config", "--syntax-only", "prometheus.yaml"], "").unwrap();
    let (rules, tests) = (read(RULES), read("deploy/monitoring/alerts-test.yaml"));
    for (old, new) in [
        ("headwater_watchers > 16000", "headwater_watchers > 17500"),
        ("headwater_held_back > 0", "headwater_held_back >= 0"),
        ("(headwater_faults) > 0", "(headwater_fault) > 0"),
        ("outcome=\"unknown\"", "outcome=\"accepted\""),
        ("state=\"paused\"", "state=\"running\""),
        ("route!=\"git\"", "route!=\"\""),
    ] {
        assert!(rules.contains(old), "{old}");
        let changed = directory("");
        std::fs::write(changed.path().join("alerts.yaml"), rules.replace(old, new)).unwrap();
        std::fs::write(changed.path().join("alerts-test.yaml"), &tests).unwrap();
        let tested = promtool(changed.path(), &["test", "rules", "alerts-test.yaml"], "");
        assert!(tested.is_err(), "the tests do not notice {new}");
    }
}

#[test]
fn promtool_takes_the_metrics_of_a_server() {
    let (_repository, _data, server) = server();
    let metrics = server.get_with("/metrics", &[("Accept", "text/plain")]).expect(200).text();
    let place = root().join(DIRECTORY);
    let checked = promtool(&place, &["check", "metrics"], &metrics);
    assert_eq!(checked.as_deref(), Ok(""), "{metrics}");
    assert!(promtool(&place, &["check", "metrics"], "a_b{ 1\n").is_err());
}

/// A policy with an issuer and an expired token. Everyone may read the metrics.
const POLICY: &str = r#"//- policy.toml
version = 1
issuer = [{ name = "platform", issuer = "https://issuer.example.org", audience = "headwater", jwks_file = "keys.json" }]
[[principal]]
name = "ops"
kind = "operator"
tokens = [
    { sha256 = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8" },
    { sha256 = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b", expires = 2020-01-01 },
]
[[allow]]
who = ["anonymous"]
may = ["metrics"]
//- keys.json
{"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "1", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}
"#;

/// A hosted repository, seeded from a directory in a place, so that a server has the metrics of rollouts.
pub(crate) fn hosted(place: &Path) -> SourceSettings {
    let seed = place.join("seed");
    std::fs::create_dir(&seed).unwrap();
    std::fs::write(seed.join("hosted.yml"), "a: 1\n").unwrap();
    SourceSettings { uri: "hosted:main".to_owned(), seed: Some(seed), ..SourceSettings::default() }
}

/// A server with a mirrored source, a hosted one and a policy, so that it has the metrics of remotes, rollouts, issuers and
/// credentials.
fn server() -> (Repository, tempfile::TempDir, Server) {
    let (repository, data) = (Repository::new("//- orders.yml\na: 1\n"), directory(POLICY));
    let mut settings = settings(&repository.uri());
    settings.access.policy_file = Some(data.path().join("policy.toml"));
    settings.sources[0].mirror = true;
    settings.sources.push(hosted(data.path()));
    settings.data = data.path().join("data");
    let server = Server::with(settings);
    eventually("it is mirrored", || {
        server.get("/metrics").expect(200).text().contains("last_fetch_age_seconds{")
    });
    (repository, data, server)
}

/// The metrics that a text names.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let is_metric = |word: &&str| word.starts_with("headwater_") || word.starts_with("process_");
    words.filter(is_metric).map(str::to_owned).collect()
}

#[test]
fn every_metric_of_the_files_is_one_of_a_server() {
    let (_repository, _data, server) = server();
    let metrics = server.get("/metrics").expect(200).text();
    let samples: BTreeSet<&str> = metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    for file in ["alerts.yaml", "alerts-test.yaml", "dashboard.json", "prometheus.yaml"] {
        for name in named(&read(&format!("{DIRECTORY}/{file}"))) {
            assert!(samples.contains(&*name), "{file} names {name}, which no server has");
        }
    }
    assert!(named(&read(RULES)).len() >= 15);
}

/// The panels of the dashboard, without the headings of rows.
fn panels() -> Vec<Value> {
    let dashboard: Value = serde_json::from_str(&read("deploy/monitoring/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "two panels have one id");
    panels.iter().filter(|panel| panel["type"] != "row").cloned().collect()
}

#[test]
fn the_dashboard_shows_what_a_server_measures() {
    let panels = panels();
    assert!(panels.len() >= 20, "{}", panels.len());
    let mut shown = BTreeSet::new();
    for panel in &panels {
        let place = &panel["gridPos"];
        assert!(place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap() <= 24, "{panel}");
        for target in panel["targets"].as_array().unwrap() {
            shown.extend(named(target["expr"].as_str().unwrap()));
        }
    }
    let (_repository, _data, server) = server();
    let metrics = server.get("/metrics").expect(200).text();
    for line in metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, _) = line.split_once(' ').unwrap();
        let is_shown = shown.iter().any(|it| it.starts_with(name));
        assert!(is_shown, "no panel shows {name}");
    }
}
