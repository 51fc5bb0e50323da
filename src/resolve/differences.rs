//! Whether a change can matter to what was resolved before it: the paths that differ beside the paths that were asked for.

use super::Asked;
use crate::snapshot::{Layout, Snapshot};
use crate::tree::{Changes, TreeError};

/// What differs between two snapshots of a source.
pub enum Differences {
    /// Other members, or otherwise composed: anything may be another one now.
    Everything,
    /// For each member what differs in its tree.
    Members(Vec<Changes>),
}

impl Differences {
    /// Compares two snapshots. Costs what differs, not what there is.
    ///
    /// # Errors
    /// When a source cannot be read.
    pub fn between(old: &Snapshot, new: &Snapshot) -> Result<Self, TreeError> {
        let alike = old.members.len() == new.members.len()
            && old.members.iter().zip(&new.members).all(|(old, new)| {
                old.group == new.group
                    && (old.label == new.label || !depends_on_label(&new.layout))
                    && old.overlays == new.overlays
                    && old.layout == new.layout
            });
        if !alike {
            return Ok(Self::Everything);
        }
        let changes = old.members.iter().zip(&new.members);
        Ok(Self::Members(
            changes.map(|(old, new)| new.tree.changes(&old.tree)).collect::<Result<_, _>>()?,
        ))
    }

    /// Whether what a member gave for these paths may be something else now.
    pub fn touch(&self, member: usize, asked: &Asked) -> bool {
        match self {
            Self::Everything => true,
            Self::Members(changes) => {
                changes.get(member).is_none_or(|changes| touches(asked, changes))
            }
        }
    }
}

/// Whether files are looked for elsewhere under another label.
fn depends_on_label(layout: &Layout) -> bool {
    layout.search_paths.iter().any(|path| path.contains("{label}"))
}

/// Whether a difference between two trees can change what was resolved from one of them.
pub fn touches(asked: &Asked, changes: &Changes) -> bool {
    changes.links
        || changes.files.iter().any(|path| asked.files.contains(path.as_str()))
        || changes.listings.iter().any(|path| asked.listings.contains(path.as_str()))
}
