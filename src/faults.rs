//! The present faults of a server.
//!
//! The module that detects a fault reports its beginning and its end here. Each fault is logged once at its beginning and
//! once at its end. Health, metrics, `/-/problems` and `headwater status` show the list.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::sync::lock;

/// The limit on present faults of one kind. A damaged directory can break every environment.
pub const OBJECT_COUNT_MAX: usize = 20;

/// The kind of a fault. `docs/monitoring.md` has a row for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// The files of an environment, or a single file, cannot be read although the source is reachable.
    ContentUnreadable,
    /// A label cannot be loaded or followed.
    SourceUnreadable,
    /// A mirrored remote, or an etcd that is a source, does not answer or rejects requests.
    RemoteUnreachable,
    /// The content or the configuration of a source has a problem.
    SourceProblem,
    /// The etcd that connects the replicas does not answer or rejects requests.
    ShareUnreachable,
    /// The lease of another replica has expired.
    ReplicaGone,
    /// Another live replica has the same name as this one.
    ReplicaNamesake,
    /// Pushes cannot be made durable.
    PushNotDurable,
    /// The program `git` cannot be run.
    GitUnavailable,
    /// The certificate has expired, or its files cannot be used.
    CertificateUnusable,
    /// The files for the certificates of clients cannot be used, or a revocation list has expired.
    ClientCertificatesUnusable,
    /// The policy file cannot be used, and the previous policy stays in force.
    PolicyUnusable,
    /// The keys of an issuer of JWTs cannot be read. The keys that were read last stay in force.
    JwksUnreachable,
    /// A key or a secret cannot be read again, and the previous one stays in use.
    SecretUnreadable,
    /// Vault does not answer, rejects the server, or does not return a path. Its last values stay in use.
    VaultUnreadable,
    /// The audit trail cannot be written, so that pushes and other acts are rejected.
    AuditUnwritable,
    /// The history of instances cannot be written. Its lines are lost, and nothing else is affected.
    HistoryUnwritable,
    /// The state of rollouts cannot be written, so that no rollout advances and no push begins one.
    RolloutsUnwritable,
    /// Nearly all files that the process may open are open.
    OpenFilesExhausted,
}

impl FaultKind {
    /// All kinds, in the order of the documentation.
    pub const ALL: [Self; 19] = [
        Self::ContentUnreadable,
        Self::SourceUnreadable,
        Self::RemoteUnreachable,
        Self::SourceProblem,
        Self::ShareUnreachable,
        Self::ReplicaGone,
        Self::ReplicaNamesake,
        Self::PushNotDurable,
        Self::GitUnavailable,
        Self::CertificateUnusable,
        Self::ClientCertificatesUnusable,
        Self::PolicyUnusable,
        Self::JwksUnreachable,
        Self::SecretUnreadable,
        Self::VaultUnreadable,
        Self::AuditUnwritable,
        Self::HistoryUnwritable,
        Self::RolloutsUnwritable,
        Self::OpenFilesExhausted,
    ];

    /// The name in health, in `/-/problems` and as a label of the metric `headwater_faults`.
    pub fn name(self) -> &'static str {
        match self {
            Self::ContentUnreadable => "content-unreadable",
            Self::SourceUnreadable => "source-unreadable",
            Self::RemoteUnreachable => "remote-unreachable",
            Self::SourceProblem => "source-problem",
            Self::ShareUnreachable => "share-unreachable",
            Self::ReplicaGone => "replica-gone",
            Self::ReplicaNamesake => "replica-namesake",
            Self::PushNotDurable => "push-not-durable",
            Self::GitUnavailable => "git-unavailable",
            Self::CertificateUnusable => "certificate-unusable",
            Self::ClientCertificatesUnusable => "client-certificates-unusable",
            Self::PolicyUnusable => "policy-unusable",
            Self::JwksUnreachable => "jwks-unreachable",
            Self::SecretUnreadable => "secret-unreadable",
            Self::VaultUnreadable => "vault-unreadable",
            Self::AuditUnwritable => "audit-unwritable",
            Self::HistoryUnwritable => "history-unwritable",
            Self::RolloutsUnwritable => "rollouts-unwritable",
            Self::OpenFilesExhausted => "open-files-exhausted",
        }
    }

    /// The text that precedes the object and the reason in messages.
    pub fn summary(self) -> &'static str {
        match self {
            Self::ContentUnreadable => "content cannot be read",
            Self::SourceUnreadable => "a label cannot be read from its source",
            Self::RemoteUnreachable => "a remote source is unreachable",
            Self::SourceProblem => "a source has a problem",
            Self::ShareUnreachable => "the etcd of the replicas is unreachable",
            Self::ReplicaGone => "a replica is gone",
            Self::ReplicaNamesake => "another live replica has the same name",
            Self::PushNotDurable => "pushes cannot be made durable",
            Self::GitUnavailable => "git cannot be run",
            Self::CertificateUnusable => "the certificate cannot be used",
            Self::ClientCertificatesUnusable => "the certificates of clients cannot be verified",
            Self::PolicyUnusable => "the policy cannot be used",
            Self::JwksUnreachable => "the keys of an issuer cannot be read",
            Self::SecretUnreadable => "a secret cannot be read",
            Self::VaultUnreadable => "a secret in Vault cannot be read",
            Self::AuditUnwritable => "the audit trail cannot be written",
            Self::HistoryUnwritable => "the history of instances cannot be written",
            Self::RolloutsUnwritable => "the state of rollouts cannot be written",
            Self::OpenFilesExhausted => "nearly all files that the process may open are open",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub kind: FaultKind,
    /// The affected environment, label, repository or replica.
    pub object: String,
    /// The time since the beginning, if known.
    pub lasted: Option<Duration>,
    /// The cause, without values, credentials and paths of the machine.
    pub reason: String,
}

impl Fault {
    /// The message for people.
    pub fn text(&self) -> String {
        format!("{}: {}: {}", self.kind.summary(), self.object, self.reason)
    }
}

/// A credential of the server's configuration that expires soon. It is no fault yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    pub kind: ExpiryKind,
    /// The credential in messages, such as `the token 0123abcd… of orders`.
    pub object: String,
    /// The principal that the credential belongs to. Empty for other credentials.
    pub principal: String,
    pub at: Timestamp,
}

/// The kind of an expiring credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExpiryKind {
    /// A token of a principal.
    Token,
    /// A revocation list for the certificates of clients.
    Crl,
}

impl ExpiryKind {
    /// The name as a label of the metric `headwater_credential_expires_in_seconds`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Crl => "crl",
        }
    }
}

impl Expiry {
    /// The message for people.
    pub fn text(&self) -> String {
        let verb = if self.at <= Timestamp::now() { "expired" } else { "expires" };
        format!("{} {verb} at {}. Replace it", self.object, self.at)
    }
}

/// The present faults of the server.
#[derive(Default)]
pub struct Faults {
    /// The credentials that expire soon, by their kind.
    expiries: Mutex<BTreeMap<ExpiryKind, Vec<Expiry>>>,
    present: Mutex<BTreeMap<(FaultKind, String), (Instant, String)>>,
    /// The length of the list, so that frequent readers need no lock.
    ///
    /// Locking: written under the lock of `present` and read without it.
    count: AtomicUsize,
}

impl Faults {
    /// Replaces the expiring credentials of a kind. Logs each once.
    pub fn replace_expiries(&self, kind: ExpiryKind, now: Vec<Expiry>) {
        let mut expiries = lock(&self.expiries);
        let known = expiries.insert(kind, now.clone()).unwrap_or_default();
        drop(expiries);
        for expiry in now.iter().filter(|expiry| !known.contains(expiry)) {
            let (object, expires) = (&expiry.object, expiry.at.to_string());
            tracing::warn!(object, expires, "a credential expires soon");
        }
    }

    /// All credentials that expire soon.
    pub fn expiries(&self) -> Vec<Expiry> {
        lock(&self.expiries).values().flatten().cloned().collect()
    }

    /// Adds a fault and logs it, or replaces the reason of a present one. Returns false if the fault was dropped because
    /// [`OBJECT_COUNT_MAX`] faults of its kind are present.
    pub fn begin(&self, kind: FaultKind, object: &str, reason: &str) -> bool {
        let mut present = lock(&self.present);
        let key = (kind, object.to_owned());
        if let Some((_, known)) = present.get_mut(&key) {
            reason.clone_into(known);
            return true;
        }
        if present.keys().filter(|(known, _)| *known == kind).count() >= OBJECT_COUNT_MAX {
            return false;
        }
        present.insert(key, (Instant::now(), reason.to_owned()));
        self.count.store(present.len(), Ordering::Relaxed);
        drop(present);
        tracing::warn!(fault = kind.name(), object, reason, "{}", kind.summary());
        true
    }

    /// Removes a fault, and logs its end if it was present.
    pub fn end(&self, kind: FaultKind, object: &str) {
        if self.is_empty() {
            return;
        }
        let mut present = lock(&self.present);
        let ended = present.remove(&(kind, object.to_owned()));
        self.count.store(present.len(), Ordering::Relaxed);
        drop(present);
        if let Some((begun, _)) = ended {
            let seconds = begun.elapsed().as_secs();
            tracing::info!(fault = kind.name(), object, seconds, "over: {}", kind.summary());
        }
    }

    /// Replaces all faults of a kind by the given objects and reasons.
    pub fn replace(&self, kind: FaultKind, now: &BTreeMap<String, String>) {
        for (object, reason) in now {
            self.begin(kind, object, reason);
        }
        let over: Vec<String> = {
            let present = lock(&self.present);
            let of_kind = present.keys().filter(|(known, _)| *known == kind);
            of_kind.map(|(_, object)| object.clone()).filter(|it| !now.contains_key(it)).collect()
        };
        over.iter().for_each(|object| self.end(kind, object));
    }

    /// Returns true if no fault is present. Takes no lock.
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Returns true if the fault is present.
    pub fn contains(&self, kind: FaultKind, object: &str) -> bool {
        !self.is_empty() && lock(&self.present).contains_key(&(kind, object.to_owned()))
    }

    /// All present faults, sorted by kind and object.
    pub fn list(&self) -> Vec<Fault> {
        let present = lock(&self.present);
        let fault =
            |((kind, object), (begun, reason)): (&(FaultKind, String), &(Instant, String))| Fault {
                kind: *kind,
                object: object.clone(),
                lasted: Some(begun.elapsed()),
                reason: reason.clone(),
            };
        present.iter().map(fault).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(faults: &Faults) -> Vec<String> {
        faults.list().into_iter().map(|fault| fault.object).collect()
    }

    #[test]
    fn a_fault_is_listed_from_begin_to_end() {
        let faults = Faults::default();
        assert!(faults.is_empty());
        faults.begin(FaultKind::GitUnavailable, "main", "no such file");
        faults.begin(FaultKind::GitUnavailable, "main", "permission denied");
        let [fault] = &faults.list()[..] else { panic!("{:?}", faults.list()) };
        assert_eq!(fault.text(), "git cannot be run: main: permission denied");
        assert!(faults.contains(FaultKind::GitUnavailable, "main"));
        faults.end(FaultKind::PushNotDurable, "main");
        assert!(!faults.is_empty());
        faults.end(FaultKind::GitUnavailable, "main");
        assert!(faults.is_empty() && faults.list().is_empty());
    }

    #[test]
    fn faults_of_a_kind_are_replaced_and_bounded() {
        let faults = Faults::default();
        faults.begin(FaultKind::GitUnavailable, "main", "no");
        let of = |names: &[&str]| names.iter().map(|it| ((*it).into(), "no".into())).collect();
        faults.replace(FaultKind::ReplicaGone, &of(&["a", "b"]));
        faults.replace(FaultKind::ReplicaGone, &of(&["b", "c"]));
        assert_eq!(objects(&faults), ["b", "c", "main"]);
        faults.replace(FaultKind::ReplicaGone, &of(&[]));
        let many = (0..2 * OBJECT_COUNT_MAX)
            .map(|it| faults.begin(FaultKind::PushNotDurable, &it.to_string(), ""));
        assert_eq!(many.filter(|is_listed| *is_listed).count(), OBJECT_COUNT_MAX);
        // The bound holds for each kind separately.
        assert!(faults.begin(FaultKind::ReplicaGone, "a", ""));
    }
}
