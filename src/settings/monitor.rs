//! `[monitor]`: the secrets of webhooks.

use std::path::PathBuf;

use serde::Deserialize;

use super::Secret;
use super::secret::secret_variable;

/// `[monitor]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MonitorSettings {
    /// A file with secrets, one on each line, of which a call must prove one.
    pub secret_file: Option<PathBuf>,
    /// A secret from the environment.
    #[serde(skip)]
    pub secret: Option<Secret>,
}

impl MonitorSettings {
    /// Adds what flags and variables set.
    pub(super) fn with(mut self, secret_file: Option<PathBuf>, problems: &mut Vec<String>) -> Self {
        self.secret_file = secret_file.or(self.secret_file);
        self.secret = secret_variable("HEADWATER_MONITOR_SECRET");
        if self.secret.is_some() && self.secret_file.is_some() {
            problems
                .push("monitor: set secret_file or HEADWATER_MONITOR_SECRET, not both".to_owned());
        }
        self
    }
}
