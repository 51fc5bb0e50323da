//! The order of publications: no reader that shows what it has seen receives older content after newer.

use std::sync::Arc;

use headwater::model::{LabelPosition, Revision};
use headwater::source::memory::MemorySource;
use headwater::store::{AnswerHandle, Store};

use super::{read, read_as, shown, store, wait_for};
use crate::fixture::held::{
    LINEAGE_TEXT, in_last_stage, memory, publish, record, rollout, withheld,
};

/// The position of a revision under the rollout record with a number. 0 for a position without a number.
fn seen(revision: &Revision, number: u64) -> LabelPosition {
    let text = match number {
        0 => revision.to_string(),
        number => format!("{revision}.0,{LINEAGE_TEXT}-{number}"),
    };
    LabelPosition::parse(&text).unwrap()
}

struct Shop {
    source: Arc<MemorySource>,
    store: Arc<Store>,
    stable: Revision,
    tip: Revision,
}

impl Shop {
    /// A rollout from `v: 1` to `v: 2` with the canary `web-1`, number 3.
    async fn new() -> Self {
        let source = memory();
        let stable = source.commit("main", &[("cart.yml", Some("v: 1\n"))]);
        let store = store(&source);
        let mut handle = read(&store, "cart").await;
        let tip = source.commit_held("main", &[("cart.yml", Some("v: 2\n"))], |tip| {
            Some(record(3, [rollout(&["cart"], 3, [&stable, tip], &["web-1"])]))
        });
        wait_for(&mut handle, &tip).await;
        Self { source, store, stable, tip }
    }

    /// A server that has every revision and another record.
    async fn replica(&self, number: u64) -> Arc<Store> {
        let source = memory();
        source.commit("main", &[("cart.yml", Some("v: 1\n"))]);
        let hold = rollout(&["cart"], number, [&self.stable, &self.tip], &["web-1"]);
        let holds = (number > 0).then(|| record(number, [hold]));
        let tip = source.commit_held("main", &[("cart.yml", Some("v: 2\n"))], |_| holds);
        assert_eq!(tip, self.tip);
        store(&source)
    }
}

/// What a reader receives that shows a position. None if the server is behind.
async fn resumed(mut handle: AnswerHandle, seen: &LabelPosition) -> Option<String> {
    handle.has_reached(seen).await.then(|| shown(&handle).0)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_shows_the_candidate_receives_it() {
    let Shop { store, stable, tip, .. } = &Shop::new().await;
    let got = |value: &str| Some(value.to_owned());
    for (number, revision, expected) in [
        (3, tip, got("2")),
        (0, tip, got("2")),
        (3, stable, got("1")),
        (0, stable, got("1")),
        // Everything before the opening of the rollout is older.
        (2, tip, got("1")),
        // A number that this server does not have.
        (4, stable, None),
        (4, tip, None),
    ] {
        let other = read_as(store, "cart", "web-2").await;
        assert_eq!(resumed(other, &seen(revision, number)).await, expected, "{number} {revision}");
    }
    let canary = read_as(store, "cart", "web-1").await;
    assert_eq!(resumed(canary.clone(), &seen(stable, 3)).await, got("2"));
    assert_eq!(resumed(canary, &seen(tip, 3)).await, got("2"));
    // A script asks for the candidate and may not have it. With the number, it has received it before.
    assert_eq!(resumed(read(store, "cart").await, &seen(tip, 0)).await, None);
    assert_eq!(resumed(read(store, "cart").await, &seen(tip, 3)).await, got("2"));
    assert_eq!(resumed(read(store, "cart").await, &seen(stable, 0)).await, got("1"));
    let unknown = Revision::new("f".repeat(40));
    let other = read_as(store, "cart", "web-2").await;
    assert_eq!(resumed(other, &seen(&unknown, 3)).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shown_candidate_ends_with_the_number_of_its_hold() {
    let Shop { source, store, stable, tip } = &Shop::new().await;
    let mut other = read_as(store, "cart", "web-2").await;
    assert!(other.has_reached(&seen(tip, 3)).await);
    assert_eq!(shown(&other).0, "2");
    let hold = rollout(&["cart"], 3, [stable, tip], &["web-1"]);
    publish(source, store, record(4, [withheld(&hold, 4)])).await;
    assert_eq!(shown(&other).0, "1", "a rollback reaches it");
    for name in ["web-1", "web-2"] {
        let handle = || read_as(store, "cart", name);
        assert_eq!(resumed(handle().await, &seen(tip, 3)).await.as_deref(), Some("1"));
        assert_eq!(resumed(handle().await, &seen(stable, 4)).await.as_deref(), Some("1"));
        // Without its number, the candidate can be a later publication at another server.
        assert_eq!(resumed(handle().await, &seen(tip, 0)).await, None);
    }
    // The content is released, and later it is served without a number.
    publish(source, store, record(5, [])).await;
    for number in [0, 3, 4, 5] {
        let handle = read_as(store, "cart", "web-2").await;
        assert_eq!(resumed(handle, &seen(tip, number)).await.as_deref(), Some("2"));
    }
    assert_eq!(resumed(read(store, "cart").await, &seen(tip, 6)).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_with_an_older_record_is_behind() {
    let shop = Shop::new().await;
    let Shop { stable, tip, .. } = &shop;
    for (record, is_behind) in [(0, true), (2, true), (3, false), (4, false)] {
        let replica = shop.replica(record).await;
        let handle = read_as(&replica, "cart", "web-9").await;
        // Rolled back elsewhere: stable, later than the candidate.
        let got = resumed(handle, &seen(stable, 3)).await;
        assert_eq!(got.is_none(), is_behind, "record {record}");
    }
    // A record of another lineage gives no order. Ancestry decides.
    let replica = shop.replica(2).await;
    let other = |revision: &Revision| {
        LabelPosition::parse(&format!("{revision}.0,00000000000000ff-9")).unwrap()
    };
    let handle = read_as(&replica, "cart", "web-9").await;
    assert_eq!(resumed(handle.clone(), &other(stable)).await.as_deref(), Some("1"));
    assert_eq!(resumed(handle, &other(tip)).await.as_deref(), Some("2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_superseded_candidate_is_older_than_the_stable_revision() {
    let Shop { source, store, stable, tip } = &Shop::new().await;
    let mut handle = read(store, "cart").await;
    let newer = source.commit_held("main", &[("cart.yml", Some("v: 3\n"))], |newer| {
        Some(record(4, [rollout(&["cart"], 4, [stable, newer], &["web-1"])]))
    });
    wait_for(&mut handle, &newer).await;
    let other = || read_as(store, "cart", "web-2");
    assert_eq!(resumed(other().await, &seen(tip, 3)).await.as_deref(), Some("1"));
    assert_eq!(resumed(other().await, &seen(tip, 0)).await, None, "not the new candidate");
    assert_eq!(resumed(other().await, &seen(&newer, 4)).await.as_deref(), Some("3"));
    let canary = read_as(store, "cart", "web-1").await;
    assert_eq!(resumed(canary, &seen(tip, 3)).await.as_deref(), Some("3"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_in_the_last_stage_reaches_every_client() {
    let Shop { source, store, stable, tip } = &Shop::new().await;
    let plain = read(store, "cart").await;
    let content = read_as(store, "cart", "web-1").await.current().answer.content.clone();
    let hold = rollout(&["cart"], 3, [stable, tip], &["web-1"]);
    publish(source, store, record(4, [in_last_stage(&hold, 4)])).await;
    let current = plain.current();
    assert_eq!(shown(&plain), ("2".to_owned(), tip.clone(), Some("r-3".to_owned())));
    assert!(!current.is_held_back());
    assert!(Arc::ptr_eq(&current.answer.content, &content), "the answer was made again");
    let released = current.position();
    publish(source, store, record(5, [withheld(&hold, 5)])).await;
    assert_eq!(shown(&plain), ("1".to_owned(), stable.clone(), Some("r-3".to_owned())));
    for name in ["", "web-1", "web-2"] {
        let handle = match name {
            "" => read(store, "cart").await,
            name => read_as(store, "cart", name).await,
        };
        assert_eq!(resumed(handle, &released).await.as_deref(), Some("1"), "{name}");
    }
}
