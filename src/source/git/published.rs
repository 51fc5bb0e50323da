//! The published references of a hosted repository or a copy, in which labels are looked up.
//!
//! In a hosted repository, git moves a reference before the move is durable. In a copy of a remote, git moves one
//! reference after the other. This table is replaced as a whole: after the synchronisation of a push, or after a fetch.
//!
//! Invariant: the references, the record of rewinds and the rollouts of one table belong together.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use git2::{ErrorCode, Oid, Repository};
use tokio::sync::watch;

use super::copy::{Recorder, ServedReferences};
use super::reference::{DEFAULT_BRANCH, MovedReference, ReferenceList, branch_of};
use super::rewinds::{self, RewindRecord};
use crate::snapshot::BranchHolds;

/// The rollouts of a repository, by the short names of the branches.
pub type HoldTable = BTreeMap<Box<str>, Arc<BranchHolds>>;

/// A repository whose references are published by the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Custody {
    /// The server hosts it. No other program moves its references.
    Hosted,
    /// The server fetches it from a remote. It can be deleted and fetched again.
    Copy,
}

/// The published references.
pub(super) struct Published {
    pub(super) custody: Custody,
    table: ArcSwap<Table>,
    announced: watch::Sender<()>,
}

/// All published references at one moment.
#[derive(PartialEq, Eq)]
pub(super) struct Table {
    head: Box<str>,
    references: BTreeMap<Box<str>, Oid>,
    record: Option<Arc<RewindRecord>>,
    record_id: Option<Oid>,
    holds: HoldTable,
    /// Set if the record has every rewind that any server of this repository has published.
    pub(super) is_record_complete: bool,
}

impl Table {
    /// Reads all branches and tags of a repository, and its record of rewinds.
    fn read(repository: &Repository) -> Result<Self, git2::Error> {
        let head = match repository.find_reference("HEAD") {
            Ok(head) => branch_of(&head).map(Box::from),
            Err(error) if error.code() == ErrorCode::NotFound => None,
            Err(error) => return Err(error),
        };
        let mut references = BTreeMap::new();
        for glob in ["refs/heads/*", "refs/tags/*"] {
            for reference in repository.references_glob(glob)? {
                let reference = reference?;
                // A label cannot name a reference that is not UTF-8. A push creates no symbolic references.
                if let (Ok(name), Some(id)) = (reference.name(), reference.target()) {
                    references.insert(name.into(), id);
                }
            }
        }
        let record_id = rewinds::record_id(repository)?;
        Ok(Self {
            head: head.unwrap_or_else(|| DEFAULT_BRANCH.into()),
            references,
            record: read_record(repository, record_id)?,
            record_id,
            holds: HoldTable::new(),
            is_record_complete: true,
        })
    }

    fn of_copy(repository: &Repository, served: &ServedReferences) -> Result<Self, git2::Error> {
        let ReferenceList { names, head, record } = &served.references;
        let head = head.as_deref().and_then(|head| head.strip_prefix("refs/heads/"));
        let ids = names.iter().map(|(name, id)| Ok((Box::from(&**name), Oid::from_str(id)?)));
        let record_id = record.as_deref().map(Oid::from_str).transpose()?;
        Ok(Self {
            head: head.unwrap_or(DEFAULT_BRANCH).into(),
            references: ids.collect::<Result<_, git2::Error>>()?,
            record: read_record(repository, record_id)?,
            record_id,
            holds: HoldTable::new(),
            is_record_complete: served.recorder == Recorder::Remote,
        })
    }

    /// The rollouts of a branch, by its short name.
    pub(super) fn holds(&self, branch: &str) -> Option<&Arc<BranchHolds>> {
        self.holds.get(branch)
    }

    /// The rewinds of the repository.
    pub(super) fn record(&self) -> Option<&Arc<RewindRecord>> {
        self.record.as_ref()
    }
}

/// A publication of references.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedReferences {
    /// The references that moved.
    pub moved: Vec<MovedReference>,
    /// Set if the record of rewinds has changed. Labels can have another epoch then although no reference moved.
    pub has_new_record: bool,
}

impl Published {
    /// Publishes the present references of a hosted repository.
    pub(super) fn of_hosted(repository: &Repository) -> Result<Self, git2::Error> {
        Ok(Self::new(Custody::Hosted, Table::read(repository)?))
    }

    /// Publishes the served references of a copy.
    pub(super) fn of_copy(
        repository: &Repository,
        served: &ServedReferences,
    ) -> Result<Self, git2::Error> {
        Ok(Self::new(Custody::Copy, Table::of_copy(repository, served)?))
    }

    fn new(custody: Custody, table: Table) -> Self {
        Self { custody, table: ArcSwap::from_pointee(table), announced: watch::Sender::new(()) }
    }

    /// The present table.
    pub(super) fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// The short name of the branch that `HEAD` references.
    pub(super) fn head(&self) -> String {
        self.table.load().head.to_string()
    }

    pub(super) fn id(&self, name: &str) -> Option<Oid> {
        self.table.load().references.get(name).copied()
    }

    pub(super) fn all(&self) -> BTreeMap<String, String> {
        let table = self.table.load();
        table.references.iter().map(|(name, id)| (name.to_string(), id.to_string())).collect()
    }

    /// The target objects of branches and tags.
    pub(super) fn ids(&self) -> Vec<Oid> {
        self.table.load().references.values().copied().collect()
    }

    /// The id of the file with the record of rewinds.
    pub(super) fn record_id(&self) -> Option<Oid> {
        self.table.load().record_id
    }

    /// Publishes the present targets of these names in the repository, and its record. `holds` returns the rollouts that
    /// belong to the moves, or none if they stay.
    ///
    /// Locking: callers take turns. Two concurrent calls would lose the changes of one.
    pub(super) fn follow(
        &self,
        repository: &Repository,
        names: &[&str],
        holds: &mut dyn FnMut(&[MovedReference]) -> Option<HoldTable>,
    ) -> Result<PublishedReferences, git2::Error> {
        let before = self.table.load_full();
        let mut references = before.references.clone();
        let mut moved = Vec::new();
        for name in names {
            let new = match repository.find_reference(name) {
                Ok(reference) => reference.target(),
                Err(error) if error.code() == ErrorCode::NotFound => None,
                Err(error) => return Err(error),
            };
            let old = match new {
                Some(id) => references.insert((*name).into(), id),
                None => references.remove(*name),
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
        let record_id = rewinds::record_id(repository)?;
        let has_new_record = record_id != before.record_id;
        let record = if has_new_record {
            read_record(repository, record_id)?
        } else {
            before.record.clone()
        };
        let holds = holds(&moved).unwrap_or_else(|| before.holds.clone());
        self.table.store(Arc::new(Table {
            head: before.head.clone(),
            references,
            record,
            record_id,
            holds,
            is_record_complete: before.is_record_complete,
        }));
        Ok(PublishedReferences { moved, has_new_record })
    }

    /// Replaces the table of a copy, and returns whether it has changed.
    ///
    /// Locking: callers take turns, as for [`Published::follow`].
    pub(super) fn reload(
        &self,
        repository: &Repository,
        served: &ServedReferences,
    ) -> Result<bool, git2::Error> {
        let before = self.table.load();
        let mut table = Table::of_copy(repository, served)?;
        table.holds.clone_from(&before.holds);
        let is_changed = table != **before;
        if is_changed {
            self.table.store(Arc::new(table));
        }
        Ok(is_changed)
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.announced.subscribe()
    }

    pub(super) fn announce(&self) {
        self.announced.send_replace(());
    }
}

/// Reads the record of rewinds. `None` for a malformed one.
fn read_record(
    repository: &Repository,
    id: Option<Oid>,
) -> Result<Option<Arc<RewindRecord>>, git2::Error> {
    let Some(id) = id else { return Ok(None) };
    Ok(rewinds::read_at(repository, id)?.map(Arc::new))
}
