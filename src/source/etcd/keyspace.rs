//! All keys of one source at one revision of etcd, in memory. Changes are applied in order. Unknown keys are recorded by name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::keys::{SourceKey, SourceKeys, parse_id};
use super::objects::{Bundle, CommitObject, id_of, tree};
use crate::model::ContentId;
use crate::source::files::Content;
use crate::source::labels;
use headwater_etcd::Change;

/// The most memory for the values of one source, in bytes. The default quota of etcd itself is 2 GB.
const BYTES_MAX: usize = 2 * 1024 * 1024 * 1024;
/// The most unknown keys that are recorded.
const UNKNOWN_KEY_COUNT_MAX: usize = 100;
/// The number of revisions of a published label that are kept.
pub(super) const REVISION_COUNT_MAX: usize = 100;

/// The parsed keys and their values.
#[derive(Default)]
pub(super) struct Keyspace {
    objects: Bundle,
    /// The positions of published labels. `None` for an invalid value.
    references: BTreeMap<String, Option<ContentId>>,
    files: BTreeMap<String, Arc<ManualFiles>>,
    unknown_keys: BTreeMap<Vec<u8>, UnknownKeyReason>,
    byte_count: usize,
}

/// The reason for which a key is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnknownKeyReason {
    /// Its name has no meaning.
    Name,
    /// It is an object whose value does not match the hash in its name.
    Value,
}

/// The files of a label that were written by hand.
#[derive(Clone, Default)]
pub(super) struct ManualFiles {
    contents: BTreeMap<String, Content>,
}

/// The content of a label.
pub(super) enum LabelContent {
    /// A revision of a published label, and whether it is the newest.
    Published { commit: ContentId, is_tip: bool },
    /// A tree of files written by hand, with its objects.
    Manual { tree: ContentId, objects: Arc<Bundle> },
}

/// The reason for which an existing label has no usable content.
#[derive(Debug)]
pub(super) struct LabelError(pub(super) String);

impl Keyspace {
    /// Adds a key and its value.
    ///
    /// # Errors
    /// When the values exceed the memory limit.
    pub(super) fn put(
        &mut self,
        keys: &SourceKeys,
        key: &[u8],
        value: Vec<u8>,
    ) -> Result<(), String> {
        self.delete(keys, key);
        self.byte_count += value.len();
        if self.byte_count > BYTES_MAX {
            return Err(format!("the keys below the prefix have more than {BYTES_MAX} bytes"));
        }
        match keys.parse(key) {
            SourceKey::Reference(label) => {
                let text = std::str::from_utf8(&value).ok();
                self.byte_count -= value.len();
                self.references.insert(label, text.and_then(|text| parse_id(text.trim())));
            }
            SourceKey::Object(id) if id_of(&value) == id => {
                self.objects.insert(id, value.into());
            }
            SourceKey::File(label, path) => {
                let files = Arc::make_mut(self.files.entry(label).or_default());
                files.contents.insert(path, Content::File(value.into()));
            }
            SourceKey::Collection => self.byte_count -= value.len(),
            kind @ (SourceKey::Object(_) | SourceKey::Unknown) => {
                self.byte_count -= value.len();
                let why = match kind {
                    SourceKey::Object(_) => UnknownKeyReason::Value,
                    _ => UnknownKeyReason::Name,
                };
                if self.unknown_keys.len() < UNKNOWN_KEY_COUNT_MAX {
                    self.unknown_keys.insert(key.to_owned(), why);
                }
            }
        }
        Ok(())
    }

    /// Removes a key.
    pub(super) fn delete(&mut self, keys: &SourceKeys, key: &[u8]) {
        self.unknown_keys.remove(key);
        match keys.parse(key) {
            SourceKey::Reference(label) => {
                self.references.remove(&label);
            }
            SourceKey::Object(id) => {
                let gone = self.objects.remove(&id);
                self.byte_count -= gone.map_or(0, |value| value.len());
            }
            SourceKey::File(label, path) => {
                let Some(files) = self.files.get_mut(&label) else { return };
                let files = Arc::make_mut(files);
                if let Some(Content::File(gone)) = files.contents.remove(&path) {
                    self.byte_count -= gone.len();
                }
                if files.contents.is_empty() {
                    self.files.remove(&label);
                }
            }
            SourceKey::Collection | SourceKey::Unknown => {}
        }
    }

    /// Applies the changes of a watch.
    pub(super) fn apply(&mut self, keys: &SourceKeys, changes: Vec<Change>) -> Result<(), String> {
        for Change { key, value } in changes {
            match value {
                Some(value) => self.put(keys, &key, value)?,
                None => self.delete(keys, &key),
            }
        }
        Ok(())
    }

    /// The recorded unknown keys.
    pub(super) fn unknown_keys(&self) -> impl Iterator<Item = (&[u8], UnknownKeyReason)> {
        self.unknown_keys.iter().map(|(key, why)| (key.as_slice(), *why))
    }

    /// The names of all labels, with and without usable content.
    pub(super) fn labels(&self) -> BTreeSet<&str> {
        self.references.keys().chain(self.files.keys()).map(String::as_str).collect()
    }

    /// Returns whether a label is published.
    pub(super) fn is_published(&self, label: &str) -> bool {
        self.references.contains_key(label)
    }

    /// Returns whether there is no key of a source.
    pub(super) fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.references.is_empty() && self.files.is_empty()
    }

    /// The value of an object.
    pub(super) fn object(&self, id: ContentId) -> Option<Bytes> {
        self.objects.get(&id).cloned()
    }

    /// A revision, if its object is present and valid.
    pub(super) fn commit(&self, id: ContentId) -> Option<CommitObject> {
        CommitObject::parse(self.objects.get(&id)?)
    }

    /// The kept commits from a tip back, newest first.
    pub(super) fn line(
        &self,
        tip: ContentId,
    ) -> impl Iterator<Item = (ContentId, CommitObject)> + '_ {
        let first = self.commit(tip).map(|commit| (tip, commit));
        let next = |(_, commit): &(ContentId, CommitObject)| {
            let parent = commit.parent?;
            Some((parent, self.commit(parent)?))
        };
        std::iter::successors(first, next).take(REVISION_COUNT_MAX)
    }

    /// The newest revision of a published label.
    pub(super) fn tip(&self, label: &str) -> Option<ContentId> {
        *self.references.get(label)?
    }

    /// The content of a name: a label, the label that stands in for it, or a kept revision of any label.
    pub(super) fn find(&self, name: &str) -> Result<Option<(String, LabelContent)>, LabelError> {
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
        Ok(found.map(|commit| (name.to_owned(), LabelContent::Published { commit, is_tip: false })))
    }

    /// The content of the label with exactly this name.
    pub(super) fn label(&self, name: &str) -> Result<Option<LabelContent>, LabelError> {
        match (self.references.get(name), self.files.get(name)) {
            (Some(_), Some(_)) => Err(LabelError(
                "is published and also has files written by hand. Delete one of the two".into(),
            )),
            (Some(None), None) => {
                Err(LabelError("has a value that is not the id of a revision".into()))
            }
            (Some(Some(commit)), None) => {
                Ok(Some(LabelContent::Published { commit: *commit, is_tip: true }))
            }
            (None, Some(files)) => {
                let (tree, objects) = tree(&files.contents).map_err(LabelError)?;
                Ok(Some(LabelContent::Manual { tree, objects: Arc::new(objects) }))
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
    use super::super::objects::ObjectKind;
    use super::super::publish::ReachableObjects;
    use super::*;
    use crate::tree::{EntryKind, Objects};

    /// The length of a chain of directories that is too deep to be followed to its end.
    const CHAIN_LENGTH: usize = 10_000;

    fn keys() -> SourceKeys {
        SourceKeys::new("shop")
    }

    /// Valid and invalid values that refer to one another.
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

    /// Reads a directory completely and returns the paths of its files.
    fn paths(nodes: &Nodes, id: ContentId, path: &str) -> Vec<String> {
        let mut found = Vec::new();
        for entry in nodes.list(id).expect("held content can be read") {
            let path = format!("{path}/{}", entry.name);
            match entry.kind {
                EntryKind::Directory => found.extend(paths(nodes, entry.id, &path)),
                EntryKind::File | EntryKind::Link => {
                    let bytes = nodes.read(entry.id).expect("held content can be read");
                    assert_eq!(nodes.size(entry.id), Ok(bytes.len() as u64));
                    found.push(path);
                }
            }
        }
        found
    }

    /// Checks that a label is complete or has a reason why not.
    fn look_at(keyspace: &Keyspace, label: &str) {
        let nodes = Nodes::default();
        match keyspace.label(label) {
            Err(LabelError(why)) => assert!(!why.is_empty()),
            Ok(None) => {}
            Ok(Some(LabelContent::Manual { tree, objects })) => {
                let (root, _node) = nodes.root(tree, &|id| objects.get(&id).cloned()).unwrap();
                let put: Vec<String> =
                    keyspace.files[label].contents.keys().map(|path| format!("/{path}")).collect();
                let mut found = paths(&nodes, root, "");
                found.sort();
                assert_eq!(found, put);
            }
            Ok(Some(LabelContent::Published { commit, .. })) => {
                assert!(keyspace.line(commit).count() <= REVISION_COUNT_MAX);
                let Some(commit) = keyspace.commit(commit) else { return };
                let whole = nodes.root(commit.tree, &|id| keyspace.object(id));
                let reached =
                    ReachableObjects::default().visit(keyspace, ObjectKind::Directory, commit.tree);
                if let Ok((root, _node)) = &whole {
                    paths(&nodes, *root, "");
                    assert!(reached.is_some());
                }
            }
        }
    }

    fn byte_count(keyspace: &Keyspace) -> usize {
        let objects = keyspace.objects.values().map(Bytes::len);
        let files = keyspace.files.values().flat_map(|files| files.contents.values());
        let files = files.map(|(Content::File(bytes) | Content::Link(bytes))| bytes.len());
        objects.chain(files).sum()
    }

    proptest! {
        #[test]
        fn any_keys_make_a_complete_label_or_a_problem(
            steps in prop::collection::vec((key(), prop::option::weighted(0.8, value())), 0..60)
        ) {
            let (keys, mut keyspace) = (keys(), Keyspace::default());
            for (key, value) in &steps {
                // Most ids get the value that matches them.
                let fitting = match keys.parse(key) {
                    SourceKey::Object(id) => fitting_value(id),
                    _ => None,
                };
                let value = value.clone().map(|value| match value.len() % 4 {
                    0 => value,
                    _ => fitting.unwrap_or(value),
                });
                keyspace.apply(&keys, vec![Change { key: key.clone(), value }]).unwrap();
                assert_eq!(keyspace.byte_count, byte_count(&keyspace));
            }
            for label in ["a", "b"] {
                look_at(&keyspace, label);
            }
            for value in values() {
                drop(keyspace.find(&hex(id_of(value))));
            }
            for (key, _) in &steps {
                keyspace.delete(&keys, key);
            }
            assert!(keyspace.is_empty() && keyspace.byte_count == 0 && keyspace.labels().is_empty());
            assert_eq!(keyspace.unknown_keys().count(), 0);
        }
    }

    #[test]
    fn a_chain_that_is_too_deep_is_a_problem() {
        let (keys, mut keyspace) = (keys(), Keyspace::default());
        let put = |keyspace: &mut Keyspace, value: String| {
            let id = id_of(value.as_bytes());
            keyspace.put(&keys, keys.object(id).as_bytes(), value.into_bytes()).unwrap();
            hex(id)
        };
        for link in ["entries\ndirectory {} d\n", "divided\n{}\n"] {
            let mut tree = put(&mut keyspace, "entries\n".to_owned());
            for _ in 0..CHAIN_LENGTH {
                tree = put(&mut keyspace, link.replace("{}", &tree));
            }
            let rest = "seconds 1\nnonce 0\nauthor a\nsubject s\n";
            let commit = put(&mut keyspace, format!("commit\ntree {tree}\n{rest}"));
            let commit = keyspace.commit(parse_id(&commit).unwrap()).unwrap();
            let nodes = Nodes::default();
            assert!(nodes.root(commit.tree, &|id| keyspace.object(id)).is_err());
            let reached =
                ReachableObjects::default().visit(&keyspace, ObjectKind::Directory, commit.tree);
            assert!(reached.is_some());
        }
    }
}
