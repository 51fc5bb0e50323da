//! The recorded vectors. All keys and passwords in them are throw-away.
//!
//! - `spring-cipher.json` was made by Spring's own classes. It has keystores, sets of keys, and values with the text
//!   that Spring serves (`plain`), or null where Spring does not open the value.
//! - `sops.json` was made and judged by sops 3.13.3. It has files with their decrypted text, or null where sops rejects
//!   them.
//! - `keystores/` was made by OpenSSL 3 and by keytool of JDK 17, from the RSA key of the set `sym-pem`.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use headwater_secrets::{
    KeyError, KeyStore, KeyStoreSettings, RsaAlgorithm, RsaSettings, SecretText, SpringKey,
};
use serde_json::Value as Json;

/// The vectors of one file.
pub(crate) struct VectorFile {
    json: Json,
}

/// One value and the answer of the original.
pub(crate) struct SpringVector<'a> {
    pub(crate) id: &'a str,
    pub(crate) keys: &'a str,
    pub(crate) value: &'a str,
    pub(crate) plain: Option<&'a str>,
    pub(crate) kind: &'a str,
}

impl VectorFile {
    pub(crate) fn spring() -> Self {
        Self::parse(include_str!("../vectors/spring-cipher.json"))
    }

    pub(crate) fn sops() -> Self {
        Self::parse(include_str!("../vectors/sops.json"))
    }

    fn parse(text: &str) -> Self {
        Self { json: serde_json::from_str(text).unwrap() }
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        self.json[name].as_str().unwrap()
    }

    pub(crate) fn vectors(&self) -> &[Json] {
        self.json["vectors"].as_array().unwrap()
    }

    pub(crate) fn spring_vectors(&self) -> impl Iterator<Item = SpringVector<'_>> {
        self.vectors().iter().map(|vector| SpringVector {
            id: vector["id"].as_str().unwrap(),
            keys: vector["keys"].as_str().unwrap(),
            value: vector["value"].as_str().unwrap(),
            plain: vector["plain"].as_str(),
            kind: vector["kind"].as_str().unwrap(),
        })
    }

    pub(crate) fn store(&self, name: &str) -> Vec<u8> {
        STANDARD.decode(self.json["stores"][name].as_str().unwrap()).unwrap()
    }

    /// All sets of keys by their ids.
    pub(crate) fn keys(&self) -> BTreeMap<&str, Result<SpringKey, KeyError>> {
        let sets = self.json["keys"].as_object().unwrap();
        sets.iter().map(|(id, set)| (id.as_str(), self.key(set))).collect()
    }

    /// One set of keys.
    pub(crate) fn key_of(&self, id: &str) -> SpringKey {
        self.key(&self.json["keys"][id]).unwrap()
    }

    fn key(&self, set: &Json) -> Result<SpringKey, KeyError> {
        let text = |name: &str| set[name].as_str().unwrap();
        match text("kind") {
            "symmetric" => SpringKey::from_encrypt_key(&SecretText::new(text("key")), text("salt")),
            "symmetric-gcm" => {
                SpringKey::from_passphrase_gcm(&SecretText::new(text("key")), text("salt"))
            }
            "pem" => SpringKey::from_encrypt_key(&SecretText::new(text("key")), text("salt")),
            "keystore" => {
                let password = SecretText::new(text("password"));
                let store = KeyStore::read(&self.store(text("store")), &password)?;
                SpringKey::from_key_store(Arc::new(store), &settings(set))
            }
            kind => panic!("kind {kind}"),
        }
    }
}

fn settings(set: &Json) -> KeyStoreSettings {
    let text = |name: &str| set[name].as_str().unwrap().to_owned();
    let algorithm = match &*text("algorithm") {
        "DEFAULT" => RsaAlgorithm::Default,
        "OAEP" => RsaAlgorithm::Oaep,
        other => panic!("algorithm {other}"),
    };
    KeyStoreSettings {
        alias: text("alias"),
        secret: Some(SecretText::new(text("secret"))),
        rsa: RsaSettings {
            algorithm,
            is_strong: set["strong"].as_bool().unwrap(),
            salt: text("salt"),
        },
    }
}
