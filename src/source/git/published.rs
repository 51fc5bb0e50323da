//! The references of a repository that this server hosts, as far as they are durable: what labels are looked up in.
//!
//! Git moves a reference before anything says that it will survive a power cut. What stands here has been synced.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use git2::{ErrorCode, Oid, Repository};
use tokio::sync::watch;

use super::lookup::branch_of;

/// The branch of a `HEAD` that names none.
pub(super) const DEFAULT_BRANCH: &str = "main";

/// The table of published references.
pub(super) struct Published {
    head: Box<str>,
    table: ArcSwap<BTreeMap<Box<str>, Oid>>,
    announced: watch::Sender<()>,
}

/// A reference that stands for something else than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedReference {
    /// Its full name.
    pub name: String,
    /// The object id before; `None` for a new one.
    pub old: Option<String>,
    /// The object id now; `None` for a deleted one.
    pub new: Option<String>,
}

impl Published {
    /// All branches and tags as the repository has them.
    pub(super) fn read(repository: &Repository) -> Result<Self, git2::Error> {
        let head = match repository.find_reference("HEAD") {
            Ok(head) => branch_of(&head).map(Box::from),
            Err(error) if error.code() == ErrorCode::NotFound => None,
            Err(error) => return Err(error),
        };
        let mut table = BTreeMap::new();
        for glob in ["refs/heads/*", "refs/tags/*"] {
            for reference in repository.references_glob(glob)? {
                let reference = reference?;
                // What is not UTF-8 no label can name; what is symbolic no push made.
                if let (Ok(name), Some(id)) = (reference.name(), reference.target()) {
                    table.insert(name.into(), id);
                }
            }
        }
        Ok(Self {
            head: head.unwrap_or_else(|| DEFAULT_BRANCH.into()),
            table: ArcSwap::from_pointee(table),
            announced: watch::Sender::new(()),
        })
    }

    /// The short name of the branch that `HEAD` leads to.
    pub(super) fn head(&self) -> &str {
        &self.head
    }

    pub(super) fn id(&self, name: &str) -> Option<Oid> {
        self.table.load().get(name).copied()
    }

    pub(super) fn all(&self) -> BTreeMap<String, String> {
        let table = self.table.load();
        table.iter().map(|(name, id)| (name.to_string(), id.to_string())).collect()
    }

    pub(super) fn ids(&self) -> Vec<Oid> {
        self.table.load().values().copied().collect()
    }

    /// Takes over what the repository has for these names. Called by one at a time.
    pub(super) fn follow(
        &self,
        repository: &Repository,
        names: &[&str],
    ) -> Result<Vec<MovedReference>, git2::Error> {
        let mut table = BTreeMap::clone(&self.table.load());
        let mut moved = Vec::new();
        for name in names {
            let new = match repository.find_reference(name) {
                Ok(reference) => reference.target(),
                Err(error) if error.code() == ErrorCode::NotFound => None,
                Err(error) => return Err(error),
            };
            let old = match new {
                Some(id) => table.insert((*name).into(), id),
                None => table.remove(*name),
            };
            if old != new {
                let text = |id: Oid| id.to_string();
                moved.push(MovedReference {
                    name: (*name).to_owned(),
                    old: old.map(text),
                    new: new.map(text),
                });
            }
        }
        self.table.store(Arc::new(table));
        Ok(moved)
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.announced.subscribe()
    }

    pub(super) fn announce(&self) {
        self.announced.send_replace(());
    }
}
