//! The policy in force, and the identities that it declares.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use headwater_access::credential::CredentialHeaders;
use headwater_access::jwt::Jwks;
use headwater_access::{
    AuthenticatedCaller, AuthenticationError, CertificateNames, CheckContext, EXPIRY_NOTICE,
    Evidence, KeySets, KeySource, SecretReference, Sha256, Storage,
};
use jiff::Timestamp;

use super::PolicyChange;
use super::denials::DenialRecord;
use super::identity::Identity;
use super::in_force::{self, FIRST_EPOCH, PolicyInForce};
use super::issuers::{IssuerStatus, JwtVerification, LoadedKeys};
use crate::areas::Areas;
use crate::sync::lock;

/// The policy in force, which is replaced while the server runs.
///
/// Invariant: `epoch` is stored before `current`. In between, no remembered identity is current, and every request is
/// authenticated by the old policy. Therefore no request follows the old policy once another one has followed the new policy.
pub struct Guard {
    current: ArcSwap<PolicyInForce>,
    epoch: AtomicU64,
    default_label: Option<String>,
    storage: Storage,
    /// Locking: held while `current` is replaced.
    keys: Mutex<LoadedKeys>,
    /// Called with the source of keys that cannot verify a JWT.
    missing_key: OnceLock<MissingKey>,
    pub(super) denials: DenialRecord,
}

type MissingKey = Box<dyn Fn(&KeySource) + Send + Sync>;

/// The reason why a policy file cannot take effect, without values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PolicyFileError(pub(super) String);

/// A request without one accepted credential.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RejectedCredential(#[from] AuthenticationError);

impl RejectedCredential {
    /// The kind of the reason, without anything that the client sent.
    pub fn kind(&self) -> String {
        let Self(error) = self;
        let text = format!("{error:?}");
        text.chars().take_while(|c| c.is_ascii_alphanumeric()).collect()
    }

    /// Returns true if the credential is a JWT that was not verified yet.
    pub fn is_unverified(&self) -> bool {
        self.0 == AuthenticationError::Unverified
    }

    /// Returns true if later keys of the issuer may verify the credential.
    pub fn is_key_missing(&self) -> bool {
        self.0.is_key_missing()
    }
}

/// A policy that could take effect, beside the one in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyPreview {
    /// The first digits of its digest.
    pub digest: String,
    /// What principals gain and lose, one sentence each.
    pub difference: Vec<String>,
    /// The problems in spite of which it can take effect.
    pub warnings: Vec<String>,
    /// The places of the keys of its issuers.
    pub key_sources: Vec<KeySource>,
}

/// A token of the policy that expires soon or has expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenExpiry {
    /// The principal that it belongs to.
    pub principal: String,
    /// The first digits of its digest.
    pub digest: String,
    pub expires: Timestamp,
}

/// The keys of the issuers, for one authentication.
struct IssuerKeys<'a> {
    guard: &'a Guard,
    policy: &'a PolicyInForce,
    verification: JwtVerification,
}

impl KeySets for IssuerKeys<'_> {
    fn keys(&self, issuer: &str) -> Option<Arc<Jwks>> {
        self.policy.keys.get(self.policy.key_source(issuer)?).cloned()
    }

    fn remembered(
        &self,
        jwt: &Sha256,
        now: Timestamp,
    ) -> Option<Result<AuthenticatedCaller, AuthenticationError>> {
        let known = self.policy.verified.outcome(jwt, now);
        match self.verification {
            JwtVerification::Performed => known,
            JwtVerification::Deferred => {
                Some(known.unwrap_or(Err(AuthenticationError::Unverified)))
            }
        }
    }

    fn remember(
        &self,
        jwt: &Sha256,
        outcome: &Result<AuthenticatedCaller, AuthenticationError>,
        now: Timestamp,
    ) {
        self.policy.verified.remember(jwt, outcome, now);
    }

    fn report_missing_key(&self, issuer: &str) {
        if let (Some(report), Some(source)) =
            (self.guard.missing_key.get(), self.policy.key_source(issuer))
        {
            report(source);
        }
    }
}

impl Guard {
    /// Puts a policy in force. `file` is its name in messages.
    ///
    /// # Errors
    /// When the text is not a policy that can take effect.
    pub fn new(
        file: &str,
        text: &[u8],
        default_label: Option<&str>,
    ) -> Result<Self, PolicyFileError> {
        let label = default_label.map(str::to_owned);
        let storage = Storage::File;
        let context = CheckContext { now: Timestamp::now(), storage, names: None };
        let (first, warnings) = PolicyInForce::load(file, text, &context, FIRST_EPOCH, label)?;
        log_warnings(&warnings);
        Ok(Self::of(first, storage, default_label))
    }

    /// Allows nothing until a policy of a hosted repository is put in force.
    pub fn closed(default_label: Option<&str>) -> Self {
        let first = PolicyInForce::closed(default_label.map(str::to_owned));
        Self::of(first, Storage::Hosted, default_label)
    }

    fn of(first: PolicyInForce, storage: Storage, default_label: Option<&str>) -> Self {
        Self {
            epoch: AtomicU64::new(first.epoch),
            current: ArcSwap::from_pointee(first),
            default_label: default_label.map(str::to_owned),
            storage,
            keys: Mutex::default(),
            missing_key: OnceLock::new(),
            denials: DenialRecord::default(),
        }
    }

    /// Parses and checks a text at a time.
    fn load(
        &self,
        file: &str,
        text: &[u8],
        epoch: u64,
        now: Timestamp,
    ) -> Result<(PolicyInForce, Vec<String>), PolicyFileError> {
        let context = self.check_context(now);
        PolicyInForce::load(file, text, &context, epoch, self.default_label.clone())
    }

    fn check_context(&self, now: Timestamp) -> CheckContext<'static> {
        CheckContext { now, storage: self.storage, names: None }
    }

    /// Checks a text as [`Guard::replace`] does, and compares it with the policy in force.
    ///
    /// # Errors
    /// When the text is not a policy that can take effect.
    pub fn preview(&self, file: &str, text: &[u8]) -> Result<PolicyPreview, PolicyFileError> {
        let current = self.current.load_full();
        let (next, warnings) = self.load(file, text, current.epoch, Timestamp::now())?;
        let change = PolicyChange::new(&current.policy, &next.policy);
        Ok(PolicyPreview {
            digest: change.digest(),
            difference: change.difference(),
            warnings,
            key_sources: next.key_sources(),
        })
    }

    /// Replaces the policy, if `permit` accepts the change. Returns false if the text is that of the policy in force.
    /// `narrow` receives the areas of the new policy before any decision follows it.
    ///
    /// Locking: the caller lets one call at a time through.
    ///
    /// # Errors
    /// When the text is not a policy that can take effect, or `permit` returns a reason. The policy in force stays.
    pub fn replace(
        &self,
        file: &str,
        text: &[u8],
        permit: impl FnOnce(&PolicyChange<'_>) -> Result<(), String>,
        narrow: impl FnOnce(Areas),
    ) -> Result<bool, PolicyFileError> {
        let current = self.current.load_full();
        let now = match self.storage {
            Storage::File => Timestamp::now(),
            // The push was checked. A token that has expired since is rejected, and must not keep a server from its start.
            Storage::Hosted => Timestamp::MIN,
        };
        if current.policy.digest() == Sha256::of(text) {
            // Its tokens can have expired since.
            in_force::check(&current.policy, &self.check_context(now))?;
            return Ok(false);
        }
        let (mut next, warnings) = self.load(file, text, current.epoch, now)?;
        permit(&PolicyChange::new(&current.policy, &next.policy)).map_err(PolicyFileError)?;
        log_warnings(&warnings);
        narrow(Areas::of(next.policy.file_rules()));
        let mut keys = lock(&self.keys);
        keys.retain(&next.key_sources());
        next.keys = keys.in_force();
        // The keys of issuers may have been replaced meanwhile, in a version of their own.
        next.epoch = self.current.load().epoch + 1;
        self.epoch.store(next.epoch, Ordering::Release);
        self.current.store(Arc::new(next));
        self.denials.forget_logged();
        Ok(true)
    }

    /// The places from which the keys of the issuers are read, each once.
    pub fn key_sources(&self) -> Vec<KeySource> {
        self.current.load().key_sources()
    }

    /// The issuers of the policy in force, in the order of the file.
    pub fn issuers(&self) -> Vec<IssuerStatus> {
        let keys = lock(&self.keys);
        let current = self.current.load();
        let issuers = current.policy.issuers().iter().map(|issuer| IssuerStatus {
            name: issuer.name.to_string(),
            source: issuer.keys.clone(),
            age: keys.age(&issuer.keys),
        });
        issuers.collect()
    }

    /// Puts the keys of a source in force. JWTs are verified again if the keys are new. Returns false if they are the
    /// known ones, or if the policy no longer names the source.
    ///
    /// # Errors
    /// When the document is not usable. The known keys stay in force.
    pub fn replace_keys(
        &self,
        source: &KeySource,
        document: &[u8],
    ) -> Result<bool, headwater_access::jwt::JwksError> {
        let jwks = Jwks::parse(document)?;
        let mut keys = lock(&self.keys);
        let current = self.current.load_full();
        if !current.key_sources().contains(source) {
            return Ok(false);
        }
        if !keys.record(source, jwks, Sha256::of(document)) {
            return Ok(false);
        }
        let next = current.with_keys(keys.in_force());
        self.epoch.store(next.epoch, Ordering::Release);
        self.current.store(Arc::new(next));
        Ok(true)
    }

    /// Sets the function that is called with the source of keys that cannot verify a JWT. It must not wait.
    pub fn on_missing_key(&self, report: impl Fn(&KeySource) + Send + Sync + 'static) {
        // The server sets it once.
        let _ = self.missing_key.set(Box::new(report));
    }

    /// The first digits of the digest of the policy in force.
    pub fn digest(&self) -> String {
        self.current.load().policy.digest().short()
    }

    /// The areas of the policy in force.
    pub fn areas(&self) -> Areas {
        Areas::of(self.current.load().policy.file_rules())
    }

    /// The time since the policy took effect.
    pub fn age(&self) -> Duration {
        self.current.load().since.elapsed()
    }

    /// The tokens that have expired or expire within the time of a notice.
    pub fn expiring_tokens(&self) -> Vec<TokenExpiry> {
        let current = self.current.load();
        let expiring = current.policy.expiring_tokens(Timestamp::now(), EXPIRY_NOTICE).into_iter();
        let expiring = expiring.map(|token| TokenExpiry {
            principal: token.principal.name().to_owned(),
            digest: token.digest,
            expires: token.expires,
        });
        expiring.collect()
    }

    /// Returns true if rules allow anything to callers without a credential.
    pub fn admits_anonymous(&self) -> bool {
        let current = self.current.load();
        current.policy.admits_anonymous() || !current.policy.is_enforced()
    }

    /// Finds the one principal of a request by its headers and the certificate of its connection.
    ///
    /// # Errors
    /// When the request has a credential that is not accepted, or several that contradict each other.
    pub fn authenticate(
        &self,
        certificate: Option<&CertificateNames>,
        headers: CredentialHeaders<'_>,
        verification: JwtVerification,
    ) -> Result<Arc<Identity>, RejectedCredential> {
        let policy = self.current.load_full();
        let keys = IssuerKeys { guard: self, policy: &policy, verification };
        let evidence = Evidence { certificate, headers, keys: &keys };
        let found = policy.policy.authenticate(&evidence, Timestamp::now())?;
        let (principal, proof, valid_until) = (found.principal, found.proof, found.valid_until);
        // The numbers of the declared principals begin at 1.
        let number = policy.policy.number_of(&principal);
        let number = number.and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
        Ok(Arc::new(Identity { policy, principal, proof, number, valid_until }))
    }

    /// Returns true if an identity is of the policy in force and its credential has not expired.
    pub fn is_current(&self, identity: &Identity) -> bool {
        identity.policy.epoch == self.epoch.load(Ordering::Acquire)
            && identity.valid_until.is_none_or(|until| Timestamp::now() < until)
    }

    /// Returns true if the policy lets a configuration file refer to a file in the directory of secrets.
    pub fn may_reference_file(&self, path: &str, name: &str) -> bool {
        self.current.load().policy.may_reference(path, SecretReference::File(name))
    }

    /// Returns true if the policy lets a configuration file refer to a path in Vault.
    pub fn may_reference_vault(&self, path: &str, secret: &str) -> bool {
        self.current.load().policy.may_reference(path, SecretReference::Vault(secret))
    }
}

fn log_warnings(warnings: &[String]) {
    for problem in warnings {
        tracing::warn!(problem, "a part of the policy may not mean what was intended");
    }
}
