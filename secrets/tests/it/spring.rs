//! Spring's `{cipher}` values: the answers of the original, changed values, and values that this crate seals.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use headwater_secrets::{
    CIPHER_MARKER, KeyError, Keyring, OpenError, SealError, SecretText, SpringKey,
};

use crate::vectors::{SpringVector, VectorFile};

/// Vectors that the original opens and Headwater rejects on purpose, with the detail for the operator. An IV without a
/// block is no text, and bytes that are not UTF-8 would be served with replacement characters.
const STRICTER: [(&str, &str); 3] = [
    ("bad-cbc-iv-only", "the ciphertext has a length that the key cannot have made"),
    ("bad-rsa-iv-only", "the ciphertext has a length that the key cannot have made"),
    ("bad-rsa-middle", "the opened bytes are not UTF-8"),
];
/// Vectors whose keystores are not supported, and the reason.
const UNSUPPORTED: [(&str, KeyError); 2] = [
    ("rsa-jceks", KeyError::Jceks),
    ("rsa-p12-legacy", KeyError::StoreCipher { algorithm: "3DES or RC2" }),
];

#[test]
fn every_vector_has_the_answer_of_the_original() {
    let file = VectorFile::spring();
    let keys = file.keys();
    let mut counts = [0; 3];
    for SpringVector { id, keys: set, value, plain, kind } in file.spring_vectors() {
        if let Some((_, error)) = UNSUPPORTED.iter().find(|(known, _)| *known == id) {
            assert_eq!(keys[set].as_ref().unwrap_err(), error, "{id}");
            counts[0] += 1;
            continue;
        }
        let opened = keys[set].as_ref().unwrap().open(value);
        if let Some((_, detail)) = STRICTER.iter().find(|(known, _)| *known == id) {
            assert!(plain.is_some() && kind == "tampered", "{id}");
            assert_eq!(opened.unwrap_err().detail(), *detail, "{id}");
            counts[1] += 1;
            continue;
        }
        let detail = opened.as_ref().err().map(OpenError::detail);
        assert_eq!(opened.as_ref().ok().map(SecretText::expose), plain, "{id}: {detail:?}");
        counts[2] += 1;
    }
    assert_eq!(counts, [UNSUPPORTED.len(), STRICTER.len(), 94]);
}

#[test]
fn all_failures_have_one_text() {
    let file = VectorFile::spring();
    let keys = file.keys();
    let mut details = std::collections::BTreeSet::new();
    for vector in file.spring_vectors() {
        let Ok(key) = &keys[vector.keys] else { continue };
        let Err(error) = key.open(vector.value) else { continue };
        assert_eq!(error.to_string(), "the value cannot be opened");
        assert_eq!(format!("{error:?}"), "OpenError");
        assert!(std::error::Error::source(&error).is_none());
        assert!(!vector.value.contains(error.detail()));
        details.insert(error.detail());
    }
    assert!(details.len() >= 7, "{details:?}");
}

/// The bytes of a ciphertext, and the text of changed bytes.
struct Ciphertext {
    prefix: String,
    bytes: Vec<u8>,
    is_hexadecimal: bool,
}

impl Ciphertext {
    fn parse(value: &str) -> Self {
        let start = value.rfind('}').unwrap() + 1;
        let text = &value[start..];
        let is_hexadecimal =
            text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let bytes = if is_hexadecimal {
            let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
            (0..text.len()).step_by(2).map(digit).collect()
        } else {
            STANDARD.decode(text).unwrap()
        };
        Self { prefix: value[..start].to_owned(), bytes, is_hexadecimal }
    }

    fn value(&self, bytes: &[u8]) -> String {
        let text = if self.is_hexadecimal {
            bytes.iter().map(|byte| format!("{byte:02x}")).collect()
        } else {
            STANDARD.encode(bytes)
        };
        format!("{}{text}", self.prefix)
    }
}

/// CBC cannot detect every change: the text is then another one. GCM detects all of them.
#[test]
fn a_changed_byte_never_leaves_the_text_as_it_was() {
    let file = VectorFile::spring();
    let keys = file.keys();
    let is_short = |vector: &SpringVector<'_>| vector.kind == "good" && vector.value.len() < 500;
    let mut count = 0;
    for vector in file.spring_vectors().filter(is_short).take(20) {
        let key = keys[vector.keys].as_ref().unwrap();
        let is_gcm = vector.keys.contains("gcm") || vector.keys.contains("strong");
        let ciphertext = Ciphertext::parse(vector.value);
        assert_eq!(ciphertext.value(&ciphertext.bytes), vector.value);
        for at in 0..ciphertext.bytes.len() {
            let mut bytes = ciphertext.bytes.clone();
            bytes[at] ^= 1 << (at % 8);
            let opened = key.open(&ciphertext.value(&bytes));
            let opened = opened.as_ref().ok().map(SecretText::expose);
            assert_ne!(opened, vector.plain, "{} at {at}", vector.id);
            assert!(!is_gcm || opened.is_none(), "{} at {at}", vector.id);
        }
        count += 1;
    }
    assert_eq!(count, 20);
}

#[test]
fn a_cut_value_does_not_open_to_its_text() {
    let file = VectorFile::spring();
    for id in ["sym-default", "gcm-default", "jks-default", "jks-oaep-strong"] {
        let key = file.key_of(id);
        let sealed =
            format!("{CIPHER_MARKER}{}", key.seal("a text of more than one block").unwrap());
        for end in CIPHER_MARKER.len()..sealed.len() {
            // The padding of base64 is optional.
            if sealed[end..].bytes().all(|byte| byte == b'=') {
                continue;
            }
            let opened = key.open(&sealed[..end]);
            let opened = opened.as_ref().ok().map(SecretText::expose);
            assert_ne!(opened, Some("a text of more than one block"), "{id} at {end}");
        }
    }
}

#[test]
fn sealed_texts_open_again_and_differ_each_time() {
    let file = VectorFile::spring();
    for (id, key) in file.keys() {
        let Ok(key) = key else { continue };
        for text in ["", "bar", "0123456789abcdef", "h\u{fc}ll\u{f6} \u{20ac} \u{1f600}\n"] {
            let sealed = key.seal(text).unwrap();
            assert_eq!(key.open_text(&sealed).unwrap().expose(), text, "{id}");
            assert_ne!(key.seal(text).unwrap(), sealed, "{id}");
        }
    }
}

#[test]
fn prefixes_choose_the_entry_and_come_back() {
    let file = VectorFile::spring();
    let key = file.key_of("jks-default");
    let sealed = key.seal_prefixed("{name:x}{key:old}{secret:oldpass}text").unwrap();
    let rest = sealed.strip_prefix("{key:old}{secret:oldpass}").unwrap();
    assert_eq!(key.open_text(&sealed).unwrap().expose(), "text");
    assert!(key.open_text(rest).is_err());
    // {plain} protects a text that looks like a prefix.
    let sealed = key.seal_prefixed("{plain}{key:old}text").unwrap();
    assert_eq!(key.open_text(&sealed).unwrap().expose(), "{key:old}text");
    let key = file.key_of("sym-default");
    let sealed = key.seal_prefixed("{\"a\":1}").unwrap();
    assert!(sealed.starts_with("{\"a\":1}"), "{sealed}");
}

#[test]
fn a_certificate_seals_and_does_not_open() {
    let file = VectorFile::spring();
    let key = file.key_of("jks-default");
    let sealed = key.seal_prefixed("{key:trusted}text").unwrap();
    let error = key.open_text(&sealed).unwrap_err();
    assert_eq!(error.detail(), "the entry of the keystore has a certificate and no private key");
    let unknown = key.seal_prefixed("{key:nobody}text").unwrap_err();
    let aliases = "main, old, big, trusted";
    let SealError::Key(KeyError::NoEntry { alias, aliases: found }) = unknown else {
        panic!("{unknown:?}");
    };
    assert_eq!(alias, "nobody");
    let sorted = |text: &str| {
        let mut names: Vec<String> = text.split(", ").map(str::to_owned).collect();
        names.sort();
        names
    };
    assert_eq!(sorted(&found), sorted(aliases));
}

/// The text that `ssh-keygen -y` prints for the PEM of the set `sym-pem`.
const PUBLIC_KEY: &str = "ssh-rsa \
    AAAAB3NzaC1yc2EAAAADAQABAAABAQCnPTMGcXW0DlBsQ5zXk/VHMWPsq/BFu4HIrIZdFYRSrNn4xslD\
    5IZbJYKYacJYEfwfJiIU5I34iW9HOJ4Gu4yFD0XYi/1IhENb2pRam+ovcRF0B1F94nKq/p27UiD/Xrmh\
    4cShqvzTYk7wVPiRjvEkXXVzarTl2c2Wd+hYvVgyq/nbNg3cZ5w68mOsN1iJQe3eIwlx9CIGzuHSaBPl\
    VEpTkS5WeZhG0Oqa0e8iYpFoZeEEiWObZ39jtHWHEqJdYLVqayhrtPheO8X5AMMKVOhMrdQTg4QIhfQx\
    JPqjTiVLofcFo90xeBuGNNV4PGq8Shk1Srkhd/pU67VtaBAOjYKb";

#[test]
fn the_public_key_is_that_of_openssh() {
    let file = VectorFile::spring();
    assert_eq!(file.key_of("sym-pem").public_key().as_deref(), Some(PUBLIC_KEY));
    assert_eq!(file.key_of("sym-default").public_key(), None);
    assert!(
        file.key_of("p12-default").public_key().unwrap().starts_with("ssh-rsa AAAAB3NzaC1yc2E")
    );
}

#[test]
fn a_key_is_a_passphrase_only_if_it_is_no_key_file() {
    for (text, expected) in [
        ("", "the key is empty"),
        ("-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n", "it holds no private key"),
        (
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----",
            "it is encrypted with a password",
        ),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
             -----END RSA PRIVATE KEY-----",
            "it is encrypted",
        ),
        ("-----BEGIN RSA PRIVATE KEY----- MIIB -----END RSA PRIVATE KEY-----", "not base64"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIB", "it has no END line"),
        ("-----BEGIN RSA", "its BEGIN line is incomplete"),
        ("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQ", "it has no BEGIN line"),
        ("RSA PRIVATE KEY", "it has no BEGIN line"),
        ("-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----", "not an RSA key"),
    ] {
        let error = SpringKey::from_encrypt_key(&SecretText::new(text), "deadbeef").unwrap_err();
        assert!(error.to_string().contains(expected), "{text}: {error}");
    }
    let passphrase = SecretText::new("a passphrase");
    for salt in ["xyz", "abc", "\u{e4}"] {
        let error = SpringKey::from_encrypt_key(&passphrase, salt).unwrap_err();
        assert_eq!(error, KeyError::Salt, "{salt}");
    }
}

#[test]
fn an_rsa_key_below_2048_bits_is_rejected() {
    let pem = SecretText::new(include_str!("../vectors/rsa-1024.pem"));
    let error = SpringKey::from_encrypt_key(&pem, "deadbeef").unwrap_err();
    assert_eq!(error, KeyError::RsaTooSmall);
}

/// Unlike Spring, which uses the text as a passphrase.
#[test]
fn a_pkcs8_pem_opens_what_its_pkcs1_pem_opens() {
    let file = VectorFile::spring();
    let pem = SecretText::new(include_str!("../vectors/rsa-2048-pkcs8.pem"));
    let key = SpringKey::from_encrypt_key(&pem, "not used").unwrap();
    let vector = file.spring_vectors().find(|vector| vector.id == "pem-1").unwrap();
    assert_eq!(key.open(vector.value).unwrap().expose(), "bar");
    let crlf = SecretText::new(pem.expose().replace('\n', "\r\n"));
    assert!(SpringKey::from_encrypt_key(&crlf, "").unwrap().open(vector.value).is_ok());
}

#[test]
fn keys_of_different_forms_share_a_keyring() {
    let file = VectorFile::spring();
    let ring = Keyring::new(vec![
        file.key_of("jks-strong"),
        file.key_of("sym-pem"),
        file.key_of("gcm-salt"),
        file.key_of("sym-default"),
    ]);
    for id in ["rsa-jks-strong", "pem-1", "cbc-1", "gcm-3-unicode"] {
        let vector = file.spring_vectors().find(|vector| vector.id == id).unwrap();
        assert_eq!(ring.open(vector.value).ok().as_ref().map(SecretText::expose), vector.plain);
    }
}

/// A block that the passphrases `foo` and `bar` both open, found by trying about 10 million random blocks.
#[test]
fn a_value_that_two_keys_open_to_different_texts_is_rejected() {
    let value = "{cipher}15af3a5cb4d74dac998985e349b85a6e0390ccfa525b813484f5d2c4c566dfbb";
    let key = |text| SpringKey::from_passphrase(&SecretText::new(text), "deadbeef").unwrap();
    assert_eq!(key("foo").open(value).unwrap().expose(), "aaaaaaaaaaaaaaa");
    assert_eq!(key("bar").open(value).unwrap().expose(), "\u{3}C:p<STgkEFuK#I");
    for ring in [[key("foo"), key("bar")], [key("bar"), key("foo")]] {
        let error = Keyring::new(ring.into()).open(value).unwrap_err();
        assert_eq!(error.detail(), "two keys open the value to different texts");
    }
    let ring = Keyring::new(vec![key("other"), key("foo")]);
    assert!(ring.open(value).is_ok());
}
