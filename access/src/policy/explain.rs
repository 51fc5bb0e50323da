//! Explanations of decisions, for operators only. A caller never receives one.

use std::fmt;
use std::sync::Arc;

use super::Policy;
use super::decide::{Decision, Denial, Outcome};
use super::rule::{Field, Question, Rule};
use crate::principal::Principal;
use crate::request::Request;
use crate::right::Right;

/// The most single questions that an explanation describes.
const FINDING_COUNT_MAX: usize = 16;

/// A decision with the rules that led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The name of the policy file.
    pub file: Arc<str>,
    pub principal: Principal,
    /// The right and the target.
    pub request: String,
    pub decision: Decision,
    /// One for each combination of names, up to a fixed number.
    pub findings: Vec<Finding>,
}

/// The answer to a question about single names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub question: String,
    /// The line of the rule that allows it.
    pub allowed_by: Option<usize>,
    /// The rule that differs least, if none allows it.
    pub nearest: Option<NearestRule>,
}

/// A rule that does not allow a request, with the reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearestRule {
    pub line: usize,
    /// The fields that differ, each with a description of both sides.
    pub differences: Vec<(Field, String)>,
}

impl Policy {
    /// Explains a decision. The explanation always agrees with `decide`.
    pub fn explain(&self, principal: &Principal, request: &Request<'_>) -> Explanation {
        let decision = self.decide(principal, request);
        let grants = self.grants(principal).unwrap_or_default();
        let mut findings = Vec::new();
        // An end with a denial keeps the findings that were made before.
        let _ = self.each_question(request, |question| {
            if findings.len() == FINDING_COUNT_MAX {
                return Err(Denial::TooManyNames);
            }
            findings.push(self.finding(principal, grants, question));
            Ok(())
        });
        let (file, principal) = (self.file.clone(), principal.clone());
        Explanation { file, principal, request: request.to_string(), decision, findings }
    }

    fn finding(
        &self,
        principal: &Principal,
        grants: &[Arc<Rule>],
        question: &Question<'_>,
    ) -> Finding {
        let allowing = grants.iter().find(|rule| rule.mismatches(question).is_empty());
        let allowed_by = allowing.map(|rule| rule.place.line);
        let nearest = match allowed_by {
            Some(_) => None,
            None => self.nearest(principal, question),
        };
        Finding { question: describe(question), allowed_by, nearest }
    }

    /// The rule with the fewest differences. Rules of the principal come before rules of others.
    fn nearest(&self, principal: &Principal, question: &Question<'_>) -> Option<NearestRule> {
        let candidates = self.rules.iter().filter_map(|rule| {
            let expanded = rule.expanded(principal).ok()?;
            let mut mismatches = expanded.mismatches(question);
            mismatches.add_unless(rule.includes(principal), Field::Who);
            Some((expanded, mismatches))
        });
        let (rule, mismatches) = candidates.min_by_key(|(_, mismatches)| mismatches.distance())?;
        let difference = |field| (field, rule.difference(field, principal, question));
        let differences = mismatches.iter().map(difference).collect();
        Some(NearestRule { line: rule.place.line, differences })
    }
}

impl Rule {
    /// Describes both sides of a difference.
    fn difference(&self, field: Field, principal: &Principal, question: &Question<'_>) -> String {
        let listed = match field {
            Field::Who => list(&self.who),
            Field::May => {
                self.may.iter().map(|right| right.as_str()).collect::<Vec<_>>().join(", ")
            }
            Field::Application => match &self.application {
                None => "no application".to_owned(),
                Some(patterns) if self.except.is_empty() => list(patterns),
                Some(patterns) => format!("{} except {}", list(patterns), list(&self.except)),
            },
            Field::Path => list(self.paths()),
            Field::Branch => list(&self.branch),
            Field::Profile => list(&self.profile),
            Field::Label => list(&self.label),
            Field::Force | Field::Delete => "false".to_owned(),
        };
        let listed = if listed.is_empty() { "none" } else { &listed };
        format!("the rule has {listed}, the request {}", asked(field, principal, question))
    }
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// The side of the request in a difference.
fn asked(field: Field, principal: &Principal, question: &Question<'_>) -> String {
    match (field, question) {
        (Field::Who, _) => format!("{principal} ({})", principal.kind()),
        (Field::May, question) => right_of(question).as_str().to_owned(),
        (Field::Force | Field::Delete, _) => "true".to_owned(),
        (Field::Application, Question::Environment { application, .. })
        | (Field::Application, Question::Rollout { application }) => (*application).to_owned(),
        (Field::Application, Question::Seal { application }) => {
            application.unwrap_or("none").to_owned()
        }
        (Field::Application | Field::Profile, Question::File { ownership, .. }) => {
            owners(ownership, field)
        }
        (Field::Application, Question::Push { ownership: Some(ownership), .. }) => {
            owners(ownership, field)
        }
        (Field::Path, Question::File { path, .. }) => (*path).to_owned(),
        (Field::Path, Question::Push { change, .. }) => {
            change.path.as_deref().unwrap_or("none").to_owned()
        }
        (Field::Branch, Question::Push { change, .. }) => change.reference.to_string(),
        (Field::Profile, Question::Environment { profile, .. }) => (*profile).to_owned(),
        (Field::Label, Question::Environment { label, .. } | Question::File { label, .. }) => {
            label.to_string()
        }
        _ => "none".to_owned(),
    }
}

fn owners(ownership: &super::area::Ownership<'_>, field: Field) -> String {
    let names = ownership.claims.iter().map(|claim| {
        if field == Field::Profile {
            claim.profiles.join(" and ")
        } else {
            claim.application.to_string()
        }
    });
    let names = names.collect::<Vec<_>>().join(" or ");
    let why = match ownership.kind {
        super::OwnershipKind::Area => "by its area",
        super::OwnershipKind::Directory => "by its directory",
        super::OwnershipKind::Name => "by its name",
        super::OwnershipKind::Shared => "shared by all applications",
        super::OwnershipKind::Unknown => "which the policy does not know",
    };
    let names = if names.is_empty() { "a file of no application" } else { &names };
    format!("{names} ({why})")
}

fn right_of(question: &Question<'_>) -> Right {
    match question {
        Question::Environment { right, .. } | Question::Server(right) => *right,
        Question::File { .. } => Right::File,
        Question::Push { .. } => Right::Push,
        Question::Seal { .. } => Right::Seal,
        Question::Rollout { .. } => Right::Rollout,
    }
}

fn describe(question: &Question<'_>) -> String {
    let right = right_of(question).phrase();
    match question {
        Question::Environment { application, profile, label, .. } => {
            format!("{right} {application}/{profile} at {label}")
        }
        Question::File { path, label, .. } => format!("{right} {path} at {label}"),
        Question::Push { change, .. } => {
            let path = change.path.as_deref().unwrap_or("(no path)");
            format!("{right} {path} to {}", change.reference)
        }
        Question::Seal { application: Some(application) } | Question::Rollout { application } => {
            format!("{right} {application}")
        }
        Question::Seal { application: None } => format!("{right} no application"),
        Question::Server(_) => right.to_owned(),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, principal) = (&self.file, &self.principal);
        match self.decision.outcome {
            Outcome::Allowed { rule } => {
                write!(f, "{principal} may {}, by the rule {file}:{rule}", self.request)?;
            }
            Outcome::Denied(denial) => {
                write!(f, "{principal} may not {}: {denial}", self.request)?;
                if !self.decision.is_enforced {
                    write!(f, ". The policy only records this denial (enforce = false)")?;
                }
            }
        }
        for finding in &self.findings {
            match (&finding.allowed_by, &finding.nearest) {
                (Some(rule), _) if self.findings.len() > 1 => {
                    write!(f, "\n  {}: allowed by {file}:{rule}", finding.question)?;
                }
                (None, Some(nearest)) => {
                    let line = nearest.line;
                    write!(f, "\n  {}: the closest rule is {file}:{line}", finding.question)?;
                    for (field, difference) in &nearest.differences {
                        write!(f, "\n    {field}: {difference}")?;
                    }
                }
                (None, None) => write!(f, "\n  {}: the policy has no rule", finding.question)?,
                (Some(_), _) => {}
            }
        }
        Ok(())
    }
}
