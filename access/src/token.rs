//! Machine tokens: 256 random bits as text, of which the policy keeps only the SHA-256.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::sha256::Sha256;

/// The beginning of every token, so that secret scanners and people recognise one.
pub const TOKEN_PREFIX: &str = "hw_";

/// The shortest token that an operator may configure as text. Shorter ones could be guessed from their digest.
pub const CONFIGURED_TOKEN_CHARACTERS_MIN: usize = 32;

const RANDOM_BYTES: usize = 32;

/// A new token in plain text. It is shown once and never stored. `Debug` does not print it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// The system's random generator failed. No token was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system returned no random bytes. No token was made. Try again")]
pub struct RandomError;

impl Token {
    /// Makes a token from the system's random generator.
    pub fn generate() -> Result<Self, RandomError> {
        let mut bytes = [0; RANDOM_BYTES];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| RandomError)?;
        Ok(Self::from_bytes(&bytes))
    }

    fn from_bytes(bytes: &[u8; RANDOM_BYTES]) -> Self {
        Self(format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// The text that the client sends.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The digest that the policy keeps. 256 random bits need no slow hash.
    pub fn digest(&self) -> Sha256 {
        Sha256::of(self.0.as_bytes())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}

/// Returns an error if a token that an operator has written as text is short enough to be guessed.
pub fn check_configured_token(token: &str) -> Result<(), ShortTokenError> {
    let characters = token.chars().count();
    if characters >= CONFIGURED_TOKEN_CHARACTERS_MIN {
        return Ok(());
    }
    Err(ShortTokenError { characters })
}

/// A configured token that is too short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the token has {characters} characters, expected at least \
     {CONFIGURED_TOKEN_CHARACTERS_MIN}. Make one with headwater token new"
)]
pub struct ShortTokenError {
    pub characters: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_prefix_and_32_bytes_in_base64url() {
        let token = Token::from_bytes(&[0xfb; 32]);
        assert_eq!(token.as_str(), format!("hw_{}s", "-_v7".repeat(10) + "-_"));
        assert_eq!(token.as_str().len(), 46);
        let generated = Token::generate().unwrap();
        assert_eq!(generated.as_str().len(), 46);
        assert_ne!(generated, Token::generate().unwrap());
    }

    #[test]
    fn debug_output_contains_no_token() {
        let token = Token::generate().unwrap();
        assert_eq!(format!("{token:?}"), "Token(redacted)");
        let shown = format!("{:?}", token.digest());
        assert!(shown.len() < 25, "{shown}");
    }

    #[test]
    fn a_short_configured_token_is_rejected() {
        assert_eq!(check_configured_token(&"ö".repeat(32)), Ok(()));
        let error = check_configured_token("changeit").unwrap_err();
        assert!(error.to_string().contains("has 8 characters"), "{error}");
    }
}
