//! The loop that applies each accepted configuration of the watch and reports the outcome to the server.

use std::sync::Arc;
use std::time::SystemTime;

use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::client::Client;
use crate::configuration::Configuration;
use crate::error::Error;
use crate::live::acceptance::Acceptance;
use crate::live::{Rejection, Shared};
use crate::server::Query;
use crate::watch::{Update, Watch};
use headwater_wire::Outcome;

pub(super) struct LiveFollower<T> {
    pub(super) client: Client,
    pub(super) acceptance: Arc<Acceptance<T>>,
    pub(super) shared: Arc<Shared<T>>,
    pub(super) changed: watch::Sender<()>,
}

impl<T: DeserializeOwned> LiveFollower<T> {
    /// Runs until it is dropped. A watch that starts from a configuration returns no error.
    pub(super) async fn run(&self, watch: &mut Watch) {
        while let Some(Ok(update)) = watch.next().await {
            // After `Update::Gone` the current value stays. The health reports it.
            if let Update::Configuration(configuration) = update {
                match self.apply(&configuration) {
                    Ok(()) => {
                        watch.acknowledge(&configuration, Outcome::Applied);
                        self.client.save_copy(&configuration).await;
                    }
                    Err(reason) => watch.reporter().reject(&configuration, reason),
                }
            }
        }
    }

    /// Applies a configuration, or returns the reason for its rejection.
    fn apply(&self, configuration: &Configuration) -> Result<(), String> {
        if self.has_current_content(configuration) {
            self.record_accepted(configuration);
            return Ok(());
        }
        match self.acceptance.accept(configuration) {
            Ok(value) => {
                self.replace(value, configuration);
                Ok(())
            }
            Err(error) => {
                let reason = error.reason();
                self.reject(configuration, error);
                Err(reason)
            }
        }
    }

    /// Returns whether the content equals the current one, as after a start from the last-known-good copy or after a
    /// change was reverted.
    fn has_current_content(&self, configuration: &Configuration) -> bool {
        let current = self.shared.status().configuration.clone();
        current.answer().property_sources == configuration.answer().property_sources
    }

    fn replace(&self, value: T, configuration: &Configuration) {
        self.shared.current.store(Arc::new(value));
        self.record_accepted(configuration);
        let Query { application, profiles, label } = &self.client.query;
        let revision = configuration.revision();
        tracing::info!(application, profiles, label, revision, "configuration applied");
        self.changed.send_replace(());
    }

    fn record_accepted(&self, configuration: &Configuration) {
        let mut status = self.shared.status();
        status.configuration = configuration.clone();
        status.rejection = None;
    }

    fn reject(&self, configuration: &Configuration, error: Error) {
        let rejection = Rejection::now(configuration.clone(), error);
        rejection.log(&self.client.query);
        self.shared.status().rejection = Some(Arc::new(rejection));
    }
}

impl Rejection {
    pub(super) fn now(configuration: Configuration, error: Error) -> Rejection {
        Rejection { configuration, error, since: SystemTime::now() }
    }

    pub(super) fn log(&self, query: &Query) {
        let Query { application, profiles, label } = query;
        let revision = self.configuration.revision();
        let problem = match &self.error {
            // The text of the service's own function may quote a value.
            Error::Invalid(_) => "its validation failed".to_owned(),
            error => error.to_string(),
        };
        tracing::warn!(
            application,
            profiles,
            label,
            revision,
            problem,
            "configuration rejected, the last accepted one stays in use"
        );
    }
}
