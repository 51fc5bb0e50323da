//! The newest update that the service has not taken yet. There is at most one, so that a slow service costs no memory.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::configuration::Configuration;
use crate::error::Error;

/// An update of a [`Watch`](crate::Watch).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Update {
    /// The new configuration of the service.
    Configuration(Configuration),
    /// The watched environment no longer exists on any server, as after its branch was deleted. The service should keep its
    /// configuration. The watch returns another one when the environment exists again.
    Gone,
}

#[derive(Debug, Default)]
pub(super) struct Mailbox {
    content: Mutex<Content>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Content {
    configuration: Option<Configuration>,
    is_gone: bool,
    error: Option<Error>,
    has_ended: bool,
}

impl Mailbox {
    /// Replaces every update that has not been taken yet.
    pub(super) fn put(&self, configuration: Configuration) {
        let mut content = self.content();
        content.configuration = Some(configuration);
        content.is_gone = false;
        self.filled.notify_one();
    }

    /// Adds `Gone` after a configuration that has not been taken yet.
    pub(super) fn put_gone(&self) {
        self.content().is_gone = true;
        self.filled.notify_one();
    }

    pub(super) fn put_error(&self, error: Error) {
        self.content().error = Some(error);
        self.filled.notify_one();
    }

    pub(super) fn end(&self) {
        self.content().has_ended = true;
        self.filled.notify_one();
    }

    /// Waits for the next update. Only one task may call it at a time.
    ///
    /// Cancellation: dropping the future loses no update.
    pub(super) async fn next(&self) -> Option<Result<Update, Error>> {
        loop {
            if let Some(taken) = self.content().take() {
                return taken;
            }
            self.filled.notified().await;
        }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    /// Returns the outer `None` when there is no update yet, and the inner one after the end.
    fn take(&mut self) -> Option<Option<Result<Update, Error>>> {
        if let Some(configuration) = self.configuration.take() {
            return Some(Some(Ok(Update::Configuration(configuration))));
        }
        if std::mem::take(&mut self.is_gone) {
            return Some(Some(Ok(Update::Gone)));
        }
        if let Some(error) = self.error.take() {
            return Some(Some(Err(error)));
        }
        self.has_ended.then_some(None)
    }
}
