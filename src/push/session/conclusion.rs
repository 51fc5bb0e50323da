//! The end of a push: the publication of what git has moved, and the answer to the pusher.
//!
//! Invariant: the pusher receives git's report only after the moves that it reports are durable and published.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headwater_rollout::Name;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Outcome;
use crate::push::decision::{AcceptedPush, PendingWait, PushContext};
use crate::push::exchange::{self, AnswerSender, READ_STALL_MAX, StallBudget};
use crate::push::packet;
use crate::push::recording;
use crate::push::updates;
use crate::push::waiting::WaitingPush;
use crate::source::git::MovedReference;
use crate::store::Actor;
use crate::telemetry::{PushStage, StageTimer};

/// The time before the end of an exchange in which a push that waits has its last lines sent.
const WAIT_MARGIN: Duration = Duration::from_secs(30);
/// The number of moved references that are named to the pusher.
const NAMED_COUNT_MAX: usize = 5;
/// The number of characters of a commit id that are shown.
const ID_SHOWN: usize = 10;
/// The message to a pusher whose push has an unknown outcome.
const OUTCOME_UNKNOWN: &str = "the outcome of the push is unknown: it is published completely or not at all. \
     Run git fetch to see which";

/// The answer to a push that git has ended.
pub(super) struct Answer {
    /// The lines for the pusher.
    lines: Vec<Bytes>,
    /// Git's report.
    report: Vec<Bytes>,
    /// The references that have moved, and the wait that the pusher asked for.
    published: Option<(Vec<MovedReference>, PendingWait)>,
}

/// Publishes the references that git has moved and returns the answer.
///
/// Returns `None` if there is no answer to give. The moves are or will be durable and published, but the client has to
/// fetch to learn the outcome.
pub(super) async fn finish(
    context: &PushContext,
    outcome: Option<Outcome>,
    report: Option<Vec<Bytes>>,
) -> Option<Answer> {
    let mut accepted = match outcome {
        Some(Outcome::Accepted(accepted)) => accepted,
        Some(Outcome::Unknown) => return unknown_outcome(&report?),
        Some(Outcome::DryRun) | None => return report.map(Answer::of),
    };
    let (wait, held) = (accepted.wait.take(), std::mem::take(&mut accepted.held));
    let repository = &context.repository;
    let actor = Actor::Push(context.who.clone());
    let publishing = StageTimer::start(context.trace, PushStage::Publish);
    let AcceptedPush { references, committed, turn, refs, rollouts, .. } = &*accepted;
    let moved = repository.publish(turn, refs, references.clone(), &actor, rollouts.as_ref()).await;
    drop(publishing);
    let is_complete = committed.as_ref().is_none_or(|committed| committed.record_end(repository));
    // What is in etcd is made later, and then no rejection.
    let unmoved: Vec<String> = match &moved {
        Ok(moved) if committed.is_none() => {
            let is_moved = |name: &&String| moved.iter().any(|moved| moved.name == **name);
            references.iter().filter(|name| !is_moved(name)).cloned().collect()
        }
        _ => Vec::new(),
    };
    drop(accepted);
    recording::record_unmoved(context, &unmoved).await;
    if !is_complete {
        // The push is published all the same: the follower makes the rest, as for a push to another replica.
        tracing::error!(
            repository = repository.name,
            "git did not move the references of a push that is in etcd"
        );
        return unknown_outcome(&report?);
    }
    let (moved, report) = (moved.ok()?, report?);
    if !packet::has_bands(&report) {
        return Some(Answer::of(report));
    }
    let lines = moved.iter().take(NAMED_COUNT_MAX);
    let lines = lines.map(|moved| packet::progress(&line(moved, &held))).collect();
    let published = wait.filter(|_| !moved.is_empty()).map(|wait| (moved, wait));
    Some(Answer { lines, report, published })
}

impl Answer {
    /// Git's report alone.
    fn of(report: Vec<Bytes>) -> Self {
        Self { lines: Vec::new(), report, published: None }
    }
}

/// Replaces a report that would claim an unknown or a wrong outcome.
fn unknown_outcome(report: &[Bytes]) -> Option<Answer> {
    packet::has_bands(report).then(|| Answer::of(vec![packet::failure(OUTCOME_UNKNOWN)]))
}

/// The line on a moved reference: where it is, and what is held of it.
fn line(moved: &MovedReference, held: &[(Name, String)]) -> String {
    let name = updates::short(&moved.name).unwrap_or(&moved.name);
    let Some(id) = &moved.new else { return format!("deleted {name}") };
    let published = format!("published {name} at {}", &id[..ID_SHOWN]);
    let branch = moved.name.strip_prefix("refs/heads/");
    match held.iter().find(|(own, _)| branch == Some(&**own)) {
        Some((_, held)) => format!("{published}; {held}"),
        None => published,
    }
}

/// Sends the answer, or truncates it if there is none. The client then has to fetch to learn the outcome, and an accepted
/// push is published all the same. The report of a push that has to wait for instances is held back.
pub(super) async fn respond(
    context: &PushContext,
    answer: Option<Answer>,
    output: AnswerSender,
    abort: oneshot::Sender<()>,
    exchange_end: Instant,
) -> Option<WaitingPush> {
    let Some(Answer { lines, report, published }) = answer else {
        exchange::truncate(output, abort).await;
        return None;
    };
    let mut pieces = lines;
    if published.is_none() {
        pieces.extend(report.iter().cloned());
    }
    if send(pieces, &output).await.is_none() {
        exchange::truncate(output, abort).await;
        return None;
    }
    let (moved, PendingWait { wait, changes, rollouts }) = published?;
    Some(WaitingPush {
        wait,
        changes,
        rollouts,
        moved,
        waits: Arc::clone(&context.waits),
        pusher: context.pusher.clone(),
        repository: Arc::clone(&context.repository),
        published: Instant::now(),
        ends_at: exchange_end - WAIT_MARGIN,
        report,
        output,
        abort,
    })
}

/// Sends the answer to a client that receives it fast enough. Returns `None` if the client is too slow.
async fn send(answer: Vec<Bytes>, output: &AnswerSender) -> Option<()> {
    let mut budget = StallBudget::new(READ_STALL_MAX);
    for piece in answer {
        let byte_count = piece.len();
        if budget.wait(output.send(Ok(piece))).await?.is_err() {
            // A client that has disconnected needs no truncation.
            return Some(());
        }
        budget.refill(byte_count);
    }
    Some(())
}
