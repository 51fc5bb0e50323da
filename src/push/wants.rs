//! The ids that a fetch requests.
//!
//! Invariant: branches and tags lead to every id that is given out. Git verifies this for commits only, and would give
//! a client that knows its id a file that a force-push removed.

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

use super::exchange::Input;
use super::packet::{Frame, Frames};
use crate::source::SourceError;
use crate::source::git::GitSource;

/// The maximum size of the requested ids, in bytes. It has room for tens of thousands of ids.
const WANTS_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The maximum number of ids in a request that no branch or tag stands for now. Each of them is searched for in
/// history.
const UNPUBLISHED_COUNT_MAX: usize = 256;
/// The beginning of a line that requests an id.
const WANT: &[u8] = b"want ";
/// The frame that ends these lines. It is also as long as the digits at the beginning of any line.
const FLUSH: &[u8] = b"0000";

/// The requested ids, and all bytes received until the ids were complete.
pub(super) struct Wants {
    ids: Vec<String>,
    pub(super) bytes: Bytes,
}

impl Wants {
    /// Reads the ids. Returns `None` if the request is interrupted, is too long or is not framed as git frames it.
    pub(super) async fn read(input: &mut mpsc::Receiver<Input>) -> Option<Self> {
        let (mut bytes, mut frames, mut ids) = (BytesMut::new(), Frames::default(), Vec::new());
        while bytes.len() <= WANTS_BYTES_MAX {
            let Input::Piece(piece) = input.recv().await? else { return None };
            bytes.extend_from_slice(&piece);
            frames.extend(&piece);
            while let Some(Frame::Report(frame) | Frame::Progress(frame)) = frames.next().ok()? {
                if frame == FLUSH {
                    return Some(Self { ids, bytes: bytes.freeze() });
                }
                ids.extend(frame.get(FLUSH.len()..).and_then(wanted));
            }
        }
        None
    }

    /// Returns the first id that must not be given out. Blocking.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub(super) fn first_forbidden(&self, source: &GitSource) -> Result<Option<&str>, SourceError> {
        let tips = source.tips();
        let unpublished = self.ids.iter().filter(|id| !tips.contains(*id));
        for (index, id) in unpublished.enumerate() {
            if index == UNPUBLISHED_COUNT_MAX || !source.leads_to(id)? {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }
}

/// Returns the id that a line requests. Git rejects a malformed id.
fn wanted(line: &[u8]) -> Option<String> {
    let id = line.strip_prefix(WANT)?;
    let id = id.split(|byte| byte.is_ascii_whitespace() || *byte == 0).next()?;
    Some(String::from_utf8_lossy(id).to_ascii_lowercase())
}
