//! The time limits of a client.

use std::time::Duration;

/// The time limits for a whole operation and for one attempt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) deadline: Duration,
    pub(crate) request_timeout: Duration,
}

/// The time limits of an event stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamLimits {
    /// The time within which a stream has to deliver its first bytes.
    pub(crate) start_timeout: Duration,
    /// The time after which a silent stream is closed.
    pub(crate) silence_timeout: Duration,
}
