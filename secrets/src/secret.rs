//! A text that is overwritten when it is dropped and that no `Debug` text shows.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use zeroize::Zeroizing;

/// An opened text, a password or a passphrase.
#[derive(Clone)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes the text over.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// Copies bytes that are UTF-8. `None` for other bytes.
    pub(crate) fn from_utf8(bytes: &[u8]) -> Option<Self> {
        str::from_utf8(bytes).ok().map(Self::new)
    }

    /// The text itself. The caller decides where it may appear.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretText(..)")
    }
}

impl PartialEq for SecretText {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(self.0.as_bytes(), other.0.as_bytes()).is_ok()
    }
}

impl Eq for SecretText {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_text_and_its_length() {
        assert_eq!(format!("{:?}", SecretText::new("hunter2")), "SecretText(..)");
        assert_eq!(format!("{:?}", SecretText::new("")), "SecretText(..)");
    }

    #[test]
    fn equality_compares_the_texts() {
        assert_eq!(SecretText::new("a"), SecretText::new("a"));
        assert_ne!(SecretText::new("a"), SecretText::new("b"));
        assert_ne!(SecretText::new("a"), SecretText::new("aa"));
    }
}
