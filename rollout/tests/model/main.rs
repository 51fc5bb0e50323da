//! A model of rollouts, walked through whole: two replicas that share a branch through etcd, or one server, with two
//! applications, three instances and two pushes. The walk calls the functions of the crate for every decision.
//!
//! | property | meaning |
//! | --- | --- |
//! | R1 | no instance outside the bound that has not seen the candidate is given it before promotion |
//! | R2 | an instance never receives an older publication after a newer one, over both replicas |
//! | R3 | an acknowledged push has its hold, also after a crash |
//! | R4 | withheld content stays withheld until a push of another content or a decision of an operator |
//! | R5 | the state that a replica reads is the one that was written, so that equal states give equal sides |
//! | R6 | a rollout with a bad report in etcd does not advance and is withheld |
//! | R7 | no promotion without the evidence of all live replicas |
//! | R8 | applications outside the scope are never touched |
//! | R9 | with no more faults, every rollout ends in done, withheld or paused, or waits for one that is paused |
//! | R10 | within a rollout a bound never shrinks |

mod apply;
mod keeper;
mod properties;
mod steps;
mod walk;
mod world;

use std::time::Instant;

use world::{Budget, Flaw, Model, Scenario};

/// The second push is made on the first commit by force, and changes one application differently.
const FORCED: Scenario = Scenario {
    name: "forced",
    contents: [[0, 1, 2], [0, 1, 0]],
    parents: [0, 0, 0],
    is_forced: true,
    is_shared: true,
};

/// The second push follows the first and changes one of its applications again.
const SUPERSEDING: Scenario = Scenario {
    name: "superseding",
    contents: [[0, 1, 2], [0, 1, 1]],
    parents: [0, 0, 1],
    is_forced: false,
    is_shared: true,
};

/// The second push brings the first content of one application back.
const REVERTING: Scenario = Scenario {
    name: "reverting",
    contents: [[0, 1, 0], [0, 1, 1]],
    parents: [0, 0, 1],
    is_forced: false,
    is_shared: true,
};

/// The pushes change different applications.
const INDEPENDENT: Scenario = Scenario {
    name: "independent",
    contents: [[0, 1, 1], [0, 0, 1]],
    parents: [0, 0, 1],
    is_forced: false,
    is_shared: true,
};

const SCENARIOS: [Scenario; 5] = [
    FORCED,
    SUPERSEDING,
    REVERTING,
    INDEPENDENT,
    Scenario { name: "one server", is_shared: false, ..FORCED },
];

const BUDGET: Budget = Budget { crashes: 1, partitions: 1, moves: 1, commands: 1, rejections: 1 };
const WIDE: Budget = Budget { crashes: 3, partitions: 3, moves: 6, commands: 3, rejections: 2 };

/// The depths and the number of runs of an ordinary test run. The full walk is `the_full_walk`.
const EFFORT: Effort = Effort { depth: 9, later_depth: 6, runs: 3_000 };
const FULL: Effort = Effort { depth: 12, later_depth: 9, runs: 40_000 };
const RUN_LENGTH: usize = 80;

struct Effort {
    /// The depth from the first world, in which nothing has been pushed.
    depth: usize,
    /// The depth from worlds in which the first push is in a stage, or has ended.
    later_depth: usize,
    /// The random runs of each scenario.
    runs: u64,
}

fn walk(scenario: Scenario, effort: &Effort) {
    let name = scenario.name;
    let mut model = Model::new(scenario, Flaw::None);
    let begin = Instant::now();
    let starts = walk::starts(&mut model, BUDGET).unwrap_or_else(|error| panic!("{name}: {error}"));
    for (index, start) in starts.into_iter().enumerate() {
        let depth = if index == 0 { effort.depth } else { effort.later_depth };
        let worlds = walk::exhaustive(&mut model, start, depth);
        let worlds = worlds.unwrap_or_else(|error| panic!("{name}, start {index}: {error}"));
        eprintln!("{name}, start {index}: {worlds} worlds to depth {depth}, {:?}", begin.elapsed());
    }
    model.counts.clear();
    let runs = walk::random(&mut model, WIDE, effort.runs, RUN_LENGTH);
    runs.unwrap_or_else(|error| panic!("{name}: {error}"));
    let (states, counts) = (model.states.len(), &model.counts);
    eprintln!("{name}: {states} states, {counts:?}, {:?}", begin.elapsed());
    for what in ["begun", "promoted", "done", "withheld", "paused"] {
        assert!(counts.contains_key(what), "{name}: no random run has {what}");
    }
}

#[test]
fn every_order_keeps_the_properties() {
    for scenario in SCENARIOS {
        walk(scenario, &EFFORT);
    }
}

/// `cargo test -p headwater-rollout --test model -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes"]
fn the_full_walk() {
    for scenario in SCENARIOS {
        walk(scenario, &FULL);
    }
}

/// Each of these servers does one thing in another order, or leaves it out. The walk has to find out what is wrong.
#[test]
fn flawed_servers_are_found() {
    let single = Scenario { is_shared: false, ..FORCED };
    for (flaw, scenario, property) in [
        (Flaw::GitBeforeFile, single, "R"),
        (Flaw::TipBeforeHold, FORCED, "R1"),
        (Flaw::SwapBlindly, FORCED, "R"),
        (Flaw::ServeBehind, FORCED, "R2"),
        (Flaw::AssumeMoved, single, "R"),
        (Flaw::ExpectNoEvidence, FORCED, "R7"),
    ] {
        let mut model = Model::new(scenario, flaw);
        let start = model.world(BUDGET);
        let found = walk::exhaustive(&mut model, start, 5).map(|_| ());
        let found = found.and_then(|()| walk::random(&mut model, WIDE, 20_000, RUN_LENGTH));
        let error = found.expect_err(&format!("{flaw:?} is not found"));
        let first = error.lines().next().unwrap();
        eprintln!("{flaw:?}: {first}");
        assert!(first.starts_with(property), "{flaw:?}: {first}");
    }
}
