//! How Headwater talks to an etcd cluster: addresses, connections, and following all keys below a prefix. The only place
//! that knows etcd's client, and nothing here knows what the keys are for.

mod address;
mod connection;
mod follow;
mod words;

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

pub use address::{Address, AddressError};
pub use connection::{Change, Connection, Lease, Page, Position, Transaction, Value, Write};
pub use follow::{Follower, News};
pub use words::Fault;

/// Gives a user name with its password. It is called for each connection, and may block.
pub type Login = Arc<dyn Fn() -> Result<(String, String), String> + Send + Sync>;

/// What comes of a question. In a box, so that what is instantiated for it is instantiated here, and small.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 'a>>;

/// What opens a cluster.
#[derive(Clone, Default)]
pub struct Access {
    /// The user and the password.
    pub login: Option<Login>,
    /// Certificates (PEM) that are trusted; with it TLS is spoken.
    pub ca_file: Option<PathBuf>,
    /// What we prove with who we are.
    pub client: Option<ClientFiles>,
}

/// A client's certificate.
#[derive(Debug, Clone)]
pub struct ClientFiles {
    /// The chain (PEM).
    pub certificate: PathBuf,
    /// Its private key (PEM).
    pub key: PathBuf,
}

/// A cluster, with the prefix that is ours in it.
#[derive(Clone)]
pub struct Cluster {
    /// Where it is.
    pub address: Address,
    /// What opens it.
    pub access: Access,
    /// A key that we may read, whether it is there or not: each connection begins with it.
    pub probe: String,
}

impl Cluster {
    /// A connection to the first member that takes one, in random order.
    ///
    /// # Errors
    /// What the last one said, when none does.
    pub fn connect(&self) -> Answer<'_, Connection> {
        Box::pin(async move {
            let endpoints = &self.address.endpoints;
            let first = fastrand::usize(..endpoints.len());
            let mut last = Fault::Other("there is no member".to_owned());
            for at in 0..endpoints.len() {
                let endpoint = &endpoints[(first + at) % endpoints.len()];
                match Connection::open(self, endpoint).await {
                    Ok((connection, _)) => return Ok(connection),
                    Err(fault) => last = fault,
                }
            }
            Err(last)
        })
    }
}
