//! One connection to one member: the only place that knows the client of etcd. Everything has a time limit, and every
//! error is put into our words.
//!
//! A connection is never repaired: who has one that fails takes a new one, to another member.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, Error, GetOptions, Identity, KeyValue,
    KvClient, PutOptions, TlsOptions, Txn, TxnOp, TxnOpResponse, WatchOptions, WatchResponse,
    WatchStream,
};
use tokio::time::timeout;

use crate::words::{fault, other, status};
use crate::{Access, Answer, Cluster, Fault};

/// How long a connection may take to stand.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// How long a question may take: longer than the members need to choose another leader.
const CALL_MAX: Duration = Duration::from_secs(5);
/// How often a member is asked on an idle connection whether it is there, and how long it may think about it.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// How many keys are read at once.
const PAGE_KEY_COUNT: i64 = 256;
/// The largest answer that is taken, in bytes: so many keys of the largest size that etcd takes.
const ANSWER_BYTES_MAX: usize = 400 * 1024 * 1024;

/// A revision of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The id of the cluster.
    pub cluster: u64,
    /// The revision.
    pub revision: i64,
}

/// A key that was written, or deleted where there is no value.
#[derive(Debug)]
pub struct Change {
    /// Its name.
    pub key: Vec<u8>,
    /// What it holds now.
    pub value: Option<Vec<u8>>,
}

/// A value with the revision that it was written at; 0 where there is none.
#[derive(Debug, Default)]
pub struct Value {
    /// The value.
    pub bytes: Option<Vec<u8>>,
    /// The revision of etcd that wrote it.
    pub written_at: i64,
}

/// A part of the keys, in their order.
pub struct Page {
    /// Names and values.
    pub keys: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the next part begins.
    pub next: Option<Vec<u8>>,
}

/// Keys that are written and deleted in one step, if everything is as it was seen.
#[derive(Debug, Default)]
pub struct Transaction {
    /// Keys with the revision that they were written at; 0 for those that are not there.
    pub unchanged: Vec<(Vec<u8>, i64)>,
    /// No key may begin with one of these.
    pub absent: Vec<String>,
    /// What is written then.
    pub writes: Vec<Write>,
    /// What is deleted then.
    pub deletes: Vec<Vec<u8>>,
}

/// A key that is to be written.
#[derive(Debug, Clone)]
pub struct Write {
    /// Its name.
    pub key: String,
    /// What it is to hold.
    pub value: Bytes,
    /// The lease that it goes with.
    pub lease: Option<Lease>,
}

/// What is gone with all its keys unless somebody keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease(i64);

/// A connection.
#[derive(Clone)]
pub struct Connection {
    kv: KvClient,
    client: Client,
}

/// What a watch says, one after the other.
pub(crate) struct Changes {
    stream: WatchStream,
}

/// What a watch said.
pub(crate) enum Heard {
    /// All changes of one or several revisions, up to this one.
    Changes { revision: i64, changes: Vec<Change> },
    /// That it is there.
    Nothing,
}

impl Connection {
    /// To one member. That it is there and lets us in is found out, too: it is asked for a key that we may read.
    ///
    /// # Errors
    /// Why it does not stand.
    pub fn open<'a>(cluster: &'a Cluster, endpoint: &'a str) -> Answer<'a, (Self, Position)> {
        Box::pin(async move {
            let access = &cluster.access;
            let mut options = ConnectOptions::new()
                .with_connect_timeout(CONNECT_MAX)
                .with_keep_alive(KEEP_ALIVE, KEEP_ALIVE)
                .with_keep_alive_while_idle(true)
                .with_require_leader(true);
            if let Some(login) = access.login.clone() {
                let login = tokio::task::spawn_blocking(move || login()).await;
                let (user, password) =
                    login.map_err(|_| other("reading was interrupted"))?.map_err(other)?;
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
        })
    }

    /// The newest revision, as the members agree on it.
    async fn position(&mut self, probe: &str) -> Result<Position, Fault> {
        let options = GetOptions::new().with_count_only();
        let found = limited(CALL_MAX, self.kv.get(probe, Some(options))).await?;
        let header = found.header().ok_or_else(|| other("what answers there is no etcd"))?;
        Ok(Position { cluster: header.cluster_id(), revision: header.revision() })
    }

    /// A part of the keys from one on, up to the end of those that begin with a text, at one revision.
    pub fn page<'a>(
        &'a mut self,
        from: &'a [u8],
        prefix: &'a str,
        revision: i64,
    ) -> Answer<'a, Page> {
        Box::pin(async move {
            let options = GetOptions::new()
                .with_range(end_of(prefix))
                .with_revision(revision)
                .with_limit(PAGE_KEY_COUNT);
            let mut found = limited(CALL_MAX, self.kv.get(from, Some(options))).await?;
            let more = found.more();
            let keys: Vec<_> = found.take_kvs().into_iter().map(KeyValue::into_key_value).collect();
            let next = keys.last().filter(|_| more).map(|(key, _)| [key, &b"\0"[..]].concat());
            Ok(Page { keys, next })
        })
    }

    /// The names of the keys that begin with a text, at one revision, with the revision that each was written at.
    pub fn names<'a>(
        &'a mut self,
        prefix: &'a str,
        revision: i64,
    ) -> Answer<'a, Vec<(Vec<u8>, i64)>> {
        Box::pin(async move {
            let options = GetOptions::new().with_prefix().with_revision(revision).with_keys_only();
            let mut found = limited(CALL_MAX, self.kv.get(prefix, Some(options))).await?;
            let name = |key: KeyValue| {
                let written_at = key.mod_revision();
                (key.into_key_value().0, written_at)
            };
            Ok(found.take_kvs().into_iter().map(name).collect())
        })
    }

    /// Whether any key begins with a text.
    ///
    /// # Errors
    /// When there was no answer.
    pub async fn has_any(&mut self, prefix: &str) -> Result<bool, Fault> {
        let options = GetOptions::new().with_prefix().with_keys_only().with_limit(1);
        let found = limited(CALL_MAX, self.kv.get(prefix, Some(options))).await?;
        Ok(!found.kvs().is_empty())
    }

    /// Some keys at the same moment.
    pub fn read<'a>(&'a mut self, keys: &'a [&str]) -> Answer<'a, Vec<Value>> {
        Box::pin(async move {
            let gets: Vec<TxnOp> = keys.iter().map(|key| TxnOp::get(*key, None)).collect();
            let found = limited(CALL_MAX, self.kv.txn(Txn::new().and_then(gets))).await?;
            let value = |response: TxnOpResponse| match response {
                TxnOpResponse::Get(mut found) => match found.take_kvs().pop() {
                    Some(key) => Value {
                        written_at: key.mod_revision(),
                        bytes: Some(key.into_key_value().1),
                    },
                    None => Value::default(),
                },
                _ => Value::default(),
            };
            Ok(found.op_responses().into_iter().map(value).collect())
        })
    }

    /// Writes and deletes if everything is as it was seen; whether it was.
    ///
    /// # Errors
    /// When there was no answer, which says nothing about whether it was written; or when etcd refused.
    pub fn commit(&mut self, transaction: Transaction) -> Answer<'_, bool> {
        Box::pin(async move {
            let Transaction { unchanged, absent, writes, deletes } = transaction;
            let mut compares: Vec<Compare> = unchanged
                .into_iter()
                .map(|(key, at)| Compare::mod_revision(key, CompareOp::Equal, at))
                .collect();
            // Of no key at all it holds.
            let nothing = |text| Compare::version(text, CompareOp::Equal, 0).with_prefix();
            compares.extend(absent.into_iter().map(nothing));
            let mut steps: Vec<TxnOp> = writes.into_iter().map(put).collect();
            steps.extend(deletes.into_iter().map(|key| TxnOp::delete(key, None)));
            let done = self.kv.txn(Txn::new().when(compares).and_then(steps));
            Ok(limited(CALL_MAX, done).await?.succeeded())
        })
    }

    /// A lease that lasts for so many seconds from each time that it is kept.
    ///
    /// # Errors
    /// When etcd gives none.
    pub fn grant(&mut self, seconds: i64) -> Answer<'_, Lease> {
        Box::pin(async move {
            let granted =
                limited(CALL_MAX, self.client.lease_client().grant(seconds, None)).await?;
            Ok(Lease(granted.id()))
        })
    }

    /// Keeps a lease for the whole of its time once more; whether it is still there.
    ///
    /// # Errors
    /// When there was no answer.
    pub fn keep(&mut self, lease: Lease) -> Answer<'_, bool> {
        Box::pin(async move {
            let mut leases = self.client.lease_client();
            // It begins with keeping it once.
            let keeping = async {
                match leases.keep_alive(lease.0).await {
                    Ok(_) => Ok(true),
                    Err(Error::LeaseKeepAliveError(_)) => Ok(false),
                    Err(error) => Err(error),
                }
            };
            limited(CALL_MAX, keeping).await
        })
    }

    /// Gives a lease up, with its keys.
    ///
    /// # Errors
    /// When there was no answer.
    pub fn revoke(&mut self, lease: Lease) -> Answer<'_, ()> {
        Box::pin(async move {
            limited(CALL_MAX, self.client.lease_client().revoke(lease.0)).await.map(drop)
        })
    }

    /// Everything that happens to keys that begin with a text, from a revision on.
    pub(crate) async fn watch(&self, prefix: &str, from: i64) -> Result<Changes, Fault> {
        let mut watch = self.client.watch_client().max_decoding_message_size(ANSWER_BYTES_MAX);
        let options = WatchOptions::new().with_prefix().with_start_revision(from);
        let stream = limited(CALL_MAX, watch.watch(prefix, Some(options))).await?;
        Ok(Changes { stream })
    }
}

impl Changes {
    /// Asks whether the other side is there; it answers with [`Heard::Nothing`].
    pub(crate) async fn ask(&mut self) -> Result<(), Fault> {
        limited(CALL_MAX, self.stream.request_progress()).await
    }

    /// What comes next. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Heard, Fault> {
        match self.stream.message().await.map_err(|error| fault(&error))? {
            Some(message) => heard(&message),
            None => Err(other("the member has ended the watch")),
        }
    }
}

fn put(write: Write) -> TxnOp {
    let options = write.lease.map(|lease| PutOptions::new().with_lease(lease.0));
    TxnOp::put(write.key, write.value.to_vec(), options)
}

fn heard(message: &WatchResponse) -> Result<Heard, Fault> {
    if message.compact_revision() > 0 {
        return Err(Fault::Compacted);
    }
    if message.canceled() {
        return Err(status(message.cancel_reason()));
    }
    let keys = message.events().iter().filter_map(|event| event.kv());
    // What is deleted has no version any more. The type itself is not looked at: the client does not stand one it does not know.
    let changes = keys.clone().map(|key| Change {
        key: key.key().to_vec(),
        value: (key.version() > 0).then(|| key.value().to_vec()),
    });
    match keys.clone().map(KeyValue::mod_revision).max() {
        Some(revision) => Ok(Heard::Changes { revision, changes: changes.collect() }),
        // Where it says that it is must not be believed: some versions say so before they have sent all that came before.
        None => Ok(Heard::Nothing),
    }
}

/// The first key that does not begin with a text any more.
fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    // A prefix of keys ends in a slash.
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

async fn tls(access: &Access) -> Result<Option<TlsOptions>, Fault> {
    let Some(ca_file) = &access.ca_file else { return Ok(None) };
    let mut tls = TlsOptions::new().ca_certificate(Certificate::from_pem(read(ca_file).await?));
    if let Some(client) = &access.client {
        let (certificate, key) = (read(&client.certificate).await?, read(&client.key).await?);
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    Ok(Some(tls))
}

async fn read(path: &PathBuf) -> Result<Vec<u8>, Fault> {
    let refused = |error: std::io::Error| {
        other(format!("a certificate or its key cannot be read: {}", error.kind()))
    };
    tokio::fs::read(path).await.map_err(refused)
}

async fn limited<T>(
    time_max: Duration,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, Fault> {
    match timeout(time_max, call).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(fault(&error)),
        Err(_) => Err(other(format!("no answer within {} s", time_max.as_secs()))),
    }
}
