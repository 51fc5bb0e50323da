//! A clone as a source of a server: its remote is followed where the settings say so, and reported where they say nothing.

use std::path::Path;
use std::process::Command;

use super::{Home, comes};
use crate::fixture::{Repository, Server, eventually, settings};

pub(super) fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .expect("git runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// A clone beside the settings of a server, and the settings that serve it.
fn home_of(repository: &Repository, setting: &str) -> Home {
    let home =
        Home::new(&format!("[[source]]\nuri = \"{{place}}/clone\"\npoll_seconds = 1\n{setting}\n"));
    git(home.place(), &["clone", "-q", &repository.path().display().to_string(), "clone"]);
    home
}

/// All that belongs to the user of a clone.
fn everything(clone: &Path) -> String {
    let references = git(clone, &["for-each-ref"]);
    let status = git(clone, &["status", "--porcelain=v2", "--branch"]);
    let head = std::fs::read_to_string(clone.join(".git/HEAD")).expect("a head");
    let fetched = clone.join(".git/FETCH_HEAD").exists();
    format!("{references}{status}{head}{fetched}")
}

#[test]
fn the_remote_of_a_clone_is_followed_without_touching_the_clone() {
    let repository = Repository::new("//- orders.yml\na: 1\n");
    let home = home_of(&repository, "follow_origin = true");
    let clone = home.place().join("clone");
    let before = everything(&clone);
    let server = home.serve();
    let first = comes(&server, "/orders/dev", "a", "1");
    // Names are those of the clone, as they were before it was followed.
    let name = format!("{}/orders.yml", clone.display());
    assert_eq!(first.json()["propertySources"][0]["name"], name);
    repository.commit("//- orders.yml\na: 2\n");
    comes(&server, "/orders/dev", "a", "2");
    repository.commit_on("feature/x", "//- orders.yml\na: 3\n");
    comes(&server, "/orders/dev/feature(_)x", "a", "3");
    git(&repository.path(), &["branch", "-q", "-D", "feature/x"]);
    eventually("a branch that the remote deleted is gone", || {
        server.get("/orders/dev/feature(_)x").status == 404
    });
    let problems = server.get("/-/problems").json();
    assert_eq!(problems["problems"], serde_json::json!([]));
    assert_eq!(everything(&clone), before);
}

#[test]
fn a_relative_remote_is_taken_from_the_clone() {
    let repository = Repository::new("//- orders.yml\na: 1\n");
    let home = home_of(&repository, "follow_origin = true");
    let clone = home.place().join("clone");
    let moved = home.place().join("moved.git");
    git(
        home.place(),
        &["clone", "-q", "--bare", &repository.path().display().to_string(), "moved.git"],
    );
    git(&clone, &["remote", "set-url", "origin", "../moved.git"]);
    assert!(moved.exists());
    comes(&home.serve(), "/orders/dev", "a", "1");
}

#[test]
fn a_remote_that_is_not_followed_is_reported() {
    let repository = Repository::new("//- orders.yml\na: 1\n");
    let home = home_of(&repository, "");
    let server = home.serve();
    comes(&server, "/orders/dev", "a", "1");
    let problems = server.get("/-/problems").json();
    let reason = problems["problems"][0]["reason"].as_str().expect("a reason").to_owned();
    assert!(reason.contains("does not fetch the remote origin"), "{reason}");
    assert!(reason.contains("follow_origin = true"), "{reason}");
    let health = server.get("/actuator/health").json();
    let details = &health["components"]["configServer"]["details"];
    assert_eq!(details["problems"][0]["reason"], reason);
    assert_eq!(server.log().matches("the repository needs attention").count(), 1);
    assert!(server.log().contains("follow_origin = true"), "{}", server.log());
    drop(server);
    home.write(
        "headwater.toml",
        &format!("[[source]]\nuri = \"{}/clone\"\nfollow_origin = false\n", home.place().display()),
    );
    let server = home.serve();
    comes(&server, "/orders/dev", "a", "1");
    assert_eq!(server.get("/-/problems").json()["problems"], serde_json::json!([]));
    assert!(!server.log().contains("the repository needs attention"), "{}", server.log());
}

#[test]
fn a_remote_that_cannot_be_followed_is_refused_at_start_without_its_password() {
    let repository = Repository::new("//- orders.yml\na: 1\n");
    for (address, part) in [
        (Some("https://ada:hunter2@git.example.org/config.git"), "credentials_file"),
        (None, "neither origin nor exactly one other remote"),
    ] {
        let home = home_of(&repository, "follow_origin = true");
        let clone = home.place().join("clone");
        match address {
            Some(address) => drop(git(&clone, &["remote", "set-url", "origin", address])),
            None => drop(git(&clone, &["remote", "remove", "origin"])),
        }
        let config = home.place().join("headwater.toml");
        let ended = crate::fixture::command(home.place())
            .args(["serve", "--listen", "127.0.0.1:0", "--config"])
            .arg(config)
            .output()
            .expect("the binary runs");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(2), "{said}");
        assert!(said.contains(part) && said.contains("follow_origin"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn a_server_is_ready_where_head_names_no_branch() {
    let repository = Repository::new("//- orders.yml\na: 1\n");
    git(&repository.path(), &["symbolic-ref", "HEAD", "refs/heads/trunk"]);
    let server = Server::with(settings(&repository.path().display().to_string()));
    server.get("/readyz").expect(200);
    assert_eq!(server.get("/orders/dev").json()["propertySources"][0]["source"]["a"], 1);
    let problems = server.get("/-/problems").json();
    let reason = problems["problems"][0]["reason"].as_str().expect("a reason").to_owned();
    assert!(reason.contains("trunk, which does not exist"), "{reason}");
}

#[test]
fn a_remote_with_another_default_branch_than_the_original_serves_is_reported() {
    let repository = Repository::new("//- orders.yml\na: 1\n");
    repository.commit_on("develop", "//- orders.yml\na: 2\n");
    git(&repository.path(), &["symbolic-ref", "HEAD", "refs/heads/develop"]);
    let home = home_of(&repository, "follow_origin = true");
    let server = home.serve();
    comes(&server, "/orders/dev", "a", "2");
    let problems = server.get("/-/problems").json();
    let reason = problems["problems"][0]["reason"].as_str().expect("a reason").to_owned();
    assert!(reason.contains("gets develop") && reason.contains("would serve main"), "{reason}");
}
