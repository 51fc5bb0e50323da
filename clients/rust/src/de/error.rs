//! The errors of deserialization, with their keys. The messages of `serde` contain values, which are removed here.

use std::fmt::{self, Display};

use serde::de::{self, Expected, Unexpected};

use crate::error::PlaceholderError;

/// The problem of a required key that does not exist.
pub(crate) const MISSING: &str = "is missing";
/// The problem of a field that is present under two names.
const DUPLICATE: &str = "is present twice";

/// An error and its key. Each level that the error passes on its way up prefixes the key.
#[derive(Debug)]
pub(crate) struct DeError {
    pub(crate) key: String,
    pub(crate) kind: DeErrorKind,
}

#[derive(Debug)]
pub(crate) enum DeErrorKind {
    Type(String),
    Placeholder(PlaceholderError),
}

impl DeError {
    pub(crate) fn new(problem: String) -> DeError {
        DeError { key: String::new(), kind: DeErrorKind::Type(problem) }
    }

    pub(crate) fn missing() -> DeError {
        DeError::new(MISSING.to_owned())
    }

    pub(crate) fn found(kind: &str) -> DeError {
        DeError::new(format!("is {kind}"))
    }

    /// Returns the name of the last part of the key, if a required field is missing.
    pub(crate) fn missing_field(&self) -> Option<&str> {
        self.last_name_if(MISSING)
    }

    /// Returns the name of the last part of the key, if a field is present under two names.
    pub(crate) fn duplicate_field(&self) -> Option<&str> {
        self.last_name_if(DUPLICATE)
    }

    fn last_name_if(&self, problem: &str) -> Option<&str> {
        let is_it = matches!(&self.kind, DeErrorKind::Type(found) if found == problem);
        let name = self.key.rsplit(['.', ']']).next();
        name.filter(|_| is_it)
    }

    /// Appends the expected type to [`DeError::found`].
    pub(crate) fn expected(self, expected: impl Display) -> DeError {
        match self.kind {
            DeErrorKind::Type(found) => DeError::new(format!("{found}, expected {expected}")),
            DeErrorKind::Placeholder(_) => self,
        }
    }

    /// Prefixes the key with the name of the parent.
    pub(crate) fn below(mut self, name: &str, bracket: bool) -> DeError {
        let rest = std::mem::take(&mut self.key);
        let dot = if rest.is_empty() || rest.starts_with('[') { "" } else { "." };
        self.key =
            if bracket { format!("[{name}]{dot}{rest}") } else { format!("{name}{dot}{rest}") };
        self
    }
}

impl From<PlaceholderError> for DeError {
    fn from(problem: PlaceholderError) -> DeError {
        DeError { key: String::new(), kind: DeErrorKind::Placeholder(problem) }
    }
}

impl de::Error for DeError {
    /// Drops the text, which may quote the value.
    fn custom<T: Display>(_message: T) -> DeError {
        DeError::new("has a value that its type does not accept".to_owned())
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> DeError {
        DeError::found(kind(&unexpected)).expected(expected)
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> DeError {
        DeError::found(&format!("{} of the wrong value", kind(&unexpected))).expected(expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> DeError {
        DeError::found(&format!("of length {length}")).expected(expected)
    }

    /// Drops the name of the variant, which may be the value.
    fn unknown_variant(_variant: &str, expected: &'static [&'static str]) -> DeError {
        DeError::new(format!("is not a known variant, expected one of {}", expected.join(", ")))
    }

    fn unknown_field(field: &str, _expected: &'static [&'static str]) -> DeError {
        DeError::new("is an unknown field".to_owned()).below(field, false)
    }

    fn missing_field(field: &'static str) -> DeError {
        DeError::missing().below(field, false)
    }

    fn duplicate_field(field: &'static str) -> DeError {
        DeError::new(DUPLICATE.to_owned()).below(field, false)
    }
}

fn kind(unexpected: &Unexpected<'_>) -> &'static str {
    match unexpected {
        Unexpected::Bool(_) => "a boolean",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "an integer",
        Unexpected::Float(_) => "a floating point number",
        Unexpected::Char(_) | Unexpected::Str(_) | Unexpected::Bytes(_) => "a string",
        Unexpected::Unit | Unexpected::Option => "nothing",
        Unexpected::Seq => "a list",
        Unexpected::Map => "a map",
        _ => "something else",
    }
}

impl Display for DeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            DeErrorKind::Type(problem) => write!(f, "`{}` {problem}", self.key),
            DeErrorKind::Placeholder(problem) => {
                write!(f, "`{}` has an unresolvable placeholder: {problem}", self.key)
            }
        }
    }
}

impl std::error::Error for DeError {}
