//! YAML 1.1 as Spring reads it: SnakeYAML's scalars without timestamps, duplicate keys refused, flattened with origins.
//!
//! The way of a file: bytes → text (`text`) → events of the parser (`events`) → a tree with every alias and merge
//! resolved and every scalar typed (`compose`, `scalar`, `tagged`) → flat keys (`flatten`). Plain files take a short cut
//! (`plain`). Stricter than Spring in one point: whatever a few bytes could blow up is bounded.

mod compose;
mod events;
mod flatten;
mod merge;
mod plain;
mod scalar;
mod start;
mod tagged;
mod text;
mod tree;

use super::ParseError;
use super::flat::Flat;
use crate::model::Document;

/// Reads all documents of a file.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Document>, ParseError> {
    let text = text::decode(bytes)?;
    match plain::parse(&text) {
        Some(documents) => Ok(documents),
        None => general(&text),
    }
}

/// The whole language.
fn general(text: &str) -> Result<Vec<Document>, ParseError> {
    let mut flat = Flat::default();
    let mut composer = compose::Composer::new(text);
    while let Some(tree) = composer.next_document()? {
        flatten::document(&tree, &mut flat)?;
    }
    Ok(flat.finish())
}

#[cfg(test)]
mod tests;
