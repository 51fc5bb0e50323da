//! The differences between two snapshots, compared with the dependencies of earlier results to find the invalid ones.

use super::Dependencies;
use crate::snapshot::{Layout, Snapshot};
use crate::tree::{Changes, TreeError};

/// The differences between two snapshots of a source.
pub enum Differences {
    /// The snapshots have other members, layouts or areas, so every result may be invalid.
    Everything,
    /// The differences in the tree of each member.
    Members(Vec<Changes>),
}

impl Differences {
    /// Compares two snapshots. The cost grows with the differences, not with the size of the snapshots.
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
                    && old.areas.are_same(&new.areas)
            });
        if !alike {
            return Ok(Self::Everything);
        }
        let changes = old.members.iter().zip(&new.members);
        Ok(Self::Members(
            changes.map(|(old, new)| new.tree.changes(&old.tree)).collect::<Result<_, _>>()?,
        ))
    }

    /// Returns true if the differences can change a result of a member with these dependencies.
    pub fn affects(&self, member: usize, dependencies: &Dependencies) -> bool {
        match self {
            Self::Everything => true,
            Self::Members(changes) => {
                changes.get(member).is_none_or(|changes| dependencies.is_affected_by(changes))
            }
        }
    }
}

/// Returns true if the search directories depend on the label.
fn depends_on_label(layout: &Layout) -> bool {
    layout.search_paths.iter().any(|path| path.contains("{label}"))
}
