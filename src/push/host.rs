//! One hosted repository: what it advertises, and the exchanges with git on it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{
    Notify, OwnedRwLockWriteGuard, OwnedSemaphorePermit, RwLock, Semaphore, mpsc, watch,
};
use tokio::time::timeout;

use super::command::{Git, Running};
use super::exchange::{self, Cut, Ends, Exchange, Input, Output};
use super::packet;
use super::session::{self, Sessions};
use super::share::Share;
use super::wants::Wants;
use super::{EXCHANGE_MAX, PushError, Service, Terms, updates};
use crate::model::Revision;
use crate::source::SourceError;
use crate::source::git::{GitSource, MovedReference};
use crate::store::{Actor, Pushed, Store};
use crate::sync::lock;

/// The most that is advertised, in bytes.
const LIST_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How long a client waits for those before it.
const PERMIT_MAX: Duration = Duration::from_secs(5);

/// How long one who moves references waits for those who list them.
const LISTING_MAX: Duration = Duration::from_secs(20);
/// For how long whoever asks for references waits until those are here that were acknowledged elsewhere.
const LISTED_MAX: Duration = Duration::from_secs(1);
/// The same for a push or fetch that may begin with what another replica listed: without that it fails.
const LISTED_ELSEWHERE_MAX: Duration = Duration::from_secs(5);

/// A hosted repository.
pub struct Host {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) source: Arc<GitSource>,
    /// Where it is shared, if it is.
    pub(super) share: Option<Arc<Share>>,
    pub(super) git: Arc<Git>,
    pub(super) store: Arc<Store>,
    pub(super) terms: Arc<Terms>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) runtime: Handle,
    pub(super) pushes: Arc<Semaphore>,
    pub(super) fetches: Arc<Semaphore>,
    /// Held from the hook's question until what it is about was published.
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
    /// How many pushes wait for it.
    pub(super) waiting: watch::Sender<usize>,
    /// Held for writing from when git may move references until they are durable and published; for reading while git
    /// lists them.
    pub(super) moving: Arc<RwLock<()>>,
    /// References that moved and could not be made durable.
    pub(super) unsynced: Mutex<Vec<String>>,
    /// What is offered to those who push, until a reference moves: each push begins with asking for it.
    pub(super) offered: Mutex<Option<Bytes>>,
    /// Held for reading by each push while git receives it.
    pub(super) receiving: RwLock<()>,
    /// Told after each push.
    pub(super) pushed: Arc<Notify>,
}

impl Host {
    /// What a service has to offer on this repository: the first answer to a client. Nothing is listed that is not durable.
    ///
    /// # Errors
    /// When too many ask, or git does not answer.
    pub async fn advertise(self: &Arc<Self>, service: Service) -> Result<Bytes, PushError> {
        let _permit = self.permit(&self.fetches).await?;
        let host = Arc::clone(self);
        let advertising = self.runtime.spawn(async move {
            host.share_catch_up(LISTED_MAX).await?;
            let _still = host.moving.read().await;
            host.check_durable()?;
            let known = lock(&host.offered).clone();
            if let Some(known) = known.filter(|_| service == Service::ReceivePack) {
                return Ok(known);
            }
            let command = host.git.advertise(service, &host.path);
            let mut git = host.git.start(command).map_err(|error| no_git(&error))?;
            drop(git.child.stdin.take());
            let listed = listed(&mut git).await?;
            match git.child.wait().await {
                Ok(status) if status.success() => {
                    if service == Service::ReceivePack {
                        *lock(&host.offered) = Some(listed.clone());
                    }
                    Ok(listed)
                }
                Ok(status) => Err(PushError::Git(format!("{} {status}", service.name()))),
                Err(error) => Err(no_git(&error)),
            }
        });
        match timeout(EXCHANGE_MAX, advertising).await {
            Ok(Ok(advertised)) => advertised,
            _ => Err(PushError::Git(format!("{} does not answer", service.name()))),
        }
    }

    /// Sees to it that what was acknowledged or listed elsewhere is here: the requests of one push or fetch may reach
    /// different replicas.
    async fn catch_up(self: &Arc<Self>) -> Result<(), PushError> {
        if self.share.is_none() {
            return Ok(());
        }
        let host = Arc::clone(self);
        let caught_up =
            self.runtime.spawn(async move { host.share_catch_up(LISTED_ELSEWHERE_MAX).await });
        caught_up.await.unwrap_or(Err(PushError::BrokenOff))
    }

    async fn share_catch_up(&self, wait_max: Duration) -> Result<(), PushError> {
        let Some(share) = &self.share else { return Ok(()) };
        match share.is_heard() {
            true => {
                share.catch_up(wait_max).await;
                Ok(())
            }
            false => Err(PushError::Unheard),
        }
    }

    /// Answers a clone or a fetch.
    ///
    /// # Errors
    /// When too many are at it.
    pub async fn upload_pack(self: &Arc<Self>) -> Result<Exchange, PushError> {
        let permit = self.permit(&self.fetches).await?;
        self.catch_up().await?;
        let (exchange, ends) = exchange::pair();
        let host = Arc::clone(self);
        self.runtime.spawn(async move {
            let _permit = permit;
            if timeout(EXCHANGE_MAX, host.upload(ends)).await.is_err() {
                tracing::warn!(repository = host.name, "a fetch took too long");
            }
        });
        Ok(exchange)
    }

    /// Answers a push, on behalf of whoever it is that holds the push token.
    ///
    /// # Errors
    /// When too many are at it.
    pub async fn receive_pack(
        self: &Arc<Self>,
        who: Option<Arc<str>>,
    ) -> Result<Exchange, PushError> {
        let permit = self.permit(&self.pushes).await?;
        self.catch_up().await?;
        let (exchange, ends) = exchange::pair();
        let host = Arc::clone(self);
        self.runtime.spawn(async move {
            let _permit = permit;
            let command = host.git.serve(Service::ReceivePack, &host.path);
            session::run(&host, command, who, ends).await;
            host.pushed.notify_one();
            // The next one need not wait for it.
            let _ = host.advertise(Service::ReceivePack).await;
        });
        Ok(exchange)
    }

    /// The largest pack that a push may have.
    pub fn pack_bytes_max(&self) -> u64 {
        self.terms.pack_bytes_max
    }

    /// Git does not try again by itself, so that a short wait is better than a refusal.
    async fn permit(&self, of: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, PushError> {
        match timeout(PERMIT_MAX, Arc::clone(of).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(PushError::Busy),
        }
    }

    /// The client that goes away takes git with it.
    async fn upload(&self, ends: Ends) {
        let Ends { input, output } = ends;
        if let Err(error) = self.send_pack(input, &output).await {
            tracing::warn!(repository = self.name, %error, "a fetch was broken off");
            // The client may be gone.
            let _ = output.send(Err(Cut)).await;
        }
    }

    async fn send_pack(
        &self,
        mut input: mpsc::Receiver<Input>,
        output: &Output,
    ) -> Result<(), PushError> {
        // Whoever wants nothing is told nothing.
        let Some(wants) = Wants::read(&mut input).await else { return Ok(()) };
        let source = Arc::clone(&self.source);
        let looked = tokio::task::spawn_blocking(move || {
            let unfit = wants.unfit(&source)?.map(str::to_owned);
            Ok((unfit, wants.bytes))
        });
        let looked = looked.await.map_err(|error| PushError::Git(error.to_string()))?;
        let (unfit, first) =
            looked.map_err(|error: SourceError| PushError::Git(error.to_string()))?;
        if let Some(id) = unfit {
            let refusal = packet::error(&format!("upload-pack: not our ref {id}"));
            output.send(Ok(refusal)).await.map_err(|_| PushError::BrokenOff)?;
            exchange::pass_over(input).await;
            return Ok(());
        }
        let command = self.git.serve(Service::UploadPack, &self.path);
        let mut git = self.git.start(command).map_err(|error| no_git(&error))?;
        let stdin = git.child.stdin.take().expect("standard input is a pipe");
        let feeding = exchange::feed(stdin, first, input);
        tokio::select! {
            () = output.closed() => Err(PushError::BrokenOff),
            () = async { tokio::join!(feeding, forward(&mut git, output)); } => Ok(()),
        }
    }

    /// Nobody lists references while this is held; nothing if those who do take too long.
    pub(super) async fn unlisted(&self) -> Option<OwnedRwLockWriteGuard<()>> {
        timeout(LISTING_MAX, Arc::clone(&self.moving).write_owned()).await.ok()
    }

    /// # Errors
    /// When references moved that could not be made durable.
    pub(super) fn check_durable(&self) -> Result<(), PushError> {
        match lock(&self.unsynced).is_empty() {
            true => Ok(()),
            false => Err(PushError::Unwritable),
        }
    }

    /// Makes durable what git has done and publishes what these references stand for now. Gives those that moved.
    ///
    /// # Errors
    /// When it cannot be made durable or be read: nothing of it is served, and it is tried again before the next push.
    pub(super) async fn publish(
        self: &Arc<Self>,
        references: Vec<String>,
        actor: &Actor,
    ) -> Result<Vec<MovedReference>, PushError> {
        *lock(&self.offered) = None;
        let host = Arc::clone(self);
        let names = references.clone();
        let published = self.runtime.spawn_blocking(move || {
            let unwritable = |error: &dyn std::fmt::Display| {
                tracing::error!(repository = host.name, %error, "what was pushed cannot be made durable");
                PushError::Unwritable
            };
            crate::source::git::sync(&host.path).map_err(|error| unwritable(&error))?;
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            host.source.publish(&names).map_err(|error| unwritable(&error))
        });
        match published.await.unwrap_or(Err(PushError::Unwritable)) {
            Ok(moved) => {
                if !moved.is_empty() {
                    self.store.advance(actor, self.pushed(&moved)).await;
                    self.source.announce();
                }
                Ok(moved)
            }
            Err(error) => {
                let mut unsynced = lock(&self.unsynced);
                unsynced.extend(references);
                unsynced.sort();
                unsynced.dedup();
                Err(error)
            }
        }
    }

    /// References that moved, as labels.
    fn pushed(&self, moved: &[MovedReference]) -> Vec<Pushed> {
        let head = self.source.head_branch().unwrap_or_default();
        let pushed = moved.iter().map(|MovedReference { name, old, new }| Pushed {
            labels: updates::labels(updates::short(name).unwrap_or(name), head),
            from: old.as_deref().map(Revision::new),
            to: new.as_deref().map(Revision::new),
        });
        pushed.collect()
    }
}

/// One that waits for its turn, until this is dropped.
pub(super) struct Waiting<'a>(&'a watch::Sender<usize>);

impl<'a> Waiting<'a> {
    pub(super) fn on(host: &'a Host) -> Self {
        host.waiting.send_modify(|count| *count += 1);
        Self(&host.waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

async fn listed(git: &mut Running) -> Result<Bytes, PushError> {
    let stdout = git.child.stdout.as_mut().expect("standard output is a pipe");
    exchange::read_all(stdout, LIST_BYTES_MAX).await.map_err(|error| no_git(&error))
}

/// Sends git's answer on as it comes.
async fn forward(git: &mut Running, output: &Output) {
    let stdout = git.child.stdout.as_mut().expect("standard output is a pipe");
    while let Ok(piece) = exchange::read(stdout).await {
        if piece.is_empty() || output.send(Ok(piece)).await.is_err() {
            return;
        }
    }
}

fn no_git(error: &std::io::Error) -> PushError {
    PushError::Git(error.kind().to_string())
}
