//! The rules about files that no principal takes part in: what an environment may load, which secrets a file may name, and
//! which values a push has to seal.

use std::sync::Arc;

use super::area::{self, AreaMap, OwnershipKind, SecretReference};
use super::sealing::SealingRule;

/// The rules of one policy about files. A clone is cheap.
#[derive(Debug, Clone)]
pub struct FileRules {
    pub(super) areas: Arc<AreaMap>,
    pub(super) sealing: Arc<[SealingRule]>,
    pub(super) is_enforced: bool,
}

impl FileRules {
    /// Returns false if the rules are only recorded.
    pub fn is_enforced(&self) -> bool {
        self.is_enforced
    }

    /// Returns true if the environment of these applications may load a file: its own files and the shared ones. The
    /// path is that of the file itself, after imports and symbolic links.
    pub fn may_load(&self, applications: &[&str], path: &str) -> bool {
        area::is_normal(path) && self.areas.may_load(applications, path)
    }

    /// Returns true if a file may name a secret outside the configuration.
    pub fn may_reference(&self, path: &str, reference: SecretReference<'_>) -> bool {
        area::is_normal(path) && self.areas.permits(path, reference)
    }

    /// Returns true if a value has to be sealed in a push.
    pub fn requires_sealing(&self, path: &str, key: &str) -> bool {
        self.sealing.iter().any(|rule| rule.covers(path, key))
    }

    /// Returns true if the policy gives a file to applications, and the other file to none of them. A file that belongs to
    /// no application of the policy, or to all of them, is separate from none.
    pub fn separates(&self, file: &str, other: &str) -> bool {
        let ownership = self.areas.ownership(file);
        let other = self.areas.ownership(other);
        let is_common = |application: &str| {
            application == area::SHARED_APPLICATION
                || other.claims.iter().any(|claim| claim.application == application)
        };
        ownership.kind != OwnershipKind::Unknown
            && !ownership.claims.iter().any(|claim| is_common(&claim.application))
    }

    /// The application of the policy with which the name of a file begins, if the file belongs to it alone.
    pub fn owner<'p>(&'p self, path: &'p str) -> Option<&'p str> {
        let ownership = self.areas.ownership(path);
        match (ownership.kind, &ownership.claims[..]) {
            (OwnershipKind::Unknown | OwnershipKind::Shared, _) => None,
            (_, [claim]) => self.areas.lookup(&claim.application),
            _ => None,
        }
    }

    /// Returns true if every file belongs to every application.
    pub fn is_shared(&self, path: &str) -> bool {
        self.areas.ownership(path).kind == OwnershipKind::Shared
    }

    /// Returns true if both rules let every environment load the same files and name the same secrets.
    pub fn has_same_areas(&self, other: &Self) -> bool {
        self.is_enforced == other.is_enforced
            && (Arc::ptr_eq(&self.areas, &other.areas) || self.areas == other.areas)
    }
}
