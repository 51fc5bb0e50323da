//! The number of instances of each environment at one replica.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use headwater_rollout::open::Headcount;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

use crate::conduct::{self, RemoteInstances};
use crate::fleet::Instance;
use crate::model::{Label, Query};
use crate::push::replication::replica::Replication;
use crate::push::repository::HostedRepository;

/// The largest value, in bytes. Environments with the fewest instances are left out of a larger one.
const VALUE_BYTES_MAX: usize = 64 * 1024;
/// The number of listed instances of an environment below which counting them saves nothing.
const LISTED_COUNT_MIN: usize = 16;
/// The shortest pause between two counts.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// The longest one. An instance that polls is no longer connected after a time, and nothing tells that.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// The environments of one replica.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Headcounts {
    environments: Vec<Environment>,
}

/// The instances of one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Environment {
    application: String,
    profiles: String,
    /// `None` for the default label.
    label: Option<String>,
    /// The numbers of instances that acknowledge, and of the others, so that an instance of several replicas counts once.
    acknowledging: Vec<u32>,
    others: Vec<u32>,
    /// The instances of each kind that are only counted.
    unlisted: (u64, u64),
}

impl Headcounts {
    /// Counts connected instances.
    fn of(instances: &[Instance]) -> Self {
        type Key<'i> = (&'i str, &'i str, Option<&'i str>);
        let mut found: BTreeMap<Key<'_>, BTreeMap<u32, bool>> = BTreeMap::new();
        for Instance { query, name, is_witness, .. } in instances {
            let key = (&*query.application, &*query.profiles, query.label.name());
            *found.entry(key).or_default().entry(conduct::short_key(name)).or_default() |=
                is_witness;
        }
        let environment =
            |((application, profiles, label), keys): (Key<'_>, BTreeMap<u32, bool>)| {
                let (acknowledging, others): (Vec<_>, Vec<_>) =
                    keys.into_iter().partition(|(_, is_witness)| *is_witness);
                let numbers =
                    |keys: Vec<(u32, bool)>| keys.into_iter().map(|(key, _)| key).collect();
                Environment {
                    application: application.to_owned(),
                    profiles: profiles.to_owned(),
                    label: label.map(str::to_owned),
                    acknowledging: numbers(acknowledging),
                    others: numbers(others),
                    unlisted: (0, 0),
                }
            };
        Self { environments: found.into_iter().map(environment).collect() }
    }

    /// Writes the value. It has at most [`VALUE_BYTES_MAX`] bytes: the instances of the largest environments are only
    /// counted, and then the smallest environments are left out.
    fn into_text(mut self) -> Bytes {
        loop {
            let text = serde_json::to_vec(&self).expect("names and numbers are always JSON");
            if text.len() <= VALUE_BYTES_MAX {
                return text.into();
            }
            self.environments.sort_by_key(|own| std::cmp::Reverse(own.listed_count()));
            match self.environments.first_mut().filter(|own| own.listed_count() > LISTED_COUNT_MIN)
            {
                Some(largest) => largest.count(),
                None => self.environments.truncate(self.environments.len() * 7 / 8),
            }
        }
    }

    /// Reads the value of another replica. Returns `None` if no replica has written it.
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        if value.len() > VALUE_BYTES_MAX {
            return None;
        }
        serde_json::from_slice(value).ok()
    }

    /// The instances that request one of these labels, with the default label.
    pub(super) fn of_labels(&self, labels: &[Label]) -> Vec<RemoteInstances> {
        let is_wanted =
            |own: &&Environment| labels.iter().any(|label| label.name() == own.label.as_deref());
        self.environments.iter().filter(is_wanted).map(Environment::instances).collect()
    }
}

impl Environment {
    fn listed_count(&self) -> usize {
        self.acknowledging.len() + self.others.len()
    }

    /// Counts the instances instead of listing them.
    fn count(&mut self) {
        self.unlisted.0 += self.acknowledging.len() as u64;
        self.unlisted.1 += self.others.len() as u64;
        self.acknowledging.clear();
        self.others.clear();
    }

    fn instances(&self) -> RemoteInstances {
        let acknowledging = self.acknowledging.iter().map(|key| (*key, true));
        let (acknowledging_count, other_count) = self.unlisted;
        RemoteInstances {
            query: Query {
                application: self.application.as_str().into(),
                profiles: self.profiles.as_str().into(),
                label: Label::Default,
            },
            listed: acknowledging.chain(self.others.iter().map(|key| (*key, false))).collect(),
            unlisted: Headcount {
                instances: acknowledging_count.saturating_add(other_count),
                acknowledging: acknowledging_count,
            },
        }
    }
}

/// Counts the instances of this replica after each change.
pub(in crate::push::replication) async fn run(
    repository: Weak<HostedRepository>,
    replication: Arc<Replication>,
) {
    let Some(mut changes) = repository
        .upgrade()
        .and_then(|now| now.rollouts.as_ref().map(|rollouts| rollouts.instances.changes()))
    else {
        return;
    };
    loop {
        {
            let Some(present) = repository.upgrade() else { return };
            let Some(rollouts) = &present.rollouts else { return };
            changes.mark_unchanged();
            let now = Timestamp::now();
            let mut instances = rollouts.instances.snapshot(|_, _| true);
            instances.retain(|instance| instance.is_present(now));
            replication.evidence.publish_headcounts(Headcounts::of(&instances).into_text());
        }
        sleep(PAUSE_MIN).await;
        if let Ok(Err(_)) = timeout(PAUSE_MAX, changes.changed()).await {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(application: &str, label: Option<&str>, count: u32) -> Environment {
        Environment {
            application: application.to_owned(),
            profiles: "dev".to_owned(),
            label: label.map(str::to_owned),
            acknowledging: (0..count).collect(),
            others: vec![u32::MAX],
            unlisted: (0, 0),
        }
    }

    #[test]
    fn instances_are_found_by_the_labels_of_a_branch() {
        let environments = vec![
            environment("orders", None, 2),
            environment("orders", Some("main"), 1),
            environment("orders", Some("other"), 9),
        ];
        let counts = Headcounts { environments };
        let found = counts.of_labels(&[Label::Default, Label::Named("main".into())]);
        assert_eq!(found[0].listed, [(0, true), (1, true), (u32::MAX, false)]);
        assert_eq!((found.len(), found[1].listed.len()), (2, 2));
        assert_eq!(Headcounts::parse(&counts.clone().into_text()), Some(counts));
    }

    #[test]
    fn a_large_environment_is_counted_and_many_small_ones_are_cut() {
        let text =
            Headcounts { environments: vec![environment("orders", None, 20_000)] }.into_text();
        let large = Headcounts::parse(&text).unwrap().of_labels(&[Label::Default]).remove(0);
        assert!(large.listed.is_empty());
        assert_eq!(large.unlisted, Headcount { instances: 20_001, acknowledging: 20_000 });
        let many = (0..2_000).map(|index| environment(&format!("a{index}"), None, 3)).collect();
        let text = Headcounts { environments: many }.into_text();
        assert!(text.len() <= VALUE_BYTES_MAX);
        assert!(Headcounts::parse(&text).unwrap().environments.len() > 100);
    }
}
