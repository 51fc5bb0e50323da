//! Counting equal events, so that a hundred thousand reads become a few lines.

use std::collections::HashMap;
use std::hash::Hash;

use jiff::Timestamp;

/// Events since the last report, by what they have in common.
#[derive(Debug)]
pub struct Tally<K> {
    /// The place of each key in `counts`.
    keys: HashMap<K, usize>,
    counts: Vec<Option<Count>>,
    key_count_max: usize,
    /// Events with keys for which no space was left.
    others: Option<Count>,
    /// The number of times that places have changed.
    epoch: u64,
}

/// The place of a key, by which its next event is counted without a look-up. It is valid until the next report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    place: usize,
    epoch: u64,
}

/// A number of events and the time in which they took place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    pub count: u64,
    pub first: Timestamp,
    pub last: Timestamp,
}

/// The treatment of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recording {
    /// The first of its key. It is written as a line at once.
    Line,
    /// The next report contains it.
    Counted,
}

impl Count {
    fn add(count: &mut Option<Self>, now: Timestamp) {
        let count = count.get_or_insert(Self { count: 0, first: now, last: now });
        count.count += 1;
        count.last = now;
    }
}

impl<K: Eq + Hash + Clone> Tally<K> {
    pub fn new(key_count_max: usize) -> Self {
        let keys = HashMap::new();
        Self { keys, counts: Vec::new(), key_count_max, others: None, epoch: 0 }
    }

    /// Counts an event, unless it is the first of its key.
    pub fn record(&mut self, key: &K, now: Timestamp) -> Recording {
        if let Some(place) = self.keys.get(key) {
            Count::add(&mut self.counts[*place], now);
            return Recording::Counted;
        }
        if self.keys.len() >= self.key_count_max {
            Count::add(&mut self.others, now);
            return Recording::Counted;
        }
        self.keys.insert(key.clone(), self.counts.len());
        self.counts.push(None);
        Recording::Line
    }

    /// Returns the ticket of a key. `None` for a key that has no place.
    pub fn ticket(&self, key: &K) -> Option<Ticket> {
        let place = *self.keys.get(key)?;
        Some(Ticket { place, epoch: self.epoch })
    }

    /// Counts a further event of a key. Returns false if the ticket is no longer valid. Nothing is counted then.
    pub fn record_again(&mut self, ticket: Ticket, now: Timestamp) -> bool {
        let count = self.counts.get_mut(ticket.place).filter(|_| ticket.epoch == self.epoch);
        count.map(|count| Count::add(count, now)).is_some()
    }

    /// Ends a period. Returns the counted events, with `None` for those without space for their keys. A key without
    /// events in the period is forgotten.
    pub fn take_report(&mut self) -> Vec<(Option<K>, Count)> {
        let mut report = Vec::new();
        let counts = std::mem::take(&mut self.counts);
        self.epoch += 1;
        self.keys.retain(|key, place| match counts[*place] {
            Some(count) => {
                report.push((Some(key.clone()), count));
                *place = self.counts.len();
                self.counts.push(None);
                true
            }
            None => false,
        });
        report.extend(self.others.take().map(|count| (None, count)));
        report
    }

    /// Ends a period like [`Tally::take_report`], but forgets no key. The number of lines that callers without a right can cause is
    /// then bounded until [`Tally::forget`].
    pub fn take_counts(&mut self) -> Vec<(Option<K>, Count)> {
        let counted = self.keys.iter().filter_map(|(key, place)| {
            let count = self.counts[*place].take()?;
            Some((Some(key.clone()), count))
        });
        let mut report: Vec<_> = counted.collect();
        report.extend(self.others.take().map(|count| (None, count)));
        report
    }

    /// Forgets all keys. Events that were not reported are lost.
    pub fn forget(&mut self) {
        self.keys.clear();
        self.counts.clear();
        self.epoch += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_first_event_is_a_line_and_the_others_are_counted() {
        let mut tally = Tally::new(10);
        assert_eq!(tally.record(&"a", at(1)), Recording::Line);
        assert_eq!(tally.record(&"a", at(2)), Recording::Counted);
        assert_eq!(tally.record(&"a", at(5)), Recording::Counted);
        assert_eq!(tally.record(&"b", at(6)), Recording::Line);
        let count = Count { count: 2, first: at(2), last: at(5) };
        assert_eq!(tally.take_report(), [(Some("a"), count)]);
        assert_eq!(tally.record(&"a", at(7)), Recording::Counted);
        assert_eq!(tally.record(&"b", at(8)), Recording::Line);
    }

    #[test]
    fn keys_beyond_the_limit_share_one_count() {
        let mut tally = Tally::new(2);
        let lines = (0..1000).filter(|key| tally.record(key, at(*key)) == Recording::Line).count();
        assert_eq!(lines, 2);
        let count = Count { count: 998, first: at(2), last: at(999) };
        assert_eq!(tally.take_report(), [(None, count)]);
        assert_eq!(tally.take_report(), []);
    }

    #[test]
    fn a_ticket_counts_as_its_key_does_until_the_next_report() {
        let mut tally = Tally::new(2);
        assert_eq!(tally.ticket(&"b"), None);
        for key in ["a", "b", "c"] {
            tally.record(&key, at(1));
        }
        // There was no space for this one.
        assert_eq!(tally.ticket(&"c"), None);
        let ticket = tally.ticket(&"b").unwrap();
        assert!(tally.record_again(ticket, at(2)));
        assert_eq!(tally.record(&"b", at(3)), Recording::Counted);
        assert!(tally.record_again(ticket, at(4)));
        let of_b = Count { count: 3, first: at(2), last: at(4) };
        let others = Count { count: 1, first: at(1), last: at(1) };
        assert_eq!(tally.take_report(), [(Some("b"), of_b), (None, others)]);
        // The key `a` is forgotten, so that places have changed.
        assert!(!tally.record_again(ticket, at(5)));
        let ticket = tally.ticket(&"b").unwrap();
        assert!(tally.record_again(ticket, at(6)));
        let count = Count { count: 1, first: at(6), last: at(6) };
        assert_eq!(tally.take_counts(), [(Some("b"), count)]);
        assert!(tally.record_again(ticket, at(7)));
        tally.forget();
        assert!(!tally.record_again(ticket, at(8)));
    }

    #[test]
    fn counts_are_taken_without_forgetting_keys() {
        let mut tally = Tally::new(1);
        assert_eq!(tally.record(&"a", at(1)), Recording::Line);
        assert_eq!(tally.take_counts(), []);
        assert_eq!(tally.record(&"a", at(2)), Recording::Counted);
        assert_eq!(tally.record(&"b", at(3)), Recording::Counted);
        let count = |second| Count { count: 1, first: at(second), last: at(second) };
        assert_eq!(tally.take_counts(), [(Some("a"), count(2)), (None, count(3))]);
        tally.forget();
        assert_eq!(tally.record(&"b", at(4)), Recording::Line);
    }
}
