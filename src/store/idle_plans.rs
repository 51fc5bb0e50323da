//! Plans of rollouts in sources that have no rollouts, for operators.

use std::collections::BTreeSet;

use crate::check;
use crate::model::{Origin, Problem};
use crate::snapshot::Snapshot;
use crate::source::{Severity, SourceProblem};

/// The notice on a plan that nothing uses.
const NO_EFFECT: &str =
    "the plan has no effect here: only a hosted repository of one server has rollouts";

/// The plans without an effect in a snapshot. A tree that cannot be read is reported elsewhere.
pub(super) fn idle_plans(
    snapshot: &Snapshot,
    has_rollouts: &dyn Fn(&str) -> bool,
) -> Vec<SourceProblem> {
    let members = snapshot.members.iter().filter(|member| !has_rollouts(&member.layout.base));
    let members = members.filter(|member| check::has_plan(&member.tree).unwrap_or(false));
    let sources: BTreeSet<&str> = members.map(|member| &*member.layout.base).collect();
    let notice = |source: &str| SourceProblem {
        source: source.to_owned(),
        severity: Severity::Warning,
        problem: Problem {
            origin: Origin { file: check::PLAN_PATH.into(), position: None },
            key: None,
            message: NO_EFFECT.to_owned(),
        },
    };
    sources.into_iter().map(notice).collect()
}
