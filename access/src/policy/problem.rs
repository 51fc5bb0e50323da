//! Faults in a policy, each with its place.

use std::fmt;
use std::sync::Arc;

/// A place in a policy file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// How much a problem matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The policy cannot take effect.
    Error,
    /// The policy can take effect, but a part of it probably does not mean what its author wanted.
    Warning,
}

/// A fault in a policy file. It never contains a token or a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyProblem {
    /// The name of the file.
    pub file: Arc<str>,
    pub place: Place,
    pub severity: Severity,
    /// Lower case, without a final full stop.
    pub message: String,
}

impl fmt::Display for PolicyProblem {
    /// Writes `file:line:column: message`, with `warning: ` before the message of a warning.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let warning = if self.severity == Severity::Warning { "warning: " } else { "" };
        let Place { line, column } = self.place;
        write!(f, "{}:{line}:{column}: {warning}{}", self.file, self.message)
    }
}

/// A policy that cannot be used. The policy in force before stays in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyError {
    /// At least one, ordered by place.
    pub problems: Vec<PolicyProblem>,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.problems.iter().map(PolicyProblem::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for PolicyError {}
