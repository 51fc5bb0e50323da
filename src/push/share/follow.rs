//! What was pushed elsewhere becomes ours: objects first, then references, then it is published as a push to this replica is.
//!
//! What etcd tells is only a bell. What counts is what it says when it is asked, so that nothing is taken in the wrong order.
//! All of it can be done again, wherever it was broken off.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use headwater_etcd::{Fault, Follower, News};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::programs::Program;
use super::state::{Mark, Pack, Relation, State};
use super::{Seen, Share, ShareError, mark, packs, start, upkeep};
use crate::push::host::{Host, Waiting};
use crate::push::verdict;
use crate::source::Outage;
use crate::store::Actor;

/// How long to wait before what failed is tried again, the first time and at most.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How often it is begun again because a pack was replaced meanwhile.
const ATTEMPT_COUNT_MAX: usize = 5;

/// The following of one repository, for as long as this is held.
pub(in crate::push) struct Following([AbortHandle; 3]);

impl Following {
    /// Begins it.
    pub(in crate::push) fn begin(host: &Arc<Host>, share: &Arc<Share>, runtime: &Handle) -> Self {
        let keeping = keep(Arc::downgrade(host), Arc::clone(share));
        let upkeep = upkeep::keep(Arc::downgrade(host), Arc::clone(share));
        share.bell.notify_one();
        Self([
            runtime.spawn(listen(Arc::clone(share))).abort_handle(),
            runtime.spawn(keeping).abort_handle(),
            runtime.spawn(upkeep).abort_handle(),
        ])
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

/// Hears of every change of the state, and of how the connection is.
async fn listen(share: Arc<Share>) {
    let mut follower = Follower::new(share.cluster.clone(), share.keys.state());
    loop {
        match follower.next().await {
            News::Away(fault) => share.is_away(&fault),
            News::Following => {
                share.is_back();
                share.bell.notify_one();
            }
            News::Changes(_) => {
                share.has_heard();
                share.bell.notify_one();
            }
            News::Alive | News::Whole => share.has_heard(),
            News::Anew | News::Keys(_) => {}
        }
    }
}

/// Takes what is new whenever the bell rings, and what could not be taken again and again.
async fn keep(host: Weak<Host>, share: Arc<Share>) {
    let mut pause = PAUSE_MIN;
    loop {
        let Some(now) = host.upgrade() else { return };
        match take_news(&now, &share).await {
            Ok(()) => {
                share.set_trouble(None);
                pause = PAUSE_MIN;
                drop(now);
                share.bell.notified().await;
            }
            Err(error) => {
                // That etcd is away is told by whoever listens to it.
                if !matches!(error, ShareError::Etcd(_)) {
                    share.set_trouble(Some(error.to_string()));
                }
                drop(now);
                // Whether it rings or not, it is tried again.
                let _ = timeout(pause, share.bell.notified()).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

async fn take_news(host: &Arc<Host>, share: &Arc<Share>) -> Result<(), ShareError> {
    if share.mark().is_none() {
        start::join(host, share).await?;
    }
    let before = share.mark();
    let seen = share.look().await?;
    if share.is_news(&seen) {
        let waiting = Waiting::on(host);
        let _turn = host.turn.lock().await;
        drop(waiting);
        // What was seen before the turn leads on from what was here then, and from nothing else.
        let seen = (share.mark() == before).then_some(seen);
        take_from(host, share, seen).await?;
        host.pushed.notify_one();
    }
    match share.mark() {
        Some(mark) => write_mark(share, mark).await,
        None => Ok(()),
    }
}

/// Writes down how far the repository is.
pub(super) async fn write_mark(share: &Share, taken: Arc<Mark>) -> Result<(), ShareError> {
    let path = share.path.clone();
    let written = tokio::task::spawn_blocking(move || {
        match mark::read(&path, &taken.prefix).as_ref() == Some(&*taken) {
            true => Ok(()),
            false => mark::write(&path, &taken),
        }
    });
    match written.await {
        Ok(Ok(())) => Ok(()),
        _ => Err(ShareError::Unwritable),
    }
}

/// Takes what etcd has, and gives it with the revision of etcd that wrote it. Whoever calls holds the turn.
pub(super) async fn take_newest(
    host: &Arc<Host>,
    share: &Arc<Share>,
) -> Result<(State, i64), ShareError> {
    take_from(host, share, None).await
}

/// The same, from what was seen since something was taken here last.
async fn take_from(
    host: &Arc<Host>,
    share: &Arc<Share>,
    mut seen: Option<Seen>,
) -> Result<(State, i64), ShareError> {
    for _ in 0..ATTEMPT_COUNT_MAX {
        let Seen { state, written_at } = match seen.take() {
            Some(seen) => seen,
            None => share.look().await?,
        };
        let (state, is_news) = share.judge(state)?;
        if !is_news {
            return Ok((state, written_at));
        }
        match take(host, share, &state).await {
            Err(ShareError::Replaced) => {}
            taken => return taken.map(|()| (state, written_at)),
        }
    }
    Err(ShareError::Replaced)
}

/// Makes the repository what a state says, and says that it is. Whoever calls holds the turn.
async fn take(host: &Arc<Host>, share: &Arc<Share>, state: &State) -> Result<(), ShareError> {
    make(host, share, state).await?;
    share.has_taken(state);
    Ok(())
}

/// Makes the repository what a state says. Whoever calls holds the turn.
pub(super) async fn make(host: &Arc<Host>, share: &Share, state: &State) -> Result<(), ShareError> {
    verdict::catch_up(host).await.map_err(|_| ShareError::Unwritable)?;
    let here = host.source.references();
    let moves = Moves::between(&here, &state.references);
    if !moves.names.is_empty() {
        take_objects(host, share, state, &here).await?;
        verdict::sync(host).await.map_err(|()| ShareError::Unwritable)?;
        let _moving = host.unlisted().await.ok_or(ShareError::Listed)?;
        let moved = moves.make(host).await;
        let actor = Actor::Push(state.who.as_deref().map(Arc::from));
        // What moved is published, even if not all of it did.
        let published = host.publish(moves.names, &actor).await;
        moved?;
        published.map_err(|_| ShareError::Unwritable)?;
    }
    Ok(())
}

/// Takes the packs out of etcd that are needed, until all is here that the references lead to.
async fn take_objects(
    host: &Host,
    share: &Share,
    state: &State,
    here: &BTreeMap<String, String>,
) -> Result<(), ShareError> {
    let known: std::collections::BTreeSet<&String> = here.values().collect();
    let tips: Vec<&String> = state.references.values().filter(|id| !known.contains(id)).collect();
    if tips.is_empty() {
        return Ok(());
    }
    if let Some(mark) = share.mark() {
        // The first may be many in one, of which most is here.
        let later = state.packs.iter().skip(1).filter(|pack| !mark.packs.contains(&pack.id));
        match take_packs(host, share, later).await {
            // Git has seen just now that nothing is missing that is named in them. To walk through all directories that they
            // have in common with what was here takes it longer than all the rest.
            Ok(()) if state.adds_to(&mark) || is_connected(host, &tips).await => return Ok(()),
            Ok(()) | Err(ShareError::Git(_)) => {}
            Err(error) => return Err(error),
        }
    }
    take_packs(host, share, state.packs.iter()).await?;
    match is_connected(host, &tips).await {
        true => Ok(()),
        false => Err(ShareError::Unconnected),
    }
}

async fn take_packs(
    host: &Host,
    share: &Share,
    packs: impl Iterator<Item = &Pack>,
) -> Result<(), ShareError> {
    for pack in packs {
        packs::take(host, share, pack).await?;
    }
    Ok(())
}

async fn is_connected(host: &Host, tips: &[&String]) -> bool {
    let input: String = tips.iter().map(|id| format!("{id}\n")).collect();
    let check = Program::check_connected(&host.git, &host.path);
    check.run(&host.git, input.as_bytes()).await.is_ok()
}

/// References that have to move.
struct Moves {
    names: Vec<String>,
    /// What git is told to delete, and to set.
    deletes: String,
    updates: String,
}

impl Moves {
    fn between(here: &BTreeMap<String, String>, there: &BTreeMap<String, String>) -> Self {
        let mut moves = Self { names: Vec::new(), deletes: String::new(), updates: String::new() };
        for name in here.keys().filter(|name| !there.contains_key(*name)) {
            moves.names.push(name.clone());
            moves.deletes += &format!("delete {name}\n");
        }
        for (name, id) in there.iter().filter(|(name, id)| here.get(*name) != Some(id)) {
            moves.names.push(name.clone());
            moves.updates += &format!("update {name} {id}\n");
        }
        moves
    }

    /// Deletes first: one name may begin with another one that is gone.
    async fn make(&self, host: &Host) -> Result<(), ShareError> {
        for lines in [&self.deletes, &self.updates] {
            if !lines.is_empty() {
                let git = Program::update_references(&host.git, &host.path);
                git.run(&host.git, lines.as_bytes()).await?;
            }
        }
        Ok(())
    }
}

impl Share {
    /// Whether etcd has something that is not here.
    fn is_news(&self, seen: &Seen) -> bool {
        let relation = seen.state.as_ref().and_then(|state| self.relation(state));
        // It may have been asked before a push to this replica, and answered after it: that is found out when it is taken.
        relation != Some(Relation::Same)
    }

    /// Whether a state is news, if it is one that this repository can go on with.
    fn judge(&self, state: Option<State>) -> Result<(State, bool), ShareError> {
        let unfit = |reason: &str| Err(ShareError::Unfit(reason.to_owned()));
        let Some(state) = state else {
            return unfit("etcd has nothing of this repository any more");
        };
        match self.relation(&state) {
            Some(Relation::Same) => Ok((state, false)),
            Some(Relation::Newer) => Ok((state, true)),
            Some(Relation::Older) => {
                unfit("etcd was set back: it has less of this repository than there is here")
            }
            Some(Relation::Foreign) => {
                unfit("etcd has another history of this repository than there is here")
            }
            None => unfit("what is in this repository was not heard from etcd yet"),
        }
    }

    fn is_away(&self, fault: &Fault) {
        let is_news = self.standing.send_if_modified(|standing| {
            let is_news = standing.away.is_none();
            if is_news {
                let (since, message) = (Instant::now(), format!("etcd is away: {fault}"));
                standing.away = Some(Outage { since, message });
            }
            is_news
        });
        if is_news {
            tracing::warn!(repository = self.name, reason = %fault, "etcd is away");
        }
    }

    fn is_back(&self) {
        self.standing.send_modify(|standing| {
            if let Some(away) = standing.away.take() {
                let seconds = away.since.elapsed().as_secs();
                tracing::info!(repository = self.name, seconds, "etcd is back");
            }
            standing.heard = Some(SystemTime::now());
        });
    }
}
