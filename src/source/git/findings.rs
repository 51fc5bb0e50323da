//! Findings about a repository that none of its files shows: a remote that the server does not fetch, and a default label
//! that differs from the original's. The server reports them in its log, in health and at `/-/problems`.

use std::sync::Mutex;

use git2::Repository;

use super::label::{self, USUAL_BRANCHES};
use super::lookup::{Head, Lookup};
use super::upstream::Upstream;
use crate::model::{Origin, Problem};
use crate::source::Severity;
use crate::sync::lock;

/// A problem and its severity.
pub(super) type Finding = (Severity, Problem);

/// The findings that a source reports. The default reports none, for commands that read one revision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Findings {
    /// Report a default label that is missing, or that differs from the original's.
    pub default_label: bool,
    /// Report the remote of a clone, which the server does not fetch.
    pub unfetched_remote: bool,
}

/// The findings of one repository as of the last time that the source read it.
#[derive(Default)]
pub(super) struct Found {
    /// The findings about references and configuration.
    standing: Mutex<Vec<Finding>>,
    /// The findings about missing objects of a partial clone.
    lacking: Mutex<Vec<Finding>>,
}

impl Found {
    /// Replaces the findings about references and configuration. Logs each new one once.
    pub(super) fn set(&self, source: &str, findings: Vec<Finding>) {
        replace(&self.standing, source, findings);
    }

    /// Replaces the finding about the label that was loaded last from a partial clone.
    pub(super) fn set_lacking(&self, source: &str, problem: Option<Problem>) {
        let finding = problem.map(|problem| (Severity::Problem, problem));
        replace(&self.lacking, source, finding.into_iter().collect());
    }

    pub(super) fn all(&self) -> Vec<Finding> {
        [lock(&self.standing).clone(), lock(&self.lacking).clone()].concat()
    }
}

fn replace(found: &Mutex<Vec<Finding>>, source: &str, findings: Vec<Finding>) {
    let before = std::mem::replace(&mut *lock(found), findings.clone());
    for (_, problem) in findings.iter().filter(|finding| !before.contains(finding)) {
        tracing::warn!(source, finding = problem.message, "the repository needs attention");
    }
    if findings.is_empty() && !before.is_empty() {
        tracing::info!(source, "the repository needs no attention any more");
    }
}

impl Findings {
    /// Reads the findings of a repository.
    pub(super) fn of(
        self,
        repository: &Repository,
        lookup: &Lookup,
        configured: Option<&str>,
    ) -> Result<Vec<Finding>, git2::Error> {
        let mut findings = Vec::new();
        if self.unfetched_remote {
            let upstream = lookup.upstream().filter(|upstream| upstream.is_fetchable());
            let unfetched = upstream.map(unfetched);
            findings.extend(unfetched.map(|problem| (Severity::Warning, problem)));
        }
        if self.default_label {
            findings.extend(match configured {
                Some(name) => configured_label(repository, lookup, name)?,
                None => default_branch(repository, lookup)?,
            });
        }
        Ok(findings)
    }
}

fn problem(file: &str, message: String) -> Problem {
    Problem { origin: Origin { file: file.into(), position: None }, key: None, message }
}

fn unfetched(upstream: &Upstream) -> Problem {
    let Upstream { name, .. } = upstream;
    let message = format!(
        "the server does not fetch the remote {name} of this clone{}: branches stay as of the last git fetch. Set \
         follow_origin = true in the [[source]] to serve what {name} has, or follow_origin = false if another \
         program fetches it",
        upstream.shown()
    );
    problem("config", message)
}

/// Checks a configured label, which may also be a tag or a list of labels. Only a single name is looked up.
fn configured_label(
    repository: &Repository,
    lookup: &Lookup,
    name: &str,
) -> Result<Option<Finding>, git2::Error> {
    if name.contains(',') || is_id(name) || label::by_name(repository, lookup, name)?.is_some() {
        return Ok(None);
    }
    let message = format!(
        "the repository has no branch or tag {name}, which default_label names: a request without a label gets 404. \
         Create it, or correct default_label"
    );
    Ok(Some((Severity::Problem, problem("HEAD", message))))
}

fn is_id(name: &str) -> bool {
    name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Compares the branch of a request without a label with the branch that the original would serve.
fn default_branch(
    repository: &Repository,
    lookup: &Lookup,
) -> Result<Option<Finding>, git2::Error> {
    let mut usual = None;
    for name in USUAL_BRANCHES {
        if usual.is_none() && label::branch(repository, lookup, name)?.is_some() {
            usual = Some(name);
        }
    }
    let (severity, message) = match (lookup.head(repository)?, usual) {
        (Some(Head::Branch(head)), _) if label::branch(repository, lookup, &head)?.is_none() => {
            let severity = if usual.is_some() { Severity::Warning } else { Severity::Problem };
            (severity, missing(&head, usual))
        }
        (Some(Head::Branch(head)), Some(usual)) if head != usual => {
            (Severity::Warning, differs(&head, usual))
        }
        (Some(Head::Commit(commit)), Some(usual)) => {
            (Severity::Warning, differs(&commit.to_string(), usual))
        }
        _ => return Ok(None),
    };
    Ok(Some((severity, problem("HEAD", message))))
}

fn differs(head: &str, usual: &str) -> String {
    format!(
        "a request without a label gets {head}, as HEAD says, and Spring Cloud Config Server would serve {usual}. Set \
         default_label = \"{usual}\" or default_label = \"{head}\" in the [[source]]"
    )
}

fn missing(head: &str, usual: Option<&str>) -> String {
    match usual {
        Some(usual) => format!(
            "HEAD names the branch {head}, which does not exist: a request without a label gets {usual}. Set \
             default_label = \"{usual}\" in the [[source]], or point HEAD at a branch that exists"
        ),
        None => format!(
            "HEAD names the branch {head}, which does not exist, and there is neither main nor master: a request \
             without a label gets 404. Set default_label in the [[source]], or point HEAD at a branch that exists"
        ),
    }
}
