//! The loop: asks, takes what comes, and decides what a failure means.
//!
//! What was told is never taken back. A server that does not know the revision that was told last is behind; only when all
//! of them say so is it forgotten, for then nobody will ever know it again.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::client::Client;
use crate::configuration::Configuration;
use crate::error::{Error, Failure};
use crate::fetch::{Attempt, Fetched};
use crate::sse::Event;
use crate::watch::acknowledge::Acknowledgements;
use crate::watch::connection::{Conversation, Known, Mode, Patience, Trouble, environment_in};
use crate::watch::health::{Health, Report, State};
use crate::watch::mailbox::Mailbox;
use crate::watch::pace::Pace;

/// A stream that lived so long has shown that streams work here.
pub(super) const PROVED_AFTER: Duration = Duration::from_secs(5);
/// Between the answers of a server that waits.
const POLL_PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest time between the answers of a server that does not know how to wait; half of it is jitter.
const POLL_PAUSE_MAX: Duration = Duration::from_secs(30);

/// What a server said last instead of an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It does not know the revision that was told last.
    Behind,
    /// It knows nothing of the kind.
    Gone,
}

pub(super) struct Follower {
    client: Client,
    mailbox: Arc<Mailbox>,
    acknowledgements: Arc<Acknowledgements>,
    health: watch::Sender<Report>,
    pace: Pace,
    modes: Vec<Mode>,
    verdicts: Vec<Option<Verdict>>,
    /// What was told last.
    told: Option<Configuration>,
    known: Known,
    /// When a server last confirmed what was told last.
    heard: SystemTime,
    /// Whether the watcher was told that there is nothing any more.
    is_gone: bool,
}

/// How a conversation went, and when the server may be asked again.
enum Turn {
    Answered(Duration),
    Failed(Trouble, Option<Duration>),
}

impl Follower {
    pub(super) fn new(
        client: Client,
        told: Option<Configuration>,
        (mailbox, acknowledgements): (Arc<Mailbox>, Arc<Acknowledgements>),
    ) -> (Follower, Health) {
        let heard = told.as_ref().and_then(Configuration::stale_since);
        let heard = heard.unwrap_or_else(SystemTime::now);
        let state = told.as_ref().map_or(State::Disconnected, |_| State::Stale { since: heard });
        let (health, report) = watch::channel(Report { state, problem: None });
        let count = client.servers.len();
        let follower = Follower {
            pace: Pace::new(count, Instant::now()),
            modes: vec![Mode::Stream; count],
            verdicts: vec![None; count],
            known: told.as_ref().map(Known::of).unwrap_or_default(),
            client,
            mailbox,
            acknowledgements,
            health,
            told,
            heard,
            is_gone: false,
        };
        (follower, Health::new(report))
    }

    /// Goes on until the watch is dropped, or the first answer is a refusal.
    pub(super) async fn run(mut self) {
        loop {
            let (server, at) = self.pace.next(Instant::now());
            sleep_until(at).await;
            let turn = match self.modes[server] {
                Mode::Stream => self.stream(server).await,
                Mode::Poll => self.poll(server).await,
            };
            match turn {
                Turn::Answered(pause) => self.pace.answered(server, pause, Instant::now()),
                Turn::Failed(Trouble::NoStream, _) => {
                    self.modes[server] = Mode::Poll;
                    self.pace.answered(server, Duration::ZERO, Instant::now());
                }
                Turn::Failed(Trouble::Gone, retry) => {
                    let problem = "what is watched is not there any more".to_owned();
                    self.failed(server, problem, Some(Verdict::Gone), retry);
                }
                Turn::Failed(Trouble::Attempt(attempt), retry) => {
                    match self.refused(server, attempt, retry) {
                        Some(error) => return self.mailbox.refuse(error),
                        None => continue,
                    }
                }
            }
        }
    }

    /// Follows a stream for as long as it lives.
    async fn stream(&mut self, server: usize) -> Turn {
        let opened = match self.conversation(server).await {
            Ok(conversation) => conversation.open().await,
            Err(error) => Err(Attempt::Final(error).into()),
        };
        let mut stream = match opened {
            Ok(stream) => stream,
            Err(trouble) => return Turn::Failed(trouble, None),
        };
        let opened = Instant::now();
        let trouble = loop {
            let events = match stream.next().await {
                Ok(events) => events,
                Err(trouble) => break trouble,
            };
            if let Err(trouble) = self.take_events(&events, server).await {
                break trouble;
            }
        };
        if opened.elapsed() >= PROVED_AFTER {
            self.pace.proved(Instant::now());
        }
        Turn::Failed(trouble, stream.retry)
    }

    async fn take_events(&mut self, events: &[Event], server: usize) -> Result<(), Trouble> {
        for event in events {
            match event.name.as_str() {
                "environment" => {
                    let fetched = environment_in(event, &self.client)?;
                    self.take(fetched, server).await?;
                }
                "gone" => return Err(Trouble::Gone),
                // To come; old clients pass it over.
                _ => {}
            }
        }
        if events.is_empty() && self.known.id.is_some() {
            self.confirmed(server);
        }
        Ok(())
    }

    /// One long poll.
    async fn poll(&mut self, server: usize) -> Turn {
        // The first answer is to show that there is a connection.
        let is_live = self.health.borrow().state == State::Live;
        let patience = match is_live && self.known.id.is_some() {
            true => Patience::Waits,
            false => Patience::None,
        };
        let polled = match self.conversation(server).await {
            Ok(conversation) => conversation.poll(patience).await,
            Err(error) => Err(Attempt::Final(error).into()),
        };
        let polled = match polled {
            Ok(polled) => polled,
            Err(trouble) => return Turn::Failed(trouble, None),
        };
        match polled.fetched {
            Some(fetched) => {
                if let Err(attempt) = self.take(fetched, server).await {
                    return Turn::Failed(attempt.into(), None);
                }
            }
            None => self.confirmed(server),
        }
        self.pace.proved(Instant::now());
        let can_wait = polled.has_waited || patience == Patience::None && self.known.id.is_some();
        Turn::Answered(match can_wait {
            true => POLL_PAUSE_MIN,
            false => POLL_PAUSE_MAX.mul_f64(0.5 + fastrand::f64() / 2.0),
        })
    }

    async fn conversation(&self, server: usize) -> Result<Conversation<'_>, Error> {
        let credentials = self.client.credentials.current_header().await?;
        let Follower { client, known, acknowledgements, .. } = self;
        Ok(Conversation { client, server, credentials, known, acknowledgements })
    }

    /// Takes an environment for the newest one, and tells it unless it was told already.
    async fn take(&mut self, fetched: Fetched, server: usize) -> Result<(), Attempt> {
        self.client
            .check_content(&fetched, &self.client.servers[server])
            .map_err(Attempt::Final)?;
        let Fetched { environment, digest } = &fetched;
        self.known = Known::new(environment.version.as_deref(), digest.as_deref());
        let is_told = self.told.as_ref().is_some_and(|told| {
            told.environment().property_sources == environment.property_sources && !told.is_stale()
        });
        if !is_told || self.is_gone {
            let name = self.client.servers[server].name();
            let configuration = self.client.fresh(fetched, name);
            self.client.keep(&configuration).await;
            self.told = Some(configuration.clone());
            self.is_gone = false;
            self.mailbox.put(configuration);
        }
        self.confirmed(server);
        Ok(())
    }

    /// The server says that what was told last is what there is.
    fn confirmed(&mut self, server: usize) {
        self.heard = SystemTime::now();
        self.verdicts[server] = None;
        self.pace.heard();
        self.acknowledgements.follow(Some(server));
        self.report(State::Live, None);
    }

    /// Decides about an attempt that failed; a refusal that is the end is given back.
    fn refused(
        &mut self,
        server: usize,
        attempt: Attempt,
        retry: Option<Duration>,
    ) -> Option<Error> {
        let (problem, verdict, retry) = match attempt {
            Attempt::Final(error) if self.told.is_none() => return Some(error),
            Attempt::Final(error) => {
                let is_gone = matches!(error, Error::NotFound { .. });
                (error.to_string(), is_gone.then_some(Verdict::Gone), retry)
            }
            Attempt::Again { failure, retry_after } => {
                let is_behind = failure == Failure::Behind && self.known.revision().is_some();
                self.choose_mode(server, &failure);
                let name = self.client.servers[server].name();
                let problem = format!("{name}: {failure}");
                (problem, is_behind.then_some(Verdict::Behind), retry_after.or(retry))
            }
        };
        self.failed(server, problem, verdict, retry);
        None
    }

    /// A server that was reached and said nothing at all may stand behind something that keeps streams to itself. Where
    /// polls fail, streams may work again.
    fn choose_mode(&mut self, server: usize, failure: &Failure) {
        self.modes[server] = match (self.modes[server], failure) {
            (Mode::Stream, Failure::Timeout(_)) => Mode::Poll,
            _ => Mode::Stream,
        };
    }

    fn failed(
        &mut self,
        server: usize,
        problem: String,
        verdict: Option<Verdict>,
        retry: Option<Duration>,
    ) {
        tracing::debug!(problem, "not watching this server");
        self.acknowledgements.follow(None);
        self.pace.failed(server, retry, Instant::now());
        self.verdicts[server] = verdict;
        let agreed = |wanted| self.verdicts.iter().all(|verdict| *verdict == Some(wanted));
        if agreed(Verdict::Behind) {
            tracing::warn!(
                problem,
                "no server knows the revision that was told last: starting afresh"
            );
            self.known = Known::default();
            self.verdicts.fill(None);
        } else if agreed(Verdict::Gone) && !self.is_gone {
            // If it comes back it is another one, and told even if it is the same.
            self.known = Known::default();
            self.is_gone = true;
            self.mailbox.put_gone();
        }
        let state = match self.told {
            Some(_) => State::Stale { since: self.heard },
            None => State::Disconnected,
        };
        self.report(state, Some(problem));
    }

    fn report(&self, state: State, problem: Option<String>) {
        self.health.send_if_modified(|report| {
            let new = Report { state, problem };
            let differs = *report != new;
            *report = new;
            differs
        });
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if self.health.borrow().state == State::Live {
            self.report(State::Stale { since: self.heard }, None);
        }
        self.mailbox.end();
    }
}
