//! Whether a hook was sent by somebody who knows a secret, in the ways of the git hosts.

use actix_http::header::HeaderMap;
use aws_lc_rs::hmac::{HMAC_SHA256, Key, verify};

use crate::http::token::Token;

/// The signatures over the body as it came, in lower-case hexadecimal, each with what stands before it: GitHub's (and
/// Gitea's), Bitbucket's, Gitea's own, Gogs's.
const SIGNATURES: [(&str, &str); 4] = [
    ("x-hub-signature-256", "sha256="),
    ("x-hub-signature", "sha256="),
    ("x-gitea-signature", ""),
    ("x-gogs-signature", ""),
];
/// The headers that hold the secret itself: GitLab's, and Gitee's.
const TOKENS: [&str; 2] = ["x-gitlab-token", "x-gitee-token"];

/// The secrets, each as a key and as a token. None means that nothing has to be proven.
pub(super) struct Secrets(Vec<(Key, Token)>);

impl Secrets {
    pub(super) fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let both = |secret: &str| (Key::new(HMAC_SHA256, secret.as_bytes()), Token::new(secret));
        Self(secrets.into_iter().map(both).collect())
    }

    /// Whether the headers prove one of them. Which git host's way is used does not matter, for each of them needs the
    /// secret: calling oneself another host is no way around. A header that comes twice proves nothing.
    pub(super) fn are_proven(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        let is_signed = |key: &Key| {
            SIGNATURES.iter().any(|(name, before)| {
                let signature = only(headers, name).and_then(|text| text.strip_prefix(before));
                let tag = signature.and_then(decode);
                tag.is_some_and(|tag| verify(key, body, &tag).is_ok())
            })
        };
        let is_told = |token: &Token| {
            token.is_in(headers)
                || TOKENS.iter().any(|name| only(headers, name).is_some_and(|text| token.is(text)))
        };
        self.0.is_empty() || self.0.iter().any(|(key, token)| is_signed(key) || is_told(token))
    }
}

/// The value of a header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name);
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// 32 bytes in lower-case hexadecimal.
fn decode(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let mut bytes = [0; 32];
    if pairs.len() != bytes.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use actix_http::header::{HeaderName, HeaderValue};

    use super::*;

    const BODY: &[u8] = b"{\"ref\":\"refs/heads/main\"}";
    /// Of the body with the secret `It's a Secret`, from another implementation.
    const SIGNATURE: &str = "dab6a321e8ce9cb8b2cae43050e45045c63af4deac245bc208e88ebe9cd0b55d";

    #[track_caller]
    fn check(values: &[(&'static str, &str)], expected: bool) {
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        let secrets = Secrets::new(["another", "It's a Secret"]);
        assert_eq!(secrets.are_proven(&headers, BODY), expected, "{values:?}");
    }

    #[test]
    fn each_hosts_way_proves_it() {
        let prefixed = format!("sha256={SIGNATURE}");
        check(&[("x-hub-signature-256", &prefixed)], true);
        check(&[("x-hub-signature", &prefixed)], true);
        check(&[("x-gitea-signature", SIGNATURE)], true);
        check(&[("x-gogs-signature", SIGNATURE)], true);
        check(&[("x-gitlab-token", "It's a Secret")], true);
        check(&[("x-gitlab-token", "another")], true);
        check(&[("x-gitee-token", "It's a Secret")], true);
        check(&[("authorization", "Bearer It's a Secret")], true);
    }

    #[test]
    fn nothing_else_does() {
        let prefixed = format!("sha256={SIGNATURE}");
        check(&[], false);
        check(&[("x-hub-signature-256", SIGNATURE)], false);
        check(&[("x-hub-signature-256", &format!("sha1={SIGNATURE}"))], false);
        check(&[("x-hub-signature-256", &format!("SHA256={SIGNATURE}"))], false);
        check(&[("x-hub-signature-256", &prefixed.to_uppercase())], false);
        check(&[("x-hub-signature-256", &prefixed[..70])], false);
        check(&[("x-hub-signature-256", &format!("{prefixed}00"))], false);
        check(&[("x-hub-signature-256", &prefixed), ("x-hub-signature-256", &prefixed)], false);
        check(&[("x-gitea-signature", &SIGNATURE.to_uppercase())], false);
        check(&[("x-gitea-signature", &SIGNATURE.replace('a', "b"))], false);
        check(&[("x-gitea-signature", "")], false);
        check(&[("x-gitlab-token", "It's a secret")], false);
        check(&[("x-gitlab-token", "")], false);
        check(&[("x-gitlab-token", SIGNATURE)], false);
        let twice = ("x-gitlab-token", "another");
        check(&[twice, twice], false);
    }

    #[test]
    fn without_secrets_nothing_has_to_be_proven() {
        assert!(Secrets::new([]).are_proven(&HeaderMap::new(), BODY));
    }
}
