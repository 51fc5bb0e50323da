//! The instances that were connected when the server stopped. They come back one by one, so that for a minute after a start
//! the table of instances does not tell who follows an environment.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_wire::FleetRecord;
use jiff::Timestamp;

use super::{Instance, InstanceKey, Instances};
use crate::fleet::report::{Attributes, is_name};
use crate::model::{Label, Query};
use crate::sync::lock;

/// The time in which instances come back.
const RETURN_WITHIN: Duration = Duration::from_secs(60);

/// The instances of the time before.
#[derive(Default)]
pub(super) struct FormerInstances {
    until: Option<Instant>,
    instances: HashMap<InstanceKey, Instance>,
}

impl FormerInstances {
    /// Returns true if the instance has acknowledged a configuration before the start.
    pub(super) fn was_witness(&self, key: &InstanceKey) -> bool {
        self.is_current() && self.instances.get(key).is_some_and(|own| own.is_witness)
    }

    fn is_current(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }
}

impl Instances {
    /// Remembers the instances that were present when the server stopped, by their last records.
    pub fn remember(&self, records: Vec<FleetRecord>) {
        let instances = records.into_iter().filter_map(instance);
        let instances = instances.map(|own| (key(&own), own)).collect();
        *lock(&self.former) =
            FormerInstances { until: Some(Instant::now() + RETURN_WITHIN), instances };
    }

    /// Returns the remembered instances that have not come back yet, of the environments that `is_wanted` selects. Empty
    /// once the time to come back is over.
    pub fn former(&self, is_wanted: impl Fn(&Query) -> bool) -> Vec<Instance> {
        let mut former = lock(&self.former);
        if !former.is_current() {
            *former = FormerInstances::default();
            return Vec::new();
        }
        let table = lock(&self.table);
        let wanted = former.instances.iter().filter(|(key, _)| is_wanted(&key.query));
        let absent = wanted.filter(|(key, _)| !table.instances.contains_key(key));
        absent.map(|(_, own)| own.clone()).collect()
    }
}

fn key(instance: &Instance) -> InstanceKey {
    InstanceKey { name: instance.name.clone(), query: instance.query.clone() }
}

/// The instance of a record. `None` for a record of something else.
fn instance(record: FleetRecord) -> Option<Instance> {
    if !is_name(&record.instance) || record.application.is_empty() {
        return None;
    }
    let label = record.label.as_deref().map_or(Label::Default, |name| Label::Named(name.into()));
    let at = record.at.parse::<Timestamp>().ok()?;
    let (application, profiles) = (Arc::from(record.application), Arc::from(record.profiles));
    Some(Instance {
        name: record.instance.into(),
        query: Query { application, profiles, label },
        incarnation: record.incarnation.map(Into::into),
        attributes: Attributes::default(),
        applied: None,
        since: at,
        reason: None,
        contract: None,
        health: record.health,
        down_count: 0,
        is_witness: record.outcome.is_some(),
        restart_count: 0,
        namesake_count: 1,
        first_seen: at,
        last_seen: at,
        disconnected_at: Some(at),
        tries: false,
    })
}

#[cfg(test)]
mod tests {
    use headwater_wire::Outcome;
    use serde_json::json;

    use super::*;
    use crate::fleet::InstanceReport;

    fn record(name: &str, outcome: Option<Outcome>) -> FleetRecord {
        let record = json!({
            "at": "2026-11-20T14:03:00Z",
            "change": "arrived",
            "instance": name,
            "application": "orders",
            "profiles": "prod",
            "outcome": outcome,
        });
        serde_json::from_value(record).unwrap()
    }

    #[test]
    fn those_that_have_not_come_back_are_listed() {
        let instances = Arc::new(Instances::default());
        assert!(instances.former(|_| true).is_empty());
        let applied = Some(Outcome::Applied);
        let records = [record("a", applied), record("b", None), record("c", applied)];
        let start = FleetRecord { instance: String::new(), ..record("", None) };
        instances.remember(records.into_iter().chain([start]).collect());
        let query =
            Query { application: "orders".into(), profiles: "prod".into(), label: Label::Default };
        let _request = instances.enter(InstanceReport::new("c").unwrap(), &query);
        let former = instances.former(|own| *own == query);
        let mut shown: Vec<(&str, bool)> =
            former.iter().map(|own| (&*own.name, own.is_witness)).collect();
        shown.sort_unstable();
        assert_eq!(shown, [("a", true), ("b", false)]);
        // It has acknowledged before the start.
        assert!(instances.list(|name, _| name == "c")[0].is_witness);
        assert!(instances.former(|own| own.label != Label::Default).is_empty());
    }
}
