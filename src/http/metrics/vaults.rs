//! The metrics of the secrets in Vault.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::register;
use crate::reveal::Keyring;

/// A Vault by its name in the settings, which bounds the number of Vaults.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct VaultLabels {
    vault: String,
}

pub(super) struct VaultMetrics {
    paths: Family<VaultLabels, Gauge>,
    ages: Family<VaultLabels, Gauge>,
}

impl VaultMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            paths: register(registry, "vault_paths", "Paths of a Vault that environments name"),
            ages: register(
                registry,
                "vault_age_seconds",
                "Longest time in seconds since a path of a Vault was read",
            ),
        }
    }

    pub(super) fn update(&self, keys: &Keyring) {
        for figures in keys.vaults() {
            let labels = VaultLabels { vault: figures.name };
            let path_count = i64::try_from(figures.path_count).unwrap_or(i64::MAX);
            self.paths.get_or_create(&labels).set(path_count);
            let age = i64::try_from(figures.age.as_secs()).unwrap_or(i64::MAX);
            self.ages.get_or_create(&labels).set(age);
        }
    }
}
