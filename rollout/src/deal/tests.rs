//! Tests of the canaries of a stage.

use proptest::prelude::*;

use super::*;
use crate::bucket::key;
use crate::plan::Share;

fn instance(application: &str, index: usize) -> Instance {
    let name = format!("{application}-{index}");
    Instance {
        key: key(application, "prod", &name),
        name: name.into(),
        is_witness: true,
        attributes: BTreeMap::new(),
    }
}

/// An application of which replicas report the lowest buckets.
fn application(name: &str, count: usize, salt: u64) -> Application {
    let mut known: Vec<Instance> = (0..count).map(|index| instance(name, index)).collect();
    known.sort_by_key(|own| bucket(own.key, salt));
    known.truncate(EXACT_COUNT_MAX);
    Application {
        name: name.into(),
        salt,
        instance_count: count as u64,
        witness_count: count as u64,
        known,
        bound: Bound::NONE,
        named: BTreeSet::new(),
    }
}

fn size(text: &str) -> Reach {
    Reach::Size(Size::parse(text).unwrap())
}

fn stage(reach: &Reach) -> Stage<'_> {
    Stage { reach, admitted: &[], filter: None, salt: 3, is_partial: false, room: 1000 }
}

fn wanted(dealt: &BTreeMap<Name, Dealt>) -> u32 {
    dealt.values().map(|own| own.wanted).sum()
}

/// The number of all instances of an application, also of those that no replica lists, that are canaries.
fn reached(name: &str, count: usize, salt: u64, dealt: &Dealt) -> usize {
    let all = (0..count).map(|index| instance(name, index));
    let is_canary = |own: &Instance| {
        dealt.bound.includes(bucket(own.key, salt)) || dealt.named.contains(&own.key)
    };
    all.filter(is_canary).count()
}

#[test]
fn the_bound_lies_exactly_behind_the_last_canary() {
    for (count, reach, expected) in [
        (2, "5%", 1),
        (3, "5%", 1),
        (3, "50%", 1),
        (12, "5%", 1),
        (12, "25%", 3),
        (100, "5%", 5),
        (100, "7", 7),
        (1000, "25%", 250),
        (4, "60%", 2),
        (10, "60%", 6),
        (10, "80%", 8),
        (10, "9", 5),
    ] {
        let dealt = deal(&stage(&size(reach)), &[application("order", count, 9)]);
        assert_eq!(wanted(&dealt), expected, "{reach} of {count}");
        assert_eq!(
            reached("order", count, 9, &dealt["order"]),
            expected as usize,
            "{reach} of {count}"
        );
    }
}

#[test]
fn more_canaries_than_replicas_list_are_a_share() {
    let dealt = deal(&stage(&size("30%")), &[application("order", 1000, 9)]);
    assert_eq!(dealt["order"].bound, Bound::share(300, 1000));
    assert_eq!(dealt["order"].wanted, 300);
}

#[test]
fn a_scope_of_many_applications_is_one_budget() {
    let names: Vec<String> = (0..30).map(|index| format!("service-{index}")).collect();
    let all: Vec<Application> = names.iter().map(|name| application(name, 3, 9)).collect();
    for (reach, expected, most) in [("1", 1, 1), ("5%", 5, 1), ("25%", 23, 1), ("90%", 60, 2)] {
        let dealt = deal(&stage(&size(reach)), &all);
        assert_eq!(wanted(&dealt), expected, "{reach}");
        assert_eq!(dealt.values().map(|own| own.wanted).max(), Some(most), "{reach}");
    }
    let everyone = deal(&stage(&Reach::All), &all);
    assert!(everyone.values().all(|own| own.bound == Bound::EVERYONE));
    let other = Stage { salt: 4, ..stage(&Reach::All) };
    let chosen = |stage: &Stage<'_>| -> Vec<Name> {
        let dealt = deal(&Stage { reach: &size("5%"), ..*stage }, &all);
        dealt.into_iter().filter(|(_, own)| own.wanted > 0).map(|(name, _)| name).collect()
    };
    assert_ne!(chosen(&other), chosen(&stage(&Reach::All)), "the salt decides which come first");
}

#[test]
fn applications_beyond_the_room_of_the_state_wait() {
    let names: Vec<String> = (0..10).map(|index| format!("service-{index}")).collect();
    let all: Vec<Application> = names.iter().map(|name| application(name, 4, 9)).collect();
    let reach = size("50%");
    let dealt = deal(&Stage { room: 3, ..stage(&reach) }, &all);
    assert_eq!(dealt.values().map(Dealt::entry_count).sum::<usize>(), 3);
    assert_eq!(wanted(&dealt), 6);
}

#[test]
fn an_application_without_witnesses_has_no_canary() {
    let mut own = application("order", 4, 9);
    own.known.iter_mut().for_each(|one| one.is_witness = false);
    own.witness_count = 0;
    let dealt = deal(&stage(&size("5%")), &[own, application("cart", 1, 9)]);
    assert_eq!(wanted(&dealt), 0);
    assert!(dealt.values().all(|own| own.bound == Bound::NONE));
}

#[test]
fn witnesses_behind_other_instances_are_named() {
    let mut own = application("order", 6, 9);
    own.known.iter_mut().take(5).for_each(|one| one.is_witness = false);
    own.witness_count = 1;
    let last = own.known[5].key;
    let dealt = deal(&stage(&size("5%")), &[own]);
    assert_eq!(dealt["order"].named, BTreeSet::from([last]));
    assert_eq!(dealt["order"].bound, Bound::NONE, "five without evidence would be more than half");
}

#[test]
fn canaries_among_few_instances_are_named() {
    // 2 of 1,000 are connected. A bound behind the lowest of them would include some hundreds of the others.
    let own = application("order", 2, 9);
    let reach = size("5%");
    let dealt = deal(&Stage { is_partial: true, ..stage(&reach) }, std::slice::from_ref(&own));
    let lowest = own.known[0].key;
    assert_eq!(dealt["order"], Dealt { bound: Bound::NONE, named: [lowest].into(), wanted: 1 });
}

fn with_attributes(mut own: Application, name: &str, values: &[&str]) -> Application {
    for (instance, value) in own.known.iter_mut().zip(values.iter().cycle()) {
        instance.attributes.insert(name.into(), (*value).into());
    }
    own
}

#[test]
fn the_first_stage_has_one_instance_of_each_version_that_has_two() {
    let own = with_attributes(
        application("order", 7, 9),
        "version",
        &["1", "1", "1", "2", "2", "3", "1"],
    );
    let (filter, reach) = (CanaryFilter::default(), size("1"));
    let dealt = deal(&Stage { filter: Some(&filter), ..stage(&reach) }, std::slice::from_ref(&own));
    let canaries: Vec<_> = own
        .known
        .iter()
        .filter(|one| {
            let is_below = dealt["order"].bound.includes(bucket(one.key, own.salt));
            is_below || dealt["order"].named.contains(&one.key)
        })
        .map(|one| one.version().unwrap().to_string())
        .collect();
    assert_eq!(canaries, ["1", "2"]);
    assert_eq!(wanted(&dealt), 2);
}

#[test]
fn a_filter_narrows_the_first_stage() {
    let own = with_attributes(application("order", 8, 9), "zone", &["a", "a", "a", "b"]);
    let filter =
        CanaryFilter { attributes: vec![("zone".into(), "b".into())], ..Default::default() };
    let reach = size("3");
    let dealt = deal(&Stage { filter: Some(&filter), ..stage(&reach) }, std::slice::from_ref(&own));
    let expected = BTreeSet::from([own.known[3].key, own.known[7].key]);
    assert_eq!(dealt["order"], Dealt { bound: Bound::NONE, named: expected.clone(), wanted: 2 });
    // The second stage keeps them and adds the lowest buckets.
    let mut own = own;
    own.named = expected.clone();
    let dealt = deal(&stage(&reach), std::slice::from_ref(&own));
    assert_eq!(dealt["order"].bound, Bound::behind(bucket(own.known[0].key, 9)));
    assert_eq!(dealt["order"].named, expected);
    let named = CanaryFilter { instances: vec![own.known[5].name.clone()], ..Default::default() };
    let dealt =
        deal(&Stage { filter: Some(&named), ..stage(&size("1")) }, &[application("order", 8, 9)]);
    assert_eq!(dealt["order"].named, BTreeSet::from([own.known[5].key]));
}

#[test]
fn a_stage_by_attribute_counts_those_that_have_it() {
    let own = with_attributes(application("order", 6, 9), "zone", &["a", "b", "c"]);
    let (name, value): (Name, Name) = ("zone".into(), "b".into());
    let reach = Reach::Attribute { name: name.clone(), value: value.clone() };
    let admitted = [(name, value)];
    let dealt = deal(&Stage { admitted: &admitted, ..stage(&reach) }, &[own]);
    assert_eq!(dealt["order"], Dealt { bound: Bound::NONE, named: BTreeSet::new(), wanted: 2 });
}

#[test]
fn vanished_canaries_are_replaced_up_to_twice_the_number() {
    let reach = size("2");
    let before = application("order", 10, 9);
    let dealt = deal(&stage(&reach), std::slice::from_ref(&before))["order"].clone();
    assert_eq!(dealt.wanted, 2);
    let mut own = before.clone();
    own.bound = dealt.bound;
    assert_eq!(replace(&own, 2, 0, &stage(&reach)), None, "none has vanished");
    own.known.drain(..2);
    own.instance_count = 8;
    let replaced = replace(&own, 2, 2, &stage(&reach)).unwrap();
    assert_eq!(replaced.wanted, 2);
    assert_eq!(replaced.bound, Bound::behind(bucket(before.known[3].key, 9)));
    own.bound = replaced.bound;
    own.known.drain(..1);
    own.instance_count = 7;
    assert_eq!(replace(&own, 2, 3, &stage(&reach)), None, "3 gone and 2 are more than 4");
}

/// Applications of any size with any canaries so far.
fn any_applications() -> impl Strategy<Value = Vec<Application>> {
    let one =
        (1usize..40, any::<u64>(), proptest::collection::vec(any::<bool>(), 40), 0u64..1 << 32);
    proptest::collection::vec(one, 1..8).prop_map(|all| {
        let all = all.into_iter().enumerate().map(|(index, (count, salt, witnesses, bound))| {
            let mut own = application(&format!("service-{index}"), count, salt);
            for (instance, is_witness) in own.known.iter_mut().zip(witnesses) {
                instance.is_witness = is_witness;
            }
            own.witness_count = own.known.iter().filter(|one| one.is_witness).count() as u64;
            own.bound =
                if bound % 2 == 0 { Bound::NONE } else { Bound::from_number(bound >> 4).unwrap() };
            own
        });
        all.collect()
    })
}

proptest! {
    #[test]
    fn a_deal_never_drops_a_canary(all in any_applications(), percent in 1u32..99) {
        let reach = Reach::Size(Size::Share(Share::percent(percent)));
        let dealt = deal(&stage(&reach), &all);
        for own in &all {
            prop_assert!(dealt[&own.name].bound >= own.bound);
            prop_assert!(dealt[&own.name].named.is_superset(&own.named));
        }
    }

    #[test]
    fn a_first_deal_keeps_within_its_budget_and_half(all in any_applications(), percent in 1u32..=50) {
        let all: Vec<Application> = all.into_iter().map(|own| Application { bound: Bound::NONE, ..own }).collect();
        let size = Size::Share(Share::percent(percent));
        let dealt = deal(&stage(&Reach::Size(size)), &all);
        let total = all.iter().map(|own| own.instance_count).sum();
        prop_assert!(u64::from(wanted(&dealt)) <= size.of(total));
        for own in &all {
            let count = own.instance_count as usize;
            prop_assert!(reached(&own.name, count, own.salt, &dealt[&own.name]) <= count / 2);
        }
    }
}
