//! Whom a change concerns, and whom it does not: not one event, not one wake-up.

use super::{Events, metric, shop};
use crate::fixture::{Address, Repository, Server, eventually};

/// Waits until a revision is served, to whoever asks.
fn served(server: Address, path: &str, revision: &str) {
    eventually("it is served", || server.get(path).header("headwater-revision") == Some(revision));
}

#[test]
fn what_changes_nothing_wakes_nobody() {
    let (repository, server) = shop();
    let mut watching = Vec::new();
    for _ in 0..20 {
        for path in ["/cart/default", "/cart/prod"] {
            let mut events = Events::open(*server, path, "").after_head();
            events.environment();
            watching.push(events);
        }
    }
    let before = metric(*server, "headwater_watch_wakeups_total");
    for quiet in [
        "//- cart.yml\n# a comment\na: 1\n",
        "//- cart.yml\n---\n\na:     1   # reformatted\n",
        "//- order.yml\nb: 2\n",
        "//- cart-qa.yml\na: 3\n",
        "//- README.md\ntext\n",
    ] {
        let revision = repository.commit(quiet);
        served(*server, "/cart/default", &revision);
    }
    assert_eq!(metric(*server, "headwater_watch_wakeups_total"), before, "somebody was woken");
    let revision = repository.commit("//- cart.yml\na: 4\n");
    for events in &mut watching {
        assert!(events.environment().0.id.starts_with(&revision), "an event came before");
    }
    // One worker, two environments.
    assert_eq!(metric(*server, "headwater_watch_wakeups_total"), before + 2);
}

/// A file for all, with a part that only counts in production.
fn shared(for_all: u64, for_production: u64) -> String {
    format!(
        "//- application.yml\nshared: {for_all}\n---\nspring.config.activate.on-profile: prod\nx: {for_production}\n"
    )
}

#[test]
fn a_shared_file_tells_exactly_those_whose_values_it_changes() {
    let repository = Repository::new(&format!("{}//- own.yml\nown: 1\n", shared(1, 1)));
    let server = Server::start(&repository.uri());
    let open = |path: &str| {
        let mut events = Events::open(*server, path, "").after_head();
        events.environment();
        events
    };
    let mut everybody = ["/own/default", "/own/prod", "/other/default", "/other/prod"].map(open);
    let revision = repository.commit(&shared(2, 1));
    for events in &mut everybody {
        assert!(events.environment().0.id.starts_with(&revision));
    }
    let wakeups = metric(*server, "headwater_watch_wakeups_total");
    let revision = repository.commit(&shared(2, 2));
    for events in [1, 3] {
        assert!(everybody[events].environment().0.id.starts_with(&revision));
    }
    assert_eq!(metric(*server, "headwater_watch_wakeups_total"), wakeups + 2, "production only");
    let revision = repository.commit(&shared(3, 2));
    for events in &mut everybody {
        assert!(events.environment().0.id.starts_with(&revision), "nothing came between");
    }
}

#[test]
fn twenty_moves_in_a_second_end_with_the_newest() {
    let (repository, server) = shop();
    let mut events = Events::open(*server, "/cart/default", "").after_head();
    events.environment();
    let mut last = String::new();
    for number in 100..120 {
        last = repository.commit(&format!("//- cart.yml\na: {number}\n"));
    }
    let (mut told, mut id) = (Vec::new(), String::new());
    while !id.starts_with(&last) {
        let (event, environment) = events.environment();
        told.push(environment["propertySources"][0]["source"]["a"].as_i64().unwrap());
        id = event.id;
    }
    assert!(told.is_sorted_by(|a, b| a < b), "{told:?}");
    assert_eq!(told.last(), Some(&119));
    assert!(told.len() <= 20);
    served(*server, "/cart/default", &last);
}

#[test]
fn a_change_between_reading_and_listening_is_not_lost() {
    let (repository, server) = shop();
    for number in 10..40 {
        let read = server.get("/cart/default").expect(200);
        let digest = read.header("etag").unwrap();
        let digest = digest.strip_prefix("W/\"").unwrap().split('.').next().unwrap().to_owned();
        let revision = read.header("headwater-revision").unwrap().to_owned();
        let newest = repository.commit(&format!("//- cart.yml\na: {number}\n"));
        let last = format!("Last-Event-ID: {revision}.{digest}\r\n");
        // Whether the server has seen the commit by now or not: the client is told of it.
        let mut events = Events::open(*server, "/cart/default", &last).after_head();
        assert!(events.environment().0.id.starts_with(&newest));
    }
}
