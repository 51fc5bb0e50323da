//! Whether a revision can be served: the same question for the command line, a push and the refresh loop.
//!
//! Every changed configuration file must parse, and every known environment that the change concerns must resolve.
//! Problems that the old revision had already are not the new one's fault.

use std::collections::BTreeSet;

use crate::catalog;
use crate::model::{Label, Origin, Problem};
use crate::resolve;
use crate::snapshot::{Member, Snapshot};
use crate::tree::TreeError;

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// What is wrong, each once, in order of file and place.
    pub problems: Vec<Problem>,
    /// How many files were parsed.
    pub file_count: usize,
    /// How many environments were resolved.
    pub environment_count: usize,
    /// How many environments are known.
    pub known_count: usize,
}

/// What bounds a check.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The most environments that are resolved.
    pub environment_count_max: usize,
}

/// Checks a snapshot against the one before it, or on its own.
///
/// # Errors
/// When a source cannot be read.
pub fn check(new: &Snapshot, old: Option<&Snapshot>, bounds: Bounds) -> Result<Report, TreeError> {
    let mut report = Report::default();
    for (index, member) in new.members.iter().enumerate() {
        let before = old
            .and_then(|old| old.members.get(index))
            .filter(|before| before.layout == member.layout);
        check_files(member, before, &mut report)?;
    }
    let known = catalog::catalog(new)?.queries(&Label::Default);
    report.known_count = known.len();
    for query in known.iter().take(bounds.environment_count_max) {
        report.environment_count += 1;
        for index in resolve::choose(new, query).unwrap_or_default() {
            let member = &new.members[index];
            let Err(problem) = resolve::resolve(member, &member.tree, query)?.outcome else {
                continue;
            };
            let before = old.and_then(|old| old.members.get(index));
            if !had_already(before, query, &problem)? {
                report.problems.push(problem);
            }
        }
    }
    report.problems.sort_by(|a, b| (&a.origin, &a.message).cmp(&(&b.origin, &b.message)));
    report.problems.dedup();
    Ok(report)
}

fn had_already(
    before: Option<&Member>,
    query: &crate::model::Query,
    problem: &Problem,
) -> Result<bool, TreeError> {
    let Some(before) = before else { return Ok(false) };
    Ok(resolve::resolve(before, &before.tree, query)?.outcome.is_err_and(|old| old == *problem))
}

/// Parses the configuration files that differ, all of them where there is nothing to compare with.
fn check_files(
    member: &Member,
    before: Option<&Member>,
    report: &mut Report,
) -> Result<(), TreeError> {
    let mut paths = BTreeSet::new();
    match before {
        Some(before) => paths.extend(member.tree.changes(&before.tree)?.files),
        None => member.tree.walk(&mut |path| {
            paths.insert(path.to_owned());
        })?,
    }
    for path in paths {
        if !resolve::is_configuration(&member.layout, &path) {
            continue;
        }
        let Some(file) = member.tree.file(&path)? else { continue };
        report.file_count += 1;
        if let Err(error) = member.tree.documents(&file)? {
            report.problems.push(Problem {
                origin: Origin { file: path.into(), position: error.position },
                key: None,
                message: error.message,
            });
        }
    }
    Ok(())
}
