//! A service that has tokio and serde, built cold with and without the client crate: what the crate adds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::Options;
use crate::process::{ended_children_seconds, timed};
use crate::table::Bound::{AtMost, None as NoBound};
use crate::table::{Row, median};

/// Each builds everything twice.
const ROUND_COUNT_MAX: usize = 3;
/// How many crates are compiled at once.
const JOBS: &str = "2";
/// What the service has anyway.
const BASE: &str = "tokio = { version = \"1\", features = [\"full\"] }\nserde = { version = \"1\", features = [\"derive\"] }\n";

pub(super) fn measure(options: &Options) -> anyhow::Result<Vec<Row>> {
    let without = Crate::generate(options, "without", "", "")?;
    let client = fs::canonicalize("clients/rust").context("not at the root of the project")?;
    let line = format!("headwater-client = {{ path = {client:?}, default-features = false }}\n");
    let with = Crate::generate(options, "with", &line, LIVE)?;
    let (mut alone, mut together) = (Times::default(), Times::default());
    for _ in 0..options.rounds.min(ROUND_COUNT_MAX) {
        without.build(&mut alone)?;
        with.build(&mut together)?;
    }
    let cpu = median(&together.cpu) - median(&alone.cpu);
    let (alone, together) = (median(&alone.wall), median(&together.wall));
    let (before, after) = (without.packages()?, with.packages()?);
    Ok(vec![
        Row {
            figure: "the crate's share of a cold release build, without TLS, s".to_owned(),
            must: AtMost(30.0),
            goal: AtMost(15.0),
            measured: together - alone,
            note: format!("{together:.1} with and {alone:.1} without; {cpu:.1} of CPU"),
        },
        Row {
            figure: "crates that it adds".to_owned(),
            must: NoBound,
            goal: NoBound,
            measured: after.len() as f64 - before.len() as f64,
            note: after
                .iter()
                .filter(|package| !before.contains(package))
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join(" "),
        },
    ])
}

/// What the service does with it.
const LIVE: &str = "
    #[derive(serde::Deserialize)]
    struct Shop {
        max_items: u32,
    }
    let live = headwater_client::Client::from_env().application(\"product\").live::<Shop>();
    if let Ok(shop) = live.await {
        println!(\"{}\", shop.current().max_items);
    }
";

/// Seconds of each build, and of processor time in it.
#[derive(Default)]
struct Times {
    wall: Vec<f64>,
    cpu: Vec<f64>,
}

/// A generated service.
struct Crate {
    directory: PathBuf,
    target: PathBuf,
}

impl Crate {
    /// With the versions that this project has locked, so that nothing is fetched.
    fn generate(
        options: &Options,
        name: &str,
        dependency: &str,
        body: &str,
    ) -> anyhow::Result<Self> {
        let directory = options.work.join("service").join(name);
        fs::create_dir_all(directory.join("src"))?;
        let manifest = format!(
            "[package]\nname = \"service\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\n{BASE}{dependency}\n[workspace]\n"
        );
        fs::write(directory.join("Cargo.toml"), manifest)?;
        let main = format!("#[tokio::main]\nasync fn main() {{{body}}}\n");
        fs::write(directory.join("src/main.rs"), main)?;
        fs::copy("Cargo.lock", directory.join("Cargo.lock"))?;
        Ok(Self { target: directory.join("target"), directory })
    }

    /// Builds from nothing.
    fn build(&self, times: &mut Times) -> anyhow::Result<()> {
        if self.target.exists() {
            fs::remove_dir_all(&self.target)?;
        }
        let mut build = self.cargo();
        build.args(["build", "--release"]);
        let before = ended_children_seconds()?;
        times.wall.push(timed(&mut build)?.as_secs_f64());
        times.cpu.push(ended_children_seconds()? - before);
        Ok(())
    }

    /// The crates that are compiled into it.
    fn packages(&self) -> anyhow::Result<Vec<String>> {
        let output = self
            .cargo()
            .args(["tree", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"])
            .output()?;
        if !output.status.success() {
            bail!("cargo tree: {}", String::from_utf8_lossy(&output.stderr));
        }
        let text = String::from_utf8(output.stdout)?;
        let mut names: Vec<_> =
            text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn cargo(&self) -> Command {
        let mut cargo = Command::new("cargo");
        cargo
            .current_dir(Path::new(&self.directory))
            .env("CARGO_TARGET_DIR", &self.target)
            .env("CARGO_BUILD_JOBS", JOBS)
            .env("CARGO_NET_OFFLINE", "true");
        cargo
    }
}
