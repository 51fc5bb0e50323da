//! SOPS files of flat lines: dotenv and ini. All values are texts, and line feeds in them are written as `\n`.

use super::SopsError;
use super::metadata::Metadata;
use super::value::Value;

/// The prefix of metadata in dotenv, and the section of metadata in ini.
const METADATA: &str = "sops";
/// The section of the lines before the first section.
const DEFAULT_SECTION: &str = "DEFAULT";

/// Parses `KEY=value` lines.
pub(super) fn dotenv(text: &str) -> Result<(Vec<Value>, Metadata), SopsError> {
    let mut entries = Vec::new();
    let mut metadata = Vec::new();
    for line in text.lines() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once('=').ok_or(SopsError::Syntax("a line has no ="))?;
        let value = value.replace("\\n", "\n");
        match key.strip_prefix(METADATA).and_then(|key| key.strip_prefix('_')) {
            Some(key) => metadata.push((key.to_owned(), value)),
            None => entries.push((key.to_owned(), Value::text(value))),
        }
    }
    Ok((vec![Value::Map(entries)], Metadata::from_flat(&metadata)?))
}

/// Parses sections of `key = value` lines.
pub(super) fn ini(text: &str) -> Result<(Vec<Value>, Metadata), SopsError> {
    let mut sections = vec![(DEFAULT_SECTION.to_owned(), Vec::new())];
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(rest) = line.strip_prefix('[') {
            let name = rest.strip_suffix(']').ok_or(SopsError::Syntax("a section has no ]"))?;
            sections.push((name.trim().to_owned(), Vec::new()));
            continue;
        }
        let (key, value) = line.split_once('=').ok_or(SopsError::Syntax("a line has no ="))?;
        let entry = (key.trim().to_owned(), unquoted(value.trim()).to_owned());
        sections.last_mut().expect("the default section").1.push(entry);
    }
    let at = sections.iter().position(|(name, _)| name == METADATA);
    let (_, mut metadata) = sections.remove(at.ok_or(SopsError::NoMetadata)?);
    metadata.iter_mut().for_each(|(_, value)| *value = value.replace("\\n", "\n"));
    let sections = sections
        .into_iter()
        .filter(|(name, entries)| name != DEFAULT_SECTION || !entries.is_empty());
    let lowered = |(name, entries): (String, Vec<(String, String)>)| {
        let entries = entries.into_iter().map(|(key, value)| (key, Value::text(value)));
        (name, Value::Map(entries.collect()))
    };
    Ok((vec![Value::Map(sections.map(lowered).collect())], Metadata::from_flat(&metadata)?))
}

/// The text between a pair of quotes.
fn unquoted(value: &str) -> &str {
    for quote in ["\"\"\"", "`", "\"", "'"] {
        let inner = value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        if let Some(inner) = inner {
            return inner;
        }
    }
    value
}
