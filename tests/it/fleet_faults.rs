//! Three replicas on a real etcd cluster under load, with four of the faults that `headwater-bench fleet-soak` does, for a
//! short time. `tests/fleet` says what is done and what has to hold.

use std::path::Path;
use std::time::Duration;

use headwater_fleet::{Fault, Plan, run};

/// What chance comes from: another order, other moments, and other ends of the same faults.
const SEEDS: [u64; 3] = [1, 2, 3];
const FAULTS: [Fault; 4] = [Fault::LeaderKilled, Fault::DiskLost, Fault::CutOff, Fault::Compacted];
/// How long the load lasts for each of them.
const EACH: Duration = Duration::from_secs(8);

#[test]
fn whatever_happens_to_one_of_them_a_fleet_loses_nothing_and_ends_of_one_mind() {
    for seed in SEEDS {
        let plan = Plan {
            binary: Path::new(env!("CARGO_BIN_EXE_headwater")),
            seed,
            faults: &FAULTS,
            each: EACH,
        };
        let mut wrong = Vec::new();
        let done = run(&plan, |round| {
            println!("seed {seed}: {round:?}");
            wrong.extend(round.wrong.iter().map(|it| format!("{}: {it}", round.fault.name())));
        });
        assert!(matches!(done, Ok(None)), "seed {seed}: {done:?} {wrong:#?}");
    }
}
