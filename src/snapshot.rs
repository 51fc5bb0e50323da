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
        let revisions: Vec<&str> = members.iter().map(|member| member.revision.as_str()).collect();
        Self { revision: Revision::new(revisions.join(",")), members }
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
    /// Who made it, and what for, where the source knows.
    pub commit: Option<Arc<Commit>>,
}

/// What a commit says about itself, for people to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The name of who made it, without an address.
    pub author: String,
    /// Its first line.
    pub subject: String,
}

/// The longest text of a commit that is shown, in characters.
const TEXT_LENGTH_MAX: usize = 200;

impl Commit {
    /// Anybody may write what they like into a commit: what is kept is one short line of each.
    pub fn new(author: &str, subject: &str) -> Self {
        Self { author: shown(author), subject: shown(subject) }
    }
}

/// A text without what would move the cursor or turn around what stands beside it.
fn shown(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let visible = text.chars().filter(|c| !c.is_control() && !turns(*c));
    visible.take(TEXT_LENGTH_MAX).collect::<String>().trim().to_owned()
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
        matches(&self.patterns, application, profiles)
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

/// What configured patterns stand for: an item without `/` means all profiles, one that does not end in `*` is also
/// meant for a list of profiles that begins with its own (specification, 12).
pub fn expand_patterns(configured: &[String]) -> Vec<String> {
    let mut patterns: Vec<String> = configured
        .iter()
        .map(|item| match item.contains('/') {
            true => item.clone(),
            false => format!("{item}/*"),
        })
        .collect();
    let lists: Vec<String> = patterns
        .iter()
        .filter(|pattern| !pattern.ends_with('*'))
        .map(|pattern| format!("{pattern},*"))
        .collect();
    patterns.extend(lists);
    patterns
}

/// Whether a member with these patterns, already expanded, answers for comma lists of applications and profiles: for some
/// application some profile by itself has to match, and the whole list too (specification, 12). Without patterns it
/// answers for all.
fn matches(patterns: &[String], application: &str, profiles: &str) -> bool {
    if patterns.is_empty() {
        return true;
    }
    let any = |text: &str| patterns.iter().any(|pattern| glob(pattern, text));
    application.split(',').any(|application| {
        profiles.split(',').any(|profile| any(&format!("{application}/{profile}")))
            && any(&format!("{application}/{profiles}"))
    })
}

/// `*` stands for any text, all else for itself.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(first) else {
        return false;
    };
    let Some((middle, last)) = rest.rsplit_once('*') else {
        return text.ends_with(rest);
    };
    for part in middle.split('*') {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
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
    fn what_a_commit_says_is_one_short_line() {
        let commit = Commit::new(" Ann\u{1b}[31m\n", &"\u{202e}x\t".repeat(300));
        assert_eq!(commit.author, "Ann[31m");
        assert_eq!(commit.subject, "x".repeat(200));
    }

    #[test]
    fn a_glob_does_not_use_the_same_text_twice() {
        assert!(!glob("ab*ba", "aba"));
        assert!(glob("ab*ba", "abba"));
        assert!(glob("**", ""));
        assert!(glob("*a*a", "aa"));
        assert!(!glob("*a*a", "a"));
    }
}
