//! Access to an etcd cluster: addresses, connections, and following all keys below a prefix.
//!
//! This is the only place that uses etcd's client. It does not know the meaning of any key.

mod address;
mod compare_and_swap;
mod connection;
mod error;
mod follow;

use std::path::PathBuf;
use std::sync::Arc;

pub use address::{Address, AddressError};
pub use compare_and_swap::{CasOutcome, CompareAndSwap, compare_and_swap};
pub use connection::{
    CallObserver, Change, Connection, Lease, Page, Position, Transaction, Value, Write,
    observe_calls,
};
pub use error::EtcdError;
pub use follow::{FollowEvent, Follower};

/// Returns a user name and its password. It is called for each connection and may block.
pub type Login = Arc<dyn Fn() -> Result<(String, String), String> + Send + Sync>;

/// The credentials for a cluster and the certificates for verifying it.
#[derive(Clone, Default)]
pub struct Access {
    /// The source of user name and password, read again for each connection.
    pub login: Option<Login>,
    /// The trusted certificate authorities (PEM). Connections use TLS when it is set.
    pub ca_file: Option<PathBuf>,
    /// The certificate that authenticates this server.
    pub client: Option<ClientFiles>,
}

/// The files of a client certificate.
#[derive(Debug, Clone)]
pub struct ClientFiles {
    /// The certificate chain (PEM).
    pub certificate: PathBuf,
    /// The private key (PEM).
    pub key: PathBuf,
}

/// A cluster and the prefix of this server's keys in it.
#[derive(Clone)]
pub struct Cluster {
    /// The members and the prefix.
    pub address: Address,
    /// The credentials.
    pub access: Access,
    /// A key that this server may read, present or not. Each new connection reads it, as proof that it works.
    pub probe: String,
}

impl Cluster {
    /// Connects to the members in random order until one accepts.
    ///
    /// # Errors
    /// The error of the last member, when none accepts.
    pub async fn connect(&self) -> Result<Connection, EtcdError> {
        let endpoints = &self.address.endpoints;
        let first = fastrand::usize(..endpoints.len());
        let mut last = EtcdError::Other("the address names no member".to_owned());
        for at in 0..endpoints.len() {
            let endpoint = &endpoints[(first + at) % endpoints.len()];
            match Connection::open(self, endpoint).await {
                Ok((connection, _)) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}
