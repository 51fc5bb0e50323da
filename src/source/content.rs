//! Content that lives in memory under its hash. It is there for as long as a tree holds it; equal content is held once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use aws_lc_rs::digest::{Context, SHA256};

use crate::model::ContentId;
use crate::sync::lock;
use crate::tree::{EntryKind, Objects, RawEntry, TreeError};

/// All that some tree of one source holds.
#[derive(Default)]
pub(super) struct Contents {
    held: Mutex<HashMap<ContentId, Weak<Object>>>,
    read_count: AtomicU64,
}

enum Object {
    Directory(Vec<RawEntry>),
    Bytes(Vec<u8>),
}

/// What one tree is made of: whoever holds it holds the tree's content.
pub(super) struct Kept {
    #[expect(dead_code, reason = "held, and never looked at")]
    objects: HashMap<ContentId, Arc<Object>>,
}

impl Contents {
    /// How many times content was asked for since start.
    pub(super) fn read_count(&self) -> u64 {
        self.read_count.load(Ordering::Relaxed)
    }

    /// Takes in the content of one new tree.
    pub(super) fn intake(&self) -> Intake<'_> {
        Intake { contents: self, objects: HashMap::new() }
    }

    fn get(&self, id: ContentId) -> Result<Arc<Object>, TreeError> {
        lock(&self.held)
            .get(&id)
            .and_then(Weak::upgrade)
            .ok_or_else(|| TreeError(format!("content {id} is not held any more")))
    }
}

impl Objects for Contents {
    fn list(&self, id: ContentId) -> Result<Vec<RawEntry>, TreeError> {
        match &*self.get(id)? {
            Object::Directory(entries) => Ok(entries.clone()),
            Object::Bytes(_) => Err(TreeError(format!("content {id} is no directory"))),
        }
    }

    fn size(&self, id: ContentId) -> Result<u64, TreeError> {
        match &*self.get(id)? {
            Object::Bytes(bytes) => Ok(bytes.len() as u64),
            Object::Directory(_) => Err(TreeError(format!("content {id} is a directory"))),
        }
    }

    fn read(&self, id: ContentId) -> Result<Vec<u8>, TreeError> {
        self.read_count.fetch_add(1, Ordering::Relaxed);
        match &*self.get(id)? {
            Object::Bytes(bytes) => Ok(bytes.clone()),
            Object::Directory(_) => Err(TreeError(format!("content {id} is a directory"))),
        }
    }
}

/// The content of a tree that is being made, from its leaves to its root.
pub(super) struct Intake<'a> {
    contents: &'a Contents,
    objects: HashMap<ContentId, Arc<Object>>,
}

impl Intake<'_> {
    /// A file's bytes, or a link's target.
    pub(super) fn bytes(&mut self, bytes: Vec<u8>) -> ContentId {
        let id = hash(&[b"bytes\0", &bytes]);
        self.hold(id, || Object::Bytes(bytes))
    }

    /// A directory whose entries were taken in before.
    pub(super) fn directory(&mut self, mut entries: Vec<RawEntry>) -> ContentId {
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let mut context = Context::new(&SHA256);
        context.update(b"directory\0");
        for entry in &entries {
            context.update(match entry.kind {
                EntryKind::Directory => b"d",
                EntryKind::File => b"f",
                EntryKind::Link => b"l",
            });
            context.update(entry.name.as_bytes());
            context.update(b"\0");
            context.update(entry.id.as_bytes());
        }
        let id = ContentId::from_bytes(context.finish().as_ref());
        self.hold(id, || Object::Directory(entries))
    }

    /// All of it, to be held by the tree. What nobody holds any more is forgotten.
    pub(super) fn finish(self) -> Arc<Kept> {
        lock(&self.contents.held).retain(|_, object| object.strong_count() > 0);
        Arc::new(Kept { objects: self.objects })
    }

    fn hold(&mut self, id: ContentId, make: impl FnOnce() -> Object) -> ContentId {
        self.objects.entry(id).or_insert_with(|| {
            let mut held = lock(&self.contents.held);
            match held.get(&id).and_then(Weak::upgrade) {
                Some(object) => object,
                None => {
                    let object = Arc::new(make());
                    held.insert(id, Arc::downgrade(&object));
                    object
                }
            }
        });
        id
    }
}

/// SHA-256 over the parts.
pub(super) fn hash(parts: &[&[u8]]) -> ContentId {
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    ContentId::from_bytes(context.finish().as_ref())
}

/// The first 40 hexadecimal digits of a hash, as a revision is written.
pub(super) fn short(id: ContentId) -> String {
    ContentId::from_bytes(&id.as_bytes()[..20]).to_string()
}

/// A name that a tree may hold: one plain component in valid UTF-8 that no system takes for something else.
pub(super) fn plain_name(name: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(name).ok()?;
    let plain = !matches!(name, "" | "." | "..")
        && name.len() <= 255
        && !name.eq_ignore_ascii_case(".git")
        && !name.chars().any(|character| character.is_control() || matches!(character, '/' | '\\'));
    plain.then_some(name)
}
