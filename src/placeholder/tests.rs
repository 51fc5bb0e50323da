//! Recorded cases of the original (docs/protocol.md#5-placeholders), and the bounds.

use super::*;
use crate::model::{Document, Label, Position, Property, PropertySource, Scalar, Value};

/// An environment from source to source, highest first, each `//- name` and then lines of `key = text` or
/// `key := true, number`. `⏎` is a line break.
pub(crate) fn environment(fixture: &str) -> Environment {
    let sources = fixture.split("//-").skip(1).map(|section| {
        let (name, lines) = section.split_once('\n').unwrap_or((section, ""));
        let properties = lines.lines().filter_map(property).collect();
        PropertySource {
            name: name.trim().into(),
            file: None,
            documents: [Document { properties, sops: None }].into(),
            index: 0,
        }
    });
    Environment {
        application: "foo".into(),
        profiles: "dev".into(),
        label: Label::Default,
        sources: sources.collect(),
    }
}

fn property(line: &str) -> Option<Property> {
    let (key, scalar) = match line.split_once(" := ") {
        Some((key, text)) => (key, typed(text)),
        None => {
            let (key, text) = line.split_once(" =")?;
            let text = text.strip_prefix(' ').unwrap_or(text);
            (key, Scalar::String(text.replace('⏎', "\n").into()))
        }
    };
    Some(Property {
        key: key.trim_start().into(),
        value: Value::Plain(scalar),
        position: Position { line: 1, column: 1 },
    })
}

fn typed(text: &str) -> Scalar {
    match text {
        "true" | "false" => Scalar::Bool(text == "true"),
        _ if text.contains(['.', 'I', 'N']) => Scalar::Float(text.into()),
        _ => Scalar::Integer(text.into()),
    }
}

const GOLDEN: &str = "//- foo.yml
    foo = bar
    num := 5
    list[0] = one
    multi = first⏎second
    empty =
    a.b = x
    with:colon = odd
    twice = ${foo}${foo}
    outer = <${middle}>
    middle = (${foo})
    escaped = \\${foo}
    name = foo
    self = ${self}
    ping = ${pong}
    pong = ${ping:fallback}
//- application.yml
    foo = hidden
    low = base";

fn value(text: &str) -> Result<String, PlaceholderError> {
    let environment = environment(GOLDEN);
    let lookup = EnvironmentValues::new(&environment);
    let mut resolver = Resolver::new(&lookup, 0);
    resolver.value(text).map(Cow::into_owned)
}

fn resolved(environment: &Environment, text: &str) -> Result<String, PlaceholderError> {
    resolve_text(environment, text, &|_| true)
}

fn text(text: &str) -> Result<String, PlaceholderError> {
    resolved(&environment(GOLDEN), text)
}

#[track_caller]
fn check(input: &str, expected: &str) {
    assert_eq!(value(input).as_deref(), Ok(expected), "as a value");
    assert_eq!(text(input).as_deref(), Ok(expected), "as a text");
}

#[track_caller]
fn check_unlike(input: &str, as_value: &str, as_text: &str) {
    assert_eq!(value(input).as_deref(), Ok(as_value), "as a value");
    assert_eq!(text(input).as_deref(), Ok(as_text), "as a text");
}

#[track_caller]
fn check_refused(input: &str, expected: &PlaceholderError) {
    assert_eq!(value(input).as_ref(), Err(expected), "as a value");
    assert_eq!(text(input).as_ref(), Err(expected), "as a text");
}

#[test]
fn golden_placeholders() {
    check("${foo}-${nope}", "bar-${nope}");
    check("${nope:dflt}", "dflt");
    check("${nope:${foo}}", "bar");
    check("${nope:}", "");
    check("\\${foo}", "${foo}");
    check("\\\\${foo}", "${foo}");
    check("$${foo}", "$bar");
    check_unlike("${ foo }", "bar", "${ foo }");
    check("${list[0]}", "one");
    check("${num}", "5");
    check("${multi}", "first\nsecond");
    for same in ["${foo", "#{1+1}", "${PATH}", "${random.uuid}", "${env:x"] {
        check(same, same);
    }
}

#[test]
fn golden_file() {
    let environment = environment("//- foo-dev.yml\n  foo.a = devdoc\n  x = dev");
    let file = "hello ${foo.a} ${x} ${nope:def} ${nope} \\${esc}";
    assert_eq!(resolved(&environment, file).as_deref(), Ok("hello devdoc dev def ${nope} ${esc}"));
}

#[test]
fn the_highest_source_wins() {
    check("${foo} ${low}", "bar base");
}

#[test]
fn nesting_in_key_and_default() {
    check("${${name}}", "bar");
    check("${a.${nope:b}}", "x");
    check("${nope:${none:${foo}}}", "bar");
    check("${nope:a:b}", "a:b");
    check("${no${foo}}", "${nobar}");
    check("${nope:{\"k\": \"${foo}\"}}", "{\"k\": \"bar\"}");
    check("${nope${none}:d}", "d");
    check("${with:colon}", "odd");
    check("${empty:dflt}|", "|");
}

#[test]
fn values_that_refer_to_values() {
    check("${outer}${twice}", "<(bar)>barbar");
    check("${escaped}", "${foo}");
}

#[test]
fn escapes_and_rests() {
    check("${nope:\\${foo}}", "${foo}");
    check("\\${a${foo}}", "${abar}");
    check("\\\\\\${foo}", "\\${foo}");
    check("a\\b ${foo}\\", "a\\b bar\\");
    check("${open ${foo}", "${open bar");
    check("}${foo}}", "}bar}");
    check("ü${foo}é", "übaré");
    check("{${foo}}{", "{bar}{");
}

#[test]
fn a_value_without_a_whole_placeholder_is_left_alone() {
    check_unlike("\\${foo", "\\${foo", "${foo");
    check("${}", "${}");
    check_unlike("\\${}", "\\${}", "${}");
    check("", "");
}

#[test]
fn circular_references_are_refused() {
    let circular = |key: &str| PlaceholderError::Circular { key: key.into() };
    check_refused("${self}", &circular("self"));
    check_refused("x ${ping}", &circular("ping"));
    check_refused("${nope:${self}}", &circular("self"));
}

#[test]
fn depth_has_an_edge() {
    let nested = |depth: usize| "${nope:".repeat(depth) + "x" + &"}".repeat(depth);
    check(&nested(DEPTH_MAX), "x");
    check_refused(&nested(DEPTH_MAX + 1), &PlaceholderError::TooDeep);
    assert_eq!(text(&nested(1_000_000)), Err(PlaceholderError::TooDeep));
    let in_key = "${".repeat(1_000) + &"}".repeat(1_000);
    check_refused(&in_key, &PlaceholderError::TooDeep);
    let unclosed = "${".repeat(100_000);
    check(&unclosed, &unclosed);
}

#[test]
fn many_placeholders_in_a_row() {
    assert_eq!(text(&"${foo}".repeat(1_000_000)), Ok("bar".repeat(1_000_000)));
}

/// `a0` refers twice to `a1` and so on. `last` is the final value.
fn doubling(levels: usize, last: &str) -> Environment {
    let line = |n: usize| format!("a{n} = ${{a{}}}${{a{}}}\n", n + 1, n + 1);
    let lines: String = (0..levels).map(line).collect();
    environment(&format!("//- bomb\n{lines}a{levels} ={last}"))
}

#[test]
fn growth_has_an_edge() {
    let large = |levels| resolved(&doubling(levels, " ten bytes."), "${a0}").map(|t| t.len());
    assert_eq!(large(10), Ok(10 * 1024));
    assert_eq!(large(20), Err(PlaceholderError::TooLarge));
}

#[test]
fn work_that_yields_nothing_is_bounded_too() {
    let empty = |levels| resolved(&doubling(levels, ""), "${a0}");
    assert_eq!(empty(8), Ok(String::new()));
    assert_eq!(empty(30), Err(PlaceholderError::TooLarge));
}

#[test]
fn errors_do_not_carry_values() {
    let environment = environment("//- s\n  a = s3cret ${b}\n  b = s3cret ${a}");
    let message = resolved(&environment, "${a}").map_err(|error| error.to_string());
    assert_eq!(message, Err("circular placeholder: a".into()));
}

proptest::proptest! {
    #[test]
    fn any_text_ends(input in "[$\\\\{}: ab]{0,40}") {
        let environment = environment("//- s\n  a = ${b}\n  b = x${ab}\n  ab = y");
        let resolved = resolved(&environment, &input);
        proptest::prop_assert!(resolved.is_ok());
    }

    #[test]
    fn text_without_placeholders_is_untouched(input in "[^$]{0,40}") {
        proptest::prop_assert_eq!(text(&input), Ok(input));
    }
}

/// The closed braces, computed with a stack.
fn closed_by_stack(text: &str) -> Vec<(usize, usize)> {
    let (mut closed, mut open) = (Vec::new(), Vec::new());
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => open.push(at),
            b'}' => closed.extend(
                open.pop()
                    .filter(|brace| text[..*brace].ends_with('$'))
                    .map(|brace| (brace - 1, at)),
            ),
            _ => {}
        }
    }
    closed.sort_unstable();
    closed
}

proptest::proptest! {
    #[test]
    fn placeholders_end_where_their_braces_are_closed(text in "[${}a:\\\\]{0,80}") {
        let marked = BraceIndex::new(&text);
        let ends = (0..text.len()).filter_map(|at| {
            let end = text[at..].starts_with(OPENING).then(|| marked.closing(at)).flatten();
            Some((at, end?))
        });
        proptest::prop_assert_eq!(ends.collect::<Vec<_>>(), closed_by_stack(&text));
    }
}

#[test]
fn hostile_braces_take_time_in_proportion() {
    let environment = environment(GOLDEN);
    let count = 400_000;
    for text in [
        "${".repeat(count),
        "\\${".repeat(count) + &"}".repeat(count),
        "{".repeat(count) + &"${foo}".repeat(count),
        "${a:".repeat(20) + &"$:".repeat(count) + &"}".repeat(20),
    ] {
        let begun = std::time::Instant::now();
        let _ = resolved(&environment, &text);
        assert!(begun.elapsed().as_secs() < 10, "{}", &text[..10]);
    }
}

#[test]
fn a_meter_sees_every_piece_and_stops_the_work() {
    let environment = environment(GOLDEN);
    let (left, text) = (std::cell::Cell::new(10_usize), "${foo} and ".repeat(1_000));
    let goes_on = |bytes: usize| {
        let rest = left.get().checked_sub(bytes);
        left.set(rest.unwrap_or(0));
        rest.is_some()
    };
    assert_eq!(resolve_text(&environment, &text, &goes_on), Err(PlaceholderError::Stopped));
    left.set(text.len());
    assert!(resolve_text(&environment, &text, &goes_on).is_ok());
}
