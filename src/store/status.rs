//! The state of live labels for operators: revisions, problems and faults. Read from memory only.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use super::answer::{Answer, HeldRevision};
use super::failed_reads::DEFAULT_LABEL;
use super::live_label::LiveLabel;
use crate::faults::{Fault, FaultKind};
use crate::model::{Label, Problem, Query, Revision};
use crate::outage::Outage;
use crate::snapshot::HoldReason;
use crate::source::{RemoteStatus, Severity, SourceProblem};
use crate::sync::lock;

/// The state of one live label.
pub struct LabelStatus {
    pub label: Label,
    /// The served revision.
    pub revision: Revision,
    /// The number of kept answers.
    pub answer_count: usize,
    /// The time since the source became unreachable, and the reason. None while it is reachable.
    pub stale: Option<(Duration, String)>,
}

/// A known problem of an environment that is held back or broken.
pub struct EnvironmentProblem {
    /// The requested environment.
    pub query: Query,
    /// The name of the source with the problem.
    pub source: Arc<str>,
    /// The newest revision of the label.
    pub tip: Revision,
    /// The older revision that is served in place of the newest one. None if none can be served.
    pub held: Option<HeldRevision>,
    pub problem: Problem,
}

/// An environment whose content at the tip is not served because its rollout was rolled back.
pub struct WithheldEnvironment {
    /// The requested environment.
    pub query: Query,
    /// The newest revision of the label.
    pub tip: Revision,
    /// The served revision.
    pub stable: Revision,
    /// The id of the rollout.
    pub rollout: Arc<str>,
}

/// A problem that does not keep an environment from being served.
pub struct EnvironmentNotice {
    /// The requested environment.
    pub query: Query,
    /// The name of the source with the problem.
    pub source: Arc<str>,
    /// The served revision.
    pub revision: Revision,
    pub problem: Problem,
}

/// Returns the state of each label. `outage` is the one of a part of the source.
pub(super) fn label_statuses(
    lives: &[Arc<LiveLabel>],
    outage: Option<&Outage>,
) -> Vec<LabelStatus> {
    let status = |live: &Arc<LiveLabel>| LabelStatus {
        label: live.label.clone(),
        revision: live.tip(),
        answer_count: live.kept_count(),
        stale: lock(&live.connectivity)
            .outage()
            .or(outage)
            .map(|Outage { since, message }| (since.elapsed(), message.clone())),
    };
    lives.iter().map(status).collect()
}

/// Returns the requested environments whose newest revision cannot be served, sorted by name.
pub(super) fn environment_problems(lives: &[Arc<LiveLabel>]) -> Vec<EnvironmentProblem> {
    let mut problems = Vec::new();
    for live in lives {
        for (answer, newest) in all_answers(live) {
            problems.extend(answer.problems().map(|(source, held, problem)| EnvironmentProblem {
                query: answer.query.clone(),
                source: Arc::clone(source),
                tip: newest.clone(),
                held: held.cloned(),
                problem: problem.clone(),
            }));
        }
    }
    problems.sort_by(|a, b| compare_names(&a.query, &b.query));
    problems
}

/// Returns the problems of requested environments that are served all the same, sorted by name.
pub(super) fn environment_notices(lives: &[Arc<LiveLabel>]) -> Vec<EnvironmentNotice> {
    let mut notices = Vec::new();
    for live in lives {
        for (answer, revision) in all_answers(live) {
            notices.extend(answer.notices().map(|(source, problem)| EnvironmentNotice {
                query: answer.query.clone(),
                source: Arc::clone(source),
                revision: revision.clone(),
                problem: problem.clone(),
            }));
        }
    }
    notices.sort_by(|a, b| compare_names(&a.query, &b.query));
    notices
}

/// The answers of a label, those of both sides of a held application. Each with the newest revision that it could be of.
fn all_answers(live: &LiveLabel) -> Vec<(Arc<Answer>, Revision)> {
    let tip = live.tip();
    let mut all = Vec::new();
    for cell in live.cells() {
        let answers = cell.load_all();
        if let Some(held) = &answers.held
            && held.candidate.as_ref().is_none_or(|it| !Arc::ptr_eq(it, &answers.stable))
        {
            all.push((Arc::clone(&answers.stable), held.hold.stable.revision.clone()));
            all.extend(held.candidate.iter().map(|it| (Arc::clone(it), tip.clone())));
        } else {
            all.push((answers.stable, tip.clone()));
        }
    }
    all
}

/// Returns the requested environments whose content at the tip is withheld after a rollback, sorted by name.
pub(super) fn withheld_environments(lives: &[Arc<LiveLabel>]) -> Vec<WithheldEnvironment> {
    let mut withheld = Vec::new();
    for live in lives {
        for cell in live.cells() {
            let answers = cell.load_all();
            let Some(held) = &answers.held else { continue };
            if held.hold.choice.reason() == HoldReason::Withheld {
                withheld.push(WithheldEnvironment {
                    query: answers.query().clone(),
                    tip: held.published.snapshot.revision.clone(),
                    stable: held.hold.stable.revision.clone(),
                    rollout: Arc::clone(held.hold.choice.rollout()),
                });
            }
        }
    }
    withheld.sort_by(|a, b| compare_names(&a.query, &b.query));
    withheld
}

fn compare_names(a: &Query, b: &Query) -> Ordering {
    (&a.application, &a.profiles).cmp(&(&b.application, &b.profiles))
}

/// Returns the faults of a source: of its remotes, of the labels that cannot follow it, and of its content.
pub(super) fn source_faults(
    remotes: &[RemoteStatus],
    labels: &[LabelStatus],
    problems: Vec<SourceProblem>,
) -> Vec<Fault> {
    let unreachable = remotes.iter().filter_map(|remote| {
        Some(Fault {
            kind: FaultKind::RemoteUnreachable,
            object: remote.name.clone(),
            lasted: remote.fetched_before,
            reason: remote.failure.clone()?,
        })
    });
    // A failure that an unreachable remote causes is reported for the remote only.
    let is_reported = |reason: &str| {
        remotes.iter().filter_map(|it| it.failure.as_deref()).any(|it| reason.contains(it))
    };
    let stale = labels.iter().filter_map(|status| {
        let (lasted, reason) = status.stale.as_ref().filter(|(_, reason)| !is_reported(reason))?;
        Some(Fault {
            kind: FaultKind::SourceUnreadable,
            object: status.label.name().unwrap_or(DEFAULT_LABEL).to_owned(),
            lasted: Some(*lasted),
            reason: reason.clone(),
        })
    });
    let problems = problems.into_iter().filter(|it| it.severity == Severity::Problem);
    let problems = problems.map(|it| Fault {
        kind: FaultKind::SourceProblem,
        object: it.source,
        lasted: None,
        reason: it.problem.to_string(),
    });
    unreachable.chain(stale).chain(problems).collect()
}

/// Returns the number of files that the source has parsed. Labels of one source share the count.
pub(super) fn parsed_count(lives: &[Arc<LiveLabel>]) -> u64 {
    let snapshots = lives.iter().map(|live| live.published.load_full());
    let counts = snapshots.flat_map(|published| {
        let trees = published.snapshot.members.iter().map(|member| member.tree.parsed_count());
        trees.max()
    });
    counts.max().unwrap_or(0)
}
