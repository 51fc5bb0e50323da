//! Recorded cases of the original (docs/protocol.md#9-yaml), each limit at its edge, and documents that expand without bound.

use std::time::{Duration, Instant};

use super::parse;
use crate::format::flat_builder::{FLAT_BYTES_MAX, KEY_BYTES_MAX};
use crate::format::{DOCUMENTS_MAX, KEYS_MAX, ParseError};
use crate::model::Document;

/// Documents as `key=value` rows, several of them separated by `---`.
fn rows(documents: &[Document]) -> Vec<String> {
    let rows = documents.iter().map(|document| {
        let row = |property: &crate::model::Property| {
            format!("{}={}", property.key, property.value.text())
        };
        document.properties.iter().map(row).collect::<Vec<_>>()
    });
    rows.collect::<Vec<_>>().join(&["---".to_owned()][..])
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let documents = parse(text.as_bytes()).unwrap();
    assert_eq!(rows(&documents), expected, "{text}");
}

#[track_caller]
fn check_count(text: &str, expected: usize) {
    assert_eq!(parse(text.as_bytes()).unwrap().len(), expected, "{text}");
}

#[track_caller]
fn check_places(text: &str, expected: &[(&str, u32, u32)]) {
    let documents = parse(text.as_bytes()).unwrap();
    let places = documents.iter().flat_map(|document| &document.properties);
    let places: Vec<_> = places
        .map(|property| (&*property.key, property.position.line, property.position.column))
        .collect();
    assert_eq!(places, expected, "{text}");
}

fn refusal(text: &str) -> ParseError {
    let started = Instant::now();
    let error = parse(text.as_bytes()).map(|documents| documents.len()).unwrap_err();
    // This takes milliseconds when optimized. The margin is for a debug build on a busy machine.
    assert!(started.elapsed() <= Duration::from_secs(60), "{:?}", started.elapsed());
    error
}

#[track_caller]
fn check_refused(text: &str, line: u32, column: u32, message: &str) {
    let error = refusal(text);
    let position = error.position.map(|position| (position.line, position.column));
    assert_eq!((position, error.message.as_str()), (Some((line, column)), message), "{text}");
}

#[test]
fn a_dash_is_text_between_brackets() {
    check("a: [-, _]", &["a[0]=-", "a[1]=_"]);
    check("a: [-]", &["a[0]=-"]);
    check("a: [x, -,-]\nb: 'a [-, b'", &["a[0]=x", "a[1]=-", "a[2]=-", "b=a [-, b"]);
    check("a: {b: -, c: [[-], -]}", &["a.b=-", "a.c[0][0]=-", "a.c[1]=-"]);
    check("a: [\n  -,\n  b\n]", &["a[0]=-", "a[1]=b"]);
    check_places("a: [-, b]\nc: 1", &[("a[0]", 1, 5), ("a[1]", 1, 8), ("c", 2, 4)]);
    // A dash before a blank is the sign of a list item, which is an error in a flow list.
    refusal("a: [- , b]");
    refusal("a: [-, b");
    refusal("a: [-]\nb: [1");
}

#[test]
fn quoted_text_may_have_any_indentation() {
    check("a: \"x\n\ty\"\nb: 1", &["a=x y", "b=1"]);
    check("a: 'x\n\ty'\nb: 1", &["a=x y", "b=1"]);
    check(
        "a:\n  b: \"x\n\t\ty\n \tz\n\n\tw\"\n  c: 'it''s\n\there'",
        &["a.b=x y z\nw", "a.c=it's here"],
    );
    check("a:\n  - \"x \\\n\ty\"\n  - 'z\nw'", &["a[0]=x y", "a[1]=z w"]);
    check("a: [\"x\n\ty\", 'z\n\tw', v]", &["a[0]=x y", "a[1]=z w", "a[2]=v"]);
    check("a: \"x\ny # z\" # c\nb: 'u\nv'", &["a=x y # z", "b=u v"]);
    check_places("a: \"x\n\ty\"\nb: 1", &[("a", 1, 4), ("b", 3, 4)]);
    check(
        "a: it's # it's\nb: \"x\n\ty\"\nc: [it's, \"u\n\tv\"]",
        &["a=it's", "b=x y", "c[0]=it's", "c[1]=u v"],
    );
    refusal("a: \"x\n\ty");
    refusal("a: 1\n\tb: 2");
    // A tab inside the text is kept.
    check("a: \"x\n\ty\\\tz\tw\"", &["a=x y\tz\tw"]);
}

#[test]
fn many_quoted_texts_that_begin_with_tabs_are_read_in_little_time() {
    let text = "k: [\"x\n\ty\"]\n".to_owned() + &"- \"x\n\ty\"\n".repeat(20_000);
    refusal(&text);
    let lines = format!("k: \"{}\"", "x\n\ty\n".repeat(50_000));
    assert_eq!(parse(lines.as_bytes()).unwrap().len(), 1);
}

#[test]
fn maps_and_lists_become_paths() {
    check("a:\n  b: 1\n  c: [x, y, 3]\n", &["a.b=1", "a.c[0]=x", "a.c[1]=y", "a.c[2]=3"]);
    check(
        "objs: [{name: n1, v: 1}, {name: n2}]",
        &["objs[0].name=n1", "objs[0].v=1", "objs[1].name=n2"],
    );
    check("a: [[1, 2], [3]]", &["a[0][0]=1", "a[0][1]=2", "a[1][0]=3"]);
    check("just text", &["document=just text"]);
    check("- a\n- b", &["document[0]=a", "document[1]=b"]);
}

#[test]
fn keys_are_taken_as_they_are_and_brackets_need_no_dot() {
    check(
        "a:\n  '[my.key]': 1\n  a/b: 2\n  c d: 3\n  '': 4",
        &["a[my.key]=1", "a.a/b=2", "a.c d=3", "a.=4"],
    );
    check("'': {a: 1}\n' ': {b: [2]}", &["a=1", "b[0]=2"]);
}

#[test]
fn keys_that_are_no_strings_stand_in_brackets() {
    check(
        "a:\n  1: x\n  1.5: y\n  on: z\n  ~: w",
        &["a[1]=x", "a[1.5]=y", "a[true]=z", "a[null]=w"],
    );
    check("? [x, y]\n: complex", &["[[x, y]]=complex"]);
    check("? {a: 1}\n: complex", &["[{a=1}]=complex"]);
    check("1: {a: x}\n'[1]': {b: y}", &["[1].b=y"]);
}

#[test]
fn the_later_of_two_spellings_counts_at_the_place_of_the_first() {
    check("a: {b: 1, c: 2}\na.b: 3", &["a.b=3", "a.c=2"]);
    check("a: [x]\na[0]: y", &["a[0]=y"]);
    check("a.b: 3\na: {b: 1, c: 2}", &["a.b=1", "a.c=2"]);
}

#[test]
fn null_and_empty_collections() {
    check("a:\nb: ~\nc: ''\nd: []\ne: {}", &["a=", "b=", "c=", "d="]);
    for none in ["", "# comment", "---\n---\n", "~", "''", "[]", "--- null\n..."] {
        check_count(none, 0);
    }
    check_count("{}", 1);
    check_count("---\n---\nk: 1\n---\n", 1);
    check_count("{}\n---\na: 1\n---\n{}", 3);
}

#[test]
fn anchors_and_merges() {
    check(
        "a: &x {p: 1, q: 2}\nb: *x\nc: {<<: *x, q: 3}",
        &["a.p=1", "a.q=2", "b.p=1", "b.q=2", "c.p=1", "c.q=3"],
    );
    check(
        "a: &a {p: 1}\nb: &b {p: 2, q: 2}\nc: {<<: [*a, *b], r: 3}",
        &["a.p=1", "b.p=2", "b.q=2", "c.p=1", "c.q=2", "c.r=3"],
    );
    check("c: {q: 3, <<: {q: 1, p: 2}}", &["c.q=3", "c.p=2"]);
    check("c: {'<<': 1}", &["c.<<=1"]);
    check("a: &x 1\nb: &x 2\nc: *x", &["a=1", "b=2", "c=2"]);
}

#[test]
fn explicit_tags() {
    check(
        "a: !!str 12\nb: !!int '0x1F'\nc: !!float 1\nd: !!bool 'on'\ne: !!null x",
        &["a=12", "b=31", "c=1.0", "d=true", "e="],
    );
    check("a: !!binary aGVs bG8\nb: !!binary QR==", &["a=aGVsbG8=", "b=QQ=="]);
    check(
        "set: !!set {a, b}\nm: !!map {a: 1}\nl: !!seq [1]",
        &["set[0]=a", "set[1]=b", "m.a=1", "l[0]=1"],
    );
    check(
        "a: !!timestamp 2020-01-01\nb: 2020-01-01\nc: ! '12'",
        &["a=2020-01-01", "b=2020-01-01", "c=12"],
    );
}

#[test]
fn unknown_tags_are_refused() {
    for tag in
        ["!custom", "!!javax.script.ScriptEngineManager", "!!python/object:os.system", "!include"]
    {
        check_refused(&format!("a:\n  b: {tag} x"), 2, 6, "tag is not known");
        check_refused(&format!("a: {tag} [x]"), 1, 4, "tag is not known for a list or a map");
    }
    check_refused("a: !!int x", 1, 4, "text is not an integer");
    check_refused("a: !!seq x", 1, 4, "tag does not go with a scalar");
}

#[test]
fn duplicate_keys_are_refused_with_both_places() {
    check_refused("k: 1\nk: 2", 2, 1, "duplicate key, first given at line 1, column 1");
    check_refused("a:\n  1: x\n  0x1: y", 3, 3, "duplicate key, first given at line 2, column 3");
    check_refused("yes: 1\n\ntrue: 2", 3, 1, "duplicate key, first given at line 1, column 1");
    check_refused("{[a]: 1, [a]: 2}", 1, 10, "duplicate key, first given at line 1, column 2");
    check("1: a\n'1': b", &["[1]=a", "1=b"]);
}

#[test]
fn invalid_aliases_are_refused() {
    check_refused("a: &a [1, *a]", 1, 11, "alias stands within the node it names");
    check_refused("a: &a {<<: *a}", 1, 12, "alias stands within the node it names");
    check_refused("a: *b", 1, 4, "alias names an anchor that is not defined before it");
    check_refused("a: {<<: 1}", 1, 9, "only maps can be merged");
    check_refused("a: {<<: [{}, 1]}", 1, 14, "only maps can be merged");
    check_refused("a: <<", 1, 4, "merge sign is not a key here");
}

#[test]
fn mistakes_are_refused_without_quoting_them() {
    check_refused("password: {cipher}abc", 1, 19, "key and colon expected");
    check_refused("a:\n\tb: secret", 2, 2, "tab where only blanks may indent");
    check_refused("a: 'secret", 1, 4, "quoted text is not closed");
    check_refused("a: [secret", 1, 4, "brackets do not match");
    check_refused("a: secret: b", 1, 10, "colon and blank within a value that is not quoted");
    check_refused("a: \"\\ud800\"", 1, 4, "escape is half a surrogate pair");
    check_refused("a: ._", 1, 4, "number cannot be read, quote it if it is text");
}

#[test]
fn a_block_at_the_end_of_the_file_gets_no_line_break_that_is_not_there() {
    check("a: |\n  x", &["a=x"]);
    check("a: |\n  x\n", &["a=x\n"]);
    check("a: |+\n  x\n\n", &["a=x\n\n"]);
    check("a: >\n  x\n  y", &["a=x y"]);
    check(
        "pem: |\n  -----BEGIN-----\n  abc\n  -----END-----",
        &["pem=-----BEGIN-----\nabc\n-----END-----"],
    );
}

#[test]
fn the_marker_seals_a_value() {
    let documents = parse(b"a: '{cipher}AQA'\nb: x{cipher}").unwrap();
    let sealed =
        |key| matches!(documents[0].get(key).unwrap().value, crate::model::Value::Sealed(_));
    assert!(sealed("a") && !sealed("b"));
}

#[test]
fn places_are_those_of_values() {
    check_places(
        "a: 1\nb:\n  - x\n  - {c:  y}\n",
        &[("a", 1, 4), ("b[0]", 3, 5), ("b[1].c", 4, 10)],
    );
    check_places(
        "a: &x 5\nb: !!str 6\nc: *x\nd: !!str &y 7",
        &[("a", 1, 4), ("b", 2, 4), ("c", 1, 4), ("d", 4, 4)],
    );
    check_places("a: |\n  x\nb: >-  # c | d\n\n  x\n", &[("a", 1, 4), ("b", 3, 4)]);
    check_places(
        "a:\nb: # c\nc:\n  -\n  - \nd: {e, f: }",
        &[("a", 1, 3), ("b", 2, 3), ("c[0]", 4, 4), ("c[1]", 5, 4), ("d.e", 6, 6), ("d.f", 6, 10)],
    );
    check_places("ü: ü\n'ß': []", &[("ü", 1, 4), ("ß", 2, 6)]);
}

#[test]
fn utf_16_and_other_line_ends() {
    let utf16: Vec<u8> =
        "\u{feff}a: ü\r\nb: 2\r".encode_utf16().flat_map(u16::to_be_bytes).collect();
    assert_eq!(rows(&parse(&utf16).unwrap()), ["a=ü", "b=2"]);
    check("\u{feff}a: 1\r\nb: |\r\n  x\r\n", &["a=1", "b=x\n"]);
    check("a: \"\\uD83D\\uDE00\"", &["a=\u{1f600}"]);
}

#[test]
fn nesting_is_bounded_as_in_snakeyaml() {
    let nested = |depth: usize| format!("{}x{}", "[".repeat(depth), "]".repeat(depth));
    check_count(&nested(50), 1);
    check_refused(&nested(51), 1, 52, "nested deeper than 50");
}

#[test]
fn documents_are_bounded() {
    check_count(&"---\na: 1\n".repeat(DOCUMENTS_MAX), DOCUMENTS_MAX);
    check_refused(
        &"---\na: 1\n".repeat(DOCUMENTS_MAX + 1),
        2_001,
        1,
        "file has more than 1000 documents",
    );
    check_refused(&"---\n".repeat(1_000_000), 1_001, 1, "file has more than 1000 documents");
}

#[test]
fn flat_keys_are_bounded() {
    let lines = |count: usize| (0..count).map(|index| format!("k{index}: 1\n")).collect::<String>();
    check_count(&lines(KEYS_MAX), 1);
    check_refused(&lines(KEYS_MAX + 1), 100_001, 10, "file has more than 100000 flat keys");
    check_count(&format!("? {}\n: 1", "k".repeat(KEY_BYTES_MAX)), 1);
    check_refused(
        &format!("? {}\n: 1", "k".repeat(KEY_BYTES_MAX + 1)),
        1,
        3,
        "key is longer than 8192 bytes",
    );
    let half = "k".repeat(KEY_BYTES_MAX / 2);
    check_refused(
        &format!("? {half}\n: ? {half}\n  : 1"),
        3,
        5,
        "flat key is longer than 8192 bytes",
    );
}

#[test]
fn nodes_are_bounded() {
    let list = |count: usize| format!("a: [{}]", "{},".repeat(count));
    check_count(&list(500_000 - 3), 1);
    check_refused(&list(500_000 - 2), 1, 1, "file has more than 500000 nodes");
}

#[test]
fn what_aliases_stand_for_is_bounded() {
    let text =
        |count: usize| format!("a: &a [{}]\nb: [{}]", "{},".repeat(999), "*a,".repeat(count));
    check_count(&text(1_000), 1);
    let error = refusal(&text(1_001));
    assert_eq!(error.message, "aliases stand for more than 1000000 nodes");
}

/// Each level aliases the previous one ten times.
fn laughs(level: impl Fn(usize) -> String) -> String {
    (1..12).map(|index| format!("a{index}: &a{index} {}\n", level(index - 1))).collect::<String>()
}

#[test]
fn billion_laughs_are_refused() {
    let list = laughs(|below| format!("[{}]", format!("*a{below},").repeat(10)));
    assert_eq!(
        refusal(&format!("a0: &a0 lol\n{list}")).message,
        "aliases stand for more than 1000000 nodes"
    );
    let map = laughs(|below| {
        format!("{{{}}}", (0..10).map(|key| format!("k{key}: *a{below},")).collect::<String>())
    });
    assert_eq!(
        refusal(&format!("a0: &a0 lol\n{map}")).message,
        "aliases stand for more than 1000000 nodes"
    );
    let keys = laughs(|below| format!("{{? [{}] : 1}}", format!("*a{below},").repeat(10)));
    let error = refusal(&format!("a0: &a0 lol\n{keys}"));
    assert!(
        ["aliases stand for more than 1000000 nodes", "key is longer than 8192 bytes"]
            .contains(&&*error.message)
    );
}

#[test]
fn merges_that_multiply_are_refused() {
    let wide: String = (0..1_000).map(|key| format!("k{key}: 1, ")).collect();
    let merges = "- {<<: *a}\n".repeat(2_000);
    let error = refusal(&format!("- &a {{{wide}}}\n{merges}"));
    assert_eq!(error.message, "aliases stand for more than 1000000 nodes");
}

#[test]
fn a_long_text_named_often_is_refused() {
    let text = format!("- &a {}\n{}", "x".repeat(1_000_000), "- *a\n".repeat(100_000));
    assert_eq!(
        refusal(&text).message,
        format!("flat keys and values exceed {FLAT_BYTES_MAX} bytes")
    );
}

#[test]
fn brackets_and_dashes_without_end_are_refused() {
    for bomb in ["[", "{", "- ", "? ", "{a: ", "[{", "- - ? ", "!!seq [", "&a ["] {
        refusal(&bomb.repeat(50_000));
    }
    for bomb in ["%TAG !a! tag:x\n", "&a ", "!a ", "*a ", "'", "\"\\", "a: |\n", "#", "%Y "] {
        let _ = parse(bomb.repeat(50_000).as_bytes());
    }
    let indents: String = (0..2_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    refusal(&indents);
}

#[test]
fn numbers_of_a_million_digits_stay_text() {
    let digits = "7".repeat(1_000_000);
    check(&format!("a: {digits}"), &[&format!("a={digits}")]);
    check_refused(&format!("a: !!int {digits}"), 1, 4, "text is not an integer");
    check_refused(&format!("a: !!float {digits}"), 1, 4, "text is not a number");
    let parts = format!("1{}", ":30".repeat(200_000));
    check(&format!("a: {parts}"), &[&format!("a={parts}")]);
}

#[test]
fn quoted_text_over_several_lines() {
    check("a:\n  b: \"multi\n    line\"", &["a.b=multi line"]);
    check("a: \"multi\n line\"", &["a=multi line"]);
    check("a: 'multi\n\n line'", &["a=multi\nline"]);
}
