//! Programs that are started, told something, and ended by their id; and waiting for what they do.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long to wait before a condition is looked at again.
const PAUSE: Duration = Duration::from_millis(20);

/// A program that is killed when it is dropped.
pub(crate) struct Program(Child);

impl Program {
    /// Starts it; what it writes goes to the end of a file.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn();
        let child = child.with_context(|| format!("cannot start {:?}", command.get_program()))?;
        Ok(Self(child))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.0.try_wait()?.is_some())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until a condition holds.
///
/// # Errors
///
/// That it did not hold in time, or what its look at things failed with.
pub(crate) fn until(
    what: &str,
    at_most: Duration,
    mut holds: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let begun = Instant::now();
    while !holds()? {
        if begun.elapsed() > at_most {
            bail!("never happened in {} s: {what}", at_most.as_secs());
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Tells those who go on all the time that it is over.
#[derive(Default)]
pub(crate) struct Stop {
    is_over: Mutex<bool>,
    told: Condvar,
}

impl Stop {
    pub(crate) fn now(&self) {
        *self.is_over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.told.notify_all();
    }

    /// Whether it is over, after a pause or as soon as it is.
    pub(crate) fn is_over_after(&self, pause: Duration) -> bool {
        let is_over = self.is_over.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.told.wait_timeout_while(is_over, pause, |is_over| !*is_over);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Says that it is over when it is dropped, so that those who go on until then end after a failure too.
pub(crate) struct StopAtEnd<'a>(pub(crate) &'a Stop);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.now();
    }
}
