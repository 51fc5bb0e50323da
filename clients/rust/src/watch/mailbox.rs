//! Where the newest update waits to be taken. It holds one, so that a slow watcher costs no memory.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::configuration::Configuration;
use crate::error::Error;
use crate::watch::Update;

#[derive(Debug, Default)]
pub(super) struct Mailbox {
    content: Mutex<Content>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Content {
    configuration: Option<Configuration>,
    is_gone: bool,
    refusal: Option<Error>,
    has_ended: bool,
}

impl Mailbox {
    /// Takes the place of whatever was not taken yet.
    pub(super) fn put(&self, configuration: Configuration) {
        let mut content = self.content();
        content.configuration = Some(configuration);
        content.is_gone = false;
        self.filled.notify_one();
    }

    /// What was not taken yet is still worth having.
    pub(super) fn put_gone(&self) {
        self.content().is_gone = true;
        self.filled.notify_one();
    }

    pub(super) fn refuse(&self, error: Error) {
        self.content().refusal = Some(error);
        self.filled.notify_one();
    }

    pub(super) fn end(&self) {
        self.content().has_ended = true;
        self.filled.notify_one();
    }

    /// For one taker. May be dropped at any time.
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
    /// The outer `None` if there is nothing yet, the inner one if nothing will come.
    fn take(&mut self) -> Option<Option<Result<Update, Error>>> {
        if let Some(configuration) = self.configuration.take() {
            return Some(Some(Ok(Update::Configuration(configuration))));
        }
        if std::mem::take(&mut self.is_gone) {
            return Some(Some(Ok(Update::Gone)));
        }
        if let Some(error) = self.refusal.take() {
            return Some(Some(Err(error)));
        }
        self.has_ended.then_some(None)
    }
}
