//! A reference that another process moves: from its rename to the new revision in an answer, and on a watching socket.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::bail;
use git2::Repository;

use crate::Options;
use crate::client::Client;
use crate::commit::write_commit;
use crate::get::SERVICE_COUNT;
use crate::process::Server;
use crate::repository::{self, ALL_PROFILES, copy, generated};
use crate::table::Bound::{AtMost, None as NoBound};
use crate::table::{Row, median, percentile};
use crate::watcher::Watcher;

/// How often the reference moves, for each of the two who look.
const MOVE_COUNT: usize = 200;
/// How long a new answer may take.
const VISIBLE_MAX: Duration = Duration::from_secs(10);
/// Between two moves: whoever commits is not in a hurry, and the server has come to rest.
const PAUSE: Duration = Duration::from_millis(10);
/// The service whose file changes.
const SERVICE: usize = 1_234;

pub(crate) fn measure(options: &Options) -> anyhow::Result<Vec<Row>> {
    let made = generated(&options.work, options.layout, SERVICE_COUNT)?;
    let repository = copy(&options.work, &made)?;
    let path = format!("/{}/{ALL_PROFILES}", repository::name(SERVICE));
    let server =
        Server::headwater(&options.binary, &repository, options.layout.search_path(), &path)?;
    let file = options.layout.path(SERVICE, "-prod");
    let mover = Mover { repository, file };
    let (mut told, mut read) = (Vec::new(), Vec::new());
    {
        let watcher = Watcher::start(server.address, &path)?;
        for number in 0..=MOVE_COUNT {
            let (moved, commit) = mover.step(number)?;
            told.push(millis(watcher.told(&commit)?.saturating_duration_since(moved)));
        }
    }
    let mut client = Client::connect(server.address)?;
    for number in 0..=MOVE_COUNT {
        let (moved, commit) = mover.step(MOVE_COUNT + 1 + number)?;
        while client.get(&path)?.header("headwater-revision") != Some(&commit) {
            if moved.elapsed() > VISIBLE_MAX {
                bail!("{commit} was not seen");
            }
        }
        read.push(millis(moved.elapsed()));
    }
    let rows = |figure: &str, times: &[f64]| {
        let row = |figure: String, must, goal, measured| Row {
            figure,
            must,
            goal,
            measured,
            note: format!("ms, of {MOVE_COUNT}"),
        };
        // Before the first, nothing was watched and nothing was read.
        let times = &times[1..];
        [
            row(format!("{figure}, p50"), NoBound, NoBound, median(times)),
            row("the same, p99".to_owned(), AtMost(5.0), AtMost(0.5), percentile(times, 0.99)),
        ]
    };
    let told = rows("moved reference to the event", &told);
    Ok(told.into_iter().chain(rows("moved reference to a GET that has it", &read)).collect())
}

/// Who moves the branch.
struct Mover {
    repository: PathBuf,
    file: String,
}

impl Mover {
    /// As git does it: the new id goes into a lock file, and the rename onto the reference is the move. The clock starts
    /// before that, so it is done by hand: what git does after it may well take longer than the server does.
    fn step(&self, number: usize) -> anyhow::Result<(Instant, String)> {
        let repository = Repository::open_bare(&self.repository)?;
        let commit = write_commit(&repository, &self.file, &format!("change-{number}"))?;
        let reference = self.repository.join("refs/heads/main");
        let locked = reference.with_extension("lock");
        fs::write(&locked, format!("{commit}\n"))?;
        std::thread::sleep(PAUSE);
        let moved = Instant::now();
        fs::rename(&locked, &reference)?;
        Ok((moved, commit.to_string()))
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
