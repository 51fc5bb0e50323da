//! The progress of long commands on standard error. Nothing is drawn where standard error is not a terminal.

use std::io::{self, Write};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output;
use crate::check::{CheckProgress, Stage};
use crate::sync::lock;

/// A count with its total and the time that is left.
const COUNTED: &str = "{bar:24} {pos}/{len} {prefix}, {eta} left  {msg}";
/// Work of unknown length, with the time that it has taken.
const UNCOUNTED: &str = "{spinner} {msg}  {elapsed}";
/// The time between two frames of a spinner.
const FRAME: Duration = Duration::from_millis(120);

/// All bars of this process: log lines are written above them.
static BARS: LazyLock<MultiProgress> =
    LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));

/// One line of progress. It is cleared when it is dropped.
pub(super) struct ProgressLine(ProgressBar);

impl ProgressLine {
    /// Counts units, such as `environments`.
    pub(super) fn counted(unit: &'static str, total: usize) -> Self {
        Self::shown(ProgressBar::new(total as u64).with_prefix(unit), COUNTED)
    }

    /// Shows that something takes time.
    pub(super) fn uncounted(message: &str) -> Self {
        let progress = Self::shown(
            ProgressBar::no_length().with_message(output::one_line(message)),
            UNCOUNTED,
        );
        progress.0.enable_steady_tick(FRAME);
        progress
    }

    fn shown(bar: ProgressBar, template: &str) -> Self {
        let bar = bar.with_style(ProgressStyle::with_template(template).expect("a valid template"));
        Self(BARS.add(bar))
    }

    /// Names the part of the work that has begun.
    pub(super) fn set_part(&self, name: &str) {
        self.0.set_message(output::one_line(name));
    }

    pub(super) fn advance(&self) {
        self.0.inc(1);
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.0.finish_and_clear();
        BARS.remove(&self.0);
    }
}

/// The progress of checks: one line that counts files first and environments next. It is cleared when the last clone is
/// dropped.
pub(super) fn of_check() -> CheckProgress {
    let shown: Mutex<Option<(Stage, ProgressLine)>> = Mutex::new(None);
    CheckProgress::new(move |stage, done, total| {
        let mut shown = lock(&shown);
        if shown.as_ref().is_none_or(|(before, _)| *before != stage) {
            let unit = match stage {
                Stage::Files => "files",
                Stage::Environments => "environments",
            };
            // The line of the stage before is cleared first.
            *shown = None;
            *shown = Some((stage, ProgressLine::counted(unit, total)));
        }
        if let Some((_, progress)) = &*shown {
            if progress.0.length() != Some(total as u64) {
                progress.0.set_length(total as u64);
            }
            progress.0.set_position(done as u64);
        }
    })
}

/// Writes log lines to standard error, above the progress that is drawn there.
#[derive(Debug, Clone, Copy)]
pub struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        BARS.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
