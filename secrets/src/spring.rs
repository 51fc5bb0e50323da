//! Spring's `{cipher}` values: their three encodings, and the keys that open them.
//!
//! A ciphertext names neither its form nor its key. A key opens exactly one form.

mod prefix;

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::rand;
use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};

use crate::SEALED_BYTES_MAX;
use crate::aes::{self, AesKey, BLOCK, SecretBytes};
use crate::error::{KeyError, OpenError, OpenFailure, SealError};
use crate::hex;
use crate::keystore::KeyStore;
use crate::pem;
use crate::rsa::{RsaKey, SESSION_BYTES};
use crate::secret::SecretText;
use prefix::PrefixedText;

/// The marker at the start of a sealed value.
pub const CIPHER_MARKER: &str = "{cipher}";
/// The longest text that is sealed, in bytes. Its ciphertext is shorter than [`SEALED_BYTES_MAX`].
const PLAIN_BYTES_MAX: usize = 256 * 1024;
/// The salt of Spring where none is configured.
const DEFAULT_SALT: &str = "deadbeef";
/// Base64 as Java decodes it: the standard alphabet, with or without padding, and no line breaks.
const JAVA_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The padding of RSA, by the names of `encrypt.rsa.algorithm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RsaAlgorithm {
    /// PKCS#1 v1.5.
    #[default]
    Default,
    /// OAEP with SHA-1 and MGF1-SHA-1.
    Oaep,
}

/// The settings `encrypt.rsa.*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RsaSettings {
    pub algorithm: RsaAlgorithm,
    /// GCM instead of CBC.
    pub is_strong: bool,
    /// Hexadecimal. Other text stands for its UTF-8 bytes.
    pub salt: String,
}

impl Default for RsaSettings {
    fn default() -> Self {
        Self { algorithm: RsaAlgorithm::Default, is_strong: false, salt: DEFAULT_SALT.to_owned() }
    }
}

/// The settings `encrypt.key-store.*` without the store itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStoreSettings {
    /// The entry of values without `{key:}`.
    pub alias: String,
    /// The password of entries without `{secret:}`. `None` stands for the password of the store.
    pub secret: Option<SecretText>,
    pub rsa: RsaSettings,
}

/// One configured key: a passphrase, a PEM key or a keystore.
pub struct SpringKey {
    form: KeyForm,
}

enum KeyForm {
    Symmetric { key: AesKey, mode: AesMode },
    Pem { key: RsaKey, rsa: RsaForm },
    Store { store: Arc<KeyStore>, alias: String, secret: SecretText, rsa: RsaForm },
}

/// The mode of AES. In both, a random IV or nonce of 16 bytes comes first.
#[derive(Clone, Copy)]
enum AesMode {
    Cbc,
    Gcm,
}

struct RsaForm {
    algorithm: RsaAlgorithm,
    mode: AesMode,
    salt: Vec<u8>,
}

impl SpringKey {
    /// The key of `encrypt.key`: a PEM if the text is one, and otherwise a passphrase.
    ///
    /// Unlike Spring, which would use it as a passphrase, a PKCS#8 PEM is a key. The salt applies to passphrases only,
    /// as in Spring.
    pub fn from_encrypt_key(text: &SecretText, salt: &str) -> Result<Self, KeyError> {
        if pem::is_key_file(text.expose()) {
            Self::from_pem(text)
        } else {
            Self::from_passphrase(text, salt)
        }
    }

    /// A passphrase, for values in CBC. The salt is hexadecimal.
    pub fn from_passphrase(passphrase: &SecretText, salt: &str) -> Result<Self, KeyError> {
        Self::symmetric(passphrase, salt, AesMode::Cbc)
    }

    /// A passphrase, for values in GCM. In Spring, only an application's own encryptor makes these.
    pub fn from_passphrase_gcm(passphrase: &SecretText, salt: &str) -> Result<Self, KeyError> {
        Self::symmetric(passphrase, salt, AesMode::Gcm)
    }

    fn symmetric(passphrase: &SecretText, salt: &str, mode: AesMode) -> Result<Self, KeyError> {
        if passphrase.expose().is_empty() {
            return Err(KeyError::Empty);
        }
        let salt = hex::decode(salt).ok_or(KeyError::Salt)?;
        let key = aes::spring_key(passphrase.expose().as_bytes(), &salt);
        Ok(Self { form: KeyForm::Symmetric { key, mode } })
    }

    /// An RSA private key in PEM, with Spring's defaults for padding, mode and salt.
    pub fn from_pem(text: &SecretText) -> Result<Self, KeyError> {
        let key = RsaKey::from_pkcs8(&pem::private_key(text.expose())?)?;
        Ok(Self { form: KeyForm::Pem { key, rsa: RsaForm::new(&RsaSettings::default()) } })
    }

    /// The entries of a keystore. A wrong alias is an error here, while Spring reports it at the first value.
    pub fn from_key_store(
        store: Arc<KeyStore>,
        settings: &KeyStoreSettings,
    ) -> Result<Self, KeyError> {
        let secret = settings.secret.as_ref().unwrap_or(store.password()).clone();
        store.key(&settings.alias, &secret)?;
        let rsa = RsaForm::new(&settings.rsa);
        Ok(Self { form: KeyForm::Store { store, alias: settings.alias.clone(), secret, rsa } })
    }

    /// Opens a value that begins with [`CIPHER_MARKER`].
    pub fn open(&self, value: &str) -> Result<SecretText, OpenError> {
        let text = value.strip_prefix(CIPHER_MARKER).ok_or(OpenFailure::NoMarker)?;
        self.open_text(text)
    }

    /// Opens a value without its marker, as `/decrypt` receives it. Prefixes may precede the ciphertext.
    pub fn open_text(&self, text: &str) -> Result<SecretText, OpenError> {
        if text.len() > SEALED_BYTES_MAX {
            return Err(OpenFailure::TooLong.into());
        }
        let text = PrefixedText::parse(text);
        let opened = match &self.form {
            KeyForm::Symmetric { key, mode } => {
                let sealed = hex::decode(text.text).ok_or(OpenFailure::NotHexadecimal)?;
                mode.open(key, &sealed)?
            }
            KeyForm::Pem { key, rsa } => rsa.open(key, text.text)?,
            KeyForm::Store { store, alias, secret, rsa } => {
                let secret_of_value = text.value("secret").map(SecretText::new);
                let secret = secret_of_value.as_ref().unwrap_or(secret);
                let key = store.key(text.value("key").unwrap_or(alias), secret);
                let key = key.map_err(entry_failure)?;
                rsa.open(&key, text.text)?
            }
        };
        SecretText::from_utf8(&opened).ok_or_else(|| OpenFailure::NotUtf8.into())
    }

    /// Seals a text as `/encrypt` does: prefixes at its start choose the key and come back in front of the ciphertext.
    /// The result has no marker.
    pub fn seal_prefixed(&self, text: &str) -> Result<String, SealError> {
        let text = PrefixedText::parse(text);
        let sealed = match &self.form {
            KeyForm::Store { store, alias, secret, rsa } => {
                let secret_of_value = text.value("secret").map(SecretText::new);
                let secret = secret_of_value.as_ref().unwrap_or(secret);
                let key = store.key(text.value("key").unwrap_or(alias), secret)?;
                rsa.seal(&key, text.text)?
            }
            _ => self.seal(text.text)?,
        };
        Ok(format!("{}{sealed}", text.prefixes()))
    }

    /// Seals a text with the default entry. The result has neither marker nor prefixes.
    pub fn seal(&self, text: &str) -> Result<String, SealError> {
        match &self.form {
            KeyForm::Symmetric { key, mode } => Ok(hex::encode(&mode.seal(key, text)?).to_string()),
            KeyForm::Pem { key, rsa } => rsa.seal(key, text),
            KeyForm::Store { store, alias, secret, rsa } => {
                let key = store.key(alias, secret)?;
                rsa.seal(&key, text)
            }
        }
    }

    /// The public key of the default entry as `ssh-rsa` and base64. `None` for a passphrase.
    pub fn public_key(&self) -> Option<String> {
        match &self.form {
            KeyForm::Symmetric { .. } => None,
            KeyForm::Pem { key, .. } => key.ssh_text(),
            KeyForm::Store { store, alias, secret, .. } => {
                store.key(alias, secret).ok()?.ssh_text()
            }
        }
    }
}

impl fmt::Debug for SpringKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = match &self.form {
            KeyForm::Symmetric { mode: AesMode::Cbc, .. } => "passphrase",
            KeyForm::Symmetric { mode: AesMode::Gcm, .. } => "passphrase, GCM",
            KeyForm::Pem { .. } => "PEM",
            KeyForm::Store { .. } => "keystore",
        };
        write!(formatter, "SpringKey({form})")
    }
}

impl AesMode {
    fn open(self, key: &AesKey, sealed: &[u8]) -> Result<SecretBytes, OpenFailure> {
        let (iv, body) = sealed.split_first_chunk::<BLOCK>().ok_or(OpenFailure::WrongLength)?;
        if !self.is_length_possible(body.len()) {
            return Err(OpenFailure::WrongLength);
        }
        let opened = match self {
            Self::Cbc => aes::open_cbc(key.as_ref(), iv, body),
            Self::Gcm => aes::open_gcm16(key, iv, body),
        };
        opened.ok_or(OpenFailure::Undecryptable)
    }

    /// True if a text can have a ciphertext of this length. Unlike Spring, an IV alone is no ciphertext.
    fn is_length_possible(self, length: usize) -> bool {
        match self {
            Self::Cbc => length > 0 && length.is_multiple_of(BLOCK),
            Self::Gcm => length >= BLOCK,
        }
    }

    fn seal(self, key: &AesKey, text: &str) -> Result<Vec<u8>, SealError> {
        if text.len() > PLAIN_BYTES_MAX {
            return Err(SealError::TooLong);
        }
        let sealed = match self {
            Self::Cbc => aes::seal_cbc(key, text.as_bytes()),
            Self::Gcm => aes::seal_gcm16(key, text.as_bytes()),
        };
        sealed.ok_or(SealError::Library)
    }
}

impl RsaForm {
    fn new(settings: &RsaSettings) -> Self {
        Self {
            algorithm: settings.algorithm,
            mode: if settings.is_strong { AesMode::Gcm } else { AesMode::Cbc },
            salt: hex::decode(&settings.salt).unwrap_or_else(|| settings.salt.as_bytes().to_vec()),
        }
    }

    /// Opens the base64 of a length, an RSA block and an AES ciphertext.
    ///
    /// Invariant: after the lengths, which are public, all failures take the work of a success up to AES.
    fn open(&self, key: &RsaKey, text: &str) -> Result<SecretBytes, OpenFailure> {
        let sealed = JAVA_BASE64.decode(text).map_err(|_| OpenFailure::NotBase64)?;
        let (length, rest) = sealed.split_first_chunk::<2>().ok_or(OpenFailure::WrongLength)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (block, body) = rest.split_at_checked(length).ok_or(OpenFailure::WrongLength)?;
        let body_length = body.len().checked_sub(BLOCK).ok_or(OpenFailure::WrongLength)?;
        if length != key.block_bytes() || !self.mode.is_length_possible(body_length) {
            return Err(OpenFailure::WrongLength);
        }
        let session = key.open_session(self.algorithm, block).ok_or(OpenFailure::NoPrivateKey)?;
        let opened = self.mode.open(&self.aes_key(&session.bytes), body);
        if session.is_genuine { opened } else { Err(OpenFailure::Undecryptable) }
    }

    fn seal(&self, key: &RsaKey, text: &str) -> Result<String, SealError> {
        let mut session = zeroize::Zeroizing::new([0; SESSION_BYTES]);
        rand::fill(session.as_mut()).map_err(|_| SealError::Library)?;
        let block = key.seal_session(self.algorithm, &session).ok_or(SealError::Library)?;
        let length = u16::try_from(block.len()).map_err(|_| SealError::Library)?;
        let body = self.mode.seal(&self.aes_key(&session), text)?;
        Ok(STANDARD.encode([&length.to_be_bytes()[..], &block, &body].concat()))
    }

    /// Derives the AES key. The password is the hexadecimal text of the random bytes.
    fn aes_key(&self, session: &[u8; SESSION_BYTES]) -> AesKey {
        aes::spring_key(hex::encode(session).as_bytes(), &self.salt)
    }
}

fn entry_failure(error: KeyError) -> OpenFailure {
    match error {
        KeyError::NoEntry { .. } => OpenFailure::NoEntry,
        KeyError::NoPrivateKey { .. } => OpenFailure::NoPrivateKey,
        _ => OpenFailure::WrongSecret,
    }
}
