//! A hosted repository: its references, their publication, and its durability.
//!
//! Invariant: the server lists and serves only references that are durable.
//!
//! This layer knows neither pushers nor etcd. Reviews, sessions and replication use it.
//!
//! Locking: a guard among the parameters (`PushTurn`, `RefsWriteGuard`) only proves that the caller holds the lock.
//! `locks` has the order of the locks.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use headwater_rollout::plan::PlanFile;
use headwater_rollout::state::State;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::command::{GitProgram, Running, Service};
use super::error::PushError;
use super::exchange::{self, EXCHANGE_MAX};
use super::locks::{Locks, PushTurn, RefsWriteGuard};
use super::policy_repository::HostedPolicy;
use super::rollouts::{self, PendingRollouts, RepositoryRollouts};
use super::updates;
use crate::conduct::{HoldPublisher, LedgerTurn};
use crate::model::{Label, Revision};
use crate::source::SourceError;
use crate::source::git::{
    self, GitSource, HoldTable, Incoming, MovedReference, PublishedReferences, RewindRecord,
};
use crate::store::{Actor, PushedReference, Store};
use crate::sync::lock;

/// The largest advertisement, in bytes.
const ADVERTISEMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A hosted repository.
pub(super) struct HostedRepository {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) source: Arc<GitSource>,
    pub(super) git: Arc<GitProgram>,
    pub(super) store: Arc<Store>,
    pub(super) runtime: Handle,
    pub(super) locks: Locks,
    /// Notified after each push, to this replica or to another one. The task that packs loose objects waits for it.
    pub(super) pushed: Arc<Notify>,
    /// The policy that follows this repository. `None` for a repository with configuration.
    pub(super) hosted_policy: Option<Arc<dyn HostedPolicy>>,
    /// `None` for a repository whose changes go to all instances at once.
    pub(super) rollouts: Option<RepositoryRollouts>,
    references: ReferenceState,
}

/// What the server knows of the references beside the published ones.
#[derive(Default)]
struct ReferenceState {
    /// References that moved and could not be made durable.
    dirty_refs: Mutex<BTreeSet<String>>,
    /// The advertisement for pushes, kept until a reference moves. Each push begins with a request for it.
    cached_advertisement: Mutex<Option<Bytes>>,
}

impl HostedRepository {
    pub(super) fn new(
        name: String,
        path: PathBuf,
        source: Arc<GitSource>,
        git: Arc<GitProgram>,
        store: Arc<Store>,
        runtime: Handle,
    ) -> Self {
        Self {
            name,
            path,
            source,
            git,
            store,
            runtime,
            locks: Locks::default(),
            pushed: Arc::default(),
            hosted_policy: None,
            rollouts: None,
            references: ReferenceState::default(),
        }
    }

    /// Opens the repository together with the objects of a push.
    ///
    /// Git keeps the pushed objects in the quarantine, a directory among the repository's objects, until the hook accepts
    /// them. The hook has sent the key of its push. The directory that it names is checked nevertheless, because its
    /// objects are read as if they were in the repository.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub(super) fn incoming(&self, quarantine: Option<PathBuf>) -> Result<Incoming, SourceError> {
        let objects = self.path.join("objects");
        let quarantine = quarantine.filter(|it| it.starts_with(objects));
        self.source.incoming(quarantine.into_iter().collect())
    }

    /// Lists the references for a service, as git advertises them.
    ///
    /// # Errors
    /// When moved references are not durable, or git does not answer.
    pub(super) async fn advertise(self: &Arc<Self>, service: Service) -> Result<Bytes, PushError> {
        let repository = Arc::clone(self);
        let listing = self.runtime.spawn(async move { repository.list(service).await });
        match timeout(EXCHANGE_MAX, listing).await {
            Ok(Ok(advertisement)) => advertisement,
            _ => Err(PushError::Git(format!("{} does not answer", service.name()))),
        }
    }

    async fn list(self: &Arc<Self>, service: Service) -> Result<Bytes, PushError> {
        let _listing = self.locks.refs_lock.read().await;
        self.check_durable()?;
        let is_push = service == Service::ReceivePack;
        let cached = lock(&self.references.cached_advertisement).clone();
        if let Some(cached) = cached.filter(|_| is_push) {
            return Ok(cached);
        }
        let command = self.git.advertise(service, &self.path);
        let mut git = self.start_git(command).map_err(|error| PushError::git(&error))?;
        drop(git.child.stdin.take());
        let listed = read_advertisement(&mut git).await?;
        match git.child.wait().await {
            Ok(status) if status.success() => {
                if is_push {
                    *lock(&self.references.cached_advertisement) = Some(listed.clone());
                }
                Ok(listed)
            }
            Ok(status) => Err(PushError::Git(format!("{} {status}", service.name()))),
            Err(error) => Err(PushError::git(&error)),
        }
    }

    /// Checks that all moved references are durable.
    fn check_durable(&self) -> Result<(), PushError> {
        if lock(&self.references.dirty_refs).is_empty() {
            Ok(())
        } else {
            Err(PushError::Unwritable)
        }
    }

    /// Waits until no client lists references, and prevents listings while the guard is held. Returns `None` if the
    /// listings take too long.
    pub(super) async fn lock_refs(&self, turn: &PushTurn) -> Option<RefsWriteGuard> {
        self.locks.refs_lock.write(turn).await
    }

    /// Makes the objects that git has received durable.
    ///
    /// # Errors
    /// When the disk does not accept them.
    pub(super) async fn sync_objects(self: &Arc<Self>) -> Result<(), PushError> {
        let path = self.path.clone();
        match tokio::task::spawn_blocking(move || git::sync(&path)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                tracing::error!(
                    repository = self.name,
                    %error,
                    "the objects of a push cannot be made durable"
                );
                self.record_not_durable(&error.to_string());
                Err(PushError::Unwritable)
            }
            Err(_) => Err(PushError::Unwritable),
        }
    }

    /// Writes the record of rewinds, and returns when it is durable.
    ///
    /// Locking: the caller holds the guard until the references of the push are published. No client lists references
    /// in between, so that a mirror lists the new record together with the references that it belongs to. After a crash
    /// in between, a mirror lists the new record with the old references, which is harmless.
    ///
    /// # Errors
    /// When the repository cannot be written.
    pub(super) async fn write_rewind_record(
        self: &Arc<Self>,
        _refs: &RefsWriteGuard,
        record: RewindRecord,
    ) -> Result<(), SourceError> {
        let repository = Arc::clone(self);
        let write = move || repository.source.write_rewind_record(&record);
        tokio::task::spawn_blocking(write).await.unwrap_or_else(|_| {
            Err(SourceError::Unavailable {
                name: self.name.clone(),
                message: "the write was interrupted".to_owned(),
            })
        })
    }

    /// Makes git's work durable and publishes the current ids of these references, together with the holds of a push.
    /// Returns the references that moved.
    ///
    /// # Errors
    /// When the result cannot be made durable or read. The server then serves none of it, and
    /// [`HostedRepository::retry_publication`] repeats the operation before the next push.
    pub(super) async fn publish(
        self: &Arc<Self>,
        turn: &PushTurn,
        _refs: &RefsWriteGuard,
        references: Vec<String>,
        actor: &Actor,
        rollouts: Option<&PendingRollouts>,
    ) -> Result<Vec<MovedReference>, PushError> {
        self.publish_durable(turn, references, actor, rollouts).await
    }

    /// Retries to make earlier moves durable, and publishes them. Until this succeeds, the server lists no references.
    ///
    /// # Errors
    /// As for [`HostedRepository::publish`].
    pub(super) async fn retry_publication(
        self: &Arc<Self>,
        turn: &PushTurn,
    ) -> Result<(), PushError> {
        let dirty: Vec<String> = lock(&self.references.dirty_refs).iter().cloned().collect();
        if !dirty.is_empty() {
            let pending = match &self.rollouts {
                Some(rollouts) => Some(PendingRollouts::of_earlier(&rollouts.ledger).await),
                None => None,
            };
            self.publish_durable(turn, dirty, &Actor::Push(None), pending.as_ref()).await?;
            lock(&self.references.dirty_refs).clear();
        }
        Ok(())
    }

    /// Syncs, publishes and moves the labels.
    ///
    /// Locking: no client lists these references, because of the write side of the references lock or because they are
    /// recorded as not durable.
    async fn publish_durable(
        self: &Arc<Self>,
        _turn: &PushTurn,
        references: Vec<String>,
        actor: &Actor,
        rollouts: Option<&PendingRollouts>,
    ) -> Result<Vec<MovedReference>, PushError> {
        *lock(&self.references.cached_advertisement) = None;
        let repository = Arc::clone(self);
        let names = references.clone();
        let published =
            self.runtime.spawn_blocking(move || repository.sync_and_publish(&names)).await;
        match published.unwrap_or(Err(PushError::Unwritable)) {
            Ok((PublishedReferences { moved, has_new_record }, state)) => {
                if !moved.is_empty() || has_new_record {
                    match self.hosted_policy.clone() {
                        Some(policy) => {
                            // A panic leaves the previous policy in force, and the next push is rejected.
                            let _ = tokio::task::spawn_blocking(move || policy.apply()).await;
                        }
                        None => self.store.refresh_labels(actor, self.moved_labels(&moved)).await,
                    }
                    self.source.announce();
                }
                if let (Some(rollouts), Some(state)) = (rollouts, state) {
                    rollouts.conclude(state, &moved).await;
                }
                Ok(moved)
            }
            Err(error) => {
                lock(&self.references.dirty_refs).extend(references);
                Err(error)
            }
        }
    }

    /// Blocking.
    fn sync_and_publish(
        self: &Arc<Self>,
        names: &[String],
    ) -> Result<(PublishedReferences, Option<State>), PushError> {
        let unwritable = |error: &dyn Display| {
            tracing::error!(
                repository = self.name,
                %error,
                "pushed references cannot be made durable, none of them is served"
            );
            self.record_not_durable(&error.to_string());
            PushError::Unwritable
        };
        git::sync(&self.path).map_err(|error| unwritable(&error))?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let Some(RepositoryRollouts { ledger, .. }) = &self.rollouts else {
            let published = self.source.publish(&names).map_err(|error| unwritable(&error))?;
            return Ok((published, None));
        };
        let mut state = None;
        let published = self.source.publish_with_holds(&names, |moved| {
            let (settled, holds) = rollouts::holds_after(ledger, moved, &self.source);
            state = Some(settled);
            holds
        });
        Ok((published.map_err(|error| unwritable(&error))?, state))
    }

    /// Converts moved references to labels.
    fn moved_labels(&self, moved: &[MovedReference]) -> Vec<PushedReference> {
        let head = self.source.head_branch().unwrap_or_default();
        let labels = moved.iter().map(|MovedReference { name, old, new }| PushedReference {
            labels: updates::labels(updates::short(name).unwrap_or(name), &head),
            from: old.as_deref().map(Revision::new),
            to: new.as_deref().map(Revision::new),
        });
        labels.collect()
    }
}

impl HoldPublisher for HostedRepository {
    fn publish_holds<'a>(
        &'a self,
        _turn: &'a LedgerTurn,
        holds: HoldTable,
        actor: Actor,
    ) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let source = Arc::clone(&self.source);
            let publishing = self
                .runtime
                .spawn_blocking(move || source.publish_with_holds(&[], |_| holds.clone()));
            let published = publishing.await.map_err(|error| error.to_string())?;
            published.map_err(|error| error.to_string())?;
            self.store.refresh_labels(&actor, Vec::new()).await;
            self.source.announce();
            Ok(())
        })
    }

    fn tip(&self, branch: &str) -> Option<String> {
        self.source.published(&format!("refs/heads/{branch}"))
    }

    fn labels(&self, branch: &str) -> Vec<Label> {
        updates::labels(branch, &self.source.head_branch().unwrap_or_default())
    }

    fn stored_tip(&self, branch: &str) -> Option<String> {
        self.source.stored(&format!("refs/heads/{branch}")).ok().flatten()
    }

    fn plans(&self, commit: &str) -> PlanFile {
        let Some(own) = &self.rollouts else { return rollouts::all_at_once() };
        let incoming = self.incoming(None).ok();
        let member = incoming.and_then(|it| it.member(commit, "").ok().flatten());
        let plans = member.and_then(|member| own.plans(&member.tree).ok());
        plans.map_or_else(rollouts::all_at_once, |(plans, _)| plans)
    }
}

async fn read_advertisement(git: &mut Running) -> Result<Bytes, PushError> {
    let stdout = git.child.stdout.as_mut().expect("standard output is a pipe");
    let listed = exchange::read_all(stdout, ADVERTISEMENT_BYTES_MAX).await;
    listed.map_err(|error| PushError::git(&error))
}
