//! The entries that a tree adds to an older one, or has with other content. Checks judge them before they are served.

use super::object_cache::{CachedDirectory, EntryNode, TreeEntry};
use super::{DEPTH_MAX, EntryKind, OmittedEntry, Tree, TreeError, join};
use crate::model::ContentId;

/// A directory with added or changed entries.
pub struct DirectoryAdditions<'a> {
    pub directory: &'a str,
    /// All names in the directory, sorted, without omitted entries.
    pub names: Vec<&'a str>,
    pub entries: Vec<AddedEntry<'a>>,
    /// The added entries that the tree omits.
    pub omitted: Vec<OmittedEntry>,
}

/// An entry that is new, or that has another kind or other content than before.
pub struct AddedEntry<'a> {
    pub name: &'a str,
    pub kind: EntryKind,
    pub id: ContentId,
    /// True if the older directory has no entry of this name.
    pub is_new: bool,
}

impl Tree {
    /// Calls `visit` with every directory that differs from the one in `old`, or with all directories if there is no old
    /// tree.
    ///
    /// # Errors
    /// When a source cannot be read, and the errors of `visit`.
    pub fn visit_additions(
        &self,
        old: Option<&Self>,
        visit: &mut dyn FnMut(DirectoryAdditions<'_>) -> Result<(), TreeError>,
    ) -> Result<(), TreeError> {
        let before: Option<CachedDirectory<'_>> = old.map(|old| (&*old.cache, &*old.root));
        if before.is_some_and(|(_, root)| root.id == self.root.id) {
            return Ok(());
        }
        walk((&*self.cache, &*self.root), before, "", 0, visit)
    }

    /// The size of an entry's content in bytes, without reading it.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn size_of(&self, entry: &AddedEntry<'_>) -> Result<u64, TreeError> {
        self.cache.objects.size(entry.id)
    }

    /// Reads the bytes of a file, or the target of a link. They are not cached.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn bytes_of(&self, entry: &AddedEntry<'_>) -> Result<Vec<u8>, TreeError> {
        self.cache.objects.read(entry.id)
    }
}

/// The entries that the old directory does not have or has with another kind or content, each with its old entry.
fn added_or_changed<'a>(
    entries: &'a [TreeEntry],
    old_entries: &'a [TreeEntry],
) -> Vec<(&'a TreeEntry, Option<&'a TreeEntry>)> {
    let mut found = Vec::new();
    for entry in entries {
        let place = old_entries.binary_search_by(|old| old.name.cmp(&entry.name)).ok();
        let old = place.map(|place| &old_entries[place]);
        let is_same = old.is_some_and(|old| {
            old.node.id() == entry.node.id() && old.node.kind() == entry.node.kind()
        });
        if !is_same {
            found.push((entry, old));
        }
    }
    found
}

/// The omitted entries of a directory that are not omitted from the old one.
fn newly_omitted(
    (cache, at): CachedDirectory<'_>,
    before: Option<CachedDirectory<'_>>,
) -> Result<Vec<OmittedEntry>, TreeError> {
    let mut omitted = cache.objects.omitted(at.id)?;
    if let Some((cache, at)) = before
        && !omitted.is_empty()
    {
        let known = cache.objects.omitted(at.id)?;
        omitted.retain(|entry| !known.contains(entry));
    }
    Ok(omitted)
}

fn walk(
    (cache, at): CachedDirectory<'_>,
    before: Option<CachedDirectory<'_>>,
    path: &str,
    depth: usize,
    visit: &mut dyn FnMut(DirectoryAdditions<'_>) -> Result<(), TreeError>,
) -> Result<(), TreeError> {
    if depth > DEPTH_MAX {
        return Ok(());
    }
    let entries = at.entries(cache)?;
    let old_entries = before.map_or(Ok(&[][..]), |(cache, at)| at.entries(cache))?;
    let additions = added_or_changed(entries, old_entries);
    visit(DirectoryAdditions {
        directory: path,
        names: entries.iter().map(|entry| &*entry.name).collect(),
        entries: additions
            .iter()
            .map(|(entry, old)| AddedEntry {
                name: &entry.name,
                kind: entry.node.kind(),
                id: entry.node.id(),
                is_new: old.is_none(),
            })
            .collect(),
        omitted: newly_omitted((cache, at), before)?,
    })?;
    for (entry, old) in additions {
        let EntryNode::Directory(id, child) = &entry.node else { continue };
        let below = match (before, old.map(|old| &old.node)) {
            (Some((cache, _)), Some(EntryNode::Directory(id, child))) => {
                Some((cache, &**cache.child(*id, child)))
            }
            _ => None,
        };
        let path = join(path, &entry.name);
        walk((cache, cache.child(*id, child)), below, &path, depth + 1, visit)?;
    }
    Ok(())
}
