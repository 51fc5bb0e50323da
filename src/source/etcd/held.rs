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
    strangers: BTreeMap<Vec<u8>, Strange>,
    byte_count: usize,
}

/// Why a key does not belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strange {
    /// Its name says nothing.
    Name,
    /// It is an object whose name its value does not have.
    Value,
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
            kind @ (Key::Object(_) | Key::Stranger) => {
                self.byte_count -= value.len();
                let why = match kind {
                    Key::Object(_) => Strange::Value,
                    _ => Strange::Name,
                };
                if self.strangers.len() < STRANGER_COUNT_MAX {
                    self.strangers.insert(key.to_owned(), why);
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
    pub(super) fn strangers(&self) -> impl Iterator<Item = (&[u8], Strange)> {
        self.strangers.iter().map(|(key, why)| (key.as_slice(), *why))
    }

    /// The names of all labels, whatever they lead to.
    pub(super) fn labels(&self) -> BTreeSet<&str> {
        self.references.keys().chain(self.files.keys()).map(String::as_str).collect()
    }

    /// Whether a label is published.
    pub(super) fn is_published(&self, label: &str) -> bool {
        self.references.contains_key(label)
    }

    /// Whether there is nothing of ours.
    pub(super) fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.references.is_empty() && self.files.is_empty()
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

    /// What a label of exactly this name leads to.
    pub(super) fn label(&self, name: &str) -> Result<Option<Found>, Misplaced> {
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

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use proptest::prelude::*;

    use super::super::keys::hex;
    use super::super::nodes::Nodes;
    use super::super::objects::Kind;
    use super::super::publish::Reached;
    use super::*;
    use crate::tree::{EntryKind, Objects};

    /// How deep a chain of directories is made that must not be followed to its end.
    const CHAIN_LENGTH: usize = 10_000;

    fn keys() -> Keys {
        Keys::new("shop")
    }

    /// Values as they are written, and as nobody should write them, which refer to one another.
    fn values() -> &'static [Vec<u8>] {
        static VALUES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
        VALUES.get_or_init(made_values)
    }

    fn made_values() -> Vec<Vec<u8>> {
        let mut values: Vec<Vec<u8>> = vec![Vec::new(), b"a: 1\n".to_vec(), b"\xff\xfe".to_vec()];
        let id = |value: &[u8]| hex(id_of(value));
        let file = id(&values[1]);
        let list = format!("entries\nfile {file} x.yml\n").into_bytes();
        let (piece, tree) = (id(&values[2]), id(&list));
        let nested = format!("entries\ndirectory {tree} d\nlink {file} l\nfile {file} y.yml\n");
        let pieces = format!("pieces\n{file}\n{piece}\n{piece}\n");
        let large = format!("entries\npieces {} z.bin\n", id(pieces.as_bytes()));
        let divided = format!("divided\n{tree}\n{}\n", id(large.as_bytes()));
        let twice = format!("divided\n{tree}\n{tree}\n");
        let wrong = format!("entries\ndirectory {file} d\n");
        let lost = format!("entries\nfile {} x.yml\n", "0".repeat(64));
        values.push(list);
        for text in [nested, pieces, large, divided, twice, wrong, lost] {
            values.push(text.into_bytes());
        }
        let trees: Vec<String> = values.iter().map(|value| id(value)).collect();
        let mut parent = String::new();
        for tree in trees {
            let rest = "seconds 1\nnonce 0\nauthor a\nsubject s\n";
            let commit = format!("commit\ntree {tree}\n{parent}{rest}").into_bytes();
            parent = format!("parent {}\n", id(&commit));
            values.push(id(&commit).into_bytes());
            values.push(commit);
        }
        values
    }

    fn fitting_value(id: ContentId) -> Option<Vec<u8>> {
        static IDS: OnceLock<Vec<ContentId>> = OnceLock::new();
        let ids = IDS.get_or_init(|| values().iter().map(|value| id_of(value)).collect());
        ids.iter().position(|known| *known == id).map(|at| values()[at].clone())
    }

    fn key() -> impl Strategy<Value = Vec<u8>> {
        let ids: Vec<String> = values().iter().map(|value| hex(id_of(value))).collect();
        prop_oneof![
            5 => prop::sample::select(ids).prop_map(|id| format!("shop/v1/objects/{id}").into_bytes()),
            2 => "shop/v1/refs/[ab]".prop_map(String::into_bytes),
            3 => "shop/v1/files/[ab]/[xy](/[xy]){0,2}".prop_map(String::into_bytes),
            1 => "shop/v1/(refs|files|objects|collection)?[/%.a-c0-9]{0,8}".prop_map(String::into_bytes),
            1 => prop::collection::vec(any::<u8>(), 0..20),
        ]
    }

    fn value() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            9 => prop::sample::select(values().to_vec()),
            1 => prop::collection::vec(any::<u8>(), 0..20),
        ]
    }

    /// Reads all of a directory; gives the paths of its files.
    fn paths(nodes: &Nodes, id: ContentId, path: &str) -> Vec<String> {
        let mut found = Vec::new();
        for entry in nodes.list(id).expect("what is held can be read") {
            let path = format!("{path}/{}", entry.name);
            match entry.kind {
                EntryKind::Directory => found.extend(paths(nodes, entry.id, &path)),
                EntryKind::File | EntryKind::Link => {
                    let bytes = nodes.read(entry.id).expect("what is held can be read");
                    assert_eq!(nodes.size(entry.id), Ok(bytes.len() as u64));
                    found.push(path);
                }
            }
        }
        found
    }

    /// A label is whole, or says why not.
    fn look_at(held: &Held, label: &str) {
        let nodes = Nodes::default();
        match held.label(label) {
            Err(Misplaced(why)) => assert!(!why.is_empty()),
            Ok(None) => {}
            Ok(Some(Found::ByHand { tree, objects })) => {
                let (root, _node) = nodes.root(tree, &|id| objects.get(&id).cloned()).unwrap();
                let put: Vec<String> =
                    held.files[label].contents.keys().map(|path| format!("/{path}")).collect();
                let mut found = paths(&nodes, root, "");
                found.sort();
                assert_eq!(found, put);
            }
            Ok(Some(Found::Published { commit, .. })) => {
                assert!(held.line(commit).count() <= REVISION_COUNT_MAX);
                let Some(commit) = held.commit(commit) else { return };
                let whole = nodes.root(commit.tree, &|id| held.object(id));
                let reached = Reached::default().visit(held, Kind::Directory, commit.tree);
                if let Ok((root, _node)) = &whole {
                    paths(&nodes, *root, "");
                    assert!(reached.is_some());
                }
            }
        }
    }

    fn byte_count(held: &Held) -> usize {
        let objects = held.objects.values().map(Bytes::len);
        let files = held.files.values().flat_map(|files| files.contents.values());
        let files = files.map(|(Content::File(bytes) | Content::Link(bytes))| bytes.len());
        objects.chain(files).sum()
    }

    proptest! {
        #[test]
        fn whatever_is_put_a_label_is_whole_or_a_problem(
            steps in prop::collection::vec((key(), prop::option::weighted(0.8, value())), 0..60)
        ) {
            let (keys, mut held) = (keys(), Held::default());
            for (key, value) in &steps {
                // What is under an id is mostly what belongs there.
                let fitting = match keys.parse(key) {
                    Key::Object(id) => fitting_value(id),
                    _ => None,
                };
                let value = value.clone().map(|value| match value.len() % 4 {
                    0 => value,
                    _ => fitting.unwrap_or(value),
                });
                held.apply(&keys, vec![Change { key: key.clone(), value }]).unwrap();
                assert_eq!(held.byte_count, byte_count(&held));
            }
            for label in ["a", "b"] {
                look_at(&held, label);
            }
            for value in values() {
                drop(held.find(&hex(id_of(value))));
            }
            for (key, _) in &steps {
                held.delete(&keys, key);
            }
            assert!(held.is_empty() && held.byte_count == 0 && held.labels().is_empty());
            assert_eq!(held.strangers().count(), 0);
        }
    }

    #[test]
    fn a_chain_without_an_end_is_a_problem_and_no_more() {
        let (keys, mut held) = (keys(), Held::default());
        let put = |held: &mut Held, value: String| {
            let id = id_of(value.as_bytes());
            held.put(&keys, keys.object(id).as_bytes(), value.into_bytes()).unwrap();
            hex(id)
        };
        for link in ["entries\ndirectory {} d\n", "divided\n{}\n"] {
            let mut tree = put(&mut held, "entries\n".to_owned());
            for _ in 0..CHAIN_LENGTH {
                tree = put(&mut held, link.replace("{}", &tree));
            }
            let rest = "seconds 1\nnonce 0\nauthor a\nsubject s\n";
            let commit = put(&mut held, format!("commit\ntree {tree}\n{rest}"));
            let commit = held.commit(parse_id(&commit).unwrap()).unwrap();
            let nodes = Nodes::default();
            assert!(nodes.root(commit.tree, &|id| held.object(id)).is_err());
            let reached = Reached::default().visit(&held, Kind::Directory, commit.tree);
            assert!(reached.is_some());
        }
    }
}
