//! Compares the environments of two snapshots: for every known environment the same sources in order, keys, values and types.
//! Names of sources count without their base, which differs between sources. Values are never printed.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::catalog::catalog;
use crate::cli::output;
use crate::cli::progress::ProgressLine;
use crate::model::{Document, Label, Problem, Property, PropertySource, Query};
use crate::resolve;
use crate::snapshot::Snapshot;

/// The most differences that are printed.
const DIFFERENCE_COUNT_MAX: usize = 20;

/// The result.
#[derive(Default)]
pub(super) struct CopyComparison {
    pub(super) environment_count: usize,
    /// Environments that are broken in both, for the same reason.
    pub(super) broken_count: usize,
    /// Environments that differ.
    pub(super) difference_count: usize,
    differences: Vec<CopyDifference>,
}

/// The first difference of an environment.
struct CopyDifference {
    query: Query,
    /// The file and the key, if the difference is in one key.
    file: Option<Arc<str>>,
    key: Option<Arc<str>>,
    what: String,
}

/// The sources of a query, or its problem. `None` if the snapshot does not know the label.
type ResolvedSources = Option<Result<Vec<PropertySource>, Problem>>;

/// Compares with one snapshot.
pub(super) struct Verifier<'a> {
    before: &'a Snapshot,
    /// The results of `before` so far.
    outcomes: BTreeMap<EnvironmentName, ResolvedSources>,
    known: EqualDocuments,
}

/// An application and its profiles.
type EnvironmentName = (Arc<str>, Arc<str>);

impl<'a> Verifier<'a> {
    pub(super) fn of(before: &'a Snapshot) -> Self {
        Self { before, outcomes: BTreeMap::new(), known: EqualDocuments::default() }
    }

    /// Compares all environments that either snapshot knows.
    pub(super) fn compare(&mut self, after: &Snapshot) -> anyhow::Result<CopyComparison> {
        let mut names: BTreeSet<EnvironmentName> = self.outcomes.keys().cloned().collect();
        let before = self.outcomes.is_empty().then_some(self.before);
        for snapshot in before.into_iter().chain([after]) {
            let queries = catalog(snapshot)?.queries(&Label::Default).into_iter();
            names.extend(queries.map(|query| (query.application, query.profiles)));
        }
        let mut comparison = CopyComparison::default();
        self.known = EqualDocuments::default();
        let progress = ProgressLine::counted("environments", names.len());
        for name in names {
            let (application, profiles) = name.clone();
            let query = Query { application, profiles, label: Label::Default };
            let before = match self.outcomes.entry(name) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => place.insert(outcome(self.before, &query)?),
            };
            let found = self.known.judge(before, &outcome(after, &query)?);
            comparison.add(query, found);
            progress.advance();
        }
        Ok(comparison)
    }
}

impl CopyComparison {
    fn add(&mut self, query: Query, found: EnvironmentMatch) {
        self.environment_count += 1;
        let difference = match found {
            EnvironmentMatch::Same => return,
            EnvironmentMatch::Broken => {
                self.broken_count += 1;
                return;
            }
            EnvironmentMatch::Other { file, key, what } => {
                CopyDifference { query, file, key, what }
            }
        };
        self.difference_count += 1;
        if self.differences.len() < DIFFERENCE_COUNT_MAX {
            self.differences.push(difference);
        }
    }
}

fn outcome(snapshot: &Snapshot, query: &Query) -> anyhow::Result<ResolvedSources> {
    let Some(chosen) = resolve::choose(snapshot, query) else { return Ok(None) };
    let mut sources = Vec::new();
    for index in chosen {
        let member = &snapshot.members[index];
        match resolve::resolve(member, &member.tree, query)?.outcome {
            Ok(more) => sources.extend(more),
            Err(problem) => return Ok(Some(Err(problem))),
        }
    }
    Ok(Some(Ok(sources)))
}

fn outcome_text(outcome: &ResolvedSources) -> String {
    match outcome {
        None => "not there".to_owned(),
        Some(Ok(_)) => "whole".to_owned(),
        Some(Err(problem)) => format!("broken ({problem})"),
    }
}

/// Pairs of documents that are equal. Most of them occur in many environments.
#[derive(Default)]
struct EqualDocuments(HashSet<(*const Document, *const Document)>);

enum EnvironmentMatch {
    Same,
    /// Both are broken in the same way.
    Broken,
    Other {
        file: Option<Arc<str>>,
        key: Option<Arc<str>>,
        what: String,
    },
}

impl EnvironmentMatch {
    fn other(what: String) -> Self {
        Self::Other { file: None, key: None, what }
    }
}

impl EqualDocuments {
    fn judge(&mut self, before: &ResolvedSources, after: &ResolvedSources) -> EnvironmentMatch {
        match (before, after) {
            (Some(Ok(before)), Some(Ok(after))) => self.sources(before, after),
            (Some(Err(before)), Some(Err(after))) if before == after => EnvironmentMatch::Broken,
            (None, None) => EnvironmentMatch::Same,
            (before, after) => EnvironmentMatch::other(format!(
                "was {}, is {}",
                outcome_text(before),
                outcome_text(after)
            )),
        }
    }

    fn sources(&mut self, before: &[PropertySource], after: &[PropertySource]) -> EnvironmentMatch {
        for (before, after) in before.iter().zip(after) {
            if (&before.file, before.index) != (&after.file, after.index) {
                let what = format!("has {} where {} was", place(after), place(before));
                return EnvironmentMatch::other(what);
            }
            let ids = (before.documents.as_ptr(), after.documents.as_ptr());
            if self.0.contains(&ids) {
                continue;
            }
            if let Some((key, what)) = first_difference(before.properties(), after.properties()) {
                let (file, key) = (before.file.clone(), Some(key));
                return EnvironmentMatch::Other { file, key, what: what.to_owned() };
            }
            let is_all_same = before.documents.len() == after.documents.len()
                && before.documents.iter().zip(after.documents.iter()).all(|(before, after)| {
                    first_difference(&before.properties, &after.properties).is_none()
                });
            if is_all_same {
                self.0.insert(ids);
            }
        }
        if before.len() == after.len() {
            EnvironmentMatch::Same
        } else {
            let (before, after) = (before.len(), after.len());
            EnvironmentMatch::other(format!("has {after} sources where {before} were"))
        }
    }
}

fn place(source: &PropertySource) -> String {
    let file = source.file.as_deref().unwrap_or(&source.name);
    format!("{file} (document {})", source.index + 1)
}

fn first_difference(before: &[Property], after: &[Property]) -> Option<(Arc<str>, &'static str)> {
    for (before, after) in before.iter().zip(after) {
        if before.key != after.key {
            return Some((Arc::clone(&before.key), "is another key in the target"));
        }
        if before.value != after.value {
            return Some((Arc::clone(&before.key), "has another value or type in the target"));
        }
    }
    let (short, long, what) = if before.len() < after.len() {
        (before.len(), after, "is only in the target")
    } else {
        (after.len(), before, "is not in the target")
    };
    long.get(short).map(|property| (Arc::clone(&property.key), what))
}

/// A line for each difference that is printed.
pub(super) fn lines(comparison: &CopyComparison) -> Vec<String> {
    let mut lines: Vec<String> = comparison
        .differences
        .iter()
        .map(|CopyDifference { query, file, key, what }| {
            let place: String =
                [file, key].into_iter().flatten().map(|it| format!("{it}: ")).collect();
            let line = format!("{}/{}: {place}{what}", query.application, query.profiles);
            output::one_line(&line)
        })
        .collect();
    let left_out = comparison.difference_count - comparison.differences.len();
    if left_out > 0 {
        lines.push(format!("and {left_out} more environments"));
    }
    lines
}

pub(super) fn as_json(comparison: &CopyComparison) -> Value {
    let difference = |it: &CopyDifference| {
        json!({
            "application": &*it.query.application,
            "profiles": &*it.query.profiles,
            "file": it.file.as_deref(),
            "key": it.key.as_deref(),
            "reason": it.what,
        })
    };
    comparison.differences.iter().map(difference).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Layout, Style};
    use crate::source::Source;
    use crate::source::memory::MemorySource;

    fn snapshot(base: &str, files: &[(&str, &str)]) -> Snapshot {
        let source = MemorySource::new(Arc::new(Layout {
            base: base.into(),
            style: Style::Git,
            search_paths: Vec::new(),
            patterns: Vec::new(),
            toml: true,
            json: false,
        }));
        let files: Vec<_> = files.iter().map(|(path, text)| (*path, Some(*text))).collect();
        source.commit("main", &files);
        futures_util::future::FutureExt::now_or_never(source.load(&Label::Default, None))
            .expect("memory does not wait")
            .unwrap()
    }

    #[track_caller]
    fn check(before: &[(&str, &str)], after: &[(&str, &str)], expected: &[&str]) {
        let (before, after) = (snapshot("here", before), snapshot("there", after));
        let mut verifier = Verifier::of(&before);
        // Twice, because the second comparison uses the results of the first.
        for _ in 0..2 {
            let comparison = verifier.compare(&after).unwrap();
            assert_eq!(lines(&comparison), expected);
            assert_eq!(comparison.difference_count, expected.len());
        }
    }

    #[test]
    fn equal_configuration_is_equal() {
        let files = [("application.yml", "a: 1\n---\nb: two"), ("orders-dev.yml", "c: 3.0")];
        check(&files, &files, &[]);
        let spelled = [("application.yml", "# more\na:   1\n---\nb: \"two\""), files[1]];
        check(&files, &spelled, &[]);
        check(&files, &[files[0], files[1], ("notes.txt", "x")], &[]);
    }

    #[test]
    fn another_value_type_key_or_order_is_reported_by_its_key_and_never_by_its_value() {
        let check = |before: &str, after: &str, expected: &[&str]| {
            let files = |text: &'static str| [("orders.yml", text)];
            let leak = |text: &str| -> &'static str { text.to_owned().leak() };
            check(&files(leak(before)), &files(leak(after)), expected);
        };
        let other = "orders/default: orders.yml: a: has another value or type in the target";
        check("a: hunter2", "a: hunter3", &[other]);
        check("a: 1", "a: \"1\"", &[other]);
        check("a: true", "a: \"true\"", &[other]);
        check("a: 1\nb: 2", "a: 1", &["orders/default: orders.yml: b: is not in the target"]);
        check("a: 1", "a: 1\nb: 2", &["orders/default: orders.yml: b: is only in the target"]);
        let order = "orders/default: orders.yml: a: is another key in the target";
        check("a: 1\nb: 2", "b: 2\na: 1", &[order]);
    }

    #[test]
    fn an_environment_that_one_of_them_does_not_know_is_compared() {
        let both = ("application.yml", "a: 1");
        check(
            &[both],
            &[both, ("orders.yml", "a: 2")],
            &["orders/default: has orders.yml (document 1) where application.yml (document 1) was"],
        );
        check(
            &[both, ("orders-dev.yml", "a: 2")],
            &[both],
            &[
                "orders-dev/default: has application.yml (document 1) where orders-dev.yml (document 1) was",
            ],
        );
    }

    #[test]
    fn an_environment_that_is_broken_in_both_is_no_difference() {
        let (good, bad) = (("orders.yml", "a: 1"), ("orders.yml", "a: ["));
        check(&[bad], &[bad], &[]);
        let (before, after) = (snapshot("here", &[bad]), snapshot("there", &[bad]));
        assert_eq!(Verifier::of(&before).compare(&after).unwrap().broken_count, 1);
        let (before, after) = (snapshot("here", &[good]), snapshot("there", &[bad]));
        let comparison = Verifier::of(&before).compare(&after).unwrap();
        let lines = lines(&comparison);
        assert!(
            lines[0].starts_with("orders/default: was whole, is broken (orders.yml:"),
            "{lines:?}"
        );
    }
}
