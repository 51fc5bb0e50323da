//! Tests of the arrival of a push.

use super::*;

fn sighting(environment: usize, name: &str, standing: Standing) -> Sighting {
    Sighting { environment, name: name.into(), standing, is_witness: true, is_connected: true }
}

fn environment(name: &str) -> ChangedEnvironment {
    let (application, _) = name.split_once('/').unwrap();
    ChangedEnvironment { application: application.to_owned(), full: name.to_owned() }
}

fn behind(environment: usize, name: &str) -> Sighting {
    sighting(environment, name, Standing::Behind)
}

fn current(environment: usize, name: &str) -> Sighting {
    sighting(environment, name, Standing::Current)
}

fn begin(environments: &[&str], percent: usize, seen: &[Sighting]) -> Arrival {
    Arrival::begin(environments.iter().map(|it| environment(it)).collect(), percent, seen)
}

#[test]
fn the_share_counts_witnesses_only() {
    let strangers =
        (0..5).map(|number| Sighting { is_witness: false, ..behind(0, &format!("x-{number}")) });
    let gone = Sighting { is_connected: false, ..behind(0, "gone") };
    let seen: Vec<_> = [behind(0, "a"), behind(0, "b"), behind(0, "c"), gone]
        .into_iter()
        .chain(strangers)
        .collect();
    let mut arrival = begin(&["product/prod"], 50, &seen);
    assert_eq!((arrival.count(), arrival.progress()), (3, Progress::Pending));
    assert_eq!(
        arrival.opening(),
        [
            "changes 1 environment: product/prod 3 instances",
            "not awaited, because they have never reported what they apply: product: x-0, x-1, x-2, x-3, x-4",
            "not awaited, because they are disconnected: product: gone",
        ]
    );
    // Half of three is two. A stranger that applies the change does not count.
    arrival.record(&[current(0, "a"), behind(0, "b"), behind(0, "c"), current(0, "x-0")]);
    assert_eq!(arrival.progress(), Progress::Pending);
    arrival.record(&[current(0, "a"), current(0, "b"), behind(0, "c")]);
    assert_eq!(arrival.progress(), Progress::Reached);
    assert_eq!(arrival.missing(), ["not yet: product: c"]);
}

#[test]
fn without_a_witness_there_is_nothing_to_wait_for() {
    let arrival = begin(&["cart/prod"], 100, &[]);
    assert_eq!(arrival.progress(), Progress::Reached);
    assert_eq!(arrival.opening(), ["changes 1 environment: cart/prod 0 instances"]);
    assert_eq!(begin(&[], 100, &[]).opening(), ["changes 0 environments"]);
}

#[test]
fn a_rejection_ends_the_wait_once_the_share_cannot_be_reached() {
    let rejected = |name| sighting(0, name, Standing::Rejected(Some("type a.b".to_owned())));
    let first = [behind(0, "a"), behind(0, "b"), behind(0, "c")];
    let mut arrival = begin(&["product/prod"], 60, &first);
    let before = arrival.clone();
    arrival.record(&[rejected("a"), behind(0, "b"), behind(0, "c")]);
    assert_eq!(arrival.progress(), Progress::Pending);
    assert_eq!(arrival.changes_since(&before), ["product: rejected by a (type a.b)"]);
    assert!(arrival.changes_since(&arrival).is_empty());
    arrival.record(&[rejected("a"), rejected("b"), behind(0, "c")]);
    assert_eq!(arrival.progress(), Progress::Unreachable);
    assert_eq!(
        arrival.missing(),
        ["product: rejected by a (type a.b), b (type a.b)", "not yet: product: c"]
    );
}

#[test]
fn progress_is_told_for_each_environment_that_has_some() {
    let first = [behind(0, "a"), behind(0, "b"), behind(1, "c")];
    let mut arrival = begin(&["product/prod", "cart/prod"], 100, &first);
    assert_eq!(
        arrival.opening(),
        ["changes 2 environments: product/prod 2 instances, cart/prod 1"]
    );
    let before = arrival.clone();
    arrival.record(&[current(0, "a"), behind(0, "b"), behind(1, "c")]);
    assert_eq!(arrival.changes_since(&before), ["product: 1 of 2 has it; 1 of 3 has it"]);
    let before = arrival.clone();
    arrival.record(&[current(0, "a"), current(0, "b"), current(1, "c")]);
    assert_eq!(
        arrival.changes_since(&before),
        ["product: 2 of 2 have it; cart: 1 of 1 has it; 3 of 3 have it"]
    );
    // Two environments of one application have both names.
    let first = [behind(0, "a"), behind(1, "a")];
    let mut arrival = begin(&["product/prod", "product/dev"], 100, &first);
    let before = arrival.clone();
    arrival.record(&[current(0, "a"), behind(1, "a")]);
    assert_eq!(arrival.changes_since(&before), ["product/prod: 1 of 1 has it; 1 of 2 has it"]);
}

#[test]
fn an_instance_that_leaves_is_disconnected_and_still_awaited() {
    let mut arrival = begin(&["product/prod"], 100, &[behind(0, "a"), behind(0, "b")]);
    arrival.record(&[current(0, "a")]);
    assert_eq!(arrival.progress(), Progress::Pending);
    assert_eq!(arrival.missing(), ["disconnected: product: b"]);
    arrival.record(&[current(0, "a"), current(0, "b")]);
    assert_eq!(arrival.progress(), Progress::Reached);
}

#[test]
fn the_connected_run_of_an_instance_counts_and_the_one_furthest_behind() {
    let gone = Sighting { is_connected: false, ..behind(0, "a") };
    let arrival = begin(&["product/prod"], 100, &[gone.clone(), current(0, "a")]);
    assert_eq!(arrival.progress(), Progress::Reached);
    let arrival = begin(&["product/prod"], 100, &[current(0, "a"), gone]);
    assert_eq!(arrival.progress(), Progress::Reached);
    let arrival = begin(&["product/prod"], 100, &[behind(0, "a"), current(0, "a")]);
    assert_eq!((arrival.count(), arrival.progress()), (1, Progress::Pending));
}

#[test]
fn lines_stay_short_however_many_instances_there_are() {
    let seen: Vec<_> = (0..1_000).map(|number| behind(number % 50, &number.to_string())).collect();
    let environments = (0..50).map(|number| environment(&format!("app-{number}/prod"))).collect();
    let arrival = Arrival::begin(environments, 100, &seen);
    let lines = [arrival.opening(), arrival.missing()].concat();
    assert!(lines[0].ends_with("app-17/prod 20, 40 more 800"), "{}", lines[0]);
    assert!(lines.iter().all(|line| line.len() < 2_000), "{lines:?}");
    assert!(lines[1].contains(" and 10 more"), "{}", lines[1]);
}
