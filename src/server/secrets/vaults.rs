//! The Vaults of the settings.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::regular_file;
use crate::reveal::{Lookup, VaultFigures};
use crate::server::StartError;
use crate::settings::{VaultLoginSettings, VaultSettings};
use crate::vault::{Engine, LoginMethod, VaultAddress, VaultCache, VaultClient};

/// The largest file with certificate authorities, in bytes.
const CA_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The token of a pod's service account.
const SERVICE_ACCOUNT_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// One Vault with the secrets that were read from it.
pub(super) struct ConfiguredVault {
    pub(super) name: String,
    pub(super) address: VaultAddress,
    pub(super) cache: Arc<VaultCache>,
}

impl ConfiguredVault {
    /// Reads what is needed to reach the Vault. Connects to nothing.
    pub(super) fn open(settings: &VaultSettings) -> Result<Self, StartError> {
        let ca = settings.ca_file.as_deref().map(|path| {
            regular_file::read(path, CA_BYTES_MAX).map_err(|error| StartError::File {
                what: "ca_file of secrets.vault",
                path: path.to_owned(),
                reason: error.to_string(),
            })
        });
        let address = VaultAddress {
            uri: settings.uri.clone(),
            mount: settings.mount.trim_matches('/').to_owned(),
            engine: if settings.kv_version == 1 { Engine::Kv1 } else { Engine::Kv2 },
            namespace: settings.namespace.clone(),
            ca: ca.transpose()?,
            login: method(&settings.auth),
            poll: Duration::from_secs(settings.poll_seconds),
        };
        let vault = Self { name: settings.name.clone(), address, cache: Arc::default() };
        vault.client()?;
        Ok(vault)
    }

    /// A client for the address.
    pub(super) fn client(&self) -> Result<VaultClient, StartError> {
        VaultClient::new(&self.address).map_err(|error| StartError::File {
            what: "secrets.vault",
            path: PathBuf::from(&self.address.uri),
            reason: error.to_string(),
        })
    }

    /// The figures for metrics.
    pub(super) fn figures(&self) -> VaultFigures {
        let (path_count, age) = self.cache.figures();
        VaultFigures { name: self.name.clone(), path_count, age }
    }

    /// The name in faults.
    pub(super) fn object(&self) -> String {
        if self.name.is_empty() { "Vault".to_owned() } else { format!("Vault {}", self.name) }
    }
}

/// Looks a value up in the Vault with a name.
pub(super) fn look_up(vaults: &[ConfiguredVault], store: &str, path: &str, key: &str) -> Lookup {
    match vaults.iter().find(|vault| vault.name == store) {
        Some(vault) => vault.cache.look_up(path, key),
        None => Lookup::Missing("the settings of the server have no Vault of this name".into()),
    }
}

fn method(settings: &VaultLoginSettings) -> LoginMethod {
    let mount = |mount: &Option<String>, default: &str| {
        mount.as_deref().unwrap_or(default).trim_matches('/').to_owned()
    };
    match settings {
        VaultLoginSettings::TokenFile(path) => LoginMethod::TokenFile(path.clone()),
        VaultLoginSettings::AppRole(approle) => LoginMethod::AppRole {
            mount: mount(&approle.mount, "approle"),
            role_id_file: approle.role_id_file.clone(),
            secret_id_file: approle.secret_id_file.clone(),
        },
        VaultLoginSettings::Kubernetes(role) => LoginMethod::Jwt {
            mount: mount(&role.mount, "kubernetes"),
            role: role.role.clone(),
            token_file: role.token_file.clone().unwrap_or_else(|| SERVICE_ACCOUNT_TOKEN.into()),
        },
        VaultLoginSettings::Jwt(role) => LoginMethod::Jwt {
            mount: mount(&role.mount, "jwt"),
            role: role.role.clone(),
            token_file: role.token_file.clone().unwrap_or_default(),
        },
    }
}
