//! The one credential in the headers of a request.
//!
//! A client sends it as `Bearer`, as the password of `Basic`, or in `X-Config-Token`. Everything that is not exactly
//! one well-formed credential is an error, and the server answers every error in the same way.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::sha256::Sha256;

/// The longest header value that is read. A JWT of 8 KiB fits, also in base64.
const HEADER_BYTES_MAX: usize = 12 * 1024;

/// Some clients omit the padding. Bits after the end of the text are an error.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The headers of a request that can contain a credential, each with all of its values.
#[derive(Debug, Clone, Copy, Default)]
pub struct CredentialHeaders<'a> {
    pub authorization: &'a [&'a [u8]],
    pub config_token: &'a [&'a [u8]],
}

/// A credential as the client sent it. `Debug` does not print the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    secret: String,
    user: Option<String>,
    pub scheme: Scheme,
}

/// The way in which a credential was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Basic,
    Bearer,
    ConfigToken,
}

/// The reason for which the headers contain no usable credential. It never contains a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    #[error("the request has more than one {0} header")]
    Repeated(&'static str),
    #[error("the {0} header is empty")]
    Empty(&'static str),
    #[error("the {0} header has more than {HEADER_BYTES_MAX} bytes")]
    TooLong(&'static str),
    #[error("the {0} header contains characters other than visible ASCII")]
    Characters(&'static str),
    #[error("the scheme of the Authorization header is neither Basic nor Bearer")]
    Scheme,
    #[error("the Basic credential is not base64 of a user name, a colon and a password")]
    Basic,
}

const AUTHORIZATION: &str = "Authorization";
const CONFIG_TOKEN: &str = "X-Config-Token";

impl CredentialHeaders<'_> {
    /// Returns the credential, or `None` for a request without one.
    ///
    /// `X-Config-Token` counts only without `Authorization`, because a Spring client that sends both means its Vault
    /// token by the second one. Both headers have to be well-formed.
    pub fn credential(&self) -> Result<Option<Credential>, CredentialError> {
        let authorization = single(self.authorization, AUTHORIZATION)?;
        let config_token = single(self.config_token, CONFIG_TOKEN)?;
        match (authorization, config_token) {
            (Some(value), _) => parse_authorization(value).map(Some),
            (None, Some(value)) => Ok(Some(Credential {
                secret: value.to_owned(),
                user: None,
                scheme: Scheme::ConfigToken,
            })),
            (None, None) => Ok(None),
        }
    }
}

impl Credential {
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// The user name of `Basic`. It proves nothing.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    pub fn digest(&self) -> Sha256 {
        Sha256::of(self.secret.as_bytes())
    }

    /// Returns true if the user name contradicts the principal of the secret. Spring's default user is `user`.
    pub fn contradicts(&self, principal: &str) -> bool {
        self.user().is_some_and(|user| !user.is_empty() && user != "user" && user != principal)
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credential({:?}, redacted)", self.scheme)
    }
}

/// The value of a header that may be present once.
fn single<'a>(values: &[&'a [u8]], name: &'static str) -> Result<Option<&'a str>, CredentialError> {
    let value = match values {
        [] => return Ok(None),
        [value] => *value,
        _ => return Err(CredentialError::Repeated(name)),
    };
    if value.len() > HEADER_BYTES_MAX {
        return Err(CredentialError::TooLong(name));
    }
    let is_visible = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
    let text = std::str::from_utf8(value).ok().filter(|_| value.iter().all(is_visible));
    let text = text.ok_or(CredentialError::Characters(name))?.trim_matches(' ');
    if text.is_empty() {
        return Err(CredentialError::Empty(name));
    }
    Ok(Some(text))
}

fn parse_authorization(value: &str) -> Result<Credential, CredentialError> {
    let (scheme, rest) = value.split_once(' ').ok_or(CredentialError::Scheme)?;
    let rest = rest.trim_start_matches(' ');
    if scheme.eq_ignore_ascii_case("bearer") {
        if rest.contains(' ') {
            return Err(CredentialError::Characters(AUTHORIZATION));
        }
        return Ok(Credential { secret: rest.to_owned(), user: None, scheme: Scheme::Bearer });
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(CredentialError::Scheme);
    }
    let decoded = BASE64.decode(rest).map_err(|_| CredentialError::Basic)?;
    let decoded = String::from_utf8(decoded).map_err(|_| CredentialError::Basic)?;
    let (user, secret) = decoded.split_once(':').ok_or(CredentialError::Basic)?;
    if secret.is_empty() {
        return Err(CredentialError::Basic);
    }
    let (user, secret) = (Some(user.to_owned()), secret.to_owned());
    Ok(Credential { secret, user, scheme: Scheme::Basic })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn credential(
        authorization: &[&[u8]],
        config_token: &[&[u8]],
    ) -> Result<Option<Credential>, CredentialError> {
        CredentialHeaders { authorization, config_token }.credential()
    }

    fn basic(text: &str) -> Vec<u8> {
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text)).into_bytes()
    }

    #[test]
    fn a_request_without_headers_has_no_credential() {
        assert_eq!(credential(&[], &[]), Ok(None));
    }

    #[test]
    fn each_way_of_sending_yields_the_secret() {
        let bearer = credential(&[b"bEaReR hw_x"], &[]).unwrap().unwrap();
        assert_eq!((bearer.secret(), bearer.user()), ("hw_x", None));
        let value = basic("user:hw:x");
        let password = credential(&[&value], &[]).unwrap().unwrap();
        assert_eq!((password.secret(), password.user()), ("hw:x", Some("user")));
        let header = credential(&[], &[b" hw_x "]).unwrap().unwrap();
        assert_eq!((header.secret(), header.scheme), ("hw_x", Scheme::ConfigToken));
    }

    #[test]
    fn authorization_decides_beside_a_config_token() {
        let both = credential(&[b"Bearer a"], &[b"b"]).unwrap().unwrap();
        assert_eq!(both.secret(), "a");
        assert_eq!(credential(&[b"Digest a"], &[b"b"]), Err(CredentialError::Scheme));
    }

    #[test]
    fn a_repeated_header_is_an_error_even_with_equal_values() {
        let authorization = credential(&[b"Bearer a", b"Bearer a"], &[]);
        assert_eq!(authorization, Err(CredentialError::Repeated(AUTHORIZATION)));
        let config_token = credential(&[b"Bearer a"], &[b"b", b"b"]);
        assert_eq!(config_token, Err(CredentialError::Repeated(CONFIG_TOKEN)));
    }

    #[test]
    fn malformed_headers_are_errors() {
        let long = vec![b'a'; HEADER_BYTES_MAX + 1];
        for (value, expected) in [
            (&b""[..], CredentialError::Empty(AUTHORIZATION)),
            (b"  ", CredentialError::Empty(AUTHORIZATION)),
            (b"Bearer", CredentialError::Scheme),
            (b"Bearer ", CredentialError::Scheme),
            (b"Bearer a b", CredentialError::Characters(AUTHORIZATION)),
            (b"Bearer \xc3\xb6", CredentialError::Characters(AUTHORIZATION)),
            (b"Bearer a\x01", CredentialError::Characters(AUTHORIZATION)),
            (b"Bearer\ta", CredentialError::Characters(AUTHORIZATION)),
            (b"Negotiate a", CredentialError::Scheme),
            (b"Basic !!!", CredentialError::Basic),
            (b"Basic /w==", CredentialError::Basic),
            (b"Basic dXNlcg==", CredentialError::Basic),
            (b"Basic dXNlcjo=", CredentialError::Basic),
            (b"Basic", CredentialError::Scheme),
            (&long, CredentialError::TooLong(AUTHORIZATION)),
        ] {
            assert_eq!(credential(&[value], &[]), Err(expected), "{value:?}");
        }
    }

    #[test]
    fn basic_is_accepted_without_padding() {
        let presented = credential(&[b"Basic dTpwdw"], &[]).unwrap().unwrap();
        assert_eq!((presented.user(), presented.secret()), (Some("u"), "pw"));
    }

    #[test]
    fn a_user_name_may_be_empty_user_or_the_principal() {
        for (user, contradicts) in [("", false), ("user", false), ("orders", false), ("root", true)]
        {
            let value = basic(&format!("{user}:x"));
            let presented = credential(&[&value], &[]).unwrap().unwrap();
            assert_eq!(presented.contradicts("orders"), contradicts, "{user}");
        }
    }

    #[test]
    fn debug_output_contains_no_secret() {
        let presented = credential(&[b"Bearer geheim"], &[]).unwrap().unwrap();
        assert!(!format!("{presented:?}").contains("geheim"));
    }

    proptest! {
        #[test]
        fn every_basic_credential_is_read_as_it_was_written(
            user in "[^:]{0,20}",
            password in ".{1,40}",
        ) {
            let value = basic(&format!("{user}:{password}"));
            let presented = credential(&[&value], &[]).unwrap().unwrap();
            prop_assert_eq!(presented.user(), Some(user.as_str()));
            prop_assert_eq!(presented.secret(), password.as_str());
        }

        #[test]
        fn no_header_value_causes_a_panic(
            value in proptest::collection::vec(any::<u8>(), 0..64),
            other in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let _ = credential(&[&value], &[&other]);
            let value = [b"Basic ".as_slice(), &value].concat();
            let _ = credential(&[&value], &[]);
        }
    }
}
