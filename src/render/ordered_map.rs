//! A map in the order in which keys were first inserted, like Java's `LinkedHashMap`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Values by key, in the order of the first insertion of each key.
#[derive(Debug)]
pub(super) struct OrderedMap<'a, T> {
    entries: Vec<(&'a str, T)>,
    places: HashMap<&'a str, usize>,
}

impl<T> Default for OrderedMap<'_, T> {
    fn default() -> Self {
        Self { entries: Vec::new(), places: HashMap::new() }
    }
}

impl<'a, T> OrderedMap<'a, T> {
    /// Inserts a value at the end, or replaces the value of a present key in its place.
    pub(super) fn put(&mut self, key: &'a str, value: T) {
        match self.places.entry(key) {
            Entry::Occupied(place) => self.entries[*place.get()].1 = value,
            Entry::Vacant(place) => {
                place.insert(self.entries.len());
                self.entries.push((key, value));
            }
        }
    }

    /// The value of a key. A new key is inserted at the end with the default value.
    pub(super) fn get_or_default(&mut self, key: &'a str) -> &mut T
    where
        T: Default,
    {
        let place = *self.places.entry(key).or_insert_with(|| {
            self.entries.push((key, T::default()));
            self.entries.len() - 1
        });
        &mut self.entries[place].1
    }

    pub(super) fn get(&self, key: &str) -> Option<&T> {
        self.places.get(key).map(|place| &self.entries[*place].1)
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &(&'a str, T)> {
        self.entries.iter()
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut().map(|(_, value)| value)
    }

    pub(super) fn into_entries(self) -> Vec<(&'a str, T)> {
        self.entries
    }
}
