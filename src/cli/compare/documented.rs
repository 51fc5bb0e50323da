//! The differences that `docs/differences.md` documents and that a comparison can recognise by the answers.

/// A heading of `docs/differences.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Heading(&'static str);

/// Where the headings are.
const PAGE: &str = "docs/differences.md";

pub(super) const OWN_ERROR: Heading =
    Heading("A bad file is an error of its own, not a missing master");
pub(super) const LATER: Heading = Heading("Requests that only later releases refuse");
pub(super) const WILDCARDS: Heading = Heading("Names with wildcards are not found");
pub(super) const SEALED: Heading = Heading("Sealed values keep their marker");
pub(super) const LAST_GOOD: Heading = Heading("Last good");
pub(super) const VERSIONS: Heading = Heading("Every answer names its revision");
pub(super) const TIMESTAMPS: Heading = Heading("Explicit timestamps and binaries stay text");
pub(super) const DOTS: Heading = Heading("Keys below a value keep their dots");
pub(super) const PLACEHOLDERS: Heading = Heading("Placeholders in YAML and JSON as in 4.3.4");
pub(super) const OVERRIDES: Heading = Heading("Overrides keep their order and their lists");
pub(super) const TOML: Heading = Heading("TOML is configuration");

pub(super) const FOREIGN_IMPORTS: Heading = Heading("Imports of other stores are data");
pub(super) const DEFAULT_BRANCH: Heading = Heading("The default label is the branch of HEAD");
pub(super) const XML_ORDER: Heading = Heading("Keys of XML files keep their order");

impl Heading {
    pub(super) fn text(self) -> &'static str {
        self.0
    }

    /// The page with the anchor of the heading.
    pub(super) fn link(self) -> String {
        let slug = |c: char| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c.to_ascii_lowercase()),
            _ => None,
        };
        format!("{PAGE}#{}", self.0.chars().filter_map(slug).collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_heading_is_on_the_page() {
        let page = include_str!("../../../docs/differences.md");
        let all = [
            OWN_ERROR,
            LATER,
            WILDCARDS,
            SEALED,
            LAST_GOOD,
            VERSIONS,
            TIMESTAMPS,
            DOTS,
            PLACEHOLDERS,
            OVERRIDES,
            TOML,
            XML_ORDER,
            FOREIGN_IMPORTS,
            DEFAULT_BRANCH,
        ];
        for heading in all {
            assert!(page.contains(&format!("\n### {}\n", heading.text())), "{heading:?}");
        }
        assert_eq!(
            OWN_ERROR.link(),
            "docs/differences.md#a-bad-file-is-an-error-of-its-own-not-a-missing-master"
        );
        assert_eq!(
            PLACEHOLDERS.link(),
            "docs/differences.md#placeholders-in-yaml-and-json-as-in-434"
        );
    }
}
