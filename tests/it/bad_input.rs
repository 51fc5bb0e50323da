//! What should not be in etcd, or is no etcd: it is said by `check`, in the log and at `/-/problems`, in the same words and
//! without a value, and nothing is served that is not whole.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;

use crate::fixture::{Child, Cluster, Server, command, directory, eventually};
use crate::sources::etcd::{certificates, cluster_with_tls};

/// Stands in values only.
const SECRET: &str = "hunter2";

/// What is looked at, and with what.
struct Asked<'a> {
    uri: &'a str,
    variables: &'a [(&'a str, &'a str)],
    /// Lines of the source in `headwater.toml`.
    settings: &'a str,
}

impl<'a> Asked<'a> {
    fn of(uri: &'a str) -> Self {
        Self { uri, variables: &[], settings: "" }
    }

    fn place(&self) -> TempDir {
        let place = tempfile::tempdir().unwrap();
        let settings = format!("[[source]]\nuri = \"{}\"\n{}", self.uri, self.settings);
        std::fs::write(place.path().join("headwater.toml"), settings).unwrap();
        place
    }

    fn serve(&self, place: &Path) -> Child {
        let settings = place.join("headwater.toml").display().to_string();
        Child::serve_with(&["--config", &settings], self.variables)
    }

    /// All three say it: the exit code of `check`, and what `orders` is answered.
    #[track_caller]
    fn says(&self, expected: &str, code: i32, status: u16) {
        let place = self.place();
        let output =
            command(place.path()).arg("check").envs(self.variables.iter().copied()).output();
        let output = output.unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains(expected), "check: {expected}: {said}");
        assert_eq!(output.status.code(), Some(code), "{said}");
        let server = self.serve(place.path());
        let mut answered = 0;
        let mut problems = Value::Null;
        eventually(expected, || {
            answered = server.get("/orders/default").status;
            problems = server.get("/-/problems").expect(200).json();
            let problems = problems["problems"].as_array().unwrap();
            problems.iter().any(|it| it["reason"].as_str().unwrap().contains(expected))
        });
        assert_eq!(answered, status, "{problems}");
        let source = &problems["problems"][0]["source"];
        assert!(source.as_str().unwrap().starts_with("etcd:"), "{problems}");
        let mut log = server.log();
        eventually("the log says it", || {
            log = server.log();
            log.lines().any(|line| line.contains(expected) && line.contains("WARN"))
        });
        for text in [&said, &log, &problems.to_string()] {
            assert!(!text.contains(SECRET) && !text.contains("panicked"), "{text}");
        }
    }
}

/// A prefix of a cluster that nobody else has, and a way to put keys below it.
struct Prefix {
    cluster: Arc<Cluster>,
    name: String,
}

impl Prefix {
    fn new(name: &str) -> Self {
        Self { cluster: Cluster::shared(), name: format!("bad-{name}") }
    }

    fn put(&self, rest: &str, value: &[u8]) -> &Self {
        self.cluster.put(&format!("{}/{rest}", self.name), value);
        self
    }

    /// With files that are as they should be.
    fn good(&self) -> &Self {
        self.put("v1/files/main/application.yml", b"a: 1").put("v1/files/main/orders.yml", b"b: 1")
    }

    #[track_caller]
    fn says(&self, expected: &str, code: i32, status: u16) {
        Asked::of(&self.cluster.uri(&self.name)).says(expected, code, status);
    }

    /// Published by `headwater copy`.
    fn publish(&self, fixture: &str) {
        let from = directory(fixture);
        let output = command(from.path())
            .args(["copy", ".", &self.cluster.uri(&self.name)])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn keys_that_are_no_files_are_passed_over_and_named() {
    let prefix = Prefix::new("names");
    prefix.good().put("v1/files/main/../escape.yml", SECRET.as_bytes());
    prefix.put("v1/files/main/bell\u{7}\u{202e}.yml", b"c: 1");
    prefix.says("is an unknown key", 1, 200);
    let place = Asked::of(&prefix.cluster.uri(&prefix.name)).place();
    let output = command(place.path()).arg("check").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    // No name of a key steers a terminal.
    assert!(said.contains("bad-names/v1/files/main/bell\\u{7}\\u{202e}.yml: "), "{said}");
    let prefix = Prefix::new("objects");
    prefix.good().put(&format!("v1/objects/{}", "ab".repeat(32)), SECRET.as_bytes());
    prefix.says("has a value that does not match the hash in its name", 1, 200);
}

#[test]
fn a_label_that_is_not_whole_is_not_served() {
    let hash = "cd".repeat(32);
    let prefix = Prefix::new("words");
    prefix.put("v1/refs/main", SECRET.as_bytes()).says(
        "has a value that is not the id of a revision",
        1,
        503,
    );
    let prefix = Prefix::new("missing");
    prefix.put("v1/refs/main", hash.as_bytes()).says("is missing, or is no revision", 1, 503);
    let prefix = Prefix::new("both");
    prefix.good().put("v1/refs/main", hash.as_bytes());
    prefix.says("is published and also has files written by hand", 1, 503);
    let prefix = Prefix::new("torn");
    prefix.good().put("v1/files/main/orders.yml/x", b"").says(
        "has a file in place of a directory",
        1,
        503,
    );
    let prefix = Prefix::new("partial");
    prefix.publish("//- application.yml\na: 1\n//- orders.yml\nb: 1\n");
    let objects = prefix.cluster.keys(&format!("{}/v1/objects/", prefix.name));
    let tip = prefix.cluster.keys(&format!("{}/v1/refs/", prefix.name));
    assert_eq!((objects.len(), tip.len()), (4, 1));
    let file = aws_digest(b"b: 1\n");
    prefix.cluster.delete(&format!("{}/v1/objects/{file}", prefix.name));
    prefix.says(&format!("object {file} is missing"), 1, 503);
}

/// SHA-256 as it is written in keys.
fn aws_digest(value: &[u8]) -> String {
    let output = std::process::Command::new("sha256sum")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .and_then(|mut process| {
            use std::io::Write;
            process.stdin.take().unwrap().write_all(value)?;
            process.wait_with_output()
        });
    String::from_utf8(output.unwrap().stdout).unwrap()[..64].to_owned()
}

#[test]
fn what_becomes_bad_while_it_is_served_is_said_and_said_to_be_over() {
    let prefix = Prefix::new("later");
    prefix.publish("//- application.yml\na: 1\n//- orders.yml\nb: 1\n");
    let asked = prefix.cluster.uri(&prefix.name);
    let place = Asked::of(&asked).place();
    let server = Asked::of(&asked).serve(place.path());
    let before = server.get("/orders/default").expect(200).json();
    let problems = || server.get("/-/problems").expect(200).json()["problems"].clone();
    assert_eq!(problems(), serde_json::json!([]));
    prefix.put("v1/files/main/orders.yml", SECRET.as_bytes());
    eventually("it is a problem", || {
        problems().to_string().contains("also has files written by hand")
    });
    eventually("the log names it", || server.log().contains("keys in etcd cannot be used"));
    assert_eq!(server.get("/orders/default").expect(200).json(), before);
    prefix.cluster.delete(&format!("{}/v1/files/main/orders.yml", prefix.name));
    eventually("it is none any more", || problems() == serde_json::json!([]));
    eventually("the log says so", || server.log().contains("the keys in etcd are in order again"));
    assert!(!server.log().contains(SECRET));
}

#[test]
fn files_that_are_too_large_or_of_no_known_encoding_are_held_back() {
    let cluster = Cluster::start_with(1, &["--max-request-bytes=16777216"]);
    let large = [b"b: ".as_slice(), &vec![b'x'; 5 * 1024 * 1024]].concat();
    for (name, content, expected) in [
        ("large", large.as_slice(), "file is larger than 4194304 bytes"),
        ("encoding", b"b: \xc3\x28 hunter2", "is not part of utf-8 text"),
    ] {
        cluster.put(&format!("{name}/v1/files/main/orders.yml"), content);
        cluster.put(&format!("{name}/v1/files/main/cart.yml"), b"c: 1");
        Asked::of(&cluster.uri(name)).says(expected, 1, 500);
    }
}

#[test]
fn a_file_is_said_to_be_bad_once_however_many_need_it() {
    let prefix = Prefix::new("once");
    let uri = prefix.good().cluster.uri(&prefix.name);
    prefix.put("v1/files/main/cart.yml", b"c: 1").put("v1/files/main/payments.yml", b"p: 1");
    let place = Asked::of(&uri).place();
    let server = Asked::of(&uri).serve(place.path());
    let held_count = || {
        let problems = server.get("/-/problems").expect(200).json();
        problems["problems"].as_array().unwrap().len()
    };
    let said_count = || server.log().matches("a file cannot be used").count();
    for name in ["orders", "cart", "payments"] {
        server.get(&format!("/{name}/default")).expect(200);
    }
    for round in 1..=2 {
        prefix.put("v1/files/main/application.yml", b"a: [hunter2");
        // With what the server itself looks at. A name that no file mentions is never listed.
        eventually("all are held back", || held_count() == 4);
        // What was served goes on being served, from memory: there is no history to go back to.
        let held = server.get("/orders/default").expect(200);
        assert!(held.header("headwater-held-at").is_some());
        assert_eq!(held.json()["propertySources"][1]["source"], serde_json::json!({"a": 1}));
        // A name that no file mentions gets what is served of the shared files.
        let late = server.get(&format!("/late-{round}/default")).expect(200);
        assert_eq!(late.header("headwater-held-at"), held.header("headwater-held-at"));
        eventually("it is said", || said_count() == round);
        prefix.put("v1/files/main/application.yml", b"a: 1");
        eventually("all is well", || held_count() == 0);
    }
    assert!(!server.log().contains(SECRET));
}

#[test]
fn a_prefix_of_something_else_is_not_touched() {
    let cluster = Arc::new(Cluster::start(1));
    let prefix = Prefix { cluster: Arc::clone(&cluster), name: "registry".to_owned() };
    prefix.put("pods/default/orders", SECRET.as_bytes()).put("v10/x", b"");
    cluster.put("registry2/x", b"");
    cluster.put("registr", b"");
    prefix.says("another program uses it", 1, 404);
    let everything = cluster.keys("");
    let from = directory("//- application.yml\na: 1\n");
    let output =
        command(from.path()).args(["copy", ".", &cluster.uri("registry")]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("another program uses it"), "{said}");
    assert_eq!(cluster.keys(""), everything);
    // Beside what others of ours keep there it is ours, and nothing outside is written.
    prefix.put("replicas/v1/abc", b"{}");
    prefix.publish("//- application.yml\na: 1\n");
    let outside = |keys: Vec<String>| -> Vec<String> {
        keys.into_iter().filter(|key| !key.starts_with("registry/v1/")).collect()
    };
    let after = outside(cluster.keys(""));
    assert_eq!(after.len(), everything.len() + 1);
    assert!(everything.iter().all(|key| after.contains(key)));
}

#[test]
fn whoever_may_not_in_or_finds_no_etcd_is_told() {
    let cluster = Cluster::start(1);
    cluster.put("config/v1/files/main/orders.yml", b"a: 1");
    let mut client = cluster.client();
    cluster.on(async move {
        client.role_add("root").await.unwrap();
        client.user_add("root", "hunter3", None).await.unwrap();
        client.user_grant_role("root", "root").await.unwrap();
        client.auth_enable().await.unwrap();
    });
    let uri = cluster.uri("config");
    let wrong = [("HEADWATER_ETCD_USERNAME", "root"), ("HEADWATER_ETCD_PASSWORD", SECRET)];
    for variables in [&wrong[..], &[]] {
        let asked = Asked { variables, ..Asked::of(&uri) };
        asked.says("etcd rejected the user name or the password", 2, 503);
    }
    let web = Server::start(directory("//- application.yml\na: 1\n").path().to_str().unwrap());
    Asked::of(&format!("etcd://{}/config", web.0)).says("is not etcd", 2, 503);
}

#[test]
fn an_expired_certificate_is_named() {
    let place = tempfile::tempdir().unwrap();
    certificates(place.path(), &[("client", 4000), ("expired", 2001)]);
    let cluster = cluster_with_tls(place.path(), "expired");
    let uri = cluster.uri("config");
    let file = |name: &str| place.path().join(name).display().to_string();
    let settings = format!(
        "ca_file = \"{}\"\nclient_cert_file = \"{}\"\nclient_key_file = \"{}\"\n",
        file("ca.crt"),
        file("client.crt"),
        file("client.key"),
    );
    let asked = Asked { settings: &settings, ..Asked::of(&uri) };
    let directory = asked.place();
    eventually("etcd listens", || {
        let output = command(directory.path()).arg("check").output().unwrap();
        String::from_utf8_lossy(&output.stderr).contains("certificate")
    });
    asked.says("the certificate of the member or of this server was not accepted", 2, 503);
}
