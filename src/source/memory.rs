//! Configuration in memory, with branches, tags and history, for tests.
//!
//! It is part of the library because the unit tests of several rooms and the integration tests share it, and because it is
//! built on the private content store of the sources.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use crate::areas::Areas;
use crate::model::{ContentId, Label, LabelPosition, Revision};
use crate::snapshot::{
    Ancestor, BranchHolds, History, Layout, Member, MemberHolds, Rewinds, Snapshot,
};
use crate::source::content::{Contents, HeldContent, Intake, hash, short};
use crate::source::{BoxFuture, Source, SourceError, labels};
use crate::sync::lock;
use crate::tree::{EntryKind, ObjectCache, RawEntry, Tree, TreeError, join};

/// The branch of a request that names no label.
const DEFAULT_BRANCH: &str = "main";
/// The time of the first revision, in seconds since 1970. Each later revision is one minute after the one before.
const FIRST_SECONDS: i64 = 1_700_000_000;

/// A source whose content is set by method calls.
pub struct MemorySource {
    layout: Arc<Layout>,
    contents: Arc<Contents>,
    cache: Arc<ObjectCache>,
    state: Mutex<MemoryState>,
    generation: watch::Sender<u64>,
    load_count: AtomicU64,
}

#[derive(Default)]
struct MemoryState {
    branches: HashMap<String, Arc<MemoryCommit>>,
    tags: HashMap<String, Arc<MemoryCommit>>,
    holds: HashMap<String, Arc<BranchHolds>>,
    made_count: i64,
    failure: Option<String>,
}

struct MemoryCommit {
    revision: Revision,
    parent: Option<Arc<Self>>,
    files: BTreeMap<String, Arc<str>>,
    root: ContentId,
    kept: Arc<HeldContent>,
    seconds: i64,
}

impl MemorySource {
    /// Makes a source without a label.
    pub fn new(layout: Arc<Layout>) -> Self {
        let contents = Arc::new(Contents::default());
        Self {
            layout,
            cache: ObjectCache::new(Arc::clone(&contents) as Arc<_>),
            contents,
            state: Mutex::default(),
            generation: watch::Sender::new(0),
            load_count: AtomicU64::new(0),
        }
    }

    /// Makes a new revision of a branch, and the branch if it is missing. Writes files, and deletes those without content.
    /// The same calls make the same revisions in every process.
    pub fn commit(&self, branch: &str, changes: &[(&str, Option<&str>)]) -> Revision {
        self.commit_held(branch, changes, |_| None)
    }

    /// As [`MemorySource::commit`], and replaces the holds of the branch in the same step, unless the function returns none
    /// for the new revision.
    pub fn commit_held(
        &self,
        branch: &str,
        changes: &[(&str, Option<&str>)],
        holds: impl FnOnce(&Revision) -> Option<BranchHolds>,
    ) -> Revision {
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
            if let Some(holds) = holds(&revision) {
                state.holds.insert(branch.to_owned(), Arc::new(holds));
            }
            revision
        };
        self.hint();
        revision
    }

    /// Replaces the holds of a branch. Labels show them when they are loaded again.
    pub fn set_holds(&self, branch: &str, holds: BranchHolds) {
        lock(&self.state).holds.insert(branch.to_owned(), Arc::new(holds));
    }

    /// Tags a revision that is reachable from a branch or a tag. Returns false if there is none.
    pub fn tag(&self, name: &str, revision: &Revision) -> bool {
        self.point(revision, |state, commit| {
            state.tags.insert(name.to_owned(), commit);
        })
    }

    /// Moves a branch to a revision that is reachable from a branch or a tag. Returns false if there is none.
    pub fn force(&self, branch: &str, revision: &Revision) -> bool {
        self.point(revision, |state, commit| {
            state.branches.insert(branch.to_owned(), commit);
        })
    }

    /// Deletes a branch.
    pub fn delete_branch(&self, branch: &str) {
        lock(&self.state).branches.remove(branch);
        self.hint();
    }

    /// Begins an outage with this reason. `None` ends it.
    pub fn fail(&self, reason: Option<&str>) {
        lock(&self.state).failure = reason.map(str::to_owned);
        self.hint();
    }

    /// The number of loaded snapshots.
    pub fn load_count(&self) -> u64 {
        self.load_count.load(Ordering::Relaxed)
    }

    /// The number of reads of files.
    pub fn read_count(&self) -> u64 {
        self.contents.read_count()
    }

    fn point(
        &self,
        revision: &Revision,
        place: impl FnOnce(&mut MemoryState, Arc<MemoryCommit>),
    ) -> bool {
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
        parent: Option<Arc<MemoryCommit>>,
        files: BTreeMap<String, Arc<str>>,
        made_count: i64,
    ) -> MemoryCommit {
        let mut intake = self.contents.intake();
        let root = take_in(&mut intake, &files, "");
        let before = parent.as_ref().map_or("", |parent| parent.revision.as_str());
        let id =
            hash(&[b"commit\0", before.as_bytes(), root.as_bytes(), &made_count.to_be_bytes()]);
        MemoryCommit {
            revision: Revision::new(short(id)),
            parent,
            files,
            root,
            kept: intake.finish(),
            seconds: FIRST_SECONDS + 60 * made_count,
        }
    }

    /// Resolves the names of a label in the order of the request. One missing name makes the label unknown.
    fn resolve(&self, label: &Label) -> Result<Vec<ResolvedName>, SourceError> {
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

    fn member(&self, mut found: ResolvedName) -> Member {
        let (branch, stables) = (found.holds.take(), std::mem::take(&mut found.stables));
        let stables = stables
            .into_iter()
            .map(|commit| self.member(ResolvedName::new(commit, &found.name, found.is_branch)));
        let holds = MemberHolds { branch, are_recorded: true, stables: stables.collect() };
        Member {
            areas: Areas::default(),
            group: 0,
            layout: Arc::clone(&self.layout),
            revision: found.commit.revision.clone(),
            label: Some(found.name.into()),
            overlays: Vec::new(),
            tree: found.commit.tree(&self.cache),
            rewinds: Rewinds::default(),
            holds,
            made_seconds: Some(found.commit.seconds),
            commit: None,
            history: found.is_branch.then(|| {
                Arc::new(MemoryHistory { cache: Arc::clone(&self.cache), tip: found.commit })
                    as Arc<_>
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
        seen: &'a LabelPosition,
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
                if revisions.join(",") != seen.revision.as_str() {
                    return Ok(());
                }
                // The sender lives as long as this source does.
                let _ = hints.changed().await;
            }
        })
    }
}

struct ResolvedName {
    commit: Arc<MemoryCommit>,
    name: String,
    is_branch: bool,
    holds: Option<Arc<BranchHolds>>,
    /// The commits of the stable revisions of the holds, in their order.
    stables: Vec<Arc<MemoryCommit>>,
}

impl ResolvedName {
    fn new(commit: Arc<MemoryCommit>, name: &str, is_branch: bool) -> Self {
        let name = name.to_owned();
        Self { commit, name, is_branch, holds: None, stables: Vec::new() }
    }
}

impl MemoryState {
    fn resolve(&self, name: &str) -> Option<ResolvedName> {
        let name = if name == "HEAD" { DEFAULT_BRANCH } else { name };
        if !labels::is_name(name) {
            return None;
        }
        self.by_name(name)
            .or_else(|| self.by_name(labels::sibling(name)?))
            .or_else(|| Some(ResolvedName::new(self.reachable(name)?, name, false)))
    }

    fn by_name(&self, name: &str) -> Option<ResolvedName> {
        let branch = self.branches.get(name);
        let commit = branch.or_else(|| self.tags.get(name))?;
        let found = ResolvedName::new(Arc::clone(commit), name, branch.is_some());
        let holds = self.holds.get(name).filter(|_| found.is_branch).cloned();
        let stables = holds.iter().flat_map(|holds| &holds.holds);
        let stables = stables.map(|hold| self.reachable(hold.stable.as_str()));
        Some(ResolvedName { stables: stables.collect::<Option<_>>()?, holds, ..found })
    }

    fn reachable(&self, revision: &str) -> Option<Arc<MemoryCommit>> {
        let tips = self.branches.values().chain(self.tags.values());
        tips.flat_map(|tip| std::iter::successors(Some(tip), |commit| commit.parent.as_ref()))
            .find(|commit| commit.revision.as_str() == revision)
            .cloned()
    }
}

impl MemoryCommit {
    fn tree(&self, cache: &Arc<ObjectCache>) -> Tree {
        cache.tree_keeping(self.root, Arc::clone(&self.kept) as Arc<_>)
    }
}

struct MemoryHistory {
    cache: Arc<ObjectCache>,
    tip: Arc<MemoryCommit>,
}

impl History for MemoryHistory {
    fn ancestors(&self) -> Box<dyn Iterator<Item = Result<Ancestor, TreeError>> + '_> {
        let line = std::iter::successors(Some(&self.tip), |commit| commit.parent.as_ref());
        Box::new(line.filter_map(|child| {
            let parent = child.parent.as_ref()?;
            Some(Ok(Ancestor {
                revision: parent.revision.clone(),
                tree: parent.tree(&self.cache),
                followed_seconds: Some(child.seconds),
            }))
        }))
    }
}

/// Adds the directory at a path, deepest content first.
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
