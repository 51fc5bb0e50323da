//! The corpus of the fuzz targets, replayed. Each input that once failed is among them (fuzz/README.md).

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

#[path = "../../fuzz/src/targets.rs"]
mod targets;

/// The time for all inputs of one target. They take less than a second.
const TARGET_MAX: Duration = Duration::from_secs(120);

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

fn names(directory: &PathBuf) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{directory:?}: {error}"));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn every_target_has_a_corpus_and_every_corpus_a_target() {
    let targets: BTreeSet<String> = targets::ALL.iter().map(|it| it.name.to_owned()).collect();
    assert_eq!(targets.len(), targets::ALL.len(), "two targets have one name");
    assert_eq!(targets, names(&corpus()));
}

#[test]
fn every_input_of_the_corpus_is_read_without_a_failure() {
    let mut count = 0;
    for target in targets::ALL {
        let directory = corpus().join(target.name);
        let inputs = names(&directory);
        assert!(inputs.len() >= 4, "{}: {} inputs", target.name, inputs.len());
        count += inputs.len();
        // In a thread of its own, so that an input that never ends fails with its name.
        let (current, position) = mpsc::channel();
        let run = move || {
            for input in inputs {
                let bytes = fs::read(directory.join(&input)).unwrap();
                current.send(input).unwrap();
                (target.run)(&bytes);
            }
        };
        let thread = std::thread::spawn(run);
        let mut last = String::new();
        loop {
            match position.recv_timeout(TARGET_MAX) {
                Ok(input) => last = input,
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("{}/{last} never ends", target.name),
            }
        }
        assert!(thread.join().is_ok(), "{}/{last} fails", target.name);
    }
    assert!(count >= 300, "{count} inputs");
}

/// A dependency that the lock file of the fuzz targets lacks would stop `scripts/fuzz`, which builds with `--locked`.
#[test]
fn the_lock_file_of_the_targets_has_every_dependency() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let parse = |path: &str| -> toml::Table {
        fs::read_to_string(root.join(path))
            .unwrap()
            .parse()
            .unwrap_or_else(|e| panic!("{path}: {e}"))
    };
    let members = parse("Cargo.toml")["workspace"]["members"].as_array().unwrap().clone();
    let directories = members.iter().map(|it| it.as_str().unwrap()).chain(["."]);
    let manifests: Vec<toml::Table> =
        directories.map(|it| parse(&format!("{it}/Cargo.toml"))).collect();
    let lock = parse("fuzz/Cargo.lock");
    let mut compared = 0;
    for locked in lock["package"].as_array().unwrap() {
        let name = locked["name"].as_str().unwrap();
        let manifest = manifests.iter().find(|it| it["package"]["name"].as_str() == Some(name));
        let Some(dependencies) = manifest.and_then(|it| it.get("dependencies")) else { continue };
        let listed = locked["dependencies"].as_array().unwrap();
        let listed: BTreeSet<&str> =
            listed.iter().filter_map(|it| it.as_str()?.split(' ').next()).collect();
        for (alias, dependency) in dependencies.as_table().unwrap() {
            let is_optional = dependency.get("optional").and_then(toml::Value::as_bool);
            let package = dependency.get("package").and_then(toml::Value::as_str);
            let package = package.unwrap_or(alias);
            assert!(
                is_optional == Some(true) || listed.contains(package),
                "{name} needs {package}: run cargo update --workspace in fuzz/"
            );
            compared += 1;
        }
    }
    assert!(compared > 60, "{compared} dependencies compared");
}
