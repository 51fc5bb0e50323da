//! Templates in queries and paths: `{application}`, `{canaries}`, `{others}`, `{group}` and `{window}`.
//!
//! Invariant: no name can end the text that it is put into. A name with another character than those of hosts makes the
//! measurement fail.

use std::time::Duration;

use super::target::{Side, TargetGroup};

/// What the templates of one query stand for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fill<'f> {
    /// `None` if the query is about several applications.
    pub(super) application: Option<&'f str>,
    pub(super) group: &'f TargetGroup,
    pub(super) window: Duration,
    /// The side that `{group}` stands for. `None` outside of a comparison.
    pub(super) side: Option<Side>,
    pub(super) form: Form,
}

/// The text that the names are put into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A query. A group of instances is a regular expression.
    Query,
    /// The path of an address. A group of instances is a list with commas.
    Path,
}

impl Fill<'_> {
    /// The same for one side of a comparison.
    pub(super) fn of(&self, side: Side) -> Self {
        Self { side: Some(side), ..*self }
    }

    /// Replaces the templates. Other braces stay, as queries need them. The error says what is missing.
    pub(super) fn fill(&self, template: &str) -> Result<String, String> {
        let mut filled = String::with_capacity(template.len());
        let mut rest = template;
        while let Some(at) = rest.find('{') {
            filled.push_str(&rest[..at]);
            rest = &rest[at..];
            let end = rest.find('}').map_or(rest.len(), |end| end + 1);
            match self.value(&rest[..end])? {
                Some(value) => {
                    filled.push_str(&value);
                    rest = &rest[end..];
                }
                None => {
                    filled.push('{');
                    rest = &rest[1..];
                }
            }
        }
        filled.push_str(rest);
        Ok(filled)
    }

    fn value(&self, template: &str) -> Result<Option<String>, String> {
        let value = match template {
            "{application}" => {
                let name = self.application.ok_or("the rollout has several applications")?;
                checked(name)?.to_owned()
            }
            "{canaries}" => self.names(Side::Canaries)?,
            "{others}" => self.names(Side::Others)?,
            "{group}" => self.names(self.side.ok_or("{group} is for comparisons")?)?,
            "{window}" => format!("{}s", self.window.as_secs()),
            _ => return Ok(None),
        };
        Ok(Some(value))
    }

    fn names(&self, side: Side) -> Result<String, String> {
        let names = self.group.names(side);
        if names.is_empty() {
            let kind = if side == Side::Canaries { "canary" } else { "other instance" };
            return Err(format!("no {kind} is known"));
        }
        let names: Result<Vec<&str>, String> = names.into_iter().map(checked).collect();
        Ok(match self.form {
            // A dot is the only character of names with a meaning in a regular expression.
            Form::Query => format!("(?:{})", names?.join("|").replace('.', "[.]")),
            Form::Path => names?.join(","),
        })
    }
}

/// A name with the characters of hosts. None of them has a meaning in a text of a query, or in a path.
fn checked(name: &str) -> Result<&str, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_plain) {
        return Err("a name has a character that a query cannot contain".to_owned());
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conduct::checks::Canary;

    fn group(canaries: &[&str], others: &[&str]) -> TargetGroup {
        let canary = |name: &&str| Canary { name: (*name).into(), restarts: 0 };
        TargetGroup {
            canaries: canaries.iter().map(canary).collect(),
            others: others.iter().map(|name| (*name).into()).collect(),
        }
    }

    fn fill(group: &TargetGroup, form: Form, template: &str) -> Result<String, String> {
        let (application, window) = (Some("order"), Duration::from_secs(90));
        Fill { application, group, window, side: None, form }.fill(template)
    }

    #[test]
    fn templates_are_replaced_and_other_braces_stay() {
        let group = group(&["web-1", "web.2:80"], &["a/b"]);
        for (template, query, path) in [
            ("up", "up", "up"),
            (
                "x{app=\"{application}\"}[{window}]",
                "x{app=\"order\"}[90s]",
                "x{app=\"order\"}[90s]",
            ),
            ("{canaries}", "(?:web-1|web[.]2:80)", "web-1,web.2:80"),
            ("{others}{", "(?:a/b){", "a/b{"),
            ("{{canaries}}", "{(?:web-1|web[.]2:80)}", "{web-1,web.2:80}"),
            ("{unknown}", "{unknown}", "{unknown}"),
        ] {
            assert_eq!(fill(&group, Form::Query, template).as_deref(), Ok(query), "{template}");
            assert_eq!(fill(&group, Form::Path, template).as_deref(), Ok(path), "{template}");
        }
        let (application, window) = (None, Duration::from_secs(1));
        let of = Fill { application, group: &group, window, side: None, form: Form::Query };
        assert_eq!(of.of(Side::Others).fill("{group}").as_deref(), Ok("(?:a/b)"));
    }

    #[test]
    fn a_template_without_a_value_is_an_error() {
        let names = group(&["web-1"], &[]);
        assert_eq!(
            fill(&names, Form::Query, "{others}").unwrap_err(),
            "no other instance is known"
        );
        assert_eq!(fill(&names, Form::Query, "{group}").unwrap_err(), "{group} is for comparisons");
        let none = group(&[], &["a"]);
        assert_eq!(fill(&none, Form::Query, "{canaries}").unwrap_err(), "no canary is known");
        for name in ["a\"b", "a|b", "a b", "a\\", "{window}", ""] {
            let odd = group(&[name], &[]);
            assert!(
                fill(&odd, Form::Query, "{canaries}").unwrap_err().contains("character"),
                "{name}"
            );
        }
    }
}
