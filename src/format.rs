//! Bytes to properties with their origins. Each format is a pure function of its bytes; none opens a file.
//!
//! A format's errors never carry text of the file: parser messages quote what they read, and what they read may be a
//! secret. They are lowered to a [`ParseError`]: a place and a fixed sentence.

mod flat;
mod java;
mod json;
mod place;
mod properties;
mod toml;
mod xml;
mod yaml;

use crate::model::{Document, Position};

/// The formats a configuration file may have, by its extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// `.properties`, as Spring reads them.
    Properties,
    /// `.xml`, as `java.util.Properties` writes it.
    Xml,
    /// `.yml` and `.yaml`, YAML 1.1 as Spring reads it.
    Yaml,
    /// `.toml`, an addition of Headwater.
    Toml,
    /// `.json`, only where it is switched on.
    Json,
}

impl Format {
    /// The format that a file's name says it has.
    pub fn of(name: &str) -> Option<Self> {
        match name.rsplit_once('.')?.1 {
            "properties" => Some(Self::Properties),
            "xml" => Some(Self::Xml),
            "yml" | "yaml" => Some(Self::Yaml),
            "toml" => Some(Self::Toml),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// Why a file cannot be read as its format says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseError {
    /// Where, if the place is known.
    pub position: Option<Position>,
    /// Lower case, no full stop, no text of the file.
    pub message: String,
}

impl ParseError {
    /// The file has more bytes than [`FILE_BYTES_MAX`].
    pub fn too_large() -> Self {
        Self::whole(format!("file is larger than {FILE_BYTES_MAX} bytes"))
    }

    /// A problem at a place.
    fn at(position: Position, message: impl Into<String>) -> Self {
        Self { position: Some(position), message: message.into() }
    }

    /// A problem of the file as a whole.
    fn whole(message: impl Into<String>) -> Self {
        Self { position: None, message: message.into() }
    }
}

/// The largest configuration file that is parsed, in bytes.
pub const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most documents that one file may hold.
pub const DOCUMENTS_MAX: usize = 1_000;
/// The most flat keys that one file may give.
pub const KEYS_MAX: usize = 100_000;

/// Parses a file into its documents, in file order, empty documents left out as Spring does (specification, 3.1).
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn parse(format: Format, bytes: &[u8]) -> Result<Vec<Document>, ParseError> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(ParseError::too_large());
    }
    match format {
        Format::Properties => properties::parse(bytes),
        Format::Xml => xml::parse(bytes),
        Format::Yaml => yaml::parse(bytes),
        Format::Toml => toml::parse(bytes),
        Format::Json => json::parse(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Format; 4] = [Format::Properties, Format::Yaml, Format::Toml, Format::Json];

    #[test]
    fn larger_files_are_not_parsed() {
        let comment = |bytes: usize| [b"#".as_slice(), &vec![b'x'; bytes - 1]].concat();
        for format in [Format::Properties, Format::Yaml] {
            assert_eq!(parse(format, &comment(FILE_BYTES_MAX)), Ok(Vec::new()));
        }
        for format in ALL {
            let error = parse(format, &comment(FILE_BYTES_MAX + 1)).unwrap_err();
            assert_eq!(error, ParseError::too_large());
        }
    }

    /// Whatever is wrong with a file, its text does not get into the error.
    #[test]
    fn errors_do_not_quote_the_file() {
        for text in [
            "a: s3cr3t: x",
            "a: 's3cr3t",
            "a: {s3cr3t",
            "a: *s3cr3t",
            "a: !s3cr3t x",
            "!!int s3cr3t",
            "s3cr3t: 1\ns3cr3t: 2",
            "a = s3cr3t",
            "a = \"s3cr3t",
            "[s3cr3t",
            "a = 1\na = 2 # s3cr3t",
            "a.\\us3cr3t = 1",
            "{\"s3cr3t\": 1, \"s3cr3t\": 2}",
            "{\"a\": s3cr3t}",
            "{\"a\": \"s3cr3t",
            "{\"a\": \"s3cr3t\\ud800\"}",
            "%s3cr3t s3cr3t\n- s3cr3t",
            "\"\\s3cr3t\"",
            "a: \u{1}s3cr3t",
        ] {
            for format in ALL {
                let Err(error) = parse(format, text.as_bytes()) else { continue };
                assert!(!error.message.contains("s3cr3t"), "{format:?}: {text:?}: {error}");
                assert!(error.position.is_some(), "{format:?}: {text:?}: {error}");
            }
        }
    }
}

/// What the tests of the formats share.
#[cfg(test)]
mod testing {
    use super::{Format, parse};

    /// Key, value, line and column of every property.
    #[track_caller]
    pub(super) fn check(format: Format, text: &str, expected: &[(&str, &str, u32, u32)]) {
        let documents = parse(format, text.as_bytes()).unwrap();
        let properties = documents.iter().flat_map(|document| &document.properties);
        let rows: Vec<_> = properties
            .map(|row| (&*row.key, row.value.text(), row.position.line, row.position.column))
            .collect();
        assert_eq!(rows, expected, "{text}");
    }

    /// Place and reason of a refusal.
    #[track_caller]
    pub(super) fn check_refused(
        format: Format,
        text: &str,
        place: Option<(u32, u32)>,
        message: &str,
    ) {
        let error = parse(format, text.as_bytes()).map(|documents| documents.len()).unwrap_err();
        let position = error.position.map(|position| (position.line, position.column));
        assert_eq!((position, error.message.as_str()), (place, message));
    }
}
