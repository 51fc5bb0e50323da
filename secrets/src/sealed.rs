//! Headwater's own sealed values: `{sealed}<key id>.<base64url>`, bound to an area and a property key.
//!
//! The bytes are a nonce of 12 bytes, the ciphertext of AES-256-GCM-SIV and its tag. The associated data is `v1`, the
//! area and the property key, separated by zero bytes. A value that is copied to another area or key does not open.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::{digest, hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::SEALED_BYTES_MAX;
use crate::aes::{AesKey, SecretBytes};
use crate::error::{KeyError, OpenError, OpenFailure, SealError};
use crate::hex;
use crate::secret::SecretText;

/// The marker at the start of a sealed value.
pub const SEALED_MARKER: &str = "{sealed}";
/// The longest text that is sealed, in bytes.
const PLAIN_BYTES_MAX: usize = 256 * 1024;
const TAG_BYTES: usize = 16;
const ID_BYTES_MAX: usize = 64;
const VERSION: &str = "v1";
/// The text from which the key for fingerprints is derived.
const FINGERPRINT_INFO: &[u8] = b"headwater fingerprint v1";
/// The bytes of a fingerprint.
const FINGERPRINT_BYTES: usize = 16;

/// The place to which a value is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// An application, or `*` for the files that all applications share.
    pub area: &'a str,
    /// The flat name of the property.
    pub key: &'a str,
}

impl Place<'_> {
    /// The associated data. `None` if a name contains the separator.
    fn associated(&self) -> Option<Vec<u8>> {
        if self.area.contains('\0') || self.key.contains('\0') {
            return None;
        }
        Some([VERSION, self.area, self.key].join("\0").into_bytes())
    }
}

/// One seal key with its id.
pub struct SealKey {
    id: String,
    bytes: AesKey,
}

impl SealKey {
    /// Reads the text of a key file: one line with the id, a dot and 32 bytes in base64url. Lines that begin with `#`
    /// are comments.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut lines =
            text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (Some(line), None) = (lines.next(), lines.next()) else {
            return Err(KeyError::SealKey);
        };
        let (id, bytes) = line.split_once('.').ok_or(KeyError::SealKey)?;
        let decoded = Zeroizing::new(URL_SAFE_NO_PAD.decode(bytes).map_err(|_| KeyError::SealKey)?);
        let mut bytes = AesKey::default();
        if !is_id(id) || decoded.len() != bytes.len() {
            return Err(KeyError::SealKey);
        }
        bytes.copy_from_slice(&decoded);
        Ok(Self { id: id.to_owned(), bytes })
    }

    /// Creates a random key. The id has letters, digits, dashes and underscores.
    pub fn generate(id: &str) -> Result<Self, KeyError> {
        let mut bytes = AesKey::default();
        if !is_id(id) || rand::fill(bytes.as_mut()).is_err() {
            return Err(KeyError::SealKey);
        }
        Ok(Self { id: id.to_owned(), bytes })
    }

    /// The text of a key file.
    pub fn to_text(&self) -> SecretText {
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.encode(self.bytes.as_ref()));
        SecretText::new(format!("{}.{}\n", self.id, *bytes))
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    fn cipher(&self) -> Option<RandomizedNonceKey> {
        RandomizedNonceKey::new(&AES_256_GCM_SIV, self.bytes.as_ref()).ok()
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SealKey({})", self.id)
    }
}

/// Returns true for an id that a value can name: letters, digits, dashes and underscores.
pub fn is_id(id: &str) -> bool {
    let is_permitted = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(is_permitted)
}

/// The seal keys, newest first. The newest one seals, and all of them open.
#[derive(Debug, Default)]
pub struct SealKeyring {
    keys: Vec<SealKey>,
}

impl SealKeyring {
    /// Takes the keys over, newest first. Their ids must differ.
    pub fn new(keys: Vec<SealKey>) -> Result<Self, KeyError> {
        for (index, key) in keys.iter().enumerate() {
            if keys[..index].iter().any(|other| other.id == key.id) {
                return Err(KeyError::SealKeyTwice(key.id.clone()));
            }
        }
        Ok(Self { keys })
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The ids of the keys, newest first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(SealKey::id)
    }

    /// A text that changes with the bytes. Without a seal key, a reader of the text could test guesses of the bytes. The
    /// oldest key is used, so that a new key changes no fingerprint.
    pub fn fingerprint(&self, bytes: &[u8]) -> String {
        let digits = match self.keys.last() {
            Some(key) => {
                let root = hmac::Key::new(hmac::HMAC_SHA256, key.bytes.as_ref());
                let derived = hmac::sign(&root, FINGERPRINT_INFO);
                let derived = hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref());
                hex::encode(&hmac::sign(&derived, bytes).as_ref()[..FINGERPRINT_BYTES])
            }
            None => {
                hex::encode(&digest::digest(&digest::SHA256, bytes).as_ref()[..FINGERPRINT_BYTES])
            }
        };
        digits.to_string()
    }

    /// Seals a text for a place. The result begins with [`SEALED_MARKER`].
    pub fn seal(&self, text: &str, place: &Place<'_>) -> Result<String, SealError> {
        let key = self.keys.first().ok_or(SealError::NoKey)?;
        if text.len() > PLAIN_BYTES_MAX {
            return Err(SealError::TooLong);
        }
        let associated = place.associated().ok_or(SealError::Place)?;
        let mut bytes = SecretBytes::new(Vec::with_capacity(text.len() + TAG_BYTES));
        bytes.extend_from_slice(text.as_bytes());
        let cipher = key.cipher().ok_or(SealError::Library)?;
        let nonce = cipher
            .seal_in_place_append_tag(Aad::from(associated), &mut *bytes)
            .map_err(|_| SealError::Library)?;
        let text = URL_SAFE_NO_PAD.encode([&nonce.as_ref()[..], &bytes].concat());
        Ok(format!("{SEALED_MARKER}{}.{text}", key.id))
    }

    /// Opens a value that begins with [`SEALED_MARKER`] at its place.
    pub fn open(&self, value: &str, place: &Place<'_>) -> Result<SecretText, OpenError> {
        let value = value.strip_prefix(SEALED_MARKER).ok_or(OpenFailure::NoMarker)?;
        if value.len() > SEALED_BYTES_MAX {
            return Err(OpenFailure::TooLong.into());
        }
        let (id, text) = value.split_once('.').ok_or(OpenFailure::UnknownKeyId)?;
        let key = self.keys.iter().find(|key| key.id == id).ok_or(OpenFailure::UnknownKeyId)?;
        let sealed = URL_SAFE_NO_PAD.decode(text).map_err(|_| OpenFailure::NotBase64)?;
        let (nonce, body) =
            sealed.split_first_chunk::<NONCE_LEN>().ok_or(OpenFailure::WrongLength)?;
        let associated = place.associated().ok_or(OpenFailure::WrongPlace)?;
        let mut bytes = SecretBytes::new(body.to_vec());
        let cipher = key.cipher().ok_or(OpenFailure::Undecryptable)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = cipher
            .open_in_place(nonce, Aad::from(associated), &mut bytes)
            .map_err(|_| OpenFailure::Undecryptable)?;
        SecretText::from_utf8(opened).ok_or_else(|| OpenFailure::NotUtf8.into())
    }
}
