//! Reads secrets from Vault or OpenBao in the background, for `{vault}` references.
//!
//! A lookup reads memory only. The first lookup of a path wakes the task of its Vault (`follow`), which logs in (`login`), reads
//! the path (`client`) and keeps its values (`cache`). The task reads each path again at intervals, because the key-value
//! engine has no watch. While Vault is unreachable, all values stay in use.

mod cache;
mod client;
mod follow;
mod login;

use std::path::PathBuf;
use std::time::Duration;

pub(crate) use cache::VaultCache;
pub(crate) use client::VaultClient;
pub(crate) use follow::Follower;

/// The place of one Vault, and the way to log in.
#[derive(Debug, Clone)]
pub(crate) struct VaultAddress {
    /// `http://host:port` or `https://host:port`, with a path if a proxy needs one.
    pub(crate) uri: String,
    /// The mount of the key-value engine.
    pub(crate) mount: String,
    pub(crate) engine: Engine,
    /// The value of `X-Vault-Namespace`.
    pub(crate) namespace: Option<String>,
    /// The certificate authorities of an https address, in PEM.
    pub(crate) ca: Option<Vec<u8>>,
    pub(crate) login: LoginMethod,
    /// The interval between two reads of a path.
    pub(crate) poll: Duration,
}

/// The version of the key-value engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    /// Without versions of secrets.
    Kv1,
    Kv2,
}

/// The way to receive a token. Files are read for each login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LoginMethod {
    /// A token that another program keeps valid.
    TokenFile(PathBuf),
    AppRole {
        mount: String,
        role_id_file: PathBuf,
        secret_id_file: PathBuf,
    },
    /// A JSON Web Token, of a Kubernetes service account or of another issuer.
    Jwt {
        mount: String,
        role: String,
        token_file: PathBuf,
    },
}
