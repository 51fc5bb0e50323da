//! An event of a rollout, among the moves of labels.

use std::sync::Arc;

use headwater_rollout::Name;
use headwater_rollout::event::Event;
use jiff::Timestamp;

/// An event of a rollout, as the log of events keeps it. It contains no value of a configuration.
#[derive(Debug, Clone)]
pub struct RolloutNotice {
    pub at: Timestamp,
    /// The name of the hosted repository.
    pub repository: Arc<str>,
    pub branch: Name,
    /// True if clients without a label receive the branch.
    pub is_head: bool,
    /// Every application of the rollout, which decide about its readers.
    pub members: Arc<[Name]>,
    pub event: Event,
}
