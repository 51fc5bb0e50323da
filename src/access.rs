//! Access control: one decision for each request, made before any lookup, including lookups in a cache.
//!
//! Without a policy file the read token and the push token decide. With one, an [`Identity`] of the policy does. The
//! crate `headwater-access` parses policies and decides. This module turns operations of the server into its requests.

mod change;
mod denials;
mod guard;
mod identity;
mod in_force;
mod issuers;
mod pushes;

use std::sync::Arc;

pub use headwater_access::credential::CredentialHeaders;
pub use headwater_access::jwt::JWKS_BYTES_MAX;
pub use headwater_access::{CertificateNames, EXPIRY_NOTICE, KeySource, POLICY_BYTES_MAX};

pub use crate::areas::Permission;
use crate::model::{Label, Query};
pub use change::PolicyChange;
pub use guard::{Guard, PolicyFileError, PolicyPreview, RejectedCredential, TokenExpiry};
pub use identity::{Identity, IdentityKey};
pub use issuers::{IssuerStatus, JwtVerification, check_keys};
pub use pushes::ReferenceUpdate;

/// The authenticated identity of a request.
#[derive(Debug, Clone)]
pub enum Caller {
    /// A caller without credentials, on a server without a policy.
    Anonymous,
    /// A caller with the read token.
    Reader,
    /// A caller with the push token or, if no push token is configured, a caller on this machine.
    Pusher,
    /// The server itself, or a command on the same machine.
    Operator,
    /// A principal of the policy.
    Identified(Arc<Identity>),
}

/// The operation that a request performs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Reads and watches environments and flat forms.
    ReadEnvironment,
    /// Receives the sealed values of a readable environment opened.
    OpenEnvironment,
    /// Reads a file by its path. The environment in the path has to be readable as well.
    ReadFile,
    /// Reads lists of environments, problems, instances, rollouts and events.
    ReadLists,
    /// Reads the state of the fleet, the details of health, and lists of all applications.
    ReadOverview,
    /// Reads the metrics.
    ReadMetrics,
    /// Reads the index and the OpenAPI description.
    ReadIndex,
    /// Seals values, and reads the public key and the status of encryption.
    Seal,
    /// Opens values that the request contains.
    Unseal,
    /// Clones or fetches a hosted repository with its history.
    ReadRepository,
    /// Updates some branches and tags of a hosted repository. The push itself is decided by its paths.
    Push,
    /// Sends commands for some rollouts. The command itself is decided by the applications of its rollout.
    ControlRollouts,
    /// Clones, fetches or updates the hosted repository of the policy.
    ChangePolicy,
    /// Reads the audit trail.
    ReadAudit,
    /// Reads liveness, readiness and health without its details.
    ReadHealth,
    /// Sends a webhook. Git hosts have no read token, so the webhook's own secret authenticates them.
    Notify,
}

/// The object of an operation.
#[derive(Debug, Clone, Copy)]
pub enum Resource<'a> {
    Environment(&'a Query),
    /// The whole server.
    Server,
}

/// The configured rule for reading by callers that no policy identifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Every caller may read.
    Open,
    /// A caller needs a token to read anything but health.
    TokenRequired,
}

/// Returns true if the caller may perform the operation.
pub fn may(policy: Policy, caller: &Caller, action: Operation, target: Resource<'_>) -> bool {
    if let Caller::Identified(identity) = caller {
        return identity.permission(action, target) != Permission::Denied;
    }
    if matches!(action, Operation::Push | Operation::ChangePolicy | Operation::ControlRollouts) {
        return matches!(caller, Caller::Pusher | Caller::Operator);
    }
    match (policy, caller) {
        (Policy::Open, _) | (_, Caller::Reader | Caller::Pusher | Caller::Operator) => true,
        (Policy::TokenRequired, Caller::Anonymous | Caller::Identified(_)) => {
            matches!(action, Operation::ReadHealth | Operation::ReadIndex | Operation::Notify)
        }
    }
}

/// Decides whether a caller may read a file at its own path. Only a policy denies files.
pub fn file_permission(caller: &Caller, label: &Label, path: &str) -> Permission {
    match caller {
        Caller::Identified(identity) => identity.file_permission(label, path),
        _ => Permission::Allowed,
    }
}
