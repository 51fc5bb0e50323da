//! The report as JSON. `docs/compare.md` documents its shape.

use serde_json::{Value, json};

use super::{CompareReport, EnvironmentReport, LabelDifference, LabelReport, ReportOutcome};
use crate::cli::compare::answer_difference::{AnswerDifference, AnswerSide, DifferenceKind};
use crate::cli::compare::documented::DEFAULT_BRANCH;
use crate::model::Query;

/// The most differences that are listed.
const DIFFERENCE_COUNT_MAX: usize = 10_000;

impl CompareReport {
    pub(in crate::cli::compare) fn as_json(&self) -> Value {
        let environments = || self.labels.iter().flat_map(|label| &label.environments);
        let listed = self.labels.iter().filter(|label| label.difference.is_none());
        let differing = listed.flat_map(|label| &label.environments);
        let differences: Vec<Value> = differing.flat_map(|it| self.differences(it)).collect();
        let failures = environments().filter_map(|it| {
            let mut failure = named(&it.query);
            failure["reason"] = json!(it.failure.as_ref()?);
            Some(failure)
        });
        let documented = self.headings().into_iter().map(|(heading, count)| {
            json!({"heading": heading.text(), "link": heading.link(), "environments": count})
        });
        json!({
            "spring": self.spring,
            "headwater": self.headwater,
            "environments": environments().count(),
            "equal": self.count(ReportOutcome::Equal),
            "documented": self.count(ReportOutcome::Documented),
            "different": self.count(ReportOutcome::Different),
            "unanswered": self.count(ReportOutcome::Unanswered),
            "labels": self.labels.iter().map(LabelReport::as_json).collect::<Vec<_>>(),
            "headings": documented.collect::<Vec<_>>(),
            "omitted": differences.len().saturating_sub(DIFFERENCE_COUNT_MAX),
            "differences": &differences[..differences.len().min(DIFFERENCE_COUNT_MAX)],
            "failures": failures.collect::<Vec<_>>(),
            "notes": self.notes(),
        })
    }

    fn differences(&self, environment: &EnvironmentReport) -> Vec<Value> {
        let differences = environment.differences.iter().map(|difference| {
            let mut shown = named(&environment.query);
            difference.add_to(&mut shown, self.shows_values);
            shown
        });
        differences.collect()
    }
}

fn named(query: &Query) -> Value {
    json!({
        "application": &*query.application,
        "profiles": &*query.profiles,
        "label": query.label.name(),
    })
}

impl LabelReport {
    fn as_json(&self) -> Value {
        let difference = self.difference.as_ref().map(|difference| match difference {
            LabelDifference::Missing => json!({"kind": "missing"}),
            LabelDifference::Default(branch) => {
                json!({"kind": "default", "spring_branch": branch, "documented": DEFAULT_BRANCH.text()})
            },
        });
        json!({
            "label": self.label.name(),
            "environments": self.environments.len(),
            "spring_revision": self.spring_revision(),
            "headwater_revision": self.revision,
            "difference": difference,
        })
    }
}

impl AnswerDifference {
    fn add_to(&self, shown: &mut Value, shows_values: bool) {
        shown["text"] = json!(self.text);
        shown["source"] = json!(self.source);
        shown["key"] = json!(self.key);
        shown["kind"] = json!(self.kind.name());
        shown["documented"] = json!(self.documented.map(|it| it.text()));
        match &self.kind {
            DifferenceKind::Status { spring, headwater } => {
                shown["spring"] = json!(spring);
                shown["headwater"] = json!(headwater);
            }
            DifferenceKind::Type { spring, headwater } if !shows_values => {
                shown["spring"] = json!(spring);
                shown["headwater"] = json!(headwater);
            }
            DifferenceKind::Member(name) => shown["key"] = json!(name),
            DifferenceKind::Text { line } => shown["line"] = json!(line),
            _ if shows_values => {
                shown["spring"] = json!(self.values[0]);
                shown["headwater"] = json!(self.values[1]);
            }
            _ => {}
        }
    }
}

impl DifferenceKind {
    /// The name of the kind in JSON.
    fn name(&self) -> &'static str {
        match self {
            Self::Status { .. } => "status",
            Self::HeldBack => "held",
            Self::Member(_) => "member",
            Self::SourceOnlyIn(AnswerSide::Spring) => "source-only-in-spring",
            Self::SourceOnlyIn(AnswerSide::Headwater) => "source-only-in-headwater",
            Self::SourceOrder => "source-order",
            Self::SourceName => "source-name",
            Self::KeyOnlyIn(AnswerSide::Spring) => "key-only-in-spring",
            Self::KeyOnlyIn(AnswerSide::Headwater) => "key-only-in-headwater",
            Self::Value => "value",
            Self::Type { .. } => "type",
            Self::Order => "order",
            Self::Text { .. } => "text",
        }
    }
}
