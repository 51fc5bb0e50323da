//! Values that a push has to seal.

use super::document::{Reader, Section, printable};
use super::table_change::list;
use crate::pattern::Pattern;

/// One `[[must_seal]]` table.
#[derive(Debug, Clone)]
pub(super) struct SealingRule {
    /// Patterns over keys in their relaxed form.
    keys: Vec<Pattern>,
    /// `None` for all files.
    path: Option<Vec<Pattern>>,
}

impl SealingRule {
    pub(super) fn parse_all(root: &mut Section<'_>, reader: &mut Reader<'_>) -> Vec<Self> {
        let sections = root.sections("must_seal", "[[must_seal]]", reader);
        sections.into_iter().map(|section| Self::parse(section, reader)).collect()
    }

    fn parse(mut section: Section<'_>, reader: &mut Reader<'_>) -> Self {
        let keys = section.texts("key", reader);
        let path = section.texts("path", reader);
        if keys.is_none() {
            reader.error(section.at, "[[must_seal]] has no key. Add key = [\"**.password\"]");
        }
        section.finish(reader);
        let mut parse = |text: &super::document::Item<String>, is_key: bool| {
            let pattern = if is_key {
                Pattern::parse_key(&relaxed(&text.value, |c| c.is_alphanumeric() || c == '*'))
            } else {
                Pattern::parse(&text.value)
            };
            match pattern {
                Ok(pattern) => Some(pattern),
                Err(error) => {
                    reader.error(text.at, format!("{}: {error}", printable(&text.value)));
                    None
                }
            }
        };
        let keys = keys.iter().flatten().filter_map(|key| parse(key, true)).collect();
        let path = path.map(|texts| texts.iter().filter_map(|text| parse(text, false)).collect());
        Self { keys, path }
    }

    /// The files, and the keys that they have to seal.
    pub(super) fn statement(&self) -> (String, String) {
        let files = self.path.as_deref().map_or_else(|| "all files".to_owned(), list);
        (format!("must_seal for {files}"), list(&self.keys))
    }

    pub(super) fn covers(&self, path: &str, key: &str) -> bool {
        let is_in_file =
            self.path.as_ref().is_none_or(|paths| paths.iter().any(|own| own.matches(path)));
        // Spring removes every character but ASCII letters and digits, and the key of a map may keep others.
        let keys =
            [relaxed(key, |c| c.is_ascii_alphanumeric()), relaxed(key, char::is_alphanumeric)];
        is_in_file && self.keys.iter().any(|pattern| keys.iter().any(|key| pattern.matches(key)))
    }
}

/// A key as Spring binds it: `privateKey`, `private-key`, `private key` and `PRIVATE_KEY` are the same property. An entry of a
/// list is a value of the list's key, and `a[b]` is `a.b`. `is_kept` is true for the other characters that stay.
fn relaxed(key: &str, is_kept: impl Fn(char) -> bool) -> String {
    let mut relaxed = String::with_capacity(key.len());
    let mut rest = key;
    while let Some((before, behind)) = rest.split_once('[') {
        push_relaxed(&mut relaxed, before, &is_kept);
        let (index, behind) = behind.split_once(']').unwrap_or((behind, ""));
        if !index.bytes().all(|byte| byte.is_ascii_digit()) {
            push_relaxed(&mut relaxed, &format!(".{index}"), &is_kept);
        }
        rest = behind;
    }
    push_relaxed(&mut relaxed, rest, &is_kept);
    if relaxed.ends_with('.') {
        relaxed.pop();
    }
    relaxed
}

/// Adds a part of a key, without empty segments.
fn push_relaxed(relaxed: &mut String, part: &str, is_kept: impl Fn(char) -> bool) {
    for c in part.chars() {
        match c {
            '.' if relaxed.is_empty() || relaxed.ends_with('.') => {}
            '.' => relaxed.push('.'),
            _ if is_kept(c) => relaxed.extend(c.to_lowercase()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ascii(key: &str) -> String {
        relaxed(key, |c| c.is_ascii_alphanumeric())
    }

    #[test]
    fn keys_that_spring_binds_to_one_property_are_one_key() {
        for key in [
            "db.password",
            "db.passWord",
            "DB.PASS_WORD",
            "db.pass-word",
            "db.pass word",
            "db.pass*word",
            "db.pass\u{e9}word",
            "db[password]",
            "db.[password]",
            "[db].[pass.word]",
            "[db][password][0]",
            "db.password[12]",
            "db..password",
            "db.password[",
            "db.password.\u{e9}",
        ] {
            let expected = if key == "[db].[pass.word]" { "db.pass.word" } else { "db.password" };
            assert_eq!(ascii(key), expected, "{key}");
        }
        assert_eq!(ascii("[password]"), "password");
        assert_eq!(ascii("password.value"), "password.value");
    }
}
