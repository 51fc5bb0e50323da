//! An application that a rollout holds, over HTTP: what streams, polls and plain requests receive on both sides.

mod events;
mod requests;
mod storm;

use std::sync::Arc;

use headwater::model::Revision;
use headwater::snapshot::{BranchHolds, RolloutHold};
use headwater::source::memory::MemorySource;
use headwater::store::Store;
use tokio::runtime::Runtime;

use super::{Event, Events};
use crate::fixture::held::{memory, publish, rollout};
use crate::fixture::{Address, Server, eventually};

/// A server over a branch in memory.
struct Shop {
    source: Arc<MemorySource>,
    server: Server,
    store: Arc<Store>,
    runtime: Runtime,
}

impl Shop {
    /// A branch with `v: 1` for `cart` and `order`, and a file.
    fn new() -> (Self, Revision) {
        let source = memory();
        let first = source.commit("main", &contents(1));
        (Self::over(source), first)
    }

    fn over(source: Arc<MemorySource>) -> Self {
        let (server, store) = Server::over(Arc::clone(&source) as Arc<_>);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { source, server, store, runtime }
    }

    /// Commits another content of `cart` together with holds, and returns when the server has it.
    fn push(&self, v: u64, holds: impl FnOnce(&Revision) -> BranchHolds) -> Revision {
        let tip = self.source.commit_held("main", &contents(v)[..2], |tip| Some(holds(tip)));
        self.arrived(&tip);
        tip
    }

    fn publish(&self, holds: BranchHolds) {
        self.runtime.block_on(publish(&self.source, &self.store, holds));
    }

    /// Waits until the server has a revision.
    fn arrived(&self, tip: &Revision) {
        self.runtime.block_on(self.store.refresh_labels(&headwater::store::Actor::Source, vec![]));
        eventually("the tip arrives", || {
            self.server.get("/order/default").header("headwater-revision") == Some(tip.as_str())
        });
    }
}

fn contents(v: u64) -> [(&'static str, Option<&'static str>); 3] {
    let (cart, text) = match v {
        1 => ("v: 1\n", "one ${v}"),
        2 => ("v: 2\n", "two ${v}"),
        _ => ("v: 3\n", "three ${v}"),
    };
    [("cart.yml", Some(cart)), ("conf.txt", Some(text)), ("order.yml", Some("v: 1\n"))]
}

/// The rollout `r-<number>` of `cart` with the canary `web-1`.
fn of_cart(number: u64, stable: &Revision, candidate: &Revision) -> RolloutHold {
    rollout(&["cart"], number, [stable, candidate], &["web-1"])
}

/// The stream of an instance. An empty name is a client without one.
fn stream(server: Address, name: &str, last: &str) -> Events {
    let mut headers = String::new();
    if !name.is_empty() {
        headers += &format!("Headwater-Instance: {name}\r\n");
    }
    if !last.is_empty() {
        headers += &format!("Last-Event-ID: {last}\r\n");
    }
    Events::open(server, "/cart/default", &headers)
}

/// The next event: the value of `v`, and the event itself.
fn next(events: &mut Events) -> (u64, Event) {
    let (event, data) = events.environment();
    let v = data["propertySources"][0]["source"]["v"].as_u64().expect("a number");
    (v, event)
}
