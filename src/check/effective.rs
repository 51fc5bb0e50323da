//! The effective properties of an environment: for every key, the property of the highest source.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::model::{Environment, Origin, Property};

/// The effective properties of an environment, by key.
pub(super) struct EffectiveProperties<'a> {
    by_key: BTreeMap<&'a str, EffectiveProperty<'a>>,
}

/// A property and its file.
#[derive(Clone, Copy)]
pub(super) struct EffectiveProperty<'a> {
    pub(super) property: &'a Property,
    file: Option<&'a Arc<str>>,
}

impl EffectiveProperty<'_> {
    /// The place of the value. `None` for overrides, which come from the server's settings.
    pub(super) fn origin(&self) -> Option<Origin> {
        Some(Origin { file: Arc::clone(self.file?), position: Some(self.property.position) })
    }
}

impl<'a> EffectiveProperties<'a> {
    pub(super) fn of(environment: &'a Environment) -> Self {
        let mut by_key = BTreeMap::new();
        for source in &environment.sources {
            for property in source.properties() {
                let written = EffectiveProperty { property, file: source.file.as_ref() };
                by_key.entry(&*property.key).or_insert(written);
            }
        }
        Self { by_key }
    }

    /// All properties, sorted by key.
    pub(super) fn iter(&self) -> impl Iterator<Item = EffectiveProperty<'a>> {
        self.by_key.values().copied()
    }

    /// The property with this key, or the first property below it.
    pub(super) fn at_or_below(&self, key: &str) -> Option<EffectiveProperty<'a>> {
        if let Some(written) = self.by_key.get(key) {
            return Some(*written);
        }
        let from = (Bound::Included(key), Bound::Unbounded);
        let mut after = self.by_key.range::<str, _>(from);
        after.find_map(|(found, written)| {
            let rest = found.strip_prefix(key)?;
            (key.is_empty() || rest.starts_with(['.', '['])).then_some(*written)
        })
    }
}
