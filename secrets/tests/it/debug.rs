//! `Debug` texts contain no key and no opened text.

use headwater_secrets::age::AgeIdentities;
use headwater_secrets::sealed::{SealKey, SealKeyring};
use headwater_secrets::sops::{self, SopsFormat};
use headwater_secrets::{KeyStore, Keyring, SecretText, SpringKey};

use crate::vectors::VectorFile;

#[test]
fn keys_and_texts_are_not_shown() {
    let file = VectorFile::spring();
    let sops_file = VectorFile::sops();
    let identities = AgeIdentities::parse(sops_file.text("identity")).unwrap();
    let vector = &sops_file.vectors()[0];
    let opened = sops::open(vector["text"].as_str().unwrap(), SopsFormat::Yaml, &identities);
    let passphrase = SecretText::new("canary-passphrase");
    let key = SpringKey::from_passphrase(&passphrase, "deadbeef").unwrap();
    let store = KeyStore::read(&file.store("store.jks"), &SecretText::new("storepass")).unwrap();
    let seal = SealKey::parse("id.AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8").unwrap();
    let shown = [
        format!("{passphrase:?}"),
        format!("{key:?} {:?}", file.key_of("sym-pem")),
        format!("{:?}", Keyring::new(vec![file.key_of("jks-default")])),
        format!("{store:?}"),
        format!("{seal:?} {:?}", seal.to_text()),
        format!("{:?}", SealKeyring::new(vec![seal]).unwrap()),
        format!("{identities:?}"),
        format!("{:?}", opened.unwrap()),
    ];
    for text in &shown {
        for secret in ["canary", "pass\"", "storepass", "s3cret", "orders", "AAEC", "5432", "1.5"] {
            assert!(!text.contains(secret), "{text} contains {secret}");
        }
        assert!(!text.contains("AGE-SECRET"), "{text}");
    }
    // The keys of a file are shown.
    assert!(shown[7].contains("password"), "{}", shown[7]);
}
