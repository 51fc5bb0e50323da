//! `headwater rollout` as a person and as a script see it, against a server with recorded answers.

mod plan;
mod stand_in;

use std::process::Command;

use serde_json::{Value, json};

use self::stand_in::{StandIn, problem};
use super::{Said, refuses, run};
use crate::fixture::{command, directory};

const ID: &str = "r-7f3a2c91d0";

/// The recorded answer for a rollout in its first stage.
fn rollout(changes: &Value) -> Value {
    let mut rollout = json!({
        "id": ID, "repository": "config", "branch": "main",
        "from": "81668b06af0000000000000000000000000000aa",
        "to": "e796e2dd670000000000000000000000000000bb",
        "state": "stage", "why": null, "missing": "watching for 7 s more",
        "stage": 1, "stages": 2, "reach": "5%", "plan": "auto",
        "applications": [{"application": "product", "stable": "81668b06af0000000000000000000000000000aa",
            "canaries": 1, "instances": 12, "ok": 1}],
        "instances": 12, "ok": 1, "by": "ada", "because": null,
        "opened": "2026-11-30T20:01:02Z", "since": null, "depends_on": [],
        "events": [{"at": "2026-11-30T20:01:02Z", "event": "stage", "text": "stage 1 of 2: product 1 of 12"}],
        "unknown member of a later version": true,
    });
    for (key, value) in changes.as_object().unwrap() {
        rollout[key] = value.clone();
    }
    rollout
}

fn withheld() -> Value {
    rollout(&json!({
        "id": "r-0012345678", "state": "withheld", "missing": null, "stage": null, "reach": null,
        "why": "web-3 rejected it (type catalogue.page-size)", "since": "2026-11-30T20:03:00Z",
    }))
}

fn done(action: &str) -> (u16, Value) {
    let text = format!("{action} by ada: because");
    let effects = json!([{"at": "2026-11-30T20:04:00Z", "event": action, "text": text}]);
    (200, json!({"rollout": rollout(&json!({})), "effects": effects}))
}

fn type_at(url: &str, arguments: &[&str]) -> Said {
    let place = directory("");
    let mut command = command(place.path());
    command.arg("rollout").args(arguments).env("HEADWATER_URL", url);
    run(command)
}

#[test]
fn the_list_shows_what_waits_for_a_person() {
    let server = StandIn::with(vec![rollout(&json!({})), withheld()], done("paused"));
    for arguments in [&[][..], &["list"]] {
        let said = type_at(&server.url(), arguments);
        assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
        let first = said.out.lines().nth(1).unwrap();
        assert!(first.starts_with("r-7f3a2c91d0  main    e796e2dd67  stage     1 of 2  1 of 12"));
        let last = said.out.lines().last().unwrap();
        let expected = "r-0012345678: withheld: web-3 rejected it (type catalogue.page-size)";
        assert_eq!(last, expected);
    }
    let said = type_at(&server.url(), &["list", "--output", "json"]);
    let list: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(list["rollouts"][1]["state"], "withheld");

    let server = StandIn::with(vec![rollout(&json!({}))], done("paused"));
    assert_eq!(type_at(&server.url(), &[]).code, Some(0));
    let server = StandIn::with(Vec::new(), done("paused"));
    let said = type_at(&server.url(), &[]);
    let nothing = "no rollout runs, is withheld or has ended lately\n";
    assert_eq!((said.code, said.out.as_str()), (Some(0), nothing));
}

#[test]
fn a_status_is_converged_when_the_rollout_is_over() {
    let over = rollout(&json!({"id": "r-00aa", "state": "done", "missing": null}));
    let server = StandIn::with(vec![rollout(&json!({})), withheld(), over], done("paused"));
    for (arguments, code, first) in [
        (
            &["status"][..],
            1,
            "r-7f3a2c91d0 is in stage 1 of 2 (5%), plan auto, on branch main of repository config",
        ),
        (&["status", "7f"], 1, "r-7f3a2c91d0 is in stage 1 of 2 (5%)"),
        (&["status", "r-0012"], 1, "r-0012345678 has been withheld since 2026-11-30T20:03:00Z"),
        (&["status", "r-00aa"], 0, "r-00aa was done"),
    ] {
        let said = type_at(&server.url(), arguments);
        assert_eq!(said.code, Some(code), "{}", said.err);
        assert!(said.out.starts_with(first), "{}", said.out);
        assert!(said.out.ends_with("stage 1 of 2: product 1 of 12\n"), "{}", said.out);
    }
    let over = rollout(&json!({"state": "done", "missing": null, "since": "2026-11-30T20:03:00Z"}));
    let ended = StandIn::with(vec![over], done("paused"));
    assert_eq!(type_at(&ended.url(), &["status"]).code, Some(0));
    let said = type_at(&server.url(), &["status", "--output", "json"]);
    let status: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(status["missing"], "watching for 7 s more");
    refuses(&type_at(&server.url(), &["status", "00"]), &["several rollouts begin with 00"]);
    refuses(&type_at(&server.url(), &["status", "r-9"]), &["no rollout begins with \"r-9\""]);
}

#[test]
fn a_command_is_sent_with_its_reason_and_shows_its_effects() {
    for action in ["pause", "resume", "abort"] {
        let server = StandIn::with(vec![rollout(&json!({}))], done(action));
        let said = type_at(&server.url(), &[action, "--because", "looking at it"]);
        assert_eq!(said.code, Some(0), "{}", said.err);
        let effects = format!("{action} by ada: because\n{ID} is in stage 1 of 2 (5%)\n");
        assert_eq!(said.out, effects);
        assert_eq!(server.commands(), [json!({"do": action, "because": "looking at it"})]);
        let line = server.requests().last().unwrap().line.clone();
        assert_eq!(line, format!("POST /-/rollouts/{ID}"));
    }
}

#[test]
fn promote_and_retry_show_the_evidence_and_need_a_confirmation() {
    for action in ["promote", "retry"] {
        let server = StandIn::with(vec![rollout(&json!({}))], done(action));
        let said = type_at(&server.url(), &[action, "--because", "it is safe"]);
        refuses(&said, &["needs a confirmation", "--yes"]);
        assert_eq!(server.requests().len(), 0);
        let said = type_at(&server.url(), &[action, ID, "--because", "it is safe", "--yes"]);
        assert_eq!(said.code, Some(0), "{}", said.err);
        assert!(said.err.contains("stage 1 of 2: product 1 of 12"), "{}", said.err);
        assert_eq!(server.commands(), [json!({"do": action, "because": "it is safe"})]);
        let json = [action, "--because", "it is safe", "--yes", "--output", "json"];
        let answer: Value =
            serde_json::from_str(&type_at(&server.url(), &json).out).expect("only JSON");
        assert_eq!(answer["effects"][0]["event"], action);
    }
}

/// Runs a command on a terminal and types a line after its question.
const TERMINAL: &str = r#"
import os, pty, sys
child, terminal = pty.fork()
if child == 0:
    os.execv(sys.argv[2], sys.argv[2:])
shown, is_answered = b"", False
while True:
    try:
        more = os.read(terminal, 65536)
    except OSError:
        break
    if not more:
        break
    shown += more
    if b"continue: " in shown and not is_answered:
        is_answered = True
        os.write(terminal, sys.argv[1].encode() + b"\n")
os.write(1, shown)
_, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status) & 255)
"#;

#[test]
fn a_person_at_a_terminal_confirms() {
    for (answer, code, count) in [("yes", 0, 1), ("y", 1, 0), ("", 1, 0)] {
        let server = StandIn::with(vec![rollout(&json!({}))], done("promoted"));
        let mut python = Command::new("python3");
        python.args(["-c", TERMINAL, answer, env!("CARGO_BIN_EXE_headwater"), "rollout"]);
        python.args(["promote", "--because", "it is safe", "--url", &server.url()]);
        let said = run(python);
        assert_eq!(said.code, Some(code), "{}{}", said.out, said.err);
        assert_eq!(server.commands().len(), count, "{answer}");
        let question = "promote: every instance receives e796e2dd67 at once.";
        assert!(said.out.contains(question), "{}", said.out);
        assert_eq!(said.out.contains("Nothing was changed."), count == 0, "{}", said.out);
    }
}

#[test]
fn a_server_can_decline_a_command() {
    let declined = problem(409, "r-7f3a2c91d0 is not paused");
    let server = StandIn::with(vec![rollout(&json!({}))], declined);
    let said = type_at(&server.url(), &["resume", "--because", "x"]);
    let expected = (Some(1), "", "headwater: r-7f3a2c91d0 is not paused\n");
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), expected);
    for (answer, parts) in [
        (problem(403, "no"), &["rejected the credentials with status 403: no"][..]),
        (problem(404, "no"), &["has no rollout r-7f3a2c91d0 any more, or does not allow pause"]),
        (problem(503, "the state cannot be written: disk"), &["cannot be written: disk"]),
        ((200, json!([])), &["not from a Headwater of this version"]),
    ] {
        let server = StandIn::with(vec![rollout(&json!({}))], answer);
        refuses(&type_at(&server.url(), &["pause", "--because", "x"]), parts);
        assert_eq!(server.commands().len(), 1);
    }
}

#[test]
fn a_rollout_that_has_ended_takes_no_command() {
    let server = StandIn::with(vec![rollout(&json!({"state": "done"}))], done("promoted"));
    let said = type_at(&server.url(), &["promote", ID, "--because", "x", "--yes"]);
    let expected = (Some(1), "headwater: r-7f3a2c91d0 has ended. promote has no effect\n");
    assert_eq!((said.code, said.err.as_str()), expected);
    assert_eq!(server.commands().len(), 0);
}

#[test]
fn servers_without_an_answer_are_named() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{closed}");
    let said = type_at(&url, &["list"]);
    refuses(&said, &["the rollouts cannot be read, because no server answers: ", &url, "refused"]);
    assert!(!said.err.contains("configuration"), "{}", said.err);
}

#[test]
fn servers_without_rollouts_are_named() {
    for (answer, parts) in [
        (problem(401, "no"), &["rejected the credentials with status 401"][..]),
        (problem(404, "no"), &["has no rollouts"]),
        ((200, json!({"hello": 1})), &["not from a Headwater of this version"]),
    ] {
        let server = StandIn::new(move |_| answer.clone());
        let said = type_at(&server.url(), &["list"]);
        refuses(&said, parts);
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn the_first_server_that_answers_is_used() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let busy = StandIn::new(|_| problem(503, "it starts"));
    let server = StandIn::with(vec![rollout(&json!({}))], done("paused"));
    let urls = format!("http://{closed},{},{}", busy.url(), server.url());
    let place = directory("//- token\nhunter2\n");
    let mut command = command(place.path());
    command.args(["rollout", "pause", "--because", "x", "--token-file", "token", "--url", &urls]);
    let said = run(command);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!((busy.commands().len(), server.commands().len()), (0, 1));
    let requests = server.requests();
    assert!(requests.iter().all(|own| own.head.to_lowercase().contains("bearer hunter2")));
}

#[test]
fn usage_is_exit_code_2() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{closed}");
    for arguments in [&["pause"][..], &["abort", "--because"], &["revert"], &["status", "a", "b"]] {
        let said = type_at(&url, arguments);
        assert_eq!(said.code, Some(2), "{arguments:?}: {}", said.err);
    }
    refuses(&type_at(&url, &["abort", "--because", " "]), &["--because: expected a reason"]);
}

#[test]
fn texts_of_a_server_cannot_steer_a_terminal() {
    let evil = "\u{1b}[2J\u{202e}";
    let rollout = rollout(&json!({"branch": evil, "missing": evil, "by": evil}));
    let server = StandIn::with(vec![rollout], problem(409, evil));
    for arguments in [&["list"][..], &["status"], &["pause", "--because", "x"]] {
        let said = type_at(&server.url(), arguments);
        let text = said.out + &said.err;
        let is_plain = |c: char| c == '\n' || !c.is_control() && c != '\u{202e}';
        assert!(text.contains("\\u{1b}") && text.chars().all(is_plain), "{text:?}");
    }
}
