//! The client crate under rollouts: what canaries and others receive, and what a service starts from without a server.

use std::path::Path;
use std::sync::Arc;

use headwater::model::Revision;
use headwater::snapshot::BranchHolds;
use headwater::source::memory::MemorySource;
use headwater::store::{Actor, Store};
use headwater_client::{Client, Live};
use serde::Deserialize;
use tokio::runtime::Runtime;

use crate::fixture::held::{memory, publish, record, rollout, withheld};
use crate::fixture::{Server, eventually};

#[derive(Debug, Deserialize)]
struct Cart {
    v: u64,
}

fn commit(
    source: &MemorySource,
    v: u64,
    holds: impl FnOnce(&Revision) -> Option<BranchHolds>,
) -> Revision {
    source.commit_held("main", &[("cart.yml", Some(&*format!("v: {v}\n")))], holds)
}

struct Shop {
    source: Arc<MemorySource>,
    server: Server,
    store: Arc<Store>,
    runtime: Runtime,
}

impl Shop {
    fn start(&self, name: &str, copies: &Path) -> Live<Cart> {
        let builder = Client::builder()
            .urls([format!("http://{}", self.server.0)])
            .application("cart")
            .instance(name)
            .last_known_good(copies.join(name));
        self.runtime.block_on(async { builder.live().await }).unwrap()
    }

    fn push(&self, v: u64, holds: impl FnOnce(&Revision) -> BranchHolds) -> Revision {
        let tip = commit(&self.source, v, |tip| Some(holds(tip)));
        self.runtime.block_on(self.store.refresh_labels(&Actor::Source, Vec::new()));
        tip
    }

    fn publish(&self, holds: BranchHolds) {
        self.runtime.block_on(publish(&self.source, &self.store, holds));
    }
}

#[track_caller]
fn becomes(live: &Live<Cart>, v: u64) {
    eventually(&format!("the service has {v}"), || live.current().v == v);
}

/// The value in the last-known-good copy of an instance.
fn copied(copies: &Path, name: &str) -> Option<u64> {
    let file = std::fs::read_dir(copies.join(name)).ok()?.next()?.ok()?.path();
    let text = std::fs::read_to_string(file).ok()?;
    let (_, rest) = text.split_once("\"v\":")?;
    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
}

#[test]
fn a_candidate_is_no_last_known_good_copy_before_it_is_released() {
    let source = memory();
    let stable = commit(&source, 1, |_| None);
    let (server, store) = Server::over(Arc::clone(&source) as Arc<_>);
    let shop = Shop { source, server, store, runtime: Runtime::new().unwrap() };
    let copies = tempfile::tempdir().unwrap();
    let canary = shop.start("web-1", copies.path());
    let other = shop.start("web-2", copies.path());
    for name in ["web-1", "web-2"] {
        assert_eq!(copied(copies.path(), name), Some(1), "{name}");
    }
    let open = |number: u64, tip: &Revision| rollout(&["cart"], number, [&stable, tip], &["web-1"]);
    let tip = shop.push(2, |tip| record(1, [open(1, tip)]));
    becomes(&canary, 2);
    assert_eq!(canary.configuration().revision(), Some(tip.as_str()));
    // A service that starts now starts as a canary, and keeps nothing for a start without a server.
    let late = copies.path().join("late");
    std::fs::create_dir(&late).unwrap();
    let restarted = shop.start("web-1", &late);
    assert_eq!(restarted.current().v, 2);
    assert_eq!(copied(&late, "web-1"), None);
    drop(restarted);
    shop.publish(record(2, [withheld(&open(1, &tip), 2)]));
    becomes(&canary, 1);
    assert_eq!(copied(copies.path(), "web-1"), Some(1));

    let tip = shop.push(3, |tip| record(3, [open(3, tip)]));
    becomes(&canary, 3);
    assert_eq!(other.current().v, 1);
    assert_eq!(copied(copies.path(), "web-1"), Some(1));
    shop.publish(record(4, []));
    becomes(&other, 3);
    eventually("a released candidate is kept", || copied(copies.path(), "web-1") == Some(3));
    eventually("the others keep it at once", || copied(copies.path(), "web-2") == Some(3));
    assert_eq!(other.configuration().revision(), Some(tip.as_str()));
}
