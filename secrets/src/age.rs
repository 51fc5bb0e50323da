//! Reads age files for X25519 identities. SOPS stores its data key in such a file.
//!
//! A file has a header and a payload. Each stanza of the header contains the file key, sealed for one recipient. The
//! file key authenticates the header and encrypts the payload. Only payloads of one chunk are read, since a data key
//! has 32 bytes.

mod bech32;

use std::fmt;

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use zeroize::Zeroizing;

use crate::aes::SecretBytes;
use crate::error::KeyError;

/// The longest file that is read.
const FILE_BYTES_MAX: usize = 64 * 1024;
/// The most recipients whose stanzas are tried.
const STANZA_COUNT_MAX: usize = 64;
const BEGIN: &str = "-----BEGIN AGE ENCRYPTED FILE-----";
const END: &str = "-----END AGE ENCRYPTED FILE-----";
const VERSION_LINE: &[u8] = b"age-encryption.org/v1";
const X25519_INFO: &[u8] = b"age-encryption.org/v1/X25519";
const IDENTITY_PREFIX: &str = "age-secret-key-";
/// The columns of a stanza's body. A shorter line ends the body.
const BODY_COLUMNS: usize = 64;
const FILE_KEY_BYTES: usize = 16;
const PAYLOAD_NONCE_BYTES: usize = 16;
const TAG_BYTES: usize = 16;
/// The nonce of the first chunk if it is also the last one.
const ONLY_CHUNK: [u8; NONCE_LEN] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// An age file cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AgeError {
    /// No stanza is for one of the identities.
    NoStanza,
    Malformed,
}

/// The identities of one file, in its order.
pub struct AgeIdentities {
    identities: Vec<AgeIdentity>,
}

struct AgeIdentity {
    key: PrivateKey,
    recipient: [u8; 32],
}

impl AgeIdentities {
    /// Reads a file as `age-keygen` writes it: one identity in each line, and comments.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut identities = Vec::new();
        for (line, number) in text.lines().map(str::trim).zip(1..) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let identity = AgeIdentity::parse(line);
            identities.push(identity.ok_or(KeyError::Identity { line: number })?);
        }
        if identities.is_empty() {
            return Err(KeyError::NoIdentity);
        }
        Ok(Self { identities })
    }

    /// Opens an armoured file.
    pub(crate) fn open(&self, text: &str) -> Result<SecretBytes, AgeError> {
        let file = dearmoured(text).ok_or(AgeError::Malformed)?;
        let header = AgeHeader::parse(&file).ok_or(AgeError::Malformed)?;
        let file_key = self.file_key(&header).ok_or(AgeError::NoStanza)?;
        let mac_key = derived(b"", file_key.as_ref(), b"header");
        hmac::verify(
            &hmac::Key::new(hmac::HMAC_SHA256, mac_key.as_ref()),
            header.signed,
            &header.mac,
        )
        .map_err(|_| AgeError::Malformed)?;
        let (nonce, chunk) =
            header.payload.split_first_chunk::<PAYLOAD_NONCE_BYTES>().ok_or(AgeError::Malformed)?;
        let key = derived(nonce, file_key.as_ref(), b"payload");
        open_chunk(key.as_ref(), ONLY_CHUNK, chunk).ok_or(AgeError::Malformed)
    }

    fn file_key(&self, header: &AgeHeader<'_>) -> Option<SecretBytes> {
        let open = |stanza| self.identities.iter().find_map(|identity| identity.file_key(stanza));
        header.stanzas.iter().find_map(open)
    }
}

impl fmt::Debug for AgeIdentities {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "AgeIdentities({})", self.identities.len())
    }
}

impl AgeIdentity {
    fn parse(line: &str) -> Option<Self> {
        let bytes = bech32::decode(line, IDENTITY_PREFIX)?;
        let key = PrivateKey::from_private_key(&X25519, &bytes).ok()?;
        let recipient = key.compute_public_key().ok()?.as_ref().try_into().ok()?;
        Some(Self { key, recipient })
    }

    /// Opens the file key of a stanza. `None` if the stanza is for another recipient.
    fn file_key(&self, stanza: &AgeStanza) -> Option<SecretBytes> {
        let salt = [stanza.share, self.recipient].concat();
        let share = UnparsedPublicKey::new(&X25519, &stanza.share);
        let key = agree(&self.key, share, (), |secret| Ok(derived(&salt, secret, X25519_INFO)));
        let opened = open_chunk(key.ok()?.as_ref(), [0; NONCE_LEN], &stanza.body)?;
        (opened.len() == FILE_KEY_BYTES).then_some(opened)
    }
}

struct AgeHeader<'a> {
    stanzas: Vec<AgeStanza>,
    /// The header up to its last dashes, which the MAC covers.
    signed: &'a [u8],
    mac: Vec<u8>,
    payload: &'a [u8],
}

/// A stanza of type X25519. Other types are not kept.
struct AgeStanza {
    share: [u8; 32],
    body: [u8; FILE_KEY_BYTES + TAG_BYTES],
}

impl<'a> AgeHeader<'a> {
    fn parse(file: &'a [u8]) -> Option<Self> {
        let mut rest = file;
        if line(&mut rest)? != VERSION_LINE {
            return None;
        }
        let mut stanzas = Vec::new();
        for _ in 0..=STANZA_COUNT_MAX {
            let before = file.len() - rest.len();
            let start = line(&mut rest)?;
            if let Some(mac) = start.strip_prefix(b"--- ") {
                let mac = STANDARD_NO_PAD.decode(mac).ok()?;
                return Some(Self { stanzas, signed: &file[..before + 3], mac, payload: rest });
            }
            let arguments = start.strip_prefix(b"-> ")?;
            let body = stanza_body(&mut rest)?;
            let Some(share) = arguments.strip_prefix(b"X25519 ") else { continue };
            let share = STANDARD_NO_PAD.decode(share).ok()?.try_into().ok()?;
            stanzas.push(AgeStanza { share, body: body.try_into().ok()? });
        }
        None
    }
}

fn stanza_body(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    loop {
        let line = line(rest)?;
        text.extend_from_slice(line);
        if line.len() < BODY_COLUMNS {
            return STANDARD_NO_PAD.decode(text).ok();
        }
    }
}

/// Takes a line without its line feed.
fn line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let line = &rest[..end];
    *rest = &rest[end + 1..];
    Some(line)
}

/// The bytes of an armoured file.
fn dearmoured(text: &str) -> Option<Vec<u8>> {
    if text.len() > FILE_BYTES_MAX {
        return None;
    }
    let body = text.trim().strip_prefix(BEGIN)?.strip_suffix(END)?;
    let characters: Vec<u8> = body.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    STANDARD.decode(characters).ok()
}

/// HKDF with SHA-256, for 32 bytes.
fn derived(salt: &[u8], secret: &[u8], info: &[u8]) -> Zeroizing<[u8; 32]> {
    let extracted = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, salt), secret);
    let key = hmac::Key::new(hmac::HMAC_SHA256, extracted.as_ref());
    let expanded = hmac::sign(&key, &[info, &[1]].concat());
    Zeroizing::new(expanded.as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

/// Opens ChaCha20-Poly1305.
fn open_chunk(key: &[u8], nonce: [u8; NONCE_LEN], sealed: &[u8]) -> Option<SecretBytes> {
    let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).ok()?);
    let mut bytes = SecretBytes::new(sealed.to_vec());
    let nonce = Nonce::assume_unique_for_key(nonce);
    let length = key.open_in_place(nonce, Aad::empty(), &mut bytes).ok()?.len();
    bytes.truncate(length);
    Some(bytes)
}

#[cfg(test)]
mod tests;
