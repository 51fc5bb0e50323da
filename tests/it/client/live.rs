//! Services whose configuration is a type of their own, against real servers and whatever stands between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use headwater_client::{Builder, Client, HealthState, Live};
use serde::Deserialize;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::between::{Between, Deck, Form, Manner};
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

/// Looks at all values over and over: none is ever torn, and none is ever older than it was.
fn observe(lives: &[Live<Pair>], is_over: &AtomicBool) {
    let mut last = vec![0; lives.len()];
    while !is_over.load(Ordering::Relaxed) {
        for (live, last) in lives.iter().zip(&mut last) {
            let Pair { first, second } = *live.current();
            assert_eq!(first, second);
            assert!(first >= *last, "{first} after {last}");
            *last = first;
        }
        thread::yield_now();
    }
}

/// What the server answers now, for somebody to say it later.
fn recorded(server: Address) -> Vec<u8> {
    let reply = server.get("/cart/default").expect(200);
    let (etag, body) = (reply.header("etag").unwrap(), reply.text());
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
    format!("{head}ETag: {etag}\r\nPreference-Applied: wait=25\r\n\r\n{body}").into_bytes()
}

#[test]
fn whatever_stands_between_it_ends_on_the_newest_and_never_goes_back_and_never_spins() {
    /// Half of them start through it, and half of those and of the others have no streams.
    const SERVICE_COUNT: usize = 32;
    const MOVE_COUNT: u64 = 24;
    const BETWEEN_MOVES: Duration = Duration::from_millis(150);
    let seed =
        std::env::var("CHAOS_SEED").map_or_else(|_| fastrand::u64(..), |it| it.parse().unwrap());
    eprintln!("CHAOS_SEED={seed}");
    let (repository, older) = (Repository::new(&pair(1)), Repository::new(&pair(1)));
    let (server, lagging) = (serve(&repository), serve(&older));
    let runtime = Runtime::new().unwrap();
    let old = recorded(*server);
    let decks =
        [Deck::new(seed, old.clone(), None), Deck::new(seed.wrapping_add(1), old, Some(*lagging))];
    let wild = |number: usize| Manner::Wild(Arc::clone(&decks[number]));
    repository.commit(&pair(2));
    let exposed = |number: usize| {
        let starts_through_it = number.is_multiple_of(2);
        let has_streams = number % 4 < 2;
        let between = [0, 1].map(|which| {
            let manner = if starts_through_it { wild(which) } else { Manner::Fair };
            Between::start(&runtime, *server, manner)
        });
        let start = if has_streams { Duration::from_millis(300) } else { Duration::from_nanos(1) };
        let builder = builder(&[&between[0].url, &between[1].url])
            .request_timeout(Duration::from_secs(1))
            .stream_start_timeout(start);
        (builder, between)
    };
    let (builders, between): (Vec<_>, Vec<_>) = (0..SERVICE_COUNT).map(exposed).unzip();
    let starting: Vec<_> =
        builders.into_iter().map(|it| runtime.spawn(async { it.live::<Pair>().await })).collect();
    let lives: Vec<_> =
        starting.into_iter().map(|it| runtime.block_on(it).unwrap().unwrap()).collect();
    let newest = MOVE_COUNT + 2;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _until = Until(&is_over);
        let observer = scope.spawn(|| observe(&lives, &is_over));
        for number in 3..=newest {
            for both in between.iter().filter(|_| number % 4 == 3) {
                for (which, between) in both.iter().enumerate() {
                    between.behave(wild(which));
                    between.cut();
                }
            }
            repository.commit(&pair(number));
            // Time for attempts that fail: nothing is waited for.
            thread::sleep(BETWEEN_MOVES);
        }
        between.iter().flatten().for_each(|it| it.behave(Manner::Fair));
        between.iter().flatten().for_each(Between::cut);
        let is_newest = |live: &Live<Pair>| live.current().first == newest;
        eventually("all are on the newest", || {
            assert!(!observer.is_finished(), "CHAOS_SEED={seed}");
            lives.iter().all(is_newest)
        });
        let is_live = |live: &Live<Pair>| live.health().state() == HealthState::Live;
        eventually("all are connected", || lives.iter().all(is_live));
    });
    for (live, between) in lives.iter().zip(&between) {
        assert_eq!(live.current().second, newest);
        // Of the start, of the watch in any minute, and those that say what became of it.
        let attempt_count = between[0].count() + between[1].count();
        assert!(attempt_count < 20 + 60 + 30, "CHAOS_SEED={seed}: {attempt_count} attempts");
    }
    // Every trick was played on every form of question.
    for form in [Form::Get, Form::Stream, Form::Poll] {
        assert_eq!(decks[0].left_out(form), [], "{form:?}, CHAOS_SEED={seed}");
    }
    for form in [Form::Stream, Form::Poll] {
        assert_eq!(decks[1].left_out(form), [], "{form:?}, CHAOS_SEED={seed}");
    }
}

#[test]
fn behind_a_proxy_that_eats_streams_a_change_comes_by_a_long_poll() {
    let repository = Repository::new(&pair(1));
    let server = serve(&repository);
    let runtime = Runtime::new().unwrap();
    let between = Between::start(&runtime, *server, Manner::EatsStreams);
    let builder = builder(&[&between.url]).instance("behind");
    let live = start(&runtime, builder.stream_start_timeout(Duration::from_millis(300)));
    eventually("it is connected", || live.health().state() == HealthState::Live);
    for number in 2..5 {
        let revision = repository.commit(&pair(number));
        eventually("the change is there", || live.current().first == number);
        becomes(*server, "behind", "ok", &revision);
    }
    // The first answer, the stream that never came, and few polls: a change ends one, and none of them spins.
    assert!(between.count() <= 20, "{} connections", between.count());
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
    let connected = |live: &Live<Pair>, _| live.health().state() == HealthState::Live;
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
