//! Configuration in a local git repository, bare or not, read from the object database. Nothing is ever checked out.
//!
//! A label is the name of a branch or a tag, or a full commit id that one of those leads to. That a branch moved is
//! noticed by watching the references; other ways in (a push to this server, a mirror) move the same references.

pub(crate) mod copy;
mod history;
mod incoming;
mod label;
mod library;
mod lookup;
mod pool;
mod published;
mod reach;
mod refs;
mod seed;
pub mod write;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use git2::{ErrorClass, Reference, Repository};

use self::history::FirstParents;
use self::label::Resolved;
use self::lookup::Lookup;
use self::pool::{Pool, content_id};
use self::published::Published;
use self::reach::Reach;
use self::refs::References;
use crate::model::{Label, Revision};
use crate::snapshot::{Commit, Layout, Member, Snapshot};
use crate::source::hints::Hints;
use crate::source::{BoxFuture, OpenError, Source, SourceError, blocking, labels};
use crate::tree::Shelf;

pub use self::incoming::Incoming;
pub use self::library::prepare;
pub use self::published::MovedReference;
pub use self::seed::{SeedError, first_commit, seed};
pub use super::beside::sync;

/// Whether git takes this as the full name of a reference.
pub fn is_reference_name(name: &str) -> bool {
    Reference::is_valid_name(name)
}

/// How a repository is served.
#[derive(Debug, Clone)]
pub struct GitOptions {
    /// How its files are found and named.
    pub layout: Arc<Layout>,
    /// The label of a request that names none; without it, the repository's `HEAD`.
    pub default_label: Option<String>,
}

/// A local git repository as a source.
pub struct GitSource {
    inner: Arc<Inner>,
}

struct Inner {
    options: GitOptions,
    pool: Arc<Pool>,
    shelf: Arc<Shelf>,
    reach: Mutex<Reach>,
    lookup: Lookup,
    hints: Hints,
}

impl GitSource {
    /// Opens the repository at a path: a bare one, or a working tree with its `.git`.
    ///
    /// # Errors
    /// When there is no repository, or none that can be read.
    pub fn open(path: impl AsRef<Path>, options: GitOptions) -> Result<Self, OpenError> {
        Self::with(path.as_ref(), options, |_| Ok(Lookup::Repository))
    }

    /// Opens a repository that this server hosts. What its references stand for is read once, now, and from then on only
    /// [`GitSource::publish`] changes it: a reference that moved is not served before it is durable.
    ///
    /// # Errors
    /// When there is no repository, or none that can be read.
    pub fn open_hosted(path: impl AsRef<Path>, options: GitOptions) -> Result<Self, OpenError> {
        Self::with(path.as_ref(), options, |repository| {
            Ok(Lookup::Published(Published::read(repository)?))
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
        Ok(Self {
            inner: Arc::new(Inner {
                options,
                shelf: Shelf::new(Arc::clone(&pool) as Arc<_>),
                lookup: pool.with(&mut lookup).map_err(refused)?,
                pool,
                reach: Mutex::default(),
                hints: Hints::new(Arc::new(references)),
            }),
        })
    }

    /// The short name of the branch that `HEAD` of a hosted repository leads to. Of another repository, nothing.
    pub fn head_branch(&self) -> Option<&str> {
        let Lookup::Published(published) = &self.inner.lookup else { return None };
        Some(published.head())
    }

    /// What a reference of a hosted repository stands for, as a full object id. Of another repository, nothing.
    pub fn published(&self, reference: &str) -> Option<String> {
        let Lookup::Published(published) = &self.inner.lookup else { return None };
        published.id(reference).map(|id| id.to_string())
    }

    /// All published branches and tags of a hosted repository, by full names, with the full ids of their objects.
    pub fn references(&self) -> BTreeMap<String, String> {
        match &self.inner.lookup {
            Lookup::Published(published) => published.all(),
            Lookup::Repository => BTreeMap::new(),
        }
    }

    /// Whether a branch or a tag leads to a commit, given by its full id. Blocking.
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

    /// The ids of all objects that published branches and tags stand for.
    pub fn tips(&self) -> HashSet<String> {
        match &self.inner.lookup {
            Lookup::Published(published) => {
                published.ids().iter().map(ToString::to_string).collect()
            }
            _ => HashSet::new(),
        }
    }

    /// Takes over from the repository what these references stand for now; they have to be durable. Gives those that
    /// stand for something else than before, with what they stood for. Blocking.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn publish(&self, references: &[&str]) -> Result<Vec<MovedReference>, SourceError> {
        let Lookup::Published(published) = &self.inner.lookup else { return Ok(Vec::new()) };
        let moved = self.inner.pool.with(|repository| published.follow(repository, references));
        moved.map_err(|error| self.inner.unavailable(&error))
    }

    /// Tells those who follow a label that references were published: a net under the push, which publishes by itself.
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

    fn load<'a>(
        &'a self,
        label: &'a Label,
        previous: Option<&'a Arc<Snapshot>>,
    ) -> BoxFuture<'a, Result<Snapshot, SourceError>> {
        let (inner, label, previous) =
            (Arc::clone(&self.inner), label.clone(), previous.map(Arc::clone));
        Box::pin(blocking(self.name(), move || inner.load(&label, previous.as_deref())))
    }

    fn look_again(&self) {
        self.inner.hints.touch();
    }

    fn changed<'a>(
        &'a self,
        label: &'a Label,
        seen: &'a Revision,
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
                let found = blocking(self.name(), move || {
                    if renew {
                        inner.hints.renew();
                    }
                    inner.hints.settle();
                    inner.revision(&label)
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
    /// Nobody but the server itself moves the references of a hosted repository, so nothing is watched.
    async fn published_changed(
        &self,
        published: &Published,
        label: &Label,
        seen: &Revision,
    ) -> Result<(), SourceError> {
        let mut announced = published.subscribe();
        loop {
            announced.borrow_and_update();
            let (inner, label) = (Arc::clone(&self.inner), label.clone());
            if blocking(self.name(), move || inner.revision(&label)).await? != *seen {
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
        let resolved = self.resolve(label)?;
        let wanted: Vec<_> = resolved
            .iter()
            .map(|found| (Revision::new(found.commit.to_string()), Some(Arc::from(&*found.name))))
            .collect();
        if let Some(previous) = previous.filter(|previous| labels::is_same(previous, &wanted)) {
            return Ok(previous.clone());
        }
        let members: Result<Vec<Member>, git2::Error> =
            resolved.iter().map(|found| self.member(found)).collect();
        Ok(labels::combine(members.map_err(|error| self.unavailable(&error))?))
    }

    fn member(&self, found: &Resolved) -> Result<Member, git2::Error> {
        let (tree, made_seconds, commit) = self.pool.with(|repository| {
            let commit = repository.find_commit(found.commit)?;
            Ok((commit.tree_id(), commit.time().seconds(), describe(&commit)))
        })?;
        Ok(Member {
            group: 0,
            layout: Arc::clone(&self.options.layout),
            revision: Revision::new(found.commit.to_string()),
            label: Some(Arc::from(&*found.name)),
            overlays: Vec::new(),
            tree: self.shelf.tree(content_id(tree)),
            history: found.is_branch.then(|| {
                Arc::new(FirstParents {
                    pool: Arc::clone(&self.pool),
                    shelf: Arc::clone(&self.shelf),
                    tip: found.commit,
                }) as Arc<_>
            }),
            made_seconds: Some(made_seconds),
            commit: Some(Arc::new(commit)),
        })
    }

    fn revision(&self, label: &Label) -> Result<Revision, SourceError> {
        let ids: Vec<String> =
            self.resolve(label)?.iter().map(|found| found.commit.to_string()).collect();
        Ok(Revision::new(ids.join(",")))
    }

    /// In the order of the request; one that is not there fails all.
    fn resolve(&self, label: &Label) -> Result<Vec<Resolved>, SourceError> {
        let names = labels::names(label)?;
        let resolved = self.pool.with(|repository| {
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

fn describe(commit: &git2::Commit<'_>) -> Commit {
    let text = String::from_utf8_lossy;
    let subject = commit.message_bytes().split(|byte| *byte == b'\n').find(|line| !line.is_empty());
    Commit::new(&text(commit.author().name_bytes()), &text(subject.unwrap_or_default()))
}

/// Whether a directory is a repository by itself, bare or with a `.git`.
pub fn is_repository(path: &Path) -> bool {
    path.join(".git").exists()
        || (path.join("HEAD").is_file()
            && path.join("objects").is_dir()
            && path.join("refs").is_dir())
}

/// The directory that holds the repository's `HEAD`.
fn find(path: &Path) -> Result<PathBuf, OpenError> {
    let unreadable = |error: std::io::Error| OpenError::unreadable(path, &error);
    let path_absolute = std::path::absolute(path).map_err(unreadable)?;
    let dot_git = path_absolute.join(".git");
    match std::fs::metadata(&dot_git) {
        Ok(found) if found.is_dir() => Ok(dot_git),
        Ok(_) => {
            let text = std::fs::read_to_string(&dot_git).map_err(unreadable)?;
            match text.trim_end().strip_prefix("gitdir: ") {
                Some(linked) => Ok(path_absolute.join(linked)),
                None => Err(OpenError::NotARepository(path.to_owned())),
            }
        }
        Err(_) if is_repository(&path_absolute) => Ok(path_absolute),
        Err(_) => match std::fs::metadata(&path_absolute) {
            Ok(_) => Err(OpenError::NotARepository(path.to_owned())),
            Err(error) => Err(unreadable(error)),
        },
    }
}

fn refusal(path: &Path, error: &git2::Error) -> OpenError {
    let message = error.message();
    let reason = if message.contains("refstorage") {
        "its references are stored as reftable, which libgit2 cannot read: \
         `git refs migrate --ref-format=files` converts it"
            .to_owned()
    } else if message.contains("object format") || message.contains("objectformat") {
        "its objects are named by SHA-256, which libgit2 cannot read: it has to be a SHA-1 repository".to_owned()
    } else if error.class() == ErrorClass::Repository {
        format!("it is no complete git repository: {message}")
    } else {
        message.to_owned()
    };
    OpenError::Refused { path: path.to_owned(), reason }
}
