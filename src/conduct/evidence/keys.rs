//! The keys of instances. A key is a hash that is too expensive to compute at each look at thousands of instances.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use headwater_rollout::{Name, bucket};

use crate::fleet::Instance;

/// The keys of the instances of the last look.
#[derive(Debug, Default)]
pub(super) struct KeyCache {
    hasher: RandomState,
    /// By a hash of the three texts.
    known: HashMap<u64, KnownKey>,
}

/// The key of one instance.
#[derive(Debug, Clone)]
pub(super) struct KnownKey {
    application: Arc<str>,
    profiles: Arc<str>,
    pub(super) name: Name,
    pub(super) key: u64,
    look: u64,
}

impl KeyCache {
    /// The key of an instance and its name. The key is the one by which the store chooses canaries.
    pub(super) fn find(&mut self, instance: &Instance, look: u64) -> &KnownKey {
        let (application, profiles) = (&instance.query.application, &instance.query.profiles);
        let hash = self.hasher.hash_one((application, profiles, &instance.name));
        let compute = || KnownKey {
            application: Arc::clone(application),
            profiles: Arc::clone(profiles),
            name: (&*instance.name).into(),
            key: bucket::key(application, profiles, &instance.name).max(1),
            look,
        };
        let known = self.known.entry(hash).or_insert_with(compute);
        let is_same = known.application == *application
            && known.profiles == *profiles
            && *known.name == *instance.name;
        if !is_same {
            *known = compute();
        }
        known.look = look;
        known
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Drops the instances that were not part of this look, once there are any.
    pub(super) fn retain(&mut self, look: u64, instance_count: usize) {
        if self.known.len() > instance_count {
            self.known.retain(|_, known| known.look == look);
        }
    }
}
