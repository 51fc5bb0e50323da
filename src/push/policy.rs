//! The policy for pushes: checks, permissions and limits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::check::{Enforcement, RunningBuilds, Strictness};
use crate::model::PropertySource;
use crate::reveal::Keyring;

/// The policy for pushes: checks, permissions and limits.
#[derive(Debug, Clone)]
pub struct PushPolicy {
    /// The treatment of a push with problems.
    pub enforcement: Enforcement,
    /// The treatment of a placeholder that nothing resolves.
    pub strictness: Strictness,
    /// The server's own properties, which take precedence over all others.
    pub overrides: Option<PropertySource>,
    /// The keys for sealed values. One of them must open each new value.
    pub keys: Arc<Keyring>,
    /// The permission to move a branch to a commit that does not follow its current one, or to move a tag.
    pub forcing: Permission,
    /// The permission to delete a branch or a tag.
    pub deleting: Permission,
    /// The maximum duration of the checks of one push.
    pub check_max: Duration,
    /// The time in which instances answer whether they would accept a push. Zero if none is asked.
    pub try_max: Duration,
    /// The largest accepted pack, in bytes.
    pub pack_bytes_max: u64,
    /// The builds whose contracts a push must keep.
    pub builds: Arc<dyn BuildSource>,
}

/// Supplies the builds of services that run or ran a short time ago.
pub trait BuildSource: fmt::Debug + Send + Sync {
    /// Returns the builds with the instances that are connected now. Blocking for a short time.
    fn running(&self) -> RunningBuilds;
}

/// A permission that the operator configures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// The server accepts such a push.
    Allowed,
    /// The server rejects such a push.
    Denied,
}
