//! `headwater watch` as a person and as a script see it: the real binary, a real server, a real repository.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::{SHOP, refuses, run, type_in};
use crate::fixture::{
    Repository, Server, command, directory, eventually, group_exists, settings, signal,
    signal_group,
};

/// A command that goes on. Killed by its id when it is dropped.
pub(crate) struct Running {
    process: Child,
    out: Arc<Mutex<String>>,
    err: Arc<Mutex<String>>,
}

impl Running {
    fn start(place: &Path, server: &Server, arguments: &[&str]) -> Self {
        let urls = format!("http://{}", server.0);
        Self::with_urls(place, &urls, arguments)
    }

    fn with_urls(place: &Path, urls: &str, arguments: &[&str]) -> Self {
        let mut command = command(place);
        command.arg("watch").args(arguments).env("HEADWATER_URL", urls);
        Self::spawn(command)
    }

    /// In a process group of its own, all of which ends with it.
    pub(crate) fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut process = command.spawn().expect("the binary starts");
        let out = collect(process.stdout.take().unwrap());
        let err = collect(process.stderr.take().unwrap());
        Self { process, out, err }
    }

    pub(crate) fn out(&self) -> String {
        self.out.lock().unwrap().clone()
    }

    pub(crate) fn err(&self) -> String {
        self.err.lock().unwrap().clone()
    }

    pub(crate) fn says(&self, part: &str) {
        eventually(&format!("{part} in {} {}", self.out(), self.err()), || {
            self.out().contains(part)
        });
    }

    fn complains(&self, part: &str) {
        eventually(&format!("{part} in {}", self.err()), || self.err().contains(part));
    }

    /// The lines of JSON so far.
    fn events(&self) -> Vec<Value> {
        let out = self.out();
        let whole = out.rsplit_once('\n').map_or("", |(lines, _)| lines);
        whole.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// Waits for the end and gives the exit code.
    pub(crate) fn code(&mut self) -> Option<i32> {
        let mut ended = None;
        eventually("the command ends", || {
            ended = self.process.try_wait().unwrap();
            ended.is_some()
        });
        let status = ended.unwrap();
        assert_eq!(status.signal(), None, "{}", self.err());
        assert!(!self.err().contains("panicked"), "{}", self.err());
        status.code()
    }

    /// Sends TERM to all of it, so that `headwater run` ends its program too, and waits for the end.
    pub(crate) fn stop(mut self) {
        let group = self.process.id();
        signal_group("TERM", group).unwrap();
        eventually("the command ends", || {
            // The first process is one of the group until it is waited for.
            let _ = self.process.try_wait();
            !group_exists(group)
        });
    }

    fn tell(&self, name: &str) {
        signal(name, self.process.id()).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Who has ended already cannot be killed, and need not be.
        let _ = signal_group("KILL", self.process.id());
        let _ = self.process.wait();
    }
}

fn collect(from: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::<Mutex<String>>::default();
    let written = Arc::clone(&text);
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            written.lock().unwrap().push_str(&(line + "\n"));
        }
    });
    text
}

fn shop() -> (Repository, Server) {
    let repository = Repository::new(SHOP);
    let server = Server::start(&repository.uri());
    (repository, server)
}

/// A text without the times in it, which have a fixed length.
fn timeless(text: &str) -> String {
    let line = |line: &str| {
        if line.starts_with("20") {
            line["2026-01-02T03:04:05Z".len()..].trim().to_owned() + "\n"
        } else {
            line.to_owned() + "\n"
        }
    };
    text.lines().map(line).collect()
}

#[test]
fn people_see_which_keys_change_and_no_value() {
    let (repository, server) = shop();
    let watch = Running::start(repository.around(), &server, &["orders", "dev"]);
    watch.says("current, 3 keys");
    repository.commit("//- cart.yml\nof: others\n");
    let revision = repository.commit("//- orders-dev.yml\nport: 9090\npassword: hunter2\n");
    watch.says("  ~ port");
    let second = repository.commit("//- orders-dev.yml\nport: 9090\n//- application.yml\n");
    watch.says("  - shared");
    let shown = timeless(&watch.out());
    let lines: Vec<&str> = shown.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            format!("{}  1 key added, 1 key changed", &revision[..10]).as_str(),
            "  + password",
            "  ~ port",
            format!("{}  2 keys removed", &second[..10]).as_str(),
            "  - password",
            "  - shared",
        ]
    );
    assert_eq!(watch.err(), "");
}

#[test]
fn values_are_shown_to_those_who_ask_for_them() {
    let (repository, server) = shop();
    let watch = Running::start(repository.around(), &server, &["orders", "dev", "--values"]);
    watch.says("current");
    repository.commit("//- orders-dev.yml\nport: 9090\nurl: http://${shared}/\\e[31m\n");
    watch.says("~ port");
    assert!(watch.out().contains("  + url = http://${shared}/"), "{}", watch.out());
    assert!(watch.out().contains("  ~ port = 8081 -> 9090"), "{}", watch.out());
}

#[test]
fn programs_read_a_line_of_json_for_each_event() {
    let (repository, server) = shop();
    let arguments = ["orders", "dev", "--output", "json"];
    let names = Running::start(repository.around(), &server, &arguments);
    let whole =
        Running::start(repository.around(), &server, &[&arguments[..], &["--values"]].concat());
    for watch in [&names, &whole] {
        eventually("the present", || watch.events().len() == 1);
        let current = &watch.events()[0];
        assert_eq!(current["event"], "current");
        assert_eq!(current["application"], "orders");
        assert_eq!(current["profiles"], "dev");
        assert_eq!(current["label"], Value::Null);
        assert!(current.get("added").is_none());
    }
    let revision = repository.commit("//- orders-dev.yml\npassword: hunter2\n");
    for watch in [&names, &whole] {
        eventually("the change", || watch.events().len() == 2);
        let change = &watch.events()[1];
        assert_eq!(change["event"], "change");
        assert_eq!(change["revision"], revision.as_str());
        assert_eq!(change["digest"].as_str().unwrap().len(), 64);
        assert_eq!(change["added"], serde_json::json!(["password"]));
        assert_eq!(change["removed"], serde_json::json!([]));
        assert_eq!(change["changed"], serde_json::json!(["port"]));
    }
    assert!(!names.out().contains("hunter2"));
    let environment = server.get("/orders/dev").expect(200).json();
    assert_eq!(whole.events()[1]["environment"], environment);
}

#[test]
fn a_command_is_run_for_each_change_and_told_what_changed() {
    let (repository, server) = shop();
    let place = directory("");
    let exec = "env | grep ^HEADWATER_ | sort > new && mv new seen; echo said; echo shouted >&2";
    let watch = Running::start(
        place.path(),
        &server,
        &["orders", "dev", "--label", "main", "--exec", exec, "--output", "json"],
    );
    eventually("the present", || watch.events().len() == 1);
    let seen = place.path().join("seen");
    assert!(!seen.exists(), "what is there at the start is no change");
    let revision = repository.commit("//- orders-dev.yml\nport: 9090\nname: Dev\n");
    eventually("the command", || seen.exists());
    let variables = std::fs::read_to_string(&seen).unwrap();
    for line in [
        "HEADWATER_APPLICATION=orders",
        "HEADWATER_PROFILES=dev",
        "HEADWATER_LABEL=main",
        &format!("HEADWATER_REVISION={revision}"),
        "HEADWATER_CHANGED_KEY_COUNT=2",
        "HEADWATER_CHANGED_KEYS=name",
    ] {
        assert!(variables.lines().any(|found| found == line), "{line}: {variables}");
    }
    let digest = watch.events()[1]["digest"].as_str().unwrap().to_owned();
    assert!(variables.contains(&format!("HEADWATER_DIGEST={digest}\n")));
    // What it says does not mix with the lines for programs.
    watch.complains("said\nshouted\n");
    assert_eq!(watch.events().len(), 2);
}

#[test]
fn runs_of_a_command_never_overlap_and_changes_meanwhile_lead_to_one_more() {
    let (repository, server) = shop();
    let place = directory("");
    let exec = "echo begin >> log; until [ -e go ]; do sleep 0.02; done; \
                echo $HEADWATER_REVISION $HEADWATER_CHANGED_KEYS >> log";
    let watch =
        Running::start(place.path(), &server, &["orders", "dev", "--exec", exec, "--count", "4"]);
    let log = || std::fs::read_to_string(place.path().join("log")).unwrap_or_default();
    watch.says("current");
    let first = repository.commit("//- orders-dev.yml\nport: 1\n");
    eventually("the first run", || log() == "begin\n");
    let mut last = String::new();
    for (number, key) in ["a", "b", "c"].into_iter().enumerate() {
        last = repository.commit(&format!("//- orders-dev.yml\nport: 1\n{key}: 1\n"));
        eventually("the change is told", || watch.out().matches("added").count() == number + 1);
    }
    assert_eq!(log(), "begin\n");
    std::fs::write(place.path().join("go"), "").unwrap();
    let mut watch = watch;
    assert_eq!(watch.code(), Some(0));
    assert_eq!(log(), format!("begin\n{first} port\nbegin\n{last} a b c\n"));
}

#[test]
fn the_exit_code_of_the_command_is_reported_to_the_server() {
    let repository = Repository::new(SHOP);
    let server = Server::start(&repository.uri());
    let exec = "! grep -q bad name";
    fs::write(repository.around().join("name"), "good").unwrap();
    let arguments = ["orders", "--initial", "--instance", "proxy-1", "--exec", exec];
    let running = Running::start(repository.around(), &server, &arguments);
    // A command that only prints is no instance.
    let onlooker = Running::start(repository.around(), &server, &["orders"]);
    onlooker.says("current");
    let shows = |outcome: &str, reason: &Value| {
        eventually(&format!("{outcome} is shown"), || {
            let listed = server.get("/-/instances").expect(200).json();
            let instances = listed["instances"].as_array().unwrap().clone();
            assert!(instances.iter().all(|it| it["instance"] == "proxy-1"), "{instances:?}");
            instances.iter().any(|it| it["outcome"] == outcome && it["reason"] == *reason)
        });
    };
    shows("ok", &Value::Null);
    fs::write(repository.around().join("name"), "bad").unwrap();
    repository.commit("//- orders.yml\nport: 8081\n");
    shows("rejected", &"exec 1".into());
    drop((running, onlooker));
}

#[test]
fn a_command_that_fails_is_told_and_the_watch_goes_on() {
    let (repository, server) = shop();
    let exec = "[ \"$HEADWATER_CHANGED_KEYS\" = port ] && exit 7; kill -9 $$";
    let mut watch =
        Running::start(repository.around(), &server, &["orders", "--exec", exec, "--count", "2"]);
    watch.says("current");
    repository.commit("//- orders.yml\nname: Orders\nport: 1\n");
    watch.complains("headwater: the command ended with exit code 7\n");
    repository.commit("//- orders.yml\nport: 1\nname: Two\n");
    watch.complains("headwater: the command was ended by signal 9\n");
    assert_eq!(watch.code(), Some(1), "the last run failed");
}

#[test]
fn what_is_there_at_the_start_counts_if_it_is_asked_for() {
    let (repository, server) = shop();
    let place = directory("");
    let arguments = ["orders", "--initial", "--once", "--exec", "echo ran > ran"];
    let mut watch = Running::start(place.path(), &server, &arguments);
    assert_eq!(watch.code(), Some(0), "{}", watch.err());
    assert!(place.path().join("ran").exists());
    let mut once = Running::start(place.path(), &server, &["orders", "--once"]);
    once.says("current");
    repository.commit("//- orders.yml\nport: 1\n");
    assert_eq!(once.code(), Some(0));
    assert!(once.out().contains("~ port"), "{}", once.out());
}

#[test]
fn a_time_limit_says_whether_there_was_enough() {
    let (repository, server) = shop();
    let place = repository.around();
    let url = format!("http://{}", server.0);
    let typed = |arguments: &[&str]| {
        type_in(place, &[&["watch", "orders", "--url", &url, "--timeout", "1"], arguments].concat())
    };
    assert_eq!(typed(&["--once"]).code, Some(1));
    assert_eq!(typed(&["--initial", "--count", "2"]).code, Some(1));
    assert_eq!(typed(&[]).code, Some(0));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let alone = type_in(place, &["watch", "orders", "--url", &nobody, "--timeout", "1"]);
    refuses(&alone, &["no configuration in time", "refused"]);
}

#[test]
fn a_no_at_the_start_is_exit_code_1_and_what_does_not_work_is_2() {
    let (repository, server) = shop();
    let place = repository.around();
    let url = format!("http://{}", server.0);
    let unknown = type_in(place, &["watch", "orders", "--label", "nope", "--url", &url]);
    assert_eq!(unknown.code, Some(1), "{}", unknown.err);
    assert_eq!(unknown.err.lines().count(), 1, "{}", unknown.err);
    assert!(unknown.err.contains("label `nope`"), "{}", unknown.err);
    for arguments in [
        &["--once", "--count", "1"][..],
        &["--count", "0"],
        &["--timeout", "0"],
        &["--timeout", "99999999999"],
        &["--output", "yaml"],
        &["--url", "ftp://x"],
        &["--token-file", "nowhere"],
    ] {
        let said = type_in(place, &[&["watch", "orders"], arguments].concat());
        assert_eq!(said.code, Some(2), "{arguments:?} {}", said.err);
    }
    let mut locked = settings(&repository.uri());
    let token = place.join("token");
    std::fs::write(&token, "right-and-long-enough-to-be-one").unwrap();
    locked.token_file = Some(token.clone());
    let locked = Server::with(locked);
    let url = format!("http://{}", locked.0);
    let refused = type_in(place, &["watch", "orders", "--url", &url]);
    refuses(&refused, &["rejected the credentials with status 401"]);
    let mut command = command(place);
    command.args(["watch", "orders", "--url", &url, "--initial", "--once"]);
    command.env("HEADWATER_TOKEN_FILE", &token);
    assert_eq!(run(command).code, Some(0));
}

#[test]
fn told_to_stop_it_ends_the_command_too() {
    let (repository, server) = shop();
    let place = directory("");
    for signal in ["TERM", "INT"] {
        let exec = "sleep 1000 & echo $! > new && mv new id; wait";
        let arguments = ["orders", "--initial", "--exec", exec];
        let mut watch = Running::start(place.path(), &server, &arguments);
        let file = place.path().join("id");
        eventually("the command", || file.exists());
        let id = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        watch.tell(signal);
        assert_eq!(watch.code(), Some(0));
        eventually("all that the command started has ended", || is_over(id.trim()));
    }
    drop(repository);
}

/// Ended, even if nobody has asked how.
fn is_over(id: &str) -> bool {
    match std::fs::read_to_string(format!("/proc/{id}/stat")) {
        Ok(stat) => stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')),
        Err(_) => true,
    }
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let (repository, server) = shop();
    let mut command = command(repository.around());
    command.args(["watch", "orders", "--url", &format!("http://{}", server.0)]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let mut first = String::new();
    let mut reader = BufReader::new(process.stdout.take().unwrap());
    reader.read_line(&mut first).unwrap();
    assert!(first.contains("current"), "{first}");
    drop(reader);
    repository.commit("//- orders.yml\nport: 1\n");
    let mut watch =
        Running { out: Arc::default(), err: collect(process.stderr.take().unwrap()), process };
    assert_eq!(watch.code(), Some(0));
    assert_eq!(watch.err(), "");
}

#[test]
fn another_server_takes_over() {
    let repository = Repository::new(SHOP);
    let (first, second) = (Server::start(&repository.uri()), Server::start(&repository.uri()));
    let urls = format!("http://{},http://{}", first.0, second.0);
    let watch = Running::with_urls(repository.around(), &urls, &["orders"]);
    watch.says("current");
    drop(first);
    repository.commit("//- orders.yml\nname: Orders\nport: 6\n");
    watch.says("~ port");
    assert_eq!(watch.err(), "");
    drop(second);
    watch.complains("headwater: not connected, trying again: http://127.0.0.1:");
}

#[test]
fn a_deleted_branch_is_said_and_so_is_its_return() {
    let (repository, server) = shop();
    repository.commit_on("feature", "//- orders.yml\nport: 5\n");
    let arguments = ["orders", "--label", "feature", "--output", "json"];
    let watch = Running::start(repository.around(), &server, &arguments);
    watch.says("current");
    let path = repository.path();
    let deleted = Command::new("git")
        .args(["--git-dir", path.to_str().unwrap(), "update-ref", "-d", "refs/heads/feature"])
        .status();
    assert!(deleted.unwrap().success());
    watch.says("\"gone\"");
    repository.commit_on("feature", "//- orders.yml\nport: 7\n");
    watch.says("\"change\"");
    assert_eq!(watch.events().last().unwrap()["changed"], serde_json::json!(["port"]));
}
