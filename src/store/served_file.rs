//! Files of a snapshot that are served as text or as bytes.

use std::sync::Arc;

use super::Store;
use super::answer::{Answer, ServedEnvironment};
use super::answer_handle::RolloutAt;
use super::build;
use super::cell_answers::CellAnswers;
use super::error::AnswerError;
use super::failed_reads::ReadTarget;
use super::holds::{Hold, Reader, Side};
use super::published_snapshot::PublishedSnapshot;
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
    /// The epochs in which the label was published. None if it was never rewound and no rollout holds the application.
    pub epochs: Option<Epochs>,
    /// The newest revision of the label.
    pub tip: Revision,
    /// Set while a rollout holds the application.
    pub rollout: Option<RolloutAt>,
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
    /// Returns a file, found by the lookup of docs/protocol.md#61-lookup among the files that the caller may read, at the
    /// side of the reader.
    ///
    /// # Errors
    /// As for [`Store::answer`].
    pub async fn find_file(
        self: &Arc<Self>,
        caller: &Caller,
        reader: &Reader,
        query: &Query,
        path: &str,
    ) -> Result<FileLookup<ServedFile>, AnswerError> {
        let live = self.authorized_label(caller, Operation::ReadFile, query).await?;
        let (query, path, store) = (query.clone(), path.to_owned(), Arc::clone(self));
        let (caller, reader) = (caller.clone(), *reader);
        let work = move || {
            let published = live.published.load_full();
            let side = PublishedSide::of(&published, &query, &reader);
            let file = side.find(&caller, &query, &path);
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
        reader: &Reader,
        query: &Query,
        path: &str,
    ) -> Result<FileLookup<Template>, AnswerError> {
        let live = self.authorized_label(caller, Operation::ReadFile, query).await?;
        let variant = self.variant(caller, query);
        let (query, path, store) = (query.clone(), path.to_owned(), Arc::clone(self));
        let (caller, reader) = (caller.clone(), *reader);
        let work = move || {
            let mut published = live.published.load_full();
            let answers = live.cell(&query).map(|cell| cell.load_all());
            // The answers of a held application know the publication that they belong to.
            if let Some(held) = answers.as_ref().and_then(|answers| answers.held.as_ref()) {
                published = Arc::clone(&held.published);
            }
            let side = PublishedSide::of(&published, &query, &reader);
            let file = side.find(&caller, &query, &path);
            store.record_read(&ReadTarget::File(query.clone(), path), &file);
            let FileLookup { found, denied } = file?;
            let Some(file) = found else {
                return Ok(FileLookup { found: None, denied });
            };
            let answer = match answers.and_then(|answers| side.answer_among(&answers)) {
                Some(answer) => answer,
                None => {
                    let basis = published.at(side.snapshot());
                    let built = build::build(&query, basis, &store.builder, None);
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

/// The side of one publication that a reader receives.
struct PublishedSide<'a> {
    published: &'a PublishedSnapshot,
    /// The hold of the query, and the side of the reader. None if no rollout holds the application.
    hold: Option<(Arc<Hold>, Side)>,
}

impl<'a> PublishedSide<'a> {
    fn of(published: &'a PublishedSnapshot, query: &Query, reader: &Reader) -> Self {
        let hold = published.holds.find(query);
        let hold = hold.map(|hold| {
            let side = hold.choice.choose(reader);
            (hold, side)
        });
        Self { published, hold }
    }

    fn snapshot(&self) -> &Snapshot {
        match &self.hold {
            Some((hold, Side::Stable)) => &hold.stable,
            _ => &self.published.snapshot,
        }
    }

    /// Returns the answer of this side, unless the answers belong to another publication.
    fn answer_among(&self, answers: &CellAnswers) -> Option<Arc<Answer>> {
        let is_of_it = match (&answers.held, &self.hold) {
            (Some(held), Some(_)) => std::ptr::eq(&*held.published, self.published),
            (None, None) => answers.stable.sequence <= self.published.sequence,
            _ => false,
        };
        let side = self.hold.as_ref().map_or(Side::Stable, |(_, side)| *side);
        is_of_it.then(|| Arc::clone(answers.of_side(side)))
    }

    /// Returns a file that a caller may read. Blocking.
    fn find(
        &self,
        caller: &Caller,
        query: &Query,
        path: &str,
    ) -> Result<FileLookup<ServedFile>, TreeError> {
        let snapshot = self.snapshot();
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
        let (epochs, rollout) = match &self.hold {
            None => (snapshot.epochs.clone(), None),
            Some((hold, side)) => {
                let rollout = RolloutAt { id: Arc::clone(hold.choice.rollout()), side: *side };
                (hold.epochs.clone(), Some(rollout))
            }
        };
        let file = ServedFile {
            id: found.file.id(),
            file: found.file,
            tree: found.tree,
            size,
            revision: snapshot.revision.clone(),
            epochs,
            tip: self.published.snapshot.revision.clone(),
            rollout,
            made_seconds: found.made_seconds,
        };
        Ok(FileLookup { found: Some(file), denied })
    }
}
