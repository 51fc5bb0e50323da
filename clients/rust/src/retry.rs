//! When to ask whom again: server after server, round after round, until one answers or the deadline comes.
//!
//! It sends nothing itself, which is why its tests need neither a socket nor a real clock.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use crate::error::{DeadlineExceeded, Error, Failure, ServerFailure};
use crate::fetch::Attempt;

/// The longest pause before the second round; it doubles from round to round.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
/// The longest pause there is.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A server may ask for this much patience and no more.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// How long everything and one attempt may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) deadline: Duration,
    pub(crate) request_timeout: Duration,
}

/// The servers as the loop sees them.
pub(crate) trait Servers {
    /// What an attempt gives.
    type Answer: Send;

    /// Their names, in the order in which they are tried.
    fn names(&self) -> Vec<&str>;

    /// Called once before each round. May be dropped at the deadline.
    fn prepare(&mut self) -> impl Future<Output = Result<(), Error>> + Send;

    /// Asks one server once. May be dropped at any time, when its time is up.
    fn attempt(&self, server: usize) -> impl Future<Output = Result<Self::Answer, Attempt>> + Send;
}

/// The first answer, and which server gave it.
pub(crate) async fn first_answer<S: Servers>(
    servers: &mut S,
    limits: Limits,
) -> Result<(usize, S::Answer), Error> {
    let end = Instant::now() + limits.deadline;
    let mut states = vec![State::new(Instant::now()); servers.names().len()];
    for round in 0.. {
        let Ok(prepared) = timeout_at(end, servers.prepare()).await else {
            break;
        };
        prepared?;
        for (server, state) in states.iter_mut().enumerate() {
            let now = Instant::now();
            if state.not_before > now || now >= end {
                continue;
            }
            let limit = end.min(now + limits.request_timeout);
            match timeout_at(limit, servers.attempt(server)).await {
                Ok(Ok(answer)) => return Ok((server, answer)),
                Ok(Err(Attempt::Final(error))) => return Err(error),
                Ok(Err(Attempt::Again { failure, retry_after })) => {
                    state.failed(failure, retry_after)
                }
                Err(_) if limit == end && state.last.is_some() => state.cut_short(),
                Err(_) => state.failed(Failure::Timeout(limit - now), None),
            }
            let (name, failure) = (
                servers.names()[server].to_owned(),
                state.last.as_ref().map(tracing::field::display),
            );
            tracing::warn!(
                server = name,
                failure,
                attempt = state.attempt_count,
                "no configuration from this server yet"
            );
        }
        let wake = next_round(&states, Instant::now() + pause(round, PAUSE_MAX));
        if wake >= end {
            break;
        }
        sleep_until(wake).await;
    }
    Err(Error::Deadline(DeadlineExceeded {
        deadline: limits.deadline,
        servers: servers
            .names()
            .into_iter()
            .zip(states)
            .map(|(name, state)| state.into_failure(name))
            .collect(),
        last_known_good: None,
    }))
}

/// Full jitter: anything from nothing to a bound that doubles, so that a fleet does not come back all at once.
pub(crate) fn pause(round: u32, longest: Duration) -> Duration {
    bound(round, longest).mul_f64(fastrand::f64())
}

/// The longest pause after so many rounds that failed.
pub(crate) fn bound(round: u32, longest: Duration) -> Duration {
    PAUSE_FIRST.saturating_mul(2_u32.saturating_pow(round)).min(longest)
}

/// Not before at least one server wants to be asked.
fn next_round(states: &[State], wake: Instant) -> Instant {
    states.iter().map(|state| state.not_before).min().map_or(wake, |first| first.max(wake))
}

/// What is known of one server.
#[derive(Debug, Clone)]
struct State {
    not_before: Instant,
    attempt_count: u32,
    last: Option<Failure>,
}

impl State {
    fn new(now: Instant) -> State {
        State { not_before: now, attempt_count: 0, last: None }
    }

    fn failed(&mut self, failure: Failure, retry_after: Option<Duration>) {
        self.not_before = Instant::now() + retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
        self.attempt_count += 1;
        self.last = Some(failure);
    }

    /// An attempt that the deadline left too little time says less than the one before it.
    fn cut_short(&mut self) {
        self.attempt_count += 1;
    }

    fn into_failure(self, name: &str) -> ServerFailure {
        ServerFailure {
            server: name.to_owned(),
            attempt_count: self.attempt_count,
            last: self.last,
        }
    }
}

#[cfg(test)]
mod tests;
