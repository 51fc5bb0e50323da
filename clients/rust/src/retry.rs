//! The retry loop: tries every server in rounds until one answers or the deadline passes.
//!
//! The loop itself sends nothing, so that its tests need neither a socket nor a real clock.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use crate::error::{AttemptError, DeadlineError, Error, ServerAttempts};
use crate::fetch::Attempt;
use crate::limits::Limits;

/// The upper bound of the pause before the second round. It doubles with every round.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
/// The largest upper bound of a pause.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// The least time that the last round leaves for an answer. For a short deadline it is this fraction of the deadline.
const LAST_ROUND_TIME: Duration = Duration::from_millis(100);
const LAST_ROUND_FRACTION: u32 = 50;
/// The longest `Retry-After` that is honoured.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// An operation that can be attempted at each of several servers.
pub(crate) trait Servers {
    /// The result of a successful attempt.
    type Answer: Send;

    /// Returns the names of the servers, in the order in which they are tried.
    fn names(&self) -> Vec<&str>;

    /// Prepares a round. The loop calls it once before each round.
    ///
    /// Cancellation: the future may be dropped at the deadline.
    fn prepare(&mut self) -> impl Future<Output = Result<(), Error>> + Send;

    /// Makes one attempt at one server.
    ///
    /// Cancellation: the future is dropped when its time is over.
    fn attempt(&self, server: usize) -> impl Future<Output = Result<Self::Answer, Attempt>> + Send;
}

/// Tries the servers until one answers. Returns the index of that server and its answer.
pub(crate) async fn first_answer<S: Servers>(
    servers: &mut S,
    limits: Limits,
) -> Result<(usize, S::Answer), Error> {
    let start = Instant::now();
    let end = start + limits.deadline;
    let least = LAST_ROUND_TIME.min(limits.deadline / LAST_ROUND_FRACTION);
    let mut states = vec![ServerState::new(start); servers.names().len()];
    for round in 0.. {
        let Ok(prepared) = timeout_at(end, servers.prepare()).await else {
            break;
        };
        prepared?;
        let answered = try_each(servers, &mut states, limits.request_timeout, end).await?;
        if let Some(found) = answered {
            return Ok(found);
        }
        let Some(wake) = next_round(&mut states, pause(round, PAUSE_MAX), end, least) else {
            break;
        };
        sleep_until(wake).await;
    }
    Err(Error::Deadline(DeadlineError {
        deadline: limits.deadline,
        waited: start.elapsed(),
        servers: servers
            .names()
            .into_iter()
            .zip(states)
            .map(|(name, state)| state.into_failure(name))
            .collect(),
        last_known_good: None,
    }))
}

/// Makes one attempt at each server that may be tried now. Returns the index of the first server that answers, and its
/// answer.
async fn try_each<S: Servers>(
    servers: &S,
    states: &mut [ServerState],
    request_timeout: Duration,
    end: Instant,
) -> Result<Option<(usize, S::Answer)>, Error> {
    for (server, state) in states.iter_mut().enumerate() {
        let now = Instant::now();
        if state.not_before > now || now >= end {
            continue;
        }
        let limit = end.min(now + request_timeout);
        match timeout_at(limit, servers.attempt(server)).await {
            Ok(Ok(answer)) => return Ok(Some((server, answer))),
            Ok(Err(Attempt::Final(error))) => return Err(error),
            Ok(Err(Attempt::Again { failure, retry_after })) => {
                state.record_failure(failure, retry_after)
            }
            Err(_) if limit == end && state.last.is_some() => state.record_cut_short(),
            Err(_) => state.record_failure(AttemptError::Timeout(limit - now), None),
        }
        tracing::warn!(
            server = servers.names()[server],
            failure = state.last.as_ref().map(tracing::field::display),
            attempt = state.attempt_count,
            "request to this server failed"
        );
    }
    Ok(None)
}

/// Returns a random pause between zero and the [`bound`] of the round. The randomness spreads the requests of many
/// clients after an outage.
pub(crate) fn pause(round: u32, longest: Duration) -> Duration {
    bound(round, longest).mul_f64(fastrand::f64())
}

/// Returns the longest pause after a number of failed rounds.
pub(crate) fn bound(round: u32, longest: Duration) -> Duration {
    PAUSE_FIRST.saturating_mul(2_u32.saturating_pow(round)).min(longest)
}

/// Returns the start of the next round: after the pause, and not before the `Retry-After` of at least one server has
/// passed.
///
/// A round that would start after the end starts instead when half of the remaining time has passed, and then tries every
/// server. Otherwise the client would give up before its deadline, and would send its next request at once after the
/// restart that follows. The result is `None` when less than `least` would remain for an answer.
fn next_round(
    states: &mut [ServerState],
    pause: Duration,
    end: Instant,
    least: Duration,
) -> Option<Instant> {
    let now = Instant::now();
    let first = states.iter().map(|state| state.not_before).min().unwrap_or(now);
    let wake = first.max(now + pause);
    if wake + least <= end {
        return Some(wake);
    }
    let left = end.saturating_duration_since(now);
    states.iter_mut().for_each(|state| state.not_before = now);
    (left > 2 * least).then(|| now + left / 2)
}

/// The attempts at one server.
#[derive(Debug, Clone)]
struct ServerState {
    not_before: Instant,
    attempt_count: u32,
    last: Option<AttemptError>,
}

impl ServerState {
    fn new(now: Instant) -> ServerState {
        ServerState { not_before: now, attempt_count: 0, last: None }
    }

    fn record_failure(&mut self, failure: AttemptError, retry_after: Option<Duration>) {
        self.not_before = Instant::now() + retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
        self.attempt_count += 1;
        self.last = Some(failure);
    }

    /// Counts an attempt that the deadline ended. Its failure would say less than that of the attempt before it.
    fn record_cut_short(&mut self) {
        self.attempt_count += 1;
    }

    fn into_failure(self, name: &str) -> ServerAttempts {
        ServerAttempts {
            server: name.to_owned(),
            attempt_count: self.attempt_count,
            last: self.last,
        }
    }
}

#[cfg(test)]
mod tests;
