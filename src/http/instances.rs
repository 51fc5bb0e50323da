//! The instances of services, and the environment that each of them acknowledged.
//!
//! Clients report this about themselves in two headers. The server keeps it in memory for a while, shows it, and
//! decides nothing by it. An invalid name is ignored, so that the service still gets its configuration.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use actix_http::header::{HeaderMap, HeaderName};
use headwater_wire::{Outcome, headers};
use jiff::{SignedDuration, Timestamp};

use super::watch;
use crate::model::{Digest, Query, Revision};
use crate::sync::lock;

/// The most instances that are kept. Further ones are ignored until others expire.
const COUNT_MAX: usize = 20_000;
/// The time after its last request at which an instance expires.
const EXPIRES_AFTER: SignedDuration = SignedDuration::from_mins(15);
/// The shortest time between two searches for expired instances while the table is full.
const EXPIRY_INTERVAL: SignedDuration = SignedDuration::from_secs(1);
/// The longest name of an instance, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// The longest application, profiles and label of an instance, together and in bytes.
const QUERY_BYTES_MAX: usize = 512;
/// The longest acknowledged revision, in bytes.
const REVISION_BYTES_MAX: usize = 512;

/// The header with the name of an instance.
pub(super) const INSTANCE: HeaderName = HeaderName::from_static(headers::INSTANCE);
/// The header with an acknowledgement: `<revision>.<digest> ok`, or `rejected` in place of `ok`.
const APPLIED: HeaderName = HeaderName::from_static(headers::APPLIED);

/// The known instances.
#[derive(Default)]
pub struct Instances(Mutex<InstanceTable>);

#[derive(Default)]
struct InstanceTable {
    instances: HashMap<InstanceKey, InstanceState>,
    /// The number of requests whose instances were ignored because the table was full.
    left_out_count: u64,
    expired_at: Timestamp,
}

/// An instance and one of the environments that it follows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct InstanceKey {
    name: Box<str>,
    query: Query,
}

#[derive(Debug, Clone)]
struct InstanceState {
    applied: Option<Acknowledgement>,
    /// The time of the first request with this acknowledgement.
    since: Timestamp,
    last_seen: Timestamp,
    /// The number of its requests in progress, event streams and long polls included.
    request_count: usize,
}

/// An instance's report on one version of its environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Acknowledgement {
    pub(super) revision: Revision,
    pub(super) digest: Digest,
    pub(super) outcome: Outcome,
}

/// One instance as `/-/instances` shows it.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) name: Box<str>,
    pub(super) query: Query,
    pub(super) applied: Option<Acknowledgement>,
    pub(super) since: Timestamp,
    pub(super) last_seen: Timestamp,
    pub(super) is_connected: bool,
}

/// A request in progress. Its instance counts as connected until the value is dropped.
pub(super) struct InstanceRequest {
    instances: Arc<Instances>,
    key: InstanceKey,
}

impl Instances {
    /// Records the instance that requests an environment, and its acknowledgement. Returns `None` for a request without
    /// a valid name, or if the table is full.
    pub(super) fn enter(
        self: &Arc<Self>,
        headers: &HeaderMap,
        query: &Query,
    ) -> Option<InstanceRequest> {
        let name = headers.get(INSTANCE)?.to_str().ok().filter(|name| is_name(name))?;
        let key = InstanceKey { name: name.into(), query: query.clone() };
        let applied = headers.get(APPLIED).and_then(|value| acknowledgement(value.to_str().ok()?));
        let fits = bytes(query) <= QUERY_BYTES_MAX;
        let is_kept = fits && lock(&self.0).enter(&key, applied, Timestamp::now());
        is_kept.then(|| InstanceRequest { instances: Arc::clone(self), key })
    }

    /// Lists the known instances in order, and returns the number of ignored requests.
    pub(super) fn list(&self) -> (Vec<Instance>, u64) {
        let mut table = lock(&self.0);
        let now = Timestamp::now();
        table.expire(now);
        let show = |(key, state): (&InstanceKey, &InstanceState)| Instance {
            name: key.name.clone(),
            query: key.query.clone(),
            applied: state.applied.clone(),
            since: state.since,
            last_seen: if state.request_count > 0 { now } else { state.last_seen },
            is_connected: state.request_count > 0,
        };
        let mut instances: Vec<Instance> = table.instances.iter().map(show).collect();
        let left_out_count = table.left_out_count;
        drop(table);
        instances.sort_by_cached_key(|it| {
            let Query { application, profiles, label } = it.query.clone();
            (application, profiles, label.name().map(str::to_owned), it.name.clone())
        });
        (instances, left_out_count)
    }
}

impl InstanceTable {
    /// Records a request. Returns false if the table is full.
    fn enter(
        &mut self,
        key: &InstanceKey,
        applied: Option<Acknowledgement>,
        now: Timestamp,
    ) -> bool {
        if self.instances.len() >= COUNT_MAX
            && !self.instances.contains_key(key)
            && now.duration_since(self.expired_at) >= EXPIRY_INTERVAL
        {
            self.expire(now);
        }
        if self.instances.len() >= COUNT_MAX && !self.instances.contains_key(key) {
            self.left_out_count += 1;
            return false;
        }
        let state = self.instances.entry(key.clone()).or_insert_with(|| InstanceState {
            applied: None,
            since: now,
            last_seen: now,
            request_count: 0,
        });
        if applied.is_some() && applied != state.applied {
            state.applied = applied;
            state.since = now;
        }
        state.last_seen = now;
        state.request_count += 1;
        true
    }

    fn leave(&mut self, key: &InstanceKey, now: Timestamp) {
        if let Some(state) = self.instances.get_mut(key) {
            state.request_count -= 1;
            state.last_seen = now;
        }
    }

    fn expire(&mut self, now: Timestamp) {
        self.expired_at = now;
        self.instances.retain(|_, state| {
            state.request_count > 0 || now.duration_since(state.last_seen) < EXPIRES_AFTER
        });
    }
}

impl Drop for InstanceRequest {
    fn drop(&mut self) {
        lock(&self.instances.0).leave(&self.key, Timestamp::now());
    }
}

/// Returns true for a valid name: the characters of host names, process ids and identifiers.
fn is_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_allowed)
}

fn acknowledgement(text: &str) -> Option<Acknowledgement> {
    let (id, outcome) = text.split_once(' ')?;
    let (seen, digest) = id.rsplit_once('.')?;
    let fits = seen.len() <= REVISION_BYTES_MAX;
    Some(Acknowledgement {
        revision: watch::position(seen).filter(|_| fits)?.revision,
        digest: Digest::parse(digest)?,
        outcome: Outcome::from_name(outcome)?,
    })
}

fn bytes(query: &Query) -> usize {
    query.application.len() + query.profiles.len() + query.label.name().map_or(0, str::len)
}

#[cfg(test)]
mod tests {
    use actix_http::header::HeaderValue;

    use super::*;
    use crate::model::Label;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn query(application: &str) -> Query {
        Query { application: application.into(), profiles: "prod".into(), label: Label::Default }
    }

    fn headers(name: &str, applied: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(INSTANCE, HeaderValue::from_str(name).unwrap());
        headers.insert(APPLIED, HeaderValue::from_str(applied).unwrap());
        headers
    }

    fn key(name: &str) -> InstanceKey {
        InstanceKey { name: name.into(), query: query("product") }
    }

    #[test]
    fn invalid_names_and_acknowledgements_are_ignored() {
        let instances = Arc::<Instances>::default();
        for name in ["", "a b", "\u{e4}", "a\"b", "<a>", &"a".repeat(NAME_BYTES_MAX + 1)] {
            assert!(!is_name(name), "{name}");
        }
        assert!(instances.enter(&HeaderMap::new(), &query("product")).is_none());
        assert!(instances.enter(&headers("a", "x"), &query(&"a".repeat(600))).is_none());
        let digest = "0".repeat(64);
        let long = vec![COMMIT; 1 + REVISION_BYTES_MAX / COMMIT.len()].join(",");
        for text in [
            "",
            "ok",
            &format!("{COMMIT}.{digest}"),
            &format!("{COMMIT}.{digest} fine"),
            &format!("{COMMIT}.{digest}  ok"),
            &format!("{COMMIT}.{digest}0 ok"),
            &format!("a b.{digest} ok"),
            &format!("r.{digest} ok"),
            &format!("{long}.{digest} ok"),
        ] {
            assert_eq!(acknowledgement(text), None, "{text}");
            drop(instances.enter(&headers("a", text), &query("product")));
        }
        let (listed, _) = instances.list();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].applied, None);
        let outcome = |text: String| acknowledgement(&text).map(|it| it.outcome);
        assert_eq!(outcome(format!("{COMMIT},{COMMIT}.{digest} ok")), Some(Outcome::Applied));
        assert_eq!(outcome(format!("{digest}.{digest} rejected")), Some(Outcome::Rejected));
    }

    #[test]
    fn the_table_is_bounded_and_silent_instances_expire() {
        let mut table = InstanceTable::default();
        let begin = Timestamp::now();
        for number in 0..COUNT_MAX {
            assert!(table.enter(&key(&number.to_string()), None, begin));
        }
        assert!(!table.enter(&key("more"), None, begin));
        assert_eq!(table.left_out_count, 1);
        // A known instance is still recorded.
        assert!(table.enter(&key("0"), None, begin));
        for name in ["0", "0", "1"] {
            table.leave(&key(name), begin);
        }
        let later = begin + EXPIRES_AFTER;
        assert!(table.enter(&key("more"), None, later));
        // All other instances are still connected.
        assert_eq!(table.instances.len(), COUNT_MAX - 1);
    }

    #[test]
    fn the_time_of_an_acknowledgement_is_that_of_its_first_request() {
        let mut table = InstanceTable::default();
        let begin = Timestamp::now();
        let later = begin + SignedDuration::from_secs(1);
        let acknowledged = |digit: &str| {
            let revision = digit.repeat(COMMIT.len());
            acknowledgement(&format!("{revision}.{} ok", "0".repeat(64)))
        };
        assert!(table.enter(&key("a"), acknowledged("1"), begin));
        assert!(table.enter(&key("a"), acknowledged("1"), later));
        // A request without an acknowledgement does not revoke it.
        assert!(table.enter(&key("a"), None, later));
        let since = |table: &InstanceTable| table.instances[&key("a")].since;
        assert_eq!(since(&table), begin);
        assert!(table.enter(&key("a"), acknowledged("2"), later));
        assert_eq!(since(&table), later);
    }
}
