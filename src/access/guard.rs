//! The policy in force, the identities that it declares, and the record of its denials.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use headwater_access::credential::CredentialHeaders;
use headwater_access::jwt::Jwks;
use headwater_access::{
    AuthenticatedCaller, AuthenticationError, CertificateNames, CheckContext, EXPIRY_NOTICE,
    Environment, Evidence, KeySets, KeySource, Label, Principal, Proof, Request, SecretReference,
    ServerRight, Severity, Sha256, Storage,
};
use jiff::Timestamp;

use super::issuers::{IssuerStatus, JwtVerification, KeySetsInForce, LoadedKeys, VerifiedJwts};
use super::{Operation, PolicyChange, Resource};
use crate::areas::{Areas, Permission};
use crate::model::Query;
use crate::sync::lock;

/// The most different denials, and the most different rejections, that are logged while one policy is in force. Further
/// ones are counted only.
const LOGGED_COUNT_MAX: usize = 10_000;
/// The longest text of a request in a log line, in bytes.
const TEXT_BYTES_MAX: usize = 256;
/// The bits of an [`IdentityKey`] for the number of the principal. A policy file is too small for more principals.
const PRINCIPAL_BITS: u32 = 24;
/// The profile of a request without profiles.
const DEFAULT_PROFILE: &str = "default";

/// The policy in force, which is replaced while the server runs.
///
/// Invariant: `epoch` is stored after `current`, so that a reader that sees a new epoch finds its policy or a newer one.
pub struct Guard {
    current: ArcSwap<PolicyInForce>,
    epoch: AtomicU64,
    default_label: Option<String>,
    /// Locking: held while `current` is replaced.
    keys: Mutex<LoadedKeys>,
    /// Called with the source of keys that cannot verify a JWT.
    missing_key: OnceLock<MissingKey>,
    logged_denials: FirstOccurrences,
    logged_rejections: FirstOccurrences,
    counts: DenialCounts,
}

type MissingKey = Box<dyn Fn(&KeySource) + Send + Sync>;

/// The lines that were logged. Denials and rejections have one each, so that bad credentials never hide denials.
#[derive(Default)]
struct FirstOccurrences(Mutex<HashSet<String>>);

impl FirstOccurrences {
    /// Records an occurrence. Returns true if it is the first one and the record has room.
    fn record(&self, key: String) -> bool {
        let mut known = lock(&self.0);
        known.len() < LOGGED_COUNT_MAX && known.insert(key)
    }

    fn clear(&self) {
        lock(&self.0).clear();
    }
}

#[derive(Default)]
struct DenialCounts {
    enforced: AtomicU64,
    recorded: AtomicU64,
    rejected_credentials: AtomicU64,
    limited_credentials: AtomicU64,
}

/// One version of the policy and of the keys of its issuers.
struct PolicyInForce {
    policy: Arc<headwater_access::Policy>,
    epoch: u64,
    default_label: Option<String>,
    /// The time at which the policy took effect. New keys do not change it.
    since: Instant,
    numbers: Arc<HashMap<String, u32>>,
    keys: KeySetsInForce,
    verified: VerifiedJwts,
}

/// An authenticated principal, with the version of the policy that authenticated it.
///
/// Invariant: all decisions for a request use this version, so that no request follows a mixture of two policies.
pub struct Identity {
    policy: Arc<PolicyInForce>,
    principal: Principal,
    proof: Proof,
    number: u32,
    valid_until: Option<Timestamp>,
}

/// A principal of one version of the policy, as one number for comparisons on the hot path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdentityKey(u64);

/// The reason why a policy file cannot take effect, without values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PolicyFileError(String);

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
        let default_label = default_label.map(str::to_owned);
        let (first, warnings) = PolicyInForce::load(file, text, 1, default_label.clone())?;
        log_warnings(&warnings);
        Ok(Self {
            epoch: AtomicU64::new(first.epoch),
            current: ArcSwap::from_pointee(first),
            default_label,
            keys: Mutex::default(),
            missing_key: OnceLock::new(),
            logged_denials: FirstOccurrences::default(),
            logged_rejections: FirstOccurrences::default(),
            counts: DenialCounts::default(),
        })
    }

    /// Replaces the policy, if `permit` accepts the change. Returns false if the text is that of the policy in force. Only
    /// one thread may call this. `narrow` receives the areas of the new policy before any decision follows it.
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
        let (mut next, warnings) =
            PolicyInForce::load(file, text, current.epoch, self.default_label.clone())?;
        if next.policy.digest() == current.policy.digest() {
            return Ok(false);
        }
        permit(&PolicyChange::new(&current.policy, &next.policy)).map_err(PolicyFileError)?;
        log_warnings(&warnings);
        narrow(Areas::of(next.policy.file_rules()));
        let mut keys = lock(&self.keys);
        keys.retain(&next.key_sources());
        next.keys = keys.in_force();
        // The keys of issuers may have been replaced meanwhile, in a version of their own.
        next.epoch = self.current.load().epoch + 1;
        let epoch = next.epoch;
        self.current.store(Arc::new(next));
        self.epoch.store(epoch, Ordering::Release);
        self.logged_denials.clear();
        self.logged_rejections.clear();
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
        let epoch = next.epoch;
        self.current.store(Arc::new(next));
        self.epoch.store(epoch, Ordering::Release);
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
        let number = policy.numbers.get(principal.name()).copied().unwrap_or(0);
        Ok(Arc::new(Identity { policy, principal, proof, number, valid_until }))
    }

    /// Returns true if an identity is of the policy in force and its credential has not expired.
    pub fn is_current(&self, identity: &Identity) -> bool {
        identity.policy.epoch == self.epoch.load(Ordering::Acquire)
            && identity.valid_until.is_none_or(|until| Timestamp::now() < until)
    }

    /// Counts a denial, and logs the first one of its principal and object.
    pub fn record_denied_object(&self, identity: &Identity, object: &str, permission: Permission) {
        let count = match permission {
            Permission::Allowed => return,
            Permission::WouldDeny => &self.counts.recorded,
            Permission::Denied => &self.counts.enforced,
        };
        count.fetch_add(1, Ordering::Relaxed);
        // The name `target` belongs to the log itself.
        let object = cut(object).to_owned();
        let (principal, kind) = (identity.name(), identity.principal.kind().as_str());
        if !self.logged_denials.record(format!("{principal} {object}")) {
            return;
        }
        if permission == Permission::WouldDeny {
            let event = "would_deny";
            tracing::warn!(event, principal, kind, object, "a request would be denied");
        } else {
            tracing::warn!(event = "denied", principal, kind, object, "a request was denied");
        }
    }

    /// Counts a request without an accepted credential, and logs the first one of its reason and address.
    pub fn record_rejection(&self, error: &RejectedCredential, address: &str) {
        self.counts.rejected_credentials.fetch_add(1, Ordering::Relaxed);
        let reason = error.to_string();
        if self.logged_rejections.record(format!("{address} {reason}")) {
            let event = "rejected_credential";
            tracing::warn!(event, address, reason, "a credential was rejected");
        }
    }

    /// Counts a request that was rejected because its client has sent too many bad credentials.
    pub fn record_limited(&self) {
        self.counts.limited_credentials.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of denied requests.
    pub fn denied_count(&self) -> u64 {
        self.counts.enforced.load(Ordering::Relaxed)
    }

    /// The number of requests that were answered although the rules deny them.
    pub fn would_deny_count(&self) -> u64 {
        self.counts.recorded.load(Ordering::Relaxed)
    }

    /// Returns true if the policy lets a configuration file refer to a file in the directory of secrets.
    pub fn may_reference_file(&self, path: &str, name: &str) -> bool {
        self.current.load().policy.may_reference(path, SecretReference::File(name))
    }

    /// Returns true if the policy lets a configuration file refer to a path in Vault.
    pub fn may_reference_vault(&self, path: &str, secret: &str) -> bool {
        self.current.load().policy.may_reference(path, SecretReference::Vault(secret))
    }

    /// The number of requests without an accepted credential.
    pub fn rejected_count(&self) -> u64 {
        self.counts.rejected_credentials.load(Ordering::Relaxed)
    }

    /// The number of requests whose client had sent too many bad credentials.
    pub fn limited_count(&self) -> u64 {
        self.counts.limited_credentials.load(Ordering::Relaxed)
    }
}

impl PolicyInForce {
    /// Parses and checks a policy. Returns the problems in spite of which it can take effect too.
    fn load(
        file: &str,
        text: &[u8],
        epoch: u64,
        default_label: Option<String>,
    ) -> Result<(Self, Vec<String>), PolicyFileError> {
        let policy = headwater_access::Policy::parse(file, text)
            .map_err(|error| PolicyFileError(error.to_string()))?;
        let context = CheckContext { now: Timestamp::now(), storage: Storage::File, names: None };
        let (errors, warnings): (Vec<_>, Vec<_>) = policy
            .check(&context)
            .into_iter()
            .partition(|problem| problem.severity == Severity::Error);
        if !errors.is_empty() {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            return Err(PolicyFileError(lines.join("\n")));
        }
        let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        let names = policy.principals().map(|principal| principal.name().to_owned());
        let numbers = Arc::new(names.zip(1..).collect());
        let loaded = Self {
            policy: Arc::new(policy),
            epoch,
            default_label,
            since: Instant::now(),
            numbers,
            keys: KeySetsInForce::new(),
            verified: VerifiedJwts::default(),
        };
        Ok((loaded, warnings))
    }

    /// The next version, with the same policy and other keys. No JWT is remembered in it.
    fn with_keys(&self, keys: KeySetsInForce) -> Self {
        Self {
            policy: Arc::clone(&self.policy),
            epoch: self.epoch + 1,
            default_label: self.default_label.clone(),
            since: self.since,
            numbers: Arc::clone(&self.numbers),
            keys,
            verified: VerifiedJwts::default(),
        }
    }

    fn key_sources(&self) -> Vec<KeySource> {
        let mut sources: Vec<KeySource> = Vec::new();
        for issuer in self.policy.issuers() {
            if !sources.contains(&issuer.keys) {
                sources.push(issuer.keys.clone());
            }
        }
        sources
    }

    fn key_source(&self, issuer: &str) -> Option<&KeySource> {
        let found = self.policy.issuers().iter().find(|known| *known.name == *issuer)?;
        Some(&found.keys)
    }
}

impl Identity {
    /// The name of the principal.
    pub fn name(&self) -> &str {
        self.principal.name()
    }

    /// The name of the principal without a copy of its text.
    pub fn shared_name(&self) -> Arc<str> {
        self.principal.shared_name()
    }

    /// The kind of the principal.
    pub fn kind(&self) -> &'static str {
        self.principal.kind().as_str()
    }

    /// The kind of credential that proved the identity, without the credential.
    pub fn proof(&self) -> &Proof {
        &self.proof
    }

    /// Returns true for a caller without a credential.
    pub fn is_anonymous(&self) -> bool {
        self.principal.is_anonymous()
    }

    /// The principal and the version of its policy.
    pub fn key(&self) -> IdentityKey {
        IdentityKey(self.policy.epoch << PRINCIPAL_BITS | u64::from(self.number))
    }

    /// Decides by names alone. Nothing that exists or does not exist changes the result.
    pub fn permission(&self, operation: Operation, target: Resource<'_>) -> Permission {
        if self.allows(operation, target) {
            Permission::Allowed
        } else if self.policy.policy.is_enforced() {
            Permission::Denied
        } else {
            Permission::WouldDeny
        }
    }

    pub(super) fn policy(&self) -> &headwater_access::Policy {
        &self.policy.policy
    }

    pub(super) fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The labels of a request as the policy sees them.
    pub(super) fn labels<'l>(&'l self, label: &'l crate::model::Label) -> Vec<Label<'l>> {
        self.policy.labels(label)
    }

    /// Decides a request of the policy.
    pub(super) fn permission_of(&self, request: &Request<'_>) -> Permission {
        if self.allows_request(request) {
            Permission::Allowed
        } else if self.policy.policy.is_enforced() {
            Permission::Denied
        } else {
            Permission::WouldDeny
        }
    }

    fn allows(&self, operation: Operation, target: Resource<'_>) -> bool {
        match operation {
            Operation::ReadHealth | Operation::Notify => true,
            // A file is served with the values of the environment in the path. Its own path is decided where it is found.
            Operation::ReadEnvironment | Operation::ReadFile => self.reads(target),
            Operation::OpenEnvironment => self.opens(target),
            Operation::ReadLists => {
                self.decides(ServerRight::List) || self.decides(ServerRight::Overview)
            }
            Operation::ReadOverview | Operation::ReadIndex => self.decides(ServerRight::Overview),
            Operation::ReadMetrics => self.decides(ServerRight::Metrics),
            Operation::ReadRepository => self.decides(ServerRight::Clone),
            Operation::Seal => self.allows_request(&Request::Seal(Vec::new())),
            Operation::Unseal => self.decides(ServerRight::Unseal),
            Operation::Push => self.policy.policy.allows_some_push(&self.principal),
        }
    }

    fn reads(&self, target: Resource<'_>) -> bool {
        match target {
            Resource::Environment(query) => {
                self.allows_request(&Request::Read(self.policy.environment(query)))
            }
            Resource::Server => false,
        }
    }

    fn opens(&self, target: Resource<'_>) -> bool {
        match target {
            Resource::Environment(query) => {
                self.allows_request(&Request::Open(self.policy.environment(query)))
            }
            Resource::Server => false,
        }
    }

    fn decides(&self, right: ServerRight) -> bool {
        self.allows_request(&Request::Server(right))
    }

    fn allows_request(&self, request: &Request<'_>) -> bool {
        self.policy.policy.decide(&self.principal, request).is_allowed()
    }

    /// Describes an operation for the log and the audit trail.
    pub fn describe(&self, operation: Operation, target: Resource<'_>) -> String {
        let server = |right| Request::Server(right).to_string();
        match (operation, target) {
            (Operation::ReadEnvironment, Resource::Environment(query)) => {
                Request::Read(self.policy.environment(query)).to_string()
            }
            (Operation::OpenEnvironment, Resource::Environment(query)) => {
                Request::Open(self.policy.environment(query)).to_string()
            }
            (Operation::ReadFile, Resource::Environment(query)) => {
                let read = Request::Read(self.policy.environment(query)).to_string();
                format!("a file with {read}")
            }
            (Operation::ReadLists, _) => server(ServerRight::List),
            (Operation::ReadOverview | Operation::ReadIndex, _) => server(ServerRight::Overview),
            (Operation::ReadMetrics, _) => server(ServerRight::Metrics),
            (Operation::ReadRepository, _) => server(ServerRight::Clone),
            (Operation::Seal, _) => "seal".to_owned(),
            (Operation::Unseal, _) => server(ServerRight::Unseal),
            (Operation::Push, _) => "push".to_owned(),
            (Operation::ReadHealth, _) => "health".to_owned(),
            (Operation::Notify, _) => "notify".to_owned(),
            (Operation::ReadEnvironment | Operation::ReadFile, Resource::Server) => {
                "read".to_owned()
            }
            (Operation::OpenEnvironment, Resource::Server) => "open".to_owned(),
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({}, {:?})", self.name(), self.key())
    }
}

impl PolicyInForce {
    fn environment<'q>(&'q self, query: &'q Query) -> Environment<'q> {
        let mut profiles: Vec<_> = query.profile_names().map(Into::into).collect();
        if profiles.is_empty() {
            profiles.push(DEFAULT_PROFILE.into());
        }
        Environment {
            applications: query.application_names().map(Into::into).collect(),
            profiles,
            labels: self.labels(&query.label),
        }
    }

    /// The labels of a request. Names in a list are not trimmed, because the sources do not trim them.
    fn labels<'q>(&'q self, label: &'q crate::model::Label) -> Vec<Label<'q>> {
        let default = self.default_label.as_deref();
        match label.name() {
            None => vec![Label::requested(None, default, false)],
            Some(list) => list
                .split(',')
                .filter(|name| !name.trim().is_empty())
                .map(|name| Label::requested(Some(name), default, false))
                .collect(),
        }
    }
}

fn log_warnings(warnings: &[String]) {
    for problem in warnings {
        tracing::warn!(problem, "a part of the policy may not mean what was intended");
    }
}

fn cut(text: &str) -> &str {
    let end = (0..=TEXT_BYTES_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}
