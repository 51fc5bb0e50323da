//! The keys of the server, which are replaced while it runs, and the access to referenced values.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use headwater_secrets::age::AgeIdentities;
use headwater_secrets::sealed::SealKeyring;
use headwater_secrets::{OpenError, SealError, SecretText};

use super::reference::{References, VaultFigures};
use crate::model::{PropertySource, SealedKind};
use crate::sync::{read, write};

/// The keys of one moment. Keys of one kind open only values of that kind.
#[derive(Default)]
pub struct KeySet {
    /// For `{cipher}`.
    pub cipher: headwater_secrets::Keyring,
    /// For `{sealed}`.
    pub bound: SealKeyring,
    /// For SOPS files.
    pub identities: Option<AgeIdentities>,
}

impl KeySet {
    fn is_empty(&self) -> bool {
        self.cipher.is_empty() && self.bound.is_empty() && self.identities.is_none()
    }
}

/// The means of the server to open sealed values. `Debug` prints no key.
#[derive(Default)]
pub struct Keyring {
    current: RwLock<Arc<KeySet>>,
    references: Option<Arc<dyn References>>,
    holds_on_failure: bool,
    /// The number of replacements of keys, and of changes of referenced values.
    key_generation: AtomicU64,
    reference_generation: AtomicU64,
}

/// A number that is another one after each change of what opens the values of a source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Generation {
    keys: u64,
    references: u64,
}

impl Keyring {
    /// Keys without access to referenced values.
    pub fn new(keys: KeySet) -> Self {
        Self { current: RwLock::new(Arc::new(keys)), ..Self::default() }
    }

    /// The same keys with access to referenced values.
    pub fn with_references(self, references: Arc<dyn References>) -> Self {
        Self { references: Some(references), ..self }
    }

    /// The same keys. An environment with a value that does not open is held back.
    pub fn with_holding(self, holds_on_failure: bool) -> Self {
        Self { holds_on_failure, ..self }
    }

    /// Returns true if nothing can be opened.
    pub fn is_empty(&self) -> bool {
        self.references.is_none() && self.current().is_empty()
    }

    /// Returns true if the server has keys for `{cipher}` values.
    pub fn has_cipher_keys(&self) -> bool {
        !self.current().cipher.is_empty()
    }

    /// Returns true if an environment with a value that does not open is held back.
    pub(super) fn holds_on_failure(&self) -> bool {
        self.holds_on_failure
    }

    /// The present keys.
    pub fn current(&self) -> Arc<KeySet> {
        Arc::clone(&read(&self.current))
    }

    /// Replaces the keys. Answers that were made before keep their values until they are made anew.
    pub fn replace(&self, keys: KeySet) {
        *write(&self.current) = Arc::new(keys);
        self.key_generation.fetch_add(1, Ordering::Release);
    }

    /// Records that a referenced value has changed.
    pub fn record_changed_reference(&self) {
        self.reference_generation.fetch_add(1, Ordering::Release);
    }

    /// The generation of everything.
    pub fn generation(&self) -> Generation {
        Generation {
            keys: self.key_generation.load(Ordering::Acquire),
            references: self.reference_generation.load(Ordering::Acquire),
        }
    }

    /// The generation of what opens the values of a source. It stays the same while values change that the source does
    /// not refer to.
    pub fn generation_for(&self, source: &PropertySource) -> Generation {
        let generation = self.generation();
        if super::has_reference(source) {
            generation
        } else {
            Generation { references: 0, ..generation }
        }
    }

    /// The access to referenced values of a kind. `None` if the server does not resolve them.
    pub(super) fn references(&self, kind: SealedKind) -> Option<&dyn References> {
        self.references.as_deref().filter(|references| references.resolves(kind))
    }

    /// The figures of each Vault of the settings.
    pub fn vaults(&self) -> Vec<VaultFigures> {
        self.references.as_deref().map(References::vaults).unwrap_or_default()
    }

    /// Seals a text with the newest key for `{cipher}` values.
    pub fn seal_prefixed(&self, text: &str) -> Result<String, SealError> {
        self.current().cipher.seal_prefixed(text)
    }

    /// Opens a `{cipher}` value without its marker.
    pub fn open_text(&self, text: &str) -> Result<SecretText, OpenError> {
        self.current().cipher.open_text(text)
    }

    /// The public key of the newest key for `{cipher}` values.
    pub fn public_key(&self) -> Option<String> {
        self.current().cipher.public_key()
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Keyring(..)")
    }
}
