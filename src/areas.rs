//! The areas of a policy: the files that an environment may load, and the values that a push has to seal.
//!
//! Without a policy, every environment loads every file that its names and imports lead to.

use std::sync::Arc;

use headwater_access::FileRules;

/// The answer of the policy to a question about an operation or a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permission {
    Allowed,
    /// The rules deny it, and the policy has `enforce = false`.
    WouldDeny,
    Denied,
}

/// The rules about files of the policy in force. A clone is cheap.
///
/// Without a policy there are none. While one policy replaces another, the rules of both apply.
#[derive(Debug, Clone, Default)]
pub struct Areas(Arc<[FileRules]>);

impl Areas {
    /// The areas of a policy.
    pub fn of(rules: FileRules) -> Self {
        Self(Arc::new([rules]))
    }

    /// The areas that permit what both permit.
    pub fn narrowed_by(&self, other: &Self) -> Self {
        Self(self.0.iter().chain(&*other.0).cloned().collect())
    }

    /// Returns false if no policy is in force, so that everything is permitted.
    pub fn exist(&self) -> bool {
        !self.0.is_empty()
    }

    /// Returns true if what the policy denies is denied, and not only recorded.
    pub fn are_enforced(&self) -> bool {
        self.0.iter().any(FileRules::is_enforced)
    }

    /// Returns true if both permit every environment the same files.
    pub fn are_same(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().zip(&*other.0).all(|(own, other)| own.has_same_areas(other))
    }

    /// Decides whether the environment of these applications may load a file. The path is that of the file itself, after
    /// imports and symbolic links.
    pub fn loading(&self, applications: &[&str], path: &str) -> Permission {
        self.decide(|rules| rules.may_load(applications, path))
    }

    /// Decides whether a file may contain what another file contains. It may not if they belong to different applications
    /// of the policy.
    pub fn sharing(&self, path: &str, other: &str) -> Permission {
        self.decide(|rules| !rules.separates(other, path))
    }

    /// Decides whether a file may contain a key with a plain value.
    pub fn plain_value(&self, path: &str, key: &str) -> Permission {
        self.decide(|rules| !rules.requires_sealing(path, key))
    }

    /// The application of the policy with which the name of a file begins, if the file belongs to it alone.
    pub fn owner<'p>(&'p self, path: &'p str) -> Option<&'p str> {
        self.0.last()?.owner(path)
    }

    fn decide(&self, permits: impl Fn(&FileRules) -> bool) -> Permission {
        let denying = self.0.iter().filter(|rules| !permits(rules));
        denying.map(denied).max().unwrap_or(Permission::Allowed)
    }
}

fn denied(rules: &FileRules) -> Permission {
    if rules.is_enforced() { Permission::Denied } else { Permission::WouldDeny }
}

#[cfg(test)]
mod tests {
    use headwater_access::Policy;

    use super::*;

    fn areas(application: &str, enforce: bool) -> Areas {
        let text = format!(
            "version = 1\nenforce = {enforce}\n[[area]]\npath = [\"x.yml\"]\napplication = [{application:?}]\n"
        );
        let policy = Policy::parse("policy.toml", text.as_bytes()).expect("a policy");
        Areas::of(policy.file_rules())
    }

    #[test]
    fn narrowed_areas_permit_what_both_permit() {
        let (before, after) = (areas("orders", true), areas("billing", true));
        let both = before.narrowed_by(&after);
        for application in ["orders", "billing"] {
            assert_eq!(both.loading(&[application], "x.yml"), Permission::Denied);
            assert_eq!(both.loading(&[application], "application.yml"), Permission::Allowed);
        }
        assert!(!both.are_same(&before) && !both.are_same(&after));
        let same = before.narrowed_by(&before);
        assert_eq!(same.loading(&["orders"], "x.yml"), Permission::Allowed);
    }

    #[test]
    fn a_policy_that_only_records_denies_nothing() {
        let (recorded, enforced) = (areas("orders", false), areas("orders", true));
        assert_eq!(recorded.loading(&["billing"], "x.yml"), Permission::WouldDeny);
        let both = recorded.narrowed_by(&enforced);
        assert_eq!(both.loading(&["billing"], "x.yml"), Permission::Denied);
        let none = Areas::default();
        assert_eq!(none.loading(&["billing"], "x.yml"), Permission::Allowed);
        assert!(!none.exist() && !none.are_same(&recorded));
    }
}
