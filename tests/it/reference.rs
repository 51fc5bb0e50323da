//! `docs/reference.md` is generated from the program. `UPDATE_REFERENCE=1` writes it again.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

use clap::CommandFactory;
use headwater::cli::Cli;
use headwater::settings::{Flags, Settings, default_file};

use crate::documentation::{root, rust_files};
use crate::fixture::directory;

const HEAD: &str = "# Commands and settings

This page is the reference for all commands, flags, settings, variables and exit codes of the program. `UPDATE_REFERENCE=1 cargo test --test it reference`
writes it from the program.

Settings come from the defaults, then `headwater.toml`, then `HEADWATER_…` variables, then flags. A later one overrides an earlier one. Settings without a flag
are in the file only: most of `[push]` and `[watch]`, certificates of clients, and the settings of a source beyond its address. This page contains the
commands with their flags, then [the settings](#headwatertoml), [variables](#variables) and [exit codes](#exit-codes). [Limits](limits.md) and
[metrics](monitoring.md#metrics) have pages of their own. `headwater man DIR` writes the commands as man pages.
";

/// The variables without a flag, and their use.
const VARIABLES: [(&str, &str); 8] = [
    ("HEADWATER_LOG", "all commands: the log level, as `info`, `debug` or `headwater=trace`"),
    ("HEADWATER_PUSH_TOKEN", "`serve`: the push token itself, instead of a file"),
    ("HEADWATER_MONITOR_SECRET", "`serve`: one secret of webhooks itself, instead of a file"),
    ("HEADWATER_ENCRYPT_KEY", "`serve`: one key for `{cipher}` values itself, instead of a file"),
    (
        "HEADWATER_GIT_USERNAME",
        "`serve`: user name for `https://` remotes without `credentials_file`",
    ),
    ("HEADWATER_GIT_PASSWORD", "`serve`: the password or token of that user"),
    ("HEADWATER_ETCD_USERNAME", "user name for etcd without `credentials_file`"),
    ("HEADWATER_ETCD_PASSWORD", "the password of that user"),
];

/// The variables of the Rust client.
const CLIENT: [&str; 8] = [
    "HEADWATER_URL",
    "HEADWATER_APPLICATION",
    "HEADWATER_PROFILES",
    "HEADWATER_LABEL",
    "HEADWATER_TOKEN_FILE",
    "HEADWATER_INSTANCE",
    "HEADWATER_ATTRIBUTES",
    "HEADWATER_LAST_KNOWN_GOOD",
];

/// The variables of commands that Headwater starts: name, origin and content.
const GIVEN: [(&str, &str, &str); 13] = [
    ("HEADWATER_APPLICATION", "`watch --exec`", "the service"),
    ("HEADWATER_PROFILES", "`watch --exec`", "its profiles"),
    ("HEADWATER_LABEL", "`watch --exec`", "the label, or empty"),
    ("HEADWATER_REVISION", "`watch --exec`", "the new revision"),
    ("HEADWATER_DIGEST", "`watch --exec`", "the new digest"),
    ("HEADWATER_CHANGED_KEYS", "`watch --exec`", "the keys that differ, one in each line"),
    ("HEADWATER_CHANGED_KEY_COUNT", "`watch --exec`", "the number of keys that differ"),
    ("HEADWATER_TARGET", "`run --check`", "the final path of the file"),
    ("HEADWATER_CHILD", "`run --reload`", "the process id of the program"),
    ("HEADWATER_ROLLOUT", "`exec` of `[[rollout.check]]`", "the rollout"),
    ("HEADWATER_CHECK", "`exec` of `[[rollout.check]]`", "the name of the check"),
    (
        "HEADWATER_APPLICATIONS",
        "`exec` of `[[rollout.check]]`",
        "the applications, one in each line",
    ),
    (
        "HEADWATER_CANARIES",
        "`exec` of `[[rollout.check]]`",
        "at most 50 canaries, one in each line",
    ),
];

/// Variables between the server and its own hook.
const INTERNAL: [&str; 1] = ["HEADWATER_PUSH_KEY"];

const END: &str = "
## Limits

See [Limits](limits.md).

## Metrics

See [Metrics](monitoring.md#metrics).
";

const EXIT_CODES: &str = "
## Exit codes

| command | 0 | 1 | 2 |
| --- | --- | --- | --- |
| `serve` | it received a signal to stop | | it cannot start because of its settings, a source, the data directory or the address |
| `get` | printed | the environment is unknown or has no property source | no server answers, the token is rejected, or the usage is wrong |
| `watch` | it saw as many changes as requested, the time is over where no number was requested, or it received a signal to stop | too few changes in time, the environment is unknown, or the last run of the command failed | any other failure |
| `run` | the exit code of the program, or 128 + n for a signal | | the program could not be started, or there was no configuration for it |
| `explain` | a file sets the key | no file sets the key, or the label is unknown | any other failure |
| `diff` | no environment differs | an environment differs | the label is unknown, or any other failure |
| `check` | no problem. There may be warnings | a problem, or an unknown label | any other failure |
| `copy` | copied, or present already, and verified | an environment would change, a file cannot be copied, the label is unknown, or the target cannot be replaced | any other failure |
| `compare` | every environment is equal or differs only as documented | an environment differs. With `--strict` also a documented difference | a server did not answer, credentials were rejected, the source cannot be read, or an environment could not be compared |
| `seal` | the value was sealed, the key was written, or all values were sealed anew | with `--migrate`, a value was left as it is | no key, or any other failure |
| `status` | no finding: all replicas are live, none has lagged for more than 30 s, all have the same policy, nothing is held back, and no fault lasts. There may be notices | at least one finding | no server answers, or the token is rejected |
| `fleet` | every instance that reports runs the present configuration, and every replica answered | an instance rejected it or runs other content, a replica did not answer, or no instance of the named service has reported | no server answers, or the token is rejected |
| `rollout`, `rollout list` | no rollout is paused or withheld | at least one is | no server answers, or the token is rejected |
| `rollout status` | the rollout is over, and the applications receive the newest content | it runs, is paused or is withheld | the rollout is unknown, or any other failure |
| `rollout plan` | the push would be accepted, or there is nothing to push | it would be rejected | the push cannot be tried |
| `rollout pause`, `resume`, `promote`, `abort`, `retry` | the command has taken effect | the command does not fit the state of the rollout, or was not confirmed | the rollout is unknown, the token is rejected, or any other failure |
| `token new` | printed | | the name or the date is not valid |
| `policy check` | the policy can take effect. There may be warnings | the policy has an error | the file cannot be read |
| `policy test` | all expectations hold | an expectation does not hold | the policy cannot be used, or has no expectation |
| `policy diff` | both policies allow the same | they differ | a policy cannot be used |
| `policy explain` | the request is allowed | the request is denied | the policy cannot be used, or a name is unknown |
| `audit verify` | no fault | a line was changed, removed, added or moved | a file cannot be read |
| `audit query` | lines were printed | no line satisfies the conditions | a file cannot be read, or is not a trail |
| `completions` | the script was printed | | the shell is unknown |
| `man` | the pages were written | | the directory cannot be written |
";

#[test]
fn the_reference_page_is_what_the_program_says() {
    let mut text = HEAD.to_owned();
    let mut command = Cli::command()
        .term_width(100)
        .mut_subcommands(|verb| verb.mut_args(|argument| argument.hide_env_values(true)));
    command.build();
    for verb in command.get_subcommands_mut() {
        write_help(&mut text, verb);
    }
    write!(text, "\n## headwater.toml\n\n```toml\n{}```\n", default_file()).unwrap();
    text.push_str(&variables());
    text.push_str(EXIT_CODES);
    text.push_str(END);
    let path = root().join("docs/reference.md");
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == text,
        "docs/reference.md is out of date: UPDATE_REFERENCE=1 writes it again"
    );
}

/// The help of a command, and of the commands below it.
fn write_help(text: &mut String, command: &mut clap::Command) {
    let help = command.render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    let name = command.get_bin_name().expect("a name");
    write!(text, "\n## {name}\n\n```text\n{}\n```\n", lines.join("\n")).unwrap();
    for below in command.get_subcommands_mut() {
        write_help(text, below);
    }
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
    text.push_str("\nHeadwater sets these variables for commands that it starts:\n\n| variable | set by | content |\n| --- | --- | --- |\n");
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
            let known = page.contains(&format!("`{name}`")) || INTERNAL.contains(&name);
            assert!(known || name == "HEADWATER", "{} has {name}", path.display());
        }
    }
}

/// The settings file that is printed names every setting there is; what they are called, serde says.
#[test]
fn every_setting_is_in_the_file_that_is_printed() {
    for (table, begin) in [
        ("", "\n# Address"),
        ("[audit]\n", "\n[audit]\n"),
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
        let file = format!("\n{}", default_file());
        let (_, section) = file.split_once(begin).expect("the table");
        for name in known.split('`').skip(1).step_by(2) {
            let is_table = |open: &str| file.contains(&format!("\n{open}{name}]"));
            let stands = ["\n", "\n# "]
                .map(|open| format!("\n{section}").contains(&format!("{open}{name} = ")));
            assert!(stands.contains(&true) || is_table("[") || is_table("[["), "{table}: {name}");
        }
    }
}
