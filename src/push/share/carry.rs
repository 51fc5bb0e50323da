//! A push on its way through etcd: from when its turn has come until the state in etcd says what it asks for.

use std::sync::Arc;

use tokio::sync::OwnedRwLockWriteGuard;

use super::packs::{self, Packed};
use super::state::{Next, State, new_id};
use super::swap::Swapped;
use super::{Share, ShareError, follow};
use crate::push::host::Host;
use crate::push::updates::Question;
use crate::push::verdict::BUSY;

/// How often a push begins again because another one was faster that moves other references.
const ATTEMPT_COUNT_MAX: usize = 30;
/// What the pusher reads when nobody knows.
const UNSURE: &str = "etcd does not say whether it took this";

/// A push that is not in etcd yet.
pub(in crate::push) struct Carrying {
    host: Arc<Host>,
    share: Arc<Share>,
    question: Question,
    who: Option<Arc<str>>,
    state: State,
    written_at: i64,
    /// What it brings to this state.
    packed: Option<Packed>,
}

/// A push that is in etcd: from now on it is to be made here, too.
pub(in crate::push) struct Carried {
    share: Arc<Share>,
    state: State,
}

/// Why a push is not known to be in etcd, in words for who pushes.
pub(in crate::push) enum Uncarried {
    /// It is not.
    Refused(String),
    /// Nobody knows.
    Unsure(&'static str),
}

impl Carrying {
    /// Sees to it that all is here that etcd has. Whoever calls holds the turn.
    ///
    /// # Errors
    /// Why nothing can be pushed, in words for who pushes.
    pub(in crate::push) async fn begin(
        host: &Arc<Host>,
        share: &Arc<Share>,
        question: &Question,
        who: Option<Arc<str>>,
    ) -> Result<Self, String> {
        if let Some(away) = share.away_for() {
            return Err(format!("etcd is away since {} s: nothing was pushed", away.as_secs()));
        }
        let taken = follow::take_newest(host, share).await;
        let (state, written_at) = taken.map_err(|error| refusal(&error))?;
        let (host, share, question) = (Arc::clone(host), Arc::clone(share), question.clone());
        Ok(Self { host, share, question, who, state, written_at, packed: None })
    }

    /// Packs what this push brings, and uploads it if it is large: while it is checked.
    ///
    /// # Errors
    /// As for [`Carrying::begin`].
    pub(in crate::push) async fn pack(&mut self) -> Result<(), String> {
        self.pack_anew().await.map_err(|error| refusal(&error))
    }

    async fn pack_anew(&mut self) -> Result<(), ShareError> {
        let wanted: Vec<&str> =
            self.question.updates.iter().filter_map(|update| update.new.as_deref()).collect();
        self.packed = Some(match wanted.is_empty() {
            true => Packed::Nothing,
            false => {
                let known = self.state.references.values();
                let quarantine = self.question.quarantine.as_deref();
                packs::make(&self.host, &self.share, &wanted, known, quarantine).await?
            }
        });
        Ok(())
    }

    /// Swaps. Gives with it that nobody lists references from now on, until they have moved here.
    pub(in crate::push) async fn carry(
        mut self,
    ) -> Result<(Carried, OwnedRwLockWriteGuard<()>), Uncarried> {
        let head = self.host.source.head_branch().unwrap_or_default().to_owned();
        let refused = |error: ShareError| Uncarried::Refused(refusal(&error));
        for _ in 0..ATTEMPT_COUNT_MAX {
            let references = self.state.moved(&self.question.updates, &head);
            let references = references.map_err(Uncarried::Refused)?;
            if self.packed.is_none() {
                self.pack_anew().await.map_err(refused)?;
            }
            let Some(moving) = self.host.unlisted().await else {
                return Err(Uncarried::Refused(BUSY.to_owned()));
            };
            let next = self.next(references);
            let packed = self.packed.as_mut().expect("it was packed just now");
            match self.share.swap(self.written_at, &next, packed).await.map_err(refused)? {
                Swapped::Done => {
                    return Ok((Carried { share: self.share, state: next }, moving));
                }
                Swapped::Unsure => return Err(Uncarried::Unsure(UNSURE)),
                Swapped::Lost => {}
            }
            drop(moving);
            // What leads from there to here is another pack.
            self.packed = None;
            let taken = follow::take_newest(&self.host, &self.share).await;
            (self.state, self.written_at) = taken.map_err(refused)?;
        }
        Err(Uncarried::Refused("others push all the time: try again".to_owned()))
    }

    fn next(&self, references: std::collections::BTreeMap<String, String>) -> State {
        let pack = self.packed.as_ref().and_then(Packed::pack);
        let next = Next {
            references,
            packs: self.state.packs.iter().chain(pack).cloned().collect(),
            who: self.who.as_deref().map(str::to_owned),
        };
        State::next(Some(&self.state), &new_id(), next)
    }
}

impl Carried {
    /// Says that git has ended. Whether it made all of it: if not, it will be made, and the pusher can be told nothing.
    pub(in crate::push) fn is_made(&self, host: &Host) -> bool {
        let is_made = host.source.references() == self.state.references;
        if is_made {
            self.share.has_taken(&self.state);
            self.share.pushed.notify_one();
        }
        // The mark is to be written, or the rest to be made.
        self.share.bell.notify_one();
        is_made
    }
}

fn refusal(error: &ShareError) -> String {
    format!("{error}: nothing was pushed")
}
