//! The paths at which a source has put the content behind a symbolic link in place of the link.

use std::collections::BTreeMap;

/// Paths of links, each with the path of its target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aliases(BTreeMap<String, String>);

impl Aliases {
    /// Returns true if the source has replaced no link.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a link with its target.
    pub fn insert(&mut self, link: String, target: String) {
        self.0.insert(link, target);
    }

    /// The path behind the innermost link on the way to a path. `None` without a link on the way.
    pub(super) fn behind(&self, path: &str) -> Option<String> {
        let mut link = path;
        loop {
            if let Some(target) = self.0.get(link) {
                return Some(format!("{target}{}", &path[link.len()..]));
            }
            (link, _) = link.rsplit_once('/')?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_link_on_the_way_counts() {
        let mut aliases = Aliases::default();
        aliases.insert("a".to_owned(), "real".to_owned());
        aliases.insert("a/b/c.yml".to_owned(), "other.yml".to_owned());
        for (path, expected) in [
            ("a/x.yml", Some("real/x.yml")),
            ("a", Some("real")),
            ("a/b/c.yml", Some("other.yml")),
            ("a/b/d.yml", Some("real/b/d.yml")),
            ("ab/x.yml", None),
            ("x.yml", None),
        ] {
            assert_eq!(aliases.behind(path).as_deref(), expected, "{path}");
        }
    }
}
