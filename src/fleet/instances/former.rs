//! The instances that were connected when the server stopped. They come back one by one, so that for a minute after a start
//! the table of instances does not tell who follows an environment.

use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_wire::{FleetRecord, Outcome};
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
    instances: Vec<Instance>,
}

impl Instances {
    /// Remembers the instances that were present when the server stopped, by their last records.
    pub fn remember(&self, records: Vec<FleetRecord>) {
        let instances = records.into_iter().filter_map(instance).collect();
        *lock(&self.former) =
            FormerInstances { until: Some(Instant::now() + RETURN_WITHIN), instances };
    }

    /// Returns the remembered instances that have not come back yet, of the environments that `is_wanted` selects. Empty
    /// once the time to come back is over.
    pub fn former(&self, is_wanted: impl Fn(&Query) -> bool) -> Vec<Instance> {
        let mut former = lock(&self.former);
        if former.until.is_none_or(|until| Instant::now() >= until) {
            *former = FormerInstances::default();
            return Vec::new();
        }
        let table = lock(&self.table);
        let has_returned = |own: &Instance| {
            let key = InstanceKey { name: own.name.clone(), query: own.query.clone() };
            table.instances.contains_key(&key)
        };
        let wanted = former.instances.iter().filter(|own| is_wanted(&own.query));
        wanted.filter(|own| !has_returned(own)).cloned().collect()
    }
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
        is_witness: record.outcome == Some(Outcome::Applied),
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
        let records = [record("a", Some(Outcome::Applied)), record("b", None), record("c", None)];
        let start = FleetRecord { instance: String::new(), ..record("", None) };
        instances.remember(records.into_iter().chain([start]).collect());
        let query =
            Query { application: "orders".into(), profiles: "prod".into(), label: Label::Default };
        let _request = instances.enter(InstanceReport::new("c").unwrap(), &query);
        let former = instances.former(|own| *own == query);
        let shown: Vec<(&str, bool)> =
            former.iter().map(|own| (&*own.name, own.is_witness)).collect();
        assert_eq!(shown, [("a", true), ("b", false)]);
        assert!(instances.former(|own| own.label != Label::Default).is_empty());
    }
}
