//! Translation of git's error messages into messages for the operator. Pure.

use std::process::ExitStatus;

/// The presence of configured credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConfiguredCredentials {
    Present,
    Absent,
}

/// The meaning of a failure.
#[derive(Debug, Clone, Copy)]
enum Meaning {
    Is(&'static str),
    Refused,
    TooLarge,
}

/// Parts of git's messages with their meanings. The first match counts, because one failure often causes others.
const MEANINGS: [(&[&str], Meaning); 15] = {
    use Meaning::{Is, Refused, TooLarge};
    [
        (&["died of signal 25", "File too large"], TooLarge),
        (
            &["No space left on device", "Disk quota exceeded"],
            Is("there is no space left for the copy"),
        ),
        (
            &["dubious ownership"],
            Is("the repository is owned by another user than the one that runs git"),
        ),
        (
            &["Host key verification failed", "REMOTE HOST IDENTIFICATION HAS CHANGED"],
            Is("the host key of the remote is not in known_hosts_file"),
        ),
        (
            &["UNPROTECTED PRIVATE KEY", "bad permissions"],
            Is(
                "ssh_key_file may be read by others than its owner, which ssh rejects: run chmod 600 on it",
            ),
        ),
        (
            &["No user exists for uid"],
            Is("ssh requires an entry in /etc/passwd for the user that runs the server"),
        ),
        (
            &[
                "Authentication failed",
                "could not read Username",
                "could not read Password",
                "terminal prompts disabled",
                "Permission denied",
                "Access denied",
                "error: 401",
                "error: 403",
            ],
            Refused,
        ),
        (
            &[
                "SSL certificate",
                "server certificate",
                "certificate verification",
                "SSL peer certificate",
                "CAfile",
            ],
            Is("the certificate of the remote cannot be verified"),
        ),
        (
            &["unable to update url base from redirection", "returned error: 30"],
            Is(
                "the remote redirects, and redirects are not followed: configure the target address (GitLab: with .git at its end)",
            ),
        ),
        (
            &["Could not resolve host", "Name or service not known", "name resolution"],
            Is("the host name of the remote cannot be resolved"),
        ),
        (
            &[
                "Failed to connect",
                "Couldn't connect",
                "Connection refused",
                "Connection timed out",
                "Connection reset",
                "Connection closed",
                "Empty reply",
                "Recv failure",
                "No route to host",
                "Network is unreachable",
            ],
            Is("the remote cannot be reached"),
        ),
        (&["too slow", "timed out"], Is("the remote is too slow")),
        (
            &[
                "error: 404",
                "not found",
                "does not appear to be a git repository",
                "does not exist",
            ],
            Is("the remote has no such repository, or does not show it without credentials"),
        ),
        (
            &[
                "fsck",
                "unpack-objects",
                "pack has",
                "bad pack",
                "inflate",
                "corrupt",
                "EOF",
                "RPC failed",
                "hung up",
                "transfer closed",
                "unexpected",
                "expected",
                "protocol error",
                "invalid server response",
                "bad line length",
                "is this a git repository",
            ],
            Is("the data from the remote is truncated or malformed"),
        ),
        // The size limit killed index-pack. Every other cause of this message comes with a message of its own.
        (&["invalid index-pack output"], TooLarge),
    ]
};

/// Describes a failure of git, from its error output and its exit status.
pub(super) fn reason(
    said: &str,
    status: ExitStatus,
    given: ConfiguredCredentials,
    pack_bytes_max: u64,
) -> String {
    let meaning = MEANINGS.iter().find(|(parts, _)| parts.iter().any(|part| said.contains(part)));
    match (meaning.map(|(_, meaning)| *meaning), given, status.code()) {
        (Some(Meaning::Is(meaning)), ..) => meaning.to_owned(),
        (Some(Meaning::Refused), ConfiguredCredentials::Present, _) => {
            "the remote refuses the credentials".to_owned()
        }
        (Some(Meaning::Refused), ConfiguredCredentials::Absent, _) => {
            "the remote asks for credentials, and none are configured".to_owned()
        }
        (Some(Meaning::TooLarge), ..) => {
            format!("the remote sends more than {pack_bytes_max} bytes")
        }
        (None, _, Some(127)) => "the git program is not installed, or not in PATH".to_owned(),
        (None, _, Some(code)) => format!("git failed with exit code {code}"),
        (None, _, None) => "git was killed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[track_caller]
    fn check(said: &str, expected: &str) {
        let found =
            reason(said, ExitStatus::from_raw(128 << 8), ConfiguredCredentials::Present, 10);
        assert_eq!(found, expected, "{said}");
    }

    #[test]
    fn failures_have_a_sentence_of_ours() {
        check(
            "fatal: Authentication failed for 'https://x/hunter2'",
            "the remote refuses the credentials",
        );
        check(
            "fatal: unable to access 'https://h/r/': SSL certificate problem: self-signed certificate",
            "the certificate of the remote cannot be verified",
        );
        check("error: index-pack died of signal 25", "the remote sends more than 10 bytes");
        check("fatal: something hunter2", "git failed with exit code 128");
    }
}
