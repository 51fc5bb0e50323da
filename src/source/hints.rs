//! Hints that files may have changed: one watcher for a source, shared by all who wait for its labels.
//!
//! A hint says nothing but "look again". Whoever waits takes the present generation first, looks, and then waits for
//! the next one, so that nothing is lost between looking and waiting.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind};
use notify::{Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::watch;

use crate::sync::lock;

/// How long a source trusts that no hint means no change: some file systems send none.
const RECHECK: Duration = Duration::from_secs(30);
/// The same, while no watcher could be started.
const RECHECK_BLIND: Duration = Duration::from_secs(2);

/// A path to watch.
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) mode: RecursiveMode,
}

/// What is watched, and which events count.
pub(super) trait Watched: Send + Sync + 'static {
    /// Where to look, as of now.
    fn places(&self) -> Vec<Place>;

    /// Whether an event at this path may mean a change.
    fn concerns(&self, path: &Path) -> bool;
}

/// The watcher of one source. It starts with the first one who waits and ends with the source.
pub(super) struct Hints {
    watched: Arc<dyn Watched>,
    generation: watch::Sender<u64>,
    watcher: Mutex<Option<RecommendedWatcher>>,
    /// Directories that appeared, and may have been filled before their watch stood.
    appeared: Arc<Mutex<Vec<PathBuf>>>,
    /// A watched place itself was moved or removed: its watch went with it.
    uprooted: Arc<AtomicBool>,
    blind: AtomicBool,
}

impl Hints {
    pub(super) fn new(watched: Arc<dyn Watched>) -> Self {
        Self {
            watched,
            generation: watch::Sender::new(0),
            watcher: Mutex::new(None),
            appeared: Arc::default(),
            uprooted: Arc::default(),
            blind: AtomicBool::new(false),
        }
    }

    /// Counts the hints from now on.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// A hint from elsewhere: whoever waits looks again.
    pub(super) fn touch(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }

    /// The present generation; `None` while there is no watcher that would move it.
    pub(super) fn generation(&self) -> Option<u64> {
        let blind = self.blind.load(Ordering::Relaxed);
        (!blind).then(|| *self.generation.borrow())
    }

    /// How long to wait for a hint before looking without one.
    pub(super) fn recheck_after(&self) -> Duration {
        if self.blind.load(Ordering::Relaxed) { RECHECK_BLIND } else { RECHECK }
    }

    /// Returns when every change from here on gives a hint. To be called on a blocking thread, before looking.
    pub(super) fn settle(&self) {
        let mut watcher = lock(&self.watcher);
        match watcher.as_mut() {
            None => self.start(&mut watcher),
            Some(watcher) if self.lacks_a_place() => self.watch_places(watcher),
            Some(watcher) => {
                let appeared = std::mem::take(&mut *lock(&self.appeared));
                for path in appeared {
                    // It may be gone again, which is a hint of its own.
                    let _ = watcher.watch(&path, RecursiveMode::Recursive);
                }
            }
        }
    }

    /// Watches all places anew, since what stood there may have been replaced as a whole. On a blocking thread.
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
            Err(error) => self.went_blind(&error),
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
            Some(error) => self.went_blind(&error),
            None => self.blind.store(false, Ordering::Relaxed),
        }
    }

    fn went_blind(&self, error: &notify::Error) {
        if !self.blind.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                error = %error,
                "cannot watch for changes, looking every {} s instead",
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

fn is_uprooted(event: &Event, watched: &dyn Watched) -> bool {
    let went = matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)));
    let is_place = |path: &PathBuf| watched.places().iter().any(|place| place.path == *path);
    went && event.paths.iter().any(is_place)
}

fn counts(event: &Event, watched: &dyn Watched) -> bool {
    let moved = match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    };
    moved && (event.need_rescan() || event.paths.iter().any(|path| watched.concerns(path)))
}
