//! The image, as far as a machine without a container engine can show it: `docs/image.md` says what that is.

use std::path::Path;
use std::process::Command;

use crate::fixture::skipped;

/// What `scripts/image-check` ends with where it cannot do its work.
const NOT_HERE: i32 = 77;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

#[test]
fn the_binary_runs_as_the_image_runs_it() {
    let output = Command::new(root().join("scripts/image-check"))
        .arg(env!("CARGO_BIN_EXE_headwater"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.code() == Some(NOT_HERE) {
        skipped(said.trim());
        return;
    }
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complained}");
}

#[test]
fn the_image_is_built_with_the_toolchain_of_the_manifest() {
    let manifest: toml::Table = toml::from_str(&read("Cargo.toml")).unwrap();
    let version = manifest["workspace"]["package"]["rust-version"].as_str().unwrap();
    assert!(read("Dockerfile").contains(&format!("FROM rust:{version}-")), "{version}");
}

#[test]
fn the_build_gets_every_member_of_the_workspace_and_nothing_it_does_not_know() {
    let ignored = read(".dockerignore");
    let let_through: Vec<&str> =
        ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert!(ignored.lines().any(|line| line == "*"));
    let manifest: toml::Table = toml::from_str(&read("Cargo.toml")).unwrap();
    for member in manifest["workspace"]["members"].as_array().unwrap() {
        let member = Path::new(member.as_str().unwrap());
        assert!(let_through.iter().any(|path| member.starts_with(path)), "{}", member.display());
    }
    for line in read("Dockerfile").lines().filter(|line| line.starts_with("COPY --chmod")) {
        let path = line.split(' ').nth(2).unwrap();
        assert!(let_through.contains(&path) && root().join(path).exists(), "{path}");
    }
}
