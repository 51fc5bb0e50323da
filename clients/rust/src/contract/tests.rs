//! The keys that are recorded for types, and the contracts that are made of them.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use headwater_wire::ValueType;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::explore::{RecordedKeys, explore};
use super::{Reads, version_in};
use crate::Configuration;
use crate::configuration::Origin;

fn configuration(source: Value, reads: Option<Arc<Reads>>) -> Configuration {
    let sources = json!([{"name": "s", "source": source}]);
    let environment = json!({"name": "product", "propertySources": sources});
    let origin = Origin { placeholders: true, reads, ..Origin::default() };
    Configuration::new(serde_json::from_value(environment).unwrap(), origin, |_| None)
}

fn recorded<T: DeserializeOwned>(source: Value, prefix: &str) -> Option<RecordedKeys> {
    let configuration = configuration(source, None);
    explore(prefix, |recorder| configuration.read_recorded::<T>(prefix, recorder).map(|_| ()))
}

/// Compares the keys as `key type`, with `!` after a required one, and the open prefixes in angle brackets.
#[track_caller]
fn check<T: DeserializeOwned>(source: Value, prefix: &str, expected: &str) {
    let RecordedKeys { keys, open } = recorded::<T>(source, prefix).unwrap();
    let mut lines: Vec<String> = keys
        .iter()
        .map(|key| {
            let value_type = serde_json::to_value(key.value_type).unwrap();
            let mark = if key.required { "!" } else { "" };
            format!("{} {}{mark}", key.key, value_type.as_str().unwrap())
        })
        .chain(open.iter().map(|open| format!("<{open}>")))
        .collect();
    lines.sort();
    assert_eq!(lines.join(", "), expected);
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only the types of the fields matter")]
struct Shop {
    page_size: u16,
    name: String,
    #[serde(default)]
    open: bool,
    discount: Option<f64>,
    tls: Option<Tls>,
    #[serde(default)]
    currencies: Vec<String>,
    http: Http,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only the types of the fields matter")]
struct Tls {
    certificate: String,
    port: u32,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only the types of the fields matter")]
struct Http {
    retries: u8,
    #[serde(default)]
    headers: HashMap<String, String>,
}

const SHOP: &str = "shop map!, shop.currencies list, shop.currencies[] text, shop.discount float, shop.http map!, \
    shop.http.headers map, shop.http.retries u8!, shop.name text!, shop.open bool, shop.page-size u16!, shop.tls map, \
    shop.tls.certificate text, shop.tls.port u32, <shop.http.headers.>";

fn least() -> Value {
    json!({"shop.pageSize": 20, "shop.name": "x", "shop.http.retries": 3})
}

fn sorted(text: &str) -> String {
    let mut items: Vec<&str> = text.split(", ").collect();
    items.sort_unstable();
    items.join(", ")
}

#[test]
fn a_type_is_recorded_whether_its_optional_keys_exist_or_not() {
    check::<Shop>(least(), "shop", &sorted(SHOP));
    let mut full = least();
    for (key, value) in [
        ("shop.open", json!(true)),
        ("shop.discount", json!("0.5")),
        ("shop.tls.certificate", json!("x")),
        ("shop.currencies[0]", json!("EUR")),
        ("shop.http.headers.a", json!("b")),
        ("shop.unknown", json!(1)),
    ] {
        full[key] = value;
    }
    full["shop.tls.port"] = json!(443);
    let inside = "shop.tls.certificate text!, shop.tls.port u32!";
    let expected = SHOP.replace("shop.tls.certificate text, shop.tls.port u32", inside);
    check::<Shop>(full, "shop", &sorted(&expected));
}

#[test]
fn an_empty_value_of_an_option_has_a_type_too() {
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only the types of the fields matter")]
    struct T {
        a: Option<u16>,
        list: Vec<u8>,
    }
    let expected = "a u16, list list!, list[] u8";
    check::<T>(json!({"a": "", "list": ""}), "", expected);
    check::<T>(json!({"a": 1, "list": "1,2"}), "", expected);
    check::<T>(json!({"a": 1, "list[0]": 1}), "", expected);
}

#[test]
fn fields_of_list_elements_are_recorded_once() {
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only the types of the fields matter")]
    struct T {
        routes: Vec<Tls>,
    }
    let source = json!({
        "routes[0].certificate": "x", "routes[0].port": 1, "routes[1].certificate": "x", "routes[1].port": 1,
    });
    let expected = "routes list!, routes[] map, routes[].certificate text!, routes[].port u32!";
    check::<T>(source, "", expected);
}

#[test]
fn maps_flattened_fields_enums_and_values_of_any_type_are_open() {
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    #[expect(dead_code, reason = "only the types of the fields matter")]
    enum Level {
        Quiet,
        To { file: String },
    }
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only the types of the fields matter")]
    struct T {
        level: Level,
        any: Value,
        map: HashMap<String, Tls>,
    }
    let source = json!({"level": "quiet", "any": 1, "map.x.certificate": "c", "map.x.port": 1});
    check::<T>(source, "", "<any.>, <level.>, <map.>, any any!, level any!, map map!");

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only the types of the fields matter")]
    struct Flat {
        #[serde(flatten)]
        tls: Tls,
        name: String,
    }
    let source = json!({"a.certificate": "c", "a.port": 1, "a.name": "n"});
    check::<Flat>(source.clone(), "a", "<a.>, a map!");
    check::<Value>(source, "", "<>");
}

#[test]
fn defaults_of_any_kind_make_a_key_optional() {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct T {
        a: u16,
        b: Option<String>,
    }
    check::<T>(json!({"t.a": 1}), "t", "t map, t.a u16, t.b text");
    check::<T>(json!({}), "t", "t map, t.a u16, t.b text");
}

#[test]
fn no_name_of_an_alias_is_required_alone() {
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only the types of the fields matter")]
    struct T {
        #[serde(alias = "old_size")]
        size: u16,
        other: u16,
    }
    for key in ["size", "old-size"] {
        let RecordedKeys { keys, .. } = recorded::<T>(json!({key: 1, "other": 1}), "").unwrap();
        let required: Vec<_> = keys.iter().filter(|key| key.required).collect();
        assert_eq!(required.len(), 1, "{keys:?}");
        assert_eq!(required[0].key, "other");
    }
}

#[test]
fn a_condition_of_the_whole_type_makes_its_keys_required() {
    #[derive(Deserialize)]
    #[serde(try_from = "Raw")]
    struct T;
    #[derive(Deserialize)]
    struct Raw {
        a: Option<u16>,
        #[serde(default)]
        b: u16,
    }
    impl TryFrom<Raw> for T {
        type Error = String;
        fn try_from(raw: Raw) -> Result<T, String> {
            if raw.a.is_some() && raw.b > 0 { Ok(T) } else { Err("a and b".into()) }
        }
    }
    check::<T>(json!({"a": 1, "b": 1}), "", "a u16, b u16!");
}

#[test]
fn a_type_that_contains_itself_is_bounded() {
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only the types of the fields matter")]
    struct Node {
        left: Option<Box<Node>>,
        right: Option<Box<Node>>,
        value: Option<u8>,
    }
    let RecordedKeys { keys, open } = recorded::<Node>(json!({"n.value": 1}), "n").unwrap();
    assert!(keys.len() < 100 && !open.is_empty(), "{keys:?}");
}

#[test]
fn a_large_type_takes_bounded_work() {
    thread_local!(static COUNT: Cell<usize> = const { Cell::new(0) });
    struct Counted;
    impl<'de> Deserialize<'de> for Counted {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Counted, D::Error> {
            COUNT.set(COUNT.get() + 1);
            String::deserialize(deserializer).map(|_| Counted)
        }
    }
    let mut source = json!({});
    for number in 0..2_000 {
        source[format!("list[{number}].a")] = json!("x");
    }
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only the types of the fields matter")]
    struct T {
        list: Vec<Element>,
    }
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only the types of the fields matter")]
    struct Element {
        a: Counted,
        b: Option<u8>,
        c: Option<u8>,
    }
    check::<T>(source, "", "list list!, list[] map, list[].a text!, list[].b u8, list[].c u8");
    assert!(COUNT.get() < 250_000, "{}", COUNT.get());
}

#[test]
fn placeholders_and_reads_by_key_are_recorded_without_a_type() {
    let reads = Reads::new("product".into(), Some("1.4".into()));
    let source = json!({"a.b": "${x.y}", "x.y": "${z}", "z": 1, "q": 1});
    let configuration = configuration(source, Some(Arc::clone(&reads)));
    assert!(reads.contract().is_none());
    assert_eq!(configuration.get_at::<u8>("a.b").unwrap(), 1);
    let _ = configuration.value("Q_x");
    reads.publish();
    let contract = reads.contract().unwrap();
    let keys: Vec<_> = contract.keys.iter().map(|key| key.key.as_str()).collect();
    assert_eq!(keys, ["Q_x", "a.b", "x.y", "z"]);
    assert!(contract.keys.iter().all(|key| key.value_type == ValueType::Any && !key.required));
    assert_eq!(
        (contract.application.as_str(), contract.version.as_deref()),
        ("product", Some("1.4"))
    );
    // The same read again adds nothing.
    configuration.get_at::<u8>("a.b").unwrap();
    reads.publish();
    assert_eq!(reads.contract().unwrap().digest, contract.digest);
    let _ = configuration.properties();
    reads.publish();
    assert_eq!(reads.contract().unwrap().open, [""]);
}

#[test]
fn a_live_type_adds_its_requirements_to_other_reads() {
    let reads = Reads::new("product".into(), None);
    let configuration = configuration(least(), Some(Arc::clone(&reads)));
    configuration.get_at::<u16>("shop.page-size").unwrap();
    reads.record_live::<Shop>(&configuration, "shop");
    configuration.get_at::<String>("shop.page_size").unwrap();
    reads.publish();
    let contract = reads.contract().unwrap();
    let size = contract.keys.iter().find(|key| key.key == "shop.page-size").unwrap();
    assert!(size.required && size.value_type == ValueType::U16);
    // Two instances of one build have the same digest, whatever the values are.
    let other = Reads::new("product".into(), None);
    let mut values = least();
    values["shop.name"] = json!("y");
    other.record_live::<Shop>(&self::configuration(values, None), "shop");
    assert_eq!(other.contract().unwrap().digest, contract.digest);
}

#[test]
fn a_type_that_panics_or_has_too_many_keys_makes_no_contract() {
    struct Panics;
    impl<'de> Deserialize<'de> for Panics {
        fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Panics, D::Error> {
            panic!("it always does")
        }
    }
    let reads = Reads::new("product".into(), None);
    let configuration = configuration(json!({"a": 1}), Some(Arc::clone(&reads)));
    reads.record_live::<Panics>(&configuration, "");
    assert!(reads.contract().is_none());
    for number in 0..1_100 {
        let _ = configuration.value(&format!("key-{number}"));
    }
    reads.publish();
    assert!(reads.contract().is_none());
}

#[test]
fn a_version_is_taken_from_attributes() {
    let version = |pairs: &[(&str, &str)]| {
        let pairs: Vec<_> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        version_in(&pairs)
    };
    assert_eq!(version(&[("version", "1.4"), ("zone", "eu-1")]).as_deref(), Some("1.4"));
    assert_eq!(version(&[("version", "1"), ("version", "2")]).as_deref(), Some("2"));
    assert_eq!(version(&[("zone", "eu-1")]), None);
    assert_eq!(version(&[("version", "a b")]), None);
}
