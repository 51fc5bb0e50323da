//! The shape of the state in JSON, and its conversion in both directions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::hex::Hex;
use super::intent::Intent;
use super::{Branch, Content, Member, Past, Pause, Phase, Rollout, State, Withheld};
use crate::Name;
use crate::bucket::Bound;
use crate::plan::{CanaryFilter, Plan, Reach, Stage, Unwatched, WallTime};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireState {
    lineage: Hex<u64>,
    number: u64,
    branches: BTreeMap<Name, WireBranch>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) intents: BTreeMap<Name, WireIntent>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireIntent {
    from: Name,
    to: Name,
    number: u64,
    next: WireBranch,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireBranch {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    running: Vec<WireRollout>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    withheld: Vec<WireWithheld>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    past: BTreeMap<Name, WirePast>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WirePast {
    #[serde(default, skip_serializing_if = "is_zero")]
    number: u64,
    since: i64,
    contents: Vec<(Hex<u128>, i64)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireWithheld {
    because: Name,
    since: i64,
    rollout: WireRollout,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireRollout {
    id: Name,
    number: u64,
    from: Name,
    to: Name,
    salt: Hex<u64>,
    plan: WirePlan,
    phase: Phase,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    paused: Option<Pause>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    depends_on: BTreeSet<Name>,
    expected: u64,
    by: Name,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    because: Option<Name>,
    opened: i64,
    applications: BTreeMap<Name, WireMember>,
}

/// Parts that are absent are those of the rollout, or none.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireMember {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stable: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content: Option<Hex<u128>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    salt: Option<Hex<u64>>,
    #[serde(default, skip_serializing_if = "is_zero")]
    bound: u64,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    named: BTreeSet<Hex<u64>>,
    #[serde(default, skip_serializing_if = "is_zero")]
    wanted: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WirePlan {
    name: Name,
    /// The reach and the bake in seconds.
    stages: Vec<(String, u64)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    checks: Vec<Name>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    instances: Vec<Name>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    attributes: Vec<(Name, Name)>,
    /// The attribute that becomes stages, and their bake in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<(Name, u64)>,
    unwatched: Unwatched,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deadline: Option<u64>,
    ack_within: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl From<&State> for WireState {
    fn from(state: &State) -> Self {
        let branches = state.branches.iter().map(|(name, own)| (name.clone(), own.into()));
        let intents = state.intents.iter().map(|(name, own)| {
            let Intent { from, to, number, next } = own;
            let intent = WireIntent {
                from: from.clone(),
                to: to.clone(),
                number: *number,
                next: next.into(),
            };
            (name.clone(), intent)
        });
        Self {
            lineage: Hex(state.lineage),
            number: state.number,
            branches: branches.collect(),
            intents: intents.collect(),
        }
    }
}

impl TryFrom<WireState> for State {
    type Error = String;

    fn try_from(wire: WireState) -> Result<Self, String> {
        let branches = wire.branches.into_iter();
        let branches = branches.map(|(name, own)| Ok((name, own.try_into()?)));
        let intents = wire.intents.into_iter().map(|(name, own)| {
            let WireIntent { from, to, number, next } = own;
            Ok((name, Intent { from, to, number, next: next.try_into()? }))
        });
        let branches = branches.collect::<Result<_, String>>()?;
        let intents = intents.collect::<Result<_, String>>()?;
        Ok(Self { lineage: wire.lineage.0, number: wire.number, branches, intents })
    }
}

impl From<&Branch> for WireBranch {
    fn from(branch: &Branch) -> Self {
        let withheld = branch.withheld.iter().map(|own| WireWithheld {
            because: own.because.clone(),
            since: own.since.0,
            rollout: (&own.rollout).into(),
        });
        let past = branch.past.iter().map(|(name, own)| {
            let content = |(content, at): &(Content, WallTime)| (content.into(), at.0);
            let contents = own.contents.iter().map(content).collect();
            (name.clone(), WirePast { number: own.number, since: own.since.0, contents })
        });
        Self {
            running: branch.running.iter().map(Into::into).collect(),
            withheld: withheld.collect(),
            past: past.collect(),
        }
    }
}

impl TryFrom<WireBranch> for Branch {
    type Error = String;

    fn try_from(wire: WireBranch) -> Result<Self, String> {
        let withheld = wire.withheld.into_iter().map(|own| {
            let WireWithheld { because, since, rollout } = own;
            Ok(Withheld { because, since: WallTime(since), rollout: rollout.try_into()? })
        });
        let past = wire.past.into_iter().map(|(name, own)| {
            let content = |(content, at): (Hex<u128>, i64)| (content.into(), WallTime(at));
            let contents = own.contents.into_iter().map(content).collect();
            (name, Past { number: own.number, since: WallTime(own.since), contents })
        });
        Ok(Self {
            running: wire.running.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            withheld: withheld.collect::<Result<_, String>>()?,
            past: past.collect(),
        })
    }
}

impl From<&Content> for Hex<u128> {
    fn from(content: &Content) -> Self {
        Self(u128::from_be_bytes(content.0))
    }
}

impl From<Hex<u128>> for Content {
    fn from(hex: Hex<u128>) -> Self {
        Self(hex.0.to_be_bytes())
    }
}

impl From<&Rollout> for WireRollout {
    fn from(own: &Rollout) -> Self {
        let member = |(name, member): (&Name, &Member)| {
            let member = WireMember {
                stable: (member.stable != own.from).then(|| member.stable.clone()),
                content: member.content.as_ref().map(Into::into),
                salt: (member.salt != own.salt).then_some(Hex(member.salt)),
                bound: member.bound.number(),
                named: member.named.iter().map(|key| Hex(*key)).collect(),
                wanted: member.wanted.into(),
            };
            (name.clone(), member)
        };
        Self {
            id: own.id.clone(),
            number: own.number,
            from: own.from.clone(),
            to: own.to.clone(),
            salt: Hex(own.salt),
            plan: (&*own.plan).into(),
            phase: own.phase,
            paused: own.paused.clone(),
            depends_on: own.depends_on.clone(),
            expected: own.expected,
            by: own.by.clone(),
            because: own.because.clone(),
            opened: own.opened.0,
            applications: own.members.iter().map(member).collect(),
        }
    }
}

impl TryFrom<WireRollout> for Rollout {
    type Error = String;

    fn try_from(wire: WireRollout) -> Result<Self, String> {
        let (from, salt) = (wire.from.clone(), wire.salt.0);
        let member = |(name, own): (Name, WireMember)| {
            let out_of_range = |what: &str| format!("application {name}: {what} is out of range");
            let member = Member {
                stable: own.stable.unwrap_or_else(|| from.clone()),
                content: own.content.map(Into::into),
                salt: own.salt.map_or(salt, |salt| salt.0),
                bound: Bound::from_number(own.bound).ok_or_else(|| out_of_range("bound"))?,
                named: own.named.into_iter().map(|key| key.0).collect(),
                wanted: u32::try_from(own.wanted).map_err(|_| out_of_range("wanted"))?,
            };
            Ok((name, member))
        };
        let members = wire.applications.into_iter().map(member).collect::<Result<_, String>>()?;
        Ok(Self {
            id: wire.id,
            number: wire.number,
            from: wire.from,
            to: wire.to,
            salt,
            plan: Arc::new(wire.plan.try_into()?),
            members,
            phase: wire.phase,
            paused: wire.paused,
            depends_on: wire.depends_on,
            expected: wire.expected,
            by: wire.by,
            because: wire.because,
            opened: WallTime(wire.opened),
        })
    }
}

impl From<&Plan> for WirePlan {
    fn from(plan: &Plan) -> Self {
        let stage = |stage: &Stage| (stage.reach.to_string(), stage.bake.as_secs());
        Self {
            name: plan.name.clone(),
            stages: plan.stages.iter().map(stage).collect(),
            checks: plan.checks.clone(),
            instances: plan.canaries.instances.clone(),
            attributes: plan.canaries.attributes.clone(),
            by: plan.by.clone().map(|by| (by, plan.by_bake.as_secs())),
            unwatched: plan.unwatched,
            deadline: plan.deadline.map(|deadline| deadline.as_secs()),
            ack_within: plan.ack_within.as_secs(),
        }
    }
}

impl TryFrom<WirePlan> for Plan {
    type Error = String;

    fn try_from(wire: WirePlan) -> Result<Self, String> {
        let stages = wire.stages.iter().map(|(reach, bake)| {
            let reach = Reach::parse(reach)?;
            Ok(Stage { reach, bake: Duration::from_secs(*bake) })
        });
        let mut plan = Self::with_stages(&wire.name, stages.collect::<Result<_, String>>()?);
        plan.checks = wire.checks;
        plan.canaries = CanaryFilter { instances: wire.instances, attributes: wire.attributes };
        if let Some((by, bake)) = wire.by {
            (plan.by, plan.by_bake) = (Some(by), Duration::from_secs(bake));
        }
        plan.unwatched = wire.unwatched;
        plan.deadline = wire.deadline.map(Duration::from_secs);
        plan.ack_within = Duration::from_secs(wire.ack_within);
        Ok(plan)
    }
}
