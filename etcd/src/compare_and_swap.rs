//! A compare-and-swap that finds out its outcome, also after an answer of etcd is lost.

use std::future::Future;
use std::time::{Duration, Instant};

use crate::{Connection, EtcdError, Transaction};

/// The pause between attempts to find the outcome.
const PAUSE: Duration = Duration::from_millis(100);

/// The outcome of a compare-and-swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CasOutcome {
    /// The transaction has taken effect.
    Committed,
    /// Another change came first. The transaction will never take effect.
    Conflict,
    /// The transaction may have taken effect.
    Unknown,
}

/// A transaction that may be sent several times.
///
/// Invariant: the transaction invalidates its own conditions, so that the first attempt to take effect prevents every
/// later one.
pub trait CompareAndSwap: Sync {
    /// Returns the transaction. Each call returns the same one.
    fn transaction(&self) -> Transaction;

    /// Opens a connection after the last one failed.
    fn reconnect(&self) -> impl Future<Output = Result<Connection, EtcdError>> + Send;

    /// Reads the outcome from etcd, at a time when no attempt can take effect any more. `None` if etcd cannot be read.
    fn read_outcome(&self) -> impl Future<Output = Option<CasOutcome>> + Send;
}

/// Commits a transaction and returns its outcome. The outcome is unknown only if etcd does not answer for `wait_max`,
/// or if its content does not show the outcome.
///
/// # Errors
/// When etcd rejected the transaction, which will never take effect.
pub async fn compare_and_swap(
    swap: &impl CompareAndSwap,
    mut connection: Connection,
    wait_max: Duration,
) -> Result<CasOutcome, EtcdError> {
    match connection.commit(swap.transaction()).await {
        Ok(true) => Ok(CasOutcome::Committed),
        Ok(false) => Ok(CasOutcome::Conflict),
        // Etcd may reject a transaction that exceeds its space quota and still apply it.
        Err(error @ EtcdError::Rejected(_)) => match swap.read_outcome().await {
            Some(CasOutcome::Committed) => Ok(CasOutcome::Committed),
            Some(CasOutcome::Conflict) => Err(error),
            Some(CasOutcome::Unknown) | None => Ok(CasOutcome::Unknown),
        },
        Err(_) => Ok(settle(swap, wait_max).await),
    }
}

/// Repeats a transaction whose answer was lost until etcd answers.
async fn settle(swap: &impl CompareAndSwap, wait_max: Duration) -> CasOutcome {
    let started = Instant::now();
    loop {
        let attempt = async { swap.reconnect().await?.commit(swap.transaction()).await };
        match attempt.await {
            Ok(true) => return CasOutcome::Committed,
            Ok(false) => {
                if let Some(outcome) = swap.read_outcome().await {
                    return outcome;
                }
            }
            Err(_) => {}
        }
        if started.elapsed() > wait_max {
            return CasOutcome::Unknown;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
