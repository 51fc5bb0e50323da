//! One change to thousands of watchers. Each round connects all watchers to one server after the other, changes
//! something a few times, and lets go: so no two of them ever share the machine.

pub(crate) mod client;
pub(crate) mod etcd;
pub(crate) mod sends;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use git2::Repository;

use self::client::Watchers;
use self::etcd::Puts;
use crate::Options;
use crate::client::Client;
use crate::commit::{SERVICE, write_commit};
use crate::get::SERVICE_COUNT;
use crate::load::Contender as Load;
use crate::process::Server;
use crate::repository::{self, copy, generated};
use crate::table::Bound::{self, AtLeast, AtMost, None as NoBound};
use crate::table::{Row, median};

/// How many changes each round has.
const CHANGE_COUNT: usize = 5;
/// Between two changes, so that each finds the machine idle.
const PAUSE: Duration = Duration::from_millis(150);
/// How long the last watcher may take to be forgotten.
const FORGOTTEN_MAX: Duration = Duration::from_secs(40);

/// The figures of a fan-out.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Part {
    /// 10,000 watchers beside a bare loop of sends
    Sends,
    /// 5,000 beside etcd
    Etcd,
    /// How long publishing takes with few and with many, and how long those who went are remembered
    Held,
    /// Watchers of something else
    Others,
    /// Reads beside 10,000 watchers
    Reads,
}

pub(crate) fn measure(options: &Options, part: Option<Part>) -> anyhow::Result<Vec<Row>> {
    let all = [Part::Sends, Part::Etcd, Part::Held, Part::Others, Part::Reads];
    let mut rows = Vec::new();
    for part in part.map_or(all.to_vec(), |part| vec![part]) {
        rows.extend(match part {
            Part::Sends => beside_sends(options)?,
            Part::Etcd => beside_etcd(options)?,
            Part::Held => held_up(options)?,
            Part::Others => others(options)?,
            Part::Reads => reads(options)?,
        });
    }
    Ok(rows)
}

/// One of those who tell watchers of a change.
trait Teller {
    fn address(&self) -> SocketAddr;
    fn request(&self) -> Vec<u8>;
    /// What a watcher sees first.
    fn greeting(&self) -> Vec<u8>;
    /// Changes something; what is told has the mark in it.
    fn change(&mut self, mark: &str) -> anyhow::Result<Instant>;
    fn busy_seconds(&self) -> anyhow::Result<f64>;
    fn resident_bytes(&self) -> anyhow::Result<f64>;
    /// After all watchers have gone.
    fn forget(&mut self) -> anyhow::Result<()>;
}

/// What the rounds of one teller gave.
#[derive(Default)]
struct Measured {
    last_millis: Vec<f64>,
    median_millis: Vec<f64>,
    cpu_micros: Vec<f64>,
    bytes_each: Vec<f64>,
}

fn round(
    teller: &mut dyn Teller,
    count: usize,
    number: &mut usize,
    measured: &mut Measured,
) -> anyhow::Result<()> {
    let before = teller.resident_bytes()?;
    let mut watchers = Watchers::connect(teller.address(), count, &teller.request())?;
    watchers.see(&teller.greeting(), Instant::now())?;
    measured.bytes_each.push((teller.resident_bytes()? - before) / count as f64);
    for _ in 0..CHANGE_COUNT {
        std::thread::sleep(PAUSE);
        *number += 1;
        let mark = format!("change-{number:06}");
        let busy = teller.busy_seconds()?;
        let begun = teller.change(&mark)?;
        let mut seen = watchers.see(mark.as_bytes(), begun)?;
        measured.cpu_micros.push((teller.busy_seconds()? - busy) * 1e6 / count as f64);
        seen.sort_by(f64::total_cmp);
        measured.last_millis.push(seen[count - 1]);
        measured.median_millis.push(seen[count / 2]);
    }
    drop(watchers);
    teller.forget()
}

fn compare(
    this: &mut dyn Teller,
    other: &mut dyn Teller,
    count: usize,
    rounds: usize,
) -> anyhow::Result<(Measured, Measured)> {
    let (mut of_this, mut of_other) = (Measured::default(), Measured::default());
    let mut number = 0;
    for counted in 0..=rounds {
        round(this, count, &mut number, &mut of_this)?;
        round(other, count, &mut number, &mut of_other)?;
        if counted == 0 {
            // Memory is taken by the first watchers and used again by those who come after them.
            of_this = Measured { bytes_each: of_this.bytes_each, ..Measured::default() };
            of_other = Measured { bytes_each: of_other.bytes_each, ..Measured::default() };
        }
    }
    Ok((of_this, of_other))
}

fn ratio(
    figure: &str,
    this: &[f64],
    other: &[f64],
    (must, goal): (Bound, Bound),
    unit: &str,
) -> Row {
    let (this, other) = (median(this), median(other));
    Row {
        figure: figure.to_owned(),
        must,
        goal,
        measured: this / other,
        note: format!("{this:.2} and {other:.2} {unit}"),
    }
}

fn beside_sends(options: &Options) -> anyhow::Result<Vec<Row>> {
    const COUNT: usize = 10_000;
    let mut headwater = Headwater::start(options)?;
    let event = headwater.event_bytes()?;
    let mut sends = Sends::start(event)?;
    let (this, other) = compare(&mut headwater, &mut sends, COUNT, options.rounds)?;
    let bounds = (AtMost(1.4), AtMost(1.15));
    let name = |what: &str| format!("{event} bytes to {COUNT} watchers / bare sends: {what}");
    Ok(vec![
        ratio(&name("CPU/watcher"), &this.cpu_micros, &other.cpu_micros, bounds, "us"),
        ratio(&name("last client"), &this.last_millis, &other.last_millis, bounds, "ms"),
        ratio(
            &name("median client"),
            &this.median_millis,
            &other.median_millis,
            (NoBound, NoBound),
            "ms",
        ),
    ])
}

fn beside_etcd(options: &Options) -> anyhow::Result<Vec<Row>> {
    const COUNT: usize = 5_000;
    let mut headwater = Headwater::start(options)?;
    let mut etcd = Etcd::start(options, headwater.event_bytes()?)?;
    let (this, other) = compare(&mut headwater, &mut etcd, COUNT, options.rounds)?;
    let name = |what: &str| format!("to {COUNT} watchers / etcd 3.4: {what}");
    let kib = |bytes: &[f64]| bytes.first().map_or(f64::NAN, |bytes| bytes / 1024.0);
    let (mine, etcds) = (kib(&this.bytes_each), kib(&other.bytes_each));
    Ok(vec![
        ratio(
            &name("last client"),
            &this.last_millis,
            &other.last_millis,
            (AtMost(0.5), AtMost(0.33)),
            "ms",
        ),
        ratio(
            &name("CPU/watcher"),
            &this.cpu_micros,
            &other.cpu_micros,
            (AtMost(0.5), AtMost(0.35)),
            "us",
        ),
        ratio(&name("memory/watcher"), &[mine], &[etcds], (AtMost(0.2), AtMost(0.10)), "KiB"),
        Row {
            figure: "memory of a watcher, KiB".to_owned(),
            must: AtMost(23.0),
            goal: AtMost(12.0),
            measured: mine,
            note: String::new(),
        },
    ])
}

/// How long publishing takes, as the server says itself, with few and with many watchers; and how long the watchers are
/// remembered once they have gone.
fn held_up(options: &Options) -> anyhow::Result<Vec<Row>> {
    const MANY: usize = 19_500;
    const FEW: usize = 1_000;
    let mut headwater = Headwater::start(options)?;
    let (mut few, mut many, mut forgotten) = (Vec::new(), Vec::new(), Vec::new());
    let mut number = 0;
    for counted in 0..=options.rounds {
        for (count, times) in [(FEW, &mut few), (MANY, &mut many)] {
            round(&mut headwater, count, &mut number, &mut Measured::default())?;
            let published = headwater.published_millis()?;
            if counted > 0 {
                times.extend(published);
                forgotten.push(headwater.forgotten_in.as_secs_f64());
            }
        }
    }
    let longest = forgotten.iter().copied().fold(0.0, f64::max);
    Ok(vec![
        ratio(
            "publisher held up, 19,500 watchers / 1,000",
            &many,
            &few,
            (AtMost(30.0), AtMost(3.0)),
            "ms",
        ),
        Row {
            figure: "seconds until the last of those who went is forgotten".to_owned(),
            must: AtMost(15.0),
            goal: AtMost(2.0),
            measured: longest,
            note: "the longest of all rounds".to_owned(),
        },
    ])
}

/// Watchers of something else, while commits come.
fn others(options: &Options) -> anyhow::Result<Vec<Row>> {
    const COUNT: usize = 5_000;
    let mut headwater = Headwater::start(options)?;
    headwater.watched = repository::name(SERVICE + 1);
    let mut watchers = Watchers::connect(headwater.address(), COUNT, &headwater.request())?;
    watchers.see(&headwater.greeting(), Instant::now())?;
    let before = headwater.metric("headwater_watch_wakeups_total")?;
    for number in 0..20 {
        headwater.change(&format!("change-{number:06}"))?;
        headwater.seen(&format!("change-{number:06}"))?;
    }
    let wakeups = headwater.metric("headwater_watch_wakeups_total")? - before;
    drop(watchers);
    Ok(vec![Row {
        figure: "wake-ups of 5,000 watchers of another environment by 20 commits".to_owned(),
        must: AtMost(0.0),
        goal: AtMost(0.0),
        measured: wakeups,
        note: String::new(),
    }])
}

/// Reads beside 10,000 watchers and a change every second, and without them.
fn reads(options: &Options) -> anyhow::Result<Vec<Row>> {
    const COUNT: usize = 10_000;
    let mut headwater = Headwater::start(options)?;
    let path = format!("/{}/default", repository::name(SERVICE));
    let (mut with, mut without) = (Vec::new(), Vec::new());
    let mut number = 0;
    for counted in 0..=options.rounds {
        let alone = load(&headwater.server, &path, options.seconds)?;
        let mut watchers = Watchers::connect(headwater.address(), COUNT, &headwater.request())?;
        watchers.see(&headwater.greeting(), Instant::now())?;
        let over = AtomicBool::new(false);
        let beside = std::thread::scope(|scope| {
            scope.spawn(|| watchers.read_until(|| over.load(Ordering::Relaxed)));
            let (repository, over) = (headwater.repository.clone(), &over);
            let first = number;
            let changes = scope.spawn(move || {
                let mut made = first;
                while !over.load(Ordering::Relaxed) {
                    made += 1;
                    change(&repository, &format!("change-{made:06}"))?;
                    std::thread::sleep(Duration::from_secs(1));
                }
                anyhow::Ok(made)
            });
            let beside = load(&headwater.server, &path, options.seconds.max(4));
            over.store(true, Ordering::Relaxed);
            if let Ok(Ok(made)) = changes.join() {
                number = made;
            }
            beside
        })?;
        drop(watchers);
        headwater.forget()?;
        if counted > 0 {
            with.push(beside);
            without.push(alone);
        }
    }
    Ok(vec![ratio(
        "GET beside 10,000 watchers and a change every second / without, requests/s",
        &with,
        &without,
        (AtLeast(0.8), AtLeast(0.9)),
        "/s",
    )])
}

fn load(server: &Server, path: &str, seconds: u64) -> anyhow::Result<f64> {
    let mut load = [Load::new(server, path, None)];
    load[0].connections = 64;
    load[0].round(seconds)?;
    load[0].rates.last().copied().context("no rate")
}

/// Headwater over a repository that is written to.
struct Headwater {
    server: Server,
    repository: PathBuf,
    log: BufReader<std::process::ChildStderr>,
    /// The service that is watched.
    watched: String,
    forgotten_in: Duration,
}

impl Headwater {
    fn start(options: &Options) -> anyhow::Result<Self> {
        let repository =
            copy(&options.work, &generated(&options.work, options.layout, SERVICE_COUNT)?)?;
        let watched = repository::name(SERVICE);
        let path = format!("/{watched}/default");
        let (server, log) =
            Server::talking(&options.binary, &repository, options.layout.search_path(), &path)?;
        let log = BufReader::new(log);
        Ok(Self { server, repository, log, watched, forgotten_in: Duration::ZERO })
    }

    fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let answer = Client::connect(self.server.address)?.get("/metrics")?;
        let text = String::from_utf8(answer.body)?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.with_context(|| format!("no {name}"))?.parse()?)
    }

    /// Waits until a change is there to be read.
    fn seen(&self, mark: &str) -> anyhow::Result<()> {
        let mut client = Client::connect(self.server.address)?;
        let path = format!("/{}/default", repository::name(SERVICE));
        let begun = Instant::now();
        while memchr::memmem::find(&client.get(&path)?.body, mark.as_bytes()).is_none() {
            if begun.elapsed() > FORGOTTEN_MAX {
                bail!("{mark} was not seen");
            }
        }
        Ok(())
    }

    /// How many bytes an event has.
    fn event_bytes(&self) -> anyhow::Result<usize> {
        let path = format!("/{}/default", self.watched);
        let body = Client::connect(self.server.address)?.get(&path)?.body.len();
        // The name, the id of 40 and 64 digits, the wrapping.
        Ok(body + "1036\r\nevent: environment\nid: .\ndata: \n\n\r\n".len() + 104)
    }

    /// What the publishes since the last call took.
    fn published_millis(&mut self) -> anyhow::Result<Vec<f64>> {
        let mut times = Vec::new();
        while times.len() < CHANGE_COUNT {
            let mut line = String::new();
            if self.log.read_line(&mut line)? == 0 {
                bail!("the log has ended");
            }
            let time = line.split_once("\"duration_ms\":").filter(|_| line.contains("published"));
            if let Some((_, rest)) = time {
                times.push(rest.split([',', '}']).next().context("no time")?.parse()?);
            }
        }
        Ok(times)
    }
}

impl Teller for Headwater {
    fn address(&self) -> SocketAddr {
        self.server.address
    }

    fn request(&self) -> Vec<u8> {
        let path = format!("/{}/default", self.watched);
        format!("GET {path} HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n").into()
    }

    fn greeting(&self) -> Vec<u8> {
        b"propertySources".to_vec()
    }

    fn change(&mut self, mark: &str) -> anyhow::Result<Instant> {
        change(&self.repository, mark)
    }

    fn busy_seconds(&self) -> anyhow::Result<f64> {
        self.server.busy_seconds()
    }

    fn resident_bytes(&self) -> anyhow::Result<f64> {
        self.server.resident_bytes()
    }

    fn forget(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while self.metric("headwater_watchers")? > 0.0 {
            if begun.elapsed() > FORGOTTEN_MAX {
                bail!("watchers that went are still there");
            }
        }
        self.forgotten_in = begun.elapsed();
        Ok(())
    }
}

/// Moves the branch to a commit that changes one file of the service; the moment is that of the move.
fn change(path: &std::path::Path, mark: &str) -> anyhow::Result<Instant> {
    let repository = Repository::open_bare(path)?;
    let file = repository::Layout::Teams.path(SERVICE, "");
    let commit = write_commit(&repository, &file, mark)?;
    let reference = path.join("refs/heads/main");
    let locked = reference.with_extension("lock");
    std::fs::write(&locked, format!("{commit}\n"))?;
    std::thread::sleep(Duration::from_millis(20));
    let moved = Instant::now();
    std::fs::rename(&locked, &reference)?;
    Ok(moved)
}

/// The bare loop of sends.
struct Sends {
    server: Server,
    input: ChildStdin,
}

impl Sends {
    fn start(bytes: usize) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["sends", &bytes.to_string()]).stdin(Stdio::piped());
        let mut server = Server::announcing(command, "/ready")?;
        let input = server.input().context("no input")?;
        Ok(Self { server, input })
    }

    fn say(&mut self, line: &str) -> anyhow::Result<()> {
        Ok(writeln!(self.input, "{line}")?)
    }
}

impl Teller for Sends {
    fn address(&self) -> SocketAddr {
        self.server.address
    }

    fn request(&self) -> Vec<u8> {
        b"GET / HTTP/1.1\r\n\r\n".to_vec()
    }

    fn greeting(&self) -> Vec<u8> {
        b"watching".to_vec()
    }

    fn change(&mut self, mark: &str) -> anyhow::Result<Instant> {
        let begun = Instant::now();
        self.say(mark)?;
        Ok(begun)
    }

    fn busy_seconds(&self) -> anyhow::Result<f64> {
        self.server.busy_seconds()
    }

    fn resident_bytes(&self) -> anyhow::Result<f64> {
        self.server.resident_bytes()
    }

    fn forget(&mut self) -> anyhow::Result<()> {
        self.say("forget")
    }
}

/// etcd, one watcher on each connection.
struct Etcd {
    server: Server,
    puts: Puts,
    bytes: usize,
}

impl Etcd {
    fn start(options: &Options, bytes: usize) -> anyhow::Result<Self> {
        let server = etcd::start(&options.work)?;
        let puts = Puts::connect(server.address)?;
        Ok(Self { server, puts, bytes })
    }
}

impl Teller for Etcd {
    fn address(&self) -> SocketAddr {
        self.server.address
    }

    fn request(&self) -> Vec<u8> {
        etcd::watch()
    }

    fn greeting(&self) -> Vec<u8> {
        etcd::CREATED.to_vec()
    }

    fn change(&mut self, mark: &str) -> anyhow::Result<Instant> {
        self.puts.drain()?;
        let mut value = vec![b'.'; self.bytes - mark.len()];
        value.splice(0..0, mark.bytes());
        let begun = Instant::now();
        self.puts.put(&value)?;
        Ok(begun)
    }

    fn busy_seconds(&self) -> anyhow::Result<f64> {
        self.server.busy_seconds()
    }

    fn resident_bytes(&self) -> anyhow::Result<f64> {
        self.server.resident_bytes()
    }

    fn forget(&mut self) -> anyhow::Result<()> {
        // It says nowhere how many there are.
        std::thread::sleep(Duration::from_secs(1));
        Ok(())
    }
}
