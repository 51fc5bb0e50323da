//! A map that remembers: the first time a key is put in fixes its place, as in Java's `LinkedHashMap`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Values by key, in the order in which the keys came first.
#[derive(Debug)]
pub(super) struct Ordered<'a, T> {
    entries: Vec<(&'a str, T)>,
    places: HashMap<&'a str, usize>,
}

impl<T> Default for Ordered<'_, T> {
    fn default() -> Self {
        Self { entries: Vec::new(), places: HashMap::new() }
    }
}

impl<'a, T> Ordered<'a, T> {
    /// Puts a value in: behind all others, or in the place of the one the key had.
    pub(super) fn put(&mut self, key: &'a str, value: T) {
        match self.places.entry(key) {
            Entry::Occupied(place) => self.entries[*place.get()].1 = value,
            Entry::Vacant(place) => {
                place.insert(self.entries.len());
                self.entries.push((key, value));
            }
        }
    }

    /// The value of a key; a new key gets the default, behind all others.
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

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&T> {
        self.places.get(key).map(|place| &self.entries[*place].1)
    }

    /// Keys and values in order.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &(&'a str, T)> {
        self.entries.iter()
    }

    /// The values in order, to be changed.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut().map(|(_, value)| value)
    }

    /// Keys and values in order, given away.
    pub(super) fn into_entries(self) -> Vec<(&'a str, T)> {
        self.entries
    }
}
