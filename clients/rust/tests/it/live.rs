//! A configuration as the service's own type: replaced as a whole, validated, and acknowledged.

#![cfg(feature = "mock")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use headwater_client::{
    Builder, Client, Error, Health, HealthState, InstanceHealth, InvalidKey, Live, Mock,
};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::secrets::Output;

/// The time limit of every step.
const PATIENCE: Duration = Duration::from_secs(20);
/// The pause between two checks of a condition.
const PAUSE: Duration = Duration::from_millis(5);
/// The time in which an unexpected update would arrive.
const QUIET: Duration = Duration::from_millis(300);

/// A type whose members always have the same value in these tests.
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

#[tokio::test]
async fn a_rejection_has_a_reason_with_the_key() {
    let mock = Mock::start().await.unwrap();
    mock.set("product", "default", &shop(2));
    let check = |shop: &Shop| match shop.max_items {
        13 => Err(InvalidKey::new("shop.max-items", "is 13, which means bad luck")),
        _ => Ok(()),
    };
    let _live = builder(&mock).live_with(check).at("shop").await.unwrap();
    for (bad, reason) in [
        (shop(13), "invalid shop.max-items"),
        (json!({ "shop": { "max-items": "many", "copy": [] } }), "type shop.max-items"),
        (json!({ "shop": { "max-items": 4 } }), "missing shop.copy"),
    ] {
        mock.set("product", "default", &bad);
        eventually(reason, || mock.header("one", "headwater-reason").as_deref() == Some(reason))
            .await;
    }
    mock.set("product", "default", &shop(4));
    eventually("the reason ends", || mock.header("one", "headwater-reason").is_none()).await;
}

#[tokio::test]
async fn a_service_reports_its_health_until_it_is_up_again() {
    let (mock, live) = start().await;
    let health = || mock.header("one", "headwater-health");
    acknowledged(&mock, "one", "1 ok").await;
    assert_eq!(health(), None);
    live.report(InstanceHealth::Down);
    eventually("it is down", || health().as_deref() == Some("down")).await;
    let count = mock.request_count();
    eventually("it is repeated", || mock.request_count() > count + 1).await;
    live.report(InstanceHealth::Up);
    eventually("it is up", || health().as_deref() == Some("up")).await;
    // The acknowledgement and the incarnation are part of every report.
    acknowledged(&mock, "one", "1 ok").await;
    assert!(mock.header("one", "headwater-incarnation").is_some());
}

async fn acknowledged(mock: &Mock, instance: &str, what: &str) {
    let is_acknowledged = || {
        let said = mock.acknowledged(instance).unwrap_or_default();
        said.split_once('.').is_some_and(|(revision, rest)| {
            format!("{revision} {}", rest.rsplit_once(' ').unwrap().1) == what
        })
    };
    eventually(what, is_acknowledged).await;
}

#[tokio::test]
async fn a_change_replaces_the_value_and_is_acknowledged() {
    let (mock, mut live) = start().await;
    assert_eq!(live.current().max_items, 2);
    acknowledged(&mock, "one", "1 ok").await;
    mock.set("product", "default", &shop(4));
    let changed = timeout(PATIENCE, live.changed()).await.unwrap().unwrap();
    assert_eq!((changed.max_items, live.current().max_items), (4, 4));
    eventually("its revision", || live.configuration().revision() == Some("2")).await;
    assert_eq!(live.health().state(), HealthState::Live);
    assert!(live.rejection().is_none());
    acknowledged(&mock, "one", "2 ok").await;
}

#[tokio::test]
async fn an_invalid_configuration_is_rejected_and_the_former_value_stays() {
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
    let header = |name: &str| mock.header("one", name).unwrap_or_default();
    eventually("the reason", || header("headwater-reason") == "placeholder shop.max-items").await;
    let error = live.rejection().unwrap();
    assert!(matches!(error.error, Error::Placeholder { .. }), "{error:?}");
    acknowledged(&mock, "one", "5 rejected").await;
    assert!(timeout(QUIET, live.changed()).await.is_err());
    // The content of the current value: nothing changes, and the rejection ends.
    mock.set("product", "default", &shop(2));
    eventually("the rejection ends", || live.rejection().is_none()).await;
    acknowledged(&mock, "one", "6 ok").await;
    assert!(timeout(QUIET, live.changed()).await.is_err());
    mock.set("product", "default", &shop(6));
    assert_eq!(timeout(PATIENCE, live.changed()).await.unwrap().unwrap().max_items, 6);
}

#[tokio::test]
async fn a_panic_of_the_validation_rejects() {
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
async fn each_handle_returns_the_newest_value_once() {
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
    // A clone begins with the position of its original.
    assert!(timeout(QUIET, live.clone().changed()).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_never_see_a_partial_or_an_older_value() {
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
async fn the_first_configuration_must_be_valid() {
    let mock = Mock::start().await.unwrap();
    mock.set("product", "default", &shop(3));
    let error = builder(&mock).live_with(even).at("shop").await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
    assert_eq!(error.to_string(), "the configuration is invalid: 3 is odd");
    let error = builder(&mock).live::<Shop>().at("nowhere").await.unwrap_err();
    assert!(matches!(error, Error::Deserialize { .. }), "{error}");
    let error = builder(&mock).application("unknown").live::<Shop>().await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    let error = builder(&mock).instance("a b").live::<Shop>().await.unwrap_err();
    assert!(matches!(error, Error::Settings(_)), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_start_with_an_invalid_configuration_uses_the_copy() {
    let place = tempfile::tempdir().unwrap();
    let mock = Mock::start().await.unwrap();
    let keeping = || builder(&mock).last_known_good(place.path().join("kept"));
    mock.set("product", "default", &shop(2));
    let first = keeping().live_with(even).at("shop").await.unwrap();
    mock.set("product", "default", &shop(3));
    eventually("it is rejected", || first.rejection().is_some()).await;
    drop(first);
    // The rejected configuration did not replace the copy.
    let mut live = keeping().instance("two").live_with(even).at("shop").await.unwrap();
    assert_eq!(live.current().max_items, 2);
    assert!(live.configuration().is_stale());
    assert_eq!(live.rejection().unwrap().configuration.revision(), Some("2"));
    acknowledged(&mock, "two", "2 rejected").await;
    mock.set("product", "default", &shop(4));
    assert_eq!(timeout(PATIENCE, live.changed()).await.unwrap().unwrap().max_items, 4);
    acknowledged(&mock, "two", "3 ok").await;
    eventually("the copy is written", || !live.configuration().is_stale()).await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_start_without_a_server_uses_the_copy_and_is_stale() {
    let place = tempfile::tempdir().unwrap();
    let mock = Mock::start().await.unwrap();
    let kept = place.path().join("kept");
    mock.set("product", "default", &shop(2));
    let keeping = builder(&mock).last_known_good(&kept).deadline(QUIET);
    keeping.clone().live_with(even).at("shop").await.unwrap();
    drop(mock);
    let live = keeping.live_with(even).at("shop").await.unwrap();
    assert_eq!(live.current().max_items, 2);
    assert!(matches!(live.health().state(), HealthState::Stale { .. }));
    assert!(live.configuration().is_stale());
}

#[tokio::test]
async fn the_value_of_a_removed_environment_stays_and_its_return_is_not_a_change() {
    let (mock, mut live) = start().await;
    let mut health = live.health();
    mock.remove("product", "default");
    becomes(&mut health, |state| matches!(state, HealthState::Stale { .. })).await;
    assert_eq!(live.current().max_items, 2);
    mock.set("product", "default", &shop(2));
    becomes(&mut health, |state| state == HealthState::Live).await;
    assert!(timeout(QUIET, live.changed()).await.is_err());
}

async fn becomes(health: &mut Health, wanted: impl Fn(HealthState) -> bool) {
    while !wanted(health.state()) {
        assert_eq!(timeout(PATIENCE, health.changed()).await, Ok(true), "{health:?}");
    }
}

#[tokio::test]
async fn the_last_handle_ends_the_watch() {
    let (_mock, live) = start().await;
    let mut health = live.health();
    let other = live.clone();
    drop(live);
    assert_eq!(other.health().state(), health.state());
    drop(other);
    while timeout(PATIENCE, health.changed()).await.unwrap() {}
    assert!(matches!(health.state(), HealthState::Stale { .. }));
}

#[tokio::test]
async fn acknowledgements_need_few_requests() {
    let (mock, live) = start().await;
    acknowledged(&mock, "one", "1 ok").await;
    // The first answer, and the stream that acknowledges it.
    eventually("it is connected", || live.health().state() == HealthState::Live).await;
    assert_eq!(mock.request_count(), 2);
    for items in (4..=40).step_by(2) {
        mock.set("product", "default", &shop(items));
        eventually("the newest", || live.current().max_items == items).await;
    }
    acknowledged(&mock, "one", "20 ok").await;
    assert!(mock.request_count() <= 4, "{}", mock.request_count());
}

#[test]
fn after_the_end_of_the_runtime_there_are_no_changes() {
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
async fn debug_and_logs_contain_no_value() {
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
    // The error of the service's own function is passed on unchanged.
    assert!(live.rejection().unwrap().error.to_string().contains("Hunter3"));
    let shown = format!("{live:?} {mock:?} {}", output.text());
    assert!(shown.contains("configuration rejected"), "{shown}");
    assert!(!shown.contains("Hunter"), "{shown}");
}

#[derive(Deserialize)]
struct Secret {
    password: String,
}
