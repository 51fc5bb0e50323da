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
                Pattern::parse_key(&relaxed(&text.value))
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
        let key = relaxed(key);
        let is_in_file =
            self.path.as_ref().is_none_or(|paths| paths.iter().any(|own| own.matches(path)));
        is_in_file && self.keys.iter().any(|pattern| pattern.matches(&key))
    }
}

/// A key as Spring binds it: `privateKey`, `private-key` and `PRIVATE_KEY` are the same property, and an entry of a
/// list is a value of the list's key.
fn relaxed(key: &str) -> String {
    let mut relaxed = String::with_capacity(key.len());
    let mut is_in_index = false;
    for c in key.chars() {
        match c {
            '[' => is_in_index = true,
            ']' => is_in_index = false,
            '-' | '_' => {}
            _ if is_in_index => {}
            _ => relaxed.extend(c.to_lowercase()),
        }
    }
    relaxed
}
