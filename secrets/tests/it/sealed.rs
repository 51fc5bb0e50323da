//! `{sealed}` values: their format, their binding to a place, and rotation.

use headwater_secrets::sealed::{Place, SealKey, SealKeyring};
use headwater_secrets::{KeyError, SealError};

/// The bytes 0 to 31.
const KEY: &str = "# a test key\nseal-2026.AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n";
const PLACE: Place<'_> = Place { area: "orders", key: "db.password" };
/// Made with Python's cryptography 48: `AESGCMSIV(key).encrypt(nonce, text, b"v1\0orders\0db.password")`.
const SEALED: &str = "{sealed}seal-2026.AAECAwQFBgcICQoLGn3gy8vCMNdl-tozR2wO0WIvVhccL9Uao5Pdww";

fn keyring(texts: &[&str]) -> SealKeyring {
    SealKeyring::new(texts.iter().map(|text| SealKey::parse(text).unwrap()).collect()).unwrap()
}

#[test]
fn values_of_another_implementation_open() {
    let keys = keyring(&[KEY]);
    assert_eq!(keys.open(SEALED, &PLACE).unwrap().expose(), "s3cret-\u{fc}\u{20ac}");
    let empty = "{sealed}seal-2026.AAECAwQFBgcICQoLS-VFFiCsoFbUD0Uxe0SSMw";
    assert_eq!(keys.open(empty, &Place { area: "*", key: "a" }).unwrap().expose(), "");
}

#[test]
fn a_value_opens_at_its_own_place_only() {
    let keys = keyring(&[KEY]);
    for (area, key) in [
        ("billing", "db.password"),
        ("*", "db.password"),
        ("orders", "db.passwor"),
        ("orders", "DB.password"),
        ("orders.db", "password"),
        ("", "orders\0db.password"),
        ("orders\0db.password", ""),
    ] {
        let error = keys.open(SEALED, &Place { area, key }).unwrap_err();
        assert_eq!(error.to_string(), "the value cannot be opened", "{area} {key}");
    }
    assert_eq!(keys.seal("x", &Place { area: "a\0b", key: "c" }), Err(SealError::Place));
    assert_eq!(keys.seal("x", &Place { area: "a", key: "b\0c" }), Err(SealError::Place));
}

#[test]
fn the_newest_key_seals_and_all_keys_open() {
    let new = SealKey::generate("seal-2027").unwrap();
    let new_text = new.to_text();
    let both = keyring(&[new_text.expose(), KEY]);
    assert!(both.open(SEALED, &PLACE).is_ok());
    let sealed = both.seal("text", &PLACE).unwrap();
    assert!(sealed.starts_with("{sealed}seal-2027."), "{sealed}");
    assert_eq!(both.open(&sealed, &PLACE).unwrap().expose(), "text");
    assert_ne!(both.seal("text", &PLACE).unwrap(), sealed);
    let error = keyring(&[KEY]).open(&sealed, &PLACE).unwrap_err();
    assert_eq!(error.detail(), "no seal key has the id that the value names");
}

#[test]
fn another_key_under_the_same_id_does_not_open() {
    let other = SealKey::generate("seal-2026").unwrap().to_text();
    let error = keyring(&[other.expose()]).open(SEALED, &PLACE).unwrap_err();
    assert_eq!(error.detail(), "the ciphertext was made with another key, or it was changed");
}

#[test]
fn every_changed_character_is_detected() {
    let keys = keyring(&[KEY]);
    for at in 0..SEALED.len() {
        let mut changed = SEALED.to_owned();
        let other = if &SEALED[at..=at] == "A" { "B" } else { "A" };
        changed.replace_range(at..=at, other);
        assert!(keys.open(&changed, &PLACE).is_err(), "{changed}");
        assert!(keys.open(&SEALED[..at], &PLACE).is_err(), "{at}");
    }
    for appended in ["=", "\n", " ", "A", "AAAA"] {
        assert!(keys.open(&format!("{SEALED}{appended}"), &PLACE).is_err(), "{appended:?}");
    }
}

#[test]
fn key_files_are_one_line() {
    for text in [
        "",
        "# only a comment\n",
        "seal-2026\n",
        "seal-2026.AAEC\n",
        "seal 2026.AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n",
        ".AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n",
        "seal-2026.AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "a.AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n\
         b.AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n",
    ] {
        assert_eq!(SealKey::parse(text).unwrap_err(), KeyError::SealKey, "{text}");
    }
    assert!(SealKey::generate("a b").is_err());
    assert!(SealKey::generate("").is_err());
    let key = || SealKey::parse(KEY).unwrap();
    let twice = SealKeyring::new(vec![key(), key()]).unwrap_err();
    assert_eq!(twice, KeyError::SealKeyTwice("seal-2026".to_owned()));
}

#[test]
fn without_keys_nothing_is_sealed() {
    let empty = SealKeyring::default();
    assert!(empty.is_empty());
    assert_eq!(empty.seal("x", &PLACE), Err(SealError::NoKey));
    assert!(empty.open(SEALED, &PLACE).is_err());
    let long = "x".repeat(256 * 1024 + 1);
    assert_eq!(keyring(&[KEY]).seal(&long, &PLACE), Err(SealError::TooLong));
}

#[test]
fn a_fingerprint_depends_on_the_oldest_key_and_on_the_bytes() {
    let other = KEY.replace("seal-2026", "seal-2027").replace("AAEC", "BBEC");
    let (old, both) = (keyring(&[KEY]), keyring(&[&other, KEY]));
    let digits = old.fingerprint(b"a");
    assert!(digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()), "{digits}");
    assert_eq!(both.fingerprint(b"a"), digits);
    assert_ne!(keyring(&[&other]).fingerprint(b"a"), digits);
    assert_ne!(SealKeyring::default().fingerprint(b"a"), digits);
    assert_ne!(old.fingerprint(b"b"), digits);
    assert_eq!(both.ids().collect::<Vec<_>>(), ["seal-2027", "seal-2026"]);
}
