//! The construction of an answer from a snapshot: resolves each member, substitutes the last good revision for a broken
//! one, and assembles the parts.

use std::collections::HashSet;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::answer::{
    Answer, Content, EnvironmentVariants, HeldRevision, MemberAnswer, ServedEnvironment,
    revision_of,
};
use super::ledger::Ledger;
use super::payload::{Payload, Payloads};
use super::published_snapshot::Basis;
use crate::areas::Areas;
use crate::model::{
    Document, Environment, Problem, PropertySource, Query, SHARED_APPLICATION, items,
};
use crate::resolve::{self, Dependencies, Mention, ResolvedMember};
use crate::reveal::{Keyring, Variant};
use crate::snapshot::{Ancestor, Member, Snapshot, Style};
use crate::tree::TreeError;

/// The limit on first-parent ancestors that are searched for the last good revision of an environment.
pub(super) const LAST_GOOD_DEPTH_MAX: usize = 1_000;

/// The bytes of an answer without its parts: itself, its cell and its name in the map of cells.
const ANSWER_BYTES: usize = 1024;

/// The settings that apply to every answer.
#[derive(Clone, Default)]
pub struct AnswerSettings {
    /// The source named `overrides`, first in every environment.
    pub overrides: Option<PropertySource>,
    /// True if an environment without any property source is an error.
    pub refuse_empty: bool,
    /// The keys for sealed values. Without keys, these keep their marker.
    pub keys: Arc<Keyring>,
}

/// The shared inputs of all answers of a store.
pub(super) struct AnswerBuilder {
    pub(super) settings: AnswerSettings,
    pub(super) payloads: Payloads,
    pub(super) ledger: Arc<Ledger>,
    /// The areas of the policy in force.
    pub(super) areas: ArcSwap<Areas>,
}

impl AnswerBuilder {
    pub(super) fn new(settings: AnswerSettings) -> Self {
        let ledger = Arc::<Ledger>::default();
        let payloads = Payloads::new(Arc::clone(&ledger), Arc::clone(&settings.keys));
        Self { settings, payloads, ledger, areas: ArcSwap::default() }
    }

    /// Puts the areas of the policy in force in a snapshot.
    pub(super) fn put_areas(&self, mut snapshot: Arc<Snapshot>) -> Arc<Snapshot> {
        let areas = self.areas.load();
        if !snapshot.has_areas(&areas) {
            Arc::make_mut(&mut snapshot).set_areas(&areas);
        }
        snapshot
    }

    /// Returns true if the server can open values. Answers with sealed values then have two variants.
    pub(super) fn opens_values(&self) -> bool {
        !self.settings.keys.is_empty()
    }
}

/// Makes the answer to a query from a snapshot. Reads and parses files that were not read before.
///
/// `previous` is the answer that was served until now. A source without a history goes back to it. For an application
/// that no file mentions it may be the answer to [`stand_in_query`].
///
/// # Errors
/// When a source cannot be read. Content that cannot be used becomes part of the answer.
pub(super) fn build(
    query: &Query,
    basis: Basis<'_>,
    builder: &AnswerBuilder,
    previous: Option<&Answer>,
) -> Result<Answer, TreeError> {
    let Basis { sequence, snapshot, begun } = basis;
    let Some(chosen) = resolve::choose(snapshot, query) else {
        return Ok(unknown_label(query, basis, builder));
    };
    let mentions = Mentions::read(query, snapshot, &chosen)?;
    let is_known =
        mentions.is_known() && is_normalized(&query.application) && is_normalized(&query.profiles);
    let previous = previous.filter(|previous| previous.query == *query || !is_known);
    let mut members = Vec::with_capacity(chosen.len());
    let mut broken = None;
    for (at, index) in chosen.into_iter().enumerate() {
        let member = &snapshot.members[index];
        let before = previous.and_then(|answer| find_previous(answer, query, member));
        let (mut member, problem) = build_member(query, index, member, before, builder)?;
        member.is_in_own_directory = mentions.is_in_own_directory(at)
            || member.held.is_some() && before.is_some_and(|before| before.is_in_own_directory);
        members.push(member);
        broken = broken.or(problem);
    }
    let content = match broken {
        Some(problem) => Content::Broken(problem),
        None => assemble(query, snapshot, &members, builder),
    };
    let mut bytes = ANSWER_BYTES + members.iter().map(MemberAnswer::bytes).sum::<usize>();
    if let Content::Environment(variants) = &content {
        record_unopened(&mut members, variants.get(Variant::Opened), builder);
        bytes += variants.opened_bytes();
    }
    Ok(Answer {
        query: query.clone(),
        content: Arc::new(content),
        sequence,
        revision: revision_of(&members, snapshot),
        epochs: snapshot.epochs.clone(),
        publication_begun: begun,
        is_known,
        has_known_profiles: is_known && has_known_profiles(query, snapshot, &members),
        members: members.into(),
        _charge: Arc::new(builder.ledger.charge(bytes)),
    })
}

/// Makes the answer to a query that selects no member of the snapshot.
fn unknown_label(query: &Query, basis: Basis<'_>, builder: &AnswerBuilder) -> Answer {
    let Basis { sequence, snapshot, begun } = basis;
    Answer {
        query: query.clone(),
        content: Arc::new(Content::UnknownLabel),
        sequence,
        revision: snapshot.revision.clone(),
        epochs: snapshot.epochs.clone(),
        publication_begun: begun,
        is_known: false,
        has_known_profiles: false,
        members: [].into(),
        _charge: Arc::new(builder.ledger.charge(ANSWER_BYTES)),
    }
}

/// Returns true if the files of an answer mention every requested profile except `default`, or if a search path
/// contains `{profile}`.
fn has_known_profiles(query: &Query, snapshot: &Snapshot, members: &[MemberAnswer]) -> bool {
    let layouts = members.iter().filter_map(|member| snapshot.members.get(member.index));
    let mut paths = layouts.flat_map(|member| &member.layout.search_paths);
    let sources = || members.iter().flat_map(|member| &member.sources);
    let mut profiles = query.profile_names();
    paths.any(|path| path.contains("{profile}"))
        || profiles.all(|profile| {
            profile == "default" || sources().any(|it| mentions_profile(it, profile))
        })
}

/// Returns true if a file belongs to a profile by its name, or mentions it in a condition or as a group.
fn mentions_profile(source: &PropertySource, profile: &str) -> bool {
    let group = format!("spring.profiles.group.{profile}");
    let is_named_in = |document: &Document| {
        resolve::named_profiles(document).iter().any(|named| named == profile)
            || document.properties.iter().any(|property| property.key.starts_with(&group))
    };
    let of_profile = format!("-{profile}.");
    source.file.as_ref().is_some_and(|file| file.contains(&of_profile))
        || source.documents.iter().any(is_named_in)
}

/// Returns the earlier contribution of a member. The answer to another query is used only if its name matched no
/// directory.
fn find_previous<'a>(
    answer: &'a Answer,
    query: &Query,
    member: &Member,
) -> Option<&'a MemberAnswer> {
    let before = answer.members.iter().find(|before| before.base == member.layout.base)?;
    (answer.query == *query || !before.is_in_own_directory).then_some(before)
}

/// Returns the query whose answer stands in for the answers to applications that no file mentions. Those answers are
/// not kept. Their problems are reported under the name of the stand-in. Where a source goes back to memory, they
/// consist of the last good sources of the stand-in.
pub(super) fn stand_in_query(query: &Query) -> Option<Query> {
    let application = SHARED_APPLICATION;
    let is_another = &*query.application != application;
    is_another.then(|| Query { application: application.into(), ..query.clone() })
}

/// The mentions of each requested application in the chosen members.
struct Mentions(Vec<Vec<Mention>>);

/// Returns true if a list has each item once and nothing else. The same list has any number of other spellings, which
/// are not kept.
fn is_normalized(list: &str) -> bool {
    let names: Vec<&str> = items(list).collect();
    let distinct: HashSet<&&str> = names.iter().collect();
    distinct.len() == names.len() && names.join(",") == list
}

impl Mentions {
    fn read(query: &Query, snapshot: &Snapshot, chosen: &[usize]) -> Result<Self, TreeError> {
        let of_name = |name: &str| -> Result<Vec<Mention>, TreeError> {
            let members = chosen.iter().map(|index| &snapshot.members[*index]);
            members.map(|member| resolve::mention(member, &member.tree, query, name)).collect()
        };
        let mentions: Result<_, _> = query.application_names().map(of_name).collect();
        mentions.map(Self)
    }

    /// Returns true if the query names an application and some member mentions each of them.
    fn is_known(&self) -> bool {
        !self.0.is_empty()
            && self
                .0
                .iter()
                .all(|members| members.iter().any(|mention| mention.file || mention.directory))
    }

    fn is_in_own_directory(&self, member: usize) -> bool {
        self.0.iter().any(|members| members[member].directory)
    }
}

fn assemble(
    query: &Query,
    snapshot: &Snapshot,
    members: &[MemberAnswer],
    builder: &AnswerBuilder,
) -> Content {
    let AnswerBuilder { settings, payloads, .. } = builder;
    let mut sources: Vec<PropertySource> = settings.overrides.iter().cloned().collect();
    sources.extend(members.iter().flat_map(|member| member.sources.iter().cloned()));
    if sources.is_empty() && settings.refuse_empty {
        return Content::Empty;
    }
    let sealed = payloads.get_or_make(&sources, Variant::Sealed);
    let opened = (builder.opens_values() && sealed.has_sealed())
        .then(|| payloads.get_or_make(&sources, Variant::Opened));
    // `state` is an empty string for a single git repository and null otherwise (docs/protocol.md#3-the-environment).
    let first = &snapshot.members[0];
    let has_one_source = snapshot
        .members
        .iter()
        .all(|member| member.layout.base == first.layout.base || member.group == first.group);
    let state = (has_one_source && first.layout.style == Style::Git).then_some("");
    let served = |payload: Arc<Payload>| {
        let environment = Environment {
            application: Arc::clone(&query.application),
            profiles: Arc::clone(&query.profiles),
            label: query.label.clone(),
            sources: payload.sources().to_vec(),
        };
        ServedEnvironment::new(environment, state, payload)
    };
    Content::Environment(Box::new(EnvironmentVariants::new(served(sealed), opened.map(served))))
}

/// Adds the values that no key opens to the notices of their members.
fn record_unopened(
    members: &mut [MemberAnswer],
    served: &ServedEnvironment,
    builder: &AnswerBuilder,
) {
    let override_count = usize::from(builder.settings.overrides.is_some());
    for (index, problem) in served.unopened() {
        let Some(mut index) = index.checked_sub(override_count) else { continue };
        for member in &mut *members {
            if index < member.sources.len() {
                member.notices.push(problem);
                break;
            }
            index -= member.sources.len();
        }
    }
}

/// Returns the contribution of a member, and the problem if it has no good revision.
fn build_member(
    query: &Query,
    index: usize,
    member: &Member,
    before: Option<&MemberAnswer>,
    builder: &AnswerBuilder,
) -> Result<(MemberAnswer, Option<Problem>), TreeError> {
    let ResolvedMember { outcome, mut dependencies, mut notices, mut foreign, .. } =
        resolve::resolve(member, &member.tree, query)?;
    notices.append(&mut foreign);
    let (sources, held, problem) = match examined(outcome, builder) {
        Ok(sources) => (sources, None, None),
        Err(problem) => {
            let last_good = match &member.history {
                Some(_) => find_last_good(query, member, &mut dependencies, &problem, builder)?,
                None => recall_last_good(member, &problem, before),
            };
            match last_good {
                Some((sources, held)) => (sources, Some(held), None),
                None => (Vec::new(), None, Some(problem)),
            }
        }
    };
    let (base, revision) = (Arc::clone(&member.layout.base), member.revision.clone());
    let broken = problem.clone();
    let notices = if held.is_none() && broken.is_none() { notices } else { Vec::new() };
    let is_in_own_directory = false;
    let member = MemberAnswer {
        index,
        base,
        areas: member.areas.clone(),
        revision,
        dependencies,
        sources,
        held,
        broken,
        is_in_own_directory,
        notices,
    };
    Ok((member, problem))
}

/// Resolved sources, unless one of their sealed values makes the environment unusable.
fn examined(
    outcome: Result<Vec<PropertySource>, Problem>,
    builder: &AnswerBuilder,
) -> Result<Vec<PropertySource>, Problem> {
    let sources = outcome?;
    builder.payloads.examine(&sources)?;
    Ok(sources)
}

/// Returns the sources of the last good revision in a member's history.
///
/// Invariant: the result is a function of the history, so that every replica and a restarted server agree on it. The
/// last good revision is the newest first-parent ancestor, up to [`LAST_GOOD_DEPTH_MAX`], at which the environment
/// resolves to at least one source and which has the broken file and every file that is read for the environment now.
fn find_last_good(
    query: &Query,
    member: &Member,
    dependencies: &mut Dependencies,
    problem: &Problem,
    builder: &AnswerBuilder,
) -> Result<Option<(Vec<PropertySource>, HeldRevision)>, TreeError> {
    let Some(history) = &member.history else {
        return Ok(None);
    };
    let needed = resolve::files_of(member, &member.tree, query, dependencies)?;
    let broken = &problem.origin.file;
    let (mut tree, mut dependencies) = (member.tree.clone(), dependencies.clone());
    for ancestor in history.ancestors().take(LAST_GOOD_DEPTH_MAX) {
        let Ancestor { revision, tree: older, followed_seconds } = ancestor?;
        let is_affected = dependencies.is_affected_by(&tree.changes(&older)?);
        tree = older;
        if !is_affected {
            continue;
        }
        let mut resolved = resolve::resolve(member, &tree, query)?;
        resolved.dependencies.files.insert(Arc::clone(broken));
        let has = resolve::files_of(member, &tree, query, &mut resolved.dependencies)?;
        if let Ok(sources) = examined(resolved.outcome, builder)
            && !sources.is_empty()
            && has.is_superset(&needed)
            && tree.file(broken)?.is_some()
        {
            let held = HeldRevision {
                revision,
                problem: problem.clone(),
                since_seconds: followed_seconds,
            };
            return Ok(Some((sources, held)));
        }
        dependencies = resolved.dependencies;
    }
    Ok(None)
}

/// Returns the sources that a member without a history served before, as far as this process remembers them. A tag or a
/// commit id never changes and has nothing earlier to serve.
fn recall_last_good(
    member: &Member,
    problem: &Problem,
    before: Option<&MemberAnswer>,
) -> Option<(Vec<PropertySource>, HeldRevision)> {
    // Only a member whose revision has no time goes back to memory: a directory, or keys that are put by hand.
    // What other areas permitted is not served again.
    let before = before
        .filter(|before| member.made_seconds.is_none() && before.areas.are_same(&member.areas))?;
    let held = match &before.held {
        Some(held) => HeldRevision { problem: problem.clone(), ..held.clone() },
        None if before.sources.is_empty() => return None,
        None => HeldRevision {
            revision: before.revision.clone(),
            problem: problem.clone(),
            since_seconds: now_seconds(),
        },
    };
    Some((before.sources.clone(), held))
}

/// The present time, for a bad revision whose own time is unknown.
fn now_seconds() -> Option<i64> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

#[cfg(test)]
mod tests;
