//! Signals reach the program, and it ends as the program ends.

use super::bed::{Run, children, lives};
use crate::fixture::{Repository, Server, directory, eventually};

/// Writes the name of every signal that it gets; TERM ends it with a code of its own.
const PROGRAM: &str = r#"
import os, signal
def got(number, _):
    name = signal.Signals(number).name
    os.write(1, (name + "\n").encode())
    if name == "SIGTERM":
        os._exit(42)
for name in ["HUP", "INT", "QUIT", "USR1", "USR2", "WINCH", "ALRM", "CONT", "TERM"]:
    signal.signal(getattr(signal, "SIG" + name), got)
os.write(1, b"ready\n")
while True:
    signal.pause()
"#;

/// Starts headwater on a terminal of its own, presses Ctrl-C once its program is ready, and says how both end.
const TERMINAL: &str = r#"
import os, pty, sys
child, terminal = pty.fork()
if child == 0:
    os.execv(sys.argv[1], sys.argv[1:])
seen = b""
pressed = False
while True:
    try:
        more = os.read(terminal, 4096)
    except OSError:
        break
    if not more:
        break
    seen += more
    if b"ready" in seen and not pressed:
        pressed = True
        os.write(terminal, b"typed\n")
    if b"read typed" in seen and seen.count(b"pressed") == 0:
        seen += b"pressed"
        os.write(terminal, b"\x03")
    if b"SIGINT" in seen and b"left" not in seen:
        seen += b"left"
        os.write(terminal, b"end\n")
_, status = os.waitpid(child, 0)
print("SIGINT", seen.count(b"SIGINT"), "code", os.waitstatus_to_exitcode(status))
"#;

/// Reads from its terminal and counts Ctrl-C.
const INTERACTIVE: &str = r#"
import os, signal, sys
signal.signal(signal.SIGINT, lambda *_: os.write(1, b"SIGINT\n"))
os.write(1, b"ready\n")
while True:
    line = sys.stdin.readline().strip()
    os.write(1, ("read " + line + "\n").encode())
    if line == "end":
        os._exit(5)
"#;

fn stage() -> (Repository, Server) {
    let repository = Repository::new("//- app.yml\nport: 1\n");
    let server = Server::start(&repository.uri());
    (repository, server)
}

#[test]
fn signals_are_handed_on_and_the_code_of_the_program_is_ours() {
    let (_repository, server) = stage();
    let place = directory(&format!("//- app.py\n{PROGRAM}"));
    let run = Run::start(place.path(), *server, &["--", "python3", "app.py"]);
    run.writes("ready");
    for name in ["HUP", "INT", "QUIT", "USR1", "USR2", "WINCH", "ALRM"] {
        run.signal(name);
        run.writes(&format!("SIG{name}"));
    }
    let ended = run.stop();
    assert_eq!(ended.status.code(), Some(42));
    let expected = "ready\nSIGHUP\nSIGINT\nSIGQUIT\nSIGUSR1\nSIGUSR2\nSIGWINCH\nSIGALRM\nSIGTERM\n";
    assert_eq!(ended.out, expected);
}

#[test]
fn a_program_that_a_signal_ends_counts_as_in_a_shell() {
    let (repository, server) = stage();
    for (name, code) in [("TERM", 143), ("INT", 130), ("HUP", 129), ("USR1", 138)] {
        let arguments = ["--", "sh", "-c", "echo ready; exec sleep 1000"];
        let run = Run::start(repository.around(), *server, &arguments);
        run.writes("ready");
        run.signal(name);
        assert_eq!(run.ended().status.code(), Some(code), "{name}");
    }
}

#[test]
fn told_to_end_it_kills_a_program_that_does_not() {
    let (repository, server) = stage();
    let script = "trap '' TERM; echo ready; while :; do sleep 0.02; done";
    let arguments = ["--grace", "0.2", "--", "sh", "-c", script];
    let run = Run::start(repository.around(), *server, &arguments);
    run.writes("ready");
    let ended = run.stop();
    assert_eq!(ended.status.code(), Some(137));
    assert!(ended.err.contains("it is killed"), "{}", ended.err);
}

#[test]
fn what_a_program_leaves_behind_ends_with_it() {
    let (repository, server) = stage();
    let script = "sleep 1000 >/dev/null 2>&1 & echo $!; exec sleep 1000";
    let run = Run::start(repository.around(), *server, &["--", "sh", "-c", script]);
    eventually("the program starts", || run.out().ends_with('\n'));
    let grandchild: u32 = run.out().trim().parse().unwrap();
    assert!(lives(grandchild));
    let program = children(run.id());
    assert_eq!(run.stop().status.code(), Some(143));
    eventually("all have ended", || !lives(grandchild) && !program.iter().any(|id| lives(*id)));
}

/// As the first process of a container, or as one that asked to be the parent of all orphans, it waits for them.
#[test]
fn what_lost_its_parent_is_waited_for() {
    let (repository, server) = stage();
    let adopt = "import ctypes, os, sys\nassert ctypes.CDLL(None).prctl(36, 1) == 0\nos.execv(sys.argv[1], sys.argv[1:])";
    let script =
        "for i in 1 2 3; do sh -c 'sleep 0.01 &'; done; sh -c 'sleep 1000 >/dev/null 2>&1 &'
        echo \"port $PORT\"; while :; do sleep 0.02; done";
    let inner = crate::fixture::command(repository.around());
    let mut command = std::process::Command::new("python3");
    command.current_dir(repository.around()).args(["-c", adopt]).arg(inner.get_program());
    let url = format!("http://{}", server.0);
    command.args(["run", "app", "--url", &url, "--", "sh", "-c", script]);
    let run = Run::of(command);
    run.writes("port 1");
    eventually("only the program and its own are left", || children(run.id()).len() == 2);
    repository.commit("//- app.yml\nport: 2\n");
    run.writes("port 2");
    eventually("so it is after a restart", || children(run.id()).len() == 2);
    assert_eq!(run.stop().status.code(), Some(143));
}

#[test]
fn on_a_terminal_the_program_reads_its_keys_and_gets_each_once() {
    let (_repository, server) = stage();
    let place = directory(&format!("//- app.py\n{INTERACTIVE}\n//- terminal.py\n{TERMINAL}"));
    let mut command = crate::fixture::command(place.path());
    let binary = command.get_program().to_owned();
    let url = format!("http://{}", server.0);
    let mut terminal = std::process::Command::new("python3");
    terminal.current_dir(place.path()).arg("terminal.py").arg(binary);
    terminal.args(["run", "app", "--url", &url, "--", "python3", "app.py"]);
    for (name, value) in command.env("COLUMNS", "80").get_envs() {
        match value {
            Some(value) => terminal.env(name, value),
            None => terminal.env_remove(name),
        };
    }
    let output = terminal.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, "SIGINT 1 code 5\n", "{}", String::from_utf8_lossy(&output.stderr));
}
