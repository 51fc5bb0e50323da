//! A sequence lock: readers learn whether a write has begun since they took a stamp, and never wait.
//!
//! Each live label has one, which guards its published snapshot and its answers. A write is one publication, which
//! replaces several of these values.
//!
//! Invariant: the number is odd from before a write stores its first value until after it has stored the last one. It
//! only grows. A reader that finds its stamp current has read values that no write has replaced meanwhile.
//!
//! The lock orders only its own number. Writers must store the guarded values with release ordering, and readers must
//! load them with acquire ordering. A reader that loads a new value then finds its stamp outdated.

use std::sync::atomic::{AtomicU64, Ordering};

/// The number of a sequence lock.
#[derive(Debug, Default)]
pub(super) struct SequenceLock(AtomicU64);

/// The number of a sequence lock outside any write. Readers take it before they read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequenceStamp(u64);

/// A write in progress. Dropping it ends the write.
#[must_use]
pub(super) struct SequenceWriteGuard<'a>(&'a SequenceLock);

impl SequenceLock {
    /// Begins a write.
    ///
    /// Locking: the caller holds a lock that excludes every other writer until the guard is dropped.
    pub(super) fn begin_write(&self) -> SequenceWriteGuard<'_> {
        self.0.fetch_add(1, Ordering::AcqRel);
        SequenceWriteGuard(self)
    }

    /// Makes every stamp outdated without a write. Used when the source no longer has the label: its values stay in
    /// place and must not be sent again. Needs no lock, because adding two keeps an odd number odd.
    pub(super) fn invalidate(&self) {
        self.0.fetch_add(2, Ordering::AcqRel);
    }

    /// Returns the stamp for a following read. None during a write.
    #[inline]
    pub(super) fn stamp(&self) -> Option<SequenceStamp> {
        let number = self.0.load(Ordering::Acquire);
        number.is_multiple_of(2).then_some(SequenceStamp(number))
    }

    /// Returns true if no write has begun and no invalidation has happened since a stamp was taken. Writes nothing, so
    /// that readers on several processors do not contend.
    #[inline]
    pub(super) fn is_current(&self, stamp: SequenceStamp) -> bool {
        self.0.load(Ordering::Acquire) == stamp.0
    }
}

impl Drop for SequenceWriteGuard<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;
    use std::thread;

    use super::*;

    const READER_COUNT: usize = 3;
    const ROUND_COUNT: usize = 200;

    /// Two values that every write sets to the same number.
    #[derive(Default)]
    struct Pair {
        lock: SequenceLock,
        first: AtomicU64,
        second: AtomicU64,
    }

    impl Pair {
        /// Sets both values. Readers run in between and afterwards.
        fn write(&self, number: u64) {
            let writing = self.lock.begin_write();
            self.first.store(number, Ordering::Release);
            thread::yield_now();
            self.second.store(number, Ordering::Release);
            drop(writing);
            thread::yield_now();
        }

        /// Returns both values. None if a write has begun or is in progress.
        fn read(&self) -> Option<(u64, u64)> {
            let stamp = self.lock.stamp()?;
            let first = self.first.load(Ordering::Acquire);
            let second = self.second.load(Ordering::Acquire);
            self.lock.is_current(stamp).then_some((first, second))
        }

        /// Reads the first value, waits for a write, and then reads the second value. None if the pair is rejected.
        fn read_across_write(&self) -> Option<(u64, u64)> {
            let stamp = self.lock.stamp()?;
            let first = self.first.load(Ordering::Acquire);
            let second = wait_for(|| {
                let second = self.second.load(Ordering::Acquire);
                (second != first).then_some(second)
            });
            self.lock.is_current(stamp).then_some((first, second))
        }
    }

    fn wait_for<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
        loop {
            if let Some(value) = attempt() {
                return value;
            }
            thread::yield_now();
        }
    }

    fn check(pair: &Pair) {
        let mut newest = 0;
        for _ in 0..ROUND_COUNT {
            assert_eq!(
                pair.read_across_write(),
                None,
                "a reader accepted the values of two writes"
            );
            let (first, second) = wait_for(|| pair.read());
            assert_eq!(first, second, "a reader accepted the values of two writes");
            assert!(first >= newest, "a reader accepted an older pair after a newer one");
            newest = first;
        }
    }

    #[test]
    fn concurrent_readers_never_accept_a_torn_pair() {
        let pair = Pair::default();
        thread::scope(|scope| {
            let readers: Vec<_> = (0..READER_COUNT).map(|_| scope.spawn(|| check(&pair))).collect();
            let mut number = 0;
            while readers.iter().any(|reader| !reader.is_finished()) {
                number += 1;
                pair.write(number);
            }
        });
    }

    #[test]
    fn a_stamp_is_outdated_from_the_beginning_of_a_write() {
        let lock = SequenceLock::default();
        let before = lock.stamp().unwrap();
        assert!(lock.is_current(before));
        let writing = lock.begin_write();
        assert!(!lock.is_current(before));
        assert_eq!(lock.stamp(), None);
        drop(writing);
        assert!(!lock.is_current(before));
        assert!(lock.is_current(lock.stamp().unwrap()));
    }

    #[test]
    fn invalidation_outdates_stamps_and_leaves_a_write_in_progress() {
        let lock = SequenceLock::default();
        let before = lock.stamp().unwrap();
        lock.invalidate();
        assert!(!lock.is_current(before));
        let between = lock.stamp().unwrap();
        let writing = lock.begin_write();
        lock.invalidate();
        assert_eq!(lock.stamp(), None);
        drop(writing);
        assert!(!lock.is_current(between));
        assert!(lock.stamp().is_some());
    }

    #[test]
    fn a_panic_of_the_writer_ends_the_write() {
        let lock = SequenceLock::default();
        let failed = catch_unwind(|| {
            let _writing = lock.begin_write();
            assert!(lock.stamp().is_some(), "fails on purpose, because the write is in progress");
        });
        assert!(failed.is_err());
        assert!(lock.stamp().is_some());
    }
}
