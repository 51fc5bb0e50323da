//! `[rollout]`: the stages of a change.

use clap::ValueEnum;
use headwater_rollout::open::NowPolicy;
use serde::Deserialize;

use super::described::default;
use super::rollout_checks::{self, RolloutCheckSettings};

/// The name of the table.
const TABLE: &str = "rollout";

/// `[rollout]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RolloutSettings {
    /// The plan of a branch that has no plan file.
    pub default: RolloutDefault,
    /// Whether a push may skip the stages with the option `now`.
    pub now: NowSetting,
    /// The measurements that plans can name.
    pub check: Vec<RolloutCheckSettings>,
}

impl RolloutSettings {
    /// Adds what a flag or a variable sets, and checks the measurements.
    pub(super) fn with(
        mut self,
        default: Option<RolloutDefault>,
        problems: &mut Vec<String>,
    ) -> Self {
        self.default = default.unwrap_or(self.default);
        rollout_checks::check_all(&self.check, problems);
        self
    }
}

impl Default for RolloutSettings {
    fn default() -> Self {
        Self { default: default(TABLE, "default"), now: default(TABLE, "now"), check: Vec::new() }
    }
}

/// The plan of a hosted branch without a plan file: a built-in one, or none. With `off`, a branch with a plan file still has
/// rollouts. Every other kind of source has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutDefault {
    Auto,
    Careful,
    AllAtOnce,
    Off,
}

impl RolloutDefault {
    /// The name of the built-in plan. `None` if a branch without a plan file has no rollouts.
    pub fn plan(self) -> Option<&'static str> {
        match self {
            Self::Auto => Some("auto"),
            Self::Careful => Some("careful"),
            Self::AllAtOnce => Some("all-at-once"),
            Self::Off => None,
        }
    }
}

/// Whether a push may skip the stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NowSetting {
    Allowed,
    /// Only with a reason.
    Reason,
    Denied,
}

impl From<NowSetting> for NowPolicy {
    fn from(setting: NowSetting) -> Self {
        match setting {
            NowSetting::Allowed => Self::Allowed,
            NowSetting::Reason => Self::Reason,
            NowSetting::Denied => Self::Denied,
        }
    }
}

#[cfg(test)]
mod tests {
    use headwater_rollout::plan::PlanFile;

    use super::*;
    use crate::settings::lower::tests::load;

    #[test]
    fn a_hosted_branch_has_the_plan_auto_by_default() {
        let settings = RolloutSettings::default();
        assert_eq!(settings.default.plan(), Some("auto"));
        assert_eq!(NowPolicy::from(settings.now), NowPolicy::Allowed);
    }

    #[test]
    fn each_default_is_a_built_in_plan_or_none() {
        for value in RolloutDefault::value_variants() {
            let name = value.to_possible_value().unwrap();
            let text = format!("[rollout]\ndefault = \"{}\"\n", name.get_name());
            assert_eq!(load(&text).unwrap().rollout.default, *value);
            assert!(value.plan().is_none_or(|plan| plan == name.get_name()));
            assert!(value.plan().is_none_or(|plan| PlanFile::without_file(plan).is_some()));
        }
    }

    #[test]
    fn checks_are_read_with_the_table() {
        let settings =
            load("[[rollout.check]]\nname = \"smoke\"\nexec = [\"/bin/true\"]\n").unwrap();
        assert_eq!(settings.rollout.check[0].name, "smoke");
        let error = load("[[rollout.check]]\nname = \"smoke\"\n").unwrap_err().to_string();
        assert!(error.contains("\"smoke\": set exactly one of"), "{error}");
    }

    #[test]
    fn a_flag_wins_over_the_file() {
        let mut problems = Vec::new();
        let file = RolloutSettings {
            default: RolloutDefault::Careful,
            now: NowSetting::Denied,
            check: Vec::new(),
        };
        assert_eq!(file.clone().with(None, &mut problems), file);
        let settings = file.with(Some(RolloutDefault::Off), &mut problems);
        assert!(problems.is_empty());
        assert_eq!(settings.default.plan(), None);
        assert_eq!(settings.now, NowSetting::Denied);
    }
}
