//! Opens SOPS files whose data key is sealed for an age identity, in YAML, JSON, dotenv and ini.
//!
//! A file contains its values, each in cleartext or as `ENC[…]`, and metadata with the sealed data key and a MAC. The
//! MAC covers the texts of all values in order, and a sealed value is bound to its key. A renamed key of a value in
//! cleartext is not detected. With `mac_only_encrypted` the MAC covers sealed values only, and a changed value in
//! cleartext is not detected either.
//!
//! The comments of a file are not read, since the MAC does not cover them.

mod flat;
mod json;
mod metadata;
mod number;
mod sealed_scalar;
mod value;
mod yaml;

use std::collections::HashMap;

use aws_lc_rs::digest::{Context, SHA512};

use crate::aes::AesKey;
use crate::age::{AgeError, AgeIdentities};
use crate::hex;
use metadata::Metadata;
use sealed_scalar::SealedScalar;
pub use value::Value;

/// The largest file that is read.
const FILE_BYTES_MAX: usize = 1024 * 1024;
/// The bytes before the values in a MAC over sealed values only.
const ENCRYPTED_ONLY: [u8; 32] = [
    0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b,
    0x0b, 0x97, 0x5b, 0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
];

/// The opened values of a file by their sealed texts.
pub type OpenedTexts = HashMap<Box<str>, Value>;

/// The format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SopsFormat {
    Yaml,
    Json,
    Dotenv,
    Ini,
}

/// A file cannot be opened. The caller adds the name of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SopsError {
    #[error("the file has no sops metadata")]
    NoMetadata,
    #[error("the SOPS file is larger than 1 MiB")]
    TooLarge,
    #[error("the SOPS file cannot be parsed: {0}")]
    Syntax(&'static str),
    #[error(
        "the SOPS file has no age recipient. Its kinds of recipients: {kinds}. Add one with: \
         sops rotate --add-age RECIPIENT FILE"
    )]
    NoAgeRecipient { kinds: String },
    #[error("the SOPS file needs several groups of keys. Only files with one group can be opened")]
    KeyGroups,
    #[error(
        "the SOPS file is sealed for other age recipients. Add the server's recipient and run: \
         sops updatekeys FILE"
    )]
    OtherRecipient,
    #[error("the data key of the SOPS file cannot be read")]
    DataKey,
    #[error("the value of {path} in the SOPS file cannot be opened. It was changed or moved")]
    Value { path: String },
    #[error(
        "the MAC of the SOPS file does not match its values. A value was changed, added or removed"
    )]
    Mac,
}

impl SopsError {
    /// Returns true if the file is sealed for recipients whose keys the caller does not have. The file itself may be
    /// sound. All other errors mean that it is broken.
    pub fn is_for_others(&self) -> bool {
        matches!(self, Self::NoAgeRecipient { .. } | Self::KeyGroups | Self::OtherRecipient)
    }
}

/// Opens all documents of a file and verifies the MAC. Only YAML has several documents.
pub fn open(
    text: &str,
    format: SopsFormat,
    identities: &AgeIdentities,
) -> Result<Vec<Value>, SopsError> {
    Ok(open_whole(text, format, identities)?.0)
}

/// Opens a file and verifies the MAC, as [`open`]. The result has the opened value of each sealed text.
///
/// A sealed text contains its nonce. Two equal texts in a file therefore have equal values.
pub fn open_sealed_texts(
    text: &str,
    format: SopsFormat,
    identities: &AgeIdentities,
) -> Result<OpenedTexts, SopsError> {
    Ok(open_whole(text, format, identities)?.1)
}

fn open_whole(
    text: &str,
    format: SopsFormat,
    identities: &AgeIdentities,
) -> Result<(Vec<Value>, OpenedTexts), SopsError> {
    if text.len() > FILE_BYTES_MAX {
        return Err(SopsError::TooLarge);
    }
    let (mut documents, metadata) = match format {
        SopsFormat::Yaml => split(yaml::parse(text)?)?,
        SopsFormat::Json => split(vec![json::parse(text)?])?,
        SopsFormat::Dotenv => flat::dotenv(text)?,
        SopsFormat::Ini => flat::ini(text)?,
    };
    let key = data_key(&metadata, identities)?;
    let digest = Context::new(&SHA512);
    let mut opener = Opener { key, digest, metadata: &metadata, opened: HashMap::new() };
    if metadata.covers_encrypted_only {
        opener.digest.update(&ENCRYPTED_ONLY);
    }
    for document in &mut documents {
        opener.open(document, &mut String::new())?;
    }
    let opened = opener.verify()?;
    Ok((documents, opened))
}

/// Takes the metadata out of the documents.
fn split(mut documents: Vec<Value>) -> Result<(Vec<Value>, Metadata), SopsError> {
    let mut found = None;
    for document in &mut documents {
        match document {
            Value::Map(entries) => {
                if let Some(at) = entries.iter().position(|(key, _)| key == "sops") {
                    let (_, metadata) = entries.remove(at);
                    found.get_or_insert(metadata);
                }
            }
            Value::Null => *document = Value::Map(Vec::new()),
            _ => return Err(SopsError::Syntax("expected a map at the top of each document")),
        }
    }
    let metadata = Metadata::from_value(&found.ok_or(SopsError::NoMetadata)?)?;
    Ok((documents, metadata))
}

fn data_key(metadata: &Metadata, identities: &AgeIdentities) -> Result<AesKey, SopsError> {
    let mut is_malformed = false;
    for sealed in metadata.age_files() {
        match identities.open(sealed) {
            Ok(bytes) => {
                let mut key = AesKey::default();
                if bytes.len() != key.len() {
                    return Err(SopsError::DataKey);
                }
                key.copy_from_slice(&bytes);
                return Ok(key);
            }
            Err(AgeError::NoStanza) => {}
            Err(AgeError::Malformed) => is_malformed = true,
        }
    }
    Err(if is_malformed { SopsError::DataKey } else { SopsError::OtherRecipient })
}

/// Opens values in order and computes the MAC.
struct Opener<'a> {
    key: AesKey,
    digest: Context,
    metadata: &'a Metadata,
    /// The opened values by their sealed texts.
    opened: OpenedTexts,
}

impl Opener<'_> {
    /// Opens a value and all values in it. `path` has the keys above it, each with a colon behind it.
    fn open(&mut self, value: &mut Value, path: &mut String) -> Result<(), SopsError> {
        match value {
            Value::Null => {}
            Value::List(items) => {
                for item in items {
                    self.open(item, path)?;
                }
            }
            Value::Map(entries) => {
                for (key, value) in entries {
                    let length = path.len();
                    path.push_str(key);
                    path.push(':');
                    self.open(value, path)?;
                    path.truncate(length);
                }
            }
            Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::Text(_) => {
                self.open_scalar(value, path)?;
            }
        }
        Ok(())
    }

    fn open_scalar(&mut self, value: &mut Value, path: &str) -> Result<(), SopsError> {
        let sealed = match value {
            Value::Text(text) if SealedScalar::is_marked(text.expose()) => {
                let opened = SealedScalar::parse(text.expose())
                    .and_then(|sealed| sealed.open(&self.key, path.as_bytes()))
                    .ok_or_else(|| unopened(path))?;
                self.opened.insert(text.expose().into(), opened.clone());
                Some(opened)
            }
            _ => None,
        };
        let is_sealed = sealed.is_some();
        if let Some(opened) = sealed {
            *value = opened;
        }
        if is_sealed || !self.metadata.covers_encrypted_only {
            self.digest.update(value.mac_text().as_bytes());
        }
        Ok(())
    }

    /// Compares the MAC, and returns the opened values.
    fn verify(self) -> Result<OpenedTexts, SopsError> {
        let sealed = SealedScalar::parse(&self.metadata.mac).ok_or(SopsError::Mac)?;
        let opened = sealed.open(&self.key, self.metadata.last_modified.as_bytes());
        let Some(Value::Text(expected)) = opened else { return Err(SopsError::Mac) };
        let computed = hex::encode(self.digest.finish().as_ref());
        let is_equal = computed.eq_ignore_ascii_case(expected.expose());
        if is_equal { Ok(self.opened) } else { Err(SopsError::Mac) }
    }
}

fn unopened(path: &str) -> SopsError {
    SopsError::Value { path: path.trim_end_matches(':').replace(':', ".") }
}
