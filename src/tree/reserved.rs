//! The directory of a tree that belongs to the server.
//!
//! Invariant: no path, search path, listing, walk or comparison of a tree leads into it. Nothing in it is configuration, and
//! no client receives a file of it.

use super::object_cache::{EntryNode, TreeEntry};
use super::{Tree, TreeError};
use crate::model::ContentId;

/// The name of the directory. An entry of this name is reserved in every directory, and only the one in the root has a
/// meaning.
pub const RESERVED: &str = ".headwater";

/// An entry of the reserved directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReservedEntry {
    /// A regular file with this content.
    File(ContentId),
    /// A directory or a link. The same if the reserved directory itself is a file or a link.
    Other,
}

impl Tree {
    /// The entry with a name in the reserved directory of the root. Links are not followed.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn reserved_entry(&self, name: &str) -> Result<Option<ReservedEntry>, TreeError> {
        let Some(TreeEntry { node, .. }) = self.root.reserved(&self.cache)? else {
            return Ok(None);
        };
        let EntryNode::Directory(id, child) = node else {
            return Ok(Some(ReservedEntry::Other));
        };
        let entries = self.cache.child(*id, child).entries(&self.cache)?;
        let found = entries.binary_search_by(|entry| (*entry.name).cmp(name)).ok();
        Ok(found.map(|index| match &entries[index].node {
            EntryNode::File(id, _) => ReservedEntry::File(*id),
            EntryNode::Directory(..) | EntryNode::Link(_) => ReservedEntry::Other,
        }))
    }

    /// Reads a reserved file, or `None` if it has more than `bytes_max` bytes. The bytes are not cached.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn reserved_bytes(
        &self,
        file: ContentId,
        bytes_max: u64,
    ) -> Result<Option<Vec<u8>>, TreeError> {
        self.cache.objects.read_at_most(file, bytes_max)
    }
}
