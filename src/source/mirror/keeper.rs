//! The one task that moves a copy: looks at it first, then asks the remote, now and then or when told to, and fetches what is
//! new. Fetches of one remote never overlap, for there is only this task.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use super::git::GitError;
use super::{Inner, listing};
use crate::source::git::copy::{self, Standing};
use crate::source::git::{GitSource, is_repository};
use crate::source::{Outage, Source};

/// The bound of the first pause after a failure; each further one is twice as long.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// The bound of the longest pause, unless the poll is longer.
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// How much longer than any fetch the first one may take.
const FIRST_FACTOR: u32 = 10;
/// Its time is when the last good fetch ended.
const STAMP: &str = "headwater-fetched";

/// Keeps a copy for as long as anyone uses it.
pub(super) async fn keep(inner: Weak<Inner>) {
    let mut failure_count = 0;
    if let Some(inner) = inner.upgrade() {
        inner.take_up().await;
    }
    loop {
        let Some(inner) = inner.upgrade() else { return };
        let begun = Instant::now();
        failure_count = match inner.attempt().await {
            Ok(()) => 0,
            Err(_) => failure_count + 1,
        };
        let (pause, wanted) = (pause(inner.poll, failure_count), Arc::clone(&inner.wanted));
        let spacing = inner.spacing;
        drop(inner);
        let told = tokio::time::timeout(pause, wanted.notified()).await.is_ok();
        if told {
            tokio::time::sleep(spacing.saturating_sub(begun.elapsed())).await;
        }
    }
}

/// How long to wait unless told otherwise. Many servers that lost one remote do not come back to it all at once.
fn pause(poll: Duration, failure_count: u32) -> Duration {
    if failure_count > 0 {
        let bound = BACKOFF_MIN.saturating_mul(1 << (failure_count - 1).min(16));
        return BACKOFF_MIN / 4 + bound.min(BACKOFF_MAX.max(poll)).mul_f64(fastrand::f64());
    }
    match poll.is_zero() {
        true => Duration::MAX,
        false => poll.mul_f64(0.9 + 0.2 * fastrand::f64()),
    }
}

impl Inner {
    /// Takes up the copy of an earlier life: what that one left half done is removed, and a copy that is not whole.
    async fn take_up(&self) {
        let copy = self.copy.clone();
        // What cannot be removed shows when it is in the way.
        let _ = tokio::task::spawn_blocking(move || sweep(&copy)).await;
        if self.is_usable().await {
            if let Err(error) = self.git.tidy(&self.copy).await {
                tracing::debug!(source = &*self.layout.base, %error, "the copy was not packed");
            }
            self.serve();
        }
    }

    /// One fetch, with all that is told of it.
    async fn attempt(&self) -> Result<(), GitError> {
        self.state.send_modify(|state| {
            state.begun_count += 1;
            state.begun = Some(Instant::now());
        });
        let outcome = self.bring().await;
        let is_news = outcome.is_err() != self.state.borrow().outage.is_some();
        self.state.send_modify(|state| {
            state.ended_count = state.begun_count;
            match &outcome {
                Ok(()) => {
                    state.fetched = Some(SystemTime::now());
                    state.outage = None;
                }
                Err(error) => {
                    let since =
                        state.outage.as_ref().map_or_else(Instant::now, |known| known.since);
                    state.outage = Some(Outage { since, message: error.to_string() });
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

    /// Makes the copy what the remote is.
    async fn bring(&self) -> Result<(), GitError> {
        let begun = Instant::now();
        if self.state.borrow().is_suspect {
            // A copy that is broken is removed here, and made anew below.
            self.is_usable().await;
            self.state.send_modify(|state| state.is_suspect = false);
        }
        let theirs = listing::standing(&self.git.list().await?);
        if theirs.references.is_empty() {
            // Also what a login page looks like to git. What was there is not taken away for that.
            return Err(GitError("the remote lists no branch".to_owned()));
        }
        let is_new = match self.copy.is_dir() {
            false => self.make(&theirs).await.map(|()| true)?,
            true => self.update(&theirs).await?,
        };
        if is_new {
            let duration_ms = begun.elapsed().as_secs_f64() * 1e3;
            tracing::debug!(source = &*self.layout.base, duration_ms, "fetched");
        }
        let copy = self.copy.clone();
        self.blocking(move || stamp(&copy).map_err(|error| error.kind().to_string())).await
    }

    /// Makes a copy beside its place, and puts it there once it is whole.
    async fn make(&self, theirs: &Standing) -> Result<(), GitError> {
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
        self.blocking(move || match is_whole {
            true => fs::rename(&from, &to).map_err(|error| error.kind().to_string()),
            false => fs::remove_dir_all(&from).map_err(|error| error.kind().to_string()),
        })
        .await
        .and(fetched)?;
        self.serve();
        Ok(())
    }

    /// Fetches if anything moved. Gives whether something did.
    async fn update(&self, theirs: &Standing) -> Result<bool, GitError> {
        let copy = self.copy.clone();
        let ours = self.blocking(move || copy::standing(&copy)).await;
        if let Ok(ours) = &ours {
            self.drop_gone(ours, theirs).await?;
        }
        let is_same = ours.as_ref().is_ok_and(|ours| ours.references == theirs.references);
        if !is_same && let Err(error) = self.git.fetch(&self.copy, self.fetch_time_max).await {
            let copy = self.copy.clone();
            // What is left behind is for the next failure to remove; the reason of this one counts.
            let _ = tokio::task::spawn_blocking(move || sweep_objects(&copy)).await;
            if self.is_usable().await {
                return Err(error);
            }
            return self.make(theirs).await.map(|()| true);
        }
        let moved_head = theirs.head.clone().filter(|head| match &ours {
            Ok(ours) => ours.head.as_ref() != Some(head),
            Err(_) => true,
        });
        let has_moved = !is_same || moved_head.is_some();
        if let Some(head) = moved_head {
            let copy = self.copy.clone();
            self.blocking(move || copy::point_head(&copy, &head)).await?;
        }
        if has_moved {
            self.serve();
        }
        Ok(has_moved)
    }

    /// Takes away what the remote no longer has, before what may need its place comes.
    async fn drop_gone(&self, ours: &Standing, theirs: &Standing) -> Result<(), GitError> {
        let names = ours.references.keys().filter(|name| !theirs.references.contains_key(*name));
        let gone: Vec<String> = names.cloned().collect();
        if gone.is_empty() {
            return Ok(());
        }
        let copy = self.copy.clone();
        self.blocking(move || copy::remove(&copy, &gone)).await
    }

    /// Opens the copy, or tells who reads it that it may have moved.
    fn serve(&self) {
        if let Some(source) = self.source.get() {
            source.look_again();
            return;
        }
        match GitSource::open(&self.copy, self.options()) {
            Ok(source) => {
                let fetched =
                    fs::metadata(self.copy.join(STAMP)).and_then(|found| found.modified());
                // There is one keeper, so that nobody was faster.
                let _ = self.source.set(source);
                self.state.send_modify(|state| state.fetched = fetched.ok());
            }
            Err(error) => {
                tracing::error!(source = &*self.layout.base, %error, "the copy of the remote cannot be opened");
            }
        }
    }

    /// Whether there is a copy that is whole. One that is not is removed, which is said.
    async fn is_usable(&self) -> bool {
        if !self.copy.exists() {
            return false;
        }
        let broken = match is_repository(&self.copy) {
            true => self.git.is_whole(&self.copy).await.err(),
            false => Some(GitError("the copy is no repository".to_owned())),
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
                result.map_err(|reason| GitError(format!("the copy of the remote: {reason}")))
            }
            Err(_) => Err(GitError("the copy of the remote: interrupted".to_owned())),
        }
    }
}

/// A place for a copy that is being made, which no other life of the server has used.
fn beside(copy: &Path) -> PathBuf {
    let nanoseconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    copy.with_extension(format!("new-{}", nanoseconds.as_nanos()))
}

/// Removes copies that were never finished, and locks of a git that was killed: nobody else works in this directory.
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

/// Removes what a fetch that was cut off has written so far.
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
    match fs::symlink_metadata(path)?.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
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
    fn pauses_are_spread_and_bounded() {
        let poll = Duration::from_secs(30);
        for _ in 0..100 {
            let usual = pause(poll, 0);
            assert!(usual >= poll.mul_f64(0.9) && usual <= poll.mul_f64(1.1), "{usual:?}");
            assert!(pause(poll, 1) <= BACKOFF_MIN * 5 / 4);
            assert!(pause(poll, u32::MAX) <= BACKOFF_MAX + BACKOFF_MIN / 4);
        }
        assert_eq!(pause(Duration::ZERO, 0), Duration::MAX);
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
