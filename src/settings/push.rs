//! `[push]`: rules for pushes to hosted repositories.

use std::path::PathBuf;

use serde::Deserialize;

use super::Secret;
use super::described::default;
use super::secret::secret_variable;

/// The name of the table.
const TABLE: &str = "push";
/// The longest time for the trials of one push, in seconds. Other pushes to the repository wait meanwhile.
const TRY_SECONDS_MAX: u64 = 60;

/// `[push]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PushSettings {
    /// The file with the token that a push must present.
    pub token_file: Option<PathBuf>,
    /// The token, from the environment.
    #[serde(skip)]
    pub token: Option<Secret>,
    pub checks: Checks,
    /// Treat a placeholder without a value as a problem.
    pub strict: bool,
    /// Allow a branch to move to a commit that does not follow its present one, and a tag to move at all.
    pub allow_force: bool,
    pub allow_delete: bool,
    pub check_seconds_max: u64,
    pub unfinished_checks: UnfinishedChecks,
    /// The seconds in which instances answer whether they would accept a push. 0 asks none.
    pub try_seconds: u64,
    pub pack_bytes_max: u64,
    /// The hours for which a contract counts after the last instance that named it.
    pub contract_hours: u32,
    /// The program that git runs as its hook. `None` for this program. Tests serve from another one.
    #[serde(skip)]
    pub hook_program: Option<PathBuf>,
}

impl PushSettings {
    /// Adds what flags and variables set.
    pub(super) fn with(mut self, token_file: Option<PathBuf>, problems: &mut Vec<String>) -> Self {
        self.token_file = token_file.or(self.token_file);
        self.token = secret_variable("HEADWATER_PUSH_TOKEN");
        if self.token.is_some() && self.token_file.is_some() {
            problems.push("push: set token_file or HEADWATER_PUSH_TOKEN, not both".to_owned());
        }
        if self.contract_hours == 0 {
            problems.push("push: contract_hours: expected at least 1, got 0".to_owned());
        }
        if self.try_seconds > TRY_SECONDS_MAX {
            let got = self.try_seconds;
            problems
                .push(format!("push: try_seconds: expected at most {TRY_SECONDS_MAX}, got {got}"));
        }
        self
    }
}

impl Default for PushSettings {
    fn default() -> Self {
        Self {
            token_file: None,
            token: None,
            checks: default(TABLE, "checks"),
            strict: default(TABLE, "strict"),
            allow_force: default(TABLE, "allow_force"),
            allow_delete: default(TABLE, "allow_delete"),
            check_seconds_max: default(TABLE, "check_seconds_max"),
            unfinished_checks: default(TABLE, "unfinished_checks"),
            try_seconds: default(TABLE, "try_seconds"),
            pack_bytes_max: default(TABLE, "pack_bytes_max"),
            contract_hours: default(TABLE, "contract_hours"),
            hook_program: None,
        }
    }
}

/// The treatment of a push with problems.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Checks {
    #[default]
    Refuse,
    /// The push is accepted, with a warning to the pusher and in the log. For emergencies.
    Warn,
}

/// The treatment of a push whose checks did not finish in time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnfinishedChecks {
    #[default]
    Reject,
    /// The push is accepted, with a warning to the pusher and in the log.
    Accept,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contract_counts_for_an_hour_at_least() {
        for (contract_hours, problem_count) in [(0, 1), (1, 0)] {
            let settings = PushSettings { contract_hours, ..PushSettings::default() };
            let mut problems = Vec::new();
            settings.with(None, &mut problems);
            assert_eq!(problems.len(), problem_count, "{problems:?}");
        }
    }
}
