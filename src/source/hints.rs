//! Hints that files may have changed, from one file-system watcher for each source.
//!
//! A hint means "look again" and nothing more. A waiter takes the present generation first, looks, and then waits for the
//! next generation, so that no change is lost between looking and waiting.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind};
use notify::{Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::watch;

use crate::sync::lock;

/// The interval of checks without a hint: some file systems send no events.
const RECHECK: Duration = Duration::from_secs(30);
/// The interval of checks while no watcher could be started.
const RECHECK_BLIND: Duration = Duration::from_secs(2);

/// A path to watch.
pub(super) struct WatchedPath {
    pub(super) path: PathBuf,
    pub(super) mode: RecursiveMode,
}

/// The paths that a source watches, and the events that count for it.
pub(super) trait WatchTarget: Send + Sync + 'static {
    /// The paths to watch at present.
    fn places(&self) -> Vec<WatchedPath>;

    /// Returns whether an event at this path may mean a change.
    fn concerns(&self, path: &Path) -> bool;
}

/// The file-system watcher of one source. It starts with the first waiter and ends with the source.
pub(super) struct Hints {
    watched: Arc<dyn WatchTarget>,
    generation: watch::Sender<u64>,
    watcher: Mutex<Option<RecommendedWatcher>>,
    /// New directories, which may have received files before they were watched.
    appeared: Arc<Mutex<Vec<PathBuf>>>,
    /// Set when a watched path was itself moved or removed, and lost its watch.
    uprooted: Arc<AtomicBool>,
    /// Set while changes cannot be watched.
    blind: AtomicBool,
}

impl Hints {
    pub(super) fn new(watched: Arc<dyn WatchTarget>) -> Self {
        Self {
            watched,
            generation: watch::Sender::new(0),
            watcher: Mutex::new(None),
            appeared: Arc::default(),
            uprooted: Arc::default(),
            blind: AtomicBool::new(false),
        }
    }

    /// Subscribes to the hints from now on.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Sends a hint from another origin: every waiter looks again.
    pub(super) fn touch(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }

    /// The present generation. `None` while no watcher would advance it.
    pub(super) fn generation(&self) -> Option<u64> {
        let blind = self.blind.load(Ordering::Relaxed);
        (!blind).then(|| *self.generation.borrow())
    }

    /// The interval of checks without a hint.
    pub(super) fn recheck_after(&self) -> Duration {
        if self.blind.load(Ordering::Relaxed) { RECHECK_BLIND } else { RECHECK }
    }

    /// Returns when every later change produces a hint. Called before looking. Blocking.
    pub(super) fn settle(&self) {
        let mut watcher = lock(&self.watcher);
        match watcher.as_mut() {
            None => self.start(&mut watcher),
            Some(watcher) if self.lacks_a_place() => self.watch_places(watcher),
            Some(watcher) => {
                let appeared = std::mem::take(&mut *lock(&self.appeared));
                for path in appeared {
                    // A directory that is gone again has produced a hint of its own.
                    let _ = watcher.watch(&path, RecursiveMode::Recursive);
                }
            }
        }
    }

    /// Watches all paths again, because a directory may have been replaced as a whole. Blocking.
    pub(super) fn renew(&self) {
        let mut watcher = lock(&self.watcher);
        match watcher.as_mut() {
            None => self.start(&mut watcher),
            Some(watcher) => self.watch_places(watcher),
        }
    }

    fn lacks_a_place(&self) -> bool {
        self.uprooted.swap(false, Ordering::Relaxed) || self.blind.load(Ordering::Relaxed)
    }

    fn start(&self, watcher: &mut Option<RecommendedWatcher>) {
        let generation = self.generation.clone();
        let watched = Arc::clone(&self.watched);
        let appeared = Arc::clone(&self.appeared);
        let uprooted = Arc::clone(&self.uprooted);
        let hint = move |event: notify::Result<Event>| {
            if let Ok(event) = &event {
                if is_new_directory(event) {
                    lock(&appeared).extend(event.paths.iter().cloned());
                } else if is_uprooted(event, &*watched) {
                    uprooted.store(true, Ordering::Relaxed);
                } else if !counts(event, &*watched) {
                    return;
                }
            }
            generation.send_modify(|generation| *generation += 1);
        };
        let config = Config::default().with_follow_symlinks(false);
        match RecommendedWatcher::new(hint, config) {
            Ok(mut started) => {
                self.watch_places(&mut started);
                *watcher = Some(started);
            }
            Err(error) => self.mark_blind(&error),
        }
    }

    fn watch_places(&self, watcher: &mut RecommendedWatcher) {
        let mut blind = None;
        for place in self.watched.places() {
            if let Err(error) = watcher.watch(&place.path, place.mode) {
                blind = Some(error);
            }
        }
        match blind {
            Some(error) => self.mark_blind(&error),
            None => self.blind.store(false, Ordering::Relaxed),
        }
    }

    fn mark_blind(&self, error: &notify::Error) {
        if !self.blind.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                error = %error,
                "cannot watch files for changes, checking every {} s instead",
                RECHECK_BLIND.as_secs()
            );
        }
    }
}

fn is_new_directory(event: &Event) -> bool {
    match event.kind {
        EventKind::Create(CreateKind::Folder) => true,
        EventKind::Modify(ModifyKind::Name(_)) => event.paths.iter().any(|path| path.is_dir()),
        _ => false,
    }
}

fn is_uprooted(event: &Event, watched: &dyn WatchTarget) -> bool {
    let went = matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)));
    let is_place = |path: &PathBuf| watched.places().iter().any(|place| place.path == *path);
    went && event.paths.iter().any(is_place)
}

fn counts(event: &Event, watched: &dyn WatchTarget) -> bool {
    let moved = match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    };
    moved && (event.need_rescan() || event.paths.iter().any(|path| watched.concerns(path)))
}
