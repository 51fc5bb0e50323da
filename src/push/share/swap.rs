//! The one step on which everything hangs: the state in etcd becomes the next one, if it is still what was seen.

use std::time::{Duration, Instant};

use headwater_etcd::{Fault, Transaction, Write};

use super::packs::Packed;
use super::state::{STATE_BYTES_MAX, State};
use super::{Share, ShareError};

/// For how long it is found out what became of a swap whose answer was lost.
const UNSURE_MAX: Duration = Duration::from_secs(10);
/// How long to wait before it is asked again.
const PAUSE: Duration = Duration::from_millis(100);

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Swapped {
    Done,
    /// Somebody else was faster, or the upload was not there any more. It will never be.
    Lost,
    /// Etcd does not say.
    Unsure,
}

impl Share {
    /// Swaps the state that was written at a revision of etcd (0 where there is none) for the next one, with what it brings.
    ///
    /// # Errors
    /// When it was not done, and never will be.
    pub(super) async fn swap(
        &self,
        seen_at: i64,
        next: &State,
        packed: &mut Packed,
    ) -> Result<Swapped, ShareError> {
        let value = bytes::Bytes::from(next.to_json());
        if value.len() > STATE_BYTES_MAX {
            let reason = "too many branches and tags for a repository that is shared";
            return Err(ShareError::Unfit(reason.to_owned()));
        }
        let transaction = || self.transaction(seen_at, &value, packed);
        let mut connection = self.connection().await?;
        let swapped = match connection.commit(transaction()).await {
            Ok(true) => Swapped::Done,
            Ok(false) => Swapped::Lost,
            Err(fault @ Fault::Refused(_)) => self.refused(fault, next).await?,
            Err(_) => self.settle(transaction, next).await,
        };
        if let Packed::Uploaded(upload) = packed {
            match swapped {
                Swapped::Done => upload.is_taken(),
                Swapped::Lost => {}
                Swapped::Unsure => upload.is_unknown(),
            }
        }
        Ok(swapped)
    }

    fn transaction(&self, seen_at: i64, value: &bytes::Bytes, packed: &Packed) -> Transaction {
        let key = self.keys.state();
        let mut transaction = Transaction {
            unchanged: vec![(key.clone().into_bytes(), seen_at)],
            writes: vec![Write { key, value: value.clone(), lease: None }],
            ..Transaction::default()
        };
        match packed {
            Packed::Nothing => {}
            Packed::Small(pack, bytes) => {
                let key = self.keys.piece(&pack.id, 0);
                transaction.writes.push(Write { key, value: bytes.clone(), lease: None });
            }
            Packed::Uploaded(upload) => {
                let pack = packed.pack().map_or("", |pack| &pack.id);
                let key = self.keys.upload(pack).into_bytes();
                transaction.unchanged.push((key.clone(), upload.written_at));
                transaction.deletes.push(key);
            }
        }
        transaction
    }

    /// What became of a swap that etcd says it refused: one that takes it over its space quota it may have made all the same.
    async fn refused(&self, fault: Fault, next: &State) -> Result<Swapped, ShareError> {
        match self.look().await.map(|seen| outcome(seen.state.as_ref(), next)) {
            Ok(Swapped::Lost) => Err(fault.into()),
            Ok(swapped) => Ok(swapped),
            Err(_) => Ok(Swapped::Unsure),
        }
    }

    /// What became of a swap whose answer was lost: it is made again until there is an answer. It can be made twice, since
    /// the first that is made keeps the second from it.
    async fn settle(&self, transaction: impl Fn() -> Transaction, next: &State) -> Swapped {
        let begun = Instant::now();
        loop {
            self.forget_connection();
            let again = async { self.connection().await?.commit(transaction()).await };
            match again.await {
                Ok(true) => return Swapped::Done,
                Ok(false) => {
                    if let Ok(seen) = self.look().await {
                        return outcome(seen.state.as_ref(), next);
                    }
                }
                Err(_) => {}
            }
            if begun.elapsed() > UNSURE_MAX {
                return Swapped::Unsure;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// What a state says of a swap that cannot be made any more.
fn outcome(state: Option<&State>, next: &State) -> Swapped {
    match state {
        Some(state) if state.recent.iter().any(|swap| swap == next.swap()) => Swapped::Done,
        Some(state) if state.life == next.life && !state.would_name(next.sequence) => {
            Swapped::Unsure
        }
        _ => Swapped::Lost,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::state::Next;
    use super::*;

    #[test]
    fn what_became_of_a_swap_is_told_by_those_after_it() {
        let next = || Next { references: BTreeMap::new(), packs: Vec::new(), who: None };
        let first = State::next(None, "first", next());
        let ours = State::next(Some(&first), "ours", next());
        let theirs = State::next(Some(&first), "theirs", next());
        let mut after = State::next(Some(&ours), "after", next());
        assert_eq!(outcome(Some(&ours), &ours), Swapped::Done);
        assert_eq!(outcome(Some(&after), &ours), Swapped::Done);
        assert_eq!(outcome(Some(&theirs), &ours), Swapped::Lost);
        assert_eq!(outcome(None, &ours), Swapped::Lost);
        for number in 0..100 {
            after = State::next(Some(&after), &number.to_string(), next());
        }
        assert_eq!(outcome(Some(&after), &ours), Swapped::Unsure);
    }
}
