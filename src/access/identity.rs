//! An authenticated principal, and its decisions.

use std::fmt;
use std::sync::Arc;

use headwater_access::{Label, Principal, Proof, Request, ServerRight};
use jiff::Timestamp;

use super::in_force::PolicyInForce;
use super::{Operation, Resource};
use crate::areas::Permission;
use crate::model::items;

/// The bits of an [`IdentityKey`] for the number of the principal. A policy file is too small for more principals.
const PRINCIPAL_BITS: u32 = 24;

/// An authenticated principal, with the version of the policy that authenticated it.
///
/// Invariant: all decisions for a request use this version, so that no request follows a mixture of two policies.
pub struct Identity {
    pub(super) policy: Arc<PolicyInForce>,
    pub(super) principal: Principal,
    pub(super) proof: Proof,
    pub(super) number: u32,
    pub(super) valid_until: Option<Timestamp>,
}

/// A principal of one version of the policy, as one number for comparisons on the hot path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdentityKey(u64);

/// Returns true for operations that a policy with `enforce = false` does not open: on the policy itself, and on what is
/// recorded of all callers.
fn is_always_enforced(operation: Operation) -> bool {
    matches!(operation, Operation::ChangePolicy | Operation::ReadAudit)
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
        } else if self.policy.policy.is_enforced() || is_always_enforced(operation) {
            Permission::Denied
        } else {
            Permission::WouldDeny
        }
    }

    /// Returns true if the principal may read an application, or each one of a list, in some profile and at some label.
    /// Decides by the name alone.
    pub fn reads_application(&self, application: &str) -> bool {
        let names = items(application);
        let policy = self.policy();
        !policy.is_enforced() || policy.allows_some_environment(&self.principal, names)
    }

    /// Returns true if the principal may read an application at a label, in some profile. Decides by the names alone.
    pub fn reads_application_at(&self, application: &str, label: &crate::model::Label) -> bool {
        let policy = self.policy();
        !policy.is_enforced()
            || policy.allows_some_profile(&self.principal, application, &self.labels(label))
    }

    /// Decides about a command for a rollout of these applications.
    pub fn rollout_permission<'n>(
        &self,
        applications: impl IntoIterator<Item = &'n str>,
    ) -> Permission {
        let names = applications.into_iter().map(Into::into).collect();
        self.permission_of(&Request::Rollout(names))
    }

    /// Describes a command for a rollout of these applications, for the log and the audit trail.
    pub fn describe_rollout<'n>(&self, applications: impl IntoIterator<Item = &'n str>) -> String {
        Request::Rollout(applications.into_iter().map(Into::into).collect()).to_string()
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
            Operation::ControlRollouts => self.policy.policy.allows_some_rollout(&self.principal),
            Operation::ReadAudit => self.decides(ServerRight::Audit),
            Operation::ChangePolicy => self.decides(ServerRight::Admin),
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
            (Operation::ControlRollouts, _) => "control rollouts".to_owned(),
            (Operation::ReadAudit, _) => server(ServerRight::Audit),
            (Operation::ChangePolicy, _) => server(ServerRight::Admin),
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
