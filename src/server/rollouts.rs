//! The rollouts of the hosted repositories, from the settings.

use std::sync::Arc;

use crate::conduct::{EventSink, RolloutFigures};
use crate::fleet::Instances;
use crate::http::RolloutControl;
use crate::push::{Fleet, FleetMember, Hosts, RolloutPolicy, RolloutSetup};
use crate::replicas::{LiveReplica, Replicas};
use crate::settings::Settings;

use super::{replicas, rollout_checks};

/// What the rollouts of all repositories have in common.
pub(super) fn setup(
    settings: &Settings,
    instances: &Arc<Instances>,
    sinks: Vec<Arc<dyn EventSink>>,
    figures: &Arc<RolloutFigures>,
) -> RolloutSetup {
    let configured = &settings.rollout;
    RolloutSetup {
        policy: RolloutPolicy {
            default: configured.default.plan(),
            now: configured.now.into(),
            checks: configured.check.iter().map(|own| own.name.clone()).collect(),
        },
        instances: Arc::clone(instances),
        sinks: sinks.into(),
        figures: Arc::clone(figures),
        replica: replicas::name(settings),
        checks: configured.check.iter().map(rollout_checks::definition).collect(),
        is_forgetting: settings.is_forgetting_rollouts,
    }
}

/// The rollouts that requests show and command.
pub(super) fn control(hosts: Option<&Hosts>) -> Option<Arc<dyn RolloutControl>> {
    hosts.map(|hosts| Arc::clone(hosts.conduct()) as Arc<dyn RolloutControl>)
}

/// Lets the replicas of a fleet share the rollouts of shared repositories.
pub(super) fn share(hosts: &Hosts, replicas: &Arc<Replicas>) {
    replicas.announce_rollouts(hosts.shared_rollouts());
    let (own_id, own_name) = (replicas.id().to_owned(), replicas.name().to_owned());
    let replicas = Arc::downgrade(replicas);
    let member = |LiveReplica { id, name, rollouts }: LiveReplica| FleetMember {
        id,
        name,
        repositories: rollouts,
    };
    let others = move || {
        let live = replicas.upgrade()?.live_others()?;
        Some(live.into_iter().map(member).collect())
    };
    hosts.follow_fleet(Fleet { own_id, own_name, others: Box::new(others) });
}
