//! From a push to a rollout: which of the changed applications are served at once, and which are held.
//!
//! Invariant: an application whose content changes is either served at once for a reason that the result names, or it has
//! an entry in the next state. The caller makes that state durable before a reference moves.

mod admit;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::Name;
use crate::bucket::{self, Bound};
use crate::event::{Event, EventKind};
use crate::plan::{Freeze, Plan, PlanFile, WallTime};
use crate::state::{Branch, Content, Member, OTHERS, Phase, Rollout, State, Withheld};

pub use admit::{NowPolicy, Options, Rejection};

/// One application whose effective content differs between the tip before and the tip after a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub application: Name,
    /// The profiles in which it differs.
    pub profiles: Vec<Name>,
    /// At the tip before. `None` for an application that was not known.
    pub before: Option<Content>,
    /// At the tip after. `None` for one that is not known any more.
    pub after: Option<Content>,
}

/// The instances of an application at all replicas, as far as the server knows them when a push arrives. A rollout that is
/// opened for instances which then do not appear pauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Headcount {
    pub instances: u64,
    /// Those that acknowledge.
    pub acknowledging: u64,
}

/// A push of one branch that the checks have accepted.
pub struct Push<'p> {
    pub branch: &'p str,
    pub from: &'p str,
    pub to: &'p str,
    pub changes: &'p [Change],
    /// Set if a file changed that every application shares, so that applications are affected whose names are not known.
    pub is_shared: bool,
    /// Returns true if the new tip is the commit or a descendant of it.
    pub contains: &'p dyn Fn(&str) -> bool,
    pub headcount: &'p dyn Fn(&str) -> Headcount,
    /// All instances of the server.
    pub fleet: u64,
    /// The plans of the stable revision, never those of the push.
    pub plans: &'p PlanFile,
    pub options: &'p Options,
    pub now_policy: NowPolicy,
    pub by: &'p str,
    pub now: WallTime,
    /// A live replica whose version does not know rollouts.
    pub unsupported: Option<&'p Name>,
}

/// Why an application is served at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AtOnce {
    /// The content is that of stable, or was it in the last 72 h.
    Stable,
    /// The pusher asked for it.
    Now,
    /// The plan has no stages.
    Plan(Name),
    /// No instance acknowledges, or there is only one.
    NoInstance,
    /// The application has no instance that acknowledges, and its plan says `unwatched = "now"`.
    Unwatched,
    Unsupported(Name),
}

/// What becomes of a changed application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    AtOnce(AtOnce),
    Joins,
    /// It moves from another entry to the new rollout.
    Supersedes(Name),
    /// It was not known when this rollout changed what all applications share, and it goes with that rollout.
    Stays(Name),
}

/// What a push does.
#[derive(Debug, Clone, Default)]
pub struct Opened {
    /// The state to write before the reference moves. `None` if the state stays as it is.
    pub next: Option<State>,
    /// The rollout that the push opens.
    pub rollout: Option<Name>,
    /// In the order of the changes.
    pub fates: Vec<(Name, Fate)>,
    pub events: Vec<Event>,
}

/// An application that is to be held, with the entry that it comes from.
struct Joiner {
    application: Name,
    profiles: Vec<Name>,
    member: Member,
    before: Option<Name>,
    /// Set if that entry is one for applications without an own one. It still holds the application by that.
    is_of_others: bool,
}

/// Decides what a push does. An error rejects the push, and no reference moves.
pub fn open(state: &State, push: &Push<'_>) -> Result<Opened, Rejection> {
    let mut branch = state.branch(push.branch).cloned().unwrap_or_default();
    admit::check_force(&branch, push)?;
    admit::check_options(push)?;
    let mut opening = Opening {
        push,
        number: state.number + 1,
        before: branch.clone(),
        branch: &mut branch,
        opened: Opened::default(),
    };
    opening.follow_force();
    let joiners = opening.split();
    opening.decide(joiners)?;
    let mut opened = opening.opened;
    if state.branch(push.branch).unwrap_or(&Branch::default()) != &branch {
        opened.next = Some(admit::next_state(state, push, branch)?);
    }
    Ok(opened)
}

struct Opening<'o, 'p> {
    push: &'o Push<'p>,
    number: u64,
    before: Branch,
    branch: &'o mut Branch,
    opened: Opened,
}

impl Opening<'_, '_> {
    /// Gives rollouts another `to` whose old one is not part of the branch any more. Their candidate is the tip.
    fn follow_force(&mut self) {
        for rollout in &mut self.branch.running {
            if *rollout.to != *self.push.to && !(self.push.contains)(&rollout.to) {
                (rollout.to, rollout.number) = (self.push.to.into(), self.number);
            }
        }
    }

    /// Serves what was stable, and takes everything else out of its entry.
    fn split(&mut self) -> Vec<Joiner> {
        let mut joiners = Vec::new();
        for change in self.push.changes.iter().filter(|own| own.before != own.after) {
            joiners.extend(self.joiner(change));
        }
        if self.push.is_shared && !joiners.is_empty() {
            let taken = self.branch.take(OTHERS);
            let new = || self.member(None);
            let (before, member) =
                taken.map_or_else(|| (None, new()), |(id, member)| (Some(id), member));
            let application = OTHERS.into();
            joiners.push(Joiner {
                application,
                profiles: Vec::new(),
                member,
                before,
                is_of_others: false,
            });
        }
        joiners
    }

    fn joiner(&mut self, change: &Change) -> Option<Joiner> {
        let Change { application, profiles, before, after } = change;
        let own = self.branch.entry(application);
        let own = own.map(|(entry, member)| (entry.rollout().id.clone(), member.clone()));
        let is_named = self.branch.has_own_entry(application);
        let stable = match &own {
            Some((_, member)) if is_named => member.content,
            Some(_) => None,
            None => *before,
        };
        let now = self.push.now;
        let was_stable = after.is_some_and(|after| self.branch.was_stable(application, after, now));
        if is_named && stable == *after || was_stable {
            self.serve(application, own.map(|_| stable), *before, AtOnce::Stable);
            return None;
        }
        let is_of_others = own.is_some() && !is_named;
        let (before, member) = match own {
            Some((id, member)) => {
                self.branch.take(application);
                (Some(id), Member { content: stable, ..member })
            }
            None => (None, self.member(stable)),
        };
        let (application, profiles) = (application.clone(), profiles.clone());
        Some(Joiner { application, profiles, member, before, is_of_others })
    }

    fn member(&self, content: Option<Content>) -> Member {
        Member {
            stable: self.push.from.into(),
            content,
            salt: bucket::salt(self.push.to),
            bound: Bound::NONE,
            named: BTreeSet::new(),
            wanted: 0,
        }
    }

    /// Serves the new content of an application at once. `held` is the stable content of an entry that it leaves.
    fn serve(
        &mut self,
        application: &Name,
        held: Option<Option<Content>>,
        before: Option<Content>,
        why: AtOnce,
    ) {
        let taken = self.branch.take(application);
        if let Some((id, _)) = taken {
            let kind = EventKind::Released { applications: vec![application.clone()] };
            self.opened.events.push(Event { rollout: id, kind });
        }
        let number = held.is_some().then_some(self.number);
        self.branch.record_past(application, number, held.unwrap_or(before), self.push.now);
        self.opened.fates.push((application.clone(), Fate::AtOnce(why)));
    }

    /// Serves the joiners at once, or opens a rollout for them.
    fn decide(&mut self, joiners: Vec<Joiner>) -> Result<(), Rejection> {
        if joiners.is_empty() {
            return Ok(());
        }
        let plan =
            admit::plan(self.push, joiners.iter().filter(|own| &*own.application != OTHERS))?;
        let plan = self.at_least_as_before(plan, &joiners);
        let at_once = self.reason_at_once(&plan, &joiners);
        let has_checks = !plan.checks.is_empty();
        let is_unwatched = |own: &Joiner| {
            let is_known = &*own.application != OTHERS;
            let is_held = own.before.is_some() && !own.is_of_others;
            is_known
                && !is_held
                && !has_checks
                && (self.push.headcount)(&own.application).acknowledging == 0
        };
        let (served, held): (Vec<Joiner>, Vec<Joiner>) = match &at_once {
            Some(_) => (joiners, Vec::new()),
            None => {
                match admit::unwatched(&plan, joiners.iter().filter(|own| is_unwatched(own)))? {
                    true => joiners.into_iter().partition(is_unwatched),
                    false => (Vec::new(), joiners),
                }
            }
        };
        admit::check_limits(self.push, served.iter().map(|own| &own.application))?;
        let why = at_once.unwrap_or(AtOnce::Unwatched);
        if why == AtOnce::Now {
            self.release_withheld(&served);
        }
        for own in served {
            if let Some(id) = own.before.as_ref().filter(|_| own.is_of_others) {
                self.opened.fates.push((own.application.clone(), Fate::Stays(id.clone())));
                continue;
            }
            let held = own.before.is_some().then_some(own.member.content);
            if let Some(id) = &own.before {
                let kind = EventKind::Released { applications: vec![own.application.clone()] };
                self.opened.events.push(Event { rollout: id.clone(), kind });
            }
            if &*own.application == OTHERS {
                let number = held.map(|_| self.number);
                self.branch.record_past(&own.application, number, None, self.push.now);
            } else {
                self.serve(&own.application, held, own.member.content, why.clone());
            }
        }
        if held.is_empty() {
            return Ok(());
        }
        admit::check_room(self.branch)?;
        self.hold(held, plan);
        Ok(())
    }

    /// A plan that is at least as strict as those by which entries hold the applications. Neither a plan file nor a setting
    /// releases what is held.
    fn at_least_as_before(&self, plan: Arc<Plan>, joiners: &[Joiner]) -> Arc<Plan> {
        let held = joiners.iter().filter(|own| !own.is_of_others);
        let entries = held.filter_map(|own| self.before.entry(&own.application));
        entries.fold(plan, |plan, (entry, _)| {
            let before = &entry.rollout().plan;
            let is_sufficient = plan.is_at_least_as_strict_as(before) || !plan.is_all_at_once();
            if is_sufficient { plan } else { Arc::clone(before) }
        })
    }

    /// The reason to serve all of them at once. What an entry holds is never served for lack of somebody to try it on: after
    /// a restart of the server, its instances come back one by one.
    fn reason_at_once(&self, plan: &Plan, joiners: &[Joiner]) -> Option<AtOnce> {
        if self.push.options.is_now {
            return Some(AtOnce::Now);
        }
        let has_entry = joiners.iter().any(|own| own.before.is_some() && !own.is_of_others);
        if let Some(replica) = self.push.unsupported.filter(|_| !has_entry) {
            return Some(AtOnce::Unsupported(replica.clone()));
        }
        let has_checks = !plan.checks.is_empty();
        let is_watched = has_checks || plan.stages.iter().any(|stage| !stage.bake.is_zero());
        if plan.is_all_at_once() && !is_watched {
            return Some(AtOnce::Plan(plan.name.clone()));
        }
        let headcounts = joiners.iter().map(|own| (self.push.headcount)(&own.application));
        let (instances, acknowledging) =
            headcounts.fold((0, 0), |sum, own| (sum.0 + own.instances, sum.1 + own.acknowledging));
        let has_witness = has_checks && instances > 0 || acknowledging > 0;
        (!has_entry && (instances < 2 || !has_witness)).then_some(AtOnce::NoInstance)
    }

    /// Removes entries of withheld content as a whole, of which the push serves a part at once.
    fn release_withheld(&mut self, served: &[Joiner]) {
        let ids: BTreeSet<&Name> = served.iter().filter_map(|own| own.before.as_ref()).collect();
        let is_touched = |own: &Withheld| ids.contains(&own.rollout.id);
        let (released, kept) = self.branch.withheld.drain(..).partition(is_touched);
        self.branch.withheld = kept;
        let released: Vec<Withheld> = released;
        for rollout in released.into_iter().map(|own| own.rollout) {
            for (name, member) in &rollout.members {
                self.branch.record_past(name, Some(self.number), member.content, self.push.now);
            }
            let applications = rollout.applications().cloned().collect();
            let kind = EventKind::Released { applications };
            self.opened.events.push(Event { rollout: rollout.id, kind });
        }
    }

    fn supersede(&mut self, own: &Joiner) {
        let Some(id) = &own.before else {
            return;
        };
        let next = Rollout::id(self.push.from, self.push.to, self.number);
        let last = self.opened.events.last_mut().filter(|event| event.rollout == *id);
        if let Some(EventKind::Superseded { applications, .. }) = last.map(|event| &mut event.kind)
        {
            applications.push(own.application.clone());
            return;
        }
        let kind = EventKind::Superseded { applications: vec![own.application.clone()], next };
        self.opened.events.push(Event { rollout: id.clone(), kind });
    }

    fn hold(&mut self, joiners: Vec<Joiner>, plan: Arc<Plan>) {
        let push = self.push;
        let id = Rollout::id(push.from, push.to, self.number);
        let salt = joiners.iter().find(|own| own.before.is_some()).map(|own| own.member.salt);
        let mut depends_on = BTreeSet::new();
        let mut members = BTreeMap::new();
        for own in joiners {
            self.supersede(&own);
            let fate = match &own.before {
                Some(before) => {
                    depends_on.extend(self.dependencies(before));
                    Fate::Supersedes(before.clone())
                }
                None => Fate::Joins,
            };
            if &*own.application != OTHERS {
                self.opened.fates.push((own.application.clone(), fate));
            }
            let Member { stable, content, salt, .. } = own.member;
            let member = Member { stable, content, salt, ..self.member(None) };
            members.insert(own.application, member);
        }
        let expected = members.keys().map(|name| (push.headcount)(name).instances).sum();
        let freeze: Option<&Freeze> = push.plans.freeze(push.now);
        let applications = members.keys().filter(|name| &***name != OTHERS).cloned().collect();
        let mut event = |kind| self.opened.events.push(Event { rollout: id.clone(), kind });
        event(EventKind::Opened { applications, plan: plan.name.clone() });
        if let Some(freeze) = freeze {
            event(EventKind::Waiting { freeze: freeze.to_string() });
        }
        self.opened.rollout = Some(id.clone());
        self.branch.running.push(Rollout {
            id,
            number: self.number,
            from: push.from.into(),
            to: push.to.into(),
            salt: salt.unwrap_or_else(|| bucket::salt(push.to)),
            plan,
            members,
            phase: if freeze.is_some() { Phase::Waiting } else { Phase::Trying },
            paused: None,
            depends_on,
            expected,
            by: push.by.into(),
            because: push.options.reason.clone(),
            opened: push.now,
        });
    }

    /// The running rollouts that another one falls with after it has taken an application over. A rollout that has lost
    /// its last application does not run any more, and those that it depended on still count.
    fn dependencies(&self, id: &Name) -> BTreeSet<Name> {
        let own = self.before.running(id).map(|own| own.depends_on.iter());
        let all = own.into_iter().flatten().chain(Some(id));
        all.filter(|id| self.branch.running(id).is_some()).cloned().collect()
    }
}

#[cfg(test)]
mod tests;
