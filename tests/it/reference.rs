//! `docs/reference.md` says what the program says of itself. `UPDATE_REFERENCE=1` writes it anew.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

use clap::CommandFactory;
use headwater::cli::Cli;
use headwater::settings::{DEFAULT_FILE, Flags, Settings};

use crate::documentation::{root, rust_files};
use crate::fixture::directory;

const HEAD: &str = "# Reference

What the program says of itself; written by `UPDATE_REFERENCE=1 cargo test --test it reference`.

Settings come from defaults, then `headwater.toml`, then `HEADWATER_…` variables, then flags. What has no flag stands in
the file only: most of `[push]` and `[watch]`, and what belongs to one source but for its address. On this page: the verbs with their flags, then
[the settings](#headwatertoml), [variables](#variables), [exit codes](#exit-codes), [limits](#limits) and [metrics](#metrics).
";

/// What is read from the environment and has no flag: the variable, and what for.
const VARIABLES: [(&str, &str); 7] = [
    ("HEADWATER_LOG", "all verbs: how much is logged, as `info`, `debug` or `headwater=trace`"),
    ("HEADWATER_PUSH_TOKEN", "`serve`: the push token itself, in place of a file"),
    ("HEADWATER_MONITOR_SECRET", "`serve`: a secret of webhooks itself, in place of a file"),
    (
        "HEADWATER_GIT_USERNAME",
        "`serve`: user name for `https://` remotes without `credentials_file`",
    ),
    ("HEADWATER_GIT_PASSWORD", "`serve`: the password or token that goes with it"),
    ("HEADWATER_ETCD_USERNAME", "user of etcd, where there is no `credentials_file`"),
    ("HEADWATER_ETCD_PASSWORD", "the password that goes with it"),
];

/// What the Rust client reads from the environment.
const CLIENT: [&str; 7] = [
    "HEADWATER_URL",
    "HEADWATER_APPLICATION",
    "HEADWATER_PROFILES",
    "HEADWATER_LABEL",
    "HEADWATER_TOKEN_FILE",
    "HEADWATER_INSTANCE",
    "HEADWATER_LAST_KNOWN_GOOD",
];

/// What is set for a command that is started: the variable, who sets it, and what it holds.
const GIVEN: [(&str, &str, &str); 9] = [
    ("HEADWATER_APPLICATION", "`watch --exec`", "the service"),
    ("HEADWATER_PROFILES", "`watch --exec`", "its profiles"),
    ("HEADWATER_LABEL", "`watch --exec`", "the label; empty without one"),
    ("HEADWATER_REVISION", "`watch --exec`", "the new revision"),
    ("HEADWATER_DIGEST", "`watch --exec`", "the new digest"),
    ("HEADWATER_CHANGED_KEYS", "`watch --exec`", "the keys that differ, one on each line"),
    ("HEADWATER_CHANGED_KEY_COUNT", "`watch --exec`", "how many there are"),
    ("HEADWATER_TARGET", "`run --check`", "the path where the file will be"),
    ("HEADWATER_CHILD", "`run --reload`", "process id of the program"),
];

/// What a hook of ours is told by the server, and nobody else.
const BETWEEN_US: [&str; 1] = ["HEADWATER_PUSH_KEY"];

const END: &str = "
## Limits

[All limits](operating.md#limits), and what happens beyond them.

## Metrics

[All metrics](operating.md#metrics), with their labels and what they mean.
";

const EXIT_CODES: &str = "
## Exit codes

| verb | 0 | 1 | 2 |
| --- | --- | --- | --- |
| `serve` | told to stop | | it cannot start: settings, a source, the data directory, the address |
| `get` | printed | nothing is known by that name, or there is no property source | no server answers, token refused, wrong usage |
| `watch` | as many changes as were asked for; the time is up where none were asked for; told to stop | too few changes in time; nothing is known by that name; the last run of the command failed | it did not work |
| `run` | the code of its program, 128 + n for a signal | | it could not start the program, or had no configuration for it |
| `explain` | something sets the key | nothing does, or there is no such label | it did not work |
| `diff` | nothing differs for anybody | something does | no such label, or it did not work |
| `check` | no problem; there may be warnings | a problem, or no such label | it did not work |
| `copy` | copied, or there already, and verified | somebody would be configured otherwise, a file cannot be copied, there is no such label, or something is in the way | it did not work |
| `status` | all replicas are live, none has lagged for more than 30 s, nothing is held back | one of these is not so | no server answers, token refused |
";

#[test]
fn the_reference_page_is_what_the_program_says() {
    let mut text = HEAD.to_owned();
    let mut command = Cli::command()
        .term_width(100)
        .mut_subcommands(|verb| verb.mut_args(|argument| argument.hide_env_values(true)));
    command.build();
    for verb in command.get_subcommands_mut() {
        let help = verb.render_long_help().to_string();
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
        let name = verb.get_name();
        write!(text, "\n## headwater {name}\n\n```text\n{}\n```\n", lines.join("\n")).unwrap();
    }
    write!(text, "\n## headwater.toml\n\n```toml\n{DEFAULT_FILE}```\n").unwrap();
    text.push_str(&variables());
    text.push_str(EXIT_CODES);
    text.push_str(END);
    let path = root().join("docs/reference.md");
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "docs/reference.md is old: UPDATE_REFERENCE=1 writes it anew");
}

/// Every variable: those of flags from the definition of the command line, the others from the lists above.
fn variables() -> String {
    let mut text = "\n## Variables\n\n| variable | read by |\n| --- | --- |\n".to_owned();
    let mut flags = BTreeMap::<String, Vec<String>>::new();
    for verb in Cli::command().get_subcommands() {
        for argument in verb.get_arguments().filter(|argument| !argument.is_hide_set()) {
            let Some(variable) = argument.get_env() else { continue };
            let name = match argument.get_long() {
                Some(long) => format!("`{} --{long}`", verb.get_name()),
                None => {
                    format!("`{} {}`", verb.get_name(), argument.get_id().as_str().to_uppercase())
                }
            };
            flags.entry(variable.to_str().unwrap().to_owned()).or_default().push(name);
        }
    }
    for variable in CLIENT {
        flags.entry(variable.to_owned()).or_default().push("the Rust client".to_owned());
    }
    for (variable, flags) in flags {
        writeln!(text, "| `{variable}` | {} |", flags.join(", ")).unwrap();
    }
    for (variable, what) in VARIABLES {
        writeln!(text, "| `{variable}` | {what} |").unwrap();
    }
    text.push_str("\nAnd set, for what is started:\n\n| variable | by | |\n| --- | --- | --- |\n");
    for (variable, who, what) in GIVEN {
        writeln!(text, "| `{variable}` | {who} | {what} |").unwrap();
    }
    text
}

/// No variable is read or set that the page does not have.
#[test]
fn every_variable_of_the_code_is_on_the_page() {
    let page = fs::read_to_string(root().join("docs/reference.md")).unwrap();
    for path in rust_files("src").into_iter().chain(rust_files("clients/rust/src")) {
        let code = fs::read_to_string(&path).unwrap();
        for (at, _) in code.match_indices("HEADWATER_") {
            let name = code[at..].split(|c: char| !c.is_ascii_uppercase() && c != '_').next();
            let name = name.expect("a name").trim_end_matches('_');
            let known = page.contains(&format!("`{name}`")) || BETWEEN_US.contains(&name);
            assert!(known || name == "HEADWATER", "{} has {name}", path.display());
        }
    }
}

/// The settings file that is printed names every setting there is; what they are called, serde says.
#[test]
fn every_setting_is_in_the_file_that_is_printed() {
    for (table, begin) in [
        ("", "\n# Address"),
        ("[push]\n", "\n[push]\n"),
        ("[watch]\n", "\n[watch]\n"),
        ("[monitor]\n", "\n[monitor]\n"),
        ("[[source]]\n", "\n[[source]]\n"),
    ] {
        let place = directory(&format!("//- headwater.toml\n{table}nonsense = 1\n"));
        let config = Some(place.path().join("headwater.toml"));
        let error = Settings::load(Flags { config, ..Flags::default() }).unwrap_err().to_string();
        let (_, known) = error.split_once("expected one of ").unwrap_or_else(|| {
            error.split_once("expected ").unwrap_or_else(|| panic!("{table}: {error}"))
        });
        let file = format!("\n{DEFAULT_FILE}");
        let (_, section) = file.split_once(begin).expect("the table");
        for name in known.split('`').skip(1).step_by(2) {
            let is_table = |open: &str| file.contains(&format!("\n{open}{name}]"));
            let stands = ["\n", "\n# "]
                .map(|open| format!("\n{section}").contains(&format!("{open}{name} = ")));
            assert!(stands.contains(&true) || is_table("[") || is_table("[["), "{table}: {name}");
        }
    }
}
