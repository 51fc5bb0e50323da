//! The keys for sealed values, read from the files of the settings when the server starts.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use headwater_secrets::{
    KeyError, KeyStore, KeyStoreSettings, Keyring, RsaAlgorithm, RsaSettings, SecretText, SpringKey,
};

use super::StartError;
use crate::model::{PropertySource, Value};
use crate::regular_file;
use crate::settings::{self, SecretsSettings};

/// The largest file with a key, a password or a keystore, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// The permissions of a file that every user of the machine has.
const ACCESSIBLE_BY_ALL: u32 = 0o007;

/// Reads all keys of the settings: the keystore first, then the key files, newest first.
///
/// # Errors
/// When a file cannot be read or used, or when every user of the machine may read it.
pub(super) fn read(settings: &SecretsSettings) -> Result<Keyring, StartError> {
    let mut keys = Vec::new();
    if let (Some(path), Some(password), Some(alias)) =
        (&settings.keystore, &settings.keystore_password_file, &settings.alias)
    {
        keys.push(read_keystore(settings, path, password, alias)?);
    }
    if let Some(key) = &settings.key {
        let key = SpringKey::from_encrypt_key(&SecretText::new(key.expose()), &settings.salt);
        keys.push(key.map_err(|error| StartError::Secrets {
            object: "HEADWATER_ENCRYPT_KEY".to_owned(),
            reason: error.to_string(),
        })?);
    }
    for path in &settings.key_files {
        let text = read_text("key file", path)?;
        let key = SpringKey::from_encrypt_key(&text, &settings.salt);
        keys.push(key.map_err(|error| unusable("key file", path, &error))?);
    }
    Ok(Keyring::new(keys))
}

/// Checks that the keys open the sealed overrides, which are in no file that a push could repair.
///
/// # Errors
/// The first override that no key opens.
pub(super) fn check_overrides(
    overrides: Option<&PropertySource>,
    keys: &Keyring,
) -> Result<(), StartError> {
    if keys.is_empty() {
        return Ok(());
    }
    for property in overrides.iter().flat_map(|source| source.properties()) {
        if let Value::Sealed(sealed) = &property.value
            && let Err(error) = keys.open(sealed)
        {
            return Err(StartError::Secrets {
                object: format!("the override {}", property.key),
                reason: format!("{}. Seal the value again", error.detail()),
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
) -> Result<SpringKey, StartError> {
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
fn read_text(what: &'static str, path: &Path) -> Result<SecretText, StartError> {
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

fn read_bytes(what: &'static str, path: &Path) -> Result<Vec<u8>, StartError> {
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

fn unusable(what: &'static str, path: &Path, reason: &dyn std::fmt::Display) -> StartError {
    StartError::Secrets {
        object: format!("the {what} {}", path.display()),
        reason: reason.to_string(),
    }
}
