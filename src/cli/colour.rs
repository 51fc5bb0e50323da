//! Colours for people at a terminal. A stream that is not a terminal gets none, and neither does a terminal whose user
//! sets `NO_COLOR`.

use anstream::{AutoStream, ColorChoice};
use clap::builder::styling::Style;

/// Names and titles.
pub(super) const BOLD: Style = Style::new().bold();
/// Facts that support the one beside them, such as the place of a value.
pub(super) const DIM: Style = Style::new().dimmed();

/// The colours of one output stream, on or off.
#[derive(Debug, Clone, Copy)]
pub(super) struct Colours(bool);

impl Colours {
    pub(super) fn of_stdout() -> Self {
        Self(AutoStream::choice(&std::io::stdout()) != ColorChoice::Never)
    }

    pub(super) fn of_stderr() -> Self {
        Self(AutoStream::choice(&std::io::stderr()) != ColorChoice::Never)
    }

    /// The text as it is written to the stream.
    pub(super) fn paint(self, style: Style, text: &str) -> String {
        if self.0 && !text.is_empty() { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}
