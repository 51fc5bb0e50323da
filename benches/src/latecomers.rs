//! A change of a file that all environments share, while 18,000 answers are in use: alone, beside first requests, and beside
//! made-up names.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::Options;
use crate::client::Client;
use crate::get::SERVICE_COUNT;
use crate::memory::{commit, make_up};
use crate::process::Server;
use crate::repository::{self, ALL_PROFILES, copy, generated};
use crate::table::Bound::{AtMost, None as NoBound};
use crate::table::{Row, median};

/// How many services are asked for, each with these lists of profiles.
const USED_COUNT: usize = 4_500;
const LISTS: [&str; 4] = ["dev", "staging", "prod", ALL_PROFILES];
/// The lists of profiles of the first requests.
const LATER_LISTS: [&str; 6] =
    ["dev,staging", "staging,dev", "dev,prod", "prod,dev", "staging,prod", "prod,staging"];
/// How long after one first request the next one comes.
const SPACING: Duration = Duration::from_micros(1_000_000 / 300);
/// How many changes are measured each way.
const CHANGE_COUNT: usize = 5;
/// How many names are made up before the last of them.
const MADE_UP_COUNT: usize = 12_000;
const VISIBLE_MAX: Duration = Duration::from_secs(200);

pub(crate) fn measure(options: &Options) -> anyhow::Result<Vec<Row>> {
    let repository =
        copy(&options.work, &generated(&options.work, options.layout, SERVICE_COUNT)?)?;
    let path = format!("/{}/{ALL_PROFILES}", repository::name(0));
    let server =
        Server::headwater(&options.binary, &repository, options.layout.search_path(), &path)?;
    let mut client = Client::connect(server.address)?;
    for service in 0..USED_COUNT {
        for list in LISTS {
            client.get(&format!("/{}/{list}", repository::name(service)))?;
        }
    }
    let mut changes = Changes { repository: &repository, client, path, count: 0 };
    let alone = changes.times()?;
    let is_over = AtomicBool::new(false);
    let beside = std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask_first(server.address, &is_over));
        let times = changes.times();
        is_over.store(true, Ordering::Relaxed);
        asking.join().expect("requests end")?;
        times
    })?;
    make_up(server.address, 0, MADE_UP_COUNT)?;
    let after_names = changes.times()?;
    let row = |figure: &str, must, times: &[f64]| Row {
        figure: figure.to_owned(),
        must,
        goal: NoBound,
        measured: median(times) / median(&alone),
        note: format!(
            "{:.2} and {:.2} s; slowest {:.2}",
            median(times),
            median(&alone),
            slowest(times)
        ),
    };
    Ok(vec![
        row(
            "change of application.yml, 18,000 answers, 300 first requests a second / alone",
            AtMost(2.0),
            &beside,
        ),
        row(
            &format!("the same after {MADE_UP_COUNT} made-up names / before"),
            AtMost(1.2),
            &after_names,
        ),
    ])
}

fn slowest(times: &[f64]) -> f64 {
    times.iter().copied().fold(0.0, f64::max)
}

/// Changes of the shared file.
struct Changes<'a> {
    repository: &'a Path,
    client: Client,
    path: String,
    count: usize,
}

impl Changes<'_> {
    /// Seconds from each change until it is served.
    fn times(&mut self) -> anyhow::Result<Vec<f64>> {
        (0..CHANGE_COUNT).map(|_| self.time()).collect()
    }

    fn time(&mut self) -> anyhow::Result<f64> {
        self.count += 1;
        let text = repository::content(&format!("change-{}", self.count), "", 0);
        let commit = commit(self.repository, &[("application.yml", &text)])?;
        let begun = Instant::now();
        while self.client.get(&self.path)?.header("headwater-revision") != Some(&commit) {
            ensure!(begun.elapsed() < VISIBLE_MAX, "a change was not served");
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(begun.elapsed().as_secs_f64())
    }
}

/// Sends 300 first requests a second, each for another environment.
fn ask_first(address: SocketAddr, is_over: &AtomicBool) -> anyhow::Result<()> {
    let mut client = Client::connect(address)?;
    let begun = Instant::now();
    for number in 0_u32.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let number_of_list = number as usize / USED_COUNT % LATER_LISTS.len();
        let service = repository::name(number as usize % USED_COUNT);
        client.get(&format!("/{service}/{}", LATER_LISTS[number_of_list]))?;
        let next = SPACING * (number + 1);
        std::thread::sleep(next.saturating_sub(begun.elapsed()));
    }
    Ok(())
}
