//! Tests of reports and their sum.

use super::*;
use crate::fixture::{Scene, change, given, report, sighting};

fn rollout() -> Rollout {
    let mut scene = Scene::new();
    scene.push(&[change("order", 0, 1)]).unwrap();
    scene.running()[0].clone()
}

fn collect(rollout: &Rollout, live: &[&str], reports: &[Report]) -> Evidence {
    let live: Vec<Name> = live.iter().map(|name| (*name).into()).collect();
    Evidence::collect(rollout, &live, reports)
}

fn of_replica(replica: &str, report: Report) -> Report {
    Report { replica: replica.into(), ..report }
}

#[test]
fn an_instance_that_two_replicas_report_counts_once() {
    let rollout = rollout();
    let first = Sighting { seen: 10, ..given(sighting("order", 0), Outcome::Accepted) };
    let gone = Given { is_gone: true, ..Given::default() };
    let second = Sighting { seen: 5, given: Some(gone), ..sighting("order", 0) };
    let others = sighting("order", 1);
    let reports = [
        report(&rollout, vec![("order", vec![first, others])]),
        of_replica("b", report(&rollout, vec![("order", vec![second])])),
    ];
    let evidence = collect(&rollout, &["a", "b"], &reports);
    let counts = evidence.counts();
    assert_eq!((counts.instances, counts.given, counts.ok), (2, 1, 1), "the newer sighting counts");
    let reversed: Vec<Report> = reports.into_iter().rev().collect();
    assert_eq!(collect(&rollout, &["a", "b"], &reversed).counts(), counts);
}

#[test]
fn a_bad_report_remains_beside_a_newer_good_one() {
    let rollout = rollout();
    let bad = Sighting { seen: 5, ..given(sighting("order", 0), Outcome::Rejected) };
    let good = Sighting { seen: 9, ..given(sighting("order", 0), Outcome::Accepted) };
    for pair in [[bad.clone(), good.clone()], [good, bad]] {
        let [one, two] = pair;
        let reports = [
            report(&rollout, vec![("order", vec![one])]),
            of_replica("b", report(&rollout, vec![("order", vec![two])])),
        ];
        let evidence = collect(&rollout, &["a", "b"], &reports);
        assert!(evidence.populations["order"].listed.values().all(Sighting::is_bad));
    }
}

#[test]
fn another_run_at_another_replica_is_a_restart() {
    let rollout = rollout();
    let before = given(sighting("order", 0), None);
    let after = Sighting { incarnation: 2, seen: 9, ..before.clone() };
    let fresh = Sighting { given: None, ..after.clone() };
    for later in [after, fresh] {
        let reports = [
            report(&rollout, vec![("order", vec![before.clone()])]),
            of_replica("b", report(&rollout, vec![("order", vec![later])])),
        ];
        let evidence = collect(&rollout, &["a", "b"], &reports);
        let (_, given) = evidence.populations["order"].canaries().next().unwrap();
        assert_eq!((given.restarts, given.is_gone), (1, false));
    }
}

#[test]
fn a_replica_without_a_current_report_is_missing() {
    let rollout = rollout();
    let own = report(&rollout, vec![]);
    let is_missing =
        |reports: &[Report]| !collect(&rollout, &["a", "b"], reports).missing.is_empty();
    assert!(is_missing(std::slice::from_ref(&own)));
    let both = |second: Report| [own.clone(), of_replica("b", second)];
    assert!(!is_missing(&both(own.clone())));
    assert!(is_missing(&both(Report { number: own.number + 1, ..own.clone() })));
    assert!(is_missing(&both(Report { phase: Phase::Stage(1), ..own.clone() })));
    assert!(is_missing(&both(Report { rollout: "r-0000000000".into(), ..own.clone() })));
}

#[test]
fn a_bad_report_of_an_earlier_stage_or_of_a_replica_that_left_counts() {
    let rollout = rollout();
    let bad = vec![given(sighting("order", 0), Outcome::Down)];
    let own = Report { phase: Phase::Stage(3), ..report(&rollout, vec![("order", bad)]) };
    let evidence = collect(&rollout, &["c"], &[of_replica("left", own)]);
    assert!(evidence.populations["order"].listed.values().all(Sighting::is_bad));
}

#[test]
fn a_report_reads_as_it_was_written() {
    let rollout = rollout();
    let mut own =
        report(&rollout, vec![("order", vec![given(sighting("order", 0), Outcome::Down)])]);
    own.tries.push(crate::fixture::try_of("order-1", Standing::Accepted, false));
    own.is_trying = true;
    assert_eq!(Report::parse(own.to_text().as_bytes()), Ok(own));
    assert!(Report::parse(b"{\"replica\":1}").is_err());
    assert!(
        Report::parse(&vec![b' '; REPORT_BYTES_MAX + 1]).unwrap_err().contains("at most 65536")
    );
}

#[test]
fn a_large_report_keeps_what_is_bad_and_counts_the_rest() {
    let rollout = rollout();
    let mut listed: Vec<Sighting> = (0..2000).map(|index| sighting("order", index)).collect();
    listed[1500] = given(listed[1500].clone(), Outcome::Rejected);
    listed[1501] = given(listed[1501].clone(), Outcome::Accepted);
    let own = report(&rollout, vec![("order", listed), ("cart", vec![sighting("cart", 0)])]);
    let text = own.to_text();
    assert!(text.len() <= REPORT_BYTES_MAX);
    let read = Report::parse(text.as_bytes()).unwrap();
    let names: Vec<&str> = read.applications["order"].listed.iter().map(|own| &*own.name).collect();
    assert!(names.len() > 256 && names.starts_with(&["order-0", "order-1"]), "{}", names.len());
    assert_eq!(names.last(), Some(&"order-1500"));
    let counts = collect(&rollout, &["a"], &[read]).counts();
    assert_eq!((counts.instances, counts.accepted, counts.given, counts.ok), (2001, 2001, 2, 1));
}

#[test]
fn a_large_report_of_bad_instances_keeps_the_first() {
    let rollout = rollout();
    let bad = |index| given(sighting("order", index), Outcome::Rejected);
    let own = report(&rollout, vec![("order", (0..2000).map(bad).collect())]);
    let read = Report::parse(own.to_text().as_bytes()).unwrap();
    assert!(read.applications["order"].listed.len() > 200);
}
