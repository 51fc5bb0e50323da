//! Rows of figures, medians, and the table that is printed.

use std::io::Write;

/// What a figure should be.
#[derive(Clone, Copy)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
    /// Told for its own sake.
    None,
}

/// One figure.
pub(crate) struct Row {
    pub(crate) figure: String,
    pub(crate) must: Bound,
    pub(crate) goal: Bound,
    pub(crate) measured: f64,
    /// What the ratio was made from.
    pub(crate) note: String,
}

impl Row {
    fn verdict(&self) -> &'static str {
        match (self.must.holds(self.measured), self.goal.holds(self.measured)) {
            (_, None) => "",
            (_, Some(true)) => "goal",
            (Some(true), _) => "must",
            _ => "SHORT",
        }
    }
}

impl Bound {
    fn holds(self, measured: f64) -> Option<bool> {
        match self {
            Self::AtLeast(bound) => Some(measured >= bound),
            Self::AtMost(bound) => Some(measured <= bound),
            Self::None => None,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(bound) => format!(">= {bound}"),
            Self::AtMost(bound) => format!("<= {bound}"),
            Self::None => String::new(),
        }
    }
}

/// The middle of the values.
pub(crate) fn median(values: &[f64]) -> f64 {
    percentile(values, 0.5)
}

/// The value that a part of the values do not exceed.
pub(crate) fn percentile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    let index = (last as f64 * part).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

/// Prints the rows, aligned.
pub(crate) fn print(rows: &[Row]) -> anyhow::Result<()> {
    let head = ["figure", "must", "goal", "measured", "verdict", ""].map(str::to_owned);
    let mut lines = vec![head];
    lines.extend(rows.iter().map(|row| {
        let measured = format!("{:.3}", row.measured);
        let verdict = row.verdict().to_owned();
        [row.figure.clone(), row.must.text(), row.goal.text(), measured, verdict, row.note.clone()]
    }));
    let widths: Vec<usize> = (0..head_count(&lines))
        .map(|at| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0))
        .collect();
    let mut out = std::io::stdout().lock();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

fn head_count(lines: &[[String; 6]]) -> usize {
    lines.first().map_or(0, |line| line.len())
}
