//! Configuration in a plain directory, read whole into memory, since what it comes from changes under it.
//!
//! A label is a folder laid over the rest, as in Spring's native backend: an unknown one changes nothing. Names that
//! begin with `..` are Kubernetes' own: they are not configuration, and links may lead through them.

mod survey;
pub mod write;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use notify::RecursiveMode;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use self::survey::{Survey, SurveyError, is_inside_git};
use crate::model::{ContentId, Label, Problem, Revision};
use crate::snapshot::{Layout, Member, Snapshot};
use crate::source::content::{Contents, Kept, short};
use crate::source::files::problem;
use crate::source::hints::{Hints, Place, Watched};
use crate::source::{BoxFuture, OpenError, Source, SourceError, blocking, labels};
use crate::sync::lock;
use crate::tree::{EntryKind, Shelf, Tree, TreeError};

/// The folder that a request without a label gets, as in Spring.
const DEFAULT_LABEL: &str = "master";
/// Nothing has to happen for so long before a change is taken to be over: editors write, rename and write again.
const QUIET: Duration = Duration::from_millis(50);
/// The longest wait for quiet.
const QUIET_MAX: Duration = Duration::from_secs(1);
/// How often a directory that changes while it is read is read again, each time after a longer pause: for about a
/// second in all.
const TRIES_MAX: u32 = 10;

/// How a directory is served.
#[derive(Debug, Clone)]
pub struct DirectoryOptions {
    /// How its files are found and named.
    pub layout: Arc<Layout>,
    /// The label of a request that names none; without it, `master`.
    pub default_label: Option<String>,
}

/// A plain directory as a source.
pub struct DirectorySource {
    inner: Arc<Inner>,
}

struct Inner {
    options: DirectoryOptions,
    place: Root,
    contents: Arc<Contents>,
    shelf: Arc<Shelf>,
    hints: Hints,
    looks: Mutex<Looks>,
}

/// What looking at the directory gave.
#[derive(Default)]
struct Looks {
    /// The last time that it could be read.
    latest: Option<Arc<Reading>>,
    /// The last time at all, with the moment at which it began.
    last: Option<(std::time::Instant, Result<Arc<Reading>, SourceError>)>,
}

/// All of the directory, as it was at one moment.
struct Reading {
    survey: Survey,
    /// The generation of hints before it was read; `None` if nobody watches.
    generation: Option<u64>,
    root: ContentId,
    kept: Arc<Kept>,
}

/// What in a directory is not read, and so not in its trees. Blocking.
///
/// # Errors
/// When it cannot be looked at.
pub fn left_out(path: &Path) -> Result<Vec<Problem>, SourceError> {
    let unavailable = |error: SurveyError| SourceError::Unavailable {
        name: path.display().to_string(),
        message: error.to_string(),
    };
    let survey = Survey::of(path).map_err(unavailable)?;
    Ok(survey.left_out().iter().map(|(path, why)| problem(path.clone(), why)).collect())
}

impl DirectorySource {
    /// A directory that exists and can be listed. Its files are read when they are asked for first.
    ///
    /// # Errors
    /// When there is no directory, or none that can be read.
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
            inner: Arc::new(Inner {
                options,
                shelf: Shelf::new(Arc::clone(&contents) as Arc<_>),
                contents,
                hints: Hints::new(Arc::new(place.clone())),
                place,
                looks: Mutex::default(),
            }),
        })
    }
}

impl Source for DirectorySource {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn patterns(&self) -> &[String] {
        &self.inner.options.layout.patterns
    }

    fn load<'a>(
        &'a self,
        label: &'a Label,
        _previous: Option<&'a Arc<Snapshot>>,
    ) -> BoxFuture<'a, Result<Snapshot, SourceError>> {
        let (inner, label) = (Arc::clone(&self.inner), label.clone());
        Box::pin(blocking(self.name(), move || inner.load(&label)))
    }

    fn look_again(&self) {
        self.inner.hints.touch();
    }

    fn changed<'a>(
        &'a self,
        _label: &'a Label,
        seen: &'a Revision,
    ) -> BoxFuture<'a, Result<(), SourceError>> {
        Box::pin(async move {
            let mut hints = self.inner.hints.subscribe();
            let mut renew = false;
            loop {
                hints.borrow_and_update();
                let inner = Arc::clone(&self.inner);
                let reading = blocking(self.name(), move || {
                    if renew {
                        inner.hints.renew();
                    }
                    inner.read()
                });
                if reading.await?.revision() != *seen {
                    return Ok(());
                }
                let hint = timeout(self.inner.hints.recheck_after(), hints.changed());
                renew = hint.await.is_err();
                if !renew {
                    quiet(&mut hints).await;
                }
            }
        })
    }
}

/// Waits until no more hints come, but not for ever.
async fn quiet(hints: &mut watch::Receiver<u64>) {
    let end = Instant::now() + QUIET_MAX;
    loop {
        let until = (Instant::now() + QUIET).min(end);
        if timeout_at(until, hints.changed()).await.is_err() {
            return;
        }
    }
}

impl Reading {
    fn revision(&self) -> Revision {
        Revision::new(short(self.root))
    }
}

impl Inner {
    fn name(&self) -> &str {
        &self.options.layout.base
    }

    fn load(&self, label: &Label) -> Result<Snapshot, SourceError> {
        let default = self.options.default_label.as_deref().unwrap_or(DEFAULT_LABEL);
        let names: Vec<&str> =
            labels::names(label)?.into_iter().map(|name| name.unwrap_or(default)).collect();
        let reading = self.read()?;
        let tree = self.shelf.tree_keeping(reading.root, Arc::clone(&reading.kept) as Arc<_>);
        let overlays =
            overlays(&tree, &names).map_err(|error| SourceError::from_tree(self.name(), &error))?;
        Ok(Snapshot::new(vec![Member {
            group: 0,
            layout: Arc::clone(&self.options.layout),
            revision: reading.revision(),
            label: names.first().map(|name| Arc::from(*name)),
            overlays,
            tree,
            history: None,
            made_seconds: None,
            commit: None,
        }]))
    }

    /// The directory as it is now. Those who ask while somebody else looks share the next look: every label waits for the
    /// same hints.
    fn read(&self) -> Result<Arc<Reading>, SourceError> {
        let asked_at = std::time::Instant::now();
        let mut looks = lock(&self.looks);
        if let Some((begun, found)) = &looks.last
            && *begun >= asked_at
        {
            return found.clone();
        }
        let begun = std::time::Instant::now();
        let found = self.look(looks.latest.as_ref());
        if let Ok(reading) = &found {
            looks.latest = Some(Arc::clone(reading));
        }
        looks.last = Some((begun, found.clone()));
        found
    }

    /// All of one moment: what was found before reading is found again afterwards.
    fn look(&self, latest: Option<&Arc<Reading>>) -> Result<Arc<Reading>, SourceError> {
        self.hints.settle();
        for tries in 0..TRIES_MAX {
            if tries > 0 {
                std::thread::sleep(Duration::from_millis(1 << tries));
            }
            let generation = self.hints.generation();
            let survey = match Survey::of(&self.place.0) {
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
            let root = match survey.read(&mut intake) {
                Ok(root) => root,
                Err(SurveyError::Moved) => continue,
                Err(error) => return Err(self.unavailable(&error)),
            };
            if Survey::of(&self.place.0).is_ok_and(|after| after == survey) {
                return Ok(Arc::new(Reading { survey, generation, root, kept: intake.finish() }));
            }
        }
        Err(self.unavailable(&SurveyError::Moved))
    }

    fn unavailable(&self, error: &SurveyError) -> SourceError {
        SourceError::Unavailable { name: self.name().to_owned(), message: error.to_string() }
    }
}

/// The folders of the labels that are there, lowest precedence first: the first label wins (specification, 13).
fn overlays(tree: &Tree, names: &[&str]) -> Result<Vec<Arc<str>>, TreeError> {
    let mut overlays = Vec::new();
    for name in names.iter().rev() {
        if !name.is_empty() && tree.kind(name)? == Some(EntryKind::Directory) {
            overlays.push(Arc::from(*name));
        }
    }
    Ok(overlays)
}

/// The path of the directory, which may itself be a link that is moved to another one.
#[derive(Clone)]
struct Root(PathBuf);

impl Watched for Root {
    fn places(&self) -> Vec<Place> {
        let real = self.0.canonicalize().unwrap_or_else(|_| self.0.clone());
        let mut places = vec![Place { path: real, mode: RecursiveMode::Recursive }];
        if let Some(parent) = self.0.parent().filter(|_| self.0.is_symlink()) {
            places.push(Place { path: parent.to_owned(), mode: RecursiveMode::NonRecursive });
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
