//! What a service sees of an environment: for every key the value of the highest source, and where that was written.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::model::{Environment, Origin, Property};

/// The effective properties of an environment, by key.
pub(super) struct Effective<'a> {
    by_key: BTreeMap<&'a str, Written<'a>>,
}

/// A property and the file it stands in.
#[derive(Clone, Copy)]
pub(super) struct Written<'a> {
    pub(super) property: &'a Property,
    file: Option<&'a Arc<str>>,
}

impl Written<'_> {
    /// The place of the value; none for what comes from the server's own settings.
    pub(super) fn origin(&self) -> Option<Origin> {
        Some(Origin { file: Arc::clone(self.file?), position: Some(self.property.position) })
    }
}

impl<'a> Effective<'a> {
    pub(super) fn of(environment: &'a Environment) -> Self {
        let mut by_key = BTreeMap::new();
        for source in &environment.sources {
            for property in source.properties() {
                let written = Written { property, file: source.file.as_ref() };
                by_key.entry(&*property.key).or_insert(written);
            }
        }
        Self { by_key }
    }

    /// All of them, in order of key.
    pub(super) fn iter(&self) -> impl Iterator<Item = Written<'a>> {
        self.by_key.values().copied()
    }

    /// The property with this key, or the first of those below it.
    pub(super) fn at_or_below(&self, key: &str) -> Option<Written<'a>> {
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
