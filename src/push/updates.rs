//! The updates that a push requests, as git reports them to the hook, and the checks that need no content.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::path::PathBuf;

use super::options::{OPTION_COUNT_MAX, OptionError, PushOptions};
use super::policy::Permission;
use super::rejection::rejected;
use crate::model::Label;
use crate::source::git::MovedReference;

/// The maximum number of references that one push moves.
const UPDATE_COUNT_MAX: usize = 1_000;
/// The longest name of a branch or a tag, in bytes. No label is longer.
const NAME_BYTES_MAX: usize = 512;
/// The number of characters of a name that are repeated to the pusher.
const NAME_SHOWN_MAX: usize = 80;

/// The question of the hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    /// The directory in which git keeps the received objects. `None` if the push brings none.
    pub(super) quarantine: Option<PathBuf>,
    /// The options of the push, or the reason why they reject it.
    pub(super) options: Result<PushOptions, OptionError>,
    pub(super) updates: Vec<Update>,
}

/// A reference that is to move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Update {
    /// `None` for a new reference.
    pub(super) old: Option<String>,
    /// `None` for a reference that is to be deleted.
    pub(super) new: Option<String>,
    pub(super) reference: String,
}

impl Question {
    /// Parses the key and the question. Returns `None` for a malformed text.
    pub(super) fn parse(text: &[u8]) -> Option<(&str, Self)> {
        let text = std::str::from_utf8(text).ok()?;
        let mut lines = text.split_terminator('\n');
        let (key, quarantine) = (lines.next()?, lines.next()?);
        let option_count: usize = lines.next()?.parse().ok()?;
        let options: Vec<&str> = lines.by_ref().take(option_count.min(OPTION_COUNT_MAX)).collect();
        let options = PushOptions::parse(option_count, &options);
        let updates = lines.map(Update::parse).collect::<Option<Vec<_>>>()?;
        let quarantine = (!quarantine.is_empty()).then(|| PathBuf::from(quarantine));
        Some((key, Self { quarantine, options, updates }))
    }
}

impl Update {
    fn parse(line: &str) -> Option<Self> {
        let (old, rest) = line.split_once(' ')?;
        let (new, reference) = rest.split_once(' ')?;
        let is_id = |id: &str| id.len() == 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = |id: &str| (!id.bytes().all(|byte| byte == b'0')).then(|| id.to_owned());
        (is_id(old) && is_id(new)).then(|| Self {
            old: id(old),
            new: id(new),
            reference: reference.to_owned(),
        })
    }

    /// Converts the update to a move of a reference.
    pub(super) fn to_move(&self) -> MovedReference {
        let Self { old, new, reference } = self.clone();
        MovedReference { name: reference, old, new }
    }

    /// Returns the short name of a branch, or `None` for any other reference.
    pub(super) fn branch(&self) -> Option<&str> {
        self.reference.strip_prefix("refs/heads/")
    }

    /// Returns the name for messages, shortened and escaped.
    pub(super) fn shown(&self) -> String {
        let name = short(&self.reference).unwrap_or(&self.reference);
        name.chars().take(NAME_SHOWN_MAX).flat_map(char::escape_default).collect()
    }
}

/// Returns the name of a branch or a tag without `refs/heads/` or `refs/tags/`.
pub(super) fn short(reference: &str) -> Option<&str> {
    reference.strip_prefix("refs/heads/").or_else(|| reference.strip_prefix("refs/tags/"))
}

/// Returns the labels under which clients request a branch or a tag, its own name last.
pub(super) fn labels(name: &str, head: &str) -> Vec<Label> {
    let default = (name == head).then_some(Label::Default);
    default.into_iter().chain([Label::Named(name.into())]).collect()
}

/// Returns all references after these updates.
pub(super) fn moved(
    mut references: BTreeMap<String, String>,
    updates: &[Update],
) -> BTreeMap<String, String> {
    for Update { new, reference, .. } in updates {
        match new {
            Some(id) => references.insert(reference.clone(), id.clone()),
            None => references.remove(reference),
        };
    }
    references
}

/// Returns true if a branch or a tag has this name.
pub(super) fn is_label(references: &BTreeMap<String, String>, name: &str) -> bool {
    ["refs/heads/", "refs/tags/"]
        .iter()
        .any(|prefix| references.contains_key(&format!("{prefix}{name}")))
}

/// Returns the reason to reject these updates regardless of their content. `published` returns the current id of a
/// reference.
pub(super) fn rejection(
    updates: &[Update],
    deleting: Permission,
    published: impl Fn(&str) -> Option<String>,
) -> Option<String> {
    if updates.len() > UPDATE_COUNT_MAX {
        return Some(rejected(&format!(
            "it has {} branches and tags, and at most {UPDATE_COUNT_MAX} can be pushed together. \
             Push them in parts",
            updates.len()
        )));
    }
    updates.iter().find_map(|update| {
        let name = update.shown();
        match short(&update.reference) {
            None => {
                let reason = "the server keeps only branches and tags. Push another reference";
                return Some(rejected(&format!("{name}: {reason}")));
            }
            Some(short) if !can_be_a_label(short) => {
                let reason = "no label can have this name. Choose another one";
                return Some(rejected(&format!("{name}: {reason}")));
            }
            Some(_) => {}
        }
        if published(&update.reference) != update.old {
            return Some(fetch_first(&name));
        }
        if update.new.is_none() && deleting == Permission::Denied {
            let reason =
                "the server deletes no branch or tag. The operator can set push.allow_delete";
            return Some(rejected(&format!("{name}: {reason}")));
        }
        None
    })
}

/// Returns the reason to reject the deletion of the branch that HEAD leads to. Git rejects it as well, but only after the
/// audit trail has the push as accepted.
pub(super) fn head_deletion(updates: &[Update], head: Option<&str>) -> Option<String> {
    let deleted = updates.iter().filter(|update| update.new.is_none());
    let is_head = |update: &&Update| head.is_some() && update.branch() == head;
    let name = deleted.filter(|update| is_head(update)).map(Update::shown).next()?;
    let reason = "the branch that HEAD leads to cannot be deleted. Delete other branches only";
    Some(rejected(&format!("{name}: {reason}")))
}

/// Returns the reason to reject a new branch or tag whose name git cannot store beside the published ones, such as `a/b`
/// beside `a`. Git rejects it as well, but only after the push was recorded as accepted and committed to etcd.
///
/// The reason does not name the other reference, which the pusher may be unable to list.
pub(super) fn name_conflict(
    updates: &[Update],
    published: impl IntoIterator<Item = String>,
) -> Option<String> {
    let is_created = |update: &&Update| update.new.is_some() && update.old.is_none();
    let created = || updates.iter().filter(is_created);
    let published: Vec<String> = published.into_iter().collect();
    let names = published.iter().map(String::as_str);
    let names: BTreeSet<&str> = names.chain(created().map(|update| &*update.reference)).collect();
    let conflict =
        created().find(|update| conflicting_name(&names, &update.reference).is_some())?;
    let reason = "another branch or tag has a name that begins with this one and a slash, or the other way round. \
                  Choose another name, or delete the other one first";
    Some(rejected(&format!("{}: {reason}", conflict.shown())))
}

/// Checks the names of created and moved references against all names.
///
/// # Errors
/// The line for the pusher.
pub(super) fn check_conflicts(all: &BTreeSet<&str>, updates: &[Update]) -> Result<(), String> {
    for update in updates.iter().filter(|update| update.new.is_some()) {
        if let Some(other) = conflicting_name(all, &update.reference) {
            let other = short(other).unwrap_or(other);
            return Err(rejected(&format!(
                "{}: {other} is in the way, because one name cannot begin with the other and a slash. \
                 Choose another name",
                update.shown()
            )));
        }
    }
    Ok(())
}

/// Returns a name that begins with `name` and a slash, or a name that `name` continues after a slash.
fn conflicting_name<'a>(all: &BTreeSet<&'a str>, name: &str) -> Option<&'a str> {
    let above = name.match_indices('/').map(|(at, _)| &name[..at]);
    if let Some(above) = above.filter_map(|above| all.get(above)).next() {
        return Some(above);
    }
    let below = format!("{name}/");
    let first = all.range::<str, _>((Bound::Included(&*below), Bound::Unbounded)).next();
    first.filter(|first| first.starts_with(&below)).copied()
}

/// Returns the rejection of a push that was made on an older commit.
pub(super) fn fetch_first(name: &str) -> String {
    format!("push rejected, no branch was updated. fetch first: {name} has moved since you fetched")
}

/// Checks that a request can use the name as a label. Git accepts more names than requests can.
fn can_be_a_label(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && !name.starts_with(['-', ' '])
        && !name.starts_with("refs/")
        && name != "@"
        && name != "HEAD"
        && !name.contains(',')
        && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    const NONE: &str = "0000000000000000000000000000000000000000";

    fn updates(lines: &[String]) -> Vec<Update> {
        lines.iter().map(|line| Update::parse(line).unwrap()).collect()
    }

    #[track_caller]
    fn check(old: &str, new: &str, reference: &str, expected: Option<&str>) {
        let published = |name: &str| (name == "refs/heads/main").then(|| A.to_owned());
        let updates = updates(&[format!("{old} {new} {reference}")]);
        let rejection = rejection(&updates, Permission::Denied, published);
        match expected {
            None => assert_eq!(rejection, None, "{reference}"),
            Some(part) => assert!(rejection.unwrap().contains(part), "{reference}"),
        }
    }

    #[test]
    fn only_branches_and_tags_move_and_only_from_their_published_commit() {
        check(A, B, "refs/heads/main", None);
        check(NONE, B, "refs/tags/v1", None);
        check(NONE, B, "refs/heads/feature/x", None);
        check(B, A, "refs/heads/main", Some("fetch first: main has moved"));
        check(NONE, B, "refs/heads/main", Some("fetch first"));
        check(A, B, "refs/heads/other", Some("fetch first"));
        check(A, NONE, "refs/heads/main", Some("deletes no branch"));
        for name in ["refs/evil", "refs/notes/x", "HEAD", "refs/pull/1/head"] {
            check(NONE, B, name, Some("only branches and tags"));
        }
        for name in ["refs/heads/-x", "refs/heads/a,b", "refs/heads/HEAD", "refs/tags/refs/x"] {
            check(NONE, B, name, Some("no label"));
        }
    }

    #[test]
    fn a_new_name_conflicts_with_those_below_and_above_it() {
        let published = || ["refs/heads/main", "refs/heads/a/b/c"].map(str::to_owned);
        let conflict = |references: &[&str]| {
            let lines: Vec<String> =
                references.iter().map(|name| format!("{NONE} {B} {name}")).collect();
            name_conflict(&updates(&lines), published())
        };
        for name in ["refs/heads/main/x", "refs/heads/a", "refs/heads/a/b", "refs/heads/a/b/c/d"] {
            assert!(conflict(&[name]).is_some(), "{name}");
        }
        assert!(conflict(&["refs/tags/v", "refs/tags/v/1"]).is_some());
        for name in
            ["refs/heads/main-x", "refs/heads/a/b/d", "refs/heads/a/b-c", "refs/tags/main/x"]
        {
            assert_eq!(conflict(&[name]), None, "{name}");
        }
        let moved =
            updates(&[format!("{A} {B} refs/heads/main"), format!("{A} {NONE} refs/heads/x")]);
        assert_eq!(name_conflict(&moved, published()), None);
    }

    #[test]
    fn the_branch_that_head_leads_to_is_not_deleted() {
        let updates = updates(&[format!("{A} {NONE} refs/heads/main")]);
        assert!(
            head_deletion(&updates, Some("main"))
                .unwrap()
                .contains("main: the branch that HEAD leads to")
        );
        assert_eq!(head_deletion(&updates, Some("other")), None);
        assert_eq!(head_deletion(&updates, None), None);
    }

    #[test]
    fn a_malformed_question_is_none() {
        let good = format!("key\n/q\n0\n{A} {B} refs/heads/main\n");
        let (key, question) = Question::parse(good.as_bytes()).unwrap();
        assert_eq!((key, question.updates.len()), ("key", 1));
        assert_eq!(question.quarantine, Some("/q".into()));
        for text in [
            "",
            "key",
            "key\n/q\n",
            "key\n/q\nx\n",
            "key\n/q\n0\nx y z\n",
            "key\n/q\n0\n\n",
            "key\n/q\n0\nabc def refs/x\n",
        ] {
            assert_eq!(Question::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(Question::parse(b"key\n/q\n0\n\xff\n"), None);
    }

    #[test]
    fn options_come_before_the_updates() {
        let text = format!("key\n\n2\nwait\ndry-run\n{A} {B} refs/heads/main\n");
        let (_, question) = Question::parse(text.as_bytes()).unwrap();
        assert_eq!(question.updates.len(), 1);
        let options = question.options.unwrap();
        assert!(options.is_dry_run && options.wait.is_some());
        let text = format!("key\n\n1\nwiat\n{A} {B} refs/heads/main\n");
        let (_, question) = Question::parse(text.as_bytes()).unwrap();
        assert!(question.options.is_err());
        assert_eq!(question.updates.len(), 1);
    }
}
