//! Checks: what the results of the operator's measurements say about a stage.

use std::time::Duration;

use crate::Name;
use crate::fisher::p_value;

/// The requests of canaries below which a comparison says nothing.
const REQUEST_COUNT_MIN: u64 = 200;
/// How much more frequent failures of canaries have to be.
const FAILURE_RATIO_MIN: f64 = 1.5;
/// The probability at which one stage may be rolled back without a cause, divided by the number of looks.
const SIGNIFICANCE: f64 = 0.001;
/// The results without a measurement in sequence that are reported.
pub const ERROR_COUNT_REPORTED: u32 = 5;

/// How many results of a check decide. The operator defines it with the check.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CheckRule {
    /// The bad results in sequence that roll back.
    pub consecutive: u32,
    /// The good results that a stage needs.
    pub samples: u32,
    /// The largest ratio of the medians of canaries and others.
    pub max_ratio: f64,
    /// The time between two measurements.
    pub every: Duration,
    /// Set if the canaries are compared with the other instances. There are none in the last stage, which therefore does
    /// not need such a check.
    pub is_comparison: bool,
}

impl Default for CheckRule {
    fn default() -> Self {
        Self {
            consecutive: 2,
            samples: 3,
            max_ratio: 1.25,
            every: Duration::from_secs(30),
            is_comparison: false,
        }
    }
}

impl CheckRule {
    /// The number of times that a stage is measured.
    pub fn looks(&self, bake: Duration) -> u32 {
        let every = self.every.as_millis().max(1);
        u32::try_from(bake.as_millis().div_ceil(every)).unwrap_or(u32::MAX).max(1)
    }

    /// The rule of a comparison of latencies, which vary more than other figures.
    pub fn latency() -> Self {
        Self { consecutive: 3, is_comparison: true, ..Self::default() }
    }
}

/// What one measurement found.
#[derive(Debug, Clone, PartialEq)]
pub enum Measurement {
    Good,
    Bad,
    /// Failed and all requests in the same time.
    Requests {
        canaries: (u64, u64),
        others: (u64, u64),
    },
    /// The ratio of the medians of canaries and others.
    Latency {
        ratio: f64,
    },
    /// The check could not be made, or it returned no number.
    Failed {
        why: Name,
    },
}

/// One measurement of a check for a rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    pub rollout: Name,
    pub check: Name,
    pub measurement: Measurement,
}

/// What a measurement means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    Good,
    Bad,
    /// Too few requests to tell.
    Inconclusive,
    Error,
}

impl Measurement {
    /// Judges a measurement. `looks` is the number of times that the stage is measured, because a result that is examined
    /// repeatedly is more often significant by chance.
    pub fn judge(&self, rule: &CheckRule, looks: u32) -> Judgement {
        match *self {
            Self::Good => Judgement::Good,
            Self::Bad => Judgement::Bad,
            Self::Failed { .. } => Judgement::Error,
            Self::Latency { ratio } if !ratio.is_finite() => Judgement::Error,
            Self::Latency { ratio } if ratio > rule.max_ratio => Judgement::Bad,
            Self::Latency { .. } => Judgement::Good,
            Self::Requests { canaries, others } => compare(canaries, others, looks),
        }
    }
}

fn compare(canaries: (u64, u64), others: (u64, u64), looks: u32) -> Judgement {
    let rate = |(failed, all): (u64, u64)| failed as f64 / all.max(1) as f64;
    if canaries.1 < REQUEST_COUNT_MIN || others.1 == 0 {
        return Judgement::Inconclusive;
    }
    let is_more = rate(canaries) > 0.0 && rate(canaries) >= FAILURE_RATIO_MIN * rate(others);
    let significance = SIGNIFICANCE / f64::from(looks.max(1));
    let is_significant = || p_value(canaries.0, canaries.1, others.0, others.1) <= significance;
    if is_more && is_significant() { Judgement::Bad } else { Judgement::Good }
}

/// The results of one check in one stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Tally {
    pub good: u32,
    pub is_last_good: bool,
    pub bad_in_sequence: u32,
    pub errors_in_sequence: u32,
}

impl Tally {
    /// Records a result. A result that could not be measured leaves the bad ones before it in sequence.
    pub fn record(&mut self, judgement: Judgement) {
        self.is_last_good = judgement == Judgement::Good;
        match judgement {
            Judgement::Good => {
                self.good += 1;
                (self.bad_in_sequence, self.errors_in_sequence) = (0, 0);
            }
            Judgement::Bad => {
                self.bad_in_sequence += 1;
                self.errors_in_sequence = 0;
            }
            Judgement::Inconclusive => self.errors_in_sequence = 0,
            Judgement::Error => self.errors_in_sequence += 1,
        }
    }

    pub fn is_bad(&self, rule: &CheckRule) -> bool {
        self.bad_in_sequence >= rule.consecutive.max(1)
    }

    pub fn is_good(&self, rule: &CheckRule) -> bool {
        self.good >= rule.samples && self.is_last_good
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(canaries: (u64, u64), others: (u64, u64), looks: u32) -> Judgement {
        Measurement::Requests { canaries, others }.judge(&CheckRule::default(), looks)
    }

    #[test]
    fn none_against_some_is_a_difference() {
        assert_eq!(requests((30, 1000), (0, 11_000), 10), Judgement::Bad);
        assert_eq!(requests((0, 1000), (300, 11_000), 10), Judgement::Good);
        assert_eq!(requests((0, 1000), (0, 11_000), 10), Judgement::Good);
    }

    #[test]
    fn few_requests_say_nothing() {
        assert_eq!(requests((199, 199), (0, 11_000), 1), Judgement::Inconclusive);
        assert_eq!(requests((200, 200), (0, 11_000), 1), Judgement::Bad);
        assert_eq!(requests((200, 200), (0, 0), 1), Judgement::Inconclusive);
    }

    #[test]
    fn a_difference_has_to_be_large_and_certain() {
        assert_eq!(requests((1400, 100_000), (10_000, 1_000_000), 1), Judgement::Good, "1.4 times");
        assert_eq!(requests((1600, 100_000), (10_000, 1_000_000), 1), Judgement::Bad, "1.6 times");
        assert_eq!(requests((3, 200), (5, 1800), 1), Judgement::Good, "by chance");
    }

    #[test]
    fn more_looks_need_more_certainty() {
        // The exact probability is 0.000094837.
        assert_eq!(requests((40, 2000), (300, 30_000), 10), Judgement::Bad);
        assert_eq!(requests((40, 2000), (300, 30_000), 11), Judgement::Good);
    }

    #[test]
    fn a_stage_is_measured_as_often_as_its_bake_permits() {
        let rule = CheckRule::default();
        let looks = |seconds| rule.looks(Duration::from_secs(seconds));
        assert_eq!([looks(0), looks(30), looks(31), looks(300)], [1, 1, 2, 10]);
    }

    #[test]
    fn what_is_no_number_is_an_error() {
        let rule = CheckRule::latency();
        let judge = |ratio| Measurement::Latency { ratio }.judge(&rule, 1);
        assert_eq!(judge(f64::NAN), Judgement::Error);
        assert_eq!(judge(f64::INFINITY), Judgement::Error);
        assert_eq!(judge(1.25), Judgement::Good);
        assert_eq!(judge(1.26), Judgement::Bad);
    }

    #[test]
    fn results_in_sequence_decide() {
        let rule = CheckRule::default();
        let tally = |results: &[Judgement]| {
            let mut tally = Tally::default();
            results.iter().for_each(|result| tally.record(*result));
            tally
        };
        use Judgement::{Bad, Error, Good, Inconclusive};
        assert!(!tally(&[Bad, Good, Bad]).is_bad(&rule));
        assert!(tally(&[Bad, Bad]).is_bad(&rule));
        assert!(tally(&[Bad, Error, Bad]).is_bad(&rule), "an error hides nothing");
        assert!(tally(&[Good, Good, Good]).is_good(&rule));
        assert!(!tally(&[Good, Good]).is_good(&rule));
        assert!(!tally(&[Good, Good, Good, Inconclusive]).is_good(&rule));
        assert!(!tally(&[Good, Good, Good, Error]).is_good(&rule));
        assert!(tally(&[Good, Error, Good, Good]).is_good(&rule));
        assert_eq!(tally(&[Error; 5]).errors_in_sequence, ERROR_COUNT_REPORTED);
    }
}
