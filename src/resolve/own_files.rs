//! The files that an environment may load under a policy: those of its own area and the shared ones.
//!
//! Invariant: a file of another area is treated as absent. Without a link on the way, the names alone decide, so that no
//! result shows whether such a file exists.

use crate::areas::{Areas, Permission};
use crate::model::Query;
use crate::snapshot::Member;

/// The files of one environment.
pub(super) struct OwnFiles<'a> {
    areas: &'a Areas,
    applications: Vec<&'a str>,
}

impl<'a> OwnFiles<'a> {
    pub(super) fn of(member: &'a Member, query: &'a Query) -> Self {
        let applications =
            if member.areas.exist() { query.application_names().collect() } else { Vec::new() };
        Self { areas: &member.areas, applications }
    }

    /// Decides whether the environment may load the file at a path, which is that behind links.
    pub(super) fn loading(&self, path: &str) -> Permission {
        self.areas.loading(&self.applications, path)
    }

    /// Returns true if the environment loads the file at a path, or at the one behind links.
    pub(super) fn contain(&self, path: &str, behind_links: Option<&str>) -> bool {
        self.loading(behind_links.unwrap_or(path)) != Permission::Denied
    }
}
