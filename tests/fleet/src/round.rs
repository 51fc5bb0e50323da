//! One fault after the other under the load, each followed by a look at everything.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fastrand::Rng;

use crate::check::check;
use crate::fault::{Fault, inflict};
use crate::fleet::{APPLICATION_COUNT, Clocks, Fleet, PUSHER_COUNT, REPLICA_COUNT, path};
use crate::load::pusher::Pusher;
use crate::load::{reader, watcher};
use crate::process::{Stop, StopAtEnd, until};
use crate::record::{Answer, End, Outcome, Push, Reads, Reason, Record, Watched};
use crate::replica::Replica;
use crate::{git, http};

/// How many watch each application: one at each replica to begin with.
const WATCHER_COUNT: usize = APPLICATION_COUNT * REPLICA_COUNT;
/// How long the fleet may take to take a push again, and to be of one mind.
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

/// Starts a fleet, does one fault after the other to it, and tells of each.
///
/// # Errors
///
/// What keeps the faults from being done: a program that is missing, an etcd that does not come back. What a fault does to
/// the fleet is in the rounds.
pub fn run(plan: &Plan, mut tell: impl FnMut(&Round)) -> Result<()> {
    let place = tempfile::tempdir()?;
    let result = run_in(place.path(), plan, &mut tell);
    if result.as_ref().map_or(true, |is_well| !is_well) {
        // Logs and data are there to be looked at.
        let kept: PathBuf = place.keep();
        return result.map(drop).with_context(|| format!("kept {}", kept.display()));
    }
    Ok(())
}

/// Whether all was well.
fn run_in(place: &Path, plan: &Plan, tell: &mut impl FnMut(&Round)) -> Result<bool> {
    let mut random = Rng::with_seed(plan.seed);
    let mut faults = plan.faults.to_vec();
    random.shuffle(&mut faults);
    let clocks = match faults.contains(&Fault::ClockJumped) {
        true => Clocks::OneOwn,
        false => Clocks::System,
    };
    let fleet = Fleet::start(plan.binary, place, clocks)?;
    let begun = Instant::now();
    let pusher = |index| Pusher::new(&fleet, index, place, begun, random.fork());
    let mut pushers = (0..PUSHER_COUNT).map(pusher).collect::<Result<Vec<_>>>()?;
    let mut record = Record { first: first_commit(&fleet)?, ..Record::default() };
    let mut is_well = true;
    for fault in faults {
        let mut course = Course { fleet: &fleet, place, begun, each: plan.each, fault };
        let round = course.run(&mut pushers, &mut record, &mut random)?;
        is_well &= round.wrong.is_empty();
        tell(&round);
    }
    assert_disks_whole(&fleet)?;
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
    fn run(
        &mut self,
        pushers: &mut [Pusher],
        record: &mut Record,
        random: &mut Rng,
    ) -> Result<Round> {
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
        let first = reads.revisions.iter().find(|(_, revision)| has_it(revision));
        first.map_or(RECOVERY_MAX, |(at, _)| at.saturating_sub(times.healed))
    };
    record.reads.iter().map(served).max().unwrap_or_default()
}

/// The commit that all replicas began with.
fn first_commit(fleet: &Fleet) -> Result<String> {
    let reply = http::get(fleet.replicas[0].address(), &path(0))?;
    Ok(reply.revision().context("a revision")?.to_owned())
}

/// An answer of a replica for an application.
fn answer(replica: &Replica, application: usize) -> Result<(String, Answer)> {
    let reply = http::get(replica.address(), &path(application))?;
    let revision = reply.revision().context("a revision")?.to_owned();
    let etag = reply.header("etag").context("an entity tag")?.to_owned();
    Ok((revision, Answer { etag, body: reply.body }))
}

/// Waits until all replicas serve the newest commit that any of them has, and all who watch were told of it.
fn settle(fleet: &Fleet, watched: &[Mutex<Watched>]) -> Result<()> {
    let mut seen = String::new();
    let settled = until("all replicas and all who watch are of one mind", RECOVERY_MAX, || {
        let mut revisions = Vec::new();
        for replica in &fleet.replicas {
            let listed = git::run(Path::new("/"), &["ls-remote", &git::url(replica.address())])?;
            revisions.push(listed.out.split_whitespace().next().unwrap_or("none").to_owned());
            revisions.extend(answer(replica, 0).map(|(revision, _)| revision));
        }
        let is_one = revisions.iter().all(|revision| *revision == revisions[0]);
        let behind = watched.iter().filter(|it| !is_told(fleet, &lock(it))).count();
        seen = format!("{revisions:?}, {behind} who watch are behind");
        Ok(is_one && revisions.len() == 2 * REPLICA_COUNT && behind == 0)
    });
    settled.context(seen)
}

/// Whether one who watches knows what is served.
fn is_told(fleet: &Fleet, watched: &Watched) -> bool {
    let Ok((_, answer)) = answer(&fleet.replicas[0], watched.application) else { return false };
    watched.seen.last().is_some_and(|seen| answer.etag.contains(&seen.digest))
}

/// Looks at all that a replica has.
fn look(replica: &Replica, place: &Path) -> Result<End> {
    let copy = place.join(format!("{}-copy.git", replica.name));
    if copy.exists() {
        std::fs::remove_dir_all(&copy)?;
    }
    let url = git::url(replica.address());
    let to = copy.to_str().context("a path")?;
    git::done(place, &["clone", "--quiet", "--mirror", &url, to])?;
    let mut objects: Vec<String> =
        git::done(&copy, &["rev-list", "--objects", "--all"])?.lines().map(str::to_owned).collect();
    objects.sort_unstable();
    let history = git::done(&copy, &["rev-list", "--first-parent", "--reverse", "main"])?;
    let answers = (0..APPLICATION_COUNT).map(|at| Ok(answer(replica, at)?.1));
    Ok(End {
        name: replica.name.clone(),
        references: git::done(&copy, &["for-each-ref"])?,
        history: history.lines().map(str::to_owned).collect(),
        objects: objects.join("\n"),
        complaints: fsck(&copy)?,
        answers: answers.collect::<Result<_>>()?,
    })
}

/// What git complains of in a repository.
fn fsck(repository: &Path) -> Result<String> {
    let said = git::run(
        repository,
        &["-c", "safe.directory=*", "fsck", "--full", "--strict", "--no-dangling", "--no-progress"],
    )?;
    let complains = !said.is_done || said.err.contains("error") || said.out.contains("missing");
    Ok(if complains { format!("{}{}", said.out, said.err) } else { String::new() })
}

/// Whether what lies on the disks of replicas that were killed is whole.
fn assert_disks_whole(fleet: &Fleet) -> Result<()> {
    for replica in &fleet.replicas {
        replica.kill();
        let mut said = String::new();
        // Git that a replica had started may still pack.
        let whole = until("the repository on the disk is whole", RECOVERY_MAX, || {
            said = fsck(&replica.repository())?;
            Ok(said.is_empty())
        });
        whole.with_context(|| format!("{}: {said}", replica.name))?;
    }
    Ok(())
}

/// Whether a replica shows that it does not reach etcd.
fn says_that_it_is_cut_off(replica: &Replica) -> Result<()> {
    let what = format!("{} says that it is cut off", replica.name);
    until(&what, RECOVERY_MAX, || {
        let health = http::get(replica.address(), "/actuator/health")?;
        Ok(health.body.contains("etcd is away"))
    })
}
