//! One connection to one member: the only place that knows the client of etcd. Everything has a time limit, and every
//! error is put into our words.
//!
//! A connection is never repaired: who has one that fails takes a new one, to another member.

use std::error::Error as _;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, Error, GetOptions, Identity, KeyValue,
    KvClient, TlsOptions, Txn, TxnOp, TxnOpResponse, WatchOptions, WatchResponse, WatchStream,
};
use tokio::time::timeout;

use crate::source::mirror::Credentials;

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
/// How much of what a member says is passed on, in characters.
const MESSAGE_LENGTH_MAX: usize = 200;

/// What opens a cluster.
#[derive(Debug, Clone, Default)]
pub struct EtcdAccess {
    /// The user and the password.
    pub credentials: Option<Credentials>,
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

/// Why etcd did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// What was asked for is too long ago.
    Compacted,
    /// In words, without a path, an address or a value.
    Other(String),
}

/// A revision of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) cluster: u64,
    pub(super) revision: i64,
}

/// A key that was written, or deleted where there is no value.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) key: Vec<u8>,
    pub(super) value: Option<Vec<u8>>,
}

/// A value with the revision that it was written at; 0 where there is none.
#[derive(Debug, Default)]
pub(super) struct Value {
    pub(super) bytes: Option<Vec<u8>>,
    pub(super) written_at: i64,
}

/// A part of the keys, in their order.
pub(super) struct Page {
    pub(super) keys: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the next part begins.
    pub(super) next: Option<Vec<u8>>,
}

/// What is to be as it was seen, for something to be written.
pub(super) struct Swap {
    /// Keys with the revision that they were written at; 0 for those that are not there.
    pub(super) unchanged: Vec<(String, i64)>,
    /// No key may begin with this.
    pub(super) absent: Option<String>,
    pub(super) key: String,
    pub(super) value: Vec<u8>,
}

/// A connection.
pub(super) struct Connection {
    kv: KvClient,
    client: Client,
}

/// What a watch says, one after the other.
pub(super) struct Changes {
    stream: WatchStream,
}

/// What a watch said.
pub(super) enum Heard {
    /// All changes of one or several revisions, up to this one.
    Changes { revision: i64, changes: Vec<Change> },
    /// That it is there.
    Nothing,
}

impl Connection {
    /// To one member. That it is there and lets us in is found out, too: it is asked for a key that we may read.
    pub(super) async fn open(
        access: &EtcdAccess,
        endpoint: &str,
        probe: &str,
    ) -> Result<(Self, Position), Fault> {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(CONNECT_MAX)
            .with_keep_alive(KEEP_ALIVE, KEEP_ALIVE)
            .with_keep_alive_while_idle(true)
            .with_require_leader(true);
        if let Some(credentials) = access.credentials.clone() {
            let login = tokio::task::spawn_blocking(move || credentials.login()).await;
            let login = login.map_err(|_| other("reading was interrupted"))?.map_err(other)?;
            options = options.with_user(login.username, login.password);
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
        let position = connection.position(probe).await?;
        Ok((connection, position))
    }

    /// The newest revision, as the members agree on it.
    async fn position(&mut self, probe: &str) -> Result<Position, Fault> {
        let options = GetOptions::new().with_count_only();
        let found = limited(CALL_MAX, self.kv.get(probe, Some(options))).await?;
        let header = found.header().ok_or_else(|| other("what answers there is no etcd"))?;
        Ok(Position { cluster: header.cluster_id(), revision: header.revision() })
    }

    /// A part of the keys from one on, up to the end of those that begin with a text, at one revision.
    pub(super) async fn page(
        &mut self,
        from: &[u8],
        prefix: &str,
        revision: i64,
    ) -> Result<Page, Fault> {
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

    /// The names of the keys that begin with a text, at one revision, with the revision that each was written at.
    pub(super) async fn names(
        &mut self,
        prefix: &str,
        revision: i64,
    ) -> Result<Vec<(Vec<u8>, i64)>, Fault> {
        let options = GetOptions::new().with_prefix().with_revision(revision).with_keys_only();
        let mut found = limited(CALL_MAX, self.kv.get(prefix, Some(options))).await?;
        let name = |key: KeyValue| {
            let written_at = key.mod_revision();
            (key.into_key_value().0, written_at)
        };
        Ok(found.take_kvs().into_iter().map(name).collect())
    }

    /// Some keys at the same moment.
    pub(super) async fn read(&mut self, keys: &[&str]) -> Result<Vec<Value>, Fault> {
        let gets: Vec<TxnOp> = keys.iter().map(|key| TxnOp::get(*key, None)).collect();
        let found = limited(CALL_MAX, self.kv.txn(Txn::new().and_then(gets))).await?;
        let value = |response: TxnOpResponse| match response {
            TxnOpResponse::Get(mut found) => match found.take_kvs().pop() {
                Some(key) => {
                    Value { written_at: key.mod_revision(), bytes: Some(key.into_key_value().1) }
                }
                None => Value::default(),
            },
            _ => Value::default(),
        };
        Ok(found.op_responses().into_iter().map(value).collect())
    }

    /// Writes some keys in one step.
    pub(super) async fn put(&mut self, values: Vec<(String, Bytes)>) -> Result<(), Fault> {
        let puts: Vec<TxnOp> =
            values.into_iter().map(|(key, value)| TxnOp::put(key, value.to_vec(), None)).collect();
        limited(CALL_MAX, self.kv.txn(Txn::new().and_then(puts))).await.map(drop)
    }

    /// Writes a key if everything is as it was seen; whether it was. A fault says nothing about whether it was written.
    pub(super) async fn swap(&mut self, swap: Swap) -> Result<bool, Fault> {
        let mut compares: Vec<Compare> = swap
            .unchanged
            .into_iter()
            .map(|(key, at)| Compare::mod_revision(key, CompareOp::Equal, at))
            .collect();
        // Of no key at all it holds.
        compares.extend(
            swap.absent.map(|text| Compare::version(text, CompareOp::Equal, 0).with_prefix()),
        );
        let puts = [TxnOp::put(swap.key, swap.value, None)];
        let done = self.kv.txn(Txn::new().when(compares).and_then(puts));
        Ok(limited(CALL_MAX, done).await?.succeeded())
    }

    /// Deletes some keys in one step, unless one of them was written since it was seen.
    pub(super) async fn delete(&mut self, keys: Vec<(Vec<u8>, i64)>) -> Result<bool, Fault> {
        let compares: Vec<Compare> = keys
            .iter()
            .map(|(key, at)| Compare::mod_revision(key.clone(), CompareOp::Equal, *at))
            .collect();
        let deletes: Vec<TxnOp> =
            keys.into_iter().map(|(key, _)| TxnOp::delete(key, None)).collect();
        let done = self.kv.txn(Txn::new().when(compares).and_then(deletes));
        Ok(limited(CALL_MAX, done).await?.succeeded())
    }

    /// Another hand on the same connection.
    pub(super) fn share(&self) -> Self {
        Self { kv: self.kv.clone(), client: self.client.clone() }
    }

    /// Everything that happens to keys that begin with a text, from a revision on.
    pub(super) async fn watch(&self, prefix: &str, from: i64) -> Result<Changes, Fault> {
        let mut watch = self.client.watch_client().max_decoding_message_size(ANSWER_BYTES_MAX);
        let options = WatchOptions::new().with_prefix().with_start_revision(from);
        let stream = limited(CALL_MAX, watch.watch(prefix, Some(options))).await?;
        Ok(Changes { stream })
    }
}

impl Changes {
    /// Asks whether the other side is there; it answers with [`Heard::Nothing`].
    pub(super) async fn ask(&mut self) -> Result<(), Fault> {
        limited(CALL_MAX, self.stream.request_progress()).await
    }

    /// What comes next. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Heard, Fault> {
        match self.stream.message().await.map_err(|error| fault(&error))? {
            Some(message) => heard(&message),
            None => Err(other("the member has ended the watch")),
        }
    }
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

async fn tls(access: &EtcdAccess) -> Result<Option<TlsOptions>, Fault> {
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

fn other(message: impl Into<String>) -> Fault {
    Fault::Other(message.into())
}

fn fault(error: &Error) -> Fault {
    let Error::GRpcStatus(said) = error else {
        return transport(error.source(), error);
    };
    match said.message() {
        message if message.starts_with("etcdserver: ") || message.starts_with("rpc error: ") => {
            status(message)
        }
        _ => transport(said.source(), error),
    }
}

/// What etcd itself says.
fn status(message: &str) -> Fault {
    let is = |part: &str| message.contains(part);
    if is("required revision has been compacted") {
        Fault::Compacted
    } else if is("authentication failed") || is("user name is empty") || is("invalid auth token") {
        other("etcd does not accept the user or the password")
    } else if is("permission denied") {
        other("the user of etcd may not do this below the prefix")
    } else if is("database space exceeded") {
        other(
            "etcd is at its space quota: it takes nothing until it is compacted and its alarm disarmed",
        )
    } else {
        other(shown(message))
    }
}

/// What became of the connection: the last cause says it best.
fn transport(source: Option<&(dyn std::error::Error + 'static)>, error: &Error) -> Fault {
    let causes = std::iter::successors(source, |cause| (**cause).source());
    let Some(cause) = causes.last().map(ToString::to_string) else {
        return other(format!(
            "what answers there is no etcd, or it is away: {}",
            shown(&error.to_string())
        ));
    };
    let is = |parts: &[&str]| parts.iter().any(|part| cause.contains(part));
    if is(&["frame with invalid size", "http2 error"]) {
        return other("what answers there is no etcd, or one that speaks TLS");
    }
    // With TLS 1.3 a server that wants another certificate of us says so too late for the client to hear it.
    if is(&["connection closed", "stream closed", "broken pipe", "reset by peer"]) {
        return other("it ended the connection: it wants another certificate, or is no etcd");
    }
    if cause.to_ascii_lowercase().contains("certificate") {
        return other(format!(
            "its certificate is not accepted, or ours is not: {}",
            shown(&cause)
        ));
    }
    other(format!("it cannot be reached: {}", shown(&cause)))
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MESSAGE_LENGTH_MAX).collect()
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Compacted => f.write_str("what was asked for is compacted"),
            Self::Other(message) => f.write_str(message),
        }
    }
}
