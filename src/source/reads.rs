//! Reads of one source on blocking threads, bounded in time and in number.
//!
//! Cancellation: a read that hangs, for example on a network file system, cannot be ended. It keeps its thread until it
//! returns, and a source with too many hanging reads begins no further read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::timeout;

use super::SourceError;

/// The longest that a caller waits for one read.
const READ_TIME_MAX: Duration = Duration::from_secs(30);
/// The most hanging reads of one source. Each keeps a thread.
const HANGING_COUNT_MAX: usize = 4;

/// The reads of one source.
#[derive(Debug, Default)]
pub(super) struct Reads {
    hanging_count: Arc<AtomicUsize>,
}

impl Reads {
    /// Runs blocking work of the named source.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, SourceError> {
        if self.hanging_count.load(Ordering::Relaxed) >= HANGING_COUNT_MAX {
            return Err(hangs(name));
        }
        let mut reading = tokio::task::spawn_blocking(work);
        match timeout(READ_TIME_MAX, &mut reading).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(unavailable(name, "reading was interrupted".to_owned())),
            Err(_) => {
                let hanging_count = Arc::clone(&self.hanging_count);
                hanging_count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    // The caller has its answer already, so the result is dropped.
                    let _ = reading.await;
                    hanging_count.fetch_sub(1, Ordering::Relaxed);
                });
                Err(hangs(name))
            }
        }
    }
}

fn hangs(name: &str) -> SourceError {
    let seconds = READ_TIME_MAX.as_secs();
    unavailable(
        name,
        format!(
            "a read of the repository has taken more than {seconds} s. The last revision stays served. Check its file \
             system, and that none of its files was replaced by a pipe"
        ),
    )
}

fn unavailable(name: &str, message: String) -> SourceError {
    SourceError::Unavailable { name: name.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn reads_that_hang_are_given_up_and_few_begin() {
        let reads = Reads::default();
        let mut held = Vec::new();
        for count in 0..HANGING_COUNT_MAX {
            let (release, released) = channel::<()>();
            held.push(release);
            let hanging = reads.run("config", move || {
                // The sender is dropped at the end.
                let _ = released.recv();
                Ok(())
            });
            let (outcome, ()) =
                tokio::join!(hanging, tokio::time::advance(READ_TIME_MAX + Duration::from_secs(1)));
            assert!(outcome.unwrap_err().to_string().contains("more than 30 s"), "{count}");
        }
        let refused = reads.run("config", || -> Result<(), _> { unreachable!("no read begins") });
        assert!(refused.await.is_err());
        drop(held);
        while reads.hanging_count.load(Ordering::Relaxed) > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(reads.run("config", || Ok(1)).await.unwrap(), 1);
    }
}
