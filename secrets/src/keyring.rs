//! Several keys at a time, so that keys can be replaced without sealing all values again.

use crate::error::{OpenError, OpenFailure, SealError};
use crate::secret::SecretText;
use crate::spring::{CIPHER_MARKER, SpringKey};

/// The keys for `{cipher}` values, newest first.
#[derive(Debug, Default)]
pub struct Keyring {
    keys: Vec<SpringKey>,
}

impl Keyring {
    /// Takes the keys over, newest first.
    pub fn new(keys: Vec<SpringKey>) -> Self {
        Self { keys }
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Opens a value that begins with [`CIPHER_MARKER`].
    pub fn open(&self, value: &str) -> Result<SecretText, OpenError> {
        let text = value.strip_prefix(CIPHER_MARKER).ok_or(OpenFailure::NoMarker)?;
        self.open_text(text)
    }

    /// Opens a value without its marker.
    ///
    /// Every key is tried. A wrong key opens about 7 in 10 million short CBC values to text, so that a value that two
    /// keys open to different texts is a failure.
    pub fn open_text(&self, text: &str) -> Result<SecretText, OpenError> {
        let mut opened: Option<SecretText> = None;
        let mut failure = OpenError::from(OpenFailure::NoKey);
        for key in &self.keys {
            match key.open_text(text) {
                Ok(text) if opened.as_ref().is_some_and(|first| *first != text) => {
                    return Err(OpenFailure::Ambiguous.into());
                }
                Ok(text) => opened = Some(text),
                Err(error) => failure = error,
            }
        }
        opened.ok_or(failure)
    }

    /// Seals a text with the newest key, as [`SpringKey::seal_prefixed`].
    pub fn seal_prefixed(&self, text: &str) -> Result<String, SealError> {
        self.keys.first().ok_or(SealError::NoKey)?.seal_prefixed(text)
    }

    /// The public key of the newest key.
    pub fn public_key(&self) -> Option<String> {
        self.keys.first()?.public_key()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(passphrase: &str) -> SpringKey {
        SpringKey::from_passphrase(&SecretText::new(passphrase), "deadbeef").unwrap()
    }

    #[test]
    fn every_key_opens_and_the_newest_seals() {
        let old = Keyring::new(vec![key("old")]);
        let sealed = old.seal_prefixed("text").unwrap();
        let both = Keyring::new(vec![key("new"), key("old")]);
        assert_eq!(both.open_text(&sealed).unwrap().expose(), "text");
        assert_eq!(both.open(&format!("{{cipher}}{sealed}")).unwrap().expose(), "text");
        let sealed = both.seal_prefixed("text").unwrap();
        assert_eq!(Keyring::new(vec![key("new")]).open_text(&sealed).unwrap().expose(), "text");
        assert!(old.open_text(&sealed).is_err());
    }

    #[test]
    fn the_same_key_twice_is_no_ambiguity() {
        let twice = Keyring::new(vec![key("k"), key("k")]);
        let sealed = twice.seal_prefixed("text").unwrap();
        assert_eq!(twice.open_text(&sealed).unwrap().expose(), "text");
    }

    #[test]
    fn without_keys_nothing_opens() {
        let empty = Keyring::default();
        assert!(empty.is_empty());
        assert_eq!(empty.open("{cipher}00").unwrap_err().detail(), "no key is configured");
        assert_eq!(empty.seal_prefixed("text"), Err(SealError::NoKey));
        assert_eq!(empty.public_key(), None);
    }
}
