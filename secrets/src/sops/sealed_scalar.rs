//! One sealed value: `ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::number;
use super::value::Value;
use crate::aes::{self, AesKey};
use crate::secret::SecretText;

const MARKER: &str = "ENC[";
const NONCE_BYTES: usize = 32;

/// The parts of a sealed value.
pub(super) struct SealedScalar<'a> {
    /// The ciphertext with the tag behind it.
    body: Vec<u8>,
    nonce: [u8; NONCE_BYTES],
    kind: &'a str,
}

impl<'a> SealedScalar<'a> {
    /// True for a text that claims to be sealed.
    pub(super) fn is_marked(text: &str) -> bool {
        text.starts_with(MARKER)
    }

    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let fields = text.strip_prefix("ENC[AES256_GCM,data:")?.strip_suffix(']')?;
        let (data, fields) = fields.split_once(",iv:")?;
        let (nonce, fields) = fields.split_once(",tag:")?;
        let (tag, kind) = fields.split_once(",type:")?;
        let mut body = STANDARD.decode(data).ok()?;
        body.extend(STANDARD.decode(tag).ok()?);
        let nonce = STANDARD.decode(nonce).ok()?.try_into().ok()?;
        Some(Self { body, nonce, kind })
    }

    /// Opens the value. `associated` is the path of a property or the time of a MAC.
    pub(super) fn open(&self, key: &AesKey, associated: &[u8]) -> Option<Value> {
        let bytes = aes::open_gcm32(key, &self.nonce, &self.body, associated)?;
        let text = SecretText::from_utf8(&bytes)?;
        match self.kind {
            "str" | "bytes" | "time" => Some(Value::Text(text)),
            "int" => number::integer(text.expose()).map(Value::integer),
            "float" => number::float(text.expose()).map(Value::float),
            "bool" => match text.expose() {
                "True" | "true" | "TRUE" => Some(Value::Bool(true)),
                "False" | "false" | "FALSE" => Some(Value::Bool(false)),
                _ => None,
            },
            _ => None,
        }
    }
}
