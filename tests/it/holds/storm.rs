//! Readers that race with publications of tips and holds.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use headwater::access::Caller;
use headwater::model::{Epochs, Revision};
use headwater::snapshot::BranchHolds;
use headwater::store::{AnswerAt, Reader, Store};
use tokio::runtime::Handle;

use super::{read, store, value};
use crate::fixture::held::{instance, memory, publish, query, record, rollout, withheld};

/// The number of rollouts.
const ROUND_COUNT: u64 = 120;

/// The values that are published for every reader, each noted before it can be seen.
struct Published {
    promoted: Mutex<HashSet<u64>>,
    withheld: Mutex<HashSet<u64>>,
    read_count: AtomicU64,
    is_over: AtomicBool,
}

impl Published {
    /// Reads until the storm is over. Another reader than a canary sees promoted values only, and each reader sees them in
    /// order.
    fn check(&self, runtime: &Handle, store: &Arc<Store>, reader: Reader, is_canary: bool) {
        let (mut last_value, mut last_number) = (0, 0);
        let mut seen_withheld: HashSet<u64> = HashSet::new();
        while !self.is_over.load(Ordering::Acquire) {
            let handle = runtime.block_on(store.answer(&Caller::Anonymous, &query("cart")));
            let current = handle.unwrap().for_instance(reader.instance).current();
            let v: u64 = value(&current, "v").parse().unwrap();
            let number = hold_number(&current);
            // Noted before this read, so that a publication that has ended counts.
            if !is_canary {
                assert!(self.promoted.lock().unwrap().contains(&v), "{v} was never promoted");
                assert!(v >= last_value, "{v} after {last_value}");
            }
            if number > 0 {
                assert!(number >= last_number, "number {number} after {last_number}");
                last_number = number;
            }
            if seen_withheld.contains(&v) {
                panic!("{v} after it was rolled back");
            }
            if v < last_value {
                // Only a rollback leads back, and the value that it leaves never returns.
                assert!(is_canary, "{v} after {last_value}");
                assert!(self.withheld.lock().unwrap().contains(&last_value));
                seen_withheld.insert(last_value);
            }
            last_value = v;
            self.check_file(runtime, store, reader, is_canary);
            self.read_count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Reads a template, whose text and values are of one side.
    fn check_file(&self, runtime: &Handle, store: &Arc<Store>, reader: Reader, is_canary: bool) {
        let cart = query("cart");
        let found = store.find_template(&Caller::Anonymous, &reader, &cart, "conf.txt");
        let template = runtime.block_on(found).unwrap().found.expect("a file");
        let text = String::from_utf8(template.file.read().unwrap()).unwrap();
        let environment = &template.served().expect("an environment").environment;
        let v = environment.sources[0].properties()[0].value.text().to_string();
        assert_eq!(text, v, "a template and its values are of two sides");
        if !is_canary {
            let v = v.parse().unwrap();
            assert!(self.promoted.lock().unwrap().contains(&v), "a file: {v} was never promoted");
        }
    }
}

fn hold_number(current: &AnswerAt) -> u64 {
    let parts = current.epochs.as_ref().map_or(&[][..], Epochs::parts);
    parts.get(1).copied().flatten().map_or(0, |epoch| epoch.number)
}

#[test]
fn no_reader_but_a_canary_sees_a_candidate_not_even_once() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let source = memory();
    let files = |v: u64| [("cart.yml", format!("v: {v}\n")), ("conf.txt", v.to_string())];
    let commit = |v: u64, holds: &dyn Fn(&Revision) -> Option<BranchHolds>| {
        let files = files(v);
        let changes =
            [(files[0].0, Some(files[0].1.as_str())), (files[1].0, Some(files[1].1.as_str()))];
        source.commit_held("main", &changes, holds)
    };
    let mut stable = commit(0, &|_| None);
    let store = runtime.block_on(async { store(&source) });
    let published = Published {
        promoted: Mutex::new([0].into()),
        withheld: Mutex::default(),
        read_count: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
    };
    drop(runtime.block_on(read(&store, "cart")));
    thread::scope(|scope| {
        let readers = [
            (Reader::default(), false),
            (Reader { instance: Some(instance("cart", "web-2")), shown: 0 }, false),
            (Reader { instance: Some(instance("cart", "web-1")), shown: 0 }, true),
        ];
        let _over = crate::fixture::Until(&published.is_over);
        let checks: Vec<_> = readers
            .into_iter()
            .map(|(reader, is_canary)| {
                let (published, runtime, store) = (&published, runtime.handle(), &store);
                scope.spawn(move || published.check(runtime, store, reader, is_canary))
            })
            .collect();
        let mut number = 0;
        for round in 1..=ROUND_COUNT {
            let reads = published.read_count.load(Ordering::Relaxed);
            number += 1;
            let opened = number;
            let hold = |tip: &Revision| rollout(&["cart"], opened, [&stable, tip], &["web-1"]);
            let tip = commit(round, &|tip| Some(record(opened, [hold(tip)])));
            let hold = hold(&tip);
            runtime.block_on(publish(&source, &store, record(opened, [hold.clone()])));
            if round % 3 == 0 {
                source.commit("main", &[("notes.txt", Some(&*round.to_string()))]);
            }
            number += 1;
            if round % 2 == 0 {
                published.withheld.lock().unwrap().insert(round);
                let hold = withheld(&hold, number);
                runtime.block_on(publish(&source, &store, record(number, [hold])));
            } else {
                published.promoted.lock().unwrap().insert(round);
                runtime.block_on(publish(&source, &store, record(number, [])));
                stable = tip;
            }
            // Every round meets some readers.
            while published.read_count.load(Ordering::Relaxed) < reads + 3
                && checks.iter().all(|check| !check.is_finished())
            {
                thread::yield_now();
            }
        }
        published.is_over.store(true, Ordering::Release);
        for check in checks {
            check.join().unwrap();
        }
    });
}
