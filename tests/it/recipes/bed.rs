//! A server that comes and goes at one address, and programs that are asked by pressing Enter.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use super::page::Recipe;
use crate::documentation::root;
use crate::fixture::{Address, Child, Tree, command, eventually, signal, signal_group};

const TOKEN: &str = "a-token-of-the-recipes-8d1f";
/// How long a program may take to start on a machine that has other things to do.
pub(super) const START_MAX: Duration = Duration::from_secs(120);

/// A port that nobody else is given, and where nobody answers unless a server of ours listens.
pub(crate) struct Port {
    _socket: Socket,
    pub(crate) address: Address,
}

impl Port {
    pub(crate) fn reserve() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        // As a listener of the standard library does it, so that both may have the port.
        socket.set_reuse_address(true).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let address = Address(socket.local_addr().unwrap().as_socket().unwrap());
        Self { _socket: socket, address }
    }
}

/// The example configuration, hosted behind a token; without a server at first.
pub(super) struct Shop {
    port: Port,
    place: TempDir,
    server: Option<Child>,
    clone: Option<Tree>,
}

impl Shop {
    pub(super) fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("token"), TOKEN).unwrap();
        Self { port: Port::reserve(), place, server: None, clone: None }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.port.address.0)
    }

    fn token_file(&self) -> String {
        self.place.path().join("token").display().to_string()
    }

    pub(super) fn serve(&mut self) {
        let (seed, data) = (root().join("config-repo"), self.place.path().join("data"));
        self.server = Some(Child::serve(&[
            "--source",
            "hosted:main",
            "--seed",
            &seed.display().to_string(),
            "--data",
            &data.display().to_string(),
            "--token-file",
            &self.token_file(),
            "--listen",
            &self.port.address.0.to_string(),
        ]));
        if self.clone.is_none() {
            let url = format!("http://ann:{TOKEN}@{}/-/git/main.git", self.port.address.0);
            self.clone = Some(crate::fixture::clone(&url, &self.place.path().join("clone")));
        }
    }

    /// In place of a server: waits for somebody who asks, and does not answer.
    pub(super) fn hang_up_once(&self) {
        let listener = TcpListener::bind(self.port.address.0).unwrap();
        listener.set_nonblocking(true).unwrap();
        within(START_MAX, "somebody asks", || listener.accept().is_ok());
    }

    /// Kills the server.
    pub(super) fn kill(&mut self) {
        self.server = None;
    }

    /// Of the repository and its history.
    pub(super) fn lose_everything(&mut self) {
        std::fs::remove_dir_all(self.place.path().join("data")).unwrap();
        std::fs::remove_dir_all(self.place.path().join("clone")).unwrap();
        self.clone = None;
    }

    /// Commits the files of a fixture and pushes them.
    pub(super) fn push(&self, fixture: &str) {
        let clone = self.clone.as_ref().expect("a clone");
        clone.commit(fixture);
        clone.push(&["main"]).succeeds();
    }

    /// How often the server has answered requests of one kind with something.
    pub(super) fn answers(&self, route: &str) -> u64 {
        let token = format!("Bearer {TOKEN}");
        let metrics = self.port.address.get_with("/metrics", &[("Authorization", &token)]);
        let line = format!("headwater_http_requests_total{{route=\"{route}\",status=\"200\"}} ");
        let metrics = metrics.expect(200).text();
        let count = metrics.lines().find_map(|found| found.strip_prefix(&line));
        count.expect("a count").parse().unwrap()
    }

    /// Does what takes longer than anybody should wait later.
    pub(super) fn prepare(&self, recipe: &Recipe, script: &str) {
        let place = self.lay(recipe);
        let output = shell(&place, script).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{said}");
    }

    fn lay(&self, recipe: &Recipe) -> PathBuf {
        let place = self.place.path().join(recipe.file.replace('.', "-"));
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join(recipe.file), &recipe.text).unwrap();
        place
    }

    /// Starts a program of the page, as the page says.
    pub(super) fn start(&self, recipe: &Recipe) -> Program {
        Program::spawn(self.shell(&self.lay(recipe), &recipe.command))
    }

    /// A shell that finds the server and its token, and the binary.
    pub(super) fn shell(&self, place: &Path, script: &str) -> Command {
        let mut shell = shell(place, script);
        shell.env("HEADWATER_URL", self.url()).env("HEADWATER_TOKEN_FILE", self.token_file());
        shell.env("HEADWATER_TOKEN", TOKEN);
        shell
    }
}

/// Waits for what takes longer than most.
#[track_caller]
pub(super) fn within(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < limit, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A shell that finds the binary and Go, with nothing of this process's own settings.
pub(super) fn shell(place: &Path, script: &str) -> Command {
    let binary = command(place);
    let mut shell = Command::new("sh");
    for (name, _) in binary.get_envs() {
        shell.env_remove(name);
    }
    let binaries = Path::new(binary.get_program()).parent().unwrap().display();
    let path = std::env::var("PATH").unwrap();
    shell.arg("-c").arg(script).current_dir(place);
    shell.env("PATH", format!("{binaries}:{path}:{GO}"));
    for (name, value) in [("GOTOOLCHAIN", "local"), ("GOPROXY", "off"), ("GOFLAGS", "-mod=mod")] {
        shell.env(name, value);
    }
    shell.env("GOENV", "off").env("GOCACHE", root().join("target/test-deps/go"));
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        shell.env_remove(name);
    }
    shell
}

/// Where Go is if it is not among the programs of everybody.
const GO: &str = "/usr/local/go/bin";

/// Where a program is that a recipe needs; its bare name if it is missing.
pub(super) fn find(program: &str) -> PathBuf {
    let path = format!("{}:{GO}", std::env::var("PATH").unwrap());
    let found = path.split(':').map(|place| Path::new(place).join(program)).find(|it| it.exists());
    found.unwrap_or_else(|| program.into())
}

type Text = Arc<Mutex<String>>;

/// A program that goes on. Killed with all that it started when it is dropped, by its process group's id.
pub(crate) struct Program {
    process: std::process::Child,
    enter: ChildStdin,
    out: Text,
    err: Text,
}

impl Program {
    pub(crate) fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.process_group(0).spawn().unwrap();
        let out = collect(process.stdout.take().unwrap());
        let err = collect(process.stderr.take().unwrap());
        Self { enter: process.stdin.take().unwrap(), process, out, err }
    }

    pub(crate) fn out(&self) -> String {
        self.out.lock().unwrap().clone()
    }

    pub(crate) fn err(&self) -> String {
        self.err.lock().unwrap().clone()
    }

    /// What it says when Enter is pressed.
    #[track_caller]
    pub(super) fn enter(&mut self) -> String {
        let said = self.out().lines().count();
        self.enter.write_all(b"\n").unwrap();
        eventually("it says something", || {
            let ended = self.process.try_wait().unwrap();
            assert!(ended.is_none(), "ended with {ended:?}: {}", self.err());
            self.out().lines().count() > said
        });
        self.out().lines().nth(said).unwrap().to_owned()
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends it a signal, by its name.
    pub(crate) fn signal(&self, name: &str) {
        signal(name, self.id()).unwrap();
    }

    /// Sends TERM and waits for the end; gives how it ended and what it complained of.
    pub(crate) fn stop(mut self) -> (ExitStatus, String) {
        self.signal("TERM");
        let mut ended = None;
        eventually("it stops", || {
            ended = self.process.try_wait().unwrap();
            ended.is_some()
        });
        (ended.unwrap(), self.err())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Who has ended already cannot be killed, and need not be.
        let _ = signal_group("KILL", self.id());
        let _ = self.process.wait();
    }
}

fn collect(from: impl Read + Send + 'static) -> Text {
    let text = Text::default();
    let written = Arc::clone(&text);
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            written.lock().unwrap().push_str(&(line + "\n"));
        }
    });
    text
}
