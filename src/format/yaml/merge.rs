//! The merge key `<<`, which adds the entries of other maps for keys that the map itself does not have.

use std::collections::HashMap;

use super::document::{KeyIdentity, KeyTooLongError, NodeContent, NodeId, YamlNode, identity};
use super::limits::{expands_too_far, key_too_long};
use super::scalar::Leaf;
use crate::format::ParseError;
use crate::format::flat_builder::KEY_BYTES_MAX;
use crate::model::Position;

type MapEntries = Vec<(NodeId, NodeId)>;

/// A merge in progress: entries in order, and the index of each key.
struct Merge<'n, 'a> {
    nodes: &'n [YamlNode<'a>],
    entries: MapEntries,
    places: HashMap<KeyIdentity<'n>, usize>,
    cost: u64,
    cost_max: u64,
}

/// Resolves the merges of a map. Returns its entries and the number of nodes that the merges expand to.
///
/// A merged entry has the place of its `<<`. An entry of the map itself replaces a merged one in its place. With several
/// merged maps the first one wins.
pub(super) fn merged(
    nodes: &[YamlNode<'_>],
    entries: &[(NodeId, NodeId)],
    cost_max: u64,
) -> Result<(MapEntries, u64), ParseError> {
    let mut merge = Merge { nodes, entries: Vec::new(), places: HashMap::new(), cost: 0, cost_max };
    for (key, value) in entries {
        match &nodes[*key as usize].content {
            NodeContent::Leaf(Leaf::Merge) => merge.all_of(*value)?,
            _ => merge.own(*key, *value)?,
        }
    }
    Ok((merge.entries, merge.cost))
}

impl<'n> Merge<'n, '_> {
    fn all_of(&mut self, id: NodeId) -> Result<(), ParseError> {
        let YamlNode { position, content, .. } = &self.nodes[id as usize];
        match content {
            NodeContent::Map(entries) => self.others(entries, *position),
            NodeContent::List(maps) => {
                maps.iter().try_for_each(|map| match &self.nodes[*map as usize] {
                    YamlNode { content: NodeContent::Map(entries), position, .. } => {
                        self.others(entries, *position)
                    }
                    other => Err(ParseError::at(other.position, "only maps can be merged")),
                })
            }
            NodeContent::Leaf(_) => Err(ParseError::at(*position, "only maps can be merged")),
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

    fn identity(&self, key: NodeId) -> Result<KeyIdentity<'n>, ParseError> {
        let position = self.nodes[key as usize].position;
        identity(self.nodes, key, KEY_BYTES_MAX).map_err(|KeyTooLongError| key_too_long(position))
    }
}
