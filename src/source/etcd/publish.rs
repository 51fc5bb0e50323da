//! Publishing: objects first, each under its own hash, then one compare-and-swap of the label. Until that nobody sees any of
//! it, and after it all of it.
//!
//! `tests/it/shared_push.rs` walks through what happens when two publish at the same time, when one of them dies between any
//! two steps, and when objects are collected meanwhile.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use headwater_etcd::{Connection, Fault, Transaction, Value, Write};
use tokio::time::{Instant, timeout};

use super::held::REVISION_COUNT_MAX;
use super::keys::{hex, is_label, parse_id};
use super::objects::{Bundle, Commit, Kind, List, id_of, parse_list, parse_pieces, tree};
use super::{EtcdSource, Held, Inner, judge};
use crate::model::{ContentId, Revision};
use crate::source::files::Files;
use crate::sync::lock;

/// How many keys one transaction writes at most: etcd takes 128.
const BATCH_COUNT_MAX: usize = 100;
/// How many bytes: etcd takes 1.5 MB.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// How many transactions are under way at the same time.
const BATCHES_AT_ONCE: usize = 8;
/// How often one publication begins again because objects were collected meanwhile.
const ATTEMPT_COUNT_MAX: usize = 5;
/// For how long it is found out what became of a swap whose answer was lost.
const UNSURE_MAX: Duration = Duration::from_secs(15);
/// How long to wait before it is asked again.
const PAUSE: Duration = Duration::from_millis(200);
/// How long to wait until what was published is seen here.
const SEEN_WAIT_MAX: Duration = Duration::from_secs(5);

/// What is published.
#[derive(Debug, Clone)]
pub struct Publication {
    /// All files of the label, by path.
    pub files: Files,
    /// Who publishes, for people.
    pub author: String,
    /// What for, in one line.
    pub subject: String,
    /// When, in seconds since 1970.
    pub seconds: i64,
}

/// Why nothing was published; after [`PublishError::Unsure`] it may have been.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Somebody else was faster, or the label never was where it was thought to be.
    #[error("the label has moved: fetch first")]
    Moved {
        /// Where it is now.
        now: Option<Revision>,
    },
    /// This cannot be published.
    #[error("{0}")]
    Refused(String),
    /// etcd could not be written.
    #[error("etcd did not take it: {0}")]
    Unavailable(String),
    /// etcd was asked and did not answer: it is published whole, or not at all.
    #[error("etcd did not say whether it took it: {0}")]
    Unsure(String),
}

impl From<Fault> for PublishError {
    fn from(fault: Fault) -> Self {
        Self::Unavailable(fault.to_string())
    }
}

/// Where a label is, and what else has to stay as it is until the swap.
struct Seen {
    tip: Option<ContentId>,
    tip_written_at: i64,
    collected_at: i64,
}

impl EtcdSource {
    /// Publishes all files of a label as a revision that follows `expected`; `None` for a label that is not there yet.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish(
        &self,
        label: &str,
        expected: Option<&Revision>,
        publication: Publication,
    ) -> Result<Revision, PublishError> {
        if !is_label(label) {
            return Err(PublishError::Refused("this cannot be the name of a label".to_owned()));
        }
        let Publication { files, author, subject, seconds } = publication;
        let made = tokio::task::spawn_blocking(move || tree(&files)).await;
        let interrupted = |_| PublishError::Refused("it was interrupted".to_owned());
        let (root, objects) = made.map_err(interrupted)?.map_err(PublishError::Refused)?;
        let expected = match expected.map(|it| parse_id(it.as_str())) {
            Some(None) => return Err(PublishError::Moved { now: None }),
            Some(id) => id,
            None => None,
        };
        let commit = Commit {
            tree: root,
            parent: expected,
            seconds,
            author,
            subject,
            nonce: format!("{:032x}", fastrand::u128(..)),
        };
        let value = commit.to_value();
        let id = id_of(&value);
        let ours = Ours { label, parent: expected, id, value, root, objects };
        self.inner.store_and_swap(&ours).await?;
        self.inner.has_seen(label, id).await;
        self.inner.collect_now_and_then().await;
        Ok(Revision::new(hex(id)))
    }
}

/// A revision that is to be.
struct Ours<'a> {
    label: &'a str,
    parent: Option<ContentId>,
    id: ContentId,
    value: Bytes,
    root: ContentId,
    objects: Bundle,
}

impl Inner {
    async fn store_and_swap(&self, ours: &Ours<'_>) -> Result<(), PublishError> {
        let mut connection = self.cluster.connect().await?;
        let is_first = lock(&self.held).is_empty();
        // Who may not look there may not write there either.
        if is_first && self.is_of_others(&mut connection).await.unwrap_or(false) {
            return Err(PublishError::Refused(judge::OF_OTHERS.to_owned()));
        }
        for _ in 0..ATTEMPT_COUNT_MAX {
            let seen = self.look(&mut connection, ours.label).await?;
            if seen.tip != ours.parent {
                return Err(moved(seen.tip));
            }
            self.store(&connection, ours, &seen).await?;
            match connection.commit(self.swap(ours, &seen)).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(fault @ Fault::Refused(_)) => {
                    return self.refused(&mut connection, ours, fault).await;
                }
                Err(fault) => return self.settle(ours, &seen, &fault).await,
            }
            let now = self.look(&mut connection, ours.label).await?;
            if (now.tip_written_at, now.collected_at) == (seen.tip_written_at, seen.collected_at) {
                return Err(PublishError::Refused(
                    "the label has files that were put by hand: delete them first".to_owned(),
                ));
            }
        }
        Err(PublishError::Unavailable("objects are collected over and over".to_owned()))
    }

    /// What became of a swap that etcd says it refused: one that takes it over its space quota it may have made all the same.
    async fn refused(
        &self,
        connection: &mut Connection,
        ours: &Ours<'_>,
        fault: Fault,
    ) -> Result<(), PublishError> {
        match self.outcome(connection, ours).await {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) => Err(fault.into()),
            None => Err(PublishError::Unsure(fault.to_string())),
        }
    }

    async fn look(&self, connection: &mut Connection, label: &str) -> Result<Seen, PublishError> {
        let (reference, collection) = (self.keys.reference(label), self.keys.collection());
        let mut found = connection.read(&[&reference, &collection]).await?.into_iter();
        let mut next = || found.next().unwrap_or_default();
        let (reference, collection): (Value, Value) = (next(), next());
        let tip = match &reference.bytes {
            Some(bytes) => {
                let text = std::str::from_utf8(bytes).ok();
                let id = text.and_then(|text| parse_id(text.trim()));
                Some(id.ok_or_else(|| {
                    PublishError::Refused("the label leads to something that is no revision".into())
                })?)
            }
            None => None,
        };
        Ok(Seen { tip, tip_written_at: reference.written_at, collected_at: collection.written_at })
    }

    fn swap(&self, ours: &Ours<'_>, seen: &Seen) -> Transaction {
        let key = self.keys.reference(ours.label);
        let collection = self.keys.collection().into_bytes();
        Transaction {
            unchanged: vec![
                (key.clone().into_bytes(), seen.tip_written_at),
                (collection, seen.collected_at),
            ],
            absent: vec![self.keys.files(ours.label)],
            writes: vec![Write { key, value: hex(ours.id).into(), lease: None }],
            deletes: Vec::new(),
        }
    }

    /// Stores what the parent does not lead to. What lies there and leads nowhere is stored again: it may be collected.
    async fn store(
        &self,
        connection: &Connection,
        ours: &Ours<'_>,
        seen: &Seen,
    ) -> Result<(), PublishError> {
        let known = {
            let held = lock(&self.held);
            let mut known = Reached::default();
            let parent = seen.tip.and_then(|tip| held.commit(tip));
            let visited = parent.map(|it| known.visit(&held, Kind::Directory, it.tree));
            // What is not known whole here is stored again.
            if visited.flatten().is_some() { known } else { Reached::default() }
        };
        let mut values: Vec<(String, Bytes)> = Vec::new();
        if !known.contains(ours.root) {
            let new = ours.objects.iter().filter(|(id, _)| !known.contains(**id));
            values.extend(new.map(|(id, value)| (self.keys.object(*id), value.clone())));
        }
        values.push((self.keys.object(ours.id), ours.value.clone()));
        let stored = stream::iter(batches(values)).map(|batch| {
            let mut connection = connection.clone();
            let write = |(key, value)| Write { key, value, lease: None };
            let writes = batch.into_iter().map(write).collect();
            async move { connection.commit(Transaction { writes, ..Transaction::default() }).await }
        });
        let mut stored = stored.buffer_unordered(BATCHES_AT_ONCE);
        while let Some(done) = stored.next().await {
            done?;
        }
        Ok(())
    }

    /// What became of a swap whose answer was lost: it is made again until there is an answer. It can be made twice, since
    /// the first that is made keeps the second from it.
    async fn settle(
        &self,
        ours: &Ours<'_>,
        seen: &Seen,
        fault: &Fault,
    ) -> Result<(), PublishError> {
        let end = Instant::now() + UNSURE_MAX;
        while Instant::now() < end {
            if let Ok(mut connection) = self.cluster.connect().await {
                match connection.commit(self.swap(ours, seen)).await {
                    Ok(true) => return Ok(()),
                    Ok(false) => {
                        if let Some(outcome) = self.outcome(&mut connection, ours).await {
                            return outcome;
                        }
                    }
                    Err(_) => {}
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(PublishError::Unsure(fault.to_string()))
    }

    /// Whether the label leads to our revision, once nothing can make it do so later. Nothing if that cannot be said.
    async fn outcome(
        &self,
        connection: &mut Connection,
        ours: &Ours<'_>,
    ) -> Option<Result<(), PublishError>> {
        let tip = self.look(connection, ours.label).await.ok()?.tip;
        let mut next = tip;
        for _ in 0..REVISION_COUNT_MAX {
            let Some(id) = next else { break };
            if id == ours.id {
                return Some(Ok(()));
            }
            let found = connection.read(&[&self.keys.object(id)]).await.ok()?.pop()?;
            next = found.bytes.and_then(|value| Commit::parse(&value)).and_then(|it| it.parent);
        }
        if tip == ours.parent {
            let again = "objects were collected meanwhile, try again".to_owned();
            return Some(Err(PublishError::Unavailable(again)));
        }
        Some(Err(moved(tip)))
    }

    /// Waits, not for ever, until what was published can be loaded here.
    async fn has_seen(&self, label: &str, id: ContentId) {
        let is_there =
            |held: &Held| held.tip(label).is_some_and(|tip| held.line(tip).any(|it| it.0 == id));
        let mut state = self.state.subscribe();
        let seen = state.wait_for(|_| is_there(&lock(&self.held)));
        // It is published whether it is seen here or not.
        let _ = timeout(SEEN_WAIT_MAX, seen).await;
    }
}

fn moved(now: Option<ContentId>) -> PublishError {
    PublishError::Moved { now: now.map(|id| Revision::new(hex(id))) }
}

/// Transactions of a size that etcd takes.
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

/// Objects that something leads to, each as what it is there: two kinds of objects may have the same value.
#[derive(Default)]
pub(super) struct Reached(HashSet<(Kind, ContentId)>);

impl Reached {
    /// Whether anything leads to this object.
    pub(super) fn contains(&self, id: ContentId) -> bool {
        [Kind::File, Kind::Pieces, Kind::Directory].iter().any(|kind| self.0.contains(&(*kind, id)))
    }

    /// Adds one that leads nowhere.
    pub(super) fn insert(&mut self, id: ContentId) {
        self.0.insert((Kind::File, id));
    }

    /// Adds an object and all that it leads to. Nothing if something is missing.
    pub(super) fn visit(&mut self, held: &Held, kind: Kind, id: ContentId) -> Option<()> {
        // No recursion: how deep it goes is for whoever writes the keys to choose.
        let mut open = vec![(kind, id)];
        while let Some((kind, id)) = open.pop() {
            let kind = if kind == Kind::Link { Kind::File } else { kind };
            if !self.0.insert((kind, id)) {
                continue;
            }
            let value = held.object(id)?;
            match kind {
                Kind::File | Kind::Link => {}
                Kind::Pieces => {
                    open.extend(parse_pieces(&value)?.into_iter().map(|piece| (Kind::File, piece)));
                }
                Kind::Directory => match parse_list(&value)? {
                    List::Divided(parts) => {
                        open.extend(parts.into_iter().map(|part| (Kind::Directory, part)));
                    }
                    List::Entries(entries) => {
                        open.extend(entries.into_iter().map(|entry| (entry.kind, entry.id)));
                    }
                },
            }
        }
        Some(())
    }
}
