//! Packs on their way into etcd and out of it. Each pack holds all bases of its deltas, in pieces of a size that etcd
//! accepts.
//!
//! A small pack is written in the transaction of the references that need it. A larger pack is written before, under a
//! lease that protects its pieces from collection.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, SHA256};
use bytes::{Bytes, BytesMut};
use headwater_etcd::{Lease, Transaction, Write};
use tokio::runtime::Handle;

use super::error::ReplicationError;
use super::manifest::{PIECE_COUNT_MAX, Pack, new_id};
use super::programs::{Program, RunningProgram};
use super::replica::Replication;
use crate::push::locks::PushTurn;
use crate::push::repository::HostedRepository;

/// The maximum size of the piece in one key, in bytes.
const PIECE_BYTES: usize = 1024 * 1024;
/// The largest pack that is written in the transaction of the references, in bytes. Both go into one request.
const SMALL_BYTES_MAX: usize = 384 * 1024;
/// The time for which the pieces of an abandoned upload are protected, in seconds.
const LEASE_SECONDS: i64 = 60;
/// The interval at which the lease is renewed while pieces are written.
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// The number of keys deleted in one transaction.
const BATCH_COUNT_MAX: u32 = 100;
/// The number of objects from which a pack is stored as it is. Git applies the same rule to pushes.
const UNPACKED_COUNT_MAX: u32 = 100;

/// The objects that a push adds.
pub(super) enum PreparedPack {
    /// No objects that are not there already.
    Nothing,
    /// A pack small enough to be written together with the references.
    Small(Pack, Bytes),
    /// A pack in etcd that no manifest names yet.
    Uploaded(Upload),
}

impl PreparedPack {
    /// Returns the pack that the next manifest has to name.
    pub(super) fn pack(&self) -> Option<&Pack> {
        match self {
            Self::Nothing => None,
            Self::Small(pack, _) => Some(pack),
            Self::Uploaded(upload) => Some(&upload.pack),
        }
    }
}

/// Packs the wanted objects except the objects that the known ids lead to. Uploads a large pack.
pub(super) async fn prepare(
    repository: &HostedRepository,
    replication: &Arc<Replication>,
    wanted: &[&str],
    known: impl Iterator<Item = &String>,
    quarantine: Option<&Path>,
) -> Result<PreparedPack, ReplicationError> {
    let wanted = wanted.iter().map(|id| format!("{id}\n"));
    let input: String = wanted.chain(known.map(|id| format!("^{id}\n"))).collect();
    let mut git = Program::pack_objects(&repository.git, &repository.path, quarantine)
        .start(&repository.git)?;
    git.feed(input.as_bytes()).await?;
    let mut bytes = BytesMut::new();
    loop {
        let more = git.read().await?;
        if more.is_empty() {
            break;
        }
        bytes.extend_from_slice(&more);
        if bytes.len() > SMALL_BYTES_MAX {
            return upload(repository, replication, git, bytes).await.map(PreparedPack::Uploaded);
        }
    }
    git.end().await?;
    match object_count(&bytes) {
        Some(0) => Ok(PreparedPack::Nothing),
        Some(_) => {
            let mut digest = PackDigest::new();
            digest.add(&bytes);
            Ok(PreparedPack::Small(digest.pack(new_id(), 1), bytes.freeze()))
        }
        None => Err(ReplicationError::Git("pack-objects")),
    }
}

/// Uploads a pack while git makes it.
async fn upload(
    repository: &HostedRepository,
    replication: &Arc<Replication>,
    mut git: RunningProgram,
    mut bytes: BytesMut,
) -> Result<Upload, ReplicationError> {
    let mut upload = Upload::begin(replication, &repository.runtime).await?;
    let mut digest = PackDigest::new();
    loop {
        while bytes.len() < PIECE_BYTES {
            let more = git.read().await?;
            if more.is_empty() {
                break;
            }
            bytes.extend_from_slice(&more);
        }
        if bytes.is_empty() {
            break;
        }
        let piece = bytes.split_to(bytes.len().min(PIECE_BYTES)).freeze();
        digest.add(&piece);
        upload.write(piece).await?;
    }
    git.end().await?;
    upload.pack = digest.pack(std::mem::take(&mut upload.pack.id), upload.pack.pieces);
    Ok(upload)
}

/// A pack on its own in etcd. Dropping this deletes the pieces, unless the pack became or may have become part of the
/// manifest.
pub(super) struct Upload {
    replication: Arc<Replication>,
    runtime: Handle,
    pub(super) pack: Pack,
    /// The etcd revision of the key that protects the pieces.
    pub(super) written_at: i64,
    lease: Lease,
    renewed: Instant,
    end: UploadEnd,
}

/// The outcome of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UploadEnd {
    /// No manifest will name the pack.
    Discarded,
    /// The pack became part of the manifest.
    Committed,
    /// The pack may have become part of the manifest. The collection will find out.
    Unknown,
}

impl Upload {
    async fn begin(
        replication: &Arc<Replication>,
        runtime: &Handle,
    ) -> Result<Self, ReplicationError> {
        let id = new_id();
        let mut connection = replication.connection().await?;
        let lease = connection.grant(LEASE_SECONDS).await?;
        let key = replication.keys.upload(&id);
        let write = || Transaction {
            writes: vec![Write { key: key.clone(), value: Bytes::new(), lease: Some(lease) }],
            ..Transaction::default()
        };
        replication.write(write).await?;
        let written_at = replication.read(&key).await?.mod_revision;
        let pack = Pack { id, sha256: String::new(), bytes: 0, pieces: 0 };
        let (replication, runtime) = (Arc::clone(replication), runtime.clone());
        let renewed = Instant::now();
        Ok(Self {
            replication,
            runtime,
            pack,
            written_at,
            lease,
            renewed,
            end: UploadEnd::Discarded,
        })
    }

    async fn write(&mut self, piece: Bytes) -> Result<(), ReplicationError> {
        if self.pack.pieces == PIECE_COUNT_MAX {
            return Err(ReplicationError::Unfit(format!(
                "the pack exceeds {PIECE_COUNT_MAX} MiB, the limit of a shared repository"
            )));
        }
        let upload = self.replication.keys.upload(&self.pack.id).into_bytes();
        let key = self.replication.keys.piece(&self.pack.id, self.pack.pieces);
        // Invariant: no piece is written once the pack may be collected.
        let write = || Transaction {
            unchanged: vec![(upload.clone(), self.written_at)],
            writes: vec![Write { key: key.clone(), value: piece.clone(), lease: None }],
            ..Transaction::default()
        };
        let is_written = self.replication.write(write).await?;
        self.pack.pieces += 1;
        if !is_written || (self.renewed.elapsed() > RENEW_EVERY && !self.renew().await?) {
            return Err(ReplicationError::Replaced);
        }
        Ok(())
    }

    /// Renews the lease. Returns true if the lease still exists.
    pub(super) async fn renew(&mut self) -> Result<bool, ReplicationError> {
        let is_renewed = self.replication.connection().await?.renew(self.lease).await?;
        self.renewed = Instant::now();
        Ok(is_renewed)
    }

    /// Records that the pack became part of the manifest.
    pub(super) fn mark_committed(&mut self) {
        self.end = UploadEnd::Committed;
    }

    /// Records that the pack may have become part of the manifest.
    pub(super) fn mark_unknown(&mut self) {
        self.end = UploadEnd::Unknown;
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.end == UploadEnd::Unknown {
            return;
        }
        let (replication, lease) = (Arc::clone(&self.replication), self.lease);
        let discarded = (self.end == UploadEnd::Discarded).then(|| self.pack.clone());
        self.runtime.spawn(async move {
            if let Some(pack) = discarded {
                replication.discard(&pack).await;
            }
            // Without this revocation the lease expires by itself.
            if let Ok(mut connection) = replication.connection().await {
                let _ = connection.revoke(lease).await;
            }
        });
    }
}

impl Replication {
    /// Deletes the pieces of a discarded upload. The collection deletes the rest later.
    async fn discard(&self, pack: &Pack) {
        let numbers: Vec<u32> = (0..pack.pieces).collect();
        for batch in numbers.chunks(BATCH_COUNT_MAX as usize) {
            let delete = || Transaction {
                deletes: batch.iter().map(|at| self.keys.piece(&pack.id, *at).into()).collect(),
                ..Transaction::default()
            };
            if self.write(delete).await.is_err() {
                return;
            }
        }
    }
}

/// Takes a pack out of etcd into the repository.
///
/// # Errors
/// [`ReplicationError::Replaced`] when the pack is no longer in etcd.
pub(super) async fn fetch(
    _turn: &PushTurn,
    repository: &HostedRepository,
    replication: &Replication,
    pack: &Pack,
) -> Result<(), ReplicationError> {
    let mut digest = PackDigest::new();
    let mut next = replication.piece(pack, 0).await?;
    let program = match object_count(&next) {
        Some(count) if count < UNPACKED_COUNT_MAX => {
            Program::unpack_objects(&repository.git, &repository.path)
        }
        Some(_) => Program::index_pack(&repository.git, &repository.path),
        None => return Err(damaged()),
    };
    let mut git = program.start(&repository.git)?;
    for number in 1..pack.pieces {
        digest.add(&next);
        git.feed_part(&next).await?;
        next = replication.piece(pack, number).await?;
    }
    digest.add(&next);
    // Git stores nothing of a pack until it has the last piece.
    if digest.pack(pack.id.clone(), pack.pieces) != *pack {
        return Err(damaged());
    }
    git.feed(&next).await?;
    git.end().await
}

fn damaged() -> ReplicationError {
    ReplicationError::Unfit(
        "a pack in etcd is damaged, because its digest differs from the manifest".to_owned(),
    )
}

impl Replication {
    async fn piece(&self, pack: &Pack, number: u32) -> Result<Vec<u8>, ReplicationError> {
        let found = self.read(&self.keys.piece(&pack.id, number)).await?;
        found.bytes.ok_or(ReplicationError::Replaced)
    }
}

/// Returns the number of objects in a pack, from its first bytes.
fn object_count(pack: &[u8]) -> Option<u32> {
    let header = pack.get(..12)?;
    let count = header[8..].try_into().map(u32::from_be_bytes);
    count.ok().filter(|_| header.starts_with(b"PACK"))
}

/// The size and the digest of a pack.
struct PackDigest {
    context: Context,
    bytes: u64,
}

impl PackDigest {
    fn new() -> Self {
        Self { context: Context::new(&SHA256), bytes: 0 }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    fn pack(self, id: String, pieces: u32) -> Pack {
        let digest = self.context.finish();
        let sha256 = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Pack { id, sha256, bytes: self.bytes, pieces }
    }
}
