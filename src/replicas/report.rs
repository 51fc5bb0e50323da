//! What a replica says of itself, as it stands in etcd. Whatever stands there is read with suspicion: anybody who may
//! write below the prefix could have put it.
//!
//! No time of day is in it: the clocks of two machines differ, and what is counted in seconds does not.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::Label;
use crate::store::{LabelStatus, RemoteStatus, Store};

/// The most labels, and sources, that a replica tells of.
pub(super) const LABEL_COUNT_MAX: usize = 16;
pub(super) const SOURCE_COUNT_MAX: usize = 16;
/// The longest text, in bytes: a label, a revision, an address.
pub(super) const TEXT_BYTES_MAX: usize = 512;
/// The largest report that is read, in bytes.
pub(super) const REPORT_BYTES_MAX: usize = 64 * 1024;

/// What one replica says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// What it is called.
    pub name: String,
    /// The version of the program.
    pub version: String,
    /// The URL that it listens at.
    pub address: String,
    /// How long it has run.
    pub age_seconds: u64,
    /// The labels that it serves, the default one first.
    pub labels: Vec<At>,
    /// How many more labels it serves.
    pub left_out: usize,
    /// How many environments it holds back.
    pub held_back: usize,
    /// How what it serves stands to where that comes from; empty for what is read in place.
    pub sources: Vec<SourceReport>,
    /// It is about to end, because somebody said so.
    pub is_leaving: bool,
}

/// A label, and the revision of it that is served.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct At {
    /// Its name; `None` for the default one.
    pub label: Option<String>,
    /// The revision.
    pub revision: String,
}

/// A source that is elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceReport {
    /// Its name.
    pub source: String,
    /// Why it cannot be heard, if it cannot.
    pub failure: Option<String>,
    /// How long ago all that it had was known; `None` if that never was so.
    pub heard_seconds: Option<u64>,
}

impl Report {
    /// What a server says that was begun so long ago.
    pub(super) fn of(store: &Store, age: Duration) -> Self {
        let mut statuses = store.labels();
        statuses.sort_by(|a, b| a.label.name().cmp(&b.label.name()));
        let live_count = statuses.len();
        let labels: Vec<At> = statuses.iter().filter_map(at).take(LABEL_COUNT_MAX).collect();
        Self {
            age_seconds: age.as_secs(),
            left_out: live_count - labels.len(),
            labels,
            held_back: store.problems().len(),
            sources: store.remotes().into_iter().take(SOURCE_COUNT_MAX).map(source).collect(),
            ..Self::default()
        }
    }

    /// Reads what stands in etcd; nothing if it is no report of a replica.
    pub(super) fn read(value: &[u8]) -> Option<Self> {
        if value.len() > REPORT_BYTES_MAX {
            return None;
        }
        serde_json::from_slice::<Self>(value).ok().filter(Self::is_sound)
    }

    fn is_sound(&self) -> bool {
        let labels = self.labels.iter().flat_map(|at| at.label.iter().chain([&at.revision]));
        let sources = self.sources.iter().flat_map(|it| it.failure.iter().chain([&it.source]));
        let mut texts =
            [&self.name, &self.version, &self.address].into_iter().chain(labels).chain(sources);
        !self.name.is_empty()
            && self.labels.len() <= LABEL_COUNT_MAX
            && self.sources.len() <= SOURCE_COUNT_MAX
            && texts.all(|text| is_short(text) && !text.chars().any(char::is_control))
    }

    /// Whether it says what another one says, but for how long ago things were.
    pub(super) fn says_what(&self, other: &Self) -> bool {
        let timeless = |report: &Self| {
            let mut report = Self { age_seconds: 0, ..report.clone() };
            report.sources.iter_mut().for_each(|source| source.heard_seconds = None);
            report
        };
        timeless(self) == timeless(other)
    }

    /// The revision of a label.
    pub(super) fn revision(&self, label: Option<&str>) -> Option<&str> {
        let at = self.labels.iter().find(|at| at.label.as_deref() == label)?;
        Some(&at.revision)
    }
}

impl At {
    /// The label as everybody else has it.
    pub(super) fn label(&self) -> Label {
        self.label.as_deref().map_or(Label::Default, |name| Label::Named(name.into()))
    }
}

fn at(status: &LabelStatus) -> Option<At> {
    let label = status.label.name().map(str::to_owned);
    let at = At { label, revision: status.revision.as_str().to_owned() };
    let fits = at.label.iter().chain([&at.revision]).all(|text| is_short(text));
    fits.then_some(at)
}

fn source(status: RemoteStatus) -> SourceReport {
    SourceReport {
        source: shortened(&status.name),
        failure: status.failure.as_deref().map(shortened),
        heard_seconds: status.fetched_before.map(|age| age.as_secs()),
    }
}

fn is_short(text: &str) -> bool {
    text.len() <= TEXT_BYTES_MAX
}

/// As much of a text as others take.
fn shortened(text: &str) -> String {
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    text[..end].chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_report_is_passed_over() {
        let sound = r#"{"name":"a","labels":[{"label":null,"revision":"r"}],"later":1}"#;
        assert_eq!(Report::read(sound.as_bytes()).unwrap().revision(None), Some("r"));
        let many = vec![r#"{"revision":"r"}"#; LABEL_COUNT_MAX + 1].join(",");
        for text in [
            "",
            "{}",
            "[]",
            r#"{"name":"a\u0007"}"#,
            r#"{"name":"a","age_seconds":-1}"#,
            &format!(r#"{{"name":"{}"}}"#, "a".repeat(TEXT_BYTES_MAX + 1)),
            &format!(r#"{{"name":"a","labels":[{many}]}}"#),
            &format!(r#"{{"name":"a"{}}}"#, " ".repeat(REPORT_BYTES_MAX)),
        ] {
            assert_eq!(Report::read(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn time_that_goes_by_is_nothing_to_tell() {
        let source = |failure: Option<&str>, heard| SourceReport {
            failure: failure.map(str::to_owned),
            heard_seconds: Some(heard),
            ..SourceReport::default()
        };
        let report = |age_seconds, source| Report {
            age_seconds,
            sources: vec![source],
            ..Report::default()
        };
        let first = report(1, source(None, 1));
        assert!(first.says_what(&report(9, source(None, 4))));
        assert!(!first.says_what(&report(1, source(Some("away"), 1))));
    }
}
