//! Parts of PKCS#12 behind the MAC, which a changed file of the vectors never reaches.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;
use crate::der;

fn store(name: &str) -> Vec<u8> {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/vectors/spring-cipher.json")).unwrap();
    STANDARD.decode(vectors["stores"][name].as_str().unwrap()).unwrap()
}

fn password() -> SecretText {
    SecretText::new("storepass")
}

/// The parts of a store, decrypted.
fn safes(name: &str) -> Vec<Vec<u8>> {
    let bytes = store(name);
    let mut file = DerReader::new(&bytes).inside(SEQUENCE).unwrap();
    file.content(INTEGER).unwrap();
    let content = data(file.inside(SEQUENCE).unwrap()).unwrap();
    let mut parts = DerReader::new(content).inside(SEQUENCE).unwrap();
    let mut safes = Vec::new();
    while !parts.is_at_end() {
        let part = parts.inside(SEQUENCE).unwrap();
        safes.push(match data(part) {
            Some(safe) => safe.to_vec(),
            None => {
                let mut budget = RoundBudget { left: FILE_ROUNDS_MAX };
                decrypted(part, &password(), &mut budget).unwrap().to_vec()
            }
        });
    }
    safes
}

/// The first encrypted private key of a store.
fn sealed_key(name: &str) -> Vec<u8> {
    let found = entries(&store(name), &password()).unwrap();
    let keys = found.into_iter().filter_map(|(_, content)| match content {
        EntryContent::Pkcs12Key(sealed) => Some(sealed),
        _ => None,
    });
    keys.into_iter().next().unwrap()
}

fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    der::write(tag, &parts.concat(), &mut bytes);
    bytes
}

fn number(number: u32) -> Vec<u8> {
    element(INTEGER, &[&[0], &number.to_be_bytes()])
}

/// A file without entries whose MAC asks for rounds.
fn empty_store(rounds: u32, salt: &[u8]) -> Vec<u8> {
    let id = |id: &[u8]| element(OBJECT_ID, &[id]);
    let content = element(OCTET_STRING, &[&element(SEQUENCE, &[])]);
    let content = element(SEQUENCE, &[&id(DATA), &element(CONTEXT_0, &[&content])]);
    let digest = element(
        SEQUENCE,
        &[&element(SEQUENCE, &[&id(SHA_256_ID)]), &element(OCTET_STRING, &[&[0; 32]])],
    );
    let mac = element(SEQUENCE, &[&digest, &element(OCTET_STRING, &[salt]), &number(rounds)]);
    element(SEQUENCE, &[&number(3), &content, &mac])
}

#[test]
fn rounds_beyond_the_limit_are_rejected_before_they_are_made() {
    let error = |rounds| entries(&empty_store(rounds, b"salt"), &password()).err().unwrap();
    for rounds in [ROUNDS_MAX + 1, 2_000_000_000, u32::MAX] {
        let expected = KeyError::Rounds { found: rounds, rounds_max: ROUNDS_MAX };
        assert_eq!(error(rounds), expected);
    }
    assert_eq!(error(0), MALFORMED);
    // The file is well-formed apart from its rounds.
    assert_eq!(error(1), KeyError::StorePassword);
    let long_salt = entries(&empty_store(1, &[0; SALT_BYTES_MAX + 1]), &password());
    assert_eq!(long_salt.err().unwrap(), MALFORMED);
}

#[test]
fn all_parts_of_a_file_share_one_budget() {
    let mut budget = RoundBudget { left: FILE_ROUNDS_MAX };
    assert!(budget.spend(ROUNDS_MAX).is_ok());
    assert!(budget.spend(ROUNDS_MAX).is_ok());
    assert!(budget.spend(1).is_err());
}

#[test]
fn rounds_of_an_entry_are_limited() {
    let sealed = sealed_key("store.p12");
    assert!(open_key(&sealed, &password()).unwrap().is_some());
    assert!(open_key(&sealed, &SecretText::new("wrong")).unwrap().is_none());
    let rounds = [0x02, 0x02, 0x27, 0x10];
    let at = sealed.windows(4).position(|bytes| bytes == rounds).unwrap();
    // The length of each element around it would change, so that the salt gives up the bytes.
    let mut parameters = sealed[..at].to_vec();
    let salt = at - 22;
    assert_eq!(parameters[salt..salt + 2], [OCTET_STRING, 20]);
    parameters.truncate(salt);
    parameters.extend([OCTET_STRING, 17]);
    parameters.extend([7; 17]);
    parameters.extend(number(5_000_000));
    parameters.extend(&sealed[at + 4..]);
    assert_eq!(parameters.len(), sealed.len());
    let error = open_key(&parameters, &password()).unwrap_err();
    assert_eq!(error, KeyError::Rounds { found: 5_000_000, rounds_max: ROUNDS_MAX });
}

proptest! {
    // Each case derives keys with the rounds of the files.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn changed_parts_do_not_panic(
        name in prop::sample::select(vec!["store.p12", "openssl.p12"]),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        is_cut in any::<bool>(),
    ) {
        for mut safe in safes(name) {
            let at = at.index(safe.len());
            safe[at] = byte;
            if is_cut {
                safe.truncate(at);
            }
            let read = BagReader::default().read(&safe);
            prop_assert!(read.is_err() || !is_cut);
        }
    }

    #[test]
    fn changed_keys_do_not_panic(at in 0..120_usize, byte in any::<u8>(), is_cut in any::<bool>()) {
        let mut sealed = sealed_key("openssl.p12");
        sealed[at] = byte;
        if is_cut {
            sealed.truncate(at);
        }
        let opened = open_key(&sealed, &password());
        prop_assert!(!is_cut || opened.is_err());
    }
}
