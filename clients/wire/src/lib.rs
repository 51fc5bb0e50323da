//! The JSON shapes of the protocol, once, for both ends: serde types only, no behaviour.
//!
//! The shapes are those of Spring Cloud Config 4.x (specification, section 3). A client must tolerate members that it
//! does not know, and `null` wherever a member is optional here.

use serde::{Deserialize, Serialize};

/// The answer to `GET /{application}/{profiles}[/{label}]`: everything a service is configured with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// The application that was asked for, after `(_)` was replaced by `/`.
    pub name: String,
    /// One element holding the comma list of profiles as it was sent; other servers may split it.
    #[serde(default)]
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

/// One named source of an [`Environment`]: flat keys (`a.b[0].c`) to scalar values, in file order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PropertySource {
    /// Names are part of the protocol: clients decide by them which sources belong to a profile.
    pub name: String,
    /// Flat keys to scalars; in the v2 representation a value may be an object of `value` and `origin`.
    pub source: serde_json::Map<String, serde_json::Value>,
}

fn null_as_empty<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<PropertySource>, D::Error> {
    Ok(Option::<Vec<PropertySource>>::deserialize(deserializer)?.unwrap_or_default())
}
