//! What a push begins with: the references and what git can do. Git says once what it can do; the references are those that
//! are published, so no process is started to list them.

use bytes::Bytes;

/// What stands in place of the first reference where there is none.
const NO_REFERENCE: &str = "capabilities^{}";
/// The object that it stands for.
const NO_ID: &str = "0000000000000000000000000000000000000000";
/// What ends the list.
const END: &[u8] = b"0000";

/// What git can do, as it said itself in its own advertisement.
pub(super) fn capabilities(advertised: &[u8]) -> Option<&[u8]> {
    let begin = advertised.iter().position(|byte| *byte == 0)? + 1;
    let length = advertised[begin..].iter().position(|byte| *byte == b'\n')?;
    Some(&advertised[begin..begin + length])
}

/// The advertisement of these references, each a full name and an object id, in order of their names.
pub(super) fn compose(references: &[(String, String)], capabilities: &[u8]) -> Bytes {
    let mut all = Vec::new();
    let (first, rest) = match references.split_first() {
        Some(((name, id), rest)) => ((name.as_str(), id.as_str()), rest),
        None => ((NO_REFERENCE, NO_ID), references),
    };
    add(&mut all, first.0, first.1, Some(capabilities));
    for (name, id) in rest {
        add(&mut all, name, id, None);
    }
    all.extend_from_slice(END);
    all.into()
}

fn add(all: &mut Vec<u8>, name: &str, id: &str, capabilities: Option<&[u8]>) {
    let mut line = format!("{id} {name}").into_bytes();
    if let Some(capabilities) = capabilities {
        line.push(0);
        line.extend_from_slice(capabilities);
    }
    line.push(b'\n');
    all.extend_from_slice(format!("{:04x}", line.len() + 4).as_bytes());
    all.extend_from_slice(&line);
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn git(directory: &std::path::Path, arguments: &[&str]) -> Vec<u8> {
        let mut command = Command::new("git");
        command
            .current_dir(directory)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_AUTHOR_NAME", "A")
            .env("GIT_AUTHOR_EMAIL", "a@localhost")
            .env("GIT_COMMITTER_NAME", "A")
            .env("GIT_COMMITTER_EMAIL", "a@localhost");
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        output.stdout
    }

    /// Git's own, and what is made of its list of references.
    #[track_caller]
    fn check(directory: &std::path::Path) {
        let theirs = git(directory, &["receive-pack", "--http-backend-info-refs", "."]);
        let listed = git(directory, &["for-each-ref", "--format=%(refname) %(objectname)"]);
        let listed = String::from_utf8(listed).unwrap();
        let references: Vec<(String, String)> = listed
            .lines()
            .map(|line| line.split_once(' ').unwrap())
            .map(|(name, id)| (name.to_owned(), id.to_owned()))
            .collect();
        let ours = compose(&references, capabilities(&theirs).unwrap());
        assert_eq!(ours, theirs);
    }

    #[test]
    fn it_is_what_git_would_have_said() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path();
        git(path, &["init", "--quiet", "--bare", "--initial-branch=main"]);
        check(path);
        let tree = String::from_utf8(git(path, &["mktree", "--missing"])).unwrap();
        let commit = git(path, &["commit-tree", "-m", "x", tree.trim()]);
        let commit = String::from_utf8(commit).unwrap();
        for name in ["refs/heads/main", "refs/heads/a/b", "refs/heads/a-b", "refs/tags/v1"] {
            git(path, &["update-ref", name, commit.trim()]);
            check(path);
        }
        git(path, &["tag", "-a", "-m", "x", "v2", "main"]);
        check(path);
    }

    #[test]
    fn without_capabilities_there_are_none() {
        for text in [&b""[..], b"0000", b"0010abc refs/x\n0000", b"abc\0def"] {
            assert_eq!(capabilities(text), None);
        }
    }
}
