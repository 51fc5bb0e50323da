//! The one optional read token: Bearer, or the password of Basic, which is what Spring clients send.

use actix_http::header::{self, HeaderMap};
use aws_lc_rs::digest::{SHA256, digest};
use subtle::ConstantTimeEq;

/// The longest `Authorization` header that is looked at, in bytes.
const HEADER_BYTES_MAX: usize = 4 * 1024;

/// The digest of a token; the token itself is not kept.
pub struct Token([u8; 32]);

impl Token {
    /// From the token's text; blanks around it do not count.
    pub fn new(text: &str) -> Self {
        Self(sha256(text.trim().as_bytes()))
    }

    /// Whether this is its text.
    pub(super) fn is(&self, text: &str) -> bool {
        sha256(text.as_bytes()).ct_eq(&self.0).into()
    }

    /// Whether the headers carry it, exactly once.
    pub(super) fn is_in(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(header::AUTHORIZATION);
        let (Some(value), None) = (values.next(), values.next()) else {
            return false;
        };
        let Some(presented) = value.to_str().ok().and_then(presented) else {
            return false;
        };
        sha256(&presented).ct_eq(&self.0).into()
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

fn presented(header: &str) -> Option<Vec<u8>> {
    if header.len() > HEADER_BYTES_MAX {
        return None;
    }
    let (scheme, credentials) = header.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(credentials.as_bytes().to_vec());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded =
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD, credentials.trim())
            .ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some(decoded[colon + 1..].to_vec())
}

#[cfg(test)]
mod tests {
    use actix_http::header::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(values: &[&'static str], expected: bool) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
        }
        assert_eq!(Token::new("s3cret\n").is_in(&headers), expected, "{values:?}");
    }

    #[test]
    fn the_token_is_known_in_both_forms_and_only_once() {
        check(&["Bearer s3cret"], true);
        check(&["Basic dXNlcjpzM2NyZXQ="], true);
        check(&["bearer s3cret"], true);
        check(&[], false);
        check(&["Bearer s3creT"], false);
        check(&["Bearer "], false);
        check(&["Bearer  s3cret"], false);
        check(&["Basic s3cret"], false);
        check(&["Bearer s3cret", "Bearer s3cret"], false);
        check(&["Digest s3cret"], false);
    }
}
