//! What git says when it fails, told apart into sentences of our own. Pure.
//!
//! What git says itself may hold paths, and whatever a remote put there; none of it goes on.

use std::process::ExitStatus;

/// What the remote was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Given {
    Something,
    Nothing,
}

/// What a failure means.
#[derive(Debug, Clone, Copy)]
enum Meaning {
    Is(&'static str),
    Refused,
    TooLarge,
}

/// What git says when it fails, and what that means; the first that is found counts, for one often follows from another.
const MEANINGS: [(&[&str], Meaning); 14] = {
    use Meaning::{Is, Refused, TooLarge};
    [
        (&["died of signal 25", "File too large"], TooLarge),
        (
            &["No space left on device", "Disk quota exceeded"],
            Is("there is no space left for the copy"),
        ),
        (
            &["Host key verification failed", "REMOTE HOST IDENTIFICATION HAS CHANGED"],
            Is("the host key of the remote is not in known_hosts_file"),
        ),
        (
            &["UNPROTECTED PRIVATE KEY", "bad permissions"],
            Is("ssh_key_file may be read by others than its owner, which ssh refuses"),
        ),
        (
            &["No user exists for uid"],
            Is("ssh needs the user that the server runs as in /etc/passwd"),
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
                "the remote redirects, which is not followed: configure the address that it leads to (GitLab: with .git at its end)",
            ),
        ),
        (
            &["Could not resolve host", "Name or service not known", "name resolution"],
            Is("the name of the remote's host is not known"),
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
            Is("what the remote sends is cut off or malformed"),
        ),
        // It was killed while it wrote: nothing else ends it without a word of its own.
        (&["invalid index-pack output"], TooLarge),
    ]
};

/// What git means by what it says. Only our own words go on.
pub(super) fn reason(said: &str, status: ExitStatus, given: Given, pack_bytes_max: u64) -> String {
    let meaning = MEANINGS.iter().find(|(parts, _)| parts.iter().any(|part| said.contains(part)));
    match (meaning.map(|(_, meaning)| *meaning), given, status.code()) {
        (Some(Meaning::Is(meaning)), ..) => meaning.to_owned(),
        (Some(Meaning::Refused), Given::Something, _) => {
            "the remote refuses the credentials".to_owned()
        }
        (Some(Meaning::Refused), Given::Nothing, _) => {
            "the remote asks for credentials, and none are configured".to_owned()
        }
        (Some(Meaning::TooLarge), ..) => {
            format!("the remote sends more than {pack_bytes_max} bytes")
        }
        (None, _, Some(127)) => "there is no git program to run".to_owned(),
        (None, _, Some(code)) => format!("git ended with code {code}"),
        (None, _, None) => "git was killed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[track_caller]
    fn check(said: &str, expected: &str) {
        let found = reason(said, ExitStatus::from_raw(128 << 8), Given::Something, 10);
        assert_eq!(found, expected, "{said}");
    }

    #[test]
    fn only_our_own_words_go_on() {
        check(
            "fatal: Authentication failed for 'https://x/hunter2'",
            "the remote refuses the credentials",
        );
        check(
            "fatal: unable to access 'https://h/r/': SSL certificate problem: self-signed certificate",
            "the certificate of the remote cannot be verified",
        );
        check("error: index-pack died of signal 25", "the remote sends more than 10 bytes");
        check("fatal: something hunter2", "git ended with code 128");
    }
}
