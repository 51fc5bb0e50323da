//! The files of a label at one revision, immutable.
//!
//! A snapshot is a list of members, highest precedence first. A plain source has one member. A composite concatenates the
//! members of its sources. A member with patterns answers only for the applications that match them.

mod holds;

use std::sync::Arc;

use crate::areas::Areas;
use crate::glob;
use crate::model::{Epoch, Epochs, LabelPosition, Revision};
use crate::terminal::is_invisible;
use crate::tree::{Tree, TreeError};

pub use holds::{BranchHolds, HoldReason, HoldScope, MemberHolds, RolloutHold};

/// The content of a label at one revision.
#[derive(Clone)]
pub struct Snapshot {
    /// The revisions of the members, joined by `,`.
    pub revision: Revision,
    /// The epochs of the members, in their order. None if none of them was ever rewound.
    pub epochs: Option<Epochs>,
    /// Highest precedence first.
    pub members: Vec<Member>,
}

impl Snapshot {
    /// Creates a snapshot whose revision is the joined revisions of the members.
    pub fn new(members: Vec<Member>) -> Self {
        let revisions: Vec<&str> = members.iter().map(|member| member.revision.as_str()).collect();
        Self::at(Revision::new(revisions.join(",")), members)
    }

    /// A snapshot of these members under a revision of its own.
    pub fn at(revision: Revision, members: Vec<Member>) -> Self {
        let epochs = Epochs::of(members.iter().map(|member| member.rewinds.epoch));
        Self { revision, epochs, members }
    }

    /// The snapshot of the same members at other revisions, with the revision that a source would give it. The revision of
    /// a snapshot is not always the joined revisions in the order of its members.
    pub fn with_revisions_of(self, model: &Self) -> Self {
        let mut rest: Vec<(&str, &Member)> = model
            .members
            .iter()
            .zip(&self.members)
            .map(|(before, after)| (before.revision.as_str(), after))
            .collect();
        // In a list of labels, the last one is the first member.
        let is_list = self.members.windows(2).all(|pair| pair[0].layout == pair[1].layout);
        if is_list {
            rest.reverse();
        }
        let part = |before: &str| {
            let place = rest.iter().position(|(known, _)| *known == before);
            place.map_or(before.to_owned(), |at| rest.remove(at).1.revision.to_string())
        };
        let revisions: Vec<String> = model.revision.as_str().split(',').map(part).collect();
        Self::at(Revision::new(revisions.join(",")), self.members)
    }

    /// Puts the areas of a policy in force.
    pub fn set_areas(&mut self, areas: &Areas) {
        self.members.iter_mut().for_each(|member| member.areas = areas.clone());
    }

    /// Returns true if these areas permit every environment the same files as those in force here.
    pub fn has_areas(&self, areas: &Areas) -> bool {
        self.members.iter().all(|member| member.areas.are_same(areas))
    }

    /// Returns true if another snapshot of the label is the same publication: at the same position, with the same holds.
    pub fn is_same_publication(&self, other: &Self) -> bool {
        let mut members = self.members.iter().zip(&other.members);
        self.position() == other.position()
            && members.all(|(one, other)| one.holds.are_same(&other.holds))
    }

    /// Where the label is in the order of its publications.
    pub fn position(&self) -> LabelPosition {
        LabelPosition { revision: self.revision.clone(), epochs: self.epochs.clone() }
    }
}

/// One versioned tree of files in a snapshot, with the rules by which its files are found and named.
#[derive(Clone)]
pub struct Member {
    /// Members of one group are alternatives: the first whose patterns match answers. Groups count from 0 and never
    /// decrease along the list.
    pub group: usize,
    pub layout: Arc<Layout>,
    /// The files that each environment may load. A source knows no policy. The store sets it.
    pub areas: Areas,
    pub revision: Revision,
    /// The label that was resolved to this revision, for `{label}` in search paths.
    pub label: Option<Arc<str>>,
    /// First-level folders that take precedence over the rest, lowest first. A directory source has them for its labels.
    pub overlays: Vec<Arc<str>>,
    pub tree: Tree,
    /// The earlier revisions, if the label is a branch.
    pub history: Option<Arc<dyn History>>,
    /// The rewinds of the label, which its history does not show.
    pub rewinds: Rewinds,
    /// The rollouts that hold applications of this branch at earlier revisions.
    pub holds: MemberHolds,
    /// The time of this revision in seconds since 1970, if the source knows it.
    pub made_seconds: Option<i64>,
    /// Author and subject of this revision, if the source knows them.
    pub commit: Option<Arc<CommitSummary>>,
}

/// The publications of a label that did not follow the one before: force-pushes, deletions and re-creations.
#[derive(Clone, Default)]
pub struct Rewinds {
    /// The last of them.
    pub epoch: Option<Epoch>,
    /// Set where every rewind is recorded: without an epoch the label was never rewound there.
    pub are_recorded: bool,
    /// The revisions that the last rewinds took the label away from, newest last. Bounded.
    pub left: Vec<Left>,
}

/// A revision that a rewind took the label away from.
#[derive(Clone)]
pub struct Left {
    /// The revision.
    pub revision: Revision,
    /// The history that ends in it.
    pub history: Arc<dyn History>,
}

/// Author and subject of a commit, for display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitSummary {
    /// The author's name, without an address.
    pub author: String,
    /// The first line of the message.
    pub subject: String,
}

/// The longest author or subject, in characters.
const TEXT_LENGTH_MAX: usize = 200;

impl CommitSummary {
    /// Keeps one short line of each text, because a commit can contain anything.
    pub fn new(author: &str, subject: &str) -> Self {
        Self { author: one_line(author), subject: one_line(subject) }
    }
}

/// Removes control characters and invisible ones, which would change how the surrounding text is displayed.
fn one_line(text: &str) -> String {
    let visible = text.chars().filter(|c| !c.is_control() && !is_invisible(*c));
    visible.take(TEXT_LENGTH_MAX).collect::<String>().trim().to_owned()
}

/// The earlier revisions of a branch. Called on blocking threads only.
pub trait History: Send + Sync + 'static {
    /// The first-parent ancestors of this revision, nearest first, without the revision itself.
    ///
    /// # Errors
    /// An item is an error when the source cannot be read.
    fn ancestors(&self) -> Box<dyn Iterator<Item = Result<Ancestor, TreeError>> + '_>;
}

/// One earlier revision of a branch.
pub struct Ancestor {
    pub revision: Revision,
    pub tree: Tree,
    /// The time of the next newer revision, in seconds since 1970.
    pub followed_seconds: Option<i64>,
}

/// The rules by which a source's files are found and its property sources named. All labels of a source share one layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The base of the names: the configured URI without credentials and without a final `/`, or the configured name.
    pub base: Arc<str>,
    pub style: Style,
    /// Relative directories with `{application}`, `{profile}`, `{label}` and wildcards. The root is searched before them.
    pub search_paths: Vec<String>,
    /// Expanded `application/profiles` globs of the requests that this source answers. Empty for all requests.
    pub patterns: Vec<String>,
    /// True if `.toml` files are configuration.
    pub toml: bool,
    /// True if `.json` files are configuration.
    pub json: bool,
}

impl Layout {
    /// Returns true if a source with this layout answers for an application and profiles
    /// (docs/protocol.md#12-several-repositories).
    pub fn answers(&self, application: &str, profiles: &str) -> bool {
        matches(&self.patterns, application, profiles)
    }
}

/// The backend of Spring whose behaviour a source follows where the two differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Names are `<uri>/<path>` (docs/protocol.md#31-names-of-property-sources).
    Git,
    /// Names of multi-document files contain the configured location (docs/protocol.md#13-directories).
    Native,
}

/// Expands configured patterns (docs/protocol.md#12-several-repositories). An item without `/` means all profiles.
/// An item that does not end in `*` also matches a list of profiles that begins with its own.
pub fn expand_patterns(configured: &[String]) -> Vec<String> {
    let mut patterns: Vec<String> = configured
        .iter()
        .map(|item| if item.contains('/') { item.clone() } else { format!("{item}/*") })
        .collect();
    let lists: Vec<String> = patterns
        .iter()
        .filter(|pattern| !pattern.ends_with('*'))
        .map(|pattern| format!("{pattern},*"))
        .collect();
    patterns.extend(lists);
    patterns
}

/// Returns true if expanded patterns match comma-separated lists of applications and profiles: for one application, both a
/// single profile and the whole list have to match (docs/protocol.md#12-several-repositories). Without patterns
/// everything matches.
fn matches(patterns: &[String], application: &str, profiles: &str) -> bool {
    if patterns.is_empty() {
        return true;
    }
    let matches_any =
        |text: &str| patterns.iter().any(|pattern| glob::matches_stars(pattern, text));
    application.split(',').any(|application| {
        profiles.split(',').any(|profile| matches_any(&format!("{application}/{profile}")))
            && matches_any(&format!("{application}/{profiles}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(patterns: &[&str], application: &str, profiles: &str, expected: bool) {
        let configured: Vec<String> = patterns.iter().map(|item| (*item).to_owned()).collect();
        let found = matches(&expand_patterns(&configured), application, profiles);
        assert_eq!(found, expected, "{patterns:?} {application}/{profiles}");
    }

    #[test]
    fn patterns_choose_by_application_and_by_the_whole_list_of_profiles() {
        check(&[], "orders", "prod", true);
        check(&["orders"], "orders", "prod", true);
        check(&["orders"], "orders", "dev,prod", true);
        check(&["orders"], "orders2", "prod", false);
        check(&["ord*"], "orders", "prod", true);
        check(&["*/dev"], "orders", "dev,prod", true);
        check(&["*/prod"], "orders", "dev,prod", false);
        check(&["*/prod"], "orders", "prod", true);
        check(&["*/dev*"], "orders", "development", true);
        check(&["a*c*e/*"], "abcde", "prod", true);
        check(&["a*c*e/*"], "aed", "prod", false);
        check(&["pay", "orders/prod"], "orders", "prod", true);
        check(&["pay", "orders/prod"], "orders", "dev", false);
    }

    #[test]
    fn author_and_subject_are_one_short_line() {
        let commit = CommitSummary::new(" Ann\u{1b}[31m\n", &"\u{202e}x\t".repeat(300));
        assert_eq!(commit.author, "Ann[31m");
        assert_eq!(commit.subject, "x".repeat(200));
    }
}
