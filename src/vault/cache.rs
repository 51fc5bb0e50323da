//! The secrets of one Vault in memory, and the paths that are due to be read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::model::Scalar;
use crate::reveal::Lookup;
use crate::sync::lock;

/// The most paths of one Vault.
const PATH_COUNT_MAX: usize = 1_000;
const TOO_MANY: &str = "the server reads at most 1,000 paths of one Vault";
const NO_VALUE: &str = "the secret in Vault has no text, number or truth value at this key";

/// The secrets of one Vault.
#[derive(Default)]
pub(crate) struct VaultCache {
    entries: Mutex<HashMap<Box<str>, Entry>>,
    /// Notified when a path is due at once.
    wanted: Notify,
}

struct Entry {
    /// The last values that Vault returned.
    secret: Option<Secret>,
    /// The time at which Vault returned them, or at which the path was first looked up.
    read_at: Instant,
    /// The reason why Vault does not return the path now.
    refusal: Option<&'static str>,
    due: Instant,
    /// True if the path was looked up since the last call of `forget_unused`.
    is_used: bool,
}

/// The values of one path.
pub(super) struct Secret {
    pub(super) values: HashMap<Box<str>, Scalar>,
    pub(super) version: Arc<str>,
}

impl VaultCache {
    /// Returns a value, or has its path read soon.
    pub(crate) fn look_up(&self, path: &str, key: &str) -> Lookup {
        let mut entries = lock(&self.entries);
        if let Some(entry) = entries.get_mut(path) {
            entry.is_used = true;
        }
        match entries.get(path) {
            Some(Entry { secret: Some(Secret { values, version }), .. }) => match values.get(key) {
                Some(value) => Lookup::Found { value: value.clone(), version: Arc::clone(version) },
                None => Lookup::Missing(NO_VALUE.into()),
            },
            Some(Entry { refusal: Some(refusal), .. }) => Lookup::Missing((*refusal).into()),
            Some(_) => Lookup::Pending,
            None if entries.len() >= PATH_COUNT_MAX => Lookup::Missing(TOO_MANY.into()),
            None => {
                let now = Instant::now();
                let entry =
                    Entry { secret: None, read_at: now, refusal: None, due: now, is_used: true };
                entries.insert(path.into(), entry);
                self.wanted.notify_one();
                Lookup::Pending
            }
        }
    }

    /// Waits until a path is wanted for the first time.
    pub(super) async fn wait_for_wanted(&self) {
        self.wanted.notified().await;
    }

    /// The time until the next path is due. None without paths.
    pub(super) fn until_due(&self) -> Option<Duration> {
        let entries = lock(&self.entries);
        let due = entries.values().map(|entry| entry.due).min()?;
        Some(due.saturating_duration_since(Instant::now()))
    }

    /// The paths that are due.
    pub(super) fn due(&self) -> Vec<Box<str>> {
        let now = Instant::now();
        let entries = lock(&self.entries);
        let due = entries.iter().filter(|(_, entry)| entry.due <= now);
        due.map(|(path, _)| path.clone()).collect()
    }

    /// Takes the values of a path over. Returns true if lookups have another result than before.
    pub(super) fn record(&self, path: &str, secret: Secret, next: Duration) -> bool {
        let mut entries = lock(&self.entries);
        let Some(entry) = entries.get_mut(path) else { return false };
        let is_new = entry.secret.as_ref().is_none_or(|known| known.version != secret.version);
        let now = Instant::now();
        (entry.secret, entry.refusal) = (Some(secret), None);
        (entry.read_at, entry.due) = (now, now + next);
        is_new
    }

    /// Records that Vault does not return a path. Earlier values stay in use. Returns true if lookups have another result
    /// than before.
    pub(super) fn refuse(&self, path: &str, refusal: &'static str, next: Duration) -> bool {
        let mut entries = lock(&self.entries);
        let Some(entry) = entries.get_mut(path) else { return false };
        let is_new = entry.secret.is_none() && entry.refusal != Some(refusal);
        (entry.refusal, entry.due) = (Some(refusal), Instant::now() + next);
        is_new
    }

    /// Forgets the paths that were not looked up since the last call. The caller then has every value in use looked up
    /// again. Returns the forgotten paths.
    pub(super) fn forget_unused(&self) -> Vec<Box<str>> {
        let mut entries = lock(&self.entries);
        let unused = entries.extract_if(|_, entry| !std::mem::take(&mut entry.is_used));
        unused.map(|(path, _)| path).collect()
    }

    /// The number of paths, and the longest time since the last read of one.
    pub(crate) fn figures(&self) -> (usize, Duration) {
        let entries = lock(&self.entries);
        let age = entries.values().map(|entry| entry.read_at.elapsed()).max();
        (entries.len(), age.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(version: &str) -> Secret {
        let values = HashMap::from([("k".into(), Scalar::String("v".into()))]);
        Secret { values, version: version.into() }
    }

    #[test]
    fn a_path_is_due_when_it_is_first_looked_up_and_keeps_its_values() {
        let cache = VaultCache::default();
        assert_eq!(cache.until_due(), None);
        assert_eq!(cache.look_up("a", "k"), Lookup::Pending);
        assert_eq!(cache.due(), ["a".into()]);
        let hour = Duration::from_secs(3600);
        assert!(cache.refuse("a", "no", hour));
        assert!(!cache.refuse("a", "no", hour));
        assert_eq!(cache.look_up("a", "k"), Lookup::Missing("no".into()));
        assert!(cache.due().is_empty());
        assert!(cache.record("a", secret("1"), hour));
        assert!(!cache.record("a", secret("1"), hour));
        assert!(cache.record("a", secret("2"), hour));
        assert!(!cache.refuse("a", "no", hour), "the values stay in use");
        let found = Lookup::Found { value: Scalar::String("v".into()), version: "2".into() };
        assert_eq!(cache.look_up("a", "k"), found);
        assert!(matches!(cache.look_up("a", "other"), Lookup::Missing(_)));
    }

    #[test]
    fn a_path_that_is_not_looked_up_is_forgotten() {
        let cache = VaultCache::default();
        for path in ["used", "unused"] {
            cache.look_up(path, "k");
            cache.record(path, secret("1"), Duration::ZERO);
        }
        assert!(cache.forget_unused().is_empty());
        assert!(matches!(cache.look_up("used", "k"), Lookup::Found { .. }));
        assert_eq!(cache.forget_unused(), ["unused".into()]);
        assert_eq!(cache.due(), ["used".into()]);
        assert_eq!(cache.figures().0, 1);
        assert!(!cache.record("unused", secret("2"), Duration::ZERO), "a read was under way");
        assert_eq!(cache.look_up("unused", "k"), Lookup::Pending);
    }

    #[test]
    fn the_number_of_paths_is_bounded() {
        let cache = VaultCache::default();
        for number in 0..PATH_COUNT_MAX {
            assert_eq!(cache.look_up(&number.to_string(), "k"), Lookup::Pending);
        }
        assert!(matches!(cache.look_up("more", "k"), Lookup::Missing(_)));
        assert_eq!(cache.look_up("0", "k"), Lookup::Pending);
    }
}
