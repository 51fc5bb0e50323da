//! GET of a cached environment from a replica on etcd, beside one on git; then again with all of etcd stopped, which no
//! request notices.

use super::{Cluster, publish, replica};
use crate::Options;
use crate::get::{SERVICE_COUNT, path};
use crate::load::{Contender, rounds};
use crate::process::Server;
use crate::repository::generated;
use crate::table::Bound::{AtLeast, None as NoBound};
use crate::table::{Bound, Row, median};

/// What the files are published below.
const PREFIX: &str = "get";

pub(super) fn measure(options: &Options) -> anyhow::Result<Vec<Row>> {
    let repository = generated(&options.work, options.layout, SERVICE_COUNT)?;
    let mut cluster = Cluster::start(options)?;
    publish::published(options, &cluster, PREFIX)?;
    let path = path();
    let search_path = options.layout.search_path();
    let on_git = Server::headwater(&options.binary, &repository, search_path, &path)?;
    let on_etcd = replica(options, &cluster, PREFIX, &path)?;
    let mut rows = beside_git(options, &on_etcd, &on_git, "GET of a replica on etcd / on git")?;
    cluster.stop();
    rows.extend(beside_git(options, &on_etcd, &on_git, "the same with all of etcd stopped")?);
    Ok(rows)
}

fn beside_git(
    options: &Options,
    on_etcd: &Server,
    on_git: &Server,
    figure: &str,
) -> anyhow::Result<Vec<Row>> {
    let path = path();
    let mut contenders =
        [Contender::new(on_git, &path, None), Contender::new(on_etcd, &path, None)];
    rounds(&mut contenders, options.rounds, options.seconds)?;
    let [git, etcd] = &contenders;
    let row = |what: &str, must: Bound, goal: Bound, this: f64, other: f64, unit: &str| Row {
        figure: format!("{figure}, {what}"),
        must,
        goal,
        measured: this / other,
        note: format!("{this:.2} and {other:.2} {unit}"),
    };
    let (rate, git_rate) = (median(&etcd.rates), median(&git.rates));
    let (cpu, git_cpu) = (median(&etcd.cpu_micros), median(&git.cpu_micros));
    Ok(vec![
        row("requests/s", AtLeast(0.95), AtLeast(1.0), rate, git_rate, "/s"),
        row("CPU/request", NoBound, NoBound, cpu, git_cpu, "us"),
    ])
}
