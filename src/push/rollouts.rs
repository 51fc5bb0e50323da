//! The rollouts of a hosted repository: what a push changes for them, and the decisions that take effect with a push.
//!
//! Invariant: the holds of a push are durable before git may move a reference, and published in the same step as the
//! reference.

use std::collections::BTreeSet;
use std::sync::Arc;

use headwater_rollout::Name;
use headwater_rollout::event::Event;
use headwater_rollout::open::{Change, NowPolicy, Opened};
use headwater_rollout::plan::{Plan, PlanFile, Touched};
use headwater_rollout::state::{Branch, State};
use jiff::Timestamp;

use super::updates::Update;
use crate::check;
use crate::conduct::{
    self, BranchChanges, Comparison, Ledger, LedgerError, LedgerTurn, RemoteInstances, ReplicaGroup,
};
use crate::fleet::{Instance, Instances};
use crate::model::{Label, PropertySource};
use crate::snapshot::Snapshot;
use crate::source::SourceError;
use crate::source::git::{GitSource, HoldTable, Incoming, MovedReference};
use crate::tree::{Tree, TreeError};

/// The plan of changes that go to all instances at once.
const ALL_AT_ONCE: &str = "all-at-once";
/// The strictest built-in plan.
const STRICTEST: &str = "careful";

/// The rollouts of a hosted repository, and how they begin.
pub(super) struct RepositoryRollouts {
    pub(super) ledger: Arc<Ledger>,
    pub(super) instances: Arc<Instances>,
    pub(super) settings: RolloutPolicy,
    /// The other replicas, if they share the repository.
    pub(super) group: Option<Arc<dyn ReplicaGroup>>,
}

/// The operator's settings for rollouts.
#[derive(Debug, Clone, Default)]
pub struct RolloutPolicy {
    /// The built-in plan of a branch without a plan file. `None` for no rollouts.
    pub default: Option<&'static str>,
    /// Whether a push may skip the stages.
    pub now: NowPolicy,
    /// The names of the checks that the operator defines.
    pub checks: Vec<String>,
}

/// The reason why it is not known what a push changes.
#[derive(Debug, thiserror::Error)]
pub(super) enum StagingError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// What a push changes at one branch, and the plans that govern it.
#[derive(Clone)]
pub(super) struct StagedBranch {
    pub(super) branch: Name,
    pub(super) from: Name,
    pub(super) to: Name,
    pub(super) changes: BranchChanges,
    pub(super) plans: Arc<PlanFile>,
    /// The connected instances that follow the branch.
    pub(super) fleet: u64,
    /// True if the push changes an environment of the branch.
    pub(super) changes_environments: bool,
}

/// The decision about one branch.
pub(super) struct OpenedBranch {
    pub(super) branch: Name,
    pub(super) opened: Opened,
    /// The rollouts before the push.
    pub(super) before: Arc<State>,
    pub(super) changes: BranchChanges,
    pub(super) plans: Arc<PlanFile>,
    /// True if the push changes an environment of the branch.
    pub(super) changes_environments: bool,
}

/// The decisions of a push to a shared repository, which takes effect if etcd commits it.
pub(super) struct DecidedRollouts {
    pub(super) branches: Vec<OpenedBranch>,
    /// The state after the push. `None` if it stays.
    pub(super) next: Option<State>,
}

/// The decisions of a push, durable and not in effect yet.
///
/// Locking: it holds the turn of the ledger until the push is published.
pub(super) struct PendingRollouts {
    pub(super) ledger: Arc<Ledger>,
    pub(super) turn: LedgerTurn,
    /// In the order of the branches.
    pub(super) branches: Vec<OpenedBranch>,
    /// The rollouts before, if they follow etcd. The events of other replicas are derived from it.
    pub(super) before: Option<Arc<State>>,
}

impl RepositoryRollouts {
    /// The plans of a tree, and whether it has a plan file. A file that cannot be used was accepted because of a setting, or
    /// names a check that the operator has removed. The strictest built-in plan then takes its place, so that no change of
    /// the branch goes out unwatched by mistake.
    pub(super) fn plans(&self, tree: &Tree) -> Result<(PlanFile, bool), TreeError> {
        let checks: Vec<&str> = self.settings.checks.iter().map(String::as_str).collect();
        let built_in = |name| PlanFile::without_file(name).unwrap_or_else(all_at_once);
        Ok(match check::read_plan(tree, &checks)? {
            None => (built_in(self.settings.default.unwrap_or(ALL_AT_ONCE)), false),
            Some(Ok(plans)) => (plans, true),
            Some(Err(_)) => (built_in(STRICTEST), true),
        })
    }

    /// Finds what a push changes at a branch. Returns `None` if no plan governs the branch and nothing of it is held.
    /// Blocking.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub(super) fn stage(
        &self,
        update: &Update,
        labels: &[Label],
        (old, new): (&Snapshot, &Snapshot),
        incoming: &Incoming,
        overrides: Option<&PropertySource>,
    ) -> Result<Option<StagedBranch>, StagingError> {
        let (Some(branch), Some(from), Some(to)) = (update.branch(), &update.old, &update.new)
        else {
            return Ok(None);
        };
        let state = self.ledger.state();
        let entries = state.branch(branch);
        let mut members = old.members.iter();
        let member = members.find(|member| member.layout == *incoming.layout());
        let (plans, has_plan_file) = match member {
            Some(member) => self.plans(&member.tree)?,
            None => (all_at_once(), false),
        };
        let has_entries = entries.is_some_and(|own| own.entries().next().is_some());
        if self.settings.default.is_none() && !has_plan_file && !has_entries {
            return Ok(None);
        }
        let instances = self.connected(labels);
        let others = self.group.as_ref().map(|group| group.other_instances(labels));
        let others = others.unwrap_or_default();
        let listed = others.iter().flat_map(|own: &RemoteInstances| &own.listed);
        let mut fleet: BTreeSet<u32> = listed.map(|(key, _)| *key).collect();
        fleet.extend(instances.iter().map(|own| conduct::short_key(&own.name)));
        let unlisted: u64 = others.iter().map(|own| own.unlisted.instances).sum();
        let comparison = Comparison {
            old,
            new,
            overrides,
            instances: &instances,
            others: &others,
            branch: entries,
            has_plan_file,
        };
        let changes = conduct::changes(&comparison)?;
        let plans_at = |commit: &str| self.plans_at(incoming, commit).ok().flatten();
        let plans = governing(plans, &changes.changes, entries, &plans_at);
        Ok(Some(StagedBranch {
            branch: branch.into(),
            from: Name::from(&**from),
            to: Name::from(&**to),
            changes,
            plans: Arc::new(plans),
            fleet: fleet.len() as u64 + unlisted,
            changes_environments: false,
        }))
    }

    /// The plans at a commit. `None` if the repository does not have it.
    fn plans_at(
        &self,
        incoming: &Incoming,
        commit: &str,
    ) -> Result<Option<PlanFile>, StagingError> {
        let Some(member) = incoming.member(commit, "")? else { return Ok(None) };
        Ok(Some(self.plans(&member.tree)?.0))
    }

    /// The instances that follow one of these labels.
    fn connected(&self, labels: &[Label]) -> Vec<Instance> {
        let now = Timestamp::now();
        let mut found = self.instances.snapshot(|_, query| labels.contains(&query.label));
        found.retain(|instance| instance.is_present(now));
        // Those that were there before a restart of this server come back within a minute.
        found.extend(self.instances.former(|query| labels.contains(&query.label)));
        found
    }
}

/// The plans that govern a push: those of the tip before it. For an application that an entry holds at an older revision,
/// the plans of that revision govern, unless those of the tip are stricter. Otherwise a push could weaken the plan of a
/// change that is not stable yet, and the next push would release it.
fn governing(
    of_tip: PlanFile,
    changes: &[Change],
    branch: Option<&Branch>,
    plans_at: &dyn Fn(&str) -> Option<PlanFile>,
) -> PlanFile {
    let Some(branch) = branch else { return of_tip };
    let entries = changes.iter().filter_map(|change| branch.entry(&change.application));
    let stables: BTreeSet<&Name> = entries.map(|(_, member)| &member.stable).collect();
    let stables = stables.into_iter().filter_map(|commit| plans_at(commit));
    stables.fold(of_tip, |plans, of_stable| {
        let [own, other] = [&plans, &of_stable].map(|own| plan_of(own, changes));
        if own.is_stricter_than(&other) { plans } else { of_stable }
    })
}

/// The plan that a file chooses for changes.
fn plan_of(plans: &PlanFile, changes: &[Change]) -> Arc<Plan> {
    let named = changes.iter().map(|own| {
        let profiles = own.profiles.iter().map(|name| &**name);
        (&own.application, profiles.collect())
    });
    let named: Vec<(&Name, Vec<&str>)> = named.collect();
    plans.choose(named.iter().map(|(application, profiles)| Touched { application, profiles }))
}

/// The plans of a branch without stages.
pub(super) fn all_at_once() -> PlanFile {
    PlanFile::without_file(ALL_AT_ONCE).expect("the plan is built in")
}

impl PendingRollouts {
    /// The publication of earlier pushes, whose holds are durable already.
    pub(super) async fn of_earlier(ledger: &Arc<Ledger>) -> Self {
        let turn = ledger.take_turn().await;
        Self { ledger: Arc::clone(ledger), turn, branches: Vec::new(), before: None }
    }

    /// Rollouts from etcd, with the references that are about to move. They are durable when this returns.
    ///
    /// # Errors
    /// When the disk does not accept them.
    pub(super) async fn following(
        ledger: &Arc<Ledger>,
        turn: LedgerTurn,
        next: &State,
        moves: &[MovedReference],
    ) -> Result<Self, LedgerError> {
        let before = ledger.state();
        let intended = Arc::new(conduct::intended(&before, next, moves));
        if intended != before {
            ledger.write(&turn, Arc::clone(&intended)).await?;
            ledger.adopt(&turn, State::clone(&intended), Vec::new());
        }
        Ok(Self { ledger: Arc::clone(ledger), turn, branches: Vec::new(), before: Some(before) })
    }

    /// Drops the intents of a push that git will not make.
    pub(super) async fn abandon(self, source: &GitSource) {
        let (ledger, turn) = (&self.ledger, &self.turn);
        let state = settled(ledger, &[], source);
        if state != *ledger.state() {
            ledger.adopt(turn, state, Vec::new());
            // The next start decides the same.
            let _ = ledger.write(turn, ledger.state()).await;
        }
    }

    /// Takes effect, after the references and the holds of `state` were published.
    pub(super) async fn conclude(&self, state: State, moved: &[MovedReference]) {
        let has_moved = |branch: &str| {
            moved.iter().any(|it| it.name.strip_prefix("refs/heads/") == Some(branch))
        };
        let before = self.ledger.state();
        if state == *before {
            return;
        }
        let events = self.branches.iter().filter(|own| has_moved(&own.branch));
        let mut events: Vec<(Name, Vec<Event>)> =
            events.map(|own| (own.branch.clone(), own.opened.events.clone())).collect();
        if let (Some(former), true) = (&self.before, self.branches.is_empty()) {
            events = self.ledger.events_since(former, &state, has_moved);
        } else {
            let gone = before.branches.keys().filter(|name| state.branch(name).is_none());
            events.extend(gone.map(|name| (name.clone(), before.forget(name).1)));
        }
        self.ledger.adopt(&self.turn, state, events);
        // The next start decides the intents again, with the same result.
        let _ = self.ledger.write(&self.turn, self.ledger.state()).await;
    }
}

/// The state after the references have moved, with the decided intents. Branches that are gone have no entries.
fn settled(ledger: &Ledger, moved: &[MovedReference], source: &GitSource) -> State {
    let state = ledger.state();
    let tip = |branch: &str| {
        let name = format!("refs/heads/{branch}");
        match moved.iter().find(|moved| moved.name == name) {
            Some(moved) => moved.new.clone(),
            None => source.published(&name),
        }
    };
    let mut settled = State::clone(&state);
    for branch in state.unsettled() {
        if let Some(tip) = tip(branch) {
            settled.settle(branch, &tip, |_| false);
        }
    }
    for branch in state.branches.keys().chain(state.unsettled()) {
        if tip(branch).is_some() {
            continue;
        }
        if ledger.is_shared() {
            // The state in etcd decides about its number.
            settled.branches.remove(branch);
        } else {
            settled = settled.forget(branch).0;
        }
    }
    settled
}

/// The holds of the state after the references have moved, and that state.
pub(super) fn holds_after(
    ledger: &Ledger,
    moved: &[MovedReference],
    source: &GitSource,
) -> (State, HoldTable) {
    let state = settled(ledger, moved, source);
    let holds = ledger.holds_of(&state);
    (state, holds)
}
