//! The task that advances the rollouts of one repository: evidence in, a step, the state made durable, the holds published.
//!
//! Invariant: the keeper replaces exactly the state that its step has seen. After a push or a command in between, it steps
//! again.

mod shared;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use headwater_rollout::Name;
use headwater_rollout::command::{self, Command, Order};
use headwater_rollout::event::Event;
use headwater_rollout::evidence::{Counts, Evidence, Report};
use headwater_rollout::plan::PlanFile;
use headwater_rollout::state::{Branch, Phase, State};
use headwater_rollout::step::{self, Situation, Watches};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::checks::{CheckDefinition, CheckTarget, Measurements};
use super::evidence::{EvidenceTracker, Situated};
use super::group::{GroupStanding, ReplicaGroup};
use super::holds::AdmittedInstances;
use super::journal::Standing;
use super::ledger::{self, Ledger, LedgerError, LedgerTurn};
use super::sinks::RolloutFigures;
use super::view::ConductError;
use crate::fleet::{Instance, Instances};
use crate::model::{InstanceKey, Label, Query};
use crate::source::git::HoldTable;
use crate::store::{Actor, SideDigests, Store};
use crate::sync::lock;
use crate::telemetry;

/// The shortest pause between two steps.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest pause between two steps while a rollout runs.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// The pause while nothing changes but the time.
const IDLE_PAUSE: Duration = Duration::from_millis(250);
/// A pause is at least this many times as long as the step before it, so that a large fleet costs a bounded share of a
/// processor.
const PAUSE_FACTOR: u32 = 50;
/// The pause after a state that could not be written.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// A repository whose holds a keeper publishes.
pub trait HoldPublisher: Send + Sync {
    /// Publishes holds, and returns when every label has them. The error is a text for the log.
    fn publish_holds<'a>(
        &'a self,
        turn: &'a LedgerTurn,
        holds: HoldTable,
        actor: Actor,
    ) -> BoxFuture<'a, Result<(), String>>;

    /// The published commit of a branch.
    fn tip(&self, branch: &str) -> Option<String>;

    /// The labels under which clients request a branch.
    fn labels(&self, branch: &str) -> Vec<Label>;

    /// The commit of a branch in the repository, which may not be published yet. Blocking.
    fn stored_tip(&self, branch: &str) -> Option<String>;

    /// The plans at a commit. Blocking.
    fn plans(&self, commit: &str) -> PlanFile;
}

/// What a keeper needs of its server.
#[derive(Clone)]
pub struct KeeperParts {
    pub store: Arc<Store>,
    pub instances: Arc<Instances>,
    pub figures: Arc<RolloutFigures>,
    /// The name of this server in reports.
    pub replica: Name,
    /// The checks that plans can name.
    pub checks: Arc<[CheckDefinition]>,
    /// The other servers, if they share the repository.
    pub group: Option<Arc<dyn ReplicaGroup>>,
}

/// The keeper of the rollouts of one repository.
pub struct Keeper {
    ledger: Arc<Ledger>,
    publisher: Arc<dyn HoldPublisher>,
    parts: KeeperParts,
    task: std::sync::OnceLock<AbortOnDropHandle<()>>,
}

/// The memory of the task between two steps.
struct Memory {
    trackers: BTreeMap<Name, EvidenceTracker>,
    watches: BTreeMap<Name, Watches>,
    measurements: Measurements,
    began: Instant,
    /// Set while holds that belong to the present state are not published.
    is_unpublished: bool,
}

/// What the task does after a round.
enum Next {
    /// Another round at once, because the state has changed.
    Again,
    /// A round after the next change of an instance or of the state, or after this time.
    After(Duration),
    /// A round after the next change of the state.
    Idle,
}

/// The instances that follow a branch, with the digests of their environments.
struct Audience {
    instances: Vec<Instance>,
    sides: HashMap<Query, Option<SideDigests>>,
}

impl Keeper {
    /// Starts the task. It ends when the keeper is dropped.
    pub fn start(
        ledger: Arc<Ledger>,
        publisher: Arc<dyn HoldPublisher>,
        parts: KeeperParts,
        runtime: &Handle,
    ) -> Arc<Self> {
        let keeper = Arc::new(Self { ledger, publisher, parts, task: std::sync::OnceLock::new() });
        let task = runtime.spawn(keep(Arc::downgrade(&keeper)));
        keeper.task.get_or_init(|| AbortOnDropHandle::new(task));
        keeper
    }

    /// The rollouts that it keeps.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Carries out a command of a person. It has taken effect when this returns.
    ///
    /// # Errors
    /// When the command does not fit the rollout, or its effect cannot be made durable.
    pub async fn command(
        &self,
        id: &str,
        branch: &Name,
        command: Command,
        by: &str,
        because: &str,
    ) -> Result<Vec<Event>, ConductError> {
        if let Some(group) = &self.parts.group {
            return self.command_shared(group, (id, branch), command, by, because).await;
        }
        let turn = self.ledger.take_turn().await;
        let state = self.ledger.state();
        let tip = self.publisher.tip(branch).unwrap_or_default();
        let (rollout, now) = (id, ledger::now());
        let order = Order { command, branch, rollout, by, because, tip: &tip, now };
        let (next, events) = command::command(&state, &order).map_err(ConductError::Command)?;
        self.advance(&turn, branch, next, events.clone(), id).await?;
        Ok(events)
    }

    /// Makes a state durable, publishes its holds and adopts it.
    async fn advance(
        &self,
        turn: &LedgerTurn,
        branch: &Name,
        next: State,
        events: Vec<Event>,
        rollout: &str,
    ) -> Result<(), LedgerError> {
        let (next, decided) = (Arc::new(next), Instant::now());
        self.ledger.write(turn, Arc::clone(&next)).await?;
        let holds = self.ledger.holds_of(&next);
        let actor = Actor::Rollout(rollout.into());
        let published = self.publisher.publish_holds(turn, holds, actor).await;
        if published.is_ok() {
            telemetry::record_rollout_publication(decided.elapsed());
        }
        self.ledger.adopt(turn, State::clone(&next), vec![(branch.clone(), events)]);
        published.map_err(LedgerError::Unwritable)
    }

    /// One round over all branches.
    async fn round(&self, memory: &mut Memory) -> Next {
        if memory.is_unpublished {
            let turn = self.ledger.take_turn().await;
            if self.publish(&turn, "rollouts").await.is_err() {
                return Next::After(RETRY_PAUSE);
            }
            memory.is_unpublished = false;
        }
        if self.ledger.state().unsettled().next().is_some() && self.settle().await.is_err() {
            return Next::After(RETRY_PAUSE);
        }
        let standing = self.standing();
        if self.fence(&standing).await.is_err() {
            return Next::After(RETRY_PAUSE);
        }
        let state = self.ledger.state();
        let runs = |(name, own): &(&Name, &Branch)| {
            !own.running.is_empty() && !state.unsettled().any(|unsettled| unsettled == *name)
        };
        let running: Vec<&Name> = state.branches.iter().filter(runs).map(|it| it.0).collect();
        memory.trackers.retain(|name, _| running.contains(&name));
        memory.watches.retain(|name, _| running.contains(&name));
        self.parts.figures.record_evidence(self.ledger.repository(), !running.is_empty());
        if running.is_empty() {
            memory.measurements.follow(Vec::new());
            self.show(BTreeMap::new());
            self.exchange(Vec::new());
            return Next::Idle;
        }
        memory.measurements.receive();
        let mut next_change = None::<Duration>;
        let mut own_reports = Vec::new();
        for name in &running {
            let branch = &state.branches[&**name];
            let audience = self.audience(name).await;
            if self.admit(&state, name, branch, &audience.instances).await.is_err() {
                memory.is_unpublished = true;
            }
            let now = memory.began.elapsed();
            let new = || EvidenceTracker::new(self.parts.replica.clone());
            let tracker = memory.trackers.entry(Name::clone(name)).or_insert_with(new);
            let mut reports = tracker.report(branch, &audience.situated(), now);
            reports.iter_mut().for_each(|report| report.replica = standing.own.clone());
            next_change = next_change.into_iter().chain(tracker.next_change()).min();
            own_reports.extend(reports);
        }
        let reports = self.exchange(own_reports);
        let live = &standing.live[..];
        let branches = running.iter().map(|name| &state.branches[*name]);
        let targets = branches.clone().flat_map(|branch| &branch.running);
        let targets = targets.filter_map(|rollout| CheckTarget::of(rollout, &reports)).collect();
        self.show(branches.flat_map(|branch| standings(branch, live, &reports)).collect());
        for name in running {
            match self.step(&state, name, (&standing, &reports), memory).await {
                Ok(true) => return Next::Again,
                Ok(false) => {}
                Err(_) => return Next::After(RETRY_PAUSE),
            }
        }
        memory.measurements.follow(targets);
        let rest = next_change.map_or(IDLE_PAUSE, |at| at.saturating_sub(memory.began.elapsed()));
        Next::After(rest.clamp(PAUSE_MIN, IDLE_PAUSE))
    }

    /// Drops the intents of pushes that git did not make. An intent whose reference has moved stays until it is published.
    async fn settle(&self) -> Result<(), LedgerError> {
        let turn = self.ledger.take_turn().await;
        let (state, publisher) = (self.ledger.state(), Arc::clone(&self.publisher));
        let settling = tokio::task::spawn_blocking(move || {
            let mut settled = State::clone(&state);
            for branch in state.unsettled() {
                let (stored, published) = (publisher.stored_tip(branch), publisher.tip(branch));
                if let Some(tip) = stored.filter(|stored| Some(stored) == published.as_ref()) {
                    settled.settle(branch, &tip, |_| false);
                }
            }
            (settled != *state).then_some(settled)
        });
        let Ok(Some(settled)) = settling.await else { return Ok(()) };
        self.ledger.write(&turn, Arc::new(settled.clone())).await?;
        self.ledger.adopt(&turn, settled, Vec::new());
        Ok(())
    }

    /// Makes one step of a branch. Returns true if the state has changed.
    async fn step(
        &self,
        state: &Arc<State>,
        name: &Name,
        (standing, reports): (&GroupStanding, &[Report]),
        memory: &mut Memory,
    ) -> Result<bool, LedgerError> {
        let wall = ledger::now();
        let plans = self.plans_of_waiting(&state.branches[name]).await;
        let situation = Situation {
            live: &standing.live,
            rank: standing.rank,
            reports,
            measured: &memory.measurements.pending,
            rules: &memory.measurements.rules,
            now: memory.began.elapsed(),
            wall,
            freeze: plans.as_ref().and_then(|plans| plans.freeze(wall)),
            unsupported: standing.unsupported.as_ref(),
            is_connected: standing.is_connected,
        };
        let watches = memory.watches.entry(name.clone()).or_default();
        let made = step::step(state, name, watches, &situation);
        let next = made.next.as_ref().and_then(|next| next.branch(name));
        memory.measurements.mark_judged(&state.branches[name], next);
        let Some(next) = made.next else {
            if !made.events.is_empty() {
                let turn = self.ledger.take_turn().await;
                let present = self.ledger.state();
                let events = vec![(name.clone(), made.events)];
                self.ledger.adopt(&turn, State::clone(&present), events);
            }
            return Ok(false);
        };
        if let Some(group) = &self.parts.group {
            self.replace(group, state, &next, (name, made.events)).await?;
            return Ok(true);
        }
        let turn = self.ledger.take_turn().await;
        if !Arc::ptr_eq(state, &self.ledger.state()) {
            return Ok(true);
        }
        let rollout = made.events.first().map(|event| event.rollout.to_string());
        let rollout = rollout.unwrap_or_default();
        let advanced = self.advance(&turn, name, next, made.events, &rollout).await;
        if let Err(LedgerError::Unwritable(reason)) = &advanced {
            tracing::error!(repository = %self.ledger.repository(), reason, "a rollout cannot advance");
        }
        advanced.map(|()| true)
    }

    /// The plans by which a rollout that waits learns of the end of a freeze.
    async fn plans_of_waiting(&self, branch: &Branch) -> Option<PlanFile> {
        let mut running = branch.running.iter();
        let waiting = running.find(|own| own.phase == Phase::Waiting)?;
        let (publisher, from) = (Arc::clone(&self.publisher), waiting.from.to_string());
        tokio::task::spawn_blocking(move || publisher.plans(&from)).await.ok()
    }

    /// The instances that follow a branch, with the digests of both sides of their environments.
    async fn audience(&self, branch: &str) -> Audience {
        let labels = self.publisher.labels(branch);
        let instances = self.parts.instances.snapshot(|_, query| labels.contains(&query.label));
        let mut sides = HashMap::new();
        for instance in &instances {
            if !sides.contains_key(&instance.query) {
                let digests = self.parts.store.side_digests(&instance.query).await;
                sides.insert(instance.query.clone(), digests);
            }
        }
        Audience { instances, sides }
    }

    /// Makes canaries of the instances with the attributes of a stage, and publishes that.
    async fn admit(
        &self,
        state: &Arc<State>,
        name: &Name,
        branch: &Branch,
        instances: &[Instance],
    ) -> Result<(), String> {
        let before = self.ledger.admitted();
        let is_of_branch = |id: &Name| branch.running(id).is_some();
        let mut all = before.clone();
        all.retain(|(id, _), _| !is_of_branch(id) && is_running(state, id));
        all.extend(admitted(branch, instances));
        if all == before {
            return Ok(());
        }
        let turn = self.ledger.take_turn().await;
        if self.ledger.set_admitted(&turn, all) {
            return self.publish(&turn, name).await;
        }
        Ok(())
    }

    /// Publishes the holds of the present state.
    async fn publish(&self, turn: &LedgerTurn, rollout: &str) -> Result<(), String> {
        let holds = self.ledger.holds();
        self.publisher.publish_holds(turn, holds, Actor::Rollout(rollout.into())).await
    }

    fn show(&self, standings: BTreeMap<Name, Standing>) {
        if lock(self.ledger.journal()).set_standings(standings) {
            self.ledger.notify();
        }
    }
}

/// How the rollouts of a branch stand, for people.
fn standings(branch: &Branch, live: &[Name], reports: &[Report]) -> BTreeMap<Name, Standing> {
    let standing = |rollout| {
        let evidence = Evidence::collect(rollout, live, reports);
        let counts = evidence.populations.iter();
        let counts: BTreeMap<Name, Counts> =
            counts.map(|(name, own)| (name.clone(), own.counts)).collect();
        Standing { progress: step::progress(rollout, &evidence), counts }
    };
    branch.running.iter().map(|own| (own.id.clone(), standing(own))).collect()
}

impl Audience {
    fn situated(&self) -> Vec<Situated<'_>> {
        let situated = self.instances.iter().map(|instance| Situated {
            instance,
            sides: self.sides.get(&instance.query).and_then(Option::as_ref),
        });
        situated.collect()
    }
}

/// The instances with the attributes that the stages of running rollouts name.
fn admitted(branch: &Branch, instances: &[Instance]) -> AdmittedInstances {
    let mut admitted = AdmittedInstances::new();
    for rollout in &branch.running {
        let attributes = rollout.admitted();
        let has_one = |instance: &&Instance| {
            let mut attributes = attributes.iter();
            attributes.any(|(name, value)| instance.attributes.get(name) == Some(&**value))
        };
        for instance in instances.iter().filter(has_one) {
            for application in instance.query.application_names() {
                let Some((entry, _)) = branch.entry(application) else { continue };
                if entry.rollout().id == rollout.id {
                    let member = member_name(branch, application);
                    let keys: &mut BTreeSet<u64> =
                        admitted.entry((rollout.id.clone(), member)).or_default();
                    keys.insert(InstanceKey::new(&instance.query, &instance.name).number());
                }
            }
        }
    }
    admitted
}

fn member_name(branch: &Branch, application: &str) -> Name {
    let others = headwater_rollout::state::OTHERS;
    Name::from(if branch.has_own_entry(application) { application } else { others })
}

fn is_running(state: &State, id: &Name) -> bool {
    state.branches.values().any(|own| own.running(id).is_some())
}

/// Steps until the keeper is dropped.
async fn keep(keeper: Weak<Keeper>) {
    let Some(first) = keeper.upgrade() else { return };
    let mut memory = Memory {
        trackers: BTreeMap::new(),
        watches: BTreeMap::new(),
        measurements: Measurements::new(&first.parts.checks, Handle::current()),
        began: Instant::now(),
        is_unpublished: false,
    };
    let mut state = first.ledger.changed();
    let mut instances = first.parts.instances.changes();
    drop(first);
    loop {
        let Some(present) = keeper.upgrade() else { return };
        state.mark_unchanged();
        instances.mark_unchanged();
        let began = Instant::now();
        let next = present.round(&mut memory).await;
        drop(present);
        let cost = (began.elapsed() * PAUSE_FACTOR).clamp(PAUSE_MIN, PAUSE_MAX);
        if wait(next, cost, &mut state, &mut instances).await.is_err() {
            return;
        }
    }
}

/// Waits for the next round.
async fn wait(
    next: Next,
    cost: Duration,
    state: &mut watch::Receiver<u64>,
    instances: &mut watch::Receiver<u64>,
) -> Result<(), watch::error::RecvError> {
    match next {
        Next::Again => Ok(()),
        Next::Idle => state.changed().await,
        Next::After(rest) => {
            sleep(cost).await;
            tokio::select! {
                changed = state.changed() => changed,
                changed = instances.changed() => changed,
                () = sleep(rest.saturating_sub(cost)) => Ok(()),
            }
        }
    }
}
