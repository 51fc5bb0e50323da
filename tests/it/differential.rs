//! The formats against Spring's own loaders: `tests/differential/README.md` says how the answers were recorded.
//!
//! The committed sample is compared always; the full set with the Java side that `scripts/install-test-deps.sh` builds,
//! or from the file of answers that `HEADWATER_DIFFERENTIAL` names. Where we differ on purpose there is a class below,
//! narrow, with its reason.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use headwater::format::{Format, parse};
use headwater::model::{Document, Scalar, Value};
use serde_json::Value as Json;

use crate::fixture::installed;

/// Key, type, text, origin.
type Row = (String, String, String, Option<String>);
type Documents = Vec<Vec<Row>>;

struct Case {
    id: String,
    format: Format,
    bytes: Vec<u8>,
    java: Result<Documents, String>,
}

#[test]
fn the_sample_reads_as_in_spring() {
    compare(&root().join("tests/differential/sample.jsonl"));
}

#[test]
fn all_generated_files_read_as_in_spring() {
    if let Ok(answers) = std::env::var("HEADWATER_DIFFERENTIAL") {
        compare(Path::new(&answers));
    } else if installed(&["tests/oracle/target/classes", "tests/oracle/target/lib"]) {
        let folder = tempfile::tempdir().unwrap();
        compare(&ask_java(folder.path()));
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn ask_java(folder: &Path) -> PathBuf {
    let (inputs, answers) = (folder.join("inputs.jsonl"), folder.join("answers.jsonl"));
    let generated =
        Command::new(root().join("tests/differential/generate.py")).arg(&inputs).status();
    assert!(generated.unwrap().success());
    let asked = Command::new("java")
        .current_dir(root())
        .args([
            "-cp",
            "tests/oracle/target/classes:tests/oracle/target/lib/*",
            "oracle.Differential",
        ])
        .args([&inputs, &answers])
        .status();
    assert!(asked.unwrap().success());
    answers
}

/// Compares every answer, prints the count of each class, fails on what has none.
#[track_caller]
fn compare(answers: &Path) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut unexplained = Vec::new();
    for line in fs::read_to_string(answers).unwrap().lines().filter(|line| !line.is_empty()) {
        let case = Case::read(line);
        let ours = parse(case.format, &case.bytes)
            .map(rows)
            .map_err(|error| format!("{:?} {error}", error.position.map(|p| (p.line, p.column))));
        let class = match class(&case, &ours) {
            Some(class) => class,
            None => {
                unexplained.push(report(&case, &ours));
                "UNEXPLAINED"
            }
        };
        *counts.entry(class).or_default() += 1;
    }
    println!("{}: {counts:#?}", answers.display());
    let shown = unexplained.iter().take(400).cloned().collect::<Vec<_>>().join("\n");
    assert!(unexplained.is_empty(), "{} unexplained\n{shown}", unexplained.len());
}

impl Case {
    fn text(&self) -> String {
        let units = |unit: fn([u8; 2]) -> u16| {
            let units: Vec<u16> =
                self.bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
            String::from_utf16_lossy(&units)
        };
        match self.bytes.as_slice() {
            [0xfe, 0xff, ..] => units(u16::from_be_bytes),
            [0xff, 0xfe, ..] => units(u16::from_le_bytes),
            bytes => String::from_utf8_lossy(bytes).into_owned(),
        }
    }

    fn read(line: &str) -> Self {
        let json: Json = serde_json::from_str(line).unwrap();
        let text = |name: &str| json[name].as_str().map(str::to_owned);
        let mut bytes = base64(&text("base64").unwrap());
        let kind = text("kind").unwrap();
        if kind == "scalar" {
            bytes = [b"k: ", bytes.as_slice(), b"\n"].concat();
        }
        let java = match (text("error"), &json["documents"]) {
            (Some(error), _) => Err(error),
            (None, Json::Array(documents)) => Ok(documents.iter().map(java_rows).collect()),
            _ => Ok(vec![vec![(
                "k".to_owned(),
                text("type").unwrap(),
                text("text").unwrap(),
                text("origin"),
            )]]),
        };
        let format = if kind == "properties" { Format::Properties } else { Format::Yaml };
        Self { id: text("id").unwrap(), format, bytes, java }
    }
}

fn java_rows(document: &Json) -> Vec<Row> {
    let text = |json: &Json| json.as_str().map(str::to_owned);
    let row = |row: &Json| {
        (text(&row[0]).unwrap(), text(&row[1]).unwrap(), text(&row[2]).unwrap(), text(&row[3]))
    };
    document.as_array().unwrap().iter().map(row).collect()
}

fn rows(documents: Vec<Document>) -> Documents {
    let row = |property: headwater::model::Property| {
        let kind = match &property.value {
            Value::Plain(Scalar::Bool(_)) => "bool",
            Value::Plain(Scalar::Integer(_)) => "int",
            Value::Plain(Scalar::Float(_)) => "float",
            Value::Plain(Scalar::String(_)) | Value::Sealed(_) | Value::Opened(_) => "string",
        };
        let origin = format!("{}:{}", property.position.line, property.position.column);
        (property.key.to_string(), kind.to_owned(), property.value.text().to_owned(), Some(origin))
    };
    documents
        .into_iter()
        .map(|document| document.properties.into_iter().map(row).collect())
        .collect()
}

/// The first row that differs, or the two answers if they differ as a whole.
fn report(case: &Case, ours: &Result<Documents, String>) -> String {
    let first = match (&case.java, ours) {
        (Ok(java), Ok(ours)) => java
            .iter()
            .flatten()
            .zip(ours.iter().flatten())
            .find(|(java, ours)| !same_row(java, ours)),
        _ => None,
    };
    let rows = |answer: &Result<Documents, String>| match answer {
        Err(error) => error.clone(),
        Ok(documents) => format!("{:?} rows", documents.iter().map(Vec::len).collect::<Vec<_>>()),
    };
    match first {
        Some((java, ours)) => format!("{}\n  java {java:?}\n  ours {ours:?}", case.id),
        None => format!("{}\n  java {}\n  ours {}", case.id, rows(&case.java), rows(ours)),
    }
}

fn same_row(java: &Row, ours: &Row) -> bool {
    java.0 == ours.0 && same_value(java, ours) && same_origin(java, ours)
}

fn same_origin(java: &Row, ours: &Row) -> bool {
    java.3.is_none() || java.3 == ours.3
}

fn empty_at_line_end(java: &Row, ours: &Row) -> bool {
    let place = |row: &Row| {
        row.3
            .as_ref()?
            .split_once(':')
            .map(|(line, column)| (line.parse::<u32>().unwrap(), column.parse::<u32>().unwrap()))
    };
    let (Some(java_place), Some(ours_place)) = (place(java), place(ours)) else { return false };
    let below =
        java_place.0 == ours_place.0 + 1 && (java_place.1 == 0 || java_place.1 == ours_place.1);
    java.0 == ours.0 && java.2.is_empty() && ours.2.is_empty() && below
}

/// `equal`, or the reason for a difference; `None` if there is none.
fn class(case: &Case, ours: &Result<Documents, String>) -> Option<&'static str> {
    match (&case.java, ours) {
        (Ok(java), Ok(ours)) => values_class(case, java, ours),
        (Err(_), Err(_)) => Some("equal: both refuse"),
        (Err(java), Ok(_)) => accepted_class(case, java),
        (Ok(_), Err(ours)) => refused_class(case, ours),
    }
}

/// What we read and Spring does not.
fn accepted_class(case: &Case, java: &str) -> Option<&'static str> {
    let text = case.text();
    if java.starts_with("ClassCastException") {
        return Some(
            "accepted: key that is no string inside a list, Spring trips over its own cast",
        );
    }
    if java.starts_with("NullPointerException") {
        return Some("accepted: null as key, Spring trips over it");
    }
    if java.starts_with("ScannerException") && text.contains('\t') {
        return Some("accepted: tab between signs, as YAML 1.2 allows");
    }
    if text.contains(OLD_BREAKS) {
        return Some("accepted: NEL, LS and PS are text, as in YAML 1.2");
    }
    if java.starts_with("YAMLException: Unexpected timestamp") {
        return Some("accepted: explicit timestamp, handed on as it was written");
    }
    let signs_in_flow = ["[:", "{:", " :", "[?", "{?", " ?", ":?"];
    if java.starts_with("ParserException: while parsing a flow")
        && signs_in_flow.iter().any(|signs| text.contains(signs))
    {
        return Some(
            "accepted: text that begins with `:` or `?` inside brackets, as YAML 1.2 allows",
        );
    }
    let bare_colon = |line: &str| line.trim_start_matches(['-', ' ']).starts_with(": ");
    if java.starts_with("ParserException: while parsing a block mapping")
        && text.split(['\n', '\r']).any(bare_colon)
    {
        return Some("accepted: value without a key, as YAML 1.2 allows");
    }
    if odd_anchor(&text) {
        return Some("accepted: signs in the name of an anchor, as YAML 1.2 allows");
    }
    if java.starts_with("ParserException: while parsing a block node")
        && text.lines().any(|line| line.starts_with("..."))
    {
        return Some("accepted: `...` behind no document");
    }
    None
}

/// What Spring reads and we do not.
fn refused_class(case: &Case, ours: &str) -> Option<&'static str> {
    let text = case.text();
    if ours.ends_with("escape is half a surrogate pair")
        && text.to_ascii_lowercase().contains("\\ud")
    {
        return Some("refused: half a surrogate pair, which no answer could carry");
    }
    if ours.ends_with("byte order mark inside the text")
        && text.trim_start_matches('\u{feff}').contains('\u{feff}')
    {
        return Some("refused: byte order mark inside the text");
    }
    if ours.ends_with("alias stands within the node it names") {
        return Some("refused: alias within the node it names");
    }
    if text.contains(OLD_BREAKS) {
        return Some("refused: NEL, LS and PS are text, as in YAML 1.2");
    }
    if ours.ends_with("not valid yaml") && text.starts_with('%') && !text.contains("---") {
        return Some("refused: directive without a document");
    }
    if ours.ends_with("key and colon expected")
        && text
            .split('*')
            .skip(1)
            .any(|alias| alias.split(' ').next().is_some_and(|name| name.ends_with(':')))
    {
        return Some("refused: colon right behind an alias, which is part of its name in YAML 1.2");
    }
    if ours.ends_with("comment is not set off by a blank") {
        return Some("refused: comment without a blank before it");
    }
    if odd_anchor(&text) {
        return Some("refused: signs in the name of an anchor, as in YAML 1.2");
    }
    None
}

/// What both read.
fn values_class(case: &Case, java: &Documents, ours: &Documents) -> Option<&'static str> {
    let text = case.text();
    let same_shape = java.len() == ours.len()
        && java.iter().zip(ours).all(|(java, ours)| java.len() == ours.len());
    let pairs = || java.iter().flatten().zip(ours.iter().flatten());
    if same_shape && pairs().all(|(java, ours)| same_row(java, ours)) {
        return Some("equal");
    }
    if case.format == Format::Yaml && text.contains(OLD_BREAKS) {
        return Some("read otherwise: NEL, LS and PS are text, as in YAML 1.2");
    }
    if same_shape && pairs().all(|(java, ours)| same_row(java, ours) || java.0.contains("[B@")) {
        return Some("read otherwise: bytes within a key, where Spring prints an address");
    }
    if odd_anchor(&text) {
        return Some("read otherwise: signs in the name of an anchor, as in YAML 1.2");
    }
    // Spring loses track of keys that are merged in before their own map was built, and lets them win.
    if case.format == Format::Yaml && merges_behind_a_key(&text) {
        return Some("read otherwise: own keys win over merged ones wherever the anchor stands");
    }
    // Spring names the line below, or what it takes for one at the end of the file; we name the end of the line.
    if case.format == Format::Properties
        && same_shape
        && pairs().all(|(java, ours)| same_row(java, ours) || empty_at_line_end(java, ours))
    {
        return Some("place of an empty value at the end of a line");
    }
    if same_shape
        && pairs()
            .all(|(java, ours)| same_row(java, ours) || java.1 == "timestamp" && ours.1 == "string")
    {
        return Some("explicit timestamp, handed on as it was written");
    }
    if case.format == Format::Yaml
        && same_shape
        && text.ends_with('\r')
        && pairs().all(|(java, ours)| java.0 == ours.0 && same_value(java, ours))
    {
        return Some("place of nothing behind the last carriage return");
    }
    if same_shape
        && pairs().all(|(java, ours)| {
            same_row(java, ours) || without_digits(&java.0) == without_digits(&ours.0)
        })
    {
        return Some(
            "read otherwise: number within a key, where JDKs before 19 print digits too many",
        );
    }
    None
}

/// Whether a value begins with an anchor that has more than letters, digits, `-` and `_` in its name.
fn odd_anchor(text: &str) -> bool {
    let mut anchors =
        text.split(" &").skip(1).filter_map(|rest| rest.split_ascii_whitespace().next());
    anchors.any(|name| name.contains(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_'))
}

/// Whether a `<<` stands behind another key of its map.
fn merges_behind_a_key(text: &str) -> bool {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<&str> = text.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    lines.iter().enumerate().filter(|(_, line)| line.trim_start().starts_with("<<")).any(
        |(at, merge)| {
            let above = lines[..at]
                .iter()
                .rev()
                .filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
            above
                .take_while(|line| indent(line) >= indent(merge))
                .any(|line| indent(line) == indent(merge))
        },
    )
}

fn without_digits(text: &str) -> String {
    text.replace(|c: char| c.is_ascii_digit(), "")
}

/// The line breaks that YAML 1.2 no longer has.
const OLD_BREAKS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];

fn same_value(java: &Row, ours: &Row) -> bool {
    match (java.1.as_str(), ours.1.as_str()) {
        ("float", "float") => {
            let bits = u64::from_str_radix(java.2.split(' ').nth(1).unwrap(), 16).unwrap();
            let ours: f64 = ours.2.replace("Infinity", "inf").parse().unwrap();
            ours.to_bits() == bits || ours.is_nan() && f64::from_bits(bits).is_nan()
        }
        ("binary", "string") => java.2 == ours.2,
        (java_kind, ours_kind) => java_kind == ours_kind && java.2 == ours.2,
    }
}

fn base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'=').map(digit).collect();
    let bytes = digits.chunks(4).flat_map(|chunk| {
        let bits = chunk.iter().fold(0u32, |bits, digit| bits << 6 | u32::from(*digit))
            << (6 * (4 - chunk.len()));
        bits.to_be_bytes().into_iter().skip(1).take(chunk.len() - 1)
    });
    bytes.collect()
}
