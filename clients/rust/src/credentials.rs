//! The credentials of a client. No type here shows a secret in `Debug`.

use std::fmt;
use std::path::{Path, PathBuf};

use hyper::header::HeaderValue;
use tokio::io::AsyncReadExt;

use crate::error::Error;

/// The longest accepted token, in bytes.
const TOKEN_LENGTH_MAX: usize = 64 * 1024;

/// The credentials for every server whose URL contains none.
#[derive(Clone, Default)]
pub(crate) enum Credentials {
    #[default]
    None,
    /// Sent as `Authorization: Bearer`.
    Token(String),
    /// Read again for every round of attempts, so that a rotated token is used without a restart.
    TokenFile(PathBuf),
    /// Sent as `Authorization: Basic`.
    Basic { user: String, password: String },
}

impl Credentials {
    /// Reads the user information of a URL, which is percent-encoded.
    pub(crate) fn percent_encoded(user: &str, password: &str) -> Credentials {
        Credentials::Basic { user: percent_decoded(user), password: percent_decoded(password) }
    }

    /// Returns the value of the `Authorization` header. Reads the token file if one is set.
    pub(crate) async fn current_header(&self) -> Result<Option<HeaderValue>, Error> {
        match self {
            Credentials::None => Ok(None),
            Credentials::TokenFile(path) => {
                Credentials::Token(read_token(path).await?).header().map(Some)
            }
            known => known.header().map(Some),
        }
    }

    /// Returns the value of the `Authorization` header, marked as sensitive.
    pub(crate) fn header(&self) -> Result<HeaderValue, Error> {
        let text = match self {
            Credentials::Token(token) => format!("Bearer {token}"),
            Credentials::Basic { user, password } => {
                format!("Basic {}", base64(format!("{user}:{password}").as_bytes()))
            }
            Credentials::None | Credentials::TokenFile(_) => {
                return Err(Error::Settings("no credentials are set".into()));
            }
        };
        let invalid = |_| {
            Error::Settings(
                "the token contains characters that an HTTP header must not contain".into(),
            )
        };
        let mut header = HeaderValue::from_str(&text).map_err(invalid)?;
        header.set_sensitive(true);
        Ok(header)
    }
}

async fn read_token(path: &Path) -> Result<String, Error> {
    let problem = |problem: String| Error::TokenFile { path: path.to_owned(), problem };
    let file =
        tokio::fs::File::open(path).await.map_err(|error| problem(error.kind().to_string()))?;
    let mut text = String::new();
    let read = file.take(TOKEN_LENGTH_MAX as u64 + 1).read_to_string(&mut text).await;
    read.map_err(|error| problem(error.kind().to_string()))?;
    match text.trim() {
        "" => Err(problem("it is empty".into())),
        _ if text.len() > TOKEN_LENGTH_MAX => {
            Err(problem(format!("it is longer than {TOKEN_LENGTH_MAX} bytes")))
        }
        token => Ok(token.to_owned()),
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let digits = rest
            .get(at + 1..at + 3)
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[at + 3..];
            }
            None => {
                bytes.push(b'%');
                rest = &rest[at + 1..];
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let three = [chunk[0], *chunk.get(1).unwrap_or(&0), *chunk.get(2).unwrap_or(&0)];
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for place in 0..4 {
            let sextet = (bits >> (18 - 6 * place)) & 0x3f;
            text.push(if place <= chunk.len() {
                char::from(ALPHABET[sextet as usize])
            } else {
                '='
            });
        }
    }
    text
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Credentials::None => "none",
            Credentials::Token(_) => "token",
            Credentials::TokenFile(_) => "token file",
            Credentials::Basic { .. } => "basic",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_is_base64_of_user_and_password() {
        for (bytes, expected) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(bytes.as_bytes()), expected);
        }
        assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
        let basic = Credentials::percent_encoded("user", "p%40s%zz%C3%BC");
        assert_eq!(
            basic.header().unwrap().as_bytes(),
            format!("Basic {}", base64("user:p@s%zzü".as_bytes())).as_bytes()
        );
    }

    #[test]
    fn a_token_with_a_line_break_is_rejected_without_being_shown() {
        let error = Credentials::Token("s3cret\nX-Evil: 1".into()).header().unwrap_err();
        assert!(!format!("{error:?} {error}").contains("s3cret"));
    }

    #[tokio::test]
    async fn a_token_file_is_trimmed_and_must_not_be_empty() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let credentials = Credentials::TokenFile(path.clone());
        let error = credentials.current_header().await.unwrap_err();
        assert_eq!(error.to_string(), format!("token file {}: entity not found", path.display()));
        std::fs::write(&path, "abc\n").unwrap();
        assert_eq!(credentials.current_header().await.unwrap().unwrap().as_bytes(), b"Bearer abc");
        std::fs::write(&path, " \n").unwrap();
        assert!(
            credentials.current_header().await.unwrap_err().to_string().ends_with("it is empty")
        );
        std::fs::write(&path, "x".repeat(TOKEN_LENGTH_MAX + 1)).unwrap();
        assert!(credentials.current_header().await.is_err());
    }
}
