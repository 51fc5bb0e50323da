//! The memory of the latest events and of the rollouts that have ended, for people. A restart empties it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use headwater_rollout::Name;
use headwater_rollout::event::{Event, Progress};
use headwater_rollout::evidence::Counts;
use headwater_rollout::plan::WallTime;
use headwater_rollout::state::{Branch, Entry, Rollout, State};
use jiff::Timestamp;

use super::view::{RecordedEvent, RolloutStanding, RolloutView};

/// The most events that are kept.
const EVENT_COUNT_MAX: usize = 1_024;
/// The most ended rollouts that are kept.
const ENDED_COUNT_MAX: usize = 32;

/// The latest events and ended rollouts of one repository.
#[derive(Default)]
pub(super) struct Journal {
    events: VecDeque<RecordedEvent>,
    ended: VecDeque<EndedRollout>,
    /// The progress of running rollouts, as the keeper found it last.
    standings: BTreeMap<Name, Standing>,
}

/// How a running rollout stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) progress: Progress,
    pub(super) counts: BTreeMap<Name, Counts>,
}

/// The repository of a journal.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) repository: Arc<str>,
    /// The branch that clients without a label receive. `None` if no branch is.
    pub(super) head: Option<Name>,
}

impl Place {
    fn is_head(&self, branch: &Name) -> bool {
        self.head.as_ref() == Some(branch)
    }
}

struct EndedRollout {
    branch: Name,
    rollout: Rollout,
    since: WallTime,
}

impl Journal {
    /// Records a change of the state with its events, in their order.
    pub(super) fn record(
        &mut self,
        before: &State,
        after: &State,
        events: impl IntoIterator<Item = RecordedEvent>,
        now: WallTime,
    ) {
        for (name, branch) in &before.branches {
            let gone = Branch::default();
            let next = after.branches.get(name).unwrap_or(&gone);
            for rollout in ended(branch, next) {
                self.ended.push_back(EndedRollout {
                    branch: name.clone(),
                    rollout: rollout.clone(),
                    since: now,
                });
            }
        }
        self.events.extend(events);
        drain_to(&mut self.events, EVENT_COUNT_MAX);
        drain_to(&mut self.ended, ENDED_COUNT_MAX);
        let is_running = |id: &Name| after.branches.values().any(|own| own.running(id).is_some());
        self.standings.retain(|id, _| is_running(id));
    }

    /// Records how the running rollouts of a branch stand. Returns true if that differs from before.
    pub(super) fn set_standings(&mut self, standings: BTreeMap<Name, Standing>) -> bool {
        let is_changed = self.standings != standings;
        self.standings = standings;
        is_changed
    }

    /// The rollouts of a state, and those that have ended.
    pub(super) fn views(&self, place: &Place, state: &State) -> Vec<RolloutView> {
        let view = |branch: &Name, rollout: &Rollout, standing| {
            let known = self.standings.get(&rollout.id);
            RolloutView {
                repository: Arc::clone(&place.repository),
                branch: branch.clone(),
                is_head: place.is_head(branch),
                progress: known.map(|own| own.progress.clone()),
                counts: known.map(|own| own.counts.clone()).unwrap_or_default(),
                events: self.events_of(&rollout.id),
                rollout: rollout.clone(),
                standing,
            }
        };
        let mut views: Vec<RolloutView> = Vec::new();
        for (name, branch) in &state.branches {
            views.extend(branch.entries().map(|entry| match entry {
                Entry::Running(rollout) => view(name, rollout, RolloutStanding::Running),
                Entry::Withheld(own) => {
                    let (because, since) = (own.because.clone(), own.since);
                    view(name, &own.rollout, RolloutStanding::Withheld { because, since })
                }
            }));
        }
        views.sort_by_key(|view| (view.rollout.opened, view.rollout.number));
        let ended = self.ended.iter().rev();
        views.extend(ended.map(|own| {
            view(&own.branch, &own.rollout, RolloutStanding::Ended { since: own.since })
        }));
        views
    }

    fn events_of(&self, id: &Name) -> Vec<RecordedEvent> {
        self.events.iter().filter(|own| own.event.rollout == *id).cloned().collect()
    }
}

/// The rollouts of a branch that have no entry any more.
fn ended<'b>(before: &'b Branch, after: &'b Branch) -> impl Iterator<Item = &'b Rollout> {
    let is_present = |id: &Name| after.entries().any(|entry| entry.rollout().id == *id);
    before.entries().map(Entry::rollout).filter(move |own| !is_present(&own.id))
}

fn drain_to<T>(kept: &mut VecDeque<T>, count_max: usize) {
    let surplus = kept.len().saturating_sub(count_max);
    kept.drain(..surplus);
}

/// Adds the time and the place to events of a change of the state.
pub(super) fn recorded(
    place: &Place,
    (before, after): (&State, &State),
    events: Vec<(Name, Vec<Event>)>,
) -> Vec<RecordedEvent> {
    let at = Timestamp::now();
    let mut recorded: Vec<RecordedEvent> = Vec::new();
    for (branch, events) in events {
        let rollout_in = |state: &State, id: &Name| {
            let entries = state.branch(&branch).into_iter().flat_map(Branch::entries);
            let found = entries.map(Entry::rollout).find(|own| own.id == *id);
            found.map(|own| own.members.keys().cloned().collect::<Arc<[Name]>>())
        };
        recorded.extend(events.into_iter().map(|event| {
            let before = rollout_in(before, &event.rollout);
            let after = rollout_in(after, &event.rollout);
            RecordedEvent {
                at,
                repository: Arc::clone(&place.repository),
                branch: branch.clone(),
                is_head: place.is_head(&branch),
                is_last: after.is_none(),
                members: before.or(after).unwrap_or_default(),
                event,
            }
        }));
    }
    // Only the last event of a rollout can be the end of it.
    for index in 0..recorded.len() {
        let (own, later) = (recorded[index].event.rollout.clone(), &recorded[index + 1..]);
        if later.iter().any(|it| it.event.rollout == own) {
            recorded[index].is_last = false;
        }
    }
    recorded
}
