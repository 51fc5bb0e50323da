//! The files in `deploy/`: the programs that they are meant for take them, and what they wire is started as they say, as
//! processes on this machine.

mod compose;
mod confined;
mod container;
mod kubernetes;
pub(crate) mod monitoring;
mod traffic;
mod unit;
mod validators;
mod wiring;

use std::path::PathBuf;
use std::process::Command;

use self::validators::{compose_project, manifests, refused};
use self::wiring::Wiring;
use crate::documentation::root;

const COMPOSE: &str = "deploy/compose/compose.yaml";
const PROXY: &str = "deploy/compose/haproxy.cfg";
const UNIT: &str = "deploy/systemd/headwater.service";

/// How exposed a service may be, of 100, as `systemd-analyze security` counts it. What is left is the network.
const EXPOSURE_MAX: u32 = 15;

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// Every file in `deploy/`, with its text.
fn files() -> Vec<(PathBuf, String)> {
    let (mut found, mut open) = (Vec::new(), vec![root().join("deploy")]);
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                // Somebody's own.
                true if path.ends_with("secrets") => {}
                true => open.push(path),
                false => {
                    let text = std::fs::read_to_string(&path).unwrap();
                    found.push((path, text));
                }
            }
        }
    }
    assert!(found.len() >= 8, "{found:?}");
    found
}

#[test]
fn compose_takes_the_file_and_would_refuse_a_wrong_one() {
    let Some(project) = compose_project() else { return };
    assert_eq!(project["services"].as_object().unwrap().len(), 7);
    let file = read(COMPOSE);
    for (old, new) in [
        ("stop_grace_period: 30s", "stop_grace: 30s"),
        ("read_only: true", "read_only: perhaps"),
        ("secrets: [read-token, push-token]", "secrets: [no-such-token]"),
        ("\"etcd-1:/data\"", "\"no-such-volume:/data\""),
    ] {
        refused("compose", "compose.yaml", &file, old, new);
    }
}

#[test]
fn kubernetes_takes_the_manifests_and_would_refuse_wrong_ones() {
    let Some(objects) = manifests() else { return };
    assert_eq!(objects.len(), 9);
    let file = read("deploy/kubernetes/headwater.yaml");
    for (old, new) in [
        // A field that there is not, a selector of other pods, a probe of no port, a mount of no volume.
        ("livenessProbe:", "liveness:"),
        ("labels: {app.kubernetes.io/name: headwater}\n    spec:", "labels: {a: b}\n    spec:"),
        ("httpGet: {path: /readyz, port: http}", "httpGet: {path: /readyz}"),
        ("{name: tokens, mountPath", "{name: token, mountPath"),
        // What a namespace does not let in that enforces the standard "restricted".
        ("runAsNonRoot: true", "runAsNonRoot: false"),
        ("capabilities: {drop: [ALL]}", "capabilities: {drop: [NET_RAW]}"),
        ("seccompProfile: {type: RuntimeDefault}", "seccompProfile: {type: Unconfined}"),
    ] {
        refused("kubernetes", "headwater.yaml", &file, old, new);
    }
}

#[test]
fn haproxy_takes_its_file_without_a_warning() {
    let wiring = Wiring::of(&["headwater-1:8888", "headwater-2:8888", "headwater-3:8888"]);
    let place = tempfile::tempdir().unwrap();
    let check = |text: &str| {
        let path = place.path().join("haproxy.cfg");
        std::fs::write(&path, wiring.here(text)).unwrap();
        let output = Command::new("/usr/sbin/haproxy").args(["-c", "-f"]).arg(path).output();
        let output = output.expect("HAProxy is not installed: run scripts/install-test-deps.sh");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (taken, said) = check(&read(PROXY));
    assert!(taken && !said.contains("WARNING"), "{said}");
    let (taken, said) = check(&read(PROXY).replace("option redispatch", "option redispatched"));
    assert!(!taken && said.contains("redispatched"), "{said}");
}

#[test]
fn systemd_takes_the_unit_and_finds_it_closed() {
    let place = tempfile::tempdir().unwrap();
    let analyze = |text: &str, arguments: &[&str]| {
        let path = place.path().join("headwater.service");
        let text = text.replace("/usr/local/bin/headwater", env!("CARGO_BIN_EXE_headwater"));
        std::fs::write(&path, text).unwrap();
        let output = Command::new("systemd-analyze").args(arguments).arg(path).output();
        let output = output.expect("systemd is not installed: run scripts/install-test-deps.sh");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let unit = read(UNIT);
    let (taken, said) = analyze(&unit, &["verify", "--man=no"]);
    assert!(taken && said.is_empty(), "{said}");
    let (_, said) = analyze(&unit.replace("KillMode", "KillingMode"), &["verify", "--man=no"]);
    assert!(said.contains("KillingMode"), "{said}");

    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let security = ["security", "--offline=true", "--no-pager", threshold.as_str()];
    let (closed, said) = analyze(&unit, &security);
    assert!(closed, "{said}");
    let (closed, _) = analyze(&unit.replace("CapabilityBoundingSet=\n", ""), &security);
    assert!(!closed);
}

/// Images come from whatever an engine is set up for, and are built from the files of this repository.
#[test]
fn no_file_names_a_registry_or_holds_a_secret() {
    let version = env!("CARGO_PKG_VERSION");
    let mut images = Vec::new();
    for (path, text) in files() {
        let lines = text.lines().map(str::trim);
        images.extend(lines.filter_map(|line| line.strip_prefix("image: ")).map(str::to_owned));
        assert!(!text.contains("kind: Secret"), "{}", path.display());
    }
    images.sort();
    images.dedup();
    let ours = format!("headwater:{version}");
    assert_eq!(images, ["haproxy:2.6", "headwater-etcd:3.4", &ours]);
}
