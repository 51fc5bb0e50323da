//! The events of a state that another replica has written. The state has no events, so that they are derived from it.
//!
//! A replica that was behind for several changes reports what they have led to, and not each of them.

use std::collections::BTreeSet;

use headwater_rollout::Name;
use headwater_rollout::event::{Canaries, Event, EventKind};
use headwater_rollout::state::{Branch, Rollout, State, Withheld};
use headwater_rollout::verdict::Fault;

/// Returns the events between two states, by branch. `has_moved` returns true for a branch whose reference has moved.
pub(super) fn events_between(
    before: &State,
    after: &State,
    has_moved: impl Fn(&str) -> bool,
) -> Vec<(Name, Vec<Event>)> {
    let names: BTreeSet<&Name> = before.branches.keys().chain(after.branches.keys()).collect();
    let none = Branch::default();
    let of_branch = |name: &Name| {
        let Some(next) = after.branches.get(name) else {
            let gone = before.branches.get(name).into_iter().flat_map(|own| &own.running);
            return gone.map(|own| event(own, EventKind::Gone)).collect();
        };
        let previous = before.branches.get(name).unwrap_or(&none);
        BranchChange { before: previous, after: next, has_moved: has_moved(name) }.events()
    };
    let events = names.into_iter().map(|name| (name.clone(), of_branch(name)));
    events.filter(|(_, events): &(Name, Vec<Event>)| !events.is_empty()).collect()
}

/// Two states of one branch.
struct BranchChange<'s> {
    before: &'s Branch,
    after: &'s Branch,
    has_moved: bool,
}

impl BranchChange<'_> {
    fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for own in &self.before.running {
            let next = self.after.running(&own.id);
            match next {
                Some(next) => events.extend(progress(own, next)),
                None => events.extend(self.end(own)),
            }
        }
        for own in self.before.withheld.iter().map(|own| &own.rollout) {
            if self.entry(&own.id).is_none() && !self.has_successor(own) {
                events.push(event(own, EventKind::Released { applications: applications(own) }));
            }
        }
        let is_new = |own: &&Rollout| !self.was_known(&own.id);
        for own in self.after.running.iter().filter(is_new) {
            events.push(opened(own));
            events.extend(progress(&unstarted(own), own));
        }
        let is_new = |own: &&Withheld| !self.was_known(&own.rollout.id);
        for own in self.after.withheld.iter().filter(is_new) {
            events.extend([opened(&own.rollout), withheld(own)]);
        }
        events
    }

    /// The end of a rollout that ran.
    fn end(&self, own: &Rollout) -> Option<Event> {
        if let Some(found) = self.after.withheld.iter().find(|it| it.rollout.id == own.id) {
            return Some(withheld(found));
        }
        let taken = |next: &&Rollout| {
            !self.was_known(&next.id)
                && own.members.keys().any(|name| next.members.contains_key(name))
        };
        if let Some(next) = self.after.running.iter().find(taken) {
            let both = own.members.keys().filter(|name| next.members.contains_key(*name));
            let kind = EventKind::Superseded {
                applications: both.cloned().collect(),
                next: next.id.clone(),
            };
            return Some(event(own, kind));
        }
        // A rollout ends with the last stage, or because a push serves its applications at once.
        Some(if own.is_in_last_stage() || !self.has_moved {
            event(own, EventKind::Done)
        } else {
            event(own, EventKind::Released { applications: applications(own) })
        })
    }

    fn entry(&self, id: &Name) -> Option<&Rollout> {
        self.after.entries().map(|entry| entry.rollout()).find(|own| own.id == *id)
    }

    fn was_known(&self, id: &Name) -> bool {
        self.before.entries().any(|entry| entry.rollout().id == *id)
    }

    /// Returns true if another rollout holds an application of a withheld one: it was retried or superseded.
    fn has_successor(&self, own: &Rollout) -> bool {
        own.members.keys().any(|name| self.after.has_own_entry(name))
    }
}

/// The events of a rollout that runs on.
fn progress(before: &Rollout, after: &Rollout) -> Vec<Event> {
    let mut kinds = Vec::new();
    if let Some(index) = after.stage().filter(|_| before.phase != after.phase) {
        kinds.push(match after.is_in_last_stage() {
            true => EventKind::All,
            false => {
                let count = after.plan.stages.len();
                EventKind::Stage { index, count, canaries: canaries(after) }
            }
        });
    }
    match (&before.paused, &after.paused) {
        (before, Some(pause)) if before.as_ref() != Some(pause) => {
            kinds.push(EventKind::Paused { pause: pause.clone() });
        }
        (Some(_), None) if before.phase == after.phase => {
            let (by, because) = (Name::from("another replica"), Name::from("a command"));
            kinds.push(EventKind::Resumed { by, because });
        }
        _ => {}
    }
    kinds.into_iter().map(|kind| event(after, kind)).collect()
}

/// The canaries of a stage, without the number of instances, which the state does not have.
fn canaries(rollout: &Rollout) -> Vec<Canaries> {
    let chosen = rollout.members.iter().filter(|(_, member)| member.wanted > 0);
    let canaries = chosen.map(|(name, member)| Canaries {
        application: name.clone(),
        count: member.wanted.into(),
        instances: 0,
    });
    canaries.collect()
}

fn unstarted(rollout: &Rollout) -> Rollout {
    let phase = headwater_rollout::state::Phase::Trying;
    Rollout { phase, paused: None, ..rollout.clone() }
}

fn opened(rollout: &Rollout) -> Event {
    let plan = rollout.plan.name.clone();
    event(rollout, EventKind::Opened { applications: applications(rollout), plan })
}

fn withheld(own: &Withheld) -> Event {
    let kind = EventKind::Withheld {
        fault: Fault::Elsewhere { because: own.because.clone() },
        applications: applications(&own.rollout),
        stable: own.rollout.stable().clone(),
        tip: own.rollout.to.clone(),
    };
    event(&own.rollout, kind)
}

fn applications(rollout: &Rollout) -> Vec<Name> {
    rollout.applications().cloned().collect()
}

fn event(rollout: &Rollout, kind: EventKind) -> Event {
    Event { rollout: rollout.id.clone(), kind }
}

#[cfg(test)]
mod tests;
