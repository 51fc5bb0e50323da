//! The report as lines for people: names of keys, and values if they were asked for.

use super::{CompareReport, EnvironmentReport, LabelDifference, LabelReport};
use crate::cli::compare::answer_difference::{AnswerDifference, AnswerSide, DifferenceKind};
use crate::cli::compare::documented::DEFAULT_BRANCH;
use crate::cli::difference::plural;
use crate::cli::output;
use crate::model::Query;

/// The most environments that are printed, and the most differences of one.
const ENVIRONMENT_COUNT_MAX: usize = 200;
const DIFFERENCE_COUNT_MAX: usize = 50;

impl CompareReport {
    pub(in crate::cli::compare) fn as_text(&self) -> String {
        let mut lines = Vec::new();
        for label in self.labels.iter().filter(|label| label.difference.is_some()) {
            lines.extend(label.line());
        }
        let labels = self.labels.iter().filter(|label| label.difference.is_none());
        let differing = labels
            .flat_map(|label| &label.environments)
            .filter(|it| it.failure.is_some() || !it.differences.is_empty());
        let differing: Vec<&EnvironmentReport> = differing.collect();
        for environment in differing.iter().take(ENVIRONMENT_COUNT_MAX) {
            lines.extend(environment.lines(self.shows_values));
        }
        if differing.len() > ENVIRONMENT_COUNT_MAX {
            let left_out = differing.len() - ENVIRONMENT_COUNT_MAX;
            lines.push(format!("and {left_out} more environments; --output json lists all"));
        }
        lines.extend(self.notes().into_iter().map(|note| format!("note: {note}")));
        lines.iter().map(|line| output::one_line(line) + "\n").collect()
    }
}

impl LabelReport {
    fn line(&self) -> Option<String> {
        let (name, count) = (self.name(), plural(self.environments.len(), "environment"));
        Some(match self.difference.as_ref()? {
            LabelDifference::Missing => {
                format!("{name}: Spring has none of its {count}; Headwater has them")
            }
            LabelDifference::Default(branch) => format!(
                "{name}: Spring serves the branch {branch}, Headwater another one, in {count}. Set default_label = \
                 \"{branch}\" in the [[source]] of headwater.toml (documented: {}, {})",
                DEFAULT_BRANCH.text(),
                DEFAULT_BRANCH.link()
            ),
        })
    }
}

/// `application/profiles` with the label.
pub(super) fn name(query: &Query) -> String {
    let label = query.label.name().map_or_else(String::new, |label| format!(" at {label}"));
    format!("{}/{}{label}", query.application, query.profiles)
}

impl EnvironmentReport {
    fn lines(&self, shows_values: bool) -> Vec<String> {
        let name = name(&self.query);
        let mut lines: Vec<String> =
            self.failure.iter().map(|reason| format!("{name}: not compared: {reason}")).collect();
        let shown = self.differences.iter().take(DIFFERENCE_COUNT_MAX);
        lines.extend(shown.map(|it| format!("{name}: {}", it.line(shows_values))));
        if self.differences.len() > DIFFERENCE_COUNT_MAX {
            let left_out = self.differences.len() - DIFFERENCE_COUNT_MAX;
            lines.push(format!("{name}: and {left_out} more differences"));
        }
        lines
    }
}

impl AnswerDifference {
    fn line(&self, shows_values: bool) -> String {
        let places = [&self.text, &self.source, &self.key];
        let place: String = places.into_iter().flatten().map(|it| format!("{it}: ")).collect();
        let documented = self.documented.map_or_else(String::new, |heading| {
            format!(" (documented: {}, {})", heading.text(), heading.link())
        });
        let values = if shows_values { self.shown_values() } else { String::new() };
        format!("{place}{}{values}{documented}", self.kind.text())
    }

    fn shown_values(&self) -> String {
        let [spring, ours] = &self.values;
        let shown = [("Spring", spring), ("Headwater", ours)].into_iter();
        let shown = shown.filter_map(|(side, value)| Some(format!("{side} {:?}", value.as_ref()?)));
        let shown: Vec<String> = shown.collect();
        if shown.is_empty() { String::new() } else { format!(": {}", shown.join(", ")) }
    }
}

impl DifferenceKind {
    /// The kind for people.
    fn text(&self) -> String {
        match self {
            Self::Status { spring, headwater } => {
                format!("Spring answers {spring}, Headwater {headwater}")
            }
            Self::HeldBack => {
                "Headwater answers from an earlier revision, for the newest one has an error"
                    .to_owned()
            }
            Self::Member(name) => format!("the member `{name}` differs"),
            Self::SourceOnlyIn(side) => format!("the source is only in {}", side.name()),
            Self::SourceOrder => "the source has another place in the order".to_owned(),
            Self::SourceName => "a source has another path".to_owned(),
            Self::KeyOnlyIn(side) => format!("only in {}", side.name()),
            Self::Value => "another value".to_owned(),
            Self::Type { spring, headwater } => {
                format!("another type: Spring {spring}, Headwater {headwater}")
            }
            Self::Order => "another order of keys".to_owned(),
            Self::Text { line } => format!("the text differs from line {line} on"),
        }
    }
}

impl AnswerSide {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Spring => "Spring",
            Self::Headwater => "Headwater",
        }
    }
}
