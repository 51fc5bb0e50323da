//! A real `git push` into one of three replicas that share a repository of 20,000 files through etcd, and when those who
//! watch the others know. Beside it, in turn with the pushes: a put into the same cluster, and a watch at another member.

use std::path::Path;
use std::time::Instant;

use super::{Cluster, data, sharing};
use crate::Options;
use crate::fan::client::Watchers;
use crate::fan::etcd::{self, Puts};
use crate::get::SERVICE_COUNT;
use crate::process::Server;
use crate::push::{Pusher, SERVICE};
use crate::repository::{self, ALL_PROFILES, copy_to, generated};
use crate::table::Bound::{AtMost, None as NoBound};
use crate::table::{Bound, Row, median, percentile};
use crate::watcher::Watcher;

/// How many replicas there are.
const REPLICA_COUNT: usize = 3;
/// How many pushes, to one replica after the other. Two watchers are told of each.
const PUSH_COUNT: usize = 200;
/// The bytes of a put, about those of a table of references.
const VALUE_BYTES: usize = 400;

pub(super) fn measure(options: &Options) -> anyhow::Result<Vec<Row>> {
    let cluster = Cluster::start(options)?;
    let fleet = Fleet::start(options, &cluster)?;
    let mut own = PutToWatch::start(&cluster)?;
    let client = Pusher::start(options)?;
    let mut measured = Measured::default();
    for number in 0..=PUSH_COUNT {
        let commit = client.commit(&options.layout.path(SERVICE, "-prod"), number)?;
        let here = number % REPLICA_COUNT;
        let took = client.push(&fleet.replicas[here].url, &commit)?;
        let exit = Instant::now();
        let told = fleet.told(&commit, here, exit)?;
        let put = own.measure(number)?;
        if number > 0 {
            measured.from_begin.extend(told.iter().map(|after| took + after));
            measured.from_exit.extend(told);
            measured.pushes.push(took);
            measured.puts.push(put);
        }
    }
    Ok(measured.rows())
}

/// Three replicas, each with somebody who watches the service whose file changes.
struct Fleet {
    replicas: Vec<Replica>,
}

struct Replica {
    watcher: Watcher,
    /// Where to push to.
    url: String,
    _server: Server,
}

impl Fleet {
    /// The first has the files, the others get them through etcd.
    fn start(options: &Options, cluster: &Cluster) -> anyhow::Result<Self> {
        let made = generated(&options.work, options.layout, SERVICE_COUNT)?;
        let mut replicas = Vec::new();
        for at in 0..REPLICA_COUNT {
            let data = data(options, &format!("replica-{at}"))?;
            if at == 0 {
                copy_to(&made, data.join("hosted/main.git"))?;
            }
            replicas.push(Replica::start(options, cluster, &data)?);
        }
        Ok(Self { replicas })
    }

    /// Milliseconds after a moment at which the watchers of the others were told of a commit; before it they are negative.
    fn told(&self, commit: &str, except: usize, from: Instant) -> anyhow::Result<Vec<f64>> {
        let mut millis = Vec::new();
        for (at, replica) in self.replicas.iter().enumerate() {
            let told = replica.watcher.told(commit)?;
            let (before, after) = (millis_between(told, from), millis_between(from, told));
            if at != except {
                millis.push(after - before);
            }
        }
        Ok(millis)
    }
}

impl Replica {
    fn start(options: &Options, cluster: &Cluster, data: &Path) -> anyhow::Result<Self> {
        let path = format!("/{}/{ALL_PROFILES}", repository::name(SERVICE));
        let server = sharing(options, cluster, "push", data, &path)?;
        let watcher = Watcher::start(server.address, &path)?;
        let url = format!("http://{}/-/git/main.git", server.address);
        Ok(Self { watcher, url, _server: server })
    }
}

/// What etcd itself does: a put at one member, seen by a watch at another.
struct PutToWatch {
    puts: Puts,
    watch: Watchers,
}

impl PutToWatch {
    fn start(cluster: &Cluster) -> anyhow::Result<Self> {
        let mut watch = Watchers::connect(cluster.address(1), 1, &etcd::watch())?;
        watch.see(etcd::CREATED, Instant::now())?;
        Ok(Self { puts: Puts::connect(cluster.address(0))?, watch })
    }

    /// Milliseconds from the put until it is seen.
    fn measure(&mut self, number: usize) -> anyhow::Result<f64> {
        let mark = format!("put-{number:06}");
        let value = format!("{mark:-<VALUE_BYTES$}");
        let begun = Instant::now();
        self.puts.put(value.as_bytes())?;
        let seen = self.watch.see(mark.as_bytes(), begun)?;
        self.puts.drain()?;
        Ok(median(&seen))
    }
}

/// Milliseconds of each push, or of each watcher and push.
#[derive(Default)]
struct Measured {
    from_exit: Vec<f64>,
    from_begin: Vec<f64>,
    pushes: Vec<f64>,
    puts: Vec<f64>,
}

impl Measured {
    fn rows(&self) -> Vec<Row> {
        let row = |figure: &str, must: Bound, goal: Bound, measured: f64, note: String| Row {
            figure: figure.to_owned(),
            must,
            goal,
            measured,
            note,
        };
        let p99 = |times: &[f64]| percentile(times, 0.99);
        let (exit, put) = (p99(&self.from_exit), p99(&self.puts));
        let (exit_p50, put_p50) = (median(&self.from_exit), median(&self.puts));
        vec![
            row(
                "end of git push to the event at another replica, p50, ms",
                NoBound,
                NoBound,
                exit_p50,
                format!("{PUSH_COUNT} pushes; below 0 is before the end"),
            ),
            row("the same, p99, ms", AtMost(250.0), AtMost(150.0), exit, String::new()),
            row(
                "the same / etcd's own put to watch, p50",
                NoBound,
                AtMost(2.0),
                exit_p50 / put_p50,
                format!("{exit_p50:.1} and {put_p50:.1} ms"),
            ),
            row(
                "the same / etcd's own put to watch, p99",
                NoBound,
                AtMost(2.0),
                exit / put,
                format!("{exit:.1} and {put:.1} ms"),
            ),
            row(
                "begin of git push to the event, p50, ms",
                NoBound,
                NoBound,
                median(&self.from_begin),
                format!("the push itself {:.1}", median(&self.pushes)),
            ),
            row(
                "the same, p99, ms",
                NoBound,
                NoBound,
                p99(&self.from_begin),
                format!("the push itself {:.1}", p99(&self.pushes)),
            ),
        ]
    }
}

/// 0 when `end` is before `begin`.
fn millis_between(begin: Instant, end: Instant) -> f64 {
    end.saturating_duration_since(begin).as_secs_f64() * 1e3
}
