//! The JSON shapes of the protocol, once, for both ends: serde types only, no behaviour.
//!
//! The shapes are those of Spring Cloud Config 4.x (specification, section 3). A client must tolerate members that it
//! does not know, and `null` wherever a member is optional here.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// The answer to `GET /{application}/{profiles}[/{label}]`: everything a service is configured with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// The application that was asked for, after `(_)` was replaced by `/`.
    pub name: String,
    /// One element holding the comma list of profiles as it was sent; other servers may split it.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub profiles: Vec<String>,
    /// The label of the request, `None` when it named none.
    #[serde(default)]
    pub label: Option<String>,
    /// The revision that was served: a commit id, or several joined by `,`.
    #[serde(default)]
    pub version: Option<String>,
    /// Opaque state of some backends; blank means nothing.
    #[serde(default)]
    pub state: Option<String>,
    /// Highest precedence first.
    #[serde(default, rename = "propertySources", deserialize_with = "null_as_empty")]
    pub property_sources: Vec<PropertySource>,
}

/// One named source of an [`Environment`]: flat keys (`a.b[0].c`) to scalar values, in file order where `serde_json` has
/// its feature `preserve_order`.
///
/// `Debug` shows the name and the number of keys: values may be secrets.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct PropertySource {
    /// Names are part of the protocol: clients decide by them which sources belong to a profile.
    pub name: String,
    /// Flat keys to scalars; in the v2 representation a value may be an object of `value` and `origin`.
    pub source: serde_json::Map<String, serde_json::Value>,
}

impl fmt::Debug for PropertySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PropertySource")
            .field("name", &self.name)
            .field("key_count", &self.source.len())
            .finish_non_exhaustive()
    }
}

fn null_as_empty<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"{"name":"foo","profiles":["dev,prod"],"label":null,"version":"c0ffee","state":"","propertySources":[{"name":"a.yml","source":{"k":"v","n":1}}]}"#;

    #[test]
    fn members_keep_springs_names_and_order() {
        let environment: Environment = serde_json::from_str(FULL).unwrap();
        assert_eq!(serde_json::to_string(&environment).unwrap(), FULL);
    }

    #[test]
    fn unknown_members_and_nulls_are_tolerated() {
        let text = r#"{"name":"foo","profiles":null,"propertySources":null,"later":{"x":1}}"#;
        let environment: Environment = serde_json::from_str(text).unwrap();
        assert_eq!((environment.profiles, environment.property_sources.len()), (vec![], 0));
        assert!(serde_json::from_str::<Environment>(r#"{"name":"foo"}"#).is_ok());
    }

    #[test]
    fn debug_shows_no_value() {
        let mut environment: Environment = serde_json::from_str(FULL).unwrap();
        environment.property_sources[0].source.insert("password".into(), "s3cret".into());
        let text = format!("{environment:?}");
        assert!(text.contains("a.yml") && !text.contains("s3cret"), "{text}");
    }
}
