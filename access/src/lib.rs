//! Identities, authorisation and audit of a Headwater server, as pure functions.
//!
//! Invariant: nothing here performs I/O or reads a clock. Files, keys and the time are arguments. The one exception is
//! the random generator behind new tokens.

pub mod audit;
pub mod credential;
pub mod jwt;
mod pattern;
mod policy;
mod principal;
mod request;
mod right;
mod sha256;
pub mod token;

pub use pattern::{PATTERN_BYTES_MAX, Pattern, PatternError};
pub use policy::{
    AccessChange, AuthenticatedCaller, AuthenticationError, COMBINATION_COUNT_MAX,
    CertificateNames, CheckContext, Claim, CredentialChange, Decision, Denial, EXPIRY_NOTICE,
    Evidence, ExpectationReport, ExpiringToken, Explanation, FailedExpectation, Field, FileRules,
    Finding, Issuer, KeySets, KeySource, KnownNames, NearestRule, Outcome, Ownership,
    OwnershipKind, POLICY_BYTES_MAX, Place, Policy, PolicyDifference, PolicyError, PolicyProblem,
    Proof, SHARED_APPLICATION, SecretReference, Severity, Storage, TableChange, Universe, diff,
};
pub use principal::{ANONYMOUS, Kind, Principal, is_principal_name};
pub use request::{
    Change, EVERY_APPLICATION, Environment, Label, RawFile, Reference, Request, ServerRight,
};
pub use right::{Right, RightSet};
pub use sha256::Sha256;
