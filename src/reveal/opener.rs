//! Opens the values of one file.

use std::borrow::Cow;
use std::sync::Arc;

use headwater_secrets::sealed::Place;
use headwater_secrets::sops::{self, OpenedTexts, SopsError, SopsFormat};

use super::keyring::{KeySet, Keyring};
use super::place::areas_of;
use super::reference::{Lookup, Reference};
use crate::model::{Document, PropertySource, Scalar, SealedKind, SopsFile};

/// The message for a `{cipher}` value that no key opens. It is the same for all failures.
const UNOPENED_CIPHER: &str =
    "no key of the server opens this sealed value: seal it again with one of its keys";
/// The message for a `{sealed}` value that no key opens.
const UNOPENED_BOUND: &str = "no seal key of the server opens this value here: it was sealed with another key, or for another \
     application or property. Seal it again with headwater seal";
/// The message for a reference that the policy denies.
const DENIED: &str =
    "the policy does not let this file refer to this secret: add it to the area of the file";
/// The message for a referenced value whose first read is under way.
pub(super) const PENDING: &str = "the secret has not been read yet: retry in a few seconds";

/// The result of the attempt to open one value.
pub enum Opening {
    /// The server has no key for values of this kind, so that they keep their text.
    Kept,
    /// The value, and for a reference its version.
    Opened {
        value: Scalar,
        version: Option<Arc<str>>,
    },
    Failed(OpenFailure),
}

/// The reason why a value does not open.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct OpenFailure {
    /// For people, without anything of the value.
    pub message: Cow<'static, str>,
    /// True if an environment with the value must be held back, whatever the settings say.
    pub holds: bool,
    /// True if the value may open in a moment, without a change of the configuration.
    pub is_pending: bool,
    /// True if the answer has the text of the value, as without a key.
    pub keeps_text: bool,
}

/// Opens the values of one file with the keys of one moment.
pub struct Opener<'a> {
    file: Option<&'a str>,
    keys: &'a Keyring,
    set: Arc<KeySet>,
    /// The values of a SOPS file by their sealed texts. `None` for another file, and without an identity.
    sops: Option<Result<OpenedTexts, SopsError>>,
}

impl<'a> Opener<'a> {
    /// An opener for the documents of a file. The overrides have no file.
    pub fn new(file: Option<&'a str>, document: Option<&Document>, keys: &'a Keyring) -> Self {
        let set = keys.current();
        let sops = document.and_then(|document| document.sops.as_deref());
        let sops = sops.and_then(|file| open_sops(file, &set));
        Self { file, keys, set, sops }
    }

    /// An opener for the values of a source.
    pub fn of_source(source: &'a PropertySource, keys: &'a Keyring) -> Self {
        Self::new(source.file.as_deref(), source.documents.get(source.index), keys)
    }

    /// The reason why the file as a whole cannot be used. `None` for a sound file, and for one that is sealed for others.
    pub fn broken_file(&self) -> Option<String> {
        match &self.sops {
            Some(Err(error)) if !error.is_for_others() => Some(error.to_string()),
            _ => None,
        }
    }

    /// Opens one value.
    pub fn open(&self, key: &str, sealed: &str) -> Opening {
        match SealedKind::of_sealed(sealed) {
            SealedKind::Cipher if self.set.cipher.is_empty() => Opening::Kept,
            SealedKind::Cipher => match self.set.cipher.open(sealed) {
                Ok(text) => Opening::text(text.expose()),
                Err(_) => Opening::failed(UNOPENED_CIPHER),
            },
            SealedKind::Bound if self.set.bound.is_empty() => Opening::Kept,
            SealedKind::Bound => self.open_bound(key, sealed),
            SealedKind::Sops => self.open_in_sops(sealed),
            kind @ (SealedKind::File | SealedKind::Vault) => self.look_up(kind, sealed),
        }
    }

    fn open_bound(&self, key: &str, sealed: &str) -> Opening {
        let opened = areas_of(self.file)
            .into_iter()
            .find_map(|area| self.set.bound.open(sealed, &Place { area, key }).ok());
        opened.map_or_else(|| Opening::failed(UNOPENED_BOUND), |text| Opening::text(text.expose()))
    }

    fn open_in_sops(&self, sealed: &str) -> Opening {
        match &self.sops {
            None => Opening::Kept,
            Some(Err(error)) => Opening::failed(error.to_string()),
            Some(Ok(values)) => match values.get(sealed).and_then(scalar) {
                Some(value) => Opening::Opened { value, version: None },
                // The parser of SOPS files and that of the server read the file differently.
                None => Opening::failed("the value is not part of the SOPS file as sops reads it"),
            },
        }
    }

    fn look_up(&self, kind: SealedKind, text: &str) -> Opening {
        let Some(references) = self.keys.references(kind) else { return Opening::Kept };
        let reference = match Reference::parse(text) {
            Ok(reference) => reference,
            Err(error) => return Opening::failed(error.to_string()),
        };
        if self.file.is_some_and(|file| !references.may_reference(file, &reference)) {
            let message = DENIED.into();
            let failure = OpenFailure { message, keeps_text: true, ..OpenFailure::default() };
            return Opening::Failed(failure);
        }
        let (message, is_pending) = match references.look_up(&reference) {
            Lookup::Found { value, version } => {
                return Opening::Opened { value, version: Some(version) };
            }
            Lookup::Missing(message) => (message, false),
            Lookup::Pending => (PENDING.into(), true),
        };
        let holds = kind == SealedKind::Vault;
        Opening::Failed(OpenFailure { message, holds, is_pending, keeps_text: false })
    }
}

impl Opening {
    fn text(text: &str) -> Self {
        Self::Opened { value: Scalar::String(text.into()), version: None }
    }

    fn failed(message: impl Into<Cow<'static, str>>) -> Self {
        Self::Failed(OpenFailure { message: message.into(), ..OpenFailure::default() })
    }
}

fn open_sops(file: &SopsFile, set: &KeySet) -> Option<Result<OpenedTexts, SopsError>> {
    let identities = set.identities.as_ref()?;
    let format = if file.is_json { SopsFormat::Json } else { SopsFormat::Yaml };
    Some(sops::open_sealed_texts(&file.text, format, identities))
}

/// The value with the type that it had when it was sealed.
fn scalar(value: &sops::Value) -> Option<Scalar> {
    match value {
        sops::Value::Bool(value) => Some(Scalar::Bool(*value)),
        sops::Value::Integer(text) => Some(Scalar::Integer(text.expose().into())),
        sops::Value::Float(text) => Some(Scalar::Float(text.expose().into())),
        sops::Value::Text(text) => Some(Scalar::String(text.expose().into())),
        sops::Value::Null | sops::Value::List(_) | sops::Value::Map(_) => None,
    }
}
