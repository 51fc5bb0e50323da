//! Rules of a policy that no application, path or branch limits.
//!
//! The server does not compare the changed paths of a push, or the path of a found file, with a policy yet. Until it
//! does, it grants `push` and `file` only by rules for which the comparison could not fail.

use headwater_access::{ANONYMOUS, Pattern, Principal};

/// The prefix of patterns over tags in `branch`.
const TAG: &str = "tag:";
/// The prefix of a kind in `who`.
const KIND: &str = "kind:";

/// The updates that the settings of a server permit to pushes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct PushUpdates {
    pub(super) force: bool,
    pub(super) delete: bool,
}

/// The rules of a policy that grant `push` or `file`.
#[derive(Debug, Default)]
pub(super) struct FileRules(Vec<FileRule>);

#[derive(Debug)]
struct FileRule {
    who: Vec<String>,
    push: Option<PushRule>,
    file: Option<FileScope>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PushRule {
    Limited,
    /// Every path, branch and tag.
    Unlimited(PushUpdates),
}

/// The labels at which every file may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileScope {
    DefaultLabel,
    AllLabels,
}

impl FileRules {
    /// Reads the rules of a text that is a valid policy.
    pub(super) fn parse(text: &[u8]) -> Self {
        let text = std::str::from_utf8(text).unwrap_or_default();
        let table: toml::Table = text.parse().unwrap_or_default();
        let rules = table.get("allow").and_then(toml::Value::as_array);
        Self(rules.into_iter().flatten().filter_map(rule).collect())
    }

    /// Returns true if a rule grants some pushes to the principal.
    pub(super) fn grant_some_push(&self, principal: &Principal) -> bool {
        self.of(principal).any(|rule| rule.push.is_some())
    }

    /// Returns true if a rule grants every push that the settings permit.
    pub(super) fn grant_all_pushes(&self, principal: &Principal, permitted: PushUpdates) -> bool {
        self.of(principal).any(|rule| match rule.push {
            Some(PushRule::Unlimited(updates)) => {
                (updates.force || !permitted.force) && (updates.delete || !permitted.delete)
            }
            Some(PushRule::Limited) | None => false,
        })
    }

    /// Returns true if a rule grants every file, at the default label or at a named one.
    pub(super) fn grant_all_files(&self, principal: &Principal, is_default_label: bool) -> bool {
        self.of(principal).any(|rule| match rule.file {
            Some(FileScope::AllLabels) => true,
            Some(FileScope::DefaultLabel) => is_default_label,
            None => false,
        })
    }

    fn of(&self, principal: &Principal) -> impl Iterator<Item = &FileRule> {
        let is_included = |who: &String| match who.strip_prefix(KIND) {
            Some(kind) => kind == principal.kind().as_str() && !principal.is_anonymous(),
            None if who == ANONYMOUS => principal.is_anonymous(),
            None => who == principal.name() && !principal.is_anonymous(),
        };
        self.0.iter().filter(move |rule| rule.who.iter().any(is_included))
    }
}

fn rule(value: &toml::Value) -> Option<FileRule> {
    let table = value.as_table()?;
    let list = |key: &str| -> Option<Vec<String>> {
        let items = table.get(key)?.as_array()?;
        Some(items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect())
    };
    let flag = |key: &str| table.get(key).and_then(toml::Value::as_bool).unwrap_or(false);
    let may = list("may").unwrap_or_default();
    let grants = |right: &str| may.iter().any(|granted| granted == right);
    // A rule without `application` reaches only files that belong to no application.
    let names_all = list("application").is_some_and(|names| includes_all(&names))
        && !table.contains_key("except")
        && list("path").is_none_or(|paths| paths.iter().any(|path| path == "**"));
    let branches = list("branch").unwrap_or_default();
    let (tags, branches): (Vec<_>, Vec<_>) =
        branches.into_iter().partition(|name| name.starts_with(TAG));
    let has_all_references = branches.iter().any(|name| name == "**")
        && tags.iter().any(|name| name.strip_prefix(TAG) == Some("**"));
    let push = grants("push").then(|| match names_all && has_all_references {
        true => PushRule::Unlimited(PushUpdates { force: flag("force"), delete: flag("delete") }),
        false => PushRule::Limited,
    });
    let scope = match list("label") {
        Some(labels) if includes_all(&labels) => Some(FileScope::AllLabels),
        Some(labels) if !labels.iter().any(|label| label == "@default") => None,
        Some(_) | None => Some(FileScope::DefaultLabel),
    };
    let file = scope.filter(|_| grants("file") && names_all);
    Some(FileRule { who: list("who").unwrap_or_default(), push, file })
}

/// Returns true if one of the patterns stands for every name.
fn includes_all(patterns: &[String]) -> bool {
    patterns.iter().any(|text| Pattern::parse(text).is_ok_and(|pattern| pattern.is_any()))
}

#[cfg(test)]
mod tests {
    use headwater_access::Policy;

    use super::*;

    const HEAD: &str = "version = 1\n[[principal]]\nname = \"ci\"\nkind = \"ci\"\n[[allow]]\n";

    fn rules(rule: &str) -> (FileRules, Principal) {
        let text = format!("{HEAD}{rule}\n");
        let policy = Policy::parse("policy.toml", text.as_bytes()).expect("a policy");
        (FileRules::parse(text.as_bytes()), policy.principal("ci").expect("a principal"))
    }

    #[track_caller]
    fn check_push(rule: &str, some: bool, all: bool) {
        let (rules, ci) = rules(rule);
        assert_eq!(rules.grant_some_push(&ci), some, "{rule}");
        assert_eq!(rules.grant_all_pushes(&ci, PushUpdates::default()), all, "{rule}");
    }

    #[test]
    fn only_a_rule_without_any_limit_grants_all_pushes() {
        let references = "branch = [\"**\", \"tag:**\"]";
        let all = format!("who = [\"ci\"]\nmay = [\"push\"]\napplication = [\"*\"]\n{references}");
        check_push(&all, true, true);
        check_push(&all.replace("\"ci\"", "\"kind:ci\""), true, true);
        check_push(&format!("{all}\npath = [\"**\"]"), true, true);
        check_push(&all.replace("\"ci\"", "\"kind:person\""), false, false);
        check_push(&all.replace("\"ci\"", "\"anonymous\""), false, false);
        check_push(&all.replace("\"push\"", "\"file\""), false, false);
        check_push(&all.replace("\"*\"", "\"o*\""), true, false);
        check_push(&all.replace(", \"tag:**\"", ""), true, false);
        check_push(&all.replace("\"**\", ", "\"main\", "), true, false);
        check_push(&format!("{all}\npath = [\"docs/**\"]"), true, false);
        check_push(&format!("{all}\nexcept = [\"billing\"]"), true, false);
        let (rules, ci) = rules(&all);
        assert!(!rules.grant_all_pushes(&ci, PushUpdates { force: true, delete: false }));
        let (rules, ci) = super::tests::rules(&format!("{all}\nforce = true"));
        assert!(rules.grant_all_pushes(&ci, PushUpdates { force: true, delete: false }));
        assert!(!rules.grant_all_pushes(&ci, PushUpdates { force: true, delete: true }));
    }

    #[test]
    fn only_a_rule_without_any_limit_grants_all_files() {
        let all = "who = [\"ci\"]\nmay = [\"file\"]\napplication = [\"*\"]";
        for (rule, default, named) in [
            (all.to_owned(), true, false),
            (format!("{all}\nlabel = [\"*\"]"), true, true),
            (format!("{all}\nlabel = [\"v1\"]"), false, false),
            (format!("{all}\nlabel = [\"v1\", \"@default\"]"), true, false),
            (format!("{all}\nexcept = [\"billing\"]"), false, false),
            (all.replace("\"*\"", "\"orders\""), false, false),
        ] {
            let (rules, ci) = rules(&rule);
            assert_eq!(rules.grant_all_files(&ci, true), default, "{rule}");
            assert_eq!(rules.grant_all_files(&ci, false), named, "{rule}");
        }
    }
}
