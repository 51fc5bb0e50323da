//! A remote git repository, mirrored in the background into a bare copy that is served.
//!
//! No request waits for the remote, with two exceptions. A request before the first copy is complete waits a few
//! seconds for the fetch. So does a request for a label that the copy does not have, because the label may be new.
//! While the remote is unreachable the last revision stays served, even after a restart.

mod access;
mod error;
mod excerpt;
mod follow;
mod git;
mod group;
mod keeper;
mod listing;
mod reason;
mod unknown;

use std::any::Any;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio_util::task::AbortOnDropHandle;

use self::follow::RemoteEvents;
use self::git::Git;
use self::unknown::UnknownLabels;
use crate::model::{Label, LabelPosition};
use crate::outage::Connectivity;
use crate::regular_file;
use crate::snapshot::{Layout, Snapshot, Style, expand_patterns};
use crate::source::git::copy::ServedReferences;
use crate::source::git::{Findings, GitOptions, GitSource};
use crate::source::uri::base_of;
use crate::source::{
    BoxFuture, OpenError, OpenOptions, Outage, Remote, RemoteStatus, Source, SourceError,
    SourceProblem, Transport,
};

pub use self::access::{Access, Credentials, SshFiles};

/// The longest that a request waits for a fetch.
const REQUEST_WAIT_MAX: Duration = Duration::from_secs(5);
/// The shortest time from the beginning of a fetch to one that a request triggers.
const REQUEST_FETCH_SPACING: Duration = Duration::from_secs(10);

/// The options of a mirror.
#[derive(Debug, Clone)]
pub struct MirrorOptions {
    /// The credentials and trusted certificates.
    pub access: Access,
    /// The interval of polls. If it is zero the remote is not polled, and only a hint or a failed fetch causes the next
    /// fetch.
    pub poll: Duration,
    /// The shortest time between the beginnings of two fetches, for any number of hints.
    pub spacing: Duration,
    /// The longest that one fetch takes. The first copy may take ten times as long.
    pub fetch_time_max: Duration,
    /// The largest pack that is accepted, in bytes.
    pub pack_bytes_max: u64,
}

/// The place of the copies.
#[derive(Clone)]
pub struct MirrorPlace {
    /// The directory for the copies of all remotes. Only this process writes to it.
    pub directory: PathBuf,
    /// Keeps the directory locked for the lifetime of the mirror.
    pub held: Arc<dyn Any + Send + Sync>,
    /// The runtime of the background tasks.
    pub runtime: Handle,
}

/// A mirrored remote as a source.
pub struct MirrorSource {
    mirror: Arc<Mirror>,
    _keeper: AbortOnDropHandle<()>,
    /// Follows the events of a remote that is hosted by another Headwater.
    _follower: Option<AbortOnDropHandle<()>>,
}

struct Mirror {
    layout: Arc<Layout>,
    default_label: Option<String>,
    findings: Findings,
    git: Git,
    poll: Duration,
    spacing: Duration,
    fetch_time_max: Duration,
    copy: PathBuf,
    /// The source that reads the copy. Set once there is a complete copy.
    source: OnceLock<GitSource>,
    /// The part of the copy that is served. Only the keeper changes it.
    served: Mutex<Option<ServedReferences>>,
    /// Set if the remote is hosted by another Headwater, by its address.
    is_of_headwater: bool,
    state: watch::Sender<FetchState>,
    /// Wakes the keeper for a fetch.
    wanted: Arc<Notify>,
    unknown: UnknownLabels,
    _held: Arc<dyn Any + Send + Sync>,
}

/// The state of the fetches. Each change wakes the requests that wait for a fetch.
#[derive(Debug, Clone, Default)]
struct FetchState {
    /// The numbers of fetches that have begun and that have ended.
    begun_count: u64,
    ended_count: u64,
    /// The beginning of the last fetch.
    begun: Option<Instant>,
    /// The end of the last successful fetch, including those of earlier runs of the server.
    fetched: Option<SystemTime>,
    /// The connectivity to the remote. The reason of an outage contains git's own message.
    connectivity: Connectivity,
    /// The reason for the last failure, without git's own message.
    failure: Option<String>,
    /// Set when a read of the copy has failed. The keeper then checks the copy, and replaces a broken one.
    is_suspect: bool,
}

impl FetchState {
    fn is_under_way(&self) -> bool {
        self.begun_count > self.ended_count
    }
}

impl Drop for MirrorSource {
    fn drop(&mut self) {
        // This process may end before the task that keeps the copy, whose end would kill git as well.
        self.mirror.git.running.kill();
    }
}

impl MirrorSource {
    /// Begins to mirror a remote, and returns at once. The copy of an earlier run is served after a check, and a new
    /// copy when it is complete.
    ///
    /// # Errors
    /// When the address is not accepted, or when the credentials or the directory cannot be used.
    pub fn open(
        uri: &str,
        options: OpenOptions,
        settings: MirrorOptions,
        place: MirrorPlace,
    ) -> Result<Self, OpenError> {
        let remote = Remote::parse(uri)?;
        check_access(&remote, &settings.access)?;
        let home = place.directory.join("home");
        std::fs::create_dir_all(&home).map_err(|error| OpenError::unreadable(&home, &error))?;
        let layout = Arc::new(Layout {
            base: options.name.as_deref().unwrap_or(base_of(uri)).into(),
            style: Style::Git,
            search_paths: options.search_paths,
            patterns: expand_patterns(&options.patterns),
            toml: options.toml,
            json: options.json,
        });
        let wanted = Arc::<Notify>::default();
        let events = RemoteEvents::of(&remote, &settings.access, &wanted, &layout.base);
        let mirror = Arc::new(Mirror {
            copy: place.directory.join(format!("{}.git", remote.digest())),
            layout,
            default_label: options.default_label,
            findings: options.findings,
            git: Git {
                remote,
                access: settings.access,
                home,
                time_max: settings.fetch_time_max,
                pack_bytes_max: settings.pack_bytes_max,
                running: Arc::default(),
            },
            poll: settings.poll,
            spacing: events.as_ref().map_or(settings.spacing, |_| follow::SPACING),
            fetch_time_max: settings.fetch_time_max,
            source: OnceLock::new(),
            served: Mutex::default(),
            is_of_headwater: events.is_some(),
            state: watch::Sender::default(),
            wanted,
            unknown: UnknownLabels::default(),
            _held: place.held,
        });
        let keeper = place.runtime.spawn(keeper::keep(Arc::downgrade(&mirror)));
        let follower = events.map(|it| AbortOnDropHandle::new(place.runtime.spawn(it.follow())));
        Ok(Self { mirror, _keeper: AbortOnDropHandle::new(keeper), _follower: follower })
    }
}

/// Checks the credentials and certificates at start, so that their faults do not wait for the first fetch.
fn check_access(remote: &Remote, access: &Access) -> Result<(), OpenError> {
    let refused = |reason| Err(OpenError::Malformed { reason });
    match (remote.transport, &access.ssh) {
        (Transport::Ssh, None) => {
            return refused(
                "a source that is reached by ssh needs its ssh_key_file and its known_hosts_file",
            );
        }
        (Transport::Ssh, Some(_)) => {}
        (_, Some(_)) => {
            return refused(
                "ssh_key_file and known_hosts_file are for a source that is reached by ssh",
            );
        }
        (_, None) => {}
    }
    if access.credentials.is_some()
        && !matches!(remote.transport, Transport::Https | Transport::Http)
    {
        return refused("credentials_file is for a source that is reached by https");
    }
    if access.credentials.is_some() && remote.is_clear_text() {
        return refused("credentials are not sent in clear text: reach the source by https");
    }
    let problem = |problem: String| OpenError::Access { problem };
    if let Some(credentials) = &access.credentials {
        credentials.answer().map_err(problem)?;
    }
    if let Some(ssh) = &access.ssh {
        ssh.command().map_err(problem)?;
        readable("ssh_key_file", &ssh.key)?;
        readable("known_hosts_file", &ssh.known_hosts)?;
    }
    if let Some(ca_file) = &access.ca_file {
        readable("ca_file", ca_file)?;
    }
    Ok(())
}

fn readable(what: &str, path: &std::path::Path) -> Result<(), OpenError> {
    let refused =
        |error: std::io::Error| OpenError::Access { problem: format!("{what}: {}", error.kind()) };
    regular_file::open(path).map(drop).map_err(refused)
}

impl Source for MirrorSource {
    fn name(&self) -> &str {
        &self.mirror.layout.base
    }

    fn patterns(&self) -> &[String] {
        &self.mirror.layout.patterns
    }

    fn outage(&self) -> Option<Outage> {
        self.mirror.state.borrow().connectivity.outage().cloned()
    }

    fn remotes(&self) -> Vec<RemoteStatus> {
        let state = self.mirror.state.borrow();
        vec![RemoteStatus::of(self.name(), state.fetched, state.connectivity.outage())]
    }

    fn problems(&self) -> Vec<SourceProblem> {
        self.mirror.source.get().map(Source::problems).unwrap_or_default()
    }

    fn look_again(&self) {
        self.mirror.wanted.notify_one();
    }

    fn label_names(&self) -> BoxFuture<'_, Result<Vec<String>, SourceError>> {
        Box::pin(async move { self.mirror.copy().await?.label_names().await })
    }

    fn load<'a>(
        &'a self,
        label: &'a Label,
        previous: Option<&'a Arc<Snapshot>>,
    ) -> BoxFuture<'a, Result<Snapshot, SourceError>> {
        Box::pin(async move {
            let source = self.mirror.copy().await?;
            match source.load(label, previous).await {
                Err(SourceError::UnknownLabel(_)) if self.mirror.is_fetched_for(label).await => {
                    let found = source.load(label, previous).await;
                    if matches!(found, Err(SourceError::UnknownLabel(_))) {
                        self.mirror.unknown.remember(label);
                    }
                    found
                }
                Err(error @ SourceError::Unavailable { .. }) => {
                    self.mirror.suspect();
                    Err(error)
                }
                other => other,
            }
        })
    }

    fn changed<'a>(
        &'a self,
        label: &'a Label,
        seen: &'a LabelPosition,
    ) -> BoxFuture<'a, Result<(), SourceError>> {
        Box::pin(async move {
            let mut state = self.mirror.state.subscribe();
            let Ok(_) = state.wait_for(|_| self.mirror.source.get().is_some()).await else {
                return Ok(());
            };
            let Some(source) = self.mirror.source.get() else { return Ok(()) };
            let changed = source.changed(label, seen).await;
            if matches!(changed, Err(SourceError::Unavailable { .. })) {
                self.mirror.suspect();
            }
            changed
        })
    }
}

impl Mirror {
    fn options(&self) -> GitOptions {
        GitOptions {
            layout: Arc::clone(&self.layout),
            default_label: self.default_label.clone(),
            findings: self.findings,
        }
    }

    /// The source that reads the copy. While there is no copy, waits for the fetch under way, up to a limit that counts
    /// from the beginning of the fetch.
    async fn copy(&self) -> Result<&GitSource, SourceError> {
        let mut state = self.state.subscribe();
        if self.source.get().is_none() {
            let begun = state.borrow().begun.unwrap_or_else(Instant::now);
            let settled = state.wait_for(|state| {
                self.source.get().is_some() || (state.ended_count > 0 && !state.is_under_way())
            });
            // The state after the wait decides, whether it ended in time or not.
            let _ = tokio::time::timeout_at((begun + REQUEST_WAIT_MAX).into(), settled).await;
        }
        self.source.get().ok_or_else(|| {
            // Clients read this message, so that git's own message stays out of it.
            let summary = self.state.borrow().failure.clone();
            SourceError::Unavailable {
                name: self.layout.base.to_string(),
                message: summary
                    .unwrap_or_else(|| "the first copy of the remote is being made".to_owned()),
            }
        })
    }

    /// Waits for a fetch that may bring a missing label: the fetch under way, or a new one if the last one is not
    /// recent. Returns whether that fetch has ended in time.
    async fn is_fetched_for(&self, label: &Label) -> bool {
        let Some(_waiting) = self.unknown.may_wait(label) else {
            return false;
        };
        let mut state = self.state.subscribe();
        let awaited = {
            let state = state.borrow();
            let is_recent = state.begun.is_some_and(|at| at.elapsed() < REQUEST_FETCH_SPACING);
            if state.is_under_way() {
                state.begun_count
            } else if is_recent {
                return false;
            } else {
                self.wanted.notify_one();
                state.begun_count + 1
            }
        };
        let ended = state.wait_for(|state| state.ended_count >= awaited);
        matches!(tokio::time::timeout(REQUEST_WAIT_MAX, ended).await, Ok(Ok(_)))
    }

    /// Records that the copy could not be read. The keeper checks the copy, and replaces a broken one.
    fn suspect(&self) {
        let is_news =
            self.state.send_if_modified(|state| !std::mem::replace(&mut state.is_suspect, true));
        if is_news {
            self.wanted.notify_one();
        }
    }
}
