//! A real `git push`, and how long after its end each of 1,000 instances in ten processes runs with what was pushed.

use std::time::Duration;

use crate::Options;
use crate::push::{Hosted, Pusher, SERVICE};
use crate::repository;
use crate::service::instances::{Instances, Way, now};
use crate::table::Bound::{AtMost, None as NoBound};
use crate::table::{Bound, Row, median, percentile};

const PROCESS_COUNT: usize = 10;
/// In each process.
const INSTANCE_COUNT: usize = 100;
const PUSH_COUNT: usize = 30;
/// Before and after each push. Those who were told say so to the server within a second and then pause for two, so that no
/// push meets what the one before it left to be done.
const PAUSE: Duration = Duration::from_millis(1_600);

pub(super) fn measure(options: &Options) -> anyhow::Result<Vec<Row>> {
    let hosted = Hosted::start(options)?;
    let mut fleet = Fleet::start(&hosted)?;
    let pusher = Pusher::start(options)?;
    let file = options.layout.path(SERVICE, "");
    let mut measured = Measured::default();
    for number in 0..=PUSH_COUNT {
        let commit = pusher.commit(&file, number)?;
        std::thread::sleep(PAUSE);
        let before = fleet.busy_seconds()?;
        let took = pusher.push(&hosted.url, &commit)?;
        let exit = now();
        let after = fleet.told(&format!("change-{number}"), exit)?;
        let told = fleet.busy_seconds()?;
        std::thread::sleep(PAUSE);
        let rested = fleet.busy_seconds()?;
        if number > 0 {
            measured.pushes.push(took);
            measured.telling.push((told - before) * 1e6 / after.len() as f64);
            measured.answering.push((rested - told) * 1e6 / after.len() as f64);
            measured.last.push(percentile(&after, 1.0));
            measured.all.extend(after);
        }
    }
    Ok(measured.rows())
}

/// Many instances of one service, and the server that they follow.
struct Fleet<'a> {
    hosted: &'a Hosted,
    processes: Vec<Instances>,
}

impl<'a> Fleet<'a> {
    fn start(hosted: &'a Hosted) -> anyhow::Result<Self> {
        let mut processes = Vec::new();
        for _ in 0..PROCESS_COUNT {
            let (server, name) = (hosted.server.address, repository::name(SERVICE));
            let mut process = Instances::spawn(server, &name, INSTANCE_COUNT, Way::Live)?;
            process.begin()?;
            process.begun()?;
            process.live()?;
            processes.push(process);
        }
        Ok(Self { hosted, processes })
    }

    /// Milliseconds from a moment until each instance was told.
    fn told(&mut self, mark: &str, from: i64) -> anyhow::Result<Vec<f64>> {
        let mut millis = Vec::new();
        for process in &mut self.processes {
            millis.extend(process.told(mark)?.iter().map(|told| (told - from) as f64 / 1e6));
        }
        Ok(millis)
    }

    fn busy_seconds(&self) -> anyhow::Result<f64> {
        let processes: anyhow::Result<f64> =
            self.processes.iter().map(Instances::busy_seconds).sum();
        Ok(self.hosted.server.busy_seconds()? + processes?)
    }
}

/// Of each push, or of each instance and push.
#[derive(Default)]
struct Measured {
    /// Milliseconds of `git push` itself.
    pushes: Vec<f64>,
    /// Processor time of server and instances, in microseconds for each instance: until all were told.
    telling: Vec<f64>,
    /// The same afterwards, while they say so.
    answering: Vec<f64>,
    /// Milliseconds until the last instance was told.
    last: Vec<f64>,
    all: Vec<f64>,
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
        let count = PROCESS_COUNT * INSTANCE_COUNT;
        let (telling, answering) = (median(&self.telling), median(&self.answering));
        vec![
            row(
                &format!("end of git push to changed() in {count} instances, p50"),
                NoBound,
                NoBound,
                median(&self.all),
                format!("ms, of {PUSH_COUNT} pushes of {:.0} ms", median(&self.pushes)),
            ),
            row(
                "the same, p99",
                AtMost(300.0),
                AtMost(100.0),
                percentile(&self.all, 0.99),
                format!("ms; CPU of both ends {telling:.0} us each, and {answering:.0} to say so"),
            ),
            row(
                "the same, the last instance",
                NoBound,
                NoBound,
                median(&self.last),
                format!("ms, median of the pushes; the latest {:.0}", percentile(&self.last, 1.0)),
            ),
        ]
    }
}
