//! The impact of a change on one environment: the keys whose effective property differs, derived from the changed documents.
//!
//! Invariant: rules depend on effective properties only. An environment without a [`PropertyDifference`] has no new finding
//! and need not be judged.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use crate::change::Change;
use crate::model::{Document, Property, PropertySource};

/// A key whose effective property has another value or another source.
pub(super) struct PropertyDifference<'a> {
    pub(super) key: &'a Arc<str>,
    pub(super) before: Option<&'a Property>,
    pub(super) after: Option<&'a Property>,
}

impl PropertyDifference<'_> {
    /// Returns true if the environment has the key before and after the change.
    pub(super) fn is_of_value_only(&self) -> bool {
        self.before.is_some() && self.after.is_some()
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        [self.before, self.after].into_iter().flatten().map(|property| property.value.text())
    }
}

/// The keys whose effective value differs.
pub(super) fn change(differences: &[PropertyDifference<'_>]) -> Change {
    let mut change = Change::default();
    for PropertyDifference { key, before, after } in differences {
        match (before, after) {
            (None, _) => change.added.push(Arc::clone(key)),
            (_, None) => change.removed.push(Arc::clone(key)),
            (Some(before), Some(after)) if before.value != after.value => {
                change.changed.push(Arc::clone(key));
            }
            _ => {}
        }
    }
    for keys in [&mut change.added, &mut change.removed, &mut change.changed] {
        keys.sort();
    }
    change
}

/// Returns true if a difference may change the value of a placeholder: it contains one, or a placeholder mentions its key.
pub(super) fn reaches_placeholders(
    differences: &[PropertyDifference<'_>],
    sources: &[PropertySource],
) -> bool {
    let holds = |text: &str| text.contains(OPENING);
    if differences.iter().any(|difference| difference.texts().any(holds)) {
        return true;
    }
    let properties = sources.iter().flat_map(PropertySource::properties);
    let texts = properties.map(|property| property.value.text()).filter(|text| holds(text));
    texts.into_iter().any(|text| {
        names_are_computed(text) || differences.iter().any(|it| text.contains(&**it.key))
    })
}

const OPENING: &str = "${";

/// Returns true if the key of a placeholder contains another one, as in `${a.${b}}`, so that the text does not show the key.
/// A placeholder in a default does show its key.
fn names_are_computed(text: &str) -> bool {
    text.match_indices(OPENING).any(|(at, _)| {
        let inner = &text[at + OPENING.len()..];
        let end = inner.find([':', '}']).unwrap_or(inner.len());
        inner[..end].contains(OPENING)
    })
}

/// A cache of the differing keys of document pairs. Most environments share the changed documents.
#[derive(Default)]
pub(super) struct ComparedDocuments(HashMap<[DocumentId; 2], DocumentComparison>);

/// The address of a document in memory, which stays valid while the documents are held.
type DocumentId = (*const Document, usize);

struct DocumentComparison {
    keys: Rc<HashSet<Arc<str>>>,
    _held: [Arc<[Document]>; 2],
}

impl ComparedDocuments {
    /// The keys with another effective property in `after`. Both lists have the highest precedence first.
    pub(super) fn differences<'a>(
        &mut self,
        before: &'a [PropertySource],
        after: &'a [PropertySource],
    ) -> Vec<PropertyDifference<'a>> {
        let above = common(before.iter().zip(after));
        let (before, after, above) = (&before[above..], &after[above..], &after[..above]);
        let below = common(before.iter().rev().zip(after.iter().rev()));
        let mut keys = self.keys(&before[..before.len() - below], &after[..after.len() - below]);
        if keys.is_empty() {
            return Vec::new();
        }
        let overridden = effective(above, &keys);
        if !overridden.is_empty() {
            Rc::make_mut(&mut keys).retain(|key| !overridden.contains_key(key));
        }
        differing(&effective(before, &keys), &effective(after, &keys))
    }

    /// The keys that can differ between two lists of sources.
    fn keys(
        &mut self,
        before: &[PropertySource],
        after: &[PropertySource],
    ) -> Rc<HashSet<Arc<str>>> {
        let is_aligned = before.len() == after.len()
            && before.iter().zip(after).all(|(before, after)| before.name == after.name);
        match (before, after) {
            ([before], [after]) if is_aligned => self.compare(before, after),
            _ if is_aligned => {
                let mut keys = HashSet::new();
                for (before, after) in before.iter().zip(after) {
                    keys.extend(self.compare(before, after).iter().cloned());
                }
                Rc::new(keys)
            }
            _ => {
                let properties = before.iter().chain(after).flat_map(PropertySource::properties);
                Rc::new(properties.map(|property| Arc::clone(&property.key)).collect())
            }
        }
    }

    fn compare(
        &mut self,
        before: &PropertySource,
        after: &PropertySource,
    ) -> Rc<HashSet<Arc<str>>> {
        let compared =
            self.0.entry([id(before), id(after)]).or_insert_with(|| DocumentComparison {
                keys: Rc::new(keys_that_differ(before.properties(), after.properties())),
                _held: [Arc::clone(&before.documents), Arc::clone(&after.documents)],
            });
        Rc::clone(&compared.keys)
    }
}

fn id(source: &PropertySource) -> DocumentId {
    (source.documents.as_ptr(), source.index)
}

/// The number of leading pairs that consist of the same source.
fn common<'a>(pairs: impl Iterator<Item = (&'a PropertySource, &'a PropertySource)>) -> usize {
    pairs.take_while(|(before, after)| id(before) == id(after) && before.name == after.name).count()
}

fn keys_that_differ(before: &[Property], after: &[Property]) -> HashSet<Arc<str>> {
    let mut old: HashMap<&Arc<str>, &Property> =
        before.iter().map(|property| (&property.key, property)).collect();
    let mut keys = HashSet::new();
    for property in after {
        if old.remove(&property.key).is_none_or(|old| old.value != property.value) {
            keys.insert(Arc::clone(&property.key));
        }
    }
    keys.extend(old.into_keys().cloned());
    keys
}

/// Effective properties by key, each with the name of its source.
type SourcedProperties<'a> = HashMap<&'a Arc<str>, (&'a str, &'a Property)>;

fn effective<'a>(sources: &'a [PropertySource], keys: &HashSet<Arc<str>>) -> SourcedProperties<'a> {
    let mut found = SourcedProperties::new();
    for source in sources {
        if found.len() == keys.len() {
            break;
        }
        for property in source.properties() {
            if keys.contains(&property.key) {
                found.entry(&property.key).or_insert((&*source.name, property));
            }
        }
    }
    found
}

fn differing<'a>(
    before: &SourcedProperties<'a>,
    after: &SourcedProperties<'a>,
) -> Vec<PropertyDifference<'a>> {
    let mut differences = Vec::new();
    for (key, (name, property)) in after {
        let old = before.get(key);
        if old.is_none_or(|(was, old)| was != name || old.value != property.value) {
            let before = old.map(|(_, property)| *property);
            differences.push(PropertyDifference { key, before, after: Some(property) });
        }
    }
    for (key, (_, property)) in before.iter().filter(|(key, _)| !after.contains_key(*key)) {
        differences.push(PropertyDifference { key, before: Some(property), after: None });
    }
    differences
}
