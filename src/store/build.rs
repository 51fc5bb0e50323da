//! From a snapshot to an answer: resolve each member, keep the last good where one is broken, put the parts together.

use std::sync::Arc;

use super::answer::{Answer, Content, Held, MemberAnswer, Served, revision_of};
use crate::model::{Environment, Problem, PropertySource, Query};
use crate::resolve::{self, Asked, Resolved, touches};
use crate::reveal::reveal;
use crate::snapshot::{Ancestor, Member, Snapshot, Style};
use crate::tree::TreeError;

/// How many first-parent ancestors are looked at for the last good revision of an environment.
pub const LAST_GOOD_DEPTH_MAX: usize = 1_000;

/// What the settings add to every answer.
#[derive(Clone, Default)]
pub struct Additions {
    /// The source named `overrides`, first in every environment.
    pub overrides: Option<PropertySource>,
    /// Whether an environment without any property source is an error.
    pub refuse_empty: bool,
}

/// Makes the answer to a query from a snapshot. Reads and parses what was not read before.
///
/// `previous` is the answer that was served until now: what a source without a history goes back to.
///
/// # Errors
/// When a source cannot be read; content that cannot be used becomes part of the answer.
pub(super) fn build(
    query: &Query,
    snapshot: &Snapshot,
    sequence: u64,
    additions: &Additions,
    previous: Option<&Answer>,
) -> Result<Answer, TreeError> {
    let Some(chosen) = resolve::choose(snapshot, query) else {
        return Ok(Answer {
            query: query.clone(),
            content: Content::UnknownLabel,
            members: Vec::new(),
            sequence,
            revision: snapshot.revision.clone(),
        });
    };
    let mut members = Vec::with_capacity(chosen.len());
    let mut broken = None;
    for index in chosen {
        let member = &snapshot.members[index];
        let before = previous.and_then(|answer| {
            answer.members.iter().find(|before| before.base == member.layout.base)
        });
        let (member, problem) = build_member(query, index, member, before)?;
        members.push(member);
        broken = broken.or(problem);
    }
    let revision = revision_of(&members, snapshot);
    let content = match broken {
        Some(problem) => Content::Broken(problem),
        None => assemble(query, snapshot, &members, additions),
    };
    Ok(Answer { query: query.clone(), content, members, sequence, revision })
}

fn assemble(
    query: &Query,
    snapshot: &Snapshot,
    members: &[MemberAnswer],
    additions: &Additions,
) -> Content {
    let mut sources: Vec<PropertySource> = additions.overrides.iter().cloned().collect();
    sources.extend(members.iter().flat_map(|member| member.sources.iter().cloned()));
    if sources.is_empty() && additions.refuse_empty {
        return Content::Empty;
    }
    let environment = Environment {
        application: Arc::clone(&query.application),
        profiles: Arc::clone(&query.profiles),
        label: query.label.clone(),
        sources,
    };
    // Blank for a single git repository, null for all else (specification, section 3).
    let first = &snapshot.members[0];
    let has_one_source = snapshot
        .members
        .iter()
        .all(|member| member.layout.base == first.layout.base || member.group == first.group);
    let state = (has_one_source && first.layout.style == Style::Git).then_some("");
    Content::Environment(Box::new(Served::new(reveal(environment), state)))
}

/// What a member contributes, and the problem if it has nothing good to contribute.
fn build_member(
    query: &Query,
    index: usize,
    member: &Member,
    before: Option<&MemberAnswer>,
) -> Result<(MemberAnswer, Option<Problem>), TreeError> {
    let Resolved { outcome, mut asked } = resolve::resolve(member, &member.tree, query)?;
    let (sources, held, problem) = match outcome {
        Ok(sources) => (sources, None, None),
        Err(problem) => {
            let last_good = match &member.history {
                Some(_) => from_history(query, member, &mut asked, &problem)?,
                None => from_memory(member, &problem, before),
            };
            match last_good {
                Some((sources, held)) => (sources, Some(held), None),
                None => (Vec::new(), None, Some(problem)),
            }
        }
    };
    let (base, made_at) = (Arc::clone(&member.layout.base), member.revision.clone());
    let broken = problem.clone();
    Ok((MemberAnswer { index, base, made_at, asked, sources, held, broken }, problem))
}

/// The last good of a branch is a fact of its history: the newest first-parent ancestor, within a bound, at which this
/// environment resolves and has at least those of the application's own files that the broken one has. So a restarted
/// server and every replica agree on it.
fn from_history(
    query: &Query,
    member: &Member,
    asked: &mut Asked,
    problem: &Problem,
) -> Result<Option<(Vec<PropertySource>, Held)>, TreeError> {
    let Some(history) = &member.history else {
        return Ok(None);
    };
    let own = resolve::own_files(member, &member.tree, query, asked)?;
    let (mut tree, mut asked) = (member.tree.clone(), asked.clone());
    for ancestor in history.ancestors().take(LAST_GOOD_DEPTH_MAX) {
        let Ancestor { revision, tree: older, followed_seconds } = ancestor?;
        let touched = touches(&asked, &tree.changes(&older)?);
        tree = older;
        if !touched {
            continue;
        }
        let mut resolved = resolve::resolve(member, &tree, query)?;
        let has = resolve::own_files(member, &tree, query, &mut resolved.asked)?;
        if let Ok(sources) = resolved.outcome
            && has.is_superset(&own)
        {
            let held = Held { revision, problem: problem.clone(), since_seconds: followed_seconds };
            return Ok(Some((sources, held)));
        }
        asked = resolved.asked;
    }
    Ok(None)
}

/// Whether a revision is one of a member's ancestors, within the bound that holds for last good ones.
pub(super) fn is_behind(member: &Member, revision: &str) -> Result<bool, TreeError> {
    let Some(history) = &member.history else {
        return Ok(false);
    };
    for ancestor in history.ancestors().take(LAST_GOOD_DEPTH_MAX) {
        if ancestor?.revision.as_str() == revision {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A source without a history goes back to what was served before, for as long as this process remembers it. A tag or a
/// commit id never changes, so there is nothing before it.
fn from_memory(
    member: &Member,
    problem: &Problem,
    before: Option<&MemberAnswer>,
) -> Option<(Vec<PropertySource>, Held)> {
    // What was made at no time is not one revision among others: a directory, or keys that are put by hand.
    let before = before.filter(|_| member.made_seconds.is_none())?;
    let held = match &before.held {
        Some(held) => Held { problem: problem.clone(), ..held.clone() },
        None if before.sources.is_empty() => return None,
        None => Held {
            revision: before.made_at.clone(),
            problem: problem.clone(),
            since_seconds: now_seconds(),
        },
    };
    Some((before.sources.clone(), held))
}

/// When something was noticed of which nobody says when it was done.
fn now_seconds() -> Option<i64> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}
