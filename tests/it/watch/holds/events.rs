//! The events of a rollout: who receives one, and who receives none.

use super::{Shop, next, of_cart, stream};
use crate::fixture::eventually;
use crate::fixture::held::{LINEAGE_TEXT, of_all, record, withheld};
use crate::watch::{metric, watchers};

/// Checks that a stream has received nothing: the next event is the one of a later change of `cart`.
fn only(events: &mut super::Events, v: u64) {
    assert_eq!(next(events).0, v);
}

#[test]
fn a_rollback_is_an_event_for_canaries_only() {
    let (shop, stable) = Shop::new();
    let address = *shop.server;
    let mut streams = ["web-1", "web-2", ""].map(|name| stream(address, name, "").after_head());
    let first = streams.each_mut().map(|events| next(events).1);
    assert!(first.iter().all(|event| event.id == first[0].id), "one event for all");
    let tip = shop.push(2, |tip| record(1, [of_cart(1, &stable, tip)]));
    let (v, event) = next(&mut streams[0]);
    assert_eq!(v, 2);
    let id = |revision: &headwater::model::Revision, number: u64, event: &super::Event| {
        let (position, _) = event.id.rsplit_once('.').unwrap();
        assert_eq!(position, format!("{revision}.0,{LINEAGE_TEXT}-{number}"));
    };
    id(&tip, 1, &event);
    shop.publish(record(2, [withheld(&of_cart(1, &stable, &tip), 2)]));
    let (v, event) = next(&mut streams[0]);
    assert_eq!(v, 1);
    id(&stable, 2, &event);
    // The others have received neither the candidate nor the stable content again.
    let fixed = shop.push(3, |_| record(3, []));
    for events in &mut streams {
        let (v, event) = next(events);
        assert_eq!(v, 3);
        assert!(event.id.starts_with(&format!("{fixed}.")), "{}", event.id);
        assert_eq!(event.id.matches('.').count(), 1, "an id without a rollout is as before");
    }
}

#[test]
fn a_promotion_is_an_event_for_all_but_canaries() {
    let (shop, stable) = Shop::new();
    let address = *shop.server;
    let mut streams =
        ["web-1", "web-2", "web-3", ""].map(|name| stream(address, name, "").after_head());
    for events in &mut streams {
        only(events, 1);
    }
    let tip = shop.push(2, |tip| record(1, [of_cart(1, &stable, tip)]));
    only(&mut streams[0], 2);
    // A stage reaches the instances that the bound includes now.
    shop.publish(record(1, [of_all(of_cart(1, &stable, &tip))]));
    only(&mut streams[1], 2);
    only(&mut streams[2], 2);
    shop.publish(record(2, []));
    only(&mut streams[3], 2);
    shop.push(3, |_| record(2, []));
    for events in &mut streams {
        only(events, 3);
    }
}

#[test]
fn a_stream_resumes_on_the_side_that_it_has_seen() {
    let (shop, stable) = Shop::new();
    let address = *shop.server;
    let tip = shop.push(2, |tip| record(1, [of_cart(1, &stable, tip)]));
    let (_, event) = next(&mut stream(address, "web-1", "").after_head());
    // It left the cohort, as by a fence: it keeps what it has, at this server and for a new connection.
    shop.publish(record(1, [super::rollout(&["cart"], 1, [&stable, &tip], &[])]));
    let mut kept = stream(address, "web-1", &event.id).after_head();
    let (v, _) = next(&mut stream(address, "web-1", "").after_head());
    assert_eq!(v, 1, "an instance that shows nothing is chosen by its bucket");
    shop.publish(record(2, [withheld(&of_cart(1, &stable, &tip), 2)]));
    let (v, back) = next(&mut kept);
    assert_eq!(v, 1, "the rollback is its first event");
    // The stable revision is newer than the candidate now.
    let mut again = stream(address, "web-1", &event.id).after_head();
    assert_eq!(next(&mut again).0, 1);
    let mut same = stream(address, "web-1", &back.id).after_head();
    shop.push(3, |_| record(3, []));
    only(&mut same, 3);
}

#[test]
fn a_replica_with_an_older_record_makes_a_stream_wait() {
    let (ahead, stable) = Shop::new();
    let (behind, _) = Shop::new();
    let open = |shop: &Shop| shop.push(2, |tip| record(1, [of_cart(1, &stable, tip)]));
    let tip = open(&ahead);
    assert_eq!(open(&behind), tip);
    let hold = withheld(&of_cart(1, &stable, &tip), 2);
    ahead.publish(record(2, [hold.clone()]));
    let (v, event) = next(&mut stream(*ahead.server, "web-1", "").after_head());
    assert_eq!(v, 1);
    // The bad value never follows the good one, although the replica would give it to a canary.
    let mut refused = stream(*behind.server, "web-1", &event.id);
    let head = refused.head();
    assert!(head.contains("http/1.1 503"), "{head}");
    assert!(head.contains("headwater-rollout: r-1"), "{head}");
    behind.publish(record(2, [hold]));
    let mut same = stream(*behind.server, "web-1", &event.id).after_head();
    behind.push(3, |_| record(3, []));
    only(&mut same, 3);
}

#[test]
fn a_long_poll_of_a_canary_ends_with_a_rollback() {
    let (shop, stable) = Shop::new();
    let address = *shop.server;
    let tip = shop.push(2, |tip| record(1, [of_cart(1, &stable, tip)]));
    let reply = address.get_with("/cart/default", &[("Headwater-Instance", "web-1")]).expect(200);
    let tag = reply.header("etag").unwrap().to_owned();
    let epoch = reply.header("headwater-epoch").unwrap().to_owned();
    let least = format!("{tip}.{epoch}");
    let poll = std::thread::spawn(move || {
        let headers = [
            ("Headwater-Instance", "web-1"),
            ("If-None-Match", &*tag),
            ("Prefer", "wait=40"),
            ("Headwater-Min-Revision", &*least),
        ];
        address.get_with("/cart/default", &headers).expect(200)
    });
    eventually("the poll waits", || watchers(address) == 1);
    shop.publish(record(2, [withheld(&of_cart(1, &stable, &tip), 2)]));
    let back = poll.join().unwrap();
    assert_eq!(back.header("headwater-revision"), Some(stable.as_str()));
    assert!(back.text().contains("\"v\":1"));
}

#[test]
fn a_rollout_without_another_content_wakes_nobody() {
    let (shop, stable) = Shop::new();
    let address = *shop.server;
    let mut events = stream(address, "web-1", "").after_head();
    only(&mut events, 1);
    let before = metric(address, "headwater_watch_wakeups_total");
    // A rollout of everyone, by a push that does not concern this environment.
    let files = [("notes.txt", Some("x\n"))];
    let tip = shop.source.commit_held("main", &files, |tip| {
        Some(record(1, [super::rollout(&[], 1, [&stable, tip], &["web-1"])]))
    });
    shop.runtime.block_on(shop.store.refresh_labels(&headwater::store::Actor::Source, vec![]));
    let held = address.get("/cart/default").expect(200);
    assert_eq!(held.header("headwater-held-at"), Some(tip.as_str()));
    shop.publish(record(2, [withheld(&super::rollout(&[], 1, [&stable, &tip], &[]), 2)]));
    shop.publish(record(3, []));
    assert_eq!(metric(address, "headwater_watch_wakeups_total"), before);
    shop.push(2, |_| record(3, []));
    only(&mut events, 2);
}
