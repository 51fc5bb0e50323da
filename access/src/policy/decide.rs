//! Decisions. They depend on the policy and on the names in the request, and on nothing that exists or does not exist.

use std::sync::Arc;

use super::Policy;
use super::area::{Ownership, is_normal};
use super::rule::{Question, Rule};
use crate::principal::Principal;
use crate::request::{Change, Environment, Label, Request};
use crate::right::Right;

/// The most combinations of applications, profiles and labels that one request may ask for, unless one rule allows all
/// of them. The bound limits the work for a request that is going to be denied.
pub const COMBINATION_COUNT_MAX: usize = 4096;

/// The answer of a policy to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    pub outcome: Outcome,
    /// False if the policy only records what it would deny.
    pub is_enforced: bool,
}

/// The answer of the rules, enforced or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A rule allows the request. Where several rules are needed for a list of names, this is the rule of the first
    /// one.
    Allowed {
        /// The line of the rule.
        rule: usize,
    },
    Denied(Denial),
}

/// The reason of a denial, for the audit trail. The caller never receives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    #[error("no rule allows it")]
    NoRule,
    #[error("the policy declares no such principal")]
    UnknownPrincipal,
    #[error("the request names no object")]
    NoName,
    #[error("the request names more than {COMBINATION_COUNT_MAX} combinations")]
    TooManyNames,
    #[error("the path is not relative, is too long, or has an empty, \".\" or \"..\" segment")]
    InvalidPath,
}

impl Decision {
    /// Returns true if the rules allow the request.
    pub fn is_allowed(&self) -> bool {
        matches!(self.outcome, Outcome::Allowed { .. })
    }

    /// Returns true if the server performs the request.
    pub fn is_permitted(&self) -> bool {
        self.is_allowed() || !self.is_enforced
    }

    /// Returns true if the server performs the request although the rules deny it. Such a request is recorded.
    pub fn is_recorded_denial(&self) -> bool {
        !self.is_allowed() && !self.is_enforced
    }
}

impl Policy {
    /// Decides whether a principal may perform a request. Without a rule that allows it, the request is denied.
    ///
    /// Invariant: the answer does not change with the order of rules, or with a rule that is added and names the
    /// principal nowhere.
    pub fn decide(&self, principal: &Principal, request: &Request<'_>) -> Decision {
        let outcome = match self.grants(principal) {
            None => Outcome::Denied(Denial::UnknownPrincipal),
            Some(grants) => self.outcome(grants, request),
        };
        Decision { outcome, is_enforced: self.is_enforced }
    }

    /// Returns true if a rule allows the principal some push.
    pub fn allows_some_push(&self, principal: &Principal) -> bool {
        let grants = self.grants(principal).unwrap_or_default();
        grants.iter().any(|rule| rule.may.contains(Right::Push))
    }

    /// Returns true if a rule allows the principal to control the rollouts of some application.
    pub fn allows_some_rollout(&self, principal: &Principal) -> bool {
        let grants = self.grants(principal).unwrap_or_default();
        grants.iter().any(|rule| rule.may.contains(Right::Rollout))
    }

    /// Returns true if one rule allows this change of a reference with any paths, so that they need not be compared.
    pub fn allows_every_path(&self, principal: &Principal, change: &Change<'_>) -> bool {
        let is_nested = self.areas.known().iter().any(|name| name.contains('/'));
        let grants = self.grants(principal).unwrap_or_default();
        grants.iter().any(|rule| rule.allows_every_path(change, is_nested))
    }

    /// Returns true if, for each label, a rule lets the principal read an environment, whatever its application is.
    pub fn allows_some_read(&self, principal: &Principal, labels: &[Label<'_>]) -> bool {
        let grants = self.grants(principal).unwrap_or_default();
        let reads = |label: &Label<'_>| {
            grants.iter().any(|rule| rule.may.contains(Right::Read) && rule.names_label(label))
        };
        !labels.is_empty() && labels.iter().all(reads)
    }

    /// Returns true if, for each application, a rule lets the principal read it in some profile and at some label.
    pub fn allows_some_environment<'n>(
        &self,
        principal: &Principal,
        applications: impl Iterator<Item = &'n str>,
    ) -> bool {
        let grants = self.grants(principal).unwrap_or_default();
        let reads = |name: &str| {
            grants.iter().any(|rule| rule.may.contains(Right::Read) && rule.names_application(name))
        };
        let mut applications = applications.peekable();
        applications.peek().is_some() && applications.all(reads)
    }

    /// Returns true if, for each label, a rule lets the principal read the application in some profile.
    pub fn allows_some_profile(
        &self,
        principal: &Principal,
        application: &str,
        labels: &[Label<'_>],
    ) -> bool {
        let grants = self.grants(principal).unwrap_or_default();
        let reads = |label: &Label<'_>| {
            grants.iter().any(|rule| {
                rule.may.contains(Right::Read)
                    && rule.names_application(application)
                    && rule.names_label(label)
            })
        };
        !labels.is_empty() && labels.iter().all(reads)
    }

    fn outcome(&self, grants: &[Arc<Rule>], request: &Request<'_>) -> Outcome {
        if let Request::Read(target) | Request::Open(target) = request {
            let names = (&target.applications[..], &target.profiles[..], &target.labels[..]);
            match sufficient_rule(grants, request.right(), target) {
                Some(rule) => return Outcome::Allowed { rule: rule.place.line },
                None if matches!(names, ([_], [_], [_])) => return Outcome::Denied(Denial::NoRule),
                None => {}
            }
        }
        let asked = self.each_question(request, |question| {
            let rule = grants.iter().find(|rule| rule.mismatches(question).is_empty());
            rule.map(|rule| rule.place.line).ok_or(Denial::NoRule)
        });
        match asked {
            Ok(rule) => Outcome::Allowed { rule },
            Err(denial) => Outcome::Denied(denial),
        }
    }

    /// Splits a request into questions about single names and asks them in order, until one is answered by a denial.
    /// Returns the first answer.
    pub(super) fn each_question<T>(
        &self,
        request: &Request<'_>,
        mut ask: impl FnMut(&Question<'_>) -> Result<T, Denial>,
    ) -> Result<T, Denial> {
        match request {
            Request::Read(target) | Request::Open(target) => {
                each_environment(request.right(), target, ask)
            }
            Request::File(file) => {
                let path: &str = &file.path;
                let ownership = self.ownership_of(path)?;
                first(
                    file.labels
                        .iter()
                        .map(|label| ask(&Question::File { path, ownership: &ownership, label })),
                )
            }
            Request::Push(change) => {
                let ownership = change.path.as_deref().map(|path| self.ownership_of(path));
                let ownership = ownership.transpose()?;
                ask(&Question::Push { change, ownership: ownership.as_ref() })
            }
            Request::Seal(names) if names.is_empty() => ask(&Question::Seal { application: None }),
            Request::Seal(names) => {
                first(names.iter().map(|name| ask(&Question::Seal { application: Some(name) })))
            }
            Request::Rollout(names) => {
                first(names.iter().map(|name| ask(&Question::Rollout { application: name })))
            }
            Request::Server(right) => ask(&Question::Server(right.right())),
        }
    }

    fn ownership_of<'p>(&'p self, path: &'p str) -> Result<Ownership<'p>, Denial> {
        if is_normal(path) { Ok(self.ownership(path)) } else { Err(Denial::InvalidPath) }
    }
}

/// The rule that allows every combination by itself. Most requests need no other work.
fn sufficient_rule<'r>(
    grants: &'r [Arc<Rule>],
    right: Right,
    target: &Environment<'_>,
) -> Option<&'r Arc<Rule>> {
    if target.applications.is_empty() || target.profiles.is_empty() || target.labels.is_empty() {
        return None;
    }
    grants.iter().find(|rule| {
        rule.may.contains(right)
            && target.applications.iter().all(|name| rule.names_application(name))
            && target.profiles.iter().all(|name| rule.names_profile(name))
            && target.labels.iter().all(|label| rule.names_label(label))
    })
}

fn each_environment<T>(
    right: Right,
    target: &Environment<'_>,
    mut ask: impl FnMut(&Question<'_>) -> Result<T, Denial>,
) -> Result<T, Denial> {
    let counts = [target.applications.len(), target.profiles.len(), target.labels.len()];
    let count = counts.into_iter().fold(1_usize, usize::saturating_mul);
    if count > COMBINATION_COUNT_MAX {
        return Err(Denial::TooManyNames);
    }
    let names = target.applications.iter().flat_map(|application| {
        let profiles = target.profiles.iter();
        profiles.flat_map(move |profile| {
            target.labels.iter().map(move |label: &Label<'_>| (application, profile, label))
        })
    });
    first(names.map(|(application, profile, label)| {
        ask(&Question::Environment { right, application, profile, label })
    }))
}

/// The first of all answers, if none of them is a denial. A request without names is denied.
fn first<T>(answers: impl Iterator<Item = Result<T, Denial>>) -> Result<T, Denial> {
    let mut found = None;
    for answer in answers {
        let answer = answer?;
        found.get_or_insert(answer);
    }
    found.ok_or(Denial::NoName)
}
