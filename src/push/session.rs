//! One push, from its first byte to its answer. Git's report is held back until what it reports is durable and published.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::sync::{OwnedMutexGuard, OwnedRwLockWriteGuard, mpsc};
use tokio::time::timeout;

use super::EXCHANGE_MAX;
use super::command::Running;
use super::exchange::{self, Cut, Ends, Fed, Output};
use super::hook::KEY;
use super::host::Host;
use super::packet::{self, Frame, Frames};
use super::repository;
use super::share::Carried;
use super::updates;
use crate::snapshot::Snapshot;
use crate::source::git::MovedReference;
use crate::store::Actor;
use crate::sync::lock;

/// The longest report that is held back, in bytes.
const REPORT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long git may take to end after it has closed its output.
const END_MAX: Duration = Duration::from_secs(5);
/// How long somebody who pushes may take to read the next line.
const LISTENING_MAX: Duration = Duration::from_secs(5);
/// How long the rest of a request may take that git needs no more.
const REST_MAX: Duration = Duration::from_secs(5);
/// How many references are named to the person who pushed.
const NAMED_COUNT_MAX: usize = 5;
/// How much of a commit id is shown.
const ID_SHOWN: usize = 10;
/// The last words for who pushes when nobody can say what became of it.
const NO_ANSWER: &str = "this is published whole or not at all: fetch to see which";
/// How many random bytes a key has.
const KEY_BYTES: usize = 32;

/// The pushes under way, by the keys that their hooks know.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<String, Arc<Session>>>);

/// A push under way.
pub(super) struct Session {
    pub(super) host: Arc<Host>,
    pub(super) who: Option<Arc<str>>,
    accepted: Mutex<Option<Accepted>>,
    /// Nobody knows what became of it, so that no answer is the only one that is true.
    is_unsure: AtomicBool,
}

/// What git was told that it may move. As long as this is held, nothing else moves and nothing is listed.
pub(super) struct Accepted {
    pub(super) references: Vec<String>,
    /// What it is in etcd, if the repository is shared.
    pub(super) carried: Option<Carried>,
    /// What the checks have read, which the publisher need not read again.
    pub(super) _snapshots: Vec<Snapshot>,
    pub(super) _turn: OwnedMutexGuard<()>,
    pub(super) _moving: OwnedRwLockWriteGuard<()>,
}

impl Sessions {
    /// The push whose hook has this key, once.
    pub(super) fn take(&self, key: &str) -> Option<Arc<Session>> {
        lock(&self.0).remove(key)
    }
}

impl Session {
    pub(super) fn accept(&self, accepted: Accepted) {
        *lock(&self.accepted) = Some(accepted);
    }

    /// The pusher is told neither that it was taken nor that it was refused.
    pub(super) fn give_no_answer(&self) {
        self.is_unsure.store(true, Ordering::Release);
    }
}

/// Receives one push. A client that goes away after it has sent all of it does not undo it.
pub(super) async fn run(host: &Arc<Host>, mut command: Command, who: Option<Arc<str>>, ends: Ends) {
    let Ends { input, output } = ends;
    let session = Arc::new(Session {
        host: Arc::clone(host),
        who,
        accepted: Mutex::default(),
        is_unsure: AtomicBool::new(false),
    });
    let key = match new_key() {
        Some(key) => key,
        None => return drop(output.send(Err(Cut)).await),
    };
    command.env(KEY, &key);
    lock(&host.sessions.0).insert(key.clone(), Arc::clone(&session));
    let receiving = host.receiving.read().await;
    let report = match host.git.start(command) {
        Ok(git) => receive(git, input, &output).await,
        Err(error) => {
            tracing::error!(repository = host.name, %error, "git does not start");
            None
        }
    };
    drop(receiving);
    if report.is_none() {
        sweep(host).await;
    }
    host.sessions.take(&key);
    let accepted = lock(&session.accepted).take();
    let answer = finish(&session, accepted, report).await;
    for piece in
        answer.map_or_else(|| vec![Err(Cut)], |frames| frames.into_iter().map(Ok).collect())
    {
        // The client may be gone; what was pushed is published all the same.
        if output.send(piece).await.is_err() {
            return;
        }
    }
}

/// Takes away what a push that broke off has left, unless another one is being received: then a later one does, or the next
/// start.
async fn sweep(host: &Host) {
    if let Ok(_alone) = host.receiving.try_write() {
        let path = host.path.clone();
        let swept = tokio::task::spawn_blocking(move || repository::sweep_quarantine(&path)).await;
        if let Ok(Err(error)) = swept {
            tracing::warn!(repository = host.name, %error, "what a push left stays until the next start");
        }
    }
}

/// Runs git to its end: progress goes on at once, the report is given back. Nothing if git did not come to its end.
async fn receive(
    mut git: Running,
    input: mpsc::Receiver<exchange::Input>,
    output: &Output,
) -> Option<Vec<Bytes>> {
    let stdin = git.child.stdin.take().expect("standard input is a pipe");
    let stdout = git.child.stdout.take().expect("standard output is a pipe");
    let report = timeout(EXCHANGE_MAX, converse(stdin, stdout, input, output)).await;
    let report = report.unwrap_or(None);
    if report.is_none() {
        git.end().await;
        return None;
    }
    // It has closed its output, and ends well even when the hook refuses.
    match timeout(END_MAX, git.child.wait()).await {
        Ok(Ok(status)) if status.success() => report,
        Ok(_) => None,
        Err(_) => {
            git.end().await;
            None
        }
    }
}

/// Both directions at once. Nothing if the request broke off, or what git says is not framed.
async fn converse(
    stdin: ChildStdin,
    stdout: ChildStdout,
    input: mpsc::Receiver<exchange::Input>,
    output: &Output,
) -> Option<Vec<Bytes>> {
    let answering = answer(stdout, output);
    let feeding = exchange::feed(stdin, Bytes::new(), input);
    tokio::pin!(answering, feeding);
    tokio::select! {
        fed = &mut feeding => match fed {
            Fed::Whole => answering.await,
            Fed::BrokenOff => None,
        },
        // Git has ended; the rest of the request is read all the same, or the client would not read the answer. But what
        // has moved is to be published, and the next one waits for that.
        report = &mut answering => match timeout(REST_MAX, feeding).await {
            Ok(Fed::Whole) => report,
            Ok(Fed::BrokenOff) | Err(_) => None,
        },
    }
}

/// Sends progress on and gathers the report.
async fn answer(mut stdout: ChildStdout, output: &Output) -> Option<Vec<Bytes>> {
    let mut frames = Frames::default();
    let (mut report, mut report_bytes) = (Vec::new(), 0);
    let mut is_heard = true;
    loop {
        let piece = exchange::read(&mut stdout).await.ok()?;
        if piece.is_empty() {
            return frames.is_empty().then_some(report);
        }
        frames.extend(&piece);
        while let Some(frame) = frames.next().ok()? {
            match frame {
                // One who does not read must not keep the next one from pushing.
                Frame::Progress(frame) if is_heard => {
                    let sent = timeout(LISTENING_MAX, output.send(Ok(frame))).await;
                    is_heard = matches!(sent, Ok(Ok(())));
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

/// Publishes what git has moved and gives the answer. Nothing if there is none to be given: what moved is durable and
/// published or will be, but the client has to find out.
async fn finish(
    session: &Session,
    accepted: Option<Accepted>,
    report: Option<Vec<Bytes>>,
) -> Option<Vec<Bytes>> {
    let Some(accepted) = accepted else {
        return match session.is_unsure.load(Ordering::Acquire) {
            true => no_answer(&report?),
            false => report,
        };
    };
    let actor = Actor::Push(session.who.clone());
    let moved = session.host.publish(accepted.references.clone(), &actor).await;
    let is_made = accepted.carried.as_ref().is_none_or(|carried| carried.is_made(&session.host));
    drop(accepted);
    if !is_made {
        // It is published all the same, as what others push is.
        tracing::error!(repository = session.host.name, "git did not make a push that is in etcd");
        return no_answer(&report?);
    }
    let (moved, mut report) = (moved.ok()?, report?);
    if packet::has_bands(&report) {
        let lines = moved.iter().take(NAMED_COUNT_MAX).map(|moved| packet::progress(&line(moved)));
        report.splice(0..0, lines);
    }
    Some(report)
}

/// In place of a report that would say something else than what nobody knows, or than what is so.
fn no_answer(report: &[Bytes]) -> Option<Vec<Bytes>> {
    packet::has_bands(report).then(|| vec![packet::failure(NO_ANSWER)])
}

fn line(moved: &MovedReference) -> String {
    let name = updates::short(&moved.name).unwrap_or(&moved.name);
    match &moved.new {
        Some(id) => format!("published {name} at {}", &id[..ID_SHOWN]),
        None => format!("{name} is gone"),
    }
}

/// What only the hook of one push knows.
fn new_key() -> Option<String> {
    let mut bytes = [0; KEY_BYTES];
    // From the system, which has what another generator would first spend tens of milliseconds to gather.
    let filled = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty());
    filled.ok().filter(|count| *count == KEY_BYTES)?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
