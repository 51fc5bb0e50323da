//! The policy in force, the identities that it declares, and the record of its denials.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use headwater_access::credential::CredentialHeaders;
use headwater_access::jwt::Jwks;
use headwater_access::{
    AuthenticationError, CheckContext, Environment, Evidence, KeySets, Label, Principal, Proof,
    Request, SecretReference, ServerRight, Severity, Storage,
};
use jiff::Timestamp;

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
    logged_denials: FirstOccurrences,
    logged_rejections: FirstOccurrences,
    counts: DenialCounts,
}

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
}

/// One version of the policy.
struct PolicyInForce {
    policy: headwater_access::Policy,
    epoch: u64,
    default_label: Option<String>,
    numbers: HashMap<String, u32>,
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
}

/// The keys of issuers, none of which are loaded.
struct NoKeys;

impl KeySets for NoKeys {
    fn keys(&self, _issuer: &str) -> Option<Arc<Jwks>> {
        None
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
        let epoch = current.epoch + 1;
        let (next, warnings) = PolicyInForce::load(file, text, epoch, self.default_label.clone())?;
        if next.policy.digest() == current.policy.digest() {
            return Ok(false);
        }
        permit(&PolicyChange::new(&current.policy, &next.policy)).map_err(PolicyFileError)?;
        log_warnings(&warnings);
        narrow(Areas::of(next.policy.file_rules()));
        self.current.store(Arc::new(next));
        self.epoch.store(epoch, Ordering::Release);
        self.logged_denials.clear();
        self.logged_rejections.clear();
        Ok(true)
    }

    /// The first digits of the digest of the policy in force.
    pub fn digest(&self) -> String {
        self.current.load().policy.digest().short()
    }

    /// The areas of the policy in force.
    pub fn areas(&self) -> Areas {
        Areas::of(self.current.load().policy.file_rules())
    }

    /// Returns true if rules allow anything to callers without a credential.
    pub fn admits_anonymous(&self) -> bool {
        let current = self.current.load();
        current.policy.admits_anonymous() || !current.policy.is_enforced()
    }

    /// Finds the one principal of a request by its headers.
    ///
    /// # Errors
    /// When the headers are not exactly one valid credential, or none at all.
    pub fn authenticate(
        &self,
        headers: CredentialHeaders<'_>,
    ) -> Result<Arc<Identity>, RejectedCredential> {
        let policy = self.current.load_full();
        let evidence = Evidence { certificate: None, headers, keys: &NoKeys };
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

    /// Counts a denial, and logs the first one of its principal and target.
    pub fn record_denial(
        &self,
        identity: &Identity,
        operation: Operation,
        target: Resource<'_>,
        permission: Permission,
    ) {
        if permission != Permission::Allowed {
            self.record_denied_object(identity, &identity.describe(operation, target), permission);
        }
    }

    /// As [`Guard::record_denial`], for an object that only its path describes.
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
        let mut warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        if !policy.issuers().is_empty() {
            let message =
                "warning: this server does not accept JWTs yet. Their callers receive 401";
            warnings.push(format!("{file}: {message}"));
        }
        let names = policy.principals().map(|principal| principal.name().to_owned());
        let numbers = names.zip(1..).collect();
        Ok((Self { policy, epoch, default_label, numbers }, warnings))
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
