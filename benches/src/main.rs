//! The figures. Each is a ratio of medians over interleaved rounds in one run, because the machine is shared and
//! absolute numbers mean little on it; `README.md` says how to repeat each. Nothing here is a test: nothing fails.

mod access;
mod choose;
mod client;
mod commit;
mod fan;
mod first;
mod fleet;
mod fleet_soak;
mod get;
mod invented;
mod judge;
mod latecomers;
mod load;
mod memory;
mod plain;
mod process;
mod push;
mod reference;
mod repository;
mod service;
mod size;
mod spring;
mod start;
mod table;
mod timing;
mod watcher;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use repository::Layout;
use service::instances::Way;
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
    /// Where repositories that are pushed to are kept: best a quiet file system of its own, for each push syncs all of it
    #[arg(long, global = true)]
    disk: Option<PathBuf>,
    /// The original, built
    #[arg(long, global = true, default_value = "tests/oracle")]
    original: PathBuf,
}

impl Options {
    /// Where repositories that are pushed to are kept.
    fn disk(&self) -> anyhow::Result<PathBuf> {
        let disk = self.disk.clone().unwrap_or_else(|| self.work.join("disk"));
        std::fs::create_dir_all(&disk)?;
        Ok(disk.canonicalize()?)
    }
}

#[derive(Subcommand)]
enum Figure {
    /// A cached environment and its 304, beside nginx
    Get,
    /// The same GET under a policy of 1,000 principals, sealed values, changes of the policy, JWTs and the audit trail
    Access {
        /// One of its figures
        #[arg(value_enum)]
        part: Option<access::Part>,
    },
    /// Times of answers that a caller must not tell apart
    Timing {
        /// The pairs of each case
        #[arg(long, default_value_t = timing::PAIR_COUNT)]
        pairs: usize,
    },
    /// The side of an instance under a rollout
    Choose,
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
    /// A push beside clients that have asked for names that no file speaks of
    Invented,
    /// The first answer of environments nobody asked for yet
    First,
    /// Resident memory: after start, after made-up names, after changes, with large texts
    Memory {
        /// One of its figures
        #[arg(value_enum)]
        part: Option<memory::Part>,
    },
    /// A push beside first requests and made-up names
    Latecomers,
    /// The size of the stripped binary
    Binary,
    /// One change to thousands of watchers, beside a bare loop of sends and beside etcd
    Fan {
        /// One of its figures
        #[arg(value_enum)]
        part: Option<fan::Part>,
    },
    /// The end of a `git push` to the event on a watching socket
    Event,
    /// A checked push, beside the same push to a bare repository that syncs
    Push,
    /// A reference that another process moves, to the event and to the answer
    Reference,
    /// What a service pays that uses the client crate
    Service {
        /// One of its figures
        #[arg(value_enum)]
        part: Option<service::Part>,
    },
    /// A fleet of replicas on an etcd cluster of three members
    Fleet {
        /// One of its figures
        #[arg(value_enum)]
        part: Option<fleet::Part>,
    },
    /// Many instances of a service, as a child of `service`
    #[command(hide = true)]
    Instances {
        /// The server
        url: String,
        /// Whose configuration they have
        application: String,
        /// How many there are
        count: usize,
        /// What they do
        #[arg(value_enum)]
        way: Way,
    },
    /// The bare loop of sends, as a child of `fan`
    #[command(hide = true)]
    Sends {
        /// How many bytes each client is sent
        bytes: usize,
    },
    /// Not a figure: a fleet of replicas under load and faults, for hours; anything wrong fails
    FleetSoak(fleet_soak::Soak),
    /// All of them in order, and one table
    All,
}

fn main() -> anyhow::Result<()> {
    if plain::is_hook() {
        return plain::sync();
    }
    let Arguments { figure, mut options } = Arguments::parse();
    std::fs::create_dir_all(&options.work)?;
    options.work = options.work.canonicalize()?;
    let rows = match figure {
        Figure::Sends { bytes } => return fan::sends::run(bytes),
        Figure::Instances { url, application, count, way } => {
            return service::instances::run(&url, &application, count, way);
        }
        Figure::FleetSoak(soak) => return fleet_soak::soak(&options.binary, &soak),
        Figure::All => all(&options)?,
        figure => run(&figure, &options)?,
    };
    table::print(&rows)
}

fn run(figure: &Figure, options: &Options) -> anyhow::Result<Vec<Row>> {
    match figure {
        Figure::Get => get::beside_nginx(options),
        Figure::Access { part } => access::measure(options, *part),
        Figure::Timing { pairs } => timing::measure(options, *pairs),
        Figure::Choose => Ok(choose::measure(options)),
        Figure::Compare { other } => get::beside_another(options, other),
        Figure::Spring => spring::measure(options),
        Figure::Start => start::measure(options),
        Figure::Commit => commit::measure(options),
        Figure::Judge => judge::measure(options),
        Figure::Invented => invented::measure(options),
        Figure::First => first::measure(options),
        Figure::Memory { part } => memory::measure(options, *part),
        Figure::Latecomers => latecomers::measure(options),
        Figure::Binary => size::binary(options),
        Figure::Fan { part } => fan::measure(options, *part),
        Figure::Event => push::event(options),
        Figure::Push => push::beside_git(options),
        Figure::Reference => reference::measure(options),
        Figure::Service { part } => service::measure(options, *part),
        Figure::Fleet { part } => fleet::measure(options, *part),
        Figure::Sends { .. } | Figure::Instances { .. } | Figure::FleetSoak(_) => Ok(Vec::new()),
        Figure::All => all(options),
    }
}

fn all(options: &Options) -> anyhow::Result<Vec<Row>> {
    use Figure::{
        Access, Binary, Choose, Commit, Event, Fan, First, Fleet, Get, Invented, Judge, Latecomers,
        Memory, Push, Reference, Service, Spring, Start, Timing,
    };
    let mut rows = Vec::new();
    let figures = [
        Get,
        Access { part: None },
        Timing { pairs: timing::PAIR_COUNT },
        Choose,
        Spring,
        Start,
        Commit,
        Judge,
        Invented,
        Event,
        Push,
        Reference,
        Fan { part: None },
        Service { part: None },
        Fleet { part: None },
        First,
        Latecomers,
        Memory { part: None },
        Binary,
    ];
    for figure in figures {
        rows.extend(run(&figure, options)?);
    }
    Ok(rows)
}
