//! The admission of blocking work that requests need: few tasks run, a limited number of requests wait.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::error::AnswerError;

/// The limit on concurrent resolutions.
const RESOLVING_COUNT_MAX: usize = 8;
/// The limit on requests that wait for a resolution or run one. Further ones fail with [`AnswerError::Overloaded`].
const WAITING_COUNT_MAX: u64 = 2_048;
/// The limit on the time that a request waits for a resolution to begin.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// The limits on running and on waiting work.
pub(super) struct WorkAdmission {
    runtime: Handle,
    permits: Semaphore,
    waiting_count: AtomicU64,
}

impl WorkAdmission {
    pub(super) fn new(runtime: Handle) -> Self {
        let permits = Semaphore::new(RESOLVING_COUNT_MAX);
        Self { runtime, permits, waiting_count: AtomicU64::new(0) }
    }

    /// Runs blocking work when its turn comes.
    ///
    /// Cancellation: work that has begun runs to its end, without its permit.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, AnswerError> + Send + 'static,
    ) -> Result<T, AnswerError> {
        let _admitted = AdmittedRequest::enter(&self.waiting_count)?;
        let permit = tokio::time::timeout(WAIT_MAX, self.permits.acquire())
            .await
            .map_err(|_| AnswerError::Overloaded)?;
        let result = self.runtime.spawn_blocking(work).await;
        drop(permit);
        result.unwrap_or_else(|_| Err(AnswerError::Unavailable("resolving failed".to_owned())))
    }
}

/// A request that waits or runs. It is counted until this is dropped.
struct AdmittedRequest<'a>(&'a AtomicU64);

impl<'a> AdmittedRequest<'a> {
    fn enter(waiting_count: &'a AtomicU64) -> Result<Self, AnswerError> {
        let admitted = Self(waiting_count);
        let before = waiting_count.fetch_add(1, Ordering::Relaxed);
        if before < WAITING_COUNT_MAX { Ok(admitted) } else { Err(AnswerError::Overloaded) }
    }
}

impl Drop for AdmittedRequest<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_beyond_the_limit_are_rejected_and_not_counted() {
        let waiting_count = AtomicU64::new(WAITING_COUNT_MAX - 1);
        let admitted = AdmittedRequest::enter(&waiting_count).unwrap();
        let rejected = AdmittedRequest::enter(&waiting_count).map(drop);
        assert_eq!(rejected, Err(AnswerError::Overloaded));
        assert_eq!(waiting_count.load(Ordering::Relaxed), WAITING_COUNT_MAX);
        drop(admitted);
        assert!(AdmittedRequest::enter(&waiting_count).is_ok());
    }

    #[tokio::test]
    async fn a_panic_of_the_work_is_an_error_and_returns_the_permit() {
        let admission = WorkAdmission::new(Handle::current());
        for _ in 0..=RESOLVING_COUNT_MAX {
            let work = || -> Result<(), AnswerError> { panic!("the work panics on purpose") };
            let result = admission.run(work).await;
            assert!(matches!(result, Err(AnswerError::Unavailable(_))), "{result:?}");
        }
        assert_eq!(admission.run(|| Ok(7)).await, Ok(7));
    }
}
