//! The first time that this replica shares a repository. It contributes the shared content, or takes it from etcd.

use std::sync::Arc;

use headwater_etcd::CasOutcome;

use super::apply::SharedContent;
use super::error::ReplicationError;
use super::manifest::{Manifest, ManifestChange, new_id};
use super::packs::{self, PreparedPack};
use super::programs::Program;
use super::replica::{Replication, StoredManifest};
use super::rollouts::{RolloutChange, StoredRollouts};
use super::{apply, checkpoint};
use crate::push::locks::PushTurn;
use crate::push::repository::HostedRepository;
use crate::source::git;

/// The number of attempts when another replica is faster.
const ATTEMPT_COUNT_MAX: usize = 5;
/// The reason to refuse a repository with commits of its own.
const UNKNOWN_COMMITS: &str = "it has commits that are not in etcd. Nothing was changed. \
     Push them to a replica with git and start with an empty repository here, or share this one under another prefix";
/// The reason to refuse a repository with malformed objects.
const MALFORMED: &str = "git fsck --strict reports errors, so that other replicas would reject its objects. \
     Nothing was uploaded. Repair the repository, or start with an empty one";

/// Brings this replica and the shared content together. Returns once there is something to serve, and never if the
/// repository cannot be shared.
///
/// Locking: this holds the push turn until it returns.
pub(super) async fn join(
    repository: &Arc<HostedRepository>,
    replication: &Arc<Replication>,
) -> Result<(), ReplicationError> {
    let turn = repository.locks.push_lock.acquire_in_background().await;
    for _ in 0..ATTEMPT_COUNT_MAX {
        let seen = apply::rollout_state(repository);
        let stored = replication.read_manifest().await?;
        let joined = match &stored.manifest {
            Some(manifest) => {
                let content = SharedContent { manifest, rollouts: &stored.rollouts, seen };
                download(&turn, repository, replication, content).await
            }
            None => contribute(&turn, repository, replication, &stored).await,
        };
        match joined {
            Err(ReplicationError::Replaced) => {}
            joined => return joined,
        }
    }
    Err(ReplicationError::Replaced)
}

/// Takes the shared content, if all commits of this replica are part of it.
async fn download(
    turn: &PushTurn,
    repository: &Arc<HostedRepository>,
    replication: &Replication,
    content: SharedContent<'_>,
) -> Result<(), ReplicationError> {
    let manifest = content.manifest;
    if !repository.source.references().is_empty() {
        for pack in &manifest.packs {
            packs::fetch(turn, repository, replication, pack).await?;
        }
        if has_unknown_commits(repository, manifest).await? {
            return refuse(replication, UNKNOWN_COMMITS).await;
        }
    }
    complete(turn, repository, replication, content).await
}

/// Makes the repository match a manifest, and writes the checkpoint before the repository is served. From then on it is
/// a shared repository, also while etcd is unreachable.
async fn complete(
    turn: &PushTurn,
    repository: &Arc<HostedRepository>,
    replication: &Replication,
    content: SharedContent<'_>,
) -> Result<(), ReplicationError> {
    let manifest = content.manifest;
    apply::apply(turn, repository, replication, content).await?;
    checkpoint::store(&replication.path, replication.checkpoint_of(manifest)).await?;
    replication.record_applied(manifest);
    Ok(())
}

/// Leaves the repository unshared and unserved, because the operator has to choose. The future never completes.
async fn refuse(replication: &Replication, reason: &str) -> Result<(), ReplicationError> {
    replication.record_refusal(reason);
    std::future::pending().await
}

/// Returns true if this replica has commits that the manifest does not lead to.
async fn has_unknown_commits(
    repository: &HostedRepository,
    manifest: &Manifest,
) -> Result<bool, ReplicationError> {
    let here = repository.source.references();
    let own = here.values().map(|id| format!("{id}\n"));
    let shared = manifest.references.values().map(|id| format!("^{id}\n"));
    let input: String = own.chain(shared).collect();
    let find = Program::first_commit_of(&repository.git, &repository.path);
    let found = find.run(&repository.git, input.as_bytes()).await?;
    Ok(!found.is_empty())
}

/// Shares the content of this replica with its rollouts, or a first commit if there is none, unless another replica is
/// faster.
async fn contribute(
    turn: &PushTurn,
    repository: &Arc<HostedRepository>,
    replication: &Arc<Replication>,
    stored: &StoredManifest,
) -> Result<(), ReplicationError> {
    let mut references = repository.source.references();
    if references.is_empty() {
        references.extend(first_commit(repository, replication).await?);
    } else {
        let check = Program::check_all(&repository.git, &repository.path);
        if check.run(&repository.git, &[]).await.is_err() {
            return refuse(replication, MALFORMED).await;
        }
    }
    let wanted: Vec<&str> = references.values().map(String::as_str).collect();
    let mut pack = if wanted.is_empty() {
        PreparedPack::Nothing
    } else {
        packs::prepare(repository, replication, &wanted, std::iter::empty(), None).await?
    };
    let packs = pack.pack().cloned().into_iter().collect();
    let change = ManifestChange { references, packs, who: None };
    let mut next = Manifest::next(None, &new_id(), change);
    let record = repository.source.rewind_record();
    next.rewinds = record.map_err(|_| ReplicationError::Unwritable)?;
    let seen = apply::rollout_state(repository);
    let state = seen.as_ref().filter(|state| !state.branches.is_empty());
    let rollouts = RolloutChange {
        written_at: stored.rollouts.written_at,
        next: state.map(|state| state.to_text().into()),
    };
    match replication.commit(stored.written_at, &next, &mut pack, Some(&rollouts)).await? {
        CasOutcome::Committed => {
            tracing::info!(repository = replication.name, "a repository is shared through etcd");
            let state = state.cloned().or_else(|| stored.rollouts.state.clone());
            let rollouts = StoredRollouts { state, ..stored.rollouts };
            let content = SharedContent { manifest: &next, rollouts: &rollouts, seen };
            complete(turn, repository, replication, content).await
        }
        CasOutcome::Conflict => Err(ReplicationError::Replaced),
        // The next attempt reads the manifest and finds the outcome.
        CasOutcome::Unknown => Err(ReplicationError::Unreachable(
            "the outcome of the first upload is unknown".to_owned(),
        )),
    }
}

/// Makes a commit of the seed. No branch leads to it yet.
async fn first_commit(
    repository: &HostedRepository,
    replication: &Replication,
) -> Result<Option<(String, String)>, ReplicationError> {
    let Some(seed) = replication.seed.clone() else { return Ok(None) };
    let path = repository.path.clone();
    let made = tokio::task::spawn_blocking(move || git::first_commit(&path, &seed)).await;
    let commit = made
        .map_err(|_| ReplicationError::Unwritable)?
        .map_err(|error| ReplicationError::Unfit(format!("the seed cannot be used: {error}")))?;
    let head = repository.source.head_branch().unwrap_or_default();
    Ok(Some((format!("refs/heads/{head}"), commit)))
}
