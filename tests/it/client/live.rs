//! Services whose configuration is a type of their own, against real servers and whatever stands between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use headwater_client::{Builder, Client, Live, State};
use serde::Deserialize;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::between::{Between, Manner};
use crate::fixture::{Address, Repository, Server, Until, eventually, settings};

/// Two keys that two files set, always to the same.
#[derive(Debug, Deserialize)]
struct Pair {
    first: u64,
    second: u64,
}

fn pair(number: u64) -> String {
    format!("//- application.yml\nfirst: {number}\n//- cart.yml\nsecond: {number}\n")
}

/// What is served by several servers is called the same by all.
fn serve(repository: &Repository) -> Server {
    let mut settings = settings(&repository.uri());
    settings.sources[0].name = Some("config".to_owned());
    Server::with(settings)
}

fn builder(urls: &[&str]) -> Builder {
    Client::builder().urls(urls.iter().copied()).application("cart")
}

fn start(runtime: &Runtime, builder: Builder) -> Live<Pair> {
    let below_100 = |pair: &Pair| if pair.first < 100 { Ok(()) } else { Err("too large") };
    runtime.block_on(async { builder.live_with(below_100).await }).unwrap()
}

fn url(server: Address) -> String {
    format!("http://{}", server.0)
}

/// What a server knows of an instance: the outcome, the revision, and whether it is connected.
fn instance(server: Address, name: &str) -> Option<(Value, Value, Value)> {
    let listed = server.get("/-/instances").expect(200).json();
    let found = listed["instances"].as_array()?.iter().find(|it| it["instance"] == name)?.clone();
    Some((found["outcome"].clone(), found["revision"].clone(), found["connected"].clone()))
}

fn becomes(server: Address, name: &str, outcome: &str, revision: &str) {
    let wanted = (Value::from(outcome), Value::from(revision), Value::from(true));
    let what = format!("{name} says {outcome}");
    eventually(&what, || instance(server, name).as_ref() == Some(&wanted));
}

#[test]
fn a_server_shows_who_applied_what_and_who_rejected_it() {
    let repository = Repository::new(&pair(1));
    let server = serve(&repository);
    let runtime = Runtime::new().unwrap();
    let stream = start(&runtime, builder(&[&url(*server)]).instance("stream"));
    let poll = builder(&[&url(*server)]).instance("poll");
    let poll = start(&runtime, poll.stream_start_timeout(Duration::from_nanos(1)));
    let good = server.get("/cart/default").header("headwater-revision").unwrap().to_owned();
    for name in ["stream", "poll"] {
        becomes(*server, name, "ok", &good);
    }
    let bad = repository.commit(&pair(100));
    for name in ["stream", "poll"] {
        becomes(*server, name, "rejected", &bad);
    }
    for live in [&stream, &poll] {
        assert_eq!(live.current().first, 1);
        assert_eq!(live.rejection().unwrap().configuration.revision(), Some(bad.as_str()));
    }
    let better = repository.commit(&pair(2));
    for name in ["stream", "poll"] {
        becomes(*server, name, "ok", &better);
    }
    assert_eq!((stream.current().first, poll.current().second), (2, 2));
    // The memory of a server is its own, and clients tell the next one without being asked.
    let mut again = settings(&repository.uri());
    again.sources[0].name = Some("config".to_owned());
    again.listen = server.0;
    drop(server);
    let server = Server::with(again);
    for name in ["stream", "poll"] {
        becomes(*server, name, "ok", &better);
    }
    drop(stream);
    eventually("it is gone", || {
        instance(*server, "stream").is_some_and(|(.., connected)| connected == false)
    });
}

/// Looks at a value over and over: it is never torn, and never older than it was.
fn observe(live: &Live<Pair>, is_over: &AtomicBool) {
    let mut last = 0;
    while !is_over.load(Ordering::Relaxed) {
        let Pair { first, second } = *live.current();
        assert_eq!(first, second);
        assert!(first >= last, "{first} after {last}");
        last = first;
        thread::yield_now();
    }
}

#[test]
fn whatever_stands_between_it_ends_on_the_newest_and_never_goes_back_and_never_spins() {
    const MOVE_COUNT: u64 = 20;
    const BETWEEN_MOVES: Duration = Duration::from_millis(150);
    let (repository, older) = (Repository::new(&pair(1)), Repository::new(&pair(1)));
    let (server, lagging) = (serve(&repository), serve(&older));
    let runtime = Runtime::new().unwrap();
    for seed in 0..3 {
        let first = Between::start(&runtime, *server, Manner::Fair);
        let second = Between::start(&runtime, *server, Manner::Fair);
        let builder = builder(&[&first.url, &second.url])
            .request_timeout(Duration::from_secs(1))
            .stream_start_timeout(Duration::from_millis(300));
        let live = start(&runtime, builder);
        let begin = live.current().first;
        first.behave(Manner::Wild(seed, None));
        second.behave(Manner::Wild(seed + 100, Some(*lagging)));
        let is_over = AtomicBool::new(false);
        let newest = thread::scope(|scope| {
            let _until = Until(&is_over);
            scope.spawn(|| observe(&live, &is_over));
            let mut number = begin;
            for count in 0..MOVE_COUNT {
                if count % 5 == 0 {
                    first.cut();
                    second.cut();
                }
                number += 1;
                repository.commit(&pair(number));
                // Time for attempts that fail: nothing is waited for.
                thread::sleep(BETWEEN_MOVES);
            }
            first.behave(Manner::Fair);
            second.behave(Manner::Fair);
            eventually("it is on the newest", || live.current().first == number);
            eventually("it is connected", || live.health().state() == State::Live);
            number
        });
        assert_eq!(live.current().second, newest);
        // 60 of the watch and 30 that say what became of it, in any minute; and those of the start.
        let attempt_count = first.count() + second.count();
        assert!(attempt_count < 60 + 30 + 10, "seed {seed}: {attempt_count} attempts");
    }
}

#[test]
fn five_hundred_services_outlive_ten_restarts_of_their_server() {
    const SERVICE_COUNT: usize = 500;
    const RESTART_COUNT: u64 = 10;
    /// Pauses double while streams do not live for long.
    const RESTART_COUNT_IN_A_ROW: u64 = 4;
    /// A stream that lived for longer than this has shown that it works, and the next pause is a short one.
    const PROOF: Duration = Duration::from_millis(5_500);
    let repository = Repository::new(&pair(1));
    let mut server = Some(serve(&repository));
    let runtime = Runtime::new().unwrap();
    let between = Between::start(&runtime, **server.as_ref().unwrap(), Manner::Fair);
    let starting = async {
        let mut starting = JoinSet::new();
        for _ in 0..SERVICE_COUNT {
            let builder = builder(&[&between.url]);
            starting.spawn(async move { builder.live::<Pair>().await.unwrap() });
        }
        starting.join_all().await
    };
    let services = Arc::new(runtime.block_on(starting));
    let all = |what: &str, holds: fn(&Live<Pair>, u64) -> bool, number: u64| {
        eventually(what, || services.iter().all(|live| holds(live, number)));
    };
    let connected = |live: &Live<Pair>, _| live.health().state() == State::Live;
    all("all are connected", connected, 1);
    let begin = between.count();
    for number in 2..RESTART_COUNT + 2 {
        if number % RESTART_COUNT_IN_A_ROW == 0 {
            thread::sleep(PROOF);
        }
        between.behave(Manner::Away);
        drop(server.take());
        repository.commit(&pair(number));
        let restarted = serve(&repository);
        between.to(*restarted);
        between.behave(Manner::Fair);
        server = Some(restarted);
        all("all are on the newest", |live, number| live.current().first == number, number);
        all("all are connected", connected, number);
    }
    // For each restart: those that found nobody, the stream, and what became of the change.
    let attempt_count = between.count() - begin;
    let each = attempt_count as f64 / (SERVICE_COUNT as f64 * RESTART_COUNT as f64);
    assert!(each < 8.0, "{each} connections of a service for a restart");
    let is_told = || {
        let listed = server.as_ref().unwrap().get("/-/instances").expect(200).json();
        let listed = listed["instances"].as_array().unwrap().clone();
        listed.iter().filter(|it| it["outcome"] == "ok" && it["connected"] == true).count()
            == SERVICE_COUNT
    };
    eventually("the server knows them all", is_told);
}
