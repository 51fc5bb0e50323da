//! The errors of keys and of values.

use std::fmt;

/// A value cannot be opened.
///
/// Invariant: `Display` and `Debug` are the same for all failures, so that a client cannot tell them apart.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("the value cannot be opened")]
pub struct OpenError {
    failure: OpenFailure,
}

impl OpenError {
    /// The failed check, for the operator's log. It contains nothing of the value.
    pub fn detail(&self) -> &'static str {
        self.failure.detail()
    }
}

impl From<OpenFailure> for OpenError {
    fn from(failure: OpenFailure) -> Self {
        Self { failure }
    }
}

impl fmt::Debug for OpenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("OpenError")
    }
}

/// The check of a value that failed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenFailure {
    NoMarker,
    TooLong,
    NoKey,
    NotHexadecimal,
    NotBase64,
    WrongLength,
    NoEntry,
    NoPrivateKey,
    WrongSecret,
    Undecryptable,
    NotUtf8,
    Ambiguous,
    UnknownKeyId,
    WrongPlace,
}

impl OpenFailure {
    fn detail(self) -> &'static str {
        match self {
            Self::NoMarker => "the value does not begin with the marker of a sealed value",
            Self::TooLong => "the value is longer than 1 MiB",
            Self::NoKey => "no key is configured",
            Self::NotHexadecimal => "the text behind the prefixes is not hexadecimal",
            Self::NotBase64 => "the text behind the prefixes is not base64",
            Self::WrongLength => "the ciphertext has a length that the key cannot have made",
            Self::NoEntry => "the keystore has no entry with this alias",
            Self::NoPrivateKey => "the entry of the keystore has a certificate and no private key",
            Self::WrongSecret => "the password does not open the entry of the keystore",
            Self::Undecryptable => "the ciphertext was made with another key, or it was changed",
            Self::NotUtf8 => "the opened bytes are not UTF-8",
            Self::Ambiguous => "two keys open the value to different texts",
            Self::UnknownKeyId => "no seal key has the id that the value names",
            Self::WrongPlace => "the area or the property key contains a zero byte",
        }
    }
}

/// A text cannot be sealed. The message may name the entries of a keystore, so that it is for the operator only.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("the text cannot be sealed: no key is configured")]
    NoKey,
    #[error("the text cannot be sealed: it is longer than 256 KiB")]
    TooLong,
    #[error("the text cannot be sealed: {0}")]
    Key(#[from] KeyError),
    #[error("the text cannot be sealed: the area or the property key contains a zero byte")]
    Place,
    #[error("the text cannot be sealed: the cryptographic library reported a failure")]
    Library,
}

/// A key, a keystore or an identity cannot be used. The caller adds the name of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the key is empty")]
    Empty,
    #[error("the salt is not hexadecimal: expected an even number of digits such as deadbeef")]
    Salt,
    #[error(
        "the key is not a PEM that can be read: {0}. Expected an RSA private key (PKCS#1 or \
         PKCS#8) with its line breaks"
    )]
    Pem(&'static str),
    #[error(
        "the RSA key is shorter than 2,048 bits. Create a longer key and seal the values again"
    )]
    RsaTooSmall,
    #[error("the key is not an RSA key that can be used: {0}")]
    RsaRejected(String),
    #[error("the keystore is larger than {bytes_max} bytes")]
    StoreTooLarge { bytes_max: usize },
    #[error(
        "the keystore is neither JKS nor PKCS#12. Expected a file that keytool or openssl wrote"
    )]
    UnknownStore,
    #[error(
        "the keystore is of type JCEKS, which is not supported. Convert it with: keytool \
         -importkeystore -srcstoretype jceks -srckeystore OLD -deststoretype pkcs12 \
         -destkeystore NEW"
    )]
    Jceks,
    #[error(
        "the keystore is encrypted with {algorithm}, which is not supported. Convert it with: \
         keytool -importkeystore -srckeystore OLD -deststoretype pkcs12 -destkeystore NEW"
    )]
    StoreCipher { algorithm: &'static str },
    #[error("the keystore is damaged: {0}")]
    Damaged(&'static str),
    #[error("the password does not open the keystore, or the file was changed")]
    StorePassword,
    #[error(
        "the keystore asks for {found} rounds of key derivation, and at most {rounds_max} are \
         permitted"
    )]
    Rounds { found: u32, rounds_max: u32 },
    #[error("the keystore has no entry {alias}. It has: {aliases}")]
    NoEntry { alias: String, aliases: String },
    #[error("the entry {alias} has a certificate and no private key")]
    NoPrivateKey { alias: String },
    #[error("the password does not open the entry {alias} of the keystore")]
    EntryPassword { alias: String },
    #[error(
        "the seal key is not readable: expected one line with an id, a dot and 32 bytes in \
         base64url"
    )]
    SealKey,
    #[error("two seal keys have the id {0}. Ids must be unique")]
    SealKeyTwice(String),
    #[error("line {line} is not an age identity. Expected AGE-SECRET-KEY-1 and its characters")]
    Identity { line: usize },
    #[error("the file contains no age identity")]
    NoIdentity,
}
