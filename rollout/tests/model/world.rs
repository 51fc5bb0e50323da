//! The world of the model: etcd, two replicas with disk and memory, three instances that remember what they saw.
//!
//! A world is a small value. States of the crate are kept once and named by an index.

use std::collections::{BTreeMap, HashMap};

use headwater_rollout::Name;
use headwater_rollout::bucket::{Named, Shown, Side, choose, is_behind, key};
use headwater_rollout::plan::PlanFile;
use headwater_rollout::state::{Content, State};
use headwater_rollout::step::Watches;

pub(crate) const BRANCH: &str = "main";
pub(crate) const APPLICATIONS: [&str; 2] = ["order", "cart"];
/// The application of each instance, as an index.
pub(crate) const OWNERS: [usize; 3] = [0, 0, 1];

/// The plan `auto`, with a deadline that a short run reaches.
const PLAN: &str = "[plan.p]\nstages = [\"5%\", \"all\"]\nbake = \"10s\"\ndeadline = \"30s\"\n[[rule]]\nplan = \"p\"\n";

/// What an instance reports about the content that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Outcome {
    None,
    Accepted,
    Rejected,
}

/// An instance as a replica has seen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Seen {
    pub(crate) is_present: bool,
    /// The number of the hold under which it was given the candidate, or 0.
    pub(crate) given: u8,
    pub(crate) outcome: Outcome,
    /// Grows with each connection of the instance.
    pub(crate) epoch: u8,
}

/// What a replica has written to etcd, and the state that it had then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Written {
    pub(crate) state: u32,
    pub(crate) seen: [Seen; 3],
}

/// State and tip at one revision of etcd, with the order of publications of each application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct View {
    pub(crate) state: u32,
    pub(crate) tip: u8,
    pub(crate) order: [u8; 2],
}

/// How far a replica has followed etcd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Follow {
    Idle,
    /// The file is written. Git is next.
    Filed(View),
    /// Git has moved. Publishing is next.
    Moved(View),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Replica {
    pub(crate) is_up: bool,
    pub(crate) is_partitioned: bool,
    pub(crate) is_fenced: bool,
    pub(crate) has_lease: bool,
    /// The state on disk, with the order before and after its intent.
    pub(crate) file: u32,
    pub(crate) file_orders: [[u8; 2]; 2],
    pub(crate) git: u8,
    /// What it serves.
    pub(crate) memory: View,
    pub(crate) follow: Follow,
    /// The next state of a checked push.
    pub(crate) checked: Option<u32>,
    pub(crate) watches: u32,
    pub(crate) clock: u8,
    pub(crate) seen: [Seen; 3],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Instance {
    pub(crate) at: Option<u8>,
    pub(crate) epoch: u8,
    /// What it shows: the commit and the number of the last event.
    pub(crate) commit: u8,
    pub(crate) number: u8,
    pub(crate) content: u8,
    pub(crate) outcome: Outcome,
    /// The place of the last publication in the order of its application.
    pub(crate) rank: (u8, bool),
    /// The contents that it may have been given as a canary, as bits.
    pub(crate) canary_of: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Push {
    NotBegun,
    Checked,
    /// Committed, and not acknowledged yet.
    Committed,
    Acknowledged,
    Rejected,
}

/// How often a fault can still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    pub(crate) crashes: u8,
    pub(crate) partitions: u8,
    pub(crate) moves: u8,
    pub(crate) commands: u8,
    pub(crate) rejections: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct World {
    /// What is durable: in etcd, or on the disk of the only server.
    pub(crate) truth: View,
    pub(crate) written: [Option<Written>; 2],
    pub(crate) replicas: [Replica; 2],
    pub(crate) instances: [Instance; 3],
    pub(crate) pushes: [Push; 2],
    pub(crate) budget: Budget,
    /// The order in which commits became the tip.
    pub(crate) tip_order: [u8; 3],
    /// The contents of each application that every client may have, as bits.
    pub(crate) released: [u8; 2],
}

/// One of the pushes of a scenario.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// The content of each application at each commit.
    pub(crate) contents: [[u8; 3]; 2],
    /// The parent of each commit.
    pub(crate) parents: [u8; 3],
    /// Set if the second push may lose commits.
    pub(crate) is_forced: bool,
    /// Two replicas with etcd, or one server.
    pub(crate) is_shared: bool,
}

impl Scenario {
    /// Returns true if a commit is another one or a descendant of it.
    pub(crate) fn contains(&self, commit: u8, ancestor: u8) -> bool {
        let mut commit = commit;
        while commit != ancestor && commit != 0 {
            commit = self.parents[commit as usize];
        }
        commit == ancestor
    }
}

pub(crate) fn commit(index: u8) -> String {
    format!("{index:040x}")
}

pub(crate) fn index_of(commit: &str) -> u8 {
    u8::from_str_radix(&commit[38..], 16).expect("commits of the model are numbers")
}

pub(crate) fn content(index: u8) -> Content {
    Content::of(&[index])
}

pub(crate) fn name_of(instance: usize) -> String {
    format!("{}-{instance}", APPLICATIONS[OWNERS[instance]])
}

pub(crate) fn key_of(instance: usize) -> u64 {
    key(APPLICATIONS[OWNERS[instance]], "prod", &name_of(instance))
}

/// A part of the crate that the model leaves out, to see that the walk finds what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    /// Git moves before the state is durable.
    GitBeforeFile,
    /// The tip is published before its hold.
    TipBeforeHold,
    /// The swap does not compare.
    SwapBlindly,
    /// A replica serves clients that have seen more than it knows.
    ServeBehind,
    /// A file counts as if its reference had moved.
    AssumeMoved,
    /// Replicas without evidence are not expected to have any.
    ExpectNoEvidence,
}

/// What an instance receives from a replica.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Served {
    pub(crate) content: u8,
    pub(crate) commit: u8,
    pub(crate) number: u8,
    /// The number of the hold, if the instance is given its candidate.
    pub(crate) given: u8,
    pub(crate) rank: (u8, bool),
}

/// The model: the scenario, and the values that worlds name by index.
pub(crate) struct Model {
    pub(crate) scenario: Scenario,
    pub(crate) flaw: Flaw,
    pub(crate) states: Vec<State>,
    state_index: HashMap<State, u32>,
    pub(crate) watches: Vec<Watches>,
    watches_index: HashMap<Watches, u32>,
    pub(crate) replicas: [Name; 2],
    pub(crate) steps: HashMap<super::keeper::StepKey, (Option<u32>, u32)>,
    pub(crate) keys: [u64; 3],
    pub(crate) plans: PlanFile,
    /// How often steps of keepers have had which effect.
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

impl Model {
    pub(crate) fn new(scenario: Scenario, flaw: Flaw) -> Self {
        let mut model = Self {
            scenario,
            flaw,
            states: Vec::new(),
            state_index: HashMap::new(),
            watches: Vec::new(),
            watches_index: HashMap::new(),
            replicas: ["r0".into(), "r1".into()],
            steps: HashMap::new(),
            keys: [0, 1, 2].map(key_of),
            plans: PlanFile::parse("rollout.toml", PLAN.as_bytes(), &[])
                .expect("the plan is valid"),
            counts: BTreeMap::new(),
        };
        model.intern(State::default());
        model.intern_watches(Watches::default());
        model
    }

    pub(crate) fn intern(&mut self, state: State) -> u32 {
        if let Some(index) = self.state_index.get(&state) {
            return *index;
        }
        // What a replica reads from its disk or from etcd is what was written.
        assert_eq!(State::parse(state.to_text().as_bytes()).as_ref(), Ok(&state));
        let index = self.states.len() as u32;
        self.states.push(state.clone());
        self.state_index.insert(state, index);
        index
    }

    pub(crate) fn intern_watches(&mut self, watches: Watches) -> u32 {
        if let Some(index) = self.watches_index.get(&watches) {
            return *index;
        }
        let index = self.watches.len() as u32;
        self.watches.push(watches.clone());
        self.watches_index.insert(watches, index);
        index
    }

    pub(crate) fn world(&self, budget: Budget) -> World {
        let view = View { state: 0, tip: 0, order: [0; 2] };
        let seen = Seen { is_present: false, given: 0, outcome: Outcome::None, epoch: 0 };
        let replica = Replica {
            is_up: true,
            is_partitioned: false,
            is_fenced: false,
            has_lease: true,
            file: 0,
            file_orders: [[0; 2]; 2],
            git: 0,
            memory: view,
            follow: Follow::Idle,
            checked: None,
            watches: 0,
            clock: 0,
            seen: [seen; 3],
        };
        let instance = Instance {
            at: None,
            epoch: 0,
            commit: 0,
            number: 0,
            content: 0,
            outcome: Outcome::Accepted,
            rank: (0, false),
            canary_of: 0,
        };
        let mut world = World {
            truth: view,
            written: [None; 2],
            replicas: [replica; 2],
            instances: [instance; 3],
            pushes: [Push::NotBegun; 2],
            budget,
            tip_order: [0; 3],
            released: [1; 2],
        };
        for (index, at) in [0, 1, 0].into_iter().enumerate() {
            let at = if self.scenario.is_shared { at } else { 0 };
            world.instances[index].at = Some(at);
            world.replicas[at as usize].seen[index].is_present = true;
        }
        if !self.scenario.is_shared {
            (world.replicas[1].is_up, world.replicas[1].has_lease) = (false, false);
        }
        world
    }

    /// What a replica serves to an instance now. `None` if the replica is behind what the instance shows.
    pub(crate) fn serve(&self, world: &World, replica: usize, instance: usize) -> Option<Served> {
        let own = &world.replicas[replica];
        let view = own.memory;
        let (state, client) = (&self.states[view.state as usize], &world.instances[instance]);
        let owner = OWNERS[instance];
        let number = (client.number > 0).then_some(u64::from(client.number));
        let is_unknown =
            world.tip_order[client.commit as usize] > world.tip_order[view.tip as usize];
        let shown =
            |to: u8| Shown { number, is_candidate: self.scenario.contains(client.commit, to) };
        let is_behind = is_unknown || is_behind(state.number, Some(shown(0)));
        if is_behind && self.flaw != Flaw::ServeBehind {
            return None;
        }
        let branch = state.branch(BRANCH);
        let application = APPLICATIONS[owner];
        let held = branch.and_then(|branch| Some((branch, branch.hold(application)?)));
        let Some((branch, (hold, member))) = held else {
            let number = branch.and_then(|branch| branch.id_number(application)).unwrap_or(0);
            return Some(Served {
                content: self.scenario.contents[owner][view.tip as usize],
                commit: view.tip,
                number: number as u8,
                given: 0,
                rank: (view.order[owner], true),
            });
        };
        let (entry, _) = branch.entry(application)?;
        let to = index_of(&entry.rollout().to);
        let hold = if own.is_fenced { hold.fenced() } else { hold };
        let is_admitted = !own.is_fenced && member.named.contains(&self.keys[instance]);
        let named = Named { key: self.keys[instance], is_admitted };
        let side = choose(&hold, Some(named), Some(shown(to)));
        let commit = match side {
            Side::Candidate => view.tip,
            Side::Stable => index_of(&member.stable),
        };
        let is_candidate = side == Side::Candidate;
        Some(Served {
            content: self.scenario.contents[owner][commit as usize],
            commit,
            number: hold.number as u8,
            given: if is_candidate { hold.number as u8 } else { 0 },
            rank: (view.order[owner], is_candidate),
        })
    }
}
