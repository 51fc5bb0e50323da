//! Many watchers and many moves at once: ordered, nothing twice, nothing lost, wherever a watcher resumes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::{Event, Events, shop, watchers};
use crate::fixture::{Repository, Server, Session, Until, eventually, number, settings};

/// What the numbers of this test stand in: two files that have to agree, and one for each service beside them.
fn pair(number: u64) -> String {
    format!("//- application.yml\nfirst: {number}\n//- cart.yml\nsecond: {number}\n")
}

#[test]
fn two_keys_that_must_agree_are_never_seen_to_disagree() {
    const READ_COUNT: u64 = 10_000;
    const MOVE_COUNT: u64 = 50;
    let repository = Repository::new(&pair(0));
    let mut settings = settings(&repository.uri());
    settings.workers = Some(2);
    let server = Server::with(settings);
    let address = *server;
    let (over, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let _until = Until(&over);
        for _ in 0..4 {
            scope.spawn(|| {
                let (mut session, mut last) = (Session::new(address), 0);
                while !over.load(Ordering::Relaxed) {
                    let text = session.get("/cart/default").expect(200).text();
                    let (first, second) = (number(&text, "first"), number(&text, "second"));
                    assert_eq!(first, second, "{text}");
                    assert!(first >= last, "{first} after {last}");
                    last = first;
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let watcher = scope.spawn(|| {
            let mut events = Events::open(address, "/cart/default", "").after_head();
            let mut last = None;
            while last != Some(MOVE_COUNT) {
                let (event, _) = events.environment();
                let (first, second) = (number(&event.data, "first"), number(&event.data, "second"));
                assert_eq!(first, second);
                assert!(last < Some(first), "{first} after {last:?}");
                last = Some(first);
            }
        });
        for number in 1..=MOVE_COUNT {
            repository.commit(&pair(number));
            // Spread over the reads.
            while reads.load(Ordering::Relaxed) < READ_COUNT / MOVE_COUNT * number
                && !over.load(Ordering::Relaxed)
            {
                thread::yield_now();
            }
        }
        watcher.join().unwrap();
    });
    assert!(reads.load(Ordering::Relaxed) >= READ_COUNT);
}

#[test]
fn a_thousand_watchers_that_all_come_back_at_once_miss_nothing() {
    const COUNT: usize = 1_000;
    let (repository, server) = shop();
    let open = |last: &str| Events::open(*server, "/cart/default", last);
    let streams: Vec<_> = (0..COUNT).map(|_| open("")).collect();
    let mut last = String::new();
    for events in streams {
        last = first_event(events, || open("")).id;
    }
    eventually("all have gone", || watchers(*server) == 0);
    let newest = repository.commit("//- cart.yml\na: 2\n");
    let last = format!("Last-Event-ID: {last}\r\n");
    let streams: Vec<_> = (0..COUNT).map(|_| open(&last)).collect();
    for events in streams {
        assert!(first_event(events, || open(&last)).id.starts_with(&newest));
    }
}

/// The first event of a stream. A machine that is too busy to read a request in time answers 408, and whoever is told that
/// asks again, as clients do.
fn first_event(mut events: Events, again: impl Fn() -> Events) -> Event {
    loop {
        let head = events.head();
        if !head.contains("http/1.1 408") {
            assert!(head.contains("http/1.1 200"), "{head}");
            return events.environment().0;
        }
        events = again();
    }
}

/// Random moves, watchers and disconnections: Ordered, Unique, Reliable, Resumable.
#[test]
fn random_moves_reach_every_watcher_in_order_however_often_it_reconnects() {
    const MOVE_COUNT: u64 = 300;
    const WATCHER_COUNT: u64 = 24;
    let repository = Repository::new("//- a.yml\nnumber: 0\n//- b.yml\nnumber: 0\n");
    let replicas = [(); 2].map(|()| {
        let mut settings = settings(&repository.uri());
        settings.workers = Some(2);
        Server::with(settings)
    });
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    thread::scope(|scope| {
        let watching: Vec<_> = (0..WATCHER_COUNT)
            .map(|watcher| {
                let addresses = [*replicas[0], *replicas[1]];
                let mut random = fastrand::Rng::with_seed(seed ^ watcher);
                let name = ["a", "b"][usize::try_from(watcher % 2).unwrap()];
                scope.spawn(move || {
                    let (mut last, mut id) = (None, String::new());
                    while last != Some(MOVE_COUNT) {
                        let header = match id.as_str() {
                            "" => String::new(),
                            id => format!("Last-Event-ID: {id}\r\n"),
                        };
                        let address = addresses[random.usize(..2)];
                        let mut events =
                            Events::open(address, &format!("/{name}/default"), &header);
                        if events.head().contains("http/1.1 503") {
                            // That one is behind; another one may not be.
                            continue;
                        }
                        for _ in 0..random.usize(1..40) {
                            let (event, _) = events.environment();
                            let number = number(&event.data, "number");
                            // Neither older nor again, on whichever server.
                            assert!(last < Some(number), "{number} after {last:?}");
                            assert_ne!(event.id, id);
                            (last, id) = (Some(number), event.id);
                            if last == Some(MOVE_COUNT) {
                                break;
                            }
                        }
                    }
                })
            })
            .collect();
        let mut random = fastrand::Rng::with_seed(seed);
        for number in 1..=MOVE_COUNT {
            let (a, b) = match number {
                MOVE_COUNT => (true, true),
                _ => (random.bool(), random.bool()),
            };
            let file = |name: &str| format!("//- {name}.yml\nnumber: {number}\n");
            let both =
                [(a, "a"), (b, "b")].map(|(is, name)| if is { file(name) } else { String::new() });
            repository.commit(&format!("{}//- noise.txt\n{number}\n", both.concat()));
            if random.u8(..10) > 0 {
                thread::sleep(std::time::Duration::from_millis(random.u64(..12)));
            }
        }
        for watching in watching {
            watching.join().unwrap();
        }
    });
}
