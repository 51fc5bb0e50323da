//! Contracts: recorded from the types of a service, named in requests, and sent to servers that want them.

#![cfg(feature = "mock")]

use std::time::{Duration, Instant};

use headwater_client::{Builder, Client, Error, Mock};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;

/// The time limit of every step.
const PATIENCE: Duration = Duration::from_secs(20);
/// The pause between two checks of a condition.
const PAUSE: Duration = Duration::from_millis(5);

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "only the types of the fields matter")]
struct Shop {
    max_items: u32,
    name: Option<String>,
}

fn builder(mock: &Mock) -> Builder {
    mock.set("product", "default", &json!({ "shop": { "max-items": 5 }, "other": 1 }));
    Client::builder()
        .url(mock.url())
        .application("product")
        .instance("one")
        .version("1.4")
        .deadline(Duration::from_secs(5))
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "never happened: {what}");
        sleep(PAUSE).await;
    }
}

fn registered(mock: &Mock) -> Vec<Value> {
    mock.contracts().iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

#[tokio::test]
async fn a_live_type_registers_its_contract() {
    let mock = Mock::start().await.unwrap();
    let live = builder(&mock).live::<Shop>().at("shop").await.unwrap();
    assert_eq!(live.current().max_items, 5);
    eventually("the contract is registered", || !mock.contracts().is_empty()).await;
    let contract = &registered(&mock)[0];
    let expected = json!([
        { "key": "shop", "type": "map", "required": true },
        { "key": "shop.max-items", "type": "u32", "required": true },
        { "key": "shop.name", "type": "text", "required": false },
    ]);
    assert_eq!(contract["keys"], expected);
    assert_eq!(
        (&contract["application"], &contract["version"]),
        (&json!("product"), &json!("1.4"))
    );
    let digest = contract["digest"].as_str().map(str::to_owned);
    eventually("requests name it", || mock.header("one", "headwater-contract") == digest).await;
    // Another instance of the same build has the same contract.
    let _other = builder(&mock).instance("two").live::<Shop>().at("shop").await.unwrap();
    eventually("requests name it", || mock.header("two", "headwater-contract") == digest).await;
    assert_eq!(mock.contracts().len(), 1);
}

#[tokio::test]
async fn the_types_of_one_client_have_one_contract() {
    let mock = Mock::start().await.unwrap();
    let client = builder(&mock).build().unwrap();
    let _other = client.live::<u8>().at("other").await.unwrap();
    let _shop = client.live::<Shop>().at("shop").await.unwrap();
    let has_all = || registered(&mock).iter().any(|it| it["keys"].as_array().unwrap().len() == 4);
    eventually("one contract has the keys of both", has_all).await;
}

#[tokio::test]
async fn reads_before_a_watch_are_in_its_contract() {
    let mock = Mock::start().await.unwrap();
    let client = builder(&mock).build().unwrap();
    let configuration = client.connect().await.unwrap();
    assert_eq!(configuration.get_at::<u8>("other").unwrap(), 1);
    let watch = client.watch_from(&configuration);
    eventually("the contract is registered", || !mock.contracts().is_empty()).await;
    let expected = json!([{ "key": "other", "type": "any", "required": false }]);
    assert_eq!(registered(&mock)[0]["keys"], expected);
    drop(watch);
}

#[tokio::test]
async fn a_client_can_have_no_contract() {
    let mock = Mock::start().await.unwrap();
    let mut live = builder(&mock).no_contract().live::<Shop>().at("shop").await.unwrap();
    mock.set("product", "default", &json!({ "shop": { "max-items": 6 } }));
    assert_eq!(live.changed().await.unwrap().max_items, 6);
    eventually("it has acknowledged", || {
        mock.acknowledged("one").is_some_and(|text| text.starts_with("2."))
    })
    .await;
    assert_eq!((mock.contracts().len(), mock.header("one", "headwater-contract")), (0, None));
    let invalid = builder(&mock).version("a b").build();
    assert!(matches!(invalid, Err(Error::Settings(_))));
}
