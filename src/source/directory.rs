//! Configuration in a plain directory, read completely into memory, because the directory may change at any time.
//!
//! A label is a folder whose files take precedence over the rest, as in Spring's native backend. An unknown label changes
//! nothing. Names that begin with `..` belong to Kubernetes: they are no configuration, and links may lead through them.

mod scans;
mod survey;
pub mod write;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use notify::RecursiveMode;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use self::scans::{ScanError, ScanResult, Scans};
use self::survey::{ScanProgress, Survey, SurveyError, is_inside_git};
use crate::areas::Areas;
use crate::model::{ContentId, Label, LabelPosition, Problem, Revision};
use crate::outage::Outage;
use crate::snapshot::{Layout, Member, MemberHolds, Rewinds, Snapshot};
use crate::source::content::{Contents, HeldContent, short};
use crate::source::files::problem;
use crate::source::hints::{Hints, WatchTarget, WatchedPath};
use crate::source::{BoxFuture, OpenError, Severity, Source, SourceError, SourceProblem, labels};
use crate::sync::lock;
use crate::tree::{EntryKind, ObjectCache, Tree, TreeError};

/// The label of a request that names none, as in Spring.
const DEFAULT_LABEL: &str = "master";
/// The time without an event after which a change counts as complete: editors write, rename and write again.
const QUIET: Duration = Duration::from_millis(50);
/// The longest wait for quiet.
const QUIET_MAX: Duration = Duration::from_secs(1);
/// The most attempts to read a directory that changes during the scan. The pauses between them grow to about a second in
/// all.
const ATTEMPT_COUNT_MAX: u32 = 10;
/// The longest that a label waits for a scan. A scan that takes longer is reported and goes on.
pub const SCAN_TIME_MAX: Duration = Duration::from_secs(30);

/// The options of a directory source.
#[derive(Debug, Clone)]
pub struct DirectoryOptions {
    /// The rules by which its files are found and named.
    pub layout: Arc<Layout>,
    /// The label of a request that names none. `None` stands for `master`.
    pub default_label: Option<String>,
    /// The longest that a label waits for a scan of the directory.
    pub scan_time_max: Duration,
}

/// A plain directory as a source.
pub struct DirectorySource {
    inner: Arc<DirectoryInner>,
}

struct DirectoryInner {
    options: DirectoryOptions,
    place: Root,
    contents: Arc<Contents>,
    cache: Arc<ObjectCache>,
    hints: Hints,
    /// Set when the next scan must watch all paths again first.
    is_renewal_due: AtomicBool,
    /// The resolved path of the directory at the last scan.
    real: Mutex<Option<PathBuf>>,
    scans: Scans,
    progress: ScanProgress,
}

/// The complete content of the directory at one moment.
struct DirectoryReading {
    survey: Survey,
    /// The generation of hints before the scan. `None` without a watcher.
    generation: Option<u64>,
    root: ContentId,
    kept: Arc<HeldContent>,
}

/// The paths of a directory that are not read and therefore in none of its trees. Blocking.
///
/// # Errors
/// When the directory cannot be read.
pub fn left_out(path: &Path) -> Result<Vec<Problem>, SourceError> {
    let unavailable = |error: SurveyError| SourceError::Unavailable {
        name: path.display().to_string(),
        message: error.to_string(),
    };
    let survey = Survey::of(path, &ScanProgress::default()).map_err(unavailable)?;
    Ok(survey.left_out().iter().map(|(path, why)| problem(path.clone(), why)).collect())
}

impl DirectorySource {
    /// Opens a directory that exists and can be listed. The first request reads its files.
    ///
    /// # Errors
    /// When the directory is missing or cannot be read.
    pub fn open(path: impl AsRef<Path>, options: DirectoryOptions) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let unreadable = |error: std::io::Error| OpenError::unreadable(path, &error);
        if !std::fs::metadata(path).map_err(unreadable)?.is_dir() {
            return Err(OpenError::NotADirectory(path.to_owned()));
        }
        std::fs::read_dir(path).map_err(unreadable)?;
        let place = Root(std::path::absolute(path).map_err(unreadable)?);
        let contents = Arc::new(Contents::default());
        Ok(Self {
            inner: Arc::new(DirectoryInner {
                options,
                cache: ObjectCache::new(Arc::clone(&contents) as Arc<_>),
                contents,
                hints: Hints::new(Arc::new(place.clone())),
                place,
                is_renewal_due: AtomicBool::new(false),
                real: Mutex::default(),
                scans: Scans::default(),
                progress: ScanProgress::default(),
            }),
        })
    }
}

impl DirectorySource {
    /// The number of scans that have begun since the start.
    pub fn scan_count(&self) -> u64 {
        self.inner.scans.count()
    }

    /// The number of labels that wait for a change.
    pub fn follower_count(&self) -> u64 {
        self.inner.scans.follower_count.load(Ordering::Relaxed)
    }
}

impl Source for DirectorySource {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn patterns(&self) -> &[String] {
        &self.inner.options.layout.patterns
    }

    fn outage(&self) -> Option<Outage> {
        self.inner.unfinished()
    }

    fn problems(&self) -> Vec<SourceProblem> {
        let Some(outage) = self.inner.unfinished() else { return Vec::new() };
        let problem = problem(self.inner.progress.path(), &outage.message);
        let (source, severity) = (self.name().to_owned(), Severity::Problem);
        vec![SourceProblem { source, severity, problem }]
    }

    fn load<'a>(
        &'a self,
        label: &'a Label,
        _previous: Option<&'a Arc<Snapshot>>,
    ) -> BoxFuture<'a, Result<Snapshot, SourceError>> {
        Box::pin(async move {
            labels::names(label)?;
            let reading = self.inner.shared().await?;
            self.inner.snapshot(label, &reading)
        })
    }

    fn look_again(&self) {
        self.inner.hints.touch();
    }

    fn changed<'a>(
        &'a self,
        _label: &'a Label,
        seen: &'a LabelPosition,
    ) -> BoxFuture<'a, Result<(), SourceError>> {
        Box::pin(async move {
            let inner = &self.inner;
            let _following = inner.scans.follow();
            let mut hints = inner.hints.subscribe();
            let mut is_recheck = false;
            loop {
                hints.borrow_and_update();
                if inner.newest(is_recheck).await?.revision() != seen.revision {
                    return Ok(());
                }
                let age = inner.scans.age().unwrap_or_default();
                // A hanging scan is older than any interval.
                let left = inner.hints.recheck_after().saturating_sub(age).max(QUIET_MAX);
                is_recheck = timeout(left, hints.changed()).await.is_err();
                if !is_recheck {
                    quiet(&mut hints).await;
                }
            }
        })
    }
}

/// Waits until hints pause, up to a limit.
async fn quiet(hints: &mut watch::Receiver<u64>) {
    let end = Instant::now() + QUIET_MAX;
    loop {
        let until = (Instant::now() + QUIET).min(end);
        if timeout_at(until, hints.changed()).await.is_err() {
            return;
        }
    }
}

impl DirectoryReading {
    fn revision(&self) -> Revision {
        Revision::new(short(self.root))
    }
}

impl DirectoryInner {
    fn name(&self) -> &str {
        &self.options.layout.base
    }

    /// The snapshot of a label in a reading. Reads memory only.
    fn snapshot(&self, label: &Label, reading: &DirectoryReading) -> Result<Snapshot, SourceError> {
        let default = self.options.default_label.as_deref().unwrap_or(DEFAULT_LABEL);
        let names: Vec<&str> =
            labels::names(label)?.into_iter().map(|name| name.unwrap_or(default)).collect();
        let tree = self.cache.tree_keeping(reading.root, Arc::clone(&reading.kept) as Arc<_>);
        let tree = tree.with_aliases(Arc::clone(reading.survey.links()));
        let overlays =
            overlays(&tree, &names).map_err(|error| SourceError::from_tree(self.name(), &error))?;
        Ok(Snapshot::new(vec![Member {
            areas: Areas::default(),
            group: 0,
            layout: Arc::clone(&self.options.layout),
            revision: reading.revision(),
            label: names.first().map(|name| Arc::from(*name)),
            overlays,
            tree,
            history: None,
            rewinds: Rewinds::default(),
            holds: MemberHolds::default(),
            made_seconds: None,
            commit: None,
        }]))
    }

    /// The last reading, unless a hint since its beginning reports a change.
    fn current(&self) -> Option<Arc<DirectoryReading>> {
        let generation = self.hints.generation()?;
        self.scans.latest().filter(|reading| reading.generation == Some(generation))
    }

    /// The reading that the followed labels serve, so that the first request for another label costs no scan. Without a
    /// followed label or a current reading, scans the directory.
    async fn shared(self: &Arc<Self>) -> ScanResult {
        let is_followed = self.scans.follower_count.load(Ordering::Relaxed) > 0;
        match self.current().filter(|_| is_followed) {
            Some(reading) => Ok(reading),
            None => self.read().await,
        }
    }

    /// Scans the directory. If the scan takes too long, returns the last reading as long as it is current.
    async fn read(self: &Arc<Self>) -> ScanResult {
        let start = || {
            let inner = Arc::clone(self);
            let thread = std::thread::Builder::new().name("headwater-scan".to_owned());
            thread.spawn(move || inner.scans.run(|latest| inner.scan(latest))).map(drop)
        };
        match self.scans.next(self.options.scan_time_max, start).await {
            Ok(outcome) => outcome,
            Err(ScanError::Thread(kind)) => Err(self.unavailable(&SurveyError::Root(kind))),
            Err(ScanError::Unfinished) => {
                self.current().ok_or_else(|| self.unavailable(&self.unfinished_error()))
            }
        }
    }

    /// The last reading while it is current, otherwise a new one. Because some file systems send no events, one of the labels
    /// scans at an interval without a hint.
    async fn newest(self: &Arc<Self>, is_recheck: bool) -> ScanResult {
        let is_due = self.scans.age().is_none_or(|age| age >= self.hints.recheck_after());
        if is_recheck && is_due {
            self.is_renewal_due.store(true, Ordering::Relaxed);
            return self.read().await;
        }
        match self.current() {
            Some(reading) => Ok(reading),
            None => self.read().await,
        }
    }

    fn unfinished_error(&self) -> SurveyError {
        SurveyError::Unfinished {
            seconds: self.options.scan_time_max.as_secs(),
            path: self.progress.path(),
        }
    }

    /// The outage of a scan that takes too long.
    fn unfinished(&self) -> Option<Outage> {
        let since = self.scans.running()?;
        (since.elapsed() > self.options.scan_time_max)
            .then(|| Outage { since, message: self.unfinished_error().to_string() })
    }

    /// Resolves the path of the directory again. Returns whether it now leads elsewhere, to a directory that is not watched
    /// yet.
    fn resolve_again(&self) -> bool {
        let real = self.place.0.canonicalize().ok();
        let before = std::mem::replace(&mut *lock(&self.real), real.clone());
        before.is_some() && before != real
    }

    fn scan(&self, latest: Option<&Arc<DirectoryReading>>) -> ScanResult {
        let scanned = catch_unwind(AssertUnwindSafe(|| self.scan_now(latest)));
        scanned.unwrap_or_else(|_| Err(self.unavailable(&SurveyError::Interrupted)))
    }

    /// Reads one consistent state.
    ///
    /// Invariant: a survey before and a survey after the reading are equal.
    fn scan_now(&self, latest: Option<&Arc<DirectoryReading>>) -> ScanResult {
        let is_due = self.is_renewal_due.swap(false, Ordering::Relaxed);
        if self.resolve_again() || is_due {
            self.hints.renew();
        } else {
            self.hints.settle();
        }
        for attempt in 0..ATTEMPT_COUNT_MAX {
            if attempt > 0 {
                std::thread::sleep(Duration::from_millis(1 << attempt));
            }
            let generation = self.hints.generation();
            let survey = match Survey::of(&self.place.0, &self.progress) {
                Ok(survey) => survey,
                Err(SurveyError::Moved) => continue,
                Err(error) => return Err(self.unavailable(&error)),
            };
            if let Some(latest) = latest
                && generation.is_some()
                && latest.generation == generation
                && latest.survey == survey
            {
                return Ok(Arc::clone(latest));
            }
            let mut intake = self.contents.intake();
            let root = match survey.read(&mut intake, &self.progress) {
                Ok(root) => root,
                Err(SurveyError::Moved) => continue,
                Err(error) => return Err(self.unavailable(&error)),
            };
            if Survey::of(&self.place.0, &self.progress).is_ok_and(|after| after == survey) {
                return Ok(Arc::new(DirectoryReading {
                    survey,
                    generation,
                    root,
                    kept: intake.finish(),
                }));
            }
        }
        Err(self.unavailable(&SurveyError::Moved))
    }

    fn unavailable(&self, error: &SurveyError) -> SourceError {
        SourceError::Unavailable { name: self.name().to_owned(), message: error.to_string() }
    }
}

/// The existing folders of the labels, lowest precedence first: the first label wins.
/// See docs/protocol.md#13-directories.
fn overlays(tree: &Tree, names: &[&str]) -> Result<Vec<Arc<str>>, TreeError> {
    let mut overlays = Vec::new();
    for name in names.iter().rev() {
        if !name.is_empty() && tree.kind(name)? == Some(EntryKind::Directory) {
            overlays.push(Arc::from(*name));
        }
    }
    Ok(overlays)
}

/// The path of the directory, which may itself be a symbolic link that changes.
#[derive(Clone)]
struct Root(PathBuf);

impl WatchTarget for Root {
    fn places(&self) -> Vec<WatchedPath> {
        let real = self.0.canonicalize().unwrap_or_else(|_| self.0.clone());
        let mut places = vec![WatchedPath { path: real, mode: RecursiveMode::Recursive }];
        if let Some(parent) = self.0.parent().filter(|_| self.0.is_symlink()) {
            places.push(WatchedPath { path: parent.to_owned(), mode: RecursiveMode::NonRecursive });
        }
        places
    }

    fn concerns(&self, path: &Path) -> bool {
        if path == self.0 {
            return true;
        }
        let real = self.0.canonicalize().unwrap_or_else(|_| self.0.clone());
        path.strip_prefix(real).is_ok_and(|inside| !is_inside_git(inside))
    }
}
