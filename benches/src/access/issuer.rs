//! An issuer of JWTs, and the RSA key of sealed values.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::anyhow;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::policy::{AUDIENCE, ISSUER};

/// The time for which a JWT is valid.
const VALID: Duration = Duration::from_secs(3_600);

/// A private key in PEM.
pub(super) fn rsa_key() -> anyhow::Result<String> {
    let key = RsaKeyPair::generate(KeySize::Rsa2048)?;
    let der: Pkcs8V1Der<'_> = key.as_der()?;
    let text = STANDARD.encode(der.as_ref());
    Ok(format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n"))
}

/// An issuer that signs with RS256, as Kubernetes does.
pub(super) struct Issuer {
    key: RsaKeyPair,
    /// The number of JWTs so far, so that no two are equal.
    count: usize,
}

impl Issuer {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self { key: RsaKeyPair::generate(KeySize::Rsa2048)?, count: 0 })
    }

    /// The document with the public key.
    pub(super) fn jwks(&self) -> String {
        let public = self.key.public_key();
        let (modulus, exponent) = (public.modulus(), public.exponent());
        let [modulus, exponent] = [&modulus, &exponent]
            .map(|number| URL_SAFE_NO_PAD.encode(number.big_endian_without_leading_zero()));
        format!(
            "{{\"keys\":[{{\"kty\":\"RSA\",\"kid\":\"bench\",\"n\":\"{modulus}\",\"e\":\"{exponent}\"}}]}}"
        )
    }

    /// A new JWT for a subject.
    pub(super) fn sign(&mut self, subject: &str) -> anyhow::Result<String> {
        self.count += 1;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let (issued, expires) = (now.as_secs(), (now + VALID).as_secs());
        let head = "{\"alg\":\"RS256\",\"kid\":\"bench\",\"typ\":\"JWT\"}";
        let claims = format!(
            "{{\"iss\":\"{ISSUER}\",\"aud\":[\"{AUDIENCE}\"],\"sub\":\"{subject}\",\"jti\":\"{}\",\
             \"iat\":{issued},\"exp\":{expires}}}",
            self.count
        );
        let message =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature)
            .map_err(|_| anyhow!("a JWT cannot be signed"))?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}
