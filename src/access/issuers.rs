//! The keys of the policy's issuers, and the JWTs that were verified with them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use headwater_access::jwt::Jwks;
use headwater_access::{AuthenticatedCaller, AuthenticationError, KeySource, Sha256};
use jiff::{SignedDuration, Timestamp};

use crate::sync::lock;

/// The most accepted JWTs that are remembered.
const ACCEPTED_COUNT_MAX: usize = 16_384;
/// The most rejected JWTs that are remembered.
const REJECTED_COUNT_MAX: usize = 4_096;
/// The time for which a rejected JWT is remembered.
const REJECTED_FOR: SignedDuration = SignedDuration::from_secs(10);

/// The last usable key sets, by the places that they were read from.
#[derive(Default)]
pub(super) struct LoadedKeys(HashMap<KeySource, LoadedKeySet>);

struct LoadedKeySet {
    jwks: Arc<Jwks>,
    digest: Sha256,
    read_at: Instant,
}

/// The key sets of one version of the policy.
pub(super) type KeySetsInForce = HashMap<KeySource, Arc<Jwks>>;

/// The treatment of a JWT that is not remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JwtVerification {
    /// The JWT is verified, which takes up to 0.2 ms.
    Performed,
    /// The JWT is not accepted, and not rejected either.
    Deferred,
}

/// One issuer as metrics and messages show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerStatus {
    /// The name in the policy.
    pub name: String,
    pub source: KeySource,
    /// The time since its keys were read successfully. `None` if they never were.
    pub age: Option<Duration>,
}

/// Checks that a document has usable keys.
///
/// # Errors
/// The reason, without any part of the document.
pub fn check_keys(document: &[u8]) -> Result<(), String> {
    Jwks::parse(document).map(drop).map_err(|error| error.to_string())
}

impl LoadedKeys {
    /// Records a document that was read. Returns false if it is the known one.
    pub(super) fn record(&mut self, source: &KeySource, jwks: Jwks, digest: Sha256) -> bool {
        let read_at = Instant::now();
        if let Some(known) = self.0.get_mut(source).filter(|known| known.digest == digest) {
            known.read_at = read_at;
            return false;
        }
        self.0.insert(source.clone(), LoadedKeySet { jwks: Arc::new(jwks), digest, read_at });
        true
    }

    /// Forgets the keys of sources that the policy does not name any more.
    pub(super) fn retain(&mut self, sources: &[KeySource]) {
        self.0.retain(|source, _| sources.contains(source));
    }

    pub(super) fn in_force(&self) -> KeySetsInForce {
        let sets = self.0.iter();
        sets.map(|(source, loaded)| (source.clone(), Arc::clone(&loaded.jwks))).collect()
    }

    pub(super) fn age(&self, source: &KeySource) -> Option<Duration> {
        self.0.get(source).map(|loaded| loaded.read_at.elapsed())
    }
}

/// The outcomes of verifications under one version of the policy and of its keys.
#[derive(Default)]
pub(super) struct VerifiedJwts(Mutex<Outcomes>);

#[derive(Default)]
struct Outcomes {
    accepted: HashMap<Sha256, (AuthenticatedCaller, Timestamp)>,
    rejected: HashMap<Sha256, (AuthenticationError, Timestamp)>,
}

impl VerifiedJwts {
    /// Returns the outcome for a JWT, as long as it holds.
    pub(super) fn outcome(
        &self,
        jwt: &Sha256,
        now: Timestamp,
    ) -> Option<Result<AuthenticatedCaller, AuthenticationError>> {
        let outcomes = lock(&self.0);
        if let Some((caller, until)) = outcomes.accepted.get(jwt) {
            return (now < *until).then(|| Ok(caller.clone()));
        }
        let (error, until) = outcomes.rejected.get(jwt)?;
        (now < *until).then(|| Err(error.clone()))
    }

    /// Remembers an outcome. One that later keys may change is not remembered.
    pub(super) fn remember(
        &self,
        jwt: &Sha256,
        outcome: &Result<AuthenticatedCaller, AuthenticationError>,
        now: Timestamp,
    ) {
        let mut outcomes = lock(&self.0);
        match outcome {
            Ok(caller) => {
                let Some(until) = caller.valid_until else { return };
                make_room(&mut outcomes.accepted, ACCEPTED_COUNT_MAX, now);
                outcomes.accepted.insert(*jwt, (caller.clone(), until));
            }
            Err(error) if error.is_key_missing() => {}
            Err(error) => {
                let until = now.saturating_add(REJECTED_FOR).unwrap_or(Timestamp::MAX);
                outcomes.accepted.remove(jwt);
                make_room(&mut outcomes.rejected, REJECTED_COUNT_MAX, now);
                outcomes.rejected.insert(*jwt, (error.clone(), until));
            }
        }
    }
}

/// Removes outcomes that no longer hold once the limit is reached, and all of them if that is not enough.
fn make_room<V>(outcomes: &mut HashMap<Sha256, (V, Timestamp)>, count_max: usize, now: Timestamp) {
    if outcomes.len() < count_max {
        return;
    }
    outcomes.retain(|_, (_, until)| now < *until);
    if outcomes.len() >= count_max {
        outcomes.clear();
    }
}

#[cfg(test)]
mod tests {
    use headwater_access::{Principal, Proof};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn digest(number: usize) -> Sha256 {
        Sha256::of(&number.to_be_bytes())
    }

    #[test]
    fn outcomes_hold_until_their_end() {
        let verified = VerifiedJwts::default();
        let caller = AuthenticatedCaller {
            principal: Principal::anonymous(),
            proof: Proof::None,
            valid_until: Some(at(100)),
        };
        verified.remember(&digest(1), &Ok(caller.clone()), at(0));
        assert_eq!(verified.outcome(&digest(1), at(99)), Some(Ok(caller)));
        assert_eq!(verified.outcome(&digest(1), at(100)), None);
        let rejected = AuthenticationError::UnmappedJwt;
        verified.remember(&digest(2), &Err(rejected.clone()), at(0));
        assert_eq!(verified.outcome(&digest(2), at(9)), Some(Err(rejected.clone())));
        assert_eq!(verified.outcome(&digest(2), at(10)), None);
        // Later keys may verify it.
        verified.remember(&digest(3), &Err(AuthenticationError::NoKeys("a".into())), at(0));
        assert_eq!(verified.outcome(&digest(3), at(0)), None);
        // An accepted JWT that has expired is rejected afterwards.
        verified.remember(&digest(1), &Err(rejected.clone()), at(100));
        assert_eq!(verified.outcome(&digest(1), at(101)), Some(Err(rejected)));
    }

    #[test]
    fn the_number_of_rejected_jwts_is_bounded() {
        let verified = VerifiedJwts::default();
        let rejected = Err(AuthenticationError::UnmappedJwt);
        for number in 0..3 * REJECTED_COUNT_MAX {
            verified.remember(&digest(number), &rejected, at(0));
            assert!(lock(&verified.0).rejected.len() <= REJECTED_COUNT_MAX);
        }
        let last = digest(3 * REJECTED_COUNT_MAX - 1);
        assert_eq!(verified.outcome(&last, at(1)), Some(rejected));
    }
}
