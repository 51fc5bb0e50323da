//! The keys for sealed values, read from the files of the settings.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use headwater_secrets::age::AgeIdentities;
use headwater_secrets::sealed::{SealKey, SealKeyring};
use headwater_secrets::{
    KeyError, KeyStore, KeyStoreSettings, RsaAlgorithm, RsaSettings, SecretText, SpringKey,
};

use crate::model::{PropertySource, Value};
use crate::regular_file;
use crate::reveal::{KeySet, Keyring, Opener, Opening};
use crate::settings::{self, SecretsSettings};

/// The largest file with a key, a password or a keystore, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// The permissions of a file that every user of the machine has.
const ACCESSIBLE_BY_ALL: u32 = 0o007;

/// A key cannot be used, or a sealed override cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("{object} cannot be used: {reason}")]
pub struct SecretsError {
    /// The file, the variable or the override.
    object: String,
    /// The problem. It contains nothing of a key or a value.
    reason: String,
}

impl SecretsError {
    /// The problem without the path of the file, for clients.
    pub(super) fn reason(&self) -> &str {
        &self.reason
    }
}

/// Reads all keys of the settings. Of the keys for `{cipher}`, the keystore comes first, then the key files, newest first.
///
/// # Errors
/// When a file cannot be read or used, or when every user of the machine may read it.
pub fn read_keys(settings: &SecretsSettings) -> Result<KeySet, SecretsError> {
    let identities = settings.age_identity_file.as_deref().map(read_identities);
    Ok(KeySet {
        cipher: headwater_secrets::Keyring::new(read_cipher_keys(settings)?),
        bound: read_seal_keys(&settings.seal_key_files)?,
        identities: identities.transpose()?,
    })
}

/// Reads files with one seal key each, newest first.
///
/// # Errors
/// As for [`read_keys`].
pub fn read_seal_keys(paths: &[impl AsRef<Path>]) -> Result<SealKeyring, SecretsError> {
    let mut keys = Vec::new();
    for path in paths.iter().map(AsRef::as_ref) {
        let text = read_text("seal key file", path)?;
        let key = SealKey::parse(text.expose());
        keys.push(key.map_err(|error| unusable("seal key file", path, &error))?);
    }
    SealKeyring::new(keys).map_err(|error| SecretsError {
        object: "secrets.seal_key_files".to_owned(),
        reason: error.to_string(),
    })
}

fn read_identities(path: &Path) -> Result<AgeIdentities, SecretsError> {
    let text = read_text("age identity file", path)?;
    AgeIdentities::parse(text.expose()).map_err(|error| unusable("age identity file", path, &error))
}

fn read_cipher_keys(settings: &SecretsSettings) -> Result<Vec<SpringKey>, SecretsError> {
    let mut keys = Vec::new();
    if let (Some(path), Some(password), Some(alias)) =
        (&settings.keystore, &settings.keystore_password_file, &settings.alias)
    {
        keys.push(read_keystore(settings, path, password, alias)?);
    }
    if let Some(key) = &settings.key {
        let key = SpringKey::from_encrypt_key(&SecretText::new(key.expose()), &settings.salt);
        keys.push(key.map_err(|error| SecretsError {
            object: "HEADWATER_ENCRYPT_KEY".to_owned(),
            reason: error.to_string(),
        })?);
    }
    for path in &settings.key_files {
        let text = read_text("key file", path)?;
        let key = SpringKey::from_encrypt_key(&text, &settings.salt);
        keys.push(key.map_err(|error| unusable("key file", path, &error))?);
    }
    Ok(keys)
}

/// Checks that the keys open the sealed overrides, which are in no file that a push could repair.
///
/// # Errors
/// The first override that no key opens.
pub(super) fn check_overrides(
    overrides: Option<&PropertySource>,
    keys: &Keyring,
) -> Result<(), SecretsError> {
    let opener = Opener::new(None, None, keys);
    for property in overrides.iter().flat_map(|source| source.properties()) {
        if let Value::Sealed(sealed) = &property.value
            && let Opening::Failed(failure) = opener.open(&property.key, sealed)
            && !failure.is_pending
        {
            return Err(SecretsError {
                object: format!("the override {}", property.key),
                reason: failure.message.into_owned(),
            });
        }
    }
    Ok(())
}

fn read_keystore(
    settings: &SecretsSettings,
    path: &Path,
    password_file: &Path,
    alias: &str,
) -> Result<SpringKey, SecretsError> {
    let password = read_text("keystore password file", password_file)?;
    let secret = settings.key_password_file.as_deref();
    let secret = secret.map(|path| read_text("key password file", path)).transpose()?;
    let bytes = read_bytes("keystore", path)?;
    let rsa = RsaSettings {
        algorithm: match settings.rsa.algorithm {
            settings::RsaAlgorithm::Default => RsaAlgorithm::Default,
            settings::RsaAlgorithm::Oaep => RsaAlgorithm::Oaep,
        },
        is_strong: settings.rsa.strong,
        salt: settings.rsa.salt.clone(),
    };
    let settings = KeyStoreSettings { alias: alias.to_owned(), secret, rsa };
    KeyStore::read(&bytes, &password)
        .and_then(|store| SpringKey::from_key_store(Arc::new(store), &settings))
        .map_err(|error| unusable("keystore", path, &error))
}

/// The text of a file without its last line break, which editors add.
fn read_text(what: &'static str, path: &Path) -> Result<SecretText, SecretsError> {
    let bytes = read_bytes(what, path)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| unusable(what, path, &"it is not UTF-8. Save it as UTF-8"))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.trim().is_empty() {
        return Err(unusable(what, path, &KeyError::Empty));
    }
    Ok(SecretText::new(line))
}

fn read_bytes(what: &'static str, path: &Path) -> Result<Vec<u8>, SecretsError> {
    let failed = |error: std::io::Error| unusable(what, path, &error);
    let file = regular_file::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode() & 0o777;
    if mode & ACCESSIBLE_BY_ALL != 0 {
        let reason = format!(
            "every user of this machine has access to it (mode {mode:o}). Restrict it with chmod 600"
        );
        return Err(unusable(what, path, &reason));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(unusable(what, path, &format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

fn unusable(what: &'static str, path: &Path, reason: &dyn std::fmt::Display) -> SecretsError {
    SecretsError { object: format!("the {what} {}", path.display()), reason: reason.to_string() }
}
