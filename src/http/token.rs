//! The optional tokens for reading and pushing. A client sends one as `Bearer`, or as the password of `Basic`, as
//! Spring clients do.

use std::sync::Arc;

use actix_http::header::{self, HeaderMap};
use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use subtle::ConstantTimeEq;

/// The longest `Authorization` header that is read, in bytes.
const HEADER_BYTES_MAX: usize = 4 * 1024;

/// The longest user name that is accepted, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// The digest of a token, which the operator can replace while the server runs. The token itself is not kept.
pub struct Token(ArcSwap<[u8; 32]>);

impl Token {
    /// Creates a token from its text, without surrounding white space.
    pub fn new(text: &str) -> Self {
        Self(ArcSwap::from_pointee(sha256(text.trim().as_bytes())))
    }

    /// Replaces the token. From now on the server accepts only the new text.
    pub fn replace(&self, text: &str) {
        self.0.store(Arc::new(sha256(text.trim().as_bytes())));
    }

    /// Returns true if this is the text of the token. Takes constant time.
    pub(super) fn is(&self, text: &str) -> bool {
        self.is_digest(&sha256(text.as_bytes()))
    }

    /// Returns true if the headers contain the token in exactly one `Authorization` header.
    pub(super) fn is_in(&self, headers: &HeaderMap) -> bool {
        self.matching(headers).is_some()
    }

    /// Returns the user name that was sent with the token. A name without the right token is not authenticated and is
    /// ignored. A name that is the token itself, sent in the wrong place, is ignored too.
    pub(super) fn name_in(&self, headers: &HeaderMap) -> Option<Arc<str>> {
        let name = self.matching(headers)?.name;
        let is_plain = |c: char| c.is_alphanumeric() || "-_.@+".contains(c);
        let is_name = !name.is_empty()
            && name.len() <= NAME_BYTES_MAX
            && name.chars().all(is_plain)
            && !self.is(&name);
        is_name.then(|| name.into())
    }

    fn matching(&self, headers: &HeaderMap) -> Option<BasicOrBearer> {
        let mut values = headers.get_all(header::AUTHORIZATION);
        let (Some(value), None) = (values.next(), values.next()) else {
            return None;
        };
        let sent = value.to_str().ok().and_then(parse)?;
        self.is_digest(&sha256(&sent.secret)).then_some(sent)
    }

    fn is_digest(&self, digest: &[u8; 32]) -> bool {
        digest.ct_eq(&**self.0.load()).into()
    }
}

/// The content of an `Authorization` header.
struct BasicOrBearer {
    /// The user name. Empty for `Bearer`.
    name: String,
    secret: Vec<u8>,
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

fn parse(header: &str) -> Option<BasicOrBearer> {
    if header.len() > HEADER_BYTES_MAX {
        return None;
    }
    let (scheme, credentials) = header.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        let secret = credentials.as_bytes().to_vec();
        return Some(BasicOrBearer { name: String::new(), secret });
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded =
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD, credentials.trim())
            .ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let name = String::from_utf8(decoded[..colon].to_vec()).unwrap_or_default();
    Some(BasicOrBearer { name, secret: decoded[colon + 1..].to_vec() })
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
    fn the_token_is_accepted_in_both_schemes_and_only_once() {
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
    fn a_name_counts_only_with_the_token_and_is_never_the_token() {
        check_name("s3cret", "ada", "s3cret", Some("ada"));
        check_name("s3cret", "ada", "wrong", None);
        check_name("s3cret", "s3cret", "s3cret", None);
        check_name("s3cret", "", "s3cret", None);
        check_name("s3cret", "a\nb", "s3cret", None);
    }
}
