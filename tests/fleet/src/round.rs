//! One fault after the other under the load, each followed by a look at everything.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fastrand::Rng;

use crate::check::check;
use crate::fault::{Fault, inflict};
use crate::fleet::{APPLICATION_COUNT, Clocks, Fleet, PUSHER_COUNT, REPLICA_COUNT};
use crate::load::pusher::Pusher;
use crate::load::{reader, watcher};
use crate::look::{assert_left_whole, first_commit, look, says_that_it_is_cut_off, settle};
use crate::process::{Stop, StopAtEnd, until};
use crate::record::{Outcome, Push, Reads, Reason, Record, Watched};

/// How many watch each application: one at each replica to begin with.
const WATCHER_COUNT: usize = APPLICATION_COUNT * REPLICA_COUNT;
/// How long the fleet may take to take a push again, or to refuse one.
const RECOVERY_MAX: Duration = Duration::from_secs(60);

/// What is done to a fleet.
pub struct Plan<'a> {
    /// The binary of the server.
    pub binary: &'a Path,
    /// What all chance comes from.
    pub seed: u64,
    /// One after the other, in the order of chance.
    pub faults: &'a [Fault],
    /// How long the load lasts for each of them, the fault in its middle.
    pub each: Duration,
}

/// What came of one fault.
#[derive(Debug)]
pub struct Round {
    /// What was done.
    pub fault: Fault,
    /// Pushes by how they ended.
    pub acknowledged_count: usize,
    /// Those that were told that somebody else was faster.
    pub behind_count: usize,
    /// Those that were refused for another reason.
    pub refused_count: usize,
    /// Those whose answer was lost.
    pub unknown_count: usize,
    /// Answers to GETs.
    pub read_count: usize,
    /// Events that watchers were told.
    pub event_count: usize,
    /// The longest time in which no push was acknowledged.
    pub write_gap: Duration,
    /// From the end of the fault until every replica served all that was acknowledged before it.
    pub catch_up: Duration,
    /// All that is wrong, in words.
    pub wrong: Vec<String>,
}

/// Starts a fleet, does one fault after the other to it, and tells of each. If anything was wrong, gives where logs and data
/// are kept.
///
/// # Errors
///
/// What keeps the faults from being done: a program that is missing, an etcd that does not come back; and in the end a
/// repository that is not whole on its disk, or a panic.
pub fn run(plan: &Plan, mut tell: impl FnMut(&Round)) -> Result<Option<PathBuf>> {
    let place = tempfile::tempdir()?;
    match run_in(place.path(), plan, &mut tell) {
        Ok(true) => Ok(None),
        Ok(false) => Ok(Some(place.keep())),
        Err(error) => Err(error.context(format!("kept {}", place.keep().display()))),
    }
}

/// Whether all was well.
fn run_in(place: &Path, plan: &Plan, tell: &mut impl FnMut(&Round)) -> Result<bool> {
    let mut random = Rng::with_seed(plan.seed);
    let mut faults = plan.faults.to_vec();
    random.shuffle(&mut faults);
    let clocks = if faults.contains(&Fault::ClockJumped) { Clocks::OneOwn } else { Clocks::System };
    let fleet = Fleet::start(plan.binary, place, clocks)?;
    let begun = Instant::now();
    let pusher = |index| Pusher::new(&fleet, index, place, begun, random.fork());
    let mut pushers = (0..PUSHER_COUNT).map(pusher).collect::<Result<Vec<_>>>()?;
    let mut record = Record { first: first_commit(&fleet)?, ..Record::default() };
    let mut is_well = true;
    for fault in faults {
        let course = Course { fleet: &fleet, place, begun, each: plan.each, fault };
        let round = course.run(&mut pushers, &mut record, &mut random)?;
        is_well &= round.wrong.is_empty();
        tell(&round);
    }
    assert_left_whole(&fleet)?;
    Ok(is_well)
}

/// One fault and the load around it.
struct Course<'a> {
    fleet: &'a Fleet,
    place: &'a Path,
    /// When the fleet was started.
    begun: Instant,
    each: Duration,
    fault: Fault,
}

/// When what happened, since the fleet was started.
struct Times {
    begun: Duration,
    healed: Duration,
    ended: Duration,
}

/// What is known of pushes, while they go on.
type Pushes = Mutex<Vec<Push>>;

impl Course<'_> {
    /// Adds what was pushed to the record, and puts what was seen in place of what it had.
    fn run(&self, pushers: &mut [Pusher], record: &mut Record, random: &mut Rng) -> Result<Round> {
        let mut wrong = Vec::new();
        let pushes = Pushes::default();
        let watched: Vec<Mutex<Watched>> = (0..WATCHER_COUNT).map(watcher_of).collect();
        let (stop_pushing, stop) = (Stop::default(), Stop::default());
        let (fleet, begun) = (self.fleet, self.begun);
        let tell = |push| lock(&pushes).push(push);
        let (times, reads) = std::thread::scope(|scope| {
            let _at_end = (StopAtEnd(&stop_pushing), StopAtEnd(&stop));
            let readers = fleet.replicas.iter().enumerate();
            let readers = readers.map(|(at, it)| {
                let stop = &stop;
                scope.spawn(move || reader::read(it, at, begun, stop))
            });
            let readers: Vec<_> = readers.collect();
            for (at, watched) in watched.iter().enumerate() {
                let (random, stop) = (random.fork(), &stop);
                scope.spawn(move || {
                    watcher::watch(fleet, at % REPLICA_COUNT, random, watched, stop);
                });
            }
            let pushing = pushers.iter_mut();
            let pushing = pushing.map(|it| scope.spawn(|| it.push_on(&stop_pushing, tell)));
            let pushing: Vec<_> = pushing.collect();
            let mut times = self.strike(&pushes, &stop, random, &mut wrong)?;
            stop_pushing.now();
            for pushing in pushing {
                pushing.join().unwrap_or_else(|_| bail!("a pusher panicked"))?;
            }
            times.ended = begun.elapsed();
            wrong.extend(settle(fleet, &watched).err().map(|error| format!("{error:#}")));
            stop.now();
            let reads = readers.into_iter().map(|it| it.join().ok().context("a reader panicked"));
            Ok::<_, anyhow::Error>((times, reads.collect::<Result<Vec<Reads>>>()?))
        })?;
        let pushes = pushes.into_inner().unwrap_or_else(PoisonError::into_inner);
        record.pushes.extend(pushes.iter().cloned());
        record.reads = reads;
        record.watched = watched.iter().map(|it| lock(it).clone()).collect();
        let looks = fleet.replicas.iter().map(|replica| look(replica, self.place));
        record.ends = looks.collect::<Result<_>>()?;
        wrong.extend(check(record));
        Ok(self.told(record, &pushes, &times, wrong))
    }

    /// Does the fault in the middle of the load.
    fn strike(
        &self,
        pushes: &Pushes,
        stop: &Stop,
        random: &mut Rng,
        wrong: &mut Vec<String>,
    ) -> Result<Times> {
        let begun = self.begun.elapsed();
        // This is how long it is calm, and how long the fault lasts: nothing is waited for.
        stop.is_over_after(self.each.mul_f64(0.15 + 0.1 * random.f64()));
        let damage = inflict(self.fault, self.fleet, random)?;
        let struck = self.begun.elapsed();
        stop.is_over_after(self.each.mul_f64(0.4));
        for at in &damage.cut_off {
            let told = says_that_it_is_cut_off(&self.fleet.replicas[*at]);
            wrong.extend(told.err().map(|error| format!("{error:#}")));
            let refused = pushed(pushes, "a replica that is cut off refuses a push for it", |it| {
                it.at > struck && it.replica == *at && it.outcome == Outcome::Refused(Reason::Etcd)
            });
            wrong.extend(refused.err().map(|error| format!("{error:#}")));
        }
        damage.heal()?;
        let healed = self.begun.elapsed();
        let taken = pushed(pushes, "a push is acknowledged after the fault", |it| {
            it.at > healed && it.outcome == Outcome::Acknowledged
        });
        wrong.extend(taken.err().map(|error| format!("{error:#}")));
        stop.is_over_after((begun + self.each).saturating_sub(self.begun.elapsed()));
        Ok(Times { begun, healed, ended: healed })
    }

    fn told(&self, record: &Record, pushes: &[Push], times: &Times, wrong: Vec<String>) -> Round {
        let count = |is: fn(&Outcome) -> bool| pushes.iter().filter(|it| is(&it.outcome)).count();
        Round {
            fault: self.fault,
            acknowledged_count: count(|it| *it == Outcome::Acknowledged),
            behind_count: count(|it| *it == Outcome::Refused(Reason::FetchFirst)),
            refused_count: count(
                |it| matches!(it, Outcome::Refused(reason) if *reason != Reason::FetchFirst),
            ),
            unknown_count: count(|it| *it == Outcome::Unknown),
            read_count: record.reads.iter().map(|reads| reads.count).sum(),
            event_count: record.watched.iter().map(|watched| watched.seen.len()).sum(),
            write_gap: write_gap(pushes, times),
            catch_up: catch_up(record, pushes, times),
            wrong,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn watcher_of(at: usize) -> Mutex<Watched> {
    Mutex::new(Watched { application: at / REPLICA_COUNT, seen: Vec::new() })
}

/// Waits until somebody was told that about a push.
fn pushed(pushes: &Pushes, what: &str, is: impl Fn(&Push) -> bool) -> Result<()> {
    until(what, RECOVERY_MAX, || Ok(lock(pushes).iter().any(&is)))
}

/// The longest time without an acknowledged push, in a course.
fn write_gap(pushes: &[Push], times: &Times) -> Duration {
    let acknowledged = pushes.iter().filter(|push| push.outcome == Outcome::Acknowledged);
    let mut at: Vec<Duration> = acknowledged.map(|push| push.at).collect();
    at.extend([times.begun, times.ended]);
    at.sort_unstable();
    at.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

/// From the end of the fault until all replicas served what was acknowledged before it.
fn catch_up(record: &Record, pushes: &[Push], times: &Times) -> Duration {
    let Some(end) = record.ends.first() else { return Duration::ZERO };
    let position = |id: &str| end.history.iter().position(|known| known == id);
    let before = pushes.iter().filter(|it| it.outcome == Outcome::Acknowledged);
    let before = before.filter(|push| push.at <= times.healed);
    let Some(newest) = before.filter_map(|push| position(&push.commit)).max() else {
        return Duration::ZERO;
    };
    let has_it = |id: &str| position(id).is_some_and(|position| position >= newest);
    let served = |reads: &Reads| {
        let first = reads.served.iter().find(|served| has_it(&served.revision));
        first.map_or(RECOVERY_MAX, |first| first.at.saturating_sub(times.healed))
    };
    record.reads.iter().map(served).max().unwrap_or_default()
}
