//! Plans: which stages a change goes through, how long each is watched, and by which checks.
//!
//! Invariant: a plan names checks and cannot define one. Addresses, queries and commands belong to the operator.

mod document;
mod freeze;
mod read;
mod rules;
mod stages;
mod strictness;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Name;

pub use document::{Place, PlanError, PlanProblem};
pub use freeze::{Freeze, WallTime};
pub use rules::{Limits, Rule, Touched};
pub use value::{Share, Size, parse_duration};

/// The most stages of a plan.
pub const STAGE_COUNT_MAX: usize = 16;
/// The time in which an instance that acknowledges has to report after it was given the candidate.
const ACK_WITHIN: Duration = Duration::from_secs(60);
/// The share of the instances that goes first if the attribute of a plan does not divide them, in percent.
const UNDIVIDED_PERCENT: u32 = 5;
/// The shortest default of [`Plan::deadline`].
const DEADLINE_MIN: Duration = Duration::from_secs(600);

/// How far a stage reaches.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reach {
    /// A number or a share of the instances.
    Size(Size),
    /// The instances with this attribute, beside those of the stages before.
    Attribute { name: Name, value: Name },
    /// Every client, also those without a name.
    All,
}

impl Reach {
    /// Parses what `Display` writes.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, value)) => Ok(Self::Attribute { name: name.into(), value: value.into() }),
            None if text == "all" => Ok(Self::All),
            None => Size::parse(text).map(Self::Size),
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(size) => write!(f, "{size}"),
            Self::Attribute { name, value } => write!(f, "{name}={value}"),
            Self::All => f.write_str("all"),
        }
    }
}

/// One stage with the time for which it is watched.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stage {
    pub reach: Reach,
    pub bake: Duration,
}

/// What happens to applications without an instance that acknowledges.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Unwatched {
    /// They receive the candidate at once.
    Now,
    /// They receive the candidate in the last stage.
    #[default]
    Last,
    /// The push is rejected.
    Refuse,
}

/// Which instances may be canaries of the first stage. Empty for any.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct CanaryFilter {
    pub instances: Vec<Name>,
    /// Names and values, in the order of the names.
    pub attributes: Vec<(Name, Name)>,
}

impl CanaryFilter {
    pub fn is_empty(&self) -> bool {
        self.instances.is_empty() && self.attributes.is_empty()
    }

    /// Returns true if an instance may be a canary of the first stage.
    pub fn admits(&self, name: &str, attribute: impl Fn(&str) -> Option<Name>) -> bool {
        let is_named = self.instances.is_empty() || self.instances.iter().any(|own| **own == *name);
        let has = |(name, value): &(Name, Name)| attribute(name).as_ref() == Some(value);
        is_named && self.attributes.iter().all(has)
    }
}

/// One plan. The last of its stages, and no other, reaches all.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Plan {
    pub name: Name,
    pub stages: Vec<Stage>,
    /// The attribute whose values become stages when a rollout begins. The plan itself then has the last stage only.
    pub by: Option<Name>,
    /// The bake of each stage that `by` makes.
    pub by_bake: Duration,
    /// The names of checks, in order and each once.
    pub checks: Vec<Name>,
    pub canaries: CanaryFilter,
    pub unwatched: Unwatched,
    /// The longest time in a stage before the rollout pauses. `None` for the default of each stage.
    pub deadline: Option<Duration>,
    pub ack_within: Duration,
}

impl Plan {
    /// A built-in plan.
    pub fn built_in(name: &str) -> Option<Self> {
        let seconds = Duration::from_secs;
        let share = |percent: u32| Reach::Size(Size::Share(Share::percent(percent)));
        let stages = match name {
            "auto" => vec![(share(5), seconds(10)), (Reach::All, seconds(10))],
            "careful" => vec![
                (Reach::Size(Size::Count(1)), seconds(120)),
                (share(5), seconds(300)),
                (share(25), seconds(300)),
                (Reach::All, seconds(600)),
            ],
            "all-at-once" => vec![(Reach::All, Duration::ZERO)],
            _ => return None,
        };
        let stages = stages.into_iter().map(|(reach, bake)| Stage { reach, bake });
        Some(Self::with_stages(name, stages.collect()))
    }

    /// A plan with these stages and every other part at its default.
    pub fn with_stages(name: &str, stages: Vec<Stage>) -> Self {
        Self {
            name: name.into(),
            stages,
            by: None,
            by_bake: Duration::ZERO,
            checks: Vec::new(),
            canaries: CanaryFilter::default(),
            unwatched: Unwatched::default(),
            deadline: None,
            ack_within: ACK_WITHIN,
        }
    }

    /// Returns true if a change goes to all instances without a stage before.
    pub fn is_all_at_once(&self) -> bool {
        self.by.is_none() && self.stages.len() <= 1
    }

    /// The longest time in a stage with this bake before the rollout pauses.
    pub fn deadline(&self, bake: Duration) -> Duration {
        self.deadline.unwrap_or_else(|| DEADLINE_MIN.max(bake.saturating_mul(3)))
    }

    /// The plan with the values of `by` as stages, each value once and in order. Values beyond the most stages are
    /// left to the last one. Fewer than two values do not divide the instances, and a share of them goes first instead.
    pub fn expanded<'v>(&self, values: impl IntoIterator<Item = &'v str>) -> Self {
        let Some(name) = &self.by else {
            return self.clone();
        };
        let values: std::collections::BTreeSet<&str> = values.into_iter().collect();
        let is_divided = values.len() > 1;
        let reaches = values.into_iter().take(STAGE_COUNT_MAX - 1);
        let mut reaches: Vec<Reach> = reaches
            .map(|value| Reach::Attribute { name: name.clone(), value: value.into() })
            .collect();
        if !is_divided {
            reaches = vec![Reach::Size(Size::Share(Share::percent(UNDIVIDED_PERCENT)))];
        }
        let stages = reaches.into_iter().map(|reach| Stage { reach, bake: self.by_bake });
        let mut plan = self.clone();
        (plan.by, plan.by_bake) = (None, Duration::ZERO);
        plan.stages = stages.chain(self.stages.iter().cloned()).collect();
        plan
    }
}

/// A plan file: plans, the rules that choose among them, limits and freezes.
#[derive(Debug, Clone)]
pub struct PlanFile {
    plans: BTreeMap<Name, Arc<Plan>>,
    rules: Vec<Rule>,
    limits: Limits,
    freezes: Vec<Freeze>,
}

impl PlanFile {
    /// The path of the file on a branch.
    pub const PATH: &'static str = ".headwater/rollout.toml";
    /// The names of the plans that need no file.
    pub const BUILT_IN: [&'static str; 3] = ["auto", "careful", "all-at-once"];

    /// The plans of a branch without a file. Every change uses `default`, which is the name of a built-in plan.
    pub fn without_file(default: &str) -> Option<Self> {
        let mut file = Self::empty();
        let plan: Name = file.plans.get_key_value(default)?.0.clone();
        file.rules.push(Rule { applications: None, profiles: None, plan });
        Some(file)
    }

    fn empty() -> Self {
        let plans = Self::BUILT_IN.into_iter().filter_map(Plan::built_in);
        let plans = plans.map(|plan| (plan.name.clone(), Arc::new(plan))).collect();
        Self { plans, rules: Vec::new(), limits: Limits::default(), freezes: Vec::new() }
    }

    /// Parses a plan file, either completely or not at all. `file` is its name in messages, and `checks` are the names
    /// of the checks that the operator defines.
    pub fn parse(file: &str, text: &[u8], checks: &[&str]) -> Result<Self, PlanError> {
        read::parse(file, text, checks)
    }

    /// The plan of a name, also a built-in one.
    pub fn plan(&self, name: &str) -> Option<&Arc<Plan>> {
        self.plans.get(name)
    }

    /// The names of all plans, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.plans.keys().map(|name| &**name)
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The freeze that is in force at a time.
    pub fn freeze(&self, now: WallTime) -> Option<&Freeze> {
        self.freezes.iter().find(|freeze| freeze.contains(now))
    }
}

#[cfg(test)]
mod tests;
