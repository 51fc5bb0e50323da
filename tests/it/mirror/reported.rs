//! What the operator reads when git fails: git's own words, in health, at `/-/problems` and in the log. And repositories
//! that git would refuse to read: those of another user, and those that lack objects.

use std::path::Path;
use std::process::Command;

use super::origin::git;
use super::{Home, comes, remote};
use crate::fixture::{Child, Repository, command, eventually, skipped};

/// Gives everything below a path to a user who is not the one who runs the tests.
fn give_away(path: &Path) -> bool {
    let given = Command::new("chown").args(["-R", "12345:12345"]).arg(path).status();
    if !given.is_ok_and(|it| it.success()) {
        skipped("only root gives files to another user");
        return false;
    }
    true
}

fn reason(server: &Child) -> String {
    let problems = server.get("/-/problems").json();
    problems["problems"][0]["reason"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn gits_own_words_reach_the_operator_and_no_client() {
    let home =
        Home::new("[[source]]\nuri = \"{place}/nothing\"\nmirror = true\npoll_seconds = 1\n");
    std::fs::create_dir(home.place().join("nothing")).expect("a directory");
    let server = home.serve();
    eventually("it is reported", || !remote(&server)["error"].is_null());
    let words = "does not appear to be a git repository";
    let said = remote(&server)["error"].as_str().expect("an error").to_owned();
    assert!(said.starts_with("the remote has no such repository"), "{said}");
    assert!(said.contains("(git: fatal: ") && said.contains(words), "{said}");
    assert_eq!(reason(&server), said);
    assert!(server.log().contains(words), "{}", server.log());
    let refused = server.get("/orders/dev").expect(503).text();
    assert!(refused.contains("has no such repository") && !refused.contains(words), "{refused}");
}

#[test]
fn a_repository_of_another_user_is_mirrored_and_read_in_place() {
    for bare in [true, false] {
        let repository = Repository::new("//- orders.yml\na: 1\n");
        let home =
            Home::new("[[source]]\nuri = \"{place}/theirs\"\nmirror = true\npoll_seconds = 1\n");
        let theirs = home.place().join("theirs");
        let from = repository.path().display().to_string();
        let kind: &[&str] = if bare { &["--bare"] } else { &[] };
        git(home.place(), &[&["clone", "-q"], kind, &[&from, "theirs"]].concat());
        if !give_away(&theirs) {
            return;
        }
        let server = home.serve();
        comes(&server, "/orders/dev", "a", "1");
        drop(server);
        let server = Child::serve(&["--source", theirs.to_str().expect("text")]);
        comes(&server, "/orders/dev", "a", "1");
    }
}

#[test]
fn a_repository_of_another_user_can_be_copied_to() {
    let repository = Repository::new("//- orders.yml\na: 1\n");
    let place = crate::fixture::directory("//- orders.yml\na: 2\n");
    let path = repository.path().display().to_string();
    if !give_away(&repository.path()) {
        return;
    }
    let copied = command(place.path())
        .args(["copy", place.path().to_str().expect("text"), &path, "--to-label", "main"])
        .output()
        .expect("the binary runs");
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    let server = Child::serve(&["--source", &path]);
    comes(&server, "/orders/dev", "a", "2");
}

#[test]
fn a_partial_clone_is_not_ready_and_says_why_until_it_is_whole() {
    let repository = Repository::new("//- orders.yml\na: 1\n//- team/application.yml\nb: 1\n");
    git(&repository.path(), &["config", "uploadpack.allowFilter", "true"]);
    let home = Home::new("[[source]]\nuri = \"{place}/clone\"\nfollow_origin = false\n");
    let url = format!("file://{}", repository.path().display());
    for filter in ["--filter=blob:none", "--filter=tree:0"] {
        git(home.place(), &["clone", "-q", "--bare", filter, &url, "clone"]);
        let clone = home.place().join("clone");
        let server = home.serve();
        server.get("/readyz").expect(503);
        let refused = server.get("/orders/dev").expect(503).text();
        assert!(refused.contains("partial clone"), "{refused}");
        assert!(reason(&server).contains("Clone the repository without --filter"), "{filter}");
        assert!(server.log().contains("is a partial clone"), "{}", server.log());
        git(&clone, &["config", "--unset", "remote.origin.partialclonefilter"]);
        git(&clone, &["fetch", "-q", "--refetch", "origin", "+refs/heads/*:refs/heads/*"]);
        comes(&server, "/orders/dev", "a", "1");
        server.get("/readyz").expect(200);
        assert_eq!(reason(&server), "");
        drop(server);
        std::fs::remove_dir_all(clone).expect("removed");
    }
}

#[test]
fn the_variables_of_somebody_elses_git_say_nothing() {
    let repository = Repository::new("//- orders.yml\na: 1\n");
    let path = repository.path().display().to_string();
    let variables = [
        ("GIT_DIR", "/nonexistent"),
        ("GIT_WORK_TREE", "/nonexistent"),
        ("GIT_OBJECT_DIRECTORY", "/nonexistent"),
    ];
    let server = Child::serve_with(&["--source", &path], &variables);
    comes(&server, "/orders/dev", "a", "1");
    let home = Home::new(&format!("[[source]]\nuri = \"{path}\"\nmirror = true\n"));
    comes(&home.serve_with(&variables), "/orders/dev", "a", "1");
}
