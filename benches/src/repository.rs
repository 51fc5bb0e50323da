//! The repository that is served: services with four files each, all different, made by `git fast-import` and packed.

use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// How many services a team has.
const SERVICES_PER_TEAM: usize = 100;
/// The files of a service, and of all services together.
const PROFILES: [&str; 4] = ["", "-dev", "-staging", "-prod"];
/// Asks for all four files of a service.
pub(crate) const ALL_PROFILES: &str = "dev,staging,prod";

/// Where the services' files are.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Layout {
    /// A directory for each service in one for each team, found by a wildcard.
    Teams,
    /// All in one directory.
    Flat,
}

impl Layout {
    /// What the server is told.
    pub(crate) fn search_path(self) -> &'static str {
        match self {
            Self::Teams => "*/{application}",
            Self::Flat => "services",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Teams => "teams",
            Self::Flat => "flat",
        }
    }

    /// The file of a service.
    pub(crate) fn path(self, service: usize, profile: &str) -> String {
        let (name, team) = (name(service), service / SERVICES_PER_TEAM);
        match self {
            Self::Teams => format!("team-{team:03}/{name}/{name}{profile}.yml"),
            Self::Flat => format!("services/{name}{profile}.yml"),
        }
    }
}

/// The name of a service.
pub(crate) fn name(service: usize) -> String {
    format!("service-{service:05}")
}

/// A bare repository of so many services, made if it is not there yet; four more files are shared by all.
pub(crate) fn generated(work: &Path, layout: Layout, services: usize) -> anyhow::Result<PathBuf> {
    let path = work.join(format!("{}-{services}.git", layout.name()));
    if path.exists() {
        return Ok(path);
    }
    let unfinished = path.with_extension("unfinished");
    let _ = fs::remove_dir_all(&unfinished);
    git(work, &["init", "--quiet", "--bare", "--initial-branch=main", path_text(&unfinished)?])?;
    let mut import = Command::new("git")
        .args(["fast-import", "--quiet", "--depth=50"])
        .current_dir(&unfinished)
        .stdin(Stdio::piped())
        .spawn()?;
    let mut input = std::io::BufWriter::new(import.stdin.take().context("no input")?);
    write!(
        input,
        "commit refs/heads/main\ncommitter Bench <bench@headwater.invalid> 1700000000 +0000\ndata 5\nstart\n"
    )?;
    for profile in PROFILES {
        put(&mut input, &format!("application{profile}.yml"), &content("application", profile, 0))?;
        for service in 0..services {
            let text = content(&name(service), profile, service + 1);
            put(&mut input, &layout.path(service, profile), &text)?;
        }
    }
    input.into_inner()?.flush()?;
    if !import.wait()?.success() {
        bail!("git fast-import failed");
    }
    git(&unfinished, &["repack", "-a", "-d", "-q"])?;
    git(&unfinished, &["pack-refs", "--all"])?;
    fs::rename(&unfinished, &path)?;
    Ok(path)
}

fn put(input: &mut impl Write, path: &str, text: &str) -> anyhow::Result<()> {
    write!(input, "M 100644 inline {path}\ndata {}\n{text}\n", text.len())?;
    Ok(())
}

/// 64 lines, about 1.5 KB: what services have in such files, and different in every one.
pub(crate) fn content(name: &str, profile: &str, seed: usize) -> String {
    let mut text = format!("# {name}{profile}\n");
    for (group, section) in
        ["server", "datasource", "messaging", "cache", "http", "limits", "features"]
            .iter()
            .enumerate()
    {
        let number = |index: usize| (seed * 7919 + group * 104_729 + index * 1_299_709) % 9_973;
        let port = 1024 + number(0);
        let _ = write!(
            text,
            "{section}:\n  enabled: {}\n  listen-port: {port}\n  request-timeout: {}ms\n  \
             endpoint-url: http://{name}.production.internal:{port}/api\n  connection-pool:\n    maximum-size: {}\n  \
             owner: \"team {} on call\"\n  zones:\n    - europe-west-{}\n",
            number(1) % 2 == 0,
            number(2),
            number(3) % 64,
            number(4) % 50,
            number(5) % 9,
        );
    }
    text
}

/// A copy that may be written to.
pub(crate) fn copy(work: &Path, repository: &Path) -> anyhow::Result<PathBuf> {
    copy_to(repository, work.join("copy.git"))
}

/// The same at a place of its own, with nothing in common with the original.
pub(crate) fn copy_to(repository: &Path, path: PathBuf) -> anyhow::Result<PathBuf> {
    let _ = fs::remove_dir_all(&path);
    let (from, to) = (path_text(repository)?, path_text(&path)?);
    git(repository, &["clone", "--quiet", "--bare", "--no-hardlinks", from, to])?;
    Ok(path)
}

/// A copy with its files checked out, which is what the original needs of a local repository.
pub(crate) fn checked_out(work: &Path, repository: &Path) -> anyhow::Result<PathBuf> {
    let path = work.join("checked-out");
    let _ = fs::remove_dir_all(&path);
    git(work, &["clone", "--quiet", path_text(repository)?, path_text(&path)?])?;
    Ok(path)
}

/// The bytes of all files at the tip.
pub(crate) fn raw_bytes(repository: &Path) -> anyhow::Result<f64> {
    let listing = git(repository, &["ls-tree", "-r", "-l", "main"])?;
    let sizes =
        listing.lines().filter_map(|line| line.split_whitespace().nth(3)?.parse::<f64>().ok());
    Ok(sizes.sum())
}

pub(crate) fn git(directory: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("git").args(arguments).current_dir(directory).output()?;
    if !output.status.success() {
        bail!("git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn path_text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path that is no text")
}
