//! The content of both sides, from the opening of a rollout to its end.

use std::sync::Arc;

use headwater::access::{Caller, Policy};
use headwater::model::{Label, Query};
use headwater::reveal::{KeySet, Keyring, Variant};
use headwater::store::{AnswerSettings, Content, Side, Store};
use headwater_secrets::{SecretText, SpringKey};

use super::{PATIENCE, read, read_as, shown, store, value, wait_for};
use crate::fixture::held::{memory, of_all, publish, query, record, rollout, withheld};

const CART_1: (&str, Option<&str>) = ("cart.yml", Some("v: 1\n"));
const CART_2: (&str, Option<&str>) = ("cart.yml", Some("v: 2\n"));
const CART_3: (&str, Option<&str>) = ("cart.yml", Some("v: 3\n"));

fn text(value: &str) -> String {
    value.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_is_opened_widened_and_promoted() {
    let source = memory();
    let stable = source.commit("main", &[CART_1, ("order.yml", Some("v: 1\n"))]);
    let store = store(&source);
    let (mut plain, order) = (read(&store, "cart").await, read(&store, "order").await);
    let (canary, other) =
        (read_as(&store, "cart", "web-1").await, read_as(&store, "cart", "web-2").await);
    let mut quiet = order.clone();

    let changes = [CART_2, ("order.yml", Some("# a comment\nv: 1\n"))];
    let hold = |tip: &_| rollout(&["cart"], 1, [&stable, tip], &["web-1"]);
    let tip = source.commit_held("main", &changes, |tip| Some(record(1, [hold(tip)])));
    wait_for(&mut plain, &tip).await;
    let rolling = Some(text("r-1"));
    for held in [&plain, &other] {
        assert_eq!(shown(held), (text("1"), stable.clone(), rolling.clone()));
        assert!(held.current().is_held_back());
        assert_eq!(held.current().tip, tip);
    }
    assert_eq!(shown(&canary), (text("2"), tip.clone(), rolling.clone()));
    assert!(!canary.current().is_held_back());
    assert_eq!(shown(&order), (text("1"), tip.clone(), None), "another application is not held");

    // A later request, an answer that was never made before, and a profile that no file mentions.
    assert_eq!(shown(&read(&store, "cart").await).0, "1");
    let of_profile = Query { profiles: "qa".into(), ..query("cart") };
    let first = store.answer(&Caller::Anonymous, &of_profile).await.unwrap();
    assert_eq!(shown(&first), (text("1"), stable.clone(), rolling.clone()));

    publish(&source, &store, record(1, [of_all(hold(&tip))])).await;
    assert_eq!(shown(&other), (text("2"), tip.clone(), rolling.clone()), "the bound has grown");
    assert_eq!(shown(&plain).0, "1", "a reader without a name is no canary");

    let (candidate, parsed) = (canary.current().answer.content.clone(), store.parsed_count());
    publish(&source, &store, record(2, [])).await;
    for released in [&plain, &canary, &other, &first] {
        assert_eq!(shown(released), (text("2"), tip.clone(), None));
        assert!(!released.current().is_held_back());
    }
    assert!(
        Arc::ptr_eq(&plain.current().answer.content, &candidate),
        "the promotion made the answer again"
    );
    assert_eq!(store.parsed_count(), parsed);
    let is_quiet = tokio::select! {
        biased;
        _ = quiet.changed() => false,
        () = std::future::ready(()) => true,
    };
    assert!(is_quiet, "the rollout of another application woke a watcher");
}

#[tokio::test(flavor = "multi_thread")]
async fn withheld_content_stays_withheld_until_a_push_changes_it() {
    let source = memory();
    let stable = source.commit("main", &[CART_1]);
    let store = store(&source);
    let (mut plain, canary) = (read(&store, "cart").await, read_as(&store, "cart", "web-1").await);
    let before = plain.current();
    let mut open = None;
    let tip = source.commit_held("main", &[CART_2], |tip| {
        open = Some(rollout(&["cart"], 1, [&stable, tip], &["web-1"]));
        open.clone().map(|open| record(1, [open]))
    });
    wait_for(&mut plain, &tip).await;
    let of_candidate = canary.current().position();
    publish(&source, &store, record(2, [withheld(&open.unwrap(), 2)])).await;
    let after = canary.current();
    assert_eq!(shown(&canary), (text("1"), stable.clone(), Some(text("r-1"))));
    assert_ne!(after.position(), before.position(), "the stable revision is published again");
    assert_ne!(after.position(), of_candidate);
    assert!(Arc::ptr_eq(&after.answer.content, &before.answer.content), "it was made again");
    let reported = store.withheld();
    assert_eq!(reported.len(), 1);
    assert_eq!((&reported[0].tip, &reported[0].stable), (&tip, &stable));
    assert!(store.problems().is_empty());

    // The tip moves without another content of the application.
    let next = source.commit("main", &[("notes.txt", Some("x\n"))]);
    wait_for(&mut plain, &next).await;
    assert_eq!(plain.current().tip, next);
    for reader in [&plain, &canary] {
        assert_eq!(shown(reader), (text("1"), stable.clone(), Some(text("r-1"))));
        assert!(Arc::ptr_eq(&reader.current().answer.content, &before.answer.content));
    }

    // A push with another content opens another rollout from the same stable revision.
    let fixed = source.commit_held("main", &[CART_3], |tip| {
        Some(record(3, [rollout(&["cart"], 3, [&stable, tip], &["web-1"])]))
    });
    wait_for(&mut plain, &fixed).await;
    assert_eq!(shown(&canary), (text("3"), fixed.clone(), Some(text("r-3"))));
    assert_eq!(shown(&plain), (text("1"), stable.clone(), Some(text("r-3"))));
    assert!(store.withheld().is_empty());

    // A revert ends it. A reader that never was a canary has received nothing at all.
    let reverted = source.commit_held("main", &[CART_1], |_| Some(record(4, [])));
    wait_for(&mut plain, &reverted).await;
    for reader in [&plain, &canary] {
        assert_eq!(shown(reader), (text("1"), reverted.clone(), None));
    }
    let digest = |at: &headwater::store::AnswerAt| at.served().unwrap().digest;
    assert_eq!(digest(&plain.current()), digest(&before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_of_the_same_content_keeps_the_candidate_and_another_one_supersedes_it() {
    let source = memory();
    let stable = source.commit("main", &[CART_1]);
    let store = store(&source);
    let (mut plain, canary) = (read(&store, "cart").await, read_as(&store, "cart", "web-1").await);
    let late = read_as(&store, "cart", "web-2").await;
    let mut first = None;
    let tip = source.commit_held("main", &[CART_2], |tip| {
        first = Some(rollout(&["cart"], 1, [&stable, tip], &["web-1", "web-2"]));
        first.clone().map(|hold| record(1, [hold]))
    });
    wait_for(&mut plain, &tip).await;
    let before = canary.current();
    let same = source.commit("main", &[("notes.txt", Some("x\n"))]);
    wait_for(&mut plain, &same).await;
    let after = canary.current();
    assert_eq!(after.revision, same, "a canary has the tip as its revision");
    assert!(Arc::ptr_eq(&after.answer.content, &before.answer.content));
    assert_eq!(shown(&late).0, "2");

    let newer = source.commit_held("main", &[CART_3], |tip| {
        Some(record(2, [rollout(&["cart"], 2, [&stable, tip], &["web-1"])]))
    });
    wait_for(&mut plain, &newer).await;
    assert_eq!(shown(&canary), (text("3"), newer.clone(), Some(text("r-2"))));
    for back in [&late, &plain] {
        assert_eq!(shown(back), (text("1"), stable.clone(), Some(text("r-2"))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_of_everyone_holds_names_that_no_file_mentions() {
    let source = memory();
    let stable = source.commit("main", &[CART_1, ("application.yml", Some("shared: 1\n"))]);
    let store = store(&source);
    let mut cart = read(&store, "cart").await;
    let tip = source.commit_held("main", &[("application.yml", Some("shared: 2\n"))], |tip| {
        Some(record(1, [rollout(&[], 1, [&stable, tip], &["web-1"])]))
    });
    wait_for(&mut cart, &tip).await;
    for name in ["cart", "ghost", "application", "cart,ghost"] {
        let handle = read(&store, name).await;
        assert_eq!(value(&handle.current(), "shared"), "1", "{name}");
        assert_eq!(handle.current().tip, tip, "{name}");
    }
    let canary = read_as(&store, "cart", "web-1").await;
    assert_eq!(value(&canary.current(), "shared"), "2");

    // A rollout that names an application takes precedence over one of everyone.
    let next = source.commit_held("main", &[CART_2], |next| {
        let everyone = rollout(&[], 1, [&stable, &tip], &["web-1"]);
        Some(record(2, [everyone, rollout(&["cart"], 2, [&stable, next], &[])]))
    });
    wait_for(&mut cart, &next).await;
    let rollout_of = |handle: &headwater::store::AnswerHandle| handle.current().rollout.unwrap().id;
    assert_eq!(&*rollout_of(&cart), "r-2");
    assert_eq!(&*rollout_of(&read(&store, "order").await), "r-1");
    assert_eq!(shown(&canary).0, "1", "it is no canary of the second rollout");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_labels_of_a_branch_are_held() {
    let source = memory();
    let stable = source.commit("main", &[CART_1]);
    source.commit("other", &[CART_1]);
    let store = store(&source);
    let named = |label: &str| Query { label: Label::Named(label.into()), ..query("cart") };
    let mut handles = Vec::new();
    for query in [query("cart"), named("main"), named("other"), named("main,other")] {
        handles.push(store.answer(&Caller::Anonymous, &query).await.unwrap());
    }
    let tip = source.commit_held("main", &[CART_2], |tip| {
        Some(record(1, [rollout(&["cart"], 1, [&stable, tip], &[])]))
    });
    for handle in &mut handles[..2] {
        wait_for(handle, &tip).await;
        assert_eq!(shown(handle), (text("1"), stable.clone(), Some(text("r-1"))));
    }
    assert_eq!(shown(&handles[2]).2, None, "another branch is not held");
    let list = &mut handles[3];
    let waiting = async {
        while !list.current().tip.as_str().starts_with(tip.as_str()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    let current = list.current();
    assert!(current.revision.as_str().starts_with(stable.as_str()), "{}", current.revision);
    assert_eq!(current.epochs.unwrap().parts().len(), 4);
    let tagged = named(tip.as_str());
    let at_commit = store.answer(&Caller::Anonymous, &tagged).await.unwrap();
    assert_eq!(shown(&at_commit), (text("2"), tip, None), "a commit id has no rollout");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_breaks_an_environment_is_held_back_for_canaries_too() {
    let source = memory();
    let stable = source.commit("main", &[CART_1]);
    let store = store(&source);
    let (mut plain, canary) = (read(&store, "cart").await, read_as(&store, "cart", "web-1").await);
    let tip = source.commit_held("main", &[("cart.yml", Some("v: [\n"))], |tip| {
        Some(record(1, [rollout(&["cart"], 1, [&stable, tip], &["web-1"])]))
    });
    wait_for(&mut plain, &tip).await;
    assert_eq!(shown(&canary), (text("1"), stable, Some(text("r-1"))));
    let current = canary.current();
    assert!(current.is_held_back());
    assert_eq!(current.rollout.unwrap().side, Side::Candidate);
    let problems = store.problems();
    assert_eq!(problems.len(), 1, "the problem of the candidate is reported");
    assert_eq!(problems[0].tip, tip);
    assert!(plain.current().answer.held_revisions().next().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn forgotten_answers_are_held_when_they_are_made_again() {
    const BYTES_MAX: usize = 40_000;
    let source = memory();
    let large = |v: u32| format!("v: {v}\ntext: {}\n", "x".repeat(6_000));
    let names: Vec<String> = (0..8).map(|n| format!("s{n}.yml")).collect();
    let files = |v: u32| names.iter().map(|name| (name.clone(), large(v))).collect::<Vec<_>>();
    let commit = |v: u32| files(v);
    let first = commit(1);
    let changes: Vec<_> = first.iter().map(|(p, t)| (p.as_str(), Some(t.as_str()))).collect();
    let stable = source.commit("main", &changes);
    let runtime = tokio::runtime::Handle::current();
    let settings = AnswerSettings::default();
    let shared = Arc::clone(&source);
    let store = Store::with_answer_bytes_max(shared, settings, Policy::Open, runtime, BYTES_MAX);
    let mut watched = read(&store, "s0").await;
    let second = commit(2);
    let changes: Vec<_> = second.iter().map(|(p, t)| (p.as_str(), Some(t.as_str()))).collect();
    let tip = source.commit_held("main", &changes, |tip| {
        Some(record(1, [rollout(&[], 1, [&stable, tip], &[])]))
    });
    wait_for(&mut watched, &tip).await;
    for _ in 0..3 {
        for service in 0..8 {
            let handle = read(&store, &format!("s{service}")).await;
            let current = handle.current();
            let served = current.served().unwrap();
            served.body(headwater::render::Representation::V1, &current.revision);
            assert_eq!(shown(&handle).0, "1");
        }
    }
    assert!(store.label_statuses()[0].answer_count < 8, "nothing was forgotten");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_side_has_a_sealed_and_an_opened_variant() {
    let key = SpringKey::from_passphrase(&SecretText::new("k"), "deadbeef").unwrap();
    let cipher = headwater_secrets::Keyring::new(vec![key]);
    let keys = Arc::new(Keyring::new(KeySet { cipher, ..KeySet::default() }));
    let sealed = |text: &str| format!("v: '{{cipher}}{}'\n", keys.seal_prefixed(text).unwrap());
    let (one, two) = (sealed("one"), sealed("two"));
    let source = memory();
    let stable = source.commit("main", &[("cart.yml", Some(&*one))]);
    let runtime = tokio::runtime::Handle::current();
    let settings = AnswerSettings { keys: Arc::clone(&keys), ..AnswerSettings::default() };
    let store = Store::new(Arc::clone(&source) as Arc<_>, settings, Policy::Open, runtime);
    let (mut plain, canary) = (read(&store, "cart").await, read_as(&store, "cart", "web-1").await);
    let tip = source.commit_held("main", &[("cart.yml", Some(&*two))], |tip| {
        Some(record(1, [rollout(&["cart"], 1, [&stable, tip], &["web-1"])]))
    });
    wait_for(&mut plain, &tip).await;
    let mut digests = Vec::new();
    for (handle, opened) in [(&plain, "one"), (&canary, "two")] {
        let open = handle.clone().in_variant(Variant::Opened).current();
        let closed = handle.clone().in_variant(Variant::Sealed).current();
        assert_eq!(value(&open, "v"), opened);
        assert!(value(&closed, "v").starts_with("{cipher}"));
        assert_eq!(open.position(), closed.position());
        digests.extend([open.served().unwrap().digest, closed.served().unwrap().digest]);
    }
    digests.sort_by_key(ToString::to_string);
    digests.dedup();
    assert_eq!(digests.len(), 4);
    assert!(matches!(*plain.current().answer.content, Content::Environment(_)));
}
