//! Every fault that a server can know of is told in every way: in the log once when it begins and once when it ends, in
//! health, in the metrics, in `/-/problems`, and by `headwater status`. Each with the real component.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use headwater::faults::FaultKind;

use crate::fixture::{Child, Cluster, Repository, command, directory, eventually};

/// How long a replica counts as live that is not heard of.
const LEASE: Duration = Duration::from_secs(10);
/// How long `headwater status` has patience with a source that is elsewhere.
const STATUS_PATIENCE: Duration = Duration::from_secs(30);

/// What `headwater status` says of a server: its exit code and its output.
fn status(server: &Child) -> (Option<i32>, String) {
    let place = directory("");
    let mut command = command(place.path());
    let output = command
        .args(["status", "--url", &format!("http://{}", server.0)])
        .output()
        .expect("the binary starts");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn faults_in_health(server: &Child, kind: FaultKind) -> usize {
    let health = server.get("/actuator/health").json();
    let faults = health["components"]["configServer"]["details"]["faults"].clone();
    let faults = faults.as_array().expect("faults").clone();
    faults.iter().filter(|fault| fault["kind"] == kind.name()).count()
}

fn faults_in_problems(server: &Child, kind: FaultKind) -> usize {
    let problems = server.get("/-/problems").expect(200).json();
    let problems = problems["problems"].as_array().expect("problems").clone();
    problems.iter().filter(|problem| problem["kind"] == kind.name()).count()
}

fn metric(server: &Child, kind: FaultKind) -> u64 {
    let text = server.get("/metrics").expect(200).text();
    let line = format!("headwater_faults{{kind=\"{}\"}} ", kind.name());
    let count = text.lines().find_map(|known| known.strip_prefix(&line));
    count.expect("a figure").parse().expect("a number")
}

/// How many lines of the log have a message.
fn logged(server: &Child, message: &str) -> usize {
    server.log().matches(&format!("\"message\":\"{message}\"")).count()
}

/// A fault as its lines in the log and its finding show it.
struct Shown<'a> {
    kind: FaultKind,
    begins: &'a str,
    ends: String,
    finding: &'a str,
}

impl<'a> Shown<'a> {
    /// A fault that the list of faults logs.
    fn new(kind: FaultKind, finding: &'a str) -> Shown<'a> {
        Self { kind, begins: kind.summary(), ends: format!("over: {}", kind.summary()), finding }
    }

    /// Waits until it is told in every way.
    #[track_caller]
    fn begins(&self, server: &Child) {
        let Self { kind, begins, finding, .. } = self;
        let name = kind.name();
        eventually(&format!("health tells {name}"), || faults_in_health(server, *kind) > 0);
        assert!(metric(server, *kind) > 0, "{name}");
        assert!(faults_in_problems(server, *kind) > 0, "{name}");
        let mut said = (None, String::new());
        eventually(&format!("status tells {name}"), || {
            said = status(server);
            said.0 == Some(1)
        });
        assert!(said.1.contains(finding), "{name}: {}", said.1);
        // etcd is probed now and then: the line may come after what the first failed request reports.
        eventually(&format!("the log has {begins:?}"), || logged(server, begins) == 1);
    }

    /// Waits until nothing tells it any more.
    #[track_caller]
    fn ends(&self, server: &Child) {
        let Self { kind, begins, ends, .. } = self;
        let name = kind.name();
        eventually(&format!("{name} is over"), || faults_in_health(server, *kind) == 0);
        assert_eq!((metric(server, *kind), faults_in_problems(server, *kind)), (0, 0), "{name}");
        let mut said = (None, String::new());
        eventually(&format!("status does not tell {name}"), || {
            said = status(server);
            said.0 == Some(0)
        });
        eventually("the log has it", || logged(server, ends) == 1);
        assert_eq!(logged(server, begins), 1, "{name}: {}", server.log());
    }
}

fn git(repository: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "safe.directory=*", "--git-dir"])
        .arg(repository)
        .args(arguments)
        .output()
        .expect("git runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// The file of a loose object.
fn loose(repository: &Path, object: &str) -> PathBuf {
    let id = git(repository, &["rev-parse", object]);
    repository.join("objects").join(&id[..2]).join(&id[2..])
}

/// Puts something else in place of a file; gives what puts the file back.
fn damage(path: &Path, damaged: Option<&[u8]>) -> impl FnOnce() + use<> {
    let (path, whole) = (path.to_owned(), fs::read(path).expect("the file"));
    fs::remove_file(&path).expect("removed");
    if let Some(damaged) = damaged {
        fs::write(&path, damaged).expect("written");
    }
    move || {
        // What is there may be damaged, or nothing.
        let _ = fs::remove_file(&path);
        fs::write(&path, whole).expect("written");
    }
}

const CONTENT: FaultKind = FaultKind::ContentUnreadable;

#[test]
fn a_lost_or_damaged_object_of_a_hosted_repository_is_told() {
    // What was read once is not read again, so that each round has a file of its own.
    let files: String = (1..=4).map(|it| format!("//- seed/orders-p{it}.yml\na: {it}\n")).collect();
    let place = directory(&format!("{files}//- seed/cart.yml\nb: 1\n//- seed/note.txt\nhello\n"));
    let path = |name: &str| place.path().join(name);
    let text = |name: &str| path(name).display().to_string();
    let server = Child::serve(&[
        "--source",
        "hosted:main",
        "--seed",
        &text("seed"),
        "--data",
        &text("data"),
    ]);
    let repository = path("data/hosted/main.git");
    for (round, damaged) in (1..).zip([None, Some(&b""[..]), Some(b"x\x9c"), Some(b"nonsense")]) {
        let file = loose(&repository, &format!("main:orders-p{round}.yml"));
        let restore = damage(&file, damaged);
        let asked = format!("/orders/p{round}");
        server.get(&asked).expect(503);
        server.get("/cart/dev").expect(200);
        let finding = format!("orders/p{round}: content cannot be read: git object");
        eventually("health tells it", || faults_in_health(&server, CONTENT) == 1);
        assert_eq!((metric(&server, CONTENT), faults_in_problems(&server, CONTENT)), (1, 1));
        let (code, said) = status(&server);
        assert!(code == Some(1) && said.contains(&finding), "{said}");
        for _ in 0..3 {
            server.get(&asked).expect(503);
        }
        assert_eq!(logged(&server, CONTENT.summary()), round, "{}", server.log());
        restore();
        // Nobody asks: the server looks by itself.
        eventually("it is over", || faults_in_health(&server, CONTENT) == 0);
        assert_eq!(status(&server).0, Some(0));
        server.get(&asked).expect(200);
        assert_eq!(logged(&server, "over: content cannot be read"), round, "{}", server.log());
    }
    // A text, too.
    let restore = damage(&loose(&repository, "main:note.txt"), None);
    server.get("/orders/dev/main/note.txt").expect(503);
    eventually("health tells it", || faults_in_health(&server, CONTENT) == 1);
    let (_, said) = status(&server);
    assert!(said.contains("note.txt for orders/dev of main: content cannot be read"), "{said}");
    restore();
    server.get("/orders/dev/main/note.txt").expect(200);
    assert_eq!(faults_in_health(&server, CONTENT), 0, "whoever reads it first ends it");
}

#[test]
fn a_damaged_pack_is_told() {
    let repository = Repository::new("//- orders.yml\na: 1\n//- cart.yml\nb: 1\n");
    git(&repository.path(), &["repack", "-adq"]);
    let server = Child::serve(&["--source", &repository.uri()]);
    server.get("/cart/dev").expect(200);
    let packs = repository.path().join("objects/pack");
    let pack = fs::read_dir(packs).unwrap().map(|entry| entry.unwrap().path());
    let pack =
        pack.into_iter().find(|path| path.extension().is_some_and(|it| it == "pack")).unwrap();
    let id = git(&repository.path(), &["rev-parse", "main:orders.yml"]);
    let listed = git(&repository.path(), &["verify-pack", "-v", &pack.display().to_string()]);
    let line = listed.lines().find(|line| line.starts_with(&id)).expect("the object");
    let field = |at: usize| line.split_whitespace().nth(at).unwrap().parse::<usize>().unwrap();
    let whole = fs::read(&pack).unwrap();
    // The server has the pack open: it is overwritten in place, all of the object but its header.
    let overwrite = |bytes: &[u8]| {
        use std::os::unix::fs::FileExt;
        let file = fs::OpenOptions::new().write(true).open(&pack).expect("the pack");
        file.write_all_at(bytes, 0).expect("written");
    };
    let mut damaged = whole.clone();
    damaged[field(4) + 1..field(4) + field(3)].fill(0xff);
    overwrite(&damaged);
    server.get("/orders/dev").expect(503);
    let shown = Shown::new(CONTENT, "orders/dev: content cannot be read: git object");
    shown.begins(&server);
    overwrite(&whole);
    shown.ends(&server);
    server.get("/orders/dev").expect(200);
}

#[test]
fn a_label_that_cannot_be_read_is_told() {
    let repository = Repository::new("//- orders.yml\na: 1\n");
    let restore = damage(&loose(&repository.path(), "main"), None);
    let server = Child::serve(&["--source", &repository.uri()]);
    server.get("/orders/dev").expect(503);
    let shown =
        Shown::new(FaultKind::SourceUnreadable, "the default label: a label cannot be read");
    shown.begins(&server);
    restore();
    shown.ends(&server);
    server.get("/orders/dev").expect(200);
}

#[test]
fn a_directory_that_is_taken_away_is_told() {
    let place = directory("//- config/orders.yml\na: 1\n");
    let path = place.path().join("config");
    let server = Child::serve(&["--source", &path.display().to_string()]);
    server.get("/orders/dev").expect(200);
    fs::rename(&path, place.path().join("away")).unwrap();
    let shown = Shown {
        kind: FaultKind::SourceUnreadable,
        begins: "serving the last revision",
        ends: "source is back".to_owned(),
        finding: "the default label: a label cannot be read",
    };
    shown.begins(&server);
    server.get("/orders/dev").expect(200);
    fs::rename(place.path().join("away"), &path).unwrap();
    shown.ends(&server);
}

#[test]
fn a_remote_that_was_never_reached_is_told() {
    let place = directory("");
    let data = place.path().join("data").display().to_string();
    let server = Child::serve(&["--source", "http://127.0.0.1:1/config.git", "--data", &data]);
    let shown = Shown {
        kind: FaultKind::RemoteUnreachable,
        begins: "the remote cannot be fetched, and there is no copy of it yet",
        ends: "the remote can be fetched again".to_owned(),
        finding: "has never reached http://127.0.0.1:1/config.git",
    };
    shown.begins(&server);
}

/// Switches authentication on or off, as an administrator does while everything runs.
fn authenticate(cluster: &Cluster, is_on: bool) {
    let options = etcd_client::ConnectOptions::new().with_user("root", "secret");
    let url = format!("http://{}", cluster.address(0));
    let mut client = cluster.client();
    cluster.on(async move {
        if is_on {
            client.user_add("root", "secret", None).await.expect("a user");
            client.role_add("root").await.expect("a role");
            client.user_grant_role("root", "root").await.expect("granted");
            client.auth_enable().await.expect("switched on");
        } else {
            let client = etcd_client::Client::connect([url], Some(options)).await;
            client.expect("a client").auth_disable().await.expect("switched off");
        }
    });
}

#[test]
fn authentication_that_etcd_is_given_at_run_time_is_told() {
    let cluster = Cluster::start(1);
    cluster.put("shop/v1/files/main/orders.yml", b"a: 1\n");
    let server = Child::serve(&[
        "--source",
        &cluster.uri("shop"),
        "--share",
        &cluster.uri("replicas"),
        "--replica",
        "one",
    ]);
    eventually("it serves", || server.get("/orders/dev").status == 200);
    assert_eq!(status(&server).0, Some(0));
    authenticate(&cluster, true);
    let shared = Shown {
        kind: FaultKind::ShareUnreachable,
        begins: "the list of replicas cannot be read from etcd and may be outdated",
        ends: "the list of replicas is read from etcd again".to_owned(),
        finding: "etcd has been unreachable from the server that answered",
    };
    let remote = Shown {
        kind: FaultKind::RemoteUnreachable,
        begins: "etcd is unreachable, its last state is served",
        ends: "etcd is reachable again".to_owned(),
        finding: "has not reached etcd:shop",
    };
    shared.begins(&server);
    server.get("/orders/dev").expect(200);
    let begun = Instant::now();
    while !status(&server).1.contains(remote.finding) {
        assert!(begun.elapsed() < 2 * STATUS_PATIENCE, "{}", status(&server).1);
        std::thread::sleep(Duration::from_millis(500));
    }
    remote.begins(&server);
    authenticate(&cluster, false);
    shared.ends(&server);
    remote.ends(&server);
}

#[test]
fn what_is_wrong_in_a_source_is_told() {
    let cluster = Cluster::start(1);
    cluster.put("shop/v1/files/main/orders.yml", b"a: 1\n");
    let server = Child::serve(&["--source", &cluster.uri("shop")]);
    eventually("it serves", || server.get("/orders/dev").status == 200);
    cluster.put("shop/v1/nonsense", b"");
    let shown = Shown {
        kind: FaultKind::SourceProblem,
        begins: "keys in etcd cannot be used",
        ends: "the keys in etcd are in order again".to_owned(),
        finding: "etcd:shop: ",
    };
    shown.begins(&server);
    cluster.delete("shop/v1/nonsense");
    shown.ends(&server);
}

#[test]
fn a_file_that_does_not_parse_is_told() {
    let repository = Repository::new("//- orders.yml\na: 1\n");
    let server = Child::serve(&["--source", &repository.uri()]);
    server.get("/orders/dev").expect(200);
    repository.commit("//- orders.yml\na: [\n");
    eventually("health tells it", || {
        server.get("/actuator/health").text().contains("\"heldBack\":1")
    });
    let (code, said) = status(&server);
    assert!(code == Some(1) && said.contains("orders/dev is held back: orders.yml:"), "{said}");
    assert!(server.get("/metrics").text().contains("headwater_held_back 1\n"));
    assert!(server.get("/-/problems").text().contains("\"kind\":\"held-back\""));
    repository.commit("//- orders.yml\na: 2\n");
    eventually("status does not tell it", || status(&server).0 == Some(0));
    for message in ["a file cannot be used", "a file can be used again"] {
        assert_eq!(logged(&server, message), 1, "{message}: {}", server.log());
    }
}

/// A replica that can be killed.
fn replica(cluster: &Cluster, name: &str, source: &Path, listen: &str) -> Child {
    let (share, source) = (cluster.uri("replicas"), source.display().to_string());
    Child::serve(&["--source", &source, "--share", &share, "--replica", name, "--listen", listen])
}

#[test]
fn a_replica_that_is_gone_is_told_until_it_is_back() {
    let cluster = Cluster::start(1);
    let place = directory("//- orders.yml\na: 1\n");
    let server = replica(&cluster, "one", place.path(), "127.0.0.1:0");
    let killed = replica(&cluster, "two", place.path(), "127.0.0.1:0");
    let address = killed.0.to_string();
    eventually("they see each other", || status(&server).1.contains("two"));
    drop(killed);
    let shown = Shown::new(FaultKind::ReplicaGone, "two is gone");
    shown.begins(&server);
    let _again = replica(&cluster, "two", place.path(), &address);
    shown.ends(&server);
}

#[test]
fn two_live_replicas_with_one_name_are_told() {
    let cluster = Cluster::start(1);
    let place = directory("//- orders.yml\na: 1\n");
    let first = replica(&cluster, "one", place.path(), "127.0.0.1:0");
    let second = replica(&cluster, "one", place.path(), "127.0.0.1:0");
    let begun = Instant::now();
    let shown =
        Shown::new(FaultKind::ReplicaNamesake, "2 live replicas have the name one: http://");
    shown.begins(&first);
    shown.begins(&second);
    assert!(begun.elapsed() >= LEASE, "one that was killed may still be listed");
    assert_eq!(second.stop().0.code(), Some(0));
    shown.ends(&first);
}

#[test]
fn a_git_that_cannot_be_run_is_told() {
    let place = directory("//- seed/orders.yml\na: 1\n");
    let path = |name: &str| place.path().join(name);
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap())
        .map(|directory| directory.join("git"))
        .find(|path| path.is_file())
        .unwrap();
    fs::create_dir(path("bin")).unwrap();
    std::os::unix::fs::symlink(&found, path("bin/git")).unwrap();
    let text = |name: &str| path(name).display().to_string();
    let server = Child::serve_with(
        &["--source", "hosted:main", "--seed", &text("seed"), "--data", &text("data")],
        &[("PATH", &text("bin"))],
    );
    fs::rename(path("bin/git"), path("bin/away")).unwrap();
    let refs = "/-/git/main.git/info/refs?service=git-upload-pack";
    server.get(refs).expect(500);
    let shown = Shown::new(FaultKind::GitUnavailable, "git: git cannot be run");
    shown.begins(&server);
    server.get("/orders/dev").expect(200);
    fs::rename(path("bin/away"), path("bin/git")).unwrap();
    shown.ends(&server);
    server.get(refs).expect(200);
}

#[test]
fn files_that_run_out_are_told() {
    let repository = Repository::new("//- orders.yml\na: 1\n");
    let server = Child::serve(&["--source", &repository.uri(), "--workers", "1"]);
    server.get("/orders/dev").expect(200);
    let limit = 200;
    let limited = Command::new("prlimit")
        .args(["--pid", &server.id().to_string(), &format!("--nofile={limit}:{limit}")])
        .status();
    assert!(limited.expect("prlimit").success());
    let open = || fs::read_dir(format!("/proc/{}/fd", server.id())).unwrap().count();
    let wanted = limit - 15;
    let connect = |_| {
        let mut stream = server.connect();
        // One that asks for nothing is closed soon.
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        stream
    };
    let connections: Vec<_> = (open()..wanted).map(connect).collect();
    eventually("all connections are open", || open() >= wanted);
    let shown =
        Shown::new(FaultKind::OpenFilesExhausted, "nearly all files that the process may open");
    shown.begins(&server);
    drop(connections);
    shown.ends(&server);
}

/// What is written into a full disk by hand is in `durability`; there the room is made again, too.
#[track_caller]
pub(crate) fn pushes_are_not_durable(server: &Child) {
    Shown::new(FaultKind::PushNotDurable, "main: pushes cannot be made durable").begins(server);
}

#[track_caller]
pub(crate) fn pushes_are_durable_again(server: &Child) {
    Shown::new(FaultKind::PushNotDurable, "").ends(server);
}
