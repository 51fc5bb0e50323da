//! The commits of a push that no branch leads to directly. A request can name each of them by its id, and a clone contains
//! them. The policy therefore requires the same of their values as of those at the tip.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use crate::check::{self, CheckPolicy, CheckReport, SealedTexts};
use crate::model::{Origin, Problem};
use crate::snapshot::{Member, Snapshot};
use crate::source::SourceError;
use crate::source::git::Incoming;
use crate::tree::TreeError;

/// The most commits of one branch whose values are checked.
const COMMIT_COUNT_MAX: usize = 2_000;
/// The characters of a commit id that are shown.
const ID_SHOWN: usize = 7;

/// The commits before the tip of a branch.
pub(super) struct EarlierCommits<'a> {
    pub(super) incoming: &'a Incoming,
    /// The objects of all published references.
    pub(super) published: &'a [String],
    pub(super) branch: &'a str,
    pub(super) tip: &'a str,
    /// The snapshot that the tip is compared with.
    pub(super) old: Option<&'a Snapshot>,
}

/// A commit could not be checked.
#[derive(Debug, thiserror::Error)]
pub(super) enum EarlierCommitsError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Tree(#[from] TreeError),
}

impl EarlierCommits<'_> {
    /// Adds the findings to the report of the tip, each with its commit. `snapshot` makes a snapshot of a commit with the
    /// areas of the policy.
    pub(super) fn check(
        &self,
        policy: &CheckPolicy,
        snapshot: impl Fn(Member) -> Snapshot,
        report: &mut CheckReport,
    ) -> Result<(), EarlierCommitsError> {
        let known: Vec<&str> = self.published.iter().map(String::as_str).collect();
        let (commits, _) = self.incoming.new_commits(&[self.tip], &known, COMMIT_COUNT_MAX + 1)?;
        if commits.len() > COMMIT_COUNT_MAX {
            report.warnings.push(self.too_many());
        }
        let (mut texts, mut found) = (SealedTexts::default(), Found::of(report));
        let earlier = commits.iter().take(COMMIT_COUNT_MAX).filter(|commit| *commit != self.tip);
        for commit in earlier {
            if policy.until.is_some_and(|until| Instant::now() >= until) {
                report.known_file_count += 1;
                report.unchecked.push(format!("commit {}", short(commit)));
                return Ok(());
            }
            let Some(member) = self.incoming.member(commit, self.branch)? else { continue };
            let values = check::check_values(&snapshot(member), self.old, &mut texts, policy)?;
            found.add(values, commit, report);
        }
        Ok(())
    }

    fn too_many(&self) -> Problem {
        Problem {
            origin: Origin { file: self.branch.into(), position: None },
            key: None,
            message: format!(
                "the push has more than {COMMIT_COUNT_MAX} new commits, of which the older ones were not searched for plain \
                 values"
            ),
        }
    }
}

/// The findings of which the report has one already. A value is usually in all commits that follow its own.
struct Found(HashSet<(Arc<str>, Option<Arc<str>>)>);

impl Found {
    fn of(report: &CheckReport) -> Self {
        let all = report.problems.iter().chain(&report.warnings);
        Self(all.map(identity).collect())
    }

    fn add(&mut self, values: CheckReport, commit: &str, report: &mut CheckReport) {
        let in_commit = |problem: Problem| Problem {
            message: format!("{} (in commit {})", problem.message, short(commit)),
            ..problem
        };
        let CheckReport { mut problems, mut warnings, hidden, .. } = values;
        problems.retain(|problem| self.0.insert(identity(problem)));
        warnings.retain(|problem| self.0.insert(identity(problem)));
        report.problems.extend(problems.into_iter().map(in_commit));
        report.warnings.extend(warnings.into_iter().map(in_commit));
        report.hidden.problems = report.hidden.problems.max(hidden.problems);
        report.hidden.warnings = report.hidden.warnings.max(hidden.warnings);
    }
}

fn identity(problem: &Problem) -> (Arc<str>, Option<Arc<str>>) {
    (Arc::clone(&problem.origin.file), problem.key.clone())
}

fn short(commit: &str) -> &str {
    &commit[..ID_SHOWN.min(commit.len())]
}
