//! The systemd unit: its command with its variables and credentials, as a user that comes and goes.

use std::collections::BTreeMap;
use std::path::Path;

use super::confined;
use super::container::{Access, Mount, directory_of, write};
use super::traffic::{PATH, PUSH_TOKEN, READ_TOKEN, get, working_copy};
use super::{UNIT, read};
use crate::fixture::{Cluster, eventually};
use crate::recipes::{Port, Program};

/// One of the numbers that systemd gives such users.
const USER: u32 = 61234;
/// What `%S` and `%d` stand for.
const STATE: &str = "/var/lib";
const CREDENTIALS: &str = "/run/credentials/headwater.service";

/// The directives of `[Service]`, in order.
fn directives() -> Vec<(String, String)> {
    let text = read(UNIT);
    let (_, service) = text.split_once("[Service]\n").unwrap();
    let lines = service.split("\n[").next().unwrap().lines();
    let pairs = lines.filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn of<'a>(directives: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    let found = directives.iter().filter(|(known, _)| known == name);
    found.map(|(_, value)| value.as_str()).collect()
}

fn pair(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').expect("a variable");
    (name.to_owned(), value.to_owned())
}

/// As systemd makes them: of the environment file, then of the unit.
fn variables(directives: &[(String, String)]) -> BTreeMap<String, String> {
    let files = of(directives, "EnvironmentFile");
    assert_eq!(files, ["/etc/headwater/headwater.env"]);
    let file = read("deploy/systemd/headwater.env");
    let lines = file.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let own = of(directives, "Environment").into_iter().map(|text| {
        let (name, value) = pair(text);
        (name, value.replace("%S", STATE).replace("%d", CREDENTIALS))
    });
    lines.map(pair).chain(own).collect()
}

/// What is there of the machine: the settings that the page has people make, state and credentials.
fn mounts(directives: &[(String, String)], place: &Path) -> Vec<Mount> {
    let state = of(directives, "StateDirectory");
    let private = place.join("state");
    directory_of(&private, USER, USER, 0o700);
    let mut mounts = vec![Mount {
        from: private,
        to: format!("{STATE}/private/{}", state[0]),
        access: Access::Write,
    }];
    let seed = place.join("seed");
    write(&seed.join("application.yml"), "shop:\n  name: An example\n", 0o644);
    mounts.push(Mount { from: seed, to: "/etc/headwater/seed".to_owned(), access: Access::Read });
    for (name, token) in [("read-token", READ_TOKEN), ("push-token", PUSH_TOKEN)] {
        let loaded = format!("{name}:/etc/headwater/{name}");
        assert!(of(directives, "LoadCredential").contains(&loaded.as_str()), "{loaded}");
        let from = place.join(name);
        write(&from, token, 0o400);
        std::os::unix::fs::chown(&from, Some(USER), Some(USER)).unwrap();
        mounts.push(Mount { from, to: format!("{CREDENTIALS}/{name}"), access: Access::Read });
    }
    mounts
}

#[test]
fn the_unit_runs_as_a_user_who_can_write_its_state_directory_alone() {
    if !confined::can_be() {
        return;
    }
    let directives = directives();
    assert_eq!(of(&directives, "DynamicUser"), ["yes"]);
    assert_eq!(of(&directives, "ProtectSystem"), ["strict"]);
    let (cluster, place, port) = (Cluster::shared(), tempfile::tempdir().unwrap(), Port::reserve());
    let mut command = confined::command(place.path(), USER, &mounts(&directives, place.path()));
    let state = of(&directives, "StateDirectory")[0];
    // For such a user systemd leaves a symbolic link where the state directory would be.
    command.env("LINKS", format!("{STATE}/{state} private/{state}"));
    command.envs(variables(&directives));
    command.env("HEADWATER_LISTEN", port.address.0.to_string());
    command.env("HEADWATER_SHARE", cluster.uri("unit"));
    command.args(of(&directives, "ExecStart")[0].split(' '));
    let server = Program::spawn(command);
    eventually("it is ready", || {
        assert!(!server.err().contains("headwater: "), "{}", server.err());
        std::net::TcpStream::connect(port.address.0).is_ok()
            && port.address.get("/readyz").status == 200
    });
    port.address.get(PATH).expect(401);
    get(port.address, PATH).expect(200);
    let clones = tempfile::tempdir().unwrap();
    let tree = working_copy(port.address, clones.path());
    let revision = tree.commit("//- product-prod.yml\ncatalogue.discount-percent: 35\n");
    tree.push(&["HEAD:main"]).succeeds();
    assert_eq!(get(port.address, PATH).json()["version"], *revision);
    let (ended, log) = server.stop();
    assert!(ended.success(), "{ended} {log}");
}
