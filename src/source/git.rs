//! Configuration in a local git repository, bare or not, read from the object database. No file is ever checked out.
//!
//! A label is the name of a branch or a tag, or a full commit id that is reachable from one. A watcher of the reference
//! files detects moves. A push to this server and a mirror move the same references.

pub(crate) mod copy;
mod findings;
mod history;
mod incoming;
mod label;
mod library;
mod lookup;
mod new_commits;
mod partial;
mod place;
mod pool;
mod published;
mod pushed;
mod reach;
pub(crate) mod reference;
mod refs;
mod rewinds;
mod seed;
mod upstream;
pub mod write;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use git2::{ErrorCode, Oid, Reference, Repository};

use self::findings::Found;
use self::history::FirstParents;
use self::label::Resolved;
use self::lookup::Lookup;
use self::place::{find, refusal};
use self::pool::{Pool, content_id};
use self::published::Published;
use self::reach::Reachability;
use self::refs::References;
use crate::areas::Areas;
use crate::model::{Epochs, Label, LabelPosition, Revision};
use crate::snapshot::{
    CommitSummary, History, Layout, Left, Member, MemberHolds, Rewinds, Snapshot,
};
use crate::source::hints::Hints;
use crate::source::reads::Reads;
use crate::source::{BoxFuture, OpenError, Source, SourceError, SourceProblem, labels};
use crate::tree::ObjectCache;

pub use self::findings::Findings;
pub use self::incoming::Incoming;
pub use self::library::prepare;
pub use self::place::{git_directory_of, is_repository};
pub use self::published::{HoldTable, PublishedReferences};
pub use self::pushed::{ChangedPath, ChangedPaths};
pub use self::reference::MovedReference;
pub use self::rewinds::{RECORD_REFERENCE, Rewind, RewindRecord};
pub use self::seed::{SeedError, first_commit, seed};
pub use self::upstream::upstream_address;
pub use super::atomic_replace::sync;

/// Returns whether git accepts this as the full name of a reference.
pub fn is_reference_name(name: &str) -> bool {
    Reference::is_valid_name(name)
}

/// The options of a git source.
#[derive(Debug, Clone)]
pub struct GitOptions {
    /// The rules by which its files are found and named.
    pub layout: Arc<Layout>,
    /// The label of a request that names none. `None` stands for the repository's `HEAD`.
    pub default_label: Option<String>,
    /// The findings about the repository that are reported.
    pub findings: Findings,
}

/// A local git repository as a source.
#[derive(Clone)]
pub struct GitSource {
    inner: Arc<Inner>,
}

struct Inner {
    options: GitOptions,
    pool: Arc<Pool>,
    cache: Arc<ObjectCache>,
    reach: Mutex<Reachability>,
    lookup: Lookup,
    hints: Hints,
    found: Found,
    reads: Reads,
}

impl GitSource {
    /// Opens the repository at a path: a bare one, or a working tree with its `.git`.
    ///
    /// # Errors
    /// When the repository is missing or cannot be read.
    pub fn open(path: impl AsRef<Path>, options: GitOptions) -> Result<Self, OpenError> {
        Self::with(path.as_ref(), options, Lookup::repository)
    }

    /// Opens a repository that this server hosts, and reads its references once.
    ///
    /// Invariant: from then on only [`GitSource::publish`] changes the served references, so that a moved reference is
    /// not served before it is durable.
    ///
    /// # Errors
    /// When the repository is missing or cannot be read.
    pub fn open_hosted(path: impl AsRef<Path>, options: GitOptions) -> Result<Self, OpenError> {
        Self::with(path.as_ref(), options, |repository| {
            Ok(Lookup::Published(Published::of_hosted(repository)?))
        })
    }

    /// Opens the copy of a remote with the references that were served last, because an interrupted fetch may have
    /// moved some of the references in the copy. [`GitSource::reload`] publishes the result of a complete fetch.
    ///
    /// # Errors
    /// When the repository is missing or cannot be read.
    pub(super) fn open_copy(
        path: impl AsRef<Path>,
        options: GitOptions,
        served: &copy::ServedReferences,
    ) -> Result<Self, OpenError> {
        Self::with(path.as_ref(), options, |repository| {
            Ok(Lookup::Published(Published::of_copy(repository, served)?))
        })
    }

    fn with(
        path: &Path,
        options: GitOptions,
        mut lookup: impl FnMut(&Repository) -> Result<Lookup, git2::Error>,
    ) -> Result<Self, OpenError> {
        let git_directory = find(path)?;
        let refused = |error: git2::Error| refusal(path, &error);
        let pool = Arc::new(Pool::open(git_directory).map_err(refused)?);
        let references = References {
            git_directory: pool.git_directory().to_owned(),
            common_directory: pool
                .with(|repository| Ok(repository.commondir().to_owned()))
                .map_err(refused)?,
        };
        let inner = Inner {
            options,
            cache: ObjectCache::new(Arc::clone(&pool) as Arc<_>),
            lookup: pool.with(&mut lookup).map_err(refused)?,
            pool,
            reach: Mutex::default(),
            hints: Hints::new(Arc::new(references)),
            found: Found::default(),
            reads: Reads::default(),
        };
        inner.find();
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The short name of the branch that `HEAD` of a hosted repository or a copy references. `None` for another
    /// repository.
    pub fn head_branch(&self) -> Option<String> {
        let Lookup::Published(published) = &self.inner.lookup else { return None };
        Some(published.head())
    }

    /// The full object id of a published reference. `None` for a repository whose references the server does not
    /// publish.
    pub fn published(&self, reference: &str) -> Option<String> {
        let Lookup::Published(published) = &self.inner.lookup else { return None };
        published.id(reference).map(|id| id.to_string())
    }

    /// All published branches and tags of a hosted repository or a copy: full names with the full ids of their objects.
    pub fn references(&self) -> BTreeMap<String, String> {
        match &self.inner.lookup {
            Lookup::Published(published) => published.all(),
            Lookup::Repository(_) => BTreeMap::new(),
        }
    }

    /// Returns whether a commit, given by its full id, is reachable from a branch or a tag. Blocking.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn leads_to(&self, commit: &str) -> Result<bool, SourceError> {
        match self.inner.resolve(&Label::Named(commit.into())) {
            Ok(_) => Ok(true),
            Err(SourceError::UnknownLabel(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The ids of all published objects: the targets of branches and tags, and the record of rewinds.
    pub fn tips(&self) -> HashSet<String> {
        match &self.inner.lookup {
            Lookup::Published(published) => {
                let ids = published.ids().into_iter().chain(published.record_id());
                ids.map(|id| id.to_string()).collect()
            }
            _ => HashSet::new(),
        }
    }

    /// Publishes the present targets of these references in the repository, and the record of rewinds. Returns the
    /// references that moved, with their previous targets. Blocking.
    ///
    /// Invariant: the references and the record are durable before this call.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn publish(&self, references: &[&str]) -> Result<PublishedReferences, SourceError> {
        self.publish_references(references, &mut |_| None)
    }

    /// The target of a reference in the repository, which may not be published yet. Blocking.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn stored(&self, name: &str) -> Result<Option<String>, SourceError> {
        let read = self.inner.pool.with(|repository| match repository.find_reference(name) {
            Ok(reference) => Ok(reference.target().map(|id| id.to_string())),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
            Err(error) => Err(error),
        });
        read.map_err(|error| self.inner.unavailable(&error))
    }

    /// As [`GitSource::publish`], and replaces the rollouts of the repository in the same step. `holds` returns the rollouts
    /// that belong to the moves, and can be called again. The stable commits of the rollouts stay in the repository for as
    /// long as they are published. Blocking.
    ///
    /// Invariant: the rollouts are durable before this call.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn publish_with_holds(
        &self,
        references: &[&str],
        mut holds: impl FnMut(&[MovedReference]) -> HoldTable,
    ) -> Result<PublishedReferences, SourceError> {
        self.publish_references(references, &mut |moved| Some(holds(moved)))
    }

    fn publish_references(
        &self,
        references: &[&str],
        holds: &mut dyn FnMut(&[MovedReference]) -> Option<HoldTable>,
    ) -> Result<PublishedReferences, SourceError> {
        let Lookup::Published(published) = &self.inner.lookup else {
            return Ok(PublishedReferences { moved: Vec::new(), has_new_record: false });
        };
        let moved =
            self.inner.pool.with(|repository| published.follow(repository, references, holds));
        moved.map_err(|error| self.inner.unavailable(&error))
    }

    /// Replaces the served references of a copy, and wakes the followers of labels if they differ. Blocking.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub(super) fn reload(&self, served: &copy::ServedReferences) -> Result<(), SourceError> {
        let Lookup::Published(published) = &self.inner.lookup else { return Ok(()) };
        let reloaded = self.inner.pool.with(|repository| published.reload(repository, served));
        if reloaded.map_err(|error| self.inner.unavailable(&error))? {
            published.announce();
        }
        Ok(())
    }

    /// The record of rewinds in the repository, which may be ahead of the published references. Blocking.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn rewind_record(&self) -> Result<Option<RewindRecord>, SourceError> {
        let read = self.inner.pool.with(rewinds::read);
        let read = read.map_err(|error| self.inner.unavailable(&error))?;
        Ok(read.and_then(|(_, record)| record))
    }

    /// Writes the record of rewinds, and returns when it is durable. Blocking.
    ///
    /// # Errors
    /// When the repository cannot be written.
    pub fn write_rewind_record(&self, record: &RewindRecord) -> Result<(), SourceError> {
        let written = self.inner.pool.with(|repository| rewinds::write(repository, record));
        written.map_err(|error| self.inner.unavailable(&error))
    }

    /// Notifies the followers of labels that references were published. A fallback, because a push publishes by itself.
    pub fn announce(&self) {
        if let Lookup::Published(published) = &self.inner.lookup {
            published.announce();
        }
    }
}

impl Source for GitSource {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn patterns(&self) -> &[String] {
        &self.inner.options.layout.patterns
    }

    fn problems(&self) -> Vec<SourceProblem> {
        let of_this = |(severity, problem)| SourceProblem {
            source: self.name().to_owned(),
            severity,
            problem,
        };
        self.inner.found.all().into_iter().map(of_this).collect()
    }

    fn load<'a>(
        &'a self,
        label: &'a Label,
        previous: Option<&'a Arc<Snapshot>>,
    ) -> BoxFuture<'a, Result<Snapshot, SourceError>> {
        let (inner, label, previous) =
            (Arc::clone(&self.inner), label.clone(), previous.map(Arc::clone));
        let reads = &self.inner.reads;
        Box::pin(reads.run(self.name(), move || inner.load(&label, previous.as_deref())))
    }

    fn look_again(&self) {
        self.inner.hints.touch();
    }

    fn label_names(&self) -> BoxFuture<'_, Result<Vec<String>, SourceError>> {
        let inner = Arc::clone(&self.inner);
        Box::pin(self.inner.reads.run(self.name(), move || inner.label_names()))
    }

    fn changed<'a>(
        &'a self,
        label: &'a Label,
        seen: &'a LabelPosition,
    ) -> BoxFuture<'a, Result<(), SourceError>> {
        if let Lookup::Published(published) = &self.inner.lookup {
            return Box::pin(self.published_changed(published, label, seen));
        }
        Box::pin(async move {
            let mut hints = self.inner.hints.subscribe();
            let mut renew = false;
            loop {
                hints.borrow_and_update();
                let (inner, label) = (Arc::clone(&self.inner), label.clone());
                let found = self.inner.reads.run(self.name(), move || {
                    if renew {
                        inner.hints.renew();
                    }
                    inner.hints.settle();
                    inner.position(&label)
                });
                if found.await? != *seen {
                    return Ok(());
                }
                let hint = tokio::time::timeout(self.inner.hints.recheck_after(), hints.changed());
                renew = hint.await.is_err();
            }
        })
    }
}

impl GitSource {
    /// Waits for an announcement instead of watching files, because the server itself publishes the references of a
    /// hosted repository and of a copy.
    async fn published_changed(
        &self,
        published: &Published,
        label: &Label,
        seen: &LabelPosition,
    ) -> Result<(), SourceError> {
        let mut announced = published.subscribe();
        loop {
            announced.borrow_and_update();
            let (inner, label) = (Arc::clone(&self.inner), label.clone());
            let found = self.inner.reads.run(self.name(), move || inner.position(&label));
            if found.await? != *seen {
                return Ok(());
            }
            if announced.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

impl Inner {
    fn name(&self) -> &str {
        &self.options.layout.base
    }

    fn load(&self, label: &Label, previous: Option<&Snapshot>) -> Result<Snapshot, SourceError> {
        self.find();
        let resolved = self.resolve(label)?;
        let wanted: Vec<_> = resolved
            .iter()
            .map(|found| (Revision::new(found.commit.to_string()), Some(Arc::from(&*found.name))))
            .collect();
        let epochs = epochs_of(&resolved);
        let is_same = |previous: &&Snapshot| {
            let mut members = previous.members.iter().rev().zip(&resolved);
            labels::is_same(previous, &wanted)
                && previous.epochs == epochs
                && members.all(|(member, found)| member.holds.branch.as_ref() == found.holds())
        };
        if let Some(previous) = previous.filter(is_same) {
            return Ok(previous.clone());
        }
        self.check_whole(&resolved)?;
        let members: Result<Vec<Member>, git2::Error> =
            resolved.iter().map(|found| self.member(found)).collect();
        Ok(labels::combine(members.map_err(|error| self.unavailable(&error))?))
    }

    /// The short names of branches and tags, each once.
    fn label_names(&self) -> Result<Vec<String>, SourceError> {
        let names = self.pool.with(|repository| self.lookup.names(repository));
        let names = names.map_err(|error| self.unavailable(&error))?;
        let mut prefixes = self.lookup.branch_prefixes();
        prefixes.push("refs/tags/".to_owned());
        let short = |name: &String| {
            let name = prefixes.iter().find_map(|prefix| name.strip_prefix(&**prefix))?;
            (labels::is_name(name) && name != "HEAD").then(|| name.to_owned())
        };
        Ok(names.iter().filter_map(short).collect::<BTreeSet<_>>().into_iter().collect())
    }

    fn member(&self, found: &Resolved) -> Result<Member, git2::Error> {
        Ok(Member { holds: self.holds(found)?, ..self.member_at(found, found.commit)? })
    }

    /// The rollouts of a branch, with the content of their stable commits.
    fn holds(&self, found: &Resolved) -> Result<MemberHolds, git2::Error> {
        let branch = found.holds().map(Arc::clone);
        let stables = branch.iter().flat_map(|branch| &branch.holds).map(|hold| {
            let commit = Oid::from_str(hold.stable.as_str())?;
            self.member_at(found, commit)
        });
        Ok(MemberHolds {
            stables: stables.collect::<Result<_, _>>()?,
            are_recorded: found.table.as_ref().is_some_and(|table| table.is_record_complete),
            branch,
        })
    }

    /// The content of a label at one commit, without rollouts.
    fn member_at(&self, found: &Resolved, commit: Oid) -> Result<Member, git2::Error> {
        let (tree, made_seconds, summary) = self.pool.with(|repository| {
            let commit = repository.find_commit(commit)?;
            Ok((commit.tree_id(), commit.time().seconds(), describe(&commit)))
        })?;
        Ok(Member {
            areas: Areas::default(),
            group: 0,
            layout: Arc::clone(&self.options.layout),
            revision: Revision::new(commit.to_string()),
            label: Some(Arc::from(&*found.name)),
            overlays: Vec::new(),
            tree: self.cache.tree(content_id(tree)),
            history: found.is_branch.then(|| self.history(commit)),
            rewinds: self.rewinds(found),
            holds: MemberHolds::default(),
            made_seconds: Some(made_seconds),
            commit: Some(Arc::new(summary)),
        })
    }

    fn history(&self, tip: Oid) -> Arc<dyn History> {
        let (pool, cache) = (Arc::clone(&self.pool), Arc::clone(&self.cache));
        Arc::new(FirstParents { pool, cache, tip })
    }

    fn rewinds(&self, found: &Resolved) -> Rewinds {
        let Some(table) = &found.table else { return Rewinds::default() };
        let left = table.record().map_or(&[][..], |record| record.left(&found.name));
        let left = left.iter().filter_map(|id| {
            let tip = Oid::from_str(id).ok()?;
            Some(Left { revision: Revision::new(&**id), history: self.history(tip) })
        });
        Rewinds {
            epoch: found.epoch(),
            are_recorded: table.is_record_complete,
            left: left.collect(),
        }
    }

    /// Rejects a label of a partial clone with missing objects, because single requests for them would fail.
    fn check_whole(&self, resolved: &[Resolved]) -> Result<(), SourceError> {
        let lacking = self.pool.with(|repository| {
            if !partial::is_partial(repository)? {
                return Ok(None);
            }
            for found in resolved {
                if let Some(path) = partial::missing(repository, found.commit)? {
                    return Ok(Some(partial::problem(&found.name, &path)));
                }
            }
            Ok(None)
        });
        let lacking = lacking.map_err(|error| self.unavailable(&error))?;
        let message = lacking.as_ref().map(|problem| problem.message.clone());
        self.found.set_lacking(self.name(), lacking);
        match message {
            None => Ok(()),
            Some(message) => {
                Err(SourceError::Unavailable { name: self.name().to_owned(), message })
            }
        }
    }

    /// Updates the findings. If the repository cannot be read they stay as they are, and `load` reports the reason.
    fn find(&self) {
        let GitOptions { findings, default_label, .. } = &self.options;
        let found = self
            .pool
            .with(|repository| findings.of(repository, &self.lookup, default_label.as_deref()));
        if let Ok(problems) = found {
            self.found.set(self.name(), problems);
        }
    }

    fn position(&self, label: &Label) -> Result<LabelPosition, SourceError> {
        if *label == Label::Default {
            self.find();
        }
        let resolved = self.resolve(label)?;
        let ids: Vec<String> = resolved.iter().map(|found| found.commit.to_string()).collect();
        Ok(LabelPosition { revision: Revision::new(ids.join(",")), epochs: epochs_of(&resolved) })
    }

    /// Resolves all names of a label, in the order of the request. A missing name fails all.
    ///
    /// Invariant: all names are resolved in one table, if the server publishes the references. The lookup is repeated
    /// if a publication has replaced the table meanwhile.
    fn resolve(&self, label: &Label) -> Result<Vec<Resolved>, SourceError> {
        loop {
            let table = self.lookup.table();
            let mut resolved = self.resolve_at_any_time(label)?;
            let now = self.lookup.table();
            match (table, now) {
                (Some(table), Some(now)) if !Arc::ptr_eq(&table, &now) => {}
                (table, _) => {
                    resolved.iter_mut().for_each(|found| found.table.clone_from(&table));
                    return Ok(resolved);
                }
            }
        }
    }

    fn resolve_at_any_time(&self, label: &Label) -> Result<Vec<Resolved>, SourceError> {
        let names = labels::names(label)?;
        let resolved = self.pool.with(|repository| {
            // The table of a copy is in memory, so that a lookup in it does not notice a removed copy.
            if self.lookup.is_copy() && !label::stands(repository, self.pool.git_directory()) {
                return Err(git2::Error::from_str("the copy is gone"));
            }
            let mut resolved = Vec::with_capacity(names.len());
            for name in &names {
                match self.resolve_one(repository, *name)? {
                    Some(found) => resolved.push(found),
                    None if label::stands(repository, self.pool.git_directory()) => {
                        return Ok(None);
                    }
                    None => return Err(git2::Error::from_str("the repository is gone")),
                }
            }
            Ok(Some(resolved))
        });
        match resolved {
            Ok(Some(resolved)) => Ok(resolved),
            Ok(None) => Err(SourceError::UnknownLabel(label.clone())),
            Err(error) => Err(self.unavailable(&error)),
        }
    }

    fn resolve_one(
        &self,
        repository: &Repository,
        name: Option<&str>,
    ) -> Result<Option<Resolved>, git2::Error> {
        match name.filter(|name| *name != "HEAD") {
            Some(name) => label::resolve(repository, &self.lookup, &self.reach, name),
            None => match self.options.default_label.as_deref() {
                Some(name) => label::resolve(repository, &self.lookup, &self.reach, name),
                None => label::resolve_head(repository, &self.lookup),
            },
        }
    }

    fn unavailable(&self, error: &git2::Error) -> SourceError {
        incoming::unavailable(self.name(), error)
    }
}

/// The epochs of a snapshot of these parts. The members of a snapshot are in the reverse order.
fn epochs_of(resolved: &[Resolved]) -> Option<Epochs> {
    Epochs::of(resolved.iter().rev().map(Resolved::epoch))
}

fn describe(commit: &git2::Commit<'_>) -> CommitSummary {
    let text = String::from_utf8_lossy;
    let subject = commit.message_bytes().split(|byte| *byte == b'\n').find(|line| !line.is_empty());
    CommitSummary::new(&text(commit.author().name_bytes()), &text(subject.unwrap_or_default()))
}
