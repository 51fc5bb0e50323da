//! Files of a snapshot that are served as text or as bytes.

use std::sync::Arc;

use super::Store;
use super::answer::{Answer, ServedEnvironment};
use super::build;
use super::error::AnswerError;
use super::failed_reads::ReadTarget;
use crate::access::{self, Caller, Operation};
use crate::model::{ContentId, Epochs, Query, Revision};
use crate::resolve::{self, FileSearch};
use crate::reveal::Variant;
use crate::snapshot::Snapshot;
use crate::tree::{Tree, TreeError, TreeFile};

/// The largest file that is served as text or as bytes.
const SERVED_FILE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A file of a snapshot.
#[derive(Clone)]
pub struct ServedFile {
    file: Arc<TreeFile>,
    tree: Tree,
    /// The length in bytes.
    pub size: usize,
    /// The content id of its bytes.
    pub id: ContentId,
    /// The revision of the snapshot that contains it.
    pub revision: Revision,
    /// The epochs in which the label was published. None if it was never rewound.
    pub epochs: Option<Epochs>,
    /// The time of that revision, in seconds since 1970, if known.
    pub made_seconds: Option<i64>,
}

impl ServedFile {
    /// The stored bytes. Blocking.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn read(&self) -> Result<Vec<u8>, AnswerError> {
        Ok(self.tree.bytes(&self.file)?)
    }
}

/// The result of looking for a file.
pub struct FileLookup<T> {
    /// None for a file that does not exist, is too large to be served, or is denied.
    pub found: Option<T>,
    /// The path that the policy denies, for its record.
    pub denied: Option<String>,
}

/// A file with the answer to the request at the same revision.
pub struct Template {
    pub file: ServedFile,
    pub answer: Arc<Answer>,
    variant: Variant,
}

impl Template {
    /// The environment in the variant of the caller, for placeholders. None if the answer is no environment.
    pub fn served(&self) -> Option<&ServedEnvironment> {
        self.answer.served(self.variant)
    }
}

impl Store {
    /// Returns a file, found by the lookup of docs/protocol.md#61-lookup among the files that the caller may read.
    ///
    /// # Errors
    /// As for [`Store::answer`].
    pub async fn find_file(
        self: &Arc<Self>,
        caller: &Caller,
        query: &Query,
        path: &str,
    ) -> Result<FileLookup<ServedFile>, AnswerError> {
        let live = self.authorized_label(caller, Operation::ReadFile, query).await?;
        let (query, path, store) = (query.clone(), path.to_owned(), Arc::clone(self));
        let caller = caller.clone();
        let work = move || {
            let file = find(&live.published.load_full().snapshot, &caller, &query, &path);
            store.record_read(&ReadTarget::File(query, path), &file);
            Ok(file?)
        };
        self.admission.run(work).await
    }

    /// Returns a file with the environment of the request at the same revision, for its placeholders.
    ///
    /// # Errors
    /// As for [`Store::find_file`].
    pub async fn find_template(
        self: &Arc<Self>,
        caller: &Caller,
        query: &Query,
        path: &str,
    ) -> Result<FileLookup<Template>, AnswerError> {
        let live = self.authorized_label(caller, Operation::ReadFile, query).await?;
        let variant = self.variant(caller, query);
        let (query, path, store) = (query.clone(), path.to_owned(), Arc::clone(self));
        let caller = caller.clone();
        let work = move || {
            let published = live.published.load_full();
            let file = find(&published.snapshot, &caller, &query, &path);
            store.record_read(&ReadTarget::File(query.clone(), path), &file);
            let FileLookup { found, denied } = file?;
            let Some(file) = found else {
                return Ok(FileLookup { found: None, denied });
            };
            let answer = match live.cell(&query).map(|cell| cell.load()) {
                Some(answer) if answer.sequence <= published.sequence => answer,
                _ => {
                    let built = build::build(&query, &published, &store.builder, None);
                    store.record_read(&ReadTarget::Environment(query), &built);
                    let answer = built?;
                    answer.remember_text(&store.builder.payloads);
                    Arc::new(answer)
                }
            };
            Ok(FileLookup { found: Some(Template { file, answer, variant }), denied })
        };
        self.admission.run(work).await
    }
}

/// Returns a file of a snapshot that a caller may read. Blocking.
fn find(
    snapshot: &Snapshot,
    caller: &Caller,
    query: &Query,
    path: &str,
) -> Result<FileLookup<ServedFile>, TreeError> {
    let permission = |path: &str| access::file_permission(caller, &query.label, path);
    let FileSearch { found, denied } = resolve::find_file(snapshot, query, path, &permission)?;
    let Some(found) = found else {
        return Ok(FileLookup { found: None, denied });
    };
    let size = found.tree.size(&found.file)?;
    let Some(size) = usize::try_from(size).ok().filter(|size| *size <= SERVED_FILE_BYTES_MAX)
    else {
        return Ok(FileLookup { found: None, denied });
    };
    let file = ServedFile {
        id: found.file.id(),
        file: found.file,
        tree: found.tree,
        size,
        revision: snapshot.revision.clone(),
        epochs: snapshot.epochs.clone(),
        made_seconds: found.made_seconds,
    };
    Ok(FileLookup { found: Some(file), denied })
}
