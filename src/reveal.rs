//! The stage between resolving and rendering: opens the sealed values of property sources.
//!
//! The result follows the original. An opened `{cipher}` value is at the end of its source, and one of another kind stays at
//! its place. A value that no key opens is replaced by `invalid.<key>` with `<n/a>`. An environment is held back only for a [`RevealedDocument::hold_reason`].
//!
//! `keyring` has the keys and gives access to referenced values, `opener` opens the values of one file, `place` says to which
//! area a value is bound, and `reference` parses references. Nothing here performs I/O.

mod keyring;
mod opener;
mod place;
mod reference;

use std::borrow::Cow;
use std::sync::Arc;

use crate::model::{
    Document, Origin, Position, Problem, Property, PropertySource, Scalar, SealedKind,
    SealedOutcome, Value,
};

pub use keyring::{Generation, KeySet, Keyring};
pub use opener::{OpenFailure, Opener, Opening};
pub use place::{SHARED_AREA, areas_of};
pub use reference::{Lookup, Reference, ReferenceError, References, VaultFigures, scalar_of_json};

/// The value of `invalid.<key>`, which the protocol fixes.
const NOT_OPENED: &str = "<n/a>";
/// The prefix of the key of a value that no key opens, which the protocol fixes.
const INVALID_PREFIX: &str = "invalid.";

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
    attempts: Box<[Attempt]>,
    /// The reason why the file as a whole cannot be used.
    broken_file: Option<String>,
}

/// A sealed value that the server tried to open.
struct Attempt {
    key: Arc<str>,
    position: Position,
    result: AttemptResult,
}

enum AttemptResult {
    Kept,
    Opened,
    Referenced(Arc<str>),
    Failed(Box<OpenFailure>),
    /// The policy denies a reference, so that the value keeps its text.
    Denied(Cow<'static, str>),
}

/// Opens the sealed values of a source. `None` for a source without sealed values.
///
/// `previous` is the result for the same document before the keys changed. A value that was open then, and that no key opens
/// any more, stays open until its file is published anew.
pub fn reveal(
    source: &PropertySource,
    keys: &Keyring,
    previous: Option<&RevealedDocument>,
) -> Option<RevealedDocument> {
    if !has_sealed(source) {
        return None;
    }
    let opener = Opener::of_source(source, keys);
    let mut revealing = Revealing::default();
    for property in source.properties() {
        let Value::Sealed(sealed) = &property.value else {
            revealing.kept.push(property.clone());
            continue;
        };
        let opening = match opener.open(&property.key, sealed) {
            failed @ (Opening::Kept | Opening::Failed(_)) => {
                let attempt = revealing.attempts.len();
                let before = previous.and_then(|it| it.opened_value(attempt, &property.key));
                before
                    .map_or(failed, |value| Opening::Opened { value: value.clone(), version: None })
            }
            opened @ Opening::Opened { .. } => opened,
        };
        // Overrides are the server's own properties. They keep their place and their origin.
        let is_override = source.file.is_none();
        let moves = !is_override && SealedKind::of_sealed(sealed) == SealedKind::Cipher;
        revealing.add(property, opening, is_override, moves);
    }
    Some(revealing.finish(opener.broken_file()))
}

/// The properties of one source while its values are opened.
#[derive(Default)]
struct Revealing {
    kept: Vec<Property>,
    /// The properties that move to the end.
    last: Vec<Property>,
    attempts: Vec<Attempt>,
}

impl Revealing {
    fn add(&mut self, property: &Property, opening: Opening, is_override: bool, moves: bool) {
        let result = match opening {
            Opening::Kept => {
                self.kept.push(property.clone());
                AttemptResult::Kept
            }
            Opening::Opened { value, version } => {
                let value = if is_override { Value::Plain(value) } else { Value::Opened(value) };
                let list = if moves { &mut self.last } else { &mut self.kept };
                list.push(Property { value, ..property.clone() });
                version.map_or(AttemptResult::Opened, AttemptResult::Referenced)
            }
            Opening::Failed(failure) if failure.keeps_text => {
                self.kept.push(property.clone());
                AttemptResult::Denied(failure.message)
            }
            Opening::Failed(failure) => {
                self.last.push(Property {
                    key: format!("{INVALID_PREFIX}{}", property.key).into(),
                    value: Value::Opened(Scalar::String(NOT_OPENED.into())),
                    position: property.position,
                });
                AttemptResult::Failed(failure.into())
            }
        };
        let (key, position) = (Arc::clone(&property.key), property.position);
        self.attempts.push(Attempt { key, position, result });
    }

    fn finish(self, broken_file: Option<String>) -> RevealedDocument {
        let Self { mut kept, last, attempts } = self;
        for property in last {
            // The keys of a document are unique. The file may contain a key that begins with the prefix.
            match kept.iter_mut().find(|kept| kept.key == property.key) {
                Some(kept) => kept.value = property.value,
                None => kept.push(property),
            }
        }
        // Many environments have a document of their own, and the lists have grown by doubling.
        kept.shrink_to_fit();
        let documents = Arc::new([Document { properties: kept, sops: None }]);
        RevealedDocument { documents, attempts: attempts.into(), broken_file }
    }
}

/// Returns true if an environment with the source can be held back because of a sealed value.
pub fn may_hold(source: &PropertySource, keys: &Keyring) -> bool {
    let is_sops = || source.documents.get(source.index).is_some_and(|it| it.sops.is_some());
    !keys.is_empty()
        && source.file.is_some()
        && has_sealed(source)
        && (keys.holds_on_failure() || is_sops() || has_reference(source))
}

/// Returns true if a source has a value to open.
pub fn has_sealed(source: &PropertySource) -> bool {
    source.properties().iter().any(|property| matches!(property.value, Value::Sealed(_)))
}

/// Returns true if a source refers to a value outside the configuration.
pub fn has_reference(source: &PropertySource) -> bool {
    source.properties().iter().any(|property| match &property.value {
        Value::Sealed(text) => Reference::is_marked(text),
        Value::Plain(_) | Value::Opened(_) => false,
    })
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

    /// The outcome of each sealed value, in file order. References have their version.
    pub fn outcomes(&self) -> impl Iterator<Item = SealedOutcome<'_>> {
        self.attempts.iter().map(|attempt| match &attempt.result {
            AttemptResult::Kept | AttemptResult::Denied(_) => SealedOutcome::Kept,
            AttemptResult::Opened => SealedOutcome::Opened,
            AttemptResult::Referenced(version) => SealedOutcome::Referenced(version),
            AttemptResult::Failed(_) => SealedOutcome::Failed,
        })
    }

    /// The values that no key opens, for the file of a source.
    pub fn problems(&self, file: &Arc<str>) -> impl Iterator<Item = Problem> {
        self.attempts.iter().filter_map(|Attempt { key, position, result }| match result {
            AttemptResult::Failed(failure) => {
                Some(unopened_problem(file, key, *position, failure.message.clone()))
            }
            AttemptResult::Denied(message) => {
                Some(unopened_problem(file, key, *position, message.clone()))
            }
            AttemptResult::Kept | AttemptResult::Opened | AttemptResult::Referenced(_) => None,
        })
    }

    /// The reason for which an environment with the file must not be served: a SOPS file that was changed by hand, or a
    /// value that does not open where the settings or its kind hold the environment for it.
    pub fn hold_reason(&self, file: &Arc<str>, keys: &Keyring) -> Option<Problem> {
        if let Some(message) = &self.broken_file {
            let origin = Origin { file: Arc::clone(file), position: None };
            return Some(Problem { origin, key: None, message: message.clone() });
        }
        self.attempts.iter().find_map(|Attempt { key, position, result }| match result {
            AttemptResult::Failed(failure) if failure.holds || keys.holds_on_failure() => {
                Some(unopened_problem(file, key, *position, failure.message.clone()))
            }
            _ => None,
        })
    }

    /// The value that an attempt opened with a key.
    fn opened_value(&self, attempt: usize, key: &str) -> Option<&Scalar> {
        let attempt = self.attempts.get(attempt).filter(|attempt| &*attempt.key == key)?;
        if !matches!(attempt.result, AttemptResult::Opened) {
            return None;
        }
        match &self.documents[0].get(key)?.value {
            Value::Plain(value) | Value::Opened(value) => Some(value),
            Value::Sealed(_) => None,
        }
    }
}

/// Returns true for the problem of a referenced value whose first read is under way, and which ends by itself.
pub fn is_pending(problem: &Problem) -> bool {
    problem.message == opener::PENDING
}

/// The problem of a value that does not open.
pub fn unopened_problem(
    file: &Arc<str>,
    key: &Arc<str>,
    position: Position,
    message: Cow<'static, str>,
) -> Problem {
    Problem {
        origin: Origin { file: Arc::clone(file), position: Some(position) },
        key: Some(Arc::clone(key)),
        message: message.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use headwater_secrets::sealed::{Place, SealKey, SealKeyring};
    use headwater_secrets::{CIPHER_MARKER, SecretText, SpringKey};

    use super::*;

    fn keyring(passphrase: &str) -> Keyring {
        let passphrase = SecretText::new(passphrase);
        let key = SpringKey::from_encrypt_key(&passphrase, "deadbeef").unwrap();
        let cipher = headwater_secrets::Keyring::new(vec![key]);
        Keyring::new(KeySet { cipher, ..KeySet::default() })
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
            documents: Arc::new([Document { properties, sops: None }]),
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
        let revealed = reveal(&source, &keys, None).unwrap();
        let expected = [
            ("plain", "in {cipher}00 it"),
            ("first", "{cipher}text"),
            ("invalid.list[0]", "<n/a>"),
            ("last", ""),
        ];
        assert_eq!(shown(&revealed), expected);
        let outcomes: Vec<_> = revealed.outcomes().collect();
        assert_eq!(outcomes, [SealedOutcome::Opened, SealedOutcome::Failed, SealedOutcome::Opened]);
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
        let revealed = reveal(&source(Some("a.yml"), values), &keyring("k"), None).unwrap();
        assert_eq!(shown(&revealed), [("invalid.a", "<n/a>"), ("b", "y")]);
    }

    #[test]
    fn an_override_keeps_its_place_and_its_origin() {
        let keys = keyring("k");
        let values = vec![("a", sealed(&keys, "x")), ("b", plain("y"))];
        let revealed = reveal(&source(None, values), &keys, None).unwrap();
        assert_eq!(shown(&revealed), [("a", "x"), ("b", "y")]);
        assert_eq!(revealed.properties()[0].value, plain("x"));
    }

    #[test]
    fn a_source_without_sealed_values_is_left_alone() {
        let values = vec![("a", plain("in {cipher}00 it"))];
        assert!(reveal(&source(Some("a.yml"), values), &keyring("k"), None).is_none());
    }

    #[test]
    fn a_value_is_bound_to_its_area_and_its_key() {
        let key = SealKey::generate("k").unwrap();
        let bound = SealKeyring::new(vec![key]).unwrap();
        let seal = |area, key| {
            let place = Place { area, key };
            Value::Sealed(bound.seal("s3cret", &place).unwrap().into())
        };
        let values = vec![
            ("a", seal("orders", "a")),
            ("b", seal("orders", "a")),
            ("c", seal("*", "c")),
            ("d", Value::Sealed("{cipher}00".into())),
        ];
        let keys = Keyring::new(KeySet { bound, ..KeySet::default() });
        let outcomes = |file| {
            let revealed = reveal(&source(Some(file), values.clone()), &keys, None).unwrap();
            let outcomes: Vec<_> =
                revealed.outcomes().map(|outcome| outcome == SealedOutcome::Opened).collect();
            let kept = revealed.outcomes().last() == Some(SealedOutcome::Kept);
            assert!(kept, "a server without keys for {{cipher}} keeps these values");
            outcomes
        };
        assert_eq!(outcomes("config/orders-prod.yml"), [true, false, false, false]);
        assert_eq!(outcomes("orders.yml"), [true, false, false, false]);
        assert_eq!(outcomes("billing.yml"), [false, false, false, false]);
        assert_eq!(outcomes("application-prod.yml"), [false, false, true, false]);
    }

    #[test]
    fn a_value_stays_open_after_its_key_was_removed() {
        let (old, new) = (keyring("old"), keyring("new"));
        let values = vec![("a", sealed(&old, "x")), ("b", sealed(&new, "y"))];
        let source = source(Some("a.yml"), values);
        let first = reveal(&source, &old, None).unwrap();
        assert_eq!(shown(&first), [("a", "x"), ("invalid.b", "<n/a>")]);
        let second = reveal(&source, &new, Some(&first)).unwrap();
        assert_eq!(shown(&second), [("a", "x"), ("b", "y")]);
        let third = reveal(&source, &Keyring::default(), Some(&second)).unwrap();
        assert_eq!(shown(&third), [("a", "x"), ("b", "y")]);
        // Without a previous answer nothing is known.
        let anew = reveal(&source, &new, None).unwrap();
        assert_eq!(shown(&anew), [("invalid.a", "<n/a>"), ("b", "y")]);
    }

    /// A store with one value, which `orders.yml` may name.
    struct OneSecret;

    impl References for OneSecret {
        fn resolves(&self, kind: SealedKind) -> bool {
            matches!(kind, SealedKind::File | SealedKind::Vault)
        }

        fn may_reference(&self, file: &str, _: &Reference<'_>) -> bool {
            file == "orders.yml"
        }

        fn look_up(&self, reference: &Reference<'_>) -> Lookup {
            match reference {
                Reference::File { name: "known", .. } => {
                    Lookup::Found { value: Scalar::Bool(true), version: "7".into() }
                }
                Reference::Vault { path: "late", .. } => Lookup::Pending,
                _ => Lookup::Missing("there is none".into()),
            }
        }
    }

    #[test]
    fn references_are_opened_held_back_or_denied() {
        let keys = Keyring::default().with_references(Arc::new(OneSecret));
        let file: Arc<str> = "orders.yml".into();
        let reveal_one = |file: &str, text: &str| {
            let values = vec![("a", Value::Sealed(text.into()))];
            reveal(&source(Some(file), values), &keys, None).unwrap()
        };
        let opened = reveal_one("orders.yml", "{file}:known");
        assert_eq!(shown(&opened), [("a", "true")]);
        assert_eq!(opened.outcomes().collect::<Vec<_>>(), [SealedOutcome::Referenced("7")]);
        assert!(opened.problems(&file).next().is_none());
        // Another file keeps the text, and its problem names the policy.
        let denied = reveal_one("billing.yml", "{file}:known");
        assert_eq!(shown(&denied), [("a", "{file}:known")]);
        assert_eq!(denied.outcomes().collect::<Vec<_>>(), [SealedOutcome::Kept]);
        assert!(denied.problems(&file).next().unwrap().message.contains("policy"));
        assert!(denied.hold_reason(&file, &keys).is_none());
        for (text, holds, is_waiting) in [
            ("{file}:unknown", false, false),
            ("{vault}:absent#k", true, false),
            ("{vault}:late#k", true, true),
        ] {
            let failed = reveal_one("orders.yml", text);
            assert_eq!(shown(&failed), [("invalid.a", "<n/a>")], "{text}");
            let reason = failed.hold_reason(&file, &keys);
            assert_eq!(reason.is_some(), holds, "{text}");
            assert_eq!(reason.is_some_and(|reason| is_pending(&reason)), is_waiting, "{text}");
        }
        let holding = Keyring::default().with_holding(true);
        let failed = reveal_one("orders.yml", "{file}:unknown");
        assert!(failed.hold_reason(&file, &holding).is_some());
    }
}
