//! Restarts, clients with one name, reports, and the bounds of the table.

use headwater_wire::Outcome;

use super::shares::{GUARANTEED_COUNT, SHARE_COUNT_MAX};
use super::*;
use crate::model::{Digest, Label, Revision};

fn query() -> Query {
    Query { application: "product".into(), profiles: "prod".into(), label: Label::Default }
}

fn key(name: &str) -> InstanceKey {
    InstanceKey { name: name.into(), query: query() }
}

fn key_of(application: &str, name: &str) -> InstanceKey {
    let query = Query { application: application.into(), ..query() };
    InstanceKey { name: name.into(), query }
}

fn report(name: &str) -> InstanceReport {
    InstanceReport::new(name).unwrap()
}

fn run_of(name: &str, incarnation: &str) -> InstanceReport {
    InstanceReport { incarnation: Some(incarnation.into()), ..report(name) }
}

fn acknowledged(report: InstanceReport, digit: &str, outcome: Outcome) -> InstanceReport {
    let applied = Acknowledgement {
        revision: Revision::new(digit.repeat(40)),
        digest: Digest::parse(&digit.repeat(64)).unwrap(),
        outcome,
    };
    InstanceReport { applied: Some(applied), ..report }
}

fn seconds(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

/// A table whose requests begin and end at given times.
#[derive(Default)]
struct Stage(InstanceTable);

impl Stage {
    fn enter(&mut self, report: InstanceReport, now: i64) -> u64 {
        let key = key(&report.name);
        self.0.enter(&key, report, seconds(now)).unwrap().run
    }

    fn leave(&mut self, name: &str, run: u64, now: i64) {
        self.0.leave(&key(name), run, seconds(now));
    }

    /// A request that ends at once.
    fn ask(&mut self, report: InstanceReport, now: i64) {
        let name = report.name.clone();
        let run = self.enter(report, now);
        self.leave(&name, run, now);
    }

    fn shown(&self, now: i64) -> Vec<Instance> {
        let named = self.0.instances.iter();
        let shown = named.flat_map(|(key, it)| it.show(&key.name, &key.query, seconds(now)));
        let mut shown: Vec<_> = shown.collect();
        shown.sort_by_cached_key(Instance::sort_key);
        shown
    }

    fn only(&self) -> Instance {
        let mut shown = self.shown(0);
        assert_eq!(shown.len(), 1);
        shown.remove(0)
    }
}

/// Adds connected instances of an application, with numbers as names, until one is ignored or the count is reached.
/// Returns their runs.
fn fill(table: &mut InstanceTable, application: &str, count_max: usize) -> Vec<u64> {
    let mut enter = |number: usize| {
        let name = number.to_string();
        table.enter(&key_of(application, &name), report(&name), seconds(0)).map(|it| it.run)
    };
    (0..count_max).map_while(&mut enter).collect()
}

/// Fills the table completely: `product` has its share, and many applications have few instances each. Returns the runs
/// of `product`.
fn full() -> (InstanceTable, Vec<u64>) {
    let mut table = InstanceTable::default();
    let runs = fill(&mut table, "product", SHARE_COUNT_MAX);
    assert_eq!(runs.len(), SHARE_COUNT_MAX);
    for number in 0.. {
        if table.shares.run_count() == COUNT_MAX {
            break;
        }
        let room = COUNT_MAX - table.shares.run_count();
        let count = room.min(GUARANTEED_COUNT);
        assert_eq!(fill(&mut table, &format!("small-{number}"), count).len(), count);
    }
    (table, runs)
}

#[test]
fn the_table_is_bounded_and_silent_instances_expire() {
    let (mut table, runs) = full();
    let begin = seconds(0);
    assert!(table.enter(&key("more"), report("more"), begin).is_none());
    assert!(table.enter(&key("0"), run_of("0", "first"), begin).is_some());
    // A further client with a known name needs room, too.
    assert!(table.enter(&key("0"), run_of("0", "second"), begin).is_none());
    assert!(table.enter(&key_of("cart", "a"), report("a"), begin).is_none());
    assert_eq!(table.left_out_count, 3);
    let mut left_out = table.shares.left_out();
    left_out.sort_unstable();
    assert_eq!(left_out, [("cart".into(), 1), ("product".into(), 2)]);
    for (name, run) in [("0", runs[0]), ("0", runs[0]), ("1", runs[1])] {
        table.leave(&key(name), run, begin);
    }
    let later = begin + EXPIRES_AFTER;
    assert!(table.enter(&key_of("cart", "a"), report("a"), later).is_some());
    // All other instances are still connected.
    let count = COUNT_MAX - 1;
    assert_eq!((table.instances.len(), table.shares.run_count()), (count, count));
}

#[test]
fn applications_do_not_fill_the_table_for_others() {
    let mut table = InstanceTable::default();
    // The large ones come one after the other, each with as many instances as it can have.
    let counts: Vec<usize> = ["product", "order", "cart", "search", "mail"]
        .iter()
        .map(|application| fill(&mut table, application, COUNT_MAX).len())
        .collect();
    assert_eq!(counts[0], SHARE_COUNT_MAX);
    assert!(counts.is_sorted_by(|one, other| one > other), "{counts:?}");
    assert_eq!(table.left_out_count, 5);
    for number in 0..6 {
        let few = fill(&mut table, &format!("small-{number}"), GUARANTEED_COUNT / 4);
        assert_eq!(few.len(), GUARANTEED_COUNT / 4, "{number}");
    }
}

#[test]
fn large_applications_that_grow_together_have_equal_shares() {
    let mut table = InstanceTable::default();
    let mut counts = [0; 3];
    for number in 0..COUNT_MAX {
        for (count, application) in counts.iter_mut().zip(["product", "order", "cart"]) {
            let name = number.to_string();
            let key = key_of(application, &name);
            *count += usize::from(table.enter(&key, report(&name), seconds(0)).is_some());
        }
    }
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert!(most - least <= 2, "{counts:?}");
    // Two sevenths for each of them, and a seventh is left.
    assert!(most.abs_diff(COUNT_MAX * 2 / 7) <= 2, "{counts:?}");
}

#[test]
fn an_application_above_its_share_keeps_its_number() {
    let mut table = InstanceTable::default();
    for (number, run) in fill(&mut table, "product", COUNT_MAX).into_iter().enumerate() {
        table.leave(&key(&number.to_string()), run, seconds(1));
    }
    fill(&mut table, "order", COUNT_MAX);
    let before = table.instances.len();
    assert!(table.enter(&key("more"), report("more"), seconds(1)).is_some());
    assert_eq!((table.instances.len(), table.shares.run_count()), (before, before));
    assert!(!table.instances.contains_key(&key("0")));
}

#[test]
fn the_oldest_disconnected_entry_without_acknowledgement_makes_room() {
    let (mut table, runs) = full();
    let acknowledgement = acknowledged(report("0"), "1", Outcome::Applied);
    table.enter(&key("0"), acknowledgement, seconds(0)).unwrap();
    for at in [0, 0, 3, 1, 2] {
        table.leave(&key(&at.to_string()), runs[at], seconds(1));
    }
    // This one is connected again, and disconnected after the others.
    let run = table.enter(&key("3"), report("3"), seconds(1)).unwrap().run;
    table.leave(&key("3"), run, seconds(2));
    for (new, removed) in [("a", "1"), ("b", "2"), ("c", "3")] {
        assert!(table.enter(&key(new), report(new), seconds(2)).is_some(), "{new}");
        assert!(!table.instances.contains_key(&key(removed)), "{removed}");
    }
    // A witness stays, and so do the entries of other applications.
    assert!(table.enter(&key("d"), report("d"), seconds(2)).is_none());
    assert!(table.instances.contains_key(&key("0")));
    assert_eq!((table.shares.run_count(), table.left_out_count), (COUNT_MAX, 1));
}

#[test]
fn names_that_are_used_once_replace_each_other() {
    let mut stage = Stage::default();
    for number in 0..5 * COUNT_MAX {
        stage.ask(report(&number.to_string()), 0);
    }
    assert_eq!((stage.0.instances.len(), stage.0.left_out_count), (SHARE_COUNT_MAX, 0));
    stage.0.expire(seconds(0) + EXPIRES_AFTER);
    assert_eq!((stage.0.shares.run_count(), stage.0.shares.take_oldest("product")), (0, None));
}

#[test]
fn the_time_of_an_acknowledgement_is_that_of_its_first_request() {
    let mut stage = Stage::default();
    stage.ask(acknowledged(report("a"), "1", Outcome::Applied), 0);
    stage.ask(acknowledged(report("a"), "1", Outcome::Applied), 1);
    // A request without an acknowledgement does not revoke it.
    stage.ask(report("a"), 1);
    assert_eq!(stage.only().since, seconds(0));
    stage.ask(acknowledged(report("a"), "2", Outcome::Applied), 1);
    assert_eq!(stage.only().since, seconds(1));
}

#[test]
fn a_restart_is_the_same_instance_with_another_incarnation() {
    let mut stage = Stage::default();
    let first = stage.enter(acknowledged(run_of("a", "1"), "1", Outcome::Applied), 0);
    stage.leave("a", first, 10);
    assert_eq!(stage.only().disconnected_at, Some(seconds(10)));
    stage.enter(run_of("a", "2"), 12);
    let only = stage.only();
    assert_eq!((only.incarnation.as_deref(), only.restart_count), (Some("2"), 1));
    assert!(only.is_connected() && only.is_witness);
    // The new run has not reported yet which configuration it uses.
    assert_eq!((only.applied, only.first_seen), (None, seconds(0)));
}

#[test]
fn two_connected_clients_with_one_name_are_both_listed() {
    let mut stage = Stage::default();
    let one = stage.enter(run_of("a", "1"), 0);
    stage.enter(run_of("a", "2"), 1);
    let shown = stage.shown(1);
    let incarnations: Vec<_> = shown.iter().map(|it| it.incarnation.as_deref()).collect();
    assert_eq!(incarnations, [Some("1"), Some("2")]);
    assert!(shown.iter().all(|it| it.namesake_count == 2 && it.restart_count == 0));
    // One of them ends. It counts as replaced only if it does not come back.
    stage.leave("a", one, 2);
    stage.0.expire(seconds(61));
    assert_eq!(stage.shown(61).len(), 2);
    stage.0.expire(seconds(62));
    assert_eq!((stage.only().restart_count, stage.0.shares.run_count()), (1, 1));
}

#[test]
fn two_polling_clients_with_one_name_are_no_restarts() {
    let mut stage = Stage::default();
    for second in 0..10 {
        stage.ask(run_of("a", if second % 2 == 0 { "even" } else { "odd" }), second);
    }
    let shown = stage.shown(10);
    assert_eq!(shown.len(), 2);
    assert!(shown.iter().all(|it| it.restart_count == 0));
}

#[test]
fn a_request_without_incarnation_belongs_to_the_present_run() {
    let mut stage = Stage::default();
    stage.ask(report("a"), 0);
    stage.ask(run_of("a", "1"), 1);
    stage.ask(acknowledged(report("a"), "1", Outcome::Applied), 2);
    let only = stage.only();
    assert_eq!((only.incarnation.as_deref(), only.restart_count), (Some("1"), 0));
    assert!(only.applied.is_some());
}

#[test]
fn consecutive_reports_of_down_are_counted() {
    let down = || InstanceReport { health: Some(InstanceHealth::Down), ..report("a") };
    let mut stage = Stage::default();
    stage.ask(down(), 0);
    // The same report arrives twice, as with a reconnection.
    stage.ask(down(), 0);
    // A request without a report changes nothing.
    stage.ask(report("a"), 1);
    assert_eq!((stage.only().health, stage.only().down_count), (Some(InstanceHealth::Down), 1));
    stage.ask(down(), 2);
    assert_eq!(stage.only().down_count, 2);
    stage.ask(InstanceReport { health: Some(InstanceHealth::Up), ..report("a") }, 3);
    assert_eq!((stage.only().health, stage.only().down_count), (Some(InstanceHealth::Up), 0));
}

#[test]
fn a_reason_belongs_to_its_report() {
    let reason = Reason::parse("type a.b");
    let mut stage = Stage::default();
    let rejected = acknowledged(report("a"), "1", Outcome::Rejected);
    stage.ask(InstanceReport { reason: reason.clone(), ..rejected }, 0);
    stage.ask(report("a"), 1);
    assert_eq!((stage.only().reason, stage.only().is_witness), (reason, false));
    stage.ask(acknowledged(report("a"), "2", Outcome::Applied), 2);
    assert_eq!((stage.only().reason, stage.only().is_witness), (None, true));
}

#[test]
fn waiters_are_notified_of_changes_only() {
    let instances = Arc::<Instances>::default();
    let mut changes = instances.changes();
    let acknowledged = || acknowledged(report("a"), "1", Outcome::Applied);
    let request = instances.enter(acknowledged(), &query()).unwrap();
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    // While one request is in progress, another one with the same content changes nothing.
    drop(instances.enter(acknowledged(), &query()));
    assert!(!changes.has_changed().unwrap());
    drop(request);
    assert!(changes.has_changed().unwrap());
    let long = Query { application: "a".repeat(600).into(), ..query() };
    assert!(instances.enter(report("a"), &long).is_none());
    let other = Query { application: "order".into(), ..query() };
    drop(instances.enter(report("b"), &other));
    let names = |application: &str| {
        let wanted = instances.list(|_, query| &*query.application == application);
        wanted.iter().map(|it| it.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!((names("product"), names("order")), (vec!["a".to_owned()], vec!["b".to_owned()]));
}

#[test]
fn the_environments_of_many_instances_are_listed_once() {
    let instances = Arc::<Instances>::default();
    let other = Query { application: "order".into(), ..query() };
    for name in ["a", "b", "c"] {
        drop(instances.enter(report(name), &query()));
        drop(instances.enter(report(name), &other));
    }
    assert_eq!(instances.queries(None), HashSet::from([query(), other.clone()]));
    assert_eq!(instances.queries(Some("order")), HashSet::from([other]));
    assert!(instances.queries(Some("absent")).is_empty());
}
