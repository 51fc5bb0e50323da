//! SOPS files: the answers of the real program, changed files, and files that would exhaust memory.

use headwater_secrets::age::AgeIdentities;
use headwater_secrets::sops::{self, SopsError, SopsFormat, Value};
use headwater_secrets::{KeyError, SecretText};
use serde_json::Value as Json;

use crate::vectors::VectorFile;

fn identities(file: &VectorFile) -> AgeIdentities {
    AgeIdentities::parse(file.text("identity")).unwrap()
}

fn format_of(vector: &Json) -> SopsFormat {
    match vector["format"].as_str().unwrap() {
        "yaml" => SopsFormat::Yaml,
        // An unknown kind of file is one text in JSON.
        "json" | "binary" => SopsFormat::Json,
        "dotenv" => SopsFormat::Dotenv,
        "ini" => SopsFormat::Ini,
        other => panic!("format {other}"),
    }
}

fn text(text: &str) -> Value {
    Value::Text(SecretText::new(text))
}

fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Map(entries.map(|(key, value)| (key.to_owned(), value)).to_vec())
}

/// The documents that `sops --decrypt` prints for the vectors that it opens, by the beginning of their ids.
fn expected(id: &str) -> Vec<Value> {
    let integer = |number: &str| Value::Integer(SecretText::new(number));
    let float = |number: &str| Value::Float(SecretText::new(number));
    let yaml = |user: &str| {
        let db = [
            ("user", text(user)),
            ("password", text("s3cret-\u{fc}\u{20ac}")),
            ("port", integer("5432")),
            ("ratio", float("1.5")),
            ("on", Value::Bool(true)),
        ];
        vec![map([
            ("db", map(db)),
            ("list", Value::List(vec![text("one"), integer("2"), map([("k", text("v"))])])),
            ("empty", text("")),
            ("nothing", Value::Null),
            ("public_unencrypted", text("visible")),
            ("multi", text("line 1\nline 2\n")),
        ])]
    };
    match id {
        "all.yaml" | "part.yaml" | "partmac.yaml" => yaml("orders"),
        // The MAC covers sealed values only.
        "bad-clear-changed-mac-only.yaml" => yaml("other"),
        "all.json" | "part.json" | "partmac.json" => vec![map([
            (
                "db",
                map([
                    ("user", text("orders")),
                    ("password", text("s3cret-\u{fc}\u{20ac}")),
                    ("port", integer("5432")),
                    ("ratio", float("1.5")),
                    ("tiny", float("0.0000001")),
                    ("bigf", float("1000000000000000000000")),
                    ("on", Value::Bool(true)),
                    ("off", Value::Bool(false)),
                ]),
            ),
            ("list", Value::List(vec![text("one"), integer("2"), map([("k", text("v"))])])),
            ("empty", text("")),
            ("nothing", Value::Null),
            ("public_unencrypted", text("visible")),
            ("emptymap", map([])),
            ("multi", text("line 1\nline 2\n")),
        ])],
        "all.env" => vec![map([("A", text("x")), ("B", text("long value"))])],
        "all.ini" => vec![map([("s", map([("a", text("x"))]))])],
        "all.properties" => vec![map([("data", text("a.b=x\n"))])],
        "two-recipients.yaml" => vec![map([("db", map([("password", text("x"))]))])],
        "two-documents.yaml" => vec![map([("a", integer("1"))]), map([("b", text("s"))])],
        "anchors.yaml" => vec![map([
            ("a", text("s")),
            ("b", text("s")),
            ("c", map([("<<", map([("d", integer("1"))]))])),
        ])],
        other => panic!("no documents are stated for {other}"),
    }
}

/// The error for each vector that the program rejects.
fn expected_error(id: &str) -> SopsError {
    match id {
        "other-recipient.yaml" => SopsError::OtherRecipient,
        "bad-clear-changed.yaml" | "bad-dropped.yaml" | "bad-no-mac.yaml" | "bad-mac-time.yaml" => {
            SopsError::Mac
        }
        "bad-swapped.yaml" => SopsError::Value { path: "db.user".to_owned() },
        // The program reports the MAC here. The renamed value is found first, since its path does not fit.
        "bad-renamed.yaml" => SopsError::Value { path: "db.passwort".to_owned() },
        other => panic!("no error is stated for {other}"),
    }
}

/// Texts of `plain` that the documents above must agree with: what the program printed.
fn printed(vector: &Json) -> Option<Json> {
    let plain = vector["plain"].as_str()?;
    (vector["format"] == "json").then(|| serde_json::from_str(plain).unwrap())
}

#[test]
fn every_vector_has_the_answer_of_the_program() {
    let file = VectorFile::sops();
    let identities = identities(&file);
    let mut opened_count = 0;
    for vector in file.vectors() {
        let id = vector["id"].as_str().unwrap();
        let opened = sops::open(vector["text"].as_str().unwrap(), format_of(vector), &identities);
        if vector["plain"].is_null() {
            assert_eq!(opened.unwrap_err(), expected_error(id), "{id}");
            continue;
        }
        let documents = opened.unwrap_or_else(|error| panic!("{id}: {error}"));
        assert!(documents == expected(id), "{id}: {documents:?}");
        if let Some(printed) = printed(vector) {
            assert_json(&documents[0], &printed);
        }
        opened_count += 1;
    }
    assert_eq!((opened_count, file.vectors().len()), (13, 20));
}

/// Asserts that a value equals the JSON that the program printed.
fn assert_json(value: &Value, printed: &Json) {
    match (value, printed) {
        (Value::Null, Json::Null) => {}
        (Value::Bool(ours), Json::Bool(theirs)) => assert_eq!(ours, theirs),
        (Value::Integer(ours) | Value::Float(ours), Json::Number(theirs)) => {
            let ours: f64 = ours.expose().parse().unwrap();
            assert_eq!(ours, theirs.to_string().parse::<f64>().unwrap());
        }
        (Value::Text(ours), Json::String(theirs)) => assert_eq!(ours.expose(), theirs),
        (Value::List(ours), Json::Array(theirs)) => {
            assert_eq!(ours.len(), theirs.len());
            ours.iter().zip(theirs).for_each(|(ours, theirs)| assert_json(ours, theirs));
        }
        (Value::Map(ours), Json::Object(theirs)) => {
            assert_eq!(ours.len(), theirs.len());
            for ((key, ours), (name, theirs)) in ours.iter().zip(theirs) {
                assert_eq!(key, name);
                assert_json(ours, theirs);
            }
        }
        (ours, theirs) => panic!("{ours:?} is not {theirs}"),
    }
}

fn vector<'a>(file: &'a VectorFile, id: &str) -> &'a str {
    let found = file.vectors().iter().find(|vector| vector["id"] == id).unwrap();
    found["text"].as_str().unwrap()
}

#[test]
fn several_identities_are_tried() {
    let file = VectorFile::sops();
    // The bytes 1 to 32, which are the identity of no file.
    let other = "AGE-SECRET-KEY-1QYPQXPQ9QCRSSZG2PVXQ6RS0ZQG3YYC5Z5TPWXQERGD3C8G7RUSQGPQYEE";
    let both = format!("# created: today\n{other}\n\n{}\n", file.text("identity"));
    let text = vector(&file, "all.yaml");
    let open = |identities: &str| {
        sops::open(text, SopsFormat::Yaml, &AgeIdentities::parse(identities).unwrap())
    };
    assert!(open(&both).is_ok());
    assert_eq!(open(other).unwrap_err(), SopsError::OtherRecipient);
}

#[test]
fn identities_are_one_in_each_line() {
    let file = VectorFile::sops();
    for (text, expected) in [
        ("", KeyError::NoIdentity),
        ("# comment\n\n", KeyError::NoIdentity),
        ("AGE-SECRET-KEY-1", KeyError::Identity { line: 1 }),
        (
            "#\nage168h05x0342ddu4dng9n8asermure4at9ekkdud3h9gpmajzfxf0syycs80",
            KeyError::Identity { line: 2 },
        ),
    ] {
        assert_eq!(AgeIdentities::parse(text).unwrap_err(), expected, "{text}");
    }
    let padded = format!("  {}  \r\n", file.text("identity"));
    assert!(AgeIdentities::parse(&padded).is_ok());
}

#[test]
fn files_without_age_name_the_kinds_of_recipients() {
    let file = VectorFile::sops();
    let identities = identities(&file);
    let open = |text: &str| sops::open(text, SopsFormat::Yaml, &identities).unwrap_err();
    assert_eq!(open("a: 1"), SopsError::NoMetadata);
    let error = open("a: 1\nsops:\n  pgp:\n  - fp: x\n  kms:\n  - arn: y\n");
    assert_eq!(error, SopsError::NoAgeRecipient { kinds: "pgp, kms".to_owned() });
    let error = open("a: 1\nsops:\n  version: 3\n");
    assert_eq!(error, SopsError::NoAgeRecipient { kinds: "none".to_owned() });
    let error = open("a: 1\nsops:\n  key_groups:\n  - age: []\n  - pgp: []\n");
    assert_eq!(error, SopsError::KeyGroups);
    assert!(matches!(open("[1, 2]"), SopsError::Syntax(_)));
}

#[test]
fn an_added_value_and_a_duplicate_key_break_the_mac() {
    let file = VectorFile::sops();
    let identities = identities(&file);
    for id in ["all.yaml", "part.yaml"] {
        let text = vector(&file, id);
        let added = text.replacen("empty: \"\"", "empty: \"\"\nadded: x", 1);
        let twice = text.replacen("empty: \"\"", "public_unencrypted: visible", 1);
        for text in [added, twice] {
            let error = sops::open(&text, SopsFormat::Yaml, &identities).unwrap_err();
            assert_eq!(error, SopsError::Mac, "{id}");
        }
    }
    let json =
        vector(&file, "part.json").replacen("\"emptymap\": {}", "\"emptymap\": {\"x\": 1}", 1);
    assert_eq!(sops::open(&json, SopsFormat::Json, &identities).unwrap_err(), SopsError::Mac);
}

#[test]
fn flat_files_have_a_mac_too() {
    let file = VectorFile::sops();
    let identities = identities(&file);
    let text = vector(&file, "all.env");
    let open = |text: &str| sops::open(text, SopsFormat::Dotenv, &identities);
    assert_eq!(open(&format!("C=1\n{text}")).unwrap_err(), SopsError::Mac);
    assert_eq!(open("A=1\n").unwrap_err(), SopsError::NoMetadata);
    assert!(matches!(open("A\n").unwrap_err(), SopsError::Syntax(_)));
    let renamed = text.replacen("\nA=", "\nZ=", 1);
    assert_eq!(open(&renamed).unwrap_err(), SopsError::Value { path: "Z".to_owned() });
    let text = vector(&file, "all.ini");
    let open = |text: &str| sops::open(text, SopsFormat::Ini, &identities);
    assert_eq!(open(&format!("b = 1\n{text}")).unwrap_err(), SopsError::Mac);
    assert_eq!(open("[s]\na = 1\n").unwrap_err(), SopsError::NoMetadata);
    assert!(matches!(open("[s\n").unwrap_err(), SopsError::Syntax(_)));
    let moved = text.replacen("[s]", "[t]", 1);
    assert_eq!(open(&moved).unwrap_err(), SopsError::Value { path: "t.a".to_owned() });
}

#[test]
fn deep_large_and_expanding_files_are_rejected() {
    let file = VectorFile::sops();
    let identities = identities(&file);
    let yaml = |text: &str| sops::open(text, SopsFormat::Yaml, &identities).unwrap_err();
    let json = |text: &str| sops::open(text, SopsFormat::Json, &identities).unwrap_err();
    assert_eq!(yaml(&" ".repeat(1024 * 1024 + 1)), SopsError::TooLarge);
    assert!(matches!(yaml(&"[".repeat(100_000)), SopsError::Syntax(_)));
    assert!(matches!(
        yaml(&format!("a: {}{}", "[".repeat(60), "]".repeat(60))),
        SopsError::Syntax(_)
    ));
    assert!(matches!(json(&"[".repeat(500_000)), SopsError::Syntax(_)));
    assert!(matches!(json(&"{\"a\":".repeat(100_000)), SopsError::Syntax(_)));
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let before = level - 1;
        let aliases = vec![format!("*a{before}"); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert_eq!(yaml(&bomb), SopsError::Syntax("its aliases stand for more than 32 MiB"));
    let long = "x".repeat(500_000);
    let wide = format!("a: &a {long}\nb: [{}]\n", vec!["*a"; 1000].join(", "));
    assert_eq!(yaml(&wide), SopsError::Syntax("its aliases stand for more than 32 MiB"));
    assert!(matches!(yaml("a: *a"), SopsError::Syntax(_)));
    assert!(matches!(yaml("a: &a [*a]"), SopsError::Syntax(_)));
    assert!(matches!(yaml("? [a]\n: b"), SopsError::Syntax(_)));
    assert!(matches!(yaml("a: !x b"), SopsError::Syntax(_)));
}
