//! Parsers from bytes to properties with origins. Each format is a pure function of its bytes.
//!
//! Invariant: an error contains no text of the file, because that text can be a secret. The messages of parser libraries
//! quote the file, so they are replaced by a [`ParseError`] with a place and a fixed sentence.

mod flat_builder;
mod java_number;
mod json;
mod position_index;
mod properties;
mod sops;
mod toml;
mod xml;
mod yaml;

use crate::model::{Document, Position};

/// The format of a configuration file, by its extension.
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
    /// `.json`, if the source enables it.
    Json,
}

impl Format {
    /// The format for the extension of a file name.
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

    /// The largest file of this format that is read, in bytes. A larger one is not parsed.
    pub fn read_bytes_max(self) -> u64 {
        match self {
            Self::Xml => FOREIGN_BYTES_MAX,
            _ => FILE_BYTES_MAX as u64,
        }
    }
}

/// A failure to parse a file in its format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseError {
    pub position: Option<Position>,
    /// Lower case, without a final full stop, without text of the file.
    pub message: String,
    /// True if the file is of another kind with the extension of configuration, such as a `pom.xml`. The catalogue and the
    /// checks ignore such a file. An environment that loads it is an error, as in the original.
    pub is_foreign: bool,
}

impl ParseError {
    /// The error for a file with more than [`FILE_BYTES_MAX`] bytes.
    pub fn too_large() -> Self {
        Self::whole(format!("file is larger than {FILE_BYTES_MAX} bytes"))
    }

    /// The error for a file with more than [`Format::read_bytes_max`] bytes. XML of that size is data of another kind.
    pub fn too_large_for(format: Format) -> Self {
        Self { is_foreign: format == Format::Xml, ..Self::too_large() }
    }

    fn at(position: Position, message: impl Into<String>) -> Self {
        Self { position: Some(position), message: message.into(), is_foreign: false }
    }

    /// An error of the file as a whole, without a place.
    fn whole(message: impl Into<String>) -> Self {
        Self { position: None, message: message.into(), is_foreign: false }
    }

    fn foreign(message: impl Into<String>) -> Self {
        Self { is_foreign: true, ..Self::whole(message) }
    }
}

/// The largest configuration file that is parsed, in bytes.
pub const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The largest XML file that is read to find out if it is configuration, in bytes.
const FOREIGN_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The most documents that one file may hold.
pub const DOCUMENTS_MAX: usize = 1_000;
/// The most flat keys that one file may have.
pub const KEYS_MAX: usize = 100_000;

/// Returns true if a file may set `spring.config.import`, `spring.config.activate.on-profile`, `spring.profiles.include` or
/// `spring.profiles.group`, in any spelling. The scan looks for the words of these keys. It also returns true for every
/// file in which letters may be escaped.
pub fn may_compose(bytes: &[u8]) -> bool {
    if bytes.contains(&b'\\') || bytes.windows(2).any(|pair| pair == b"&#") {
        return true;
    }
    let letters = bytes.iter().filter(|byte| byte.is_ascii_alphanumeric());
    let text: String = letters.map(|byte| char::from(byte.to_ascii_lowercase())).collect();
    let has = |word: &str| text.contains(word);
    has("onprofile")
        || has("spring") && has("config") && has("import")
        || has("spring") && has("profiles") && (has("include") || has("group"))
}

/// Parses a file into its documents, in file order. Empty documents are omitted, as in Spring
/// (docs/protocol.md#31-names-of-property-sources).
///
/// # Errors
/// The first error in the file.
pub fn parse(format: Format, bytes: &[u8]) -> Result<Vec<Document>, ParseError> {
    let mut documents = match format {
        Format::Xml if xml::is_foreign(bytes) => Err(xml::foreign()),
        _ if bytes.len() > FILE_BYTES_MAX => Err(ParseError::too_large()),
        Format::Properties => properties::parse(bytes),
        Format::Xml => xml::parse(bytes),
        Format::Yaml => yaml::parse(bytes),
        Format::Toml => or_template(toml::parse(bytes), bytes, "toml = false"),
        Format::Json => or_template(json::parse(bytes), bytes, "json = false"),
    }?;
    if matches!(format, Format::Yaml | Format::Json) {
        sops::recognise(&mut documents, bytes, format == Format::Json);
    }
    Ok(documents)
}

/// Marks the error of a template as foreign. Spring reads neither TOML nor JSON, so a repository can contain templates with
/// these extensions.
fn or_template(
    parsed: Result<Vec<Document>, ParseError>,
    bytes: &[u8],
    setting: &str,
) -> Result<Vec<Document>, ParseError> {
    parsed.map_err(|error| {
        if !is_template(bytes) {
            return error;
        }
        let message = format!(
            "{}; it looks like a template: rename it, or set {setting} for the source",
            error.message
        );
        ParseError { is_foreign: true, message, ..error }
    })
}

/// Returns true if a file contains the delimiters of Jinja, Go templates and similar languages.
fn is_template(bytes: &[u8]) -> bool {
    let has = |sign: &[u8]| bytes.windows(sign.len()).any(|window| window == sign);
    has(b"{{") && has(b"}}") || has(b"{%") && has(b"%}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scan_for_composing_keys_finds_every_spelling() {
        for text in [
            "on-profile",
            "spring.config.activate.ON_PROFILE: x",
            "o-n-p-r-o-f-i-l-e",
            "on\\u002dprofile",
            "on&#45;profile",
            "o\0n\0p\0r\0o\0f\0i\0l\0e\0",
            "SPRING_CONFIG_IMPORT=a.yml",
            "spring: {profiles: {group: {a: b}}}",
            "spring:\n  profiles:\n    include: a",
        ] {
            assert!(may_compose(text.as_bytes()), "{text}");
        }
        for text in ["", "profile", "on-profil: 2", "onproprofile", "spring.kafka.group-id: 1"] {
            assert!(!may_compose(text.as_bytes()), "{text}");
        }
    }

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

    #[test]
    fn templates_are_foreign_only_where_they_do_not_parse() {
        let is_foreign =
            |format, text: &str| parse(format, text.as_bytes()).map_err(|error| error.is_foreign);
        assert_eq!(is_foreign(Format::Toml, "a = {{ a }}"), Err(true));
        assert_eq!(is_foreign(Format::Toml, "{% if a %}\na = 1\n{% endif %}"), Err(true));
        assert_eq!(is_foreign(Format::Toml, "a = \"\"\n[b"), Err(false));
        assert!(is_foreign(Format::Toml, "a = \"{{ a }}\"").is_ok());
        assert_eq!(is_foreign(Format::Json, "{\"a\": {{ a }} }"), Err(true));
        assert_eq!(is_foreign(Format::Json, "{\"a\": }"), Err(false));
        assert_eq!(is_foreign(Format::Yaml, "a: {{ a }"), Err(false));
    }

    /// An error does not quote the file, because its text can be a secret.
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

/// Assertions for the tests of all formats.
#[cfg(test)]
mod testing {
    use super::{Format, parse};

    /// Compares key, value, line and column of every property.
    #[track_caller]
    pub(super) fn check(format: Format, text: &str, expected: &[(&str, &str, u32, u32)]) {
        let documents = parse(format, text.as_bytes()).unwrap();
        let properties = documents.iter().flat_map(|document| &document.properties);
        let rows: Vec<_> = properties
            .map(|row| (&*row.key, row.value.text(), row.position.line, row.position.column))
            .collect();
        assert_eq!(rows, expected, "{text}");
    }

    /// Compares place and message of a parse error.
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
