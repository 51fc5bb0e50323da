//! References of a repository: lists of them, and their moves.

use std::collections::BTreeMap;

use git2::Reference;
use serde::{Deserialize, Serialize};

/// The branch that is assumed if `HEAD` is missing or names no branch.
pub(super) const DEFAULT_BRANCH: &str = "main";

/// The references that clients can ask for, the branch of `HEAD`, and the record of rewinds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::source) struct ReferenceList {
    /// `refs/heads/…` and `refs/tags/…` with their object ids in hexadecimal. An annotated tag has the id of its own
    /// object.
    pub(in crate::source) names: BTreeMap<String, String>,
    /// `refs/heads/…`, which may be missing.
    pub(in crate::source) head: Option<String>,
    /// The id of the file with the record of rewinds.
    #[serde(default)]
    pub(in crate::source) record: Option<String>,
}

/// A reference that moves, or has moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedReference {
    /// Its full name.
    pub name: String,
    /// The object id before. `None` for a new reference.
    pub old: Option<String>,
    /// The object id after. `None` for a deleted reference.
    pub new: Option<String>,
}

/// The short name of the branch that a symbolic reference targets.
pub(super) fn branch_of<'a>(head: &'a Reference<'_>) -> Option<&'a str> {
    let target = head.symbolic_target_bytes()?;
    std::str::from_utf8(target).ok()?.strip_prefix("refs/heads/")
}
