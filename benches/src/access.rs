//! Figures of a policy, of sealed values and of the audit trail.

mod audit;
mod change;
mod get;
mod issuer;
mod jwts;
mod memory;
mod policy;
mod principals;
mod sealed;

use crate::Options;
use crate::table::{Bound, Row, median};

/// The figures of access.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Part {
    /// A GET under a policy of 1,000 principals, beside a server without one
    Get,
    /// The first answer of environments with sealed values
    Sealed,
    /// A policy of 1,000 rules that replaces another one, and the GETs meanwhile
    Change,
    /// 500 clients with new JWTs at once
    Jwts,
    /// Memory for each principal and for each opened variant
    Memory,
    /// A GET of opened values with an audit trail, beside a server without one
    Audit,
}

pub(crate) fn measure(options: &Options, part: Option<Part>) -> anyhow::Result<Vec<Row>> {
    let all = [Part::Get, Part::Sealed, Part::Change, Part::Jwts, Part::Memory, Part::Audit];
    let mut rows = Vec::new();
    for part in part.map_or(all.to_vec(), |part| vec![part]) {
        rows.extend(match part {
            Part::Get => get::measure(options)?,
            Part::Sealed => sealed::measure(options)?,
            Part::Change => change::measure(options)?,
            Part::Jwts => jwts::measure(options)?,
            Part::Memory => memory::measure(options)?,
            Part::Audit => audit::measure(options)?,
        });
    }
    Ok(rows)
}

/// The ratio of the medians of two contenders.
fn ratio(figure: &str, values: [&[f64]; 2], must: Bound, goal: Bound, unit: &str) -> Row {
    let [this, other] = values.map(median);
    Row {
        figure: figure.to_owned(),
        must,
        goal,
        measured: this / other,
        note: format!("{this:.2} and {other:.2} {unit}"),
    }
}
