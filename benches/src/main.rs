//! The figures. Each is a ratio of medians over interleaved rounds in one run, because the machine is shared and
//! absolute numbers mean little on it; `README.md` says how to repeat each. Nothing here is a test: nothing fails.

mod client;
mod commit;
mod fan;
mod first;
mod get;
mod judge;
mod load;
mod process;
mod repository;
mod size;
mod spring;
mod start;
mod table;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use repository::Layout;
use table::Row;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    figure: Figure,
    #[command(flatten)]
    options: Options,
}

#[derive(clap::Args)]
struct Options {
    /// The server that is measured
    #[arg(long, global = true, default_value = "target/dist/headwater")]
    binary: PathBuf,
    /// Interleaved rounds
    #[arg(long, global = true, default_value_t = 7)]
    rounds: usize,
    /// Seconds of load on each server in each round
    #[arg(long, global = true, default_value_t = 2)]
    seconds: u64,
    /// Where repositories are generated and kept
    #[arg(long, global = true, default_value = "target/bench")]
    work: PathBuf,
    /// Where the services' files are
    #[arg(long, global = true, value_enum, default_value_t = Layout::Teams)]
    layout: Layout,
    /// The original, built
    #[arg(long, global = true, default_value = "tests/oracle")]
    original: PathBuf,
}

#[derive(Subcommand)]
enum Figure {
    /// A cached environment and its 304, beside nginx
    Get,
    /// The same GET of two builds, one beside the other
    Compare {
        /// The other server
        other: PathBuf,
    },
    /// The same GET, memory and start, beside the real Spring Cloud Config Server
    Spring,
    /// Start to first answer, beside `git clone --bare`
    Start,
    /// A moved reference to the new answer, beside `git ls-tree -r`
    Commit,
    /// What a push waits for while it is judged
    Judge,
    /// The first answer of environments nobody asked for yet
    First,
    /// Resident memory after start, beside the bytes of the files
    Memory,
    /// The size of the stripped binary
    Binary,
    /// One change to thousands of watchers, beside a bare loop of sends and beside etcd
    Fan {
        /// One of its figures
        #[arg(value_enum)]
        part: Option<fan::Part>,
    },
    /// The bare loop of sends, as a child of `fan`
    #[command(hide = true)]
    Sends {
        /// How many bytes each client is sent
        bytes: usize,
    },
    /// All of them in order, and one table
    All,
}

fn main() -> anyhow::Result<()> {
    let Arguments { figure, mut options } = Arguments::parse();
    std::fs::create_dir_all(&options.work)?;
    options.work = options.work.canonicalize()?;
    let rows = match figure {
        Figure::Sends { bytes } => return fan::sends::run(bytes),
        Figure::All => all(&options)?,
        figure => run(&figure, &options)?,
    };
    table::print(&rows)
}

fn run(figure: &Figure, options: &Options) -> anyhow::Result<Vec<Row>> {
    match figure {
        Figure::Get => get::beside_nginx(options),
        Figure::Compare { other } => get::beside_another(options, other),
        Figure::Spring => spring::measure(options),
        Figure::Start => start::measure(options),
        Figure::Commit => commit::measure(options),
        Figure::Judge => judge::measure(options),
        Figure::First => first::measure(options),
        Figure::Memory => size::memory(options),
        Figure::Binary => size::binary(options),
        Figure::Fan { part } => fan::measure(options, *part),
        Figure::Sends { .. } => Ok(Vec::new()),
        Figure::All => all(options),
    }
}

fn all(options: &Options) -> anyhow::Result<Vec<Row>> {
    use Figure::{Binary, Commit, Fan, First, Get, Judge, Memory, Spring, Start};
    let mut rows = Vec::new();
    for figure in [Get, Spring, Start, Commit, Judge, Fan { part: None }, First, Memory, Binary] {
        rows.extend(run(&figure, options)?);
    }
    Ok(rows)
}
