//! The answer to one query: an environment, or the reason for its absence. The text of an answer is rendered at most
//! once.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwapOption;
use bytes::Bytes;

use super::ledger::{ALLOCATION_BYTES, Charge};
use super::payload::{Payload, Payloads};
use super::published_snapshot::{Basis, PublishedSnapshot};
use crate::areas::Areas;
use crate::model::{
    Digest, Document, Environment, Epochs, LabelPosition, Problem, Property, PropertySource, Query,
    Revision,
};
use crate::render::{self, RenderedJson, Representation};
use crate::resolve::Dependencies;
use crate::reveal::Variant;
use crate::snapshot::Snapshot;

/// The answer to a query at a label, made when its content last changed.
pub struct Answer {
    /// The requested environment.
    pub query: Query,
    /// The environment, or the reason for its absence.
    pub content: Arc<Content>,
    /// The contributions of the members that the query selects.
    pub(super) members: Arc<[MemberAnswer]>,
    /// The sequence number of the published snapshot that the answer was made for, or was handed over to.
    pub(super) sequence: u64,
    /// The revision when the answer was made. Readers receive it only while the published snapshot is older than the
    /// answer. Otherwise the revision of that snapshot counts.
    pub(super) revision: Revision,
    /// The epochs that belong to `revision`.
    pub(super) epochs: Option<Epochs>,
    /// The time at which the publication began that the answer was made for.
    pub publication_begun: Instant,
    /// True if files mention every requested application. Clients can invent any number of other names. An answer to
    /// one of these lives only while a request or a watcher holds it.
    pub(super) is_known: bool,
    /// True if files mention every requested profile as well. Clients can invent profiles too, but many use a profile
    /// that no file mentions. A label keeps a limited number of such answers.
    pub(super) has_known_profiles: bool,
    /// The bytes of the answer in the ledger, without texts that are rendered later.
    pub(super) _charge: Arc<Charge>,
}

/// The content of an answer.
pub enum Content {
    Environment(Box<EnvironmentVariants>),
    /// The content cannot be used, and no earlier revision can replace it.
    Broken(Problem),
    /// None of the sources for this application has the label.
    UnknownLabel,
    /// No property source matches, and the settings make this an error.
    Empty,
}

/// An environment in the forms in which callers receive it.
///
/// Invariant: both variants have the same sources, revision and state, because they are made and replaced together.
pub struct EnvironmentVariants {
    sealed: ServedEnvironment,
    /// `None` if there is no value to open. Every caller then receives the same bytes.
    opened: Option<Box<ServedEnvironment>>,
}

/// One variant of an environment with its digest and its rendered texts.
pub struct ServedEnvironment {
    /// The environment with sealed values in the form of the variant.
    pub environment: Environment,
    /// The digest of the variant.
    pub digest: Digest,
    state: Option<&'static str>,
    payload: Arc<Payload>,
    forms: [RenderedForm; 2],
    event: ArcSwapOption<RenderedEvent>,
}

#[derive(Default)]
struct RenderedForm {
    etag: std::sync::OnceLock<String>,
    /// The whole text of a small answer, the head of a large one.
    spliced: ArcSwapOption<SplicedText>,
}

struct SplicedText {
    revision: Revision,
    bytes: Bytes,
    version: std::ops::Range<usize>,
    _charge: Charge,
}

struct RenderedEvent {
    position: LabelPosition,
    bytes: Bytes,
    _charge: Charge,
}

/// The JSON of an environment: one text in two parts.
#[derive(Clone)]
pub struct Body {
    /// The whole text of a small answer. For a large one, the text before its property sources.
    pub head: Bytes,
    /// The property sources of a large answer, shared by every answer with the same sources.
    pub rest: Bytes,
}

impl Body {
    /// The text in one piece, copied.
    pub fn whole(&self) -> Vec<u8> {
        [&self.head[..], &self.rest[..]].concat()
    }
}

/// The contribution of one member of the snapshot.
pub(super) struct MemberAnswer {
    /// The index of the member in the snapshot.
    pub(super) index: usize,
    /// The base of the member's names, which identifies the member in another snapshot.
    pub(super) base: Arc<str>,
    /// The areas under which this was made.
    pub(super) areas: Areas,
    /// The revision of the member when this was made.
    pub(super) revision: Revision,
    /// The paths whose change invalidates this.
    pub(super) dependencies: Dependencies,
    /// The sources of the member. They are kept so that a source without a history can continue to serve them.
    pub(super) sources: Vec<PropertySource>,
    /// Set while the member serves an older revision than its newest one.
    pub(super) held: Option<HeldRevision>,
    /// Set while the member has no good revision to serve.
    pub(super) broken: Option<Problem>,
    /// True if a search path leads to a directory because of a requested name.
    pub(super) is_in_own_directory: bool,
    /// The problems of the newest revision that do not keep it from being served.
    pub(super) notices: Vec<Problem>,
}

impl MemberAnswer {
    /// The bytes that are not shared with the tree of the label.
    pub(super) fn bytes(&self) -> usize {
        let paths: usize =
            self.dependencies.texts().map(|text| text.len() + 2 * ALLOCATION_BYTES).sum();
        let names = self.sources.iter().map(|source| source.name.len() + ALLOCATION_BYTES);
        // The environment contains each source as well.
        let sources: usize = names.sum::<usize>() + 2 * size_of_val(&*self.sources);
        let documents: usize = match self.held {
            Some(_) => {
                self.sources.iter().flat_map(PropertySource::properties).map(property_bytes).sum()
            }
            None => 0,
        };
        paths + sources + documents
    }
}

/// The bytes of a property with its texts.
pub(super) fn property_bytes(property: &Property) -> usize {
    let text = property.key.len() + property.value.text().len();
    size_of::<Property>() + 2 * ALLOCATION_BYTES + text
}

/// The reason for serving an older revision than the newest one, and its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldRevision {
    /// The served revision.
    pub revision: Revision,
    /// The problem of the newest revision.
    pub problem: Problem,
    /// The time at which the first bad revision was made or noticed, in seconds since 1970, if known.
    pub since_seconds: Option<i64>,
}

impl Answer {
    /// The same answer for another publication, at whose snapshot it is valid as well.
    pub(super) fn hand_over(&self, basis: Basis<'_>) -> Self {
        let Basis { sequence, snapshot, begun } = basis;
        Self {
            query: self.query.clone(),
            content: Arc::clone(&self.content),
            members: Arc::clone(&self.members),
            sequence,
            revision: revision_of(&self.members, snapshot),
            epochs: snapshot.epochs.clone(),
            publication_begun: begun,
            is_known: self.is_known,
            has_known_profiles: self.has_known_profiles,
            _charge: Arc::clone(&self._charge),
        }
    }

    /// A number that grows with every answer that replaces another one of the same label.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The members that are held back.
    pub fn held_revisions(&self) -> impl Iterator<Item = &HeldRevision> {
        self.members.iter().filter_map(|member| member.held.as_ref())
    }

    /// The problems of the newest revision: the name of the source, the older revision that it serves, and the problem.
    pub(super) fn problems(
        &self,
    ) -> impl Iterator<Item = (&Arc<str>, Option<&HeldRevision>, &Problem)> {
        self.members.iter().filter_map(|member| match (&member.held, &member.broken) {
            (Some(held), _) => Some((&member.base, Some(held), &held.problem)),
            (None, Some(problem)) => Some((&member.base, None, problem)),
            (None, None) => None,
        })
    }

    /// The problems of the served content: the name of the source, and the problem.
    pub(super) fn notices(&self) -> impl Iterator<Item = (&Arc<str>, &Problem)> {
        let members = self.members.iter();
        members.flat_map(|member| member.notices.iter().map(|notice| (&member.base, notice)))
    }

    /// The environment in a variant. None if the content is no environment.
    pub fn served(&self, variant: Variant) -> Option<&ServedEnvironment> {
        self.variants().map(|variants| variants.get(variant))
    }

    /// Returns true if callers that may open values receive another content than those that may not.
    pub fn has_opened_values(&self) -> bool {
        self.variants().is_some_and(|variants| variants.opened.is_some())
    }

    fn variants(&self) -> Option<&EnvironmentVariants> {
        match &*self.content {
            Content::Environment(variants) => Some(variants),
            Content::Broken(_) | Content::UnknownLabel | Content::Empty => None,
        }
    }

    /// Remembers the payloads for the next request. For an answer that is not kept.
    pub(super) fn remember_text(&self, payloads: &Payloads) {
        for served in self.variants().into_iter().flat_map(EnvironmentVariants::all) {
            payloads.remember(&served.payload);
        }
    }

    /// Returns true if the answer serves an older revision than the newest one, or found none to serve.
    pub(super) fn depends_on_history(&self) -> bool {
        matches!(*self.content, Content::Broken(_)) || self.held_revisions().next().is_some()
    }

    /// The identity of the documents and their places. Answers with equal compositions have equal values at equal
    /// places.
    pub(super) fn composition(&self) -> Vec<(usize, *const Document, usize)> {
        let sources = |member: &MemberAnswer| {
            let index = member.index;
            let id = |source: &PropertySource| (index, source.documents.as_ptr(), source.index);
            member.sources.iter().map(id).collect::<Vec<_>>()
        };
        self.members.iter().flat_map(sources).collect()
    }

    /// Returns true if readers can see a difference: another digest of some variant, another kind of content, or another
    /// problem.
    pub(super) fn differs(&self, other: &Self) -> bool {
        match (&*self.content, &*other.content) {
            (Content::Environment(a), Content::Environment(b)) => a.digests() != b.digests(),
            (Content::Broken(a), Content::Broken(b)) => a != b,
            (Content::UnknownLabel, Content::UnknownLabel) | (Content::Empty, Content::Empty) => {
                false
            }
            _ => true,
        }
    }

    /// The revision of this answer under the snapshot that it is valid for.
    pub(super) fn revision_under(&self, snapshot: &Snapshot) -> Revision {
        revision_of(&self.members, snapshot)
    }

    /// The position that a reader of this answer receives under a published snapshot.
    pub(super) fn position_under(&self, published: &PublishedSnapshot) -> LabelPosition {
        let snapshot = &published.snapshot;
        if self.sequence > published.sequence {
            return LabelPosition { revision: self.revision.clone(), epochs: self.epochs.clone() };
        }
        let revision = revision_of(&self.members, snapshot);
        LabelPosition { revision, epochs: snapshot.epochs.clone() }
    }
}

/// The combined revision of the selected members. A member that is held back contributes the revision that it serves.
pub(super) fn revision_of(members: &[MemberAnswer], snapshot: &Snapshot) -> Revision {
    let all_tips = members.iter().all(|member| member.held.is_none());
    if all_tips && members.len() == snapshot.members.len() {
        return snapshot.revision.clone();
    }
    let revisions: Vec<&str> = members
        .iter()
        .filter_map(|member| match &member.held {
            Some(held) => Some(held.revision.as_str()),
            None => Some(snapshot.members.get(member.index)?.revision.as_str()),
        })
        .collect();
    Revision::new(revisions.join(","))
}

impl EnvironmentVariants {
    pub(super) fn new(sealed: ServedEnvironment, opened: Option<ServedEnvironment>) -> Self {
        Self { sealed, opened: opened.map(Box::new) }
    }

    /// The variant. Without a value to open, both are the same.
    pub fn get(&self, variant: Variant) -> &ServedEnvironment {
        match (variant, &self.opened) {
            (Variant::Opened, Some(opened)) => opened,
            (Variant::Opened, None) | (Variant::Sealed, _) => &self.sealed,
        }
    }

    /// The bytes of the opened variant, without its texts.
    pub(super) fn opened_bytes(&self) -> usize {
        self.opened.as_ref().map_or(0, |opened| {
            size_of::<ServedEnvironment>() + size_of_val(&*opened.environment.sources)
        })
    }

    fn all(&self) -> impl Iterator<Item = &ServedEnvironment> {
        std::iter::once(&self.sealed).chain(self.opened.as_deref())
    }

    fn digests(&self) -> (Digest, Option<Digest>) {
        (self.sealed.digest, self.opened.as_ref().map(|opened| opened.digest))
    }
}

impl ServedEnvironment {
    /// Returns true if the environment contains values that the server has opened, or tried to open.
    pub fn has_opened_values(&self) -> bool {
        self.payload.is_revealed()
    }

    /// Creates the content without rendering any text.
    pub(super) fn new(
        environment: Environment,
        state: Option<&'static str>,
        payload: Arc<Payload>,
    ) -> Self {
        Self {
            digest: payload.digest,
            environment,
            state,
            payload,
            forms: Default::default(),
            event: ArcSwapOption::empty(),
        }
    }

    /// The bytes of all keys and values, which approximate the size of a rendered form.
    pub fn text_bytes(&self) -> usize {
        self.payload.text_bytes
    }

    /// The values that no key of the server opens: the index of the source, and the problem.
    pub(super) fn unopened(&self) -> impl Iterator<Item = (usize, Problem)> {
        self.payload.unopened()
    }

    /// The weak entity tag of a representation: the digest and the representation's name.
    pub fn etag(&self, representation: Representation) -> &str {
        self.forms[representation as usize]
            .etag
            .get_or_init(|| format!("W/\"{}.{}\"", self.digest, representation.name()))
    }

    /// The server-sent event for watchers of this environment: id, name and the JSON in one line, wrapped for the
    /// connection. The event of a candidate also names its rollout.
    ///
    /// Invariant: every caller passes the same `wrap`, and the same rollout for a position, because the event is made
    /// once for each position and all watchers receive the same bytes.
    pub fn event(
        &self,
        position: &LabelPosition,
        rollout: Option<&str>,
        wrap: impl FnOnce(&[u8]) -> Bytes,
    ) -> Bytes {
        if let Some(known) = &*self.event.load()
            && known.position == *position
        {
            return known.bytes.clone();
        }
        let Body { head, rest } = self.body(Representation::V1, &position.revision);
        let mut event = format!("event: environment\nid: {position}.{}\n", self.digest);
        if let Some(rollout) = rollout {
            event += &format!("rollout: {rollout}\n");
        }
        let mut event = (event + "data: ").into_bytes();
        event.reserve_exact(head.len() + rest.len() + 2);
        event.extend_from_slice(&head);
        event.extend_from_slice(&rest);
        event.extend_from_slice(b"\n\n");
        let bytes = wrap(&event);
        let _charge = self.payload.charge(bytes.len());
        let (position, event) = (position.clone(), bytes.clone());
        self.event.store(Some(Arc::new(RenderedEvent { position, bytes, _charge })));
        event
    }

    /// The JSON with this revision in it. Rendered once, and spliced once for each revision that is read.
    pub fn body(&self, representation: Representation, revision: &Revision) -> Body {
        let is_large = self.payload.is_large();
        let rest = if is_large { self.payload.text(representation) } else { Bytes::new() };
        Body { head: self.splice(representation, revision), rest }
    }

    fn splice(&self, representation: Representation, revision: &Revision) -> Bytes {
        let cell = &self.forms[representation as usize].spliced;
        let known = cell.load();
        let text = revision.as_str();
        let mut rendered = match &*known {
            Some(spliced) if spliced.revision == *revision => return spliced.bytes.clone(),
            Some(spliced) => RenderedJson::with_version(&spliced.bytes, &spliced.version, text),
            None if self.payload.is_large() => render::head(&self.environment, text, self.state),
            None => render::json(&self.environment, representation, text, self.state),
        };
        rendered.bytes.shrink_to_fit();
        let bytes = Bytes::from(rendered.bytes);
        cell.store(Some(Arc::new(SplicedText {
            revision: revision.clone(),
            bytes: bytes.clone(),
            version: rendered.version,
            _charge: self.payload.charge(bytes.len()),
        })));
        bytes
    }
}
