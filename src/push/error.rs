//! The errors of clones, fetches and pushes.

/// An error of a clone, a fetch or a push.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// No permit became free in time, or too many requests of the address wait already.
    #[error("too many clones, fetches and pushes are in progress")]
    Busy,
    /// The client moves fewer bytes than its stall budget requires.
    #[error("the client moves less than 1 KiB a second")]
    TooSlow,
    /// The client disconnected, or the server stops.
    #[error("the request was interrupted")]
    Interrupted,
    /// This replica has not loaded the repository from etcd yet.
    #[error("this replica has not loaded the repository from etcd yet")]
    NotLoaded,
    /// References moved that could not be made durable.
    #[error("the data directory cannot be written")]
    Unwritable,
    /// Git did not start, or did not complete its work.
    #[error("git failed: {0}")]
    Git(String),
}

impl PushError {
    /// Reports that git could not be started or read.
    pub(super) fn git(error: &std::io::Error) -> Self {
        Self::Git(error.kind().to_string())
    }
}
