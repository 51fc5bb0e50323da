//! The page, taken apart.

use crate::documentation;

/// The blocks of one language below a heading.
#[track_caller]
pub(super) fn blocks(heading: &str, language: &str) -> Vec<String> {
    documentation::blocks("docs/services.md", heading, language)
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
