//! The task that keeps a copy up to date. It checks the copy at start. From then on it lists the references of the
//! remote, at each poll and after each hint, and fetches the changes.
//!
//! Invariant: fetches of one remote never overlap, because each mirror has one keeper.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use super::error::GitError;
use super::{Mirror, listing};
use crate::backoff::Backoff;
use crate::source::git::copy::{self, Recorder, ServedReferences};
use crate::source::git::reference::ReferenceList;
use crate::source::git::{GitSource, is_repository};
use crate::sync::lock;

/// The upper bound of the first pause after a failure. The bound doubles with each further failure.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// The upper bound of the longest pause, unless the poll interval is longer.
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// The time limit of the first fetch, as a multiple of the limit of later ones.
const FIRST_FACTOR: u32 = 10;
/// The number of times that one attempt lists and fetches, while the remote rewinds labels between the two.
const ROUND_COUNT_MAX: u32 = 5;
/// The file whose modification time is the end of the last successful fetch.
const STAMP: &str = "headwater-fetched";

/// A fetch into the copy, before its references are served.
struct Fetched {
    /// The references, the record and `HEAD` of the copy if the fetch changed none of them. `None` after a change.
    unchanged: Option<ReferenceList>,
    /// The id of the record of rewinds that the remote listed before the fetch, or that of the copy if the remote has
    /// no record. The copy has another one if the remote rewound a label between the listing and the fetch.
    record: Option<String>,
}

/// The record of rewinds that a copy must have before it is served.
enum ExpectedRecord {
    Any,
    /// The id of the record. `None` for a copy without one.
    Exactly(Option<String>),
}

impl ExpectedRecord {
    fn accepts(&self, present: Option<&String>) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(record) => record.as_ref() == present,
        }
    }
}

/// Keeps a copy up to date while the source exists.
///
/// Cancellation: dropping the future kills a running git. The next start removes the unfinished work.
pub(super) async fn keep(mirror: Weak<Mirror>) {
    let Some(poll) = mirror.upgrade().map(|mirror| mirror.poll) else { return };
    let mut backoff = Backoff::new(BACKOFF_MIN, BACKOFF_MAX.max(poll));
    if let Some(mirror) = mirror.upgrade() {
        mirror.restore().await;
    }
    loop {
        let Some(mirror) = mirror.upgrade() else { return };
        let begun = Instant::now();
        let pause = match mirror.fetch_and_report().await {
            Ok(()) => {
                backoff.reset();
                spread(poll)
            }
            Err(_) => BACKOFF_MIN / 4 + backoff.pause().mul_f64(fastrand::f64()),
        };
        let (wanted, spacing) = (Arc::clone(&mirror.wanted), mirror.spacing);
        drop(mirror);
        if tokio::time::timeout(pause, wanted.notified()).await.is_ok() {
            tokio::time::sleep(spacing.saturating_sub(begun.elapsed())).await;
        }
    }
}

/// The pause before the next poll. The jitter keeps many servers from listing one remote at the same time.
fn spread(poll: Duration) -> Duration {
    if poll.is_zero() {
        return Duration::MAX;
    }
    poll.mul_f64(0.9 + 0.2 * fastrand::f64())
}

impl Mirror {
    /// Serves the copy of an earlier run, after removing unfinished work of that run. Removes an incomplete copy.
    async fn restore(&self) {
        let copy = self.copy.clone();
        // A leftover that cannot be removed causes an error in a later step, if it matters.
        let _ = tokio::task::spawn_blocking(move || sweep(&copy)).await;
        if self.is_usable().await {
            if let Err(error) = self.git.tidy(&self.copy).await {
                tracing::debug!(source = &*self.layout.base, %error, "the copy was not packed");
            }
            if let Err(error) = self.publish_restored().await {
                tracing::error!(source = &*self.layout.base, %error, "the copy of the remote cannot be read");
            }
        }
    }

    /// Fetches once, and records and logs the outcome.
    async fn fetch_and_report(&self) -> Result<(), GitError> {
        self.state.send_modify(|state| {
            state.begun_count += 1;
            state.begun = Some(Instant::now());
        });
        let outcome = self.fetch_once().await;
        let is_news = outcome.is_err() != self.state.borrow().connectivity.outage().is_some();
        self.state.send_modify(|state| {
            state.ended_count = state.begun_count;
            match &outcome {
                Ok(()) => {
                    state.fetched = Some(SystemTime::now());
                    state.connectivity.record_success();
                    state.failure = None;
                }
                Err(error) => {
                    state.connectivity.record_reason(error.to_string());
                    state.failure = Some(error.summary.clone());
                }
            }
        });
        match &outcome {
            Ok(()) if is_news => {
                tracing::info!(source = &*self.layout.base, "the remote can be fetched again");
            }
            Err(error) if is_news && self.source.get().is_some() => {
                tracing::warn!(source = &*self.layout.base, %error, "the remote cannot be fetched, its last revision is served");
            }
            Err(error) if is_news => {
                tracing::error!(source = &*self.layout.base, %error, "the remote cannot be fetched, and there is no copy of it yet");
            }
            Err(error) => {
                tracing::debug!(source = &*self.layout.base, %error, "the remote cannot be fetched")
            }
            Ok(()) => {}
        }
        outcome
    }

    /// Updates the copy to the state of the remote, and serves it.
    ///
    /// Invariant: references are served with the record that belongs to them. A label that the remote rewinds or deletes
    /// between the listing and the fetch changes the record. The copy then has the new record and may still have the
    /// deleted label, so that it is listed and fetched again before it is served.
    async fn fetch_once(&self) -> Result<(), GitError> {
        let begun = Instant::now();
        if self.state.borrow().is_suspect {
            // A broken copy is removed here and made again below.
            self.is_usable().await;
            self.state.send_modify(|state| state.is_suspect = false);
        }
        let mut is_changed = false;
        for round in 1.. {
            let theirs = listing::references(&self.git.list().await?);
            if theirs.names.is_empty() {
                // A login page looks like this to git as well. The references of the copy are kept.
                return Err(GitError::new("the remote lists no branch"));
            }
            let fetched = if self.copy.is_dir() {
                self.update(&theirs).await?
            } else {
                self.make(&theirs).await?
            };
            is_changed |= fetched.unchanged.is_none();
            let expected = ExpectedRecord::Exactly(fetched.record);
            if self.publish(self.recorder(&theirs), expected, fetched.unchanged).await? {
                break;
            }
            if round == ROUND_COUNT_MAX {
                return Err(GitError::new("the remote rewinds labels faster than it is fetched"));
            }
        }
        if is_changed {
            let duration_ms = begun.elapsed().as_secs_f64() * 1e3;
            tracing::debug!(source = &*self.layout.base, duration_ms, "fetched");
        }
        let copy = self.copy.clone();
        self.blocking(move || stamp(&copy).map_err(|error| error.kind().to_string())).await
    }

    /// Makes a copy beside its target, and moves it into place once it is complete.
    async fn make(&self, theirs: &ReferenceList) -> Result<Fetched, GitError> {
        let new = beside(&self.copy);
        let (made, head) = (new.clone(), theirs.head.clone());
        self.blocking(move || {
            copy::make(&made)?;
            head.map_or(Ok(()), |head| copy::point_head(&made, &head))
        })
        .await?;
        let fetched = self.git.fetch(&new, self.fetch_time_max * FIRST_FACTOR).await;
        let (from, to) = (new, self.copy.clone());
        let is_whole = fetched.is_ok();
        self.blocking(move || {
            let moved = if is_whole { fs::rename(&from, &to) } else { fs::remove_dir_all(&from) };
            moved.map_err(|error| error.kind().to_string())
        })
        .await
        .and(fetched)?;
        Ok(Fetched { unchanged: None, record: theirs.record.clone() })
    }

    /// Fetches if a reference or the record has changed, and points `HEAD` to the branch of the remote's.
    async fn update(&self, theirs: &ReferenceList) -> Result<Fetched, GitError> {
        let copy = self.copy.clone();
        let ours = self.blocking(move || copy::references(&copy)).await.ok();
        if let Some(ours) = &ours {
            self.delete_missing(ours, theirs).await?;
        }
        // If the remote has no record, the copy's own one does not count as a difference.
        let own_record = ours.as_ref().and_then(|ours| ours.record.clone());
        let record = theirs.record.clone().or_else(|| own_record.clone());
        let is_same =
            record == own_record && ours.as_ref().is_some_and(|ours| ours.names == theirs.names);
        if !is_same && let Err(error) = self.git.fetch(&self.copy, self.fetch_time_max).await {
            let copy = self.copy.clone();
            // Remaining leftovers are removed after the next failure. The reason of this failure is reported.
            let _ = tokio::task::spawn_blocking(move || sweep_objects(&copy)).await;
            if self.is_usable().await {
                return Err(error);
            }
            return self.make(theirs).await;
        }
        let own_head = ours.as_ref().and_then(|ours| ours.head.as_ref());
        let moved_head = theirs.head.clone().filter(|head| own_head != Some(head));
        let unchanged = ours.filter(|_| is_same && moved_head.is_none());
        if let Some(head) = moved_head {
            let copy = self.copy.clone();
            self.blocking(move || copy::point_head(&copy, &head)).await?;
        }
        Ok(Fetched { unchanged, record })
    }

    /// Returns the server that records rewinds. The remote records them if it is another Headwater, or if it lists a
    /// record of rewinds, as a copy of a Headwater's repository does.
    fn recorder(&self, theirs: &ReferenceList) -> Recorder {
        if theirs.record.is_some() || self.is_of_headwater {
            Recorder::Remote
        } else {
            Recorder::Copy
        }
    }

    /// Deletes the references that the remote no longer has. This comes before the fetch, because the names of new
    /// references may conflict with theirs.
    async fn delete_missing(
        &self,
        ours: &ReferenceList,
        theirs: &ReferenceList,
    ) -> Result<(), GitError> {
        let names = ours.names.keys().filter(|name| !theirs.names.contains_key(*name));
        let missing: Vec<String> = names.cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let copy = self.copy.clone();
        self.blocking(move || copy::delete(&copy, &missing)).await
    }

    /// Serves the copy as the earlier run of the server did. Records a rewind that the earlier run fetched and did not
    /// record.
    async fn publish_restored(&self) -> Result<(), GitError> {
        let copy = self.copy.clone();
        let recorder = match self.blocking(move || Ok(copy::served(&copy))).await? {
            // The present references may come from an interrupted fetch, without their part of the remote's record.
            Some(served @ ServedReferences { recorder: Recorder::Remote, .. }) => {
                return self.open_or_reload(served).await;
            }
            None if self.is_of_headwater => Recorder::Remote,
            Some(_) | None => Recorder::Copy,
        };
        self.publish(recorder, ExpectedRecord::Any, None).await.map(drop)
    }

    /// Serves the present state of the copy, which is read if it is not known. Returns false, and serves nothing new, if
    /// the copy has another record of rewinds than the expected one.
    ///
    /// Invariant: rewinds are recorded first, then the list of served references is written, and then they are served.
    async fn publish(
        &self,
        recorder: Recorder,
        expected: ExpectedRecord,
        known: Option<ReferenceList>,
    ) -> Result<bool, GitError> {
        let (copy, shown) = (self.copy.clone(), lock(&self.served).clone());
        let served = self.blocking(move || {
            let present = known.map_or_else(|| copy::references(&copy), Ok)?;
            if !expected.accepts(present.record.as_ref()) {
                return Ok(None);
            }
            let present = ServedReferences { recorder, references: present };
            if shown.as_ref() == Some(&present) {
                return Ok(shown);
            }
            // The copy looks for rewinds only if it recorded them for the references that were served last as well. The
            // remote has numbered the rewinds of any other references.
            let before = copy::served(&copy).filter(|_| recorder == Recorder::Copy);
            if let Some(ServedReferences { recorder: Recorder::Copy, references }) = before {
                copy::record_rewinds(&copy, &references)?;
            }
            let served = ServedReferences { recorder, references: copy::references(&copy)? };
            copy::write_served(&copy, &served)?;
            Ok(Some(served))
        });
        let Some(served) = served.await? else { return Ok(false) };
        self.open_or_reload(served).await?;
        Ok(true)
    }

    /// Opens the copy, or replaces its served references if it is open.
    async fn open_or_reload(&self, served: ServedReferences) -> Result<(), GitError> {
        if lock(&self.served).as_ref() == Some(&served) {
            return Ok(());
        }
        let shown = served.clone();
        if let Some(source) = self.source.get().cloned() {
            let reload = move || source.reload(&served).map_err(|error| error.to_string());
            self.blocking(reload).await?;
            *lock(&self.served) = Some(shown);
            return Ok(());
        }
        let (copy, options) = (self.copy.clone(), self.options());
        let opened = self.blocking(move || {
            let source = GitSource::open_copy(&copy, options, &served);
            let fetched = fs::metadata(copy.join(STAMP)).and_then(|found| found.modified());
            Ok(source.map(|source| (source, fetched.ok())))
        });
        let (source, fetched) = opened.await?.map_err(|error| {
            tracing::error!(source = &*self.layout.base, %error, "the copy of the remote cannot be opened");
            GitError::new("the copy of the remote cannot be opened")
        })?;
        // Only this task sets the source, so that it is not set yet.
        let _ = self.source.set(source);
        *lock(&self.served) = Some(shown);
        self.state.send_modify(|state| state.fetched = fetched);
        Ok(())
    }

    /// Returns whether there is a complete copy. Removes an incomplete one, with a line in the log.
    async fn is_usable(&self) -> bool {
        if !self.copy.exists() {
            return false;
        }
        let broken = if is_repository(&self.copy) {
            self.git.is_whole(&self.copy).await.err()
        } else {
            Some(GitError::new("the copy is no repository"))
        };
        let Some(error) = broken else { return true };
        tracing::warn!(source = &*self.layout.base, %error, "the copy of the remote is thrown away and made anew");
        let copy = self.copy.clone();
        let removed =
            self.blocking(move || remove(&copy).map_err(|error| error.kind().to_string()));
        if let Err(error) = removed.await {
            tracing::error!(source = &*self.layout.base, %error, "the copy of the remote cannot be removed");
        }
        false
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<T, GitError> {
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => {
                result.map_err(|reason| GitError::new(format!("the copy of the remote: {reason}")))
            }
            Err(_) => Err(GitError::new("the copy of the remote: interrupted")),
        }
    }
}

/// The temporary path of a copy under construction, different from those of earlier runs.
fn beside(copy: &Path) -> PathBuf {
    let nanoseconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    copy.with_extension(format!("new-{}", nanoseconds.as_nanos()))
}

/// Removes unfinished copies, and the locks of a killed git. No other process works in this directory.
fn sweep(copy: &Path) -> std::io::Result<()> {
    let (Some(parent), Some(stem)) = (copy.parent(), copy.file_stem()) else { return Ok(()) };
    for entry in fs::read_dir(parent)? {
        let path = entry?.path();
        let is_unfinished = path.file_stem() == Some(stem)
            && path
                .extension()
                .is_some_and(|extension| extension.to_string_lossy().starts_with("new-"));
        if is_unfinished {
            remove(&path)?;
        }
    }
    for name in ["HEAD.lock", "packed-refs.lock", "config.lock", "shallow.lock", "gc.pid"] {
        drop(fs::remove_file(copy.join(name)));
    }
    sweep_objects(copy)?;
    sweep_locks(&copy.join("refs"))
}

/// Removes the temporary files of an interrupted fetch.
fn sweep_objects(copy: &Path) -> std::io::Result<()> {
    let objects = copy.join("objects");
    for directory in [objects.join("pack"), objects] {
        for entry in fs::read_dir(directory).into_iter().flatten() {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("tmp_") {
                remove(&entry.path())?;
            }
        }
    }
    Ok(())
}

fn sweep_locks(directory: &Path) -> std::io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sweep_locks(&entry.path())?;
        } else if entry.path().extension().is_some_and(|extension| extension == "lock") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> std::io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

fn stamp(copy: &Path) -> std::io::Result<()> {
    let file = fs::File::options().create(true).append(true).open(copy.join(STAMP))?;
    file.set_modified(SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_are_spread_around_their_interval() {
        let poll = Duration::from_secs(30);
        for _ in 0..100 {
            let pause = spread(poll);
            assert!(pause >= poll.mul_f64(0.9) && pause <= poll.mul_f64(1.1), "{pause:?}");
        }
        assert_eq!(spread(Duration::ZERO), Duration::MAX);
    }

    #[test]
    fn what_a_killed_server_left_is_swept_and_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        let copy = place.path().join("0123.git");
        let at = |name: &str| place.path().join(name);
        for directory in [
            "0123.git/objects/pack",
            "0123.git/refs/heads/team",
            "0123.new-1/objects",
            "4567.new-1",
            "home",
        ] {
            fs::create_dir_all(at(directory)).unwrap();
        }
        for file in [
            "0123.git/HEAD.lock",
            "0123.git/refs/heads/team/a.lock",
            "0123.git/refs/heads/team/a",
            "0123.git/objects/pack/tmp_pack_1",
            "0123.git/objects/pack/pack-1.pack",
        ] {
            fs::write(at(file), "").unwrap();
        }
        sweep(&copy).unwrap();
        for (name, stays) in [
            ("0123.git/objects/pack/tmp_pack_1", false),
            ("0123.git/objects/pack/pack-1.pack", true),
            ("0123.git/HEAD.lock", false),
            ("0123.git/refs/heads/team/a.lock", false),
            ("0123.git/refs/heads/team/a", true),
            ("0123.new-1", false),
            ("4567.new-1", true),
            ("home", true),
        ] {
            assert_eq!(at(name).exists(), stays, "{name}");
        }
    }
}
