//! The first-parent history of a branch, read one commit at a time.

use std::sync::Arc;

use git2::{ErrorCode, Oid, Repository};

use super::pool::{Pool, content_id, unreadable};
use crate::model::Revision;
use crate::snapshot::{Ancestor, History};
use crate::tree::{ObjectCache, TreeError};

/// The first-parent history that ends in one commit.
pub(super) struct FirstParents {
    pub(super) pool: Arc<Pool>,
    pub(super) cache: Arc<ObjectCache>,
    pub(super) tip: Oid,
}

struct Parent {
    id: Oid,
    tree: Oid,
    followed_seconds: i64,
}

impl History for FirstParents {
    fn ancestors(&self) -> Box<dyn Iterator<Item = Result<Ancestor, TreeError>> + '_> {
        let mut at = Some(self.tip);
        Box::new(std::iter::from_fn(move || {
            let child = at.take()?;
            match self.pool.with(|repository| parent(repository, child)) {
                Ok(None) => None,
                Ok(Some(parent)) => {
                    at = Some(parent.id);
                    Some(Ok(Ancestor {
                        revision: Revision::new(parent.id.to_string()),
                        tree: self.cache.tree(content_id(parent.tree)),
                        followed_seconds: Some(parent.followed_seconds),
                    }))
                }
                Err(error) => Some(Err(unreadable(child, &error))),
            }
        }))
    }
}

/// The first parent of a commit. `None` at the root and at the boundary of a shallow clone.
fn parent(repository: &Repository, child: Oid) -> Result<Option<Parent>, git2::Error> {
    let child = repository.find_commit(child)?;
    if child.parent_count() == 0 {
        return Ok(None);
    }
    match child.parent(0) {
        Ok(parent) => Ok(Some(Parent {
            id: parent.id(),
            tree: parent.tree_id(),
            followed_seconds: child.time().seconds(),
        })),
        Err(error) if error.code() == ErrorCode::NotFound && repository.is_shallow() => Ok(None),
        Err(error) => Err(error),
    }
}
