//! The names of keys below a prefix. Pure.
//!
//! A label is percent-encoded, so that a slash in it does not separate parts of the key. Each label and path has exactly one
//! name.

use crate::model::{ContentId, is_hex};
use crate::percent;
use crate::source::content::plain_name;
use crate::source::labels;

/// The version of the layout below the prefix.
const VERSION: &str = "v1";
/// The parts of the same prefix that belong to other modules: shared repositories, and live replicas.
const OTHERS: [&str; 2] = ["git", "replicas"];
/// The deepest nesting of a path.
const DEPTH_MAX: usize = 128;

/// The keys of one source.
pub(super) struct SourceKeys {
    /// The prefix without a slash at its end.
    prefix: String,
    /// The beginning of all keys: `<prefix>/v1/`.
    base: String,
}

/// The meaning of a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SourceKey {
    /// The position of a published label.
    Reference(String),
    /// Content, addressed by its hash.
    Object(ContentId),
    /// A file written by hand: the label and the path.
    File(String, String),
    /// The time of the last collection of objects.
    Collection,
    /// A key that Headwater does not know.
    Unknown,
}

impl SourceKeys {
    /// The keys below a prefix, which has no slash at its end.
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), base: format!("{prefix}/{VERSION}/") }
    }

    /// The beginning of all keys.
    pub(super) fn all(&self) -> &str {
        &self.base
    }

    /// The beginning of every key below the prefix, of any program.
    pub(super) fn around(&self) -> String {
        format!("{}/", self.prefix)
    }

    /// The beginnings of the keys of Headwater below the prefix.
    pub(super) fn ours(&self) -> impl Iterator<Item = String> + '_ {
        std::iter::once(VERSION).chain(OTHERS).map(|name| format!("{}/{name}/", self.prefix))
    }

    /// The beginning of the keys of all objects.
    pub(super) fn objects(&self) -> String {
        format!("{}objects/", self.base)
    }

    /// The beginning of the keys of all published labels.
    pub(super) fn references(&self) -> String {
        format!("{}refs/", self.base)
    }

    /// The beginning of the keys of all files of a label.
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

    /// Parses the name of a key.
    pub(super) fn parse(&self, key: &[u8]) -> SourceKey {
        let text = std::str::from_utf8(key).ok();
        text.and_then(|text| self.known(text)).unwrap_or(SourceKey::Unknown)
    }

    fn known(&self, key: &str) -> Option<SourceKey> {
        let rest = key.strip_prefix(&self.base)?;
        match rest.split_once('/') {
            None if rest == "collection" => Some(SourceKey::Collection),
            None => None,
            Some(("refs", label)) => Some(SourceKey::Reference(decoded(label)?)),
            Some(("objects", id)) => Some(SourceKey::Object(parse_id(id)?)),
            Some(("files", rest)) => {
                let (label, path) = rest.split_once('/')?;
                is_path(path).then_some(())?;
                Some(SourceKey::File(decoded(label)?, path.to_owned()))
            }
            Some(_) => None,
        }
    }
}

/// Returns whether a tree may hold a file at this path.
pub(super) fn is_path(path: &str) -> bool {
    path.split('/').count() <= DEPTH_MAX
        && path.split('/').all(|name| plain_name(name.as_bytes()).is_some())
}

/// Formats an id as 64 digits. The display form of [`ContentId`] is for the shorter ids of git.
pub(super) fn hex(id: ContentId) -> String {
    id.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Parses an id in the form of [`hex`].
pub(super) fn parse_id(text: &str) -> Option<ContentId> {
    is_hex(text, 64).then_some(())?;
    let bytes = (0..64).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16));
    Some(ContentId::from_bytes(&bytes.collect::<Result<Vec<u8>, _>>().ok()?))
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn encoded(label: &str) -> String {
    let mut text = String::with_capacity(label.len());
    for byte in label.bytes() {
        if is_plain(byte) {
            text.push(char::from(byte))
        } else {
            text.push_str(&format!("%{byte:02X}"))
        }
    }
    text
}

/// Decodes a label. Rejects any other encoding than the one of [`encoded`], and names that cannot be requested.
fn decoded(text: &str) -> Option<String> {
    let label = percent::decode(text)?;
    (is_label(&label) && encoded(&label) == text).then_some(label)
}

/// Returns whether this can be the name of a label.
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
    fn check(key: &str, expected: SourceKey) {
        assert_eq!(SourceKeys::new("shop").parse(key.as_bytes()), expected, "{key}");
    }

    #[test]
    fn known_keys_are_parsed() {
        let id = "00".repeat(31) + "a1";
        let object = SourceKey::Object(parse_id(&id).unwrap());
        check(&format!("shop/v1/objects/{id}"), object);
        check("shop/v1/refs/main", SourceKey::Reference("main".to_owned()));
        check("shop/v1/refs/feature%2Fx", SourceKey::Reference("feature/x".to_owned()));
        check("shop/v1/collection", SourceKey::Collection);
        check(
            "shop/v1/files/feature%2Fx/team/orders.yml",
            SourceKey::File("feature/x".to_owned(), "team/orders.yml".to_owned()),
        );
    }

    #[test]
    fn other_keys_are_unknown() {
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
            check(key, SourceKey::Unknown);
        }
        check(&format!("shop/v1/objects/{}", "A1".repeat(32)), SourceKey::Unknown);
        assert_eq!(SourceKeys::new("shop").parse(b"shop/v1/files/main/\xff"), SourceKey::Unknown);
    }

    #[test]
    fn a_label_has_one_name() {
        for label in ["main", "feature/x", "v1.2_3~4", "größe", "a%2Fb", "a b"] {
            let key = SourceKeys::new("").reference(label);
            assert_eq!(
                SourceKeys::new("").parse(key.as_bytes()),
                SourceKey::Reference(label.to_owned())
            );
        }
    }
}
