//! What a fetch asks for, by id. Branches and tags have to lead there: git asks that of commits only, and would give out a
//! file that a force-push took away to whoever knows its id.

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

use super::exchange::Input;
use super::packet::{Frame, Frames};
use crate::source::SourceError;
use crate::source::git::GitSource;

/// The most that is asked for at a time, in bytes: tens of thousands of ids.
const WANTS_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most ids of a request that no branch and no tag stands for just now: each is looked for in history.
const OLDER_COUNT_MAX: usize = 256;
/// How a line begins that asks for an id.
const WANT: &[u8] = b"want ";
/// What ends these lines, and the length of what any line begins with.
const FLUSH: &[u8] = b"0000";

/// What is asked for, and all that came until it was known.
pub(super) struct Wants {
    ids: Vec<String>,
    pub(super) bytes: Bytes,
}

impl Wants {
    /// Reads them; nothing if the request breaks off, is too long or none of git's.
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

    /// The first that is not to be had. Blocking.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub(super) fn unfit(&self, source: &GitSource) -> Result<Option<&str>, SourceError> {
        let tips = source.tips();
        let older = self.ids.iter().filter(|id| !tips.contains(*id));
        for (index, id) in older.enumerate() {
            if index == OLDER_COUNT_MAX || !source.leads_to(id)? {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }
}

/// The id that a line asks for. What is no id at all, git refuses.
fn wanted(line: &[u8]) -> Option<String> {
    let id = line.strip_prefix(WANT)?;
    let id = id.split(|byte| byte.is_ascii_whitespace() || *byte == 0).next()?;
    Some(String::from_utf8_lossy(id).to_ascii_lowercase())
}
