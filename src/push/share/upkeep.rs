//! What etcd keeps of a repository stays in proportion to it: many packs become one, and pieces that no state needs are taken
//! away. Whoever pushed last does it, and whoever pushes meanwhile is not kept from it.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use headwater_etcd::{Fault, Transaction};

use super::packs::{self, Packed};
use super::state::{Next, Pack, Relation, State, new_id};
use super::swap::Swapped;
use super::{Seen, Share, ShareError};
use crate::push::host::Host;

/// How many packs there may be until they become one.
const PACK_COUNT_MAX: usize = 100;
/// How many bytes all packs but the first may have even if that one is smaller.
const LATER_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How often new packs are put beside the one that was made, because others pushed meanwhile.
const ATTEMPT_COUNT_MAX: usize = 10;
/// How often it is looked for what nobody needs.
const COLLECT_EVERY: Duration = Duration::from_secs(600);
/// How many pieces are taken away in one step.
const BATCH_COUNT_MAX: usize = 100;

/// Looks after it whenever something was pushed here.
pub(super) async fn keep(host: Weak<Host>, share: Arc<Share>) {
    let mut collected: Option<Instant> = None;
    loop {
        share.pushed.notified().await;
        let Some(host) = host.upgrade() else { return };
        let repacked = repack(&host, &share).await;
        let is_due = collected.is_none_or(|at| at.elapsed() > COLLECT_EVERY);
        if let Err(error) = &repacked {
            tracing::warn!(repository = share.name, %error, "packs in etcd stay as they are");
        }
        if !is_due && !matches!(repacked, Ok(true)) {
            continue;
        }
        collected = Some(Instant::now());
        match share.collect().await {
            Ok(0) => {}
            Ok(count) => tracing::info!(repository = share.name, count, "collected keys in etcd"),
            Err(error) => tracing::warn!(repository = share.name, %error, "nothing was collected"),
        }
    }
}

/// Makes one pack of all, if there are too many; whether it did.
async fn repack(host: &Arc<Host>, share: &Arc<Share>) -> Result<bool, ShareError> {
    let Seen { state: Some(first), mut written_at } = share.look().await? else {
        return Ok(false);
    };
    // What is not here cannot be packed; whoever pushed it will.
    if !is_overgrown(&first) || share.relation(&first) != Some(Relation::Same) {
        return Ok(false);
    }
    let wanted: Vec<&str> = first.references.values().map(String::as_str).collect();
    let mut packed = packs::make(host, share, &wanted, std::iter::empty(), None).await?;
    let mut state = first.clone();
    for _ in 0..ATTEMPT_COUNT_MAX {
        let Some(packs) = repacked(&first, &state, &packed) else { return Ok(false) };
        let (references, who) = (state.references.clone(), state.who.clone());
        let next = State::next(Some(&state), &new_id(), Next { references, packs, who });
        match share.swap(written_at, &next, &mut packed).await? {
            Swapped::Done => {
                let count = state.packs.len();
                tracing::info!(repository = share.name, count, "packs in etcd became one");
                return Ok(true);
            }
            Swapped::Unsure => return Ok(false),
            Swapped::Lost => {}
        }
        let Seen { state: Some(now), written_at: at } = share.look().await? else {
            return Ok(false);
        };
        (state, written_at) = (now, at);
    }
    Ok(false)
}

/// The packs of a state, with one in place of those that an earlier state had. Nothing if they are not those any more.
///
/// What came later was packed without what references led to by then, and all of that is in the new one or in those beside it.
fn repacked(first: &State, state: &State, packed: &Packed) -> Option<Vec<Pack>> {
    let later = state.packs.strip_prefix(&first.packs[..]).filter(|_| state.life == first.life)?;
    Some(packed.pack().into_iter().chain(later).cloned().collect())
}

fn is_overgrown(state: &State) -> bool {
    let later: u64 = state.packs.iter().skip(1).map(|pack| pack.bytes).sum();
    let first = state.packs.first().map_or(0, |pack| pack.bytes);
    state.packs.len() > PACK_COUNT_MAX || later > first.max(LATER_BYTES_MAX)
}

impl Share {
    /// Takes away the pieces of packs that the state does not name and that nobody is uploading; says how many.
    ///
    /// Whoever reads such a pack just now finds out, and begins with a newer state.
    async fn collect(&self) -> Result<usize, ShareError> {
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
                let Seen { state: Some(state), written_at } = self.look().await? else {
                    return Ok(count);
                };
                if state.packs.iter().any(|kept| kept.id == pack) {
                    break;
                }
                if self.take_away(&pack, batch, written_at).await? {
                    count += batch.len();
                }
            }
        }
        Ok(count)
    }

    /// Deletes some pieces of a pack, if the state is still the one that does not need them, and nobody is uploading it.
    async fn take_away(
        &self,
        pack: &str,
        keys: &[Vec<u8>],
        state_written_at: i64,
    ) -> Result<bool, Fault> {
        let delete = || Transaction {
            unchanged: vec![
                (self.keys.state().into_bytes(), state_written_at),
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

    fn state(packs: &[Pack]) -> State {
        let next = Next { references: BTreeMap::new(), packs: packs.to_vec(), who: None };
        State { life: "life".to_owned(), ..State::next(None, "swap", next) }
    }

    #[test]
    fn packs_become_one_when_they_are_many_or_larger_than_the_first() {
        let many: Vec<Pack> = (0..=PACK_COUNT_MAX).map(|at| pack(&at.to_string(), 1)).collect();
        assert!(is_overgrown(&state(&many)));
        assert!(!is_overgrown(&state(&many[1..])));
        let large = pack("large", LATER_BYTES_MAX + 1);
        assert!(!is_overgrown(&state(&[])));
        assert!(!is_overgrown(&state(&[large.clone(), large.clone()])));
        assert!(is_overgrown(&state(&[large.clone(), large.clone(), pack("a", 1)])));
        assert!(is_overgrown(&state(&[pack("a", 1), large])));
    }

    #[test]
    fn what_was_pushed_meanwhile_stays_beside_the_new_pack() {
        let [a, b, c, new] = ["a", "b", "c", "new"].map(|id| pack(id, 1));
        let packed = Packed::Small(new.clone(), bytes::Bytes::new());
        let first = state(&[a.clone(), b.clone()]);
        let later = state(&[a.clone(), b.clone(), c.clone()]);
        assert_eq!(repacked(&first, &later, &packed), Some(vec![new, c.clone()]));
        assert_eq!(repacked(&first, &state(&[c]), &packed), None);
        let stranger = State { life: "other".to_owned(), ..later };
        assert_eq!(repacked(&first, &stranger, &packed), None);
    }
}
