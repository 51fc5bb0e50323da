//! The fast parser returns the result of the full parser, or nothing.

use proptest::prelude::*;

use super::parse;
use crate::format::yaml::parse_text;

#[track_caller]
fn agree(text: &str) -> bool {
    let Some(documents) = parse(text) else { return false };
    assert_eq!(Ok(documents), parse_text(text, None), "{text:?}");
    true
}

#[track_caller]
fn check_parsed(text: &str) {
    assert!(agree(text), "{text:?}");
}

#[track_caller]
fn check_declined(text: &str) {
    assert!(!agree(text), "{text:?}");
}

#[test]
fn simple_files_are_parsed() {
    check_parsed("");
    check_parsed("# only a comment");
    check_parsed("a: 1\nb:\n  c: x # c\n  d: 'y' # d\n\n  # e\n  e: \"z\"\n");
    check_parsed("a:\n- x\n- y\nb:\n  - 1\n  - c: 2\n    d: 3\n  -   e: 4\n      f:\n      - 5\n");
    check_parsed("---\na: 1\n---\n\n---\nb: 2\n---\n");
    check_parsed("a:\nb: # c\nc: []\nd: {}\ne: ~\nf: ''\n'[x.y]': \"\"");
    check_parsed("a.b.c: ${x:y}\nurl: http://localhost:8080/x\nn: -5\nu: ü\nv: 'ß' # ü\n");
    check_parsed("a: {}\n---\nb: 1");
    check_parsed("a: b#c\nd: e  #\n");
}

#[test]
fn all_else_is_left_to_the_general_way() {
    for text in [
        "a: [1]",
        "a: {b: 1}",
        "a: |\n  x",
        "a: &x 1",
        "a: *x",
        "a: !!str 1",
        "? a\n: b",
        "a: b: c",
        "a: 'x",
        "a: \"\\n\"",
        "a: 'it''s'",
        "a: x\n  y",
        "a:\n  x",
        "- a",
        "just text",
        "a: 1\na: 2",
        "on: 1",
        "1: x",
        "<<: x",
        "a: <<",
        "a:\tb",
        "a: 1\r\n",
        " a: 1",
        "a:\n  b: 1\n c: 2",
        "a: 1\n  b: 2",
        "a:\n  - x\n b: 1",
        "a: -",
        "a: - x",
        "a:\n  -\n  - x",
        "--- x",
        "...",
        "%YAML 1.1\n---\na: 1",
        "a: x:",
        "a: 'x'#y",
        "a: 'x' y",
        "a: @x",
        "- - x",
        "a: 1\n- b",
        "a:\n- b\n  - c",
        "a: ._",
        "\u{feff}a: 1",
        "a b: 1",
        "a: x\n # c\n  y",
    ] {
        check_declined(text);
    }
}

/// Random combinations of mostly valid lines.
fn line() -> impl Strategy<Value = String> {
    let indent = prop::sample::select(vec!["", "", "", "  ", "  ", "    ", " ", "      "]);
    let dash =
        prop::sample::select(vec!["", "", "", "", "- ", "- ", "-   ", "- - ", "-", "--- ", "? "]);
    let key = prop::sample::select(vec![
        "a: ",
        "b: ",
        "c:",
        "d:",
        "e.f: ",
        "a[0]: ",
        "'x y': ",
        "\"[z]\":",
        "on: ",
        "1: ",
        "",
        "",
        "a:b",
        "k :",
        "é: ",
        "~: ",
        "<<: ",
        "-x: ",
        "'': ",
        "'it''s': ",
        "a/b:  ",
    ]);
    let value = prop::sample::select(vec![
        "",
        "",
        "x",
        "1",
        "-1",
        "0x1F",
        "1:30",
        "1.5",
        "-.5",
        "true",
        "off",
        "~",
        "null",
        "'q'",
        "\"q\"",
        "''",
        "'it''s'",
        "\"\\n\"",
        "[]",
        "{}",
        "[a]",
        "{a: b}",
        "x: y",
        "x:",
        "a#b",
        "#c",
        "<<",
        "|",
        ">-",
        "&a x",
        "*a",
        "!!str x",
        "'x",
        "'x' y",
        "- x",
        "-",
        "-x",
        "--",
        "?",
        "? x",
        ":",
        ":x",
        ",",
        "@x",
        "%x",
        "`x`",
        "é ü",
        "\u{2028}",
        "\u{85}x",
        "{cipher}x",
        "'{cipher}x'",
        "${a:b}",
        "a, b",
        "x ' y",
        "\"x\" # c",
        "'x'#c",
        "=",
        "._",
        "12e3",
        "\u{feff}",
        "x\ty",
        "2020-01-01",
        "'x': y",
        "\"a\": 'b'",
    ]);
    let tail = prop::sample::select(vec!["", "", "", "", " ", " # c", "  #", "\t", "\r"]);
    (indent, dash, key, value, tail)
        .prop_map(|(indent, dash, key, value, tail)| format!("{indent}{dash}{key}{value}{tail}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_ways_agree_on_lines_at_random(lines in prop::collection::vec(line(), 0..8), end in prop::sample::select(vec!["", "\n", "\n\n", "\n---\n"])) {
        agree(&(lines.join("\n") + end));
    }

    #[test]
    fn both_ways_agree_on_single_lines(key in prop::sample::select(vec!["a: ", "- ", "a:\n- ", "a:\n  - b: "]), value in "[ -~éü\u{2028}]{0,12}") {
        agree(&format!("{key}{value}\nz: 1"));
        agree(&format!("{key}{value}"));
    }

    #[test]
    fn both_ways_agree_on_text_at_random(text in "[-ab:#'\"\\[\\]{}&*!|>%@0-9. \n]{0,40}") {
        agree(&text);
    }
}
