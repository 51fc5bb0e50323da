//! Remotes that are reached by ssh: the real `sshd`, on a loopback port, with keys of its own.

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::{Home, comes, failed, remote};
use crate::fixture::{Repository, eventually};

/// Where Debian has it; it has to be called by its full path.
const SSHD: &str = "/usr/sbin/sshd";

/// An ssh server for the user that runs the tests.
struct Sshd {
    place: TempDir,
    port: u16,
    process: Child,
}

impl Sshd {
    fn start() -> Self {
        assert!(
            Path::new(SSHD).exists(),
            "{SSHD} is missing: run scripts/install-test-deps.sh once"
        );
        let place = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| place.path().join(name);
        for name in ["host", "client", "stranger"] {
            make_key(&at(name));
        }
        std::fs::copy(at("client.pub"), at("authorized")).expect("copied");
        let mut sshd = None;
        // A port that was free a moment ago may be taken now.
        for _ in 0..5 {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let port = listener.local_addr().expect("an address").port();
            drop(listener);
            let mut process = serve(place.path(), port);
            let mut has_ended = false;
            eventually("sshd listens or ends", || {
                has_ended = process.try_wait().expect("its state").is_some();
                has_ended || TcpStream::connect(("127.0.0.1", port)).is_ok()
            });
            if !has_ended {
                sshd = Some((port, process));
                break;
            }
        }
        let (port, process) = sshd.expect("sshd starts");
        Self { place, port, process }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Settings for a repository, with a key and with the host keys that are trusted.
    fn home(&self, repository: &Repository, key: &str, known: &str) -> Home {
        let public =
            std::fs::read_to_string(self.path(known).with_extension("pub")).expect("a key");
        let home = Home::new(&format!(
            "[[source]]\nuri = \"ssh://{}@127.0.0.1:{}{}\"\npoll_seconds = 1\n\
             ssh_key_file = \"{}\"\nknown_hosts_file = \"{{place}}/known hosts\"\n",
            user(),
            self.port,
            repository.uri(),
            self.path(key).display(),
        ));
        home.write("known hosts", &format!("[127.0.0.1]:{} {public}", self.port));
        home
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, and need not be.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn make_key(path: &Path) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
        .arg(path)
        .status();
    assert!(made.expect("ssh-keygen runs").success());
}

fn serve(place: &Path, port: u16) -> Child {
    // It gives up its rights in here where it is started with those of root.
    if is_root() {
        std::fs::create_dir_all("/run/sshd").expect("a directory");
    }
    let at = |name: &str| place.join(name).display().to_string();
    let settings = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
         StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         PermitRootLogin prohibit-password\n",
        at("host"),
        at("authorized")
    );
    std::fs::write(place.join("sshd_config"), settings).expect("written");
    Command::new(SSHD)
        .args(["-D", "-e", "-f"])
        .arg(place.join("sshd_config"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sshd starts")
}

fn is_root() -> bool {
    output("id", "-u") == "0"
}

fn user() -> String {
    output("id", "-un")
}

fn output(program: &str, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output().expect("it runs");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

#[test]
fn a_remote_is_reached_by_ssh_with_a_key_and_a_host_that_is_known() {
    let sshd = Sshd::start();
    let repository = Repository::new("//- orders.yml\na: 1\n");
    let home = sshd.home(&repository, "client", "host");
    let server = home.serve();
    comes(&server, "/orders/dev", "a", "1");
    repository.commit("//- orders.yml\na: 2\n");
    comes(&server, "/orders/dev", "a", "2");

    for (key, known, message) in [
        ("stranger", "host", "the remote refuses the credentials"),
        ("client", "stranger", "the host key of the remote is not in known_hosts_file"),
    ] {
        let home = sshd.home(&repository, key, known);
        let server = home.serve();
        eventually("it is said", || !remote(&server)["error"].is_null());
        assert!(failed(&server, message), "{}", remote(&server)["error"]);
        server.get("/orders/dev").expect(503);
    }

    std::fs::set_permissions(sshd.path("client"), std::fs::Permissions::from_mode(0o644))
        .expect("allowed");
    let home = sshd.home(&repository, "client", "host");
    let server = home.serve();
    eventually("it is said", || {
        remote(&server)["error"]
            .as_str()
            .is_some_and(|error| error.contains("ssh_key_file may be read by others"))
    });
}
