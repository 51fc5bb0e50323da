//! An age file of the vectors, changed in every byte, and malformed headers.

use super::*;

const VECTORS: &str = include_str!("../../tests/vectors/sops.json");
/// The bytes 1 to 32.
const OTHER: &str = "AGE-SECRET-KEY-1QYPQXPQ9QCRSSZG2PVXQ6RS0ZQG3YYC5Z5TPWXQERGD3C8G7RUSQGPQYEE";

fn vectors() -> serde_json::Value {
    serde_json::from_str(VECTORS).unwrap()
}

fn identities() -> AgeIdentities {
    AgeIdentities::parse(vectors()["identity"].as_str().unwrap()).unwrap()
}

/// The armoured data key of a vector.
fn armoured() -> String {
    let vectors = vectors();
    let all = vectors["vectors"].as_array().unwrap();
    let vector = all.iter().find(|vector| vector["id"] == "all.json").unwrap();
    let file: serde_json::Value = serde_json::from_str(vector["text"].as_str().unwrap()).unwrap();
    file["sops"]["age"][0]["enc"].as_str().unwrap().to_owned()
}

fn armour(bytes: &[u8]) -> String {
    format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(bytes))
}

#[test]
fn a_data_key_has_32_bytes() {
    assert_eq!(identities().open(&armoured()).unwrap().len(), 32);
    let bytes = dearmoured(&armoured()).unwrap();
    assert!(identities().open(&armour(&bytes)).is_ok());
}

#[test]
fn every_changed_or_missing_byte_is_detected() {
    let identities = identities();
    let bytes = dearmoured(&armoured()).unwrap();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(identities.open(&armour(&changed)).is_err(), "{at}");
        assert!(identities.open(&armour(&bytes[..at])).is_err(), "{at}");
    }
    assert!(identities.open(&armour(&[&bytes[..], &[0]].concat())).is_err());
}

#[test]
fn a_file_for_another_recipient_has_no_stanza() {
    let other = AgeIdentities::parse(OTHER).unwrap();
    assert_eq!(other.open(&armoured()), Err(AgeError::NoStanza));
}

#[test]
fn malformed_files_are_rejected() {
    let identities = identities();
    let version = "age-encryption.org/v1\n";
    let mac = format!("--- {}\n", "A".repeat(43));
    for header in [
        String::new(),
        "age-encryption.org/v2\n".to_owned() + &mac,
        version.to_owned(),
        format!("{version}-> X25519 AA\nAA\n{mac}"),
        format!("{version}-> X25519 {}\nAA\n{mac}", "A".repeat(43)),
        format!("{version}-> X25519 {}\n{}\n", "A".repeat(43), "A".repeat(43)),
        format!("{version}-> x\n{}\n", "A".repeat(64)),
        format!("{version}-> x\n!\n{mac}"),
        format!("{version}?\n{mac}"),
        format!("{version}--- !\n"),
        format!("{version}{}{mac}", "-> x\n\n".repeat(STANZA_COUNT_MAX + 1)),
    ] {
        assert_eq!(
            identities.open(&armour(header.as_bytes())),
            Err(AgeError::Malformed),
            "{header}"
        );
    }
    let foreign = format!("{version}{}{mac}", "-> x y z\n\n".repeat(STANZA_COUNT_MAX));
    assert_eq!(identities.open(&armour(foreign.as_bytes())), Err(AgeError::NoStanza));
    for text in ["", BEGIN, END, "text", &armoured()[1..], &"x".repeat(FILE_BYTES_MAX + 1)] {
        assert_eq!(identities.open(text), Err(AgeError::Malformed), "{text}");
    }
}

/// RFC 7748 requires that a share of low order is rejected.
#[test]
fn a_share_of_low_order_opens_nothing() {
    let share = STANDARD_NO_PAD.encode([0; 32]);
    let body = STANDARD_NO_PAD.encode([0; 32]);
    let header = format!("age-encryption.org/v1\n-> X25519 {share}\n{body}\n--- {share}\n");
    assert_eq!(identities().open(&armour(header.as_bytes())), Err(AgeError::NoStanza));
}
