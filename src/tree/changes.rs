//! What differs between two trees: descends only where ids differ, so that it costs what changed and not what there is.

use super::shelf::{Directory, Entry, Node, Shelf};
use super::{DEPTH_MAX, EntryKind, TreeError, join};

/// What differs between two trees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Paths of the files that were added, removed or changed.
    pub files: Vec<String>,
    /// Directories in which names came, went or changed their kind.
    pub listings: Vec<String>,
    /// A symbolic link came, went or changed, so that any path may lead elsewhere.
    pub links: bool,
}

impl Changes {
    /// Whether the trees are the same.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.listings.is_empty() && !self.links
    }
}

type Side<'a> = Option<(&'a Shelf, &'a Directory)>;

pub(super) fn compare(
    old: Side<'_>,
    new: Side<'_>,
    path: &str,
    depth: usize,
    changes: &mut Changes,
) -> Result<(), TreeError> {
    if depth > DEPTH_MAX {
        return Ok(());
    }
    let mut names_changed = old.is_none() || new.is_none();
    let old_entries = old.map_or(Ok(&[][..]), |(shelf, at)| at.entries(shelf))?;
    let new_entries = new.map_or(Ok(&[][..]), |(shelf, at)| at.entries(shelf))?;
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

fn kind_of(entry: &Entry) -> EntryKind {
    entry.node.kind()
}

fn subdirectory<'a>(
    (entry, (shelf, _)): (&'a Entry, (&'a Shelf, &'a Directory)),
) -> Option<(&'a Shelf, &'a Directory)> {
    match &entry.node {
        Node::Directory(id, child) => Some((shelf, shelf.child(*id, child))),
        Node::File(..) | Node::Link(_) => None,
    }
}

/// The entries of two sorted directories side by side, by name.
fn pairs<'a>(old: &'a [Entry], new: &'a [Entry]) -> Vec<(Option<&'a Entry>, Option<&'a Entry>)> {
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
