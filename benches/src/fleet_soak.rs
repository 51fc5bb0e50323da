//! A fleet of replicas under load, with one fault after the other, for many seeds. What is wrong is told in words; the figures
//! say how long the fleet took no pushes, and how long a replica was behind when the fault was over.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use headwater_fleet::{Fault, Plan, Round, run};

/// The words for all faults.
const ALL: &str = "all";

/// What is done.
#[derive(clap::Args)]
pub(crate) struct Soak {
    /// How many seeds
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Seconds of load around each fault
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// `all`, or names of faults with commas between them
    #[arg(long, default_value = ALL)]
    faults: String,
}

/// Does it, and prints a line for each fault as it is over.
pub(crate) fn soak(binary: &Path, soak: &Soak) -> anyhow::Result<()> {
    let faults = faults(&soak.faults)?;
    let binary = binary.canonicalize().with_context(|| format!("no {}", binary.display()))?;
    let mut wrong_count = 0;
    print_line(&HEAD.map(str::to_owned))?;
    for seed in soak.first..soak.first + soak.seeds {
        let each = Duration::from_secs(soak.seconds);
        let plan = Plan { binary: &binary, seed, faults: &faults, each };
        let mut printed = Ok(());
        let kept = run(&plan, |round| {
            wrong_count += round.wrong.len();
            if printed.is_ok() {
                printed = print_line(&cells(seed, round)).and_then(|()| print_wrong(round));
            }
        })
        .with_context(|| format!("seed {seed}"))?;
        printed?;
        if let Some(kept) = kept {
            writeln!(std::io::stdout(), "      kept {}", kept.display())?;
        }
    }
    if wrong_count > 0 {
        bail!("{wrong_count} things are wrong");
    }
    Ok(())
}

fn faults(names: &str) -> anyhow::Result<Vec<Fault>> {
    if names == ALL {
        return Ok(Fault::ALL.to_vec());
    }
    let named = |name: &str| Fault::named(name).with_context(|| format!("no fault is {name}"));
    names.split(',').map(named).collect()
}

const HEAD: [&str; 11] = [
    "seed",
    "fault",
    "ok",
    "fetch first",
    "refused",
    "unknown",
    "GETs",
    "events",
    "no push for, s",
    "caught up in, s",
    "verdict",
];
const WIDTHS: [usize; 11] = [4, 17, 5, 11, 7, 7, 7, 7, 14, 15, 0];

fn cells(seed: u64, round: &Round) -> [String; 11] {
    [
        seed.to_string(),
        round.fault.name().to_owned(),
        round.acknowledged_count.to_string(),
        round.behind_count.to_string(),
        round.refused_count.to_string(),
        round.unknown_count.to_string(),
        round.read_count.to_string(),
        round.event_count.to_string(),
        format!("{:.2}", round.write_gap.as_secs_f64()),
        format!("{:.2}", round.catch_up.as_secs_f64()),
        if round.wrong.is_empty() { "good" } else { "WRONG" }.to_owned(),
    ]
}

fn print_line(cells: &[String; 11]) -> anyhow::Result<()> {
    let cells = cells.iter().zip(WIDTHS).map(|(cell, width)| format!("{cell:width$}"));
    let line = cells.collect::<Vec<_>>().join("  ");
    Ok(writeln!(std::io::stdout(), "{}", line.trim_end())?)
}

fn print_wrong(round: &Round) -> anyhow::Result<()> {
    for wrong in &round.wrong {
        writeln!(std::io::stdout(), "      {wrong}")?;
    }
    Ok(())
}
