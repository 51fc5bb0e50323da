//! The effective properties of an environment by relaxed spelling, as the Rust client merges them.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use super::names;
use crate::model::{Environment, Origin, Property};

/// A property and its file.
#[derive(Debug, Clone, Copy)]
pub(super) struct IndexedProperty<'a> {
    pub(super) property: &'a Property,
    file: Option<&'a Arc<str>>,
}

impl IndexedProperty<'_> {
    /// The place of the value. `None` for overrides, which come from the server's settings.
    pub(super) fn origin(&self) -> Option<Origin> {
        Some(Origin { file: Arc::clone(self.file?), position: Some(self.property.position) })
    }
}

/// The effective properties, by relaxed spelling.
pub(super) struct RelaxedIndex<'a>(BTreeMap<String, IndexedProperty<'a>>);

impl<'a> RelaxedIndex<'a> {
    /// Merges the sources. The most specific source wins, and a list is replaced as a whole.
    pub(super) fn of(environment: &'a Environment) -> Self {
        let mut by_key = BTreeMap::new();
        // The sources of lists by the text before their first bracket, and of values that a list could replace.
        let (mut lists, mut plain) = (HashMap::<&str, usize>::new(), HashMap::new());
        for (number, source) in environment.sources.iter().enumerate() {
            for property in source.properties() {
                let key = &*property.key;
                let is_replaced = match key.find('[') {
                    Some(at) => {
                        let group = &key[..at];
                        let first = *lists.entry(group).or_insert(number);
                        first < number || plain.get(group).is_some_and(|plain| *plain < number)
                    }
                    None => {
                        plain.entry(key).or_insert(number);
                        lists.get(key).is_some_and(|list| *list < number)
                    }
                };
                if !is_replaced {
                    let indexed = IndexedProperty { property, file: source.file.as_ref() };
                    by_key.entry(names::relaxed(key)).or_insert(indexed);
                }
            }
        }
        Self(by_key)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.0.values().map(|indexed| &*indexed.property.key)
    }

    pub(super) fn get(&self, key: &str) -> Option<IndexedProperty<'a>> {
        self.0.get(key).copied()
    }

    /// Returns the properties below a key, with the rest of their spelling.
    pub(super) fn below<'k>(
        &self,
        key: &'k str,
    ) -> impl Iterator<Item = (&str, IndexedProperty<'a>)> + use<'_, 'a, 'k> {
        let from = (Bound::Excluded(key), Bound::Unbounded);
        let after = self.0.range::<str, _>(from);
        let after =
            after.map_while(move |(found, indexed)| Some((found.strip_prefix(key)?, *indexed)));
        after.filter(|(rest, _)| rest.starts_with(['.', '[']))
    }

    pub(super) fn at_or_below(&self, key: &str) -> Option<IndexedProperty<'a>> {
        self.get(key).or_else(|| self.below(key).next().map(|(_, indexed)| indexed))
    }
}
