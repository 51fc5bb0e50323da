//! YAML 1.1 as Spring reads it: SnakeYAML's scalars without timestamps. Duplicate keys are errors.
//!
//! `text` decodes bytes, `events` reads parser events, and `compose` builds a document in which aliases and merges are
//! resolved and scalars typed (`scalar`, `explicit_tag`). `flatten` produces flat keys. `fast_path` parses simple files
//! directly. `rewrite` changes spellings of YAML 1.1 that the parser does not accept. Unlike Spring, this parser limits
//! everything that a small file could expand.

mod compose;
mod document;
mod events;
mod explicit_tag;
mod fast_path;
mod flatten;
mod limits;
mod merge;
mod rewrite;
mod scalar;
mod text;
mod value_start;

use super::ParseError;
use super::flat_builder::FlatBuilder;
use crate::model::Document;

/// Parses all documents of a file.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Document>, ParseError> {
    let text = text::decode(bytes)?;
    match fast_path::parse(&text) {
        Some(documents) => Ok(documents),
        None => parse_text(&text, None).or_else(|error| match rewrite::rewrite(&text) {
            Some(rewritten) => parse_text(&rewritten.text, rewritten.dash),
            None => Err(error),
        }),
    }
}

/// Parses the whole language. `dash` is the character that replaces dashes in a rewritten text.
fn parse_text(text: &str, dash: Option<char>) -> Result<Vec<Document>, ParseError> {
    let mut flat = FlatBuilder::default();
    let mut composer = compose::Composer::new(text, dash);
    while let Some(tree) = composer.next_document()? {
        flatten::document(&tree, &mut flat)?;
    }
    Ok(flat.finish())
}

#[cfg(test)]
mod tests;
