//! Tests of ambiguous strings. SnakeYAML and PyYAML have parsed each line of the tables back to its text.

use std::borrow::Cow;

use super::*;

#[track_caller]
fn check(text: &str, expected: &str) {
    let mut map = OrderedMap::default();
    map.put("k", NestedNode::Scalar(Cow::Owned(Scalar::String(text.into()))));
    assert_eq!(write(&NestedNode::Map(map)), Ok(format!("k: {expected}\n")));
}

#[track_caller]
fn check_plain(texts: &[&str]) {
    for text in texts {
        check(text, text);
    }
}

#[track_caller]
fn check_quoted(texts: &[&str]) {
    for text in texts {
        check(text, &format!("'{text}'"));
    }
}

#[test]
fn plain_text() {
    check_plain(&["a", "hello world", "a  b", "a,b", "a[0]", "a}", "a:b", "a#b", "c:\\d"]);
    check_plain(&["http://x:80/?a=b&c#d", "it's", "a \"b\"", "50%", "$x ${y}", "(x)", "/a", ";"]);
    check_plain(&["1.2.3", "10.0.0.1", "12h", "v1", "00:1a:2b", "e", "e5x", "tRuth", "nullx"]);
    check_plain(&["ü", "日本", "😀", "\u{a0}", "+", "a-b", "a...", "_a", "\\n", "yes!"]);
}

#[test]
fn words_of_yaml() {
    check_quoted(&["", "~", "null", "Null", "NULL", "true", "True", "TRUE", "tRuE", "false"]);
    check_quoted(&[
        "yes", "Yes", "no", "NO", "on", "On", "off", "OFF", "y", "Y", "n", "N", "<<", "=",
    ]);
}

#[test]
fn numbers() {
    check_quoted(&[
        "0", "123", "-1", "+1", "010", "0755", "08", "0x1F", "0b101", "0o17", "1_000", "_1",
    ]);
    check_quoted(&["1:30", "12:30:45", "190:20:30.15", "01:02", "1,000"]);
    check_quoted(&["1.0", "1.", ".5", "1e3", "1E5", "1e-7", "1.0E+10", "-1.5e3", "6.8523015e+5"]);
    check_quoted(&[".inf", "-.Inf", "+.INF", ".nan", ".NaN", "NaN", "Infinity", "-Infinity", "."]);
}

#[test]
fn timestamps() {
    check_quoted(&[
        "2020-01-01",
        "2020-1-1",
        "2020-01-01T00:00:00Z",
        "2020-01-01 10:00:00.5 +01:00",
    ]);
}

#[test]
fn indicators() {
    check_quoted(&[
        "- a", "-a", "-", "--- x", "...", "? a", "?", ": a", ":a", ",a", "[a]", "{a}", "]", "}",
    ]);
    check_quoted(&[
        "#a",
        "&a",
        "*a",
        "!a",
        "!!str a",
        "|",
        ">",
        "\"a\"",
        "%a",
        "@a",
        "`a`",
        "{cipher}x",
    ]);
    check_quoted(&["a: b", "a:", "a #b", " a", "a ", " ", "a: "]);
    check("'a'", "'''a'''");
    check("a: it's", "'a: it''s'");
}

#[test]
fn escapes() {
    check("a\tb", "\"a\\tb\"");
    check("a\r\nb", "\"a\\r\\nb\"");
    check("\"\\\u{1}", "\"\\\"\\\\\\x01\"");
    check("\0\u{7f}\u{85}", "\"\\x00\\x7f\\x85\"");
    check("\u{feff}\u{2028}\u{2029}\u{fffe}", "\"\\ufeff\\u2028\\u2029\\ufffe\"");
    check("ü😀\u{1b}", "\"ü😀\\x1b\"");
}

#[test]
fn lines() {
    check("a\nb", "|-\n  a\n  b");
    check("a\n", "|\n  a");
    check("a\n\n", "|+\n  a\n");
    check("a\n\n\n", "|+\n  a\n\n");
    check("a\n\nb\n", "|\n  a\n\n  b");
    check(" a\nb", "|2-\n   a\n  b");
    check("\na\n", "|2\n\n  a");
    check("a\n b\n", "|\n  a\n   b");
    check("# a\n- b: c\n---\n", "|\n  # a\n  - b: c\n  ---");
    check("a\n\tb", "|-\n  a\n  \tb");
    check("\ta\nb", "|2-\n  \ta\n  b");
    check("a \nb", "\"a \\nb\"");
    check("a\nb\t", "\"a\\nb\\t\"");
    check("\n", "\"\\n\"");
    check("\n\n", "\"\\n\\n\"");
    check("a\n\u{1}", "\"a\\n\\x01\"");
    check("a\n\u{85}b", "\"a\\n\\x85b\"");
}

#[test]
fn keys() {
    let one = |key: &str| {
        let mut map = OrderedMap::default();
        map.put(key, NestedNode::List(vec![NestedNode::Null]));
        write(&NestedNode::Map(map))
    };
    assert_eq!(one("true"), Ok("'true':\n- null\n".into()));
    assert_eq!(one("a b/c"), Ok("a b/c:\n- null\n".into()));
    assert_eq!(one("a\nb"), Ok("\"a\\nb\":\n- null\n".into()));
    let long = "k".repeat(SIMPLE_KEY_BYTES_MAX + 1);
    assert_eq!(one(&long), Ok(format!("? {long}\n:\n- null\n")));
}

#[test]
fn text_far_to_the_right_stands_on_one_line() {
    let nested = |depth: usize| {
        let mut node = NestedNode::Scalar(Cow::Owned(Scalar::String("a\nb".into())));
        for _ in 0..depth {
            node = NestedNode::List(vec![node]);
        }
        write(&node)
    };
    let edge = LITERAL_COLUMN_MAX / INDENT + 1;
    assert_eq!(nested(edge).map(|text| text.lines().count()), Ok(3));
    assert_eq!(nested(edge + 1).map(|text| text.lines().count()), Ok(1));
}

#[test]
fn size_has_an_edge() {
    let out = " ".repeat(OUTPUT_BYTES_MAX - 1);
    let mut writer = YamlWriter { out };
    assert_eq!(writer.indent(1), Ok(()));
    assert_eq!(writer.indent(1), Err(FlatError::TooLarge));
}
