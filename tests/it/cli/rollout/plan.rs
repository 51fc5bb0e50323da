//! `headwater rollout plan` in a clone of a hosted repository.

use crate::cli::{Said, refuses, run};
use crate::fixture::{Hosted, Tree, command, directory};

/// The command in a clone, with git's settings of the fixture.
fn plan(clone: &Tree, arguments: &[&str]) -> Said {
    let mut command = command(&clone.path);
    for (name, value) in clone.command(&[]).get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.args(["rollout", "plan"]).args(arguments);
    run(command)
}

#[track_caller]
fn says(said: &Said, code: i32, parts: &[&str]) {
    assert_eq!(said.code, Some(code), "{}{}", said.out, said.err);
    for part in parts {
        assert!(said.out.contains(part), "{part}: {}{}", said.out, said.err);
    }
}

#[test]
fn a_plan_shows_the_lines_of_the_server_and_moves_nothing() {
    let hosted = Hosted::new("//- orders.yml\na: 1\n");
    let clone = hosted.clone("clone");
    let tip = hosted.tip("main");
    says(&plan(&clone, &[]), 0, &["main of origin is at ", &tip[..10], " already"]);

    let commit = clone.commit("//- orders.yml\na: 2\n");
    let said = plan(&clone, &[]);
    says(&said, 0, &["changes 1 environment", "dry run: the push would be accepted"]);
    assert!(!said.out.contains("remote:") && !said.out.contains("  \n"), "{}", said.out);
    assert_eq!(said.err, "");
    let said = plan(&clone, &[&commit, "--remote", "origin", "--branch", "main"]);
    says(&said, 0, &["dry run: the push would be accepted"]);

    clone.commit("//- orders.yml\na: [\n");
    let said = plan(&clone, &[]);
    says(&said, 1, &["orders.yml:1:", "push rejected, no branch was updated"]);
    says(&plan(&clone, &["HEAD~1"]), 0, &["dry run: the push would be accepted"]);
    let said = plan(&clone, &["HEAD~1", "-o", "nonsense"]);
    says(&said, 1, &["push rejected", "nonsense"]);

    assert_eq!(hosted.tip("main"), tip);
    // Git's own hooks do not run.
    let hook = clone.path.join(".git/hooks/pre-push");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, "#!/bin/sh\nexit 1\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&hook, mode).unwrap();
    says(&plan(&clone, &["HEAD~1"]), 0, &["dry run: the push would be accepted"]);
}

#[test]
fn a_commit_that_does_not_follow_the_branch_is_not_sent() {
    let hosted = Hosted::new("//- orders.yml\na: 1\n");
    let (clone, other) = (hosted.clone("clone"), hosted.clone("other"));
    other.commit("//- orders.yml\na: 2\n");
    other.push(&["main"]).succeeds();
    clone.commit("//- orders.yml\na: 3\n");
    let said = plan(&clone, &[]);
    says(&said, 1, &["git would not push", "to main of origin: fetch first"]);
}

#[test]
fn what_cannot_be_tried_is_refused() {
    let hosted = Hosted::new("//- orders.yml\na: 1\n");
    let clone = hosted.clone("clone");
    clone.commit("//- orders.yml\na: 2\n");
    refuses(&plan(&clone, &["nope"]), &["the clone has no commit \"nope\""]);
    refuses(&plan(&clone, &["--branch", "a..b"]), &["--branch: \"a..b\" cannot be the name"]);
    refuses(
        &plan(&clone, &["--remote", "nope"]),
        &["--remote: no remote is named \"nope\". The remotes are origin"],
    );
    let place = directory("");
    let outside = Tree { path: place.path().to_owned() };
    refuses(&plan(&outside, &[]), &["the current directory is no git repository"]);

    // Another server could ignore the option and move the branch.
    outside.git(&["init", "--quiet", "--bare", "other.git"]).succeeds();
    let other = place.path().join("other.git").display().to_string();
    clone.git(&["remote", "add", "other", &other]).succeeds();
    let said = plan(&clone, &["--remote", "other"]);
    refuses(&said, &["other is ", "no repository of a Headwater server", "Nothing was sent"]);
    let url = "https://ada:hunter2@127.0.0.1:1/shop.git";
    clone.git(&["remote", "set-url", "--add", "--push", "origin", url]).succeeds();
    let said = plan(&clone, &[]);
    refuses(&said, &["origin is https://127.0.0.1:1/shop.git, which is no repository"]);
    assert!(!said.err.contains("hunter2"), "{}", said.err);
}

#[test]
fn a_server_that_cannot_be_reached_is_named() {
    let hosted = Hosted::new("//- orders.yml\na: 1\n");
    let clone = hosted.clone("clone");
    clone.commit("//- orders.yml\na: 2\n");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://ada:hunter2@{closed}/-/git/main.git");
    clone.git(&["remote", "set-url", "origin", &url]).succeeds();
    let said = plan(&clone, &[]);
    refuses(&said, &["git push failed: ", "127.0.0.1"]);
    assert!(!said.err.contains("hunter2"), "{}", said.err);
}
