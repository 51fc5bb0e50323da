//! What went wrong, in our words.

use std::error::Error as _;

use etcd_client::Error;

/// How much of what a member says is passed on, in characters.
const MESSAGE_LENGTH_MAX: usize = 200;

/// Why etcd did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// What was asked for is too long ago.
    #[error("what was asked for is compacted")]
    Compacted,
    /// Etcd refuses it, so that it was not done: in words, without a path, an address or a value.
    #[error("{0}")]
    Refused(String),
    /// The same, of all else: nobody knows whether it was done.
    #[error("{0}")]
    Other(String),
}

fn refused(message: impl Into<String>) -> Fault {
    Fault::Refused(message.into())
}

pub(crate) fn other(message: impl Into<String>) -> Fault {
    Fault::Other(message.into())
}

pub(crate) fn fault(error: &Error) -> Fault {
    let Error::GRpcStatus(said) = error else {
        return transport(error.source(), error);
    };
    match said.message() {
        message if message.starts_with("etcdserver: ") || message.starts_with("rpc error: ") => {
            status(message)
        }
        _ => transport(said.source(), error),
    }
}

/// What etcd itself says.
pub(crate) fn status(message: &str) -> Fault {
    let is = |part: &str| message.contains(part);
    if is("required revision has been compacted") {
        Fault::Compacted
    } else if is("authentication failed") || is("user name is empty") || is("invalid auth token") {
        refused("etcd does not accept the user or the password")
    } else if is("permission denied") {
        refused("the user of etcd may not do this below the prefix")
    } else if is("database space exceeded") {
        refused(
            "etcd is at its space quota: it takes nothing until it is compacted and its alarm disarmed",
        )
    } else if is("request is too large") || is("too many operations") {
        refused("it is more than etcd takes at once")
    } else {
        other(shown(message))
    }
}

/// What became of the connection: the last cause says it best.
fn transport(source: Option<&(dyn std::error::Error + 'static)>, error: &Error) -> Fault {
    let causes = std::iter::successors(source, |cause| (**cause).source());
    let Some(cause) = causes.last().map(ToString::to_string) else {
        return other(format!(
            "what answers there is no etcd, or it is away: {}",
            shown(&error.to_string())
        ));
    };
    let is = |parts: &[&str]| parts.iter().any(|part| cause.contains(part));
    if is(&["frame with invalid size", "http2 error"]) {
        return other("what answers there is no etcd, or one that speaks TLS");
    }
    // With TLS 1.3 a server that wants another certificate of us says so too late for the client to hear it.
    if is(&["connection closed", "stream closed", "broken pipe", "reset by peer"]) {
        return other("the connection ended: it is gone, wants another certificate, or is no etcd");
    }
    if cause.to_ascii_lowercase().contains("certificate") {
        return other(format!(
            "its certificate is not accepted, or ours is not: {}",
            shown(&cause)
        ));
    }
    other(format!("it cannot be reached: {}", shown(&cause)))
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MESSAGE_LENGTH_MAX).collect()
}
