//! What anybody can write into a configuration file never steers the terminal of those who look at it.

use std::process::Command;

use super::run;
use crate::fixture::{Repository, Server, command};

/// Clears the screen, sets a title, turns the direction of the line; 0x9b is the one-byte form of `ESC [`.
const FILE: &str = "//- evil.yml\n\"k\\e[2Jey\\u202e\": \"v\\e]0;title\\a\\x9b31m\"\n\"${\\emissing}\": \"${\\emissing}\"\n";
const KEY: &str = "k\u{1b}[2Jey\u{202e}";

#[track_caller]
fn is_plain(text: &str) {
    let is_plain = |c: char| c == '\n' || !c.is_control() && c != '\u{202e}';
    assert!(text.chars().all(is_plain), "{text:?}");
}

#[test]
fn control_characters_of_keys_values_and_problems_are_escaped() {
    let repository = Repository::new("//- evil.yml\nlimit: 1\n");
    repository.commit_on("before", "//- evil.yml\nlimit: 1\n");
    repository.commit(FILE);
    let server = Server::start(&repository.uri());
    let (uri, url) = (repository.uri(), format!("http://{}", server.0));
    let shown = "k\\u{1b}[2Jey\\u{202e}";
    for (arguments, part) in [
        (vec!["get", "evil", "--source", &uri, "--raw"], shown),
        (vec!["get", "evil", "--url", &url, "--raw"], shown),
        (vec!["explain", KEY, "evil", "--source", &uri], shown),
        (vec!["explain", "\u{1b}[2J", "evil", "--source", &uri], "no file sets \\u{1b}[2J"),
        (vec!["get", "\u{1b}[2J", "--source", &uri], "\\u{1b}[2J"),
        (vec!["diff", "before", "main", "--values", "--source", &uri], shown),
        (vec!["check", &uri, "--strict"], "\\u{1b}missing"),
        (vec!["check", &uri, "--label", "\u{1b}[2J"], "\\u{1b}[2J"),
        (vec!["get", "evil", "--url", "http://\u{1b}[2J"], ""),
    ] {
        let mut command = command(repository.around());
        command.args(&arguments);
        let said = run(command);
        let text = format!("{}{}", said.out, said.err);
        assert!(text.contains(part), "{arguments:?}: {text}");
        is_plain(&text);
    }
}

#[test]
fn json_is_what_it_is() {
    let repository = Repository::new(FILE);
    let uri = repository.uri();
    for arguments in [
        vec!["get", "evil", "--raw", "--output", "json", "--source", &uri],
        vec!["explain", KEY, "evil", "--output", "json", "--source", &uri],
    ] {
        let mut command = command(repository.around());
        command.args(&arguments);
        let said = run(command);
        let json: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
        let value = match json.as_array() {
            Some(found) => &found[0]["value"],
            None => &json["propertySources"][0]["source"][KEY],
        };
        assert_eq!(value, "v\u{1b}]0;title\u{7}\u{9b}31m", "{arguments:?}");
    }
}

/// Forms for programs are what they are for programs; on a terminal a person reads them.
#[test]
fn forms_for_programs_are_escaped_on_a_terminal_only() {
    let repository = Repository::new(FILE);
    let uri = repository.uri();
    let arguments = ["get", "evil", "--raw", "--output", "properties", "--source", &uri];
    let mut piped = command(repository.around());
    piped.args(arguments);
    assert!(run(piped).out.contains("\u{1b}[2J"));
    let mut shown = Command::new("python3");
    shown
        .args(["-c", "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) and 1)"])
        .arg(env!("CARGO_BIN_EXE_headwater"))
        .args(arguments);
    let said = run(shown);
    assert!(said.out.contains("k\\u{1b}[2Jey"), "{}", said.out);
    is_plain(&said.out.replace("\r\n", "\n"));
}
