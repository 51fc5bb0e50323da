//! A configuration as the service's own type: replaced whole, never by one that is not good, and the server is told.

#![cfg(feature = "mock")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use headwater_client::{Builder, Client, Error, Health, Live, Mock, State};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::secrets::Output;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long to wait before a condition is looked at again.
const PAUSE: Duration = Duration::from_millis(5);
/// Longer than what is not to come would take.
const QUIET: Duration = Duration::from_millis(300);

/// Both always have the same value in what is set here.
#[derive(Debug, Deserialize)]
struct Shop {
    max_items: u32,
    copy: Vec<u32>,
}

fn shop(items: u32) -> serde_json::Value {
    json!({ "shop": { "max-items": items, "copy": [items, items, items] } })
}

fn even(shop: &Shop) -> Result<(), String> {
    match shop.max_items % 2 {
        0 => Ok(()),
        _ => Err(format!("{} is odd", shop.max_items)),
    }
}

fn builder(mock: &Mock) -> Builder {
    Client::builder()
        .url(mock.url())
        .application("product")
        .instance("one")
        .deadline(Duration::from_secs(5))
}

async fn start() -> (Mock, Live<Shop>) {
    let mock = Mock::start().await.unwrap();
    mock.set("product", "default", &shop(2));
    let live = builder(&mock).live_with(even).at("shop").await.unwrap();
    (mock, live)
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "never happened: {what}");
        sleep(PAUSE).await;
    }
}

async fn told(mock: &Mock, instance: &str, what: &str) {
    let is_told = || {
        let said = mock.acknowledged(instance).unwrap_or_default();
        said.split_once('.').is_some_and(|(revision, rest)| {
            format!("{revision} {}", rest.rsplit_once(' ').unwrap().1) == what
        })
    };
    eventually(what, is_told).await;
}

#[tokio::test]
async fn a_change_replaces_the_value_and_the_server_is_told() {
    let (mock, mut live) = start().await;
    assert_eq!(live.current().max_items, 2);
    told(&mock, "one", "1 ok").await;
    mock.set("product", "default", &shop(4));
    let changed = timeout(PATIENCE, live.changed()).await.unwrap().unwrap();
    assert_eq!((changed.max_items, live.current().max_items), (4, 4));
    eventually("its revision", || live.configuration().revision() == Some("2")).await;
    assert_eq!(live.health().state(), State::Live);
    assert!(live.rejection().is_none());
    told(&mock, "one", "2 ok").await;
}

#[tokio::test]
async fn what_is_not_good_is_rejected_and_the_old_one_stays() {
    let (mock, mut live) = start().await;
    let bad = [
        shop(3),
        json!({ "shop": { "max-items": "many", "copy": [] } }),
        json!({ "shop": { "max-items": 4 } }),
        json!({ "shop": { "max-items": "${nowhere.to.be.found}", "copy": [] } }),
    ];
    for (number, bad) in bad.iter().enumerate() {
        mock.set("product", "default", bad);
        let revision = (number + 2).to_string();
        let is_rejected = || {
            let rejection = live.rejection();
            rejection.is_some_and(|it| it.configuration.revision() == Some(&revision))
        };
        eventually("it is rejected", is_rejected).await;
        assert_eq!((live.current().max_items, live.configuration().revision()), (2, Some("1")));
    }
    let error = live.rejection().unwrap();
    assert!(matches!(error.error, Error::Placeholder { .. }), "{error:?}");
    told(&mock, "one", "5 rejected").await;
    assert!(timeout(QUIET, live.changed()).await.is_err());
    // The same as what is current: nothing changes, and nothing is rejected any more.
    mock.set("product", "default", &shop(2));
    eventually("it is taken back", || live.rejection().is_none()).await;
    told(&mock, "one", "6 ok").await;
    assert!(timeout(QUIET, live.changed()).await.is_err());
    mock.set("product", "default", &shop(6));
    assert_eq!(timeout(PATIENCE, live.changed()).await.unwrap().unwrap().max_items, 6);
}

#[tokio::test]
async fn a_function_that_panics_refuses() {
    let mock = Mock::start().await.unwrap();
    mock.set("product", "default", &shop(2));
    let panics = |shop: &Shop| match shop.max_items {
        3 => panic!("three"),
        _ => Ok::<_, Error>(()),
    };
    let mut live = builder(&mock).live_with(panics).at("shop").await.unwrap();
    mock.set("product", "default", &shop(3));
    eventually("it is rejected", || live.rejection().is_some()).await;
    mock.set("product", "default", &shop(4));
    assert_eq!(timeout(PATIENCE, live.changed()).await.unwrap().unwrap().max_items, 4);
}

#[tokio::test]
async fn each_handle_is_told_once_and_the_newest_only() {
    let (mock, mut live) = start().await;
    let mut other = live.clone();
    for items in [4, 6, 8] {
        mock.set("product", "default", &shop(items));
    }
    eventually("the newest", || live.current().max_items == 8).await;
    for handle in [&mut live, &mut other] {
        assert_eq!(timeout(PATIENCE, handle.changed()).await.unwrap().unwrap().max_items, 8);
        assert!(timeout(QUIET, handle.changed()).await.is_err());
    }
    // A clone was told of what its original was told of.
    assert!(timeout(QUIET, live.clone().changed()).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_never_see_half_of_one_nor_an_older_one() {
    let (mock, live) = start().await;
    let is_over = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (live, is_over) = (live.clone(), is_over.clone());
            std::thread::spawn(move || {
                let mut last = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let shop = live.current();
                    assert_eq!(shop.copy, [shop.max_items; 3]);
                    assert!(shop.max_items >= last, "{} after {last}", shop.max_items);
                    last = shop.max_items;
                }
                last
            })
        })
        .collect();
    for items in (4..=400).step_by(2) {
        mock.set("product", "default", &shop(items));
        if items % 20 == 0 {
            eventually("the newest", || live.current().max_items == items).await;
        }
    }
    eventually("the newest", || live.current().max_items == 400).await;
    is_over.store(true, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.join().unwrap() <= 400);
    }
}

#[tokio::test]
async fn the_first_one_has_to_be_good() {
    let mock = Mock::start().await.unwrap();
    mock.set("product", "default", &shop(3));
    let error = builder(&mock).live_with(even).at("shop").await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
    assert_eq!(error.to_string(), "the configuration is not valid: 3 is odd");
    let error = builder(&mock).live::<Shop>().at("nowhere").await.unwrap_err();
    assert!(matches!(error, Error::Deserialize { .. }), "{error}");
    let error = builder(&mock).application("nobody").live::<Shop>().await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    let error = builder(&mock).instance("a b").live::<Shop>().await.unwrap_err();
    assert!(matches!(error, Error::Settings(_)), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_start_goes_back_to_what_was_good_last_and_says_so() {
    let place = tempfile::tempdir().unwrap();
    let mock = Mock::start().await.unwrap();
    let keeping = || builder(&mock).last_known_good(place.path().join("kept"));
    mock.set("product", "default", &shop(2));
    let first = keeping().live_with(even).at("shop").await.unwrap();
    mock.set("product", "default", &shop(3));
    eventually("it is rejected", || first.rejection().is_some()).await;
    drop(first);
    // What was rejected did not take the place of what was good.
    let mut live = keeping().instance("two").live_with(even).at("shop").await.unwrap();
    assert_eq!(live.current().max_items, 2);
    assert!(live.configuration().is_stale());
    assert_eq!(live.rejection().unwrap().configuration.revision(), Some("2"));
    told(&mock, "two", "2 rejected").await;
    mock.set("product", "default", &shop(4));
    assert_eq!(timeout(PATIENCE, live.changed()).await.unwrap().unwrap().max_items, 4);
    told(&mock, "two", "3 ok").await;
    eventually("it is kept", || !live.configuration().is_stale()).await;
}

#[cfg(unix)]
#[tokio::test]
async fn without_a_server_it_starts_from_what_was_good_last_and_is_stale() {
    let place = tempfile::tempdir().unwrap();
    let mock = Mock::start().await.unwrap();
    let kept = place.path().join("kept");
    mock.set("product", "default", &shop(2));
    let keeping = builder(&mock).last_known_good(&kept).deadline(QUIET);
    keeping.clone().live_with(even).at("shop").await.unwrap();
    drop(mock);
    let live = keeping.live_with(even).at("shop").await.unwrap();
    assert_eq!(live.current().max_items, 2);
    assert!(matches!(live.health().state(), State::Stale { .. }));
    assert!(live.configuration().is_stale());
}

#[tokio::test]
async fn an_environment_that_is_gone_is_kept_and_its_return_is_no_change() {
    let (mock, mut live) = start().await;
    let mut health = live.health();
    mock.remove("product", "default");
    becomes(&mut health, |state| matches!(state, State::Stale { .. })).await;
    assert_eq!(live.current().max_items, 2);
    mock.set("product", "default", &shop(2));
    becomes(&mut health, |state| state == State::Live).await;
    assert!(timeout(QUIET, live.changed()).await.is_err());
}

async fn becomes(health: &mut Health, wanted: impl Fn(State) -> bool) {
    while !wanted(health.state()) {
        assert_eq!(timeout(PATIENCE, health.changed()).await, Ok(true), "{health:?}");
    }
}

#[tokio::test]
async fn with_the_last_handle_watching_ends() {
    let (_mock, live) = start().await;
    let mut health = live.health();
    let other = live.clone();
    drop(live);
    assert_eq!(other.health().state(), health.state());
    drop(other);
    while timeout(PATIENCE, health.changed()).await.unwrap() {}
    assert!(matches!(health.state(), State::Stale { .. }));
}

#[tokio::test]
async fn a_change_is_acknowledged_by_few_requests_and_a_quiet_life_by_none() {
    let (mock, live) = start().await;
    told(&mock, "one", "1 ok").await;
    // The first answer, and the stream that says what became of it.
    eventually("it is connected", || live.health().state() == State::Live).await;
    assert_eq!(mock.request_count(), 2);
    for items in (4..=40).step_by(2) {
        mock.set("product", "default", &shop(items));
        eventually("the newest", || live.current().max_items == items).await;
    }
    told(&mock, "one", "20 ok").await;
    assert!(mock.request_count() <= 4, "{}", mock.request_count());
}

#[test]
fn when_its_runtime_has_ended_nothing_will_come() {
    static VALIDATED: AtomicU32 = AtomicU32::new(0);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut live = runtime.block_on(async {
        let mock = Mock::start().await.unwrap();
        mock.set("product", "default", &shop(2));
        let count = |_: &Shop| {
            VALIDATED.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Error>(())
        };
        builder(&mock).live_with(count).at("shop").await.unwrap()
    });
    drop(runtime);
    let other = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert!(other.block_on(live.changed()).is_none());
    assert_eq!(live.current().max_items, 2);
    assert_eq!(VALIDATED.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn nothing_that_is_shown_or_logged_has_a_value() {
    let output = Output::default();
    let _guard = output.listen();
    let mock = Mock::start().await.unwrap();
    mock.set("product", "default", &json!({ "password": "Hunter2" }));
    let refuse = |of: &Secret| match of.password.as_str() {
        "Hunter2" => Ok(()),
        other => Err(format!("{other} is too short")),
    };
    let live = builder(&mock).live_with(refuse).await.unwrap();
    mock.set("product", "default", &json!({ "password": "Hunter3" }));
    eventually("it is rejected", || live.rejection().is_some()).await;
    // The service's own words are its own, and it is its own decision where to show them.
    assert!(live.rejection().unwrap().error.to_string().contains("Hunter3"));
    let shown = format!("{live:?} {mock:?} {}", output.text());
    assert!(shown.contains("configuration rejected"), "{shown}");
    assert!(!shown.contains("Hunter"), "{shown}");
}

#[derive(Deserialize)]
struct Secret {
    password: String,
}
