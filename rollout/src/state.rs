//! The state of all rollouts of one repository: one value, durable before a reference moves, and the same on every replica.
//!
//! Invariant: an application of a branch has at most one entry, running or withheld. Every entry lies between a stable
//! commit and the tip of the branch.

mod document;
mod hex;
mod intent;
mod validate;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::Name;
use crate::bucket::{Bound, Hold, first_bytes};
use crate::plan::{Plan, Reach, WallTime};

pub use document::{StateError, VERSION};

/// The most rollouts that run on a branch.
pub const RUNNING_COUNT_MAX: usize = 32;
/// The most entries of withheld content on a branch.
pub const WITHHELD_COUNT_MAX: usize = 64;
/// The most bounds and named instances in a state.
pub const ENTRY_COUNT_MAX: usize = 1_000;
/// The largest state without intents, as text.
pub const STATE_BYTES_MAX: usize = 256 * 1024;
/// The largest state that a push may produce. The rest is for bounds and for reasons of rollbacks.
pub const OPENED_BYTES_MAX: usize = 192 * 1024;
/// The earlier stable contents of an application that a push may bring back without stages.
pub const PAST_COUNT_MAX: usize = 3;
/// How long an earlier content can be brought back without stages.
pub const PAST_SECONDS: i64 = 72 * 3600;
/// Stands for every application without an own entry, if a file that all of them share has changed.
pub const OTHERS: &str = "*";

/// The fingerprint of everything that an application receives, in all of its environments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Content([u8; 16]);

impl Content {
    /// The fingerprint of a canonical form of the content, such as the digests of all environments in order.
    pub fn of(bytes: &[u8]) -> Self {
        let mut first = [0; 16];
        first.copy_from_slice(&digest(&SHA256, bytes).as_ref()[..16]);
        Self(first)
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// Where a rollout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// A freeze is in force.
    Waiting,
    /// Evidence is collected, and running instances are asked whether they would accept the candidate.
    Trying,
    /// The index of a stage of the plan.
    Stage(usize),
}

/// Why a rollout does not advance.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Pause {
    Person {
        by: Name,
        because: Name,
    },
    /// The evidence was not sufficient within the deadline.
    Deadline {
        why: Name,
    },
    /// A replica has a version that does not know rollouts.
    Unsupported {
        replica: Name,
    },
}

/// One application of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Member {
    /// The commit from which clients that are no canaries are answered.
    pub stable: Name,
    /// The content at that commit. `None` for an application that was not known there.
    pub content: Option<Content>,
    pub salt: u64,
    pub bound: Bound,
    /// The keys of canaries behind the bound.
    pub named: BTreeSet<u64>,
    /// The number of canaries that the stage needs.
    pub wanted: u32,
}

impl Member {
    /// The entries that count towards [`ENTRY_COUNT_MAX`].
    pub fn entry_count(&self) -> usize {
        self.named.len() + usize::from(self.bound != Bound::NONE)
    }
}

/// One rollout: what a push changes for some applications, and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rollout {
    /// `r-` and ten hexadecimal digits.
    pub id: Name,
    /// The number of the state when the rollout was opened, promoted or withheld. It is part of the ids of both sides.
    pub number: u64,
    /// The tip before the push.
    pub from: Name,
    pub to: Name,
    pub salt: u64,
    pub plan: Arc<Plan>,
    /// By application, or [`OTHERS`].
    pub members: BTreeMap<Name, Member>,
    pub phase: Phase,
    pub paused: Option<Pause>,
    /// Running rollouts from which this one has taken applications over. It falls with any of them, and is not done
    /// before all of them.
    pub depends_on: BTreeSet<Name>,
    /// The instances of all applications when the rollout was opened. After a restart of a server they come back one by
    /// one, and the first ones must not be taken for all.
    pub expected: u64,
    pub by: Name,
    pub because: Option<Name>,
    pub opened: WallTime,
}

impl Rollout {
    /// The id of a rollout between two commits that begins with a number.
    pub fn id(from: &str, to: &str, number: u64) -> Name {
        let hash = first_bytes(&["rollout", from, to, &number.to_string()]);
        format!("r-{:010x}", hash >> 24).into()
    }

    /// The index of the stage that the rollout is in.
    pub fn stage(&self) -> Option<usize> {
        match self.phase {
            Phase::Stage(index) => Some(index),
            Phase::Waiting | Phase::Trying => None,
        }
    }

    /// Returns true if every client receives the candidate and is still watched.
    pub fn is_in_last_stage(&self) -> bool {
        self.stage().is_some_and(|index| index + 1 == self.plan.stages.len())
    }

    /// The attributes whose instances are canaries, of this stage and of those before.
    pub fn admitted(&self) -> Vec<(Name, Name)> {
        let count = self.stage().map_or(0, |index| index + 1);
        let attribute = |reach: &Reach| match reach {
            Reach::Attribute { name, value } => Some((name.clone(), value.clone())),
            Reach::Size(_) | Reach::All => None,
        };
        self.plan.stages.iter().take(count).filter_map(|stage| attribute(&stage.reach)).collect()
    }

    /// The commit to which its applications go back. If they have several, the tip before the push.
    pub fn stable(&self) -> &Name {
        let mut stables = self.members.values().map(|own| &own.stable);
        let first = stables.next().unwrap_or(&self.from);
        if stables.all(|own| own == first) { first } else { &self.from }
    }

    /// The applications by name, without [`OTHERS`].
    pub fn applications(&self) -> impl Iterator<Item = &Name> {
        self.members.keys().filter(|name| &***name != OTHERS)
    }
}

/// The content of a rollout that was rolled back. Its applications are answered from stable until a push changes their
/// content or an operator decides.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Withheld {
    pub rollout: Rollout,
    /// A sentence for people, without any value.
    pub because: Name,
    pub since: WallTime,
}

/// What remains of earlier rollouts of an application.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Past {
    /// The number in ids, so that a replica that is behind knows it. 0 for ids without a number.
    pub number: u64,
    /// When the number was given.
    pub since: WallTime,
    /// Earlier stable contents with the time at which each was replaced, the newest last.
    pub contents: Vec<(Content, WallTime)>,
}

impl Default for Past {
    fn default() -> Self {
        Self { number: 0, since: WallTime(0), contents: Vec::new() }
    }
}

/// The rollouts of one branch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Branch {
    /// In the order in which they were opened.
    pub running: Vec<Rollout>,
    pub withheld: Vec<Withheld>,
    /// By application, or [`OTHERS`].
    pub past: BTreeMap<Name, Past>,
}

/// An entry that holds an application.
#[derive(Debug, Clone, Copy)]
pub enum Entry<'s> {
    Running(&'s Rollout),
    Withheld(&'s Withheld),
}

impl<'s> Entry<'s> {
    pub fn rollout(self) -> &'s Rollout {
        match self {
            Self::Running(rollout) => rollout,
            Self::Withheld(withheld) => &withheld.rollout,
        }
    }
}

impl Branch {
    /// The entry of an application and its part of it. An entry with its name precedes one for [`OTHERS`].
    pub fn entry(&self, application: &str) -> Option<(Entry<'_>, &Member)> {
        let by_name = |name: &str| {
            let mut entries = self.entries();
            entries.find_map(|entry| Some((entry, entry.rollout().members.get(name)?)))
        };
        by_name(application).or_else(|| by_name(OTHERS))
    }

    /// Returns true if an entry names the application.
    pub fn has_own_entry(&self, application: &str) -> bool {
        self.entries().any(|own| own.rollout().members.contains_key(application))
    }

    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let withheld = self.withheld.iter().map(Entry::Withheld);
        self.running.iter().map(Entry::Running).chain(withheld)
    }

    /// The hold on an application, as the store needs it for each request.
    pub fn hold(&self, application: &str) -> Option<(Hold, &Member)> {
        let (entry, member) = self.entry(application)?;
        let Rollout { number, .. } = *entry.rollout();
        let is_withheld = matches!(entry, Entry::Withheld(_));
        Some((Hold { number, salt: member.salt, bound: member.bound, is_withheld }, member))
    }

    /// The number in the ids of an application. `None` if they have none.
    pub fn id_number(&self, application: &str) -> Option<u64> {
        let past = || self.past.get(application).or_else(|| self.past.get(OTHERS));
        let held = self.entry(application).map(|(entry, _)| entry.rollout().number);
        held.or_else(|| past().map(|past| past.number)).filter(|number| *number > 0)
    }

    /// A rollout that runs.
    pub fn running(&self, id: &str) -> Option<&Rollout> {
        self.running.iter().find(|rollout| &*rollout.id == id)
    }

    /// The commits that the branch needs although they may not be the tip.
    pub fn stable_commits(&self) -> impl Iterator<Item = (&Rollout, &Name)> {
        let rollouts = self.entries().map(Entry::rollout);
        rollouts.flat_map(|own| own.members.values().map(move |member| (own, &member.stable)))
    }

    /// Records that an application has no entry any more, or that its stable content was replaced. `number` is the one
    /// in its ids from now on, and `None` leaves it as it is.
    pub(crate) fn record_past(
        &mut self,
        application: &Name,
        number: Option<u64>,
        content: Option<Content>,
        now: WallTime,
    ) {
        if number.is_none() && content.is_none() {
            return;
        }
        let past = self.past.entry(application.clone()).or_default();
        if let Some(number) = number {
            (past.number, past.since) = (number, now);
        }
        past.contents.retain(|(own, _)| Some(*own) != content);
        past.contents.extend(content.map(|content| (content, now)));
        let surplus = past.contents.len().saturating_sub(PAST_COUNT_MAX);
        past.contents.drain(..surplus);
    }

    /// Returns true if the content was stable for the application not long ago.
    pub(crate) fn was_stable(&self, application: &str, content: Content, now: WallTime) -> bool {
        let is_recent = |at: WallTime| (0..=PAST_SECONDS).contains(&(now.0 - at.0));
        let past = self.past.get(application);
        past.is_some_and(|past| {
            past.contents.iter().any(|(own, at)| *own == content && is_recent(*at))
        })
    }

    /// Drops contents and numbers that are too old.
    pub(crate) fn forget_past(&mut self, now: WallTime) {
        let is_recent = |at: WallTime| now.0 - at.0 <= PAST_SECONDS;
        for past in self.past.values_mut() {
            past.contents.retain(|(_, at)| is_recent(*at));
        }
        let is_needed =
            |past: &Past| !past.contents.is_empty() || past.number > 0 && is_recent(past.since);
        self.past.retain(|_, past| is_needed(past));
    }
}

/// The state of all rollouts of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct State {
    /// A random number, chosen when the state began. Numbers of two lineages have no order.
    pub lineage: u64,
    /// Grows with every change of the state. It never returns to an earlier value.
    pub number: u64,
    pub branches: BTreeMap<Name, Branch>,
    /// Pushes whose references may not have moved yet, by branch. See [`State::intending`].
    pub(crate) intents: BTreeMap<Name, intent::Intent>,
}

impl State {
    /// A state without any rollout.
    pub fn new(lineage: u64) -> Self {
        Self { lineage, ..Self::default() }
    }

    /// The rollouts of a branch.
    pub fn branch(&self, name: &str) -> Option<&Branch> {
        self.branches.get(name)
    }

    /// The entries that count towards [`ENTRY_COUNT_MAX`].
    pub fn entry_count(&self) -> usize {
        let branches = self.branches.values();
        let rollouts = branches.flat_map(Branch::entries).map(Entry::rollout);
        rollouts.flat_map(|own| own.members.values()).map(Member::entry_count).sum()
    }

    /// Drops the oldest earlier contents until the text of the state has at most `most` bytes. Returns false if that is
    /// not enough.
    pub(crate) fn fit(&mut self, most: usize) -> bool {
        /// More than one content needs, so that a round never drops too many.
        const CONTENT_BYTES: usize = 64;
        loop {
            let surplus = self.text_len().saturating_sub(most);
            if surplus == 0 {
                return true;
            }
            let pasts = self.branches.values().flat_map(|own| own.past.values());
            let mut times: Vec<WallTime> =
                pasts.flat_map(|past| past.contents.iter().map(|(_, at)| *at)).collect();
            times.sort_unstable();
            let Some(last) = times.get((surplus / CONTENT_BYTES).min(times.len().max(1) - 1))
            else {
                return false;
            };
            for past in self.branches.values_mut().flat_map(|own| own.past.values_mut()) {
                past.contents.retain(|(_, at)| at > last);
            }
        }
    }
}

#[cfg(test)]
mod tests;
