//! Recorded cases of the original (docs/protocol.md#4-flat-forms), merging and scalars.

use super::*;
use crate::placeholder::tests::environment;

#[track_caller]
fn check_yaml(fixture: &str, expected: &str) {
    let written = yaml(&environment(fixture), PlaceholderMode::Resolve);
    assert_eq!(written.as_deref(), Ok(expected));
}

#[track_caller]
fn check_json(fixture: &str, expected: &str) {
    let written = json(&environment(fixture), PlaceholderMode::Resolve);
    assert_eq!(written.as_deref(), Ok(expected));
}

#[track_caller]
fn check_properties(fixture: &str, expected: &str) {
    let written = properties(&environment(fixture), PlaceholderMode::Resolve);
    assert_eq!(written.as_deref(), Ok(expected));
}

const LISTS: &str = "//- foo-dev.yml
    a.b[0] = f
    a.b[1] = h
//- foo.yml
    a.b[0] = c
    a.b[1] = d
    a.b[2] = z";

#[test]
fn a_list_replaces_a_list() {
    check_yaml(LISTS, "a:\n  b:\n  - f\n  - h\n");
    check_json(LISTS, r#"{"a":{"b":["f","h"]}}"#);
    check_properties(LISTS, "a.b[0]: f\na.b[1]: h");
}

#[test]
fn brackets_without_a_number_are_text() {
    let fixture = "//- s\n a.test = e\n a.b[hello] = c\n a.b[world] = d\n a.b[world]d = f";
    check_yaml(fixture, "a:\n  test: e\n  b[hello]: c\n  b[world]: d\n  b[world]d: f\n");
}

#[test]
fn gaps_in_lists_are_null() {
    let fixture = "//- s
        a.b[0].c = x
        a.b[2].c = z
        a.b[0].d[2] = yy
        a.b[0].d[0] = xx
        a.b[3][0] = r";
    let expected = r#"{"a":{"b":[{"c":"x","d":["xx",null,"yy"]},null,{"c":"z"},["r"]]}}"#;
    check_json(fixture, expected);
    check_yaml(
        fixture,
        "a:\n  b:\n  - c: x\n    d:\n    - xx\n    - null\n    - yy\n  - null\n  - c: z\n  - - r\n",
    );
}

#[test]
fn a_document_that_is_no_map() {
    check_yaml("//- s\n document = blah", "blah\n");
    check_yaml("//- s\n document := 5", "5\n");
    check_yaml("//- s\n document = a⏎b", "|-\n  a\n  b\n");
    check_yaml("//- s\n document[0].a = c\n document[1].a = d", "- a: c\n- a: d\n");
    check_yaml("//- s\n document = b\n a = c", "document: b\na: c\n");
    check_yaml("//- s\n document.a = b", "document:\n  a: b\n");
    check_json("//- s\n document = blah", r#"{"document":"blah"}"#);
}

#[test]
fn nothing() {
    for fixture in ["", "//- empty"] {
        check_yaml(fixture, "{}\n");
        check_json(fixture, "{}");
        check_properties(fixture, "");
    }
}

#[test]
fn a_key_keeps_the_place_of_its_first_occurrence() {
    let fixture = "//- high\n c = 3\n a = 2\n//- low\n a = 1\n l[0] = x\n b = 1";
    check_properties(fixture, "a: 2\nb: 1\nc: 3\nl[0]: x");
}

#[test]
fn every_key_of_a_group_goes_with_it() {
    let high = "//- high\n a.b[hello] = new\n m[1] = x";
    let low = "//- low\n m[0] = w\n a.b[world] = old\n a.b[0] = old\n a.b.c = stays";
    check_properties(&format!("{high}\n{low}"), "a.b.c: stays\nm[1]: x\na.b[hello]: new");
}

#[test]
fn spring_profiles_is_dropped() {
    let fixture =
        "//- s\n spring.profiles = x\n spring.profiles.active = y\n spring.profiles[0] = z";
    check_properties(fixture, "spring.profiles.active: y\nspring.profiles[0]: z");
}

#[test]
fn scalars() {
    let fixture = "//- s
        b := true
        i := 12345678901234567890
        f := 1.0E10
        p := Infinity
        m := -Infinity
        x := NaN
        s = 5
        e =";
    check_json(
        fixture,
        r#"{"b":true,"i":12345678901234567890,"f":1.0E10,"p":"Infinity","m":"-Infinity","x":"NaN","s":"5","e":""}"#,
    );
    check_yaml(
        fixture,
        "b: true\ni: 12345678901234567890\nf: 1.0E10\np: .inf\nm: -.inf\nx: .NaN\ns: '5'\ne: ''\n",
    );
    check_properties(
        fixture,
        "b: true\ni: 12345678901234567890\nf: 1.0E10\np: Infinity\nm: -Infinity\nx: NaN\ns: 5\ne: ",
    );
}

#[test]
fn sealed_values_are_text() {
    let mut environment = environment("//- s\n a = x");
    let mut document = environment.sources[0].documents[0].clone();
    document.properties[0].value = Value::Sealed("{cipher}abc".into());
    environment.sources[0].documents = [document].into();
    let keep = PlaceholderMode::Keep;
    assert_eq!(yaml(&environment, keep).as_deref(), Ok("a: '{cipher}abc'\n"));
    assert_eq!(json(&environment, keep).as_deref(), Ok(r#"{"a":"{cipher}abc"}"#));
    assert_eq!(properties(&environment, keep).as_deref(), Ok("a: {cipher}abc"));
}

#[test]
fn json_escapes_only_what_it_must() {
    let fixture = "//- s\n k\"ü/ = a/b\"\\é😀\u{1}\t⏎\u{7f}\u{2028}";
    check_json(fixture, "{\"k\\\"ü/\":\"a/b\\\"\\\\é😀\\u0001\\t\\n\u{7f}\u{2028}\"}");
}

const PLACEHOLDERS: &str = "foo = bar
    num := 5
    list[0] = one
    multi = first⏎second";

#[track_caller]
fn check_placeholder(value: &str, nested: &str, flat: &str) {
    let environment = environment(&format!("//- s\n v = {value}\n {PLACEHOLDERS}"));
    let resolve = PlaceholderMode::Resolve;
    let json = json(&environment, resolve).map(|text| text.contains(&format!(r#""v":{nested},"#)));
    assert_eq!(json, Ok(true), "{value} in JSON");
    let yaml = yaml(&environment, resolve).map(|text| text.starts_with("v: "));
    assert_eq!(yaml, Ok(true), "{value} in YAML");
    let properties = properties(&environment, resolve);
    let start = properties.map(|text| text.starts_with(&format!("v: {flat}\nfoo")));
    assert_eq!(start, Ok(true), "{value} in .properties");
}

#[test]
fn golden_placeholders() {
    check_placeholder("${foo}-${nope}", r#""bar-${nope}""#, "bar-${nope}");
    check_placeholder("${nope:dflt}", r#""dflt""#, "dflt");
    check_placeholder("${nope:${foo}}", r#""bar""#, "bar");
    check_placeholder("${nope:}", r#""""#, "");
    check_placeholder("\\${foo}", r#""${foo}""#, "${foo}");
    check_placeholder("$${foo}", r#""$bar""#, "$bar");
    check_placeholder("${ foo }", r#""bar""#, "${ foo }");
    check_placeholder("${list[0]}", r#""one""#, "one");
    check_placeholder("${num}", r#""5""#, "5");
    check_placeholder("${multi}", r#""first\nsecond""#, "first\nsecond");
    for same in ["${foo", "#{1+1}", "${PATH}", "${random.uuid}"] {
        check_placeholder(same, &format!("\"{same}\""), same);
    }
}

#[test]
fn a_number_reached_through_a_placeholder_is_text() {
    check_yaml(
        "//- s\n num := 5\n t = ${num}\n m = ${multi}\n multi = a⏎b",
        "num: 5\nt: '5'\nm: |-\n  a\n  b\nmulti: |-\n  a\n  b\n",
    );
}

#[test]
fn placeholders_are_kept_on_request() {
    let environment = environment("//- s\n a = \\${b} ${b}\n b = x");
    let keep = PlaceholderMode::Keep;
    assert_eq!(yaml(&environment, keep).as_deref(), Ok("a: \\${b} ${b}\nb: x\n"));
    assert_eq!(json(&environment, keep).as_deref(), Ok(r#"{"a":"\\${b} ${b}","b":"x"}"#));
    assert_eq!(properties(&environment, keep).as_deref(), Ok("a: \\${b} ${b}\nb: x"));
}

#[test]
fn circular_placeholders_are_refused_in_every_form() {
    let environment = environment("//- s\n a = ${b}\n b = ${a}");
    let circular = FlatError::Placeholder(PlaceholderError::Circular { key: "b".into() });
    for form in [yaml, json, properties] {
        assert_eq!(form(&environment, PlaceholderMode::Resolve).as_ref(), Err(&circular));
        assert!(form(&environment, PlaceholderMode::Keep).is_ok());
    }
}

proptest::proptest! {
    #[test]
    fn json_reads_back_as_the_same_text(text in ".{0,40}") {
        let mut environment = environment("//- s\n k = x");
        let mut document = environment.sources[0].documents[0].clone();
        document.properties[0].value = Value::Plain(Scalar::String(text.clone().into()));
        environment.sources[0].documents = [document].into();
        let written = json(&environment, PlaceholderMode::Keep).expect("one key nests");
        let read: serde_json::Value = serde_json::from_str(&written).expect("this is JSON");
        proptest::prop_assert_eq!(&read["k"], &text);
    }
}
