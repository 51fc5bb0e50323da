//! Searching a trail.

use std::io::{self, BufRead};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::line::{AuditEvent, AuditLine};
use super::{RawLine, read_line};

/// The conditions of a query. Each condition that is present has to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub principal: Option<String>,
    /// A name that `application` is or contains.
    pub application: Option<String>,
    pub event: Option<AuditEvent>,
    pub outcome: Option<String>,
    /// The earliest time.
    pub since: Option<Timestamp>,
    /// The first time after the wanted ones.
    pub until: Option<Timestamp>,
}

/// A line that cannot be searched. The query continues after it.
#[derive(Debug, thiserror::Error)]
pub enum AuditQueryError {
    #[error("the audit file cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("line {line} is not an audit line. Run headwater audit verify")]
    NotALine { line: u64 },
}

/// Parses the time of a query: a date, which is its beginning in UTC, or a time.
///
/// # Errors
/// A message with the accepted forms.
pub fn parse_time(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let date: Date = text.parse().map_err(|_| {
        "expected a date such as 2026-11-30 or a time such as 2026-11-30T12:00:00Z".to_owned()
    })?;
    let start = date.to_zoned(TimeZone::UTC).map_err(|error| error.to_string())?;
    Ok(start.timestamp())
}

impl Filter {
    pub fn matches(&self, line: &AuditLine) -> bool {
        let is =
            |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
        let is_application = self.application.as_ref().is_none_or(|wanted| {
            let names = line.application.iter().flat_map(|names| names.split(','));
            names.map(str::trim).any(|name| name == wanted)
        });
        is(&self.principal, &line.principal)
            && is(&self.outcome, &line.outcome)
            && is_application
            && self.event.is_none_or(|event| event == line.event)
            && self.is_in_time(line)
    }

    fn is_in_time(&self, line: &AuditLine) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        // A line that stands for many events covers the time from the first to the last of them.
        let parse = |text: &Option<String>| text.as_ref().and_then(|text| text.parse().ok());
        let time = line.timestamp();
        let first: Option<Timestamp> = parse(&line.first).or(time);
        let last: Option<Timestamp> = parse(&line.last).or(time);
        self.since.is_none_or(|since| last.is_some_and(|last| last >= since))
            && self.until.is_none_or(|until| first.is_some_and(|first| first < until))
    }
}

/// Reads the lines that satisfy a filter, in the order of the file. The chain is not verified.
pub fn query<R: BufRead>(
    mut reader: R,
    filter: &Filter,
) -> impl Iterator<Item = Result<AuditLine, AuditQueryError>> {
    let mut number = 0;
    let mut is_over = false;
    std::iter::from_fn(move || {
        while !is_over {
            number += 1;
            let not_a_line = Some(Err(AuditQueryError::NotALine { line: number }));
            match read_line(&mut reader) {
                Ok(Some(RawLine::Whole(bytes))) => match serde_json::from_slice(&bytes) {
                    Ok(line) if filter.matches(&line) => return Some(Ok(line)),
                    Ok(_) => {}
                    Err(_) => return not_a_line,
                },
                Ok(Some(RawLine::Torn | RawLine::TooLong)) => {
                    is_over = true;
                    return not_a_line;
                }
                Ok(None) => is_over = true,
                Err(error) => {
                    is_over = true;
                    return Some(Err(error.into()));
                }
            }
        }
        None
    })
}
