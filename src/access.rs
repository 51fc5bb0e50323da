//! Who may do what: one question, asked before anything is looked up, the cache included.

use crate::model::Query;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Nobody in particular.
    Anonymous,
    /// Someone who holds the read token.
    Reader,
    /// Someone who holds the push token or, where there is none, asks from this machine.
    Pusher,
    /// The server itself, or a command on the same machine.
    Operator,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Environments, flat forms and files.
    ReadEnvironment,
    /// What is known and what is held back, over all applications.
    ReadOverview,
    /// All of a hosted repository, with its history.
    ReadRepository,
    /// Moving branches and tags of a hosted repository.
    Push,
    /// Life, readiness, metrics and the contract.
    ReadHealth,
    /// To say that something was pushed. Git hosts have no read token; who may is a matter of the hook's own secret.
    Notify,
}

/// What it is asked of.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// One environment.
    Environment(&'a Query),
    /// The server.
    Server,
}

/// The rules of access: a token for reading, if there is one, and one for pushing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Everyone may read.
    Open,
    /// Only who holds the read token may; life and readiness are for everyone.
    TokenRequired,
}

/// Whether a caller may do something.
pub fn may(policy: Policy, caller: &Caller, action: Action, _target: Target<'_>) -> bool {
    if action == Action::Push {
        return matches!(caller, Caller::Pusher | Caller::Operator);
    }
    match (policy, caller) {
        (Policy::Open, _) | (_, Caller::Reader | Caller::Pusher | Caller::Operator) => true,
        (Policy::TokenRequired, Caller::Anonymous) => {
            matches!(action, Action::ReadHealth | Action::Notify)
        }
    }
}
