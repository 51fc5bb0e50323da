//! The names of keys: what stands where below a prefix, and what does not belong there. Nothing here talks to etcd.
//!
//! A label is percent-encoded, so that a slash in it is not one of the key. Each label and path has one name only.

use crate::model::ContentId;
use crate::source::content::plain_name;
use crate::source::labels;

/// The version of what is kept below the prefix.
const VERSION: &str = "v1";
/// What other parts of Headwater keep below the same prefix: shared repositories, and replicas that live.
const OTHERS: [&str; 2] = ["git", "replicas"];
/// How deep a path may be.
const DEPTH_MAX: usize = 128;

/// The keys of one source.
pub(super) struct Keys {
    /// Without a slash at its end.
    prefix: String,
    /// `<prefix>/v1/`.
    base: String,
}

/// What a key is for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// Where a published label is.
    Reference(String),
    /// Content under its hash.
    Object(ContentId),
    /// A file that somebody put by hand: the label and the path.
    File(String, String),
    /// When objects were collected last.
    Collection,
    /// Nothing that we know.
    Stranger,
}

impl Keys {
    /// Below a prefix, which has no slash at its end.
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), base: format!("{prefix}/{VERSION}/") }
    }

    /// What all keys begin with.
    pub(super) fn all(&self) -> &str {
        &self.base
    }

    /// What everything below the prefix begins with.
    pub(super) fn around(&self) -> String {
        format!("{}/", self.prefix)
    }

    /// What keys of Headwater below the prefix begin with.
    pub(super) fn ours(&self) -> impl Iterator<Item = String> + '_ {
        std::iter::once(VERSION).chain(OTHERS).map(|name| format!("{}/{name}/", self.prefix))
    }

    /// What the keys of all objects begin with.
    pub(super) fn objects(&self) -> String {
        format!("{}objects/", self.base)
    }

    /// What the keys of all published labels begin with.
    pub(super) fn references(&self) -> String {
        format!("{}refs/", self.base)
    }

    /// What the keys of all files of a label begin with.
    pub(super) fn files(&self, label: &str) -> String {
        format!("{}files/{}/", self.base, encoded(label))
    }

    pub(super) fn reference(&self, label: &str) -> String {
        format!("{}refs/{}", self.base, encoded(label))
    }

    pub(super) fn object(&self, id: ContentId) -> String {
        format!("{}objects/{}", self.base, hex(id))
    }

    pub(super) fn collection(&self) -> String {
        format!("{}collection", self.base)
    }

    /// What a key is for.
    pub(super) fn parse(&self, key: &[u8]) -> Key {
        let text = std::str::from_utf8(key).ok();
        text.and_then(|text| self.known(text)).unwrap_or(Key::Stranger)
    }

    fn known(&self, key: &str) -> Option<Key> {
        let rest = key.strip_prefix(&self.base)?;
        match rest.split_once('/') {
            None if rest == "collection" => Some(Key::Collection),
            None => None,
            Some(("refs", label)) => Some(Key::Reference(decoded(label)?)),
            Some(("objects", id)) => Some(Key::Object(parse_id(id)?)),
            Some(("files", rest)) => {
                let (label, path) = rest.split_once('/')?;
                is_path(path).then_some(())?;
                Some(Key::File(decoded(label)?, path.to_owned()))
            }
            Some(_) => None,
        }
    }
}

/// Whether a tree may hold a file at this path.
pub(super) fn is_path(path: &str) -> bool {
    path.split('/').count() <= DEPTH_MAX
        && path.split('/').all(|name| plain_name(name.as_bytes()).is_some())
}

/// All 64 digits: the padding of [`ContentId`]'s own form is for git's short ids.
pub(super) fn hex(id: ContentId) -> String {
    id.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An id as [`hex`] writes it.
pub(super) fn parse_id(text: &str) -> Option<ContentId> {
    let is_plain =
        text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'));
    is_plain.then_some(())?;
    let bytes = (0..64).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16));
    Some(ContentId::from_bytes(&bytes.collect::<Result<Vec<u8>, _>>().ok()?))
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn encoded(label: &str) -> String {
    let mut text = String::with_capacity(label.len());
    for byte in label.bytes() {
        match is_plain(byte) {
            true => text.push(char::from(byte)),
            false => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// A label that can be asked for, from its one encoded form.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    let label = String::from_utf8(bytes).ok()?;
    (is_label(&label) && encoded(&label) == text).then_some(label)
}

/// Whether this can be the name of a label.
pub(super) fn is_label(label: &str) -> bool {
    let has_empty_part = label.split('/').any(str::is_empty);
    labels::is_name(label)
        && !has_empty_part
        && label != "HEAD"
        && !label.contains(',')
        && !label.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(key: &str, expected: Key) {
        assert_eq!(Keys::new("shop").parse(key.as_bytes()), expected, "{key}");
    }

    #[test]
    fn a_key_says_what_it_is_for() {
        let id = "00".repeat(31) + "a1";
        let object = Key::Object(parse_id(&id).unwrap());
        check(&format!("shop/v1/objects/{id}"), object);
        check("shop/v1/refs/main", Key::Reference("main".to_owned()));
        check("shop/v1/refs/feature%2Fx", Key::Reference("feature/x".to_owned()));
        check("shop/v1/collection", Key::Collection);
        check(
            "shop/v1/files/feature%2Fx/team/orders.yml",
            Key::File("feature/x".to_owned(), "team/orders.yml".to_owned()),
        );
    }

    #[test]
    fn what_does_not_belong_there_is_a_stranger() {
        for key in [
            "shop/v1/",
            "shop/v1/refs/",
            "shop/v1/refs/feature/x",
            "shop/v1/refs/feature%2fx",
            "shop/v1/refs/%6Dain",
            "shop/v1/refs/a%2",
            "shop/v1/refs/a%zz",
            "shop/v1/refs/a%2Cb",
            "shop/v1/refs/-x",
            "shop/v1/refs/HEAD",
            "shop/v1/refs/a%2F%2Fb",
            "shop/v1/refs/a%00",
            "shop/v1/refs/%FF",
            "shop/v1/objects/00",
            "shop/v1/files/main",
            "shop/v1/files/main/",
            "shop/v1/files/main/a//b",
            "shop/v1/files/main/../b",
            "shop/v1/files/main/a\\b",
            "shop/v1/files/main/.git/config",
            "shop/v1/files/main/a\n",
            "shop/v2/refs/main",
            "shopping/v1/refs/main",
        ] {
            check(key, Key::Stranger);
        }
        check(&format!("shop/v1/objects/{}", "A1".repeat(32)), Key::Stranger);
        assert_eq!(Keys::new("shop").parse(b"shop/v1/files/main/\xff"), Key::Stranger);
    }

    #[test]
    fn a_label_has_one_name() {
        for label in ["main", "feature/x", "v1.2_3~4", "größe", "a%2Fb", "a b"] {
            let key = Keys::new("").reference(label);
            assert_eq!(Keys::new("").parse(key.as_bytes()), Key::Reference(label.to_owned()));
        }
    }
}
