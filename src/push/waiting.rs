//! The wait of a push for the instances that it concerns (`git push -o wait`), after the push is published.
//!
//! Locking: a push that waits holds no lock of its repository and no permit. It delays no other push.
//!
//! Cancellation: the wait ends when the client disconnects. The push stays published.

mod observation;
mod rollout;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::arrival::{Arrival, Progress};
use super::authorization::Pusher;
use super::exchange::{self, AnswerSender, READ_STALL_MAX, TruncationError};
use super::options::Wait;
use super::packet;
use super::repository::HostedRepository;
use crate::conduct::Conduct;
use crate::fleet::Instances;
use crate::model::{Label, Query};
use crate::source::git::MovedReference;
use observation::Observation;

pub(super) use rollout::OpenedRollout;

/// The most pushes that wait at a time, over all repositories.
const WAITING_COUNT_MAX: usize = 64;
/// The longest time without a line. Proxies close connections on which nothing moves.
const LINE_INTERVAL_MAX: Duration = Duration::from_secs(9);
/// The shortest time between two lines on progress.
const LINE_INTERVAL_MIN: Duration = Duration::from_millis(500);
/// The shortest pause between two looks at the instances.
const LOOK_INTERVAL_MIN: Duration = Duration::from_millis(50);
/// The longest such pause.
const LOOK_INTERVAL_MAX: Duration = Duration::from_secs(1);
/// A pause is otherwise this many times as long as the look before it.
const LOOK_INTERVAL_FACTOR: u32 = 20;
/// The number of characters of a commit id that are shown.
const ID_SHOWN: usize = 10;

/// Everything that pushes share while they wait.
pub(super) struct Waits {
    instances: Arc<Instances>,
    places: Semaphore,
    /// True once the server stops.
    stopping: watch::Sender<bool>,
    /// Returns the number of other live replicas, whose instances this server does not know.
    other_replicas: OnceLock<ReplicaCounter>,
    /// The rollouts of this server, if it has any.
    conduct: OnceLock<Arc<Conduct>>,
}

/// A function that counts the other live replicas of the fleet.
pub type ReplicaCounter = Box<dyn Fn() -> usize + Send + Sync>;

/// The environments that a push changes at one branch.
#[derive(Debug, Clone)]
pub(super) struct BranchChange {
    pub(super) reference: String,
    /// The labels under which clients request the branch.
    pub(super) labels: Vec<Label>,
    /// The changed environments that the pusher may read.
    pub(super) environments: Vec<Query>,
    /// The number of changed environments that the pusher may not read.
    pub(super) hidden_count: usize,
}

/// A published push whose answer is held back until instances have it.
pub(super) struct WaitingPush {
    pub(super) wait: Wait,
    pub(super) waits: Arc<Waits>,
    /// The principal, if a policy decides.
    pub(super) pusher: Option<Pusher>,
    pub(super) repository: Arc<HostedRepository>,
    /// The references that have moved.
    pub(super) moved: Vec<MovedReference>,
    pub(super) changes: Vec<BranchChange>,
    /// The rollouts that the push has opened. It then waits for them, and not for instances.
    pub(super) rollouts: Vec<OpenedRollout>,
    pub(super) published: Instant,
    /// The time at which the answer has to end, whatever the pusher asked for.
    pub(super) ends_at: Instant,
    /// Git's report.
    pub(super) report: Vec<Bytes>,
    pub(super) output: AnswerSender,
    pub(super) abort: oneshot::Sender<()>,
}

/// The lines on progress: not more often than a reader can follow, and not less often than a proxy needs.
struct ProgressLines {
    /// The state of the last line.
    told: Arrival,
    last_line: Instant,
}

/// The client has disconnected, or does not read.
struct ClientGoneError;

/// Success, or the reason why the wait failed.
type WaitOutcome = Result<(), WaitFailure>;

/// The reason why a wait ends without success.
enum WaitFailure {
    Timeout(Arrival),
    Unreachable(Arrival),
    Stopping(Arrival),
    /// A rollout has ended without being done. The last line.
    RolloutEnded(String),
    /// How far the rollouts are.
    RolloutTimeout(Vec<String>),
    RolloutStopping(Vec<String>),
    AccessLost,
    NoPlace,
}

impl Waits {
    pub(super) fn new(instances: Arc<Instances>) -> Self {
        Self {
            instances,
            places: Semaphore::new(WAITING_COUNT_MAX),
            stopping: watch::Sender::new(false),
            other_replicas: OnceLock::new(),
            conduct: OnceLock::new(),
        }
    }

    pub(super) fn instances(&self) -> &Arc<Instances> {
        &self.instances
    }

    /// Returns a receiver of true once the server stops.
    pub(super) fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// Ends all waits, because the server stops.
    pub(super) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Sets the function that counts the other live replicas. A server sets it once.
    pub(super) fn count_replicas_by(&self, counter: ReplicaCounter) {
        // A second function would count the same replicas.
        let _ = self.other_replicas.set(counter);
    }

    /// Sets the rollouts for which pushes wait. A server sets them once.
    pub(super) fn follow_rollouts_of(&self, conduct: Arc<Conduct>) {
        // A second value would be the same one.
        let _ = self.conduct.set(conduct);
    }

    fn other_replica_count(&self) -> usize {
        self.other_replicas.get().map_or(0, |count| count())
    }
}

impl WaitingPush {
    /// Waits, and sends the end of the answer: git's report, and an error after it if the wait failed. The report is true
    /// in both cases, because the references have moved.
    pub(super) async fn run(self) {
        let answer = match self.wait().await {
            Ok(Ok(())) => self.report.clone(),
            Ok(Err(failure)) => {
                packet::report_and_failure(&self.report, &self.failure_line(&failure))
            }
            Err(ClientGoneError) => {
                exchange::truncate(self.output, self.abort).await;
                return;
            }
        };
        for piece in answer {
            if self.send(piece).await.is_err() {
                exchange::truncate(self.output, self.abort).await;
                return;
            }
        }
    }

    async fn wait(&self) -> Result<WaitOutcome, ClientGoneError> {
        let Ok(_place) = self.waits.places.try_acquire() else {
            return Ok(Err(WaitFailure::NoPlace));
        };
        if let Some(conduct) = self.waits.conduct.get()
            && !self.rollouts.is_empty()
        {
            return self.follow_rollouts(conduct).await;
        }
        let changes = self.waits.instances.changes();
        let mut observation = Observation::new(&self.repository, &self.moved, &self.changes);
        if observation.is_empty() {
            self.say("no environment that you may read changes: nothing to wait for").await?;
            return Ok(Ok(()));
        }
        let look = observation.look(&self.waits.instances).await;
        let arrival = Arrival::begin(observation.names(), self.wait.percent, &look);
        for line in arrival.opening().iter().chain(&self.limits()) {
            self.say(line).await?;
        }
        if arrival.count() == 0 {
            self.say("no instance of them reports what it applies: nothing to wait for").await?;
            return Ok(Ok(()));
        }
        self.follow(observation, arrival, changes).await
    }

    /// Follows the instances until the share has the change, or the wait fails.
    async fn follow(
        &self,
        mut observation: Observation,
        mut arrival: Arrival,
        mut changes: watch::Receiver<u64>,
    ) -> Result<WaitOutcome, ClientGoneError> {
        let deadline = self.ends_at.min(self.published + self.wait.timeout);
        let mut stopping = self.waits.stopping.subscribe();
        let mut lines = ProgressLines::new(&arrival);
        let mut next_look = Instant::now();
        let mut pusher = self.pusher.clone();
        loop {
            if !self.may_still_read(&mut pusher) {
                return Ok(Err(WaitFailure::AccessLost));
            }
            match arrival.progress() {
                Progress::Reached => {
                    self.say_at(&arrival.summary()).await?;
                    return Ok(Ok(()));
                }
                Progress::Unreachable => return Ok(Err(WaitFailure::Unreachable(arrival))),
                Progress::Pending => {}
            }
            for line in lines.take_due(&arrival) {
                self.say_at(&line).await?;
            }
            tokio::select! {
                () = self.output.closed() => return Err(ClientGoneError),
                _ = stopping.wait_for(|is_stopping| *is_stopping) => {
                    return Ok(Err(WaitFailure::Stopping(arrival)));
                }
                () = sleep_until(deadline) => return Ok(Err(WaitFailure::Timeout(arrival))),
                () = sleep_until(lines.next_due(&arrival)) => {}
                _ = changes.changed() => {}
            }
            sleep_until(next_look.min(deadline)).await;
            let began = Instant::now();
            arrival.record(&observation.look(&self.waits.instances).await);
            let pause = began.elapsed() * LOOK_INTERVAL_FACTOR;
            next_look = Instant::now() + pause.clamp(LOOK_INTERVAL_MIN, LOOK_INTERVAL_MAX);
        }
    }

    /// Returns true if the policy in force still lets the pusher read the environments of the wait.
    fn may_still_read(&self, pusher: &mut Option<Pusher>) -> bool {
        let Some(known) = pusher.as_mut().filter(|pusher| !pusher.is_current()) else {
            return true;
        };
        let Ok(renewed) = known.renewed() else { return false };
        let may_read = self.changes.iter().all(|change| {
            let mut queries = change.environments.iter();
            queries.all(|query| renewed.identity.may_read_at(&change.labels, query))
        });
        *known = renewed;
        may_read
    }

    /// The lines on instances that this server cannot count.
    fn limits(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let hidden_count: usize = self.changes.iter().map(|change| change.hidden_count).sum();
        if hidden_count > 0 {
            lines.push(format!("not awaited: {hidden_count} environments that you may not read"));
        }
        let replica_count = self.waits.other_replica_count();
        if replica_count > 0 {
            let replicas = if replica_count == 1 { "replica" } else { "replicas" };
            lines.push(format!(
                "not awaited: instances that are connected to {replica_count} other {replicas} \
                 (GET /-/instances at each of them)"
            ));
        }
        lines
    }

    /// Sends a line with the time since the publication.
    async fn say_at(&self, line: &str) -> Result<(), ClientGoneError> {
        self.say(&format!("{:5.1} s  {line}", self.published.elapsed().as_secs_f64())).await
    }

    async fn say(&self, line: &str) -> Result<(), ClientGoneError> {
        self.send(packet::progress(line)).await
    }

    async fn send(&self, piece: Bytes) -> Result<(), ClientGoneError> {
        let sent: Result<_, TruncationError> = Ok(piece);
        match timeout(READ_STALL_MAX, self.output.send(sent)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(ClientGoneError),
        }
    }

    /// The last line of a wait without success: what happened, where the branches are, and what to do.
    fn failure_line(&self, failure: &WaitFailure) -> String {
        let moved = self.moved_line();
        let seconds = self.published.elapsed().as_secs();
        match failure {
            WaitFailure::Timeout(arrival) => format!(
                "the wait ended after {seconds} s: {}. {}{moved} and stays there: instances still receive it. \
                 GET /-/instances shows them",
                arrival.summary(),
                details(arrival)
            ),
            WaitFailure::Unreachable(arrival) => format!(
                "{}, and so many have rejected it that {}% cannot be reached. {}{moved} and stays there. Push a \
                 correction",
                arrival.summary(),
                self.wait.percent,
                details(arrival)
            ),
            WaitFailure::Stopping(arrival) => format!(
                "{}, and this server stops. {moved} and stays there: instances still receive it. GET /-/instances shows \
                 them",
                arrival.summary()
            ),
            WaitFailure::RolloutEnded(line) => line.clone(),
            WaitFailure::RolloutTimeout(summaries) => format!(
                "the wait ended after {seconds} s: {}. {moved} and stays there: the rollout continues. headwater rollout \
                 list shows it",
                summaries.join(". ")
            ),
            WaitFailure::RolloutStopping(summaries) => format!(
                "{}, and this server stops. {moved} and stays there: the rollout continues when the server has started",
                summaries.join(". ")
            ),
            WaitFailure::AccessLost => format!(
                "the policy has changed, and you may not follow this push any more. {moved} and stays there"
            ),
            WaitFailure::NoPlace => format!(
                "{WAITING_COUNT_MAX} other pushes wait already, so that this one does not. {moved}: GET /-/instances \
                 shows which instances have it"
            ),
        }
    }

    fn moved_line(&self) -> String {
        let moved = self.moved.iter().filter_map(|moved| {
            let name = super::updates::short(&moved.name).unwrap_or(&moved.name);
            Some(format!("{name} has moved to {}", &moved.new.as_ref()?[..ID_SHOWN]))
        });
        let mut moved: Vec<String> = moved.collect();
        let more = moved.len().saturating_sub(1);
        moved.truncate(1);
        let first = moved.pop().unwrap_or_else(|| "the push is published".to_owned());
        if more > 0 { format!("{first} (and {more} more)") } else { first }
    }
}

impl ProgressLines {
    /// The first line is due at once.
    fn new(arrival: &Arrival) -> Self {
        Self { told: arrival.clone(), last_line: Instant::now() - LINE_INTERVAL_MIN }
    }

    /// Returns the lines that are due, and records that they are sent.
    fn take_due(&mut self, arrival: &Arrival) -> Vec<String> {
        if Instant::now() < self.next_due(arrival) {
            return Vec::new();
        }
        let mut lines = arrival.changes_since(&self.told);
        if lines.is_empty() {
            lines.push(arrival.summary());
        }
        (self.told, self.last_line) = (arrival.clone(), Instant::now());
        lines
    }

    /// Returns the time of the next line.
    fn next_due(&self, arrival: &Arrival) -> Instant {
        let has_news = !arrival.changes_since(&self.told).is_empty();
        self.last_line + if has_news { LINE_INTERVAL_MIN } else { LINE_INTERVAL_MAX }
    }
}

/// The instances without the change, as sentences.
fn details(arrival: &Arrival) -> String {
    arrival.missing().iter().map(|line| format!("{line}. ")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::arrival::{ChangedEnvironment, Sighting, Standing};
    use super::*;

    fn sighting(name: &str, standing: Standing) -> Sighting {
        let name = name.into();
        Sighting { environment: 0, name, standing, is_witness: true, is_connected: true }
    }

    #[tokio::test(start_paused = true)]
    async fn news_are_told_soon_and_the_count_is_repeated_while_nothing_happens() {
        let environment =
            ChangedEnvironment { application: "a".to_owned(), full: "a/prod".to_owned() };
        let behind = [sighting("1", Standing::Behind), sighting("2", Standing::Behind)];
        let mut arrival = Arrival::begin(vec![environment], 100, &behind);
        let mut lines = ProgressLines::new(&arrival);
        assert!(lines.take_due(&arrival).is_empty());
        arrival.record(&[sighting("1", Standing::Current), sighting("2", Standing::Behind)]);
        assert_eq!(lines.take_due(&arrival), ["a: 1 of 2 has it"]);
        assert!(lines.take_due(&arrival).is_empty());
        // Further news wait for a moment, so that a crowd of them is one line.
        arrival.record(&behind);
        assert!(lines.take_due(&arrival).is_empty());
        tokio::time::advance(LINE_INTERVAL_MIN).await;
        assert_eq!(lines.take_due(&arrival), ["a: 0 of 2 have it"]);
        let begun = Instant::now();
        sleep_until(lines.next_due(&arrival)).await;
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert_eq!(lines.take_due(&arrival), ["0 of 2 have it"]);
    }
}
