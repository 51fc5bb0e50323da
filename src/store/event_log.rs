//! The log of the latest moves of all labels and events of rollouts, for clients that watch the server as a whole.
//!
//! The changes of a move are computed after its publication, in a task of their own, and only while a subscriber exists
//! or existed within [`LINGER`]. A move without a subscriber is counted and not kept. A client that asks for it later
//! learns that it missed some. An event of a rollout takes its place in the same queue, so that all events are in order.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use super::move_event::{MoveEvent, PendingMove};
use super::rollout_notice::RolloutNotice;
use crate::sync::lock;

/// The limit on kept events.
const KEPT_COUNT_MAX: usize = 256;
/// The limit on key names in all kept events together.
const KEPT_KEY_COUNT_MAX: usize = 100_000;
/// The limit on events that wait, for their changes to be computed or for those before them. One beyond it is missed.
const PENDING_COUNT_MAX: usize = 64;
/// The time for which events are kept after the last subscriber left, because that subscriber may reconnect.
const LINGER: Duration = Duration::from_secs(60);

/// The log of the latest events.
pub struct EventLog {
    kept: Mutex<KeptEvents>,
    /// The id of the newest event.
    ///
    /// Locking: it changes only under the lock of `kept`.
    newest: watch::Sender<u64>,
    pending: mpsc::Sender<PendingEvent>,
    /// The time at which a subscriber left last.
    last_left: Mutex<Option<Instant>>,
}

/// Invariant: the events have consecutive ids, and the last one is the newest event of the log.
#[derive(Default)]
struct KeptEvents {
    events: VecDeque<Arc<LoggedEvent>>,
    key_count: usize,
}

/// An event of the log.
#[derive(Debug)]
pub struct LoggedEvent {
    /// The id of the previous event plus one.
    pub id: u64,
    pub content: EventContent,
    encoded: OnceLock<Bytes>,
}

/// The kinds of events in the log.
#[derive(Debug)]
pub enum EventContent {
    Move(MoveEvent),
    Rollout(RolloutNotice),
}

impl LoggedEvent {
    /// The event for watchers that may read all of it, encoded at most once.
    pub fn encoded(&self, encode: impl FnOnce(&Self) -> Bytes) -> Bytes {
        self.encoded.get_or_init(|| encode(self)).clone()
    }

    fn key_count(&self) -> usize {
        match &self.content {
            EventContent::Move(moved) => moved.key_count(),
            EventContent::Rollout(_) => 0,
        }
    }
}

/// An event that does not have its id yet.
enum PendingEvent {
    Move(PendingMove),
    Rollout(RolloutNotice),
}

/// The result of [`EventLog::read_after`].
pub enum NextEvent {
    /// The event is the newest one.
    UpToDate,
    /// The next event.
    Event(Arc<LoggedEvent>),
    /// The next event is not kept any more, or the id is of another server.
    Missed {
        /// The id to continue from.
        newest: u64,
    },
}

impl EventLog {
    /// Creates an empty log and starts the task that computes changes. The task ends when the log is dropped.
    pub(super) fn new(runtime: &Handle) -> Arc<Self> {
        let (pending, queue) = mpsc::channel(PENDING_COUNT_MAX);
        let log = Arc::new(Self {
            kept: Mutex::default(),
            // The first id is random, so that an id of another server is unlikely to match.
            newest: watch::Sender::new(fastrand::u64(..u64::MAX / 2)),
            pending,
            last_left: Mutex::default(),
        });
        runtime.spawn(process(Arc::downgrade(&log), queue));
        log
    }

    /// The id of the newest event.
    pub fn newest(&self) -> u64 {
        *self.newest.borrow()
    }

    /// Returns the event that follows the one with an id.
    pub fn read_after(&self, id: u64) -> NextEvent {
        let kept = lock(&self.kept);
        let newest = self.newest();
        let behind = usize::try_from(newest.wrapping_sub(id)).unwrap_or(usize::MAX);
        match behind {
            0 => NextEvent::UpToDate,
            _ if behind > kept.events.len() => NextEvent::Missed { newest },
            _ => NextEvent::Event(Arc::clone(&kept.events[kept.events.len() - behind])),
        }
    }

    /// Registers a subscriber. Events are kept while a subscriber exists and for `LINGER` afterwards.
    pub fn subscribe(self: &Arc<Self>) -> EventSubscription {
        EventSubscription { receiver: self.newest.subscribe(), log: Arc::clone(self) }
    }

    /// Records a move.
    pub(super) fn record(&self, pending: PendingMove) {
        self.queue(PendingEvent::Move(pending));
    }

    /// Records an event of a rollout.
    pub fn record_rollout(&self, notice: RolloutNotice) {
        self.queue(PendingEvent::Rollout(notice));
    }

    /// Without a subscriber, or with a full queue, this clears the kept events and only advances the id.
    fn queue(&self, pending: PendingEvent) {
        if !self.has_subscriber() || self.pending.try_send(pending).is_err() {
            let mut kept = lock(&self.kept);
            *kept = KeptEvents::default();
            self.newest.send_modify(|newest| *newest += 1);
        }
    }

    /// Returns true if a subscriber exists or may reconnect.
    fn has_subscriber(&self) -> bool {
        self.newest.receiver_count() > 0
            || lock(&self.last_left).is_some_and(|at| at.elapsed() < LINGER)
    }

    /// Computes the changes of a move and appends its event. Blocking.
    fn append_move(&self, pending: &PendingMove) {
        self.append(EventContent::Move(pending.to_event()));
    }

    fn append(&self, content: EventContent) {
        let mut kept = lock(&self.kept);
        let event = LoggedEvent { id: self.newest() + 1, content, encoded: OnceLock::new() };
        kept.key_count += event.key_count();
        kept.events.push_back(Arc::new(event));
        while kept.events.len() > KEPT_COUNT_MAX || kept.key_count > KEPT_KEY_COUNT_MAX {
            let Some(oldest) = kept.events.pop_front() else {
                break;
            };
            kept.key_count -= oldest.key_count();
        }
        self.newest.send_modify(|newest| *newest += 1);
    }
}

/// A registered subscriber.
pub struct EventSubscription {
    receiver: watch::Receiver<u64>,
    log: Arc<EventLog>,
}

impl EventSubscription {
    /// Waits for the next event.
    ///
    /// Cancellation: dropping the future loses no event, because the caller reads the log by id.
    pub async fn changed(&mut self) {
        // This cannot fail, because `log` holds the sender.
        let _ = self.receiver.changed().await;
    }
}

impl Drop for EventSubscription {
    fn drop(&mut self) {
        *lock(&self.log.last_left) = Some(Instant::now());
    }
}

/// Appends one event after the other and computes the changes of moves, until the log is dropped.
async fn process(log: Weak<EventLog>, mut queue: mpsc::Receiver<PendingEvent>) {
    while let Some(pending) = queue.recv().await {
        let Some(log) = log.upgrade() else {
            return;
        };
        let pending = match pending {
            PendingEvent::Move(pending) => pending,
            PendingEvent::Rollout(notice) => {
                log.append(EventContent::Rollout(notice));
                continue;
            }
        };
        let label = pending.label.clone();
        let appended = tokio::task::spawn_blocking(move || log.append_move(&pending)).await;
        if appended.is_err() {
            tracing::error!(%label, "comparing two revisions failed, /-/events lacks this move");
        }
    }
}
