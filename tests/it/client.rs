//! The watching half of the client crate against real servers and a real repository.

mod between;
mod live;
mod rollout;

use std::time::Duration;

use headwater_client::{Builder, Client, Configuration, HealthState, Update, Watch};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::fixture::{PATIENCE, Repository, Server, eventually, settings};

const SHOP: &str = "//- application.yml\nshared: 1\n//- cart.yml\na: 1\n//- order.yml\nb: 1\n";
/// Longer than what is not to come would take.
const QUIET: Duration = Duration::from_millis(500);

fn client<const N: usize>(servers: [&Server; N]) -> Builder {
    let urls = servers.map(|server| format!("http://{}", server.0));
    Client::builder().urls(urls).application("cart").deadline(PATIENCE)
}

/// A watch, and the runtime that it lives on.
struct Watching {
    runtime: Runtime,
    watch: Watch,
}

impl Watching {
    fn start(builder: Builder) -> Self {
        let runtime = Runtime::new().unwrap();
        let client = builder.build().unwrap();
        let watch = runtime.block_on(async { client.watch() });
        Self { runtime, watch }
    }

    fn update(&mut self) -> Update {
        let next = async { timeout(PATIENCE, self.watch.next()).await };
        self.runtime.block_on(next).expect("an update").unwrap().unwrap()
    }

    #[track_caller]
    fn next(&mut self) -> Configuration {
        match self.update() {
            Update::Configuration(configuration) => configuration,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn says_nothing(&mut self) {
        let next = async { timeout(QUIET, self.watch.next()).await };
        let update = self.runtime.block_on(next);
        assert!(update.is_err(), "{update:?}");
    }

    fn becomes_live(&self) {
        eventually("it is live", || self.watch.health().state() == HealthState::Live);
    }
}

fn a(configuration: &Configuration) -> u32 {
    configuration.get_at("a").unwrap()
}

#[test]
fn a_service_is_told_what_concerns_it_and_nothing_else() {
    let repository = Repository::new(SHOP);
    let server = Server::start(&repository.uri());
    let mut watching = Watching::start(client([&server]));
    assert_eq!(a(&watching.next()), 1);
    repository.commit("//- order.yml\nb: 2\n");
    repository.commit("//- cart.yml\n# a comment\na:   1\n");
    repository.commit("//- cart-prod.yml\na: 9\n");
    watching.says_nothing();
    let revision = repository.commit("//- cart.yml\na: 2\n");
    let configuration = watching.next();
    assert_eq!((a(&configuration), configuration.revision()), (2, Some(revision.as_str())));
    let etag = server.get("/cart/default").header("etag").unwrap().to_owned();
    assert!(etag.contains(configuration.digest().unwrap()), "{etag}");
}

#[test]
fn what_is_changed_while_no_server_is_there_is_told_by_the_next_one() {
    let repository = Repository::new(SHOP);
    let server = Server::start(&repository.uri());
    let listen = server.0;
    let mut watching = Watching::start(client([&server]));
    assert_eq!(a(&watching.next()), 1);
    drop(server);
    let health = watching.watch.health();
    eventually("it is stale", || matches!(health.state(), HealthState::Stale { .. }));
    repository.commit("//- cart.yml\na: 2\n");
    repository.commit("//- cart.yml\na: 3\n");
    let mut again = settings(&repository.uri());
    again.listen = listen;
    let _server = Server::with(again);
    assert_eq!(a(&watching.next()), 3);
    watching.becomes_live();
    watching.says_nothing();
}

#[test]
fn a_replica_that_lags_never_takes_a_service_back() {
    let repository = Repository::new(SHOP);
    let lagging = Repository::new(SHOP);
    let replica = |repository: &Repository| {
        let mut settings = settings(&repository.uri());
        // Replicas call their sources the same, wherever they have them.
        settings.sources[0].name = Some("config".to_owned());
        settings
    };
    let first = Server::with(replica(&repository));
    let second = Server::with(replica(&lagging));
    let mut watching = Watching::start(client([&first, &second]));
    assert_eq!(a(&watching.next()), 1);
    repository.commit("//- cart.yml\na: 2\n");
    assert_eq!(a(&watching.next()), 2);
    let listen = first.0;
    drop(first);
    // The second one holds the question for a while: it may catch up, and here it does, by the same commit.
    lagging.commit("//- cart.yml\na: 2\n");
    watching.becomes_live();
    watching.says_nothing();
    lagging.commit("//- cart.yml\na: 3\n");
    assert_eq!(a(&watching.next()), 3);
    drop(second);
    let mut again = replica(&repository);
    again.listen = listen;
    let first = Server::with(again);
    // The only one that is left is behind now, and the other one may come back: nothing is told.
    watching.says_nothing();
    repository.commit("//- cart.yml\na: 3\n");
    watching.becomes_live();
    watching.says_nothing();
    drop(first);
}

#[test]
fn a_rewind_that_only_server_agrees_on_is_followed() {
    let repository = Repository::new(SHOP);
    let first = repository.commit("//- cart.yml\na: 2\n");
    repository.commit("//- cart.yml\na: 3\n");
    let server = Server::start(&repository.uri());
    let mut watching = Watching::start(client([&server]));
    assert_eq!(a(&watching.next()), 3);
    repository.force("main", &first);
    assert_eq!(a(&watching.next()), 2);
    // And by those who come back to a server that knows nothing of what they saw.
    let listen = server.0;
    repository.commit("//- cart.yml\na: 4\n");
    assert_eq!(a(&watching.next()), 4);
    drop(server);
    repository.force("main", &first);
    let mut again = settings(&repository.uri());
    again.listen = listen;
    let _server = Server::with(again);
    assert_eq!(a(&watching.next()), 2);
}

#[test]
fn long_polls_do_where_streams_do_not_come_through() {
    let repository = Repository::new(SHOP);
    let server = Server::start(&repository.uri());
    // No stream begins in no time at all.
    let mut watching =
        Watching::start(client([&server]).stream_start_timeout(Duration::from_nanos(1)));
    assert_eq!(a(&watching.next()), 1);
    repository.commit("//- order.yml\nb: 2\n");
    watching.says_nothing();
    repository.commit("//- cart.yml\na: 2\n");
    assert_eq!(a(&watching.next()), 2);
    watching.becomes_live();
}

#[test]
fn a_deleted_branch_is_told_and_kept() {
    let repository = Repository::new(SHOP);
    repository.commit_on("feature", "//- cart.yml\na: 7\n");
    let server = Server::start(&repository.uri());
    let mut watching = Watching::start(client([&server]).label("feature"));
    assert_eq!(a(&watching.next()), 7);
    let path = repository.path();
    let deleted = std::process::Command::new("git")
        .args(["--git-dir", path.to_str().unwrap(), "update-ref", "-d", "refs/heads/feature"])
        .status();
    assert!(deleted.unwrap().success());
    assert!(matches!(watching.update(), Update::Gone));
    repository.commit_on("feature", "//- cart.yml\na: 8\n");
    assert_eq!(a(&watching.next()), 8);
}
