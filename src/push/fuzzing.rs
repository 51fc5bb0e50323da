//! The readers of what git and its hook send, for the fuzz targets (fuzz/src/targets.rs).

use bytes::BytesMut;
use tokio::sync::mpsc;

use super::exchange::Input;
use super::packet::{Frame, Frames};
use super::updates::Question;
use super::wants::Wants;

/// Reads frames in pieces of one size, which the first byte gives, and as the ids that a fetch requests.
///
/// # Panics
/// If the frames do not depend on the bytes alone.
pub fn packets(bytes: &[u8]) {
    let Some((first, stream)) = bytes.split_first() else { return };
    let whole = frames(stream, stream.len().max(1));
    assert_eq!(whole, frames(stream, usize::from(*first) + 1), "the size of the pieces matters");
    let (sender, mut input) = mpsc::channel(1);
    if sender.try_send(Input::Piece(stream.to_vec().into())).is_ok() {
        drop(sender);
        drop(futures_util::FutureExt::now_or_never(Wants::read(&mut input)));
    }
}

/// Returns the bytes of all complete frames, and whether a malformed one follows.
fn frames(stream: &[u8], piece: usize) -> (BytesMut, bool) {
    let (mut frames, mut found) = (Frames::default(), BytesMut::new());
    for bytes in stream.chunks(piece) {
        frames.extend(bytes);
        loop {
            match frames.next() {
                Ok(Some(Frame::Progress(frame) | Frame::Report(frame))) => found.extend(frame),
                Ok(None) => break,
                Err(_) => return (found, true),
            }
        }
    }
    (found, false)
}

/// Reads the question of the hook.
///
/// # Panics
/// If an update is not one of git's, or an option could steer a terminal or has no limit.
pub fn question(bytes: &[u8]) {
    let Some((_key, question)) = Question::parse(bytes) else { return };
    let lines = match &question.options {
        Ok(options) => [options.facts(), options.notices()].concat(),
        Err(error) => vec![error.rejection()],
    };
    for line in lines {
        assert!(!line.contains(char::is_control), "an option is not printable");
        assert!(line.len() <= 600, "a line on an option is too long");
    }
    for update in &question.updates {
        for id in [&update.old, &update.new].into_iter().flatten() {
            assert!(crate::model::is_hex(&id.to_ascii_lowercase(), 40), "an id is malformed");
        }
        let shown = update.shown();
        assert!(shown.is_ascii() && !shown.contains(char::is_control), "a name is not escaped");
    }
}
