//! Rendering of an environment to JSON, flat forms and digest. Only this module produces the wire format.
//!
//! The JSON forms (docs/protocol.md#3-the-environment) are written by hand. An answer is rendered once and shared. Its
//! rendered form records the place of the revision, so that the current revision can be spliced in at each read.

pub mod flat;
mod flat_error;
mod json;
mod nest;
mod ordered_map;
mod yaml;

use std::ops::Range;

use aws_lc_rs::digest::{Context, SHA256};

use crate::model::{Digest, Environment, Property, PropertySource, Scalar, SealedOutcome, Value};

/// The two JSON representations of an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Representation {
    /// `application/json`: plain values.
    V1,
    /// `application/vnd.spring-cloud.config-server.v2+json`: values with their origins.
    V2,
}

impl Representation {
    pub fn content_type(self) -> &'static str {
        match self {
            Self::V1 => "application/json",
            Self::V2 => "application/vnd.spring-cloud.config-server.v2+json",
        }
    }

    /// The short name in entity tags.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

/// A rendered environment with the place of its revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedJson {
    /// UTF-8 JSON.
    pub bytes: Vec<u8>,
    /// The range of the value of `version`: a JSON string or `null`.
    pub version: Range<usize>,
}

impl RenderedJson {
    /// Copies rendered bytes with another revision.
    pub fn with_version(bytes: &[u8], version: &Range<usize>, revision: &str) -> Self {
        let mut spliced = Vec::with_capacity(bytes.len() + revision.len() + 2);
        spliced.extend_from_slice(&bytes[..version.start]);
        write_string(&mut spliced, revision);
        let end = spliced.len();
        spliced.extend_from_slice(&bytes[version.end..]);
        Self { bytes: spliced, version: version.start..end }
    }
}

/// Renders the JSON of an environment (docs/protocol.md#3-the-environment).
pub fn json(
    environment: &Environment,
    representation: Representation,
    revision: &str,
    state: Option<&str>,
) -> RenderedJson {
    let RenderedJson { mut bytes, version } = head(environment, revision, state);
    write_sources(&mut bytes, &environment.sources, representation);
    RenderedJson { bytes, version }
}

/// Renders the JSON before the list of property sources. [`write_sources`] appends the rest.
pub fn head(environment: &Environment, revision: &str, state: Option<&str>) -> RenderedJson {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(b"{\"name\":");
    write_string(&mut out, &environment.application);
    out.extend_from_slice(b",\"profiles\":[");
    write_string(&mut out, &environment.profiles);
    out.extend_from_slice(b"],\"label\":");
    write_optional(&mut out, environment.label.name());
    out.extend_from_slice(b",\"version\":");
    let start = out.len();
    write_string(&mut out, revision);
    let version = start..out.len();
    out.extend_from_slice(b",\"state\":");
    write_optional(&mut out, state);
    out.extend_from_slice(b",\"propertySources\":");
    RenderedJson { bytes: out, version }
}

/// Appends the list of property sources and the end of the JSON.
pub fn write_sources(
    out: &mut Vec<u8>,
    sources: &[PropertySource],
    representation: Representation,
) {
    out.push(b'[');
    for (index, source) in sources.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"{\"name\":" } else { b",{\"name\":" });
        write_string(out, &source.name);
        out.extend_from_slice(b",\"source\":{");
        for (index, property) in source.properties().iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_string(out, &property.key);
            out.push(b':');
            match (representation, &property.value) {
                (Representation::V1, value) | (Representation::V2, value @ Value::Opened(_)) => {
                    write_value(out, value);
                }
                (Representation::V2, _) => write_tracked(out, property, source.file.is_some()),
            }
        }
        out.extend_from_slice(b"}}");
    }
    out.extend_from_slice(b"]}");
}

fn write_tracked(out: &mut Vec<u8>, property: &Property, from_file: bool) {
    out.extend_from_slice(b"{\"value\":");
    write_value(out, &property.value);
    out.extend_from_slice(b",\"origin\":");
    if from_file {
        let position = property.position;
        write_string(out, &format!("{}:{}", position.line, position.column));
    } else {
        write_string(out, "Config server overrides");
    }
    out.push(b'}');
}

fn write_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Plain(scalar) | Value::Opened(scalar) => write_scalar(out, scalar),
        Value::Sealed(text) => write_string(out, text),
    }
}

fn write_scalar(out: &mut Vec<u8>, scalar: &Scalar) {
    match scalar {
        Scalar::Bool(true) => out.extend_from_slice(b"true"),
        Scalar::Bool(false) => out.extend_from_slice(b"false"),
        Scalar::Integer(text) => out.extend_from_slice(text.as_bytes()),
        Scalar::Float(text) if text.ends_with(|c: char| c.is_ascii_digit()) => {
            out.extend_from_slice(text.as_bytes());
        }
        Scalar::Float(text) | Scalar::String(text) => write_string(out, text),
    }
}

fn write_optional(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => write_string(out, text),
        None => out.extend_from_slice(b"null"),
    }
}

/// Appends a JSON string. Only quotes, backslashes and control characters are escaped.
fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut written = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0x08 => b"\\b",
            0x0c => b"\\f",
            0..=0x1f => &[],
            _ => continue,
        };
        out.extend_from_slice(&text.as_bytes()[written..at]);
        if escape.is_empty() {
            out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
        } else {
            out.extend_from_slice(escape);
        }
        written = at + 1;
    }
    out.extend_from_slice(&text.as_bytes()[written..]);
    out.push(b'"');
}

/// The digest of an environment's property sources. Each text follows its length, so that different contents have different
/// inputs.
pub fn digest(sources: &[PropertySource]) -> Digest {
    digest_opened(sources, std::iter::empty())
}

/// The digest of property sources whose sealed values the server opens. The sources are the sealed ones, so that the digest
/// reveals nothing about an opened text. The outcomes say for each sealed value, in order, whether it opened, and which
/// version a reference has. Without them, a client would receive 304 after a key was added or a secret was replaced.
pub fn digest_opened<'a>(
    sources: &[PropertySource],
    outcomes: impl IntoIterator<Item = SealedOutcome<'a>>,
) -> Digest {
    let mut outcomes = outcomes.into_iter();
    let mut context = Context::new(&SHA256);
    for source in sources {
        update(&mut context, b'S', &source.name);
        for property in source.properties() {
            update(&mut context, b'k', &property.key);
            let kind = match &property.value {
                Value::Plain(Scalar::Bool(_)) => b'b',
                Value::Plain(Scalar::Integer(_)) => b'i',
                Value::Plain(Scalar::Float(_)) => b'f',
                Value::Plain(Scalar::String(_)) => b's',
                Value::Sealed(_) => b'c',
                Value::Opened(_) => b'o',
            };
            update(&mut context, kind, property.value.text());
            if let Value::Sealed(_) = property.value
                && let Some(outcome) = outcomes.next()
            {
                update_outcome(&mut context, outcome);
            }
        }
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    Digest(digest)
}

fn update_outcome(context: &mut Context, outcome: SealedOutcome<'_>) {
    match outcome {
        SealedOutcome::Kept => context.update(b"=k"),
        SealedOutcome::Failed => context.update(&[b'=', 0]),
        SealedOutcome::Opened => context.update(&[b'=', 1]),
        SealedOutcome::Referenced(version) => update(context, b'@', version),
    }
}

fn update(context: &mut Context, kind: u8, text: &str) {
    context.update(&[kind]);
    context.update(&(text.len() as u64).to_le_bytes());
    context.update(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use super::*;
    use crate::model::{Document, Label, Position};

    fn environment(values: &[(&str, Value)]) -> Environment {
        let properties = values
            .iter()
            .map(|(key, value)| Property {
                key: Arc::from(*key),
                value: value.clone(),
                position: Position { line: 3, column: 7 },
            })
            .collect();
        Environment {
            application: "foo".into(),
            profiles: "dev,prod".into(),
            label: Label::Default,
            sources: vec![PropertySource {
                name: "repo/foo.yml".into(),
                file: Some("foo.yml".into()),
                documents: Arc::new([Document { properties, sops: None }]),
                index: 0,
            }],
        }
    }

    fn string(text: &str) -> Value {
        Value::Plain(Scalar::String(text.into()))
    }

    #[test]
    fn the_json_follows_spring_and_its_revision_can_be_replaced() {
        let environment = environment(&[
            ("a", string("x\"y\n\u{1}ü")),
            ("b", Value::Plain(Scalar::Integer("12345678901234567890123".into()))),
            ("c", Value::Plain(Scalar::Float("Infinity".into()))),
            ("d", Value::Plain(Scalar::Float("1.0E10".into()))),
            ("e", Value::Plain(Scalar::Bool(true))),
        ]);
        let rendered = json(&environment, Representation::V1, "r1", Some(""));
        let expected = r#"{"name":"foo","profiles":["dev,prod"],"label":null,"version":"r1","state":"","propertySources":[{"name":"repo/foo.yml","source":{"a":"x\"y\n\u0001ü","b":12345678901234567890123,"c":"Infinity","d":1.0E10,"e":true}}]}"#;
        assert_eq!(String::from_utf8(rendered.bytes.clone()).unwrap(), expected);
        let moved = RenderedJson::with_version(&rendered.bytes, &rendered.version, "longer");
        assert_eq!(
            String::from_utf8(moved.bytes.clone()).unwrap(),
            expected.replace("r1", "longer")
        );
        assert_eq!(RenderedJson::with_version(&moved.bytes, &moved.version, "r1"), rendered);
    }

    #[test]
    fn v2_values_have_their_origin() {
        let rendered = json(&environment(&[("a", string("x"))]), Representation::V2, "r", None);
        let text = String::from_utf8(rendered.bytes).unwrap();
        assert!(text.contains(r#""a":{"value":"x","origin":"3:7"}"#), "{text}");
        let opened = environment(&[("a", Value::Opened(Scalar::String("x".into())))]);
        let opened = String::from_utf8(json(&opened, Representation::V2, "r", None).bytes).unwrap();
        assert!(opened.contains(r#""source":{"a":"x"}"#), "{opened}");
        assert!(text.contains(r#""state":null"#), "{text}");
    }

    #[test]
    fn the_digest_distinguishes_types_and_boundaries() {
        let number = environment(&[("a", Value::Plain(Scalar::Integer("1".into())))]);
        let text = environment(&[("a", string("1"))]);
        let other = environment(&[("a1", string(""))]);
        assert_ne!(digest(&number.sources), digest(&text.sources));
        assert_ne!(digest(&text.sources), digest(&other.sources));
        let sealed = environment(&[("a", Value::Sealed("{cipher}00".into()))]).sources;
        let outcomes = [
            SealedOutcome::Kept,
            SealedOutcome::Failed,
            SealedOutcome::Opened,
            SealedOutcome::Referenced("1"),
            SealedOutcome::Referenced("2"),
        ];
        let digests: HashSet<_> =
            outcomes.into_iter().map(|outcome| digest_opened(&sealed, [outcome])).collect();
        assert_eq!(digests.len(), outcomes.len());
        assert!(!digests.contains(&digest(&sealed)));
        let mut moved = text.clone();
        moved.label = Label::Named("x".into());
        assert_eq!(digest(&text.sources), digest(&moved.sources));
    }
}
