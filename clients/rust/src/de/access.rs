//! Access to the elements of lists and the entries of maps and structs.

use std::borrow::Cow;
use std::vec::IntoIter;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess};

use super::scalar::Scalar;
use super::{DeError, NodeDeserializer, Scope, deserialize_child};
use crate::contract::NodeId;
use crate::names;
use crate::tree::{Child, View};

/// The elements of a list, ordered and without gaps.
pub(super) struct Elements<'a> {
    scope: Scope<'a>,
    rest: IntoIter<(usize, View)>,
    /// The node of the recorder for every element.
    node: Option<NodeId>,
}

impl<'a> Elements<'a> {
    pub(super) fn new(
        scope: Scope<'a>,
        elements: Vec<(usize, View)>,
        node: Option<NodeId>,
    ) -> Elements<'a> {
        Elements { scope, rest: elements.into_iter(), node }
    }
}

impl<'a> SeqAccess<'a> for Elements<'a> {
    type Error = DeError;

    fn next_element_seed<S: DeserializeSeed<'a>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, DeError> {
        let Some((index, view)) = self.rest.next() else {
            return Ok(None);
        };
        let place = NodeDeserializer::at(self.scope, view, self.node);
        deserialize_child(seed, place, &index.to_string(), true).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

/// A list inside one value, such as `a, b, c` in a `.properties` file.
pub(super) struct Pieces<'a> {
    rest: IntoIter<Scalar<'a>>,
}

impl<'a> Pieces<'a> {
    pub(super) fn of(scalar: Scalar<'a>) -> Pieces<'a> {
        let pieces = match scalar {
            empty if empty.is_empty() => Vec::new(),
            Scalar::Text(Cow::Borrowed(text)) => {
                text.split(',').map(|piece| Scalar::Text(piece.trim().into())).collect()
            }
            Scalar::Text(Cow::Owned(text)) => {
                text.split(',').map(|piece| Scalar::Text(piece.trim().to_owned().into())).collect()
            }
            one => vec![one],
        };
        Pieces { rest: pieces.into_iter() }
    }
}

impl<'a> SeqAccess<'a> for Pieces<'a> {
    type Error = DeError;

    fn next_element_seed<S: DeserializeSeed<'a>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, DeError> {
        self.rest.next().map(|piece| seed.deserialize(piece)).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

/// The entries of a map or a struct.
pub(super) struct Entries<'a> {
    rest: IntoIter<Entry<'a>>,
    value: Option<Entry<'a>>,
}

struct Entry<'a> {
    /// The key for the target type: the name of a field, or the key of a map.
    key: Cow<'static, str>,
    /// The name as it was sent, for errors.
    name: Cow<'a, str>,
    bracket: bool,
    place: NodeDeserializer<'a>,
}

impl<'a> Entries<'a> {
    /// Returns each child under its own name.
    ///
    /// A child with both a value and children appears as several entries: the value under its name, and each grandchild
    /// with a dot in its name, as in `org.springframework: WARN` and `org.springframework.cloud: ERROR`.
    pub(super) fn of_map(scope: Scope<'a>, children: Vec<Child<'a>>) -> Entries<'a> {
        let mut entries = Vec::with_capacity(children.len());
        for child in children {
            let entry = Entry {
                key: (scope.map_key)(&child).into(),
                name: child.name.into(),
                bracket: child.bracket,
                place: NodeDeserializer::new(scope, child.view),
            };
            if entry.place.has_children() && entry.has_value() {
                entries.extend(entry.grandchildren());
                let place = NodeDeserializer { value_only: true, ..entry.place };
                entries.push(Entry { place, ..entry });
            } else {
                entries.push(entry);
            }
        }
        Entries { rest: entries.into_iter(), value: None }
    }

    /// Returns each child under the name of the field that it matches by relaxed spelling. A child that matches no field
    /// keeps its name.
    ///
    /// With a recorder, every field becomes a node below `node`. A hidden field is left out, and an offered one is added.
    pub(super) fn of_struct(
        scope: Scope<'a>,
        children: Vec<Child<'a>>,
        fields: &'static [&'static str],
        node: Option<NodeId>,
    ) -> Entries<'a> {
        let mut matched = Vec::<(Option<&'static str>, Child<'a>, Vec<View>)>::new();
        for child in children {
            let field = field_of(&child, fields);
            let known = field
                .and_then(|field| matched.iter_mut().find(|(other, ..)| *other == Some(field)));
            match known {
                Some((.., others)) => others.push(child.view),
                None => matched.push((field, child, Vec::new())),
            }
        }
        let recorded = scope.recorder.zip(node);
        let node_of = |field: &'static str| recorded.and_then(|(it, node)| it.field(node, field));
        let offered = recorded.map(|(recorder, _)| {
            let is_absent =
                |field: &&'static str| !matched.iter().any(|(known, ..)| *known == Some(*field));
            let nodes = fields.iter().filter_map(|field| Some((*field, node_of(field)?)));
            let nodes: Vec<_> = nodes.collect();
            nodes.into_iter().find(|(field, node)| is_absent(field) && recorder.is_offered(*node))
        });
        let entries = matched.into_iter().filter_map(|(field, child, mut views)| {
            let node = field.and_then(node_of);
            if scope.recorder.zip(node).is_some_and(|(recorder, node)| recorder.is_hidden(node)) {
                return None;
            }
            views.insert(0, child.view);
            let key = field.map_or_else(|| Cow::Owned(child.name.to_owned()), Cow::Borrowed);
            let place = NodeDeserializer::at(scope, scope.tree.merge(views)?, node);
            Some(Entry { key, name: child.name.into(), bracket: child.bracket, place })
        });
        let mut entries: Vec<_> = entries.collect();
        entries.extend(offered.flatten().map(|(field, node)| Entry {
            key: field.into(),
            name: field.into(),
            bracket: false,
            place: NodeDeserializer::at(scope, View::default(), Some(node)),
        }));
        Entries { rest: entries.into_iter(), value: None }
    }
}

impl<'a> Entry<'a> {
    fn has_value(&self) -> bool {
        self.place.scalar().is_ok_and(|scalar| scalar.is_some_and(|scalar| !scalar.is_empty()))
    }

    /// Returns the children of this entry as entries beside it, with the path from its parent as their names.
    fn grandchildren(&self) -> Vec<Entry<'a>> {
        let scope = self.place.scope;
        let entry = |child: Child<'a>| {
            let tail = (scope.map_key)(&child);
            let tail = if child.bracket { format!("[{tail}]") } else { format!(".{tail}") };
            Entry {
                key: Cow::Owned(format!("{}{tail}", self.key)),
                name: Cow::Owned(format!("{}{tail}", self.name)),
                bracket: self.bracket,
                place: NodeDeserializer::new(scope, child.view),
            }
        };
        self.place.children().into_iter().map(entry).collect()
    }
}

fn field_of(child: &Child<'_>, fields: &'static [&'static str]) -> Option<&'static str> {
    let exact = fields.iter().find(|&&field| field == child.name);
    let relaxed = || fields.iter().find(|&&field| names::are_same(field, child.name));
    exact.or_else(relaxed).copied()
}

impl<'a> MapAccess<'a> for Entries<'a> {
    type Error = DeError;

    fn next_key_seed<S: DeserializeSeed<'a>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, DeError> {
        let Some(entry) = self.rest.next() else {
            return Ok(None);
        };
        let key = Scalar::Text(entry.key.clone());
        // The error for an unknown field already has its name.
        let key = seed.deserialize(key).map_err(|error| {
            if error.key.is_empty() { error.below(&entry.name, entry.bracket) } else { error }
        })?;
        self.value = Some(entry);
        Ok(Some(key))
    }

    fn next_value_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<S::Value, DeError> {
        let entry = self.value.take().ok_or_else(DeError::missing)?;
        deserialize_child(seed, entry.place, &entry.name, entry.bracket)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}
