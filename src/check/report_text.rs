//! The text of a check's report: problems and warnings first, then changes, then a summary.

use std::fmt::Write;

use super::{CheckReport, EnvironmentChange, HiddenCounts};
use crate::model::{Problem, Query};
use crate::terminal;

/// The most problems, warnings or environments that are listed.
const LINE_COUNT_MAX: usize = 20;
/// The most keys that are named for one environment.
const KEY_COUNT_MAX: usize = 6;
/// The longest line, in characters.
const LINE_LENGTH_MAX: usize = 400;

/// The last line for a push that is rejected because of problems.
const REJECTED: &str =
    "push rejected, no branch was updated. Fix the problems above, commit, and push again";
/// The same if contracts are the only reason.
const REJECTED_BY_CONTRACTS: &str = "push rejected, no branch was updated. Fix the problems above, commit, and push again, \
     or push with -o override=contract -o reason=<text>";
/// The last line for a push that is rejected because its checks did not finish and found no problem.
const UNFINISHED_REJECTED: &str = "push rejected, no branch was updated. Push again, or push fewer changes at a time; \
     the operator can raise push.check_seconds_max, or accept unchecked pushes with push.unfinished_checks = accept";
/// The last line for such a push if the operator accepts it.
const UNFINISHED_ACCEPTED: &str =
    "accepted although it was not checked completely, because push.unfinished_checks = accept";
/// The last line for a push with problems if checks only warn.
const WARNED: &str = "accepted in spite of that, because push.checks = warn";

/// The consequence of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforcement {
    /// The report is shown, and nothing else happens.
    Tell,
    /// A change with problems is rejected.
    Refuse(TimeoutAction),
    /// Every change is accepted, and its problems are reported: `push.checks = "warn"`.
    Warn,
}

/// The consequence of a check that reached its deadline without finding a problem.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TimeoutAction {
    /// The change is rejected.
    #[default]
    Reject,
    /// The change is accepted: `push.unfinished_checks = "accept"`.
    Accept,
}

impl Enforcement {
    /// Returns true if a change with this report is rejected.
    pub fn rejects(self, report: &CheckReport) -> bool {
        match self {
            Self::Tell | Self::Warn => false,
            Self::Refuse(TimeoutAction::Accept) => report.has_problems(),
            Self::Refuse(TimeoutAction::Reject) => report.has_problems() || !report.is_finished(),
        }
    }
}

/// All lines of a report.
pub fn report_lines(report: &CheckReport, enforcement: Enforcement) -> Vec<String> {
    let mut lines = finding_lines(report);
    lines.extend(outcome_lines(report, enforcement));
    lines
}

/// A line for each problem and each warning, without terminal control sequences and without values of properties.
pub fn finding_lines(report: &CheckReport) -> Vec<String> {
    let mut lines = listed(&report.problems, "problems", Problem::to_string);
    let warning = |warning: &Problem| format!("warning: {warning}");
    lines.extend(listed(&report.warnings, "warnings", warning));
    lines.extend(hidden(report));
    plain_all(&lines)
}

/// The lines on changes, the summary, and the consequence.
pub fn outcome_lines(report: &CheckReport, enforcement: Enforcement) -> Vec<String> {
    let mut lines = Vec::new();
    if report.is_compared && (!report.has_problems() || enforcement == Enforcement::Warn) {
        lines.extend(changes(report));
    }
    lines.push(summary(report));
    if !report.is_finished() {
        lines.push(unchecked(report));
    }
    lines.extend(consequence(report, enforcement).map(str::to_owned));
    plain_all(&lines)
}

fn consequence(report: &CheckReport, enforcement: Enforcement) -> Option<&'static str> {
    let has_problems = report.has_problems();
    let problem_count = report.problems.len() + report.hidden.problems;
    let are_contracts_alone = report.contract_problem_count == problem_count;
    match enforcement {
        Enforcement::Refuse(_) if has_problems && are_contracts_alone => {
            Some(REJECTED_BY_CONTRACTS)
        }
        Enforcement::Refuse(_) if has_problems => Some(REJECTED),
        Enforcement::Refuse(_) | Enforcement::Tell if report.is_finished() => None,
        Enforcement::Tell => None,
        Enforcement::Refuse(TimeoutAction::Reject) => Some(UNFINISHED_REJECTED),
        Enforcement::Refuse(TimeoutAction::Accept) => Some(UNFINISHED_ACCEPTED),
        Enforcement::Warn if has_problems || !report.is_finished() => Some(WARNED),
        Enforcement::Warn => None,
    }
}

/// The line on findings that the reader may not read.
fn hidden(report: &CheckReport) -> Option<String> {
    let HiddenCounts { problems, warnings, .. } = report.hidden;
    let counts = [(problems, "problem"), (warnings, "warning")];
    let counts: Vec<String> = counts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, noun)| plural(count, noun))
        .collect();
    (!counts.is_empty()).then(|| {
        format!("{} in files that you may not read: ask the operator", counts.join(" and "))
    })
}

/// The line on files and environments that were not checked before the deadline.
fn unchecked(report: &CheckReport) -> String {
    let files = report.known_file_count - report.file_count;
    let environments = report.known_count - report.environment_count;
    let counts = [(files, "file"), (environments, "environment")];
    let counts: Vec<String> = counts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, noun)| plural(count, noun))
        .collect();
    let more = if files + environments > report.unchecked.len() { ", …" } else { "" };
    format!(
        "time ran out (push.check_seconds_max) before {} could be checked: {}{more}",
        counts.join(" and "),
        report.unchecked.join(", ")
    )
}

fn plain_all(lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| plain(line)).collect()
}

/// The summary: numbers of files, environments, problems and warnings.
fn summary(report: &CheckReport) -> String {
    let CheckReport { problems, warnings, hidden, .. } = report;
    let (problem_count, warning_count) =
        (problems.len() + hidden.problems, warnings.len() + hidden.warnings);
    let files = of(report.file_count, report.known_file_count, "file");
    let environments = of(report.environment_count, report.known_count, "environment");
    let found = match problem_count {
        0 => "no problem".to_owned(),
        count => plural(count, "problem"),
    };
    let warned = match warning_count {
        0 => String::new(),
        count => format!(", {}", plural(count, "warning")),
    };
    format!("checked {files}, {environments}: {found}{warned}")
}

/// A count such as `400 of 20,000 environments`, or `400 environments` if these are all.
fn of(number: usize, all: usize, noun: &str) -> String {
    if number < all {
        format!("{} of {}", count(number), plural(all, noun))
    } else {
        plural(number, noun)
    }
}

fn listed<T>(items: &[T], noun: &str, say: impl Fn(&T) -> String) -> Vec<String> {
    let mut lines: Vec<String> = items.iter().take(LINE_COUNT_MAX).map(say).collect();
    if items.len() > LINE_COUNT_MAX {
        lines.push(format!("and {} more {noun}", count(items.len() - LINE_COUNT_MAX)));
    }
    lines
}

/// A line for each changed environment, with names and watchers in columns.
fn changes(report: &CheckReport) -> Vec<String> {
    let changes = &report.changes;
    let is_all = report.environment_count == report.known_count;
    let hidden_count = report.hidden.environments;
    let least = if is_all { "" } else { "at least " };
    if changes.is_empty() && hidden_count > 0 {
        let hidden = plural(hidden_count, "environment");
        return vec![format!("changes {least}{hidden} that you may not read")];
    }
    if changes.is_empty() {
        let none = is_all.then(|| "changes no environment".to_owned());
        return none.into_iter().collect();
    }
    let shown = &changes[..changes.len().min(LINE_COUNT_MAX)];
    let names: Vec<String> = shown.iter().map(|change| name(&change.query)).collect();
    let name_width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let watchers: Vec<String> = shown.iter().map(|change| watched(change.watcher_count)).collect();
    let watcher_width = watchers.iter().map(String::len).max().unwrap_or(0);
    let mut lines = vec![format!("changes {least}{}:", plural(changes.len(), "environment"))];
    for ((change, name), watchers) in shown.iter().zip(&names).zip(&watchers) {
        let keys = keys(change);
        lines.push(match watcher_width {
            0 => format!("  {name:name_width$}  {keys}"),
            width => format!("  {name:name_width$}  {watchers:width$}  {keys}"),
        });
    }
    if changes.len() > shown.len() {
        lines.push(format!("  and {} more", count(changes.len() - shown.len())));
    }
    if hidden_count > 0 {
        let hidden = plural(hidden_count, "environment");
        lines.push(format!("  and {hidden} that you may not read"));
    }
    lines
}

fn name(query: &Query) -> String {
    format!("{}/{}", query.application, query.profiles)
}

fn watched(watcher_count: usize) -> String {
    match watcher_count {
        0 => String::new(),
        count => plural(count, "watcher"),
    }
}

/// The changed keys of an environment: `added a, b; changed c and 12 more`.
fn keys(change: &EnvironmentChange) -> String {
    let change = &change.change;
    let mut text = String::new();
    let mut left = KEY_COUNT_MAX;
    let kinds =
        [("changed", &change.changed), ("added", &change.added), ("removed", &change.removed)];
    for (verb, keys) in kinds.into_iter().filter(|(_, keys)| !keys.is_empty()) {
        let shown: Vec<&str> = keys.iter().take(left).map(|key| &**key).collect();
        left -= shown.len();
        let rest = keys.len() - shown.len();
        let separator = if text.is_empty() { "" } else { "; " };
        // Writing to a string cannot fail.
        let _ = match (shown.is_empty(), rest) {
            (true, rest) => write!(text, "{separator}{verb} {}", plural(rest, "key")),
            (false, 0) => write!(text, "{separator}{verb} {}", shown.join(", ")),
            (false, rest) => {
                write!(text, "{separator}{verb} {} and {} more", shown.join(", "), count(rest))
            }
        };
    }
    text
}

fn plural(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{} {noun}s", count(number)),
    }
}

/// A number with a comma between thousands.
fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Escapes control characters and limits the length of a line.
fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    for (at, character) in line.chars().enumerate() {
        if at >= LINE_LENGTH_MAX {
            text.push('…');
            break;
        }
        if terminal::is_escaped(character) {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    text
}
