//! The result of a comparison: text, JSON and the exit code.

mod json;
mod lines;

use std::collections::BTreeMap;

use anyhow::bail;

use super::answer_difference::AnswerDifference;
use super::documented::{self, Heading};
use super::names::Bases;
use crate::cli::difference::plural;
use crate::model::{Label, Query};

/// Nothing differs, or only as documented.
const SAME: u8 = 0;
const DIFFERENT: u8 = 1;
/// At least one environment could not be compared.
const INCOMPLETE: u8 = 2;

/// The result for an environment.
#[derive(Debug)]
pub(super) struct EnvironmentReport {
    pub(super) query: Query,
    pub(super) differences: Vec<AnswerDifference>,
    pub(super) bases: Vec<Bases>,
    /// The revisions of Spring and of Headwater.
    pub(super) versions: [Option<String>; 2],
    /// Spring and Headwater have the environment or not, in this order.
    pub(super) has_content: [bool; 2],
    /// The reason for which it could not be compared.
    pub(super) failure: Option<String>,
}

impl EnvironmentReport {
    pub(super) fn of(query: Query) -> Self {
        let (differences, bases) = (Vec::new(), Vec::new());
        let (versions, has_content) = ([None, None], [false, false]);
        Self { query, differences, bases, versions, has_content, failure: None }
    }

    fn outcome(&self) -> ReportOutcome {
        if self.failure.is_some() {
            return ReportOutcome::Unanswered;
        }
        if self.differences.is_empty() {
            ReportOutcome::Equal
        } else if self.differences.iter().all(|it| it.documented.is_some()) {
            ReportOutcome::Documented
        } else {
            ReportOutcome::Different
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReportOutcome {
    Equal,
    Documented,
    Different,
    Unanswered,
}

/// A difference that all environments of a label have for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
enum LabelDifference {
    /// Spring has no such label.
    Missing,
    /// Without a label Spring serves another branch.
    Default(String),
}

/// The result for a label.
pub(super) struct LabelReport {
    label: Label,
    /// The revision that Headwater has for it.
    revision: String,
    pub(super) environments: Vec<EnvironmentReport>,
    difference: Option<LabelDifference>,
}

impl LabelReport {
    pub(super) fn new(
        label: Label,
        revision: String,
        environments: Vec<EnvironmentReport>,
    ) -> Self {
        Self { label, revision, environments, difference: None }
    }

    fn name(&self) -> &str {
        self.label.name().unwrap_or("the default label")
    }

    /// The revision that Spring answered with, if it was always the same one.
    fn spring_revision(&self) -> Option<&str> {
        let mut versions = self.environments.iter().filter_map(|it| it.versions[0].as_deref());
        let first = versions.next()?;
        versions.all(|version| version == first).then_some(first)
    }

    fn lacks_content_in_spring(&self) -> bool {
        let has = |side: usize| self.environments.iter().any(|it| it.has_content[side]);
        let is_answered = self.environments.iter().all(|it| it.failure.is_none());
        is_answered && has(1) && !has(0)
    }

    /// The outcomes of its environments.
    fn outcomes(&self) -> impl Iterator<Item = ReportOutcome> {
        let is_different = self.difference.is_some();
        self.environments.iter().map(move |environment| match environment.outcome() {
            ReportOutcome::Unanswered => ReportOutcome::Unanswered,
            _ if is_different => ReportOutcome::Different,
            outcome => outcome,
        })
    }
}

/// The result of a comparison.
pub(super) struct CompareReport {
    spring: String,
    headwater: String,
    labels: Vec<LabelReport>,
    shows_values: bool,
}

impl CompareReport {
    pub(super) fn new(
        spring: &str,
        headwater: &str,
        labels: Vec<LabelReport>,
        shows_values: bool,
    ) -> Self {
        let (spring, headwater) = (spring.to_owned(), headwater.to_owned());
        let mut report = Self { spring, headwater, labels, shows_values };
        report.explain_labels();
        report
    }

    /// Finds the labels whose environments all differ for one reason.
    fn explain_labels(&mut self) {
        let revision =
            |label: &LabelReport| Some((label.label.name()?.to_owned(), label.revision.clone()));
        let named: Vec<(String, String)> = self.labels.iter().filter_map(revision).collect();
        for label in &mut self.labels {
            let other = label.spring_revision().filter(|spring| *spring != label.revision);
            let branch = other.and_then(|spring| named.iter().find(|(_, it)| it == spring));
            label.difference = match branch {
                _ if label.lacks_content_in_spring() => Some(LabelDifference::Missing),
                Some((name, _)) if label.label == Label::Default => {
                    Some(LabelDifference::Default(name.clone()))
                }
                _ => None,
            };
        }
    }

    /// # Errors
    /// When Spring has none of the environments that Headwater has: then it is not the server that was meant.
    pub(super) fn refuse_without_answers(&self) -> anyhow::Result<()> {
        let environments = || self.labels.iter().flat_map(|label| &label.environments);
        let is_answered = environments().any(|it| it.has_content[0] || it.failure.is_some());
        if is_answered || !environments().any(|it| it.has_content[1]) {
            return Ok(());
        }
        bail!(
            "{} has none of the {} that {} has: nothing could be compared. Check its URL, with its path prefix, and \
             its log",
            self.spring,
            plural(environments().count(), "environment"),
            self.headwater
        )
    }

    fn count(&self, wanted: ReportOutcome) -> usize {
        self.labels.iter().flat_map(LabelReport::outcomes).filter(|it| *it == wanted).count()
    }

    pub(super) fn exit_code(&self, is_strict: bool) -> u8 {
        let has = |outcome| self.count(outcome) > 0;
        if has(ReportOutcome::Unanswered) {
            INCOMPLETE
        } else if has(ReportOutcome::Different) || is_strict && has(ReportOutcome::Documented) {
            DIFFERENT
        } else {
            SAME
        }
    }

    /// The documented reasons, with how many environments have each.
    fn headings(&self) -> BTreeMap<Heading, usize> {
        let mut counts = BTreeMap::new();
        let labels = self.labels.iter().filter(|label| label.difference.is_none());
        for environment in labels.flat_map(|label| &label.environments) {
            let found: std::collections::BTreeSet<Heading> =
                environment.differences.iter().filter_map(|it| it.documented).collect();
            for heading in found {
                *counts.entry(heading).or_default() += 1;
            }
        }
        counts
    }

    /// `compared 412 environments on 3 labels: 409 equal, 2 differ as documented (Last good), 1 differs`.
    pub(super) fn summary(&self) -> String {
        let count = self.labels.iter().map(|label| label.environments.len()).sum();
        let environments = plural(count, "environment");
        let mut parts = vec![format!("{} equal", self.count(ReportOutcome::Equal))];
        let verb = |count: usize| if count == 1 { "differs" } else { "differ" };
        let documented = self.count(ReportOutcome::Documented);
        if documented > 0 {
            let headings: Vec<&str> =
                self.headings().keys().map(|heading| heading.text()).collect();
            let headings = headings.join("; ");
            parts.push(format!("{documented} {} as documented ({headings})", verb(documented)));
        }
        let different = self.count(ReportOutcome::Different);
        parts.push(format!("{different} {}", verb(different)));
        let unanswered = self.count(ReportOutcome::Unanswered);
        if unanswered > 0 {
            parts.push(format!("{unanswered} could not be compared"));
        }
        let labels = plural(self.labels.len(), "label");
        format!("compared {environments} on {labels}: {}", parts.join(", "))
    }

    /// Remarks that are no differences of an environment.
    fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = self.labels.iter().filter_map(LabelReport::note).collect();
        let is_bare =
            |it: &&EnvironmentReport| it.versions[0].is_none() && it.versions[1].is_some();
        let environments = self.labels.iter().flat_map(|label| &label.environments);
        let count = environments.filter(|it| it.has_content[0]).filter(is_bare).count();
        if count > 0 {
            notes.push(format!(
                "Headwater names a revision in {} in which Spring names none ({})",
                plural(count, "answer"),
                documented::VERSIONS.link()
            ));
        }
        notes
    }
}

impl LabelReport {
    fn note(&self) -> Option<String> {
        let spring = self.spring_revision().filter(|spring| *spring != self.revision)?;
        if self.difference.is_some() {
            return None;
        }
        Some(format!(
            "{}: Spring answered from revision {spring}, Headwater from {}; a server that has not fetched yet explains \
             differences",
            self.name(),
            self.revision
        ))
    }
}
