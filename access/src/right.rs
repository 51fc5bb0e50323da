//! The rights that a policy grants.

use std::fmt;

/// The permission for one kind of operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Right {
    /// Environments in all representations, long polls and event streams.
    Read,
    /// Secrets in plain text within an environment that the caller may read.
    Open,
    /// Raw files.
    File,
    /// Lists, reduced to the entries that the caller may read.
    List,
    /// Lists of everything, the state of the fleet, and details of health.
    Overview,
    Metrics,
    /// Promotion, pause, resumption, abort, retry and reversal of a rollout.
    Rollout,
    /// A hosted repository with its whole history.
    Clone,
    Push,
    /// Encryption of a value.
    Seal,
    /// Decryption of a value.
    Unseal,
    /// The audit trail.
    Audit,
    /// Changes of a hosted policy.
    Admin,
}

impl Right {
    pub const ALL: [Self; 13] = [
        Self::Read,
        Self::Open,
        Self::File,
        Self::List,
        Self::Overview,
        Self::Metrics,
        Self::Rollout,
        Self::Clone,
        Self::Push,
        Self::Seal,
        Self::Unseal,
        Self::Audit,
        Self::Admin,
    ];

    /// The name in a policy.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Open => "open",
            Self::File => "file",
            Self::List => "list",
            Self::Overview => "overview",
            Self::Metrics => "metrics",
            Self::Rollout => "rollout",
            Self::Clone => "clone",
            Self::Push => "push",
            Self::Seal => "seal",
            Self::Unseal => "unseal",
            Self::Audit => "audit",
            Self::Admin => "admin",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|right| right.as_str() == name)
    }

    /// The verb in sentences such as "orders may read billing/prod", before the target.
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Open => "open",
            Self::File => "read the file",
            Self::List => "read lists",
            Self::Overview => "read the overview",
            Self::Metrics => "read metrics",
            Self::Rollout => "control the rollout of",
            Self::Clone => "clone repositories",
            Self::Push => "push",
            Self::Seal => "seal values of",
            Self::Unseal => "unseal values",
            Self::Audit => "read the audit trail",
            Self::Admin => "change the policy",
        }
    }

    /// Returns true if no name limits the right: it holds for the whole server or not at all.
    pub fn is_global(self) -> bool {
        match self {
            Self::Overview | Self::Metrics | Self::Clone | Self::Unseal | Self::Audit => true,
            Self::Admin => true,
            // A list has no name of its own. Each of its entries is decided as a read.
            Self::List => false,
            Self::Read | Self::Open | Self::File | Self::Rollout | Self::Push | Self::Seal => false,
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RightSet(u16);

impl RightSet {
    pub fn insert(&mut self, right: Right) {
        self.0 |= 1 << right as u16;
    }

    pub fn contains(self, right: Right) -> bool {
        self.0 & 1 << right as u16 != 0
    }

    pub fn iter(self) -> impl Iterator<Item = Right> {
        Right::ALL.into_iter().filter(move |right| self.contains(*right))
    }
}

impl FromIterator<Right> for RightSet {
    fn from_iter<I: IntoIterator<Item = Right>>(rights: I) -> Self {
        let mut set = Self::default();
        rights.into_iter().for_each(|right| set.insert(right));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_right_is_parsed_from_its_name() {
        for right in Right::ALL {
            assert_eq!(Right::parse(right.as_str()), Some(right));
        }
        assert_eq!(Right::parse("Read"), None);
        assert_eq!(Right::parse(""), None);
    }

    #[test]
    fn a_set_contains_what_was_inserted() {
        let set: RightSet = [Right::Read, Right::Admin].into_iter().collect();
        let listed: Vec<_> = set.iter().collect();
        assert_eq!(listed, [Right::Read, Right::Admin]);
        assert!(!set.contains(Right::Open));
    }
}
