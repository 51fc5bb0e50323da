//! Reading of rules. Equal lists of different rules are shared.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use super::{DEFAULT_LABEL, LabelPattern, PRINCIPAL, ReferencePattern, Rule, TAG, Who};
use crate::pattern::Pattern;
use crate::policy::document::{Item, Reader, Section, printable};
use crate::principal::{ANONYMOUS, Kind};
use crate::right::Right;

/// The lists of all rules, so that equal ones exist once. A policy of a thousand services has as many rules that differ in
/// `who` only.
#[derive(Default)]
pub(in crate::policy) struct RuleLists {
    patterns: SharedLists<Pattern>,
    labels: SharedLists<LabelPattern>,
    references: SharedLists<ReferencePattern>,
    keys: SharedLists<&'static str>,
}

/// Lists of one type, each once.
struct SharedLists<T>(HashSet<Arc<[T]>>);

type Texts = Vec<Item<String>>;

/// The keys of a table, before their texts are parsed.
struct Keys {
    who: Option<Texts>,
    may: Option<Texts>,
    application: Option<Texts>,
    except: Option<Texts>,
    profile: Option<Texts>,
    label: Option<Texts>,
    path: Option<Texts>,
    branch: Option<Texts>,
    force: Option<bool>,
    delete: Option<bool>,
    present: Vec<&'static str>,
}

impl<T> Default for SharedLists<T> {
    fn default() -> Self {
        Self(HashSet::new())
    }
}

impl<T: Eq + Hash> SharedLists<T> {
    /// Returns the known list that equals a list, or adds it.
    fn share(&mut self, list: Vec<T>) -> Arc<[T]> {
        if let Some(known) = self.0.get(&*list) {
            return Arc::clone(known);
        }
        let list: Arc<[T]> = list.into();
        self.0.insert(Arc::clone(&list));
        list
    }
}

impl Keys {
    fn take(mut section: Section<'_>, reader: &mut Reader<'_>) -> Self {
        let mut present = Vec::new();
        let mut list = |key, section: &mut Section<'_>, reader: &mut Reader<'_>| {
            let texts = section.texts(key, reader);
            present.extend(texts.is_some().then_some(key));
            texts
        };
        let keys = Self {
            who: list("who", &mut section, reader),
            may: list("may", &mut section, reader),
            application: list("application", &mut section, reader),
            except: list("except", &mut section, reader),
            profile: list("profile", &mut section, reader),
            label: list("label", &mut section, reader),
            path: list("path", &mut section, reader),
            branch: list("branch", &mut section, reader),
            force: section.flag("force", reader),
            delete: section.flag("delete", reader),
            present: Vec::new(),
        };
        section.finish(reader);
        present.extend(keys.force.is_some().then_some("force"));
        present.extend(keys.delete.is_some().then_some("delete"));
        Self { present, ..keys }
    }
}

impl Who {
    fn parse(text: &Item<String>, reader: &mut Reader<'_>) -> Option<Self> {
        let name = text.value.as_str();
        if name == ANONYMOUS {
            return Some(Self::Anonymous);
        }
        let Some(kind) = name.strip_prefix("kind:") else {
            return Some(Self::Principal(name.into()));
        };
        let parsed = Kind::parse(kind);
        if parsed.is_none() {
            let kinds = Kind::DECLARED.map(Kind::as_str).join(", ");
            let kind = printable(kind);
            reader.error(text.at, format!("unknown kind {kind}. The kinds are {kinds}"));
        }
        parsed.map(Self::Kind)
    }
}

impl Rule {
    /// Reads one `[[allow]]` table. Returns `None` after an error.
    pub(in crate::policy) fn parse(
        section: Section<'_>,
        lists: &mut RuleLists,
        reader: &mut Reader<'_>,
    ) -> Option<Self> {
        let at = section.at;
        let keys = Keys::take(section, reader);
        for (key, is_absent) in [("who", keys.who.is_none()), ("may", keys.may.is_none())] {
            if is_absent {
                reader.error(at, format!("[[allow]] has no {key}. Add {key} = [\"…\"]"));
            }
        }
        let who = keys.who?.iter().filter_map(|text| Who::parse(text, reader)).collect();
        let may = keys.may?.iter().filter_map(|text| parse_right(text, reader)).collect();
        let mut shared =
            |texts: Texts, reader: &mut Reader<'_>| lists.patterns.share(patterns(&texts, reader));
        let rule = Self {
            place: reader.place(at),
            who,
            may,
            application: keys.application.map(|texts| shared(texts, reader)),
            except: shared(keys.except.unwrap_or_default(), reader),
            profile: shared(keys.profile.unwrap_or_default(), reader),
            path: keys.path.map(|texts| shared(texts, reader)),
            label: lists.labels.share(match keys.label {
                Some(texts) => labels(&texts, reader),
                None => vec![LabelPattern::Default],
            }),
            branch: lists.references.share(references(&keys.branch.unwrap_or_default(), reader)),
            force: keys.force.unwrap_or(false),
            delete: keys.delete.unwrap_or(false),
            present: lists.keys.share(keys.present),
        };
        rule.require_limits(reader);
        Some(rule)
    }

    fn has(&self, key: &str) -> bool {
        self.present.contains(&key)
    }

    /// Reports rights that would reach further than the rule reads, because a name that limits them is missing or means
    /// nothing to them.
    fn require_limits(&self, reader: &mut Reader<'_>) {
        let environment = self.may.iter().find(|right| matches!(right, Right::Read | Right::Open));
        if let Some(right) = environment {
            for (key, example) in [("application", "[\"{principal}\"]"), ("profile", "[\"*\"]")] {
                if !self.has(key) {
                    let message = format!("{right} needs {key}. Add {key} = {example}");
                    reader.error_at(self.place, message);
                }
            }
        }
        for right in self.may.iter().filter(|right| matches!(right, Right::File | Right::Push)) {
            if !self.has("application") && !self.has("path") {
                let message = format!("{right} needs application or path. Add application = […]");
                reader.error_at(self.place, message);
            }
        }
        if self.may.contains(Right::Push) && !self.has("branch") {
            reader.error_at(self.place, "push needs branch. Add branch = [\"main\"]");
        }
        if self.may.contains(Right::Rollout) && !self.has("application") {
            reader.error_at(self.place, "rollout needs application. Add application = […]");
        }
        if self.has("except") && !self.has("application") {
            reader.error_at(self.place, "except needs application. Add application = [\"*\"]");
        }
        const LIMITS: [&str; 6] = ["application", "except", "profile", "label", "path", "branch"];
        let limit = LIMITS.into_iter().find(|key| self.has(key));
        let global = self.may.iter().find(|right| right.is_global());
        if let (Some(key), Some(right)) = (limit, global) {
            reader.error_at(
                self.place,
                format!(
                    "{right} covers the whole server, and {key} cannot limit it. Put {right} into \
                     an [[allow]] of its own"
                ),
            );
        }
    }
}

fn parse_right(text: &Item<String>, reader: &mut Reader<'_>) -> Option<Right> {
    let right = Right::parse(&text.value);
    if right.is_none() {
        let name = printable(&text.value);
        let rights = Right::ALL.map(Right::as_str).join(", ");
        reader.error(text.at, format!("unknown right {name}. The rights are {rights}"));
    }
    right
}

/// Parses patterns. Only `{principal}` may stand in braces.
fn patterns(texts: &[Item<String>], reader: &mut Reader<'_>) -> Vec<Pattern> {
    texts.iter().filter_map(|text| pattern(&text.value, text.at, reader)).collect()
}

fn pattern(text: &str, at: usize, reader: &mut Reader<'_>) -> Option<Pattern> {
    if text.replace(PRINCIPAL, "").contains(['{', '}']) {
        let text = printable(text);
        reader.error(at, format!("{text}: only {PRINCIPAL} can stand in braces"));
        return None;
    }
    match Pattern::parse(text) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            reader.error(at, format!("{}: {error}", printable(text)));
            None
        }
    }
}

fn labels(texts: &[Item<String>], reader: &mut Reader<'_>) -> Vec<LabelPattern> {
    let mut parsed = Vec::new();
    for text in texts {
        if text.value == DEFAULT_LABEL {
            parsed.push(LabelPattern::Default);
        } else if text.value == "HEAD" || text.value.starts_with('@') {
            let name = printable(&text.value);
            reader.error(text.at, format!("{name} is not a label. Write \"{DEFAULT_LABEL}\""));
        } else {
            parsed.extend(pattern(&text.value, text.at, reader).map(LabelPattern::Named));
        }
    }
    parsed
}

fn references(texts: &[Item<String>], reader: &mut Reader<'_>) -> Vec<ReferencePattern> {
    let mut parsed = Vec::new();
    for text in texts {
        let (is_tag, name) = match text.value.strip_prefix(TAG) {
            Some(name) => (true, name),
            None => (false, text.value.as_str()),
        };
        if name.starts_with("refs/") || name.starts_with('@') {
            let name = printable(name);
            reader.error(
                text.at,
                format!("{name} is not a branch. Write its name, such as \"main\" or \"tag:v*\""),
            );
            continue;
        }
        let name = pattern(name, text.at, reader);
        parsed.extend(name.map(|name| ReferencePattern { is_tag, name }));
    }
    parsed
}
