//! Configuration in memory, with branches, tags and history: for tests, and for whoever embeds the server.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use crate::model::{ContentId, Label, Revision};
use crate::snapshot::{Ancestor, History, Layout, Member, Snapshot};
use crate::source::content::{Contents, Intake, Kept, hash, short};
use crate::source::{BoxFuture, Source, SourceError, labels};
use crate::sync::lock;
use crate::tree::{EntryKind, RawEntry, Shelf, Tree, TreeError, join};

/// The branch that a request without a label gets.
const DEFAULT_BRANCH: &str = "main";
/// When the first revision was made, in seconds since 1970; each later one was made a minute after the one before.
const FIRST_SECONDS: i64 = 1_700_000_000;

/// A source whose content is given by calls.
pub struct MemorySource {
    layout: Arc<Layout>,
    contents: Arc<Contents>,
    shelf: Arc<Shelf>,
    state: Mutex<State>,
    generation: watch::Sender<u64>,
    load_count: AtomicU64,
}

#[derive(Default)]
struct State {
    branches: HashMap<String, Arc<Commit>>,
    tags: HashMap<String, Arc<Commit>>,
    made_count: i64,
    failure: Option<String>,
}

struct Commit {
    revision: Revision,
    parent: Option<Arc<Self>>,
    files: BTreeMap<String, Arc<str>>,
    root: ContentId,
    kept: Arc<Kept>,
    seconds: i64,
}

impl MemorySource {
    /// An empty source: it has no label yet.
    pub fn new(layout: Arc<Layout>) -> Self {
        let contents = Arc::new(Contents::default());
        Self {
            layout,
            shelf: Shelf::new(Arc::clone(&contents) as Arc<_>),
            contents,
            state: Mutex::default(),
            generation: watch::Sender::new(0),
            load_count: AtomicU64::new(0),
        }
    }

    /// Makes a new revision of a branch, and the branch where it is missing: files are written, or deleted where the
    /// content is `None`. The same calls give the same revisions in every process.
    pub fn commit(&self, branch: &str, changes: &[(&str, Option<&str>)]) -> Revision {
        let revision = {
            let mut state = lock(&self.state);
            let parent = state.branches.get(branch).cloned();
            let mut files = parent.as_ref().map(|parent| parent.files.clone()).unwrap_or_default();
            for (path, content) in changes {
                match content {
                    Some(content) => files.insert((*path).to_owned(), Arc::from(*content)),
                    None => files.remove(*path),
                };
            }
            let commit = Arc::new(self.made(parent, files, state.made_count));
            let revision = commit.revision.clone();
            state.made_count += 1;
            state.branches.insert(branch.to_owned(), commit);
            revision
        };
        self.hint();
        revision
    }

    /// Names a revision that some branch or tag has, or had on the way. Whether there is such a revision.
    pub fn tag(&self, name: &str, revision: &Revision) -> bool {
        self.point(revision, |state, commit| {
            state.tags.insert(name.to_owned(), commit);
        })
    }

    /// Moves a branch to a revision that some branch or tag leads to. Whether there is such a revision.
    pub fn force(&self, branch: &str, revision: &Revision) -> bool {
        self.point(revision, |state, commit| {
            state.branches.insert(branch.to_owned(), commit);
        })
    }

    /// Takes a branch away.
    pub fn delete_branch(&self, branch: &str) {
        lock(&self.state).branches.remove(branch);
        self.hint();
    }

    /// From now on the source cannot be read, for this reason; `None` ends the outage.
    pub fn fail(&self, reason: Option<&str>) {
        lock(&self.state).failure = reason.map(str::to_owned);
        self.hint();
    }

    /// How many times it was asked for a snapshot.
    pub fn load_count(&self) -> u64 {
        self.load_count.load(Ordering::Relaxed)
    }

    /// How many times a file was read.
    pub fn read_count(&self) -> u64 {
        self.contents.read_count()
    }

    fn point(&self, revision: &Revision, place: impl FnOnce(&mut State, Arc<Commit>)) -> bool {
        let found = {
            let mut state = lock(&self.state);
            let commit = state.reachable(revision.as_str());
            let found = commit.is_some();
            if let Some(commit) = commit {
                place(&mut state, commit);
            }
            found
        };
        self.hint();
        found
    }

    fn hint(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }

    fn made(
        &self,
        parent: Option<Arc<Commit>>,
        files: BTreeMap<String, Arc<str>>,
        made_count: i64,
    ) -> Commit {
        let mut intake = self.contents.intake();
        let root = take_in(&mut intake, &files, "");
        let before = parent.as_ref().map_or("", |parent| parent.revision.as_str());
        let id =
            hash(&[b"commit\0", before.as_bytes(), root.as_bytes(), &made_count.to_be_bytes()]);
        Commit {
            revision: Revision::new(short(id)),
            parent,
            files,
            root,
            kept: intake.finish(),
            seconds: FIRST_SECONDS + 60 * made_count,
        }
    }

    /// In the order of the request; one that is not there fails all.
    fn resolve(&self, label: &Label) -> Result<Vec<Resolved>, SourceError> {
        let state = lock(&self.state);
        if let Some(failure) = &state.failure {
            return Err(SourceError::Unavailable {
                name: self.name().to_owned(),
                message: failure.clone(),
            });
        }
        labels::names(label)?
            .into_iter()
            .map(|name| state.resolve(name.unwrap_or(DEFAULT_BRANCH)))
            .collect::<Option<_>>()
            .ok_or_else(|| SourceError::UnknownLabel(label.clone()))
    }

    fn member(&self, found: Resolved) -> Member {
        Member {
            group: 0,
            layout: Arc::clone(&self.layout),
            revision: found.commit.revision.clone(),
            label: Some(found.name.into()),
            overlays: Vec::new(),
            tree: found.commit.tree(&self.shelf),
            made_seconds: Some(found.commit.seconds),
            commit: None,
            history: found.is_branch.then(|| {
                Arc::new(Past { shelf: Arc::clone(&self.shelf), tip: found.commit }) as Arc<_>
            }),
        }
    }
}

impl Source for MemorySource {
    fn name(&self) -> &str {
        &self.layout.base
    }

    fn patterns(&self) -> &[String] {
        &self.layout.patterns
    }

    fn load<'a>(
        &'a self,
        label: &'a Label,
        _previous: Option<&'a Arc<Snapshot>>,
    ) -> BoxFuture<'a, Result<Snapshot, SourceError>> {
        Box::pin(async move {
            self.load_count.fetch_add(1, Ordering::Relaxed);
            let members = self.resolve(label)?;
            let members = members.into_iter().map(|found| self.member(found));
            Ok(labels::combine(members.collect()))
        })
    }

    fn changed<'a>(
        &'a self,
        label: &'a Label,
        seen: &'a Revision,
    ) -> BoxFuture<'a, Result<(), SourceError>> {
        Box::pin(async move {
            let mut hints = self.generation.subscribe();
            loop {
                hints.borrow_and_update();
                let revisions: Vec<String> = self
                    .resolve(label)?
                    .iter()
                    .map(|found| found.commit.revision.to_string())
                    .collect();
                if revisions.join(",") != seen.as_str() {
                    return Ok(());
                }
                // The sender lives as long as this source does.
                let _ = hints.changed().await;
            }
        })
    }
}

struct Resolved {
    commit: Arc<Commit>,
    name: String,
    is_branch: bool,
}

impl State {
    fn resolve(&self, name: &str) -> Option<Resolved> {
        let name = if name == "HEAD" { DEFAULT_BRANCH } else { name };
        if !labels::is_name(name) {
            return None;
        }
        self.by_name(name).or_else(|| self.by_name(labels::sibling(name)?)).or_else(|| {
            Some(Resolved {
                commit: self.reachable(name)?,
                name: name.to_owned(),
                is_branch: false,
            })
        })
    }

    fn by_name(&self, name: &str) -> Option<Resolved> {
        let branch = self.branches.get(name);
        let commit = branch.or_else(|| self.tags.get(name))?;
        Some(Resolved {
            commit: Arc::clone(commit),
            name: name.to_owned(),
            is_branch: branch.is_some(),
        })
    }

    fn reachable(&self, revision: &str) -> Option<Arc<Commit>> {
        let tips = self.branches.values().chain(self.tags.values());
        tips.flat_map(|tip| std::iter::successors(Some(tip), |commit| commit.parent.as_ref()))
            .find(|commit| commit.revision.as_str() == revision)
            .cloned()
    }
}

impl Commit {
    fn tree(&self, shelf: &Arc<Shelf>) -> Tree {
        shelf.tree_keeping(self.root, Arc::clone(&self.kept) as Arc<_>)
    }
}

struct Past {
    shelf: Arc<Shelf>,
    tip: Arc<Commit>,
}

impl History for Past {
    fn ancestors(&self) -> Box<dyn Iterator<Item = Result<Ancestor, TreeError>> + '_> {
        let line = std::iter::successors(Some(&self.tip), |commit| commit.parent.as_ref());
        Box::new(line.filter_map(|child| {
            let parent = child.parent.as_ref()?;
            Some(Ok(Ancestor {
                revision: parent.revision.clone(),
                tree: parent.tree(&self.shelf),
                followed_seconds: Some(child.seconds),
            }))
        }))
    }
}

/// Takes in the directory at a path, deepest content first.
fn take_in(
    intake: &mut Intake<'_>,
    files: &BTreeMap<String, Arc<str>>,
    directory: &str,
) -> ContentId {
    let prefix = join(directory, "");
    let mut entries: Vec<RawEntry> = Vec::new();
    for (path, content) in files {
        let Some(rest) = path.strip_prefix(&*prefix) else {
            continue;
        };
        let (name, kind) = match rest.split_once('/') {
            Some((name, _)) => (name, EntryKind::Directory),
            None => (rest, EntryKind::File),
        };
        if entries.iter().any(|entry| &*entry.name == name) {
            continue;
        }
        let id = match kind {
            EntryKind::Directory => take_in(intake, files, &join(directory, name)),
            EntryKind::File | EntryKind::Link => intake.bytes(content.as_bytes().to_vec()),
        };
        entries.push(RawEntry { name: name.into(), kind, id });
    }
    intake.directory(entries)
}
