//! The loop of a watch: connects, publishes configurations to the service, and interprets failures.
//!
//! Invariant: the service never receives an older configuration after a newer one. A server that does not have the last
//! revision is behind, and the watch continues with another one. Only when every server is behind does the watch start
//! again without that revision, because then no server will ever have it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use headwater_wire::events;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::client::Client;
use crate::configuration::Configuration;
use crate::error::{AttemptError, Error};
use crate::fetch::{Attempt, Fetched};
use crate::sse::Event;
use crate::watch::acknowledge::Acknowledgements;
use crate::watch::connection::{
    ConnectionError, Connector, Mode, PollWait, Polled, environment_in,
};
use crate::watch::health::{Health, HealthReport, HealthState};
use crate::watch::known::Known;
use crate::watch::mailbox::Mailbox;
use crate::watch::pace::Pace;
use crate::watch::trial::TrialQueue;

/// The age at which a stream counts as stable.
pub(super) const STABLE_AFTER: Duration = Duration::from_secs(5);
/// The pause between two long polls.
const POLL_PAUSE_MIN: Duration = Duration::from_secs(1);
/// The shortest time between two questions whether a candidate was released.
const RELEASE_PAUSE: Duration = Duration::from_secs(30);
/// The longest pause between two polls of a server without long polls. Half of it is random.
const POLL_PAUSE_MAX: Duration = Duration::from_secs(30);

/// The reason for which a server returned no environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Denial {
    /// The server does not have the last received revision.
    Behind,
    /// The server does not have the environment.
    Gone,
}

pub(super) struct WatchFollower {
    client: Client,
    mailbox: Arc<Mailbox>,
    acknowledgements: Arc<Acknowledgements>,
    trials: TrialQueue,
    health: watch::Sender<HealthReport>,
    pace: Pace,
    modes: Vec<Mode>,
    denials: Vec<Option<Denial>>,
    /// The last published configuration.
    published: Option<Configuration>,
    known: Known,
    /// The time at which a server last confirmed the published configuration.
    confirmed_at: SystemTime,
    /// Set after the service has received `Update::Gone`.
    is_gone: bool,
    /// Set while the published configuration is a candidate that was not released.
    is_candidate: bool,
    /// The time of the last question whether the candidate was released.
    release_asked_at: Option<Instant>,
}

/// The result of one connection.
enum ConnectionResult {
    /// The server answered. The next request follows after this pause.
    Answered(Duration),
    /// The connection failed. The server may have requested a pause.
    Failed(ConnectionError, Option<Duration>),
}

impl WatchFollower {
    pub(super) fn new(
        client: Client,
        published: Option<Configuration>,
        trials: TrialQueue,
        (mailbox, acknowledgements): (Arc<Mailbox>, Arc<Acknowledgements>),
    ) -> (WatchFollower, Health) {
        let confirmed_at = published.as_ref().and_then(Configuration::stale_since);
        let confirmed_at = confirmed_at.unwrap_or_else(SystemTime::now);
        let state = published
            .as_ref()
            .map_or(HealthState::Disconnected, |_| HealthState::Stale { since: confirmed_at });
        let (health, report) = watch::channel(HealthReport { state, problem: None });
        let count = client.servers.len();
        let follower = WatchFollower {
            pace: Pace::new(count, Instant::now()),
            modes: vec![Mode::Stream; count],
            denials: vec![None; count],
            known: published.as_ref().map(Known::of).unwrap_or_default(),
            is_candidate: published.as_ref().is_some_and(Configuration::is_candidate),
            client,
            mailbox,
            acknowledgements,
            trials,
            health,
            published,
            confirmed_at,
            is_gone: false,
            release_asked_at: None,
        };
        (follower, Health::new(report))
    }

    /// Runs until the watch is dropped, or an error before the first configuration ends it.
    pub(super) async fn run(mut self) {
        loop {
            let (server, at) = self.pace.next(Instant::now());
            sleep_until(at).await;
            let result = match self.modes[server] {
                Mode::Stream => self.stream(server).await,
                Mode::Poll => self.poll(server).await,
            };
            match result {
                ConnectionResult::Answered(pause) => {
                    self.pace.record_answer(server, pause, Instant::now())
                }
                ConnectionResult::Failed(ConnectionError::NoStream, _) => {
                    self.modes[server] = Mode::Poll;
                    self.pace.record_answer(server, Duration::ZERO, Instant::now());
                }
                ConnectionResult::Failed(ConnectionError::Gone, retry) => {
                    let problem = "the watched environment no longer exists".to_owned();
                    self.record_failure(server, problem, Some(Denial::Gone), retry);
                }
                ConnectionResult::Failed(ConnectionError::Attempt(attempt), retry) => {
                    match self.interpret(server, attempt, retry) {
                        Some(error) => return self.mailbox.put_error(error),
                        None => continue,
                    }
                }
            }
        }
    }

    /// Reads an event stream until it fails.
    async fn stream(&mut self, server: usize) -> ConnectionResult {
        let opened = match self.connector(server).await {
            Ok(connector) => connector.open().await,
            Err(error) => Err(Attempt::Final(error).into()),
        };
        let mut stream = match opened {
            Ok(stream) => stream,
            Err(error) => return ConnectionResult::Failed(error, None),
        };
        let opened = Instant::now();
        let error = loop {
            let events = match stream.next().await {
                Ok(events) => events,
                Err(error) => break error,
            };
            if let Err(error) = self.handle_events(&events, server).await {
                break error;
            }
        };
        if opened.elapsed() >= STABLE_AFTER {
            self.pace.record_stable(Instant::now());
        }
        ConnectionResult::Failed(error, stream.retry)
    }

    async fn handle_events(
        &mut self,
        events: &[Event],
        server: usize,
    ) -> Result<(), ConnectionError> {
        for event in events {
            match event.name.as_str() {
                events::ENVIRONMENT => {
                    let fetched = environment_in(event, &self.client)?;
                    self.publish(fetched, server).await?;
                }
                events::TRY => self.trials.put(event, &self.client, server),
                events::GONE => return Err(ConnectionError::Gone),
                // Later versions may define further events.
                _ => {}
            }
        }
        if events.is_empty() && self.known.id.is_some() {
            self.record_confirmed(server);
            self.ask_for_release(server).await;
        }
        Ok(())
    }

    /// Makes one poll, which waits when a configuration is known.
    async fn poll(&mut self, server: usize) -> ConnectionResult {
        // The first poll does not wait, because its answer proves the connection.
        let is_live = self.health.borrow().state == HealthState::Live;
        let wait = if is_live && self.known.id.is_some() { PollWait::Long } else { PollWait::None };
        let polled = match self.connector(server).await {
            Ok(connector) => connector.poll(wait).await,
            Err(error) => Err(Attempt::Final(error).into()),
        };
        let polled = match polled {
            Ok(polled) => polled,
            Err(error) => return ConnectionResult::Failed(error, None),
        };
        match polled.fetched {
            Some(fetched) => {
                if let Err(attempt) = self.publish(fetched, server).await {
                    return ConnectionResult::Failed(attempt.into(), None);
                }
            }
            None => {
                self.record_confirmed(server);
                if !polled.is_candidate {
                    self.record_released().await;
                }
            }
        }
        self.pace.record_stable(Instant::now());
        let can_wait = polled.has_waited || wait == PollWait::None && self.known.id.is_some();
        ConnectionResult::Answered(if can_wait {
            POLL_PAUSE_MIN
        } else {
            POLL_PAUSE_MAX.mul_f64(0.5 + fastrand::f64() / 2.0)
        })
    }

    /// Asks the server of a silent stream whether the published candidate was released. A promotion is no event for a canary,
    /// because its content stays the same.
    async fn ask_for_release(&mut self, server: usize) {
        let is_due = self.release_asked_at.is_none_or(|asked| asked.elapsed() >= RELEASE_PAUSE);
        if !self.is_candidate || !is_due {
            return;
        }
        self.release_asked_at = Some(Instant::now());
        let Ok(connector) = self.connector(server).await else { return };
        let polled = connector.poll(PollWait::None).await;
        // Another configuration arrives on the stream.
        if let Ok(Polled { fetched: None, is_candidate: false, .. }) = polled {
            self.record_released().await;
        }
    }

    /// Keeps a candidate that was released as the last-known-good copy, if the service has accepted it.
    async fn record_released(&mut self) {
        if !std::mem::take(&mut self.is_candidate) {
            return;
        }
        let Some(released) = &self.published else { return };
        let copy = self.client.last_known_good.as_ref();
        if copy.is_some_and(|copy| !copy.is_deferred())
            || self.acknowledgements.has_applied(&Known::of(released))
        {
            self.client.write_copy(released).await;
        }
    }

    async fn connector(&self, server: usize) -> Result<Connector<'_>, Error> {
        let credentials = self.client.credentials.current_header().await?;
        let WatchFollower { client, known, acknowledgements, trials, .. } = self;
        Ok(Connector { client, server, credentials, known, acknowledgements, trials })
    }

    /// Publishes an environment to the service, unless its content equals the published one.
    async fn publish(&mut self, fetched: Fetched, server: usize) -> Result<(), Attempt> {
        self.client
            .check_content(&fetched, &self.client.servers[server])
            .map_err(Attempt::Final)?;
        let Fetched { environment, digest, epochs, is_candidate } = &fetched;
        let is_candidate = *is_candidate;
        let known =
            Known::new(environment.version.as_deref(), epochs.as_deref(), digest.as_deref());
        if known.is_older_than(&self.known) {
            return Err(AttemptError::Older.into());
        }
        self.known = known;
        let is_published = self.published.as_ref().is_some_and(|published| {
            published.answer().property_sources == environment.property_sources
                && !published.is_stale()
        });
        if !is_published || self.is_gone {
            let name = self.client.servers[server].name();
            let configuration = self.client.configuration_from(fetched, name);
            self.client.save_copy(&configuration).await;
            self.published = Some(configuration.clone());
            (self.is_gone, self.is_candidate) = (false, is_candidate);
            self.mailbox.put(configuration);
        } else if !is_candidate {
            self.record_released().await;
        }
        self.record_confirmed(server);
        Ok(())
    }

    /// Records that a server has confirmed the published configuration.
    fn record_confirmed(&mut self, server: usize) {
        self.confirmed_at = SystemTime::now();
        self.denials[server] = None;
        self.pace.record_contact();
        self.acknowledgements.set_server(Some(server));
        self.report(HealthState::Live, None);
    }

    /// Interprets a failed attempt. Returns the error that ends the watch, if it does.
    fn interpret(
        &mut self,
        server: usize,
        attempt: Attempt,
        retry: Option<Duration>,
    ) -> Option<Error> {
        let (problem, denial, retry) = match attempt {
            Attempt::Final(error) if self.published.is_none() => return Some(error),
            Attempt::Final(error) => {
                let denial = match error {
                    Error::NotFound { .. } => Some(Denial::Gone),
                    // The published configuration came from another kind of server. This one rejects its revision.
                    Error::Rejected { status: 400, .. } if self.known.position().is_some() => {
                        Some(Denial::Behind)
                    }
                    _ => None,
                };
                (error.to_string(), denial, retry)
            }
            Attempt::Again { failure, retry_after } => {
                let is_behind = matches!(failure, AttemptError::Behind | AttemptError::Older)
                    && self.known.position().is_some();
                self.choose_mode(server, &failure);
                let name = self.client.servers[server].name();
                let problem = format!("{name}: {failure}");
                (problem, is_behind.then_some(Denial::Behind), retry_after.or(retry))
            }
        };
        self.record_failure(server, problem, denial, retry);
        None
    }

    /// Selects the kind of the next connection. After a timeout of a stream it is a poll, because a proxy may hold back the
    /// stream. After a failed poll it is a stream again.
    fn choose_mode(&mut self, server: usize, failure: &AttemptError) {
        self.modes[server] = match (self.modes[server], failure) {
            (Mode::Stream, AttemptError::Timeout(_)) => Mode::Poll,
            _ => Mode::Stream,
        };
    }

    fn record_failure(
        &mut self,
        server: usize,
        problem: String,
        denial: Option<Denial>,
        retry: Option<Duration>,
    ) {
        tracing::debug!(problem, "connection to this server failed");
        self.acknowledgements.set_server(None);
        self.pace.record_failure(server, retry, Instant::now());
        self.denials[server] = denial;
        let agreed = |wanted| self.denials.iter().all(|denial| *denial == Some(wanted));
        if agreed(Denial::Behind) {
            tracing::warn!(
                problem,
                "no server has the last received revision, starting again without it"
            );
            self.known = Known::default();
            self.denials.fill(None);
        } else if agreed(Denial::Gone) && !self.is_gone {
            // An environment that exists again is published even when its content is the same.
            self.known = Known::default();
            self.is_gone = true;
            self.mailbox.put_gone();
        }
        let state = match self.published {
            Some(_) => HealthState::Stale { since: self.confirmed_at },
            None => HealthState::Disconnected,
        };
        self.report(state, Some(problem));
    }

    fn report(&self, state: HealthState, problem: Option<String>) {
        self.health.send_if_modified(|report| {
            let new = HealthReport { state, problem };
            let differs = *report != new;
            *report = new;
            differs
        });
    }
}

impl Drop for WatchFollower {
    fn drop(&mut self) {
        if self.health.borrow().state == HealthState::Live {
            self.report(HealthState::Stale { since: self.confirmed_at }, None);
        }
        self.mailbox.end();
    }
}
