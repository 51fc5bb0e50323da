//! The position of a replica relative to etcd, which its readers wait for and its health shows.

use std::sync::Arc;
use std::time::SystemTime;

use super::manifest::Checkpoint;
use crate::outage::{Connectivity, Outage};

/// The position of this replica relative to etcd.
#[derive(Debug, Clone, Default)]
pub(super) struct ReplicationStatus {
    /// The last manifest that this replica has taken. Without it there is nothing to serve.
    pub(super) checkpoint: Option<Arc<Checkpoint>>,
    /// The reason for which this repository cannot be shared, which is final.
    pub(super) refusal: Option<String>,
    /// The connectivity to etcd.
    pub(super) etcd: Connectivity,
    /// The outage during which the manifest in etcd cannot be applied here.
    pub(super) application: Connectivity,
    /// The time of the last answer or event from etcd.
    pub(super) last_contact: Option<SystemTime>,
}

impl ReplicationStatus {
    /// Returns the current outage, the more serious one first.
    pub(super) fn outage(&self) -> Option<&Outage> {
        self.application.outage().or(self.etcd.outage())
    }

    /// Returns true if there is something to serve, or if the reason is known for which there is nothing.
    pub(super) fn is_settled(&self) -> bool {
        self.checkpoint.is_some() || self.refusal.is_some() || self.outage().is_some()
    }
}
