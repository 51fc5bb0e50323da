//! Arbitrary, changed and cut input: no panic, and no text out of it.

use headwater_secrets::age::AgeIdentities;
use headwater_secrets::sealed::{Place, SealKey, SealKeyring};
use headwater_secrets::sops::{self, SopsFormat};
use headwater_secrets::{KeyStore, SEALED_BYTES_MAX, SecretText, SpringKey};
use proptest::prelude::*;

use crate::vectors::VectorFile;

fn passphrase() -> SpringKey {
    SpringKey::from_passphrase(&SecretText::new("foo"), "deadbeef").unwrap()
}

fn passphrase_gcm() -> SpringKey {
    SpringKey::from_passphrase_gcm(&SecretText::new("foo"), "deadbeef").unwrap()
}

/// A text that begins with prefixes and markers more often than an arbitrary one.
fn sealed_like() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("{cipher}".to_owned()),
        Just("{sealed}id.".to_owned()),
        Just("{plain}".to_owned()),
        "\\{[a-z]{0,3}:?[a-z ]{0,4}\\}?",
        "[0-9a-f]{0,80}",
        "[A-Za-z0-9+/=_-]{0,80}",
        any::<String>(),
    ];
    prop::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn texts_survive_sealing(text in any::<String>()) {
        for key in [passphrase(), passphrase_gcm()] {
            let sealed = key.seal(&text).unwrap();
            let opened = key.open_text(&sealed).unwrap();
            prop_assert_eq!(opened.expose(), &text);
        }
    }

    #[test]
    fn texts_with_prefixes_survive_sealing(text in sealed_like()) {
        let sealed = passphrase().seal_prefixed(&format!("{{plain}}{text}")).unwrap();
        let opened = passphrase().open_text(&sealed).unwrap();
        prop_assert_eq!(opened.expose(), &text);
    }

    #[test]
    fn bound_texts_survive_sealing(text in any::<String>(), area in "[^\0]*", key in "[^\0]*") {
        let keys = SealKeyring::new(vec![SealKey::generate("id").unwrap()]).unwrap();
        let place = Place { area: &area, key: &key };
        let sealed = keys.seal(&text, &place).unwrap();
        let opened = keys.open(&sealed, &place).unwrap();
        prop_assert_eq!(opened.expose(), &text);
        let other = format!("{key}x");
        let elsewhere = Place { area: &area, key: &other };
        prop_assert!(keys.open(&sealed, &elsewhere).is_err());
    }

    /// An arbitrary value has no valid tag. Without a tag, CBC opens at most a few of them to garbage.
    #[test]
    fn arbitrary_values_do_not_open(value in sealed_like()) {
        let marked = format!("{{cipher}}{value}");
        prop_assert!(passphrase_gcm().open(&marked).is_err());
        let _ = passphrase().open(&marked);
        let keys = SealKeyring::new(vec![SealKey::generate("id").unwrap()]).unwrap();
        let place = Place { area: "a", key: "b" };
        prop_assert!(keys.open(&value, &place).is_err());
    }

    #[test]
    fn arbitrary_keys_are_rejected_or_used(text in any::<String>(), salt in any::<String>()) {
        let key = SpringKey::from_encrypt_key(&SecretText::new(text.as_str()), "00");
        prop_assert_eq!(key.is_ok(), !text.is_empty());
        let _ = SpringKey::from_encrypt_key(&SecretText::new("x"), &salt);
        let pem = format!("-----BEGIN RSA PRIVATE KEY-----\n{text}\n-----END RSA PRIVATE KEY-----");
        prop_assert!(SpringKey::from_encrypt_key(&SecretText::new(pem), "00").is_err());
        prop_assert!(AgeIdentities::parse(&text).is_err());
        prop_assert!(SealKey::parse(&text).is_err());
    }

    #[test]
    fn arbitrary_bytes_are_no_keystore(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        start in prop::sample::select(vec![
            vec![],
            vec![0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2],
            vec![0x30, 0x80],
            vec![0x30, 0x82, 0xff, 0xff],
        ]),
    ) {
        let bytes = [start, bytes].concat();
        prop_assert!(KeyStore::read(&bytes, &SecretText::new("p")).is_err());
    }

    #[test]
    fn changed_keystores_are_rejected(
        name in prop::sample::select(vec!["store.jks", "store.p12", "openssl.p12"]),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
        is_cut in any::<bool>(),
    ) {
        let mut bytes = VectorFile::spring().store(name);
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        if is_cut {
            bytes.truncate(at);
        }
        // Behind the MAC, a PKCS#12 file has fields that no check covers, such as the parameters of the hash.
        let read = KeyStore::read(&bytes, &SecretText::new("storepass"));
        prop_assert!(read.is_err() || (!is_cut && name != "store.jks"));
    }

    #[test]
    fn changed_sops_files_do_not_panic(
        index in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        replacement in any::<char>(),
        is_cut in any::<bool>(),
    ) {
        let file = VectorFile::sops();
        let identities = AgeIdentities::parse(file.text("identity")).unwrap();
        let vector = index.get(file.vectors());
        let mut characters: Vec<char> = vector["text"].as_str().unwrap().chars().collect();
        let at = at.index(characters.len());
        characters[at] = replacement;
        if is_cut {
            characters.truncate(at);
        }
        let text: String = characters.into_iter().collect();
        for format in [SopsFormat::Yaml, SopsFormat::Json, SopsFormat::Dotenv, SopsFormat::Ini] {
            let _ = sops::open(&text, format, &identities);
        }
    }
}

#[test]
fn a_huge_value_is_rejected_before_it_is_decoded() {
    let value = format!("{{cipher}}{}", "00".repeat(5 * 1024 * 1024));
    assert_eq!(passphrase().open(&value).unwrap_err().detail(), "the value is longer than 1 MiB");
    let keys = SealKeyring::new(vec![SealKey::generate("id").unwrap()]).unwrap();
    let sealed = format!("{{sealed}}id.{}", "A".repeat(SEALED_BYTES_MAX));
    let error = keys.open(&sealed, &Place { area: "a", key: "b" }).unwrap_err();
    assert_eq!(error.detail(), "the value is longer than 1 MiB");
    let long = "x".repeat(256 * 1024);
    let sealed = passphrase().seal(&long).unwrap();
    assert!(sealed.len() < SEALED_BYTES_MAX);
    assert_eq!(passphrase().open_text(&sealed).unwrap().expose(), long);
    assert!(passphrase().seal(&format!("{long}x")).is_err());
}
