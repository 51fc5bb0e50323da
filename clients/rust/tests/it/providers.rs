//! The configuration as a provider of `figment` and a source of `config`.

#![cfg(any(feature = "figment", feature = "config"))]

use headwater_client::Configuration;
use serde::Deserialize;
use serde_json::json;

#[derive(Debug, PartialEq, Deserialize)]
struct Settings {
    shop: Shop,
    log_level: String,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Shop {
    max_items: u32,
    currencies: Vec<String>,
    greeting: String,
}

fn configuration() -> Configuration {
    let environment = json!({"name": "product", "version": "c0ffee", "propertySources": [
        {"name": "product.yml", "source": {"shop.max-items": 20, "shop.currencies[0]": "CHF"}},
        {"name": "application.yml", "source": {
            "log-level": "debug", "shop.greeting": "${missing:hello}", "shop.currencies[1]": "USD",
        }},
    ]});
    Configuration::from_environment(serde_json::from_value(environment).unwrap())
}

fn expected() -> Settings {
    let shop = Shop { max_items: 20, currencies: vec!["CHF".into()], greeting: "hello".into() };
    Settings { shop, log_level: "debug".into() }
}

#[cfg(feature = "figment")]
#[test]
fn figment_accepts_the_configuration() {
    use figment::Figment;
    use figment::providers::Serialized;
    let figment = Figment::from(Serialized::default("log_level", "info")).merge(configuration());
    assert_eq!(figment.extract::<Settings>().unwrap(), expected());
    let error = figment.extract_inner::<u8>("shop.greeting").unwrap_err();
    assert!(error.to_string().contains("Headwater"), "{error}");
}

#[cfg(feature = "config")]
#[test]
fn config_accepts_the_configuration() {
    let builder = config::Config::builder().set_default("log_level", "info").unwrap();
    let settings = builder.add_source(configuration()).build().unwrap();
    assert_eq!(settings.try_deserialize::<Settings>().unwrap(), expected());
}

#[test]
fn a_missing_placeholder_is_an_error() {
    let environment = json!({"name": "product", "propertySources": [{"name": "s", "source": {"a.b": "${missing}"}}]});
    let configuration =
        Configuration::from_environment(serde_json::from_value(environment).unwrap());
    #[cfg(feature = "figment")]
    {
        let error =
            figment::Figment::from(&configuration).extract::<serde_json::Value>().unwrap_err();
        assert!(error.to_string().contains("`a.b` has an unresolvable placeholder"), "{error}");
    }
    #[cfg(feature = "config")]
    {
        let error = config::Config::builder().add_source(configuration).build().unwrap_err();
        assert!(error.to_string().contains("`a.b` has an unresolvable placeholder"), "{error}");
    }
}
