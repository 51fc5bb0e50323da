//! The page, taken apart.

use std::path::PathBuf;

pub(super) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The blocks of one language below a heading.
#[track_caller]
pub(super) fn blocks(heading: &str, language: &str) -> Vec<String> {
    let page = std::fs::read_to_string(root().join("docs/services.md")).unwrap();
    let (_, section) = page.split_once(&format!("\n{heading}\n")).expect("the heading");
    let section = section.split("\n## ").next().unwrap();
    let begin = format!("```{language}\n");
    let blocks = section.split(begin.as_str()).skip(1);
    let blocks: Vec<_> = blocks.map(|rest| rest.split("```").next().unwrap().to_owned()).collect();
    assert!(!blocks.is_empty(), "{heading} has no {language}");
    blocks
}

/// A program of the page: its name, its text, and the command that starts it.
pub(super) struct Recipe {
    pub(super) file: &'static str,
    pub(super) text: String,
    pub(super) command: String,
}

impl Recipe {
    #[track_caller]
    pub(super) fn of(heading: &str, language: &str, file: &'static str) -> Self {
        let text = blocks(heading, language).swap_remove(0);
        let commands = blocks(heading, "sh").into_iter();
        let command = commands.rev().find(|block| block.trim().ends_with(file));
        Self { file, text, command: command.expect("the command that starts it") }
    }
}
