//! Takes away objects that no kept revision of any label leads to.
//!
//! Nobody who reads needs them any more: what is served is held in memory, and who begins reads at one revision of etcd,
//! which deleting does not change. Who publishes is safe because a collection counts itself first: a publication that began
//! before it begins again, and stores again what it needs.

use std::time::SystemTime;

use headwater_etcd::{Fault, Transaction, Write};

use super::keys::{Key, parse_id};
use super::objects::Kind;
use super::publish::Reached;
use super::{EtcdSource, Held, Inner, PublishError};
use crate::model::ContentId;
use crate::sync::lock;

/// How long after a collection, in seconds, the next one is made; by whoever publishes then.
const COLLECT_EVERY_SECONDS: u64 = 3600;
/// How many objects are taken away in one step.
const BATCH_COUNT_MAX: usize = 60;

impl EtcdSource {
    /// Takes away what no kept revision of any label leads to, and says how many objects that were. Whoever publishes does
    /// this now and then.
    ///
    /// # Errors
    /// When etcd cannot be read or written, or not all that is kept is known here.
    pub async fn collect(&self) -> Result<usize, PublishError> {
        Ok(self.inner.collect(0).await?)
    }
}

impl Inner {
    pub(super) async fn collect_now_and_then(&self) {
        match self.collect(COLLECT_EVERY_SECONDS).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(source = self.name(), count, "collected objects"),
            // The next one who publishes tries again.
            Err(fault) => tracing::debug!(source = self.name(), %fault, "nothing was collected"),
        }
    }

    async fn collect(&self, every_seconds: u64) -> Result<usize, Fault> {
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
            unchanged: vec![(key.clone().into_bytes(), last.written_at)],
            writes: vec![Write { key: key.clone(), value: now.to_string().into(), lease: None }],
            ..Transaction::default()
        });
        if !counted.await? {
            return Ok(0);
        }
        let begun_at = one(connection.read(&[&key]).await?).written_at;
        let mut tips = Vec::new();
        let mut from = Some(self.keys.references().into_bytes());
        while let Some(next) = from {
            let page = connection.page(&next, &self.keys.references(), 0).await?;
            tips.extend(page.keys.into_iter().map(|(_, value)| value));
            from = page.next;
        }
        let kept = self
            .kept(&tips)
            .ok_or_else(|| Fault::Other("not all that is kept is known here yet".to_owned()))?;
        let names = connection.names(&self.keys.objects(), 0).await?;
        let is_garbage = |(key, written_at): &(Vec<u8>, i64)| match self.keys.parse(key) {
            Key::Object(id) => *written_at < begun_at && !kept.contains(id),
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

    /// What the kept revisions of all labels consist of. Nothing if one of them is not known whole here: then it cannot be
    /// said what is garbage.
    fn kept(&self, tips: &[Vec<u8>]) -> Option<Reached> {
        let held = lock(&self.held);
        let mut kept = Reached::default();
        for tip in tips {
            // A label that leads nowhere keeps nothing.
            let Some(tip) = std::str::from_utf8(tip).ok().and_then(|text| parse_id(text.trim()))
            else {
                continue;
            };
            keep_line(&held, tip, &mut kept)?;
        }
        Some(kept)
    }
}

fn keep_line(held: &Held, tip: ContentId, kept: &mut Reached) -> Option<()> {
    held.commit(tip)?;
    for (id, commit) in held.line(tip) {
        kept.insert(id);
        kept.visit(held, Kind::Directory, commit.tree)?;
    }
    Some(())
}
