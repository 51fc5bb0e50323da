//! The public keys of an issuer, from a JWKS document.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// The largest accepted document.
pub const JWKS_BYTES_MAX: usize = 256 * 1024;

/// The most keys in a document.
pub const JWKS_KEY_COUNT_MAX: usize = 64;

const RSA_BITS_MIN: usize = 2048;
const RSA_BITS_MAX: usize = 8192;

/// The usable keys of an issuer.
#[derive(Clone, Debug)]
pub struct Jwks {
    keys: Vec<Key>,
}

#[derive(Clone)]
struct Key {
    kid: Option<String>,
    family: Family,
    /// The only algorithm for which the issuer uses the key, if it says so.
    algorithm: Option<String>,
    key: DecodingKey,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Rsa,
    P256,
    P384,
    Ed25519,
}

/// A document that is not usable. The keys that were read before stay in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    #[error("the JWKS has {0} bytes, at most {JWKS_BYTES_MAX} are read")]
    TooLong(usize),
    #[error("the JWKS has {0} keys, at most {JWKS_KEY_COUNT_MAX} are read")]
    TooManyKeys(usize),
    #[error("the JWKS is not a JSON object with a list \"keys\"")]
    Malformed,
    #[error(
        "the JWKS contains a private key. Its readers can sign tokens. \
         Replace the key at the issuer"
    )]
    PrivateKey,
    #[error(
        "the JWKS contains no usable key, expected RSA of 2,048 to 8,192 bits, P-256, \
         P-384 or Ed25519"
    )]
    NoUsableKey,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

/// The members of one key. Other members are ignored, as RFC 7517 demands.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Jwks {
    /// Parses a document. Keys of unknown kinds and keys for encryption are left out, as are symmetric keys.
    pub fn parse(document: &[u8]) -> Result<Self, JwksError> {
        if document.len() > JWKS_BYTES_MAX {
            return Err(JwksError::TooLong(document.len()));
        }
        let document: Document =
            serde_json::from_slice(document).map_err(|_| JwksError::Malformed)?;
        if document.keys.len() > JWKS_KEY_COUNT_MAX {
            return Err(JwksError::TooManyKeys(document.keys.len()));
        }
        if document.keys.iter().any(|key| key.get("d").is_some()) {
            return Err(JwksError::PrivateKey);
        }
        let parsed = document.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok());
        let keys: Vec<Key> = parsed.filter_map(Key::from_jwk).collect();
        if keys.is_empty() {
            return Err(JwksError::NoUsableKey);
        }
        Ok(Self { keys })
    }

    /// The keys that can verify a token. A token without a key id is unambiguous only if a single key fits.
    pub(super) fn keys_for(&self, kid: Option<&str>, algorithm: Algorithm) -> Vec<&DecodingKey> {
        let fitting = self.keys.iter().filter(|key| key.fits(algorithm));
        let fitting: Vec<&DecodingKey> = fitting
            .filter(|key| kid.is_none() || key.kid.as_deref() == kid)
            .map(|key| &key.key)
            .collect();
        if kid.is_none() && fitting.len() > 1 {
            return Vec::new();
        }
        fitting
    }
}

impl Key {
    fn from_jwk(jwk: Jwk) -> Option<Self> {
        let is_for_signatures = jwk.purpose.as_deref().is_none_or(|purpose| purpose == "sig");
        let may_verify =
            jwk.key_ops.as_ref().is_none_or(|operations| operations.iter().any(|o| o == "verify"));
        if !is_for_signatures || !may_verify {
            return None;
        }
        let (family, key) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => (Family::Rsa, rsa(jwk.n.as_deref()?, jwk.e.as_deref()?)?),
            ("EC", Some("P-256")) => (Family::P256, point(&jwk, 32)?),
            ("EC", Some("P-384")) => (Family::P384, point(&jwk, 48)?),
            ("OKP", Some("Ed25519")) => {
                let x = jwk.x.as_deref().filter(|x| bytes(x).is_some_and(|x| x.len() == 32))?;
                (Family::Ed25519, DecodingKey::from_ed_components(x).ok()?)
            }
            _ => return None,
        };
        Some(Self { kid: jwk.kid, family, algorithm: jwk.alg, key })
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        let is_family = match algorithm {
            Algorithm::RS256 | Algorithm::RS384 | Algorithm::RS512 => self.family == Family::Rsa,
            Algorithm::PS256 | Algorithm::PS384 | Algorithm::PS512 => self.family == Family::Rsa,
            Algorithm::ES256 => self.family == Family::P256,
            Algorithm::ES384 => self.family == Family::P384,
            Algorithm::EdDSA => self.family == Family::Ed25519,
            _ => false,
        };
        let name = super::ALGORITHMS.into_iter().find(|(_, known)| *known == algorithm);
        let is_own = self.algorithm.as_deref().is_none_or(|own| {
            // RFC 9864 gives the algorithm of this curve a name of its own.
            name.is_some_and(|(name, _)| name == own)
                || own == "Ed25519" && algorithm == Algorithm::EdDSA
        });
        is_family && is_own
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({:?})", self.kid)
    }
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

fn rsa(modulus: &str, exponent: &str) -> Option<DecodingKey> {
    let modulus = bytes(modulus)?;
    let first = modulus.iter().position(|byte| *byte != 0)?;
    let modulus = &modulus[first..];
    let bits = modulus.len() * 8 - modulus.first()?.leading_zeros() as usize;
    let is_usual = (RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits);
    is_usual.then_some(DecodingKey::from_rsa_raw_components(modulus, &bytes(exponent)?))
}

fn point(jwk: &Jwk, length: usize) -> Option<DecodingKey> {
    let (x, y) = (jwk.x.as_deref()?, jwk.y.as_deref()?);
    let is_whole = |text: &str| bytes(text).is_some_and(|bytes| bytes.len() == length);
    let is_point = is_whole(x) && is_whole(y);
    is_point.then(|| DecodingKey::from_ec_components(x, y).ok()).flatten()
}
