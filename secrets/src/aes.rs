//! AES-CBC with padding, AES-GCM with long nonces, and the key derivation of Spring.

use std::num::NonZeroU32;

use aes_gcm::AesGcm;
use aes_gcm::aead::array::{Array, ArraySize};
use aes_gcm::aead::consts::{U16, U32};
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::aes::Aes256;
use aws_lc_rs::cipher::{
    AES_128, AES_256, DecryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey,
    UnboundCipherKey,
};
use aws_lc_rs::{iv::FixedLength, pbkdf2};
use zeroize::Zeroizing;

/// The block of AES, and the IV of CBC.
pub(crate) const BLOCK: usize = 16;
/// The rounds of key derivation that Spring always uses.
const SPRING_ROUNDS: NonZeroU32 = NonZeroU32::new(1024).expect("not zero");

/// A key of AES-256.
pub(crate) type AesKey = Zeroizing<[u8; 32]>;
/// Opened bytes.
pub(crate) type SecretBytes = Zeroizing<Vec<u8>>;

/// Derives a key as Spring does: PBKDF2 with HMAC-SHA-1 and 1,024 rounds.
pub(crate) fn spring_key(password: &[u8], salt: &[u8]) -> AesKey {
    let mut key = AesKey::default();
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA1, SPRING_ROUNDS, salt, password, key.as_mut());
    key
}

/// Decrypts CBC with PKCS#7 padding. The key has 16 or 32 bytes. `None` if anything does not fit.
pub(crate) fn open_cbc(key: &[u8], iv: &[u8; BLOCK], sealed: &[u8]) -> Option<SecretBytes> {
    let algorithm = match key.len() {
        16 => &AES_128,
        _ => &AES_256,
    };
    if sealed.is_empty() || !sealed.len().is_multiple_of(BLOCK) {
        return None;
    }
    let key = UnboundCipherKey::new(algorithm, key).ok()?;
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).ok()?;
    let context = DecryptionContext::Iv128(FixedLength::from(*iv));
    let mut bytes = SecretBytes::new(sealed.to_vec());
    let length = key.decrypt(&mut bytes, context).ok()?.len();
    bytes.truncate(length);
    Some(bytes)
}

/// Encrypts with CBC and PKCS#7 padding under a random IV, which comes first in the result.
pub(crate) fn seal_cbc(key: &AesKey, text: &[u8]) -> Option<Vec<u8>> {
    let key = UnboundCipherKey::new(&AES_256, key.as_ref()).ok()?;
    let key = PaddedBlockEncryptingKey::cbc_pkcs7(key).ok()?;
    let mut bytes = SecretBytes::new(Vec::with_capacity(text.len() + BLOCK));
    bytes.extend_from_slice(text);
    let context = key.encrypt(&mut *bytes).ok()?;
    let iv: &[u8] = (&context).try_into().ok()?;
    Some([iv, &bytes].concat())
}

/// Decrypts GCM with a nonce of 16 bytes, as Spring writes it.
pub(crate) fn open_gcm16(key: &AesKey, nonce: &[u8; 16], sealed: &[u8]) -> Option<SecretBytes> {
    open_gcm::<U16>(key, &Array(*nonce), sealed, b"")
}

/// Encrypts with GCM under a random nonce of 16 bytes, which comes first in the result.
pub(crate) fn seal_gcm16(key: &AesKey, text: &[u8]) -> Option<Vec<u8>> {
    let mut nonce = [0; 16];
    aws_lc_rs::rand::fill(&mut nonce).ok()?;
    let cipher = AesGcm::<Aes256, U16>::new((&**key).into());
    let sealed = cipher.encrypt(&Array(nonce), text).ok()?;
    Some([&nonce[..], &sealed].concat())
}

/// Decrypts GCM with a nonce of 32 bytes, as SOPS writes it.
pub(crate) fn open_gcm32(
    key: &AesKey,
    nonce: &[u8; 32],
    sealed: &[u8],
    associated: &[u8],
) -> Option<SecretBytes> {
    open_gcm::<U32>(key, &Array(*nonce), sealed, associated)
}

fn open_gcm<N: ArraySize>(
    key: &AesKey,
    nonce: &Array<u8, N>,
    sealed: &[u8],
    associated: &[u8],
) -> Option<SecretBytes> {
    let cipher = AesGcm::<Aes256, N>::new((&**key).into());
    let payload = Payload { msg: sealed, aad: associated };
    cipher.decrypt(nonce, payload).ok().map(SecretBytes::new)
}
