//! The rollouts of the hosted repositories, from the settings.

use std::sync::Arc;

use crate::fleet::Instances;
use crate::push::{RolloutPolicy, RolloutSetup};
use crate::settings::Settings;

use super::replicas;

/// What the rollouts of all repositories have in common.
pub(super) fn setup(settings: &Settings, instances: &Arc<Instances>) -> RolloutSetup {
    let configured = &settings.rollout;
    RolloutSetup {
        policy: RolloutPolicy {
            default: configured.default.plan(),
            now: configured.now.into(),
            checks: Vec::new(),
        },
        instances: Arc::clone(instances),
        sinks: Arc::from([]),
        replica: replicas::name(settings),
        is_forgetting: settings.is_forgetting_rollouts,
    }
}
