//! The errors of replication, with a message for the operator and one for the pusher.

use std::time::Duration;

use headwater_etcd::EtcdError;

use crate::push::rejection::{BUSY, rejected};

/// An error that stops a push, or the application of a manifest.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplicationError {
    #[error("etcd is unreachable: {0}")]
    Unreachable(String),
    #[error("etcd rejected the request: {0}")]
    Rejected(String),
    /// The repository cannot continue from the content of etcd.
    #[error("{0}")]
    Unfit(String),
    /// A pack was removed from etcd, because another one has replaced it.
    #[error("a pack was replaced in etcd while this replica used it")]
    Replaced,
    #[error("git {0} failed")]
    Git(&'static str),
    #[error("the packs in etcd lack objects of the repository")]
    Unconnected,
    #[error("the data directory cannot be written")]
    Unwritable,
    #[error("clients that list references did not end in time")]
    Busy,
}

impl ReplicationError {
    /// Reports an outage of etcd that is so long that requests are pointless.
    pub(super) fn no_answer_for(duration: Duration) -> Self {
        Self::Unreachable(no_answer_for(duration))
    }

    /// Returns the line for a pusher whose push this error stops before anything was committed.
    pub(super) fn rejection(&self) -> String {
        let advice = match self {
            Self::Busy => return BUSY.to_owned(),
            Self::Unreachable(_) | Self::Replaced => "Push again later",
            Self::Rejected(_)
            | Self::Unfit(_)
            | Self::Git(_)
            | Self::Unconnected
            | Self::Unwritable => "Tell the operator",
        };
        rejected(&format!("{self}. {advice}"))
    }
}

/// Describes how long etcd has not answered.
pub(super) fn no_answer_for(duration: Duration) -> String {
    format!("no answer for {} s", duration.as_secs())
}

impl From<EtcdError> for ReplicationError {
    fn from(error: EtcdError) -> Self {
        match error {
            EtcdError::Rejected(reason) => Self::Rejected(reason),
            error => Self::Unreachable(error.to_string()),
        }
    }
}
