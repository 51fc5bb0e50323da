//! The rule about what a git tree may be made of: what git lets through and nobody should have to check out or serve.
//!
//! An executable file is let through: nothing here is ever checked out or run, and editors set the bit by accident.

use std::collections::HashMap;

use icu_normalizer::{ComposingNormalizer, ComposingNormalizerBorrowed};

use crate::model::{Origin, Problem};
use crate::snapshot::{Member, Style};
use crate::tree::{Arrived, EntryKind, Tree, TreeError, Unfit, join};

/// The most files that one change may bring.
const FILE_COUNT_MAX: usize = 100_000;
/// The largest file that a change may bring, in bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The most that all files of one change may have together, in bytes.
const TOTAL_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// The most problems that are told; names and links are cheap to make by the million.
const PROBLEM_COUNT_MAX: usize = 100;

/// What is wrong with the entries that a member has and its older self has not. Only git is asked: in a directory of the
/// machine links are how Kubernetes mounts files.
///
/// # Errors
/// When a source cannot be read.
pub(super) fn unfit(new: &Member, old: Option<&Tree>) -> Result<Vec<Problem>, TreeError> {
    if new.layout.style != Style::Git {
        return Ok(Vec::new());
    }
    let mut judged = Judged::default();
    new.tree.arrived(old, &mut |arrived| judged.directory(&new.tree, &arrived))?;
    Ok(judged.problems)
}

#[derive(Default)]
struct Judged {
    problems: Vec<Problem>,
    file_count: usize,
    total_bytes: u64,
}

impl Judged {
    fn directory(&mut self, tree: &Tree, arrived: &Arrived<'_>) -> Result<(), TreeError> {
        for left_out in &arrived.left_out {
            self.refuse(arrived.directory, &left_out.name, match left_out.why {
                Unfit::Kind => "is a submodule: its files are in another repository, and are not served",
                Unfit::Name if left_out.name.len() > 255 => "has a name of more than 255 bytes",
                Unfit::Name => {
                    "has a name that is not plain text: no control characters, no backslash, UTF-8"
                }
            });
        }
        for entry in &arrived.entries {
            match entry.kind {
                EntryKind::Link => self.refuse(
                    arrived.directory,
                    entry.name,
                    "is a symbolic link: put the file itself there, or import it",
                ),
                EntryKind::File => self.file(arrived.directory, entry.name, tree.size_of(entry)?),
                EntryKind::Directory => {}
            }
        }
        self.collisions(arrived);
        Ok(())
    }

    fn file(&mut self, directory: &str, name: &str, bytes: u64) {
        let (count_before, total_before) = (self.file_count, self.total_bytes);
        self.file_count += 1;
        self.total_bytes = self.total_bytes.saturating_add(bytes);
        if bytes > FILE_BYTES_MAX {
            let message = format!("has {bytes} bytes: at most {FILE_BYTES_MAX} are taken");
            self.refuse(directory, name, &message);
        }
        if count_before == FILE_COUNT_MAX {
            let message =
                format!("is one file too many: at most {FILE_COUNT_MAX} are taken at once");
            self.refuse(directory, name, &message);
        }
        if total_before <= TOTAL_BYTES_MAX && self.total_bytes > TOTAL_BYTES_MAX {
            let message =
                format!("brings the files of this change to more than {TOTAL_BYTES_MAX} bytes");
            self.refuse(directory, name, &message);
        }
    }

    /// Names that some systems take for one: a checkout there would lose one of the files.
    fn collisions(&mut self, arrived: &Arrived<'_>) {
        let is_new: Vec<&str> =
            arrived.entries.iter().filter(|entry| entry.is_new).map(|entry| entry.name).collect();
        if is_new.is_empty() {
            return;
        }
        let mut folded: HashMap<String, &str> = HashMap::new();
        let old_names = arrived.names.iter().filter(|name| is_new.binary_search(name).is_err());
        for name in old_names {
            folded.entry(fold(name)).or_insert(name);
        }
        for name in &is_new {
            if let Some(other) = folded.insert(fold(name), name) {
                let message =
                    format!("differs from {other} only in case or in how accents are written");
                self.refuse(arrived.directory, name, &message);
            }
        }
    }

    fn refuse(&mut self, directory: &str, name: &str, message: &str) {
        if self.problems.len() < PROBLEM_COUNT_MAX {
            self.problems.push(Problem {
                origin: Origin { file: join(directory, name).into(), position: None },
                key: None,
                message: message.to_owned(),
            });
        }
    }
}

/// A name as a system sees it that knows no case and writes accents in one way.
fn fold(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    const NFC: ComposingNormalizerBorrowed<'static> = ComposingNormalizer::new_nfc();
    NFC.normalize(&NFC.normalize(name).to_lowercase()).into_owned()
}
