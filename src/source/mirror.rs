//! A remote git repository, copied in the background into a bare one of our own and served from there.
//!
//! No request waits for the remote, with one exception: a label that the copy does not have may be on its way, so that
//! who asks for it waits a few seconds for one fetch. While the remote is away the last revision is served, also by a
//! server that starts then.

mod access;
mod address;
mod follow;
mod git;
mod group;
mod keeper;
mod listing;
mod reason;
mod unknown;

use std::any::Any;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use self::follow::Events;
use self::git::Git;
use self::unknown::Unknown;
use crate::model::{Label, Revision};
use crate::snapshot::{Layout, Snapshot, Style, expand_patterns};
use crate::source::git::{GitOptions, GitSource};
use crate::source::{
    BoxFuture, OpenError, OpenOptions, Outage, RemoteStatus, Source, SourceError, open,
};

pub use self::access::{Access, Credentials, SshFiles};
pub use self::address::{Remote, Transport};

/// The longest that a request waits for a fetch.
const REQUEST_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long after a fetch began no request makes another one begin.
const REQUEST_FETCH_SPACING: Duration = Duration::from_secs(10);

/// How a remote is mirrored.
#[derive(Debug, Clone)]
pub struct MirrorOptions {
    /// What opens it.
    pub access: Access,
    /// How often it is asked whether it moved; never, if nobody says so, when it is zero.
    pub poll: Duration,
    /// The shortest time from the beginning of one fetch to that of the next, however often somebody asks for one.
    pub spacing: Duration,
    /// The longest that one fetch takes. The first copy may take ten times as long.
    pub fetch_time_max: Duration,
    /// The largest pack that is taken.
    pub pack_bytes_max: u64,
}

/// Where copies are kept.
#[derive(Clone)]
pub struct MirrorPlace {
    /// The directory for the copies of all remotes; only this process writes to it.
    pub directory: PathBuf,
    /// Keeps the directory ours for as long as it is needed.
    pub held: Arc<dyn Any + Send + Sync>,
    /// Where the fetching runs.
    pub runtime: Handle,
}

/// A mirrored remote as a source.
pub struct MirrorSource {
    inner: Arc<Inner>,
    keeper: AbortHandle,
    /// Hears of pushes, where the remote tells of them.
    follower: Option<AbortHandle>,
}

struct Inner {
    layout: Arc<Layout>,
    default_label: Option<String>,
    git: Git,
    poll: Duration,
    spacing: Duration,
    fetch_time_max: Duration,
    copy: PathBuf,
    /// The copy, once there is one.
    source: OnceLock<GitSource>,
    state: watch::Sender<State>,
    /// Somebody wants a fetch now.
    wanted: Arc<Notify>,
    unknown: Unknown,
    _held: Arc<dyn Any + Send + Sync>,
}

/// How the fetching stands.
#[derive(Debug, Clone, Default)]
struct State {
    /// Fetches that began, and that ended.
    begun_count: u64,
    ended_count: u64,
    /// When the last of them began.
    begun: Option<Instant>,
    /// When the last good one ended, also in an earlier life of the server.
    fetched: Option<SystemTime>,
    /// Since when they fail.
    outage: Option<Outage>,
    /// Whether the copy is known to be broken, so that it is made anew.
    is_suspect: bool,
}

impl State {
    fn is_under_way(&self) -> bool {
        self.begun_count > self.ended_count
    }
}

impl Drop for MirrorSource {
    fn drop(&mut self) {
        self.keeper.abort();
        self.follower.iter().for_each(AbortHandle::abort);
        // The process may end before the task does.
        self.inner.git.running.kill();
    }
}

impl MirrorSource {
    /// Begins to mirror a remote. Returns at once: the copy of an earlier life is served as soon as it was looked at, a new
    /// one when it is whole.
    ///
    /// # Errors
    /// When what is to open the remote cannot be used, or the place for the copy.
    pub fn open(
        uri: &str,
        options: OpenOptions,
        mirror: MirrorOptions,
        place: MirrorPlace,
    ) -> Result<Self, OpenError> {
        let remote = Remote::parse(uri)?;
        check_access(&remote, &mirror.access)?;
        let home = place.directory.join("home");
        std::fs::create_dir_all(&home).map_err(|error| OpenError::unreadable(&home, &error))?;
        let layout = Arc::new(Layout {
            base: options.name.as_deref().unwrap_or(open::base_of(uri)).into(),
            style: Style::Git,
            search_paths: options.search_paths,
            patterns: expand_patterns(&options.patterns),
            json: options.json,
        });
        let wanted = Arc::<Notify>::default();
        let events = Events::of(&remote, &mirror.access, &wanted, &layout.base);
        let inner = Arc::new(Inner {
            copy: place.directory.join(format!("{}.git", remote.digest())),
            layout,
            default_label: options.default_label,
            git: Git {
                remote,
                access: mirror.access,
                home,
                time_max: mirror.fetch_time_max,
                pack_bytes_max: mirror.pack_bytes_max,
                running: Arc::default(),
            },
            poll: mirror.poll,
            spacing: events.as_ref().map_or(mirror.spacing, |_| follow::SPACING),
            fetch_time_max: mirror.fetch_time_max,
            source: OnceLock::new(),
            state: watch::Sender::default(),
            wanted,
            unknown: Unknown::default(),
            _held: place.held,
        });
        let keeper = place.runtime.spawn(keeper::keep(Arc::downgrade(&inner))).abort_handle();
        let follower = events.map(|it| place.runtime.spawn(it.follow()).abort_handle());
        Ok(Self { inner, keeper, follower })
    }
}

/// What is found out at the first fetch is found out here where that can be.
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
    std::fs::File::open(path).map(drop).map_err(refused)
}

impl Source for MirrorSource {
    fn name(&self) -> &str {
        &self.inner.layout.base
    }

    fn patterns(&self) -> &[String] {
        &self.inner.layout.patterns
    }

    fn outage(&self) -> Option<Outage> {
        self.inner.state.borrow().outage.clone()
    }

    fn remotes(&self) -> Vec<RemoteStatus> {
        let state = self.inner.state.borrow();
        vec![RemoteStatus::of(self.name(), state.fetched, state.outage.as_ref())]
    }

    fn look_again(&self) {
        self.inner.wanted.notify_one();
    }

    fn load<'a>(
        &'a self,
        label: &'a Label,
        previous: Option<&'a Arc<Snapshot>>,
    ) -> BoxFuture<'a, Result<Snapshot, SourceError>> {
        Box::pin(async move {
            let source = self.inner.copy().await?;
            match source.load(label, previous).await {
                Err(SourceError::UnknownLabel(_)) if self.inner.is_fetched_for(label).await => {
                    let found = source.load(label, previous).await;
                    if matches!(found, Err(SourceError::UnknownLabel(_))) {
                        self.inner.unknown.remember(label);
                    }
                    found
                }
                Err(error @ SourceError::Unavailable { .. }) => {
                    self.inner.suspect();
                    Err(error)
                }
                other => other,
            }
        })
    }

    fn changed<'a>(
        &'a self,
        label: &'a Label,
        seen: &'a Revision,
    ) -> BoxFuture<'a, Result<(), SourceError>> {
        Box::pin(async move {
            let mut state = self.inner.state.subscribe();
            let Ok(_) = state.wait_for(|_| self.inner.source.get().is_some()).await else {
                return Ok(());
            };
            let Some(source) = self.inner.source.get() else { return Ok(()) };
            let changed = source.changed(label, seen).await;
            if matches!(changed, Err(SourceError::Unavailable { .. })) {
                self.inner.suspect();
            }
            changed
        })
    }
}

impl Inner {
    fn options(&self) -> GitOptions {
        GitOptions { layout: Arc::clone(&self.layout), default_label: self.default_label.clone() }
    }

    /// The copy. While there is none, who asks waits for the fetch that is under way, so long after it began.
    async fn copy(&self) -> Result<&GitSource, SourceError> {
        let mut state = self.state.subscribe();
        if self.source.get().is_none() {
            let begun = state.borrow().begun.unwrap_or_else(Instant::now);
            let settled = state.wait_for(|state| {
                self.source.get().is_some() || (state.ended_count > 0 && !state.is_under_way())
            });
            // Whether in time or not, what there is then counts.
            let _ = tokio::time::timeout_at((begun + REQUEST_WAIT_MAX).into(), settled).await;
        }
        self.source.get().ok_or_else(|| {
            let outage = self.state.borrow().outage.clone();
            SourceError::Unavailable {
                name: self.layout.base.to_string(),
                message: outage.map_or_else(
                    || "the first copy of the remote is being made".to_owned(),
                    |outage| outage.message,
                ),
            }
        })
    }

    /// Whether a fetch ended while the one who asks for a label that the copy does not have waited for it: the one that is
    /// under way, or one of its own if there was none for a while.
    async fn is_fetched_for(&self, label: &Label) -> bool {
        let Some(_waiting) = self.unknown.may_wait(label) else {
            return false;
        };
        let mut state = self.state.subscribe();
        let awaited = {
            let state = state.borrow();
            let is_recent = state.begun.is_some_and(|at| at.elapsed() < REQUEST_FETCH_SPACING);
            match state.is_under_way() {
                true => state.begun_count,
                false if is_recent => return false,
                false => {
                    self.wanted.notify_one();
                    state.begun_count + 1
                }
            }
        };
        let ended = state.wait_for(|state| state.ended_count >= awaited);
        matches!(tokio::time::timeout(REQUEST_WAIT_MAX, ended).await, Ok(Ok(_)))
    }

    /// The copy could not be read: it is looked at, and made anew if it is broken.
    fn suspect(&self) {
        let is_news =
            self.state.send_if_modified(|state| !std::mem::replace(&mut state.is_suspect, true));
        if is_news {
            self.wanted.notify_one();
        }
    }
}
