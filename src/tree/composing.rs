//! The composing files and the symbolic links of a tree. A composing file may import other files, add profiles or have
//! activation conditions.
//!
//! A scan of each file's bytes finds composing files, and each directory caches the result. A directory reuses the result of
//! its older version for unchanged files, so after a commit only the changed files are scanned.

use std::collections::HashSet;

use super::object_cache::{
    CachedDirectory, EntryNode, ObjectCache, Scan, TreeDirectory, TreeEntry,
};
use super::{DEPTH_MAX, EntryKind, Tree, TreeError, join};
use crate::format::{self, Format};

impl Tree {
    /// The paths of the files for which [`format::may_compose`] returns true. Links are not followed. `older` is an earlier
    /// tree of the same source.
    ///
    /// # Errors
    /// When the source of either tree cannot be read.
    pub fn composing_files(&self, older: &Self) -> Result<&[Box<str>], TreeError> {
        Ok(&self.scan(older)?.composing)
    }

    /// The symbolic links in the tree, each with the path of its target in the tree. Links without a target are omitted.
    /// `older` is an earlier tree of the same source.
    ///
    /// # Errors
    /// When the source of either tree cannot be read.
    pub fn links(&self, older: &Self) -> Result<Vec<(String, String)>, TreeError> {
        let links = self.all_links(older)?.into_iter();
        Ok(links.filter_map(|(link, target, found)| found.map(|_| (link, target))).collect())
    }

    /// As [`Tree::links`], with the kind of each target. Links whose target would be in the tree are included without it.
    ///
    /// # Errors
    /// When the source of either tree cannot be read.
    pub fn all_links(
        &self,
        older: &Self,
    ) -> Result<Vec<(String, String, Option<EntryKind>)>, TreeError> {
        let mut links = Vec::new();
        for link in &self.scan(older)?.links {
            let lookup = self.lookup_kind(link)?;
            links
                .extend(lookup.behind_links.map(|target| (link.to_string(), target, lookup.found)));
        }
        Ok(links)
    }

    fn scan(&self, older: &Self) -> Result<&Scan, TreeError> {
        scan(&older.cache, &older.root, None, 0)?;
        scan(&self.cache, &self.root, Some((&older.cache, &older.root)), 0)
    }
}

/// Scans a directory, or returns the result of an earlier scan.
fn scan<'a>(
    cache: &'a ObjectCache,
    directory: &'a TreeDirectory,
    older: Option<CachedDirectory<'_>>,
    depth: usize,
) -> Result<&'a Scan, TreeError> {
    if let Some(known) = directory.scan.get() {
        return Ok(known);
    }
    let before = older.map_or(Ok(&[][..]), |(cache, at)| at.entries(cache))?;
    let known: Option<HashSet<&str>> = older
        .and_then(|(_, at)| at.scan.get())
        .map(|known| known.composing.iter().map(|path| &**path).collect());
    let mut found = Scan::default();
    for entry in directory.entries(cache)? {
        let at = before.binary_search_by(|old| old.name.cmp(&entry.name)).ok();
        let old = at.map(|at| &before[at].node);
        match &entry.node {
            EntryNode::Directory(id, child) if depth < DEPTH_MAX => {
                let older = match (old, older) {
                    (Some(EntryNode::Directory(id, child)), Some((cache, _))) => {
                        Some((cache, &**cache.child(*id, child)))
                    }
                    _ => None,
                };
                let below = scan(cache, cache.child(*id, child), older, depth + 1)?;
                let inside = |path: &str| Box::from(join(&entry.name, path));
                found.composing.extend(below.composing.iter().map(|path| inside(path)));
                found.links.extend(below.links.iter().map(|path| inside(path)));
            }
            EntryNode::File(..)
                if Format::of(&entry.name).is_some()
                    && is_composing(cache, entry, old, known.as_ref())? =>
            {
                found.composing.push(entry.name.clone());
            }
            EntryNode::Link(_) => found.links.push(entry.name.clone()),
            _ => {}
        }
    }
    Ok(directory.scan.get_or_init(|| found))
}

/// Returns true if a file may compose. An unchanged file has the result of the older directory, whose composing files are
/// `known`.
fn is_composing(
    cache: &ObjectCache,
    entry: &TreeEntry,
    old: Option<&EntryNode>,
    known: Option<&HashSet<&str>>,
) -> Result<bool, TreeError> {
    let id = entry.node.id();
    if let (Some(EntryNode::File(same, _)), Some(known)) = (old, known)
        && *same == id
    {
        return Ok(known.contains(&*entry.name));
    }
    let bytes = cache.objects.read_at_most(id, format::FILE_BYTES_MAX as u64)?;
    Ok(bytes.is_some_and(|bytes| format::may_compose(&bytes)))
}
