//! The limits of the registered contracts, and their life on disk.

use std::sync::Arc;

use headwater_wire::{Contract, ContractKey, Outcome, ValueType};
use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::fleet::{Acknowledgement, InstanceReport, InstanceRequest, Instances};
use crate::model::{Digest, Label, Revision};

const RETENTION: SignedDuration = SignedDuration::from_hours(24);

fn contract(application: &str, key: &str) -> Contract {
    let keys =
        vec![ContractKey { key: key.to_owned(), value_type: ValueType::U16, required: true }];
    Contract::new(application.to_owned(), Some("1.4".to_owned()), keys, vec![]).unwrap()
}

fn query(application: &str, profiles: &str) -> Query {
    Query { application: application.into(), profiles: profiles.into(), label: Label::Default }
}

fn enter(
    instances: &Arc<Instances>,
    name: &str,
    query: &Query,
    contract: &Contract,
    outcome: Option<Outcome>,
) -> InstanceRequest {
    let mut report = InstanceReport::new(name).unwrap();
    report.contract = Some(contract.digest.as_str().into());
    report.applied = outcome.map(|outcome| Acknowledgement {
        revision: Revision::new("0123456789abcdef0123456789abcdef01234567"),
        digest: Digest([0; 32]),
        outcome,
    });
    instances.enter(report, query).unwrap()
}

fn all(instances: &Instances) -> Vec<Instance> {
    instances.snapshot(|_, _| true)
}

#[test]
fn a_contract_is_wanted_until_it_is_registered() {
    let contracts = Contracts::open(None, RETENTION, Timestamp::now());
    let (product, begin) = (contract("product", "a"), Timestamp::now());
    assert!(contracts.wants("product", &product.digest, begin));
    // One instance of many is asked.
    assert!(!contracts.wants("product", &product.digest, begin));
    assert!(contracts.wants("product", &product.digest, begin + ASK_AGAIN_AFTER));
    assert_eq!(contracts.register(product.clone(), begin), Ok(true));
    assert_eq!(contracts.register(product.clone(), begin), Ok(false));
    assert!(!contracts.wants("product", &product.digest, begin + ASK_AGAIN_AFTER * 2));
    // The same digest under another name is another contract.
    assert!(contracts.wants("order", &product.digest, begin));
    assert_eq!(contracts.get("order", &product.digest), None);
    assert_eq!(contracts.get("product", &product.digest).as_deref(), Some(&product));
}

#[test]
fn a_build_counts_in_the_environments_of_its_instances_once_one_accepts() {
    let (contracts, instances) =
        (Contracts::open(None, RETENTION, Timestamp::now()), Arc::<Instances>::default());
    let (product, now) = (contract("product", "a"), Timestamp::now());
    contracts.register(product.clone(), now).unwrap();
    let survey = contracts.survey(&all(&instances), now);
    assert!(survey.builds[0].query.is_none() && survey.reporting.is_empty());

    let prod = query("product", "prod");
    let first = enter(&instances, "a", &prod, &product, Some(Outcome::Rejected));
    let is_accepted = || contracts.survey(&all(&instances), now).builds[0].is_accepted;
    assert!(!is_accepted());
    let second = enter(&instances, "b", &prod, &product, Some(Outcome::Applied));
    assert!(is_accepted());
    let unknown = contract("product", "other");
    let third = enter(&instances, "c", &prod, &unknown, Some(Outcome::Applied));
    let survey = contracts.survey(&all(&instances), now);
    assert_eq!((survey.builds.len(), survey.builds[0].instance_count), (1, 2));
    assert_eq!(survey.reporting["product"], (3, 2));

    // The build stays accepted after its instances have ended.
    drop((first, second, third));
    let survey = contracts.survey(&all(&instances), now);
    assert_eq!((survey.builds[0].instance_count, survey.builds[0].is_accepted), (0, true));
    assert!(survey.reporting.is_empty());
}

#[test]
fn an_instance_of_another_application_does_not_use_a_contract() {
    let (contracts, instances) =
        (Contracts::open(None, RETENTION, Timestamp::now()), Arc::<Instances>::default());
    let (product, now) = (contract("product", "a"), Timestamp::now());
    contracts.register(product.clone(), now).unwrap();
    let _liar = enter(&instances, "a", &query("order", "prod"), &product, Some(Outcome::Applied));
    let survey = contracts.survey(&all(&instances), now);
    assert!(survey.builds[0].query.is_none());
    assert_eq!(survey.reporting["order"], (1, 0));
}

#[test]
fn the_contracts_of_an_application_are_bounded_and_running_builds_keep_theirs() {
    let (contracts, instances) =
        (Contracts::open(None, RETENTION, Timestamp::now()), Arc::<Instances>::default());
    let now = Timestamp::now();
    let of = |number: usize| contract("product", &number.to_string());
    for number in 0..APPLICATION_COUNT_MAX {
        let at = now + SignedDuration::from_secs(number as i64);
        contracts.register(of(number), at).unwrap();
    }
    // The oldest one without an instance makes room, and the first one has an instance.
    let _running = enter(&instances, "a", &query("product", "prod"), &of(0), None);
    contracts.survey(&all(&instances), now);
    contracts.register(of(100), now).unwrap();
    assert!(contracts.get("product", &of(0).digest).is_some());
    assert!(contracts.get("product", &of(1).digest).is_none());
    assert!(contracts.is_full_for(&of(200)) && !contracts.is_full_for(&contract("order", "a")));

    let named: Vec<usize> = (0..APPLICATION_COUNT_MAX + 1).filter(|it| *it != 1).collect();
    let of = |number: usize| of(if number == APPLICATION_COUNT_MAX { 100 } else { number });
    let running: Vec<_> = named
        .iter()
        .map(|&it| enter(&instances, &it.to_string(), &query("product", "prod"), &of(it), None))
        .collect();
    contracts.survey(&all(&instances), now);
    let new = contract("product", "new");
    assert_eq!(contracts.register(new.clone(), now), Err(RegistrationError::ApplicationFull));
    assert!(!contracts.wants("product", &new.digest, now));
    // Other applications are not concerned.
    assert_eq!(contracts.register(contract("order", "a"), now), Ok(true));
    drop(running);
}

/// Registers contracts of applications of their own, each named by an instance that has ended.
fn register_named(contracts: &Contracts, count: usize, keys: &[ContractKey], now: Timestamp) {
    let instances = Arc::<Instances>::default();
    for number in 0..count {
        let application = format!("app-{number}");
        let contract = Contract::new(application.clone(), None, keys.to_vec(), vec![]).unwrap();
        contracts.register(contract.clone(), now).unwrap();
        drop(enter(&instances, &application, &query(&application, "prod"), &contract, None));
    }
    contracts.survey(&all(&instances), now);
}

/// Keys that fill a contract.
fn many_keys() -> Vec<ContractKey> {
    let key = |number| format!("{number:04}-{}", "x".repeat(195));
    let key =
        |number| ContractKey { key: key(number), value_type: ValueType::Any, required: false };
    (0..220).map(key).collect()
}

#[test]
fn the_number_of_contracts_of_all_applications_is_bounded() {
    let (contracts, now) = (Contracts::open(None, RETENTION, Timestamp::now()), Timestamp::now());
    register_named(&contracts, COUNT_MAX, &contract("x", "a").keys, now);
    let more = contract("more", "a");
    assert!(contracts.is_full_for(&more));
    assert_eq!(contracts.register(more.clone(), now), Err(RegistrationError::CountFull));
    contracts.maintain(&[], now + RETENTION * 2);
    assert_eq!(contracts.register(more, now), Ok(true));
}

#[test]
fn the_bytes_of_the_contracts_of_all_applications_are_bounded() {
    let (contracts, now) = (Contracts::open(None, RETENTION, Timestamp::now()), Timestamp::now());
    let keys = many_keys();
    let large = |name: &str| Contract::new(name.to_owned(), None, keys.clone(), vec![]).unwrap();
    register_named(&contracts, BYTES_MAX / large("app-100").to_json().len(), &keys, now);
    let more = large("more");
    assert_eq!(contracts.register(more.clone(), now), Err(RegistrationError::BytesFull));
}

#[test]
fn contracts_that_no_instance_names_make_room_for_those_of_any_application() {
    let (contracts, now) = (Contracts::open(None, RETENTION, Timestamp::now()), Timestamp::now());
    let keys = many_keys();
    let large = |name: &str| Contract::new(name.to_owned(), None, keys.clone(), vec![]).unwrap();
    let count = BYTES_MAX / large("app-100").to_json().len() + 10;
    register_named(&contracts, 5, &keys, now);
    let second = SignedDuration::from_secs(1);
    for number in 5..count {
        let name = format!("app-{number}");
        contracts.register(large(&name), now + second * number as i32).unwrap();
    }
    let known = |number: usize| {
        let name = format!("app-{number}");
        contracts.get(&name, &large(&name).digest).is_some()
    };
    // The oldest ones have made room, and those that instances have named have not.
    assert!((0..5).all(known) && !known(5) && !known(6) && known(count - 1));
    assert_eq!(contracts.register(contract("more", "a"), now), Ok(true));
}

#[test]
fn a_contract_that_no_instance_names_stays_for_minutes() {
    let (contracts, now) = (Contracts::open(None, RETENTION, Timestamp::now()), Timestamp::now());
    contracts.register(contract("product", "a"), now).unwrap();
    let count = |at| {
        contracts.maintain(&[], at);
        contracts.survey(&[], at).builds.len()
    };
    assert_eq!(count(now + UNNAMED_MAX - SignedDuration::from_secs(1)), 1);
    assert_eq!(count(now + UNNAMED_MAX), 0);
}

#[test]
fn a_contract_stays_for_some_time_after_its_last_instance() {
    let (contracts, instances) =
        (Contracts::open(None, RETENTION, Timestamp::now()), Arc::<Instances>::default());
    let (product, now) = (contract("product", "a"), Timestamp::now());
    contracts.register(product.clone(), now).unwrap();
    let running = enter(&instances, "a", &query("product", "prod"), &product, None);
    let exists = || contracts.get("product", &product.digest).is_some();
    contracts.maintain(&all(&instances), now + RETENTION * 2);
    assert!(exists());
    drop(running);
    contracts.maintain(&[], now + RETENTION * 3 - SignedDuration::from_secs(1));
    assert!(exists());
    contracts.maintain(&[], now + RETENTION * 3);
    assert!(!exists());
}

#[test]
fn contracts_survive_a_restart_and_bad_files_are_ignored() {
    let place = tempfile::tempdir().unwrap();
    let open = || Contracts::open(Some(place.path().to_owned()), RETENTION, Timestamp::now());
    let (product, now) = (contract("product", "a"), Timestamp::now());
    let instances = Arc::<Instances>::default();
    {
        let contracts = open();
        contracts.register(product.clone(), now).unwrap();
        contracts.register(contract("order", "b"), now).unwrap();
        let prod = query("product", "prod");
        let _running = enter(&instances, "a", &prod, &product, Some(Outcome::Applied));
        contracts.maintain(&all(&instances), now);
    }
    let path = |digest: &str| place.path().join(format!("{digest}.json"));
    let text = std::fs::read(path(&product.digest)).unwrap();
    std::fs::write(path(&"0".repeat(64)), &text).unwrap();
    std::fs::write(path(&"1".repeat(64)), b"{").unwrap();
    std::fs::write(path(&"2".repeat(64)), vec![b' '; FILE_BYTES_MAX as usize + 1]).unwrap();
    std::fs::write(place.path().join("3.json.new"), b"{").unwrap();

    let contracts = open();
    let mut survey = contracts.survey(&[], now);
    survey.builds.sort_by_key(|build| build.contract.application.clone());
    let known: Vec<_> = survey.builds.iter().map(|it| &it.contract.application).collect();
    assert_eq!(known, ["order", "product"]);
    assert_eq!(survey.builds[1].query, Some(query("product", "prod")));
    assert!(survey.builds[1].is_accepted && !place.path().join("3.json.new").exists());
    // A removed contract does not return.
    contracts.maintain(&[], now + RETENTION);
    assert!(open().survey(&[], now).builds.is_empty());
}

/// Registers the contract of a running build that has accepted its configuration, at a time.
fn register_running(
    contracts: &Contracts,
    instances: &Arc<Instances>,
    at: Timestamp,
) -> (Contract, InstanceRequest) {
    let product = contract("product", "a");
    contracts.register(product.clone(), at).unwrap();
    let prod = query("product", "prod");
    let running = enter(instances, "a", &prod, &product, Some(Outcome::Applied));
    contracts.maintain(&all(instances), at);
    (product, running)
}

#[test]
fn a_restart_keeps_a_contract_that_was_in_use_for_longer_than_the_retention() {
    let minutes = SignedDuration::from_mins;
    let now = Timestamp::now();
    // A server that is killed has written the use of the last minutes at the latest. One that stops writes all of it.
    for (is_stopped, lost_max) in [(false, minutes(20)), (true, SignedDuration::ZERO)] {
        let place = tempfile::tempdir().unwrap();
        let open = |at| Contracts::open(Some(place.path().to_owned()), RETENTION, at);
        let instances = Arc::<Instances>::default();
        let contracts = open(now);
        let (product, _running) = register_running(&contracts, &instances, now);
        let end = now + RETENTION + minutes(120);
        let mut at = now;
        while at < end {
            contracts.maintain(&all(&instances), at);
            at += minutes(5);
        }
        if is_stopped {
            contracts.close(&all(&instances), end);
        }
        let contracts = open(end);
        let last_seen = contracts.survey(&[], end).builds[0].last_seen;
        assert!(end.duration_since(last_seen) <= lost_max + SignedDuration::from_secs(1));
        contracts.maintain(&[], end + RETENTION - lost_max - minutes(1));
        assert!(contracts.get("product", &product.digest).is_some());
    }
}

#[test]
fn instances_have_an_hour_to_return_to_a_server_that_was_away_for_long() {
    let place = tempfile::tempdir().unwrap();
    let open = |at| Contracts::open(Some(place.path().to_owned()), RETENTION, at);
    let (now, instances) = (Timestamp::now(), Arc::<Instances>::default());
    let (product, _running) = register_running(&open(now), &instances, now);
    let start = now + RETENTION * 7;
    let contracts = open(start);
    let exists = || contracts.get("product", &product.digest).is_some();
    contracts.maintain(&[], start + RETURN_TIME - SignedDuration::from_secs(1));
    assert!(exists());
    contracts.maintain(&[], start + RETURN_TIME);
    assert!(!exists());
}

#[test]
fn ten_thousand_identities_cannot_grow_a_contract() {
    let (contracts, instances) =
        (Contracts::open(None, RETENTION, Timestamp::now()), Arc::<Instances>::default());
    let (product, now) = (contract("product", "a"), Timestamp::now());
    contracts.register(product.clone(), now).unwrap();
    let requests: Vec<_> = (0..10_000)
        .map(|number| {
            let query = query("product", &format!("made-up-{number}"));
            enter(&instances, &number.to_string(), &query, &product, Some(Outcome::Applied))
        })
        .collect();
    let survey = contracts.survey(&all(&instances), now);
    assert_eq!(survey.builds.len(), ENVIRONMENT_COUNT_MAX);
    assert_eq!(survey.reporting["product"], (10_000, 10_000));
    drop(requests);
}
