//! Keystores in the formats of Java: JKS and PKCS#12, told apart by their bytes.

mod jks;
mod pkcs12;

use std::fmt;
use std::sync::{Arc, OnceLock};

use zeroize::Zeroizing;

use crate::der::SEQUENCE;
use crate::error::KeyError;
use crate::rsa::RsaKey;
use crate::secret::SecretText;

/// The largest keystore that is read.
const STORE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most entries of a keystore.
const ENTRY_COUNT_MAX: usize = 10_000;
const JKS_MAGIC: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];
const JCEKS_MAGIC: [u8; 4] = [0xce, 0xce, 0xce, 0xce];

/// The entries of a keystore. Each private key is decrypted when it is first used.
pub struct KeyStore {
    entries: Vec<StoreEntry>,
    password: SecretText,
}

struct StoreEntry {
    /// In lower case, since aliases are compared without case.
    alias: String,
    content: EntryContent,
    /// The first password that opened the key, with the key. Opening costs milliseconds.
    opened: OnceLock<OpenedEntry>,
}

struct OpenedEntry {
    secret: SecretText,
    key: Arc<RsaKey>,
}

enum EntryContent {
    /// `EncryptedPrivateKeyInfo` with Java's own protection.
    JksKey(Vec<u8>),
    /// `EncryptedPrivateKeyInfo` with PBES2.
    Pkcs12Key(Vec<u8>),
    /// A PKCS#8 key without a password of its own.
    ClearKey(Zeroizing<Vec<u8>>),
    /// An X.509 certificate without a private key.
    Certificate(Vec<u8>),
}

impl KeyStore {
    /// Reads a keystore and verifies its password.
    pub fn read(bytes: &[u8], password: &SecretText) -> Result<Self, KeyError> {
        if bytes.len() > STORE_BYTES_MAX {
            return Err(KeyError::StoreTooLarge { bytes_max: STORE_BYTES_MAX });
        }
        let entries = if bytes.starts_with(&JKS_MAGIC) {
            jks::entries(bytes, password)?
        } else if bytes.starts_with(&JCEKS_MAGIC) {
            return Err(KeyError::Jceks);
        } else if bytes.starts_with(&[SEQUENCE]) {
            pkcs12::entries(bytes, password)?
        } else {
            return Err(KeyError::UnknownStore);
        };
        if entries.len() > ENTRY_COUNT_MAX {
            return Err(KeyError::Damaged("it has more than 10,000 entries"));
        }
        let mut store = Self { entries: Vec::new(), password: password.clone() };
        for (alias, content) in entries {
            store.add(&alias, content);
        }
        Ok(store)
    }

    /// Adds an entry. A repeated alias replaces its entry, as in Java.
    fn add(&mut self, alias: &str, content: EntryContent) {
        let alias = alias.to_lowercase();
        self.entries.retain(|entry| entry.alias != alias);
        self.entries.push(StoreEntry { alias, content, opened: OnceLock::new() });
    }

    /// The aliases in lower case, in the order of the file.
    pub fn aliases(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| &*entry.alias)
    }

    pub(crate) fn password(&self) -> &SecretText {
        &self.password
    }

    /// The key of an entry. `secret` is the password of the entry.
    pub(crate) fn key(&self, alias: &str, secret: &SecretText) -> Result<Arc<RsaKey>, KeyError> {
        let lower = alias.to_lowercase();
        let entry = self.entries.iter().find(|entry| entry.alias == lower);
        let entry = entry.ok_or_else(|| KeyError::NoEntry {
            alias: alias.to_owned(),
            aliases: self.aliases().collect::<Vec<_>>().join(", "),
        })?;
        entry.key(secret)
    }
}

impl StoreEntry {
    fn key(&self, secret: &SecretText) -> Result<Arc<RsaKey>, KeyError> {
        if let Some(opened) = self.opened.get()
            && (opened.secret == *secret || !self.content.has_password())
        {
            return Ok(opened.key.clone());
        }
        let key = Arc::new(self.content.key(&self.alias, secret)?);
        // Another thread may have stored the same key in the meantime.
        let _ = self.opened.set(OpenedEntry { secret: secret.clone(), key: key.clone() });
        Ok(key)
    }
}

impl EntryContent {
    fn has_password(&self) -> bool {
        matches!(self, Self::JksKey(_) | Self::Pkcs12Key(_))
    }

    fn key(&self, alias: &str, secret: &SecretText) -> Result<RsaKey, KeyError> {
        let wrong_password = || KeyError::EntryPassword { alias: alias.to_owned() };
        match self {
            Self::JksKey(sealed) => {
                RsaKey::from_pkcs8(&jks::open_key(sealed, secret).ok_or_else(wrong_password)?)
            }
            Self::Pkcs12Key(sealed) => {
                let opened = pkcs12::open_key(sealed, secret)?;
                RsaKey::from_pkcs8(&opened.ok_or_else(wrong_password)?)
            }
            Self::ClearKey(key) => RsaKey::from_pkcs8(key),
            Self::Certificate(certificate) => RsaKey::from_certificate(certificate),
        }
    }
}

impl fmt::Debug for KeyStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("KeyStore").field("entries", &self.entries.len()).finish()
    }
}

/// A password as UTF-16, big-endian, for the formats that derive keys from it.
fn utf16_be(text: &str) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() * 2 + 2));
    bytes.extend(text.encode_utf16().flat_map(u16::to_be_bytes));
    bytes
}
