//! One push, from its first byte to its answer.
//!
//! Invariant: the pusher receives git's report only after the moves that it reports are durable and published.

mod conclusion;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::command::{Running, Service};
use super::decision::{AcceptedPush, PushContext};
use super::exchange::{self, AnswerSender, EXCHANGE_MAX, RequestEnd, ServerEnds, StallBudget};
use super::hook::KEY;
use super::packet::{Frame, Frames};
use super::prepare;
use super::recording;
use super::rejection::RejectionKind;
use super::repository::HostedRepository;
use super::updates::Question;
use super::waiting::WaitingPush;
use crate::sync::lock;
use crate::telemetry::{PushOutcome, PushStage, PushTimer, StageTimer};

/// The longest report that the server holds until it is published, in bytes.
const REPORT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The maximum time for git to exit after it has closed its output.
const END_MAX: Duration = Duration::from_secs(5);
/// The stall budget of a pusher that reads, over all progress lines. After that the server sends no further
/// ones, because another push may be waiting.
const PROGRESS_STALL_MAX: Duration = Duration::from_secs(5);
/// The maximum time to read the rest of a request that git no longer needs.
const REST_MAX: Duration = Duration::from_secs(5);
/// The number of random bytes in a key.
const KEY_BYTES: usize = 32;

/// The pushes in progress, each by the key that only its hook receives.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<String, Arc<Session>>>);

/// A push in progress.
pub(super) struct Session {
    context: PushContext,
    outcome: Mutex<Option<Outcome>>,
    /// Runs until the hook asks, which git starts when it has received everything.
    receiving: Mutex<Option<StageTimer>>,
}

/// The outcome of the decision about a push that git was not simply told to reject.
enum Outcome {
    Accepted(Box<AcceptedPush>),
    /// The push was a dry run, and would have been accepted.
    DryRun,
    /// The push is or may be in etcd, although git moved nothing here. The server then reports neither success nor
    /// rejection.
    Unknown,
}

impl Outcome {
    /// Returns the outcome for metrics, if the answer is complete.
    fn in_figures(&self) -> PushOutcome {
        match self {
            Self::Accepted(_) => PushOutcome::Accepted,
            Self::DryRun => PushOutcome::DryRun,
            Self::Unknown => PushOutcome::Unknown,
        }
    }
}

/// The answer to the hook of a push.
pub(super) struct HookAnswer {
    pub(super) is_accepted: bool,
    /// The lines for the pusher.
    pub(super) lines: Vec<String>,
}

impl Sessions {
    /// Removes and returns the push with this key. A key is good for one question.
    pub(super) fn take(&self, key: &str) -> Option<Arc<Session>> {
        lock(&self.0).remove(key)
    }
}

impl Session {
    /// Decides about the push, and keeps the outcome until git has ended.
    pub(super) async fn answer(&self, question: Question) -> HookAnswer {
        lock(&self.receiving).take();
        match recording::decide(&self.context, question).await {
            Ok(mut accepted) => {
                let lines = std::mem::take(&mut accepted.lines);
                *lock(&self.outcome) = Some(Outcome::Accepted(Box::new(accepted)));
                HookAnswer { is_accepted: true, lines }
            }
            Err(rejection) => {
                *lock(&self.outcome) = match rejection.kind {
                    RejectionKind::Rejected => None,
                    RejectionKind::DryRun => Some(Outcome::DryRun),
                    RejectionKind::OutcomeUnknown => Some(Outcome::Unknown),
                };
                HookAnswer { is_accepted: false, lines: rejection.lines }
            }
        }
    }
}

/// Receives one push. Returns a push that still has to wait for instances, with everything that its answer needs.
///
/// Cancellation: a client that disconnects after it has sent the whole push does not undo it.
pub(super) async fn run(
    sessions: &Sessions,
    context: PushContext,
    ends: ServerEnds,
    timer: PushTimer,
) -> Option<WaitingPush> {
    let began = Instant::now();
    let ServerEnds { input, output, abort } = ends;
    let repository = Arc::clone(&context.repository);
    let Some(key) = new_key() else {
        exchange::truncate(output, abort).await;
        return None;
    };
    let receiving = StageTimer::start(context.trace, PushStage::Receive);
    let receiving = Mutex::new(Some(receiving));
    let session = Arc::new(Session { context, outcome: Mutex::default(), receiving });
    lock(&sessions.0).insert(key.clone(), Arc::clone(&session));
    let pusher = session.context.pusher.as_ref().filter(|_| repository.hosted_policy.is_none());
    let is_whole = pusher.is_some_and(|pusher| !pusher.may_clone());
    let mut command = if is_whole {
        repository.git.receive_whole(&repository.path)
    } else {
        repository.git.serve(Service::ReceivePack, &repository.path)
    };
    command.env(KEY, &key);
    let receiving = repository.locks.receiving.share().await;
    let report = match repository.start_git(command) {
        Ok(git) => receive(git, input, &output).await,
        Err(error) => {
            tracing::error!(repository = repository.name, %error, "git does not start");
            None
        }
    };
    drop(receiving);
    lock(&session.receiving).take();
    if report.is_none() {
        sweep(&repository).await;
    }
    let was_asked = sessions.take(&key).is_none();
    if !was_asked {
        // A push of nothing has no report.
        if report.as_ref().is_some_and(|report| !report.is_empty()) {
            recording::record_unasked(&session.context).await;
        }
        let repository = Arc::clone(&repository);
        repository.runtime.clone().spawn(async move { repository.probe_disk().await });
    }
    let outcome = lock(&session.outcome).take();
    let decided = outcome.as_ref().map_or(PushOutcome::Rejected, Outcome::in_figures);
    let answer = conclusion::finish(&session.context, outcome, report).await;
    timer.end(match (decided, &answer) {
        (PushOutcome::Accepted, None) => PushOutcome::Unknown,
        (decided, _) => decided,
    });
    conclusion::respond(&session.context, answer, output, abort, began + EXCHANGE_MAX).await
}

/// Removes the quarantine of an interrupted push. While another push is being received this does nothing, and a later
/// push or the next start removes it.
async fn sweep(repository: &HostedRepository) {
    if let Some(_alone) = repository.locks.receiving.try_exclude() {
        let path = repository.path.clone();
        let swept = tokio::task::spawn_blocking(move || prepare::sweep_quarantine(&path)).await;
        if let Ok(Err(error)) = swept {
            tracing::warn!(
                repository = repository.name,
                %error,
                "files of an interrupted push cannot be removed, the next start tries again"
            );
        }
    }
}

/// Runs git to its end. Forwards progress at once and returns the report, or `None` if git does not come to its end.
async fn receive(
    mut git: Running,
    input: mpsc::Receiver<exchange::Input>,
    output: &AnswerSender,
) -> Option<Vec<Bytes>> {
    let stdin = git.child.stdin.take().expect("standard input is a pipe");
    let stdout = git.child.stdout.take().expect("standard output is a pipe");
    let report = timeout(EXCHANGE_MAX, converse(stdin, stdout, input, output)).await;
    let report = report.unwrap_or(None);
    if report.is_none() {
        git.end().await;
        return None;
    }
    // Git has closed its output. It exits with success even when the hook rejects the push.
    match timeout(END_MAX, git.child.wait()).await {
        Ok(Ok(status)) if status.success() => report,
        Ok(_) => None,
        Err(_) => {
            git.end().await;
            None
        }
    }
}

/// Feeds the request and reads the answer concurrently. Returns `None` if the request is interrupted or git's answer is
/// malformed.
async fn converse(
    stdin: ChildStdin,
    stdout: ChildStdout,
    input: mpsc::Receiver<exchange::Input>,
    output: &AnswerSender,
) -> Option<Vec<Bytes>> {
    let answering = answer(stdout, output);
    let feeding = exchange::feed(stdin, Bytes::new(), input);
    tokio::pin!(answering, feeding);
    tokio::select! {
        fed = &mut feeding => match fed {
            RequestEnd::Complete => answering.await,
            RequestEnd::Interrupted => None,
        },
        // Git has ended. The rest of the request is still read, because the client would not read the answer otherwise.
        // The time for it is bounded: the references that moved have to be published, and the next push waits for that.
        report = &mut answering => match timeout(REST_MAX, feeding).await {
            Ok(RequestEnd::Complete) => report,
            Ok(RequestEnd::Interrupted) | Err(_) => None,
        },
    }
}

/// Forwards progress and collects the report.
async fn answer(mut stdout: ChildStdout, output: &AnswerSender) -> Option<Vec<Bytes>> {
    let mut frames = Frames::default();
    let (mut report, mut report_bytes) = (Vec::new(), 0);
    let (mut is_read, mut budget) = (true, StallBudget::new(PROGRESS_STALL_MAX));
    loop {
        let piece = exchange::read(&mut stdout).await.ok()?;
        if piece.is_empty() {
            return frames.is_empty().then_some(report);
        }
        frames.extend(&piece);
        while let Some(frame) = frames.next().ok()? {
            match frame {
                // A pusher that does not read must not delay the next push.
                Frame::Progress(frame) if is_read => {
                    let sent = budget.wait(output.send(Ok(frame))).await;
                    is_read = matches!(sent, Some(Ok(())));
                }
                Frame::Progress(_) => {}
                Frame::Report(frame) => {
                    report_bytes += frame.len();
                    if report_bytes > REPORT_BYTES_MAX {
                        return None;
                    }
                    report.push(frame);
                }
            }
        }
    }
}

/// Creates a text that cannot be guessed: the key that only the hook of one push knows, or the id of a trial.
pub(super) fn new_key() -> Option<String> {
    let mut bytes = [0; KEY_BYTES];
    // The kernel's generator is ready, while another one would first spend tens of milliseconds to gather a seed.
    let filled = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty());
    filled.ok().filter(|count| *count == KEY_BYTES)?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
