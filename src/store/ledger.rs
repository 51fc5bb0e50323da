//! The bytes of all live answers.
//!
//! The ledger counts bytes that an answer does not share with the tree of its label: its rendered text, its names, and
//! the paths that it depends on. The overhead of the allocator is an estimate.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The overhead of an allocation: the rounding of the allocator, and the counts of an `Arc`.
pub(super) const ALLOCATION_BYTES: usize = 32;

/// The bytes of all answers of a store. Answers that only a request or a watcher holds are included.
#[derive(Debug, Default)]
pub(super) struct Ledger(AtomicUsize);

impl Ledger {
    pub(super) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds bytes until the returned charge is dropped.
    pub(super) fn charge(self: &Arc<Self>, bytes: usize) -> Charge {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Charge { ledger: Arc::clone(self), bytes }
    }
}

/// Bytes in a ledger. Dropping this removes them.
#[derive(Debug)]
pub(super) struct Charge {
    ledger: Arc<Ledger>,
    bytes: usize,
}

impl Charge {
    /// Adds bytes to the same ledger, as a separate charge.
    pub(super) fn another(&self, bytes: usize) -> Self {
        self.ledger.charge(bytes)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.ledger.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_counts_for_as_long_as_it_is_held() {
        let ledger = Arc::new(Ledger::default());
        let first = ledger.charge(10);
        let second = first.another(5);
        assert_eq!(ledger.bytes(), 15);
        drop(first);
        assert_eq!(ledger.bytes(), 5);
        drop(second);
        assert_eq!(ledger.bytes(), 0);
    }
}
