//! Starts from the last-known-good copy while no server is reachable.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use headwater_client::{Builder, Configuration, DeadlineError, Error, LastKnownGoodError};
use serde_json::json;

use crate::fixture::{Reply, Server, client, ok, product, status};
use crate::secrets::Output;

/// The deadline of starts without a server.
const SHORT: Duration = Duration::from_millis(300);

/// A directory with the copy of one answer, and the server of that answer, which fails from then on.
struct Outage {
    root: tempfile::TempDir,
    server: Server,
}

impl Outage {
    async fn after_one_good_answer() -> Outage {
        Outage::then(status("503 Service Unavailable")).await
    }

    async fn then(reply: Reply) -> Outage {
        let outage = Outage {
            root: tempfile::tempdir().unwrap(),
            server: Server::start([ok(&product()), reply]).await,
        };
        assert!(!outage.client().connect().await.unwrap().is_stale());
        outage
    }

    fn client(&self) -> Builder {
        client([&self.server]).last_known_good(self.root.path().join("cache"))
    }

    /// Returns the only file in the directory.
    fn file(&self) -> PathBuf {
        let files: Vec<_> = fs::read_dir(self.root.path().join("cache")).unwrap().collect();
        assert_eq!(files.len(), 1);
        files.into_iter().next().unwrap().unwrap().path()
    }

    /// Starts during the outage.
    async fn start(&self) -> Result<Configuration, Error> {
        self.client().deadline(SHORT).connect().await
    }

    async fn problem(&self) -> LastKnownGoodError {
        let error = self.start().await.unwrap_err();
        let Error::Deadline(DeadlineError { last_known_good: Some(problem), .. }) = error else {
            panic!("{error}")
        };
        problem
    }
}

#[tokio::test]
async fn a_service_starts_from_its_copy_and_is_stale() {
    let outage = Outage::after_one_good_answer().await;
    let configuration = outage.start().await.unwrap();
    assert!(configuration.is_stale());
    assert!(configuration.stale_since().unwrap().elapsed().unwrap() < Duration::from_secs(60));
    assert_eq!(configuration.server(), Some(outage.server.url.as_str()));
    assert_eq!(configuration.get_at::<u32>("shop.max-items").unwrap(), 20);
    assert_eq!(configuration.environment(), &serde_json::from_value(product()).unwrap());
}

#[tokio::test]
async fn there_is_no_copy_unless_it_is_enabled() {
    let outage = Outage::after_one_good_answer().await;
    let error = client([&outage.server]).deadline(SHORT).connect().await.unwrap_err();
    assert!(
        matches!(error, Error::Deadline(DeadlineError { last_known_good: None, .. })),
        "{error}"
    );
}

#[tokio::test]
async fn an_answer_takes_precedence_over_the_copy() {
    for (reply, expected) in [
        (status("404 Not Found"), "has no configuration"),
        (status("401 Unauthorized"), "rejected the credentials"),
        (status("400 Bad Request"), "rejected the request"),
        (ok(&json!({"name": "product", "propertySources": []})), "without any property source"),
    ] {
        let error = Outage::then(reply).await.client().connect().await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_newer_answer_replaces_the_copy() {
    let mut newer = product();
    newer["version"] = json!("decaf");
    let outage = Outage::then(ok(&newer)).await;
    assert_eq!(outage.client().connect().await.unwrap().revision(), Some("decaf"));
    let down = Server::start([status("500 Internal Server Error")]).await;
    let urls = [down.url.as_str(), outage.server.url.as_str()];
    assert_eq!(outage.client().urls(urls).connect().await.unwrap().revision(), Some("decaf"));
    assert!(fs::read_to_string(outage.file()).unwrap().contains("decaf"));
}

#[tokio::test]
async fn a_copy_that_was_tampered_with_is_not_used() {
    let outage = Outage::after_one_good_answer().await;
    let text = fs::read_to_string(outage.file()).unwrap();
    fs::write(outage.file(), text.replace("corner", "orcner")).unwrap();
    assert!(matches!(outage.problem().await, LastKnownGoodError::Damaged { .. }));
    fs::write(outage.file(), &text[..text.len() / 2]).unwrap();
    assert!(matches!(outage.problem().await, LastKnownGoodError::Damaged { .. }));
}

/// A manipulation of the file or its directory.
type Manipulation = fn(&Path);

#[tokio::test]
async fn an_unusable_copy_is_reported_and_left_unchanged() {
    let manipulations: [(&str, Manipulation); 8] = [
        ("its checksum is wrong", |file| {
            let text = fs::read_to_string(file).unwrap();
            fs::write(file, text.replace("corner", "orcner")).unwrap();
        }),
        ("its checksum is wrong", |file| {
            let text = fs::read_to_string(file).unwrap();
            fs::write(file, &text[..text.len() / 2]).unwrap();
        }),
        ("it is too short", |file| fs::write(file, "").unwrap()),
        ("its first line is not that of a copy", |file| {
            fs::write(file, json!({ "name": "product" }).to_string().repeat(9)).unwrap();
        }),
        ("its mode is 0666", |file| open_to(file, 0o666)),
        ("its mode is 0777", |file| open_to(file.parent().unwrap(), 0o777)),
        ("it is a symbolic link", |file| {
            let elsewhere = file.with_extension("elsewhere");
            fs::rename(file, &elsewhere).unwrap();
            std::os::unix::fs::symlink(elsewhere, file).unwrap();
        }),
        ("it has 2 hard links", |file| fs::hard_link(file, file.with_extension("other")).unwrap()),
    ];
    for (expected, manipulate) in manipulations {
        let outage = Outage::after_one_good_answer().await;
        manipulate(&outage.file());
        warned(&outage, expected).await;
    }
    // The copy of another application under the name of this one.
    let outage = Outage::after_one_good_answer().await;
    let ours = outage.file();
    let mut cart = product();
    cart["name"] = json!("cart");
    let other = Server::start([ok(&cart)]).await;
    let place = outage.root.path().join("other");
    client([&other]).application("cart").last_known_good(&place).connect().await.unwrap();
    let theirs = fs::read_dir(place).unwrap().next().unwrap().unwrap().path();
    fs::copy(theirs, &ours).unwrap();
    warned(&outage, "is for another application").await;
    // A file of another user, which only root can create.
    let outage = Outage::after_one_good_answer().await;
    if std::os::unix::fs::chown(outage.file(), Some(65_534), None).is_ok() {
        warned(&outage, "it belongs to user 65534").await;
    }
}

fn open_to(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Checks that a start reports an unusable copy in the error and in the log, without its content.
async fn warned(outage: &Outage, expected: &str) {
    let output = Output::default();
    let _guard = output.listen();
    let problem = outage.problem().await.to_string();
    assert!(problem.contains(expected), "{problem}");
    let text = output.text();
    let line = text.lines().find(|line| line.contains("the last-known-good copy cannot be used"));
    let line = line.unwrap_or_else(|| panic!("no warning: {text}"));
    assert!(line.contains("WARN") && line.contains(expected), "{line}");
    assert!(!text.contains("corner") && !text.contains("orcner"), "{text}");
}

#[tokio::test]
async fn a_copy_that_other_users_can_access_is_not_used() {
    let outage = Outage::after_one_good_answer().await;
    fs::set_permissions(outage.file(), fs::Permissions::from_mode(0o666)).unwrap();
    assert!(matches!(outage.problem().await, LastKnownGoodError::Untrusted { .. }));

    let elsewhere = outage.root.path().join("elsewhere");
    fs::set_permissions(outage.file(), fs::Permissions::from_mode(0o600)).unwrap();
    fs::copy(outage.file(), &elsewhere).unwrap();
    let file = outage.file();
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
    assert!(matches!(outage.problem().await, LastKnownGoodError::Untrusted { .. }));
}

#[tokio::test]
async fn the_copy_of_another_query_or_server_is_not_used() {
    let outage = Outage::after_one_good_answer().await;
    let problem = |error: Error| match error {
        Error::Deadline(DeadlineError { last_known_good: Some(problem), .. }) => problem,
        other => panic!("{other}"),
    };
    let other = outage.client().profiles(["dev"]).deadline(SHORT).connect().await.unwrap_err();
    assert!(matches!(problem(other), LastKnownGoodError::Absent(_)));

    let down = Server::start([status("500 Internal Server Error")]).await;
    let other = outage.client().url(&down.url).deadline(SHORT).connect().await.unwrap_err();
    assert!(matches!(problem(other), LastKnownGoodError::Foreign { what: "server", .. }));
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_does_not_stop_a_start() {
    let server = Server::start([ok(&product())]).await;
    for directory in ["/proc/no/such/parent", "/dev/null", "/"] {
        client([&server]).last_known_good(directory).connect().await.unwrap();
    }
}
