//! Runs the walk through the shop, and the tests of its Python client.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Set to `1` to skip the tests that need the programs of `scripts/install-test-deps.sh`.
const WITHOUT: &str = "HEADWATER_WITHOUT_CLIENTS";

/// Returns the directory of the services. In a build of the workspace it also contains the server.
fn binaries() -> PathBuf {
    let product = Path::new(env!("CARGO_BIN_EXE_product"));
    let binaries = product.parent().expect("a directory");
    assert!(
        binaries.join("headwater").is_file(),
        "headwater is not beside the services: run `cargo build --workspace` first"
    );
    binaries.to_owned()
}

/// Returns whether Python, HAProxy and PostgreSQL are expected. The tests fail when one of them is missing.
fn expected(test: &str) -> bool {
    let without = std::env::var(WITHOUT).is_ok_and(|value| value == "1");
    if without {
        eprintln!("SKIPPED: {test}: {WITHOUT}=1");
    }
    !without
}

/// Runs a program of the shop and fails unless it succeeds.
#[track_caller]
fn passes(program: &str, arguments: &[&str]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(program);
    let mut command = Command::new("python3");
    command.arg("-B").arg(path).args(arguments).stdin(Stdio::null());
    let output = command.output().expect("python3 is installed: scripts/install-test-deps.sh");
    let said = [output.stdout, output.stderr].concat();
    eprintln!("{}", String::from_utf8_lossy(&said));
    assert!(output.status.success(), "{program} ends with {}", output.status);
}

#[test]
fn every_scene_of_the_walk_succeeds() {
    if expected("the walk through the shop") {
        let binaries = binaries();
        passes("walk", &["--binaries", binaries.to_str().expect("a path that is text")]);
    }
}

#[test]
fn the_tests_of_the_python_client_pass() {
    if expected("the Python client of the shop") {
        passes("cart/test_headwater.py", &[]);
    }
}
