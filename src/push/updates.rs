//! What a push asks for, as git tells the hook, and what can be said of it without looking at any content.

use std::path::PathBuf;

use super::Permission;
use crate::model::Label;

/// The most references that one push moves.
const UPDATE_COUNT_MAX: usize = 1_000;
/// The longest name of a branch or a tag, in bytes: no label is longer.
const NAME_BYTES_MAX: usize = 512;
/// How much of a name is repeated to whoever pushed.
const NAME_SHOWN_MAX: usize = 80;

/// What the hook asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    /// Where git keeps the objects that arrived; `None` if none did.
    pub(super) quarantine: Option<PathBuf>,
    pub(super) updates: Vec<Update>,
}

/// One reference that is to move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Update {
    /// `None` for a new reference.
    pub(super) old: Option<String>,
    /// `None` for one that is to be deleted.
    pub(super) new: Option<String>,
    pub(super) reference: String,
}

impl Question {
    /// The key and the question; nothing if it is none.
    pub(super) fn parse(text: &[u8]) -> Option<(&str, Self)> {
        let text = std::str::from_utf8(text).ok()?;
        let mut lines = text.split_terminator('\n');
        let (key, quarantine) = (lines.next()?, lines.next()?);
        let updates = lines.map(Update::parse).collect::<Option<Vec<_>>>()?;
        let quarantine = (!quarantine.is_empty()).then(|| PathBuf::from(quarantine));
        Some((key, Self { quarantine, updates }))
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

    /// The short name, if it is a branch.
    pub(super) fn branch(&self) -> Option<&str> {
        self.reference.strip_prefix("refs/heads/")
    }

    /// The name as it is shown.
    pub(super) fn shown(&self) -> String {
        let name = short(&self.reference).unwrap_or(&self.reference);
        name.chars().take(NAME_SHOWN_MAX).flat_map(char::escape_default).collect()
    }
}

/// The name of a branch or a tag, without what says which of them it is.
pub(super) fn short(reference: &str) -> Option<&str> {
    reference.strip_prefix("refs/heads/").or_else(|| reference.strip_prefix("refs/tags/"))
}

/// The labels under which a branch or a tag is asked for, its own name last.
pub(super) fn labels(name: &str, head: &str) -> Vec<Label> {
    let default = (name == head).then_some(Label::Default);
    default.into_iter().chain([Label::Named(name.into())]).collect()
}

/// Why these updates cannot be made, whatever they bring. `published` says what a reference stands for now.
pub(super) fn refusal(
    updates: &[Update],
    deleting: Permission,
    published: impl Fn(&str) -> Option<String>,
) -> Option<String> {
    if updates.len() > UPDATE_COUNT_MAX {
        return Some(format!("at most {UPDATE_COUNT_MAX} branches and tags in one push"));
    }
    updates.iter().find_map(|update| {
        let name = update.shown();
        match short(&update.reference) {
            None => return Some(format!("{name}: only branches and tags are kept here")),
            Some(short) if !can_be_a_label(short) => {
                return Some(format!("{name}: no label can have this name"));
            }
            Some(_) => {}
        }
        if published(&update.reference) != update.old {
            return Some(format!("fetch first: {name} has moved since you fetched"));
        }
        if update.new.is_none() && deleting == Permission::Denied {
            return Some(format!("{name}: nothing is deleted here (push.allow_delete)"));
        }
        None
    })
}

/// Git takes more names than can be asked for.
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
        let refusal = refusal(&updates, Permission::Denied, published);
        match expected {
            None => assert_eq!(refusal, None, "{reference}"),
            Some(part) => assert!(refusal.unwrap().contains(part), "{reference}"),
        }
    }

    #[test]
    fn only_branches_and_tags_move_and_only_from_where_they_are() {
        check(A, B, "refs/heads/main", None);
        check(NONE, B, "refs/tags/v1", None);
        check(NONE, B, "refs/heads/feature/x", None);
        check(B, A, "refs/heads/main", Some("fetch first: main has moved"));
        check(NONE, B, "refs/heads/main", Some("fetch first"));
        check(A, B, "refs/heads/other", Some("fetch first"));
        check(A, NONE, "refs/heads/main", Some("nothing is deleted"));
        for name in ["refs/evil", "refs/notes/x", "HEAD", "refs/pull/1/head"] {
            check(NONE, B, name, Some("only branches and tags"));
        }
        for name in ["refs/heads/-x", "refs/heads/a,b", "refs/heads/HEAD", "refs/tags/refs/x"] {
            check(NONE, B, name, Some("no label"));
        }
    }

    #[test]
    fn what_is_no_question_is_none() {
        let good = format!("key\n/q\n{A} {B} refs/heads/main\n");
        let (key, question) = Question::parse(good.as_bytes()).unwrap();
        assert_eq!((key, question.updates.len()), ("key", 1));
        assert_eq!(question.quarantine, Some("/q".into()));
        for text in ["", "key", "key\n/q\nx y z\n", "key\n/q\n\n", "key\n/q\nabc def refs/x\n"] {
            assert_eq!(Question::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(Question::parse(b"key\n/q\n\xff\n"), None);
    }
}
