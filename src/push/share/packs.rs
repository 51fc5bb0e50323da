//! Packs on their way into etcd and out of it. Each holds all that its deltas need, in pieces of a size that etcd takes.
//!
//! A small one is written in the same step as the references that need it. A larger one is written before, under a lease
//! that says for how long its pieces are nobody's garbage.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, SHA256};
use bytes::{Bytes, BytesMut};
use headwater_etcd::{Lease, Transaction, Write};
use tokio::runtime::Handle;

use super::programs::{Program, Started};
use super::state::{PIECE_COUNT_MAX, Pack, new_id};
use super::{Share, ShareError};
use crate::push::host::Host;

/// How much goes into one key, in bytes.
const PIECE_BYTES: usize = 1024 * 1024;
/// The largest pack that is written in the same step as the references, in bytes: both go into one request.
const SMALL_BYTES_MAX: usize = 384 * 1024;
/// How long the pieces of an upload stay when nobody goes on with it, in seconds.
const LEASE_SECONDS: i64 = 60;
/// How often the lease is kept while pieces are written.
const KEEP_EVERY: Duration = Duration::from_secs(10);
/// How many keys are deleted in one step.
const BATCH_COUNT_MAX: u32 = 100;
/// With how many objects a pack is taken in as it is: git's own rule for what is pushed.
const UNPACKED_COUNT_MAX: u32 = 100;

/// What a push brings.
pub(super) enum Packed {
    /// Nothing that is not there.
    Nothing,
    /// So little that it is written together with the references.
    Small(Pack, Bytes),
    /// It is in etcd, and not part of anything yet.
    Uploaded(Upload),
}

impl Packed {
    /// What the state has to name.
    pub(super) fn pack(&self) -> Option<&Pack> {
        match self {
            Self::Nothing => None,
            Self::Small(pack, _) => Some(pack),
            Self::Uploaded(upload) => Some(&upload.pack),
        }
    }
}

/// Packs what is wanted, without what the known lead to, and uploads it if it is large.
pub(super) async fn make(
    host: &Arc<Host>,
    share: &Arc<Share>,
    wanted: &[&str],
    known: impl Iterator<Item = &String>,
    quarantine: Option<&Path>,
) -> Result<Packed, ShareError> {
    let wanted = wanted.iter().map(|id| format!("{id}\n"));
    let input: String = wanted.chain(known.map(|id| format!("^{id}\n"))).collect();
    let mut git = Program::pack_objects(&host.git, &host.path, quarantine).start(&host.git)?;
    git.feed(input.as_bytes()).await?;
    let mut bytes = BytesMut::new();
    loop {
        let more = git.read().await?;
        if more.is_empty() {
            break;
        }
        bytes.extend_from_slice(&more);
        if bytes.len() > SMALL_BYTES_MAX {
            return upload(host, share, git, bytes).await.map(Packed::Uploaded);
        }
    }
    git.end().await?;
    match object_count(&bytes) {
        Some(0) => Ok(Packed::Nothing),
        Some(_) => {
            let mut hash = Hash::new();
            hash.add(&bytes);
            Ok(Packed::Small(hash.pack(new_id(), 1), bytes.freeze()))
        }
        None => Err(ShareError::Git("pack-objects")),
    }
}

/// Writes a pack as it comes.
async fn upload(
    host: &Host,
    share: &Arc<Share>,
    mut git: Started,
    mut bytes: BytesMut,
) -> Result<Upload, ShareError> {
    let mut upload = Upload::begin(share, &host.runtime).await?;
    let mut hash = Hash::new();
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
        hash.add(&piece);
        upload.write(piece).await?;
    }
    git.end().await?;
    upload.pack = hash.pack(std::mem::take(&mut upload.pack.id), upload.pack.pieces);
    Ok(upload)
}

/// A pack that lies in etcd on its own. Unless it becomes part of the state it is taken away when this is dropped.
pub(super) struct Upload {
    share: Arc<Share>,
    runtime: Handle,
    pack: Pack,
    /// When the key was written that keeps its pieces.
    pub(super) written_at: i64,
    lease: Lease,
    kept: Instant,
    end: End,
}

/// What becomes of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It leads nowhere.
    Discarded,
    /// It became part of the state.
    Taken,
    /// It may have become part of the state: whoever collects will know.
    Unknown,
}

impl Upload {
    async fn begin(share: &Arc<Share>, runtime: &Handle) -> Result<Self, ShareError> {
        let id = new_id();
        let mut connection = share.connection().await?;
        let lease = connection.grant(LEASE_SECONDS).await?;
        let key = share.keys.upload(&id);
        let write = || Transaction {
            writes: vec![Write { key: key.clone(), value: Bytes::new(), lease: Some(lease) }],
            ..Transaction::default()
        };
        share.write(write).await?;
        let written_at = share.read(&key).await?.written_at;
        let pack = Pack { id, sha256: String::new(), bytes: 0, pieces: 0 };
        let (share, runtime) = (Arc::clone(share), runtime.clone());
        let kept = Instant::now();
        Ok(Self { share, runtime, pack, written_at, lease, kept, end: End::Discarded })
    }

    async fn write(&mut self, piece: Bytes) -> Result<(), ShareError> {
        if self.pack.pieces == PIECE_COUNT_MAX {
            return Err(ShareError::Unfit("the pack is too large to be shared".to_owned()));
        }
        let upload = self.share.keys.upload(&self.pack.id).into_bytes();
        let key = self.share.keys.piece(&self.pack.id, self.pack.pieces);
        // Nothing is written any more once it may be collected.
        let write = || Transaction {
            unchanged: vec![(upload.clone(), self.written_at)],
            writes: vec![Write { key: key.clone(), value: piece.clone(), lease: None }],
            ..Transaction::default()
        };
        let is_written = self.share.write(write).await?;
        self.pack.pieces += 1;
        if !is_written || (self.kept.elapsed() > KEEP_EVERY && !self.keep().await?) {
            return Err(ShareError::Replaced);
        }
        Ok(())
    }

    /// Sees to it that it stays for a while; whether it is still there.
    pub(super) async fn keep(&mut self) -> Result<bool, ShareError> {
        let is_kept = self.share.connection().await?.keep(self.lease).await?;
        self.kept = Instant::now();
        Ok(is_kept)
    }

    /// It became part of the state.
    pub(super) fn is_taken(&mut self) {
        self.end = End::Taken;
    }

    /// Nobody knows whether it became part of the state.
    pub(super) fn is_unknown(&mut self) {
        self.end = End::Unknown;
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.end == End::Unknown {
            return;
        }
        let (share, lease) = (Arc::clone(&self.share), self.lease);
        let discarded = (self.end == End::Discarded).then(|| self.pack.clone());
        self.runtime.spawn(async move {
            if let Some(pack) = discarded {
                share.discard(&pack).await;
            }
            // Without this it ends by itself.
            if let Ok(mut connection) = share.connection().await {
                let _ = connection.revoke(lease).await;
            }
        });
    }
}

impl Share {
    /// Takes away the pieces of an upload that came to nothing. What stays is collected later.
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

/// Takes a pack out of etcd into the repository. Whoever calls holds the turn.
///
/// # Errors
/// [`ShareError::Replaced`] when it is not there any more.
pub(super) async fn take(host: &Host, share: &Share, pack: &Pack) -> Result<(), ShareError> {
    let mut hash = Hash::new();
    let mut next = share.piece(pack, 0).await?;
    let program = match object_count(&next) {
        Some(count) if count < UNPACKED_COUNT_MAX => Program::unpack_objects(&host.git, &host.path),
        Some(_) => Program::index_pack(&host.git, &host.path),
        None => return Err(unfit()),
    };
    let mut git = program.start(&host.git)?;
    for number in 1..pack.pieces {
        hash.add(&next);
        git.feed_part(&next).await?;
        next = share.piece(pack, number).await?;
    }
    hash.add(&next);
    // Without its last piece git takes in nothing of it.
    if hash.pack(pack.id.clone(), pack.pieces) != *pack {
        return Err(unfit());
    }
    git.feed(&next).await?;
    git.end().await
}

fn unfit() -> ShareError {
    ShareError::Unfit("a pack in etcd is not what it was".to_owned())
}

impl Share {
    async fn piece(&self, pack: &Pack, number: u32) -> Result<Vec<u8>, ShareError> {
        let found = self.read(&self.keys.piece(&pack.id, number)).await?;
        found.bytes.ok_or(ShareError::Replaced)
    }
}

/// How many objects a pack has, by its first bytes.
fn object_count(pack: &[u8]) -> Option<u32> {
    let header = pack.get(..12)?;
    let count = header[8..].try_into().map(u32::from_be_bytes);
    count.ok().filter(|_| header.starts_with(b"PACK"))
}

/// The bytes of a pack, counted and hashed.
struct Hash {
    context: Context,
    bytes: u64,
}

impl Hash {
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
