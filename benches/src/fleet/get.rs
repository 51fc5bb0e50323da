//! GET of a cached environment from replicas that have etcd, beside one on git: one whose files are in etcd, and one that
//! shares its repository through it. Then again with all of etcd stopped, which no request notices.

use super::{Cluster, data, publish, replica, sharing};
use crate::Options;
use crate::get::{SERVICE_COUNT, path};
use crate::load::{Contender, rounds};
use crate::process::Server;
use crate::repository::{copy_to, generated};
use crate::table::Bound::{AtLeast, None as NoBound};
use crate::table::{Bound, Row, median};

/// What the files are published below, and the repository shared.
const PREFIX: &str = "get";

/// The servers that are asked.
struct Servers {
    git: Server,
    etcd: Server,
    shared: Server,
}

pub(super) fn measure(options: &Options) -> anyhow::Result<Vec<Row>> {
    let repository = generated(&options.work, options.layout, SERVICE_COUNT)?;
    let mut cluster = Cluster::start(options)?;
    publish::published(options, &cluster, PREFIX)?;
    let data = data(options, "replica-0")?;
    copy_to(&repository, data.join("hosted/main.git"))?;
    let (path, search_path) = (path(), options.layout.search_path());
    let servers = Servers {
        git: Server::headwater(&options.binary, &repository, search_path, &path)?,
        etcd: replica(options, &cluster, PREFIX, &path)?,
        shared: sharing(options, &cluster, PREFIX, &data, &path)?,
    };
    let mut rows = beside_git(options, &servers, "")?;
    cluster.stop();
    rows.extend(beside_git(options, &servers, ", etcd stopped")?);
    Ok(rows)
}

fn beside_git(options: &Options, servers: &Servers, when: &str) -> anyhow::Result<Vec<Row>> {
    let path = path();
    let mut contenders = [&servers.git, &servers.etcd, &servers.shared]
        .map(|server| Contender::new(server, &path, None));
    rounds(&mut contenders, options.rounds, options.seconds)?;
    let [git, etcd, shared] = &contenders;
    let [mut on_etcd, mut sharing] = [(etcd, "on etcd"), (shared, "that shares")]
        .map(|(this, name)| rows(this, git, &format!("GET of a replica {name} / on git{when}")));
    on_etcd.append(&mut sharing);
    Ok(on_etcd)
}

fn rows(this: &Contender<'_>, git: &Contender<'_>, figure: &str) -> Vec<Row> {
    let row = |what: &str, must: Bound, goal: Bound, values: [&[f64]; 2], unit: &str| {
        let [this, other] = values.map(median);
        Row {
            figure: format!("{figure}, {what}"),
            must,
            goal,
            measured: this / other,
            note: format!("{this:.2} and {other:.2} {unit}"),
        }
    };
    let (rates, cpu) = ([&*this.rates, &*git.rates], [&*this.cpu_micros, &*git.cpu_micros]);
    vec![
        row("requests/s", AtLeast(0.95), AtLeast(1.0), rates, "/s"),
        row("CPU/request", NoBound, NoBound, cpu, "us"),
    ]
}
