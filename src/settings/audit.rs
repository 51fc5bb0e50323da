//! `[audit]`: where the audit trail is written.

use std::path::PathBuf;

use serde::Deserialize;

use super::described::default;

/// The name of the table.
const TABLE: &str = "audit";

/// `[audit]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditSettings {
    /// The file with the trail. Without file and standard output, nothing is recorded.
    pub file: Option<PathBuf>,
    /// Write the lines to standard output.
    pub stdout: bool,
    /// The size at which the file is rotated, in MiB.
    pub rotate_mib: u64,
    /// The number of rotated files that are kept. 0 keeps all.
    pub keep: usize,
    /// Reject reads of opened values while the trail cannot be written.
    pub required: bool,
}

impl Default for AuditSettings {
    fn default() -> Self {
        Self {
            file: None,
            stdout: default(TABLE, "stdout"),
            rotate_mib: default(TABLE, "rotate_mib"),
            keep: default(TABLE, "keep"),
            required: default(TABLE, "required"),
        }
    }
}

impl AuditSettings {
    /// Returns true if a destination is configured.
    pub fn is_on(&self) -> bool {
        self.file.is_some() || self.stdout
    }

    /// Checks that the settings belong together.
    pub(super) fn check(&self, problems: &mut Vec<String>) {
        if self.required && !self.is_on() {
            problems.push("audit: required needs file or stdout".to_owned());
        }
        if self.rotate_mib == 0 {
            problems.push("audit: rotate_mib: expected at least 1, got 0".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::lower::tests::load;
    use super::*;

    #[test]
    fn the_trail_is_off_without_a_destination() {
        let audit = load("").unwrap().audit;
        assert_eq!(audit, AuditSettings::default());
        assert!(!audit.is_on() && !audit.required);
        assert!(load("[audit]\nstdout = true\nrequired = true\n").unwrap().audit.is_on());
        for (text, expected) in [
            ("required = true", "audit: required needs file or stdout"),
            ("rotate_mib = 0", "audit: rotate_mib: expected at least 1"),
        ] {
            let error = load(&format!("[audit]\n{text}\n")).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
