//! Tests of the source tree: every file is in a module and has a module comment, modules use only permitted modules and
//! crates, and banned dependencies are absent.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The modules that each top-level module may use.
const ROOMS: [(&str, &[&str]); 41] = [
    ("allocator", &[]),
    ("model", &[]),
    ("areas", &[]),
    ("backoff", &[]),
    ("glob", &[]),
    ("outage", &[]),
    ("outgoing", &[]),
    ("percent", &[]),
    ("charset", &[]),
    ("format", &["model", "charset"]),
    ("tree", &["model", "format", "sync"]),
    ("snapshot", &["model", "areas", "glob", "tree", "terminal"]),
    ("placeholder", &["model"]),
    ("reveal", &["model", "sync"]),
    ("render", &["model", "placeholder"]),
    ("resolve", &["model", "areas", "glob", "format", "tree", "snapshot", "placeholder"]),
    ("catalog", &["model", "tree", "snapshot", "resolve"]),
    ("change", &["model"]),
    (
        "check",
        &[
            "model",
            "areas",
            "tree",
            "snapshot",
            "placeholder",
            "render",
            "resolve",
            "reveal",
            "catalog",
            "change",
            "terminal",
            "percent",
        ],
    ),
    ("access", &["allocator", "model", "areas", "sync"]),
    ("audit", &["model", "faults", "regular_file", "sync"]),
    ("regular_file", &[]),
    (
        "source",
        &[
            "model",
            "areas",
            "backoff",
            "outage",
            "percent",
            "regular_file",
            "tree",
            "snapshot",
            "sync",
            "terminal",
            "telemetry",
        ],
    ),
    (
        "store",
        &[
            "model",
            "areas",
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
            "audit",
            "source",
            "faults",
            "sync",
            "backoff",
            "outage",
            "telemetry",
        ],
    ),
    ("faults", &["sync"]),
    ("fleet", &["model", "faults", "sync"]),
    (
        "conduct",
        &[
            "model",
            "tree",
            "snapshot",
            "resolve",
            "render",
            "check",
            "audit",
            "source",
            "store",
            "fleet",
            "faults",
            "sync",
            "telemetry",
            "outgoing",
            "regular_file",
            "terminal",
        ],
    ),
    (
        "push",
        &[
            "model",
            "conduct",
            "access",
            "backoff",
            "outage",
            "data",
            "tree",
            "snapshot",
            "check",
            "reveal",
            "audit",
            "source",
            "store",
            "fleet",
            "faults",
            "sync",
            "terminal",
            "telemetry",
        ],
    ),
    ("replicas", &["model", "outage", "access", "store", "faults", "sync"]),
    (
        "http",
        &[
            "model",
            "conduct",
            "charset",
            "percent",
            "placeholder",
            "reveal",
            "render",
            "catalog",
            "access",
            "audit",
            "store",
            "push",
            "fleet",
            "check",
            "replicas",
            "faults",
            "sync",
            "terminal",
            "telemetry",
        ],
    ),
    ("vault", &["model", "backoff", "outgoing", "regular_file", "reveal", "faults", "sync"]),
    ("settings", &[]),
    ("data", &[]),
    ("opening", &["data", "push", "settings", "source"]),
    (
        "server",
        &[
            "allocator",
            "model",
            "conduct",
            "access",
            "audit",
            "check",
            "regular_file",
            "reveal",
            "store",
            "push",
            "fleet",
            "replicas",
            "data",
            "http",
            "opening",
            "settings",
            "faults",
            "sync",
            "vault",
            "outage",
            "outgoing",
            "telemetry",
        ],
    ),
    (
        "cli",
        &[
            "model",
            "format",
            "regular_file",
            "snapshot",
            "placeholder",
            "render",
            "resolve",
            "reveal",
            "catalog",
            "change",
            "check",
            "access",
            "source",
            "store",
            "faults",
            "settings",
            "opening",
            "server",
            "sync",
            "terminal",
        ],
    ),
    ("sync", &[]),
    ("telemetry", &[]),
    ("lib", &[]),
    ("terminal", &[]),
    ("main", &["push", "terminal"]),
];

/// The modules in which each crate and each interface to the system is permitted.
const DOORS: [(&str, &[&str]); 43] = [
    (
        "headwater_rollout",
        &[
            "model/canary",
            "settings/rollout",
            "settings/rollout_checks",
            "check/plan",
            "conduct",
            "push",
            "store/rollout_notice",
            "http/rollouts",
        ],
    ),
    ("headwater_access", &["access", "areas", "audit", "cli/audit", "cli/policy", "cli/token"]),
    ("encoding_rs", &["charset"]),
    ("oem_cp", &["charset"]),
    ("git2", &["source/git"]),
    (
        "headwater_etcd",
        &["source/etcd", "source/open", "opening", "push/replication", "replicas", "server"],
    ),
    ("headwater_secrets", &["reveal", "vault", "server", "cli/seal"]),
    ("http_body_util", &["outgoing", "vault", "conduct/checks", "server"]),
    ("hyper", &["outgoing", "vault", "conduct/checks", "server"]),
    ("hyper_util", &["outgoing"]),
    ("icu_normalizer", &["check/entries"]),
    ("jsonschema", &["check/schema"]),
    ("notify", &["source", "server"]),
    ("actix_web", &["http", "server"]),
    ("actix_http", &["http", "server"]),
    ("actix_service", &["http", "server"]),
    ("actix_server", &["server"]),
    ("tokio_rustls", &["http/socket", "outgoing", "server"]),
    ("rustls", &["outgoing", "server"]),
    ("webpki", &["server"]),
    ("rustls_platform_verifier", &["outgoing"]),
    ("socket2", &["http/socket", "server"]),
    ("x509_parser", &["server"]),
    (
        "rustix",
        &[
            "audit",
            "data",
            "conduct/checks",
            "push",
            "regular_file",
            "source",
            "server",
            "cli/run",
            "cli/watch",
            "telemetry/process",
        ],
    ),
    ("clap", &["cli", "settings", "main"]),
    ("clap_complete", &["cli/completions"]),
    ("clap_mangen", &["cli/man"]),
    ("console", &["cli/seal"]),
    ("anstream", &["cli/colour"]),
    ("indicatif", &["cli/progress"]),
    ("minijinja", &["cli/run"]),
    ("percent_encoding", &["percent"]),
    ("tokio_util", &["source", "store", "conduct", "push", "replicas", "http", "server"]),
    (
        "tempfile",
        &["cli/run", "cli/copy", "cli/compare", "cli/seal", "source/atomic_replace", "push"],
    ),
    ("anyhow", &["cli"]),
    ("tracing_subscriber", &["main"]),
    ("headwater_client", &["cli", "fleet/peers", "source/mirror/follow"]),
    ("headwater_wire", &["check", "render", "cli", "fleet", "http"]),
    ("prometheus_client", &["http"]),
    (
        "tokio",
        &[
            "audit",
            "conduct",
            "fleet",
            "http/audit",
            "http/fleet",
            "http/watch",
            "http/socket",
            "http/git",
            "http/monitor",
            "http/renderings",
            "outgoing",
            "vault",
            "http/key_refresh",
            "push",
            "source",
            "store",
            "replicas",
            "opening",
            "server",
            "cli",
            "telemetry/trace",
        ],
    ),
    (
        "std::fs",
        &[
            "conduct/file",
            "fleet/contracts/files",
            "fleet/history",
            "audit",
            "telemetry/process",
            "regular_file",
            "source",
            "settings",
            "server",
            "data",
            "push",
            "cli/man",
            "cli/run",
            "cli/compare",
            "cli/seal",
        ],
    ),
    (
        "std::net",
        &[
            "audit/reads",
            "http/audit",
            "http/watch",
            "http/monitor",
            "http/socket",
            "http/identity",
            "settings",
            "server",
            "cli",
            "push/hook",
            "source/remote",
            "source/etcd/address",
        ],
    ),
    (
        "std::env",
        &["main", "settings", "push/command", "push/hook", "push/prepare", "source/mirror/git"],
    ),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A service that uses the client crate with all features does not depend on actix.
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

/// Lines of `tests/it/needs` whose tests were renamed would let `scripts/test fast` run what is not there.
#[test]
fn every_component_is_needed_by_a_test() {
    let program = std::env::current_exe().unwrap();
    let listed = Command::new(program).args(["--list", "--format", "terse"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let tests: Vec<&str> = listed.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    assert!(tests.len() > 100, "only {} tests are listed", tests.len());
    let needs = fs::read_to_string(root().join("tests/it/needs")).unwrap();
    let lines = needs.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_component, prefix] = words[..] else {
            panic!("tests/it/needs: expected a component and a name, found {line:?}");
        };
        let is_known = tests.iter().any(|test| test.starts_with(prefix));
        assert!(is_known, "tests/it/needs: no test begins with {prefix}");
    }
}

/// The Rust files below a directory, by their paths relative to it.
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

/// Collects a file and the files that its `mod` lines declare.
fn reachable(directory: &Path, file: &Path, is_top: bool, found: &mut BTreeSet<PathBuf>) {
    found.insert(file.to_owned());
    let text = fs::read_to_string(directory.join(file))
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let below = if is_top { file.parent().unwrap().to_owned() } else { file.with_extension("") };
    let mut is_outside = false;
    for line in text.lines() {
        // A file that stands in for another one on some systems, or one of another crate, which is not looked for here.
        if let Some(rest) = line.trim().strip_prefix("#[path = \"") {
            is_outside = rest.starts_with("../");
            if !is_outside {
                let other = file.parent().unwrap().join(rest.trim_end_matches("\"]"));
                reachable(directory, &other, false, found);
            }
            continue;
        }
        if std::mem::take(&mut is_outside) {
            continue;
        }
        let line = line.trim().trim_start_matches("pub ").trim_start_matches("pub(crate) ");
        if let Some(name) = line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) {
            reachable(directory, &below.join(format!("{name}.rs")), false, found);
        }
    }
}

#[test]
fn every_file_is_in_a_module_and_has_a_comment() {
    for (directory, tops) in [
        ("src", &["lib.rs", "main.rs"][..]),
        ("access/src", &["lib.rs"]),
        ("rollout/src", &["lib.rs"]),
        ("rollout/tests/model", &["main.rs"]),
        ("etcd/src", &["lib.rs"]),
        ("etcd/proto/src", &["lib.rs"]),
        ("secrets/src", &["lib.rs"]),
        ("secrets/tests/it", &["main.rs"]),
        ("tests/it", &["main.rs"]),
        ("tests/fleet/src", &["lib.rs"]),
        ("clients/wire/src", &["lib.rs"]),
        ("clients/rust/src", &["lib.rs"]),
        ("clients/examples/shop/src", &["lib.rs", "bin/product.rs", "bin/order.rs"]),
        ("fuzz/src", &["main.rs"]),
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

/// The code of a file, without comments and without its unit tests.
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

/// The top-level module of a path below `src`: `http` for `http/hot.rs`.
fn room(file: &Path) -> String {
    let first = file.iter().next().unwrap().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// The top-level modules that follow `crate::`, in a group or alone.
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
fn every_module_uses_only_permitted_modules() {
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
fn every_crate_is_used_only_where_permitted() {
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

/// The crates of pure logic receive bytes and times, and return values.
#[test]
fn the_pure_crates_perform_no_io_and_read_no_clock() {
    const INTERFACES: [&str; 8] = [
        "std::fs",
        "std::net",
        "std::env",
        "std::process",
        "std::io",
        "tokio",
        "SystemTime",
        "Instant::now",
    ];
    for directory in ["rollout/src", "secrets/src"] {
        let source = root().join(directory);
        for file in rust_files(&source) {
            let code = code(&source.join(&file));
            for interface in INTERFACES {
                assert!(!code.contains(interface), "{} uses {interface}", file.display());
            }
        }
    }
}

#[test]
fn banned_dependencies_are_absent() {
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
    // `ring` is in the lock as an unused option of other crates. The dependency check of `.ci/run` examines the crates
    // that are built.
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
