//! Who runs with what: the instances of services that say so, and what they made of the configuration they were given.
//!
//! It is what clients say about themselves, kept in memory for a while and believed by nobody: nothing is decided by it.
//! What is no name is passed over, since a service is not to go without its configuration for that.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use actix_http::header::{HeaderMap, HeaderName};
use jiff::{SignedDuration, Timestamp};

use super::watch;
use crate::model::{Digest, Query, Revision};
use crate::sync::lock;

/// The most instances that are kept; more are left out until others are forgotten.
const COUNT_MAX: usize = 20_000;
/// How long one is kept that is not heard of.
const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_mins(15);
/// How often it is looked whom to forget, while there is no room.
const FORGET_PAUSE: SignedDuration = SignedDuration::from_secs(1);
/// The longest name of an instance, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// The longest application, profiles and label of one that is kept, together and in bytes.
const QUERY_BYTES_MAX: usize = 512;
/// The longest revision that is kept, in bytes.
const REVISION_BYTES_MAX: usize = 512;

/// The header with the name of an instance.
pub(super) const INSTANCE: HeaderName = HeaderName::from_static("headwater-instance");
/// The header that says what became of a configuration: `<revision>.<digest> ok`, or `rejected` in place of `ok`.
const APPLIED: HeaderName = HeaderName::from_static("headwater-applied");

/// The instances that were heard of.
#[derive(Default)]
pub struct Instances(Mutex<Known>);

#[derive(Default)]
struct Known {
    instances: HashMap<Key, State>,
    /// How many requests came from instances that there was no room for.
    left_out_count: u64,
    forgot_at: Timestamp,
}

/// An instance may follow several environments.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    name: Box<str>,
    query: Query,
}

#[derive(Debug, Clone)]
struct State {
    applied: Option<Applied>,
    /// Since when it says the same.
    since: Timestamp,
    last_seen: Timestamp,
    /// How many of its requests are being answered, streams and long polls among them.
    request_count: usize,
}

/// What an instance says of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Applied {
    pub(super) revision: Revision,
    pub(super) digest: Digest,
    pub(super) outcome: Outcome,
}

/// What became of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The instance runs with it.
    Ok,
    /// The instance does not take it, and runs with what it had.
    Rejected,
}

/// One instance as it is shown.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) name: Box<str>,
    pub(super) query: Query,
    pub(super) applied: Option<Applied>,
    pub(super) since: Timestamp,
    pub(super) last_seen: Timestamp,
    pub(super) is_connected: bool,
}

/// A request of an instance, which counts as connected for as long as this is held.
pub(super) struct Present {
    instances: Arc<Instances>,
    key: Key,
}

impl Instances {
    /// Takes note of who asks for an environment and of what he says, if he says who he is.
    pub(super) fn enter(self: &Arc<Self>, headers: &HeaderMap, query: &Query) -> Option<Present> {
        let name = headers.get(INSTANCE)?.to_str().ok().filter(|name| is_name(name))?;
        let key = Key { name: name.into(), query: query.clone() };
        let applied = headers.get(APPLIED).and_then(|value| applied(value.to_str().ok()?));
        let fits = bytes(query) <= QUERY_BYTES_MAX;
        let is_kept = fits && lock(&self.0).enter(&key, applied, Timestamp::now());
        is_kept.then(|| Present { instances: Arc::clone(self), key })
    }

    /// All that are known, in order, and how many requests were left out.
    pub(super) fn list(&self) -> (Vec<Instance>, u64) {
        let mut known = lock(&self.0);
        let now = Timestamp::now();
        known.forget(now);
        let show = |(key, state): (&Key, &State)| Instance {
            name: key.name.clone(),
            query: key.query.clone(),
            applied: state.applied.clone(),
            since: state.since,
            last_seen: if state.request_count > 0 { now } else { state.last_seen },
            is_connected: state.request_count > 0,
        };
        let mut instances: Vec<Instance> = known.instances.iter().map(show).collect();
        let left_out_count = known.left_out_count;
        drop(known);
        let order = |of: &Instance| {
            let Query { application, profiles, label } = of.query.clone();
            (application, profiles, label.name().map(str::to_owned), of.name.clone())
        };
        instances.sort_by_cached_key(order);
        (instances, left_out_count)
    }
}

impl Known {
    /// Whether there is room for it.
    fn enter(&mut self, key: &Key, applied: Option<Applied>, now: Timestamp) -> bool {
        if self.instances.len() >= COUNT_MAX
            && !self.instances.contains_key(key)
            && now.duration_since(self.forgot_at) >= FORGET_PAUSE
        {
            self.forget(now);
        }
        if self.instances.len() >= COUNT_MAX && !self.instances.contains_key(key) {
            self.left_out_count += 1;
            return false;
        }
        let state = self.instances.entry(key.clone()).or_insert_with(|| State {
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

    fn leave(&mut self, key: &Key, now: Timestamp) {
        if let Some(state) = self.instances.get_mut(key) {
            state.request_count -= 1;
            state.last_seen = now;
        }
    }

    fn forget(&mut self, now: Timestamp) {
        self.forgot_at = now;
        self.instances.retain(|_, state| {
            state.request_count > 0 || now.duration_since(state.last_seen) < FORGOTTEN_AFTER
        });
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        lock(&self.instances.0).leave(&self.key, Timestamp::now());
    }
}

/// Whether a text can be the name of an instance: what host names, process ids and identifiers are made of.
fn is_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_allowed)
}

fn applied(text: &str) -> Option<Applied> {
    let (id, outcome) = text.split_once(' ')?;
    let (revision, digest) = id.rsplit_once('.')?;
    let is_revision = revision.len() <= REVISION_BYTES_MAX && watch::is_revision(revision);
    Some(Applied {
        revision: is_revision.then(|| Revision::new(revision))?,
        digest: Digest::parse(digest)?,
        outcome: match outcome {
            "ok" => Outcome::Ok,
            "rejected" => Outcome::Rejected,
            _ => return None,
        },
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

    fn query(application: &str) -> Query {
        Query { application: application.into(), profiles: "prod".into(), label: Label::Default }
    }

    fn headers(name: &str, applied: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(INSTANCE, HeaderValue::from_str(name).unwrap());
        headers.insert(APPLIED, HeaderValue::from_str(applied).unwrap());
        headers
    }

    fn key(name: &str) -> Key {
        Key { name: name.into(), query: query("product") }
    }

    #[test]
    fn what_is_no_name_and_what_is_no_acknowledgement_is_passed_over() {
        let instances = Arc::<Instances>::default();
        for name in ["", "a b", "\u{e4}", "a\"b", "<a>", &"a".repeat(NAME_BYTES_MAX + 1)] {
            assert!(!is_name(name), "{name}");
        }
        assert!(instances.enter(&HeaderMap::new(), &query("product")).is_none());
        assert!(instances.enter(&headers("a", "x"), &query(&"a".repeat(600))).is_none());
        let digest = "0".repeat(64);
        let long = "a".repeat(REVISION_BYTES_MAX + 1);
        for text in [
            "",
            "ok",
            &format!("ab.{digest}"),
            &format!("ab.{digest} fine"),
            &format!("ab.{digest}  ok"),
            &format!("ab.{digest}0 ok"),
            &format!("a b.{digest} ok"),
            &format!("{long}.{digest} ok"),
        ] {
            assert_eq!(applied(text), None, "{text}");
            drop(instances.enter(&headers("a", text), &query("product")));
        }
        let (listed, _) = instances.list();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].applied, None);
        let outcome = |text: String| applied(&text).map(|applied| applied.outcome);
        assert_eq!(outcome(format!("ab,cd.{digest} ok")), Some(Outcome::Ok));
        assert_eq!(outcome(format!("7.{digest} rejected")), Some(Outcome::Rejected));
    }

    #[test]
    fn there_is_room_for_so_many_and_who_is_not_heard_of_is_forgotten() {
        let mut known = Known::default();
        let begin = Timestamp::now();
        for number in 0..COUNT_MAX {
            assert!(known.enter(&key(&number.to_string()), None, begin));
        }
        assert!(!known.enter(&key("more"), None, begin));
        assert_eq!(known.left_out_count, 1);
        // Whoever is known already is heard.
        assert!(known.enter(&key("0"), None, begin));
        for name in ["0", "0", "1"] {
            known.leave(&key(name), begin);
        }
        let later = begin + FORGOTTEN_AFTER;
        assert!(known.enter(&key("more"), None, later));
        // The others are connected still.
        assert_eq!(known.instances.len(), COUNT_MAX - 1);
    }

    #[test]
    fn it_is_said_since_when_an_instance_says_the_same() {
        let mut known = Known::default();
        let begin = Timestamp::now();
        let later = begin + SignedDuration::from_secs(1);
        let of = |revision: &str| applied(&format!("{revision}.{} ok", "0".repeat(64)));
        assert!(known.enter(&key("a"), of("r1"), begin));
        assert!(known.enter(&key("a"), of("r1"), later));
        // To say nothing is not to take it back.
        assert!(known.enter(&key("a"), None, later));
        let since = |known: &Known| known.instances[&key("a")].since;
        assert_eq!(since(&known), begin);
        assert!(known.enter(&key("a"), of("r2"), later));
        assert_eq!(since(&known), later);
    }
}
