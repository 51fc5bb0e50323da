//! The messages to a pusher whose push is rejected.

/// The rejection when clients that list references do not end in time.
pub(super) const BUSY: &str =
    "push rejected, no branch was updated: the server is busy with clones and fetches. Push again";
/// The rejection when the disk does not accept data.
pub(super) const UNWRITABLE: &str = "push rejected, no branch was updated: the server cannot write to its disk. \
     Tell the operator; its log names the error";

/// Returns the line for the pusher. The reason ends with the next step of the pusher.
pub(super) fn rejected(reason: &str) -> String {
    format!("push rejected, no branch was updated: {reason}")
}

/// A push that git must not make.
pub(super) struct Rejection {
    /// The lines for the pusher.
    pub(super) lines: Vec<String>,
    /// True if the push is or may be in etcd, although git moves nothing here. The server then reports neither success
    /// nor rejection.
    pub(super) is_outcome_unknown: bool,
}

impl Rejection {
    /// Rejects a push of which nothing was committed.
    pub(super) fn new(lines: Vec<String>) -> Self {
        Self { lines, is_outcome_unknown: false }
    }

    /// Ends a push that may have been committed.
    pub(super) fn unknown(line: String) -> Self {
        Self { lines: vec![line], is_outcome_unknown: true }
    }
}

impl From<String> for Rejection {
    fn from(line: String) -> Self {
        Self::new(vec![line])
    }
}

impl From<&str> for Rejection {
    fn from(line: &str) -> Self {
        Self::from(line.to_owned())
    }
}
