//! The errors for values that do not fit their type.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Level, Shop, configuration, fails};
use crate::Error;

#[test]
fn errors_name_the_key_and_the_type_and_never_the_value() {
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only deserialized")]
    struct Strict {
        port: u16,
        #[serde(default)]
        inner: Option<Box<Strict>>,
    }
    fails::<Strict>(json!({"s.port": "s3cret"}), "s", "`s.port` is a string, expected a u16");
    fails::<Strict>(json!({"s.port": 70000}), "s", "`s.port` is a number, expected a u16");
    fails::<Strict>(json!({"s.port": 1, "s.prot": "s3cret"}), "s", "`s.prot` is an unknown field");
    fails::<Strict>(
        json!({"s.port": 1, "s.inner.port": true}),
        "s",
        "`s.inner.port` is a boolean, expected a u16",
    );
    fails::<Strict>(json!({"s.inner.inner.port": 1}), "s", "`s.inner.port` is missing");
    fails::<Strict>(json!({"s": "s3cret"}), "s", "`s` is a string, expected a map");
    fails::<Strict>(json!({}), "s", "`s.port` is missing");
    fails::<u16>(json!({}), "s.port", "`s.port` is missing");
    fails::<u16>(json!({"s.port.x": 1}), "s.port", "`s.port` is a map or a list");
    fails::<Vec<u16>>(
        json!({"l[0]": 1, "l[1]": "s3cret"}),
        "l",
        "`l[1]` is a string, expected a u16",
    );
    fails::<Vec<u16>>(json!({"l": "1,s3cret"}), "l", "`l` is a string, expected a u16");
    fails::<std::net::IpAddr>(
        json!({"ip": "s3cret"}),
        "ip",
        "`ip` has a value that its type does not accept",
    );
    fails::<HashMap<u8, u8>>(json!({"m.s": 1}), "m", "`m.s` is a string, expected a u8");
    fails::<Level>(
        json!({"l": "s3cret"}),
        "l",
        "`l` is not a known variant, expected one of quiet, very-loud, to, limit",
    );
    fails::<bool>(json!({"b": "s3cret"}), "b", "`b` is a string, expected a boolean");
}

#[test]
fn a_missing_placeholder_fails_only_the_types_that_read_it() {
    let configuration =
        configuration(json!([{"shop.name": "${nobody.knows}", "port": "${other}", "other": 5}]));
    assert_eq!(configuration.get_at::<u16>("port").unwrap(), 5);
    let error = configuration.get_at::<Shop>("shop").unwrap_err();
    assert!(matches!(&error, Error::Placeholder { key, .. } if key == "shop.name"), "{error}");
    let text = "`shop.name` has an unresolvable placeholder: no property or variable is named `nobody.knows`, and the placeholder has no default";
    assert_eq!(error.to_string(), text);
}

#[test]
fn a_very_deep_key_does_no_harm() {
    let key = vec!["a"; 50_000].join(".");
    let configuration = configuration(json!([{key.as_str(): 1}]));
    assert!(configuration.get::<Value>().is_ok());
    assert_eq!(configuration.value(&key), Some(&json!(1)));
}

#[test]
fn no_key_causes_a_panic() {
    let mut random = fastrand::Rng::with_seed(7);
    let pieces = ["a", "b", ".", "[0]", "[1]", "[", "]", "[x.y]", "é", "-", "_", "A", ""];
    let values =
        [json!("${a}"), json!("x"), json!(""), json!(1), json!(null), json!("${"), json!("${b:é}")];
    for _ in 0..5_000 {
        let mut source = serde_json::Map::new();
        for _ in 0..random.usize(1..6) {
            let key: String =
                (0..random.usize(0..7)).map(|_| pieces[random.usize(..pieces.len())]).collect();
            source.insert(key, values[random.usize(..values.len())].clone());
        }
        let configuration = configuration(json!([source, {"a": "y", "b[0]": "z"}]));
        let _ = (configuration.get::<Value>(), configuration.get::<HashMap<String, String>>());
        for property in configuration.properties() {
            assert_eq!(configuration.value(property.key()), Some(property.raw()));
            let _ = (property.value(), configuration.get_at::<Vec<u8>>(property.key()));
        }
    }
}
