//! `[share]`: the etcd cluster through which replicas know each other and share the repositories that they host.

use std::path::PathBuf;

use serde::Deserialize;

/// The longest name of a replica, in bytes.
const REPLICA_BYTES_MAX: usize = 253;

/// `[share]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShareSettings {
    /// `etcd://host:2379[,host:2379]/prefix`. `None` for a server without replicas.
    pub uri: Option<String>,
    /// The name of this replica. `None` for the name of its host.
    pub replica: Option<String>,
    /// The URL under which the other replicas reach this one. `None` for the address of its listener.
    pub address: Option<String>,
    /// A file with a user name and a password, each on a line.
    pub credentials_file: Option<PathBuf>,
    /// Certificates (PEM) to trust. With them, the connection to etcd uses TLS.
    pub ca_file: Option<PathBuf>,
    /// The certificate chain (PEM) that this server presents to etcd.
    pub client_cert_file: Option<PathBuf>,
    /// Its private key (PEM).
    pub client_key_file: Option<PathBuf>,
}

impl ShareSettings {
    /// Adds what flags set, and checks the result.
    pub(super) fn with(
        mut self,
        uri: Option<String>,
        replica: Option<String>,
        problems: &mut Vec<String>,
    ) -> Self {
        self.uri = uri.or(self.uri);
        self.replica = replica.or(self.replica);
        // The address is not quoted, because it may contain a password.
        if self.uri.as_ref().is_some_and(|uri| !uri.starts_with("etcd://")) {
            problems.push("share: expected an address such as etcd://host:2379/prefix".to_owned());
        }
        if let Some(name) = self.replica.as_deref().filter(|name| !is_name(name)) {
            problems.push(format!(
                "share: the name of a replica has letters, digits, dashes, dots and underscores, got {name:?}"
            ));
        }
        let is_url = |url: &&String| url.starts_with("http://") || url.starts_with("https://");
        if let Some(url) = self.address.as_ref().filter(|url| !is_url(url)) {
            problems.push(format!(
                "share: address: expected a URL such as http://headwater-1:8888, got {url:?}"
            ));
        }
        self
    }
}

/// A name that a host can have is a name for a replica.
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= REPLICA_BYTES_MAX
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}
