//! Keys in files, and the recorded vectors of the original. All keys in them are throw-away.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use headwater::settings::{RsaAlgorithm, RsaSettings, SecretsSettings};
use headwater_secrets::{Keyring, SecretText, SpringKey};
use serde_json::Value as Json;
use tempfile::TempDir;

/// Key files with the settings that name them.
pub(crate) struct KeyFiles {
    pub(crate) settings: SecretsSettings,
    keys: Keyring,
    _place: TempDir,
}

impl KeyFiles {
    /// One file for each passphrase, newest first.
    pub(crate) fn passphrases(passphrases: &[&str]) -> Self {
        let place = tempfile::tempdir().unwrap();
        let file = |(index, passphrase): (usize, &&str)| {
            write(&place, &format!("key{index}"), format!("{passphrase}\n").as_bytes())
        };
        let key_files = passphrases.iter().enumerate().map(file).collect();
        let key = |passphrase: &&str| {
            SpringKey::from_passphrase(&SecretText::new(*passphrase), "deadbeef").unwrap()
        };
        Self {
            settings: SecretsSettings { key_files, ..SecretsSettings::default() },
            keys: Keyring::new(passphrases.iter().map(key).collect()),
            _place: place,
        }
    }

    /// A value with its marker, sealed with the newest key.
    pub(crate) fn seal(&self, text: &str) -> String {
        format!("{{cipher}}{}", self.keys.seal_prefixed(text).unwrap())
    }
}

/// Writes a file that only its owner may read.
fn write(place: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path: &Path = &place.path().join(name);
    std::fs::write(path, bytes).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
    path.to_owned()
}

/// One recorded value.
pub(crate) struct Vector {
    pub(crate) value: String,
    /// The answer of the original. `None` where it does not open the value.
    pub(crate) plain: Option<String>,
}

/// The values that the original's own classes made, and what the original answered.
pub(crate) struct Vectors(Json);

impl Vectors {
    pub(crate) fn read() -> Self {
        let text = include_str!("../../../secrets/tests/vectors/spring-cipher.json");
        Self(serde_json::from_str(text).unwrap())
    }

    /// The sets of keys that the settings of a server can describe. No setting of the original selects GCM for a
    /// passphrase, and two keystores are of kinds that are not supported.
    pub(crate) fn configurable_sets(&self) -> Vec<&str> {
        let sets = self.0["keys"].as_object().unwrap().iter();
        let is_configurable = |(id, set): &(&String, &Json)| {
            set["kind"] != "symmetric-gcm" && !["jceks", "p12-legacy"].contains(&id.as_str())
        };
        sets.filter(is_configurable).map(|(id, _)| id.as_str()).collect()
    }

    /// The unchanged values of a set.
    pub(crate) fn of_set<'a>(&'a self, set: &'a str) -> impl Iterator<Item = Vector> + 'a {
        let all = self.0["vectors"].as_array().unwrap().iter();
        let own = all.filter(move |vector| vector["keys"] == set && vector["kind"] != "tampered");
        own.map(|vector| Vector {
            value: vector["value"].as_str().unwrap().to_owned(),
            plain: vector["plain"].as_str().map(str::to_owned),
        })
    }

    pub(crate) fn count_of(&self, sets: &[&str]) -> usize {
        sets.iter().map(|set| self.of_set(set).count()).sum()
    }

    /// A set of keys as files and settings.
    pub(crate) fn key_files(&self, id: &str) -> KeyFiles {
        let set = &self.0["keys"][id];
        let text = |name: &str| set[name].as_str().unwrap();
        let place = tempfile::tempdir().unwrap();
        let settings = if set["kind"] == "keystore" {
            let store = STANDARD.decode(self.0["stores"][text("store")].as_str().unwrap()).unwrap();
            SecretsSettings {
                keystore: Some(write(&place, "store", &store)),
                keystore_password_file: Some(write(
                    &place,
                    "password",
                    text("password").as_bytes(),
                )),
                alias: Some(text("alias").to_owned()),
                key_password_file: Some(write(&place, "secret", text("secret").as_bytes())),
                rsa: RsaSettings {
                    algorithm: match text("algorithm") {
                        "OAEP" => RsaAlgorithm::Oaep,
                        _ => RsaAlgorithm::Default,
                    },
                    strong: set["strong"].as_bool().unwrap(),
                    salt: text("salt").to_owned(),
                },
                ..SecretsSettings::default()
            }
        } else {
            SecretsSettings {
                key_files: vec![write(&place, "key", text("key").as_bytes())],
                salt: text("salt").to_owned(),
                ..SecretsSettings::default()
            }
        };
        KeyFiles { settings, keys: Keyring::default(), _place: place }
    }
}
