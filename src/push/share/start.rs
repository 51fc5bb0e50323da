//! The first time that a repository is shared from here: it brings what is shared from then on, or takes what is.

use std::sync::Arc;

use super::packs::{self, Packed};
use super::programs::Program;
use super::state::{Next, State, new_id};
use super::swap::Swapped;
use super::{Seen, Share, ShareError, follow};
use crate::push::host::Host;
use crate::source::git;

/// How often it is begun again because another replica was faster.
const ATTEMPT_COUNT_MAX: usize = 5;
/// Why a repository cannot be shared.
const STRANGER: &str = "it has commits of its own that are not in etcd: push them there with git, and begin with an empty \
                        repository here, or share it under another prefix";

/// Sees to it that what is here is what is shared. Returns once there is something to serve, and never if there never will be.
pub(super) async fn join(host: &Arc<Host>, share: &Arc<Share>) -> Result<(), ShareError> {
    let _turn = host.turn.lock().await;
    for _ in 0..ATTEMPT_COUNT_MAX {
        let Seen { state, written_at } = share.look().await?;
        let joined = match state {
            Some(state) => take(host, share, &state).await,
            None => bring(host, share, written_at).await,
        };
        match joined {
            Err(ShareError::Replaced) => {}
            joined => return joined,
        }
    }
    Err(ShareError::Replaced)
}

/// Takes what is shared, if all that is here is part of it.
async fn take(host: &Arc<Host>, share: &Arc<Share>, state: &State) -> Result<(), ShareError> {
    if !host.source.references().is_empty() {
        for pack in &state.packs {
            packs::take(host, share, pack).await?;
        }
        if has_own(host, state).await? {
            share.standing.send_modify(|standing| standing.refused = Some(STRANGER.to_owned()));
            tracing::error!(repository = share.name, "a repository cannot be shared: {STRANGER}");
            return std::future::pending().await;
        }
    }
    settle(host, share, state).await
}

/// Makes the repository what a state says, which is written down before anybody is served: from then on it is a shared one,
/// also while etcd is away.
async fn settle(host: &Arc<Host>, share: &Share, state: &State) -> Result<(), ShareError> {
    follow::make(host, share, state).await?;
    follow::write_mark(share, Arc::new(state.mark(&share.cluster.address.prefix))).await?;
    share.has_taken(state);
    Ok(())
}

/// Whether anything is here that the state does not lead to.
async fn has_own(host: &Host, state: &State) -> Result<bool, ShareError> {
    let here = host.source.references();
    let own = here.values().map(|id| format!("{id}\n"));
    let shared = state.references.values().map(|id| format!("^{id}\n"));
    let input: String = own.chain(shared).collect();
    let named = Program::name_one(&host.git, &host.path).run(&host.git, input.as_bytes()).await?;
    Ok(!named.is_empty())
}

/// Shares what is here, or else a first commit, if nobody was faster.
async fn bring(host: &Arc<Host>, share: &Arc<Share>, seen_at: i64) -> Result<(), ShareError> {
    let mut references = host.source.references();
    if references.is_empty() {
        references.extend(first_commit(host, share).await?);
    }
    let wanted: Vec<&str> = references.values().map(String::as_str).collect();
    let mut packed = match wanted.is_empty() {
        true => Packed::Nothing,
        false => packs::make(host, share, &wanted, std::iter::empty(), None).await?,
    };
    let packs = packed.pack().cloned().into_iter().collect();
    let next = State::next(None, &new_id(), Next { references, packs, who: None });
    match share.swap(seen_at, &next, &mut packed).await? {
        Swapped::Done => {
            tracing::info!(repository = share.name, "shared from now on");
            settle(host, share, &next).await
        }
        Swapped::Lost => Err(ShareError::Replaced),
        // Whatever it is, it is looked at again.
        Swapped::Unsure => Err(ShareError::Etcd("it does not say what became of it".to_owned())),
    }
}

/// Makes a commit of the seed that no branch leads to yet.
async fn first_commit(host: &Host, share: &Share) -> Result<Option<(String, String)>, ShareError> {
    let Some(seed) = share.seed.clone() else { return Ok(None) };
    let path = host.path.clone();
    let made = tokio::task::spawn_blocking(move || git::first_commit(&path, &seed)).await;
    let commit = made
        .map_err(|_| ShareError::Unwritable)?
        .map_err(|error| ShareError::Unfit(format!("the seed cannot be used: {error}")))?;
    let head = host.source.head_branch().unwrap_or_default();
    Ok(Some((format!("refs/heads/{head}"), commit)))
}
