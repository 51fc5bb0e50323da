//! What the reports say about instances, one rule after the other.

mod incidents;
mod lists;
mod standing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headwater_rollout::bucket::{self, Bound};
use headwater_rollout::evidence::{Given, Outcome, Sighting, Standing};
use headwater_rollout::plan::{Plan, WallTime};
use headwater_rollout::state::{Branch, OTHERS, Withheld};

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::fleet::{Acknowledgement, Attributes, InstanceHealth, Outcome as Ack, Reason};
use crate::model::{Digest, Label, Query, Revision};

const SALT: u64 = 7;
const STABLE: u8 = 1;
const CANDIDATE: u8 = 2;
/// The digest of a content that is none of the sides.
const FORMER: u8 = 3;

fn digest(number: u8) -> Digest {
    Digest([number; 32])
}

fn sides(stable: &[u8], candidate: &[u8]) -> Sides {
    let digests = |numbers: &[u8]| numbers.iter().map(|own| digest(*own)).collect();
    Sides { stable: digests(stable), candidate: digests(candidate) }
}

fn query(application: &str) -> Query {
    Query { application: application.into(), profiles: "prod".into(), label: Label::Default }
}

fn key(name: &str) -> u64 {
    bucket::key("order", "prod", name)
}

fn member() -> Member {
    Member {
        stable: "1".into(),
        content: None,
        salt: SALT,
        bound: Bound::NONE,
        named: BTreeSet::new(),
        wanted: 0,
    }
}

fn rollout(id: &str, applications: &[&str]) -> Rollout {
    Rollout {
        id: id.into(),
        number: 5,
        from: "1".into(),
        to: "2".into(),
        salt: SALT,
        plan: Arc::new(Plan::built_in("auto").unwrap()),
        members: applications.iter().map(|name| (Name::from(*name), member())).collect(),
        phase: Phase::Trying,
        paused: None,
        depends_on: BTreeSet::new(),
        expected: 0,
        by: "jo".into(),
        because: None,
        opened: WallTime(0),
    }
}

/// A connected instance of `order` that has acknowledged stable.
fn instance(name: &str) -> Instance {
    Instance {
        name: name.into(),
        query: query("order"),
        incarnation: Some("1".into()),
        attributes: Attributes::default(),
        applied: Some(acknowledgement(STABLE, Ack::Applied)),
        since: Timestamp::UNIX_EPOCH,
        reason: None,
        contract: None,
        health: None,
        down_count: 0,
        is_witness: true,
        tries: false,
        restart_count: 0,
        namesake_count: 1,
        first_seen: Timestamp::UNIX_EPOCH,
        last_seen: Timestamp::UNIX_EPOCH,
        disconnected_at: None,
    }
}

fn acknowledgement(number: u8, outcome: Ack) -> Acknowledgement {
    Acknowledgement { revision: Revision::new("2"), digest: digest(number), outcome }
}

/// One rollout `r` of `order` on a branch, its instances, and a clock.
struct Scene {
    tracker: EvidenceTracker,
    branch: Branch,
    instances: Vec<Instance>,
    sides: Option<Sides>,
    /// The sides of the environments of other applications.
    other_sides: BTreeMap<&'static str, Sides>,
    /// Seconds.
    now: u64,
    reports: Vec<Report>,
}

impl Scene {
    fn new(names: &[&str]) -> Self {
        let running = vec![rollout("r", &["order"])];
        Self {
            tracker: EvidenceTracker::new("a".into()),
            branch: Branch { running, ..Branch::default() },
            instances: names.iter().map(|name| instance(name)).collect(),
            sides: Some(sides(&[STABLE], &[CANDIDATE])),
            other_sides: BTreeMap::new(),
            now: 0,
            reports: Vec::new(),
        }
    }

    /// A rollout that was seen before its first stage, and whose canaries have these names.
    fn in_stage(names: &[&str], canaries: &[&str]) -> Self {
        let mut scene = Self::new(names);
        scene.look(0);
        scene.begin(canaries);
        scene
    }

    fn rollout(&mut self) -> &mut Rollout {
        &mut self.branch.running[0]
    }

    fn member(&mut self) -> &mut Member {
        self.rollout().members.values_mut().next().unwrap()
    }

    fn begin(&mut self, canaries: &[&str]) {
        self.rollout().phase = Phase::Stage(0);
        self.member().named.extend(canaries.iter().map(|name| key(name)));
        self.look(0);
    }

    fn promote(&mut self) {
        self.rollout().phase = Phase::Stage(1);
        self.member().bound = Bound::EVERYONE;
    }

    fn of(&mut self, name: &str) -> &mut Instance {
        self.instances.iter_mut().find(|own| *own.name == *name).unwrap()
    }

    fn wall(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(self.now as i64)
    }

    fn disconnect(&mut self, name: &str) {
        let now = self.wall();
        let own = self.of(name);
        (own.last_seen, own.disconnected_at) = (now, Some(now));
    }

    fn reconnect(&mut self, name: &str) {
        self.of(name).disconnected_at = None;
    }

    /// A request that ended before the next look.
    fn poll(&mut self, name: &str) {
        self.disconnect(name);
    }

    fn restart(&mut self, name: &str) {
        let own = self.of(name);
        own.restart_count += 1;
        (own.applied, own.health, own.down_count) = (None, None, 0);
        own.incarnation = Some(format!("{}", own.restart_count + 1).into());
    }

    fn acknowledge(&mut self, name: &str, number: u8, outcome: Ack) {
        let now = self.wall();
        let own = self.of(name);
        own.applied = Some(acknowledgement(number, outcome));
        own.since = now;
        own.is_witness |= outcome == Ack::Applied;
    }

    fn accept(&mut self, name: &str) {
        self.acknowledge(name, CANDIDATE, Ack::Applied);
    }

    fn reject(&mut self, name: &str) {
        self.acknowledge(name, CANDIDATE, Ack::Rejected);
        self.of(name).reason = Reason::parse("type page-size");
    }

    fn report_down(&mut self, name: &str) {
        let own = self.of(name);
        own.health = Some(InstanceHealth::Down);
        own.down_count += 1;
    }

    fn report_up(&mut self, name: &str) {
        let own = self.of(name);
        (own.health, own.down_count) = (Some(InstanceHealth::Up), 0);
    }

    /// Looks at the table after some seconds.
    fn look(&mut self, seconds: u64) {
        self.now += seconds;
        let now = self.wall();
        for own in self.instances.iter_mut().filter(|own| own.is_connected()) {
            own.last_seen = now;
        }
        let situated: Vec<Situated<'_>> = self
            .instances
            .iter()
            .map(|instance| {
                let sides = self.other_sides.get(&*instance.query.application);
                Situated { instance, sides: sides.or(self.sides.as_ref()) }
            })
            .collect();
        let now = Duration::from_secs(self.now);
        self.reports = self.tracker.report(&self.branch, &situated, now);
    }

    fn group(&self) -> &Group {
        self.reports[0].applications.values().next().unwrap()
    }

    fn find(&self, name: &str) -> Option<&Sighting> {
        let found: Vec<_> = self.group().listed.iter().filter(|own| *own.name == *name).collect();
        assert!(found.len() <= 1, "an instance is listed once");
        found.first().copied()
    }

    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.group().listed.iter().map(|own| &*own.name).collect();
        names.sort_unstable();
        names
    }

    fn standing(&self, name: &str) -> Option<Standing> {
        self.find(name).map(|own| own.standing)
    }

    fn given(&self, name: &str) -> Option<Given> {
        self.find(name)?.given.clone()
    }

    fn outcome(&self, name: &str) -> Option<Outcome> {
        self.given(name)?.outcome
    }

    fn next_seconds(&self) -> Option<u64> {
        self.tracker.next_change().map(|at| at.as_secs())
    }
}

#[test]
fn a_report_names_the_rollout_its_number_and_its_phase() {
    let mut scene = Scene::in_stage(&["a"], &["a"]);
    scene.branch.running.push(rollout("s", &["cart"]));
    scene.look(1);
    let heads = scene.reports.iter().map(|own| (&*own.rollout, own.number, own.phase));
    assert!(heads.eq([("r", 5, Phase::Stage(0)), ("s", 5, Phase::Trying)]));
    assert!(scene.reports.iter().all(|own| &*own.replica == "a"));
    assert_eq!(scene.reports[1].applications["cart"], Group::default());
    let own = scene.find("a").unwrap();
    assert_eq!((own.key, own.seen), (key("a"), 1000));
    assert_ne!(own.incarnation, 0);
    scene.branch.running.remove(0);
    scene.look(1);
    assert_eq!((scene.reports.len(), scene.tracker.rollouts.len()), (1, 1));
}

#[test]
fn a_canary_is_given_the_candidate_and_reports_about_it() {
    let mut scene = Scene::in_stage(&["a", "b", "c"], &["a", "b"]);
    assert_eq!(scene.given("a"), Some(Given::default()));
    assert_eq!(scene.given("c"), None);
    scene.accept("a");
    scene.reject("b");
    scene.look(1);
    assert_eq!(scene.outcome("a"), Some(Outcome::Accepted));
    let given = scene.given("b").unwrap();
    assert_eq!(given.outcome, Some(Outcome::Rejected));
    assert_eq!(given.reason.as_deref(), Some("type page-size"));
    // A bad report is final.
    scene.accept("b");
    scene.look(1);
    assert_eq!(scene.outcome("b"), Some(Outcome::Rejected));
}

#[test]
fn only_a_canary_has_the_candidate_whatever_others_report() {
    let mut scene = Scene::in_stage(&["a", "b"], &["b"]);
    scene.accept("a");
    scene.accept("b");
    scene.look(1);
    assert_eq!((scene.given("a"), scene.outcome("b")), (None, Some(Outcome::Accepted)));
    scene.reject("a");
    scene.look(1);
    assert_eq!(scene.given("a"), None);
    // The candidate of before has other content now, because another source has changed.
    scene.sides = Some(sides(&[STABLE], &[9]));
    scene.look(1);
    assert_eq!(scene.given("b"), Some(Given::default()));
}

#[test]
fn a_canary_whose_connection_has_ended_is_away_until_it_returns() {
    let mut scene = Scene::in_stage(&["a", "b"], &["a", "b"]);
    scene.look(1);
    scene.disconnect("a");
    // A client that only polls is not away.
    scene.poll("b");
    scene.tracker = EvidenceTracker::new("a".into());
    scene.reconnect("a");
    scene.look(1);
    scene.look(1);
    scene.disconnect("a");
    scene.look(1);
    let is_away = |scene: &Scene, name: &str| scene.given(name).map(|own| own.is_away);
    assert_eq!((is_away(&scene, "a"), is_away(&scene, "b")), (Some(true), None));
    scene.reconnect("a");
    scene.look(1);
    assert_eq!(is_away(&scene, "a"), Some(false));
}

#[test]
fn a_bound_and_an_attribute_choose_as_the_store_does() {
    let mut scene = Scene::in_stage(&["a", "b", "c"], &[]);
    scene.member().bound = Bound::behind(bucket::bucket(key("b"), SALT));
    scene.look(1);
    let choice = crate::model::CanaryChoice {
        salt: SALT,
        bound: scene.member().bound.number(),
        ..Default::default()
    };
    for name in ["a", "b", "c"] {
        let instance = crate::model::InstanceKey::new(&query("order"), name);
        assert_eq!(scene.given(name).is_some(), choice.is_canary(Some(instance)), "{name}");
    }
    let mut scene = Scene::new(&["a", "b"]);
    let stage = headwater_rollout::plan::Stage {
        reach: headwater_rollout::plan::Reach::Attribute { name: "zone".into(), value: "e".into() },
        bake: Duration::ZERO,
    };
    scene.rollout().plan = Arc::new(Plan::with_stages("zones", vec![stage]));
    scene.of("a").attributes = Attributes::parse("zone=e, rack=1").unwrap();
    scene.look(0);
    scene.begin(&[]);
    assert!(scene.given("a").is_some() && scene.given("b").is_none());
    // Only attributes that the plan needs are reported.
    let attributes = &scene.find("a").unwrap().attributes;
    assert_eq!(attributes.keys().map(|name| &**name).collect::<Vec<_>>(), ["zone"]);
}

#[test]
fn a_canary_is_given_the_candidate_once_it_is_connected() {
    let mut scene = Scene::new(&["a", "b"]);
    scene.look(0);
    scene.disconnect("a");
    scene.disconnect("b");
    scene.look(1);
    scene.begin(&["a", "b"]);
    assert_eq!(scene.given("a"), None);
    scene.reconnect("a");
    scene.look(1);
    assert!(scene.given("a").is_some());
    scene.look(1);
    scene.poll("b");
    scene.look(1);
    assert!(scene.given("b").is_some(), "a request between two looks");
}

#[test]
fn an_instance_that_a_rollout_does_not_change_is_no_part_of_it() {
    let mut scene = Scene::new(&["a"]);
    for sides in [
        None,
        Some(sides(&[STABLE], &[STABLE])),
        Some(sides(&[STABLE, FORMER], &[FORMER, STABLE])),
        // The instance follows the variant that stays the same.
        Some(sides(&[STABLE, FORMER], &[STABLE, CANDIDATE])),
    ] {
        scene.sides = sides;
        scene.look(1);
        assert_eq!(scene.group(), &Group::default(), "{:?}", scene.sides);
    }
    scene.sides = Some(sides(&[STABLE, FORMER], &[STABLE, CANDIDATE]));
    scene.acknowledge("a", FORMER, Ack::Applied);
    scene.look(1);
    assert_eq!(scene.names(), ["a"]);
}

#[test]
fn a_report_stays_while_the_sides_are_not_known() {
    let mut scene = Scene::in_stage(&["a", "b"], &["a", "b"]);
    scene.accept("a");
    scene.look(1);
    scene.sides = None;
    scene.reject("b");
    scene.look(100);
    assert_eq!((scene.outcome("a"), scene.outcome("b")), (Some(Outcome::Accepted), None));
    assert!(!scene.given("b").unwrap().is_silent);
}

#[test]
fn applications_without_an_own_entry_belong_to_the_others() {
    let mut scene = Scene::new(&["a", "b", "c", "d", "e"]);
    scene.branch.running = vec![rollout("r", &[OTHERS]), rollout("s", &["cart", "order"])];
    let withheld = rollout("t", &["bill"]);
    scene.branch.withheld =
        vec![Withheld { rollout: withheld, because: "x".into(), since: WallTime(0) }];
    for (name, application) in
        [("b", "mail"), ("c", "bill"), ("d", "order, cart ,order"), ("e", "mail,bill")]
    {
        scene.of(name).query = query(application);
    }
    scene.look(0);
    let names = |report: usize, member: &str| {
        let listed = &scene.reports[report].applications[member].listed;
        let mut names: Vec<String> = listed.iter().map(|own| own.name.to_string()).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(names(0, OTHERS), ["b", "e"]);
    assert_eq!(
        (names(1, "order"), names(1, "cart")),
        (vec!["a".into(), "d".into()], vec!["d".to_owned()])
    );
}

#[test]
fn an_instance_of_several_applications_is_a_canary_of_all_of_them() {
    let mut scene = Scene::new(&["a", "b"]);
    scene.branch.running = vec![rollout("r", &["order"]), rollout("s", &["cart"])];
    let withheld = rollout("t", &["bill"]);
    scene.branch.withheld =
        vec![Withheld { rollout: withheld, because: "x".into(), since: WallTime(0) }];
    scene.of("a").query = query("order,cart");
    scene.of("b").query = query("order,bill");
    scene.look(0);
    scene.rollout().phase = Phase::Stage(0);
    scene.member().bound = Bound::EVERYONE;
    scene.look(0);
    assert_eq!((scene.given("a"), scene.given("b")), (None, None));
    scene.branch.running[1].phase = Phase::Stage(0);
    scene.branch.running[1].members.values_mut().for_each(|own| own.bound = Bound::EVERYONE);
    scene.look(0);
    assert!(scene.given("a").is_some());
    assert_eq!(scene.given("b"), None, "the content of one of its applications is withheld");
}

#[test]
fn after_promotion_every_instance_is_given_the_candidate() {
    let mut scene = Scene::in_stage(&["a", "b"], &["a"]);
    scene.accept("a");
    scene.look(1);
    scene.promote();
    scene.look(1);
    assert_eq!(scene.outcome("a"), Some(Outcome::Accepted));
    assert_eq!(scene.given("b"), Some(Given::default()));
    assert_eq!(scene.reports[0].phase, Phase::Stage(1));
}

#[test]
fn two_clients_with_one_name_are_one_instance() {
    let mut scene = Scene::in_stage(&["a"], &["a"]);
    let mut second = instance("a");
    second.incarnation = Some("2".into());
    scene.instances.push(second);
    scene.look(1);
    scene.accept("a");
    scene.look(1);
    assert_eq!(scene.outcome("a"), None, "one of them has not reported");
    scene.instances[1].applied = Some(acknowledgement(CANDIDATE, Ack::Applied));
    scene.look(1);
    assert_eq!(scene.outcome("a"), Some(Outcome::Accepted));
    scene.instances[1].applied = Some(acknowledgement(CANDIDATE, Ack::Rejected));
    scene.instances[1].since = scene.wall();
    scene.instances[1].reason = Reason::parse("type a");
    scene.instances[1].disconnected_at = Some(scene.wall());
    scene.look(1);
    let given = scene.given("a").unwrap();
    assert_eq!((given.outcome, given.reason.as_deref()), (Some(Outcome::Rejected), Some("type a")));
    // Two labels over one branch are two entries in the table.
    let mut scene = Scene::in_stage(&["a"], &["a"]);
    let mut second = instance("a");
    second.query.label = Label::Named("main".into());
    scene.instances.push(second);
    scene.look(1);
    assert_eq!(scene.names(), ["a"]);
}
