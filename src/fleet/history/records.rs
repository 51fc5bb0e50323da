//! The differences between two states of the instances, as records. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use headwater_wire::{FleetChange, FleetRecord, Outcome};
use jiff::{SignedDuration, Timestamp};

use crate::fleet::instances::Instance;

/// The time after which a disconnected instance that has acknowledged a configuration is gone.
const GONE_AFTER: SignedDuration = SignedDuration::from_secs(60);
/// The most records of one application in one comparison. Further differences are found by the next one.
const APPLICATION_COUNT_MAX: usize = 200;

/// The present state of the instances by their place in lists.
pub(super) type State = BTreeMap<String, FleetRecord>;

/// Returns the records that lead from a state to the present instances, and changes the state. The result is false if
/// further differences remain.
pub(super) fn advance(
    state: &mut State,
    instances: Vec<Instance>,
    before: Timestamp,
    now: Timestamp,
) -> (Vec<FleetRecord>, bool) {
    let mut budget = Budget::default();
    let mut records = Vec::new();
    let mut present: BTreeMap<String, Instance> =
        instances.into_iter().map(|instance| (instance.sort_key(), instance)).collect();
    let gone: BTreeMap<String, Timestamp> = state
        .keys()
        .filter_map(|key| Some((key.clone(), gone_at(present.get(key), now)?)))
        .collect();
    present.retain(|_, instance| gone_at(Some(instance), now).is_none());
    let gone_names: BTreeSet<String> = gone.keys().map(|key| name_of(key).to_owned()).collect();
    for (key, at) in gone {
        let Some(last) = state.get(&key) else { continue };
        if budget.take(&last.application) {
            records.push(FleetRecord {
                at: at.to_string(),
                change: FleetChange::Gone,
                ..last.clone()
            });
            state.remove(&key);
        }
    }
    for (key, instance) in present {
        let mut known = state.get(&key).cloned();
        let is_restart = known.is_none() && gone_names.contains(name_of(&key));
        for record in differences(known.take(), &instance, is_restart, before, now) {
            if !budget.take(&record.application) {
                break;
            }
            state.insert(key.clone(), FleetRecord { change: FleetChange::State, ..record.clone() });
            records.push(record);
        }
    }
    (records, !budget.is_exceeded)
}

/// The records that lead from what is known of an instance to what it reports now.
fn differences(
    known: Option<FleetRecord>,
    instance: &Instance,
    is_restart: bool,
    before: Timestamp,
    now: Timestamp,
) -> Vec<FleetRecord> {
    let mut records = Vec::new();
    let mut current = known.unwrap_or_else(|| {
        let change = if is_restart { FleetChange::Restarted } else { FleetChange::Arrived };
        let at =
            if instance.first_seen > before && !is_restart { instance.first_seen } else { now };
        let arrived = arrival(instance, change, at);
        records.push(arrived.clone());
        arrived
    });
    let applied = instance.applied.as_ref();
    let reason = instance.reason.as_ref().map(|reason| reason.as_str().to_owned());
    let digest = applied.map(|applied| applied.digest.to_string());
    let outcome = applied.map(|applied| applied.outcome);
    if let Some(applied) = applied
        && (&current.digest, current.outcome) != (&digest, outcome)
    {
        let rejected = applied.outcome == Outcome::Rejected;
        current = FleetRecord {
            at: instance.since.to_string(),
            change: if rejected { FleetChange::Rejected } else { FleetChange::Applied },
            revision: Some(applied.revision.to_string()),
            digest,
            outcome,
            since: Some(instance.since.to_string()),
            reason: reason.clone(),
            ..current
        };
        records.push(current.clone());
    }
    if (current.health, &current.reason) != (instance.health, &reason) {
        let (at, change) = (now.to_string(), FleetChange::Health);
        records.push(FleetRecord { at, change, health: instance.health, reason, ..current });
    }
    records
}

fn arrival(instance: &Instance, change: FleetChange, at: Timestamp) -> FleetRecord {
    FleetRecord {
        at: at.to_string(),
        change,
        replica: String::new(),
        instance: instance.name.to_string(),
        incarnation: instance.incarnation.as_deref().map(str::to_owned),
        application: instance.query.application.to_string(),
        profiles: instance.query.profiles.to_string(),
        label: instance.query.label.name().map(str::to_owned),
        revision: None,
        digest: None,
        outcome: None,
        since: None,
        reason: None,
        health: None,
    }
}

/// Returns the time since which an instance is gone. `None` for a present one.
fn gone_at(instance: Option<&Instance>, now: Timestamp) -> Option<Timestamp> {
    let Some(instance) = instance else { return Some(now) };
    let since = instance.disconnected_at?;
    let is_gone = instance.applied.is_some() && now.duration_since(since) >= GONE_AFTER;
    is_gone.then_some(since)
}

/// The environment and the name in a place of a list, without the incarnation.
fn name_of(key: &str) -> &str {
    key.rsplit_once('\0').map_or(key, |(name, _)| name)
}

/// Counts the records of each application.
#[derive(Default)]
struct Budget {
    taken: HashMap<String, usize>,
    is_exceeded: bool,
}

impl Budget {
    fn take(&mut self, application: &str) -> bool {
        let taken = self.taken.entry(application.to_owned()).or_default();
        if *taken >= APPLICATION_COUNT_MAX {
            self.is_exceeded = true;
            return false;
        }
        *taken += 1;
        true
    }
}

#[cfg(test)]
pub(super) mod tests {
    use headwater_wire::InstanceHealth;

    use super::*;
    use crate::fleet::{Acknowledgement, Attributes, Reason};
    use crate::model::{Digest, Label, Query, Revision};

    fn seconds(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    pub(in crate::fleet::history) fn instance(name: &str, incarnation: &str) -> Instance {
        Instance {
            name: name.into(),
            query: Query {
                application: "product".into(),
                profiles: "prod".into(),
                label: Label::Default,
            },
            incarnation: Some(incarnation.into()),
            attributes: Attributes::default(),
            applied: None,
            since: seconds(0),
            reason: None,
            contract: None,
            health: None,
            down_count: 0,
            is_witness: false,
            tries: false,
            restart_count: 0,
            namesake_count: 1,
            first_seen: seconds(0),
            last_seen: seconds(0),
            disconnected_at: None,
        }
    }

    fn reporting(instance: Instance, digit: &str, outcome: Outcome, since: i64) -> Instance {
        let applied = Acknowledgement {
            revision: Revision::new(digit.repeat(40)),
            digest: Digest::parse(&digit.repeat(64)).unwrap(),
            outcome,
        };
        Instance { applied: Some(applied), since: seconds(since), ..instance }
    }

    /// Advances the state and returns the changes with their times, in seconds.
    fn advance_to(
        state: &mut State,
        instances: &[Instance],
        now: i64,
    ) -> Vec<(String, FleetChange, i64)> {
        let (records, is_complete) =
            advance(state, instances.to_vec(), seconds(now - 1), seconds(now));
        assert!(is_complete);
        let time =
            |it: &FleetRecord| it.at.parse::<Timestamp>().unwrap().as_second() - 1_800_000_000;
        records.iter().map(|it| (it.instance.clone(), it.change, time(it))).collect()
    }

    #[test]
    fn each_change_is_one_record_with_its_time() {
        let mut state = State::new();
        let a = "a".to_owned();
        let arrived = Instance { first_seen: seconds(10), ..instance("a", "1") };
        let applied = reporting(arrived.clone(), "1", Outcome::Applied, 10);
        assert_eq!(
            advance_to(&mut state, std::slice::from_ref(&applied), 10),
            [(a.clone(), FleetChange::Arrived, 10), (a.clone(), FleetChange::Applied, 10)]
        );
        assert_eq!(advance_to(&mut state, std::slice::from_ref(&applied), 11), []);
        let reason = Reason::parse("type a.b");
        let rejected =
            Instance { reason, ..reporting(arrived.clone(), "2", Outcome::Rejected, 12) };
        assert_eq!(
            advance_to(&mut state, std::slice::from_ref(&rejected), 13),
            [(a.clone(), FleetChange::Rejected, 12)]
        );
        let down = Instance { health: Some(InstanceHealth::Down), ..rejected };
        assert_eq!(
            advance_to(&mut state, std::slice::from_ref(&down), 14),
            [(a.clone(), FleetChange::Health, 14)]
        );
        // It is gone after a minute, at the time of its disconnection.
        let left = Instance { disconnected_at: Some(seconds(20)), ..down.clone() };
        assert_eq!(advance_to(&mut state, std::slice::from_ref(&left), 79), []);
        assert_eq!(
            advance_to(&mut state, std::slice::from_ref(&left), 80),
            [(a.clone(), FleetChange::Gone, 20)]
        );
        assert_eq!(advance_to(&mut state, std::slice::from_ref(&left), 81), []);
        assert_eq!(advance_to(&mut state, &[], 82), []);
        // It returns.
        assert_eq!(advance_to(&mut state, &[down], 90)[0], (a, FleetChange::Arrived, 90));
    }

    #[test]
    fn a_new_incarnation_is_a_restart() {
        let mut state = State::new();
        advance_to(&mut state, &[instance("a", "1")], 10);
        let records = advance_to(&mut state, &[instance("a", "2")], 20);
        let a = "a".to_owned();
        assert_eq!(records, [(a.clone(), FleetChange::Gone, 20), (a, FleetChange::Restarted, 20)]);
        assert_eq!(state.len(), 1);
    }

    #[test]
    fn records_of_one_application_are_limited_and_the_rest_follows() {
        let mut state = State::new();
        let instances: Vec<_> = (0..APPLICATION_COUNT_MAX + 5)
            .map(|number| instance(&format!("{number}"), "1"))
            .collect();
        let advance_once = |state: &mut State| {
            let (records, is_complete) = advance(state, instances.clone(), seconds(9), seconds(10));
            (records.len(), is_complete)
        };
        assert_eq!(advance_once(&mut state), (APPLICATION_COUNT_MAX, false));
        assert_eq!(advance_once(&mut state), (5, true));
        assert_eq!(advance_once(&mut state), (0, true));
    }
}
