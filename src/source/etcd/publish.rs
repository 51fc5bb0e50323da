//! Publication of a label.
//!
//! Invariant: objects are stored first, each under its hash, and then one compare-and-swap moves the label. A reader sees no
//! part of a publication before the swap, and all of it afterwards.
//!
//! `tests/it/shared_push.rs` covers two concurrent publications, a publisher that dies between any two steps, and a
//! concurrent collection of objects.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use headwater_etcd::{
    CasOutcome, CompareAndSwap, Connection, EtcdError, Transaction, Value, Write, compare_and_swap,
};
use tokio::time::timeout;

use super::keys::{hex, is_label, parse_id};
use super::keyspace::REVISION_COUNT_MAX;
use super::objects::{
    Bundle, CommitObject, DirectoryList, ObjectKind, id_of, parse_list, parse_pieces, tree,
};
use super::{EtcdInner, EtcdSource, Keyspace, validate};
use crate::model::{ContentId, Revision};
use crate::source::files::Files;
use crate::sync::lock;

/// The most keys of one transaction: etcd accepts 128.
const BATCH_COUNT_MAX: usize = 100;
/// The most bytes of one transaction: etcd accepts 1.5 MB.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// The most concurrent transactions.
const BATCHES_AT_ONCE: usize = 8;
/// The most attempts of a publication that concurrent collections interrupt.
const ATTEMPT_COUNT_MAX: usize = 5;
/// The longest time to determine the outcome of a swap whose answer was lost.
const OUTCOME_WAIT_MAX: Duration = Duration::from_secs(15);
/// The longest wait until this process has the published revision in memory.
const ARRIVAL_WAIT_MAX: Duration = Duration::from_secs(5);

/// The content and the metadata of a new revision.
#[derive(Debug, Clone)]
pub struct NewRevision {
    /// All files of the label, by path.
    pub files: Files,
    /// The author, for people.
    pub author: String,
    /// The subject, in one line.
    pub subject: String,
    /// The time, in seconds since 1970.
    pub seconds: i64,
}

/// The reasons for which nothing was published. After [`PublishError::Unknown`] the revision may be published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The label is at another revision than the expected one.
    #[error("the label has moved since it was read, and nothing was published. Start again")]
    Moved {
        /// The present revision.
        now: Option<Revision>,
    },
    /// The content cannot be published.
    #[error("{0}")]
    Refused(String),
    /// etcd could not be written.
    #[error("etcd did not accept the publication: {0}")]
    Unavailable(String),
    /// The answer of etcd was lost: the revision is published completely, or not at all.
    #[error("etcd did not answer, and the revision may be published or not. Check the label: {0}")]
    Unknown(String),
}

impl From<EtcdError> for PublishError {
    fn from(fault: EtcdError) -> Self {
        Self::Unavailable(fault.to_string())
    }
}

/// The position of a label, and the versions of the keys that must not change until the swap.
struct LabelState {
    tip: Option<ContentId>,
    tip_written_at: i64,
    collected_at: i64,
}

impl EtcdSource {
    /// Publishes all files of a label as a revision that follows `expected`. `None` is for a new label.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish(
        &self,
        label: &str,
        expected: Option<&Revision>,
        publication: NewRevision,
    ) -> Result<Revision, PublishError> {
        if !is_label(label) {
            return Err(PublishError::Refused(format!("{label:?} is not a valid name of a label")));
        }
        let NewRevision { files, author, subject, seconds } = publication;
        let made = tokio::task::spawn_blocking(move || tree(&files)).await;
        let interrupted = |_| PublishError::Refused("the publication was interrupted".to_owned());
        let (root, objects) = made.map_err(interrupted)?.map_err(PublishError::Refused)?;
        let expected = match expected.map(|it| parse_id(it.as_str())) {
            Some(None) => return Err(PublishError::Moved { now: None }),
            Some(id) => id,
            None => None,
        };
        let commit = CommitObject {
            tree: root,
            parent: expected,
            seconds,
            author,
            subject,
            nonce: format!("{:032x}", fastrand::u128(..)),
        };
        let value = commit.to_value();
        let id = id_of(&value);
        let ours = PreparedCommit { label, parent: expected, id, value, root, objects };
        self.inner.store_and_swap(&ours).await?;
        self.inner.wait_for_arrival(label, id).await;
        self.inner.collect_if_due().await;
        Ok(Revision::new(hex(id)))
    }
}

/// A revision that is about to be published.
struct PreparedCommit<'a> {
    label: &'a str,
    parent: Option<ContentId>,
    id: ContentId,
    value: Bytes,
    root: ContentId,
    objects: Bundle,
}

impl EtcdInner {
    async fn store_and_swap(&self, ours: &PreparedCommit<'_>) -> Result<(), PublishError> {
        let mut connection = self.cluster.connect().await?;
        let is_first = lock(&self.keyspace).is_empty();
        // Without permission to read there, the publication fails below.
        if is_first && self.is_foreign(&mut connection).await.unwrap_or(false) {
            return Err(PublishError::Refused(validate::FOREIGN_PREFIX.to_owned()));
        }
        for _ in 0..ATTEMPT_COUNT_MAX {
            let seen = self.look(&mut connection, ours.label).await?;
            if seen.tip != ours.parent {
                return Err(moved(seen.tip));
            }
            self.store(&connection, ours, &seen).await?;
            let swap = LabelSwap { inner: self, ours, seen: &seen };
            match compare_and_swap(&swap, connection, OUTCOME_WAIT_MAX).await? {
                CasOutcome::Committed => return Ok(()),
                CasOutcome::Conflict => connection = self.cluster.connect().await?,
                CasOutcome::Unknown => {
                    let seconds = OUTCOME_WAIT_MAX.as_secs();
                    return Err(PublishError::Unknown(format!("no answer within {seconds} s")));
                }
            }
            let now = self.look(&mut connection, ours.label).await?;
            if (now.tip_written_at, now.collected_at) == (seen.tip_written_at, seen.collected_at) {
                return Err(PublishError::Refused(
                    "the label has files written by hand: delete them first".to_owned(),
                ));
            }
        }
        Err(PublishError::Unavailable(
            "concurrent collections of objects interrupted every attempt. Try again".to_owned(),
        ))
    }

    async fn look(
        &self,
        connection: &mut Connection,
        label: &str,
    ) -> Result<LabelState, PublishError> {
        let (reference, collection) = (self.keys.reference(label), self.keys.collection());
        let mut found = connection.read(&[&reference, &collection]).await?.into_iter();
        let mut next = || found.next().unwrap_or_default();
        let (reference, collection): (Value, Value) = (next(), next());
        let tip = match &reference.bytes {
            Some(bytes) => {
                let text = std::str::from_utf8(bytes).ok();
                let id = text.and_then(|text| parse_id(text.trim()));
                Some(id.ok_or_else(|| {
                    PublishError::Refused(
                        "the label has a value that is not the id of a revision".into(),
                    )
                })?)
            }
            None => None,
        };
        Ok(LabelState {
            tip,
            tip_written_at: reference.mod_revision,
            collected_at: collection.mod_revision,
        })
    }

    /// Stores the objects that the parent does not reference. Unreferenced objects in etcd are stored again, because a
    /// collection may delete them.
    async fn store(
        &self,
        connection: &Connection,
        ours: &PreparedCommit<'_>,
        seen: &LabelState,
    ) -> Result<(), PublishError> {
        let known = {
            let keyspace = lock(&self.keyspace);
            let mut known = ReachableObjects::default();
            let parent = seen.tip.and_then(|tip| keyspace.commit(tip));
            let visited = parent.map(|it| known.visit(&keyspace, ObjectKind::Directory, it.tree));
            // A parent that is incomplete in memory contributes no known objects.
            if visited.flatten().is_some() { known } else { ReachableObjects::default() }
        };
        let mut values: Vec<(String, Bytes)> = Vec::new();
        if !known.contains(ours.root) {
            let new = ours.objects.iter().filter(|(id, _)| !known.contains(**id));
            values.extend(new.map(|(id, value)| (self.keys.object(*id), value.clone())));
        }
        values.push((self.keys.object(ours.id), ours.value.clone()));
        let stored = stream::iter(batches(values)).map(|batch| {
            let mut connection = connection.clone();
            let writes = batch.into_iter();
            let writes = writes.map(|(key, value)| Write { key, value, lease: None }).collect();
            async move { connection.commit(Transaction { writes, ..Transaction::default() }).await }
        });
        let mut stored = stored.buffer_unordered(BATCHES_AT_ONCE);
        while let Some(done) = stored.next().await {
            done?;
        }
        Ok(())
    }

    /// Returns true if the history of the label contains this revision. `None` if the history cannot be read.
    async fn contains(
        &self,
        connection: &mut Connection,
        ours: &PreparedCommit<'_>,
    ) -> Option<bool> {
        let mut next = self.look(connection, ours.label).await.ok()?.tip;
        for _ in 0..REVISION_COUNT_MAX {
            let Some(id) = next else { break };
            if id == ours.id {
                return Some(true);
            }
            let found = connection.read(&[&self.keys.object(id)]).await.ok()?.pop()?;
            next =
                found.bytes.and_then(|value| CommitObject::parse(&value)).and_then(|it| it.parent);
        }
        Some(false)
    }

    /// Waits, up to a limit, until the published revision can be loaded here.
    async fn wait_for_arrival(&self, label: &str, id: ContentId) {
        let is_there = |keyspace: &Keyspace| {
            keyspace.tip(label).is_some_and(|tip| keyspace.line(tip).any(|it| it.0 == id))
        };
        let mut state = self.state.subscribe();
        let arrived = state.wait_for(|_| is_there(&lock(&self.keyspace)));
        // The revision is published even if it does not arrive in time.
        let _ = timeout(ARRIVAL_WAIT_MAX, arrived).await;
    }
}

/// The move of a label to a stored revision.
struct LabelSwap<'a> {
    inner: &'a EtcdInner,
    ours: &'a PreparedCommit<'a>,
    seen: &'a LabelState,
}

impl CompareAndSwap for LabelSwap<'_> {
    fn transaction(&self) -> Transaction {
        let keys = &self.inner.keys;
        let key = keys.reference(self.ours.label);
        let collection = keys.collection().into_bytes();
        Transaction {
            unchanged: vec![
                (key.clone().into_bytes(), self.seen.tip_written_at),
                (collection, self.seen.collected_at),
            ],
            absent: vec![keys.files(self.ours.label)],
            writes: vec![Write { key, value: hex(self.ours.id).into(), lease: None }],
            deletes: Vec::new(),
        }
    }

    async fn reconnect(&self) -> Result<Connection, EtcdError> {
        self.inner.cluster.connect().await
    }

    async fn read_outcome(&self) -> Option<CasOutcome> {
        let mut connection = self.inner.cluster.connect().await.ok()?;
        let is_committed = self.inner.contains(&mut connection, self.ours).await?;
        Some(if is_committed { CasOutcome::Committed } else { CasOutcome::Conflict })
    }
}

fn moved(now: Option<ContentId>) -> PublishError {
    PublishError::Moved { now: now.map(|id| Revision::new(hex(id))) }
}

/// Divides the values into transactions of a size that etcd accepts.
fn batches(values: Vec<(String, Bytes)>) -> Vec<Vec<(String, Bytes)>> {
    let mut batches = Vec::new();
    let (mut batch, mut byte_count) = (Vec::new(), 0);
    for (key, value) in values {
        let size = key.len() + value.len();
        if batch.len() == BATCH_COUNT_MAX
            || (byte_count + size > BATCH_BYTES_MAX && !batch.is_empty())
        {
            batches.push(std::mem::take(&mut batch));
            byte_count = 0;
        }
        byte_count += size;
        batch.push((key, value));
    }
    batches.push(batch);
    batches
}

/// Reachable objects, each with the kind of its reference: objects of two kinds may have the same value.
#[derive(Default)]
pub(super) struct ReachableObjects(HashSet<(ObjectKind, ContentId)>);

impl ReachableObjects {
    /// Returns whether this object is reachable.
    pub(super) fn contains(&self, id: ContentId) -> bool {
        [ObjectKind::File, ObjectKind::Pieces, ObjectKind::Directory]
            .iter()
            .any(|kind| self.0.contains(&(*kind, id)))
    }

    /// Adds an object without references.
    pub(super) fn insert(&mut self, id: ContentId) {
        self.0.insert((ObjectKind::File, id));
    }

    /// Adds an object and everything that is reachable from it. `None` if an object is missing or malformed.
    pub(super) fn visit(
        &mut self,
        keyspace: &Keyspace,
        kind: ObjectKind,
        id: ContentId,
    ) -> Option<()> {
        // A loop instead of recursion, because the author of the keys decides how deep they go.
        let mut open = vec![(kind, id)];
        while let Some((kind, id)) = open.pop() {
            let kind = if kind == ObjectKind::Link { ObjectKind::File } else { kind };
            if !self.0.insert((kind, id)) {
                continue;
            }
            let value = keyspace.object(id)?;
            match kind {
                ObjectKind::File | ObjectKind::Link => {}
                ObjectKind::Pieces => {
                    open.extend(
                        parse_pieces(&value)?.into_iter().map(|piece| (ObjectKind::File, piece)),
                    );
                }
                ObjectKind::Directory => match parse_list(&value)? {
                    DirectoryList::Divided(parts) => {
                        open.extend(parts.into_iter().map(|part| (ObjectKind::Directory, part)));
                    }
                    DirectoryList::Entries(entries) => {
                        open.extend(entries.into_iter().map(|entry| (entry.kind, entry.id)));
                    }
                },
            }
        }
        Some(())
    }
}
