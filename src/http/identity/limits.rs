//! Limits on bad credentials, for each client address.
//!
//! Only a credential that was rejected counts. A client with good credentials is never delayed, also while another one
//! behind the same address sends bad ones.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::sync::lock;

/// The bad credentials of each kind that an address may send at once.
const BURST: u32 = 2_000;
/// The interval at which an address may send a further one.
const INTERVAL: Duration = Duration::from_millis(50);
/// The most addresses that are remembered.
const ADDRESS_COUNT_MAX: usize = 10_000;
/// The leading bits of an IPv6 address that one client has for itself.
const NETWORK_BITS: u32 = 64;

/// The kind of a credential. Other credentials cost little, and do not use up the room for JWTs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum CredentialKind {
    /// A credential whose signature has to be verified.
    Jwt,
    Other,
}

/// The bad credentials of the last time.
///
/// Invariant: an address that is not in the table has all of its room. If the table is full of addresses that lack
/// some, all further addresses share one entry.
#[derive(Default)]
pub struct CredentialLimits(Mutex<HashMap<(Option<IpAddr>, CredentialKind), Bucket>>);

/// A token bucket as the time at which it is full again.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    full_at: Instant,
}

impl Bucket {
    fn has_room(self, now: Instant) -> bool {
        self.full_at.saturating_duration_since(now) + INTERVAL <= INTERVAL * BURST
    }
}

impl CredentialLimits {
    /// Returns true if an address may send a bad credential of this kind.
    pub(super) fn has_room(&self, client: Option<IpAddr>, kind: CredentialKind) -> bool {
        let now = Instant::now();
        let buckets = lock(&self.0);
        let known = buckets.get(&(client.map(network), kind));
        let known = known.or_else(|| {
            let is_full = buckets.len() >= ADDRESS_COUNT_MAX;
            is_full.then(|| buckets.get(&(None, kind))).flatten()
        });
        known.is_none_or(|bucket| bucket.has_room(now))
    }

    /// Records a bad credential. Returns false if the address had no room for it.
    pub(super) fn record_bad(&self, client: Option<IpAddr>, kind: CredentialKind) -> bool {
        self.record_at(client, kind, Instant::now())
    }

    fn record_at(&self, client: Option<IpAddr>, kind: CredentialKind, now: Instant) -> bool {
        let mut buckets = lock(&self.0);
        let mut key = (client.map(network), kind);
        if buckets.len() >= ADDRESS_COUNT_MAX && !buckets.contains_key(&key) {
            buckets.retain(|_, bucket| now < bucket.full_at);
            if buckets.len() >= ADDRESS_COUNT_MAX {
                key = (None, kind);
            }
        }
        let bucket = buckets.entry(key).or_insert(Bucket { full_at: now });
        let has_room = bucket.has_room(now);
        if has_room {
            bucket.full_at = bucket.full_at.max(now) + INTERVAL;
        }
        has_room
    }
}

/// The address of an IPv4 client, or the network of an IPv6 client.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let mask = u128::MAX << (128 - NETWORK_BITS);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_burst_is_followed_by_the_rate() {
        let limits = CredentialLimits::default();
        let (client, now) = (address("192.0.2.1"), Instant::now());
        let record = |now| limits.record_at(client, CredentialKind::Jwt, now);
        assert_eq!((0..3_000).filter(|_| record(now)).count(), 2_000);
        let later = now + Duration::from_secs(1);
        assert_eq!((0..3_000).filter(|_| record(later)).count(), 20);
        let much_later = now + Duration::from_secs(3_600);
        assert_eq!((0..3_000).filter(|_| record(much_later)).count(), 2_000);
    }

    #[test]
    fn addresses_and_kinds_do_not_share_their_room() {
        let limits = CredentialLimits::default();
        let first = address("2001:db8:0:1::1");
        let now = Instant::now() + Duration::from_secs(3_600);
        while limits.record_at(first, CredentialKind::Jwt, now) {}
        assert!(!limits.has_room(first, CredentialKind::Jwt));
        assert!(limits.has_room(first, CredentialKind::Other));
        assert!(!limits.has_room(address("2001:db8:0:1::2"), CredentialKind::Jwt));
        assert!(limits.has_room(address("2001:db8:0:2::1"), CredentialKind::Jwt));
        assert!(limits.has_room(address("192.0.2.1"), CredentialKind::Jwt));
    }

    #[test]
    fn the_table_is_bounded() {
        let limits = CredentialLimits::default();
        let now = Instant::now() + Duration::from_secs(3_600);
        for number in 0..u32::try_from(ADDRESS_COUNT_MAX).unwrap() + 5_000 {
            let client = Some(IpAddr::V4(number.into()));
            limits.record_at(client, CredentialKind::Other, now);
        }
        assert!(lock(&limits.0).len() <= ADDRESS_COUNT_MAX + 2);
        // Addresses without an entry have used up their common room.
        assert!(!limits.has_room(address("203.0.113.9"), CredentialKind::Other));
        // Entries that have their full room make place.
        let later = now + Duration::from_secs(3_600);
        assert!(limits.record_at(address("203.0.113.9"), CredentialKind::Other, later));
        assert!(lock(&limits.0).len() < 3);
    }
}
