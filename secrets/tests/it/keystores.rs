//! Keystores: the formats and passwords that are read, and the errors of the others.

use std::sync::Arc;

use headwater_secrets::{
    KeyError, KeyStore, KeyStoreSettings, RsaSettings, SealError, SecretText, SpringKey,
};

use crate::vectors::VectorFile;

macro_rules! store {
    ($name:literal) => {
        include_bytes!(concat!("../vectors/keystores/", $name))
    };
}

fn read(bytes: &[u8], password: &str) -> Result<Arc<KeyStore>, KeyError> {
    KeyStore::read(bytes, &SecretText::new(password)).map(Arc::new)
}

fn key(store: &Arc<KeyStore>, alias: &str, secret: Option<&str>) -> Result<SpringKey, KeyError> {
    let settings = KeyStoreSettings {
        alias: alias.to_owned(),
        secret: secret.map(SecretText::new),
        rsa: RsaSettings::default(),
    };
    SpringKey::from_key_store(store.clone(), &settings)
}

/// Asserts that the entry has the key of the set `sym-pem`.
#[track_caller]
fn check_pem_key(store: &Arc<KeyStore>, alias: &str) {
    let file = VectorFile::spring();
    let vector = file.spring_vectors().find(|vector| vector.id == "pem-1").unwrap();
    let key = key(store, alias, None).unwrap();
    assert_eq!(key.open(vector.value).unwrap().expose(), "bar");
}

#[test]
fn stores_of_openssl_are_read() {
    let store = read(store!("aes128.p12"), "p\u{e4}ss\u{20ac}").unwrap();
    assert_eq!(store.aliases().collect::<Vec<_>>(), ["\u{e4}rger"]);
    check_pem_key(&store, "\u{c4}rger");
    let store = read(store!("unnamed.p12"), "p").unwrap();
    assert_eq!(store.aliases().collect::<Vec<_>>(), ["1"]);
    check_pem_key(&store, "1");
    check_pem_key(&read(store!("clear.p12"), "p").unwrap(), "clear");
}

#[test]
fn a_certificate_alone_is_an_entry() {
    let store = read(store!("trusted.p12"), "storepass").unwrap();
    assert_eq!(store.aliases().collect::<Vec<_>>(), ["trusted"]);
    let key = key(&store, "trusted", None).unwrap();
    let sealed = key.seal("text").unwrap();
    assert!(key.open_text(&sealed).is_err());
    let pem = VectorFile::spring().key_of("sym-pem");
    assert_eq!(pem.open_text(&sealed).unwrap().expose(), "text");
    assert_eq!(key.public_key(), pem.public_key());
}

#[test]
fn a_wrong_password_is_an_error_of_the_store() {
    let file = VectorFile::spring();
    for name in ["store.jks", "store.p12", "openssl.p12"] {
        for password in ["", "storepas", "storepass ", "Storepass"] {
            let error = read(&file.store(name), password).unwrap_err();
            assert_eq!(error, KeyError::StorePassword, "{name} {password:?}");
        }
        assert!(read(&file.store(name), "storepass").is_ok(), "{name}");
    }
}

#[test]
fn an_entry_has_its_own_password() {
    let file = VectorFile::spring();
    let store = read(&file.store("store.jks"), "storepass").unwrap();
    let wrong = KeyError::EntryPassword { alias: "old".to_owned() };
    assert_eq!(key(&store, "old", None).unwrap_err(), wrong);
    assert!(key(&store, "OLD", Some("oldpass")).is_ok());
    // The opened entry is kept, and its password is still compared.
    assert_eq!(key(&store, "old", Some("mainpass")).unwrap_err(), wrong);
    assert_eq!(key(&store, "old", Some("")).unwrap_err(), wrong);
    assert!(key(&store, "old", Some("oldpass")).is_ok());
}

#[test]
fn other_stores_are_rejected_with_a_reason() {
    let file = VectorFile::spring();
    let message = |bytes: &[u8], password| read(bytes, password).unwrap_err().to_string();
    assert!(message(&file.store("store.jceks"), "storepass").contains("keytool -importkeystore"));
    assert!(message(&file.store("legacy.p12"), "storepass").contains("3DES or RC2"));
    assert!(message(store!("nomac.p12"), "p").contains("it has no MAC"));
    for bytes in [&b""[..], b"x", b"-----BEGIN CERTIFICATE-----", &[0xfe, 0xed, 0xfe]] {
        assert_eq!(read(bytes, "p").unwrap_err(), KeyError::UnknownStore);
    }
    let large = vec![0x30; 4 * 1024 * 1024 + 1];
    assert!(matches!(read(&large, "p").unwrap_err(), KeyError::StoreTooLarge { .. }));
}

#[test]
fn an_entry_that_is_not_rsa_is_rejected_when_it_is_used() {
    let store = read(store!("ec.p12"), "p").unwrap();
    let error = key(&store, "ec", None).unwrap_err();
    assert!(matches!(error, KeyError::RsaRejected(_)), "{error}");
}

#[test]
fn a_wrong_alias_names_the_entries() {
    let file = VectorFile::spring();
    let store = read(&file.store("store.p12"), "storepass").unwrap();
    let error = key(&store, "nobody", None).unwrap_err();
    assert!(error.to_string().starts_with("the keystore has no entry nobody. It has: "), "{error}");
    let main = key(&store, "main", None).unwrap();
    assert!(matches!(main.seal_prefixed("{key:nobody}x"), Err(SealError::Key(_))));
}
