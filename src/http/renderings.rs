//! Texts that are rendered for a request: files, and the flat forms of environments.
//!
//! All texts that are being rendered or sent share a limited number of bytes. A request waits for memory, and gets 503
//! if there is none in time. Requests for the same text share one. Rendering stops when no request waits for the text
//! any more.
//!
//! Invariant: a text holds its reservation until the last connection that sends it has ended.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::error::HttpError;
use super::route::FlatFormat;
use crate::model::{ContentId, Digest};
use crate::render::flat::PlaceholderMode;
use crate::store::AnswerError;
use crate::sync::lock;

/// The unit of the memory limit, in bytes.
const UNIT_BYTES: usize = 1024;
/// The longest time that a request waits for memory.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// The memory of a text while it is rendered, as a multiple of its size: its source, the decoded source and the result.
const COPY_COUNT: usize = 3;
/// The memory that is reserved at a time for a text that grows beyond its expected size, in bytes.
const GROWTH_BYTES: usize = 1024 * 1024;
/// The time in which an answer is still sent after the client has closed its side of the connection.
const GONE_AFTER: Duration = Duration::from_secs(1);

/// The inputs of a text. Equal keys mean equal texts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum TextKey {
    /// A file as bytes.
    Bytes(ContentId),
    /// A file that is decoded from a charset, with placeholders resolved from an environment.
    Text(ContentId, String, Option<Digest>),
    /// A flat form of an environment.
    Flat(Digest, FlatFormat, PlaceholderMode),
}

/// A text, with its reservation of memory.
pub(super) struct RenderedText {
    pub(super) bytes: Bytes,
    /// The entity tag, made from the bytes.
    pub(super) etag: String,
    _reservation: OwnedSemaphorePermit,
}

/// A text that several requests share. Empty while it is being rendered.
pub(super) type SharedText = Arc<OnceCell<RenderedText>>;

/// All texts that are being rendered or sent.
pub struct Renderings {
    memory: Arc<Semaphore>,
    unit_count: usize,
    shared: Mutex<HashMap<TextKey, Weak<OnceCell<RenderedText>>>>,
}

impl Renderings {
    /// Creates an empty set with a memory limit in bytes.
    pub fn new(bytes_max: usize) -> Self {
        let unit_count = (bytes_max / UNIT_BYTES).clamp(1, Semaphore::MAX_PERMITS);
        let memory = Arc::new(Semaphore::new(unit_count));
        Self { memory, unit_count, shared: Mutex::default() }
    }

    /// Returns the memory in use, in bytes.
    pub(super) fn bytes(&self) -> usize {
        (self.unit_count - self.memory.available_permits()) * UNIT_BYTES
    }

    /// Returns the text of a key. A text that is being rendered or sent is shared. A new text has about
    /// `expected_bytes`.
    ///
    /// Cancellation: the work stops when the future is dropped, or [`GONE_AFTER`] after `gone` completes. If another
    /// request waits for the same text, it starts the work again.
    pub(super) async fn share(
        &self,
        key: TextKey,
        expected_bytes: usize,
        gone: impl Future<Output = ()>,
        work: impl FnOnce(&Job) -> Result<Bytes, HttpError> + Send + 'static,
    ) -> Result<SharedText, HttpError> {
        let shared = self.find(key);
        let until = Instant::now() + WAIT_MAX;
        let made = shared.get_or_try_init(|| self.make(expected_bytes, until, work));
        tokio::select! {
            made = made => { made?; }
            () = async { gone.await; tokio::time::sleep(GONE_AFTER).await } => {
                return Err(HttpError::ClientGone);
            }
        }
        Ok(shared)
    }

    fn find(&self, key: TextKey) -> SharedText {
        let mut shared = lock(&self.shared);
        if let Some(known) = shared.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        // Entries without a holder are removed when the map has doubled since the last time.
        if shared.len() == shared.capacity() {
            shared.retain(|_, text| text.strong_count() > 0);
        }
        let new = SharedText::default();
        shared.insert(key, Arc::downgrade(&new));
        new
    }

    async fn make(
        &self,
        expected_bytes: usize,
        until: Instant,
        work: impl FnOnce(&Job) -> Result<Bytes, HttpError> + Send + 'static,
    ) -> Result<RenderedText, HttpError> {
        let units = self.units(expected_bytes.saturating_mul(COPY_COUNT));
        let reservation = Arc::clone(&self.memory).acquire_many_owned(units);
        let reservation = tokio::time::timeout_at(until, reservation).await;
        let Ok(Ok(reservation)) = reservation else { return Err(AnswerError::Overloaded.into()) };
        let job = Arc::new(Job {
            reservation: Mutex::new(reservation),
            rest: AtomicUsize::new(expected_bytes),
            is_stopped: AtomicBool::new(false),
            is_out_of_memory: AtomicBool::new(false),
        });
        let _stops = StopOnDrop(Arc::clone(&job));
        let made = actix_web::web::block(move || {
            let bytes = work(&job);
            bytes.map(|bytes| RenderedText {
                etag: etag(&bytes),
                _reservation: job.final_reservation(bytes.len()),
                bytes,
            })
        });
        made.await.map_err(|_| HttpError::from(AnswerError::Overloaded))?
    }

    /// Converts bytes to units. A text that needs more than the whole limit takes the whole limit.
    fn units(&self, bytes: usize) -> u32 {
        let units = bytes.div_ceil(UNIT_BYTES).clamp(1, self.unit_count);
        u32::try_from(units).unwrap_or(u32::MAX)
    }
}

fn etag(bytes: &[u8]) -> String {
    let hash = digest(&SHA256, bytes);
    let digits: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{digits}\"")
}

/// A text that is being rendered.
pub(super) struct Job {
    reservation: Mutex<OwnedSemaphorePermit>,
    /// The bytes that may still be written before more memory must be reserved.
    rest: AtomicUsize,
    is_stopped: AtomicBool,
    is_out_of_memory: AtomicBool,
}

impl Job {
    /// Reserves memory for more output. Returns false if no request waits for the text any more, or if the memory limit
    /// is reached.
    pub(super) fn reserve(&self, bytes: usize) -> bool {
        if self.is_stopped.load(Ordering::Relaxed) {
            return false;
        }
        let rest = self.rest.load(Ordering::Relaxed);
        let rest = match rest.checked_sub(bytes) {
            Some(rest) => rest,
            None if self.grow(bytes) => rest + bytes.max(GROWTH_BYTES) - bytes,
            None => return false,
        };
        self.rest.store(rest, Ordering::Relaxed);
        true
    }

    /// Reserves twice the memory of the growth, because a text is copied when it grows.
    fn grow(&self, bytes: usize) -> bool {
        let mut reservation = lock(&self.reservation);
        let units = (bytes.max(GROWTH_BYTES) * 2).div_ceil(UNIT_BYTES);
        let memory = Arc::clone(reservation.semaphore());
        match memory.try_acquire_many_owned(u32::try_from(units).unwrap_or(u32::MAX)) {
            Ok(more) => reservation.merge(more),
            Err(_) => self.is_out_of_memory.store(true, Ordering::Relaxed),
        }
        !self.is_out_of_memory.load(Ordering::Relaxed)
    }

    /// Returns the error for a text whose rendering was stopped.
    pub(super) fn error(&self) -> HttpError {
        if self.is_out_of_memory.load(Ordering::Relaxed) {
            AnswerError::Overloaded.into()
        } else {
            HttpError::ClientGone
        }
    }

    /// Splits off the part of the reservation that a finished text needs. The rest is released with the job.
    fn final_reservation(&self, bytes: usize) -> OwnedSemaphorePermit {
        let mut reservation = lock(&self.reservation);
        let units = bytes.div_ceil(UNIT_BYTES).min(reservation.num_permits());
        reservation.split(units).expect("the units were limited to those reserved")
    }
}

struct StopOnDrop(Arc<Job>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.is_stopped.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::sync::mpsc;

    use super::*;

    fn key(number: u8) -> TextKey {
        TextKey::Bytes(ContentId::from_bytes(&[number]))
    }

    async fn text(
        renderings: &Renderings,
        number: u8,
        bytes: usize,
    ) -> Result<SharedText, HttpError> {
        let work = move |_: &Job| Ok(Bytes::from(vec![number; bytes]));
        renderings.share(key(number), bytes, pending(), work).await
    }

    #[tokio::test]
    async fn requests_for_the_same_text_share_it() {
        let renderings = Renderings::new(10 * 1024 * 1024);
        let (one, other) = (text(&renderings, 1, 100_000).await, text(&renderings, 1, 0).await);
        let (one, other) = (one.unwrap(), other.unwrap());
        assert!(Arc::ptr_eq(&one, &other));
        assert_eq!(renderings.bytes(), 98 * UNIT_BYTES, "the size of the text, rounded up");
        drop(one);
        assert!(renderings.bytes() > 0);
        drop(other);
        assert_eq!(renderings.bytes(), 0);
        assert_eq!(text(&renderings, 1, 5).await.unwrap().get().unwrap().bytes.len(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_without_memory_in_time_is_rejected() {
        let renderings = Renderings::new(100 * 1024);
        let sent = text(&renderings, 1, 1_000_000).await.unwrap();
        assert_eq!(renderings.bytes(), 100 * 1024, "a text beyond the limit takes the whole limit");
        let refused = text(&renderings, 2, 10).await.err().unwrap();
        assert!(matches!(refused, HttpError::Answer(AnswerError::Overloaded)), "{refused:?}");
        drop(sent);
        assert!(text(&renderings, 2, 10).await.is_ok());
    }

    #[tokio::test]
    async fn a_text_that_grows_beyond_the_limit_is_abandoned() {
        let renderings = Renderings::new(8 * GROWTH_BYTES);
        let growing = |bytes: usize| {
            move |job: &Job| {
                if (0..bytes / 1_000).all(|_| job.reserve(1_000)) {
                    Ok(Bytes::from(vec![0; bytes]))
                } else {
                    Err(job.error())
                }
            }
        };
        let some = renderings.share(key(1), 1_000, pending(), growing(3 * GROWTH_BYTES)).await;
        assert!(some.is_ok());
        drop(some);
        let refused = renderings.share(key(2), 1_000, pending(), growing(6 * GROWTH_BYTES)).await;
        assert!(matches!(refused.err(), Some(HttpError::Answer(AnswerError::Overloaded))));
        assert_eq!(renderings.bytes(), 0);
    }

    #[tokio::test]
    async fn work_stops_when_its_client_is_gone() {
        let renderings = Renderings::new(1024 * 1024);
        let (stopped, is_stopped) = mpsc::channel();
        let work = move |job: &Job| {
            while job.reserve(0) {
                std::thread::yield_now();
            }
            stopped.send(()).unwrap();
            Err(job.error())
        };
        let given_up = renderings.share(key(1), 10, ready(()), work).await;
        assert!(matches!(given_up.err(), Some(HttpError::ClientGone)));
        let waited = tokio::task::spawn_blocking(move || is_stopped.recv());
        waited.await.unwrap().unwrap();
        assert!(text(&renderings, 1, 5).await.is_ok(), "another request starts again");
    }
}
