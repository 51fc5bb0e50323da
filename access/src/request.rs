//! A request as the policy sees it: a right, and the names that the server parsed from the route.

use std::borrow::Cow;
use std::fmt;

use crate::right::Right;

/// Stands for every application that a rollout does not name, after a change of a file that all of them share.
pub const EVERY_APPLICATION: &str = "*";

/// An operation on named objects. The one route function of the server has parsed all names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request<'a> {
    Read(Environment<'a>),
    Open(Environment<'a>),
    File(RawFile<'a>),
    Push(Change<'a>),
    /// Encryption, for the named applications if the route names any.
    Seal(Vec<Cow<'a, str>>),
    /// An act on the rollout of these applications. [`EVERY_APPLICATION`] among them needs a rule for all applications.
    Rollout(Vec<Cow<'a, str>>),
    /// An operation on the whole server.
    Server(ServerRight),
}

/// A right that no name limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServerRight {
    List,
    Overview,
    Metrics,
    Clone,
    Unseal,
    Audit,
    Admin,
}

/// The applications, profiles and labels of a request. Every combination has to be allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment<'a> {
    pub applications: Vec<Cow<'a, str>>,
    pub profiles: Vec<Cow<'a, str>>,
    pub labels: Vec<Label<'a>>,
}

/// A raw file, by its own path. The application in the URL plays no part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawFile<'a> {
    /// The path in the source, without `.` and `..`.
    pub path: Cow<'a, str>,
    pub labels: Vec<Label<'a>>,
}

/// One changed path of one new commit in a push. A push consists of many, and all of them have to be allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<'a> {
    pub reference: Reference<'a>,
    /// `None` for the update of a reference without any changed path, such as its creation at an old commit.
    pub path: Option<Cow<'a, str>>,
    /// The push discards commits of the reference.
    pub force: bool,
    /// The push deletes the reference.
    pub delete: bool,
}

/// The target of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference<'a> {
    Branch(Cow<'a, str>),
    Tag(Cow<'a, str>),
}

/// One label of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Label<'a> {
    /// No label, `HEAD`, or the default branch by its name. The name is present where the server knows it.
    Default(Option<Cow<'a, str>>),
    Named(Cow<'a, str>),
}

impl<'a> Label<'a> {
    /// Interprets the label of a request. `HEAD`, the default branch by name and no label are the same.
    ///
    /// `main` and `master` are the same only where the source serves one for the other. A source that has both branches
    /// would otherwise open the second one to every caller of the default.
    pub fn requested(
        name: Option<&'a str>,
        default_branch: Option<&'a str>,
        main_is_master: bool,
    ) -> Self {
        let default = || Self::Default(default_branch.map(Cow::Borrowed));
        let Some(name) = name.filter(|name| *name != "HEAD") else {
            return default();
        };
        let is_default = default_branch.is_some_and(|branch| {
            let is_other = matches!((branch, name), ("main", "master") | ("master", "main"));
            branch == name || main_is_master && is_other
        });
        if is_default { default() } else { Self::Named(name.into()) }
    }
}

impl<'a> Environment<'a> {
    /// One application, one profile and one label.
    pub fn of(application: &'a str, profile: &'a str, label: Label<'a>) -> Self {
        Self {
            applications: vec![application.into()],
            profiles: vec![profile.into()],
            labels: vec![label],
        }
    }
}

impl Request<'_> {
    pub fn right(&self) -> Right {
        match self {
            Self::Read(_) => Right::Read,
            Self::Open(_) => Right::Open,
            Self::File(_) => Right::File,
            Self::Push(_) => Right::Push,
            Self::Seal(_) => Right::Seal,
            Self::Rollout(_) => Right::Rollout,
            Self::Server(right) => right.right(),
        }
    }
}

impl ServerRight {
    pub const ALL: [Self; 7] = [
        Self::List,
        Self::Overview,
        Self::Metrics,
        Self::Clone,
        Self::Unseal,
        Self::Audit,
        Self::Admin,
    ];

    pub fn right(self) -> Right {
        match self {
            Self::List => Right::List,
            Self::Overview => Right::Overview,
            Self::Metrics => Right::Metrics,
            Self::Clone => Right::Clone,
            Self::Unseal => Right::Unseal,
            Self::Audit => Right::Audit,
            Self::Admin => Right::Admin,
        }
    }
}

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default(_) => f.write_str("@default"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Reference<'_> {
    /// Writes the text that patterns in `branch` are compared with.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Branch(name) => f.write_str(name),
            Self::Tag(name) => write!(f, "tag:{name}"),
        }
    }
}

impl fmt::Display for Request<'_> {
    /// Writes a verb and the target: `read orders/prod at @default`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.right().phrase())?;
        match self {
            Self::Read(target) | Self::Open(target) => write!(
                f,
                " {}/{} at {}",
                target.applications.join(","),
                target.profiles.join(","),
                joined(&target.labels)
            ),
            Self::File(file) => write!(f, " {} at {}", file.path, joined(&file.labels)),
            Self::Push(change) => {
                let path = change.path.as_deref().unwrap_or("(no path)");
                let force = if change.force { " with force" } else { "" };
                let delete = if change.delete { " with deletion" } else { "" };
                write!(f, " {path} to {}{force}{delete}", change.reference)
            }
            Self::Seal(names) | Self::Rollout(names) if names.is_empty() => {
                f.write_str(" no application")
            }
            Self::Seal(names) | Self::Rollout(names) => write!(f, " {}", names.join(",")),
            Self::Server(_) => Ok(()),
        }
    }
}

fn joined(labels: &[Label<'_>]) -> String {
    labels.iter().map(Label::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_the_default_branch_and_no_label_are_the_same() {
        let default = Label::Default(Some("main".into()));
        for name in [None, Some("HEAD"), Some("main")] {
            assert_eq!(Label::requested(name, Some("main"), false), default, "{name:?}");
        }
        assert_eq!(Label::requested(Some("dev"), Some("main"), true), Label::Named("dev".into()));
        assert_eq!(Label::requested(Some("main"), None, true), Label::Named("main".into()));
        assert_eq!(Label::requested(None, None, true), Label::Default(None));
    }

    #[test]
    fn main_and_master_are_the_same_only_where_the_source_says_so() {
        let default = Label::Default(Some("main".into()));
        assert_eq!(Label::requested(Some("master"), Some("main"), true), default);
        let other = Label::Named("master".into());
        assert_eq!(Label::requested(Some("master"), Some("main"), false), other);
        assert_eq!(Label::requested(Some("master"), Some("dev"), true), other);
    }

    #[test]
    fn a_request_is_described_by_right_and_target() {
        let environment = Environment::of("orders", "prod", Label::Default(None));
        assert_eq!(Request::Open(environment).to_string(), "open orders/prod at @default");
        let change = Change {
            reference: Reference::Tag("v1".into()),
            path: Some("a.yml".into()),
            force: true,
            delete: false,
        };
        assert_eq!(Request::Push(change).to_string(), "push a.yml to tag:v1 with force");
        assert_eq!(Request::Server(ServerRight::Audit).to_string(), "read the audit trail");
        assert_eq!(Request::Seal(Vec::new()).to_string(), "seal values of no application");
    }
}
