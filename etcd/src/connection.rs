//! One connection to one member. Every call has a time limit and returns an [`EtcdError`].
//!
//! A connection is never repaired. When a call fails, the caller opens a new connection to another member.

use std::future::Future;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::Bytes;
use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, Error, GetOptions, Identity, KeyValue,
    KvClient, PutOptions, TlsOptions, Txn, TxnOp, TxnOpResponse, WatchOptions, WatchResponse,
    WatchStream,
};
use tokio::time::timeout;

use crate::error::{from_status, other};
use crate::{Access, Cluster, EtcdError};

/// The largest certificate or key file, in bytes.
const PEM_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The time limit for establishing a connection.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// The time limit for one request. It is longer than an election of a new leader takes.
const CALL_MAX: Duration = Duration::from_secs(5);
/// The interval of HTTP/2 pings on an idle connection, and the time limit for their answers.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// The number of keys in one page.
const PAGE_KEY_COUNT: i64 = 256;
/// The largest response that is accepted, in bytes: a page of keys of the largest size that etcd stores.
const ANSWER_BYTES_MAX: usize = 400 * 1024 * 1024;

/// A revision of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The cluster's id.
    pub cluster: u64,
    /// The revision, which grows with every write to the cluster.
    pub revision: i64,
}

/// One write to a key, or its deletion.
#[derive(Debug)]
pub struct Change {
    /// The key's name.
    pub key: Vec<u8>,
    /// The new value. `None` after a deletion.
    pub value: Option<Vec<u8>>,
}

/// The state of a key at one moment.
#[derive(Debug, Default)]
pub struct Value {
    /// The value. `None` when the key does not exist.
    pub bytes: Option<Vec<u8>>,
    /// The revision of the last write to the key. 0 when the key does not exist.
    pub mod_revision: i64,
}

/// Consecutive keys in their order.
pub struct Page {
    /// Names and values.
    pub keys: Vec<(Vec<u8>, Vec<u8>)>,
    /// The first key of the next page. `None` on the last page.
    pub next: Option<Vec<u8>>,
}

/// Writes and deletions that etcd executes in one step, on condition that some keys are unchanged.
#[derive(Debug, Default)]
pub struct Transaction {
    /// Condition: these keys still have this `mod_revision`, or do not exist where it is 0.
    pub unchanged: Vec<(Vec<u8>, i64)>,
    /// Condition: no key begins with one of these prefixes.
    pub absent: Vec<String>,
    /// The writes to execute when the conditions hold.
    pub writes: Vec<Write>,
    /// The keys to delete when the conditions hold.
    pub deletes: Vec<Vec<u8>>,
}

/// A write to one key.
#[derive(Debug, Clone)]
pub struct Write {
    /// The key's name.
    pub key: String,
    /// The new value.
    pub value: Bytes,
    /// The lease with which the key expires. `None` for a key that stays.
    pub lease: Option<Lease>,
}

/// A lease: it expires with all its keys unless it is renewed in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease(i64);

/// Called after every call to etcd with its duration, and with true if etcd answered without an error.
pub type CallObserver = fn(Duration, bool);

static OBSERVER: OnceLock<CallObserver> = OnceLock::new();

/// Sets the observer of all calls of this process. A second one is ignored.
pub fn observe_calls(observer: CallObserver) {
    // An observer that is set already is the same one.
    let _ = OBSERVER.set(observer);
}

/// A connection to one member. Clones share it.
#[derive(Clone)]
pub struct Connection {
    kv: KvClient,
    client: Client,
}

/// The messages of one watch, in order.
pub(crate) struct Changes {
    stream: WatchStream,
}

/// One message of a watch.
pub(crate) enum WatchMessage {
    /// All changes of one or several revisions, up to and including `revision`.
    Changes { revision: i64, changes: Vec<Change> },
    /// A sign of life without changes.
    Progress,
}

impl Connection {
    /// Connects to one member and reads the cluster's probe key, which proves that the member answers and accepts the
    /// credentials.
    ///
    /// # Errors
    /// Fails when the member is unreachable, does not answer in time, or rejects the credentials.
    pub async fn open(cluster: &Cluster, endpoint: &str) -> Result<(Self, Position), EtcdError> {
        let access = &cluster.access;
        let mut options = ConnectOptions::new()
            .with_connect_timeout(CONNECT_MAX)
            .with_keep_alive(KEEP_ALIVE, KEEP_ALIVE)
            .with_keep_alive_while_idle(true)
            .with_require_leader(true);
        if let Some(login) = access.login.clone() {
            let login = tokio::task::spawn_blocking(move || login()).await;
            let (user, password) = login
                .map_err(|_| other("the credentials could not be read: the task was interrupted"))?
                .map_err(other)?;
            options = options.with_user(user, password);
        }
        let mut scheme = "http";
        if let Some(tls) = tls(access).await? {
            options = options.with_tls(tls);
            scheme = "https";
        }
        let url = format!("{scheme}://{endpoint}");
        let client = limited(CONNECT_MAX, Client::connect([url], Some(options))).await?;
        let kv = client.kv_client().max_decoding_message_size(ANSWER_BYTES_MAX);
        let mut connection = Self { kv, client };
        let position = connection.position(&cluster.probe).await?;
        Ok((connection, position))
    }

    /// Returns the newest revision on which the members agree.
    pub(crate) async fn position(&mut self, probe: &str) -> Result<Position, EtcdError> {
        let options = GetOptions::new().with_count_only();
        let found = limited(CALL_MAX, self.kv.get(probe, Some(options))).await?;
        let header = found.header().ok_or_else(|| other("the member is not etcd"))?;
        Ok(Position { cluster: header.cluster_id(), revision: header.revision() })
    }

    /// Reads a page of the keys below `prefix`, beginning at the key `from`, as of `revision` (0 is the newest).
    ///
    /// # Errors
    /// Fails when etcd did not answer, or has compacted the revision.
    pub async fn page(
        &mut self,
        from: &[u8],
        prefix: &str,
        revision: i64,
    ) -> Result<Page, EtcdError> {
        let options = GetOptions::new()
            .with_range(end_of(prefix))
            .with_revision(revision)
            .with_limit(PAGE_KEY_COUNT);
        let mut found = limited(CALL_MAX, self.kv.get(from, Some(options))).await?;
        let more = found.more();
        let keys: Vec<_> = found.take_kvs().into_iter().map(KeyValue::into_key_value).collect();
        let next = keys.last().filter(|_| more).map(|(key, _)| [key, &b"\0"[..]].concat());
        Ok(Page { keys, next })
    }

    /// Lists the keys below `prefix` as of `revision` (0 is the newest), each with its `mod_revision`.
    ///
    /// # Errors
    /// Fails when etcd did not answer, or has compacted the revision.
    pub async fn names(
        &mut self,
        prefix: &str,
        revision: i64,
    ) -> Result<Vec<(Vec<u8>, i64)>, EtcdError> {
        let options = GetOptions::new().with_prefix().with_revision(revision).with_keys_only();
        let mut found = limited(CALL_MAX, self.kv.get(prefix, Some(options))).await?;
        let name = |key: KeyValue| {
            let mod_revision = key.mod_revision();
            (key.into_key_value().0, mod_revision)
        };
        Ok(found.take_kvs().into_iter().map(name).collect())
    }

    /// Returns whether any key begins with `prefix`.
    ///
    /// # Errors
    /// Fails when etcd did not answer.
    pub async fn has_any(&mut self, prefix: &str) -> Result<bool, EtcdError> {
        let options = GetOptions::new().with_prefix().with_keys_only().with_limit(1);
        let found = limited(CALL_MAX, self.kv.get(prefix, Some(options))).await?;
        Ok(!found.kvs().is_empty())
    }

    /// Reads several keys as of the same moment.
    ///
    /// # Errors
    /// Fails when etcd did not answer.
    pub async fn read(&mut self, keys: &[&str]) -> Result<Vec<Value>, EtcdError> {
        let gets: Vec<TxnOp> = keys.iter().map(|key| TxnOp::get(*key, None)).collect();
        let found = limited(CALL_MAX, self.kv.txn(Txn::new().and_then(gets))).await?;
        let value = |response: TxnOpResponse| match response {
            TxnOpResponse::Get(mut found) => match found.take_kvs().pop() {
                Some(key) => {
                    Value { mod_revision: key.mod_revision(), bytes: Some(key.into_key_value().1) }
                }
                None => Value::default(),
            },
            _ => Value::default(),
        };
        Ok(found.op_responses().into_iter().map(value).collect())
    }

    /// Executes a transaction. Returns `false` when one of its conditions did not hold, and then nothing was written.
    ///
    /// # Errors
    /// [`EtcdError::Rejected`] when etcd did not execute it. After any other error the outcome is unknown.
    pub async fn commit(&mut self, transaction: Transaction) -> Result<bool, EtcdError> {
        let Transaction { unchanged, absent, writes, deletes } = transaction;
        let mut compares: Vec<Compare> = unchanged
            .into_iter()
            .map(|(key, at)| Compare::mod_revision(key, CompareOp::Equal, at))
            .collect();
        // etcd evaluates a comparison over a range to true when the range has no key.
        let no_key = |prefix| Compare::version(prefix, CompareOp::Equal, 0).with_prefix();
        compares.extend(absent.into_iter().map(no_key));
        let mut steps: Vec<TxnOp> = writes.into_iter().map(put).collect();
        steps.extend(deletes.into_iter().map(|key| TxnOp::delete(key, None)));
        let done = self.kv.txn(Txn::new().when(compares).and_then(steps));
        Ok(limited(CALL_MAX, done).await?.succeeded())
    }

    /// Creates a lease that expires `seconds` after its creation or its last renewal.
    ///
    /// # Errors
    /// Fails when etcd did not answer or rejected the request.
    pub async fn grant(&mut self, seconds: i64) -> Result<Lease, EtcdError> {
        let granted = limited(CALL_MAX, self.client.lease_client().grant(seconds, None)).await?;
        Ok(Lease(granted.id()))
    }

    /// Renews a lease for its full time. Returns `false` when it has expired.
    ///
    /// # Errors
    /// Fails when etcd did not answer.
    pub async fn renew(&mut self, lease: Lease) -> Result<bool, EtcdError> {
        let mut leases = self.client.lease_client();
        // The client renews the lease once before it returns the stream.
        let renewal = async {
            match leases.keep_alive(lease.0).await {
                Ok(_) => Ok(true),
                Err(Error::LeaseKeepAliveError(_)) => Ok(false),
                Err(error) => Err(error),
            }
        };
        limited(CALL_MAX, renewal).await
    }

    /// Ends a lease and deletes its keys.
    ///
    /// # Errors
    /// Fails when etcd did not answer. The lease then expires by itself.
    pub async fn revoke(&mut self, lease: Lease) -> Result<(), EtcdError> {
        limited(CALL_MAX, self.client.lease_client().revoke(lease.0)).await.map(drop)
    }

    /// Watches the keys below `prefix`, beginning with the changes of revision `from`.
    pub(crate) async fn watch(&self, prefix: &str, from: i64) -> Result<Changes, EtcdError> {
        let mut watch = self.client.watch_client().max_decoding_message_size(ANSWER_BYTES_MAX);
        let options = WatchOptions::new().with_prefix().with_start_revision(from);
        let stream = limited(CALL_MAX, watch.watch(prefix, Some(options))).await?;
        Ok(Changes { stream })
    }
}

impl Changes {
    /// Requests a sign of life. The member answers with [`WatchMessage::Progress`].
    pub(crate) async fn request_progress(&mut self) -> Result<(), EtcdError> {
        limited(CALL_MAX, self.stream.request_progress()).await
    }

    /// Returns the next message.
    ///
    /// Cancellation: dropping the future loses no message.
    pub(crate) async fn next(&mut self) -> Result<WatchMessage, EtcdError> {
        match self.stream.message().await.map_err(|error| EtcdError::from(&error))? {
            Some(message) => parse(&message),
            None => Err(other("the member ended the watch")),
        }
    }
}

fn put(write: Write) -> TxnOp {
    let options = write.lease.map(|lease| PutOptions::new().with_lease(lease.0));
    TxnOp::put(write.key, write.value.to_vec(), options)
}

fn parse(message: &WatchResponse) -> Result<WatchMessage, EtcdError> {
    if message.compact_revision() > 0 {
        return Err(EtcdError::Compacted);
    }
    if message.canceled() {
        return Err(from_status(message.cancel_reason()));
    }
    let keys = message.events().iter().filter_map(|event| event.kv());
    // A deleted key has version 0. The type of the event is not read, because the client panics on an unknown one.
    let changes = keys.clone().map(|key| Change {
        key: key.key().to_vec(),
        value: (key.version() > 0).then(|| key.value().to_vec()),
    });
    match keys.clone().map(KeyValue::mod_revision).max() {
        Some(revision) => Ok(WatchMessage::Changes { revision, changes: changes.collect() }),
        // Its revision is ignored: some versions of etcd report progress before they have sent all earlier changes.
        None => Ok(WatchMessage::Progress),
    }
}

/// Returns the first key after all keys that begin with `prefix`.
fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    // A prefix ends in a slash, so its last byte can be incremented.
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

async fn tls(access: &Access) -> Result<Option<TlsOptions>, EtcdError> {
    let Some(ca_file) = &access.ca_file else { return Ok(None) };
    let mut tls = TlsOptions::new().ca_certificate(Certificate::from_pem(read(ca_file).await?));
    if let Some(client) = &access.client {
        let (certificate, key) = (read(&client.certificate).await?, read(&client.key).await?);
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    Ok(Some(tls))
}

/// Reads a certificate or key file. Each connection reads it again, so a named pipe in its place must not block.
async fn read(path: &PathBuf) -> Result<Vec<u8>, EtcdError> {
    let unreadable = |error: std::io::Error| {
        other(format!("the certificate or key file for etcd cannot be read: {}", error.kind()))
    };
    let found = tokio::fs::metadata(path).await.map_err(unreadable)?;
    if !found.is_file() || found.len() > PEM_BYTES_MAX {
        return Err(other(format!(
            "the certificate or key file for etcd is not a regular file of at most {PEM_BYTES_MAX} bytes"
        )));
    }
    tokio::fs::read(path).await.map_err(unreadable)
}

async fn limited<T>(
    time_max: Duration,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, EtcdError> {
    let begun = Instant::now();
    let done = match timeout(time_max, call).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(EtcdError::from(&error)),
        Err(_) => Err(other(format!("no answer within {} s", time_max.as_secs()))),
    };
    if let Some(observer) = OBSERVER.get() {
        observer(begun.elapsed(), done.is_ok());
    }
    done
}
