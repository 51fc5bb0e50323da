//! The server's own settings: defaults, then `headwater.toml`, then `HEADWATER_…` variables, then flags. They are typed and
//! checked once, with all problems reported together, and do not change afterwards. Secrets come from files or variables,
//! never from flags.
//!
//! `described` holds the one description of each setting. `flags` and `file` read settings, and `lower` combines them.

mod access;
mod audit;
mod client_certificates;
mod described;
mod file;
mod flags;
mod fleet;
mod lower;
mod memory;
mod monitor;
mod overrides;
mod push;
mod rollout;
mod rollout_checks;
mod secret;
mod secrets;
mod share;
mod source;
mod tracing;
mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;

pub use self::tracing::TracingSettings;
pub use access::AccessSettings;
pub use audit::AuditSettings;
pub use client_certificates::{ClientAuth, ClientCertificateSettings};
pub use described::default_file;
pub use flags::Flags;
pub use fleet::FleetSettings;
pub use memory::MemorySettings;
pub use monitor::MonitorSettings;
pub use push::{Checks, PushSettings, UnfinishedChecks};
pub use rollout::{NowSetting, RolloutDefault, RolloutSettings};
pub use rollout_checks::{Comparison, Limit, RolloutCheckSettings};
pub use secret::{LoginSettings, Secret};
pub use secrets::{
    AppRoleSettings, OnFailure, RsaAlgorithm, RsaSettings, SecretsSettings, VaultLoginSettings,
    VaultRoleSettings, VaultSettings,
};
pub use share::{ShareSettings, is_name};
pub use source::SourceSettings;
pub use watch::{Network, WatchSettings};

/// The settings that a server runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub listen: SocketAddr,
    /// Empty, or `/…` without a trailing slash.
    pub prefix: String,
    /// Certificate chain and private key of a server that speaks TLS.
    pub tls: Option<(PathBuf, PathBuf)>,
    pub client_certificates: ClientCertificateSettings,
    /// The file with the token that readers must present, if they must.
    pub token_file: Option<PathBuf>,
    /// Threads that answer requests. `None` for one for each processor.
    pub workers: Option<usize>,
    /// Return 200 when no property source matches.
    pub accept_empty: bool,
    /// Fail the answer when one source fails.
    pub fail_on_composite_error: bool,
    /// The data directory, made when a source needs it.
    pub data: PathBuf,
    pub access: AccessSettings,
    pub audit: AuditSettings,
    pub push: PushSettings,
    pub rollout: RolloutSettings,
    /// True if the server puts the states of rollouts aside and serves every tip. Only `serve` sets it.
    pub is_forgetting_rollouts: bool,
    pub memory: MemorySettings,
    pub watch: WatchSettings,
    pub monitor: MonitorSettings,
    pub share: ShareSettings,
    pub fleet: FleetSettings,
    pub secrets: SecretsSettings,
    pub tracing: TracingSettings,
    /// For `https://` remotes that have no `credentials_file`.
    pub git_login: Option<LoginSettings>,
    /// For etcd without a `credentials_file`.
    pub etcd_login: Option<LoginSettings>,
    /// Properties of every environment, above all others.
    pub overrides: Vec<(String, String)>,
    /// At least one. The first one wins.
    pub sources: Vec<SourceSettings>,
}

/// All problems of the settings, one on each line.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct SettingsError(pub Vec<String>);

impl Settings {
    /// Combines defaults, file and flags. Variables are part of the flags.
    ///
    /// # Errors
    /// All problems together.
    pub fn load(flags: Flags) -> Result<Self, SettingsError> {
        let file = file::load(flags.config.as_deref())?;
        lower::lower(flags, file)
    }
}
