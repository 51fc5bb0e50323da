//! Prints results and failures.

use std::io::{IsTerminal, Write};

use clap::builder::styling::Style;

use super::colour::Colours;
use crate::terminal;

pub(super) use crate::terminal::one_line;

/// The length of a shortened revision, in characters.
const REVISION_LENGTH: usize = 10;

/// Prints a failure to standard error.
pub(super) fn complain(message: impl std::fmt::Display) {
    eprintln!("headwater: {}", terminal::lines(&message.to_string()));
}

/// Writes a form for programs to standard output, unchanged. On a terminal, characters that could steer it are escaped.
pub(super) fn print_form(text: &str) -> anyhow::Result<()> {
    if std::io::stdout().is_terminal() { print(&terminal::lines(text)) } else { print(text) }
}

/// Writes to standard output. A reader that closes the pipe, such as `head`, ends the output without an error.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    write(text).map(|_| ())
}

/// Writes to standard output and flushes it. Returns false once the reader has closed the pipe.
pub(super) fn write(text: &str) -> anyhow::Result<bool> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        written => Ok(written.map(|()| true)?),
    }
}

/// Lays rows out in columns as wide as their widest cells. Each cell becomes one line without control characters.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    painted_table(rows, Colours::of_stdout(), |_, _| None)
}

/// Lays rows out like [`table`], with a style for some cells, chosen by row and column.
pub(super) fn painted_table(
    rows: &[Vec<String>],
    colours: Colours,
    style: impl Fn(usize, usize) -> Option<Style>,
) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| one_line(cell)).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (row_index, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            match style(row_index, column) {
                Some(style) => line.push_str(&colours.paint(style, cell)),
                None => line.push_str(cell),
            }
            line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count()) + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Shortens a revision, or each of several that are joined by commas.
pub(super) fn short(revision: &str) -> String {
    let parts = revision.split(',').map(|part| part.chars().take(REVISION_LENGTH).collect());
    one_line(&parts.collect::<Vec<String>>().join(","))
}
