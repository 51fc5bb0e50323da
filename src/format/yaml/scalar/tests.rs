//! The table of scalars in docs/protocol.md#9-yaml, and its edges.

use super::*;

/// Compares a type and a text. `!` stands for an error.
#[track_caller]
fn check(text: &str, kind: &str, expected: &str) {
    let resolved = resolve(Cow::Borrowed(text));
    let found = match &resolved {
        Err(NumberError) => ("!", ""),
        Ok(leaf @ Leaf::Integer(_)) => ("int", leaf.text().unwrap_or_default()),
        Ok(leaf @ Leaf::Float(_)) => ("float", leaf.text().unwrap_or_default()),
        Ok(leaf @ Leaf::Bool(_)) => ("bool", leaf.text().unwrap_or_default()),
        Ok(leaf @ Leaf::String(_)) => ("string", leaf.text().unwrap_or_default()),
        Ok(Leaf::Null) => ("null", ""),
        Ok(Leaf::Merge) => ("merge", ""),
    };
    assert_eq!(found, (kind, expected), "{text}");
}

#[track_caller]
fn strings(texts: &[&str]) {
    texts.iter().for_each(|text| check(text, "string", text));
}

#[test]
fn integers_in_five_notations() {
    for (text, value) in [
        ("0", "0"),
        ("-0", "0"),
        ("+1", "1"),
        ("-12", "-12"),
        ("010", "8"),
        ("0755", "493"),
        ("00", "0"),
        ("0x1F", "31"),
        ("-0xff", "-255"),
        ("0b101", "5"),
        ("1_000", "1000"),
        ("1__0", "10"),
        ("1_", "1"),
        ("1:30", "90"),
        ("12:30:45", "45045"),
        ("190:20:30", "685230"),
        ("-1:30", "-90"),
    ] {
        check(text, "int", value);
    }
    strings(&[
        "08", "09", "0o17", "_1", "01:02", "1:60", "+", "-", "1:", "12h", "1.2.3", "1,000", "=",
    ]);
}

#[test]
fn integers_of_any_size() {
    check("4294967296", "int", "4294967296");
    check("12345678901234567890123", "int", "12345678901234567890123");
    check("0xffffffffffffffffffff", "int", "1208925819614629174706175");
    check(&format!("0b1{}", "0".repeat(70)), "int", "1180591620717411303424");
    check("0xfffffffff", "int", "68719476735");
    check("-01777777777777777777777777", "int", "-9444732965739290427391");
}

#[test]
fn base_sixty_overflows_as_in_java() {
    check("99999999:59", "int", "1705032703");
    check("99999999999999999999:30", "!", "");
    check("._", "!", "");
}

#[test]
fn a_number_has_at_most_as_many_characters_as_in_snakeyaml() {
    let longest = "1".repeat(NUMBER_BYTES_MAX);
    check(&longest, "int", &longest);
    let longer = "1".repeat(NUMBER_BYTES_MAX + 1);
    check(&longer, "string", &longer);
    check(&"9".repeat(1_000_000), "string", &"9".repeat(1_000_000));
}

#[test]
fn floats_print_as_in_java() {
    for (text, value) in [
        ("1.10", "1.1"),
        ("1.", "1.0"),
        (".5", "0.5"),
        ("-.5", "-0.5"),
        ("+._5", "0.5"),
        ("1.5e3", "1500.0"),
        ("1e3", "1000.0"),
        ("1E5", "100000.0"),
        ("1e-7", "1.0E-7"),
        ("1.0E400", "Infinity"),
        (".inf", "Infinity"),
        ("-.Inf", "-Infinity"),
        ("+.INF", "Infinity"),
        (".nan", "NaN"),
        (".NaN", "NaN"),
        ("190:20:30.15", "685230.15"),
        ("-0.0", "-0.0"),
        ("1_0.2_5", "10.25"),
    ] {
        check(text, "float", value);
    }
    strings(&[
        ".",
        ".iNF",
        "-.nan",
        "1e",
        "1.5e+",
        "e3",
        "0x_",
        "0_",
        "2020-01-01",
        "2020-01-01T00:00:00Z",
    ]);
}

#[test]
fn words_have_three_casings() {
    for word in ["yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE"] {
        check(word, "bool", "true");
    }
    for word in ["no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE"] {
        check(word, "bool", "false");
    }
    for word in ["", "~", "null", "Null", "NULL"] {
        check(word, "null", "");
    }
    check("<<", "merge", "");
    strings(&["tRue", "oN", "y", "n", "Y", "N", "nULL", "~~", "<", "none"]);
}
