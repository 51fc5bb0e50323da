//! Values for tests.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Name;
use crate::bucket::key;
use crate::check::{CheckRule, Measured};
use crate::evidence::{Given, Group, Outcome, Report, Sighting, Standing, Try};
use crate::open::{Change, Headcount, NowPolicy, Opened, Options, Push, Rejection, open};
use crate::plan::{Freeze, PlanFile, WallTime};
use crate::state::{Content, Phase, Rollout, State};
use crate::step::{Situation, Step, Watches, step};

pub(crate) const BRANCH: &str = "main";

pub(crate) fn commit(index: u8) -> Name {
    format!("{index:040x}").into()
}

/// The content with a number. 0 is what the tests begin with.
pub(crate) fn content(index: u8) -> Content {
    Content::of(&[index])
}

pub(crate) fn change(application: &str, before: u8, after: u8) -> Change {
    Change {
        application: application.into(),
        profiles: vec!["prod".into()],
        before: Some(content(before)),
        after: Some(content(after)),
    }
}

pub(crate) fn sighting(application: &str, index: usize) -> Sighting {
    let name = format!("{application}-{index}");
    Sighting {
        key: key(application, "prod", &name),
        name: name.into(),
        seen: 1,
        incarnation: 1,
        standing: Standing::Accepted,
        attributes: BTreeMap::new(),
        given: None,
    }
}

/// A sighting of a canary with an outcome.
pub(crate) fn given(sighting: Sighting, outcome: impl Into<Option<Outcome>>) -> Sighting {
    Sighting { given: Some(Given { outcome: outcome.into(), ..Given::default() }), ..sighting }
}

/// A push with the plan `auto`, for tests to change.
pub(crate) struct Scene {
    pub(crate) state: State,
    pub(crate) tip: u8,
    pub(crate) plans: PlanFile,
    pub(crate) options: Options,
    pub(crate) now_policy: NowPolicy,
    pub(crate) headcounts: BTreeMap<&'static str, Headcount>,
    pub(crate) wall: WallTime,
    pub(crate) is_shared: bool,
    pub(crate) unsupported: Option<Name>,
    /// The commits that a forced push loses.
    pub(crate) lost: Vec<Name>,
}

impl Scene {
    /// A branch at commit 0 with instances of two applications.
    pub(crate) fn new() -> Self {
        let count = |instances| Headcount { instances, acknowledging: instances };
        Self {
            state: State::default(),
            tip: 0,
            plans: PlanFile::without_file("auto").unwrap(),
            options: Options::default(),
            now_policy: NowPolicy::Allowed,
            headcounts: BTreeMap::from([("order", count(12)), ("cart", count(4))]),
            wall: WallTime(1_000_000),
            is_shared: false,
            unsupported: None,
            lost: Vec::new(),
        }
    }

    pub(crate) fn with_plan(text: &str) -> Self {
        let plans = PlanFile::parse("rollout.toml", text.as_bytes(), &["errors"]).unwrap();
        Self { plans, ..Self::new() }
    }

    /// Opens a push from the tip to the next commit, and moves the tip.
    pub(crate) fn push(&mut self, changes: &[Change]) -> Result<Opened, Rejection> {
        self.push_to(self.tip + 1, changes)
    }

    pub(crate) fn push_to(&mut self, to: u8, changes: &[Change]) -> Result<Opened, Rejection> {
        let lost = self.lost.clone();
        let contains = move |commit: &str| !lost.iter().any(|own| **own == *commit);
        let headcounts = self.headcounts.clone();
        let headcount = move |name: &str| headcounts.get(name).copied().unwrap_or_default();
        let opened = open(
            &self.state,
            &Push {
                branch: BRANCH,
                from: &commit(self.tip),
                to: &commit(to),
                changes,
                is_shared: self.is_shared,
                contains: &contains,
                headcount: &headcount,
                fleet: self.headcounts.values().map(|own| own.instances).sum(),
                plans: &self.plans,
                options: &self.options,
                now_policy: self.now_policy,
                by: "jo",
                now: self.wall,
                unsupported: self.unsupported.as_ref(),
            },
        )?;
        self.tip = to;
        if let Some(next) = &opened.next {
            assert!(next.number > self.state.number);
            self.state = next.clone();
            assert_eq!(State::parse(next.to_text().as_bytes()).as_ref(), Ok(next));
        }
        Ok(opened)
    }

    pub(crate) fn running(&self) -> &[Rollout] {
        self.state.branch(BRANCH).map_or(&[], |branch| &branch.running)
    }
}

/// One replica with its reports, its clock and its memory.
pub(crate) struct Keeper {
    pub(crate) live: Vec<Name>,
    pub(crate) rank: u32,
    pub(crate) reports: Vec<Report>,
    pub(crate) measured: Vec<Measured>,
    pub(crate) rules: BTreeMap<Name, CheckRule>,
    pub(crate) now: u64,
    pub(crate) freeze: Option<Freeze>,
    pub(crate) unsupported: Option<Name>,
    pub(crate) is_connected: bool,
    pub(crate) watches: Watches,
}

impl Keeper {
    pub(crate) fn new() -> Self {
        Self {
            live: vec!["a".into()],
            rank: 0,
            reports: Vec::new(),
            measured: Vec::new(),
            rules: BTreeMap::new(),
            now: 0,
            freeze: None,
            unsupported: None,
            is_connected: true,
            watches: Watches::default(),
        }
    }

    /// Makes one step after some seconds, and keeps its state.
    pub(crate) fn step(&mut self, scene: &mut Scene, seconds: u64) -> Step {
        self.now += seconds;
        let situation = Situation {
            live: &self.live,
            rank: self.rank,
            reports: &self.reports,
            measured: &std::mem::take(&mut self.measured),
            rules: &self.rules,
            now: Duration::from_secs(self.now),
            wall: scene.wall,
            freeze: self.freeze.as_ref(),
            unsupported: self.unsupported.as_ref(),
            is_connected: self.is_connected,
        };
        let step = step(&scene.state, BRANCH, &mut self.watches, &situation);
        if let Some(next) = &step.next {
            assert_eq!(next.number, scene.state.number + 1);
            assert_eq!(State::parse(next.to_text().as_bytes()).as_ref(), Ok(next));
            scene.state = next.clone();
        }
        step
    }

    /// The words of the events of one step.
    pub(crate) fn words(&mut self, scene: &mut Scene, seconds: u64) -> Vec<String> {
        let events = self.step(scene, seconds).events;
        events.iter().map(|event| event.kind.to_string()).collect()
    }
}

/// A current report of replica `a` about a rollout.
pub(crate) fn report(rollout: &Rollout, listed: Vec<(&str, Vec<Sighting>)>) -> Report {
    let group = |listed| Group { listed, ..Group::default() };
    Report {
        replica: "a".into(),
        rollout: rollout.id.clone(),
        number: rollout.number,
        phase: rollout.phase,
        applications: listed.into_iter().map(|(name, own)| (name.into(), group(own))).collect(),
        is_trying: false,
        tries: Vec::new(),
    }
}

pub(crate) fn try_of(instance: &str, standing: Standing, is_accepted: bool) -> Try {
    Try {
        application: "order".into(),
        instance: instance.into(),
        version: Some("1.4".into()),
        standing,
        is_accepted,
        reason: (!is_accepted).then(|| "type catalogue.page-size".into()),
    }
}

/// The instances of an application of which the canaries of a rollout have an outcome.
pub(crate) fn instances(
    rollout: &Rollout,
    application: &str,
    count: usize,
    outcome: impl Into<Option<Outcome>>,
) -> Vec<Sighting> {
    let outcome = outcome.into();
    let member = &rollout.members[application];
    let all = (0..count).map(|index| sighting(application, index)).map(|own| {
        let is_below = member.bound.includes(crate::bucket::bucket(own.key, member.salt));
        let is_canary = is_below || member.named.contains(&own.key);
        if is_canary && rollout.phase >= Phase::Stage(0) { given(own, outcome) } else { own }
    });
    all.collect()
}
