//! What a person at a terminal sees and a pipe does not: the welcome of a server, progress and colours.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::{run, type_in};
use crate::fixture::{Hosted, Repository, directory, eventually, signal};

/// Runs a command on a terminal of 120 columns, copies what the terminal shows, and hands TERM on.
const TERMINAL: &str = r#"
import fcntl, os, pty, signal, struct, sys, termios
child, terminal = pty.fork()
if child == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    os.execv(sys.argv[1], sys.argv[1:])
signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
while True:
    try:
        more = os.read(terminal, 65536)
    except OSError:
        break
    if not more:
        break
    os.write(1, more)
_, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status) & 255)
"#;

fn on_a_terminal(place: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("python3");
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("HEADWATER_") || name.starts_with("CLICOLOR") || name == "NO_COLOR" {
            command.env_remove(name);
        }
    }
    command.args(["-c", TERMINAL, env!("CARGO_BIN_EXE_headwater")]).args(arguments);
    command.current_dir(place).env("TERM", "xterm-256color");
    command
}

/// A server on a terminal.
struct Shown {
    place: tempfile::TempDir,
    child: Child,
}

impl Shown {
    fn serve(arguments: &[&str]) -> Self {
        let place = directory("");
        let arguments = [&["serve", "--listen", "127.0.0.1:0"], arguments].concat();
        let screen = File::create(place.path().join("screen")).unwrap();
        let child = on_a_terminal(place.path(), &arguments)
            .stdin(Stdio::null())
            .stdout(screen)
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        Self { place, child }
    }

    /// The text on the screen, without colours.
    fn text(&self) -> String {
        let text = std::fs::read_to_string(self.place.path().join("screen")).unwrap();
        without_escapes(&text)
    }

    /// The words of the row that begins with a name.
    fn row(&self, name: &str) -> String {
        let text = self.text();
        let row = text.lines().find_map(|line| line.trim().strip_prefix(name));
        row.unwrap_or_else(|| panic!("{name}: {text}")).trim().to_owned()
    }

    /// Types the line that begins with a word into a shell; gives its output.
    fn type_line(&self, word: &str) -> String {
        let text = self.text();
        let line = text.lines().map(str::trim).find(|line| line.starts_with(word));
        let line = line.unwrap_or_else(|| panic!("{word}: {text}"));
        let mut shell = Command::new("sh");
        shell.args(["-ec", line]).current_dir(self.place.path());
        let said = run(shell);
        assert_eq!(said.code, Some(0), "{line}: {}", said.err);
        said.out
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        // A child that has ended already needs no signal.
        let _ = signal("TERM", self.child.id());
        let _ = self.child.wait();
    }
}

/// Text as it stands on the screen: no escape sequences, and lines end in a line feed.
fn without_escapes(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        shown.push_str(before);
        let end = after.find(|c: char| c.is_ascii_alphabetic()).map_or(after.len(), |at| at + 1);
        rest = &after[end..];
    }
    shown.push_str(rest);
    shown.replace("\r\n", "\n")
}

#[test]
fn serve_shows_what_it_serves_and_a_request_that_works() {
    let repository = Repository::new(
        "//- application.yml\na: 1\n//- orders.yml\nb: 1\n//- cart-dev.yml\nc: 1\n",
    );
    let tip = repository.commit("//- orders.yml\nb: 2\n");
    let server = Shown::serve(&["--source", &repository.uri()]);
    eventually("the request is shown", || server.text().contains("curl "));
    assert_eq!(server.row("revision"), tip[..10]);
    assert_eq!(server.row("services"), "2");
    assert!(server.row("source").contains(&repository.uri()), "{}", server.text());
    assert!(server.row("address").starts_with("http://127.0.0.1:"), "{}", server.text());
    let environment: serde_json::Value = serde_json::from_str(&server.type_line("curl ")).unwrap();
    assert!(!environment["propertySources"].as_array().unwrap().is_empty());
    // The same facts are not logged a second time.
    for line in ["listening", "ready", "git clone"] {
        assert!(!server.text().contains(line), "{}", server.text());
    }
}

#[test]
fn serve_shows_how_to_clone_and_sends_a_token() {
    let place = directory("//- seed/orders.yml\na: 1\n//- my token\nhunter2\n");
    let path = |name: &str| place.path().join(name).display().to_string();
    let (seed, data, token) = (path("seed"), path("data"), path("my token"));
    let arguments = ["--source", "hosted:main", "--seed", &seed, "--data", &data];
    let server = Shown::serve(&arguments);
    eventually("the clone is shown", || server.text().contains("git clone "));
    server.type_line("git clone ");
    assert!(server.place.path().join("main/orders.yml").exists());
    drop(server);
    let server = Shown::serve(&[&arguments[..], &["--token-file", &token]].concat());
    eventually("the request is shown", || server.text().contains("curl "));
    assert!(server.type_line("curl ").contains("orders.yml"));
    assert!(!server.text().contains("hunter2"), "{}", server.text());
}

#[test]
fn a_request_over_tls_works_as_it_is_shown() {
    let place = directory("//- shop/orders.yml\na: 1\n");
    let identity = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let path = |name: &str| place.path().join(name).display().to_string();
    std::fs::write(path("tls.crt"), identity.cert.pem()).unwrap();
    std::fs::write(path("tls.key"), identity.signing_key.serialize_pem()).unwrap();
    let (source, certificate, key) = (path("shop"), path("tls.crt"), path("tls.key"));
    let tls = ["--tls-cert", &certificate, "--tls-key", &key];
    let server = Shown::serve(&[&["--source", &source], &tls[..]].concat());
    eventually("the request is shown", || server.text().contains("curl "));
    assert!(server.type_line("curl ").contains("orders.yml"));
}

#[test]
fn serve_without_content_says_so() {
    let place = directory("//- nothing\n");
    let data = place.path().join("data").display().to_string();
    let server = Shown::serve(&["--source", "hosted:main", "--data", &data]);
    eventually("the clone is shown", || server.text().contains("git clone "));
    assert!(!server.text().contains("curl"), "{}", server.text());
    assert_eq!(server.row("revision"), "none yet");
    assert!(server.text().contains("there is nothing to serve yet"), "{}", server.text());
}

/// A repository with many files, of which each is an application.
fn many(count: usize) -> Repository {
    let files = |value: usize| -> String {
        (0..count).map(|at| format!("//- app{at}.yml\na: {value}\n")).collect()
    };
    let repository = Repository::new(&files(1));
    repository.commit_on("before", &files(1));
    repository.commit(&files(2));
    repository
}

#[test]
fn long_commands_show_progress_on_a_terminal_only() {
    let repository = many(200);
    let uri = repository.uri();
    let place = directory("");
    for (name, arguments) in [
        ("check", vec!["check", &uri]),
        ("diff", vec!["diff", "before", "main", "--source", &uri]),
        ("copy", vec!["copy", &uri, "copied.git"]),
    ] {
        let screen = run(on_a_terminal(place.path(), &arguments)).out;
        assert!(screen.contains(" environments, "), "{name}: {screen}");
        // The line of progress is cleared in the end.
        let last = without_escapes(&screen);
        let last = last.lines().last().unwrap().rsplit('\r').next().unwrap().trim();
        assert!(!last.contains(" left"), "{name}: {screen}");
        let piped = type_in(place.path(), &arguments);
        for text in [&piped.out, &piped.err] {
            assert!(!text.contains('\u{1b}') && !text.contains(" left"), "{name}: {text}");
        }
    }
}

#[test]
fn the_first_copy_of_a_remote_shows_progress() {
    let hosted = Hosted::new("//- orders.yml\na: 1\n");
    let place = directory("");
    let url = hosted.url();
    let screen = run(on_a_terminal(place.path(), &["copy", &url, "copied.git"])).out;
    assert!(screen.contains("copying ") && screen.contains(" for the first time"), "{screen}");
    let piped = type_in(place.path(), &["copy", &url, "again.git"]);
    assert!(!piped.err.contains("for the first time"), "{}", piped.err);
}

#[test]
fn colours_are_for_terminals_whose_user_wants_them() {
    let repository = Repository::new("//- orders.yml\nport: 8080\n");
    let arguments = ["get", "orders", "--source", &repository.uri()];
    let coloured = run(on_a_terminal(repository.around(), &arguments)).out;
    assert!(coloured.contains("\u{1b}[2morders.yml:1:7\u{1b}[0m"), "{coloured:?}");
    let mut plain = on_a_terminal(repository.around(), &arguments);
    plain.env("NO_COLOR", "1");
    assert_eq!(run(plain).out, "port  orders.yml:1:7  8080\r\n");
    assert_eq!(type_in(repository.around(), &arguments).out, "port  orders.yml:1:7  8080\n");
    let mut help = on_a_terminal(repository.around(), &["get", "--help"]);
    help.env("NO_COLOR", "1");
    assert!(!run(help).out.contains('\u{1b}'));
}

#[test]
fn a_misspelt_name_is_noticed_at_a_terminal() {
    let repository = Repository::new("//- application.yml\na: 1\n//- orders.yml\nb: 1\n");
    let uri = repository.uri();
    let get = |name: &str| {
        let arguments = ["get", name, "--source", &uri];
        without_escapes(&run(on_a_terminal(repository.around(), &arguments)).out)
    };
    assert_eq!(
        get("ordres"),
        "a  application.yml:1:4  1\nheadwater: no file is named after ordres: these are shared properties only. Known applications: orders\n"
    );
    assert!(!get("orders").contains("headwater:"));
    let piped = type_in(repository.around(), &["get", "ordres", "--source", &uri]);
    assert_eq!((piped.code, piped.err.as_str()), (Some(0), ""));
}
