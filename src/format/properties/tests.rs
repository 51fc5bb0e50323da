//! Recorded cases of the original (docs/protocol.md#10-properties-xml-toml-and-json), and the limits.

use super::parse;
use crate::format::{DOCUMENTS_MAX, KEYS_MAX};

/// Documents as `key=value` rows, several of them separated by `---`.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let bytes: Vec<u8> = text.chars().map(|c| u8::try_from(c).unwrap()).collect();
    let documents = parse(&bytes).unwrap();
    let rows = documents.iter().map(|document| {
        let row = |property: &crate::model::Property| {
            format!("{}={}", property.key, property.value.text())
        };
        document.properties.iter().map(row).collect::<Vec<_>>()
    });
    assert_eq!(rows.collect::<Vec<_>>().join(&["---".to_owned()][..]), expected, "{text:?}");
}

#[track_caller]
fn check_refused(text: &str, line: u32, column: u32, message: &str) {
    let error = parse(text.as_bytes()).unwrap_err();
    let position = error.position.map(|position| (position.line, position.column));
    assert_eq!((position, error.message.as_str()), (Some((line, column)), message), "{text:?}");
}

#[test]
fn keys_end_at_the_first_separator() {
    check("  k = v  ", &["k=v  "]);
    check("a:b\nc d\ne\t=f\ng", &["a=b", "c=d", "e=f", "g="]);
    check("k = = v", &["k== v"]);
    check("=v\n\nk=1", &["k=1"]);
    check("a\\=b=c\na\\ b=c\na\\:b=c", &["a=b=c", "a b=c", "a:b=c"]);
    check("k=v # x", &["k=v # x"]);
}

#[test]
fn escapes_and_continued_lines() {
    check("k=a\\\n   b", &["k=ab"]);
    check("k=\\u00fc\\n\\t\\z", &["k=\u{fc}\n\tz"]);
    check("k=\\uD83D\\uDE00", &["k=\u{1f600}"]);
    check("a=x\\", &["a=x"]);
    check("a=x\r\nb=y\rc=z", &["a=x", "b=y", "c=z"]);
}

#[test]
fn bytes_are_latin_1() {
    check("k=\u{c3}\u{bc}", &["k=\u{c3}\u{bc}"]);
    check("\u{ef}\u{bb}\u{bf}k=1", &["\u{ef}\u{bb}\u{bf}k=1"]);
}

#[test]
fn the_last_of_equal_keys_counts_at_the_place_of_the_first() {
    check("a=1\nb=2\na=3\nA=4", &["a=3", "b=2", "A=4"]);
}

#[test]
fn lists_are_split_at_commas() {
    check("l[]=a, b ,c", &["l[0]=a", "l[1]=b ", "l[2]=c"]);
    check("l[]=a\\,b,c", &["l[0]=a,b", "l[1]=c"]);
    check("l[]=", &["l[0]="]);
    check("l[]=a,\nm=1", &["l[0]=a", "m=1"]);
}

#[test]
fn separators_split_unless_a_comment_is_next_to_them() {
    for (text, documents) in [
        ("k=1\n#---\nk=2", 2),
        ("k=1\n!---\nk=2", 2),
        ("k=1\n#---  \nk=2", 2),
        ("k=1\n#c\n#---\nk=2", 1),
        ("k=1\n!c\n#---\nk=2", 2),
        ("k=1\n#---\n#c\nk=2", 1),
        ("k=1\n#---\n!c\nk=2", 1),
        ("k=1\n #---\nk=2", 1),
        ("k=1\n# ---\nk=2", 1),
        ("k=1\n#----\nk=2", 1),
        ("#---\nk=1", 1),
        ("k=1\n#---", 1),
        ("#---\n#---\n", 0),
        ("", 0),
    ] {
        assert_eq!(parse(text.as_bytes()).unwrap().len(), documents, "{text:?}");
    }
    check("k=1\n#---\n#c\nk=2\nl=3", &["k=2", "l=3"]);
}

#[test]
fn places_are_those_of_values() {
    let documents = parse(b"a = 1\n  b\\=c: x\nl[]=1, 2\ne=\nf=\\\n  g").unwrap();
    let places: Vec<_> = documents[0]
        .properties
        .iter()
        .map(|property| (&*property.key, property.position.line, property.position.column))
        .collect();
    let expected =
        [("a", 1, 5), ("b=c", 2, 8), ("l[0]", 3, 5), ("l[1]", 3, 8), ("e", 4, 3), ("f", 6, 3)];
    assert_eq!(places, expected);
}

#[test]
fn broken_escapes_are_refused() {
    let message = "escape \\u is not followed by four hexadecimal digits";
    check_refused("a=1\nk=\\u12", 2, 3, message);
    check_refused("k=\\u12x4", 1, 3, message);
    check_refused("k=a\\uD83D", 1, 3, "escape is half a surrogate pair");
}

#[test]
fn documents_and_keys_are_bounded() {
    let documents = |count: usize| "#---\nk=1\n".repeat(count);
    assert_eq!(parse(documents(DOCUMENTS_MAX).as_bytes()).unwrap().len(), DOCUMENTS_MAX);
    assert!(parse(documents(DOCUMENTS_MAX + 1).as_bytes()).is_err());
    let keys = |count: usize| (0..count).map(|key| format!("k{key}=\n")).collect::<String>();
    assert_eq!(parse(keys(KEYS_MAX).as_bytes()).unwrap().len(), 1);
    check_refused(&keys(KEYS_MAX + 1), 100_001, 9, "file has more than 100000 flat keys");
}

#[test]
fn separators_that_are_taken_back_cost_nothing() {
    let keys: String = (0..50_000).map(|key| format!("k{key}=\n")).collect();
    let text = keys + &"#---\n!c\n".repeat(300_000);
    assert_eq!(parse(text.as_bytes()).unwrap().len(), 1);
}
