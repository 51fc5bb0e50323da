//! The merge key `<<`: entries of other maps, where the map itself has none of that name.

use std::collections::HashMap;

use super::compose::expands_too_far;
use super::scalar::Leaf;
use super::tree::{Content, Identity, Node, NodeId, identity};
use crate::format::ParseError;
use crate::format::flat::KEY_BYTES_MAX;
use crate::model::Position;

type Entries = Vec<(NodeId, NodeId)>;

/// A map under way: entries in order, and where each key stands.
struct Merge<'n, 'a> {
    nodes: &'n [Node<'a>],
    entries: Entries,
    places: HashMap<Identity<'n>, usize>,
    cost: u64,
    cost_max: u64,
}

/// The entries with all merges done, and how many nodes the merges stand for.
///
/// A merged entry stands where its `<<` stood; an entry of the map itself takes the place of a merged one, and of
/// several maps to merge the first counts.
pub(super) fn merged(
    nodes: &[Node<'_>],
    entries: &[(NodeId, NodeId)],
    cost_max: u64,
) -> Result<(Entries, u64), ParseError> {
    let mut merge = Merge { nodes, entries: Vec::new(), places: HashMap::new(), cost: 0, cost_max };
    for (key, value) in entries {
        match &nodes[*key as usize].content {
            Content::Leaf(Leaf::Merge) => merge.all_of(*value)?,
            _ => merge.own(*key, *value)?,
        }
    }
    Ok((merge.entries, merge.cost))
}

impl<'n> Merge<'n, '_> {
    fn all_of(&mut self, id: NodeId) -> Result<(), ParseError> {
        let Node { position, content, .. } = &self.nodes[id as usize];
        match content {
            Content::Map(entries) => self.others(entries, *position),
            Content::List(maps) => {
                maps.iter().try_for_each(|map| match &self.nodes[*map as usize] {
                    Node { content: Content::Map(entries), position, .. } => {
                        self.others(entries, *position)
                    }
                    other => Err(ParseError::at(other.position, "only maps can be merged")),
                })
            }
            Content::Leaf(_) => Err(ParseError::at(*position, "only maps can be merged")),
        }
    }

    fn others(
        &mut self,
        entries: &'n [(NodeId, NodeId)],
        position: Position,
    ) -> Result<(), ParseError> {
        for (key, value) in entries {
            self.cost = self.cost.saturating_add(1 + self.nodes[*value as usize].weight);
            if self.cost > self.cost_max {
                return Err(expands_too_far(position));
            }
            let identity = self.identity(*key)?;
            let place = self.entries.len();
            self.places.entry(identity).or_insert_with(|| {
                self.entries.push((*key, *value));
                place
            });
        }
        Ok(())
    }

    fn own(&mut self, key: NodeId, value: NodeId) -> Result<(), ParseError> {
        let identity = self.identity(key)?;
        let place = *self.places.entry(identity).or_insert(self.entries.len());
        match self.entries.get_mut(place) {
            Some(merged) => *merged = (key, value),
            None => self.entries.push((key, value)),
        }
        Ok(())
    }

    fn identity(&self, key: NodeId) -> Result<Identity<'n>, ParseError> {
        identity(self.nodes, key, KEY_BYTES_MAX).map_err(|_| {
            let position = self.nodes[key as usize].position;
            ParseError::at(position, format!("key is longer than {KEY_BYTES_MAX} bytes"))
        })
    }
}
