//! Flat forms and plain files: their paths on a server, and their differences.

use std::collections::BTreeMap;

use clap::ValueEnum;
use headwater_wire::Environment;

use super::answer_difference::{AnswerDifference, DifferenceKind};
use super::documented::{self, Heading};
use super::properties::{OVERRIDES, is_xml, unbracketed};
use crate::format::{self, Format};
use crate::model::{Label, Query, Value};

/// A flat form of an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum FlatForm {
    /// YAML
    Yml,
    /// Lines of `key: value`
    Properties,
    /// JSON
    Json,
}

/// A text that is compared in addition to the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ComparedText {
    Flat(FlatForm),
    /// By its path.
    File(String),
}

impl FlatForm {
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Yml => "yml",
            Self::Properties => "properties",
            Self::Json => "json",
        }
    }
}

impl ComparedText {
    /// The name for reports.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Flat(form) => format!(".{}", form.extension()),
            Self::File(path) => path.clone(),
        }
    }

    /// The segments of its path below a server, and the query.
    pub(super) fn path(&self, query: &Query) -> (Vec<String>, Option<&'static str>) {
        let label = query.label.name().map(segment);
        match self {
            Self::Flat(form) => {
                let Query { application, profiles, .. } = query;
                let file = format!("{}-{profiles}.{}", segment(application), form.extension());
                (label.into_iter().chain([file]).collect(), None)
            }
            Self::File(path) => {
                let environment = [segment(&query.application), query.profiles.to_string()];
                let option = (query.label == Label::Default).then_some("useDefaultLabel");
                let file = path.split('/').map(str::to_owned);
                (environment.into_iter().chain(label).chain(file).collect(), option)
            }
        }
    }
}

/// Writes a slash inside a name in Spring's way.
pub(in crate::cli) fn segment(name: &str) -> String {
    name.replace('/', "(_)")
}

/// The query of a flat form's path. The part behind the last dash is the profiles.
pub(super) fn flat_query(query: &Query) -> Query {
    let Query { application, profiles, label } = query;
    let stem = format!("{application}-{profiles}");
    let (application, profiles) = stem.rsplit_once('-').unwrap_or((&stem, "default"));
    Query { application: application.into(), profiles: profiles.into(), label: label.clone() }
}

/// Compares a text. `environment` is what Headwater answered for the same names.
pub(super) fn compare(
    text: &ComparedText,
    [spring, ours]: [&[u8]; 2],
    environment: Option<&Environment>,
) -> Option<AnswerDifference> {
    let says_the_same =
        || properties(spring).is_some_and(|spring| properties(ours) == Some(spring));
    if spring == ours || *text == ComparedText::Flat(FlatForm::Yml) && says_the_same() {
        return None;
    }
    if is_reordered(text, spring, ours) {
        let documented = environment.and_then(order_reason);
        return Some(AnswerDifference {
            text: Some(text.name()),
            documented,
            ..AnswerDifference::of(DifferenceKind::Order)
        });
    }
    let line = spring.split(|byte| *byte == b'\n').zip(ours.split(|byte| *byte == b'\n'));
    let line = line.take_while(|(spring, ours)| spring == ours).count() + 1;
    let documented = match text {
        ComparedText::Flat(FlatForm::Yml | FlatForm::Json) => {
            environment.and_then(|it| reason(it, spring, ours))
        }
        ComparedText::Flat(FlatForm::Properties) | ComparedText::File(_) => None,
    };
    let kind = DifferenceKind::Text { line };
    Some(AnswerDifference { text: Some(text.name()), documented, ..AnswerDifference::of(kind) })
}

/// True if two flat forms have the same content in another order. A list can be spelled in two ways.
fn is_reordered(text: &ComparedText, spring: &[u8], ours: &[u8]) -> bool {
    let parse = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).ok();
    match text {
        ComparedText::Flat(FlatForm::Properties) => lines(spring) == lines(ours),
        ComparedText::Flat(FlatForm::Json) => {
            parse(spring).is_some_and(|spring| parse(ours) == Some(spring))
        }
        ComparedText::Flat(FlatForm::Yml) | ComparedText::File(_) => false,
    }
}

/// The lines of the `.properties` form, sorted, with `a.0` for `a[0]`.
fn lines(text: &[u8]) -> Vec<String> {
    let spelled = |line: &str| {
        let (key, value) = line.split_once(": ").unwrap_or((line, ""));
        format!("{}: {value}", unbracketed(key))
    };
    let mut lines: Vec<String> = String::from_utf8_lossy(text).lines().map(spelled).collect();
    lines.sort_unstable();
    lines
}

/// The reason for which the keys of an environment may come in another order.
fn order_reason(environment: &Environment) -> Option<Heading> {
    let has = |is: fn(&str) -> bool| environment.property_sources.iter().any(|it| is(&it.name));
    if has(is_xml) {
        Some(documented::XML_ORDER)
    } else if has(|name| name == OVERRIDES) {
        Some(documented::OVERRIDES)
    } else {
        None
    }
}

/// The flat keys and values of a YAML text. JSON is YAML too.
fn properties(text: &[u8]) -> Option<BTreeMap<String, Value>> {
    let documents = format::parse(Format::Yaml, text).ok()?;
    let properties = documents.into_iter().flat_map(|document| document.properties);
    Some(properties.map(|property| (property.key.to_string(), property.value)).collect())
}

/// The documented reason, if there is one for every key that differs.
fn reason(environment: &Environment, spring: &[u8], ours: &[u8]) -> Option<Heading> {
    let (spring, ours) = (properties(spring)?, properties(ours)?);
    let differs = |key: &&String| spring.get(*key) != ours.get(*key);
    let mut found = None;
    for key in spring.keys().chain(ours.keys()).filter(differs) {
        found = Some(reason_of_key(environment, key)?);
    }
    found
}

fn reason_of_key(environment: &Environment, key: &str) -> Option<Heading> {
    let sources = || environment.property_sources.iter().map(|source| &source.source);
    let has_placeholder =
        sources().filter_map(|it| it.get(key)?.as_str()).any(|it| it.contains("${"));
    if has_placeholder {
        return Some(documented::PLACEHOLDERS);
    }
    let parents = key.match_indices('.').map(|(at, _)| &key[..at]);
    parents
        .into_iter()
        .any(|parent| sources().any(|it| it.contains_key(parent)))
        .then_some(documented::DOTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(application: &str, profiles: &str, label: Label) -> Query {
        Query { application: application.into(), profiles: profiles.into(), label }
    }

    #[test]
    fn texts_are_where_spring_has_them() {
        let named = query("a/b", "dev,eu", Label::Named("feature/x".into()));
        let plain = query("orders", "dev", Label::Default);
        let path = |text: &ComparedText, query: &Query| {
            let (segments, option) = text.path(query);
            (segments.join(" "), option)
        };
        let flat = ComparedText::Flat(FlatForm::Yml);
        assert_eq!(path(&flat, &named), ("feature(_)x a(_)b-dev,eu.yml".to_owned(), None));
        assert_eq!(path(&flat, &plain), ("orders-dev.yml".to_owned(), None));
        let file = ComparedText::File("conf/nginx.conf".to_owned());
        assert_eq!(
            path(&file, &named),
            ("a(_)b dev,eu feature(_)x conf nginx.conf".to_owned(), None)
        );
        let by_default = ("orders dev conf nginx.conf".to_owned(), Some("useDefaultLabel"));
        assert_eq!(path(&file, &plain), by_default);
    }

    #[test]
    fn the_last_dash_of_a_flat_form_begins_its_profiles() {
        let query = flat_query(&query("orders", "eu-west", Label::Default));
        assert_eq!((&*query.application, &*query.profiles), ("orders-eu", "west"));
    }

    #[test]
    fn a_differing_text_names_its_first_line() {
        let file = ComparedText::File("motd".to_owned());
        assert!(compare(&file, [b"a\nb", b"a\nb"], None).is_none());
        let found = compare(&file, [b"a\nb\nc", b"a\nx\nc"], None).expect("a difference");
        assert_eq!((found.kind, found.documented), (DifferenceKind::Text { line: 2 }, None));
        let yaml = ComparedText::Flat(FlatForm::Yml);
        assert!(compare(&yaml, [b"a: 'x'", b"a: x\n"], None).is_none());
        assert!(compare(&yaml, [b"a: '1'", b"a: 1"], None).is_some());
        let found = compare(
            &ComparedText::Flat(FlatForm::Properties),
            [b"a: 1\nb: 2", b"b: 2\na: 1"],
            None,
        );
        assert_eq!(found.map(|it| it.kind), Some(DifferenceKind::Order));
        let found = compare(
            &ComparedText::Flat(FlatForm::Json),
            [b"{\"a\":1,\"b\":2}", b"{\"b\":2,\"a\":1}"],
            None,
        );
        assert_eq!(found.map(|it| it.kind), Some(DifferenceKind::Order));
    }
}
