//! A real `git push` over HTTP into a hosted repository of 20,000 files: how long it takes beside a plain bare repository,
//! and how long after it whoever watches the service knows.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};
use git2::Repository;

use crate::Options;
use crate::commit::write_commit;
use crate::get::SERVICE_COUNT;
use crate::plain::{self, Usual};
use crate::process::Server;
use crate::repository::{self, ALL_PROFILES, copy_to, generated};
use crate::table::Bound::{AtMost, None as NoBound};
use crate::table::{Row, median, percentile};
use crate::watcher::Watcher;

/// How many pushes a watcher is told of.
const PUSH_COUNT: usize = 200;
/// The least rounds in which pushes are compared.
const ROUND_COUNT_MIN: usize = 15;
/// The rounds in which all environments change.
const SHARED_ROUND_COUNT: usize = 5;
/// The service whose file changes.
pub(crate) const SERVICE: usize = 1_234;
/// The file that is part of every environment.
pub(crate) const SHARED: &str = "application.yml";

/// From the end of the push to the event on a socket.
pub(crate) fn event(options: &Options) -> anyhow::Result<Vec<Row>> {
    let hosted = Hosted::start(options)?;
    let watcher = Watcher::start(hosted.server.address, &hosted.path)?;
    let client = Pusher::start(options)?;
    let mut after = Vec::new();
    for number in 0..=PUSH_COUNT {
        let commit = client.commit(&options.layout.path(SERVICE, "-prod"), number)?;
        client.push(&hosted.url, &commit)?;
        let exit = Instant::now();
        let told = watcher.told(&commit)?;
        let before = exit.saturating_duration_since(told).as_secs_f64();
        let after_exit = told.saturating_duration_since(exit).as_secs_f64();
        if number > 0 {
            after.push((after_exit - before) * 1e3);
        }
    }
    let row = |figure: &str, must, goal, measured: f64| Row {
        figure: figure.to_owned(),
        must,
        goal,
        measured,
        note: format!("ms, of {PUSH_COUNT} pushes"),
    };
    Ok(vec![
        row("end of git push to the event, p50", NoBound, AtMost(0.0), median(&after)),
        row("the same, p99", AtMost(25.0), AtMost(10.0), percentile(&after, 0.99)),
    ])
}

/// The push itself, beside the same one to a bare repository.
pub(crate) fn beside_git(options: &Options) -> anyhow::Result<Vec<Row>> {
    let hosted = Hosted::start(options)?;
    let _watcher = Watcher::start(hosted.server.address, &hosted.path)?;
    let disk = options.disk()?.join("plain");
    let _ = fs::remove_dir_all(&disk);
    fs::create_dir_all(&disk)?;
    let made = generated(&options.work, options.layout, SERVICE_COUNT)?;
    let bare = |name: &str| -> anyhow::Result<PathBuf> {
        let path = copy_to(&made, disk.join(name))?;
        plain::prepare(&path)?;
        Ok(path)
    };
    let front = plain::front(bare("front.git")?)?;
    let usual = Usual::start(&options.work, &disk)?;
    let mut contenders = vec![
        Contender { name: "hosted", url: hosted.url.clone() },
        Contender { name: "front", url: format!("http://{front}/front.git") },
        Contender { name: "file", url: format!("file://{}", bare("file.git")?.display()) },
    ];
    if let Some(usual) = &usual {
        bare("usual.git")?;
        let url = format!("http://{}/git/usual.git", usual.nginx.address);
        contenders.push(Contender { name: "usual", url });
    }
    let client = Pusher::start(options)?;
    let own_file = options.layout.path(SERVICE, "-prod");
    let rounds = options.rounds.max(ROUND_COUNT_MIN);
    let own = push_rounds(&client, &mut contenders, &own_file, rounds)?;
    // Afterwards, because a server that has just looked at everything is not the one of every day.
    let shared = push_rounds(&client, &mut contenders, SHARED, SHARED_ROUND_COUNT)?;
    compared(&own, &shared)
}

/// Milliseconds of each push of a file, by the name of where it went.
type Times = BTreeMap<&'static str, Vec<f64>>;

/// Pushes one new commit for each round everywhere. The first warms up.
fn push_rounds(
    client: &Pusher,
    contenders: &mut [Contender],
    file: &str,
    rounds: usize,
) -> anyhow::Result<Times> {
    let mut times = Times::new();
    for round in 0..=rounds {
        let commit = client.commit(file, round)?;
        // None is always the one that comes after the slowest.
        contenders.rotate_left(1);
        for contender in contenders.iter() {
            let took = client.push(&contender.url, &commit)?;
            if round > 0 {
                times.entry(contender.name).or_default().push(took);
            }
        }
    }
    Ok(times)
}

fn compared(own: &Times, shared: &Times) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let beside = [
        ("front", "git receive-pack over HTTP", AtMost(1.10), AtMost(1.03)),
        ("usual", "nginx, fcgiwrap, git http-backend", NoBound, NoBound),
        ("file", "git over file://", NoBound, NoBound),
    ];
    for (name, words, must, goal) in beside {
        for (file, times, must, goal) in
            [("a service's file", own, must, goal), (SHARED, shared, NoBound, NoBound)]
        {
            let this = times.get("hosted").context("nothing was pushed")?;
            let Some(other) = times.get(name) else { continue };
            let row = |figure: String, must, goal, of: &dyn Fn(&[f64]) -> f64| Row {
                figure,
                must,
                goal,
                measured: of(this) / of(other),
                note: format!("{:.1} and {:.1} ms", of(this), of(other)),
            };
            rows.push(row(format!("push of {file} / {words}"), must, goal, &median));
            let fastest = |times: &[f64]| percentile(times, 0.1);
            rows.push(row("the same, fastest tenth".to_owned(), NoBound, NoBound, &fastest));
        }
    }
    Ok(rows)
}

/// Somewhere to push to.
struct Contender {
    name: &'static str,
    url: String,
}

/// A server with a repository of 20,000 files of its own.
pub(crate) struct Hosted {
    pub(crate) server: Server,
    /// Where to push to.
    pub(crate) url: String,
    /// The environment of the service whose file changes.
    path: String,
}

impl Hosted {
    pub(crate) fn start(options: &Options) -> anyhow::Result<Self> {
        Self::start_in(options, "data")
    }

    /// The same with a data directory of its own name.
    pub(crate) fn start_in(options: &Options, name: &str) -> anyhow::Result<Self> {
        let data = options.disk()?.join(name);
        let _ = fs::remove_dir_all(&data);
        fs::create_dir_all(data.join("hosted"))?;
        let made = generated(&options.work, options.layout, SERVICE_COUNT)?;
        copy_to(&made, data.join("hosted/main.git"))?;
        let path = format!("/{}/{ALL_PROFILES}", repository::name(SERVICE));
        let server = Server::hosted(&options.binary, &data, options.layout.search_path(), &path)?;
        let url = format!("http://{}/-/git/main.git", server.address);
        Ok(Self { server, url, path })
    }
}

/// A clone whose commits are pushed, one on top of the other.
pub(crate) struct Pusher {
    clone: PathBuf,
}

impl Pusher {
    pub(crate) fn start(options: &Options) -> anyhow::Result<Self> {
        let made = generated(&options.work, options.layout, SERVICE_COUNT)?;
        Ok(Self { clone: copy_to(&made, options.work.join("pusher.git"))? })
    }

    /// A commit that changes one file, not pushed yet.
    pub(crate) fn commit(&self, file: &str, number: usize) -> anyhow::Result<String> {
        let repository = Repository::open_bare(&self.clone)?;
        let commit = write_commit(&repository, file, &format!("change-{number}"))?;
        repository.reference("refs/heads/main", commit, true, "bench")?;
        Ok(commit.to_string())
    }

    /// Milliseconds from the start of the client to its end.
    pub(crate) fn push(&self, url: &str, commit: &str) -> anyhow::Result<f64> {
        let mut command = client(&self.clone);
        command.args(["push", "--quiet", url]).arg(format!("{commit}:refs/heads/main"));
        let begun = Instant::now();
        let output = command.output()?;
        let took = begun.elapsed();
        if !output.status.success() {
            bail!("git push: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(took.as_secs_f64() * 1e3)
    }
}

/// Git with nobody's settings.
fn client(directory: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(directory)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null());
    command
}
