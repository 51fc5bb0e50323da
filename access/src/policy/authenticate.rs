//! Authentication: exactly one principal for each request, or an error.

use std::sync::Arc;

use jiff::Timestamp;

use super::Policy;
use super::identity::san_key;
use crate::credential::{Credential, CredentialError, CredentialHeaders};
use crate::jwt::{self, Jwks, JwtError};
use crate::principal::Principal;
use crate::sha256::Sha256;

/// The names in a client certificate that the TLS layer has verified.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateNames {
    pub uris: Vec<String>,
    pub dns_names: Vec<String>,
}

/// The current keys of issuers, by the names of the issuers in the policy, and the JWTs that they have verified.
pub trait KeySets {
    fn keys(&self, issuer: &str) -> Option<Arc<Jwks>>;

    /// Returns the outcome of an earlier verification of a JWT, found by its digest. An outcome that is returned
    /// replaces the verification.
    fn remembered(
        &self,
        _jwt: &Sha256,
        _now: Timestamp,
    ) -> Option<Result<AuthenticatedCaller, AuthenticationError>> {
        None
    }

    /// Receives the outcome of a verification.
    fn remember(
        &self,
        _jwt: &Sha256,
        _outcome: &Result<AuthenticatedCaller, AuthenticationError>,
        _now: Timestamp,
    ) {
    }

    /// Receives the name of an issuer whose present keys cannot verify a JWT.
    fn report_missing_key(&self, _issuer: &str) {}
}

/// Everything in a request that can prove an identity.
pub struct Evidence<'a> {
    /// `None` for a connection without a client certificate.
    pub certificate: Option<&'a CertificateNames>,
    pub headers: CredentialHeaders<'a>,
    pub keys: &'a dyn KeySets,
}

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthenticatedCaller {
    pub principal: Principal,
    pub proof: Proof,
    /// The time at which the credential stops being accepted, for connections that outlive it.
    pub valid_until: Option<Timestamp>,
}

/// The kind of credential that proved an identity, for audit lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// The caller sent no credential.
    None,
    /// The first 8 hexadecimal digits of a token's digest.
    Token(String),
    Certificate,
    /// The name of the issuer in the policy.
    Jwt(Arc<str>),
}

impl std::fmt::Display for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Token(digits) => write!(f, "token:{digits}"),
            Self::Certificate => f.write_str("certificate"),
            Self::Jwt(issuer) => write!(f, "jwt:{issuer}"),
        }
    }
}

/// The reason for which a request is not authenticated. Callers receive one answer for all reasons.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticationError {
    #[error("{0}")]
    Headers(#[from] CredentialError),
    #[error("no principal has the token {digest}…")]
    UnknownToken { digest: String },
    #[error("the token {digest}… of {principal} has expired. Make a new one")]
    ExpiredToken { digest: String, principal: Principal },
    #[error("the credential of {principal} was sent with the user name of another principal")]
    WrongUser { principal: Principal },
    #[error("{0}")]
    Jwt(#[from] JwtError),
    #[error("the JWT was not verified, because its client has sent too many bad credentials")]
    Unverified,
    #[error("no issuer of the policy has issued the JWT")]
    UnknownIssuer,
    #[error("the keys of the issuer {0} were not loaded yet")]
    NoKeys(Arc<str>),
    #[error("the claims of the JWT lead to no principal of the policy")]
    UnmappedJwt,
    #[error("the claims of the JWT lead to several principals. Make the mappings exclusive")]
    AmbiguousJwt,
    #[error("no name in the client certificate belongs to a principal")]
    UnknownCertificate,
    #[error("the names in the client certificate belong to several principals")]
    AmbiguousCertificate,
    #[error("the certificate belongs to {certificate} and the header to {header}")]
    Contradiction { certificate: Principal, header: Principal },
}

impl AuthenticationError {
    /// Returns true if a later set of the issuer's keys may verify the JWT.
    pub fn is_key_missing(&self) -> bool {
        matches!(self, Self::NoKeys(_) | Self::Jwt(JwtError::UnknownKey))
    }
}

impl Policy {
    /// Finds the one principal of a request. A request without any credential is anonymous.
    ///
    /// Invariant: a bad credential is never ignored. No request falls back to anonymous or to its other credential.
    pub fn authenticate(
        &self,
        evidence: &Evidence<'_>,
        now: Timestamp,
    ) -> Result<AuthenticatedCaller, AuthenticationError> {
        let by_header = match evidence.headers.credential()? {
            Some(presented) => Some(self.authenticate_header(&presented, evidence.keys, now)?),
            None => None,
        };
        let by_certificate = match evidence.certificate {
            Some(names) => Some(self.authenticate_certificate(names)?),
            None => None,
        };
        match (by_certificate, by_header) {
            (None, None) => Ok(AuthenticatedCaller {
                principal: Principal::anonymous(),
                proof: Proof::None,
                valid_until: None,
            }),
            (Some(certificate), Some(header)) if certificate.principal != header.principal => {
                Err(AuthenticationError::Contradiction {
                    certificate: certificate.principal,
                    header: header.principal,
                })
            }
            (_, Some(authenticated)) | (Some(authenticated), None) => Ok(authenticated),
        }
    }

    /// A token is looked up before its shape is considered, because an operator's own token may look like a JWT.
    fn authenticate_header(
        &self,
        presented: &Credential,
        keys: &dyn KeySets,
        now: Timestamp,
    ) -> Result<AuthenticatedCaller, AuthenticationError> {
        let digest = presented.digest();
        let found = self.identities.token(&digest);
        let authenticated = match found.filter(|(_, token)| token.digest.equals(&digest)) {
            Some((principal, token)) => {
                let (principal, digest) = (principal.clone(), digest.short());
                if token.expires.is_some_and(|expires| now >= expires) {
                    return Err(AuthenticationError::ExpiredToken { digest, principal });
                }
                let (proof, valid_until) = (Proof::Token(digest), token.expires);
                AuthenticatedCaller { principal, proof, valid_until }
            }
            None if jwt::is_jwt(presented.secret()) => {
                self.remembered_jwt(presented.secret(), &digest, keys, now)?
            }
            None => {
                return Err(AuthenticationError::UnknownToken { digest: digest.short() });
            }
        };
        if presented.contradicts(authenticated.principal.name()) {
            return Err(AuthenticationError::WrongUser { principal: authenticated.principal });
        }
        Ok(authenticated)
    }

    fn remembered_jwt(
        &self,
        token: &str,
        digest: &Sha256,
        keys: &dyn KeySets,
        now: Timestamp,
    ) -> Result<AuthenticatedCaller, AuthenticationError> {
        if let Some(outcome) = keys.remembered(digest, now) {
            return outcome;
        }
        let outcome = self.authenticate_jwt(token, keys, now);
        keys.remember(digest, &outcome, now);
        outcome
    }

    fn authenticate_jwt(
        &self,
        token: &str,
        keys: &dyn KeySets,
        now: Timestamp,
    ) -> Result<AuthenticatedCaller, AuthenticationError> {
        let address = jwt::unverified_issuer(token)?;
        let issuer = self.identities.issuers.iter().find(|known| known.terms.issuer == address);
        let issuer = issuer.ok_or(AuthenticationError::UnknownIssuer)?;
        let Some(jwks) = keys.keys(&issuer.name) else {
            keys.report_missing_key(&issuer.name);
            return Err(AuthenticationError::NoKeys(issuer.name.clone()));
        };
        let claims = jwt::verify(token, &issuer.terms, &jwks, now).inspect_err(|error| {
            if *error == JwtError::UnknownKey {
                keys.report_missing_key(&issuer.name);
            }
        })?;
        match self.identities.mapped(&issuer.name, &claims)[..] {
            [] => Err(AuthenticationError::UnmappedJwt),
            [index] => Ok(AuthenticatedCaller {
                principal: self.principal_at(index),
                proof: Proof::Jwt(issuer.name.clone()),
                valid_until: Some(claims.valid_until()),
            }),
            _ => Err(AuthenticationError::AmbiguousJwt),
        }
    }

    /// Only names of the certificate count that the policy lists. A wildcard in a certificate names no principal.
    fn authenticate_certificate(
        &self,
        names: &CertificateNames,
    ) -> Result<AuthenticatedCaller, AuthenticationError> {
        let uris = names.uris.iter().filter(|uri| uri.contains("://"));
        let dns_names = names.dns_names.iter().filter(|name| !name.contains("://"));
        let known = uris
            .chain(dns_names)
            .filter_map(|name| self.identities.by_san.get(&*san_key(name)).copied());
        let mut found: Vec<usize> = known.collect();
        found.sort_unstable();
        found.dedup();
        match found[..] {
            [] => Err(AuthenticationError::UnknownCertificate),
            [index] => Ok(AuthenticatedCaller {
                principal: self.principal_at(index),
                proof: Proof::Certificate,
                valid_until: None,
            }),
            _ => Err(AuthenticationError::AmbiguousCertificate),
        }
    }

    fn principal_at(&self, index: usize) -> Principal {
        self.identities.declarations[index].principal.clone()
    }
}
