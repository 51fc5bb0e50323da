//! The operator's checks: measurements of running rollouts, which decide together with the reports of instances.
//!
//! `definition` is a check as the operator defines it. `target` is what a rollout has to be measured for, and `template` puts
//! it into queries. `http`, `prometheus` and `exec` make one measurement each. [`CheckRunner`] repeats them, and `measurements`
//! keeps their results for the keeper.
//!
//! Invariant: a measurement that cannot be made, or whose result has no meaning, is [`Measurement::Failed`]. It is never good
//! and never bad.

mod definition;
mod exec;
mod http;
mod measurements;
mod prometheus;
mod target;
mod template;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headwater_rollout::Name;
use headwater_rollout::check::{CheckRule, Measured, Measurement};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::sync::lock;
pub use definition::{CheckDefinition, CheckKind, Question};
pub use http::Server;
pub(super) use measurements::Measurements;
pub use target::{Canary, CheckTarget, TargetGroup};

/// The longest measurement, which can consist of several requests.
const MEASUREMENT_MAX: Duration = Duration::from_secs(30);
/// The most measurements of one repository at the same time.
const PARALLEL_COUNT_MAX: usize = 8;
/// The results that wait for the keeper. A measurement whose result has no room waits.
const RESULT_COUNT_MAX: usize = 256;
/// A canary that was restarted is left out for this time, because it is slow and fails while it warms up.
const SETTLE: Duration = Duration::from_secs(30);
/// The longest time that `{window}` stands for.
const WINDOW_MAX: Duration = Duration::from_secs(3600);

/// Measures the running rollouts of one repository.
pub struct CheckRunner {
    checks: BTreeMap<Name, Arc<CheckDefinition>>,
    runtime: Handle,
    results: mpsc::Sender<Measured>,
    permits: Arc<Semaphore>,
    followed: Mutex<BTreeMap<Name, Followed>>,
}

/// One stage of a rollout that is measured. Its measurements end when it is dropped.
struct Followed {
    /// The number and the stage of the rollout.
    stage: (u64, usize),
    settling: BTreeMap<Name, Settling>,
    target: watch::Sender<Arc<CheckTarget>>,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

/// The restarts of a canary.
struct Settling {
    restarts: u32,
    until: Option<Instant>,
}

/// One check of one stage of a rollout.
struct Measuring {
    name: Name,
    /// `None` if the operator has removed the check.
    check: Option<Arc<CheckDefinition>>,
    target: watch::Receiver<Arc<CheckTarget>>,
    began: Instant,
    permits: Arc<Semaphore>,
    results: mpsc::Sender<Measured>,
}

impl CheckRunner {
    /// A runner that measures nothing yet, and the receiver of its results. The measurements run on `runtime`.
    pub fn new(checks: &[CheckDefinition], runtime: Handle) -> (Self, mpsc::Receiver<Measured>) {
        let (results, receiver) = mpsc::channel(RESULT_COUNT_MAX);
        let checks = checks.iter().map(|own| (own.name.clone(), Arc::new(own.clone()))).collect();
        let permits = Arc::new(Semaphore::new(PARALLEL_COUNT_MAX));
        (Self { checks, runtime, results, permits, followed: Mutex::default() }, receiver)
    }

    /// The rules by which the results decide.
    pub fn rules(&self) -> BTreeMap<Name, CheckRule> {
        self.checks.iter().map(|(name, check)| (name.clone(), check.rule)).collect()
    }

    /// The names that plans can use.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.checks.keys()
    }

    /// Measures these rollouts from now on, and no others. A stage that is measured already goes on with its present
    /// canaries, and a new one begins with a full interval of each check.
    pub fn follow(&self, running: Vec<CheckTarget>) {
        let mut followed = lock(&self.followed);
        followed.retain(|id, _| running.iter().any(|target| target.rollout == *id));
        for target in running {
            let stage = (target.number, target.stage);
            let known = followed.remove(&target.rollout).filter(|known| known.stage == stage);
            let id = target.rollout.clone();
            let next = match known {
                Some(mut known) => {
                    let settled = known.settle(target);
                    known.target.send_replace(Arc::new(settled));
                    known
                }
                None => self.begin(target),
            };
            followed.insert(id, next);
        }
    }

    /// Ends the measurements of a rollout until it is followed again.
    pub fn stop(&self, rollout: &str) {
        lock(&self.followed).remove(rollout);
    }

    fn begin(&self, target: CheckTarget) -> Followed {
        let is_made = |name: &&Name| {
            let rule = self.checks.get(*name).map(|check| check.rule);
            !(target.is_last && rule.is_some_and(|rule| rule.is_comparison))
        };
        let checks: Vec<Name> = target.checks.iter().filter(is_made).cloned().collect();
        let stage = (target.number, target.stage);
        let (sender, receiver) = watch::channel(Arc::new(target.clone()));
        let measure = |name: Name| {
            let measuring = Measuring {
                check: self.checks.get(&name).cloned(),
                name,
                target: receiver.clone(),
                began: Instant::now(),
                permits: Arc::clone(&self.permits),
                results: self.results.clone(),
            };
            AbortOnDropHandle::new(self.runtime.spawn(measuring.repeat()))
        };
        let tasks = checks.into_iter().map(measure).collect();
        let mut followed =
            Followed { stage, settling: BTreeMap::new(), target: sender, _tasks: tasks };
        // The restarts before this stage are known from now on.
        followed.settle(target);
        followed
    }
}

impl Followed {
    /// The target without the canaries that were restarted not long ago.
    fn settle(&mut self, mut target: CheckTarget) -> CheckTarget {
        let now = Instant::now();
        let mut settling = BTreeMap::new();
        for group in target.groups.values_mut() {
            group.canaries.retain(|canary| {
                let known = self.settling.get(&canary.name);
                let is_restarted = known.is_some_and(|known| canary.restarts > known.restarts);
                let until = known.and_then(|known| known.until).filter(|until| *until > now);
                let until = if is_restarted { Some(now + SETTLE) } else { until };
                settling.insert(canary.name.clone(), Settling { restarts: canary.restarts, until });
                until.is_none()
            });
        }
        self.settling = settling;
        target
    }
}

impl Measuring {
    /// Measures until the stage ends.
    async fn repeat(self) {
        let every = self.check.as_ref().map_or_else(CheckRule::default, |check| check.rule).every;
        let mut ticks = interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Ok(permit) = self.permits.acquire().await else { return };
            let target = Arc::clone(&self.target.borrow());
            let measurement = self.measure(&target).await;
            drop(permit);
            let (check, rollout) = (self.name.clone(), target.rollout.clone());
            if let Measurement::Failed { why } = &measurement {
                tracing::warn!(%check, %rollout, reason = %why, "a check could not be made");
            }
            let result = Measured { rollout, check, measurement };
            if self.results.send(result).await.is_err() {
                return;
            }
        }
    }

    async fn measure(&self, target: &CheckTarget) -> Measurement {
        let Some(check) = &self.check else {
            return failed("the operator has removed the check");
        };
        let window = self.began.elapsed().clamp(Duration::from_secs(1), WINDOW_MAX);
        let measured = timeout(MEASUREMENT_MAX, check.measure(target, window)).await;
        match measured {
            Ok(Ok(measurement)) => measurement,
            Ok(Err(why)) => failed(&why),
            Err(_) => failed(&format!("it took longer than {} s", MEASUREMENT_MAX.as_secs())),
        }
    }
}

fn failed(why: &str) -> Measurement {
    Measurement::Failed { why: why.into() }
}

#[cfg(test)]
mod tests;
