//! The loop: takes each configuration that the watch tells, if the service does, and says so to the server.

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
use crate::watch::{Outcome, Update, Watch};

pub(super) struct Follower<T> {
    pub(super) client: Client,
    pub(super) acceptance: Acceptance<T>,
    pub(super) shared: Arc<Shared<T>>,
    pub(super) changed: watch::Sender<()>,
}

impl<T: DeserializeOwned> Follower<T> {
    /// Goes on until it is dropped: a watch that began with something has no errors.
    pub(super) async fn run(&self, watch: &mut Watch) {
        while let Some(Ok(update)) = watch.next().await {
            // What is gone is kept, and the health says so.
            if let Update::Configuration(configuration) = update {
                let outcome = self.take(&configuration);
                watch.acknowledge(&configuration, outcome);
                if outcome == Outcome::Applied {
                    self.client.keep(&configuration).await;
                }
            }
        }
    }

    fn take(&self, configuration: &Configuration) -> Outcome {
        if self.is_current(configuration) {
            let mut notes = self.shared.notes();
            notes.configuration = configuration.clone();
            notes.rejection = None;
            return Outcome::Applied;
        }
        match self.acceptance.accept(configuration) {
            Ok(value) => {
                self.replace(value, configuration);
                Outcome::Applied
            }
            Err(error) => {
                self.reject(configuration, error);
                Outcome::Rejected
            }
        }
    }

    /// After a start without a server, or when a change was taken back, what comes is what is there.
    fn is_current(&self, configuration: &Configuration) -> bool {
        let current = self.shared.notes().configuration.clone();
        current.environment().property_sources == configuration.environment().property_sources
    }

    fn replace(&self, value: T, configuration: &Configuration) {
        self.shared.current.store(Arc::new(value));
        let mut notes = self.shared.notes();
        notes.configuration = configuration.clone();
        notes.rejection = None;
        drop(notes);
        let Query { application, profiles, label } = &self.client.query;
        let revision = configuration.revision();
        tracing::info!(application, profiles, label, revision, "configuration applied");
        self.changed.send_replace(());
    }

    fn reject(&self, configuration: &Configuration, error: Error) {
        let rejection = Rejection::now(configuration.clone(), error);
        rejection.log(&self.client.query);
        self.shared.notes().rejection = Some(Arc::new(rejection));
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
            // The service's own words may quote a value.
            Error::Invalid(_) => "its validation failed".to_owned(),
            error => error.to_string(),
        };
        tracing::warn!(
            application,
            profiles,
            label,
            revision,
            problem,
            "configuration rejected: the last good one stays"
        );
    }
}
