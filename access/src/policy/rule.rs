//! Rules: each allows some principals some rights on some names. No rule denies, so that their order has no effect.

mod parse;

use std::fmt;
use std::sync::Arc;

use super::area::{Ownership, OwnershipKind};
use super::problem::Place;
use crate::pattern::{Pattern, PatternError};
use crate::principal::{ANONYMOUS, Kind, Principal};
use crate::request::{Change, EVERY_APPLICATION, Label, Reference};
use crate::right::{Right, RightSet};

pub(super) use parse::RuleLists;

/// Stands for the name of the principal that a rule is applied to.
const PRINCIPAL: &str = "{principal}";
/// Stands for requests without a label in `label`.
const DEFAULT_LABEL: &str = "@default";
/// Begins a pattern over tags in `branch`. Git permits no colon in the name of a reference.
const TAG: &str = "tag:";

/// One `[[allow]]` table.
///
/// A rule with `{principal}` exists once for each principal. These copies share every list without the placeholder.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) place: Place,
    pub(super) who: Arc<[Who]>,
    pub(super) may: RightSet,
    /// `None` if the rule names no application.
    pub(super) application: Option<Arc<[Pattern]>>,
    /// Applications that the rule does not reach although `application` matches them.
    pub(super) except: Arc<[Pattern]>,
    pub(super) profile: Arc<[Pattern]>,
    pub(super) label: Arc<[LabelPattern]>,
    /// `None` if the rule names no path.
    pub(super) path: Option<Arc<[Pattern]>>,
    pub(super) branch: Arc<[ReferencePattern]>,
    pub(super) force: bool,
    pub(super) delete: bool,
    /// The keys that are present, for the warnings about keys without effect.
    pub(super) present: Arc<[&'static str]>,
}

/// One entry of `who`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Who {
    Principal(Box<str>),
    Kind(Kind),
    Anonymous,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum LabelPattern {
    /// `@default`
    Default,
    Named(Pattern),
}

/// A pattern over branches or over tags. No pattern matches both.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ReferencePattern {
    is_tag: bool,
    name: Pattern,
}

/// A part of a rule that can differ from a request, in the order in which explanations prefer them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    Who,
    May,
    Application,
    Path,
    Branch,
    Profile,
    Label,
    Force,
    Delete,
}

impl Field {
    pub const ALL: [Self; 9] = [
        Self::Who,
        Self::May,
        Self::Application,
        Self::Path,
        Self::Branch,
        Self::Profile,
        Self::Label,
        Self::Force,
        Self::Delete,
    ];

    /// The key in the policy.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Who => "who",
            Self::May => "may",
            Self::Application => "application",
            Self::Path => "path",
            Self::Branch => "branch",
            Self::Profile => "profile",
            Self::Label => "label",
            Self::Force => "force",
            Self::Delete => "delete",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The fields of a rule that differ from a request. Empty if the rule allows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mismatches(u16);

impl Mismatches {
    pub(super) fn add_unless(&mut self, is_match: bool, field: Field) {
        if !is_match {
            self.0 |= 1 << field as u16;
        }
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn count(self) -> u32 {
        self.0.count_ones()
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Field> {
        Field::ALL.into_iter().filter(move |field| self.0 & 1 << *field as u16 != 0)
    }

    /// Orders rules by their distance from a request. A rule of another principal is further away than any other.
    pub(super) fn distance(self) -> (bool, u32, u16) {
        let is_others = self.0 & 1 << Field::Who as u16 != 0;
        (is_others, self.count(), self.0)
    }
}

/// A request reduced to one name of each kind.
#[derive(Debug, Clone, Copy)]
pub(super) enum Question<'q> {
    Environment { right: Right, application: &'q str, profile: &'q str, label: &'q Label<'q> },
    File { path: &'q str, ownership: &'q Ownership<'q>, label: &'q Label<'q> },
    Push { change: &'q Change<'q>, ownership: Option<&'q Ownership<'q>> },
    Seal { application: Option<&'q str> },
    Rollout { application: &'q str },
    Server(Right),
}

impl Who {
    pub(super) fn includes(&self, principal: &Principal) -> bool {
        match self {
            Self::Principal(name) => !principal.is_anonymous() && **name == *principal.name(),
            Self::Kind(kind) => principal.kind() == *kind,
            Self::Anonymous => principal.is_anonymous(),
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Principal(name) => f.write_str(name),
            Self::Kind(kind) => write!(f, "kind:{kind}"),
            Self::Anonymous => f.write_str(ANONYMOUS),
        }
    }
}

impl LabelPattern {
    fn matches(&self, label: &Label<'_>) -> bool {
        let default = match label {
            Label::Default(name) => Some(name.as_deref()),
            Label::Named(name) if name == "HEAD" => Some(None),
            Label::Named(_) => None,
        };
        match (self, default, label) {
            (Self::Default, default, _) => default.is_some(),
            (Self::Named(pattern), Some(name), _) => {
                pattern.is_any() || name.is_some_and(|name| pattern.matches(name))
            }
            (Self::Named(pattern), None, Label::Named(name)) => pattern.matches(name),
            (Self::Named(_), None, Label::Default(_)) => false,
        }
    }

    fn pattern(&self) -> Option<&Pattern> {
        match self {
            Self::Default => None,
            Self::Named(pattern) => Some(pattern),
        }
    }

    fn expanded(&self, principal: &Principal) -> Result<Self, PatternError> {
        match self {
            Self::Default => Ok(Self::Default),
            Self::Named(pattern) => expanded(pattern, principal).map(Self::Named),
        }
    }
}

impl fmt::Display for LabelPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str(DEFAULT_LABEL),
            Self::Named(pattern) => pattern.fmt(f),
        }
    }
}

impl ReferencePattern {
    fn matches(&self, reference: &Reference<'_>) -> bool {
        match reference {
            Reference::Branch(name) => !self.is_tag && self.name.matches(name),
            Reference::Tag(name) => self.is_tag && self.name.matches(name),
        }
    }
}

impl fmt::Display for ReferencePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if self.is_tag { TAG } else { "" };
        write!(f, "{prefix}{}", self.name)
    }
}

impl Rule {
    pub(super) fn includes(&self, principal: &Principal) -> bool {
        self.who.iter().any(|who| who.includes(principal))
    }

    fn all_patterns(&self) -> impl Iterator<Item = &Pattern> {
        let labels = self.label.iter().filter_map(LabelPattern::pattern);
        let branches = self.branch.iter().map(|branch| &branch.name);
        self.applications()
            .iter()
            .chain(&*self.except)
            .chain(&*self.profile)
            .chain(self.paths())
            .chain(labels)
            .chain(branches)
    }

    /// The patterns over applications. Empty if the rule names none.
    pub(super) fn applications(&self) -> &[Pattern] {
        self.application.as_deref().unwrap_or_default()
    }

    /// The patterns over paths. Empty if the rule names none.
    pub(super) fn paths(&self) -> &[Pattern] {
        self.path.as_deref().unwrap_or_default()
    }

    /// Returns true if the rule depends on the name of the principal.
    pub(super) fn has_placeholder(&self) -> bool {
        self.all_patterns().any(has_placeholder)
    }

    /// Returns the rule with the name of a principal in place of `{principal}`.
    pub(super) fn expanded(&self, principal: &Principal) -> Result<Self, PatternError> {
        let all = |patterns: &Arc<[Pattern]>| {
            expand(patterns, has_placeholder, |pattern| expanded(pattern, principal))
        };
        let has_label = |label: &LabelPattern| label.pattern().is_some_and(has_placeholder);
        let has_branch = |branch: &ReferencePattern| has_placeholder(&branch.name);
        let branch = |branch: &ReferencePattern| {
            let name = expanded(&branch.name, principal)?;
            Ok(ReferencePattern { is_tag: branch.is_tag, name })
        };
        Ok(Self {
            application: self.application.as_ref().map(all).transpose()?,
            except: all(&self.except)?,
            profile: all(&self.profile)?,
            label: expand(&self.label, has_label, |label| label.expanded(principal))?,
            path: self.path.as_ref().map(all).transpose()?,
            branch: expand(&self.branch, has_branch, branch)?,
            ..self.clone()
        })
    }

    /// Returns true if both rules allow the same, apart from `who`.
    pub(super) fn has_same_effect(&self, other: &Self) -> bool {
        self.may == other.may
            && self.application == other.application
            && self.except == other.except
            && self.profile == other.profile
            && self.label == other.label
            && self.path == other.path
            && self.branch == other.branch
            && self.force == other.force
            && self.delete == other.delete
    }

    pub(super) fn names_application(&self, application: &str) -> bool {
        any(self.applications(), application) && !any(&*self.except, application)
    }

    /// Returns true if a pattern stands for all applications, and no exception takes one away.
    fn names_every_application(&self) -> bool {
        self.except.is_empty() && self.applications().iter().any(Pattern::is_any)
    }

    pub(super) fn names_profile(&self, profile: &str) -> bool {
        any(&*self.profile, profile)
    }

    pub(super) fn names_label(&self, label: &Label<'_>) -> bool {
        self.label.iter().any(|pattern| pattern.matches(label))
    }

    /// Compares a rule that is expanded for the principal with a question. `who` is not compared.
    pub(super) fn mismatches(&self, question: &Question<'_>) -> Mismatches {
        let mut mismatches = Mismatches::default();
        match question {
            Question::Environment { right, application, profile, label } => {
                mismatches.add_unless(self.may.contains(*right), Field::May);
                mismatches.add_unless(self.names_application(application), Field::Application);
                mismatches.add_unless(self.names_profile(profile), Field::Profile);
                mismatches.add_unless(self.names_label(label), Field::Label);
            }
            Question::File { path, ownership, label } => {
                mismatches = self.file_mismatches(path, ownership);
                mismatches.add_unless(self.names_label(label), Field::Label);
            }
            Question::Push { change, ownership } => {
                mismatches.add_unless(self.may.contains(Right::Push), Field::May);
                let is_named = self.branch.iter().any(|branch| branch.matches(&change.reference));
                mismatches.add_unless(is_named, Field::Branch);
                mismatches.add_unless(self.force || !change.force, Field::Force);
                mismatches.add_unless(self.delete || !change.delete, Field::Delete);
                if let (Some(path), Some(ownership)) = (&change.path, ownership) {
                    mismatches.add_unless(self.names_path(path), Field::Path);
                    mismatches.add_unless(self.names_owner(ownership, true), Field::Application);
                }
            }
            Question::Seal { application } => {
                mismatches.add_unless(self.may.contains(Right::Seal), Field::May);
                let is_named = self.application.is_none()
                    || application.is_none_or(|application| self.names_application(application));
                mismatches.add_unless(is_named, Field::Application);
            }
            Question::Rollout { application } => {
                mismatches.add_unless(self.may.contains(Right::Rollout), Field::May);
                let is_named = if *application == EVERY_APPLICATION {
                    self.names_every_application()
                } else {
                    self.names_application(application)
                };
                mismatches.add_unless(is_named, Field::Application);
            }
            Question::Server(right) => {
                mismatches.add_unless(self.may.contains(*right), Field::May);
            }
        }
        mismatches
    }

    /// A raw file is open to `file` by its path and area, and to `read` by its application and its own profile.
    fn file_mismatches(&self, path: &str, ownership: &Ownership<'_>) -> Mismatches {
        let mut by_path = Mismatches::default();
        by_path.add_unless(self.may.contains(Right::File), Field::May);
        by_path.add_unless(self.names_path(path), Field::Path);
        by_path.add_unless(self.names_owner(ownership, false), Field::Application);
        let mut by_name = Mismatches::default();
        by_name.add_unless(self.may.contains(Right::Read), Field::May);
        by_name.add_unless(self.names_path(path), Field::Path);
        let mut own = ownership
            .claims
            .iter()
            .filter(|claim| self.names_application(&claim.application))
            .peekable();
        by_name.add_unless(own.peek().is_some(), Field::Application);
        by_name.add_unless(
            own.any(|claim| claim.profiles.iter().all(|profile| self.names_profile(profile))),
            Field::Profile,
        );
        std::cmp::min_by_key(by_path, by_name, |mismatches| mismatches.distance())
    }

    /// Returns true if the rule allows every change of a reference, whatever paths it has. `is_nested` tells that the name
    /// of a known application contains `/`, which `*` does not match.
    pub(super) fn allows_every_path(&self, change: &Change<'_>, is_nested: bool) -> bool {
        let without_path = Change { path: None, ..change.clone() };
        let question = Question::Push { change: &without_path, ownership: None };
        let is_any =
            |pattern: &Pattern| pattern.as_str() == "**" || pattern.as_str() == "*" && !is_nested;
        self.mismatches(&question).is_empty()
            && self.except.is_empty()
            && self.applications().iter().any(is_any)
            && self.path.as_ref().is_none_or(|paths| paths.iter().any(|own| own.as_str() == "**"))
    }

    fn names_path(&self, path: &str) -> bool {
        self.path.as_ref().is_none_or(|patterns| any(&**patterns, path))
    }

    /// Returns true if the rule reaches the files of this owner. A rule without `application` reaches only files that
    /// belong to no application of the policy.
    fn names_owner(&self, ownership: &Ownership<'_>, is_change: bool) -> bool {
        if self.application.is_none() {
            return ownership.kind == OwnershipKind::Unknown;
        }
        let names = |claim: &super::area::Claim<'_>| self.names_application(&claim.application);
        // A changed file counts for every application that would load it by its name.
        if is_change && ownership.kind == OwnershipKind::Unknown {
            return ownership.claims.iter().filter(|claim| claim.is_by_name).all(names);
        }
        ownership.claims.iter().any(names)
    }
}

fn any<'p>(patterns: impl IntoIterator<Item = &'p Pattern>, name: &str) -> bool {
    patterns.into_iter().any(|pattern| pattern.matches(name))
}

fn has_placeholder(pattern: &Pattern) -> bool {
    pattern.as_str().contains(PRINCIPAL)
}

/// Expands the items of a list. A list without a placeholder is shared.
fn expand<T>(
    list: &Arc<[T]>,
    has_placeholder: impl Fn(&T) -> bool,
    expanded: impl Fn(&T) -> Result<T, PatternError>,
) -> Result<Arc<[T]>, PatternError> {
    if list.iter().any(has_placeholder) {
        list.iter().map(expanded).collect()
    } else {
        Ok(Arc::clone(list))
    }
}

fn expanded(pattern: &Pattern, principal: &Principal) -> Result<Pattern, PatternError> {
    if !has_placeholder(pattern) {
        return Ok(pattern.clone());
    }
    if pattern.as_str() == PRINCIPAL {
        return Pattern::of_shared(principal.shared_name());
    }
    Pattern::parse(&pattern.as_str().replace(PRINCIPAL, principal.name()))
}
