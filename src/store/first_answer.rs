//! The first answer to a query, made while a publication may be under way.
//!
//! Invariant: a first answer is inserted only for the published snapshot and the publication that are present at the
//! insertion. Otherwise it is made again, with the parts that are still valid.

use std::sync::Arc;

use super::answer::Answer;
use super::build::AnswerBuilder;
use super::cell_answers::CellAnswers;
use super::publication::Publication;
use super::published_snapshot::PublishedSnapshot;
use crate::model::Query;
use crate::tree::TreeError;

/// The inputs of a first answer, read together.
pub(super) struct FirstAnswerInputs {
    pub(super) published: Arc<PublishedSnapshot>,
    pub(super) publication: Option<Arc<Publication>>,
    /// The answer that stands in for the past of an application that no file mentions.
    pub(super) stand_in: Option<Arc<Answer>>,
}

/// The first answers to a query, for a published snapshot and for the publication that was announced with it.
pub(super) struct FirstAnswer {
    pub(super) answers: CellAnswers,
    /// The sequence number of the published snapshot that `answers` are made for.
    sequence: u64,
    next: Option<NextAnswer>,
}

/// An announced publication with its answers. They are None if the publication does not affect them.
struct NextAnswer {
    publication: Arc<Publication>,
    answers: Option<CellAnswers>,
}

impl FirstAnswer {
    /// Makes the answers to a query for a published snapshot and a publication. Reuses the answers of an earlier
    /// attempt, so that a reader of a label that moves meanwhile makes one answer for each move. Blocking.
    pub(super) fn make(
        query: &Query,
        inputs: FirstAnswerInputs,
        earlier: Option<Self>,
        builder: &AnswerBuilder,
    ) -> Result<Self, TreeError> {
        let FirstAnswerInputs { published, publication, stand_in } = inputs;
        let sequence = published.sequence;
        let (answers, known) = earlier.map_or((None, None), |it| it.into_reusable(&published));
        let answers = match answers {
            Some(answers) => answers,
            None => CellAnswers::make(query, &published, builder, stand_in.as_deref())?,
        };
        let Some(publication) = publication else {
            return Ok(Self { answers, sequence, next: None });
        };
        let next = match known.filter(|next| Arc::ptr_eq(&next.publication, &publication)) {
            Some(next) => next,
            None => {
                let successor = publication.make_successor(&answers, builder)?;
                NextAnswer { publication, answers: successor }
            }
        };
        Ok(Self { answers, sequence, next: Some(next) })
    }

    /// Returns the parts of an earlier attempt that are valid for a published snapshot: its answer, and its answer for
    /// a publication.
    fn into_reusable(
        self,
        published: &Arc<PublishedSnapshot>,
    ) -> (Option<CellAnswers>, Option<NextAnswer>) {
        let Self { answers, sequence, next } = self;
        if sequence == published.sequence {
            return (Some(answers), next);
        }
        match next {
            // The publication took effect meanwhile.
            Some(NextAnswer { publication, answers: successor })
                if Arc::ptr_eq(&publication.target, published) =>
            {
                (Some(successor.unwrap_or(answers)), None)
            }
            _ => (None, None),
        }
    }

    /// Returns true if the answers were made for a published snapshot and a publication.
    pub(super) fn is_for(
        &self,
        published: &PublishedSnapshot,
        publication: Option<&Arc<Publication>>,
    ) -> bool {
        let next = self.next.as_ref().map(|next| Arc::as_ptr(&next.publication));
        self.sequence == published.sequence && next == publication.map(Arc::as_ptr)
    }

    /// Returns the answer, and the answer for the publication if that is another one.
    pub(super) fn into_answers(self) -> (CellAnswers, Option<CellAnswers>) {
        (self.answers, self.next.and_then(|next| next.answers))
    }
}
