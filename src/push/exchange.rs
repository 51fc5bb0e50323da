//! A request and an answer of git's protocol as they flow: bounded both ways, so that no pack is ever held in memory.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::mpsc;

/// How many pieces wait on their way, each way.
const PIECE_COUNT_MAX: usize = 8;
/// How much is read at a time, in bytes.
const READ_BYTES: usize = 32 * 1024;

/// A piece of a request.
#[derive(Debug)]
pub enum Input {
    /// Some of it, already decoded.
    Piece(Bytes),
    /// It was the last. A sender that goes away without saying so broke off.
    End,
}

/// The answer cannot be given to its end: the connection has to be cut, so that the client does not take what it has for
/// the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer was broken off")]
pub struct Cut;

/// Both ends of an exchange with git, for whoever speaks to the client.
pub struct Exchange {
    /// Where the request goes.
    pub input: mpsc::Sender<Input>,
    /// Where the answer comes from; it is whole when the channel closes.
    pub output: mpsc::Receiver<Result<Bytes, Cut>>,
}

/// Where an answer goes.
pub(super) type Output = mpsc::Sender<Result<Bytes, Cut>>;

/// The other ends.
pub(super) struct Ends {
    pub(super) input: mpsc::Receiver<Input>,
    pub(super) output: Output,
}

/// Makes both.
pub(super) fn pair() -> (Exchange, Ends) {
    let (input, request) = mpsc::channel(PIECE_COUNT_MAX);
    let (answer, output) = mpsc::channel(PIECE_COUNT_MAX);
    (Exchange { input, output }, Ends { input: request, output: answer })
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fed {
    /// All of it came.
    Whole,
    /// It broke off.
    BrokenOff,
}

/// Gives a request to git. What git does not want to read any more is read here, so that the client comes to its answer.
pub(super) async fn feed(
    mut stdin: ChildStdin,
    first: Bytes,
    mut input: mpsc::Receiver<Input>,
) -> Fed {
    let mut wanted = stdin.write_all(&first).await.is_ok();
    while let Some(piece) = input.recv().await {
        match piece {
            Input::Piece(bytes) if wanted => wanted = stdin.write_all(&bytes).await.is_ok(),
            Input::Piece(_) => {}
            Input::End => return Fed::Whole,
        }
    }
    Fed::BrokenOff
}

/// Reads the rest of a request that nobody wants any more, so that the client comes to its answer.
pub(super) async fn pass_over(mut input: mpsc::Receiver<Input>) {
    while let Some(Input::Piece(_)) = input.recv().await {}
}

/// The next piece of git's answer; empty at its end.
pub(super) async fn read(stdout: &mut ChildStdout) -> std::io::Result<Bytes> {
    let mut piece = BytesMut::with_capacity(READ_BYTES);
    stdout.read_buf(&mut piece).await?;
    Ok(piece.freeze())
}

/// All of git's answer, or as much of it as goes into `bytes_max`.
pub(super) async fn read_all(stdout: &mut ChildStdout, bytes_max: u64) -> std::io::Result<Bytes> {
    let mut all = Vec::new();
    stdout.take(bytes_max).read_to_end(&mut all).await?;
    Ok(all.into())
}
