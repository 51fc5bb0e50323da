//! What there is in a directory, without the content: enough to tell whether it changed while it was read.
//!
//! A link is taken for what it leads to, as long as that lies inside the directory; other links, special files, names
//! that no tree may hold and `.git` are left out. A file that is there and cannot be read is an error, never absent.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use crate::model::ContentId;
use crate::source::content::{Intake, plain_name};
use crate::tree::{EntryKind, RawEntry, join};

/// The most files that are read.
const FILE_COUNT_MAX: usize = 100_000;
/// The most bytes that are read, all files together.
const BYTES_MAX: u64 = 256 * 1024 * 1024;
/// How many of the paths that are not read are remembered.
const LEFT_OUT_COUNT_MAX: usize = 20;
/// How deep directories may be nested.
const DEPTH_MAX: usize = 64;

/// Why a directory cannot be read. Paths are relative to it.
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
    #[error("the directory keeps changing while it is read")]
    Moved,
}

/// Everything that will be read, sorted by name.
#[derive(PartialEq, Eq)]
pub(super) struct Survey {
    root: Vec<(Box<str>, Node)>,
    left_out: Vec<LeftOut>,
}

/// A path that is not read, and why: as many as are remembered.
pub(super) type LeftOut = (String, &'static str);

#[derive(PartialEq, Eq)]
enum Node {
    Directory(Vec<(Box<str>, Node)>),
    File { real: PathBuf, stat: Stat },
}

/// What changes when a file is replaced or written to.
#[derive(PartialEq, Eq)]
struct Stat {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Survey {
    /// Looks at everything, and reads nothing.
    pub(super) fn of(root: &Path) -> Result<Self, SurveyError> {
        let root = root.canonicalize().map_err(|error| SurveyError::Root(error.kind()))?;
        let mut surveyor = Surveyor {
            root: &root,
            above: Vec::new(),
            file_count: 0,
            bytes: 0,
            left_out: Vec::new(),
        };
        let nodes = surveyor.directory(&root, "")?;
        let mut left_out = surveyor.left_out;
        left_out.sort_unstable();
        Ok(Self { root: nodes, left_out })
    }

    /// What is not read, but for `.git` and names that are Kubernetes' own.
    pub(super) fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// Reads what was found, into memory.
    pub(super) fn read(&self, intake: &mut Intake<'_>) -> Result<ContentId, SurveyError> {
        read_directory(&self.root, "", intake)
    }
}

struct Surveyor<'a> {
    root: &'a Path,
    /// The directories that are being looked at, so that a link to one of them does not lead round in circles.
    above: Vec<PathBuf>,
    file_count: usize,
    bytes: u64,
    left_out: Vec<LeftOut>,
}

impl Surveyor<'_> {
    fn directory(
        &mut self,
        real: &Path,
        shown: &str,
    ) -> Result<Vec<(Box<str>, Node)>, SurveyError> {
        if self.above.len() >= DEPTH_MAX {
            return Err(SurveyError::TooDeep(shown.to_owned()));
        }
        let refused = |error: std::io::Error| match (shown, error.kind()) {
            ("", kind) => SurveyError::Root(kind),
            (_, ErrorKind::NotFound) => SurveyError::Moved,
            (path, kind) => unreadable(path, kind),
        };
        self.above.push(real.to_owned());
        let mut nodes: Vec<(Box<str>, Node)> = Vec::new();
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

    fn node(&mut self, path: &Path, shown: &str) -> Result<Option<Node>, SurveyError> {
        let Some((real, metadata)) = self.follow(path, shown)? else {
            self.leave_out(shown, "is a link that leads nowhere, or outside");
            return Ok(None);
        };
        self.file_count += 1;
        if self.file_count > FILE_COUNT_MAX {
            return Err(SurveyError::TooMany);
        }
        if metadata.is_dir() {
            if self.above.contains(&real) {
                self.leave_out(shown, "is a link that leads round in circles");
                return Ok(None);
            }
            return Ok(Some(Node::Directory(self.directory(&real, shown)?)));
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
        Ok(Some(Node::File { real, stat }))
    }

    fn leave_out(&mut self, path: &str, why: &'static str) {
        if self.left_out.len() < LEFT_OUT_COUNT_MAX {
            self.left_out.push((path.to_owned(), why));
        }
    }

    /// Where a path really is, if that is inside the directory.
    fn follow(&self, path: &Path, shown: &str) -> Result<Option<(PathBuf, Metadata)>, SurveyError> {
        let metadata = match path.symlink_metadata() {
            Ok(metadata) => metadata,
            // Gone since it was listed: the next survey says so too.
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

/// Whether a path inside the directory belongs to a git repository's own files.
pub(super) fn is_inside_git(inside: &Path) -> bool {
    inside.components().any(|component| {
        matches!(component, Component::Normal(name) if name.eq_ignore_ascii_case(".git"))
    })
}

fn read_directory(
    nodes: &[(Box<str>, Node)],
    shown: &str,
    intake: &mut Intake<'_>,
) -> Result<ContentId, SurveyError> {
    let mut entries = Vec::with_capacity(nodes.len());
    for (name, node) in nodes {
        let shown = join(shown, name);
        let (kind, id) = match node {
            Node::Directory(nodes) => {
                (EntryKind::Directory, read_directory(nodes, &shown, intake)?)
            }
            Node::File { real, stat } => {
                (EntryKind::File, intake.bytes(read_file(real, stat, &shown)?))
            }
        };
        entries.push(RawEntry { name: name.clone(), kind, id });
    }
    Ok(intake.directory(entries))
}

/// Reads the file that was found, and no other one that has come to its place since.
fn read_file(real: &Path, stat: &Stat, shown: &str) -> Result<Vec<u8>, SurveyError> {
    let refused = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => SurveyError::Moved,
        kind => unreadable(shown, kind),
    };
    let file = File::open(real).map_err(refused)?;
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

fn unreadable(path: &str, kind: ErrorKind) -> SurveyError {
    SurveyError::Unreadable { path: path.to_owned(), kind }
}
