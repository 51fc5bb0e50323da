//! Application of a manifest to this replica. Objects come first, then the file with the rollouts, then references, then
//! the publication of references and rollouts as for a push to this replica.
//!
//! Cancellation: every step can be repeated, wherever it was interrupted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headwater_rollout::state::State;

use super::error::ReplicationError;
use super::manifest::{Manifest, ManifestRelation, Pack};
use super::packs;
use super::programs::Program;
use super::replica::{Replication, StoredManifest};
use super::rollouts::{self, StoredRollouts};
use crate::push::locks::{PushTurn, RefsWriteGuard};
use crate::push::repository::HostedRepository;
use crate::push::rollouts::PendingRollouts;
use crate::source::git::{MovedReference, RewindRecord};
use crate::store::Actor;

/// The number of attempts when a pack is replaced meanwhile.
const ATTEMPT_COUNT_MAX: usize = 5;

/// What this replica has applied from etcd.
pub(super) struct AppliedManifest {
    pub(super) manifest: Manifest,
    /// The etcd revision that wrote the manifest.
    pub(super) written_at: i64,
    pub(super) rollouts: StoredRollouts,
}

/// Brings this replica to the newest manifest and the newest rollouts in etcd.
pub(super) async fn apply_newest(
    turn: &PushTurn,
    repository: &Arc<HostedRepository>,
    replication: &Replication,
) -> Result<AppliedManifest, ReplicationError> {
    apply_newest_from(turn, repository, replication, None).await
}

/// Brings this replica to the newest manifest and the newest rollouts in etcd. The first attempt uses what is already
/// known, if it is given.
pub(super) async fn apply_newest_from(
    turn: &PushTurn,
    repository: &Arc<HostedRepository>,
    replication: &Replication,
    mut known: Option<StoredManifest>,
) -> Result<AppliedManifest, ReplicationError> {
    for _ in 0..ATTEMPT_COUNT_MAX {
        let seen = rollout_state(repository);
        let stored = match known.take() {
            Some(stored) => stored,
            None => replication.read_manifest().await?,
        };
        let StoredManifest { manifest, written_at, rollouts } = stored;
        let (manifest, is_new) = continuation(replication, manifest)?;
        if is_new {
            let parts = SharedContent { manifest: &manifest, rollouts: &rollouts, seen };
            match apply(turn, repository, replication, parts).await {
                Ok(()) => replication.record_applied(&manifest),
                Err(ReplicationError::Replaced) => continue,
                Err(error) => return Err(error),
            }
        } else if let Some(own) = &repository.rollouts
            && !rollouts.is_adopted(&own.ledger)
        {
            // The next attempt reads what has been adopted.
            rollouts::follow(repository, own, replication).await?;
            continue;
        }
        return Ok(AppliedManifest { manifest, written_at, rollouts });
    }
    Err(ReplicationError::Replaced)
}

/// The rollouts of this replica. `None` for a repository without rollouts.
pub(super) fn rollout_state(repository: &HostedRepository) -> Option<Arc<State>> {
    repository.rollouts.as_ref().map(|rollouts| rollouts.ledger.state())
}

/// The content of etcd that a replica applies.
pub(super) struct SharedContent<'c> {
    pub(super) manifest: &'c Manifest,
    pub(super) rollouts: &'c StoredRollouts,
    /// The rollouts of this replica before etcd was read.
    pub(super) seen: Option<Arc<State>>,
}

/// Checks that this repository can continue from a manifest. Returns true beside a manifest that is not here yet.
fn continuation(
    replication: &Replication,
    manifest: Option<Manifest>,
) -> Result<(Manifest, bool), ReplicationError> {
    let unfit = |reason: &str| Err(ReplicationError::Unfit(reason.to_owned()));
    let Some(manifest) = manifest else {
        return unfit("etcd has lost the repository: its manifest is missing");
    };
    match replication.relation(&manifest) {
        Some(ManifestRelation::Same) => Ok((manifest, false)),
        Some(ManifestRelation::Newer) => Ok((manifest, true)),
        Some(ManifestRelation::Older) => {
            unfit("etcd was restored to an older state: this replica has newer commits")
        }
        Some(ManifestRelation::Foreign) => {
            unfit("etcd holds another history of the repository than this replica")
        }
        None => unfit("this replica has not loaded the repository from etcd yet"),
    }
}

/// Makes the repository match a manifest, with its rollouts.
pub(super) async fn apply(
    turn: &PushTurn,
    repository: &Arc<HostedRepository>,
    replication: &Replication,
    content: SharedContent<'_>,
) -> Result<(), ReplicationError> {
    let manifest = content.manifest;
    let unwritable = |_| ReplicationError::Unwritable;
    repository.retry_publication(turn).await.map_err(unwritable)?;
    let here = repository.source.references();
    let moves = ReferenceMoves::between(&here, &manifest.references);
    let record = new_rewind_record(repository, manifest).await?;
    if moves.names.is_empty() && record.is_none() {
        let own = repository.rollouts.as_ref();
        return match own.filter(|own| !content.rollouts.is_adopted(&own.ledger)) {
            Some(own) if !rollouts::follow(repository, own, replication).await? => {
                Err(ReplicationError::Replaced)
            }
            _ => Ok(()),
        };
    }
    fetch_objects(turn, repository, replication, manifest, &here).await?;
    repository.sync_objects().await.map_err(unwritable)?;
    let refs = repository.lock_refs(turn).await.ok_or(ReplicationError::Busy)?;
    if let Some(record) = record {
        let written = repository.write_rewind_record(&refs, record).await;
        written.map_err(|_| ReplicationError::Unwritable)?;
    }
    let pending = follow_with(repository, &content, &moves.references).await?;
    let moved = moves.run(&refs, repository).await;
    let actor = Actor::Push(manifest.who.as_deref().map(Arc::from));
    // References that moved are published, even if others did not move.
    let published = repository.publish(turn, &refs, moves.names, &actor, pending.as_ref()).await;
    moved?;
    published.map(drop).map_err(unwritable)
}

/// Makes the rollouts of a manifest durable, with intents for the references that are about to move.
async fn follow_with(
    repository: &HostedRepository,
    content: &SharedContent<'_>,
    moves: &[MovedReference],
) -> Result<Option<PendingRollouts>, ReplicationError> {
    let Some(own) = &repository.rollouts else { return Ok(None) };
    let ledger = &own.ledger;
    let turn = ledger.take_turn().await;
    let is_seen = |seen: &Arc<State>| Arc::ptr_eq(seen, &ledger.state());
    if !content.seen.as_ref().is_some_and(is_seen) {
        return Err(ReplicationError::Replaced);
    }
    let next = content.rollouts.target(ledger);
    let pending = PendingRollouts::following(ledger, turn, &next, moves).await;
    pending.map(Some).map_err(|_| ReplicationError::Unwritable)
}

/// Returns the record of rewinds of a manifest, if this replica does not have it yet.
async fn new_rewind_record(
    repository: &Arc<HostedRepository>,
    manifest: &Manifest,
) -> Result<Option<RewindRecord>, ReplicationError> {
    let Some(record) = manifest.rewinds.clone() else { return Ok(None) };
    let repository = Arc::clone(repository);
    let read = tokio::task::spawn_blocking(move || repository.source.rewind_record()).await;
    let here = read.ok().and_then(Result::ok).ok_or(ReplicationError::Unwritable)?;
    Ok((here.as_ref() != Some(&record)).then_some(record))
}

/// Takes packs out of etcd until every object is here that the references lead to.
async fn fetch_objects(
    turn: &PushTurn,
    repository: &HostedRepository,
    replication: &Replication,
    manifest: &Manifest,
    here: &BTreeMap<String, String>,
) -> Result<(), ReplicationError> {
    let known: BTreeSet<&String> = here.values().collect();
    let tips: Vec<&String> =
        manifest.references.values().filter(|id| !known.contains(id)).collect();
    if tips.is_empty() {
        return Ok(());
    }
    if let Some(checkpoint) = replication.checkpoint() {
        // The first pack may combine many, most of whose objects are here.
        let packs = manifest.packs.iter().skip(1);
        let later = packs.filter(|pack| !checkpoint.packs.contains(&pack.id));
        match fetch_packs(turn, repository, replication, later).await {
            // Git has just verified that the packs lack no object that they name. A walk through all directories that
            // they share with the older objects takes git longer than all other steps together.
            Ok(())
                if manifest.only_adds_packs_to(&checkpoint)
                    || is_connected(repository, &tips).await =>
            {
                return Ok(());
            }
            Ok(()) | Err(ReplicationError::Git(_)) => {}
            Err(error) => return Err(error),
        }
    }
    fetch_packs(turn, repository, replication, manifest.packs.iter()).await?;
    if is_connected(repository, &tips).await { Ok(()) } else { Err(ReplicationError::Unconnected) }
}

async fn fetch_packs(
    turn: &PushTurn,
    repository: &HostedRepository,
    replication: &Replication,
    packs: impl Iterator<Item = &Pack>,
) -> Result<(), ReplicationError> {
    for pack in packs {
        packs::fetch(turn, repository, replication, pack).await?;
    }
    Ok(())
}

async fn is_connected(repository: &HostedRepository, tips: &[&String]) -> bool {
    let input: String = tips.iter().map(|id| format!("{id}\n")).collect();
    let check = Program::check_connected(&repository.git, &repository.path);
    check.run(&repository.git, input.as_bytes()).await.is_ok()
}

/// The references that have to move.
struct ReferenceMoves {
    names: Vec<String>,
    references: Vec<MovedReference>,
    /// The input of git that deletes references, and the input that sets them.
    deletes: String,
    updates: String,
}

impl ReferenceMoves {
    fn between(here: &BTreeMap<String, String>, there: &BTreeMap<String, String>) -> Self {
        let mut moves = Self {
            names: Vec::new(),
            references: Vec::new(),
            deletes: String::new(),
            updates: String::new(),
        };
        let moved = |name: &String| MovedReference {
            name: name.clone(),
            old: here.get(name).cloned(),
            new: there.get(name).cloned(),
        };
        for name in here.keys().filter(|name| !there.contains_key(*name)) {
            moves.names.push(name.clone());
            moves.references.push(moved(name));
            moves.deletes += &format!("delete {name}\n");
        }
        for (name, id) in there.iter().filter(|(name, id)| here.get(*name) != Some(id)) {
            moves.names.push(name.clone());
            moves.references.push(moved(name));
            moves.updates += &format!("update {name} {id}\n");
        }
        moves
    }

    /// Deletes references first, because a new name may begin with a deleted one and a slash.
    async fn run(
        &self,
        _refs: &RefsWriteGuard,
        repository: &HostedRepository,
    ) -> Result<(), ReplicationError> {
        for lines in [&self.deletes, &self.updates] {
            if !lines.is_empty() {
                let git = Program::update_references(&repository.git, &repository.path);
                git.run(&repository.git, lines.as_bytes()).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references(references: &[(&str, &str)]) -> BTreeMap<String, String> {
        references.iter().map(|(name, id)| ((*name).to_owned(), (*id).to_owned())).collect()
    }

    #[test]
    fn references_are_deleted_created_and_moved_and_equal_ones_stay() {
        let here =
            references(&[("refs/heads/a", "1"), ("refs/heads/b", "1"), ("refs/tags/c", "1")]);
        let there =
            references(&[("refs/heads/b", "1"), ("refs/heads/a/x", "2"), ("refs/tags/c", "2")]);
        let moves = ReferenceMoves::between(&here, &there);
        assert_eq!(moves.names, ["refs/heads/a", "refs/heads/a/x", "refs/tags/c"]);
        assert_eq!(moves.deletes, "delete refs/heads/a\n");
        assert_eq!(moves.updates, "update refs/heads/a/x 2\nupdate refs/tags/c 2\n");
    }
}
