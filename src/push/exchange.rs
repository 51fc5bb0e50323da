//! The flow of a request and an answer of git's protocol. Both directions are bounded, so that no pack is ever held in
//! memory.

use std::future::Future;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

/// The number of pieces in transit in each direction.
const PIECE_COUNT_MAX: usize = 8;
/// The maximum number of bytes read at a time.
const READ_BYTES: usize = 32 * 1024;
/// The number of bytes that a client has to move for each second that the server waits for it.
const BYTES_PER_SECOND_MIN: u64 = 1024;
/// The maximum duration of one clone, fetch or push.
pub(super) const EXCHANGE_MAX: Duration = Duration::from_secs(15 * 60);
/// The stall budget of a client that receives the answer to a clone, a fetch or a push.
pub(super) const READ_STALL_MAX: Duration = Duration::from_secs(20);
/// The stall budget of a client that sends a push. Git packs while it sends.
pub const PUSH_STALL_MAX: Duration = Duration::from_secs(30);
/// The maximum time for a client to receive the [`TruncationError`], before its connection is closed.
const TRUNCATION_MAX: Duration = Duration::from_secs(1);

/// A piece of a request.
#[derive(Debug)]
pub enum Input {
    /// Part of the request, already decoded.
    Piece(Bytes),
    /// The end of the request. A sender that closes the channel without it was interrupted.
    End,
}

/// An answer that cannot be completed. The connection has to be cut, so that the client does not take a part for the
/// whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer was truncated")]
pub struct TruncationError;

/// The client's ends of an exchange with git.
pub struct Exchange {
    /// The channel for the request.
    pub input: mpsc::Sender<Input>,
    /// The channel for the answer, which is complete when the channel closes.
    pub output: mpsc::Receiver<Result<Bytes, TruncationError>>,
    /// The signal to close the connection, even if the client does not read.
    pub abort: oneshot::Receiver<()>,
}

/// The sender for the pieces of an answer.
pub(super) type AnswerSender = mpsc::Sender<Result<Bytes, TruncationError>>;

/// The server's ends of an [`Exchange`].
pub(super) struct ServerEnds {
    pub(super) input: mpsc::Receiver<Input>,
    pub(super) output: AnswerSender,
    pub(super) abort: oneshot::Sender<()>,
}

/// Creates the ends of both sides.
pub(super) fn pair() -> (Exchange, ServerEnds) {
    let (input, request) = mpsc::channel(PIECE_COUNT_MAX);
    let (answer, output) = mpsc::channel(PIECE_COUNT_MAX);
    let (abort, aborted) = oneshot::channel();
    let exchange = Exchange { input, output, abort: aborted };
    (exchange, ServerEnds { input: request, output: answer, abort })
}

/// Truncates an answer. A client that does not read is disconnected, because closing the channel alone would make the
/// answer look complete.
pub(super) async fn truncate(output: AnswerSender, abort: oneshot::Sender<()>) {
    if timeout(TRUNCATION_MAX, output.send(Err(TruncationError))).await.is_err()
        && abort.send(()).is_ok()
    {
        output.closed().await;
    }
}

/// The time that the server still waits for a client that sends or receives slowly. Waiting for the client spends it
/// and bytes that move refill it. A client therefore has to move about a kibibyte a second.
pub struct StallBudget {
    max: Duration,
    left: Duration,
}

impl StallBudget {
    /// Creates a full budget, which is never refilled beyond `max`.
    pub fn new(max: Duration) -> Self {
        Self { max, left: max }
    }

    /// Waits for the client. Returns `None` once the budget is spent.
    pub async fn wait<T>(&mut self, client: impl Future<Output = T>) -> Option<T> {
        let started = Instant::now();
        let waited = timeout(self.left, client).await.ok();
        self.left = self.left.saturating_sub(started.elapsed());
        waited
    }

    /// Records that the client has moved bytes.
    pub fn refill(&mut self, byte_count: usize) {
        let milliseconds = (byte_count as u64).saturating_mul(1000) / BYTES_PER_SECOND_MIN;
        self.left = (self.left + Duration::from_millis(milliseconds)).min(self.max);
    }
}

/// The way in which a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestEnd {
    /// The whole request arrived.
    Complete,
    /// The client disconnected, or sent a malformed request.
    Interrupted,
}

/// Feeds a request to git. Input that git no longer reads is drained here, so that the client proceeds to its answer.
pub(super) async fn feed(
    mut stdin: ChildStdin,
    first: Bytes,
    mut input: mpsc::Receiver<Input>,
) -> RequestEnd {
    let mut is_wanted = stdin.write_all(&first).await.is_ok();
    while let Some(piece) = input.recv().await {
        match piece {
            Input::Piece(bytes) if is_wanted => is_wanted = stdin.write_all(&bytes).await.is_ok(),
            Input::Piece(_) => {}
            Input::End => return RequestEnd::Complete,
        }
    }
    RequestEnd::Interrupted
}

/// Drains a request that is no longer needed, so that the client proceeds to its answer.
pub(super) async fn drain(mut input: mpsc::Receiver<Input>) {
    while let Some(Input::Piece(_)) = input.recv().await {}
}

/// Reads the next piece of git's answer. The piece is empty at the end.
pub(super) async fn read(stdout: &mut ChildStdout) -> std::io::Result<Bytes> {
    let mut piece = BytesMut::with_capacity(READ_BYTES);
    stdout.read_buf(&mut piece).await?;
    Ok(piece.freeze())
}

/// Reads git's whole answer, but at most `bytes_max` bytes.
pub(super) async fn read_all(stdout: &mut ChildStdout, bytes_max: u64) -> std::io::Result<Bytes> {
    let mut all = Vec::new();
    stdout.take(bytes_max).read_to_end(&mut all).await?;
    Ok(all.into())
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    /// Returns how many pieces, up to a hundred, a client receives that pauses before each.
    async fn received_count(piece_bytes: usize, pause: Duration) -> usize {
        let mut budget = StallBudget::new(Duration::from_secs(20));
        for count in 0..100 {
            if budget.wait(sleep(pause)).await.is_none() {
                return count;
            }
            budget.refill(piece_bytes);
        }
        100
    }

    #[tokio::test]
    async fn a_slow_client_is_waited_for_and_a_stalled_client_is_not() {
        tokio::time::pause();
        assert_eq!(received_count(32 * 1024, Duration::from_secs(19)).await, 100);
        assert_eq!(received_count(32 * 1024, Duration::from_secs(21)).await, 0);
        assert_eq!(received_count(2 * 1024, Duration::from_secs(1)).await, 100);
        assert!(received_count(1, Duration::from_secs(1)).await <= 20);
        assert!(received_count(512, Duration::from_secs(1)).await <= 40);
    }
}
