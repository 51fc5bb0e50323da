//! The task that keeps the secrets of one Vault up to date.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use headwater_secrets::SecretText;
use serde_json::Value as Json;

use super::cache::{Secret, VaultCache};
use super::client::{VaultClient, VaultError};
use super::login::Login;
use super::{Engine, VaultAddress};
use crate::backoff::Backoff;
use crate::faults::{FaultKind, Faults};
use crate::model::Scalar;
use crate::reveal::{Keyring, scalar_of_json};

/// The most requests at a time.
const REQUEST_COUNT_MAX: usize = 8;
/// The pauses between attempts to reach Vault.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The intervals of `poll` after which paths that no environment names are forgotten.
const POLLS_UNTIL_FORGOTTEN: u32 = 20;
/// The messages for paths that Vault does not return.
const DENIED: &str = "Vault denies the server this path (403)";
const ABSENT: &str = "Vault has no secret at this path (404)";

/// A path with the result of its read.
type ReadPath = (Box<str>, Result<Secret, VaultError>);

/// The inputs of the task.
pub(crate) struct Follower {
    /// The name of the Vault in messages.
    pub(crate) object: String,
    pub(crate) address: VaultAddress,
    pub(crate) client: VaultClient,
    pub(crate) cache: Arc<VaultCache>,
    pub(crate) keys: Arc<Keyring>,
    pub(crate) faults: Arc<Faults>,
    /// Called after the result of a lookup has changed.
    pub(crate) changed: Box<dyn Fn() + Send + Sync>,
}

impl Follower {
    /// Reads paths when they are wanted and at intervals, for as long as the task runs.
    pub(crate) async fn follow(self) {
        let mut login = Login::default();
        let mut backoff = Backoff::new(PAUSE_MIN, PAUSE_MAX.min(self.address.poll.max(PAUSE_MIN)));
        let mut forgotten_at = Instant::now();
        loop {
            self.wait(&login).await;
            match self.round(&mut login).await {
                Ok(()) => {
                    backoff.reset();
                    self.faults.end(FaultKind::VaultUnreadable, &self.object);
                    // While Vault fails, no value is forgotten.
                    if forgotten_at.elapsed() >= self.address.poll * POLLS_UNTIL_FORGOTTEN {
                        self.forget_unused();
                        forgotten_at = Instant::now();
                    }
                }
                Err(error) => {
                    let reason = format!("{error}. Its values stay in use");
                    self.faults.begin(FaultKind::VaultUnreadable, &self.object, &reason);
                    tokio::time::sleep(jittered(backoff.pause())).await;
                }
            }
        }
    }

    /// Waits until a path is due, or until the token is to be renewed.
    async fn wait(&self, login: &Login) {
        let times = [self.cache.until_due(), login.until_renewal()];
        match times.into_iter().flatten().min() {
            Some(Duration::ZERO) => {}
            Some(pause) => {
                tokio::select! {
                    () = self.cache.wait_for_wanted() => {}
                    () = tokio::time::sleep(pause) => {}
                }
            }
            None => self.cache.wait_for_wanted().await,
        }
    }

    /// Reads all paths that are due. Fails with the last error that concerns more than one path.
    async fn round(&self, login: &mut Login) -> Result<(), VaultError> {
        let token = login.token(&self.address.login, &self.client).await?;
        let mut read = self.read_all(self.cache.due(), &token).await;
        let is_denied = |(_, result): &ReadPath| matches!(result, Err(VaultError::Status(403)));
        if read.iter().any(is_denied) {
            // The token may have expired. With a new one, the path itself is denied.
            login.forget();
            let token = login.token(&self.address.login, &self.client).await?;
            let (denied, others): (Vec<_>, Vec<_>) = read.into_iter().partition(is_denied);
            read = others;
            let paths = denied.into_iter().map(|(path, _)| path).collect();
            read.extend(self.read_all(paths, &token).await);
        }
        self.take_over(read)
    }

    async fn read_all(&self, paths: Vec<Box<str>>, token: &SecretText) -> Vec<ReadPath> {
        let requests = paths.into_iter().map(|path| async move {
            let secret = self.read(&path, token).await;
            (path, secret)
        });
        futures_util::stream::iter(requests).buffer_unordered(REQUEST_COUNT_MAX).collect().await
    }

    async fn read(&self, path: &str, token: &SecretText) -> Result<Secret, VaultError> {
        let mount = &self.address.mount;
        let url = match self.address.engine {
            Engine::Kv1 => format!("{mount}/{path}"),
            Engine::Kv2 => format!("{mount}/data/{path}"),
        };
        let answer = self.client.get(&url, token).await?;
        self.secret(&answer).ok_or(VaultError::Malformed)
    }

    /// The values and the version in an answer. The first version of the engine has no number, so that a fingerprint takes
    /// its place.
    fn secret(&self, answer: &Json) -> Option<Secret> {
        let data = answer.get("data")?;
        let (values, version) = match self.address.engine {
            Engine::Kv1 => {
                let bytes = data.to_string();
                (data, self.keys.current().bound.fingerprint(bytes.as_bytes()))
            }
            Engine::Kv2 => {
                let version = data.get("metadata")?.get("version")?.as_u64()?;
                (data.get("data")?, version.to_string())
            }
        };
        let values: HashMap<Box<str>, Scalar> = values
            .as_object()?
            .iter()
            .filter_map(|(key, value)| Some((key.as_str().into(), scalar_of_json(value)?)))
            .collect();
        Some(Secret { values, version: version.into() })
    }

    fn take_over(&self, read: Vec<ReadPath>) -> Result<(), VaultError> {
        let (mut is_changed, mut outcome) = (false, Ok(()));
        for (path, result) in read {
            let next = jittered(self.address.poll);
            let object = format!("{} {path}", self.object);
            let refusal = match result {
                Ok(secret) => {
                    is_changed |= self.cache.record(&path, secret, next);
                    self.faults.end(FaultKind::VaultUnreadable, &object);
                    continue;
                }
                Err(VaultError::Status(403)) => DENIED,
                Err(VaultError::Status(404)) => ABSENT,
                Err(error) => {
                    outcome = Err(error);
                    continue;
                }
            };
            is_changed |= self.cache.refuse(&path, refusal, next);
            self.faults.begin(FaultKind::VaultUnreadable, &object, refusal);
        }
        if is_changed {
            self.open_again();
        }
        outcome
    }

    /// Forgets the paths that no environment has named since the last call. Opening all values in use shows which those
    /// will be at the next call.
    fn forget_unused(&self) {
        for path in self.cache.forget_unused() {
            tracing::info!(vault = self.object, %path, "a secret in Vault is no longer used");
            self.faults.end(FaultKind::VaultUnreadable, &format!("{} {path}", self.object));
        }
        self.open_again();
    }

    /// Has all environments with references look their values up again.
    fn open_again(&self) {
        self.keys.record_changed_reference();
        (self.changed)();
    }
}

/// A pause with jitter, so that the replicas of a fleet do not ask at the same time.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.8 + 0.4 * fastrand::f64())
}
