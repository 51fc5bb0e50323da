//! Verification of JWTs with the keys of a JWKS document.
//!
//! The signature is checked by `jsonwebtoken`. The claims are checked here, because that crate reads the system's
//! clock.
//!
//! Invariant: the algorithm comes from the policy and the key, and the token can only choose among these. Neither
//! `none` nor a shared secret is ever among them.

mod jwks;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Validation, decode};
use serde_json::{Map, Value};

pub use jsonwebtoken::Algorithm;
pub use jwks::{JWKS_BYTES_MAX, JWKS_KEY_COUNT_MAX, Jwks, JwksError};

/// The longest accepted token.
pub const JWT_BYTES_MAX: usize = 8 * 1024;

/// The difference between clocks that `exp` and `nbf` tolerate.
pub const LEEWAY: SignedDuration = SignedDuration::from_secs(60);

/// The algorithms that a policy may name, by their registered names. All of them are asymmetric.
pub const ALGORITHMS: [(&str, Algorithm); 9] = [
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

/// The algorithms of an issuer that names none.
pub const DEFAULT_ALGORITHMS: [Algorithm; 3] =
    [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];

/// The terms under which tokens of one issuer are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The exact text of `iss`.
    pub issuer: String,
    /// The text that `aud` is or contains.
    pub audience: String,
    pub algorithms: Vec<Algorithm>,
}

type JsonObject = Map<String, Value>;

/// The claims of a verified token. `Debug` prints their names only.
#[derive(Clone, PartialEq)]
pub struct Claims {
    claims: JsonObject,
    valid_until: Timestamp,
}

/// The reason for which a token is rejected. It never contains a part of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    #[error("the JWT has more than {JWT_BYTES_MAX} bytes")]
    TooLong,
    #[error("the credential is not three base64url parts with JSON objects in the first two")]
    Malformed,
    #[error("the JWT requires an extension (crit), and none is supported")]
    Critical,
    #[error("the algorithm of the JWT is not among those of its issuer in the policy")]
    Algorithm,
    #[error("no key of the issuer's JWKS fits the JWT. The issuer may have replaced its keys")]
    UnknownKey,
    #[error("the signature of the JWT does not match the issuer's key")]
    Signature,
    #[error("the JWT is from another issuer")]
    Issuer,
    #[error("the JWT is for another audience")]
    Audience,
    #[error("the JWT has no exp, or its exp is no time")]
    NoExpiry,
    #[error("the JWT has expired")]
    Expired,
    #[error("the JWT is not valid yet, or its nbf is no time")]
    NotYetValid,
}

impl Claims {
    /// Returns true if a claim exists and one of its texts satisfies a condition. Numbers and booleans count as their
    /// texts, and a list counts as its entries. Objects satisfy nothing.
    pub fn any_text(&self, name: &str, is_match: impl Fn(&str) -> bool) -> bool {
        match self.claims.get(name) {
            Some(Value::Array(values)) => {
                values.iter().filter_map(text).any(|text| is_match(&text))
            }
            Some(value) => text(value).is_some_and(|text| is_match(&text)),
            None => false,
        }
    }

    /// The text of a claim that is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.claims.get(name)?.as_str()
    }

    /// The time until which the token is accepted, leeway included.
    pub fn valid_until(&self) -> Timestamp {
        self.valid_until
    }
}

impl std::fmt::Debug for Claims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Claims({:?})", self.claims.keys().collect::<Vec<_>>())
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Returns true if a credential has the shape of a JWT: three parts that are not empty.
pub fn is_jwt(credential: &str) -> bool {
    let mut parts = credential.split('.');
    let is_three = parts.by_ref().take(3).filter(|part| !part.is_empty()).count() == 3;
    is_three && parts.next().is_none()
}

/// Reads `iss` without any verification, to choose the issuer whose keys verify the token.
pub fn unverified_issuer(token: &str) -> Result<String, JwtError> {
    let (_, claims) = parts(token)?;
    claims.get("iss").and_then(Value::as_str).map(str::to_owned).ok_or(JwtError::Issuer)
}

/// Verifies a token.
pub fn verify(token: &str, terms: &Terms, jwks: &Jwks, now: Timestamp) -> Result<Claims, JwtError> {
    let (header, _) = parts(token)?;
    if header.contains_key("crit") {
        return Err(JwtError::Critical);
    }
    let algorithm = header.get("alg").and_then(Value::as_str);
    let algorithm = ALGORITHMS.into_iter().find(|(name, _)| Some(*name) == algorithm);
    let algorithm = algorithm.map(|(_, algorithm)| algorithm);
    let algorithm = algorithm.filter(|algorithm| terms.algorithms.contains(algorithm));
    let algorithm = algorithm.ok_or(JwtError::Algorithm)?;
    let kid = match header.get("kid") {
        None => None,
        Some(Value::String(kid)) => Some(kid.as_str()),
        Some(_) => return Err(JwtError::Malformed),
    };
    let keys = jwks.keys_for(kid, algorithm);
    if keys.is_empty() {
        return Err(JwtError::UnknownKey);
    }
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    let verified = keys
        .into_iter()
        .find_map(|key| decode::<JsonObject>(token, key, &validation).ok().map(|data| data.claims));
    check_claims(verified.ok_or(JwtError::Signature)?, terms, now)
}

fn check_claims(claims: JsonObject, terms: &Terms, now: Timestamp) -> Result<Claims, JwtError> {
    if claims.get("iss").and_then(Value::as_str) != Some(&terms.issuer) {
        return Err(JwtError::Issuer);
    }
    let is_audience = |value: &Value| value.as_str() == Some(&terms.audience);
    let is_for_us = match claims.get("aud") {
        Some(Value::Array(values)) => values.iter().any(is_audience),
        Some(value) => is_audience(value),
        None => false,
    };
    if !is_for_us {
        return Err(JwtError::Audience);
    }
    let expiry = claims.get("exp").and_then(seconds).ok_or(JwtError::NoExpiry)?;
    let valid_until = expiry.saturating_add(LEEWAY).unwrap_or(Timestamp::MAX);
    if now > valid_until {
        return Err(JwtError::Expired);
    }
    if let Some(not_before) = claims.get("nbf") {
        let not_before = seconds(not_before).ok_or(JwtError::NotYetValid)?;
        if not_before > now.saturating_add(LEEWAY).unwrap_or(Timestamp::MAX) {
            return Err(JwtError::NotYetValid);
        }
    }
    Ok(Claims { claims, valid_until })
}

/// A number of seconds since 1970, with or without a fraction.
fn seconds(value: &Value) -> Option<Timestamp> {
    let number = value.as_number()?;
    if let Some(seconds) = number.as_i64() {
        return Timestamp::from_second(seconds).ok();
    }
    let duration = SignedDuration::try_from_secs_f64(number.as_f64()?).ok()?;
    Timestamp::from_duration(duration).ok()
}

/// The header and the claims of a token, not verified.
fn parts(token: &str) -> Result<(JsonObject, JsonObject), JwtError> {
    if token.len() > JWT_BYTES_MAX {
        return Err(JwtError::TooLong);
    }
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(JwtError::Malformed);
    };
    let object = |part: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| JwtError::Malformed)?;
        serde_json::from_slice(&bytes).map_err(|_| JwtError::Malformed)
    };
    Ok((object(header)?, object(claims)?))
}

#[cfg(test)]
mod tests;
