//! What a person reads of a check: first what is wrong and where, then what changes, then what was looked at.

use std::fmt::Write;

use super::{EnvironmentChange, Report};
use crate::model::{Problem, Query};

/// The most problems, warnings or environments that are listed.
const LINE_COUNT_MAX: usize = 20;
/// The most keys that are named for one environment.
const KEY_COUNT_MAX: usize = 6;
/// The longest line, in characters.
const LINE_LENGTH_MAX: usize = 400;

/// What is said behind the problems of a push.
const REFUSED: &str = "refused: nothing has moved; put it right, commit and push again";
/// The same where checks only warn.
const WARNED: &str = "would have been refused: accepted because push.checks = warn";

/// What problems lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Nothing: somebody asked, and is told.
    Tell,
    /// Nothing moves.
    Refuse,
    /// They are said, and the change is taken nevertheless: `push.checks = warn`.
    Warn,
}

/// All lines to print: what is wrong, then what comes of it.
pub fn words(report: &Report, manner: Manner) -> Vec<String> {
    let mut lines = findings(report);
    lines.extend(outcome(report, manner));
    lines
}

/// A line for each problem and each warning, with nothing in it that could steer a terminal, and no value of a property.
pub fn findings(report: &Report) -> Vec<String> {
    let mut lines = listed(&report.problems, "problems", Problem::to_string);
    let warning = |warning: &Problem| format!("warning: {warning}");
    lines.extend(listed(&report.warnings, "warnings", warning));
    plain_all(&lines)
}

/// What changes, what was looked at, and what comes of it.
pub fn outcome(report: &Report, manner: Manner) -> Vec<String> {
    let mut lines = Vec::new();
    let is_good = report.problems.is_empty();
    if report.is_compared && (is_good || manner == Manner::Warn) {
        lines.extend(changes(report));
    }
    lines.push(summary(report));
    match manner {
        Manner::Refuse if !is_good => lines.push(REFUSED.to_owned()),
        Manner::Warn if !is_good => lines.push(WARNED.to_owned()),
        _ => {}
    }
    plain_all(&lines)
}

fn plain_all(lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| plain(line)).collect()
}

/// What was looked at, and what was found.
fn summary(report: &Report) -> String {
    let Report { problems, warnings, .. } = report;
    let files = of(report.file_count, report.known_file_count, "file");
    let environments = of(report.environment_count, report.known_count, "environment");
    let found = match problems.len() {
        0 => "no problem".to_owned(),
        count => plural(count, "problem"),
    };
    let warned = match warnings.len() {
        0 => String::new(),
        count => format!(", {}", plural(count, "warning")),
    };
    format!("checked {files}, {environments}: {found}{warned}")
}

/// `400 of 20,000 environments`, or just how many if that is all.
fn of(number: usize, all: usize, noun: &str) -> String {
    match number < all {
        true => format!("{} of {}", count(number), plural(all, noun)),
        false => plural(number, noun),
    }
}

fn listed<T>(items: &[T], noun: &str, say: impl Fn(&T) -> String) -> Vec<String> {
    let mut lines: Vec<String> = items.iter().take(LINE_COUNT_MAX).map(say).collect();
    if items.len() > LINE_COUNT_MAX {
        lines.push(format!("and {} more {noun}", count(items.len() - LINE_COUNT_MAX)));
    }
    lines
}

/// A line for each environment, names and watchers in columns.
fn changes(report: &Report) -> Vec<String> {
    let changes = &report.changes;
    let is_all = report.environment_count == report.known_count;
    if changes.is_empty() {
        let none = is_all.then(|| "changes no environment".to_owned());
        return none.into_iter().collect();
    }
    let shown = &changes[..changes.len().min(LINE_COUNT_MAX)];
    let names: Vec<String> = shown.iter().map(|change| name(&change.query)).collect();
    let name_width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let watchers: Vec<String> = shown.iter().map(|change| watched(change.watcher_count)).collect();
    let watcher_width = watchers.iter().map(String::len).max().unwrap_or(0);
    let least = if is_all { "" } else { "at least " };
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

/// `added a, b; changed c and 12 more`.
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

/// With a comma between thousands.
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

/// One line of bounded length in which control characters are escaped.
fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    for (at, character) in line.chars().enumerate() {
        if at >= LINE_LENGTH_MAX {
            text.push('…');
            break;
        }
        match character.is_control() || is_format(character) {
            true => text.extend(character.escape_unicode()),
            false => text.push(character),
        }
    }
    text
}

/// Characters that turn the direction of a line, or hide in it.
fn is_format(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}
