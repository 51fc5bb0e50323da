//! The report that a replica writes to etcd about itself. Reports are validated when they are read, because any client
//! with write access below the prefix could have written them.
//!
//! A report contains ages in seconds and no time of day, because the clocks of two machines differ.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::access::Guard;
use crate::faults::{Fault, FaultKind};
use crate::model::Label;
use crate::store::{LabelStatus, RemoteStatus, Store};

/// The most labels in a report.
pub(super) const LABEL_COUNT_MAX: usize = 16;
/// The most sources in a report.
pub(super) const SOURCE_COUNT_MAX: usize = 16;
/// The most faults in a report.
pub(super) const FAULT_COUNT_MAX: usize = 16;
/// The longest text in a report, such as a label, a revision or an address, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 512;
/// The most repositories in a report.
const REPOSITORY_COUNT_MAX: usize = 64;
/// The largest serialised report that is accepted, in bytes.
pub(super) const REPORT_BYTES_MAX: usize = 64 * 1024;

/// The state of one replica, as the replica itself reports it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplicaReport {
    /// The configured name of the replica.
    pub name: String,
    /// The version of the program.
    pub version: String,
    /// The URL at which the replica listens.
    pub address: String,
    /// The time since the process started.
    pub age_seconds: u64,
    /// The served labels, with the default label first.
    pub labels: Vec<LabelRevision>,
    /// The number of served labels that did not fit into `labels`.
    pub left_out: usize,
    /// The number of environments that are held back.
    pub held_back: usize,
    /// The remote sources. Sources on the machine itself are not listed.
    pub sources: Vec<SourceReport>,
    /// The faults of the replica, each as a line of text.
    pub faults: Vec<String>,
    /// The policy in force. `None` without one, and in the report of an older version.
    pub policy: Option<PolicyReport>,
    /// The repositories that replicas share and whose rollouts this replica follows. `None` in the report of a version
    /// without rollouts.
    pub rollouts: Option<Vec<String>>,
    /// True in the last report of a replica that is stopping.
    pub is_leaving: bool,
}

/// The policy of a replica.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyReport {
    /// The first digits of the digest of the file.
    pub digest: String,
    /// The time since the policy took effect.
    pub age_seconds: u64,
}

/// A label and its served revision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LabelRevision {
    /// The name of the label. `None` for the default label.
    pub label: Option<String>,
    /// The served revision.
    pub revision: String,
}

/// The state of a remote source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceReport {
    /// The name of the source.
    pub source: String,
    /// The reason of the last failure, while the source is unreachable.
    pub failure: Option<String>,
    /// The time since the last complete fetch. `None` if there was none.
    pub heard_seconds: Option<u64>,
}

impl ReplicaReport {
    /// Makes the report of a server that has run for `age`. The caller adds name, version and address.
    pub(super) fn of(store: &Store, age: Duration) -> Self {
        let mut statuses = store.label_statuses();
        statuses.sort_by(|a, b| a.label.name().cmp(&b.label.name()));
        let live_count = statuses.len();
        let labels: Vec<LabelRevision> =
            statuses.iter().filter_map(label_revision).take(LABEL_COUNT_MAX).collect();
        Self {
            age_seconds: age.as_secs(),
            left_out: live_count - labels.len(),
            labels,
            held_back: store.problems().len(),
            faults: faults(store),
            sources: store.remotes().into_iter().take(SOURCE_COUNT_MAX).map(source).collect(),
            ..Self::default()
        }
    }

    /// Parses and validates a value from etcd. Returns `None` if it is not a valid report.
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        if value.len() > REPORT_BYTES_MAX {
            return None;
        }
        serde_json::from_slice::<Self>(value).ok().filter(Self::is_valid)
    }

    fn is_valid(&self) -> bool {
        let labels = self.labels.iter().flat_map(|it| it.label.iter().chain([&it.revision]));
        let sources = self.sources.iter().flat_map(|it| it.failure.iter().chain([&it.source]));
        let own = [&self.name, &self.version, &self.address].into_iter();
        let own = own.chain(self.policy.iter().map(|policy| &policy.digest));
        let repositories = self.rollouts.as_deref().unwrap_or_default();
        let mut texts = own.chain(labels).chain(sources).chain(&self.faults).chain(repositories);
        !self.name.is_empty()
            && self.labels.len() <= LABEL_COUNT_MAX
            && self.sources.len() <= SOURCE_COUNT_MAX
            && self.faults.len() <= FAULT_COUNT_MAX
            && repositories.len() <= REPOSITORY_COUNT_MAX
            && texts.all(|text| is_short(text) && !text.chars().any(char::is_control))
    }

    /// Returns true if two reports differ in nothing but ages.
    pub(super) fn equals_without_ages(&self, other: &Self) -> bool {
        let without_ages = |report: &Self| {
            let mut report = Self { age_seconds: 0, ..report.clone() };
            report.sources.iter_mut().for_each(|source| source.heard_seconds = None);
            report.policy.iter_mut().for_each(|policy| policy.age_seconds = 0);
            report
        };
        without_ages(self) == without_ages(other)
    }

    /// Returns the report with its ages advanced by a number of seconds. A healthy source has no age to advance.
    pub(super) fn aged(&self, seconds: u64) -> Self {
        let mut report = self.clone();
        report.age_seconds = report.age_seconds.saturating_add(seconds);
        if let Some(policy) = &mut report.policy {
            policy.age_seconds = policy.age_seconds.saturating_add(seconds);
        }
        for source in report.sources.iter_mut().filter(|source| source.failure.is_some()) {
            source.heard_seconds = source.heard_seconds.map(|it| it.saturating_add(seconds));
        }
        report
    }

    /// Returns the served revision of a label.
    pub(super) fn revision(&self, label: Option<&str>) -> Option<&str> {
        let found = self.labels.iter().find(|it| it.label.as_deref() == label)?;
        Some(&found.revision)
    }
}

impl PolicyReport {
    pub(super) fn of(guard: &Guard) -> Self {
        Self { digest: guard.digest(), age_seconds: guard.age().as_secs() }
    }
}

impl LabelRevision {
    /// Returns the label as a value of the model.
    pub(super) fn label(&self) -> Label {
        self.label.as_deref().map_or(Label::Default, |name| Label::Named(name.into()))
    }
}

/// Returns `None` for a label or a revision that is too long for a report.
fn label_revision(status: &LabelStatus) -> Option<LabelRevision> {
    let label = status.label.name().map(str::to_owned);
    let found = LabelRevision { label, revision: status.revision.as_str().to_owned() };
    let fits = found.label.iter().chain([&found.revision]).all(|text| is_short(text));
    fits.then_some(found)
}

/// Lists the faults that other replicas cannot see for themselves. Remote sources have their own part of the report.
fn faults(store: &Store) -> Vec<String> {
    let is_own = |fault: &Fault| {
        !matches!(
            fault.kind,
            FaultKind::RemoteUnreachable
                | FaultKind::ShareUnreachable
                | FaultKind::ReplicaGone
                | FaultKind::ReplicaNamesake
        )
    };
    let faults = store.known_faults().into_iter().filter(is_own).take(FAULT_COUNT_MAX);
    faults.map(|fault| shortened(&fault.text())).collect()
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

/// Cuts a text to the length that other replicas accept.
fn shortened(text: &str) -> String {
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    text[..end].chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_report_is_ignored() {
        let valid = r#"{"name":"a","labels":[{"label":null,"revision":"r"}],"later":1}"#;
        assert_eq!(ReplicaReport::parse(valid.as_bytes()).unwrap().revision(None), Some("r"));
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
            assert_eq!(ReplicaReport::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn ages_do_not_make_reports_differ() {
        let source = |failure: Option<&str>, heard| SourceReport {
            failure: failure.map(str::to_owned),
            heard_seconds: Some(heard),
            ..SourceReport::default()
        };
        let report = |age_seconds, source| ReplicaReport {
            age_seconds,
            sources: vec![source],
            ..ReplicaReport::default()
        };
        let first = report(1, source(None, 1));
        assert!(first.equals_without_ages(&report(9, source(None, 4))));
        assert!(!first.equals_without_ages(&report(1, source(Some("away"), 1))));
        let policy = |digest: &str, age_seconds| ReplicaReport {
            policy: Some(PolicyReport { digest: digest.to_owned(), age_seconds }),
            ..first.clone()
        };
        assert!(policy("0123abcd", 1).equals_without_ages(&policy("0123abcd", 9)));
        assert!(!policy("0123abcd", 1).equals_without_ages(&policy("4567abcd", 1)));
        assert_eq!(policy("0123abcd", 1).aged(8).policy, policy("0123abcd", 9).policy);
    }
}
