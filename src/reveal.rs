//! The stage between resolving and rendering: opens the sealed values of property sources.
//!
//! The result follows the original. An opened value is a plain string at the end of its source. A value that no key opens is
//! replaced by `invalid.<key>` with `<n/a>`. The answer never has another status because of it.

use std::sync::Arc;

use crate::model::{Document, Origin, Position, Problem, Property, PropertySource, Scalar, Value};

pub use headwater_secrets::Keyring;

/// The value of `invalid.<key>`, which the protocol fixes.
const NOT_OPENED: &str = "<n/a>";
/// The prefix of the key of a value that no key opens, which the protocol fixes.
const INVALID_PREFIX: &str = "invalid.";
/// The message of a [`Problem`] for a value that no key opens. It is the same for all failures.
const UNOPENED: &str =
    "no key of the server opens this sealed value: seal it again with one of its keys";

/// The form in which an answer contains sealed values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Variant {
    /// Sealed values keep their marker.
    Sealed,
    /// Sealed values are opened with the keys of the server.
    Opened,
}

/// The properties of one source after its sealed values were opened.
pub struct RevealedDocument {
    /// One document, in the form in which a source holds it.
    documents: Arc<[Document]>,
    /// The sealed values, in file order.
    attempts: Vec<Attempt>,
}

/// A sealed value that the server tried to open.
struct Attempt {
    key: Arc<str>,
    position: Position,
    is_opened: bool,
}

/// Opens the sealed values of a source. `None` for a source without sealed values.
pub fn reveal(source: &PropertySource, keys: &Keyring) -> Option<RevealedDocument> {
    if !has_sealed(source) {
        return None;
    }
    let mut kept = Vec::with_capacity(source.properties().len());
    let mut last: Vec<Property> = Vec::new();
    let mut attempts = Vec::new();
    for property in source.properties() {
        let Value::Sealed(sealed) = &property.value else {
            kept.push(property.clone());
            continue;
        };
        let opened = keys.open(sealed).ok();
        attempts.push(Attempt {
            key: Arc::clone(&property.key),
            position: property.position,
            is_opened: opened.is_some(),
        });
        match opened {
            // Overrides are the server's own properties. They keep their place and their origin.
            Some(text) if source.file.is_none() => {
                let value = Value::Plain(Scalar::String(text.expose().into()));
                kept.push(Property { value, ..property.clone() });
            }
            Some(text) => last
                .push(Property { value: Value::Opened(text.expose().into()), ..property.clone() }),
            None => last.push(Property {
                key: format!("{INVALID_PREFIX}{}", property.key).into(),
                value: Value::Opened(NOT_OPENED.into()),
                position: property.position,
            }),
        }
    }
    for property in last {
        // The keys of a document are unique. The file may contain a key that begins with the prefix.
        match kept.iter_mut().find(|kept| kept.key == property.key) {
            Some(kept) => kept.value = property.value,
            None => kept.push(property),
        }
    }
    Some(RevealedDocument { documents: Arc::new([Document { properties: kept }]), attempts })
}

/// Returns true if a source has a value to open.
pub fn has_sealed(source: &PropertySource) -> bool {
    source.properties().iter().any(|property| matches!(property.value, Value::Sealed(_)))
}

impl RevealedDocument {
    /// The source with the opened values, under the name of the sealed one.
    pub fn source(&self, sealed: &PropertySource) -> PropertySource {
        PropertySource { documents: Arc::clone(&self.documents), index: 0, ..sealed.clone() }
    }

    /// The properties after the sealed values were opened.
    pub fn properties(&self) -> &[Property] {
        &self.documents[0].properties
    }

    /// The outcome of each sealed value, in file order: true if it opened.
    pub fn outcomes(&self) -> impl Iterator<Item = bool> {
        self.attempts.iter().map(|attempt| attempt.is_opened)
    }

    /// The values that no key opens, for the file of a source.
    pub fn problems(&self, file: &Arc<str>) -> impl Iterator<Item = Problem> {
        let unopened = self.attempts.iter().filter(|attempt| !attempt.is_opened);
        unopened.map(|attempt| unopened_problem(file, &attempt.key, attempt.position))
    }
}

/// The problem of a value that no key opens.
pub fn unopened_problem(file: &Arc<str>, key: &Arc<str>, position: Position) -> Problem {
    Problem {
        origin: Origin { file: Arc::clone(file), position: Some(position) },
        key: Some(Arc::clone(key)),
        message: UNOPENED.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use headwater_secrets::{CIPHER_MARKER, SecretText, SpringKey};

    use super::*;

    fn keyring(passphrase: &str) -> Keyring {
        let passphrase = SecretText::new(passphrase);
        Keyring::new(vec![SpringKey::from_encrypt_key(&passphrase, "deadbeef").unwrap()])
    }

    fn sealed(keys: &Keyring, text: &str) -> Value {
        Value::Sealed(format!("{CIPHER_MARKER}{}", keys.seal_prefixed(text).unwrap()).into())
    }

    fn plain(text: &str) -> Value {
        Value::Plain(Scalar::String(text.into()))
    }

    fn source(file: Option<&str>, values: Vec<(&str, Value)>) -> PropertySource {
        let position = Position { line: 2, column: 4 };
        let properties = values
            .into_iter()
            .map(|(key, value)| Property { key: key.into(), value, position })
            .collect();
        PropertySource {
            name: "repo/a.yml".into(),
            file: file.map(Into::into),
            documents: Arc::new([Document { properties }]),
            index: 0,
        }
    }

    fn shown(document: &RevealedDocument) -> Vec<(&str, &str)> {
        let properties = document.properties().iter();
        properties.map(|property| (&*property.key, property.value.text())).collect()
    }

    #[test]
    fn opened_values_follow_all_others_and_failed_ones_are_replaced() {
        let (keys, other) = (keyring("k"), keyring("another"));
        let source = source(
            Some("a.yml"),
            vec![
                ("first", sealed(&keys, "{cipher}text")),
                ("list[0]", sealed(&other, "x")),
                ("plain", plain("in {cipher}00 it")),
                ("last", sealed(&keys, "")),
            ],
        );
        let revealed = reveal(&source, &keys).unwrap();
        let expected = [
            ("plain", "in {cipher}00 it"),
            ("first", "{cipher}text"),
            ("invalid.list[0]", "<n/a>"),
            ("last", ""),
        ];
        assert_eq!(shown(&revealed), expected);
        assert_eq!(revealed.outcomes().collect::<Vec<_>>(), [true, false, true]);
        let problems: Vec<String> =
            revealed.problems(&"a.yml".into()).map(|problem| problem.to_string()).collect();
        assert_eq!(
            problems,
            [
                "a.yml:2:4: list[0]: no key of the server opens this sealed value: seal it again with one of its keys"
            ]
        );
        let answered = revealed.source(&source);
        assert_eq!((&*answered.name, answered.file.as_deref()), ("repo/a.yml", Some("a.yml")));
        assert!(!format!("{answered:?}").contains("text"), "{answered:?}");
    }

    #[test]
    fn a_key_with_the_prefix_keeps_its_place() {
        let other = keyring("another");
        let values = vec![("invalid.a", plain("x")), ("b", plain("y")), ("a", sealed(&other, "z"))];
        let revealed = reveal(&source(Some("a.yml"), values), &keyring("k")).unwrap();
        assert_eq!(shown(&revealed), [("invalid.a", "<n/a>"), ("b", "y")]);
    }

    #[test]
    fn an_override_keeps_its_place_and_its_origin() {
        let keys = keyring("k");
        let values = vec![("a", sealed(&keys, "x")), ("b", plain("y"))];
        let revealed = reveal(&source(None, values), &keys).unwrap();
        assert_eq!(shown(&revealed), [("a", "x"), ("b", "y")]);
        assert_eq!(revealed.properties()[0].value, plain("x"));
    }

    #[test]
    fn a_source_without_sealed_values_is_left_alone() {
        let values = vec![("a", plain("in {cipher}00 it"))];
        assert!(reveal(&source(Some("a.yml"), values), &keyring("k")).is_none());
    }
}
