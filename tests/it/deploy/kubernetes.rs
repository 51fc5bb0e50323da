//! The manifests, started as they say.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::os::unix::fs::chown;
use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use super::confined;
use super::container::{Access, Container, Image, Mount, USER, directory_of, write};
use super::traffic::{PATH, PUSH_TOKEN, READ_TOKEN, get, working_copy};
use super::validators::manifests;
use super::wiring::Wiring;
use crate::fixture::{Address, eventually};
use crate::recipes::Program;

/// What the server gives requests under way when it is told to stop.
const DRAIN_SECONDS: u64 = 10;

/// The objects, and where their pods are on this machine.
struct Manifests {
    objects: Vec<Value>,
    wiring: Wiring,
    place: TempDir,
}

impl Manifests {
    fn read() -> Option<Self> {
        let objects = manifests()?;
        let mut places = Vec::new();
        for ordinal in 0..3 {
            places.push(format!("headwater-{ordinal}:8888"));
            places.extend(
                [2379, 2380].map(|port| format!("headwater-etcd-{ordinal}.headwater-etcd:{port}")),
            );
        }
        let places: Vec<&str> = places.iter().map(String::as_str).collect();
        Some(Self { objects, wiring: Wiring::of(&places), place: tempfile::tempdir().unwrap() })
    }

    fn find(&self, kind: &str, name: &str) -> &Value {
        let mut found = self
            .objects
            .iter()
            .filter(|object| object["kind"] == kind && object["metadata"]["name"] == name);
        found.next().unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    fn pod<'a>(&'a self, set: &'a str, ordinal: usize) -> Pod<'a> {
        let template = &self.find("StatefulSet", set)["spec"]["template"]["spec"];
        Pod { manifests: self, set, ordinal, template }
    }

    /// What one `item` of a ConfigMap says, as it has to be said here.
    fn configuration(&self, name: &str, key: &str) -> String {
        let text = self.find("ConfigMap", name)["data"][key].as_str().expect("a text");
        self.wiring.here(text)
    }
}

/// One pod of a set.
struct Pod<'a> {
    manifests: &'a Manifests,
    set: &'a str,
    ordinal: usize,
    template: &'a Value,
}

impl Pod<'_> {
    fn name(&self) -> String {
        format!("{}-{}", self.set, self.ordinal)
    }

    /// As others find it.
    fn host(&self) -> String {
        match self.set {
            "headwater" => self.name(),
            set => format!("{}.{set}", self.name()),
        }
    }

    fn place(&self) -> PathBuf {
        self.manifests.place.path().join(self.name())
    }

    fn container(&self) -> &Value {
        &self.template["containers"][0]
    }

    /// Where one of its ports is, by the name that probes use.
    fn address(&self, port: &Value) -> Address {
        let ports = self.container()["ports"].as_array().expect("ports");
        let found = ports.iter().find(|known| known["name"] == *port).expect("the port");
        self.manifests.wiring.address(&format!("{}:{}", self.host(), found["containerPort"]))
    }

    /// Whether a probe succeeds.
    fn probe(&self, kind: &str) -> bool {
        let probe = &self.container()[kind];
        if let Some(port) = probe["tcpSocket"].get("port") {
            return TcpStream::connect(self.address(port).0).is_ok();
        }
        let asked = &probe["httpGet"];
        let address = self.address(&asked["port"]);
        if TcpStream::connect(address.0).is_err() {
            return false;
        }
        let status = address.get(asked["path"].as_str().expect("a path")).status;
        (200..400).contains(&status)
    }

    /// The variables as the kubelet fills them in: in order, each may use those before.
    fn variables(&self) -> BTreeMap<String, String> {
        let mut variables = BTreeMap::<String, String>::new();
        for variable in self.container()["env"].as_array().expect("variables") {
            let mut value = match variable["value"].as_str() {
                Some(value) => value.to_owned(),
                None => {
                    assert_eq!(variable["valueFrom"]["fieldRef"]["fieldPath"], "metadata.name");
                    self.name()
                }
            };
            for (name, known) in &variables {
                value = value.replace(&format!("$({name})"), known);
            }
            variables.insert(variable["name"].as_str().unwrap().to_owned(), value);
        }
        variables
    }

    /// What a volume has in it: a claim that belongs to the group of the pod, texts, tokens that its group may read.
    fn lay_out(&self, volume: &str) -> PathBuf {
        let path = self.place().join("volumes").join(volume);
        let volumes = self.template["volumes"].as_array().cloned().unwrap_or_default();
        let Some(found) = volumes.iter().find(|known| known["name"] == volume) else {
            let group = &self.template["securityContext"]["fsGroup"];
            directory_of(&path, 0, u32::try_from(group.as_u64().unwrap()).unwrap(), 0o2775);
            return path;
        };
        if let Some(map) = found.get("configMap") {
            for item in map["items"].as_array().expect("items") {
                let (key, name) = (item["key"].as_str().unwrap(), item["path"].as_str().unwrap());
                let text = self.manifests.configuration(map["name"].as_str().unwrap(), key);
                write(&path.join(name), &text, 0o644);
            }
        } else {
            let mode = found["secret"]["defaultMode"].as_u64().expect("a mode");
            for (name, token) in [("read-token", READ_TOKEN), ("push-token", PUSH_TOKEN)] {
                let file = path.join(name);
                write(&file, token, u32::try_from(mode).unwrap());
                chown(&file, Some(0), Some(USER)).unwrap();
            }
        }
        path
    }

    fn mounts(&self) -> Vec<Mount> {
        let mounts = self.container()["volumeMounts"].as_array().expect("mounts");
        let mount = |mount: &Value| {
            let mut from = self.lay_out(mount["name"].as_str().unwrap());
            if let Some(below) = mount["subPath"].as_str() {
                from = from.join(below);
            }
            let access = match mount["readOnly"].as_bool() {
                Some(true) => Access::Read,
                _ => Access::Write,
            };
            Mount { from, to: mount["mountPath"].as_str().unwrap().to_owned(), access }
        };
        mounts.iter().map(mount).collect()
    }

    fn start(&self) -> Program {
        let context = &self.template["securityContext"];
        assert_eq!(context["runAsUser"], USER);
        assert_eq!(context["runAsGroup"], USER);
        let arguments = self.container()["args"].as_array().cloned().unwrap_or_default();
        let container = Container {
            host: self.host(),
            image: Image::of(self.container()["image"].as_str().unwrap()),
            arguments: arguments.iter().map(|word| word.as_str().unwrap().to_owned()).collect(),
            variables: self.variables(),
            mounts: self.mounts(),
        };
        container.start_confined(&self.manifests.wiring, &self.place())
    }
}

#[test]
fn pods_are_given_the_time_that_they_take_to_end() {
    let Some(manifests) = Manifests::read() else { return };
    let server = super::read("src/server.rs");
    assert!(server.contains(&format!("SHUTDOWN_MAX_SECONDS: u64 = {DRAIN_SECONDS};")));
    let pod = manifests.pod("headwater", 0);
    let pause = &pod.container()["lifecycle"]["preStop"]["exec"]["command"];
    assert_eq!(pause[0], "sleep");
    let pause: u64 = pause[1].as_str().unwrap().parse().unwrap();
    // Long enough for two probes to fail, if nobody else says that it ends.
    let probe = &pod.container()["readinessProbe"];
    let noticed =
        probe["periodSeconds"].as_u64().unwrap() * probe["failureThreshold"].as_u64().unwrap();
    assert!(pause >= noticed, "{pause} {noticed}");
    let grace = pod.template["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(pause + DRAIN_SECONDS < grace, "{pause} {grace}");
}

#[test]
fn services_budgets_and_policies_mean_the_pods_that_there_are() {
    let Some(manifests) = Manifests::read() else { return };
    for set in ["headwater", "headwater-etcd"] {
        let labels = &manifests.find("StatefulSet", set)["spec"]["template"]["metadata"]["labels"];
        let service = &manifests.find("StatefulSet", set)["spec"]["serviceName"];
        for service in [set, service.as_str().unwrap()] {
            assert_eq!(manifests.find("Service", service)["spec"]["selector"], *labels);
        }
        let budget = &manifests.find("PodDisruptionBudget", set)["spec"];
        assert_eq!(budget["selector"]["matchLabels"], *labels);
        assert_eq!(budget["maxUnavailable"], 1);
        let spread = manifests.pod(set, 0).template["topologySpreadConstraints"].clone();
        for constraint in spread.as_array().unwrap() {
            assert_eq!(constraint["labelSelector"]["matchLabels"], *labels);
        }
    }
}

#[test]
fn pods_are_probed_as_they_come_and_as_etcd_goes() {
    if !confined::can_be() {
        return;
    }
    let Some(manifests) = Manifests::read() else { return };
    let replica = manifests.pod("headwater", 0);
    let running = replica.start();
    eventually("the replica is started", || replica.probe("startupProbe"));
    assert!(replica.probe("livenessProbe"));
    assert!(!replica.probe("readinessProbe"), "there is nothing to serve");

    let members = [0, 1, 2].map(|ordinal| manifests.pod("headwater-etcd", ordinal));
    let mut etcd: Vec<Program> = members.iter().map(Pod::start).collect();
    for member in &members {
        eventually("etcd is ready", || member.probe("readinessProbe"));
        assert!(member.probe("livenessProbe"));
    }
    eventually("the replica is ready", || replica.probe("readinessProbe"));
    let address = replica.address(&"http".into());
    get(address, PATH).expect(200);

    // Nothing but its volume can be written, and it takes a push.
    let clones = tempfile::tempdir().unwrap();
    let tree = working_copy(address, clones.path());
    let revision = tree.commit("//- product-prod.yml\ncatalogue.discount-percent: 35\n");
    tree.push(&["HEAD:main"]).succeeds();
    assert_eq!(get(address, PATH).json()["version"], *revision);
    let another = manifests.pod("headwater", 1);
    let _another = another.start();
    eventually("another replica is ready", || another.probe("readinessProbe"));
    let beside = another.address(&"http".into());
    eventually("it has what was pushed", || get(beside, PATH).json()["version"] == *revision);

    // A member without the others is alive and not ready; replicas go on.
    etcd.truncate(1);
    eventually("etcd is not ready", || !members[0].probe("readinessProbe"));
    assert!(members[0].probe("livenessProbe"));
    drop(etcd);
    for pod in [&replica, &another] {
        assert!(pod.probe("readinessProbe") && pod.probe("livenessProbe"));
    }
    get(address, PATH).expect(200);
    let (ended, log) = running.stop();
    assert!(ended.success(), "{ended} {log}");
}
