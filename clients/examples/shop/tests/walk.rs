//! The walk through the shop, and what its Python part does where no scene leads.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Set to `1` where what `scripts/install-test-deps.sh` installs cannot be installed.
const WITHOUT: &str = "HEADWATER_WITHOUT_CLIENTS";

/// Where the services are and, in a build of the workspace, the server too.
fn binaries() -> PathBuf {
    let product = Path::new(env!("CARGO_BIN_EXE_product"));
    let binaries = product.parent().expect("a directory");
    assert!(
        binaries.join("headwater").is_file(),
        "headwater is not beside the services: run `cargo build --workspace` first"
    );
    binaries.to_owned()
}

/// Whether Python and HAProxy are to be expected. Where one of them is missing, the tests fail.
fn expected(test: &str) -> bool {
    let without = std::env::var(WITHOUT).is_ok_and(|value| value == "1");
    if without {
        eprintln!("SKIPPED: {test}: {WITHOUT}=1");
    }
    !without
}

/// Runs a program of the shop, and shows all that it says if it fails.
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
fn the_shop_sells_all_day_and_every_scene_goes_as_it_should() {
    if expected("the walk through the shop") {
        let binaries = binaries();
        passes("walk", &["--binaries", binaries.to_str().expect("a path that is text")]);
    }
}

#[test]
fn the_python_client_reads_lists_and_placeholders_falls_back_and_keeps_a_copy() {
    if expected("the Python client of the shop") {
        passes("cart/test_headwater.py", &[]);
    }
}
