//! What is served for one query: an environment, or why there is none; its bytes made at most once.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;

use crate::model::{Digest, Environment, Problem, Query, Revision};
use crate::render::{self, Rendered, Representation};
use crate::resolve::Asked;
use crate::snapshot::Snapshot;

/// The answer to a query at a label, as of the moment that its content last changed.
pub struct Answer {
    /// What was asked for.
    pub query: Query,
    /// What there is to serve.
    pub content: Content,
    /// One for each member of the snapshot that had a say.
    pub(super) members: Vec<MemberAnswer>,
    /// The number of the view that this was made for.
    pub(super) sequence: u64,
    /// The revision when it was made; while it is untouched the view's own counts.
    pub(super) revision: Revision,
}

/// What there is to serve for a query.
pub enum Content {
    /// An environment.
    Environment(Box<Served>),
    /// The content cannot be used, and nothing earlier can stand in for it.
    Broken(Problem),
    /// No source that is asked for this application has the label.
    UnknownLabel,
    /// There is no property source at all, and the settings say that this is an error.
    Empty,
}

/// An environment with its digest and its bytes.
pub struct Served {
    /// The environment, after `reveal`.
    pub environment: Environment,
    /// Of the environment.
    pub digest: Digest,
    state: Option<&'static str>,
    json: [Json; 2],
    event: ArcSwapOption<(Revision, Bytes)>,
}

#[derive(Default)]
struct Json {
    etag: std::sync::OnceLock<String>,
    spliced: ArcSwapOption<Spliced>,
}

struct Spliced {
    revision: Revision,
    bytes: Bytes,
    version: std::ops::Range<usize>,
}

/// What one member of the snapshot contributed.
pub(super) struct MemberAnswer {
    /// Its index in the snapshot.
    pub(super) index: usize,
    /// The base of the member's names, by which it is known again in another snapshot.
    pub(super) base: Arc<str>,
    /// The member's revision when this was made.
    pub(super) made_at: Revision,
    /// The paths whose change invalidates this.
    pub(super) asked: Asked,
    /// The sources it gave, kept so that a source without a history can go on serving them.
    pub(super) sources: Vec<crate::model::PropertySource>,
    /// Set while the member serves something older than its newest revision.
    pub(super) held: Option<Held>,
    /// Set while it has nothing good to serve at all.
    pub(super) broken: Option<Problem>,
}

/// Why and since when something older than the newest revision is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The revision that is served.
    pub revision: Revision,
    /// What is wrong with the newest one.
    pub problem: Problem,
    /// When the first bad revision was made or noticed, in seconds since 1970, if that is known.
    pub since_seconds: Option<i64>,
}

impl Answer {
    /// Grows with every answer that takes the place of another one in the same label.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// What is held back, by member.
    pub fn held(&self) -> impl Iterator<Item = &Held> {
        self.members.iter().filter_map(|member| member.held.as_ref())
    }

    /// What is wrong with the newest revision: the name of the source, what it serves in its place, and the problem.
    pub(super) fn problems(&self) -> impl Iterator<Item = (&Arc<str>, Option<&Held>, &Problem)> {
        self.members.iter().filter_map(|member| match (&member.held, &member.broken) {
            (Some(held), _) => Some((&member.base, Some(held), &held.problem)),
            (None, Some(problem)) => Some((&member.base, None, problem)),
            (None, None) => None,
        })
    }

    /// The environment and its digest, if there is one to serve.
    pub fn served(&self) -> Option<&Served> {
        match &self.content {
            Content::Environment(served) => Some(served),
            Content::Broken(_) | Content::UnknownLabel | Content::Empty => None,
        }
    }

    /// How many paths were looked for to make it.
    pub(super) fn path_count(&self) -> usize {
        let asked = self.members.iter().map(|member| &member.asked);
        asked.map(|asked| asked.files.len() + asked.listings.len()).sum()
    }

    /// Whether it serves something older than the newest revision, or looked for it in vain.
    pub(super) fn depends_on_history(&self) -> bool {
        matches!(self.content, Content::Broken(_)) || self.held().next().is_some()
    }

    /// Whether a reader would see a difference: another digest, another kind of answer, another problem.
    pub(super) fn differs(&self, other: &Self) -> bool {
        match (&self.content, &other.content) {
            (Content::Environment(a), Content::Environment(b)) => a.digest != b.digest,
            (Content::Broken(a), Content::Broken(b)) => a != b,
            (Content::UnknownLabel, Content::UnknownLabel) | (Content::Empty, Content::Empty) => {
                false
            }
            _ => true,
        }
    }

    /// The revision that a reader is told who sees this answer in a view of `snapshot`.
    pub(super) fn revision_in(&self, sequence: u64, snapshot: &Snapshot) -> Revision {
        if self.sequence > sequence {
            return self.revision.clone();
        }
        revision_of(&self.members, snapshot)
    }
}

/// The revisions of the members that had a say, those held back with the one that they serve.
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

impl Served {
    /// Takes the digest; nothing is rendered before it is asked for.
    pub(super) fn new(environment: Environment, state: Option<&'static str>) -> Self {
        Self {
            digest: render::digest(&environment),
            environment,
            state,
            json: Default::default(),
            event: ArcSwapOption::empty(),
        }
    }

    /// The weak entity tag of a representation: the digest and the representation's name.
    pub fn etag(&self, representation: Representation) -> &str {
        self.json[index(representation)]
            .etag
            .get_or_init(|| format!("W/\"{}.{}\"", self.digest, representation.name()))
    }

    /// The server-sent event that tells a watcher of this environment: id, name and the JSON in one line, wrapped as it
    /// goes out. Made once for each revision; all watchers are sent the same bytes, so all have to `wrap` in the same way.
    pub fn event(&self, revision: &Revision, wrap: impl FnOnce(&[u8]) -> Bytes) -> Bytes {
        if let Some(known) = &*self.event.load()
            && known.0 == *revision
        {
            return known.1.clone();
        }
        let json = self.json(Representation::V1, revision);
        let mut event =
            format!("event: environment\nid: {revision}.{}\ndata: ", self.digest).into_bytes();
        event.extend_from_slice(&json);
        event.extend_from_slice(b"\n\n");
        let event = wrap(&event);
        self.event.store(Some(Arc::new((revision.clone(), event.clone()))));
        event
    }

    /// The JSON with this revision in it. Rendered once, spliced once for each revision that is read.
    pub fn json(&self, representation: Representation, revision: &Revision) -> Bytes {
        let cell = &self.json[index(representation)].spliced;
        let known = cell.load();
        let rendered = match &*known {
            Some(spliced) if spliced.revision == *revision => return spliced.bytes.clone(),
            Some(spliced) => {
                Rendered::with_version(&spliced.bytes, &spliced.version, revision.as_str())
            }
            None => render::json(&self.environment, representation, revision.as_str(), self.state),
        };
        let bytes = Bytes::from(rendered.bytes);
        cell.store(Some(Arc::new(Spliced {
            revision: revision.clone(),
            bytes: bytes.clone(),
            version: rendered.version,
        })));
        bytes
    }
}

fn index(representation: Representation) -> usize {
    match representation {
        Representation::V1 => 0,
        Representation::V2 => 1,
    }
}
