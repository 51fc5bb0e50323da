//! Command lines as they stand in a page, read as a shell reads them as far as pages need it.

use clap::{CommandFactory, Parser};
use headwater::cli::Cli;

/// Words between which one command ends and another begins.
const BETWEEN: [&str; 9] = ["|", "||", "&&", "&", ";", "do", "then", "else", "exec"];

/// What was typed in a block that shows a prompt and what is said.
pub(super) fn typed(console: &str) -> String {
    let lines = console.lines().filter_map(|line| line.strip_prefix("$ "));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// The commands of a script that run this program, as words.
pub(super) fn of_headwater(script: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut open = String::new();
    for line in script.replace("\\\n", " ").lines() {
        open.push_str(line);
        // A quotation that goes on in the next line.
        let Some(words) = shlex::split(&open) else {
            open.push('\n');
            continue;
        };
        open.clear();
        // What stands behind `--` belongs to another program, and is for clap to hand on.
        for command in words.split(|word| BETWEEN.contains(&word.as_str())) {
            let begin = command.iter().position(|word| !is_variable(word));
            let command = &command[begin.unwrap_or(command.len())..];
            if command.first().is_some_and(|word| word == "headwater") {
                let words = command.iter().filter(|word| !is_redirection(word));
                found.push(words.map(|word| word.trim_end_matches(';').to_owned()).collect());
            }
        }
    }
    assert!(!open.contains("headwater"), "a quotation does not end: {open}");
    found
}

/// `NAME=value` before a command.
fn is_variable(word: &str) -> bool {
    let name = word.split_once('=').map(|(name, _)| name);
    name.is_some_and(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
}

fn is_redirection(word: &str) -> bool {
    word.trim_start_matches('2').starts_with('>') || word.starts_with('<')
}

/// Whether the program takes it.
pub(super) fn parse(words: &[String]) -> Result<(), String> {
    Cli::try_parse_from(words).map(drop).map_err(|error| format!("{words:?}: {error}"))
}

/// Whether its verb and its flags are ones that there are; a mention need not be whole.
pub(super) fn mentions(code: &str) -> Result<(), String> {
    let command = Cli::command();
    let mut words = code.split_whitespace().skip(1);
    let verb = words.next().unwrap_or_default();
    let verb = command.find_subcommand(verb).ok_or_else(|| format!("`{code}`: no verb {verb}"))?;
    // The second word of `headwater policy check`.
    let below = words.clone().next().and_then(|word| verb.find_subcommand(word));
    let verb = below.unwrap_or(verb);
    let ours = words.take_while(|word| *word != "--").filter_map(|word| word.strip_prefix("--"));
    for flag in ours {
        let known = verb.get_arguments().any(|known| known.get_long() == Some(flag));
        known.then_some(()).ok_or_else(|| format!("`{code}`: no flag {flag}"))?;
    }
    Ok(())
}
