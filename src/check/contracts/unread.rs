//! Added and changed keys that no running build reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{RunningBuilds, names};
use crate::check::Audience;
use crate::model::{Origin, Position, Problem, Query, SHARED_APPLICATION};

/// The most keys that one check reports.
const KEY_COUNT_MAX: usize = 20;
/// The most keys that one check examines.
const EXAMINED_COUNT_MAX: usize = 10_000;
/// The keys that the server itself reads.
const SERVER_KEYS: &str = ".spring.";

/// The changed keys by file and key. A key is unread only if no application whose environment contains it reads it, and all
/// of these applications report everything that they read.
#[derive(Default)]
pub(in crate::check) struct UnreadKeys(BTreeMap<(Arc<str>, Arc<str>), ChangedKey>);

/// A changed key of a file.
struct ChangedKey {
    position: Option<Position>,
    applications: BTreeSet<Arc<str>>,
    /// True if an application reads the key, or may read it.
    is_read: bool,
    /// True if the reader of the report may not read one of the environments.
    is_hidden: bool,
    query: Query,
}

impl UnreadKeys {
    /// Adds a key that has another value in an environment.
    pub(in crate::check) fn add(
        &mut self,
        builds: &RunningBuilds,
        query: &Query,
        key: &Arc<str>,
        origin: &Origin,
        audience: Option<&dyn Audience>,
    ) {
        // No instance reads the shared files alone.
        if &*query.application == SHARED_APPLICATION {
            return;
        }
        let place = (Arc::clone(&origin.file), Arc::clone(key));
        if self.0.len() >= EXAMINED_COUNT_MAX && !self.0.contains_key(&place) {
            return;
        }
        let changed = self.0.entry(place).or_insert_with(|| ChangedKey {
            position: origin.position,
            applications: BTreeSet::new(),
            is_read: names::relaxed(key).starts_with(SERVER_KEYS),
            is_hidden: false,
            query: query.clone(),
        });
        changed.is_hidden |= audience.is_some_and(|audience| !audience.reads_environment(query));
        if !changed.is_read && changed.applications.insert(Arc::clone(&query.application)) {
            changed.is_read = !is_unread(builds, &query.application, key);
        }
    }

    /// Returns the unread keys as warnings, each with an environment that contains it. The message names all applications
    /// that receive the key, so that the reader of the report has to be permitted to read each.
    pub(in crate::check) fn finish(
        self,
        builds: &RunningBuilds,
    ) -> impl Iterator<Item = (Problem, Query)> {
        let unread =
            self.0.into_iter().filter(|(_, changed)| !changed.is_read && !changed.is_hidden);
        unread.take(KEY_COUNT_MAX).map(|((file, key), changed)| {
            let message = message(builds, &changed.applications);
            let origin = Origin { file, position: changed.position };
            (Problem { origin, key: Some(key), message }, changed.query)
        })
    }
}

/// Returns true if every instance of an application reports what it reads, and none reads the key.
fn is_unread(builds: &RunningBuilds, application: &str, key: &str) -> bool {
    let is_complete = builds.reporting(application).is_complete();
    let mut known = builds.of_application(application).iter();
    is_complete && known.all(|build| build.contract.reading(key).is_none())
}

fn message(builds: &RunningBuilds, applications: &BTreeSet<Arc<str>>) -> String {
    let reporting = applications.iter().map(|application| builds.reporting(application));
    let count: usize = reporting.map(|reporting| reporting.reporting_count).sum();
    let names: Vec<String> = applications.iter().map(ToString::to_string).collect();
    let names = super::listed(&names);
    format!("no instance of {names} reads it ({count} of {count} report the keys that they read)")
}
