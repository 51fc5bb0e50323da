//! The rule for the entries of a git tree: no entry that Headwater does not serve or that some systems cannot check out.
//!
//! Such an entry is a problem where the source looks for it, because an environment would lack it. Elsewhere it is a warning.
//! The rule permits executable files. The server never runs them, and editors set the bit by accident.

use std::collections::HashMap;

use icu_normalizer::{ComposingNormalizer, ComposingNormalizerBorrowed};

use super::{Audience, FindingSeverity, areas};
use crate::areas::Permission;
use crate::model::{Origin, Problem};
use crate::resolve::{self, Searchers};
use crate::snapshot::{Member, Style};
use crate::tree::{DirectoryAdditions, EntryKind, OmissionReason, Tree, TreeError, join};

/// The most files that one change may add or change.
const FILE_COUNT_MAX: usize = 100_000;
/// The largest added or changed file, in bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The largest total size of all added and changed files, in bytes.
const TOTAL_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// The most problems, and the most warnings, in a report. A push can contain millions of bad names and links.
const PROBLEM_COUNT_MAX: usize = 100;

/// The findings for added and changed entries of a member. Only git sources are checked, because Kubernetes mounts files as
/// links into directories.
///
/// # Errors
/// When a source cannot be read.
pub(super) fn findings(
    new: &Member,
    old: Option<&Tree>,
    audience: Option<&dyn Audience>,
) -> Result<Vec<(FindingSeverity, Problem)>, TreeError> {
    if new.layout.style != Style::Git {
        return Ok(Vec::new());
    }
    let mut judged = EntryCheck {
        member: new,
        audience,
        problems: Vec::new(),
        warnings: Vec::new(),
        file_count: 0,
        total_bytes: 0,
    };
    new.tree.visit_additions(old, &mut |additions| judged.directory(&additions))?;
    let problems = judged.problems.into_iter().map(|problem| (FindingSeverity::Problem, problem));
    let warnings = judged.warnings.into_iter().map(|warning| (FindingSeverity::Warning, warning));
    Ok(problems.chain(warnings).collect())
}

struct EntryCheck<'a> {
    member: &'a Member,
    audience: Option<&'a dyn Audience>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    file_count: usize,
    total_bytes: u64,
}

impl EntryCheck<'_> {
    fn directory(&mut self, additions: &DirectoryAdditions<'_>) -> Result<(), TreeError> {
        let directory = additions.directory;
        for omitted in &additions.omitted {
            let message = match omitted.reason {
                OmissionReason::Kind => {
                    "is a submodule: its files are in another repository, and are not served"
                }
                OmissionReason::Name if omitted.name.len() > 255 => {
                    "has a name of more than 255 bytes, and is not served"
                }
                OmissionReason::Name => {
                    "has a name that is not plain text (no control characters, no backslash, UTF-8), and is not served"
                }
            };
            self.add(self.severity(directory, &omitted.name), directory, &omitted.name, message);
        }
        for entry in &additions.entries {
            match entry.kind {
                EntryKind::Link => self.link(directory, entry.name)?,
                EntryKind::File => {
                    self.file(directory, entry.name, self.member.tree.size_of(entry)?);
                }
                EntryKind::Directory => {}
            }
        }
        self.collisions(additions);
        Ok(())
    }

    /// Checks a link, which is served as its target. A link out of the repository has no target.
    fn link(&mut self, directory: &str, name: &str) -> Result<(), TreeError> {
        let path = join(directory, name);
        let lookup = self.member.tree.lookup_kind(&path)?;
        // A link to a file of another area is a problem, whether the file exists or not.
        let is_foreign = lookup.behind_links.is_some_and(|target| {
            areas::link_permission(self.member, &path, &target, None) == Permission::Denied
        });
        if lookup.found.is_none() && !is_foreign {
            let message = "is a symbolic link without a target in this repository, and is not served: commit the file itself";
            self.add(self.severity(directory, name), directory, name, message);
        }
        Ok(())
    }

    /// The severity for an entry that is not served: a problem for configuration and schemas in a search directory, and for
    /// components of a search path.
    fn severity(&self, directory: &str, name: &str) -> FindingSeverity {
        problem_if(self.is_looked_for(directory, name))
    }

    fn is_looked_for(&self, directory: &str, name: &str) -> bool {
        let path = join(directory, name);
        let is_read = resolve::is_configuration(&self.member.layout, &path)
            || resolve::schema_of(&path).is_some();
        is_read && self.is_searched(directory) || resolve::is_on_search_path(self.member, &path)
    }

    fn is_searched(&self, directory: &str) -> bool {
        resolve::searchers(self.member, directory) != Searchers::None
    }

    fn file(&mut self, directory: &str, name: &str, bytes: u64) {
        let (count_before, total_before) = (self.file_count, self.total_bytes);
        self.file_count += 1;
        self.total_bytes = self.total_bytes.saturating_add(bytes);
        if bytes > FILE_BYTES_MAX {
            let message =
                format!("has {bytes} bytes, and a file may have at most {FILE_BYTES_MAX}");
            self.add(problem_if(self.is_searched(directory)), directory, name, &message);
        }
        if count_before == FILE_COUNT_MAX {
            let message = format!("is beyond the limit of {FILE_COUNT_MAX} files in one change");
            self.add(FindingSeverity::Problem, directory, name, &message);
        }
        if total_before <= TOTAL_BYTES_MAX && self.total_bytes > TOTAL_BYTES_MAX {
            let message = format!(
                "makes the files of this change larger than {TOTAL_BYTES_MAX} bytes in all"
            );
            self.add(FindingSeverity::Problem, directory, name, &message);
        }
    }

    /// Checks for names that some systems treat as equal. A checkout there would lose one of the files.
    fn collisions(&mut self, additions: &DirectoryAdditions<'_>) {
        let is_new: Vec<&str> =
            additions.entries.iter().filter(|entry| entry.is_new).map(|entry| entry.name).collect();
        if is_new.is_empty() {
            return;
        }
        let mut folded: HashMap<String, &str> = HashMap::new();
        let old_names = additions.names.iter().filter(|name| is_new.binary_search(name).is_err());
        for name in old_names {
            folded.entry(fold(name)).or_insert(name);
        }
        for name in &is_new {
            if let Some(other) = folded.insert(fold(name), name) {
                // A pusher learns that a similar name exists, and not which one it may not read.
                let is_shown = self
                    .audience
                    .is_none_or(|audience| audience.reads_file(&join(additions.directory, other)));
                let shown = if is_shown { other } else { "another file" };
                let message =
                    format!("differs from {shown} only in case or in how accents are written");
                let is_judged = self.is_looked_for(additions.directory, name)
                    && self.is_looked_for(additions.directory, other);
                self.add(problem_if(is_judged), additions.directory, name, &message);
            }
        }
    }

    fn add(&mut self, severity: FindingSeverity, directory: &str, name: &str, message: &str) {
        let found = match severity {
            FindingSeverity::Problem => &mut self.problems,
            FindingSeverity::Warning => &mut self.warnings,
        };
        if found.len() < PROBLEM_COUNT_MAX {
            found.push(Problem {
                origin: Origin { file: join(directory, name).into(), position: None },
                key: None,
                message: message.to_owned(),
            });
        }
    }
}

fn problem_if(is_problem: bool) -> FindingSeverity {
    if is_problem { FindingSeverity::Problem } else { FindingSeverity::Warning }
}

/// Normalises letter case and accents, as some file systems do.
fn fold(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    const NFC: ComposingNormalizerBorrowed<'static> = ComposingNormalizer::new_nfc();
    NFC.normalize(&NFC.normalize(name).to_lowercase()).into_owned()
}
