//! A look at the present value, beside the same from a bare `arc-swap`: on one thread, and on two at once.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::Barrier;

use anyhow::{Context, anyhow};
use arc_swap::ArcSwap;
use headwater_client::{Client, Live};
use rustix::time::{ClockId, clock_gettime};

use crate::Options;
use crate::get::SERVICE_COUNT;
use crate::process::Server;
use crate::repository::{self, generated};
use crate::service::Service;
use crate::table::Bound::{AtMost, None as NoBound};
use crate::table::{Bound, Row, median};

/// How many looks each round has, on each thread.
const LOOK_COUNT: u32 = 1_000_000;
/// The least rounds; each is short.
const ROUND_COUNT_MIN: usize = 21;

pub(super) fn measure(options: &Options) -> anyhow::Result<Vec<Row>> {
    let repository = generated(&options.work, options.layout, SERVICE_COUNT)?;
    let name = repository::name(7);
    let path = format!("/{name}/default");
    let server =
        Server::headwater(&options.binary, &repository, options.layout.search_path(), &path)?;
    // One worker, which follows the server while this thread looks.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let client =
        Client::builder().url(format!("http://{}", server.address)).application(name).build()?;
    let live: Live<Service> = runtime.block_on(async { client.live().await })?;
    let bare = ArcSwap::new(live.current());
    let rounds = options.rounds.max(ROUND_COUNT_MIN);
    let mut rows = Vec::new();
    for (threads, must, goal) in [(1, AtMost(20.0), AtMost(5.0)), (2, NoBound, NoBound)] {
        rows.extend(looks(&live, &bare, threads, rounds, must, goal)?);
    }
    Ok(rows)
}

/// All ways to look in turn.
fn looks(
    live: &Live<Service>,
    bare: &ArcSwap<Service>,
    threads: usize,
    rounds: usize,
    must: Bound,
    goal: Bound,
) -> anyhow::Result<Vec<Row>> {
    let shared = bare.load_full();
    let (mut load, mut current, mut clone) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        let times = [
            nanos(threads, || bare.load().server.listen_port)?,
            nanos(threads, || live.current().server.listen_port)?,
            nanos(threads, || Arc::clone(black_box(&shared)).server.listen_port)?,
        ];
        if round > 0 {
            load.push(times[0]);
            current.push(times[1]);
            clone.push(times[2]);
        }
    }
    let above: Vec<_> = current.iter().zip(&load).map(|(current, load)| current - load).collect();
    let (load, current, clone) = (median(&load), median(&current), median(&clone));
    Ok(vec![Row {
        figure: format!("current() above an arc-swap load, ns, {threads} threads"),
        must,
        goal,
        measured: median(&above),
        note: format!("{current:.1} and {load:.1}; a clone of an Arc alone {clone:.1}"),
    }])
}

/// Nanoseconds that this thread has had a processor.
fn busy_nanos() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Nanoseconds of one look, where so many threads look at once; the mean of the threads.
fn nanos(threads: usize, look: impl Fn() -> u16 + Sync) -> anyhow::Result<f64> {
    let barrier = Barrier::new(threads);
    let on_a_thread = || {
        barrier.wait();
        let begun = busy_nanos();
        for _ in 0..LOOK_COUNT {
            black_box(look());
        }
        (busy_nanos() - begun) / f64::from(LOOK_COUNT)
    };
    let times = std::thread::scope(|scope| {
        let spawned: Vec<_> = (0..threads).map(|_| scope.spawn(on_a_thread)).collect();
        spawned.into_iter().map(|thread| thread.join().ok()).collect::<Option<Vec<_>>>()
    });
    let times = times.ok_or_else(|| anyhow!("a thread panicked"))?;
    times.iter().copied().reduce(|a, b| a + b).map(|sum| sum / threads as f64).context("no thread")
}
