//! `/-/events`: every move of a label, what it changed in environments in use, and never a value.

use serde_json::{Value, json};

use super::{Event, Events, shop, watchers};
use crate::fixture::{Hosted, Repository, Server, eventually, settings};

fn listen(server: &Server, headers: &str) -> Events {
    Events::open(**server, "/-/events", headers).after_head()
}

impl Events {
    /// The next event that is no advice about when to come back.
    fn told(&mut self) -> (Event, Value) {
        loop {
            let event = self.next().expect("the stream goes on");
            if !event.name.is_empty() {
                let data = serde_json::from_str(&event.data).unwrap();
                return (event, data);
            }
        }
    }
}

#[test]
fn a_move_names_the_keys_that_it_changed_in_environments_in_use_and_counts_the_rest() {
    let (repository, server) = shop();
    let first =
        server.get("/cart/default").expect(200).header("headwater-revision").unwrap().to_owned();
    server.get("/cart/prod").expect(200);
    let mut events = listen(&server, "");
    eventually("it listens", || watchers(*server) == 1);
    let second = repository
        .commit("//- cart.yml\na: s3cret-one\nnew: s3cret-two\n//- order.yml\nb: s3cret-three\n");
    let (event, moved) = events.told();
    assert_eq!(event.name, "move");
    assert_eq!((&moved["from"], &moved["to"]), (&json!(first), &json!(second)));
    assert!(moved["label"].is_null());
    assert_eq!(moved["actor"], "source");
    assert_eq!(moved["commit"]["id"], json!(second));
    for key in ["author", "subject", "time"] {
        assert!(moved["commit"][key].is_string(), "{key}: {moved}");
    }
    assert!(!event.data.contains('@'), "an address: {}", event.data);
    assert!(!event.data.contains("s3cret"), "a value: {}", event.data);
    let expected = |profiles: &str| {
        json!({
            "application": "cart", "profiles": profiles,
            "added": ["new"], "removed": [], "changed": ["a"], "more": 0,
        })
    };
    assert_eq!(moved["environments"], json!([expected("default"), expected("prod")]));
    assert_eq!(moved["others"], json!({"environments": 0, "files": 1}), "order.yml");
}

#[test]
fn a_move_that_changes_nothing_in_use_is_told_all_the_same() {
    let (repository, server) = shop();
    server.get("/cart/default").expect(200);
    let mut events = listen(&server, "");
    eventually("it listens", || watchers(*server) == 1);
    repository.commit("//- cart.yml\n# a comment\na:   1\n");
    let (_, moved) = events.told();
    assert_eq!(moved["environments"], json!([]));
    assert_eq!(moved["others"], json!({"environments": 0, "files": 0}));
}

#[test]
fn many_environments_and_many_keys_are_cut_and_counted() {
    let own = (0..103).map(|number| format!("//- service-{number:03}.yml\nown: {number}\n"));
    let files = format!("//- application.yml\nshared: 1\n{}", own.collect::<String>());
    let repository = Repository::new(&files);
    let server = Server::start(&repository.uri());
    for number in 0..103 {
        server.get(&format!("/service-{number:03}/default")).expect(200);
    }
    let mut events = listen(&server, "");
    eventually("it listens", || watchers(*server) == 1);
    let keys: String = (0..150).map(|number| format!("key-{number}: {number}\n")).collect();
    repository.commit(&format!("//- application.yml\nshared: 2\n{keys}"));
    let (_, moved) = events.told();
    let environments = moved["environments"].as_array().unwrap();
    assert_eq!(environments.len(), 100);
    assert_eq!(moved["others"]["environments"], 3);
    assert_eq!(environments[0]["changed"], json!(["shared"]));
    assert_eq!(environments[0]["added"].as_array().unwrap().len(), 99);
    assert_eq!(environments[0]["more"], 51);
}

#[test]
fn a_listener_resumes_and_is_told_where_it_cannot() {
    let (repository, server) = shop();
    server.get("/cart/default").expect(200);
    let mut events = listen(&server, "");
    eventually("it listens", || watchers(*server) == 1);
    repository.commit("//- cart.yml\na: 2\n");
    let (first, _) = events.told();
    drop(events);
    eventually("it is gone", || watchers(*server) == 0);
    // What came meanwhile is told, in order.
    let missed = [3, 4].map(|value| {
        let revision = repository.commit(&format!("//- cart.yml\na: {value}\n"));
        eventually("it is served", || {
            server.get("/cart/default").header("headwater-revision") == Some(revision.as_str())
        });
        revision
    });
    let resume = |id: &str| listen(&server, &format!("Last-Event-ID: {id}\r\n"));
    let mut events = resume(&first.id);
    assert_eq!(missed, [(); 2].map(|()| events.told().1["to"].as_str().unwrap().to_owned()));
    // What is not known here is not passed over in silence.
    for unknown in ["0", "nonsense", "18446744073709551615", ""] {
        let mut events = resume(unknown);
        let (event, _) = events.told();
        assert_eq!(event.name, "resync", "{unknown}");
        let newest = resume(&event.id);
        drop(newest);
    }
    let mut events = resume("0");
    let (resync, _) = events.told();
    assert_eq!(resync.name, "resync");
    let revision = repository.commit("//- cart.yml\na: 5\n");
    assert_eq!(events.told().1["to"], json!(revision));
}

#[test]
fn the_moves_need_a_token_where_reading_does_and_end_with_the_server() {
    let repository = Repository::new("//- a.yml\na: 1\n");
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "hunter2").unwrap();
    let mut settings = settings(&repository.uri());
    settings.token_file = Some(token.path().to_owned());
    let server = Server::with(settings);
    server.get("/-/events").expect(401);
    server.ask("HEAD", "/-/events", &[("Authorization", "Bearer hunter2")]).expect(200);
    let mut events = listen(&server, "Authorization: Bearer hunter2\r\n");
    assert!(!events.next().unwrap().retry.is_empty());
    drop(server);
    assert_eq!(events.next(), None);
}

#[test]
fn a_push_is_told_although_nobody_reads_what_it_moves() {
    let hosted = Hosted::with("//- cart.yml\na: 0\n", |it| it.push.allow_delete = true);
    let tree = hosted.clone("mine");
    let mut events = listen(&hosted.server, "");
    eventually("it listens", || watchers(*hosted.server) == 1);
    let first = hosted.tip("main");
    let second = tree.commit("//- cart.yml\na: 1\n");
    tree.push(&[]).succeeds();
    let mut told = |label: &str, from: Option<&str>, to: Option<&str>| {
        let (event, moved) = events.told();
        assert_eq!(event.name, "move");
        assert_eq!((&moved["label"], &moved["actor"]), (&json!(label), &json!("push")));
        assert_eq!((&moved["from"], &moved["to"]), (&json!(from), &json!(to)));
        assert_eq!(moved["environments"], json!([]));
        assert_eq!(moved["others"], json!({"environments": 0, "files": null}));
    };
    told("main", Some(&first), Some(&second));
    tree.push(&["main:next"]).succeeds();
    told("next", None, Some(&second));
    tree.push(&[":next"]).succeeds();
    told("next", Some(&second), None);
}
