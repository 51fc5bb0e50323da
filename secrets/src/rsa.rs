//! RSA keys: the 16 random bytes of a value, and the public key as text.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::error::KeyRejected;
use aws_lc_rs::rand;
use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
    Pkcs1PrivateDecryptingKey, Pkcs1PublicEncryptingKey, PrivateDecryptingKey, PublicEncryptingKey,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::der::{self, BIT_STRING, CONTEXT_0, DerReader, INTEGER, OCTET_STRING, SEQUENCE};
use crate::error::KeyError;
use crate::spring::RsaAlgorithm;

/// The random bytes that a value contains under RSA. The AES key is derived from them.
pub(crate) const SESSION_BYTES: usize = 16;
/// `rsaEncryption` with its empty parameters.
const RSA_ENCRYPTION: [u8; 13] =
    [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

/// A private key with its public key, or a public key alone.
pub(crate) struct RsaKey {
    private: Option<PrivateDecryptingKey>,
    public: PublicEncryptingKey,
}

/// The random bytes of a value.
pub(crate) struct Session {
    pub(crate) bytes: Zeroizing<[u8; SESSION_BYTES]>,
    /// False if RSA failed. The bytes are then random.
    pub(crate) is_genuine: bool,
}

impl RsaKey {
    /// Reads a private key.
    pub(crate) fn from_pkcs8(bytes: &[u8]) -> Result<Self, KeyError> {
        let private = PrivateDecryptingKey::from_pkcs8(bytes).map_err(|error| rejected(&error))?;
        Ok(Self { public: private.public_key(), private: Some(private) })
    }

    /// Reads the public key of an X.509 certificate.
    pub(crate) fn from_certificate(bytes: &[u8]) -> Result<Self, KeyError> {
        let key = subject_key(bytes).ok_or(KeyError::Damaged("a certificate cannot be read"))?;
        let public = PublicEncryptingKey::from_der(key).map_err(|error| rejected(&error))?;
        Ok(Self { private: None, public })
    }

    /// The length of an RSA ciphertext.
    pub(crate) fn block_bytes(&self) -> usize {
        self.public.key_size_bytes()
    }

    /// Decrypts the random bytes. `None` if there is no private key.
    ///
    /// A failure of RSA returns other random bytes, so that the caller does the same work in both cases. Otherwise the
    /// time of an answer would tell an attacker which ciphertexts have valid padding.
    pub(crate) fn open_session(&self, algorithm: RsaAlgorithm, block: &[u8]) -> Option<Session> {
        let private = self.private.clone()?;
        let mut opened = Zeroizing::new(vec![0; private.key_size_bytes()]);
        let length = match algorithm {
            RsaAlgorithm::Default => Pkcs1PrivateDecryptingKey::new(private)
                .and_then(|key| key.decrypt(block, &mut opened).map(|bytes| bytes.len())),
            RsaAlgorithm::Oaep => OaepPrivateDecryptingKey::new(private).and_then(|key| {
                let bytes = key.decrypt(&OAEP_SHA1_MGF1SHA1, block, &mut opened, None);
                bytes.map(|bytes| bytes.len())
            }),
        };
        let is_genuine = length == Ok(SESSION_BYTES);
        let mut bytes = Zeroizing::new([0; SESSION_BYTES]);
        rand::fill(bytes.as_mut()).ok()?;
        if is_genuine {
            bytes.copy_from_slice(&opened[..SESSION_BYTES]);
        }
        Some(Session { bytes, is_genuine })
    }

    /// Encrypts the random bytes.
    pub(crate) fn seal_session(
        &self,
        algorithm: RsaAlgorithm,
        session: &[u8; SESSION_BYTES],
    ) -> Option<Vec<u8>> {
        let mut sealed = vec![0; self.block_bytes()];
        let public = self.public.clone();
        let length = match algorithm {
            RsaAlgorithm::Default => {
                let key = Pkcs1PublicEncryptingKey::new(public).ok()?;
                key.encrypt(session, &mut sealed).ok()?.len()
            }
            RsaAlgorithm::Oaep => {
                let key = OaepPublicEncryptingKey::new(public).ok()?;
                key.encrypt(&OAEP_SHA1_MGF1SHA1, session, &mut sealed, None).ok()?.len()
            }
        };
        (length == sealed.len()).then_some(sealed)
    }

    /// The public key in the form of OpenSSH: `ssh-rsa` and its base64.
    pub(crate) fn ssh_text(&self) -> Option<String> {
        let key = self.public.as_der().ok()?;
        let mut key = DerReader::new(key.as_ref()).inside(SEQUENCE)?;
        key.inside(SEQUENCE)?;
        let (unused, numbers) = key.content(BIT_STRING)?.split_first()?;
        if *unused != 0 {
            return None;
        }
        let mut numbers = DerReader::new(numbers).inside(SEQUENCE)?;
        let modulus = numbers.content(INTEGER)?;
        let exponent = numbers.content(INTEGER)?;
        let mut wire = Vec::new();
        for field in [b"ssh-rsa", exponent, modulus] {
            wire.extend_from_slice(&u32::try_from(field.len()).ok()?.to_be_bytes());
            wire.extend_from_slice(field);
        }
        Some(format!("ssh-rsa {}", STANDARD.encode(wire)))
    }
}

/// Wraps a PKCS#1 private key as PKCS#8.
pub(crate) fn pkcs8(pkcs1: &[u8]) -> Zeroizing<Vec<u8>> {
    // Allocated once, so that no copy of the key stays behind.
    let mut content = Zeroizing::new(Vec::with_capacity(pkcs1.len() + 32));
    der::write(INTEGER, &[0], &mut content);
    der::write(SEQUENCE, &RSA_ENCRYPTION, &mut content);
    der::write(OCTET_STRING, pkcs1, &mut content);
    let mut key = Zeroizing::new(Vec::with_capacity(content.len() + 8));
    der::write(SEQUENCE, &content, &mut key);
    key
}

/// The `SubjectPublicKeyInfo` of a certificate.
fn subject_key(certificate: &[u8]) -> Option<&[u8]> {
    let mut certificate = DerReader::new(certificate).inside(SEQUENCE)?;
    let mut fields = certificate.inside(SEQUENCE)?;
    fields.optional(CONTEXT_0);
    fields.content(INTEGER)?;
    // The signature algorithm, the issuer, the validity and the subject.
    for _ in 0..4 {
        fields.content(SEQUENCE)?;
    }
    fields.element().filter(|key| key.tag == SEQUENCE).map(|key| key.whole)
}

fn rejected(error: &KeyRejected) -> KeyError {
    match error.to_string() {
        reason if reason == "TooSmall" => KeyError::RsaTooSmall,
        reason => KeyError::RsaRejected(reason),
    }
}
