//! `[share]`: the etcd cluster through which replicas know each other and share what they host.

use std::path::PathBuf;

use serde::Deserialize;

/// The longest name of a replica, in bytes.
const REPLICA_BYTES_MAX: usize = 253;

/// `[share]`: where replicas meet, and what opens it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShareSettings {
    /// `etcd://host:2379[,host:2379]/prefix`; `None` for a server that has no replicas.
    pub uri: Option<String>,
    /// What this replica is called; its host's name without it.
    pub replica: Option<String>,
    /// The user and the password, each on a line.
    pub credentials_file: Option<PathBuf>,
    /// Certificates (PEM) that are trusted; with it TLS is spoken.
    pub ca_file: Option<PathBuf>,
    /// The certificate chain (PEM) that etcd is shown.
    pub client_cert_file: Option<PathBuf>,
    /// Its private key (PEM).
    pub client_key_file: Option<PathBuf>,
}

impl ShareSettings {
    pub(super) fn check(&self, problems: &mut Vec<String>) {
        if self.uri.as_ref().is_some_and(|uri| !uri.starts_with("etcd://")) {
            problems.push("share: an address such as etcd://host:2379/prefix".to_owned());
        }
        if self.replica.as_deref().is_some_and(|name| !is_name(name)) {
            problems.push("share: a replica's name is letters, digits, dashes and dots".to_owned());
        }
    }
}

/// Whether a replica can be called that: what a host can.
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= REPLICA_BYTES_MAX
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}
