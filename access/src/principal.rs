//! AuthenticatedCaller identities.

use std::fmt;
use std::sync::Arc;

/// The name that stands for a caller without a credential.
pub const ANONYMOUS: &str = "anonymous";

/// The name of the files that all applications share. A principal of this name would own them by `{principal}`.
const SHARED: &str = "application";

/// The longest name of a principal, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// The kind of actor behind a principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Service,
    Person,
    Ci,
    Operator,
    /// A caller without a credential. A policy cannot declare such a principal.
    Anonymous,
}

impl Kind {
    /// The kinds that a policy can declare.
    pub const DECLARED: [Self; 4] = [Self::Service, Self::Person, Self::Ci, Self::Operator];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Person => "person",
            Self::Ci => "ci",
            Self::Operator => "operator",
            Self::Anonymous => ANONYMOUS,
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::DECLARED.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An authenticated identity that rules can name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal {
    name: Arc<str>,
    kind: Kind,
}

impl Principal {
    /// The identity of a caller without a credential.
    pub fn anonymous() -> Self {
        Self { name: ANONYMOUS.into(), kind: Kind::Anonymous }
    }

    pub(crate) fn new(name: Arc<str>, kind: Kind) -> Self {
        Self { name, kind }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name without a copy of its text.
    pub fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn is_anonymous(&self) -> bool {
        self.kind == Kind::Anonymous
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Returns true if a policy may declare a principal of this name. Its characters mean nothing in a pattern, in a path
/// or in a `Basic` credential.
pub fn is_principal_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.chars().all(is_plain)
        && name != ANONYMOUS
        && name != SHARED
        && name != "."
        && name != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_contains_nothing_that_a_pattern_or_a_path_could_read() {
        for name in ["orders", "orders-2", "a.b_c", "jo@example.org"] {
            assert!(is_principal_name(name), "{name}");
        }
        for name in [
            "",
            "a*",
            "a/b",
            "a:b",
            "{x}",
            "anonymous",
            "application",
            "a b",
            "ö",
            "..",
            &"x".repeat(65),
        ] {
            assert!(!is_principal_name(name), "{name}");
        }
    }

    #[test]
    fn the_anonymous_kind_cannot_be_declared() {
        assert_eq!(Kind::parse("anonymous"), None);
        assert_eq!(Kind::parse("ci"), Some(Kind::Ci));
    }
}
