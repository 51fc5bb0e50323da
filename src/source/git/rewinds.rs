//! The record of rewinds: the moves of labels whose publications history does not order, such as a force-push.
//!
//! The record is stored in the repository itself, as a file that one reference targets. Mirrors fetch that reference
//! together with branches and tags, so that a mirror and its remote give the rewinds of a label equal numbers.
//!
//! Invariant: a rewind is durable in the record before the reference moves. A server may find an epoch without its rewind,
//! which is harmless, and never a rewind without its epoch.

use std::collections::BTreeMap;

use git2::{ErrorCode, Oid, Repository};
use serde::{Deserialize, Serialize};

use super::reference::MovedReference;
use crate::model::Epoch;
use crate::source::atomic_replace::sync;

/// The reference to the record. It is neither a branch nor a tag, and no label.
pub const RECORD_REFERENCE: &str = "refs/headwater/order";
/// The largest record that is read, in bytes.
const RECORD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most abandoned revisions that the record keeps for each label.
const LEFT_COUNT_MAX: usize = 4;
/// The most deleted labels that stay in the record.
const DELETED_COUNT_MAX: usize = 256;

/// All rewinds of one repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RewindRecord {
    /// A random number, chosen when the record began.
    lineage: u64,
    /// The number of the last rewind of any label.
    last: u64,
    /// Set once a deleted label was dropped from the record. From then on every new label counts as re-created.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_incomplete: bool,
    /// The rewound labels, by the short names of branches and tags.
    labels: BTreeMap<String, RewoundLabel>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct RewoundLabel {
    /// The number of its last rewind.
    number: u64,
    /// The commits that the last rewinds abandoned, newest last.
    left: Vec<String>,
}

/// One label that a move rewinds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewind {
    /// The short name of the branch or tag.
    label: String,
    /// The commit of the label before the move. `None` if the target was no commit.
    left: Option<String>,
}

impl RewindRecord {
    /// Parses the text of a record. `None` if it is malformed.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().filter(Self::is_valid)
    }

    /// Returns whether every label has a number from 1 to the last one.
    pub fn is_valid(&self) -> bool {
        self.labels.values().all(|label| (1..=self.last).contains(&label.number))
    }

    /// Formats the record as text for [`RewindRecord::parse`].
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("names and numbers are always JSON")
    }

    /// The last rewind of a label. `None` if the label was never rewound.
    pub fn epoch(&self, label: &str) -> Option<Epoch> {
        let number = self.labels.get(label)?.number;
        Some(Epoch { lineage: self.lineage, number })
    }

    /// The commits of a label that its last rewinds abandoned, newest last.
    pub(super) fn left(&self, label: &str) -> &[String] {
        self.labels.get(label).map_or(&[], |label| &label.left)
    }

    /// The record after these rewinds. `exists` returns whether a label exists afterwards. The record keeps only the
    /// most recently rewound of the deleted labels.
    pub fn after(before: Option<&Self>, rewinds: &[Rewind], exists: impl Fn(&str) -> bool) -> Self {
        let mut record = before.cloned().unwrap_or_else(Self::new);
        for Rewind { label, left } in rewinds {
            record.last += 1;
            let number = record.last;
            let entry = record.labels.entry(label.clone());
            let entry = entry.or_insert_with(|| RewoundLabel { number, left: Vec::new() });
            entry.number = number;
            entry.left.retain(|known| Some(known) != left.as_ref());
            entry.left.extend(left.clone());
            entry.left.drain(..entry.left.len().saturating_sub(LEFT_COUNT_MAX));
        }
        record.drop_deleted(exists);
        record
    }

    fn new() -> Self {
        Self { lineage: fastrand::u64(..), last: 0, is_incomplete: false, labels: BTreeMap::new() }
    }

    fn drop_deleted(&mut self, exists: impl Fn(&str) -> bool) {
        let mut deleted: Vec<(u64, String)> = self
            .labels
            .iter()
            .filter(|(label, _)| !exists(label))
            .map(|(label, rewound)| (rewound.number, label.clone()))
            .collect();
        deleted.sort_unstable();
        for (_, label) in &deleted[..deleted.len().saturating_sub(DELETED_COUNT_MAX)] {
            self.labels.remove(label);
            self.is_incomplete = true;
        }
    }

    fn knows(&self, label: &str) -> bool {
        self.labels.contains_key(label)
    }
}

/// Finds the rewinds among moves. `exists` returns the object of a reference before the moves. A move whose history
/// cannot be read counts as a rewind.
pub(super) fn find(
    repository: &Repository,
    moves: &[MovedReference],
    record: Option<&RewindRecord>,
    exists: impl Fn(&str) -> Option<String>,
) -> Vec<Rewind> {
    let commit = |id: &str| commit_of(repository, id);
    let mut rewinds = Vec::new();
    for MovedReference { name, old, new } in moves {
        let Some(label) = short_name(name) else { continue };
        let (old, is_rewind) = match (old, new) {
            (Some(old), Some(new)) if old == new => continue,
            (Some(old), Some(new)) => {
                let is_branch = name.starts_with("refs/heads/");
                (Some(old.clone()), !is_branch || !follows(repository, new, old))
            }
            (Some(old), None) => (Some(old.clone()), true),
            // A new branch hides the tag of its name, which was served under that name before.
            (None, _) => {
                let hidden = exists(&format!("refs/tags/{label}"))
                    .filter(|_| name.starts_with("refs/heads/"));
                let may_be_known = record.is_some_and(|it| it.is_incomplete && !it.knows(label));
                let is_rewind = hidden.is_some() || may_be_known;
                (hidden, is_rewind)
            }
        };
        if is_rewind {
            let left = old.as_deref().and_then(commit);
            rewinds.push(Rewind { label: label.to_owned(), left });
        }
    }
    rewinds
}

/// Reads the record of a repository, with the id of its file. `None` if there is no record. The record itself is `None`
/// if it is unusable.
pub(super) fn read(
    repository: &Repository,
) -> Result<Option<(Oid, Option<RewindRecord>)>, git2::Error> {
    let Some(id) = record_id(repository)? else { return Ok(None) };
    Ok(Some((id, read_at(repository, id)?)))
}

/// Reads the record in a file. `None` if it is too large, malformed or no file.
pub(super) fn read_at(
    repository: &Repository,
    id: Oid,
) -> Result<Option<RewindRecord>, git2::Error> {
    let (size, kind) = repository.odb()?.read_header(id)?;
    if kind != git2::ObjectType::Blob || size > RECORD_BYTES_MAX {
        return Ok(None);
    }
    Ok(RewindRecord::parse(repository.find_blob(id)?.content()))
}

/// Writes the record, and returns when it is durable.
pub(super) fn write(repository: &Repository, record: &RewindRecord) -> Result<(), git2::Error> {
    let git_directory = repository.path();
    let synced = || sync(git_directory).map_err(|error| git2::Error::from_str(&error.to_string()));
    let id = repository.blob(&record.to_json())?;
    // A reference must not be durable before its object.
    synced()?;
    repository.reference(RECORD_REFERENCE, id, true, "rewound")?;
    synced()
}

/// The rewind of the default label when `HEAD` has moved to another branch.
pub(super) fn moved_head(repository: &Repository, old: Option<&str>, new: &str) -> Option<Rewind> {
    let left = old.and_then(|old| commit_of(repository, old));
    Some(Rewind { label: short_name(new)?.to_owned(), left })
}

/// The id of the record's file, by which a change is detected without reading the record.
pub(super) fn record_id(repository: &Repository) -> Result<Option<Oid>, git2::Error> {
    match repository.find_reference(RECORD_REFERENCE) {
        Ok(reference) => Ok(reference.target()),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The short name of a branch or a tag.
pub(super) fn short_name(reference: &str) -> Option<&str> {
    reference.strip_prefix("refs/heads/").or_else(|| reference.strip_prefix("refs/tags/"))
}

fn commit_of(repository: &Repository, id: &str) -> Option<String> {
    let object = repository.find_object(Oid::from_str(id).ok()?, None).ok()?;
    Some(object.peel_to_commit().ok()?.id().to_string())
}

fn follows(repository: &Repository, new: &str, old: &str) -> bool {
    let (Ok(new), Ok(old)) = (Oid::from_str(new), Oid::from_str(old)) else { return false };
    repository.graph_descendant_of(new, old).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewind(label: &str, left: &str) -> Rewind {
        Rewind { label: label.to_owned(), left: Some(left.to_owned()) }
    }

    #[test]
    fn every_rewind_of_a_label_has_a_higher_number_in_one_lineage() {
        let first = RewindRecord::after(None, &[rewind("main", "b")], |_| true);
        let second =
            RewindRecord::after(Some(&first), &[rewind("next", "x"), rewind("main", "a")], |_| {
                true
            });
        let [one, two] = [&first, &second].map(|record| record.epoch("main").unwrap());
        assert_eq!(one.lineage, two.lineage);
        assert!(one.number < two.number);
        assert_eq!(second.left("main"), ["b", "a"]);
        assert_eq!(second.epoch("other"), None);
        assert_eq!(RewindRecord::parse(&second.to_json()), Some(second));
    }

    #[test]
    fn the_revisions_that_were_left_are_bounded_and_named_once() {
        let mut record = RewindRecord::after(None, &[rewind("main", "0")], |_| true);
        for left in ["1", "2", "0", "3", "4"] {
            record = RewindRecord::after(Some(&record), &[rewind("main", left)], |_| true);
        }
        assert_eq!(record.left("main"), ["2", "0", "3", "4"]);
    }

    #[test]
    fn deleted_labels_are_bounded_and_labels_that_exist_stay() {
        let names: Vec<String> = (0..DELETED_COUNT_MAX).map(|at| format!("gone-{at:03}")).collect();
        let rewinds: Vec<Rewind> = names.iter().map(|name| rewind(name, "a")).collect();
        let exists = |label: &str| label == "main";
        let first = [vec![rewind("main", "a")], rewinds].concat();
        let record = RewindRecord::after(None, &first, exists);
        assert!(!record.is_incomplete);
        let record = RewindRecord::after(Some(&record), &[rewind("one-more", "a")], exists);
        assert!(record.is_incomplete && record.knows("main") && record.knows("one-more"));
        assert!(!record.knows("gone-000") && record.knows("gone-001"));
    }

    #[test]
    fn a_malformed_record_is_none() {
        let record = RewindRecord::after(None, &[rewind("main", "a")], |_| true);
        let text = String::from_utf8(record.to_json()).unwrap();
        for (from, to) in
            [("\"number\":1", "\"number\":0"), ("\"number\":1", "\"number\":2"), ("{", "[")]
        {
            assert_eq!(RewindRecord::parse(text.replacen(from, to, 1).as_bytes()), None, "{to}");
        }
        assert_eq!(RewindRecord::parse(b""), None);
    }
}
