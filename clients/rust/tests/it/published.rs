//! The published packages: their files, and the agreement of the README with the manifest.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

fn packaged(package: &str) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").expect("tests are run by cargo");
    let arguments = ["package", "--list", "--allow-dirty", "--offline", "--package", package];
    let output = Command::new(cargo).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_package_contains_licences_and_readme_and_no_integration_tests() {
    let of_both = ["Cargo.toml", "LICENSE-APACHE", "LICENSE-MIT", "README.md", "src/lib.rs"];
    let of_the_client = ["CHANGELOG.md", "examples/live.rs"];
    for (package, wanted) in
        [("headwater-client", &of_the_client[..]), ("headwater-wire", &of_both[..])]
    {
        let files = packaged(package);
        for name in of_both.iter().chain(wanted) {
            assert!(files.contains(*name), "{package} lacks {name}");
        }
        assert!(!files.iter().any(|name| name.starts_with("tests/")), "{files:?}");
    }
    // The licences are symbolic links on disk and files in the package.
    assert!(read("LICENSE-MIT").contains("Permission is hereby granted"));
    assert!(read("LICENSE-APACHE").contains("Apache License"));
}

/// Returns the features of the manifest, each with `yes` if it is on by default.
fn features() -> BTreeSet<(String, String)> {
    let manifest = read("Cargo.toml");
    let section = manifest.split("[features]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let lines: Vec<(&str, &str)> =
        section.lines().filter_map(|line| line.split_once(" = ")).collect();
    let default = lines.iter().find(|(name, _)| *name == "default").unwrap().1;
    let features = lines.iter().filter(|(name, _)| *name != "default").map(|(name, _)| {
        let is_on = default.contains(&format!("\"{name}\""));
        ((*name).to_owned(), if is_on { "yes" } else { "no" }.to_owned())
    });
    features.collect()
}

#[test]
fn the_readme_lists_the_features_of_the_manifest() {
    let page = read("README.md");
    let table = page.split("| feature | default |").nth(1).unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    let told: BTreeSet<_> =
        cells.map(|cells| (cells[1].trim_matches('`').to_owned(), cells[2].to_owned())).collect();
    assert_eq!(told, features());
}

#[test]
fn the_readme_states_the_rust_version_of_the_manifest() {
    let version = env!("CARGO_PKG_RUST_VERSION");
    assert!(read("README.md").contains(&format!("Rust {version} or newer")), "{version}");
}

#[test]
fn the_readme_lists_every_variable() {
    let page = read("README.md");
    let builder = read("src/builder.rs");
    let variables: BTreeSet<_> =
        builder.split('"').filter(|text| text.starts_with("HEADWATER_")).collect();
    assert_eq!(variables.len(), 8, "{variables:?}");
    for variable in variables {
        assert!(page.contains(&format!("| `{variable}` |")), "{variable}");
    }
}
