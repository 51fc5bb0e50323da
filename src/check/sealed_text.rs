//! The shape of sealed values and of references. A plain text behind their markers has another shape.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use crate::model::SealedKind;
use crate::reveal::Reference;

/// The fewest hexadecimal digits of a `{cipher}` value: an initialisation vector and one block of AES.
const HEX_DIGITS_MIN: usize = 64;
/// The fewest bytes of a `{cipher}` value of RSA: a key of 2,048 bits.
const RSA_BYTES_MIN: usize = 256;
/// The fewest bytes of a `{sealed}` value: a nonce and a tag.
const BOUND_BYTES_MIN: usize = 28;
/// The bytes of the nonce of a SOPS value.
const SOPS_NONCE_BYTES: usize = 32;

/// Returns true if a text with the marker of a sealed value or of a reference can be one.
///
/// A text that only its writer knows to be no ciphertext passes, such as 64 hexadecimal digits behind `{cipher}`. Where the
/// server has keys of the kind, the check that the value opens rejects that text.
pub(super) fn has_shape(text: &str) -> bool {
    match SealedKind::of_sealed(text) {
        SealedKind::Cipher => is_cipher(text),
        SealedKind::Bound => is_bound(text).unwrap_or(false),
        SealedKind::Sops => is_sops(text).unwrap_or(false),
        SealedKind::File | SealedKind::Vault => Reference::parse(text).is_ok(),
    }
}

/// The ciphertext follows the marker and any `{name:value}` groups.
fn is_cipher(text: &str) -> bool {
    let mut rest = text;
    while let Some((_, after)) = rest.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
        rest = after;
    }
    let is_hex = rest.len() >= HEX_DIGITS_MIN
        && rest.len().is_multiple_of(2)
        && rest.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex || has_bytes(rest, RSA_BYTES_MIN)
}

fn is_bound(text: &str) -> Option<bool> {
    let (_, rest) = text.split_once('}')?;
    let (id, sealed) = rest.split_once('.')?;
    let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
    Some(!id.is_empty() && bytes.len() >= BOUND_BYTES_MIN)
}

fn is_sops(text: &str) -> Option<bool> {
    let fields = text.strip_prefix("ENC[AES256_GCM,data:")?.strip_suffix(']')?;
    let (data, fields) = fields.split_once(",iv:")?;
    let (nonce, fields) = fields.split_once(",tag:")?;
    let (tag, _) = fields.split_once(",type:")?;
    Some(has_bytes(data, 1) && has_bytes(nonce, SOPS_NONCE_BYTES) && has_bytes(tag, 1))
}

fn has_bytes(base64: &str, count_min: usize) -> bool {
    let decoded = STANDARD_NO_PAD.decode(base64.trim_end_matches('='));
    decoded.is_ok_and(|bytes| bytes.len() >= count_min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_text_behind_a_marker_is_no_sealed_value() {
        let rsa = STANDARD_NO_PAD.encode([7; 290]);
        let nonce = STANDARD_NO_PAD.encode([7; 32]);
        let bound = URL_SAFE_NO_PAD.encode([7; 29]);
        for text in [
            &format!("{{cipher}}{}", "0a".repeat(32)),
            &format!("{{cipher}}{{key:new}}{{name:x}}{}", "0A".repeat(48)),
            &format!("{{cipher}}{{key:new}}{rsa}=="),
            &format!("{{sealed}}seal-2027.{bound}"),
            &format!("ENC[AES256_GCM,data:YQ==,iv:{nonce}=,tag:YWE=,type:str]"),
            "{file}:orders-db#password",
            "{vault}:shop/orders#password",
            "{vault:two}:shop/orders#password",
        ] {
            assert!(has_shape(text), "{text}");
        }
        for text in [
            "{cipher}hunter2",
            "{cipher}",
            &format!("{{cipher}}{}", "0a".repeat(31)),
            &format!("{{cipher}}hunter2{}", "0a".repeat(40)),
            "{cipher}{key:hunter2}",
            "{sealed}hunter2",
            "{sealed}id.hunter2",
            &format!("{{sealed}}hunter2.{}", "a".repeat(10)),
            "ENC[hunter2]",
            "ENC[AES256_GCM,data:hunter2,iv:x,tag:y,type:str]",
            &format!("ENC[AES256_GCM,data:YQ==,iv:{nonce}=,tag:YWE=,type:str] hunter2"),
            "{file}:..",
            "{file}:a b hunter2",
            "{vault}:hunter2",
            "hunter2",
        ] {
            assert!(!has_shape(text), "{text}");
        }
    }
}
