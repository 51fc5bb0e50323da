//! What went wrong at which key. `serde` puts values into its messages; here they are taken out again.

use std::fmt::{self, Display};

use serde::de::{self, Expected, Unexpected};

use crate::placeholder::PlaceholderProblem;

/// A problem and the key it was found at, which grows from its end as the error travels up.
#[derive(Debug)]
pub(crate) struct DeError {
    pub(crate) key: String,
    pub(crate) problem: Problem,
}

#[derive(Debug)]
pub(crate) enum Problem {
    Type(String),
    Placeholder(PlaceholderProblem),
}

impl DeError {
    pub(crate) fn new(problem: String) -> DeError {
        DeError { key: String::new(), problem: Problem::Type(problem) }
    }

    pub(crate) fn missing() -> DeError {
        DeError::new("is missing".to_owned())
    }

    pub(crate) fn found(kind: &str) -> DeError {
        DeError::new(format!("is {kind}"))
    }

    /// Completes [`DeError::found`] with what should be there.
    pub(crate) fn wanted(self, expected: impl Display) -> DeError {
        match self.problem {
            Problem::Type(found) => DeError::new(format!("{found}, expected {expected}")),
            Problem::Placeholder(_) => self,
        }
    }

    pub(crate) fn below(mut self, name: &str, bracket: bool) -> DeError {
        let rest = std::mem::take(&mut self.key);
        let dot = if rest.is_empty() || rest.starts_with('[') { "" } else { "." };
        self.key =
            if bracket { format!("[{name}]{dot}{rest}") } else { format!("{name}{dot}{rest}") };
        self
    }
}

impl From<PlaceholderProblem> for DeError {
    fn from(problem: PlaceholderProblem) -> DeError {
        DeError { key: String::new(), problem: Problem::Placeholder(problem) }
    }
}

impl de::Error for DeError {
    /// The text may quote the value, so it is dropped.
    fn custom<T: Display>(_message: T) -> DeError {
        DeError::new("has a value that its type does not accept".to_owned())
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> DeError {
        DeError::found(kind(&unexpected)).wanted(expected)
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> DeError {
        DeError::found(&format!("{} of the wrong value", kind(&unexpected))).wanted(expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> DeError {
        DeError::found(&format!("of length {length}")).wanted(expected)
    }

    /// The variant may be the value itself.
    fn unknown_variant(_variant: &str, expected: &'static [&'static str]) -> DeError {
        DeError::new(format!("is no known variant, expected one of {}", expected.join(", ")))
    }

    fn unknown_field(field: &str, _expected: &'static [&'static str]) -> DeError {
        DeError::new("is not known here".to_owned()).below(field, false)
    }

    fn missing_field(field: &'static str) -> DeError {
        DeError::missing().below(field, false)
    }

    fn duplicate_field(field: &'static str) -> DeError {
        DeError::new("is there twice".to_owned()).below(field, false)
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
        match &self.problem {
            Problem::Type(problem) => write!(f, "`{}` {problem}", self.key),
            Problem::Placeholder(problem) => {
                write!(f, "`{}` has a placeholder: {problem}", self.key)
            }
        }
    }
}

impl std::error::Error for DeError {}
