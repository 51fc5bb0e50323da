//! Compaction of a shared repository in etcd. Many packs become one, and pieces that no manifest needs are deleted.
//! The replica that received the last push does this, and does not prevent other pushes meanwhile.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use headwater_etcd::{CasOutcome, EtcdError, Transaction};

use super::error::ReplicationError;
use super::manifest::{Manifest, ManifestChange, ManifestRelation, Pack, new_id};
use super::packs::{self, PreparedPack};
use super::replica::{Replication, StoredManifest};
use crate::push::repository::HostedRepository;

/// The number of packs above which they become one.
const PACK_COUNT_MAX: usize = 100;
/// The number of bytes that all packs but the first may have, even if the first is smaller.
const LATER_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The number of attempts to commit the combined pack when other pushes add packs meanwhile.
const ATTEMPT_COUNT_MAX: usize = 10;
/// The interval between collections of unneeded pieces.
const COLLECT_EVERY: Duration = Duration::from_secs(600);
/// The number of pieces deleted in one transaction.
const BATCH_COUNT_MAX: usize = 100;

/// Compacts and collects after pushes to this replica.
pub(super) async fn run(repository: Weak<HostedRepository>, replication: Arc<Replication>) {
    let mut collected: Option<Instant> = None;
    loop {
        replication.pushed.notified().await;
        let Some(repository) = repository.upgrade() else { return };
        let combined = combine_packs(&repository, &replication).await;
        let is_due = collected.is_none_or(|at| at.elapsed() > COLLECT_EVERY);
        if let Err(error) = &combined {
            tracing::warn!(
                repository = replication.name,
                %error,
                "packs in etcd cannot be combined, the next push tries again"
            );
        }
        if !is_due && !matches!(combined, Ok(true)) {
            continue;
        }
        collected = Some(Instant::now());
        match replication.collect().await {
            Ok(0) => {}
            Ok(count) => {
                tracing::info!(repository = replication.name, count, "unused keys in etcd deleted");
            }
            Err(error) => tracing::warn!(
                repository = replication.name,
                %error,
                "unused keys in etcd cannot be deleted, a later push tries again"
            ),
        }
    }
}

/// Combines all packs if there are too many. Returns true if it did.
async fn combine_packs(
    repository: &HostedRepository,
    replication: &Arc<Replication>,
) -> Result<bool, ReplicationError> {
    let stored = replication.read_manifest().await?;
    let StoredManifest { manifest: Some(first), mut written_at, .. } = stored else {
        return Ok(false);
    };
    // Objects that are not here cannot be packed. The replica that received their push packs them.
    if !is_overgrown(&first) || replication.relation(&first) != Some(ManifestRelation::Same) {
        return Ok(false);
    }
    let wanted: Vec<&str> = first.references.values().map(String::as_str).collect();
    let mut combined =
        packs::prepare(repository, replication, &wanted, std::iter::empty(), None).await?;
    let mut manifest = first.clone();
    for _ in 0..ATTEMPT_COUNT_MAX {
        let Some(packs) = packs_after(&first, &manifest, &combined) else { return Ok(false) };
        let (references, who) = (manifest.references.clone(), manifest.who.clone());
        let change = ManifestChange { references, packs, who };
        let next = Manifest::next(Some(&manifest), &new_id(), change);
        match replication.commit(written_at, &next, &mut combined, None).await? {
            CasOutcome::Committed => {
                let count = manifest.packs.len();
                tracing::info!(repository = replication.name, count, "packs in etcd combined");
                return Ok(true);
            }
            CasOutcome::Unknown => return Ok(false),
            CasOutcome::Conflict => {}
        }
        let stored = replication.read_manifest().await?;
        let StoredManifest { manifest: Some(now), written_at: at, .. } = stored else {
            return Ok(false);
        };
        (manifest, written_at) = (now, at);
    }
    Ok(false)
}

/// Returns the packs of a manifest, with the combined pack in place of the packs of an earlier manifest. Returns `None`
/// if the manifest no longer begins with these.
///
/// Invariant: a later pack omits only objects that references led to when it was made. These are in the combined pack
/// or in the packs beside it.
fn packs_after(
    first: &Manifest,
    manifest: &Manifest,
    combined: &PreparedPack,
) -> Option<Vec<Pack>> {
    let later = manifest
        .packs
        .strip_prefix(&first.packs[..])
        .filter(|_| manifest.lineage == first.lineage)?;
    Some(combined.pack().into_iter().chain(later).cloned().collect())
}

fn is_overgrown(manifest: &Manifest) -> bool {
    let later: u64 = manifest.packs.iter().skip(1).map(|pack| pack.bytes).sum();
    let first = manifest.packs.first().map_or(0, |pack| pack.bytes);
    manifest.packs.len() > PACK_COUNT_MAX || later > first.max(LATER_BYTES_MAX)
}

impl Replication {
    /// Deletes the pieces of packs that the manifest does not name and that no replica is uploading. Returns their
    /// number.
    ///
    /// A replica that is reading such a pack notices, and begins again with a newer manifest.
    async fn collect(&self) -> Result<usize, ReplicationError> {
        let names = self.connection().await?.names(&self.keys.packs(), 0).await?;
        let mut packs: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        for (name, _) in names {
            if let Some(pack) = self.keys.pack_of(&name) {
                packs.entry(pack.to_owned()).or_default().push(name);
            }
        }
        let mut count = 0;
        for (pack, keys) in packs {
            for batch in keys.chunks(BATCH_COUNT_MAX) {
                let StoredManifest { manifest: Some(manifest), written_at, .. } =
                    self.read_manifest().await?
                else {
                    return Ok(count);
                };
                if manifest.packs.iter().any(|kept| kept.id == pack) {
                    break;
                }
                if self.delete_pieces(&pack, batch, written_at).await? {
                    count += batch.len();
                }
            }
        }
        Ok(count)
    }

    /// Deletes pieces of a pack, if the manifest that does not need them is still current and no replica is uploading
    /// the pack.
    async fn delete_pieces(
        &self,
        pack: &str,
        keys: &[Vec<u8>],
        written_at: i64,
    ) -> Result<bool, EtcdError> {
        let delete = || Transaction {
            unchanged: vec![
                (self.keys.manifest().into_bytes(), written_at),
                (self.keys.upload(pack).into_bytes(), 0),
            ],
            deletes: keys.to_vec(),
            ..Transaction::default()
        };
        self.write(delete).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(id: &str, bytes: u64) -> Pack {
        Pack { id: id.to_owned(), sha256: String::new(), bytes, pieces: 1 }
    }

    fn manifest(packs: &[Pack]) -> Manifest {
        let next = ManifestChange { references: BTreeMap::new(), packs: packs.to_vec(), who: None };
        Manifest { lineage: "lineage".to_owned(), ..Manifest::next(None, "commit", next) }
    }

    #[test]
    fn packs_are_combined_when_they_are_many_or_larger_than_the_first() {
        let many: Vec<Pack> = (0..=PACK_COUNT_MAX).map(|at| pack(&at.to_string(), 1)).collect();
        assert!(is_overgrown(&manifest(&many)));
        assert!(!is_overgrown(&manifest(&many[1..])));
        let large = pack("large", LATER_BYTES_MAX + 1);
        assert!(!is_overgrown(&manifest(&[])));
        assert!(!is_overgrown(&manifest(&[large.clone(), large.clone()])));
        assert!(is_overgrown(&manifest(&[large.clone(), large.clone(), pack("a", 1)])));
        assert!(is_overgrown(&manifest(&[pack("a", 1), large])));
    }

    #[test]
    fn a_pack_pushed_meanwhile_stays_beside_the_combined_pack() {
        let [a, b, c, new] = ["a", "b", "c", "new"].map(|id| pack(id, 1));
        let combined = PreparedPack::Small(new.clone(), bytes::Bytes::new());
        let first = manifest(&[a.clone(), b.clone()]);
        let later = manifest(&[a.clone(), b.clone(), c.clone()]);
        assert_eq!(packs_after(&first, &later, &combined), Some(vec![new, c.clone()]));
        assert_eq!(packs_after(&first, &manifest(&[c]), &combined), None);
        let stranger = Manifest { lineage: "other".to_owned(), ..later };
        assert_eq!(packs_after(&first, &stranger, &combined), None);
    }
}
