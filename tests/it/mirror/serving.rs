//! What a mirrored remote is served as, and how soon.

use super::host::Host;
use super::{Home, comes, hook, value_of};
use crate::fixture::{Repository, eventually};

#[test]
fn a_remote_is_served_under_its_address_and_followed() {
    let repository = Repository::new("//- orders.yml\na: 1\n");
    let host = Host::of(&repository);
    let home = Home::of(&host.uri());
    let server = home.serve();
    let first = comes(&server, "/orders/dev", "a", "1");
    assert_eq!(first.json()["propertySources"][0]["name"], format!("{}/orders.yml", host.uri()));
    assert_eq!(first.json()["label"], serde_json::Value::Null);
    let next = repository.commit("//- orders.yml\na: 2\n");
    let second = comes(&server, "/orders/dev", "a", "2");
    assert_eq!(second.json()["version"], next);
    let (status, log) = server.stop();
    assert!(status.success(), "{log}");
    // The copy knows nothing of where it came from.
    let config = std::fs::read_to_string(home.copy().join("config")).expect("its settings");
    assert!(!config.contains("localhost"), "{config}");
}

#[test]
fn a_hook_brings_a_change_at_once_and_nothing_is_polled_without() {
    let repository = Repository::new("//- orders.yml\na: 1\n");
    let host = Host::of(&repository);
    let home = Home::new(&format!("[[source]]\nuri = \"{}\"\npoll_seconds = 0\n", host.uri()));
    let server = home.serve();
    comes(&server, "/orders/dev", "a", "1");
    let before = host.request_count();
    repository.commit("//- orders.yml\na: 2\n");
    let reply = hook(&server, "X-GitHub-Event: push\r\n", r#"{"commits": []}"#);
    assert_eq!(reply.expect(200).text(), "[]");
    comes(&server, "/orders/dev", "a", "2");
    assert!(host.request_count() > before);
}

#[test]
fn hooks_are_one_fetch_however_many_come() {
    let repository = Repository::new("//- orders.yml\na: 1\n");
    let host = Host::of(&repository);
    let home = Home::new(&format!("[[source]]\nuri = \"{}\"\npoll_seconds = 0\n", host.uri()));
    let server = home.serve();
    comes(&server, "/orders/dev", "a", "1");
    let before = host.request_count();
    let begun = std::time::Instant::now();
    let mut refused_count = 0;
    for number in 0..300 {
        let delivery = format!("X-GitHub-Event: push\r\nX-GitHub-Delivery: {number}\r\n");
        refused_count += usize::from(hook(&server, &delivery, "{}").status == 429);
    }
    // Two requests for each look, and a look every two seconds at most.
    let look_count_max = 2 + begun.elapsed().as_secs() as usize;
    let made = host.request_count() - before;
    assert!(made <= 2 * look_count_max, "{made} requests in {:?}", begun.elapsed());
    assert!(refused_count > 100, "{refused_count}");
}

#[test]
fn who_asks_for_a_label_that_was_just_pushed_waits_for_it() {
    let repository = Repository::new("//- orders.yml\na: 1\n");
    let host = Host::of(&repository);
    let home = Home::new(&format!("[[source]]\nuri = \"{}\"\npoll_seconds = 0\n", host.uri()));
    let server = home.serve();
    comes(&server, "/orders/dev", "a", "1");
    repository.commit_on("feature/x", "//- orders.yml\na: 2\n");
    // The fetch at start is too young for another one.
    server.get("/orders/dev/feature(_)x").expect(404);
    comes(&server, "/orders/dev/feature(_)x", "a", "2");
    // One fetch in ten seconds is all that labels which nobody has can cause.
    let before = host.request_count();
    for number in 0..200 {
        server.get(&format!("/orders/dev/nobody-{number}")).expect(404);
        server.get(&format!("/orders/dev/-x{number}")).expect(404);
    }
    assert!(host.request_count() - before <= 2, "{}", host.request_count() - before);
}

#[test]
fn a_force_push_is_newer_and_what_is_deleted_is_gone() {
    let repository = Repository::new("//- orders.yml\na: 1\n");
    let first = repository.commit("//- orders.yml\na: 2\n");
    repository.commit("//- orders.yml\na: 3\n");
    repository.commit_on("feature", "//- orders.yml\na: 4\n");
    repository.tag("v1", &first);
    let host = Host::of(&repository);
    let home = Home::of(&host.uri());
    let server = home.serve();
    comes(&server, "/orders/dev", "a", "3");
    comes(&server, "/orders/dev/feature", "a", "4");
    comes(&server, "/orders/dev/v1", "a", "2");
    repository.force("main", &first);
    comes(&server, "/orders/dev", "a", "2");
    let bare = git2::Repository::open_bare(repository.path()).expect("the repository");
    bare.find_reference("refs/heads/feature").expect("a branch").delete().expect("deleted");
    eventually("the branch is gone", || server.get("/orders/dev/feature").status == 404);
    // A branch may take the place of a directory of branches, and the other way round.
    repository.commit_on("feature/y", "//- orders.yml\na: 5\n");
    eventually("the new branch is there", || {
        let reply = server.get("/orders/dev/feature(_)y");
        reply.status == 200 && value_of(&reply, "a").as_deref() == Some("5")
    });
    bare.set_head("refs/heads/feature/y").expect("pointed");
    comes(&server, "/orders/dev", "a", "5");
}

#[test]
fn a_repository_at_a_path_is_mirrored_if_that_is_asked_for() {
    let repository = Repository::new("//- orders.yml\na: 1\n");
    let home = Home::new(&format!(
        "[[source]]\nuri = \"file://{}\"\nmirror = true\npoll_seconds = 1\n",
        repository.uri()
    ));
    let server = home.serve();
    comes(&server, "/orders/dev", "a", "1");
    repository.commit("//- orders.yml\na: 2\n");
    let found = comes(&server, "/orders/dev", "a", "2");
    let name = format!("file://{}/orders.yml", repository.uri());
    assert_eq!(found.json()["propertySources"][0]["name"], name);
    let away = repository.around().join("away");
    std::fs::rename(repository.path(), &away).expect("moved away");
    eventually("the outage is seen", || !super::remote(&server)["error"].is_null());
    assert_eq!(value_of(&server.get("/orders/dev").expect(200), "a").as_deref(), Some("2"));
}

#[test]
fn an_empty_remote_becomes_a_source_with_its_first_push() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let bare = place.path().join("config.git");
    let mut options = git2::RepositoryInitOptions::new();
    options.bare(true).initial_head("trunk");
    let empty = git2::Repository::init_opts(&bare, &options).expect("a repository");
    let home = Home::new(&format!(
        "[[source]]\nuri = \"{}\"\nmirror = true\npoll_seconds = 1\n",
        bare.display()
    ));
    let server = home.serve();
    eventually("it is looked at", || {
        super::remote(&server)["error"] == "the remote lists no branch"
    });
    server.get("/orders/dev").expect(503);
    let blob = empty.blob(b"a: 1\n").expect("a blob");
    let mut tree = empty.treebuilder(None).expect("a builder");
    tree.insert("orders.yml", blob, 0o100_644).expect("an entry");
    let tree = empty.find_tree(tree.write().expect("a tree")).expect("a tree");
    let ada = git2::Signature::now("Ada", "ada@example.org").expect("a signature");
    empty.commit(Some("refs/heads/trunk"), &ada, &ada, "First", &tree, &[]).expect("a commit");
    comes(&server, "/orders/dev", "a", "1");
}

#[test]
fn one_remote_may_be_two_sources() {
    let repository = Repository::new("//- orders.yml\na: main\n");
    repository.commit_on("live", "//- orders.yml\na: live\n");
    let host = Host::of(&repository);
    let source = |name: &str, label: &str| {
        format!(
            "[[source]]\nuri = \"{}\"\nname = \"{name}\"\ndefault_label = \"{label}\"\npoll_seconds = 1\n",
            host.uri()
        )
    };
    let home = Home::new(&(source("one", "main") + &source("two", "live")));
    let server = home.serve();
    let found = comes(&server, "/orders/dev", "a", "main").json();
    assert_eq!(found["propertySources"][1]["name"], "two/orders.yml");
    assert_eq!(found["propertySources"][1]["source"]["a"], "live");
}
