//! The examples at the end of each `--help`, shell completions and man pages.

use std::fs;
use std::path::Path;

use clap::{CommandFactory, Parser};
use headwater::cli::Cli;

use super::{run, type_in};
use crate::fixture::{command, directory};

/// A command, and the commands below it.
fn commands(command: &clap::Command) -> Vec<&clap::Command> {
    let below = command.get_subcommands().flat_map(commands);
    std::iter::once(command).chain(below).collect()
}

/// The words of each example of a command, without a redirection.
fn examples(command: &clap::Command) -> Vec<Vec<String>> {
    let help = command.clone().render_long_help().to_string();
    let (_, examples) = help.split_once("\nExamples:\n").expect("examples");
    let lines = examples.lines().filter_map(|line| line.strip_prefix("    headwater "));
    let words = |line: &str| {
        let line = line.split_once(" > ").map_or(line, |(line, _)| line);
        shlex::split(line).expect("words of a shell")
    };
    lines.map(words).collect()
}

#[test]
fn every_help_ends_with_two_examples_that_parse() {
    let mut program = Cli::command();
    program.build();
    for command in program.get_subcommands().flat_map(commands) {
        let examples = examples(command);
        assert_eq!(examples.len(), 2, "{}", command.get_name());
        for words in examples {
            let typed = format!("headwater {}", words.join(" "));
            assert!(typed.starts_with(command.get_bin_name().expect("a name")), "{typed}");
            let typed = std::iter::once("headwater".to_owned()).chain(words.clone());
            let parsed = Cli::try_parse_from(typed);
            assert!(parsed.is_ok(), "{words:?}: {}", parsed.unwrap_err());
        }
    }
}

/// Those that need neither a server nor a host on the network.
#[test]
fn examples_work_as_they_are_typed() {
    let place = directory("");
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("config-repo");
    std::os::unix::fs::symlink(example, place.path().join("config-repo")).unwrap();
    let mut program = Cli::command();
    program.build();
    let mut ran_count = 0;
    for command in program.get_subcommands() {
        for words in examples(command) {
            let text = words.join(" ");
            let is_alone = match command.get_name() {
                "completions" | "token" => true,
                "man" => !text.contains('~'),
                "get" | "explain" => text.contains("--source"),
                "check" | "copy" => !text.contains("--label"),
                _ => false,
            };
            if is_alone {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let said = type_in(place.path(), &words);
                assert_eq!(said.code, Some(0), "{words:?}: {}{}", said.out, said.err);
                ran_count += 1;
            }
        }
    }
    assert_eq!(ran_count, 10);
}

#[test]
fn completions_know_every_command() {
    let place = directory("");
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let said = type_in(place.path(), &["completions", shell]);
        assert_eq!(said.code, Some(0), "{}", said.err);
        for command in Cli::command().get_subcommands() {
            assert!(said.out.contains(command.get_name()), "{shell} {}", command.get_name());
        }
    }
    let said = type_in(place.path(), &["completions", "nonsense"]);
    assert_eq!(said.code, Some(2));
}

/// Asks bash for the completions of a command line.
#[test]
fn bash_completes_a_command() {
    let place = directory("");
    let script = type_in(place.path(), &["completions", "bash"]).out;
    let ask = "\nCOMP_WORDS=(headwater exp); COMP_CWORD=1; _headwater headwater exp headwater; echo ${COMPREPLY[@]}\n";
    let output = std::process::Command::new("bash").args(["-c", &(script + ask)]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "explain\n");
}

#[test]
fn man_pages_have_the_text_of_the_help() {
    let place = directory("");
    let mut man = command(place.path());
    man.args(["man", "pages"]).env("HEADWATER_SOURCE", "https://user:hunter2@host/x.git");
    let said = run(man);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "pages/headwater.1\n"), "{}", said.err);
    let mut program = Cli::command();
    program.build();
    for command in program.get_subcommands().flat_map(commands) {
        let name = command.get_bin_name().expect("a name").replace(' ', "-");
        let page = format!("pages/{name}.1");
        let page = fs::read_to_string(place.path().join(page)).unwrap();
        assert!(page.starts_with(".ie") || page.starts_with(".TH"), "{page}");
        let about = command.get_about().expect("a description").to_string();
        assert!(page.contains(about.split([',', '\'']).next().unwrap()), "{page}");
        assert!(page.contains("Examples:") && !page.contains("hunter2"), "{page}");
    }
    fs::write(place.path().join("file"), "").unwrap();
    let said = type_in(place.path(), &["man", "file"]);
    super::refuses(&said, &["cannot write man pages to file"]);
}
