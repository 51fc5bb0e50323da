//! Resident memory in use: after names that clients make up, after changes of a file that all share, and with large texts.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use git2::{Repository, Signature};

use crate::client::Client;
use crate::get::SERVICE_COUNT;
use crate::process::Server;
use crate::repository::{self, ALL_PROFILES, copy, generated, git};
use crate::size::MIB;
use crate::table::Bound::{AtMost, None as NoBound};
use crate::table::Row;
use crate::{Options, size};

/// How many names are made up.
pub(crate) const NAME_COUNT: usize = 50_000;
/// How many clients make them up at a time.
const CLIENT_COUNT: usize = 4;
/// How many environments are in use while a shared file changes, and how often it does.
const USED_COUNT: usize = 5_000;
const CHANGE_COUNT: usize = 30;
/// How many clients take a text of 16 MiB at a time.
const TEXT_CLIENT_COUNT: usize = 40;
const TEXT_BYTES: usize = 16 * 1024 * 1024;
/// How long a change may take to be served.
const VISIBLE_MAX: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// After start, beside the bytes of the files
    Start,
    /// After requests for made-up names over a shared file of 1 MB
    Names,
    /// After changes of a shared file with 5,000 environments in use
    Changes,
    /// While 40 clients take a text of 16 MiB
    Texts,
}

pub(crate) fn measure(options: &Options, part: Option<Part>) -> anyhow::Result<Vec<Row>> {
    let all = [Part::Start, Part::Names, Part::Changes, Part::Texts];
    let mut rows = Vec::new();
    for one in all.into_iter().filter(|one| part.is_none_or(|part| part == *one)) {
        rows.extend(match one {
            Part::Start => size::memory(options)?,
            Part::Names => names(options)?,
            Part::Changes => changes(options)?,
            Part::Texts => texts(options)?,
        });
    }
    Ok(rows)
}

/// A file of about 1 MB with 10,000 keys.
pub(crate) fn large_file(mark: &str) -> String {
    let lines =
        (0..10_000).map(|key| format!("group-{}.key-{key:05}: {mark} {:x>70}\n", key % 50, key));
    lines.collect()
}

/// A repository with these files at the tip of `main`.
pub(crate) fn small_repository(
    work: &Path,
    name: &str,
    files: &[(&str, &str)],
) -> anyhow::Result<PathBuf> {
    let path = work.join(name);
    let _ = fs::remove_dir_all(&path);
    let text = path.to_str().context("a path that is no text")?;
    git(work, &["init", "--quiet", "--bare", "--initial-branch=main", text])?;
    commit(&path, files)?;
    Ok(path)
}

/// Moves `main` to a commit with these files changed.
pub(crate) fn commit(path: &Path, files: &[(&str, &str)]) -> anyhow::Result<String> {
    let repository = Repository::open_bare(path)?;
    let parent = repository.find_reference("refs/heads/main").ok();
    let parent = parent.map(|reference| reference.peel_to_commit()).transpose()?;
    let mut index = git2::Index::new()?;
    if let Some(parent) = &parent {
        index.read_tree(&parent.tree()?)?;
    }
    for (file, text) in files {
        let id = repository.blob(text.as_bytes())?;
        index.add(&entry(file, id))?;
    }
    let tree = repository.find_tree(index.write_tree_to(&repository)?)?;
    let who = Signature::now("Bench", "bench@headwater.invalid")?;
    let parents: Vec<_> = parent.iter().collect();
    let commit = repository.commit(None, &who, &who, "change", &tree, &parents)?;
    repository.reference("refs/heads/main", commit, true, "bench")?;
    Ok(commit.to_string())
}

fn entry(file: &str, id: git2::Oid) -> git2::IndexEntry {
    let never = git2::IndexTime::new(0, 0);
    git2::IndexEntry {
        ctime: never,
        mtime: never,
        dev: 0,
        ino: 0,
        mode: 0o100_644,
        uid: 0,
        gid: 0,
        file_size: 0,
        id,
        flags: 0,
        flags_extended: 0,
        path: file.into(),
    }
}

/// Makes up names, from one number to another, and asks for the environment of each.
pub(crate) fn make_up(address: SocketAddr, from: usize, to: usize) -> anyhow::Result<()> {
    let mut client = Client::connect(address)?;
    for name in from..to {
        let status = client.head(&format!("/made-up-{name:06}/default"))?.status;
        ensure!(status == 200, "a made-up name was answered with {status}");
    }
    Ok(())
}

fn names(options: &Options) -> anyhow::Result<Vec<Row>> {
    let files = [("application.yml", &*large_file("first")), ("orders.yml", "name: Orders\n")];
    let repository = small_repository(&options.work, "names.git", &files)?;
    let server = Server::headwater(&options.binary, &repository, ".", "/orders/default")?;
    make_up(server.address, 0, 10)?;
    let (before, busy) = (server.resident_bytes()?, server.busy_seconds()?);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let share = NAME_COUNT / CLIENT_COUNT;
        let clients: Vec<_> = (0..CLIENT_COUNT)
            .map(|client| {
                let from = 10 + client * share;
                scope.spawn(move || make_up(server.address, from, from + share))
            })
            .collect();
        clients.into_iter().try_for_each(|client| client.join().expect("a client ends"))
    })?;
    let (took, busy) = (begun.elapsed().as_secs_f64(), server.busy_seconds()? - busy);
    let after = server.resident_bytes()?;
    Ok(vec![
        Row {
            figure: format!("memory after {NAME_COUNT} made-up names over a file of 1 MB / before"),
            must: AtMost(2.0),
            goal: AtMost(1.2),
            measured: after / before,
            note: format!("{:.1} and {:.1} MiB", after / MIB, before / MIB),
        },
        Row {
            figure: "CPU for each of them, us".to_owned(),
            must: NoBound,
            goal: NoBound,
            measured: busy * 1e6 / NAME_COUNT as f64,
            note: format!("HEAD, {:.0} a second", NAME_COUNT as f64 / took),
        },
    ])
}

fn changes(options: &Options) -> anyhow::Result<Vec<Row>> {
    let repository =
        copy(&options.work, &generated(&options.work, options.layout, SERVICE_COUNT)?)?;
    let path = format!("/{}/{ALL_PROFILES}", repository::name(0));
    let server =
        Server::headwater(&options.binary, &repository, options.layout.search_path(), &path)?;
    let mut client = Client::connect(server.address)?;
    let mut ask_all = || -> anyhow::Result<()> {
        for service in 0..USED_COUNT {
            client.get(&format!("/{}/{ALL_PROFILES}", repository::name(service)))?;
        }
        Ok(())
    };
    ask_all()?;
    let before = server.resident_bytes()?;
    let mut looking = Client::connect(server.address)?;
    for change in 0..CHANGE_COUNT {
        let text = repository::content(&format!("change-{change}"), "", 0);
        let commit = commit(&repository, &[("application.yml", &text)])?;
        let begun = Instant::now();
        while looking.get(&path)?.header("headwater-revision") != Some(&commit) {
            ensure!(begun.elapsed() < VISIBLE_MAX, "change {change} was not served");
            std::thread::sleep(Duration::from_millis(20));
        }
        ask_all()?;
    }
    let after = server.resident_bytes()?;
    Ok(vec![Row {
        figure: format!(
            "memory after {CHANGE_COUNT} changes, {USED_COUNT} environments in use / before"
        ),
        must: AtMost(2.0),
        goal: AtMost(1.5),
        measured: after / before,
        note: format!("{:.1} and {:.1} MiB", after / MIB, before / MIB),
    }])
}

fn texts(options: &Options) -> anyhow::Result<Vec<Row>> {
    let line = "a line with a ${placeholder} that is resolved\n";
    let text = line.repeat(TEXT_BYTES / line.len());
    let files = [("application.yml", "placeholder: value\n"), ("large.txt", &*text)];
    let repository = small_repository(&options.work, "texts.git", &files)?;
    let server = Server::headwater(&options.binary, &repository, ".", "/orders/default")?;
    let before = server.resident_bytes()?;
    let request = "GET /orders/default/main/large.txt HTTP/1.1\r\nHost: bench\r\n\r\n";
    let mut streams = Vec::new();
    for _ in 0..TEXT_CLIENT_COUNT {
        let mut stream = TcpStream::connect(server.address)?;
        stream.write_all(request.as_bytes())?;
        streams.push(stream);
    }
    let mut most = before;
    // Each has its head, and then reads slowly.
    for stream in &mut streams {
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        if &head != b"HTTP/1.1 200" {
            bail!("a text was answered with {}", String::from_utf8_lossy(&head));
        }
        most = most.max(server.resident_bytes()?);
    }
    std::thread::sleep(Duration::from_secs(1));
    most = most.max(server.resident_bytes()?);
    let busy = server.busy_seconds()?;
    drop(streams);
    std::thread::sleep(Duration::from_secs(1));
    let rest = server.busy_seconds()? - busy;
    Ok(vec![
        Row {
            figure: format!("memory while {TEXT_CLIENT_COUNT} clients take a text of 16 MiB, MiB"),
            must: AtMost(512.0),
            goal: AtMost(128.0),
            measured: most / MIB,
            note: format!("{:.1} MiB before", before / MIB),
        },
        Row {
            figure: "CPU after all of them have gone, s".to_owned(),
            must: AtMost(1.0),
            goal: AtMost(0.1),
            measured: rest,
            note: "in the second after that".to_owned(),
        },
    ])
}
