//! Random rollouts on two replicas that follow one another, under watchers that reconnect to either of them.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::{Shop, of_cart, stream};
use crate::fixture::held::{record, withheld};
use crate::fixture::{Address, Until, number};

const ROUND_COUNT: u64 = 60;

/// What a value may be seen by.
#[derive(Default)]
struct Journal {
    /// The values that everyone may have.
    promoted: Mutex<HashSet<u64>>,
    /// The values that were rolled back at the first replica.
    withheld: Mutex<HashSet<u64>>,
    event_count: AtomicU64,
    is_over: AtomicBool,
}

/// What one watcher has received.
#[derive(Default)]
struct Seen {
    id: String,
    /// The last number of the record, and the value.
    last: Option<(u64, u64)>,
    left: HashSet<u64>,
}

impl Seen {
    fn record(&mut self, id: String, v: u64, journal: &Journal, is_canary: bool) {
        let number = id.split_once(',').map_or(0, |(_, rest)| {
            let (number, _) = rest.split_once('-').unwrap().1.split_once('.').unwrap();
            number.parse().unwrap()
        });
        if !is_canary {
            assert!(journal.promoted.lock().unwrap().contains(&v), "{v} was never promoted");
        }
        assert!(!self.left.contains(&v), "{v} after it was rolled back: {id}");
        if let Some((last_number, last)) = self.last {
            assert_ne!(id, self.id, "twice");
            if number > 0 && last_number > 0 {
                assert!(number >= last_number, "{id} after {}", self.id);
            }
            if v < last {
                assert!(is_canary, "{v} after {last}: {id} after {}", self.id);
                assert!(journal.withheld.lock().unwrap().contains(&last), "{v} after {last}");
                self.left.insert(last);
            }
        }
        self.last = Some((number, v));
        self.id = id;
    }
}

fn watch(journal: &Journal, addresses: [Address; 2], name: &str, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut seen = Seen::default();
    while !journal.is_over.load(Ordering::Acquire) {
        let mut events = stream(addresses[random.usize(..2)], name, &seen.id);
        if events.head().contains("http/1.1 503") {
            continue;
        }
        for _ in 0..random.usize(1..8) {
            let (event, _) = events.environment();
            let v = number(&event.data, "v");
            seen.record(event.id, v, journal, name == "web-1");
            journal.event_count.fetch_add(1, Ordering::Relaxed);
            if journal.is_over.load(Ordering::Acquire) || v == ROUND_COUNT + 1 {
                break;
            }
        }
        if seen.last.is_some_and(|(_, v)| v == ROUND_COUNT + 1) {
            return;
        }
    }
}

#[test]
fn a_watcher_never_receives_the_bad_value_after_the_good_one() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (one, first) = Shop::new();
    let replicas = [one, Shop::new().0];
    let addresses = replicas.each_ref().map(|shop| *shop.server);
    let journal = Journal::default();
    journal.promoted.lock().unwrap().insert(1);
    thread::scope(|scope| {
        let _over = Until(&journal.is_over);
        let watching: Vec<_> = ["web-1", "web-1", "web-2", "web-3", ""]
            .into_iter()
            .enumerate()
            .map(|(at, name)| {
                let journal = &journal;
                scope.spawn(move || watch(journal, addresses, name, seed ^ at as u64))
            })
            .collect();
        let (mut stable, mut number) = (first, 0);
        for round in 2..=ROUND_COUNT + 1 {
            number += 1;
            let opened = number;
            let text = format!("v: {round}\n");
            let files = [("cart.yml", Some(&*text))];
            let mut order = [0, 1];
            random.shuffle(&mut order);
            let mut tip = None;
            for at in order {
                let shop = &replicas[at];
                let hold = |tip: &_| record(opened, [of_cart(opened, &stable, tip)]);
                let committed = shop.source.commit_held("main", &files, |tip| Some(hold(tip)));
                shop.publish(hold(&committed));
                tip = Some(committed);
            }
            let tip = tip.unwrap();
            number += 1;
            let is_last = round == ROUND_COUNT + 1;
            let is_good = is_last || random.bool();
            let holds = if is_good {
                journal.promoted.lock().unwrap().insert(round);
                record(number, [])
            } else {
                journal.withheld.lock().unwrap().insert(round);
                record(number, [withheld(&of_cart(opened, &stable, &tip), number)])
            };
            random.shuffle(&mut order);
            for at in order {
                replicas[at].publish(holds.clone());
            }
            if is_good {
                stable = tip;
            }
            let before = journal.event_count.load(Ordering::Relaxed);
            while !is_last
                && journal.event_count.load(Ordering::Relaxed) == before
                && random.u8(..4) > 0
                && watching.iter().all(|watching| !watching.is_finished())
            {
                thread::yield_now();
            }
        }
        for watching in watching {
            watching.join().unwrap();
        }
    });
}
