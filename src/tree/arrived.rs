//! The names that a tree has and an older one has not, or has otherwise: for whoever judges names before anyone uses them.

use super::shelf::{Directory, Entry, Node, Shelf};
use super::{DEPTH_MAX, EntryKind, LeftOut, Tree, TreeError, join};
use crate::model::ContentId;

/// A directory in which something arrived.
pub struct Arrived<'a> {
    /// The path of the directory.
    pub directory: &'a str,
    /// All names in it, sorted, without those that are left out.
    pub names: Vec<&'a str>,
    /// What came, or is something else than before.
    pub entries: Vec<ArrivedEntry<'a>>,
    /// The names that came and that the tree leaves out.
    pub left_out: Vec<LeftOut>,
}

/// An entry that came, or is something else than before.
pub struct ArrivedEntry<'a> {
    /// One path component.
    pub name: &'a str,
    /// What it is.
    pub kind: EntryKind,
    /// Its content.
    pub id: ContentId,
    /// Whether the name was not there before.
    pub is_new: bool,
}

type Side<'a> = Option<(&'a Shelf, &'a Directory)>;

impl Tree {
    /// Shows every directory in which something is not as it was in `old`; all of them without one.
    ///
    /// # Errors
    /// When a source cannot be read, and what `visit` says.
    pub fn arrived(
        &self,
        old: Option<&Self>,
        visit: &mut dyn FnMut(Arrived<'_>) -> Result<(), TreeError>,
    ) -> Result<(), TreeError> {
        let before: Side<'_> = old.map(|old| (&*old.shelf, &*old.root));
        if before.is_some_and(|(_, root)| root.id == self.root.id) {
            return Ok(());
        }
        walk((&*self.shelf, &*self.root), before, "", 0, visit)
    }

    /// The size of what an entry holds, without reading it.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn size_of(&self, entry: &ArrivedEntry<'_>) -> Result<u64, TreeError> {
        self.shelf.objects.size(entry.id)
    }

    /// The bytes of a file, or the target of a link. They are not kept.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn bytes_of(&self, entry: &ArrivedEntry<'_>) -> Result<Vec<u8>, TreeError> {
        self.shelf.objects.read(entry.id)
    }
}

fn walk(
    (shelf, at): (&Shelf, &Directory),
    before: Side<'_>,
    path: &str,
    depth: usize,
    visit: &mut dyn FnMut(Arrived<'_>) -> Result<(), TreeError>,
) -> Result<(), TreeError> {
    if depth > DEPTH_MAX {
        return Ok(());
    }
    let entries = at.entries(shelf)?;
    let old_entries = before.map_or(Ok(&[][..]), |(shelf, at)| at.entries(shelf))?;
    let old_of = |name: &str| {
        let place = old_entries.binary_search_by(|entry| (*entry.name).cmp(name)).ok()?;
        Some(&old_entries[place])
    };
    let is_same = |old: &Entry, new: &Entry| {
        old.node.id() == new.node.id() && old.node.kind() == new.node.kind()
    };
    let arrived: Vec<(&Entry, Option<&Entry>)> = entries
        .iter()
        .map(|entry| (entry, old_of(&entry.name)))
        .filter(|(entry, old)| !old.is_some_and(|old| is_same(old, entry)))
        .collect();
    let mut left_out = shelf.objects.left_out(at.id)?;
    if let Some((shelf, at)) = before
        && !left_out.is_empty()
    {
        let known = shelf.objects.left_out(at.id)?;
        left_out.retain(|one| !known.contains(one));
    }
    visit(Arrived {
        directory: path,
        names: entries.iter().map(|entry| &*entry.name).collect(),
        entries: arrived
            .iter()
            .map(|(entry, old)| ArrivedEntry {
                name: &entry.name,
                kind: entry.node.kind(),
                id: entry.node.id(),
                is_new: old.is_none(),
            })
            .collect(),
        left_out,
    })?;
    for (entry, old) in arrived {
        let Node::Directory(id, child) = &entry.node else { continue };
        let below = match (before, old.map(|old| &old.node)) {
            (Some((shelf, _)), Some(Node::Directory(id, child))) => {
                Some((shelf, &**shelf.child(*id, child)))
            }
            _ => None,
        };
        let path = join(path, &entry.name);
        walk((shelf, shelf.child(*id, child)), below, &path, depth + 1, visit)?;
    }
    Ok(())
}
