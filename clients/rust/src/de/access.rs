//! Lists, maps, structs and enums, element by element.

use std::borrow::Cow;
use std::vec::IntoIter;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess};

use super::scalar::Scalar;
use super::{DeError, Place, Scope, at};
use crate::names;
use crate::tree::{Child, View};

/// The elements of a list, in order and without gaps.
pub(super) struct Elements<'a> {
    scope: Scope<'a>,
    rest: IntoIter<(usize, View)>,
}

impl<'a> Elements<'a> {
    pub(super) fn new(scope: Scope<'a>, elements: Vec<(usize, View)>) -> Elements<'a> {
        Elements { scope, rest: elements.into_iter() }
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
        at(seed, Place::new(self.scope, view), &index.to_string(), true).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

/// `a, b, c`: a list in one value, as `.properties` files have them.
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
    /// What the type is told: the name of the field, or the key of the map.
    key: Cow<'static, str>,
    /// What errors say.
    name: Cow<'a, str>,
    bracket: bool,
    place: Place<'a>,
}

impl<'a> Entries<'a> {
    /// Every child under its own name. Where a child has both a value and children, the children stand beside it with
    /// the dot in their names, as in `org.springframework: WARN` and `org.springframework.cloud: ERROR`.
    pub(super) fn of_map(scope: Scope<'a>, children: Vec<Child<'a>>) -> Entries<'a> {
        let mut entries = Vec::with_capacity(children.len());
        for child in children {
            let key = (scope.map_key)(&child);
            let place = Place::new(scope, child.view);
            let beside =
                place.scalar().is_ok_and(|scalar| scalar.is_some_and(|scalar| !scalar.is_empty()));
            if beside && place.has_children() {
                for grandchild in place.children() {
                    let tail = (scope.map_key)(&grandchild);
                    let tail =
                        if grandchild.bracket { format!("[{tail}]") } else { format!(".{tail}") };
                    let place = Place::new(scope, grandchild.view);
                    let name = Cow::Owned(format!("{}{tail}", child.name));
                    entries.push(Entry {
                        key: Cow::Owned(format!("{key}{tail}")),
                        name,
                        bracket: child.bracket,
                        place,
                    });
                }
                let place = Place { value_only: true, ..place };
                entries.push(Entry {
                    key: key.into(),
                    name: child.name.into(),
                    bracket: child.bracket,
                    place,
                });
            } else {
                entries.push(Entry {
                    key: key.into(),
                    name: child.name.into(),
                    bracket: child.bracket,
                    place,
                });
            }
        }
        Entries { rest: entries.into_iter(), value: None }
    }

    /// Every child under the name of the field that it means; those that mean none keep theirs.
    pub(super) fn of_struct(
        scope: Scope<'a>,
        children: Vec<Child<'a>>,
        fields: &'static [&'static str],
    ) -> Entries<'a> {
        let mut meant = Vec::<(Option<&'static str>, Child<'a>, Vec<View>)>::new();
        for child in children {
            let field = field_of(&child, fields);
            let known =
                field.and_then(|field| meant.iter_mut().find(|(other, ..)| *other == Some(field)));
            match known {
                Some((.., others)) => others.push(child.view),
                None => meant.push((field, child, Vec::new())),
            }
        }
        let entries = meant.into_iter().filter_map(|(field, child, mut views)| {
            views.insert(0, child.view);
            let key = field.map_or_else(|| Cow::Owned(child.name.to_owned()), Cow::Borrowed);
            let place = Place::new(scope, scope.tree.one(views)?);
            Some(Entry { key, name: child.name.into(), bracket: child.bracket, place })
        });
        Entries { rest: entries.collect::<Vec<_>>().into_iter(), value: None }
    }
}

fn field_of(child: &Child<'_>, fields: &'static [&'static str]) -> Option<&'static str> {
    let exact = fields.iter().find(|&&field| field == child.name);
    let meant = || fields.iter().find(|&&field| names::same(field, child.name));
    exact.or_else(meant).copied()
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
        let unfit = |error: DeError| error.below(&entry.name, entry.bracket);
        // A field that is not known names itself.
        let key = seed
            .deserialize(key)
            .map_err(|error| if error.key.is_empty() { unfit(error) } else { error })?;
        self.value = Some(entry);
        Ok(Some(key))
    }

    fn next_value_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<S::Value, DeError> {
        let entry = self.value.take().ok_or_else(DeError::missing)?;
        at(seed, entry.place, &entry.name, entry.bracket)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}
