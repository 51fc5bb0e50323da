//! All keys of one source as they were at one revision of etcd, in memory. Changes come in order; what does not belong is
//! kept apart and named.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::keys::{Key, Keys, parse_id};
use super::objects::{Bundle, Commit, id_of, tree};
use crate::model::ContentId;
use crate::source::files::Content;
use crate::source::labels;
use headwater_etcd::Change;

/// The most that is kept in memory of one source, in bytes. etcd itself takes 2 GB unless it is told otherwise.
const BYTES_MAX: usize = 2 * 1024 * 1024 * 1024;
/// How many keys that do not belong are remembered.
const STRANGER_COUNT_MAX: usize = 100;
/// How many revisions of a published label are kept.
pub(super) const REVISION_COUNT_MAX: usize = 100;

/// The keys.
#[derive(Default)]
pub(super) struct Held {
    objects: Bundle,
    /// Where published labels are; `None` for a value that leads nowhere.
    references: BTreeMap<String, Option<ContentId>>,
    files: BTreeMap<String, Arc<ByHand>>,
    strangers: BTreeSet<Vec<u8>>,
    byte_count: usize,
}

/// The files of a label that were put by hand.
#[derive(Clone, Default)]
pub(super) struct ByHand {
    contents: BTreeMap<String, Content>,
}

/// What a label leads to.
pub(super) enum Found {
    /// A revision of a published one, and whether it is its newest.
    Published { commit: ContentId, is_tip: bool },
    /// A tree of files that were put by hand, with its objects.
    ByHand { tree: ContentId, objects: Arc<Bundle> },
}

/// A label is there and leads nowhere: why.
#[derive(Debug)]
pub(super) struct Misplaced(pub(super) String);

impl Held {
    /// Takes in a key and its value.
    pub(super) fn put(&mut self, keys: &Keys, key: &[u8], value: Vec<u8>) -> Result<(), String> {
        self.delete(keys, key);
        self.byte_count += value.len();
        if self.byte_count > BYTES_MAX {
            return Err(format!("there is more than {BYTES_MAX} bytes below the prefix"));
        }
        match keys.parse(key) {
            Key::Reference(label) => {
                let text = std::str::from_utf8(&value).ok();
                self.byte_count -= value.len();
                self.references.insert(label, text.and_then(|text| parse_id(text.trim())));
            }
            Key::Object(id) if id_of(&value) == id => {
                self.objects.insert(id, value.into());
            }
            Key::File(label, path) => {
                let files = Arc::make_mut(self.files.entry(label).or_default());
                files.contents.insert(path, Content::File(value.into()));
            }
            Key::Collection => self.byte_count -= value.len(),
            Key::Object(_) | Key::Stranger => {
                self.byte_count -= value.len();
                if self.strangers.len() < STRANGER_COUNT_MAX {
                    self.strangers.insert(key.to_owned());
                }
            }
        }
        Ok(())
    }

    /// Forgets a key.
    pub(super) fn delete(&mut self, keys: &Keys, key: &[u8]) {
        self.strangers.remove(key);
        match keys.parse(key) {
            Key::Reference(label) => {
                self.references.remove(&label);
            }
            Key::Object(id) => {
                let gone = self.objects.remove(&id);
                self.byte_count -= gone.map_or(0, |value| value.len());
            }
            Key::File(label, path) => {
                let Some(files) = self.files.get_mut(&label) else { return };
                let files = Arc::make_mut(files);
                if let Some(Content::File(gone)) = files.contents.remove(&path) {
                    self.byte_count -= gone.len();
                }
                if files.contents.is_empty() {
                    self.files.remove(&label);
                }
            }
            Key::Collection | Key::Stranger => {}
        }
    }

    /// Takes in what a watch said.
    pub(super) fn apply(&mut self, keys: &Keys, changes: Vec<Change>) -> Result<(), String> {
        for Change { key, value } in changes {
            match value {
                Some(value) => self.put(keys, &key, value)?,
                None => self.delete(keys, &key),
            }
        }
        Ok(())
    }

    /// The keys that do not belong, as far as they are remembered.
    pub(super) fn strangers(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.strangers.iter().map(Vec::as_slice)
    }

    /// The value of an object.
    pub(super) fn object(&self, id: ContentId) -> Option<Bytes> {
        self.objects.get(&id).cloned()
    }

    /// A revision of a label, if it is whole enough to be read.
    pub(super) fn commit(&self, id: ContentId) -> Option<Commit> {
        Commit::parse(self.objects.get(&id)?)
    }

    /// The commits of a line, the newest first, as far as they are kept.
    pub(super) fn line(&self, tip: ContentId) -> impl Iterator<Item = (ContentId, Commit)> + '_ {
        let first = self.commit(tip).map(|commit| (tip, commit));
        let next = |(_, commit): &(ContentId, Commit)| {
            let parent = commit.parent?;
            Some((parent, self.commit(parent)?))
        };
        std::iter::successors(first, next).take(REVISION_COUNT_MAX)
    }

    /// Where a published label is.
    pub(super) fn tip(&self, label: &str) -> Option<ContentId> {
        *self.references.get(label)?
    }

    /// What a name leads to: a label, the one that stands in for it, or a revision that a label leads to.
    pub(super) fn find(&self, name: &str) -> Result<Option<(String, Found)>, Misplaced> {
        for name in [Some(name), labels::sibling(name)].into_iter().flatten() {
            if let Some(found) = self.label(name)? {
                return Ok(Some((name.to_owned(), found)));
            }
        }
        let wanted = parse_id(name);
        let tips = self.references.values().flatten();
        let found = wanted.and_then(|wanted| {
            tips.flat_map(|tip| self.line(*tip)).map(|(id, _)| id).find(|id| *id == wanted)
        });
        Ok(found.map(|commit| (name.to_owned(), Found::Published { commit, is_tip: false })))
    }

    fn label(&self, name: &str) -> Result<Option<Found>, Misplaced> {
        match (self.references.get(name), self.files.get(name)) {
            (Some(_), Some(_)) => {
                Err(Misplaced("is published, and has files that were put by hand as well".into()))
            }
            (Some(None), None) => Err(Misplaced("leads to something that is no revision".into())),
            (Some(Some(commit)), None) => {
                Ok(Some(Found::Published { commit: *commit, is_tip: true }))
            }
            (None, Some(files)) => {
                let (tree, objects) = tree(&files.contents).map_err(Misplaced)?;
                Ok(Some(Found::ByHand { tree, objects: Arc::new(objects) }))
            }
            (None, None) => Ok(None),
        }
    }
}
