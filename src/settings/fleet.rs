//! `[fleet]`: the history of instances.

use serde::Deserialize;

use super::described::default;

/// `[fleet]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FleetSettings {
    /// The days for which the history is kept. 0 records none.
    pub history_days: u16,
}

impl Default for FleetSettings {
    fn default() -> Self {
        Self { history_days: default("fleet", "history_days") }
    }
}
