//! The one optional read token: Bearer, or the password of Basic, which is what Spring clients send.

use std::sync::Arc;

use actix_http::header::{self, HeaderMap};
use aws_lc_rs::digest::{SHA256, digest};
use subtle::ConstantTimeEq;

/// The longest `Authorization` header that is looked at, in bytes.
const HEADER_BYTES_MAX: usize = 4 * 1024;

/// The longest name that is taken from a header, in bytes.
const NAME_BYTES_MAX: usize = 64;

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
        self.matching(headers).is_some()
    }

    /// The name that was given with it, if the headers carry it and there is a name. A name that nobody vouches for, or
    /// that is the token itself in the wrong place, is none.
    pub(super) fn name_in(&self, headers: &HeaderMap) -> Option<Arc<str>> {
        let name = self.matching(headers)?.name;
        let is_plain = |c: char| c.is_alphanumeric() || "-_.@+".contains(c);
        let is_name = !name.is_empty()
            && name.len() <= NAME_BYTES_MAX
            && name.chars().all(is_plain)
            && !bool::from(sha256(name.as_bytes()).ct_eq(&self.0));
        is_name.then(|| name.into())
    }

    fn matching(&self, headers: &HeaderMap) -> Option<Presented> {
        let mut values = headers.get_all(header::AUTHORIZATION);
        let (Some(value), None) = (values.next(), values.next()) else {
            return None;
        };
        let presented = value.to_str().ok().and_then(presented)?;
        bool::from(sha256(&presented.secret).ct_eq(&self.0)).then_some(presented)
    }
}

/// What a header gives.
struct Presented {
    /// Empty where there is no place for one.
    name: String,
    secret: Vec<u8>,
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

fn presented(header: &str) -> Option<Presented> {
    if header.len() > HEADER_BYTES_MAX {
        return None;
    }
    let (scheme, credentials) = header.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        let secret = credentials.as_bytes().to_vec();
        return Some(Presented { name: String::new(), secret });
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded =
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD, credentials.trim())
            .ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let name = String::from_utf8(decoded[..colon].to_vec()).unwrap_or_default();
    Some(Presented { name, secret: decoded[colon + 1..].to_vec() })
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

    #[track_caller]
    fn check_name(token: &str, user: &str, password: &str, expected: Option<&str>) {
        use base64::Engine;
        let credentials =
            base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(&format!("Basic {credentials}")).unwrap();
        headers.append(header::AUTHORIZATION, value);
        assert_eq!(Token::new(token).name_in(&headers).as_deref(), expected);
    }

    #[test]
    fn a_name_is_taken_only_with_the_token_and_never_is_the_token() {
        check_name("s3cret", "ada", "s3cret", Some("ada"));
        check_name("s3cret", "ada", "wrong", None);
        check_name("s3cret", "s3cret", "s3cret", None);
        check_name("s3cret", "", "s3cret", None);
        check_name("s3cret", "a\nb", "s3cret", None);
    }
}
