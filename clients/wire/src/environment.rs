//! The environment: the answer to a service.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// The answer to `GET /{application}/{profiles}[/{label}]`: the whole configuration of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// The requested application. `(_)` in the request is `/` here.
    pub name: String,
    /// The requested profiles. Headwater returns one element with the comma-separated list of the request. Other servers may
    /// return one element for each profile.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub profiles: Vec<String>,
    /// The label of the request. `None` when it named none.
    #[serde(default)]
    pub label: Option<String>,
    /// The revision of the answer: a commit id, or those of several sources joined by `,`.
    #[serde(default)]
    pub version: Option<String>,
    /// An opaque state of some servers. Headwater does not set it.
    #[serde(default)]
    pub state: Option<String>,
    /// The sources in order of precedence, the highest first.
    #[serde(default, rename = "propertySources", deserialize_with = "null_as_empty")]
    pub property_sources: Vec<PropertySource>,
}

/// The answer to `GET /-/environments`: the known environments of a label, as every combination of these names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentList {
    /// The label. `None` for the default label.
    pub label: Option<String>,
    /// The revision that mentions the names.
    pub revision: String,
    /// The applications, without `application`, which every application shares.
    pub applications: BTreeSet<String>,
    /// The profiles, without `default`.
    pub profiles: BTreeSet<String>,
}

/// The properties of one file or document in an [`Environment`].
///
/// `Debug` shows the name and the number of keys, and no value, because values may be secrets.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct PropertySource {
    /// The name of the source. It is part of the protocol: Spring clients derive the profile of a source from it.
    pub name: String,
    /// Flat keys such as `a.b[0].c` and their scalar values. They have the order of the file when `serde_json` has its feature
    /// `preserve_order`. In the second representation a value is an object with `value` and `origin`.
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
