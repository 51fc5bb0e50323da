//! Garbage collection of objects that no kept revision of any label references.
//!
//! Invariant: a collection disturbs no reader. Served content is in memory, and a starting server reads at one revision of
//! etcd, which a later deletion does not change.
//!
//! Invariant: a collection breaks no publication. It increments the collection key first, so that a publication that began
//! earlier fails its compare-and-swap, begins again and stores the objects that it needs.

use std::time::SystemTime;

use headwater_etcd::{EtcdError, Transaction, Write};

use super::keys::{SourceKey, parse_id};
use super::objects::ObjectKind;
use super::publish::ReachableObjects;
use super::{EtcdInner, EtcdSource, Keyspace, PublishError};
use crate::model::ContentId;
use crate::sync::lock;

/// The shortest time between two collections that publications start, in seconds.
const COLLECT_EVERY_SECONDS: u64 = 3600;
/// The most objects that one transaction deletes.
const BATCH_COUNT_MAX: usize = 60;

impl EtcdSource {
    /// Deletes the objects that no kept revision of any label references, and returns their number. A publication also
    /// does this if the last collection is long enough ago.
    ///
    /// # Errors
    /// When etcd cannot be read or written, or a kept revision is not completely in memory.
    pub async fn collect(&self) -> Result<usize, PublishError> {
        Ok(self.inner.collect(0).await?)
    }
}

impl EtcdInner {
    /// Collects if the last collection is long enough ago.
    pub(super) async fn collect_if_due(&self) {
        match self.collect(COLLECT_EVERY_SECONDS).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(
                source = self.name(),
                count,
                "deleted objects that no kept revision references"
            ),
            // The next publication tries again.
            Err(fault) => {
                tracing::debug!(source = self.name(), %fault, "objects could not be collected")
            }
        }
    }

    async fn collect(&self, every_seconds: u64) -> Result<usize, EtcdError> {
        let mut connection = self.cluster.connect().await?;
        let key = self.keys.collection();
        let one = |found: Vec<_>| found.into_iter().next().unwrap_or_default();
        let last = one(connection.read(&[&key]).await?);
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        let text = last.bytes.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok());
        let before = text.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        if now.saturating_sub(before) < every_seconds {
            return Ok(0);
        }
        let counted = connection.commit(Transaction {
            unchanged: vec![(key.clone().into_bytes(), last.mod_revision)],
            writes: vec![Write { key: key.clone(), value: now.to_string().into(), lease: None }],
            ..Transaction::default()
        });
        if !counted.await? {
            return Ok(0);
        }
        let begun_at = one(connection.read(&[&key]).await?).mod_revision;
        let mut tips = Vec::new();
        let mut from = Some(self.keys.references().into_bytes());
        while let Some(next) = from {
            let page = connection.page(&next, &self.keys.references(), 0).await?;
            tips.extend(page.keys.into_iter().map(|(_, value)| value));
            from = page.next;
        }
        let kept = self.kept(&tips).ok_or_else(|| {
            EtcdError::Other("a kept revision is not completely in memory yet".to_owned())
        })?;
        let names = connection.names(&self.keys.objects(), 0).await?;
        let is_garbage = |(key, written_at): &(Vec<u8>, i64)| match self.keys.parse(key) {
            SourceKey::Object(id) => *written_at < begun_at && !kept.contains(id),
            _ => false,
        };
        let garbage: Vec<_> = names.into_iter().filter(is_garbage).collect();
        let mut count = 0;
        for batch in garbage.chunks(BATCH_COUNT_MAX) {
            let taken = connection.commit(Transaction {
                unchanged: batch.to_vec(),
                deletes: batch.iter().map(|(key, _)| key.clone()).collect(),
                ..Transaction::default()
            });
            if taken.await? {
                count += batch.len();
            }
        }
        Ok(count)
    }

    /// The objects of the kept revisions of all labels. `None` if one of these revisions is incomplete in memory, because
    /// the garbage is unknown then.
    fn kept(&self, tips: &[Vec<u8>]) -> Option<ReachableObjects> {
        let keyspace = lock(&self.keyspace);
        let mut kept = ReachableObjects::default();
        for tip in tips {
            // A label with an invalid value keeps no object.
            let Some(tip) = std::str::from_utf8(tip).ok().and_then(|text| parse_id(text.trim()))
            else {
                continue;
            };
            keep_line(&keyspace, tip, &mut kept)?;
        }
        Some(kept)
    }
}

fn keep_line(keyspace: &Keyspace, tip: ContentId, kept: &mut ReachableObjects) -> Option<()> {
    keyspace.commit(tip)?;
    for (id, commit) in keyspace.line(tip) {
        kept.insert(id);
        kept.visit(keyspace, ObjectKind::Directory, commit.tree)?;
    }
    Some(())
}
