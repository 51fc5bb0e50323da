//! The choice of canaries: whether an instance is given the candidate of a rollout.
//!
//! The choice is a pure function of the name of the instance and of a bound, so that all replicas agree on it without
//! communicating. A bound only grows within a rollout, so that no instance leaves.

use std::collections::BTreeSet;
use std::num::NonZeroU64;

use headwater_rollout::bucket::{self, Bound};

use super::Query;

/// An instance of a service, for the choice of canaries: a hash of its application, its profiles and its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceKey(NonZeroU64);

impl InstanceKey {
    /// The key of the instance of this name that requests an environment. One hash, made once for each connection.
    pub fn new(query: &Query, name: &str) -> Self {
        Self::from_number(bucket::key(&query.application, &query.profiles, name))
    }

    /// The key with a number from [`bucket::key`].
    pub fn from_number(number: u64) -> Self {
        Self(NonZeroU64::new(number).unwrap_or(NonZeroU64::MIN))
    }

    /// The number of the key.
    pub fn number(self) -> u64 {
        self.0.get()
    }

    /// The place of the instance in a rollout, from 0 to 2^32 - 1. Rollouts with other salts have other orders.
    fn bucket(self, salt: u64) -> u64 {
        bucket::bucket(self.number(), salt).into()
    }
}

/// The canaries of one application in a rollout.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CanaryChoice {
    /// The salt of the rollout. A rollout that supersedes another one keeps its salt.
    pub salt: u64,
    /// The instances with a lower bucket are canaries. 0 for none.
    pub bound: u64,
    /// The instances that are canaries whichever bucket they have.
    pub named: BTreeSet<InstanceKey>,
}

impl CanaryChoice {
    /// The bound of the last stage, which includes clients without a name.
    pub const EVERYONE: u64 = Bound::EVERYONE.number();

    /// Returns true if a client is a canary. None for a client without a name.
    pub fn is_canary(&self, instance: Option<InstanceKey>) -> bool {
        let is_chosen = |instance: InstanceKey| {
            instance.bucket(self.salt) < self.bound || self.named.contains(&instance)
        };
        self.bound >= Self::EVERYONE || instance.is_some_and(is_chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Label;

    const INSTANCE_COUNT: u32 = 10_000;
    /// The first eight bytes of the hash.
    const WEB_3: u64 = 0x8a3a_eda5_a0bd_edc0;

    fn key(name: &str) -> InstanceKey {
        let (application, profiles) = ("product".into(), "prod".into());
        InstanceKey::new(&Query { application, profiles, label: Label::Default }, name)
    }

    fn choice(salt: u64, bound: u64) -> CanaryChoice {
        CanaryChoice { salt, bound, named: BTreeSet::new() }
    }

    #[test]
    fn a_key_is_the_hash_of_application_profiles_and_name() {
        // printf 'product\0prod\0web-3' | sha256sum
        assert_eq!(key("web-3").0.get(), WEB_3);
        let other = |application: &str, profiles: &str, name: &str| {
            let (application, profiles) = (application.into(), profiles.into());
            InstanceKey::new(&Query { application, profiles, label: Label::Default }, name)
        };
        assert_ne!(other("a", "b", "c"), other("ab", "", "c"));
        assert_ne!(other("a", "b", "c"), other("a", "bc", ""));
    }

    #[test]
    fn a_bound_is_a_share_and_a_larger_one_keeps_every_canary() {
        let keys: Vec<InstanceKey> = (0..INSTANCE_COUNT).map(|n| key(&n.to_string())).collect();
        let count =
            |choice: &CanaryChoice| keys.iter().filter(|it| choice.is_canary(Some(**it))).count();
        assert_eq!(count(&choice(7, 0)), 0);
        assert_eq!(count(&choice(7, CanaryChoice::EVERYONE - 1)), keys.len());
        assert!(!choice(7, CanaryChoice::EVERYONE - 1).is_canary(None));
        assert!(choice(7, CanaryChoice::EVERYONE).is_canary(None));
        let (small, large) =
            (choice(7, CanaryChoice::EVERYONE / 20), choice(7, CanaryChoice::EVERYONE / 4));
        assert!((400..600).contains(&count(&small)), "{}", count(&small));
        assert!((2_300..2_700).contains(&count(&large)), "{}", count(&large));
        let mut names = keys.iter().map(|it| Some(*it));
        assert!(names.all(|it| !small.is_canary(it) || large.is_canary(it)));
        let other = choice(8, CanaryChoice::EVERYONE / 20);
        let names = keys.iter().map(|it| Some(*it));
        let both = names.filter(|it| small.is_canary(*it) && other.is_canary(*it)).count();
        assert!(both < 60, "{both} instances go first under two salts");
    }

    #[test]
    fn a_named_instance_is_a_canary() {
        let choice = CanaryChoice { named: [key("web-3")].into(), ..CanaryChoice::default() };
        assert!(choice.is_canary(Some(key("web-3"))));
        assert!(!choice.is_canary(Some(key("web-4"))));
        assert!(!choice.is_canary(None));
    }
}
