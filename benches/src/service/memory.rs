//! Processes with 1, 100 and 500 clients that follow an environment of 4 KB: what one more takes.

use std::time::Duration;

use crate::Options;
use crate::push::{Hosted, Pusher, SERVICE};
use crate::repository;
use crate::service::instances::{Instances, Way};
use crate::table::Bound::{AtMost, None as NoBound};
use crate::table::{Bound, Row, median};

const COUNTS: [usize; 3] = [1, 100, 500];
/// After a change all clients tell the server, within a second.
const REST: Duration = Duration::from_secs(2);
/// Each starts 601 clients.
const ROUND_COUNT_MAX: usize = 5;

/// Bytes of each of [`COUNTS`].
type Bytes = [Vec<f64>; 3];

pub(super) fn measure(options: &Options) -> anyhow::Result<Vec<Row>> {
    let hosted = Hosted::start(options)?;
    let pusher = Pusher::start(options)?;
    let (mut started, mut changed) = (Bytes::default(), Bytes::default());
    for round in 0..options.rounds.min(ROUND_COUNT_MAX) {
        let mut processes = Vec::new();
        for (count, bytes) in COUNTS.into_iter().zip(&mut started) {
            let name = repository::name(SERVICE);
            let mut process = Instances::spawn(hosted.server.address, &name, count, Way::Live)?;
            process.begin()?;
            process.begun()?;
            process.live()?;
            bytes.push(process.proportional_bytes()?);
            processes.push(process);
        }
        let commit = pusher.commit(&options.layout.path(SERVICE, ""), round)?;
        pusher.push(&hosted.url, &commit)?;
        for process in &mut processes {
            process.told(&format!("change-{round}"))?;
        }
        std::thread::sleep(REST);
        for (process, bytes) in processes.iter().zip(&mut changed) {
            bytes.push(process.proportional_bytes()?);
        }
    }
    Ok(vec![
        row("memory of each further client in a process, KB", &started, NoBound, NoBound),
        row("the same, after a change", &changed, AtMost(500.0), AtMost(100.0)),
    ])
}

fn row(figure: &str, bytes: &Bytes, must: Bound, goal: Bound) -> Row {
    let [one, hundred, all] = bytes.each_ref().map(|bytes| median(bytes) / 1e3);
    let slope = |from: usize, to: usize, less: f64, more: f64| {
        (more - less) / (COUNTS[to] - COUNTS[from]) as f64
    };
    let (first, rest) = (slope(0, 1, one, hundred), slope(1, 2, hundred, all));
    Row {
        figure: figure.to_owned(),
        must,
        goal,
        measured: slope(0, 2, one, all),
        note: format!(
            "{first:.0} up to 100 and {rest:.0} up to 500; with one client {:.1} MB",
            one / 1e3
        ),
    }
}
