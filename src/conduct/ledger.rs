//! The rollouts of one hosted repository: their state in memory and in a file.
//!
//! Invariant: a state is durable before it is adopted, and before the holds that follow from it are published. A state with
//! an intent stands for both outcomes of a push until the reference has moved or not.
//!
//! The state of a repository that replicas share is in etcd. The ledger of each replica follows it, and its file is the copy
//! for a start without etcd. A state that is adopted from etcd has no events. The replica that has written it expects it with
//! its events, and the others derive them.
//!
//! Locking: whoever replaces the state holds the [`LedgerTurn`] from the read of the old state until the new one is adopted
//! and its holds are published.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use headwater_rollout::Name;
use headwater_rollout::event::Event;
use headwater_rollout::plan::WallTime;
use headwater_rollout::state::State;
use jiff::Timestamp;
use tokio::sync::{OwnedMutexGuard, watch};

use super::derived::events_between;
use super::file;
use super::holds::{AdmittedInstances, fenced, hold_table};
use super::journal::{Journal, Place, recorded};
use super::view::{EventSink, RolloutView};
use crate::faults::{FaultKind, Faults};
use crate::source::git::HoldTable;
use crate::sync::lock;

/// The reason why the state of the rollouts cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file exists and cannot be used. A server without it would serve what is withheld.
    #[error(
        "the rollouts in {}: {reason}. Restore the file, or start once with --forget-rollouts, which serves the tip of \
         every branch to all instances",
        path.display()
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The problem, as the end of a sentence.
        reason: String,
    },
    /// The file cannot be written.
    #[error("the rollouts cannot be written: {0}")]
    Unwritable(String),
}

/// The rollouts of one hosted repository.
pub struct Ledger {
    place: Place,
    path: PathBuf,
    state: ArcSwap<State>,
    turn: Arc<tokio::sync::Mutex<()>>,
    journal: Mutex<Journal>,
    admitted: Mutex<AdmittedInstances>,
    is_shared: bool,
    /// True while no further instance may receive a candidate from this server.
    is_fenced: AtomicBool,
    /// A state that this replica has written to etcd and not adopted yet, with its events.
    expected: Mutex<Option<(State, BranchEvents)>>,
    /// The number of changes of the state, and of the progress of rollouts.
    changed: watch::Sender<u64>,
    sinks: Arc<[Arc<dyn EventSink>]>,
    faults: Arc<Faults>,
}

/// Events of rollouts, by branch.
pub type BranchEvents = Vec<(Name, Vec<Event>)>;

/// The guard of a change of the state. No other task changes the state while it is held.
pub struct LedgerTurn {
    _guard: OwnedMutexGuard<()>,
}

/// A branch at the start of a server.
pub trait Tips {
    /// The commit of a branch. `None` if there is no such branch.
    fn tip(&self, branch: &str) -> Option<String>;
    /// Returns true if a commit is another one or descends from it.
    fn contains(&self, tip: &str, commit: &str) -> bool;
    /// Returns true if the repository has the commit.
    fn has_commit(&self, commit: &str) -> bool;
}

impl Ledger {
    /// Opens the rollouts of a repository, and decides the intents of pushes that a crash interrupted. `head` is the
    /// branch that clients without a label receive. Blocking.
    ///
    /// # Errors
    /// When the file cannot be used, or names commits that the repository does not have.
    pub fn open(
        repository: &str,
        head: Option<&str>,
        directory: &Path,
        tips: &dyn Tips,
        sinks: Arc<[Arc<dyn EventSink>]>,
        faults: Arc<Faults>,
    ) -> Result<Self, LedgerError> {
        let path = file::path_in(directory);
        let state = match file::read(&path)? {
            Some(state) => settled(state, tips, &path)?,
            None => State::new(fastrand::u64(1..)),
        };
        Ok(Self {
            place: Place { repository: Arc::from(repository), head: head.map(Name::from) },
            path,
            state: ArcSwap::from_pointee(state),
            turn: Arc::default(),
            journal: Mutex::default(),
            admitted: Mutex::default(),
            is_shared: false,
            is_fenced: AtomicBool::new(false),
            expected: Mutex::default(),
            changed: watch::Sender::new(0),
            sinks,
            faults,
        })
    }

    /// Makes this the copy of a state in etcd. It is fenced until its replica has contact with etcd.
    pub fn shared(mut self) -> Self {
        self.is_shared = true;
        self.is_fenced = AtomicBool::new(true);
        self
    }

    /// Returns true if the state is in etcd.
    pub fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Puts the file of a repository aside before it is opened. Blocking.
    ///
    /// # Errors
    /// When the file cannot be moved.
    pub fn forget(directory: &Path) -> Result<(), LedgerError> {
        let path = file::path_in(directory);
        match file::forget(&path) {
            Ok(None) => Ok(()),
            Ok(Some(aside)) => {
                let aside = aside.display().to_string();
                tracing::warn!(aside, "the rollouts are forgotten, and every tip is served");
                Ok(())
            }
            Err(error) => Err(LedgerError::Unusable { path, reason: error.to_string() }),
        }
    }

    /// The name of the repository.
    pub fn repository(&self) -> &Arc<str> {
        &self.place.repository
    }

    /// The present state.
    pub fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// Waits for the turn to change the state.
    pub async fn take_turn(&self) -> LedgerTurn {
        LedgerTurn { _guard: Arc::clone(&self.turn).lock_owned().await }
    }

    /// The holds of the present state.
    pub fn holds(&self) -> HoldTable {
        self.holds_of(&self.state())
    }

    /// The holds of a state.
    pub fn holds_of(&self, state: &State) -> HoldTable {
        let holds = hold_table(state, &lock(&self.admitted));
        if self.is_fenced() { fenced(holds) } else { holds }
    }

    /// Returns true while no further instance may receive a candidate from this server.
    pub fn is_fenced(&self) -> bool {
        self.is_fenced.load(Ordering::Acquire)
    }

    /// Sets whether further instances may receive a candidate. It has an effect with the next publication.
    pub fn set_fenced(&self, _turn: &LedgerTurn, is_fenced: bool) {
        self.is_fenced.store(is_fenced, Ordering::Release);
    }

    /// Records the events of a state that this replica is about to write to etcd.
    pub(super) fn expect(&self, next: State, events: BranchEvents) {
        *lock(&self.expected) = Some((next, events));
    }

    /// The events between a state and one that comes from etcd. `has_moved` returns true for a branch whose reference has
    /// moved.
    pub fn events_since(
        &self,
        before: &State,
        next: &State,
        has_moved: impl Fn(&str) -> bool,
    ) -> BranchEvents {
        match lock(&self.expected).take_if(|(expected, _)| expected == next) {
            Some((_, events)) => events,
            None => events_between(before, next, has_moved),
        }
    }

    /// Replaces the instances that are canaries because of an attribute. Returns true if they differ from before.
    pub(super) fn set_admitted(&self, _turn: &LedgerTurn, admitted: AdmittedInstances) -> bool {
        let mut present = lock(&self.admitted);
        let is_changed = *present != admitted;
        *present = admitted;
        is_changed
    }

    pub(super) fn admitted(&self) -> AdmittedInstances {
        lock(&self.admitted).clone()
    }

    /// Makes a state durable.
    ///
    /// # Errors
    /// When the disk does not accept it.
    pub async fn write(&self, _turn: &LedgerTurn, state: Arc<State>) -> Result<(), LedgerError> {
        let path = self.path.clone();
        let writing = tokio::task::spawn_blocking(move || file::write(&path, &state));
        let written = match writing.await {
            Ok(written) => written.map_err(|error| error.to_string()),
            Err(_) => Err("the write was interrupted".to_owned()),
        };
        match written {
            Ok(()) => {
                self.faults.end(FaultKind::RolloutsUnwritable, &self.place.repository);
                Ok(())
            }
            Err(reason) => {
                self.faults.begin(FaultKind::RolloutsUnwritable, &self.place.repository, &reason);
                Err(LedgerError::Unwritable(reason))
            }
        }
    }

    /// Makes a durable state the present one, and reports its events, by branch.
    pub fn adopt(&self, _turn: &LedgerTurn, next: State, events: BranchEvents) {
        let after = Arc::new(next);
        let before = self.state.swap(Arc::clone(&after));
        let events = recorded(&self.place, (&before, &after), events);
        lock(&self.journal).record(&before, &after, events.iter().cloned(), now());
        for event in &events {
            for sink in self.sinks.iter() {
                sink.record(event);
            }
        }
        self.notify();
    }

    pub(super) fn journal(&self) -> &Mutex<Journal> {
        &self.journal
    }

    /// The rollouts, as people see them.
    pub fn views(&self) -> Vec<RolloutView> {
        lock(&self.journal).views(&self.place, &self.state())
    }

    /// A receiver that is notified after each change of the state, and of the progress of rollouts.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Notifies the receivers of [`Ledger::changed`].
    pub fn notify(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// The time of day for records.
pub(super) fn now() -> WallTime {
    WallTime(Timestamp::now().as_second())
}

/// Decides intents, drops branches that are gone, and checks the commits.
fn settled(mut state: State, tips: &dyn Tips, path: &Path) -> Result<State, LedgerError> {
    let unsettled: Vec<Name> = state.unsettled().cloned().collect();
    for branch in &unsettled {
        match tips.tip(branch) {
            Some(tip) => state.settle(branch, &tip, |commit| tips.contains(&tip, commit)),
            None => state = state.forget(branch).0,
        }
    }
    let gone: Vec<Name> =
        state.branches.keys().filter(|name| tips.tip(name).is_none()).cloned().collect();
    for branch in &gone {
        state = state.forget(branch).0;
    }
    for (name, branch) in &state.branches {
        let mut missing = branch.stable_commits().filter(|(_, commit)| !tips.has_commit(commit));
        if let Some((rollout, commit)) = missing.next() {
            let reason = format!(
                "rollout {} of branch {name} holds services at commit {commit}, which the repository does not have",
                rollout.id
            );
            return Err(LedgerError::Unusable { path: path.to_owned(), reason });
        }
    }
    Ok(state)
}
