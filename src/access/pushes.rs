//! The decisions about a push and about files, which depend on paths.

use headwater_access::{Change, Reference, Request};

use super::Identity;
use crate::areas::Permission;
use crate::model::{Label, Query};

/// The update of one branch or tag.
#[derive(Debug, Clone, Copy)]
pub struct ReferenceUpdate<'a> {
    /// The full name of the reference.
    pub reference: &'a str,
    /// True if the update leaves commits of the reference behind.
    pub is_forced: bool,
    /// True if the update deletes the reference.
    pub is_deletion: bool,
}

impl ReferenceUpdate<'_> {
    fn change<'a>(&'a self, path: Option<&'a str>) -> Change<'a> {
        let name = |prefix| self.reference.strip_prefix(prefix);
        let reference = match name("refs/tags/") {
            Some(tag) => Reference::Tag(tag.into()),
            None => Reference::Branch(name("refs/heads/").unwrap_or(self.reference).into()),
        };
        Change {
            reference,
            path: path.map(Into::into),
            force: self.is_forced,
            delete: self.is_deletion,
        }
    }
}

impl Identity {
    /// Decides about an update of a reference, or about one changed path of it.
    pub fn push_permission(&self, update: ReferenceUpdate<'_>, path: Option<&str>) -> Permission {
        self.permission_of(&Request::Push(update.change(path)))
    }

    /// Returns true if a rule allows an update with any changed paths, so that they need not be compared.
    pub fn may_push_every_path(&self, update: ReferenceUpdate<'_>) -> bool {
        self.policy().allows_every_path(self.principal(), &update.change(None))
    }

    /// Decides about a file by its path.
    pub fn file_permission(&self, label: &Label, path: &str) -> Permission {
        let labels = self.labels(label);
        self.permission_of(&Request::File(headwater_access::RawFile { path: path.into(), labels }))
    }

    /// Returns true if the identity may read some environment at a label, whatever exists there.
    pub fn may_read_some(&self, label: &Label) -> bool {
        !self.policy().is_enforced()
            || self.policy().allows_some_read(self.principal(), &self.labels(label))
    }

    /// Returns true if the name of a file in a list shows nothing that the identity may not read.
    pub fn may_list(&self, label: &Label, path: &str) -> bool {
        self.policy().file_rules().is_shared(path)
            || self.file_permission(label, path) != Permission::Denied
    }

    /// Returns true if the identity may read an environment under one of the labels.
    pub fn may_read_at(&self, labels: &[Label], query: &Query) -> bool {
        labels.iter().any(|label| {
            let query = Query { label: label.clone(), ..query.clone() };
            let target = super::Resource::Environment(&query);
            self.permission(super::Operation::ReadEnvironment, target) != Permission::Denied
        })
    }
}
