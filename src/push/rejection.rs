//! The messages to a pusher whose push is rejected.

/// The rejection when clients that list references do not end in time.
pub(super) const BUSY: &str =
    "push rejected, no branch was updated: the server is busy with clones and fetches. Push again";
/// The rejection when the disk does not accept data.
pub(super) const UNWRITABLE: &str = "push rejected, no branch was updated: the server cannot write to its disk. \
     Tell the operator; its log names the error";

/// The last line of a dry run that found nothing.
const DRY_RUN: &str = "dry run: the push would be accepted. No branch was updated";

/// Returns the line for the pusher. The reason ends with the next step of the pusher.
pub(super) fn rejected(reason: &str) -> String {
    format!("push rejected, no branch was updated: {reason}")
}

/// A push that git must not make.
pub(super) struct Rejection {
    /// The lines for the pusher.
    pub(super) lines: Vec<String>,
    pub(super) kind: RejectionKind,
}

/// The reason for which git must not make a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RejectionKind {
    /// The push is rejected. Nothing of it was committed.
    Rejected,
    /// The push was a dry run, and would have been accepted.
    DryRun,
    /// The push is or may be in etcd, although git moves nothing here. The server then reports neither success nor
    /// rejection.
    OutcomeUnknown,
}

impl Rejection {
    /// Rejects a push of which nothing was committed.
    pub(super) fn new(lines: Vec<String>) -> Self {
        Self { lines, kind: RejectionKind::Rejected }
    }

    /// Ends a push that may have been committed.
    pub(super) fn unknown(line: String) -> Self {
        Self { lines: vec![line], kind: RejectionKind::OutcomeUnknown }
    }

    /// Ends a dry run that would have been accepted.
    pub(super) fn dry_run(mut lines: Vec<String>) -> Self {
        lines.push(DRY_RUN.to_owned());
        Self { lines, kind: RejectionKind::DryRun }
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
