//! The compose file, started as it says.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::Value;
use tempfile::TempDir;

use super::container::{Access, Container, Image, Mount, write};
use super::traffic::{PATH, PUSH_TOKEN, READ_TOKEN, Stream, ask_anew, ask_on, get, working_copy};
use super::validators::compose_project;
use super::wiring::Wiring;
use crate::documentation::root;
use crate::fixture::{Address, Until, eventually};
use crate::recipes::Program;

const MEMBERS: [&str; 3] = ["etcd-1", "etcd-2", "etcd-3"];
const REPLICAS: [&str; 3] = ["headwater-1", "headwater-2", "headwater-3"];

/// How many may watch from one address in the test, in place of thousands.
const WATCHERS_PER_CLIENT_MAX: usize = 2;
/// More than any buffer on the way holds.
const LARGE_FILE_BYTES: usize = 3 * 1024 * 1024;

/// The project, with each service as a process.
struct Fleet {
    project: Value,
    wiring: Wiring,
    running: BTreeMap<String, Program>,
    place: TempDir,
}

impl Fleet {
    fn of(project: Value) -> Self {
        let mut places = vec!["haproxy:8888".to_owned(), "haproxy:8404".to_owned()];
        for member in MEMBERS {
            places.extend([format!("{member}:2379"), format!("{member}:2380")]);
        }
        places.extend(REPLICAS.map(|replica| format!("{replica}:8888")));
        let places: Vec<&str> = places.iter().map(String::as_str).collect();
        let fleet = Self {
            project,
            wiring: Wiring::of(&places),
            running: BTreeMap::new(),
            place: tempfile::tempdir().unwrap(),
        };
        for (name, text) in [("read-token", READ_TOKEN), ("push-token", PUSH_TOKEN)] {
            write(&fleet.path("secrets", name), text, 0o600);
        }
        fleet
    }

    fn path(&self, directory: &str, name: &str) -> PathBuf {
        self.place.path().join(directory).join(name)
    }

    fn address(&self, place: &str) -> Address {
        self.wiring.address(place)
    }

    /// A file of the project with what it says of this network said of this machine. Each service has its own, for others
    /// may be reading theirs already.
    fn configuration(&self, service: &str, name: &str) -> PathBuf {
        let file = self.project["configs"][name]["file"].as_str().expect("a file");
        let mut text = self.wiring.here(&std::fs::read_to_string(file).unwrap());
        let subnet = &self.project["networks"]["fleet"]["ipam"]["config"][0]["subnet"];
        for (old, new) in [
            (subnet.as_str().unwrap(), "127.0.0.1/32".to_owned()),
            ("bind :8888", format!("bind {}", self.address("haproxy:8888").0)),
            ("bind :8404", format!("bind {}", self.address("haproxy:8404").0)),
            (
                "watchers_per_client_max = 2000",
                format!("watchers_per_client_max = {WATCHERS_PER_CLIENT_MAX}"),
            ),
        ] {
            text = text.replace(old, &new);
        }
        let path = self.path(&format!("configs/{service}"), name);
        write(&path, &text, 0o644);
        path
    }

    /// What is mounted into a service.
    fn mounts(&self, name: &str, service: &Value) -> Vec<Mount> {
        let list = |key: &str| service[key].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let mut mounts = Vec::new();
        for volume in list("volumes") {
            let (from, access) = match volume["type"].as_str() {
                Some("volume") => (self.path("volumes", name), Access::Write),
                _ => (text(&volume["source"]).into(), Access::Read),
            };
            std::fs::create_dir_all(&from).unwrap();
            mounts.push(Mount { from, to: text(&volume["target"]), access });
        }
        for config in list("configs") {
            let from = self.configuration(name, &text(&config["source"]));
            mounts.push(Mount { from, to: text(&config["target"]), access: Access::Read });
        }
        for secret in list("secrets") {
            let source = text(&secret["source"]);
            let to = format!("/run/secrets/{source}");
            mounts.push(Mount { from: self.path("secrets", &source), to, access: Access::Read });
        }
        mounts
    }

    fn container(&self, name: &str) -> Container {
        let service = &self.project["services"][name];
        let words = service["command"].as_array().cloned().unwrap_or_default();
        let variables = service["environment"].as_object().cloned().unwrap_or_default();
        Container {
            host: name.to_owned(),
            image: Image::of(service["image"].as_str().unwrap()),
            arguments: words.iter().map(|word| word.as_str().unwrap().to_owned()).collect(),
            variables: variables
                .iter()
                .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
                .collect(),
            mounts: self.mounts(name, service),
        }
    }

    fn start(&mut self, name: &str) {
        let program = self.container(name).start(&self.wiring);
        self.running.insert(name.to_owned(), program);
    }

    /// As the image of HAProxy starts it.
    fn start_proxy(&mut self) {
        let mounts = self.mounts("haproxy", &self.project["services"]["haproxy"]);
        let mut command = Command::new("/usr/sbin/haproxy");
        command.args(["-W", "-db", "-f"]).arg(&mounts[0].from);
        self.running.insert("haproxy".to_owned(), Program::spawn(command));
        for place in ["haproxy:8888", "haproxy:8404"] {
            let address = self.address(place).0;
            eventually("HAProxy listens", || std::net::TcpStream::connect(address).is_ok());
        }
    }

    /// Tells one to stop, as `docker compose stop` does, and waits for it.
    #[track_caller]
    fn stop(&mut self, name: &str) {
        let (ended, log) = self.running.remove(name).expect("it runs").stop();
        assert!(ended.success(), "{name}: {ended} {log}");
    }

    /// What HAProxy takes a replica for.
    fn state(&self, replica: &str) -> String {
        let rows = self.address("haproxy:8404").get("/;csv").expect(200).text();
        let row = rows.lines().map(|row| row.split(',').collect::<Vec<_>>());
        let mut row = row.filter(|row| row.starts_with(&["headwater", replica]));
        row.next().expect("a row")[17].to_owned()
    }

    /// What HAProxy has written, but for requests that went well.
    fn proxy_said(&self) -> Vec<String> {
        let said = self.running["haproxy"].out();
        let normal = |line: &&str| line.contains(" 200 ") && line.contains(" ---- ");
        said.lines().filter(|line| !normal(line)).map(str::to_owned).collect()
    }

    fn wait_for(&self, replica: &str, state: &str) {
        eventually(&format!("HAProxy takes {replica} for {state}"), || {
            self.state(replica).starts_with(state)
        });
    }
}

fn up() -> Option<Fleet> {
    let mut fleet = Fleet::of(compose_project()?);
    for name in MEMBERS.iter().chain(&REPLICAS) {
        fleet.start(name);
    }
    for name in MEMBERS.iter().chain(&REPLICAS) {
        eventually(&format!("{name} is healthy"), || is_healthy(&fleet, name));
    }
    fleet.start_proxy();
    for replica in REPLICAS {
        fleet.wait_for(replica, "UP");
    }
    Some(fleet)
}

/// The health checks of the files, as an engine runs them in the containers.
fn is_healthy(fleet: &Fleet, name: &str) -> bool {
    let service = &fleet.project["services"][name];
    let mut command = match service["healthcheck"]["test"].as_array() {
        Some(words) => {
            assert_eq!(words[0], "CMD");
            let words: Vec<&str> = words[1..].iter().map(|word| word.as_str().unwrap()).collect();
            let mut command = Command::new(words[0]);
            let endpoint = fleet.address(&format!("{name}:2379")).0.to_string();
            command.args(&words[1..]).env("ETCDCTL_ENDPOINTS", endpoint);
            command
        }
        // The image has one.
        None => {
            let mut command = Command::new(root().join("scripts/headwater-healthy"));
            let listen = fleet.address(&format!("{name}:8888")).0.to_string();
            command.env("HEADWATER_LISTEN", listen);
            command
        }
    };
    command.output().expect("the health check runs").status.success()
}

#[test]
fn a_composed_fleet_answers_through_haproxy_while_its_replicas_are_replaced() {
    let Some(mut fleet) = up() else { return };
    let entrance = fleet.address("haproxy:8888");
    entrance.get(PATH).expect(401);
    get(entrance, PATH).expect(200);
    let (over, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let failures = std::thread::scope(|scope| {
        let until = Until(&over);
        let (over, asked) = (&over, &asked);
        let clients = [
            scope.spawn(move || ask_on(entrance, over, asked)),
            scope.spawn(move || ask_on(entrance, over, asked)),
            scope.spawn(move || ask_anew(entrance, over, asked)),
        ];
        for replica in REPLICAS {
            fleet.stop(replica);
            fleet.wait_for(replica, "DOWN");
            assert!(!is_healthy(&fleet, replica));
            fleet.start(replica);
            fleet.wait_for(replica, "UP");
        }
        let so_far = asked.load(Ordering::Relaxed);
        eventually("they go on", || asked.load(Ordering::Relaxed) > so_far + 100);
        drop(until);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(failures, [""; 0], "of {}: {:#?}", asked.into_inner(), fleet.proxy_said());
}

#[test]
fn a_composed_fleet_takes_pushes_of_any_size_and_tells_who_watches() {
    let Some(fleet) = up() else { return };
    let entrance = fleet.address("haproxy:8888");
    let (status, mut stream) = Stream::open(entrance, Ipv4Addr::LOCALHOST);
    assert_eq!(status, 200);
    let place = tempfile::tempdir().unwrap();
    let tree = working_copy(entrance, place.path());
    large_file(&tree.path.join("large.bin"));
    let revision = tree.commit("//- product-prod.yml\ncatalogue.discount-percent: 35\n");
    tree.push(&["HEAD:main"]).succeeds();
    stream.says(&revision);
    for replica in REPLICAS {
        let address = fleet.address(&format!("{replica}:8888"));
        eventually("every replica serves it", || get(address, PATH).json()["version"] == *revision);
    }
}

/// As when its machine is gone: nobody is left to end the connection.
#[test]
fn a_stream_of_a_replica_that_says_nothing_more_is_cut() {
    let Some(fleet) = up() else { return };
    let entrance = fleet.address("haproxy:8888");
    let (_, mut stream) = Stream::open(entrance, Ipv4Addr::LOCALHOST);
    for replica in REPLICAS {
        fleet.running[replica].signal("STOP");
    }
    assert!(stream.ends());
    for replica in REPLICAS {
        fleet.running[replica].signal("CONT");
        fleet.wait_for(replica, "UP");
    }
    get(entrance, PATH).expect(200);
}

/// Bytes that nothing makes smaller.
fn large_file(path: &Path) {
    let bytes: Vec<u8> =
        std::iter::repeat_with(|| fastrand::u8(..)).take(LARGE_FILE_BYTES).collect();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn haproxy_says_whose_watchers_they_are_and_is_believed() {
    let Some(fleet) = up() else { return };
    let entrance = fleet.address("haproxy:8888");
    let (one, other) = (Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3));
    let mut open = Vec::new();
    let refused = std::iter::repeat_with(|| Stream::open(entrance, one))
        .take(REPLICAS.len() * WATCHERS_PER_CLIENT_MAX + 1)
        .find_map(|(status, stream)| {
            open.push(stream);
            (status != 200).then_some(status)
        });
    assert_eq!(refused, Some(429), "{:#?}", fleet.proxy_said());
    assert_eq!(Stream::open(entrance, other).0, 200);
}
