//! The house checks itself: no file that nothing mentions, a sentence at the top of each, rooms that use only the rooms
//! they may, and no dependency that was ruled out.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What each room may use of the others.
const ROOMS: [(&str, &[&str]); 24] = [
    ("model", &[]),
    ("format", &["model"]),
    ("tree", &["model", "format", "sync"]),
    ("snapshot", &["model", "tree"]),
    ("placeholder", &["model"]),
    ("reveal", &["model"]),
    ("render", &["model", "placeholder"]),
    ("resolve", &["model", "format", "tree", "snapshot"]),
    ("catalog", &["model", "tree", "snapshot", "resolve"]),
    ("change", &["model"]),
    (
        "check",
        &["model", "tree", "snapshot", "placeholder", "render", "resolve", "catalog", "change"],
    ),
    ("access", &["model"]),
    ("source", &["model", "tree", "snapshot", "sync"]),
    (
        "store",
        &[
            "model",
            "tree",
            "snapshot",
            "placeholder",
            "reveal",
            "render",
            "resolve",
            "catalog",
            "change",
            "check",
            "access",
            "source",
            "sync",
        ],
    ),
    ("push", &["model", "data", "tree", "snapshot", "check", "source", "store", "sync"]),
    ("replicas", &["model", "store", "sync"]),
    ("http", &["model", "placeholder", "render", "access", "store", "push", "replicas", "sync"]),
    ("settings", &[]),
    ("data", &[]),
    (
        "server",
        &[
            "model", "access", "check", "source", "store", "push", "replicas", "http", "settings",
            "data",
        ],
    ),
    (
        "cli",
        &[
            "model",
            "snapshot",
            "placeholder",
            "render",
            "resolve",
            "catalog",
            "change",
            "check",
            "access",
            "source",
            "store",
            "settings",
            "server",
        ],
    ),
    ("sync", &[]),
    ("lib", &[]),
    ("main", &["push"]),
];

/// Where each crate, and each door to the machine, is allowed.
const DOORS: [(&str, &[&str]); 25] = [
    ("git2", &["source/git"]),
    ("headwater_etcd", &["source/etcd", "source/open", "push/share", "replicas", "server"]),
    ("icu_normalizer", &["check/entries"]),
    ("headwater_schema", &["check/schema"]),
    ("notify", &["source", "server"]),
    ("actix_web", &["http", "server"]),
    ("actix_http", &["http", "server"]),
    ("actix_service", &["http", "server"]),
    ("actix_server", &["server"]),
    ("tokio_rustls", &["http/socket", "server"]),
    ("rustls", &["server"]),
    ("socket2", &["http/socket", "server"]),
    ("rustix", &["data", "push", "source", "server/replicas", "cli/run", "cli/watch"]),
    ("clap", &["cli", "settings", "main"]),
    ("minijinja", &["cli/run"]),
    ("tempfile", &["cli/run", "cli/copy", "source/beside"]),
    ("anyhow", &["cli"]),
    ("tracing_subscriber", &["main"]),
    ("headwater_client", &["cli", "source/mirror/follow"]),
    ("headwater_wire", &["render", "cli"]),
    ("prometheus_client", &["http"]),
    (
        "tokio",
        &[
            "http/watch",
            "http/socket",
            "http/git",
            "push",
            "source",
            "store",
            "replicas",
            "server",
            "cli",
        ],
    ),
    ("std::fs", &["source", "settings", "server", "data", "push", "cli/run"]),
    (
        "std::net",
        &[
            "http/watch",
            "http/socket",
            "settings",
            "server",
            "cli",
            "push/hook",
            "source/mirror/address",
            "source/etcd/address",
        ],
    ),
    (
        "std::env",
        &["main", "settings", "push/command", "push/hook", "push/repository", "source/mirror/git"],
    ),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// What a service takes in with the client crate, whatever it asks of it.
#[test]
fn the_client_crate_brings_no_web_framework() {
    let arguments = [
        "tree",
        "--offline",
        "--locked",
        "-e",
        "normal",
        "--all-features",
        "-p",
        "headwater-client",
    ];
    let cargo = std::env::var_os("CARGO").expect("tests are run by cargo");
    let output = Command::new(cargo).args(arguments).current_dir(root()).output().unwrap();
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(tree.contains("hyper v"), "{tree}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!tree.contains("actix"), "{tree}");
}

/// Every Rust file below a directory, without the directory in its name.
fn rust_files(directory: &Path) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    let mut open = vec![directory.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.insert(path.strip_prefix(directory).unwrap().to_owned());
            }
        }
    }
    files
}

/// The files that a file's `mod` lines lead to, itself included.
fn reachable(directory: &Path, file: &Path, is_top: bool, found: &mut BTreeSet<PathBuf>) {
    found.insert(file.to_owned());
    let text = fs::read_to_string(directory.join(file))
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let below = match is_top {
        true => file.parent().unwrap().to_owned(),
        false => file.with_extension(""),
    };
    for line in text.lines() {
        // A file that stands in for another one on some systems.
        if let Some(rest) = line.trim().strip_prefix("#[path = \"") {
            let other = file.parent().unwrap().join(rest.trim_end_matches("\"]"));
            reachable(directory, &other, false, found);
        }
        let line = line.trim().trim_start_matches("pub ").trim_start_matches("pub(crate) ");
        if let Some(name) = line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) {
            reachable(directory, &below.join(format!("{name}.rs")), false, found);
        }
    }
}

#[test]
fn every_file_is_mentioned_and_says_what_it_is() {
    for (directory, tops) in [
        ("src", &["lib.rs", "main.rs"][..]),
        ("etcd/src", &["lib.rs"]),
        ("etcd/proto/src", &["lib.rs"]),
        ("tests/it", &["main.rs"]),
        ("tests/fleet/src", &["lib.rs"]),
        ("clients/wire/src", &["lib.rs"]),
        ("clients/rust/src", &["lib.rs"]),
        ("clients/examples/shop/src", &["lib.rs", "bin/product.rs", "bin/order.rs"]),
    ] {
        let directory = root().join(directory);
        let mut found = BTreeSet::new();
        for top in tops {
            reachable(&directory, Path::new(top), true, &mut found);
        }
        let files = rust_files(&directory);
        let lost: Vec<_> = files.difference(&found).collect();
        assert!(lost.is_empty(), "no mod mentions {lost:?} in {}", directory.display());
        for file in &files {
            let text = fs::read_to_string(directory.join(file)).unwrap();
            let says = text.starts_with("//! ") || text.starts_with("#![doc = include_str!");
            assert!(says, "{} does not say what it is", file.display());
        }
    }
}

/// The code of a file: no comments, and nothing of its tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn product_files() -> Vec<(PathBuf, String)> {
    let source = root().join("src");
    rust_files(&source)
        .into_iter()
        .filter(|file| !file.ends_with("tests.rs"))
        .map(|file| (file.clone(), code(&source.join(file))))
        .collect()
}

/// The first part of a path below `src`: `http/hot.rs` is in `http`.
fn room(file: &Path) -> String {
    let first = file.iter().next().unwrap().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// The names that follow `crate::`, in a group or alone.
fn used_rooms(code: &str) -> BTreeSet<&str> {
    let mut used = BTreeSet::new();
    for (at, prefix) in code.match_indices("crate::") {
        let rest = &code[at + prefix.len()..];
        let names = match rest.strip_prefix('{') {
            Some(group) => group.split('}').next().unwrap().split(',').collect(),
            None => vec![rest],
        };
        let first = |name: &'_ str| name.len() - name.trim_start().len();
        for name in names {
            let name = &name[first(name)..];
            let end =
                name.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(name.len());
            used.insert(&name[..end]);
        }
    }
    used.remove("");
    used
}

#[test]
fn every_room_uses_only_the_rooms_it_may() {
    for (file, code) in product_files() {
        let room = room(&file);
        let (_, may) = ROOMS
            .iter()
            .find(|(name, _)| *name == room)
            .unwrap_or_else(|| panic!("{room} is in no line of the table"));
        for used in used_rooms(&code) {
            assert!(used == room || may.contains(&used), "{} uses {used}", file.display());
        }
    }
}

#[test]
fn every_door_to_the_machine_is_where_it_should_be() {
    for (file, code) in product_files() {
        for (door, rooms) in DOORS {
            let opened = code.match_indices(door).any(|(at, _)| {
                let before = code[..at].chars().next_back();
                let after = &code[at + door.len()..];
                !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
                    && (after.starts_with("::") || after.starts_with(';'))
            });
            let name = file.with_extension("");
            let allowed = rooms.iter().any(|room| name.starts_with(room));
            assert!(!opened || allowed, "{} uses {door}", file.display());
        }
    }
}

#[test]
fn what_was_ruled_out_has_not_come_in() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let packages: Vec<(&str, Vec<u32>)> = lock
        .split("[[package]]")
        .skip(1)
        .map(|package| {
            let value = |key: &str| {
                let line = package.lines().find_map(|line| line.strip_prefix(key));
                line.expect("a value").trim_matches('"')
            };
            let version = value("version = ").split(['-', '+']).next().unwrap();
            (value("name = "), version.split('.').map(|part| part.parse().unwrap()).collect())
        })
        .collect();
    assert!(packages.len() > 100);
    // `ring` stands in the lock as an option of others that nobody takes; the dependency check of `.ci/run` looks at
    // what is built.
    const BANNED: [&str; 10] = [
        "openssl-sys",
        "openssl",
        "native-tls",
        "rsa",
        "serde_yaml",
        "serde_yaml_ng",
        "serde_norway",
        "yaml-rust",
        "yaml-rust2",
        "actix-governor",
    ];
    for (name, version) in packages {
        assert!(!BANNED.contains(&name), "{name} was ruled out");
        match name {
            "h2" => assert!(version >= vec![0, 4, 16], "h2 {version:?}"),
            "libgit2-sys" => assert!(version >= vec![0, 18, 8], "libgit2-sys {version:?}"),
            _ => {}
        }
    }
}
