//! The program in `tests/validators`, which reads deployment files by the code of those that take them.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{COMPOSE, root};
use crate::fixture::installed;

/// Where `scripts/install-test-deps.sh` builds it.
const PROGRAM: &str = "target/test-deps/validators";

/// What was understood, or what is wrong.
fn validate(kind: &str, files: &[&Path]) -> Result<Value, String> {
    let output = Command::new(root().join(PROGRAM)).arg(kind).args(files).output().unwrap();
    if output.status.success() {
        Ok(serde_json::from_slice(&output.stdout).unwrap())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

/// The project of the compose file; `None` where the program is left out.
pub(super) fn compose_project() -> Option<Value> {
    installed(&[PROGRAM]).then(|| validate("compose", &[&root().join(COMPOSE)]).unwrap())
}

/// The objects of all manifests, with their defaults; `None` where the program is left out.
pub(super) fn manifests() -> Option<Vec<Value>> {
    if !installed(&[PROGRAM]) {
        return None;
    }
    let files =
        ["headwater.yaml", "etcd.yaml"].map(|name| root().join("deploy/kubernetes").join(name));
    let objects = validate("kubernetes", &files.each_ref().map(|path| path.as_path())).unwrap();
    Some(objects.as_array().unwrap().clone())
}

/// Checks that a file with something else in it is refused, and that what is wrong is named.
#[track_caller]
pub(super) fn refused(kind: &str, name: &str, file: &str, old: &str, new: &str) {
    assert!(file.contains(old), "{old}");
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join(name);
    std::fs::write(&path, file.replace(old, new)).unwrap();
    let said = validate(kind, &[&path]).expect_err(new);
    assert!(!said.trim().is_empty(), "{new}");
}
