//! Many watchers and many moves at once: ordered, nothing twice, nothing lost, wherever a watcher resumes.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::{Event, Events, shop, watchers};
use crate::fixture::{Hosted, Repository, Server, Session, Until, eventually, number, settings};

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

/// Force-pushes A, B, A, B, deletions and re-creations, at a server and at a mirror that lags behind it: whoever resumes at
/// either of them sees publications in their order.
#[test]
fn rewinds_reach_every_watcher_in_order_on_a_mirror_too() {
    const MOVE_COUNT: u64 = 60;
    const WATCHER_COUNT: u64 = 12;
    let hosted = Hosted::with("//- a.yml\nnumber: 0\n", |settings| {
        settings.push.allow_force = true;
        settings.push.allow_delete = true;
        settings.sources[0].name = Some("config".to_owned());
    });
    let place = tempfile::tempdir().unwrap();
    let mut settings = settings(&hosted.url());
    settings.data = place.path().to_owned();
    settings.sources[0].poll_seconds = Some(1);
    settings.sources[0].name = Some("config".to_owned());
    let mirror = Server::with(settings);
    let tree = hosted.clone("tree");
    tree.git(&["switch", "--quiet", "--create", "side"]).succeeds();
    tree.push(&["side"]).succeeds();
    let path = "/a/default/side";
    eventually("the mirror has the branch", || mirror.get(path).status == 200);
    let addresses = [*hosted.server, *mirror];
    // What was published, in order, each noted before it can be seen.
    let published = Mutex::new(vec![hosted.tip("side")]);
    let is_over = AtomicBool::new(false);
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    thread::scope(|scope| {
        let _until = Until(&is_over);
        let watching: Vec<_> = (0..WATCHER_COUNT)
            .map(|watcher| {
                let mut random = fastrand::Rng::with_seed(seed ^ watcher);
                let (published, is_over) = (&published, &is_over);
                scope.spawn(move || {
                    let mut seen = Seen::default();
                    while !seen.is_last(MOVE_COUNT) {
                        assert!(!is_over.load(Ordering::Relaxed), "the storm has failed");
                        let header = match seen.id.as_str() {
                            "" => String::new(),
                            id => format!("Last-Event-ID: {id}\r\n"),
                        };
                        let mut events = Events::open(addresses[random.usize(..2)], path, &header);
                        if !events.head().contains("http/1.1 200") {
                            // It is behind, or the branch is just not there.
                            thread::sleep(std::time::Duration::from_millis(10));
                            continue;
                        }
                        for _ in 0..random.usize(1..12) {
                            let Some(event) = events.next() else { break };
                            match event.name.as_str() {
                                "environment" => seen.record(event, &published.lock().unwrap()),
                                // A branch that was deleted may be made again.
                                "gone" => break,
                                _ => {}
                            }
                            if seen.is_last(MOVE_COUNT) {
                                break;
                            }
                        }
                    }
                })
            })
            .collect();
        let mut random = fastrand::Rng::with_seed(seed);
        let mut tips = vec![hosted.tip("side")];
        for number in 1..=MOVE_COUNT {
            let back = random.usize(..tips.len());
            match random.u8(..10) {
                0..4 if number < MOVE_COUNT => {
                    // Back to an earlier commit: A, B, A.
                    tree.git(&["reset", "--quiet", "--hard", &tips[back]]).succeeds();
                }
                4 if number < MOVE_COUNT => {
                    tree.push(&["--delete", "side"]).succeeds();
                    tree.git(&["reset", "--quiet", "--hard", &tips[back]]).succeeds();
                }
                _ => tips.push(tree.commit(&format!("//- a.yml\nnumber: {number}\n"))),
            }
            let tip = tree.git(&["rev-parse", "HEAD"]).succeeds().out.trim().to_owned();
            published.lock().unwrap().push(tip);
            tree.push(&["--force", "side"]).succeeds();
        }
        for watching in watching {
            watching.join().unwrap();
        }
    });
}

/// What one watcher has seen so far.
#[derive(Default)]
struct Seen {
    id: String,
    /// The number of the epoch, and the number in the content: within an epoch it only grows.
    last: Option<(u64, u64)>,
    /// How many publications lie behind, at least.
    passed_count: usize,
}

impl Seen {
    fn is_last(&self, number: u64) -> bool {
        self.last.is_some_and(|(_, last)| last == number)
    }

    /// Takes an event, which has to be of a later publication than all before it.
    fn record(&mut self, event: Event, published: &[String]) {
        let (position, _) = event.id.rsplit_once('.').unwrap();
        let (revision, epoch) = position.split_once('.').unwrap_or((position, "x-0"));
        let epoch = epoch.rsplit_once('-').unwrap().1.parse().unwrap();
        let now = (epoch, number(&event.data, "number"));
        assert!(self.last < Some(now), "{now:?} after {:?}", self.last);
        assert_ne!(event.id, self.id);
        let later = published[self.passed_count..].iter().position(|known| known == revision);
        let later = later.unwrap_or_else(|| panic!("{revision} was not published later"));
        self.passed_count += later + 1;
        (self.last, self.id) = (Some(now), event.id);
    }
}
