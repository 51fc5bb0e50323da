//! PKCS#12 as JDK 9 and later and OpenSSL 3 write it: PBES2 with PBKDF2 and AES-CBC, and an HMAC over everything.
//!
//! Files of older programs use 3DES or RC2. They are rejected with the command that converts them.

use std::num::NonZeroU32;

use aws_lc_rs::digest::{self, Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512};
use aws_lc_rs::{hmac, pbkdf2};
use zeroize::Zeroizing;

use super::{EntryContent, utf16_be};
use crate::aes::{self, BLOCK, SecretBytes};
use crate::der::{
    BMP_STRING, CONTEXT_0, CONTEXT_0_PRIMITIVE, DerReader, INTEGER, OBJECT_ID, OCTET_STRING,
    SEQUENCE, SET,
};
use crate::error::KeyError;
use crate::secret::SecretText;

/// The most rounds of one key derivation. They take about a second, and Java's default is 10,000.
const ROUNDS_MAX: u32 = 1_000_000;
/// The most rounds that reading one file may take.
const FILE_ROUNDS_MAX: u32 = 2_000_000;
/// The longest salt. RFC 7292 has no limit, and programs write 8 to 20 bytes.
const SALT_BYTES_MAX: usize = 1024;
/// The purpose of a key for the MAC, in the key derivation of PKCS#12.
const MAC_PURPOSE: u8 = 3;

const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
const ENCRYPTED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x06];
const KEY_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01, 0x01];
const SHROUDED_KEY_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01, 0x02];
const CERTIFICATE_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01, 0x03];
const X509_CERTIFICATE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x16, 0x01];
const FRIENDLY_NAME: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x14];
/// Java's attribute of a certificate that is an entry of its own.
const TRUSTED_KEY_USAGE: &[u8] =
    &[0x60, 0x86, 0x48, 0x01, 0x86, 0xf9, 0x66, 0xad, 0xca, 0x7b, 0x01, 0x01];
/// The beginning of the ids of the older algorithms.
const PKCS12_PBE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x01];
const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d];
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0c];
const AES_128_CBC: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x02];
const AES_256_CBC: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a];
const SHA_1_ID: &[u8] = &[0x2b, 0x0e, 0x03, 0x02, 0x1a];
const SHA_256_ID: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
const SHA_384_ID: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
const SHA_512_ID: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03];
const HMAC_SHA_1_ID: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x07];
const HMAC_SHA_256_ID: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x09];
const HMAC_SHA_384_ID: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x0a];
const HMAC_SHA_512_ID: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x0b];

const MALFORMED: KeyError = KeyError::Damaged("it is not PKCS#12 in DER");

/// Reads all entries with their aliases, after verifying the MAC.
pub(super) fn entries(
    bytes: &[u8],
    password: &SecretText,
) -> Result<Vec<(String, EntryContent)>, KeyError> {
    let mut budget = RoundBudget { left: FILE_ROUNDS_MAX };
    let mut file = DerReader::new(bytes).inside(SEQUENCE).ok_or(MALFORMED)?;
    file.content(INTEGER).ok_or(MALFORMED)?;
    let authenticated = file.inside(SEQUENCE).ok_or(MALFORMED)?;
    let content = data(authenticated).ok_or(MALFORMED)?;
    let mac = file.inside(SEQUENCE).ok_or(KeyError::Damaged("it has no MAC"))?;
    verify_mac(mac, content, password, &mut budget)?;

    let mut bags = BagReader::default();
    let mut parts = DerReader::new(content).inside(SEQUENCE).ok_or(MALFORMED)?;
    while !parts.is_at_end() {
        let part = parts.inside(SEQUENCE).ok_or(MALFORMED)?;
        if let Some(safe) = data(part) {
            bags.read(safe)?;
        } else {
            bags.read(&decrypted(part, password, &mut budget)?)?;
        }
    }
    Ok(bags.entries)
}

/// Opens the private key of an entry and returns it as PKCS#8. `None` if the password is wrong.
pub(super) fn open_key(
    sealed: &[u8],
    secret: &SecretText,
) -> Result<Option<SecretBytes>, KeyError> {
    let mut info = DerReader::new(sealed).inside(SEQUENCE).ok_or(MALFORMED)?;
    let algorithm = info.inside(SEQUENCE).ok_or(MALFORMED)?;
    let body = info.content(OCTET_STRING).ok_or(MALFORMED)?;
    let mut budget = RoundBudget { left: FILE_ROUNDS_MAX };
    Ok(Pbes2::parse(algorithm, &mut budget)?.open(secret, body))
}

/// The content of a `ContentInfo` that is not encrypted. `None` for another content.
fn data(mut info: DerReader<'_>) -> Option<&[u8]> {
    if info.content(OBJECT_ID)? != DATA {
        return None;
    }
    info.inside(CONTEXT_0)?.content(OCTET_STRING)
}

/// Decrypts a `ContentInfo` with the password of the store.
fn decrypted(
    mut info: DerReader<'_>,
    password: &SecretText,
    budget: &mut RoundBudget,
) -> Result<SecretBytes, KeyError> {
    if info.content(OBJECT_ID).ok_or(MALFORMED)? != ENCRYPTED_DATA {
        return Err(KeyError::StoreCipher { algorithm: "public keys" });
    }
    let (algorithm, body) = encrypted_content(info).ok_or(MALFORMED)?;
    let opened = Pbes2::parse(algorithm, budget)?.open(password, body);
    // The MAC has confirmed the password.
    opened.ok_or(KeyError::Damaged("an encrypted part cannot be decrypted"))
}

fn encrypted_content(mut info: DerReader<'_>) -> Option<(DerReader<'_>, &[u8])> {
    let mut data = info.inside(CONTEXT_0)?.inside(SEQUENCE)?;
    data.content(INTEGER)?;
    let mut content = data.inside(SEQUENCE)?;
    content.content(OBJECT_ID)?;
    Some((content.inside(SEQUENCE)?, content.content(CONTEXT_0_PRIMITIVE)?))
}

fn verify_mac(
    mac: DerReader<'_>,
    content: &[u8],
    password: &SecretText,
    budget: &mut RoundBudget,
) -> Result<(), KeyError> {
    let MacFields { hash_id, expected, salt, rounds } = mac_fields(mac).ok_or(MALFORMED)?;
    let (hash, hmac) = match hash_id {
        SHA_1_ID => (&SHA1_FOR_LEGACY_USE_ONLY, hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
        SHA_256_ID => (&SHA256, hmac::HMAC_SHA256),
        SHA_384_ID => (&SHA384, hmac::HMAC_SHA384),
        SHA_512_ID => (&SHA512, hmac::HMAC_SHA512),
        _ => return Err(KeyError::StoreCipher { algorithm: "an unknown MAC" }),
    };
    let rounds = budget.spend(rounds)?;
    let key = mac_key(hash, password, salt, rounds);
    hmac::verify(&hmac::Key::new(hmac, &key), content, expected)
        .map_err(|_| KeyError::StorePassword)
}

struct MacFields<'a> {
    hash_id: &'a [u8],
    expected: &'a [u8],
    salt: &'a [u8],
    rounds: u32,
}

fn mac_fields(mut mac: DerReader<'_>) -> Option<MacFields<'_>> {
    let mut info = mac.inside(SEQUENCE)?;
    let hash_id = info.inside(SEQUENCE)?.content(OBJECT_ID)?;
    let expected = info.content(OCTET_STRING)?;
    let salt = mac.content(OCTET_STRING)?;
    let rounds = if mac.is_at_end() { 1 } else { mac.number()? };
    (salt.len() <= SALT_BYTES_MAX).then_some(MacFields { hash_id, expected, salt, rounds })
}

/// Derives the key of the MAC, by the first block of RFC 7292, appendix B. A MAC needs no more than one block.
fn mac_key(
    hash: &'static digest::Algorithm,
    password: &SecretText,
    salt: &[u8],
    rounds: NonZeroU32,
) -> Zeroizing<Vec<u8>> {
    let mut password = utf16_be(password.expose());
    password.extend_from_slice(&[0, 0]);
    let mut context = Context::new(hash);
    context.update(&vec![MAC_PURPOSE; hash.block_len]);
    for part in [salt, &password] {
        let length = part.len().next_multiple_of(hash.block_len);
        let repeated: Zeroizing<Vec<u8>> =
            Zeroizing::new(part.iter().copied().cycle().take(length).collect());
        context.update(&repeated);
    }
    let mut key = Zeroizing::new(context.finish().as_ref().to_vec());
    for _ in 1..rounds.get() {
        let next = digest::digest(hash, &key);
        key.copy_from_slice(next.as_ref());
    }
    key
}

/// The rounds of key derivation that a file may still ask for.
struct RoundBudget {
    left: u32,
}

impl RoundBudget {
    /// Takes rounds from the budget. Rejects zero rounds and too many.
    fn spend(&mut self, rounds: u32) -> Result<NonZeroU32, KeyError> {
        let too_many = KeyError::Rounds { found: rounds, rounds_max: ROUNDS_MAX };
        if rounds > ROUNDS_MAX {
            return Err(too_many);
        }
        self.left = self.left.checked_sub(rounds).ok_or(too_many)?;
        NonZeroU32::new(rounds).ok_or(MALFORMED)
    }
}

/// The parameters of a password-based encryption.
struct Pbes2<'a> {
    salt: &'a [u8],
    rounds: NonZeroU32,
    hmac: pbkdf2::Algorithm,
    key_bytes: usize,
    iv: [u8; BLOCK],
}

impl<'a> Pbes2<'a> {
    fn parse(mut algorithm: DerReader<'a>, budget: &mut RoundBudget) -> Result<Self, KeyError> {
        match algorithm.content(OBJECT_ID).ok_or(MALFORMED)? {
            PBES2 => {}
            id if id.starts_with(PKCS12_PBE) => {
                return Err(KeyError::StoreCipher { algorithm: "3DES or RC2" });
            }
            _ => return Err(KeyError::StoreCipher { algorithm: "an unknown cipher" }),
        }
        let fields = Pbes2Fields::parse(algorithm).ok_or(MALFORMED)?;
        let hmac = match fields.hmac_id {
            None | Some(HMAC_SHA_1_ID) => pbkdf2::PBKDF2_HMAC_SHA1,
            Some(HMAC_SHA_256_ID) => pbkdf2::PBKDF2_HMAC_SHA256,
            Some(HMAC_SHA_384_ID) => pbkdf2::PBKDF2_HMAC_SHA384,
            Some(HMAC_SHA_512_ID) => pbkdf2::PBKDF2_HMAC_SHA512,
            Some(_) => return Err(KeyError::StoreCipher { algorithm: "an unknown HMAC" }),
        };
        let key_bytes = match fields.cipher_id {
            AES_128_CBC => 16,
            AES_256_CBC => 32,
            _ => return Err(KeyError::StoreCipher { algorithm: "another cipher than AES" }),
        };
        let rounds = budget.spend(fields.rounds)?;
        Ok(Self { salt: fields.salt, rounds, hmac, key_bytes, iv: fields.iv })
    }

    /// Decrypts. `None` if the password is wrong or the bytes were changed.
    fn open(&self, password: &SecretText, body: &[u8]) -> Option<SecretBytes> {
        let mut key = Zeroizing::new([0; 32]);
        let key = &mut key[..self.key_bytes];
        pbkdf2::derive(self.hmac, self.rounds, self.salt, password.expose().as_bytes(), key);
        aes::open_cbc(key, &self.iv, body)
    }
}

struct Pbes2Fields<'a> {
    salt: &'a [u8],
    rounds: u32,
    hmac_id: Option<&'a [u8]>,
    cipher_id: &'a [u8],
    iv: [u8; BLOCK],
}

impl<'a> Pbes2Fields<'a> {
    fn parse(mut algorithm: DerReader<'a>) -> Option<Self> {
        let mut parameters = algorithm.inside(SEQUENCE)?;
        let mut derivation = parameters.inside(SEQUENCE)?;
        if derivation.content(OBJECT_ID)? != PBKDF2 {
            return None;
        }
        let mut derivation = derivation.inside(SEQUENCE)?;
        let salt = derivation.content(OCTET_STRING)?;
        let rounds = derivation.number()?;
        derivation.optional(INTEGER);
        let hmac_id = match derivation.inside(SEQUENCE) {
            Some(mut hmac) => Some(hmac.content(OBJECT_ID)?),
            None => None,
        };
        let mut cipher = parameters.inside(SEQUENCE)?;
        let cipher_id = cipher.content(OBJECT_ID)?;
        // Other ciphers have shorter IVs. The caller rejects them by their id.
        let iv = cipher.content(OCTET_STRING)?.try_into().unwrap_or_default();
        let fields = Self { salt, rounds, hmac_id, cipher_id, iv };
        (salt.len() <= SALT_BYTES_MAX).then_some(fields)
    }
}

/// Collects the entries of the parts of a file.
#[derive(Default)]
struct BagReader {
    entries: Vec<(String, EntryContent)>,
    /// Java names entries without a name by a running number.
    unnamed_count: u32,
}

impl BagReader {
    fn read(&mut self, safe: &[u8]) -> Result<(), KeyError> {
        let mut bags = DerReader::new(safe).inside(SEQUENCE).ok_or(MALFORMED)?;
        while !bags.is_at_end() {
            let bag = bags.inside(SEQUENCE).ok_or(MALFORMED)?;
            self.read_bag(bag).ok_or(MALFORMED)?;
        }
        Ok(())
    }

    fn read_bag(&mut self, mut bag: DerReader<'_>) -> Option<()> {
        let id = bag.content(OBJECT_ID)?;
        let mut value = bag.inside(CONTEXT_0)?;
        let attributes = BagAttributes::parse(bag)?;
        let content = match id {
            SHROUDED_KEY_BAG => EntryContent::Pkcs12Key(value.element()?.whole.to_vec()),
            KEY_BAG => EntryContent::ClearKey(Zeroizing::new(value.element()?.whole.to_vec())),
            CERTIFICATE_BAG if attributes.is_trusted => {
                let mut certificate = value.inside(SEQUENCE)?;
                if certificate.content(OBJECT_ID)? != X509_CERTIFICATE {
                    return Some(());
                }
                let bytes = certificate.inside(CONTEXT_0)?.content(OCTET_STRING)?;
                EntryContent::Certificate(bytes.to_vec())
            }
            // The certificates of private keys, revocation lists and other secrets.
            _ => return Some(()),
        };
        let alias = attributes.name.unwrap_or_else(|| {
            self.unnamed_count += 1;
            self.unnamed_count.to_string()
        });
        self.entries.push((alias, content));
        Some(())
    }
}

#[derive(Default)]
struct BagAttributes {
    name: Option<String>,
    is_trusted: bool,
}

impl BagAttributes {
    fn parse(mut bag: DerReader<'_>) -> Option<Self> {
        let mut found = Self::default();
        if bag.is_at_end() {
            return Some(found);
        }
        let mut attributes = bag.inside(SET)?;
        while !attributes.is_at_end() {
            let mut attribute = attributes.inside(SEQUENCE)?;
            match attribute.content(OBJECT_ID)? {
                FRIENDLY_NAME => {
                    let (pairs, _) = attribute.inside(SET)?.content(BMP_STRING)?.as_chunks::<2>();
                    let units: Vec<u16> =
                        pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
                    found.name = Some(String::from_utf16(&units).ok()?);
                }
                TRUSTED_KEY_USAGE => found.is_trusted = true,
                _ => {}
            }
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests;
