//! What happens while no server answers: at the start, with a last known good copy, and while the program runs.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::bed::{Run, children, lives};
use crate::fixture::{Address, Child, Repository, directory, eventually};

const SHOW: &str = r#"echo "port $PORT"; while :; do sleep 0.02; done"#;

/// An address where nobody listens yet.
fn free() -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    Address(listener.local_addr().unwrap())
}

fn serve(repository: &Repository, at: Address) -> Child {
    Child::serve(&["--source", &repository.uri(), "--listen", &at.0.to_string()])
}

fn repository(port: &str) -> Repository {
    Repository::new(&format!("//- app.yml\nport: {port}\n//- app.cfg\nbind :${{port}}\n"))
}

/// A run that waits half a second for its first answer and keeps a copy.
fn patient(place: &Path, at: Address, arguments: &[&str]) -> Run {
    let mine = ["--last-known-good", "copy", "--deadline", "0.5"];
    Run::start(place, at, &[&mine, arguments].concat())
}

#[test]
fn without_a_server_it_gives_up_at_the_deadline_and_says_why() {
    let place = directory("");
    let at = free();
    let ended = patient(place.path(), at, &["--", "echo", "started"]).ended();
    ended.refuses(&["no configuration within 0.", &at.0.to_string(), "last-known-good copy"]);
}

#[test]
fn a_program_that_is_started_before_the_server_comes_up_by_itself() {
    let repository = repository("1");
    let at = free();
    let run = Run::start(repository.around(), at, &["--", "sh", "-c", SHOW]);
    run.says("request to this server failed");
    assert_eq!(run.out(), "");
    let _server = serve(&repository, at);
    run.writes("port 1");
    assert_eq!(run.stop().status.code(), Some(143));
}

#[test]
fn told_to_end_while_it_waits_it_ends() {
    let place = directory("");
    let run = Run::start(place.path(), free(), &["--", "echo", "started"]);
    run.says("request to this server failed");
    // Nothing to be ended by, and nobody to hand it on to.
    run.signal("USR1");
    let ended = run.stop();
    assert_eq!((ended.status.code(), ended.out.as_str()), (Some(143), ""));
}

/// Invariant 9: what has run once starts again while everything is down, and says that it is stale.
#[test]
fn it_starts_from_its_copy_says_that_it_is_stale_and_goes_on_when_the_server_is_back() {
    let repository = repository("1");
    let place = directory("");
    let at = free();
    let arguments = [
        "--env",
        "--file",
        "yaml:app.yml",
        "--file",
        "server:app.cfg:app.cfg",
        "--",
        "sh",
        "-c",
        SHOW,
    ];
    let server = serve(&repository, at);
    let run = patient(place.path(), at, &arguments);
    run.writes("port 1");
    assert!(!run.err().contains("stale"), "{}", run.err());
    run.stop();
    server.stop();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.path().join("copy")), 0o700);

    let run = patient(place.path(), at, &arguments);
    run.writes("port 1");
    run.says("starting with a stale configuration");
    run.says("keeping the stale file");
    assert_eq!(fs::read_to_string(place.path().join("app.cfg")).unwrap(), "bind :1\n");
    repository.commit("//- app.yml\nport: 2\n");
    let _server = serve(&repository, at);
    run.writes("port 2");
    run.says("the configuration is up to date again");
    assert_eq!(fs::read_to_string(place.path().join("app.cfg")).unwrap(), "bind :2\n");
    run.stop();
}

#[test]
fn a_text_of_the_server_that_never_was_here_cannot_be_made_up() {
    let repository = repository("1");
    let place = directory("");
    let at = free();
    let server = serve(&repository, at);
    patient(place.path(), at, &["--", "true"]).ended();
    server.stop();
    let run =
        patient(place.path(), at, &["--file", "server:app.cfg:app.cfg", "--", "echo", "started"]);
    run.ended().refuses(&["app.cfg", "no server is reachable"]);
}

/// The log says once that the server is away, and nobody asks for texts over and over.
#[test]
fn while_the_server_is_away_its_texts_are_not_asked_for() {
    let repository = repository("1");
    let place = directory("");
    let at = free();
    let server = serve(&repository, at);
    let texts = ["--file", "server:app.cfg:app.cfg", "--refresh", "0.1"];
    let run = patient(place.path(), at, &[&texts[..], &["--", "sleep", "1000"]].concat());
    run.says("the configuration is up to date again");
    drop(server);
    run.says("the configuration is stale from now on");
    // One may have been on its way.
    assert!(run.said_count("no server is reachable: keeping the stale file") <= 1, "{}", run.err());
    repository.commit("//- app.cfg\nbind :9\n");
    let _server = serve(&repository, at);
    eventually("the text is fetched again", || {
        fs::read_to_string(place.path().join("app.cfg")).unwrap() == "bind :9\n"
    });
    run.stop();
}

#[test]
fn while_the_server_is_away_the_program_runs_on() {
    let repository = repository("1");
    let place = directory("");
    let at = free();
    let server = serve(&repository, at);
    let run = Run::start(place.path(), at, &["--", "sh", "-c", SHOW]);
    run.writes("port 1");
    run.says("the configuration is up to date again");
    let program = children(run.id());
    // Killed, not stopped.
    drop(server);
    run.says("the configuration is stale from now on");
    assert!(program.iter().all(|id| lives(*id)));
    repository.commit("//- app.yml\nport: 2\n");
    let _server = serve(&repository, at);
    run.writes("port 2");
    eventually("it is live again", || run.said_count("is up to date again") == 2);
    run.stop();
}

#[test]
fn a_server_that_refuses_is_final() {
    let repository = repository("1");
    let token = repository.around().join("token");
    fs::write(&token, "s3cret-token-of-the-server").unwrap();
    let token = token.display().to_string();
    let server = Child::serve(&["--source", &repository.uri(), "--token-file", &token]);
    let place = repository.around();
    let refused = super::bed::run(place, *server, &["--", "echo", "started"]);
    refused.refuses(&["rejected the credentials", "401"]);
    let taken = super::bed::run(place, *server, &["--token-file", &token, "--", "echo", "started"]);
    assert_eq!(taken.out, "started\n", "{}", taken.err);
    let unknown = super::bed::run(
        place,
        *server,
        &["--token-file", &token, "--label", "nowhere", "--", "echo", "started"],
    );
    unknown.refuses(&["has no configuration", "nowhere"]);
}
