//! The limits that composing and merging both check, and their errors.

use crate::format::ParseError;
use crate::format::flat_builder::KEY_BYTES_MAX;
use crate::model::Position;

/// The most nodes that all aliases and merges of one file may expand to.
pub(super) const EXPANSION_MAX: u64 = 1_000_000;

pub(super) fn expands_too_far(position: Position) -> ParseError {
    let message = format!("aliases stand for more than {EXPANSION_MAX} nodes");
    ParseError::at(position, message)
}

pub(super) fn key_too_long(position: Position) -> ParseError {
    ParseError::at(position, format!("key is longer than {KEY_BYTES_MAX} bytes"))
}
