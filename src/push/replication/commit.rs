//! The commit of a change to a shared repository. Etcd replaces the manifest with the next one, if the manifest has not
//! changed since it was read.

use std::time::Duration;

use bytes::Bytes;
use headwater_etcd::{
    CasOutcome, CompareAndSwap, Connection, EtcdError, Transaction, Write, compare_and_swap,
};

use super::error::ReplicationError;
use super::manifest::{MANIFEST_BYTES_MAX, Manifest};
use super::packs::PreparedPack;
use super::replica::Replication;
use super::rollouts::RolloutChange;

/// The maximum time spent on finding the outcome of a commit whose answer was lost.
const OUTCOME_WAIT_MAX: Duration = Duration::from_secs(10);

impl Replication {
    /// Replaces the manifest that was written at an etcd revision (0 if there is none) with the next one, together with
    /// its pack and its rollouts. `None` for rollouts that do not matter.
    ///
    /// # Errors
    /// When the commit did not take effect and never will.
    pub(super) async fn commit(
        &self,
        written_at: i64,
        next: &Manifest,
        pack: &mut PreparedPack,
        rollouts: Option<&RolloutChange>,
    ) -> Result<CasOutcome, ReplicationError> {
        let value = Bytes::from(next.to_json());
        let rollout_bytes = rollouts.and_then(|own| own.next.as_ref()).map_or(0, Bytes::len);
        if value.len() + rollout_bytes > MANIFEST_BYTES_MAX {
            return Err(ReplicationError::Unfit(
                "the names of all branches and tags, with the rollouts, exceed 1 MiB, the limit of a shared repository"
                    .to_owned(),
            ));
        }
        let swap = ManifestSwap { replication: self, written_at, value, next, pack, rollouts };
        let connection = self.connection().await?;
        let outcome = compare_and_swap(&swap, connection, OUTCOME_WAIT_MAX).await?;
        if let PreparedPack::Uploaded(upload) = pack {
            match outcome {
                CasOutcome::Committed => upload.mark_committed(),
                CasOutcome::Conflict => {}
                CasOutcome::Unknown => upload.mark_unknown(),
            }
        }
        Ok(outcome)
    }
}

/// The replacement of a manifest by the next one.
struct ManifestSwap<'a> {
    replication: &'a Replication,
    written_at: i64,
    value: Bytes,
    next: &'a Manifest,
    pack: &'a PreparedPack,
    rollouts: Option<&'a RolloutChange>,
}

impl CompareAndSwap for ManifestSwap<'_> {
    fn transaction(&self) -> Transaction {
        let keys = &self.replication.keys;
        let key = keys.manifest();
        let mut transaction = Transaction {
            unchanged: vec![(key.clone().into_bytes(), self.written_at)],
            writes: vec![Write { key, value: self.value.clone(), lease: None }],
            ..Transaction::default()
        };
        if let Some(RolloutChange { written_at, next }) = self.rollouts {
            let key = keys.rollouts();
            transaction.unchanged.push((key.clone().into_bytes(), *written_at));
            let write = |value: &Bytes| Write { key, value: value.clone(), lease: None };
            transaction.writes.extend(next.as_ref().map(write));
        }
        match self.pack {
            PreparedPack::Nothing => {}
            PreparedPack::Small(pack, bytes) => {
                let key = keys.piece(&pack.id, 0);
                transaction.writes.push(Write { key, value: bytes.clone(), lease: None });
            }
            PreparedPack::Uploaded(upload) => {
                let key = keys.upload(&upload.pack.id).into_bytes();
                transaction.unchanged.push((key.clone(), upload.written_at));
                transaction.deletes.push(key);
            }
        }
        transaction
    }

    async fn reconnect(&self) -> Result<Connection, EtcdError> {
        self.replication.forget_connection();
        self.replication.connection().await
    }

    async fn read_outcome(&self) -> Option<CasOutcome> {
        let stored = self.replication.read_manifest().await.ok()?;
        Some(outcome(stored.manifest.as_ref(), self.next))
    }
}

/// Returns the outcome, according to a manifest, of a commit that can no longer take effect.
fn outcome(manifest: Option<&Manifest>, next: &Manifest) -> CasOutcome {
    match manifest {
        Some(manifest) if manifest.recent.iter().any(|id| id == next.commit_id()) => {
            CasOutcome::Committed
        }
        Some(manifest) if manifest.lineage == next.lineage && !manifest.covers(next.sequence) => {
            CasOutcome::Unknown
        }
        _ => CasOutcome::Conflict,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::manifest::ManifestChange;
    use super::*;

    #[test]
    fn later_manifests_show_the_outcome_of_a_commit() {
        let change =
            || ManifestChange { references: BTreeMap::new(), packs: Vec::new(), who: None };
        let first = Manifest::next(None, "first", change());
        let ours = Manifest::next(Some(&first), "ours", change());
        let theirs = Manifest::next(Some(&first), "theirs", change());
        let mut after = Manifest::next(Some(&ours), "after", change());
        assert_eq!(outcome(Some(&ours), &ours), CasOutcome::Committed);
        assert_eq!(outcome(Some(&after), &ours), CasOutcome::Committed);
        assert_eq!(outcome(Some(&theirs), &ours), CasOutcome::Conflict);
        assert_eq!(outcome(None, &ours), CasOutcome::Conflict);
        for number in 0..100 {
            after = Manifest::next(Some(&after), &number.to_string(), change());
        }
        assert_eq!(outcome(Some(&after), &ours), CasOutcome::Unknown);
    }
}
