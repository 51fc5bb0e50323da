//! Lost connectivity to one dependency: since when, why, and when it ended, so that each end is logged once.

use std::time::{Duration, Instant};

/// A period in which a dependency is unreachable, or cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// The time of the first failed attempt.
    pub since: Instant,
    /// The reason, without paths and credentials.
    pub message: String,
}

/// The connectivity to one dependency, as the attempts to use it show it.
#[derive(Debug, Clone, Default)]
pub struct Connectivity(Option<Outage>);

impl Connectivity {
    /// The outage under way.
    pub fn outage(&self) -> Option<&Outage> {
        self.0.as_ref()
    }

    /// Records a failed attempt and returns true if it begins an outage. The first reason of an outage is kept.
    pub fn record_failure(&mut self, message: impl Into<String>) -> bool {
        let begins = self.0.is_none();
        if begins {
            self.0 = Some(Outage { since: Instant::now(), message: message.into() });
        }
        begins
    }

    /// Records a failed attempt and returns true if it begins an outage or has another reason than the one before. The
    /// last reason of an outage is kept, and the time of its beginning.
    pub fn record_reason(&mut self, message: impl Into<String>) -> bool {
        let message = message.into();
        let since = match &self.0 {
            Some(outage) if outage.message == message => return false,
            Some(outage) => outage.since,
            None => Instant::now(),
        };
        self.0 = Some(Outage { since, message });
        true
    }

    /// Records a successful attempt and returns the duration of the outage that it ends.
    pub fn record_success(&mut self) -> Option<Duration> {
        self.0.take().map(|outage| outage.since.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_begins_and_ends_once_and_keeps_its_first_reason() {
        let mut connectivity = Connectivity::default();
        assert_eq!(connectivity.record_success(), None);
        assert!(connectivity.record_failure("no route"));
        assert!(!connectivity.record_failure("timed out"));
        assert_eq!(connectivity.outage().unwrap().message, "no route");
        assert!(connectivity.record_success().is_some());
        assert_eq!(connectivity.outage(), None);
        assert_eq!(connectivity.record_success(), None);
        assert!(connectivity.record_failure("no route"));
    }

    #[test]
    fn a_new_reason_keeps_the_beginning_of_the_outage() {
        let mut connectivity = Connectivity::default();
        assert!(connectivity.record_reason("no route"));
        let since = connectivity.outage().unwrap().since;
        assert!(!connectivity.record_reason("no route"));
        assert!(connectivity.record_reason("timed out"));
        let outage = connectivity.outage().unwrap();
        assert_eq!((outage.since, &*outage.message), (since, "timed out"));
    }
}
