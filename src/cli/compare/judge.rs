//! Finds the differences between two answers to the same request. Pure.

use headwater_wire::{Environment, PropertySource};

use super::answer::{ReceivedEnvironment, SideAnswer};
use super::answer_difference::{AnswerDifference, AnswerSide, DifferenceKind};
use super::documented;
use super::names::{Bases, SourceName};
use super::properties;
use crate::model::Query;

/// The result of a comparison of two environments.
#[derive(Debug, Default)]
pub(super) struct Judgement {
    pub(super) differences: Vec<AnswerDifference>,
    /// The different starts of the names of property sources.
    pub(super) bases: Vec<Bases>,
}

/// Compares two answers to a query for an environment.
pub(super) fn environments(
    query: &Query,
    [spring, ours]: [&SideAnswer<ReceivedEnvironment>; 2],
    known_bases: &[String],
) -> Judgement {
    if let (SideAnswer::Content(spring), SideAnswer::Content(ours)) = (spring, ours) {
        let mut judged = Judgement::default();
        if ours.is_held_back {
            judged.differences.push(AnswerDifference::of(DifferenceKind::HeldBack));
        }
        contents([&spring.environment, &ours.environment], known_bases, &mut judged);
        return judged;
    }
    let is_held_back =
        matches!(ours, SideAnswer::Content(ReceivedEnvironment { is_held_back: true, .. }));
    let difference = statuses(query, [spring.status(), ours.status()], is_held_back);
    let difference = difference.map(|it| explained(it, ours.environment()));
    Judgement { differences: difference.into_iter().collect(), bases: Vec::new() }
}

/// Adds the documented reason for a status that follows from what Headwater answered.
pub(super) fn explained(
    difference: AnswerDifference,
    ours: Option<&Environment>,
) -> AnswerDifference {
    let is_refused =
        matches!(difference.kind, DifferenceKind::Status { spring: 400.., headwater: 200 });
    let has_import = is_refused && ours.is_some_and(properties::has_foreign_import);
    let reason = has_import.then_some(documented::FOREIGN_IMPORTS);
    AnswerDifference { documented: difference.documented.or(reason), ..difference }
}

/// Compares two statuses.
pub(super) fn statuses(
    query: &Query,
    [spring, headwater]: [u16; 2],
    is_held_back: bool,
) -> Option<AnswerDifference> {
    let has_wildcard = query.application.contains(['*', '?']);
    let documented = match (spring, headwater) {
        (spring, headwater) if spring == headwater => return None,
        (404, 500) => Some(documented::OWN_ERROR),
        (400.., 200) if is_held_back => Some(documented::LAST_GOOD),
        (_, 400) => Some(documented::LATER),
        (_, 404) if has_wildcard => Some(documented::WILDCARDS),
        _ => None,
    };
    Some(AnswerDifference {
        documented,
        ..AnswerDifference::of(DifferenceKind::Status { spring, headwater })
    })
}

fn contents([spring, ours]: [&Environment; 2], known_bases: &[String], judged: &mut Judgement) {
    let members = [
        ("name", spring.name == ours.name),
        ("profiles", spring.profiles == ours.profiles),
        ("label", spring.label == ours.label),
        ("state", is_blank(&spring.state) && is_blank(&ours.state) || spring.state == ours.state),
    ];
    let differing = members.iter().filter(|(_, is_same)| !is_same);
    judged
        .differences
        .extend(differing.map(|(name, _)| AnswerDifference::of(DifferenceKind::Member(name))));
    let sources = [&spring.property_sources, &ours.property_sources];
    let names =
        sources.map(|list| list.iter().map(|it| SourceName::parse(&it.name)).collect::<Vec<_>>());
    let pairs = align(&names[0], &names[1]);
    for &(at, other) in &pairs {
        judged.bases.extend(names[0][at].bases(&names[1][other], known_bases));
        let (spring, ours): (&PropertySource, _) = (&sources[0][at], &sources[1][other]);
        let found = properties::compare(&spring.name, [&spring.source, &ours.source]);
        let short = names[1][other].short();
        judged.differences.extend(found.into_iter().map(|difference| difference.at(short.clone())));
    }
    unpaired(&names, &pairs, &mut judged.differences);
}

fn is_blank(text: &Option<String>) -> bool {
    text.as_deref().unwrap_or_default().is_empty()
}

/// Pairs names in their order so that they are as alike as they can be together.
fn align(spring: &[SourceName<'_>], ours: &[SourceName<'_>]) -> Vec<(usize, usize)> {
    // `best[i][j]`: how alike the names from i and from j on can be.
    let mut best = vec![vec![0; ours.len() + 1]; spring.len() + 1];
    for i in (0..spring.len()).rev() {
        for j in (0..ours.len()).rev() {
            let likeness = spring[i].likeness(&ours[j]);
            let paired = if likeness > 0 { likeness + best[i + 1][j + 1] } else { 0 };
            best[i][j] = paired.max(best[i + 1][j]).max(best[i][j + 1]);
        }
    }
    let (mut i, mut j, mut pairs) = (0, 0, Vec::new());
    while i < spring.len() && j < ours.len() {
        let likeness = spring[i].likeness(&ours[j]);
        if likeness > 0 && best[i][j] == likeness + best[i + 1][j + 1] {
            pairs.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if best[i][j] == best[i + 1][j] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

/// Sources that one side alone has, or both at different places.
fn unpaired(
    [spring, ours]: &[Vec<SourceName<'_>>; 2],
    pairs: &[(usize, usize)],
    differences: &mut Vec<AnswerDifference>,
) {
    let is_alone =
        |at: &usize, side: fn(&(usize, usize)) -> usize| pairs.iter().all(|it| side(it) != *at);
    let mut extra: Vec<usize> = (0..ours.len()).filter(|at| is_alone(at, |it| it.1)).collect();
    for at in (0..spring.len()).filter(|at| is_alone(at, |it| it.0)) {
        let moved = extra.iter().position(|other| spring[at].likeness(&ours[*other]) > 0);
        let kind = match moved {
            Some(found) => {
                extra.remove(found);
                DifferenceKind::SourceOrder
            }
            None => DifferenceKind::SourceOnlyIn(AnswerSide::Spring),
        };
        differences.push(AnswerDifference::of(kind).at(spring[at].short()));
    }
    for at in extra {
        let short = ours[at].short();
        let is_addition = short.ends_with(".toml") || short.ends_with(".json");
        let documented = is_addition.then_some(documented::TOML);
        let difference =
            AnswerDifference::of(DifferenceKind::SourceOnlyIn(AnswerSide::Headwater)).at(short);
        differences.push(AnswerDifference { documented, ..difference });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::Label;

    fn environment(base: &str, sources: &[(&str, Value)]) -> Environment {
        let source = |(name, source): &(&str, Value)| json!({"name": format!("{base}/{name}"), "source": source});
        let sources: Vec<Value> = sources.iter().map(source).collect();
        let whole =
            json!({"name": "a", "profiles": ["dev"], "label": null, "propertySources": sources});
        serde_json::from_value(whole).unwrap()
    }

    #[track_caller]
    fn check(
        spring: &[(&str, Value)],
        ours: &[(&str, Value)],
        expected: &[(&str, DifferenceKind)],
    ) -> Judgement {
        let mut judged = Judgement::default();
        let environments = [environment("file:///x", spring), environment("y.git", ours)];
        contents(environments.each_ref(), &["y.git".to_owned()], &mut judged);
        let found = judged.differences.iter();
        let found = found.map(|it| (it.source.as_deref().unwrap_or(""), it.kind.clone()));
        assert_eq!(found.collect::<Vec<_>>(), expected);
        judged
    }

    #[test]
    fn sources_are_paired_by_their_paths() {
        let [one, two] = [("a.yml", json!({"k": 1})), ("sub/a.yml", json!({"k": 2}))];
        check(&[one.clone(), two.clone()], &[one.clone(), two.clone()], &[]);
        let only_spring = [("a.yml", DifferenceKind::SourceOnlyIn(AnswerSide::Spring))];
        check(&[one.clone(), two.clone()], std::slice::from_ref(&two), &only_spring);
        let only_ours = [("a.yml", DifferenceKind::SourceOnlyIn(AnswerSide::Headwater))];
        check(std::slice::from_ref(&two), &[two.clone(), one.clone()], &only_ours);
        check(&[one.clone(), two.clone()], &[two, one], &[("a.yml", DifferenceKind::SourceOrder)]);
    }

    #[test]
    fn a_file_of_another_directory_contradicts_the_others() {
        let source = |name| (name, json!({}));
        let spring = [source("a.yml"), source("sub/b.yml")];
        let judged = check(&spring, &[source("a.yml"), source("b.yml")], &[]);
        assert!(judged.bases[1].contradicts(&judged.bases[0]));
        let judged = check(&spring, &spring, &[]);
        assert_eq!(judged.bases[0], judged.bases[1]);
    }

    #[test]
    fn toml_is_documented_and_a_status_may_be() {
        let toml = ("a.toml", json!({"k": 1}));
        let found =
            check(&[], &[toml], &[("a.toml", DifferenceKind::SourceOnlyIn(AnswerSide::Headwater))]);
        assert_eq!(found.differences[0].documented, Some(documented::TOML));
        let query =
            Query { application: "a".into(), profiles: "dev".into(), label: Label::Default };
        let reason = |statuses_, is_held_back| {
            statuses(&query, statuses_, is_held_back).map(|it| it.documented)
        };
        assert_eq!(reason([404, 404], false), None);
        assert_eq!(reason([404, 500], false), Some(Some(documented::OWN_ERROR)));
        assert_eq!(reason([500, 200], true), Some(Some(documented::LAST_GOOD)));
        assert_eq!(reason([500, 200], false), Some(None));
        assert_eq!(reason([200, 404], false), Some(None));
    }
}
