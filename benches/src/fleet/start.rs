//! Start of a replica on 20,000 files in etcd to its first answer, beside one on the same files in git.

use super::{Cluster, publish, replica};
use crate::Options;
use crate::get::SERVICE_COUNT;
use crate::process::Server;
use crate::repository::{self, ALL_PROFILES, generated};
use crate::table::Bound::{AtMost, None as NoBound};
use crate::table::{Row, median};

/// What the files are published below.
const PREFIX: &str = "start";

pub(super) fn measure(options: &Options) -> anyhow::Result<Vec<Row>> {
    let repository = generated(&options.work, options.layout, SERVICE_COUNT)?;
    let cluster = Cluster::start(options)?;
    publish::published(options, &cluster, PREFIX)?;
    let (mut etcd, mut git) = (Vec::new(), Vec::new());
    let (mut cpu, mut memory) = (Vec::new(), Vec::new());
    for round in 0..=options.rounds {
        let path = format!("/{}/{ALL_PROFILES}", repository::name(round * 37));
        let search_path = options.layout.search_path();
        let on_git = Server::headwater(&options.binary, &repository, search_path, &path)?;
        git.push(on_git.started_in.as_secs_f64());
        drop(on_git);
        let on_etcd = replica(options, &cluster, PREFIX, &path)?;
        etcd.push(on_etcd.started_in.as_secs_f64());
        cpu.push(on_etcd.busy_seconds()?);
        memory.push(on_etcd.resident_bytes()? / 1e6);
    }
    for values in [&mut etcd, &mut git, &mut cpu, &mut memory] {
        values.remove(0);
    }
    let row = |figure: &str, must, goal, measured, note| Row {
        figure: figure.to_owned(),
        must,
        goal,
        measured,
        note,
    };
    let slowest = etcd.iter().copied().fold(0.0, f64::max);
    Ok(vec![
        row(
            "start to first answer, 20,000 files in etcd, s",
            AtMost(5.0),
            AtMost(1.0),
            median(&etcd),
            format!("on git {:.3}; slowest {slowest:.3}", median(&git)),
        ),
        row(
            "the same, CPU of the replica, s",
            NoBound,
            NoBound,
            median(&cpu),
            format!("{:.0} MB resident", median(&memory)),
        ),
    ])
}
