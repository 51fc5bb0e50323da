//! The files of a directory without their content: enough to detect a change during a scan.
//!
//! A symbolic link is replaced by its target if the target is inside the directory. Other links, special files, names that no
//! tree may hold and `.git` are left out. The links that were replaced are recorded with their targets. An existing file that cannot be read is an error, and is never left out.

use std::fs::Metadata;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::model::ContentId;
use crate::regular_file;
use crate::source::content::{Intake, plain_name};
use crate::sync::lock;
use crate::tree::{Aliases, EntryKind, RawEntry, join};

/// The most files that are read.
const FILE_COUNT_MAX: usize = 100_000;
/// The most bytes that are read, all files together.
const BYTES_MAX: u64 = 256 * 1024 * 1024;
/// The most omitted paths that are recorded.
const LEFT_OUT_COUNT_MAX: usize = 20;
/// The deepest nesting of directories.
const DEPTH_MAX: usize = 64;

/// The reasons for which a directory cannot be read. Paths are relative to it.
#[derive(Debug, thiserror::Error)]
pub(super) enum SurveyError {
    #[error("the directory cannot be read: {0}")]
    Root(ErrorKind),
    #[error("{path} cannot be read: {kind}")]
    Unreadable { path: String, kind: ErrorKind },
    #[error("the directory has more than {FILE_COUNT_MAX} files and folders")]
    TooMany,
    #[error("the directory has more than {BYTES_MAX} bytes")]
    TooLarge,
    #[error("{0} is nested more than {DEPTH_MAX} folders deep")]
    TooDeep(String),
    #[error("the directory changed during every attempt to read it")]
    Moved,
    #[error(
        "a scan of the directory has taken more than {seconds} s and has not finished at {path:?}. The last reading \
         stays served. Check the file system below that path"
    )]
    Unfinished { seconds: u64, path: String },
    #[error("the scan of the directory was interrupted")]
    Interrupted,
}

/// The path that a scan has reached, for the message about a scan that does not end.
#[derive(Default)]
pub(super) struct ScanProgress(Mutex<String>);

impl ScanProgress {
    pub(super) fn path(&self) -> String {
        lock(&self.0).clone()
    }

    fn reach(&self, path: &str) {
        let mut reached = lock(&self.0);
        reached.clear();
        reached.push_str(path);
    }
}

/// All files to read, sorted by name.
#[derive(PartialEq, Eq)]
pub(super) struct Survey {
    root: Vec<(Box<str>, SurveyNode)>,
    left_out: Vec<OmittedPath>,
    links: Arc<Aliases>,
}

/// A path that is not read, with the reason.
pub(super) type OmittedPath = (String, &'static str);

#[derive(PartialEq, Eq)]
enum SurveyNode {
    Directory(Vec<(Box<str>, SurveyNode)>),
    File { real: PathBuf, stat: Stat },
}

/// The properties of a file that change when it is replaced or written.
#[derive(PartialEq, Eq)]
struct Stat {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Survey {
    /// Lists all files without reading them.
    pub(super) fn of(root: &Path, progress: &ScanProgress) -> Result<Self, SurveyError> {
        progress.reach("");
        let root = root.canonicalize().map_err(|error| SurveyError::Root(error.kind()))?;
        let mut surveyor = Surveyor {
            root: &root,
            progress,
            above: Vec::new(),
            file_count: 0,
            bytes: 0,
            left_out: Vec::new(),
            links: Aliases::default(),
        };
        let nodes = surveyor.directory(&root, "")?;
        let Surveyor { mut left_out, links, .. } = surveyor;
        left_out.sort_unstable();
        Ok(Self { root: nodes, left_out, links: Arc::new(links) })
    }

    /// The links that were replaced by what is behind them.
    pub(super) fn links(&self) -> &Arc<Aliases> {
        &self.links
    }

    /// The omitted paths, except `.git` and the names of Kubernetes.
    pub(super) fn left_out(&self) -> &[OmittedPath] {
        &self.left_out
    }

    /// Reads the listed files into memory.
    pub(super) fn read(
        &self,
        intake: &mut Intake<'_>,
        progress: &ScanProgress,
    ) -> Result<ContentId, SurveyError> {
        read_directory(&self.root, "", intake, progress)
    }
}

struct Surveyor<'a> {
    root: &'a Path,
    progress: &'a ScanProgress,
    /// The directories above the present one, to detect links that form a cycle.
    above: Vec<PathBuf>,
    file_count: usize,
    bytes: u64,
    left_out: Vec<OmittedPath>,
    links: Aliases,
}

impl Surveyor<'_> {
    fn directory(
        &mut self,
        real: &Path,
        shown: &str,
    ) -> Result<Vec<(Box<str>, SurveyNode)>, SurveyError> {
        if self.above.len() >= DEPTH_MAX {
            return Err(SurveyError::TooDeep(shown.to_owned()));
        }
        let refused = |error: std::io::Error| match (shown, error.kind()) {
            ("", kind) => SurveyError::Root(kind),
            (_, ErrorKind::NotFound) => SurveyError::Moved,
            (path, kind) => unreadable(path, kind),
        };
        self.above.push(real.to_owned());
        let mut nodes: Vec<(Box<str>, SurveyNode)> = Vec::new();
        for entry in std::fs::read_dir(real).map_err(refused)? {
            let name = entry.map_err(refused)?.file_name();
            let Some(name) = plain_name(name.as_encoded_bytes()) else {
                if !name.eq_ignore_ascii_case(".git") {
                    let path = join(shown, &name.to_string_lossy());
                    self.leave_out(&path, "has a name that is not plain text");
                }
                continue;
            };
            if name.starts_with("..") {
                continue;
            }
            if let Some(node) = self.node(&real.join(name), &join(shown, name))? {
                nodes.push((name.into(), node));
            }
        }
        self.above.pop();
        nodes.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(nodes)
    }

    fn node(&mut self, path: &Path, shown: &str) -> Result<Option<SurveyNode>, SurveyError> {
        self.progress.reach(shown);
        let Some((real, metadata)) = self.follow(path, shown)? else {
            self.leave_out(shown, "is a symbolic link to a missing file or out of the directory");
            return Ok(None);
        };
        if real != path {
            self.record_link(&real, shown);
        }
        self.file_count += 1;
        if self.file_count > FILE_COUNT_MAX {
            return Err(SurveyError::TooMany);
        }
        if metadata.is_dir() {
            if self.above.contains(&real) {
                self.leave_out(shown, "is a symbolic link that forms a cycle");
                return Ok(None);
            }
            return Ok(Some(SurveyNode::Directory(self.directory(&real, shown)?)));
        }
        if !metadata.is_file() {
            self.leave_out(shown, "is neither a file nor a directory");
            return Ok(None);
        }
        self.bytes += metadata.len();
        if self.bytes > BYTES_MAX {
            return Err(SurveyError::TooLarge);
        }
        let stat = Stat::of(&metadata);
        Ok(Some(SurveyNode::File { real, stat }))
    }

    fn leave_out(&mut self, path: &str, why: &'static str) {
        if self.left_out.len() < LEFT_OUT_COUNT_MAX {
            self.left_out.push((path.to_owned(), why));
        }
    }

    /// Records a link. Kubernetes keeps the files of a volume in directories whose names begin with `..`, which are no part
    /// of their paths.
    fn record_link(&mut self, real: &Path, shown: &str) {
        let inside = real.strip_prefix(self.root).unwrap_or(real);
        let names = inside.components().map(|name| name.as_os_str().to_string_lossy());
        let names: Vec<_> = names.filter(|name| !name.starts_with("..")).collect();
        let target = names.join("/");
        if target != shown {
            self.links.insert(shown.to_owned(), target);
        }
    }

    /// Resolves a path, if its target is inside the directory.
    fn follow(&self, path: &Path, shown: &str) -> Result<Option<(PathBuf, Metadata)>, SurveyError> {
        let metadata = match path.symlink_metadata() {
            Ok(metadata) => metadata,
            // A file that is gone since it was listed is missing from the next survey as well.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(shown, error.kind())),
        };
        if !metadata.is_symlink() {
            return Ok(Some((path.to_owned(), metadata)));
        }
        let Ok(real) = path.canonicalize() else {
            return Ok(None);
        };
        let is_inside = real.strip_prefix(self.root).is_ok_and(|inside| !is_inside_git(inside));
        if !is_inside {
            return Ok(None);
        }
        match real.symlink_metadata() {
            Ok(metadata) => Ok(Some((real, metadata))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(shown, error.kind())),
        }
    }
}

impl Stat {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Returns whether a path inside the directory is one of git's own files.
pub(super) fn is_inside_git(inside: &Path) -> bool {
    inside.components().any(|component| {
        matches!(component, Component::Normal(name) if name.eq_ignore_ascii_case(".git"))
    })
}

fn read_directory(
    nodes: &[(Box<str>, SurveyNode)],
    shown: &str,
    intake: &mut Intake<'_>,
    progress: &ScanProgress,
) -> Result<ContentId, SurveyError> {
    let mut entries = Vec::with_capacity(nodes.len());
    for (name, node) in nodes {
        let shown = join(shown, name);
        let (kind, id) = match node {
            SurveyNode::Directory(nodes) => {
                (EntryKind::Directory, read_directory(nodes, &shown, intake, progress)?)
            }
            SurveyNode::File { real, stat } => {
                progress.reach(&shown);
                (EntryKind::File, intake.bytes(read_file(real, stat, &shown)?))
            }
        };
        entries.push(RawEntry { name: name.clone(), kind, id });
    }
    Ok(intake.directory(entries))
}

/// Reads a listed file. Never waits for another kind of file that has replaced it, because a pipe has no end. A program that
/// holds a lease on a file releases it before the next attempt.
fn read_file(real: &Path, stat: &Stat, shown: &str) -> Result<Vec<u8>, SurveyError> {
    let refused = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::WouldBlock => {
            SurveyError::Moved
        }
        _ if !is_still(real, stat) => SurveyError::Moved,
        kind => unreadable(shown, kind),
    };
    let file = regular_file::open_without_link(real).map_err(refused)?;
    if Stat::of(&file.metadata().map_err(refused)?) != *stat {
        return Err(SurveyError::Moved);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(stat.bytes).unwrap_or(0));
    file.take(stat.bytes + 1).read_to_end(&mut bytes).map_err(refused)?;
    if bytes.len() as u64 != stat.bytes {
        return Err(SurveyError::Moved);
    }
    Ok(bytes)
}

fn is_still(real: &Path, stat: &Stat) -> bool {
    real.symlink_metadata().is_ok_and(|found| Stat::of(&found) == *stat)
}

fn unreadable(path: &str, kind: ErrorKind) -> SurveyError {
    SurveyError::Unreadable { path: path.to_owned(), kind }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;
    use crate::source::content::Contents;

    /// Surveys a directory, puts something else in the place of its one file, and reads it.
    fn read_after(replace: impl FnOnce(&Path)) -> Result<ContentId, SurveyError> {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("orders.yml");
        std::fs::write(&file, "a: 1").unwrap();
        let survey = Survey::of(place.path(), &ScanProgress::default()).unwrap();
        std::fs::remove_file(&file).unwrap();
        replace(&file);
        survey.read(&mut Contents::default().intake(), &ScanProgress::default())
    }

    #[test]
    fn a_replacement_of_a_listed_file_is_never_waited_for() {
        let outside = tempfile::NamedTempFile::new().unwrap();
        type Replace<'a> = &'a dyn Fn(&Path);
        let replaced: [(&str, Replace<'_>); 6] = [
            ("pipe", &|path| mkfifoat(CWD, path, Mode::RUSR).unwrap()),
            ("socket", &|path| drop(std::os::unix::net::UnixListener::bind(path).unwrap())),
            ("directory", &|path| std::fs::create_dir(path).unwrap()),
            ("link", &|path| std::os::unix::fs::symlink(outside.path(), path).unwrap()),
            ("device", &|path| std::os::unix::fs::symlink("/dev/zero", path).unwrap()),
            ("nothing", &|_| {}),
        ];
        for (what, replace) in replaced {
            let read = read_after(replace);
            assert!(matches!(read, Err(SurveyError::Moved)), "{what}: {read:?}");
        }
    }
}
