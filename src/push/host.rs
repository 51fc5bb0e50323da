//! One hosted repository as clients see it: its references, and its exchanges with git.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::admission::{Admission, Requester};
use super::advertisement;
use super::authorization::Pusher;
use super::command::{Running, Service};
use super::decision::PushContext;
use super::error::PushError;
use super::exchange::{
    self, AnswerSender, EXCHANGE_MAX, Exchange, Input, READ_STALL_MAX, ServerEnds, StallBudget,
};
use super::packet;
use super::policy::PushPolicy;
use super::recording::PushRecorder;
use super::replication::Replication;
use super::repository::HostedRepository;
use super::session::{self, Sessions};
use super::waiting::Waits;
use super::wants::Wants;
use crate::source::SourceError;
use crate::telemetry::PushTimer;

/// The maximum time that a reference listing waits for pushes that other replicas acknowledged.
const LISTING_CATCH_UP_MAX: Duration = Duration::from_secs(1);
/// The maximum time that a push or a fetch waits for references that another replica listed. Without them it fails.
const EXCHANGE_CATCH_UP_MAX: Duration = Duration::from_secs(5);

/// A hosted repository with everything that answers its clients.
pub struct Host {
    pub(super) repository: Arc<HostedRepository>,
    /// The replication through etcd, if replicas share the repository.
    pub(super) replication: Option<Arc<Replication>>,
    pub(super) policy: Arc<PushPolicy>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) admission: Arc<Admission>,
    pub(super) waits: Arc<Waits>,
}

impl Host {
    /// Returns the references of this repository for a service. This is the first answer to a client. A pusher that may
    /// not read the repository receives the references that it may push.
    ///
    /// Invariant: only durable references are listed.
    ///
    /// # Errors
    /// When too many clients ask, or git does not answer.
    pub async fn advertise(
        &self,
        service: Service,
        pusher: Option<&Pusher>,
        requester: Requester,
    ) -> Result<Bytes, PushError> {
        let _permit = self.admission.listings(service).acquire(requester).await?;
        self.catch_up(LISTING_CATCH_UP_MAX).await?;
        let listed = self.repository.advertise(service).await?;
        let is_reduced = service == Service::ReceivePack && !self.has_policy();
        match pusher.filter(|pusher| is_reduced && !pusher.may_clone()) {
            None => Ok(listed),
            Some(pusher) => {
                let is_shown = |name: &str| pusher.reads_all() || pusher.may_push_to(name);
                advertisement::reduced(&listed, is_shown)
                    .ok_or_else(|| PushError::Git("its listing is malformed".to_owned()))
            }
        }
    }

    /// Answers a clone or a fetch.
    ///
    /// # Errors
    /// When too many clones and fetches are in progress.
    pub async fn upload_pack(&self, requester: Requester) -> Result<Exchange, PushError> {
        let permit = self.admission.fetches.acquire(requester).await?;
        self.catch_up(EXCHANGE_CATCH_UP_MAX).await?;
        let (exchange, ends) = exchange::pair();
        let repository = Arc::clone(&self.repository);
        self.repository.runtime.spawn(async move {
            let _permit = permit;
            upload(&repository, ends).await;
        });
        Ok(exchange)
    }

    /// Answers a push. `who` names the holder of the push token, if it has a name. `pusher` is the principal, if a policy
    /// decides. `recorder` records the push.
    ///
    /// # Errors
    /// When too many pushes are in progress.
    pub async fn receive_pack(
        &self,
        who: Option<Arc<str>>,
        pusher: Option<Pusher>,
        requester: Requester,
        recorder: Option<PushRecorder>,
    ) -> Result<Exchange, PushError> {
        let permit = self.admission.pushes.acquire(requester).await?;
        self.catch_up(EXCHANGE_CATCH_UP_MAX).await?;
        let timer = PushTimer::start(&self.repository.name);
        let (exchange, ends) = exchange::pair();
        let (repository, sessions) = (Arc::clone(&self.repository), Arc::clone(&self.sessions));
        let context = PushContext {
            repository: Arc::clone(&repository),
            replication: self.replication.clone(),
            policy: Arc::clone(&self.policy),
            waits: Arc::clone(&self.waits),
            who,
            pusher,
            recorder,
            trace: timer.context(),
        };
        self.repository.runtime.spawn(async move {
            let waiting = session::run(&sessions, context, ends, timer).await;
            // A push that waits for instances takes no permit from other pushes.
            drop(permit);
            repository.pushed.notify_one();
            // This fills the cache, so that the next push need not wait for a listing.
            let listing = repository.advertise(Service::ReceivePack);
            let waiting = async {
                if let Some(waiting) = waiting {
                    waiting.run().await;
                }
            };
            let _ = tokio::join!(listing, waiting);
        });
        Ok(exchange)
    }

    /// Returns true if the repository has the policy.
    pub fn has_policy(&self) -> bool {
        self.repository.hosted_policy.is_some()
    }

    /// The largest pack that a push may have.
    pub fn pack_bytes_max(&self) -> u64 {
        self.policy.pack_bytes_max
    }

    /// Waits for references that other replicas acknowledged or listed. The requests of one push or fetch may reach
    /// different replicas.
    ///
    /// # Errors
    /// When this replica has not loaded the repository yet.
    async fn catch_up(&self, wait_max: Duration) -> Result<(), PushError> {
        let Some(replication) = &self.replication else { return Ok(()) };
        if !replication.is_loaded() {
            return Err(PushError::NotLoaded);
        }
        let replication = Arc::clone(replication);
        let waiting =
            self.repository.runtime.spawn(async move { replication.catch_up(wait_max).await });
        waiting.await.map_err(|_| PushError::Interrupted)
    }
}

/// Answers a clone or a fetch until it ends, takes too long or fails.
///
/// Cancellation: git ends when the client disconnects.
async fn upload(repository: &Arc<HostedRepository>, ends: ServerEnds) {
    let ServerEnds { input, output, abort } = ends;
    match timeout(EXCHANGE_MAX, send_pack(repository, input, &output)).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => {
            tracing::warn!(repository = repository.name, %error, "a fetch failed");
        }
        Err(_) => tracing::warn!(repository = repository.name, "a fetch took too long"),
    }
    exchange::truncate(output, abort).await;
}

async fn send_pack(
    repository: &Arc<HostedRepository>,
    mut input: mpsc::Receiver<Input>,
    output: &AnswerSender,
) -> Result<(), PushError> {
    // A request that is interrupted or malformed receives an empty answer.
    let Some(wants) = Wants::read(&mut input).await else { return Ok(()) };
    let source = Arc::clone(&repository.source);
    let checking = tokio::task::spawn_blocking(move || {
        let forbidden = wants.first_forbidden(&source)?.map(str::to_owned);
        Ok((forbidden, wants.bytes))
    });
    let checked = checking.await.map_err(|error| PushError::Git(error.to_string()))?;
    let (forbidden, first) =
        checked.map_err(|error: SourceError| PushError::Git(error.to_string()))?;
    if let Some(id) = forbidden {
        let refusal = packet::error(&format!("upload-pack: not our ref {id}"));
        output.send(Ok(refusal)).await.map_err(|_| PushError::Interrupted)?;
        exchange::drain(input).await;
        return Ok(());
    }
    let command = repository.git.serve(Service::UploadPack, &repository.path);
    let mut git = repository.start_git(command).map_err(|error| PushError::git(&error))?;
    let stdin = git.child.stdin.take().expect("standard input is a pipe");
    let feeding = exchange::feed(stdin, first, input);
    tokio::select! {
        () = output.closed() => Err(PushError::Interrupted),
        sent = async { tokio::join!(feeding, forward(&mut git, output)).1 } => sent,
    }
}

/// Forwards git's answer to a client that receives it fast enough.
async fn forward(git: &mut Running, output: &AnswerSender) -> Result<(), PushError> {
    let stdout = git.child.stdout.as_mut().expect("standard output is a pipe");
    let mut budget = StallBudget::new(READ_STALL_MAX);
    while let Ok(piece) = exchange::read(stdout).await {
        let byte_count = piece.len();
        if byte_count == 0 {
            break;
        }
        match budget.wait(output.send(Ok(piece))).await {
            Some(Ok(())) => budget.refill(byte_count),
            Some(Err(_)) => return Err(PushError::Interrupted),
            None => return Err(PushError::TooSlow),
        }
    }
    Ok(())
}
