//! The values that types receive.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::Configuration;

mod errors;

/// Builds a configuration from sources, the most specific first.
fn configuration(sources: Value) -> Configuration {
    let sources: Vec<_> = sources
        .as_array()
        .unwrap()
        .iter()
        .map(|source| json!({"name": "s", "source": source}))
        .collect();
    let environment = json!({"name": "product", "propertySources": sources});
    Configuration::from_environment(serde_json::from_value(environment).unwrap())
}

#[track_caller]
fn check<T: DeserializeOwned + PartialEq + Debug>(source: Value, prefix: &str, expected: T) {
    assert_eq!(configuration(json!([source])).get_at::<T>(prefix).unwrap(), expected);
}

#[track_caller]
fn fails<T: DeserializeOwned + Debug>(source: Value, prefix: &str, expected: &str) {
    let error = configuration(json!([source])).get_at::<T>(prefix).unwrap_err();
    assert_eq!(error.to_string(), expected);
}

#[derive(Debug, PartialEq, Deserialize)]
struct Shop {
    name: String,
    max_items: u32,
    #[serde(default)]
    currencies: Vec<String>,
    discount: Option<f64>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Level {
    Quiet,
    VeryLoud,
    To { file: String },
    Limit(u32),
}

#[test]
fn names_are_relaxed() {
    for key in ["shop.max-items", "shop.maxItems", "shop.max_items", "SHOP.MAX_ITEMS"] {
        let expected =
            Shop { name: "corner".into(), max_items: 20, currencies: vec![], discount: None };
        check(json!({"shop.name": "corner", key: 20}), "shop", expected);
    }
}

#[test]
fn the_most_specific_spelling_wins() {
    let sources = json!([
        {"shop.maxItems": 1, "shop.currencies[0]": "EUR"},
        {"shop.name": "corner", "shop.max-items": 2, "shop.Currencies[0]": "USD", "shop.Currencies[1]": "CHF"},
    ]);
    let expected = Shop {
        name: "corner".into(),
        max_items: 1,
        currencies: vec!["EUR".into()],
        discount: None,
    };
    assert_eq!(configuration(sources).get_at::<Shop>("shop").unwrap(), expected);
}

#[test]
fn strings_become_what_the_type_wants() {
    check(json!({"a": "8080"}), "a", 8080_u16);
    check(json!({"a": " -3 "}), "a", -3_i8);
    check(json!({"a": "1.5"}), "a", 1.5_f32);
    check(json!({"a": "Infinity"}), "a", f64::INFINITY);
    check(json!({"a": "on"}), "a", true);
    check(json!({"a": "FALSE"}), "a", false);
    check(json!({"a": 1.50}), "a", 1.5_f64);
    check(json!({"a": 5}), "a", "5".to_owned());
    check(json!({"a": true}), "a", "true".to_owned());
    check(json!({"a": "x"}), "a", 'x');
    check(json!({"a": "170141183460469231731687303715884105727"}), "a", i128::MAX);
    check(json!({"a": "5s"}), "a", "5s".to_owned());
}

#[test]
fn lists_are_elements_or_pieces() {
    check(json!({"l[1]": "b", "l[0]": "a"}), "l", vec!["a".to_owned(), "b".to_owned()]);
    check(json!({"l": "1, 2,3"}), "l", vec![1, 2, 3]);
    check(json!({"l": 7}), "l", vec![7]);
    check(json!({"l": ""}), "l", Vec::<u8>::new());
    check(json!({"l[0][0]": 1, "l[0][1]": 2, "l[1][0]": 3}), "l", vec![vec![1, 2], vec![3]]);
    check(json!({"l": "1,2"}), "l", (1, 2));
    check(json!({"l[0].name": "x", "l[0].maxItems": 1}), "l[0].max-items", 1);
    fails::<Vec<u8>>(
        json!({"l[0]": 1, "l[999999999]": 2}),
        "l",
        "`l` has an element 999999999 but no element 1",
    );
    fails::<Vec<u8>>(json!({"l.a": 1}), "l", "`l` is a map, expected a list");
}

#[test]
fn maps_keep_their_keys() {
    let map = |pairs: &[(&str, u32)]| {
        pairs.iter().map(|&(key, value)| (key.to_owned(), value)).collect::<HashMap<_, _>>()
    };
    check(json!({"m.us-east": 1, "m.euWest": 2}), "m", map(&[("us-east", 1), ("euWest", 2)]));
    check(json!({"m[/api/**]": 1, "m[a.b]": 2}), "m", map(&[("/api/**", 1), ("a.b", 2)]));
    check(
        json!({"m[1]": "x", "m[3]": "y"}),
        "m",
        BTreeMap::from([(1, "x".to_owned()), (3, "y".to_owned())]),
    );
    check(json!({"m": ""}), "m", map(&[]));
    check(json!({"m.a.b": 1}), "m", HashMap::from([("a".to_owned(), map(&[("b", 1)]))]));
}

#[test]
fn a_value_beside_deeper_keys_is_kept() {
    let source =
        json!({"level.org.springframework": "WARN", "level.org.springframework.cloud": "ERROR"});
    let expected = json!({"org": {"springframework.cloud": "ERROR", "springframework": "WARN"}});
    check(source, "level", expected);
    check(
        json!({"services.cart": "", "services.cart.port": 1}),
        "services",
        json!({"cart": {"port": 1}}),
    );
}

#[test]
fn nothing_is_none() {
    check(json!({"a": ""}), "a", None::<u16>);
    check(json!({"a": null}), "a", None::<String>);
    check(json!({"a": 1}), "b", None::<u16>);
    check(json!({"a": "1"}), "a", Some(1));
    check(json!({"a": ""}), "a", String::new());
}

#[test]
fn enums_are_spelled_freely() {
    check(json!({"l": "quiet"}), "l", Level::Quiet);
    check(json!({"l": "VERY_LOUD"}), "l", Level::VeryLoud);
    check(json!({"l.to.file": "x"}), "l", Level::To { file: "x".into() });
    check(json!({"l.limit": "5"}), "l", Level::Limit(5));
}

#[test]
fn everything_is_a_value_too() {
    let source = json!({"a.b": 1, "a.c[0]": -2, "a.c[1]": 1.5, "a.d": "x", "a.e": true});
    check(source, "", json!({"a": {"b": 1, "d": "x", "e": true, "c": [-2, 1.5]}}));
}
