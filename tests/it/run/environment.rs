//! Configuration as environment variables: their names, what is never set, and a restart for every change.

use std::fs;

use super::bed::{Run, children, lives, run};
use crate::fixture::{Repository, Server, eventually};

const SHOW: &str = r#"echo "$SERVER_PORT $HTTP_TIMEOUT_SECONDS $HTTP_TIMEOUTSECONDS""#;

fn repository() -> Repository {
    Repository::new(
        "//- app.yml\nserver:\n  port: 8081\nhttp.timeout-seconds: 5\nlist: [a, b]\n\
         greeting: ${list[0]} and ${list[1]}\n",
    )
}

#[test]
fn a_program_finds_its_configuration_in_its_environment() {
    let repository = repository();
    let server = Server::start(&repository.uri());
    let place = repository.around();
    let ended = run(place, *server, &["--env", "--", "sh", "-c", SHOW]);
    assert_eq!((ended.status.code(), ended.out.as_str()), (Some(0), "8081 5 5\n"), "{}", ended.err);
    // So it is without any flag.
    assert_eq!(run(place, *server, &["--", "sh", "-c", SHOW]).out, "8081 5 5\n");
    for (naming, expected) in [("plain", "8081 5 \n"), ("spring", "8081  5\n")] {
        let ended = run(place, *server, &["--env-naming", naming, "--", "sh", "-c", SHOW]);
        assert_eq!(ended.out, expected);
    }
    let show = r#"echo "$APP_SERVER_PORT $APP_LIST_1 $APP_GREETING [$SERVER_PORT]""#;
    let ended = run(place, *server, &["--env-prefix", "APP_", "--", "sh", "-c", show]);
    assert_eq!(ended.out, "8081 b a and b []\n");
    // Whose configuration it is may be said by the environment of headwater itself.
    let mut command = crate::fixture::command(place);
    command.args(["run", "--env", "--", "sh", "-c", SHOW]);
    command.env("HEADWATER_URL", format!("http://127.0.0.1:1,http://{}", server.0));
    command.env("HEADWATER_APPLICATION", "app");
    assert_eq!(Run::of(command).ended().out, "8081 5 5\n");
    // Arguments are handed on as they are.
    let ended = run(place, *server, &["--", "printf", "%s|", "a b", "--env", "$HOME"]);
    assert_eq!(ended.out, "a b|--env|$HOME|\n");
}

#[test]
fn a_value_of_several_lines_arrives_whole() {
    let repository = Repository::new("//- app.yml\ntext: |\n  one\n  two\n");
    let server = Server::start(&repository.uri());
    let ended = run(repository.around(), *server, &["--", "sh", "-c", r#"printf %s "$TEXT""#]);
    assert_eq!(ended.out, "one\ntwo\n");
}

#[test]
fn as_much_as_a_program_can_be_given_is_given_and_more_is_refused() {
    let text = |count: usize| {
        let line = |number| format!("k{number}: {}\n", "x".repeat(100_000));
        format!("//- app.yml\n{}", (0..count).map(line).collect::<String>())
    };
    let repository = Repository::new(&text(10));
    let server = Server::start(&repository.uri());
    let script = "echo ${#K9}; while :; do sleep 0.02; done";
    let run = Run::start(repository.around(), *server, &["--", "sh", "-c", script]);
    run.writes("100000");
    // The program that runs is not ended for one that could not start.
    repository.commit(&text(30));
    run.says("larger than a program can receive");
    assert_eq!(run.stop().out, "100000\n");
}

#[test]
fn what_the_system_obeys_is_left_alone_unless_asked_for() {
    let repository = Repository::new("//- app.yml\npath: /evil\nld.preload: evil\nhome: /evil\n");
    let server = Server::start(&repository.uri());
    let place = repository.around();
    let show = r#"echo "$PATH:$LD_PRELOAD:$HOME""#;
    let ended = run(place, *server, &["--", "/bin/sh", "-c", show]);
    assert!(!ended.out.contains("evil"), "{}", ended.out);
    for name in ["PATH", "LD_PRELOAD", "HOME"] {
        assert!(ended.err.contains(&format!("\"{name}\"")), "{}", ended.err);
    }
    assert!(!ended.err.contains("/evil"), "{}", ended.err);
    let ended = run(place, *server, &["--env-allow", "HOME", "--", "/bin/sh", "-c", "echo $HOME"]);
    assert_eq!(ended.out, "/evil\n");
    let prefixed = run(place, *server, &["--env-prefix", "A_", "--", "sh", "-c", "echo $A_PATH"]);
    assert_eq!(prefixed.out, "/evil\n");
}

#[test]
fn what_cannot_be_a_variable_is_refused() {
    for (text, parts) in [
        ("a.b-c: s3cret\na.b.c: 2\n", &["a.b-c", "a.b.c", "A_B_C"][..]),
        ("a.b: \"s3cret\\0\"\n", &["a.b", "NUL"]),
    ] {
        let repository = Repository::new(&format!("//- app.yml\n{text}"));
        let server = Server::start(&repository.uri());
        let ended = run(repository.around(), *server, &["--", "echo", "started"]);
        ended.refuses(parts);
        assert!(!ended.err.contains("s3cret"), "{}", ended.err);
    }
}

/// Invariant 10: nothing is ever silently empty.
#[test]
fn an_environment_without_a_property_source_is_an_error_unless_allowed() {
    let repository = Repository::new("//- other.yml\na: 1\n");
    let server = Server::start(&repository.uri());
    let place = repository.around();
    run(place, *server, &["--", "echo", "started"])
        .refuses(&["without any property source", "app"]);
    let ended = run(place, *server, &["--allow-empty", "--", "echo", "started"]);
    assert_eq!(ended.out, "started\n");
}

#[test]
fn it_ends_as_its_program_ends() {
    let repository = repository();
    let server = Server::start(&repository.uri());
    let place = repository.around();
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -KILL $$", 137)]
    {
        let ended = run(place, *server, &["--", "sh", "-c", script]);
        assert_eq!(ended.status.code(), Some(code), "{script}: {}", ended.err);
    }
    run(place, *server, &["--", "./no-such-program"]).refuses(&["cannot start ./no-such-program"]);
}

#[test]
fn a_change_starts_the_program_again_and_nothing_else_does() {
    let repository = repository();
    let server = Server::start(&repository.uri());
    let script =
        r#"trap 'echo ended; exit 0' TERM; echo "port $SERVER_PORT"; while :; do sleep 0.02; done"#;
    let run = Run::start(repository.around(), *server, &["--env", "--", "sh", "-c", script]);
    run.writes("port 8081");
    // Another service, a comment: not ours.
    repository.commit("//- other.yml\nserver.port: 1\n");
    repository.commit(
        "//- app.yml\n# a comment\nserver:\n  port: 8081\nhttp.timeout-seconds: 5\nlist: [a, b]\n\
         greeting: ${list[0]} and ${list[1]}\n",
    );
    repository.commit("//- app.yml\nserver.port: 9090\n");
    run.writes("port 9090");
    assert_eq!(run.out(), "port 8081\nended\nport 9090\n");
    let ended = run.stop();
    assert_eq!((ended.status.code(), ended.out.ends_with("ended\n")), (Some(0), true));
}

#[test]
fn a_program_that_ignores_its_end_is_killed_and_what_it_started_too() {
    let repository = repository();
    let server = Server::start(&repository.uri());
    // The grandchild holds no pipe of ours, so that only its own end ends it.
    let script = r#"trap '' TERM; sleep 1000 >/dev/null 2>&1 & echo "grandchild $!"; echo "port $SERVER_PORT"
        while :; do sleep 0.02; done"#;
    let run = Run::start(
        repository.around(),
        *server,
        &["--env", "--grace", "0.3", "--", "sh", "-c", script],
    );
    run.writes("port 8081");
    let first = children(run.id());
    let out = run.out();
    let grandchild = out.lines().find_map(|line| line.strip_prefix("grandchild ")).unwrap();
    let grandchild: u32 = grandchild.parse().unwrap();
    assert!(lives(grandchild));
    repository.commit("//- app.yml\nserver.port: 9090\n");
    run.writes("port 9090");
    run.says("it is killed");
    assert!(first.iter().all(|id| !lives(*id)), "{first:?}");
    eventually("the grandchild has ended", || !lives(grandchild));
    assert_eq!(run.stop().status.code(), Some(137));
}

#[test]
fn a_flood_of_output_is_handed_on_and_not_kept() {
    let repository = repository();
    let server = Server::start(&repository.uri());
    let script = "head -c 200000000 /dev/zero; while :; do sleep 0.02; done";
    let mut command =
        super::bed::headwater(repository.around(), *server, &["--", "sh", "-c", script]);
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut read = [0; 65536];
    let mut count = 0;
    while count < 200_000_000 {
        count += std::io::Read::read(&mut out, &mut read).unwrap();
    }
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    super::bed::signal("TERM", child.id());
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(peak < 100_000, "{peak} kB");
}
