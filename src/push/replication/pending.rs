//! A push on its way through etcd, from the beginning of its turn until etcd has committed it.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use headwater_etcd::CasOutcome;
use headwater_rollout::state::State;

use super::apply::{self, AppliedManifest};
use super::error::ReplicationError;
use super::manifest::{Manifest, ManifestChange, new_id};
use super::packs::{self, PreparedPack};
use super::replica::Replication;
use super::rollouts::{RolloutChange, StoredRollouts};
use crate::push::locks::{PushTurn, RefsWriteGuard};
use crate::push::rejection::{BUSY, Rejection, rejected};
use crate::push::repository::HostedRepository;
use crate::push::rollouts::DecidedRollouts;
use crate::push::updates::{self, Question};
use crate::source::git::{Rewind, RewindRecord};

/// The number of attempts of a push when other pushes move other references first.
const ATTEMPT_COUNT_MAX: usize = 30;
/// The line for the pusher when the outcome is unknown.
const OUTCOME_UNKNOWN: &str = "etcd did not report in time whether it committed the push";

/// A push that is not in etcd yet.
pub(in crate::push) struct PendingPush {
    repository: Arc<HostedRepository>,
    replication: Arc<Replication>,
    question: Question,
    who: Option<Arc<str>>,
    /// The manifest that the push continues from, and the etcd revision that wrote it.
    manifest: Manifest,
    written_at: i64,
    /// The rollouts beside this manifest.
    rollouts: StoredRollouts,
    /// The objects that the push adds to this manifest.
    pack: Option<PreparedPack>,
}

/// A push that is in etcd, and that git has to make here as well.
pub(in crate::push) struct CommittedPush {
    replication: Arc<Replication>,
    manifest: Manifest,
    /// The decisions about rollouts that are in etcd as well.
    rollouts: Option<DecidedRollouts>,
}

/// The decision about the rollouts of a push. It is made again after each change by another replica.
pub(in crate::push) trait RolloutDecision: Sync {
    /// Decides what the push does to a state. An error rejects the push.
    fn decide(&self, state: Arc<State>) -> BoxFuture<'_, Result<DecidedRollouts, Rejection>>;
}

/// The reason for which a push is not known to be in etcd, for the pusher.
pub(in crate::push) enum CommitError {
    /// The push is not in etcd.
    Rejected(String),
    /// A rollout does not permit the push.
    Staging(Rejection),
    /// The outcome is unknown.
    Unknown(String),
}

impl From<ReplicationError> for CommitError {
    fn from(error: ReplicationError) -> Self {
        Self::Rejected(error.rejection())
    }
}

impl PendingPush {
    /// Brings this replica to the newest manifest in etcd.
    ///
    /// # Errors
    /// The line for the pusher when the push is rejected.
    pub(in crate::push) async fn begin(
        turn: &PushTurn,
        repository: &Arc<HostedRepository>,
        replication: &Arc<Replication>,
        question: &Question,
        who: Option<Arc<str>>,
    ) -> Result<Self, String> {
        if let Some(duration) = replication.outage_duration() {
            return Err(ReplicationError::no_answer_for(duration).rejection());
        }
        let applied = apply::apply_newest(turn, repository, replication).await;
        let AppliedManifest { manifest, written_at, rollouts } =
            applied.map_err(|error| error.rejection())?;
        Ok(Self {
            repository: Arc::clone(repository),
            replication: Arc::clone(replication),
            question: question.clone(),
            who,
            manifest,
            written_at,
            rollouts,
            pack: None,
        })
    }

    /// Packs the objects of this push, and uploads a large pack. This runs while the push is reviewed.
    ///
    /// # Errors
    /// As for [`PendingPush::begin`].
    pub(in crate::push) async fn prepare(&mut self) -> Result<(), String> {
        self.pack = Some(self.pack_objects().await.map_err(|error| error.rejection())?);
        Ok(())
    }

    /// Packs the objects that the push adds to the present manifest.
    async fn pack_objects(&self) -> Result<PreparedPack, ReplicationError> {
        let updates = &self.question.updates;
        let wanted: Vec<&str> = updates.iter().filter_map(|it| it.new.as_deref()).collect();
        if wanted.is_empty() {
            return Ok(PreparedPack::Nothing);
        }
        let known = self.manifest.references.values();
        let quarantine = self.question.quarantine.as_deref();
        packs::prepare(&self.repository, &self.replication, &wanted, known, quarantine).await
    }

    /// Checks that the manifest accepts the names of the push. A dry run ends here.
    ///
    /// # Errors
    /// As for [`PendingPush::begin`].
    pub(in crate::push) fn check_names(&self) -> Result<(), String> {
        let head = self.repository.source.head_branch().unwrap_or_default();
        self.manifest.moved(&self.question.updates, &head).map(drop)
    }

    /// The rollouts that the push continues from. `None` for a repository without rollouts.
    pub(in crate::push) fn rollout_state(&self) -> Option<Arc<State>> {
        let ledger = &self.repository.rollouts.as_ref()?.ledger;
        Some(self.rollouts.state.clone().unwrap_or_else(|| ledger.state()))
    }

    /// Commits the push to etcd, with the decision about its rollouts.
    ///
    /// Locking: the returned guard prevents reference listings until the references have moved here.
    pub(in crate::push) async fn commit(
        mut self,
        turn: &PushTurn,
        rewinds: &[Rewind],
        decision: Option<&dyn RolloutDecision>,
    ) -> Result<(CommittedPush, RefsWriteGuard), CommitError> {
        let head = self.repository.source.head_branch().unwrap_or_default();
        for _ in 0..ATTEMPT_COUNT_MAX {
            let references = self.manifest.moved(&self.question.updates, &head);
            let references = references.map_err(CommitError::Rejected)?;
            let mut pack = match self.pack.take() {
                Some(pack) => pack,
                None => self.pack_objects().await?,
            };
            let rollouts = self.decide(decision).await?;
            let change = rollouts.as_ref().map(|own| RolloutChange {
                written_at: self.rollouts.written_at,
                next: own.next.as_ref().map(|state| state.to_text().into()),
            });
            let Some(refs) = self.repository.lock_refs(turn).await else {
                return Err(CommitError::Rejected(BUSY.to_owned()));
            };
            let next = self.next(references, &pack, rewinds)?;
            let commit =
                self.replication.commit(self.written_at, &next, &mut pack, change.as_ref());
            match commit.await? {
                CasOutcome::Committed => {
                    let (replication, manifest) = (self.replication, next);
                    let committed = CommittedPush { replication, manifest, rollouts };
                    return Ok((committed, refs));
                }
                CasOutcome::Unknown => {
                    return Err(CommitError::Unknown(OUTCOME_UNKNOWN.to_owned()));
                }
                CasOutcome::Conflict => {}
            }
            drop(refs);
            // Another manifest needs another pack.
            drop(pack);
            let applied = apply::apply_newest(turn, &self.repository, &self.replication);
            let applied = Box::pin(applied).await;
            let AppliedManifest { manifest, written_at, rollouts } = applied?;
            (self.manifest, self.written_at, self.rollouts) = (manifest, written_at, rollouts);
        }
        Err(CommitError::Rejected(rejected(
            "other pushes moved other branches first, each time. Push again",
        )))
    }

    /// Decides about the rollouts, on the state beside the present manifest.
    async fn decide(
        &self,
        decision: Option<&dyn RolloutDecision>,
    ) -> Result<Option<DecidedRollouts>, CommitError> {
        match decision.zip(self.rollout_state()) {
            Some((decision, state)) => {
                let decided = decision.decide(state).await;
                decided.map(Some).map_err(CommitError::Staging)
            }
            None => Ok(None),
        }
    }

    /// Returns the manifest after the push.
    ///
    /// Invariant: the references and the record of rewinds change in one transaction.
    fn next(
        &self,
        references: BTreeMap<String, String>,
        pack: &PreparedPack,
        rewinds: &[Rewind],
    ) -> Result<Manifest, ReplicationError> {
        let record = if rewinds.is_empty() {
            None
        } else {
            let before = match &self.manifest.rewinds {
                Some(record) => Some(record.clone()),
                None => {
                    let record = self.repository.source.rewind_record();
                    record.map_err(|_| ReplicationError::Unwritable)?
                }
            };
            let exists = |label: &str| updates::is_label(&references, label);
            Some(RewindRecord::after(before.as_ref(), rewinds, exists))
        };
        let change = ManifestChange {
            references,
            packs: self.manifest.packs.iter().chain(pack.pack()).cloned().collect(),
            who: self.who.as_deref().map(str::to_owned),
        };
        let mut next = Manifest::next(Some(&self.manifest), &new_id(), change);
        next.rewinds = record.or(next.rewinds);
        Ok(next)
    }
}

impl CommittedPush {
    /// Returns the record of rewinds that belongs to the references.
    pub(in crate::push) fn rewind_record(&self) -> Option<&RewindRecord> {
        self.manifest.rewinds.as_ref()
    }

    /// Returns the decisions about rollouts, once.
    pub(in crate::push) fn take_rollouts(&mut self) -> Option<DecidedRollouts> {
        self.rollouts.take()
    }

    /// Leaves the push to the follower, because git does not make it here.
    pub(in crate::push) fn leave_to_follower(&self) {
        self.replication.wake.notify_one();
    }

    /// Records that git has ended. Returns true if git made the whole push. Otherwise the follower makes it, and the
    /// pusher receives neither success nor rejection.
    pub(in crate::push) fn record_end(&self, repository: &HostedRepository) -> bool {
        let is_complete = repository.source.references() == self.manifest.references;
        if is_complete {
            self.replication.record_applied(&self.manifest);
            self.replication.pushed.notify_one();
        }
        // The follower writes the checkpoint, or makes the rest of the push.
        self.replication.wake.notify_one();
        is_complete
    }
}
