//! Which side an instance is on: a pure function of its name, of what it shows, and of the hold on its application.
//!
//! Invariant: two replicas with the same state give an instance the same side, without talking to each other.

use aws_lc_rs::digest::{SHA256, digest};

/// A limit on buckets, behind which an instance receives stable content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Bound(u64);

impl Bound {
    /// No instance.
    pub const NONE: Self = Self(0);
    /// Every client, also those without a name.
    pub const EVERYONE: Self = Self(1 << 32);
    /// The widest bound before the last stage. It never includes clients without a name.
    const WIDEST: Self = Self((1 << 32) - 1);

    /// The bound of a number, which a state contains.
    pub fn from_number(number: u64) -> Option<Self> {
        (number <= Self::EVERYONE.0).then_some(Self(number))
    }

    pub const fn number(self) -> u64 {
        self.0
    }

    /// The bound exactly behind a bucket.
    pub fn behind(bucket: u32) -> Self {
        Self(u64::from(bucket) + 1).min(Self::WIDEST)
    }

    /// The bound of `part` out of `whole`, rounded up.
    pub fn share(part: u64, whole: u64) -> Self {
        if whole == 0 {
            return Self::NONE;
        }
        let number = (u128::from(part) << 32).div_ceil(u128::from(whole));
        Self(u64::try_from(number).unwrap_or(u64::MAX)).min(Self::WIDEST)
    }

    pub fn includes(self, bucket: u32) -> bool {
        u64::from(bucket) < self.0
    }
}

/// The number of an instance: the first 8 bytes of SHA-256 of `application NUL profiles NUL name`. A caller computes it
/// once for a connection.
pub fn key(application: &str, profiles: &str, name: &str) -> u64 {
    first_bytes(&[application, profiles, name])
}

/// The salt of a rollout, from the commit that it began with. Every server computes the same one.
pub fn salt(to: &str) -> u64 {
    first_bytes(&["salt", to])
}

/// The first 8 bytes of SHA-256 of several texts with NUL between them.
pub(crate) fn first_bytes(parts: &[&str]) -> u64 {
    let hash = digest(&SHA256, parts.join("\0").as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_ref()[..8]);
    u64::from_be_bytes(first)
}

/// The place of an instance in a rollout: the top 32 bits of a mix of its key and the salt.
pub fn bucket(key: u64, salt: u64) -> u32 {
    (mix(key ^ salt) >> 32) as u32
}

/// The finalizer of SplitMix64. Each bit of the input changes each bit of the output in half of all cases.
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The content that a client receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    Stable,
    Candidate,
}

/// What a client has already received, as its request shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shown {
    /// The number after `~`. `None` if the client dropped it, or received an id without one.
    pub number: Option<u64>,
    /// Returns true if the revision is the `to` of the rollout or a later one.
    pub is_candidate: bool,
}

/// The hold on one application, as far as a choice needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hold {
    /// The number in ids of both sides. It grows whenever a side changes its meaning.
    pub number: u64,
    pub salt: u64,
    pub bound: Bound,
    /// Set after a rollback. No client receives the candidate.
    pub is_withheld: bool,
}

impl Hold {
    /// The hold on a server without contact to etcd. Only instances that have seen the candidate receive it, until the
    /// last stage, which is a decision about everyone.
    pub fn fenced(mut self) -> Self {
        if self.bound != Bound::EVERYONE {
            self.bound = Bound::NONE;
        }
        self
    }
}

/// An instance as a request names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Named {
    /// From [`key`].
    pub key: u64,
    /// Set if the rollout names the instance or one of its attributes, on a server that is not fenced.
    pub is_admitted: bool,
}

/// Chooses the side for a client.
///
/// 1. After a rollback, every client receives stable.
/// 2. In the last stage, every client receives the candidate.
/// 3. A client that shows the candidate of this rollout receives it, whichever bucket it has. A client without a name
///    has to show the number, because a deployment script asks for a revision that it has not received.
/// 4. A canary receives the candidate, and every other client stable.
///
/// Invariant: a caller has compared the shown number with [`is_behind`] first.
#[inline]
pub fn choose(hold: &Hold, instance: Option<Named>, shown: Option<Shown>) -> Side {
    if hold.is_withheld {
        return Side::Stable;
    }
    let has_seen = |shown: Shown| {
        let is_current = match shown.number {
            Some(number) => number >= hold.number,
            None => instance.is_some(),
        };
        shown.is_candidate && is_current
    };
    let is_canary = |own: Named| own.is_admitted || hold.bound.includes(bucket(own.key, hold.salt));
    if hold.bound == Bound::EVERYONE
        || shown.is_some_and(has_seen)
        || instance.is_some_and(is_canary)
    {
        Side::Candidate
    } else {
        Side::Stable
    }
}

/// Returns true if a client has received a publication that this server does not know yet. The request waits.
pub fn is_behind(state_number: u64, shown: Option<Shown>) -> bool {
    shown.and_then(|shown| shown.number).is_some_and(|number| number > state_number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hold(bound: Bound) -> Hold {
        Hold { number: 5, salt: 1, bound, is_withheld: false }
    }

    fn shown(number: impl Into<Option<u64>>) -> Option<Shown> {
        Some(Shown { number: number.into(), is_candidate: true })
    }

    const ANY: Option<Named> = Some(Named { key: 7, is_admitted: false });

    /// Computed with Python: `int.from_bytes(sha256(b"order\0prod\0web-3").digest()[:8], "big")`, and the finalizer in
    /// arithmetic modulo 2^64. A change of these numbers would change the canaries of running rollouts.
    #[test]
    fn keys_and_buckets_are_those_of_every_other_release() {
        assert_eq!(key("order", "prod", "web-3"), 0xbe94_493d_b1be_a611);
        assert_eq!(salt("e796e2dd67"), 0xe5c6_a20e_7133_32d6);
        assert_eq!(bucket(0x0123_4567_89ab_cdef, 42), 0x4785_3c74);
        assert_ne!(key("a", "b", "c"), key("ab", "", "c"));
    }

    #[test]
    fn a_client_that_shows_the_candidate_keeps_it() {
        let none = hold(Bound::NONE);
        assert_eq!(choose(&none, ANY, None), Side::Stable);
        assert_eq!(choose(&none, ANY, shown(5)), Side::Candidate);
        assert_eq!(choose(&none, ANY, shown(None)), Side::Candidate);
        assert_eq!(choose(&none, ANY, shown(4)), Side::Stable, "of an earlier rollout");
        assert_eq!(choose(&none, None, shown(5)), Side::Candidate);
        assert_eq!(choose(&none, None, shown(None)), Side::Stable, "a deployment script");
        let stable = Some(Shown { number: Some(5), is_candidate: false });
        assert_eq!(choose(&none, ANY, stable), Side::Stable);
    }

    #[test]
    fn after_a_rollback_every_client_receives_stable() {
        let withheld = Hold { is_withheld: true, ..hold(Bound::EVERYONE) };
        let named = Some(Named { key: 7, is_admitted: true });
        for (instance, shown) in [(ANY, shown(4)), (named, None), (ANY, shown(None)), (None, None)]
        {
            assert_eq!(choose(&withheld, instance, shown), Side::Stable);
        }
    }

    #[test]
    fn the_last_stage_and_names_include_what_bounds_do_not() {
        assert_eq!(choose(&hold(Bound::EVERYONE), None, None), Side::Candidate);
        assert_eq!(choose(&hold(Bound::WIDEST), None, None), Side::Stable);
        let named = Some(Named { key: 7, is_admitted: true });
        assert_eq!(choose(&hold(Bound::NONE), named, None), Side::Candidate);
        assert_eq!(choose(&hold(Bound::WIDEST).fenced(), ANY, None), Side::Stable);
        assert_eq!(choose(&hold(Bound::WIDEST).fenced(), ANY, shown(5)), Side::Candidate);
        assert_eq!(choose(&hold(Bound::EVERYONE).fenced(), None, None), Side::Candidate);
    }

    #[test]
    fn a_server_that_a_client_is_ahead_of_is_behind() {
        assert!(is_behind(5, shown(6)));
        assert!(!is_behind(5, shown(5)));
        assert!(!is_behind(5, shown(None)));
        assert!(!is_behind(5, None));
    }

    #[test]
    fn bounds_stay_in_their_range() {
        assert_eq!(Bound::share(1, 0), Bound::NONE);
        assert_eq!(Bound::share(5, 5), Bound::WIDEST);
        assert_eq!(Bound::share(1, 2).number(), 1 << 31);
        assert_eq!(Bound::behind(u32::MAX), Bound::WIDEST);
        assert_eq!(Bound::from_number(1 << 32), Some(Bound::EVERYONE));
        assert_eq!(Bound::from_number((1 << 32) + 1), None);
    }

    proptest! {
        /// 50 ± 7 of 1,000 is one standard deviation. The test permits five.
        #[test]
        fn a_share_of_many_instances_is_that_share(salt: u64, prefix in "[a-z]{1,8}") {
            let bound = Bound::share(5, 100);
            let keys = (0..1000).map(|index| key("order", "prod", &format!("{prefix}-{index}")));
            let count = keys.filter(|key| bound.includes(bucket(*key, salt))).count();
            prop_assert!((15..=85).contains(&count), "{}", count);
        }

        #[test]
        fn widening_never_drops_a_member(key: u64, salt: u64, a in 0..=1u64 << 32, b in 0..=1u64 << 32) {
            let [narrow, wide] = [a.min(b), a.max(b)].map(|own| hold(Bound(own)));
            let instance = Some(Named { key, is_admitted: false });
            let [narrow, wide] = [narrow, wide].map(|own| Hold { salt, ..own });
            if choose(&narrow, instance, None) == Side::Candidate {
                prop_assert_eq!(choose(&wide, instance, None), Side::Candidate);
            }
        }
    }

    /// 50 of 1,000, with a standard deviation of 7, over many salts.
    #[test]
    fn a_share_has_the_mean_and_the_spread_of_chance() {
        let keys: Vec<u64> =
            (0..1000).map(|index| key("order", "prod", &index.to_string())).collect();
        let bound = Bound::share(5, 100);
        let counts: Vec<f64> = (0..400)
            .map(|index| {
                let salt = salt(&index.to_string());
                keys.iter().filter(|key| bound.includes(bucket(**key, salt))).count() as f64
            })
            .collect();
        let mean = counts.iter().sum::<f64>() / counts.len() as f64;
        let variance =
            counts.iter().map(|own| (own - mean).powi(2)).sum::<f64>() / counts.len() as f64;
        assert!((mean - 50.0).abs() < 1.5, "{mean}");
        assert!((5.9..8.1).contains(&variance.sqrt()), "{}", variance.sqrt());
    }
}
