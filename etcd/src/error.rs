//! The errors of etcd's client, reduced to messages that an operator can act on.

use std::error::Error as _;

use etcd_client::Error;

/// The longest quotation of a member's own text, in characters.
const QUOTE_LENGTH_MAX: usize = 200;

/// The reason for which a request to etcd failed.
///
/// No message contains a path, the address of a member or the value of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EtcdError {
    /// The requested revision is older than the last compaction.
    #[error("the requested revision has been compacted")]
    Compacted,
    /// etcd rejected the request and did not execute it.
    #[error("{0}")]
    Rejected(String),
    /// Every other failure. Whether a write was executed is unknown.
    #[error("{0}")]
    Other(String),
}

fn rejected(message: impl Into<String>) -> EtcdError {
    EtcdError::Rejected(message.into())
}

pub(crate) fn other(message: impl Into<String>) -> EtcdError {
    EtcdError::Other(message.into())
}

impl From<&Error> for EtcdError {
    fn from(error: &Error) -> Self {
        let Error::GRpcStatus(status) = error else {
            return from_transport(error.source(), error);
        };
        match status.message() {
            message
                if message.starts_with("etcdserver: ") || message.starts_with("rpc error: ") =>
            {
                from_status(message)
            }
            _ => from_transport(status.source(), error),
        }
    }
}

/// Reads the message of an error that etcd itself returned.
pub(crate) fn from_status(message: &str) -> EtcdError {
    let is = |part: &str| message.contains(part);
    if is("required revision has been compacted") {
        EtcdError::Compacted
    } else if is("authentication failed") || is("user name is empty") || is("invalid auth token") {
        rejected("etcd rejected the user name or the password")
    } else if is("permission denied") {
        rejected("the etcd user lacks permission for this prefix")
    } else if is("database space exceeded") {
        rejected(
            "etcd has reached its space quota and accepts no writes: compact it and disarm its alarm",
        )
    } else if is("request is too large") || is("too many operations") {
        rejected("the request is larger than etcd accepts")
    } else {
        other(quote(message))
    }
}

/// Explains a failed connection by its innermost cause, which is the most specific one.
fn from_transport(source: Option<&(dyn std::error::Error + 'static)>, error: &Error) -> EtcdError {
    let causes = std::iter::successors(source, |cause| (**cause).source());
    let Some(cause) = causes.last().map(ToString::to_string) else {
        return other(format!(
            "the member is unreachable, or it is not etcd: {}",
            quote(&error.to_string())
        ));
    };
    let is = |parts: &[&str]| parts.iter().any(|part| cause.contains(part));
    if is(&["frame with invalid size", "http2 error"]) {
        return other("the member is not etcd, or it expects TLS");
    }
    // With TLS 1.3, a server that requires a client certificate reports it after the client has finished its handshake.
    if is(&["connection closed", "stream closed", "broken pipe", "reset by peer"]) {
        return other(
            "the member closed the connection: it stopped, requires another client certificate, or is not etcd",
        );
    }
    if cause.to_ascii_lowercase().contains("certificate") {
        return other(format!(
            "the certificate of the member or of this server was not accepted: {}",
            quote(&cause)
        ));
    }
    other(format!("the member is unreachable: {}", quote(&cause)))
}

fn quote(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(QUOTE_LENGTH_MAX).collect()
}
