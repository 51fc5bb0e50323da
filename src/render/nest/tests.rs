//! Tests of splitting keys, the resulting trees, rejected keys, and limits.

use super::*;
use crate::placeholder::tests::environment;
use crate::render::flat::{PlaceholderMode, json, properties, yaml};

#[track_caller]
fn check(key: &str, expected: &str) {
    let shown = match steps(key) {
        Err(FlatError::UnnestableKey { .. }) => "unnestable".into(),
        Err(error) => error.to_string(),
        Ok(steps) => steps.iter().map(show).collect::<Vec<_>>().join(" "),
    };
    assert_eq!(shown, expected, "{key}");
}

fn show(step: &KeyStep<'_>) -> String {
    match step {
        KeyStep::Name { name, .. } => format!("<{name}>"),
        KeyStep::Index(index) => index.to_string(),
    }
}

#[track_caller]
fn check_json(fixture: &str, expected: &str) {
    let written = json(&environment(fixture), PlaceholderMode::Keep);
    assert_eq!(written.as_deref(), Ok(expected));
}

#[track_caller]
fn check_refused(fixture: &str, expected: &FlatError) {
    let environment = environment(fixture);
    for form in [yaml, json] {
        assert_eq!(form(&environment, PlaceholderMode::Keep).as_ref(), Err(expected));
    }
    assert!(properties(&environment, PlaceholderMode::Keep).is_ok());
}

#[test]
fn names_and_indices() {
    check("a", "<a>");
    check("a.b.c", "<a> <b> <c>");
    check("a[0]", "<a> 0");
    check("a[007].b[1][2].c", "<a> 7 <b> 1 2 <c>");
    check("a b/c.d", "<a b/c> <d>");
}

#[test]
fn other_brackets_belong_to_the_name() {
    check("a[x", "<a[x>");
    check("a[0", "<a[0>");
    check("a[]", "<a[]>");
    check("a[hello]d", "<a[hello]d>");
    check("a[x][0]", "<a[x]> 0");
    check("a[x.y]", "<a[x> <y]>");
    check("[[x, y]]", "<[[x, y]]>");
    check("a]", "<a]>");
    check("a[99999999999]", "<a[99999999999]>");
}

#[test]
fn empty_names() {
    check("", "<>");
    check("a.", "<a> <>");
    check("a[0].", "<a> 0 <>");
}

#[test]
fn keys_that_do_not_nest() {
    for key in ["a..b", ".a", ".", "[0]", "a.[0]", "a[0]..b", "a[0].[1]"] {
        check(key, "unnestable");
    }
    for key in ["a[1]b", "a[-1]", "a[+1]", "a[0][x]", "a[0][1", "a[0][]", "a[[0]]"] {
        check(key, "unnestable");
    }
    check("a[0][99999999999]", "unnestable");
}

#[test]
fn depth_has_an_edge() {
    let deep = |names: usize| steps(&vec!["a"; names].join(".")).map(|steps| steps.len());
    assert_eq!(deep(DEPTH_MAX), Ok(DEPTH_MAX));
    assert_eq!(deep(DEPTH_MAX + 1), Err(FlatError::TooLarge));
    assert_eq!(deep(500_000), Err(FlatError::TooLarge));
    let lists = format!("a{}", "[0]".repeat(DEPTH_MAX));
    assert_eq!(steps(&lists), Err(FlatError::TooLarge));
}

#[test]
fn a_key_under_a_scalar_stands_beside_it() {
    let levels =
        "//- s\n org.spring = WARN\n org.spring.cloud = ERROR\n org.spring.cloud.x.y = INFO";
    check_json(
        levels,
        r#"{"org":{"spring":"WARN","spring.cloud":"ERROR","spring.cloud.x.y":"INFO"}}"#,
    );
    check_json("//- s\n a = 1\n a.b[0] = 2", r#"{"a":"1","a.b[0]":"2"}"#);
    check_json("//- s\n a.b[0] = 1\n a.b.c[0] = 2", r#"{"a":{"b":["1"],"b.c[0]":"2"}}"#);
}

#[test]
fn a_scalar_over_a_map_replaces_it() {
    check_json("//- high\n a = 2\n//- low\n a.b = 1\n z = 0", r#"{"a":"2","z":"0"}"#);
    check_json("//- s\n a[0].b = 1\n a[0] = 2", r#"{"a":["2"]}"#);
}

#[test]
fn keys_that_cannot_be_nested() {
    for key in ["a..b", ".a", "a[1]b", "a[-1]"] {
        let unnestable = FlatError::UnnestableKey { key: key.into() };
        check_refused(&format!("//- s\n {key} = v"), &unnestable);
    }
    check_json("//- s\n a[x = 1\n a[] = 2\n b. = 3", r#"{"b":{"":"3"},"a[x":"1","a[]":"2"}"#);
}

#[test]
fn shapes_that_conflict() {
    for (first, second) in
        [("a.b", "a[0]"), ("a", "a[0]"), ("a[0]", "a[0].b"), ("a[0].b", "a[0][0]")]
    {
        let conflict = FlatError::ShapeConflict { key: second.into() };
        check_refused(&format!("//- s\n {first} = 1\n {second} = 2"), &conflict);
    }
}

#[test]
fn an_index_cannot_allocate() {
    let at = |index: usize| environment(&format!("//- s\n a[{index}] = x"));
    let keep = PlaceholderMode::Keep;
    assert!(json(&at(GAPS_MAX), keep).is_ok());
    assert_eq!(json(&at(GAPS_MAX + 1), keep), Err(FlatError::TooLarge));
    assert_eq!(yaml(&at(999_999_999), keep), Err(FlatError::TooLarge));
    let half = GAPS_MAX / 2 + 1;
    let twice = environment(&format!("//- s\n a[{half}] = x\n b[{half}] = x"));
    assert_eq!(json(&twice, keep), Err(FlatError::TooLarge));
}

#[test]
fn a_key_cannot_exhaust_the_stack() {
    let deep = |parts: usize| environment(&format!("//- s\n {} = x", vec!["a"; parts].join(".")));
    for form in [yaml, json] {
        assert!(form(&deep(DEPTH_MAX), PlaceholderMode::Keep).is_ok());
        assert_eq!(form(&deep(100_000), PlaceholderMode::Keep), Err(FlatError::TooLarge));
    }
}
