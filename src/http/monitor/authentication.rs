//! The authentication of webhooks, by the methods of the git hosts.

use actix_http::header::HeaderMap;
use aws_lc_rs::hmac::{HMAC_SHA256, Key, verify};

use crate::http::token::Token;

/// The headers with a signature of the raw body, in lower-case hexadecimal after a prefix: of GitHub (and Gitea),
/// Bitbucket, Gitea and Gogs.
const SIGNATURES: [(&str, &str); 4] = [
    ("x-hub-signature-256", "sha256="),
    ("x-hub-signature", "sha256="),
    ("x-gitea-signature", ""),
    ("x-gogs-signature", ""),
];
/// The headers that contain the secret itself: of GitLab and of Gitee.
const TOKENS: [&str; 2] = ["x-gitlab-token", "x-gitee-token"];

/// The configured secrets, each as a key and as a token. An empty list means that webhooks are not authenticated.
pub(super) struct Secrets(Vec<(Key, Token)>);

/// The evidence in the headers of a request, before its body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// The headers contain a secret, or no secret is configured.
    Secret,
    /// The headers contain a signature, which is still to be compared with the body.
    Signature,
}

impl Secrets {
    pub(super) fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let secrets = secrets.into_iter();
        Self(secrets.map(|it| (Key::new(HMAC_SHA256, it.as_bytes()), Token::new(it))).collect())
    }

    /// Returns the evidence in the headers. The method of any git host is accepted, because each of them needs the
    /// secret. A header that occurs twice is ignored.
    pub(super) fn proof(&self, headers: &HeaderMap) -> Option<Proof> {
        let is_sent = |token: &Token| {
            token.is_in(headers)
                || TOKENS.iter().any(|name| only(headers, name).is_some_and(|text| token.is(text)))
        };
        if self.0.is_empty() || self.0.iter().any(|(_, token)| is_sent(token)) {
            return Some(Proof::Secret);
        }
        signatures(headers).next().map(|_| Proof::Signature)
    }

    /// Returns true if one of the signatures belongs to this body and one of the secrets.
    pub(super) fn is_signed(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        signatures(headers).any(|tag| self.0.iter().any(|(key, _)| verify(key, body, &tag).is_ok()))
    }
}

/// The signatures in the headers.
fn signatures(headers: &HeaderMap) -> impl Iterator<Item = [u8; 32]> {
    SIGNATURES.iter().filter_map(|(name, before)| {
        only(headers, name).and_then(|text| text.strip_prefix(before)).and_then(decode)
    })
}

/// Returns the value of a header that occurs exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name);
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// Decodes 32 bytes from lower-case hexadecimal.
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
    /// The signature of the body with the secret `It's a Secret`, from another implementation.
    const SIGNATURE: &str = "dab6a321e8ce9cb8b2cae43050e45045c63af4deac245bc208e88ebe9cd0b55d";

    #[track_caller]
    fn check(values: &[(&'static str, &str)], expected: bool) {
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        let secrets = Secrets::new(["another", "It's a Secret"]);
        let is_proven = match secrets.proof(&headers) {
            Some(Proof::Secret) => true,
            Some(Proof::Signature) => secrets.is_signed(&headers, BODY),
            None => false,
        };
        assert_eq!(is_proven, expected, "{values:?}");
    }

    #[test]
    fn the_method_of_each_git_host_is_accepted() {
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
    fn other_headers_prove_nothing() {
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
    fn without_secrets_every_request_is_accepted() {
        assert_eq!(Secrets::new([]).proof(&HeaderMap::new()), Some(Proof::Secret));
    }
}
