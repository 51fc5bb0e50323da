//! The same work beside the real Spring Cloud Config Server, on a repository of eight files: it checks everything out,
//! so a large one would be unkind.

use std::process::Command;

use crate::Options;
use crate::load::{Contender, rounds};
use crate::process::Server;
use crate::repository::{checked_out, generated};
use crate::size::MIB;
use crate::table::Bound::{AtLeast, AtMost};
use crate::table::{Row, median};

/// How many of its own files the repository has, by four; four more are shared.
const SERVICE_COUNT: usize = 1;
/// How long each of the two is loaded at least, in each round.
const SECONDS_MIN: u64 = 5;
/// Starts of the original take seconds each.
const START_COUNT: usize = 3;

pub(crate) fn measure(options: &Options) -> anyhow::Result<Vec<Row>> {
    let classes = options.original.join("target/classes");
    if !classes.exists() {
        eprintln!("{} is not built: scripts/install-test-deps.sh", options.original.display());
        return Ok(Vec::new());
    }
    let bare = generated(&options.work, options.layout, SERVICE_COUNT)?;
    let repository = checked_out(&options.work, &bare)?;
    let path = "/service-00000/default";
    let search_path = options.layout.search_path();
    let headwater = || Server::headwater(&options.binary, &repository, search_path, path);
    let spring = || {
        let libraries = options.original.join("target/lib/*");
        let mut command = Command::new("java");
        command
            .arg("-cp")
            .arg(format!("{}:{}", classes.display(), libraries.display()))
            .arg("oracle.ConfigServer")
            .arg(format!("--spring.cloud.config.server.git.uri=file://{}", repository.display()))
            .arg(format!("--spring.cloud.config.server.git.search-paths={search_path}"))
            .arg("--spring.cloud.config.server.git.default-label=main");
        Server::announcing(command, path)
    };
    let (mut starts, mut spring_starts) = (Vec::new(), Vec::new());
    for _ in 0..START_COUNT {
        starts.push(headwater()?.started_in.as_secs_f64() * 1e3);
        spring_starts.push(spring()?.started_in.as_secs_f64() * 1e3);
    }
    let (this, original) = (headwater()?, spring()?);
    let mut contenders = [Contender::new(&this, path, None), Contender::new(&original, path, None)];
    // The original answers one request at a time; it is at its best with few connections and given some seconds.
    contenders[1].connections = 16;
    rounds(&mut contenders, options.rounds, options.seconds.max(SECONDS_MIN))?;
    let [hot, other] = &contenders;
    let (rate, spring_rate) = (median(&hot.rates), median(&other.rates));
    let (memory, spring_memory) = (this.resident_bytes()?, original.resident_bytes()?);
    let (start, spring_start) = (median(&starts), median(&spring_starts));
    Ok(vec![
        Row {
            figure: "GET / Spring, requests/s".to_owned(),
            must: AtLeast(100.0),
            goal: AtLeast(300.0),
            measured: rate / spring_rate,
            note: format!("{rate:.0} and {spring_rate:.0} /s"),
        },
        Row {
            figure: "memory after that / Spring".to_owned(),
            must: AtMost(0.1),
            goal: AtMost(0.067),
            measured: memory / spring_memory,
            note: format!("{:.1} and {:.0} MiB", memory / MIB, spring_memory / MIB),
        },
        Row {
            figure: "start to first answer / Spring".to_owned(),
            must: AtMost(0.05),
            goal: AtMost(0.02),
            measured: start / spring_start,
            note: format!("{start:.1} and {spring_start:.0} ms"),
        },
    ])
}
