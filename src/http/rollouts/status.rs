//! A rollout as a document, reduced to what its reader may see.

use std::collections::BTreeMap;

use headwater_rollout::Name;
use headwater_rollout::bucket::Bound;
use headwater_rollout::event::EventKind;
use headwater_rollout::evidence::Counts;
use headwater_rollout::plan::WallTime;
use headwater_rollout::state::{Member, OTHERS, Phase, Rollout};
use headwater_wire::{
    RolloutApplication, RolloutEvent, RolloutRecord, RolloutState, RolloutStatus,
};
use jiff::Timestamp;

use super::sight::Sight;
use crate::conduct::{RecordedEvent, RolloutStanding, RolloutView};
use crate::store::RolloutNotice;

/// The parts of a document that a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Without events.
    Summary,
    Whole,
}

/// Makes the document of a rollout. `is_visible` tells whether the reader may see another rollout.
pub(super) fn status(
    view: &RolloutView,
    sight: &Sight,
    extent: Extent,
    is_visible: impl Fn(&str) -> bool,
) -> RolloutStatus {
    let rollout = &view.rollout;
    let state = state(view);
    let stage = rollout.stage().filter(|_| state.is_running() || state == RolloutState::Done);
    let (instances, ok) = totals(view, sight).unzip();
    let depends_on = rollout.depends_on.iter().filter(|id| is_visible(id));
    let lack = view.progress.as_ref().and_then(|progress| progress.lack.as_ref());
    let lack = lack.filter(|_| state.is_running() && state != RolloutState::Paused);
    RolloutStatus {
        id: rollout.id.to_string(),
        repository: view.repository.to_string(),
        branch: view.branch.to_string(),
        from: rollout.from.to_string(),
        to: rollout.to.to_string(),
        state,
        why: why(view, sight, state),
        missing: lack.map(|lack| sight.lack(lack)),
        stage: stage.map(|index| number(index + 1)),
        stages: number(rollout.plan.stages.len()),
        reach: stage.and_then(|index| Some(rollout.plan.stages.get(index)?.reach.to_string())),
        plan: rollout.plan.name.to_string(),
        applications: applications(view, sight, state),
        instances,
        ok,
        by: if sight.is_complete { rollout.by.to_string() } else { String::new() },
        because: rollout.because.as_ref().filter(|_| sight.is_complete).map(Name::to_string),
        opened: time(rollout.opened),
        since: match view.standing {
            RolloutStanding::Running => None,
            RolloutStanding::Withheld { since, .. } | RolloutStanding::Ended { since } => {
                Some(time(since))
            }
        },
        depends_on: depends_on.map(Name::to_string).collect(),
        events: match extent {
            Extent::Summary => Vec::new(),
            Extent::Whole => view.events.iter().filter_map(|it| record(it, sight)).collect(),
        },
    }
}

/// Makes the entry of one event. `None` if the reader may not see it.
pub(super) fn record(recorded: &RecordedEvent, sight: &Sight) -> Option<RolloutRecord> {
    let kind = &recorded.event.kind;
    Some(RolloutRecord {
        at: recorded.at.to_string(),
        event: kind.as_str().to_owned(),
        text: sight.text(kind)?,
    })
}

/// Makes the document of an event for subscribers. `None` if the reader may not see it.
pub(super) fn event(notice: &RolloutNotice, sight: &Sight) -> Option<RolloutEvent> {
    let kind = &notice.event.kind;
    let texts = |names: Vec<Name>| names.iter().map(Name::to_string).collect();
    Some(RolloutEvent {
        at: notice.at.to_string(),
        repository: notice.repository.to_string(),
        branch: notice.branch.to_string(),
        rollout: notice.event.rollout.to_string(),
        event: kind.as_str().to_owned(),
        text: sight.text(kind)?,
        applications: texts(sight.applications(kind)),
        instances: texts(sight.instances(kind)),
    })
}

/// The state of a rollout.
pub(super) fn state(view: &RolloutView) -> RolloutState {
    match view.standing {
        RolloutStanding::Running if view.rollout.paused.is_some() => RolloutState::Paused,
        RolloutStanding::Running => match view.rollout.phase {
            Phase::Waiting => RolloutState::Waiting,
            Phase::Trying => RolloutState::Trying,
            Phase::Stage(_) => RolloutState::Stage,
        },
        RolloutStanding::Withheld { .. } => RolloutState::Withheld,
        RolloutStanding::Ended { .. } => end(view),
    }
}

/// The end of a rollout, which its last event names.
fn end(view: &RolloutView) -> RolloutState {
    match view.events.last().map(|last| &last.event.kind) {
        Some(EventKind::Superseded { .. }) => RolloutState::Superseded,
        Some(EventKind::Released { .. }) => RolloutState::Released,
        Some(EventKind::Gone) => RolloutState::Gone,
        Some(EventKind::Done) => RolloutState::Done,
        // Its events are not kept any more. What was rolled back has no canary.
        _ if view.rollout.is_in_last_stage() && has_everyone(&view.rollout) => RolloutState::Done,
        _ => RolloutState::Released,
    }
}

/// Returns true if every client received the candidate.
fn has_everyone(rollout: &Rollout) -> bool {
    rollout.members.values().all(|own| own.bound == Bound::EVERYONE)
}

fn why(view: &RolloutView, sight: &Sight, state: RolloutState) -> Option<String> {
    if let Some(pause) = view.rollout.paused.as_ref().filter(|_| state == RolloutState::Paused) {
        return Some(sight.pause(pause));
    }
    let mut latest = view.events.iter().rev().map(|recorded| &recorded.event.kind);
    match &view.standing {
        RolloutStanding::Withheld { because, .. } => {
            let fault = latest.find_map(|kind| match kind {
                EventKind::Withheld { fault, .. } => Some(fault),
                _ => None,
            });
            Some(sight.rollback(because, fault))
        }
        RolloutStanding::Running if state == RolloutState::Waiting => {
            let waiting = latest.find(|kind| matches!(kind, EventKind::Waiting { .. }))?;
            sight.text(waiting)
        }
        RolloutStanding::Running | RolloutStanding::Ended { .. } => None,
    }
}

fn applications(view: &RolloutView, sight: &Sight, state: RolloutState) -> Vec<RolloutApplication> {
    let rollout = &view.rollout;
    let has_canaries = state.is_running() && !rollout.is_in_last_stage();
    let members = rollout.members.iter().filter(|(name, _)| sight.shows(name));
    let application = |(name, member): (&Name, &Member)| {
        let counts = counts(view, sight, name);
        RolloutApplication {
            application: name.to_string(),
            stable: member.stable.to_string(),
            canaries: has_canaries.then_some(u64::from(member.wanted)),
            instances: counts.map(|counts| counts.instances),
            ok: counts.map(|counts| counts.ok),
        }
    };
    members.map(application).collect()
}

/// The instances of an application. `None` if they are not known, or if the reader may not know them.
fn counts(view: &RolloutView, sight: &Sight, name: &Name) -> Option<Counts> {
    if **name != *OTHERS {
        return view.counts.get(name).copied();
    }
    let others = others(&view.rollout, &view.counts);
    let known = !view.counts.is_empty() && sight.is_complete;
    known.then(|| sum(others.map(|(_, counts)| counts)))
}

/// The instances of the applications that a rollout does not name.
fn others<'v>(
    rollout: &'v Rollout,
    counts: &'v BTreeMap<Name, Counts>,
) -> impl Iterator<Item = (&'v Name, &'v Counts)> {
    counts.iter().filter(|(name, _)| !rollout.members.contains_key(*name) || ***name == *OTHERS)
}

fn sum<'c>(counts: impl Iterator<Item = &'c Counts>) -> Counts {
    counts.fold(Counts::default(), |sum, own| Counts {
        instances: sum.instances + own.instances,
        ok: sum.ok + own.ok,
        ..sum
    })
}

/// The instances of all applications that the reader may see, and those of them that have accepted the commit.
fn totals(view: &RolloutView, sight: &Sight) -> Option<(u64, u64)> {
    if sight.is_complete {
        return view.progress.as_ref().map(|progress| (progress.instances, progress.ok));
    }
    let is_shown = |name: &Name| **name != *OTHERS && sight.shows(name);
    let shown: Vec<&Counts> =
        view.counts.iter().filter(|(name, _)| is_shown(name)).map(|(_, own)| own).collect();
    let total = sum(shown.iter().copied());
    (!shown.is_empty()).then_some((total.instances, total.ok))
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn time(WallTime(seconds): WallTime) -> String {
    Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests;
