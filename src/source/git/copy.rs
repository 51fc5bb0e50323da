//! Operations on the copy of a remote: making it, reading its references, moving its `HEAD`, and recording its rewinds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use git2::{ErrorCode, Repository, RepositoryInitOptions};
use serde::{Deserialize, Serialize};

use super::library;
use super::reference::{MovedReference, ReferenceList};
use super::rewinds::{self, RewindRecord};
use crate::regular_file;

/// The file with the served references of a copy, in the directory of the copy.
const SERVED: &str = "headwater-served";
/// The temporary name of that file until its content is durable.
const SERVED_WRITTEN: &str = "headwater-served.lock";

/// The part of a copy that is served. It is stored apart from git's references, because an interrupted fetch leaves
/// some of those moved and others not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::source) struct ServedReferences {
    /// The origin of the record of rewinds.
    pub(in crate::source) recorder: Recorder,
    /// The references.
    pub(in crate::source) references: ReferenceList,
}

/// The server that records the rewinds of a copied repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::source) enum Recorder {
    /// The remote records rewinds before it publishes them, and the copy adopts its record.
    Remote,
    /// The remote records none. The copy records the rewinds that it observes, in a lineage of its own.
    Copy,
}

/// Makes an empty bare repository.
///
/// # Errors
/// The class of libgit2's error, without paths.
pub(in crate::source) fn make(path: &Path) -> Result<(), String> {
    library::prepare();
    let mut options = RepositoryInitOptions::new();
    options.bare(true).external_template(false).initial_head("main");
    Repository::init_opts(path, &options).map(drop).map_err(|error| class(&error))
}

/// Reads the references, the branch of `HEAD` and the id of the record.
///
/// # Errors
/// As for [`make`].
pub(in crate::source) fn references(path: &Path) -> Result<ReferenceList, String> {
    library::prepare();
    Repository::open_bare(path)
        .and_then(|repository| read(&repository))
        .map_err(|error| class(&error))
}

/// Reads the part of a copy that was served last. `None` if the file is missing or malformed.
pub(in crate::source) fn served(path: &Path) -> Option<ServedReferences> {
    let file = regular_file::open(&path.join(SERVED)).ok()?;
    serde_json::from_reader(std::io::BufReader::new(file)).ok()
}

/// Writes the part of a copy that is about to be served, and returns when the content of the file is durable.
///
/// # Errors
/// The kind of the system's error, without paths.
pub(in crate::source) fn write_served(
    path: &Path,
    served: &ServedReferences,
) -> Result<(), String> {
    let write = || {
        let written = path.join(SERVED_WRITTEN);
        let file = std::fs::File::create(&written)?;
        std::io::Write::write_all(&mut &file, &serde_json::to_vec(served)?)?;
        file.sync_data()?;
        std::fs::rename(written, path.join(SERVED))
    };
    write().map_err(|error: std::io::Error| error.kind().to_string())
}

/// Records the rewinds between the references that were served and the present ones of the repository.
///
/// Invariant: this comes before the new references are served, and is repeated at the next start if the server ends
/// before that. Every rewind that a client can have seen is therefore in the record.
///
/// # Errors
/// As for [`make`].
pub(in crate::source) fn record_rewinds(path: &Path, before: &ReferenceList) -> Result<(), String> {
    library::prepare();
    let record = || {
        let repository = Repository::open_bare(path)?;
        let now = read(&repository)?;
        let (_, known) = rewinds::read(&repository)?.unzip();
        let known: Option<RewindRecord> = known.flatten();
        let moves = moves_between(before, &now);
        let exists = |name: &str| before.names.get(name).cloned();
        let mut found = rewinds::find(&repository, &moves, known.as_ref(), exists);
        if let (Some(old), Some(new)) = (&before.head, &now.head)
            && old != new
        {
            found.extend(rewinds::moved_head(&repository, exists(old).as_deref(), new));
        }
        if found.is_empty() {
            return Ok(());
        }
        let exists = |label: &str| {
            let named = |prefix: &str| now.names.contains_key(&format!("{prefix}{label}"));
            named("refs/heads/") || named("refs/tags/")
        };
        rewinds::write(&repository, &RewindRecord::after(known.as_ref(), &found, exists))
    };
    record().map_err(|error: git2::Error| class(&error))
}

fn moves_between(before: &ReferenceList, now: &ReferenceList) -> Vec<MovedReference> {
    let names: BTreeSet<&String> = before.names.keys().chain(now.names.keys()).collect();
    let moves = names.into_iter().map(|name| MovedReference {
        name: name.clone(),
        old: before.names.get(name).cloned(),
        new: now.names.get(name).cloned(),
    });
    moves.filter(|it| it.old != it.new).collect()
}

/// Points `HEAD` to a branch.
///
/// # Errors
/// As for [`make`].
pub(in crate::source) fn point_head(path: &Path, branch: &str) -> Result<(), String> {
    library::prepare();
    let pointed = Repository::open_bare(path)
        .and_then(|repository| repository.reference_symbolic("HEAD", branch, true, "").map(drop));
    pointed.map_err(|error| class(&error))
}

/// Deletes references. A missing one is no failure.
///
/// # Errors
/// As for [`make`].
pub(in crate::source) fn delete(path: &Path, names: &[String]) -> Result<(), String> {
    library::prepare();
    let delete = || {
        let repository = Repository::open_bare(path)?;
        for name in names {
            match repository.find_reference(name).and_then(|mut reference| reference.delete()) {
                Err(error) if error.code() != ErrorCode::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    };
    delete().map_err(|error: git2::Error| class(&error))
}

/// Returns whether a branch or a tag can have this name.
pub(in crate::source) fn may_be_reference(name: &str) -> bool {
    git2::Reference::is_valid_name(&format!("refs/heads/{name}"))
}

fn read(repository: &Repository) -> Result<ReferenceList, git2::Error> {
    let mut names = BTreeMap::new();
    for glob in ["refs/heads/*", "refs/tags/*"] {
        for reference in repository.references_glob(glob)? {
            let reference = reference?;
            let name = std::str::from_utf8(reference.name_bytes());
            if let (Ok(name), Some(id)) = (name, reference.target()) {
                names.insert(name.to_owned(), id.to_string());
            }
        }
    }
    let head = match repository.find_reference("HEAD") {
        Ok(head) => head
            .symbolic_target_bytes()
            .and_then(|target| std::str::from_utf8(target).ok())
            .map(str::to_owned),
        Err(error) if error.code() == ErrorCode::NotFound => None,
        Err(error) => return Err(error),
    };
    let record = rewinds::record_id(repository)?.map(|id| id.to_string());
    Ok(ReferenceList { names, head, record })
}

fn class(error: &git2::Error) -> String {
    tracing::debug!(error = %error, "libgit2 refused");
    format!("the copy cannot be read or written ({:?})", error.class())
}
