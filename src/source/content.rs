//! Content in memory, addressed by its hash. It lives as long as a tree holds it, and equal content is held once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use aws_lc_rs::digest::{Context, SHA256};

use crate::model::ContentId;
use crate::sync::lock;
use crate::tree::{EntryKind, Objects, RawEntry, TreeError};

/// All content that the trees of one source hold.
#[derive(Default)]
pub(super) struct Contents {
    held: Mutex<HashMap<ContentId, Weak<ContentObject>>>,
    read_count: AtomicU64,
}

enum ContentObject {
    Directory(Vec<RawEntry>),
    Bytes(Vec<u8>),
}

/// The content of one tree. The tree holds it, and thereby keeps its content alive.
pub(super) struct HeldContent {
    #[expect(dead_code, reason = "held for its lifetime, and never read")]
    objects: HashMap<ContentId, Arc<ContentObject>>,
}

impl Contents {
    /// The number of reads since the start.
    pub(super) fn read_count(&self) -> u64 {
        self.read_count.load(Ordering::Relaxed)
    }

    /// Begins to add the content of one new tree.
    pub(super) fn intake(&self) -> Intake<'_> {
        Intake { contents: self, objects: HashMap::new() }
    }

    fn get(&self, id: ContentId) -> Result<Arc<ContentObject>, TreeError> {
        lock(&self.held)
            .get(&id)
            .and_then(Weak::upgrade)
            .ok_or_else(|| TreeError(format!("content {id} is no longer held")))
    }
}

impl Objects for Contents {
    fn list(&self, id: ContentId) -> Result<Vec<RawEntry>, TreeError> {
        match &*self.get(id)? {
            ContentObject::Directory(entries) => Ok(entries.clone()),
            ContentObject::Bytes(_) => Err(TreeError(format!("content {id} is no directory"))),
        }
    }

    fn size(&self, id: ContentId) -> Result<u64, TreeError> {
        match &*self.get(id)? {
            ContentObject::Bytes(bytes) => Ok(bytes.len() as u64),
            ContentObject::Directory(_) => Err(TreeError(format!("content {id} is a directory"))),
        }
    }

    fn read(&self, id: ContentId) -> Result<Vec<u8>, TreeError> {
        self.read_count.fetch_add(1, Ordering::Relaxed);
        match &*self.get(id)? {
            ContentObject::Bytes(bytes) => Ok(bytes.clone()),
            ContentObject::Directory(_) => Err(TreeError(format!("content {id} is a directory"))),
        }
    }
}

/// The content of a tree that is being built, from its leaves to its root.
pub(super) struct Intake<'a> {
    contents: &'a Contents,
    objects: HashMap<ContentId, Arc<ContentObject>>,
}

impl Intake<'_> {
    /// Adds the bytes of a file or the target of a link.
    pub(super) fn bytes(&mut self, bytes: Vec<u8>) -> ContentId {
        let id = hash(&[b"bytes\0", &bytes]);
        self.hold(id, || ContentObject::Bytes(bytes))
    }

    /// Adds a directory whose entries were added before.
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
        self.hold(id, || ContentObject::Directory(entries))
    }

    /// Returns the content, to be held by the tree, and forgets content that no tree holds any more.
    pub(super) fn finish(self) -> Arc<HeldContent> {
        lock(&self.contents.held).retain(|_, object| object.strong_count() > 0);
        Arc::new(HeldContent { objects: self.objects })
    }

    fn hold(&mut self, id: ContentId, make: impl FnOnce() -> ContentObject) -> ContentId {
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

/// The SHA-256 of the concatenated parts.
pub(super) fn hash(parts: &[&[u8]]) -> ContentId {
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    ContentId::from_bytes(context.finish().as_ref())
}

/// The first 40 hexadecimal digits of a hash, the form of a revision.
pub(super) fn short(id: ContentId) -> String {
    ContentId::from_bytes(&id.as_bytes()[..20]).to_string()
}

/// Returns a name that a tree may hold: one plain path component in valid UTF-8 that no system interprets otherwise.
pub(super) fn plain_name(name: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(name).ok()?;
    let plain = !matches!(name, "" | "." | "..")
        && name.len() <= 255
        && !name.eq_ignore_ascii_case(".git")
        && !name.chars().any(|character| character.is_control() || matches!(character, '/' | '\\'));
    plain.then_some(name)
}
