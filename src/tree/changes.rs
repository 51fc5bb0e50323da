//! The comparison of two trees. It descends only where ids differ, so the cost grows with the differences alone.

use super::object_cache::{CachedDirectory, EntryNode, TreeEntry};
use super::{DEPTH_MAX, EntryKind, TreeError, join};

/// The differences between two trees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Paths of the files that were added, removed or changed.
    pub files: Vec<String>,
    /// Directories in which names were added or removed, or changed their kind.
    pub listings: Vec<String>,
    /// True if a symbolic link was added, removed or changed. Then any path may have another target.
    pub links: bool,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.listings.is_empty() && !self.links
    }
}

pub(super) fn compare(
    old: Option<CachedDirectory<'_>>,
    new: Option<CachedDirectory<'_>>,
    path: &str,
    depth: usize,
    changes: &mut Changes,
) -> Result<(), TreeError> {
    if depth > DEPTH_MAX {
        return Ok(());
    }
    let mut names_changed = old.is_none() || new.is_none();
    let old_entries = old.map_or(Ok(&[][..]), |(cache, at)| at.entries(cache))?;
    let new_entries = new.map_or(Ok(&[][..]), |(cache, at)| at.entries(cache))?;
    for (before, after) in pairs(old_entries, new_entries) {
        if let (Some(before), Some(after)) = (before, after)
            && before.node.id() == after.node.id()
            && before.node.kind() == after.node.kind()
        {
            continue;
        }
        let (before_kind, after_kind) = (before.map(kind_of), after.map(kind_of));
        names_changed |= before_kind != after_kind;
        changes.links |= [before_kind, after_kind].contains(&Some(EntryKind::Link));
        let Some(name) = after.or(before).map(|entry| &*entry.name) else {
            continue;
        };
        let path = join(path, name);
        let before_directory = before.zip(old).and_then(subdirectory);
        let after_directory = after.zip(new).and_then(subdirectory);
        if before_directory.is_some() || after_directory.is_some() {
            compare(before_directory, after_directory, &path, depth + 1, changes)?;
        }
        if [before_kind, after_kind].contains(&Some(EntryKind::File)) {
            changes.files.push(path);
        }
    }
    if names_changed {
        changes.listings.push(path.to_owned());
    }
    Ok(())
}

fn kind_of(entry: &TreeEntry) -> EntryKind {
    entry.node.kind()
}

fn subdirectory<'a>(
    (entry, (cache, _)): (&'a TreeEntry, CachedDirectory<'a>),
) -> Option<CachedDirectory<'a>> {
    match &entry.node {
        EntryNode::Directory(id, child) => Some((cache, cache.child(*id, child))),
        EntryNode::File(..) | EntryNode::Link(_) => None,
    }
}

/// Pairs the entries of two sorted directories by name.
fn pairs<'a>(
    old: &'a [TreeEntry],
    new: &'a [TreeEntry],
) -> Vec<(Option<&'a TreeEntry>, Option<&'a TreeEntry>)> {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    let mut pairs = Vec::new();
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return pairs,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(before), Some(after)) => before.name.cmp(&after.name),
        };
        pairs.push(match order {
            std::cmp::Ordering::Less => (old.next(), None),
            std::cmp::Ordering::Greater => (None, new.next()),
            std::cmp::Ordering::Equal => (old.next(), new.next()),
        });
    }
}
