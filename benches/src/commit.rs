//! One file changes: from the moved reference to the new answer, beside `git ls-tree -r` of the same repository.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use git2::{Oid, Repository, Signature, build::TreeUpdateBuilder};

use crate::Options;
use crate::client::Client;
use crate::get::SERVICE_COUNT;
use crate::process::{Server, timed};
use crate::repository::{self, ALL_PROFILES, copy, generated};
use crate::table::Bound::{AtMost, None as NoBound};
use crate::table::{Bound, Row, median, percentile};

/// How many commits each round has.
const COMMIT_COUNT: usize = 20;
/// How long a new answer may take.
const VISIBLE_MAX: Duration = Duration::from_secs(10);
/// The service whose file changes.
pub(crate) const SERVICE: usize = 1_234;

pub(crate) fn measure(options: &Options) -> anyhow::Result<Vec<Row>> {
    let small = Followed::start(options, SERVICE_COUNT)?;
    let (mut visible, mut listings) = (Vec::new(), Vec::new());
    let mut parsed = Vec::new();
    for round in 0..=options.rounds {
        let (before, mut times) = (small.parsed_files()?, Vec::new());
        for commit in 0..COMMIT_COUNT {
            times.push(small.commit(options, round * COMMIT_COUNT + commit)?);
        }
        let parsed_now = (small.parsed_files()? - before) / COMMIT_COUNT as f64;
        let mut list = Command::new("git");
        list.args(["ls-tree", "-r", "main"]).current_dir(&small.repository);
        let listing = timed(&mut list)?.as_secs_f64() * 1e3;
        if round > 0 {
            visible.extend(times);
            listings.push(listing);
            parsed.push(parsed_now);
        }
    }
    let listing = median(&listings);
    let row = |figure: &str, must, goal, millis: f64| Row {
        figure: figure.to_owned(),
        must,
        goal,
        measured: millis / listing,
        note: format!("{millis:.3} and {listing:.1} ms"),
    };
    let p99 = percentile(&visible, 0.99);
    Ok(vec![
        row(
            "commit to new answer, p50 / git ls-tree -r",
            AtMost(0.10),
            AtMost(0.03),
            median(&visible),
        ),
        row("the same, fastest tenth", NoBound, NoBound, percentile(&visible, 0.1)),
        row("the same, p99", NoBound, NoBound, p99),
        Row {
            figure: "files parsed for each commit".to_owned(),
            must: Bound::AtMost(1.0),
            goal: Bound::AtMost(1.0),
            measured: parsed.iter().copied().fold(0.0, f64::max),
            note: "the most of any round".to_owned(),
        },
    ])
}

/// A server that follows a repository which is written to.
struct Followed {
    repository: std::path::PathBuf,
    server: Server,
    path: String,
}

impl Followed {
    fn start(options: &Options, services: usize) -> anyhow::Result<Self> {
        let repository = copy(&options.work, &generated(&options.work, options.layout, services)?)?;
        let path = format!("/{}/{ALL_PROFILES}", repository::name(SERVICE));
        let search_path = options.layout.search_path();
        let server = Server::headwater(&options.binary, &repository, search_path, &path)?;
        Ok(Self { repository, server, path })
    }

    /// Milliseconds from the moved reference until the new content was seen.
    fn commit(&self, options: &Options, number: usize) -> anyhow::Result<f64> {
        let repository = Repository::open_bare(&self.repository)?;
        let file = options.layout.path(SERVICE, "-prod");
        let mark = format!("change-{number}");
        let commit = write_commit(&repository, &file, &mark)?;
        let mut client = Client::connect(self.server.address)?;
        client.get(&self.path)?;
        // As git does it: the new id goes into a lock file, and the rename onto the reference is the move. Done by hand,
        // because the clock has to start there: what libgit2 does after it may well take longer than the server does.
        let reference = self.repository.join("refs/heads/main");
        let locked = reference.with_extension("lock");
        fs::write(&locked, format!("{commit}\n"))?;
        std::thread::sleep(Duration::from_millis(5));
        let moved = Instant::now();
        fs::rename(&locked, &reference)?;
        loop {
            let answer = client.get(&self.path)?;
            if contains(&answer.body, mark.as_bytes()) {
                return Ok(millis(moved.elapsed()));
            }
            if moved.elapsed() > VISIBLE_MAX {
                bail!("the new content of {file} was not seen");
            }
        }
    }

    fn parsed_files(&self) -> anyhow::Result<f64> {
        let answer = Client::connect(self.server.address)?.get("/metrics")?;
        let text = String::from_utf8(answer.body)?;
        let line = text.lines().find(|line| line.starts_with("headwater_parsed_files_total "));
        Ok(line
            .and_then(|line| line.split(' ').nth(1))
            .context("no headwater_parsed_files_total")?
            .parse()?)
    }
}

/// A commit on top of the branch that no reference leads to yet.
pub(crate) fn write_commit(repository: &Repository, file: &str, mark: &str) -> anyhow::Result<Oid> {
    let tip = repository.find_reference("refs/heads/main")?.peel_to_commit()?;
    let text = repository::content(mark, "-prod", SERVICE);
    let blob = repository.blob(text.as_bytes())?;
    let tree = TreeUpdateBuilder::new()
        .upsert(Path::new(file), blob, git2::FileMode::Blob)
        .create_updated(repository, &tip.tree()?)?;
    let tree = repository.find_tree(tree)?;
    let who = Signature::now("Bench", "bench@headwater.invalid")?;
    Ok(repository.commit(None, &who, &who, mark, &tree, &[&tip])?)
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    // The mark stands in the comment and in the URLs; a digit after it would be another commit's.
    body.windows(text.len() + 1)
        .any(|window| window.starts_with(text) && !window[text.len()].is_ascii_digit())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
