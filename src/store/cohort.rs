//! Which of a label's views a caller is given. A staged rollout will have more than one; today everyone is in the first.

use crate::access::Caller;
use crate::model::Query;

/// A group of callers who are served the same view of a label. Answers are kept for each apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Cohort(u8);

impl Cohort {
    /// The cohort of whoever is in no other.
    pub(super) const FIRST: Self = Self(0);
}

/// The cohort of a caller for a query.
pub(super) fn choose(_caller: &Caller, _query: &Query) -> Cohort {
    Cohort::FIRST
}
