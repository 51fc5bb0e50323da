//! The tree of documents that contribute to an environment, as in Spring Boot's `ConfigDataEnvironmentContributors`.
//!
//! A document ranks below the documents that it imports. Imports after the profiles are known rank above imports before
//! that. The root imports the documents of the search directories.

use std::sync::Arc;

use super::activation::{Condition, Context};
use super::control::Controls;
use super::file_loader::LoadedFile;
use crate::model::{Document, PropertySource};

/// The phase in which a document imports its locations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    BeforeProfiles,
    AfterProfiles,
}

const PHASES: [Phase; 2] = [Phase::BeforeProfiles, Phase::AfterProfiles];

/// The number of a contribution.
pub(super) type ContributionId = usize;
/// The contribution that imports the files of the search directories.
pub(super) const ROOT: ContributionId = 0;

/// One document, or the root.
#[derive(Default)]
pub(super) struct Contribution {
    /// `None` for the root.
    pub(super) content: Option<LoadedDocument>,
    /// The condition and the imports. `None` until they are bound.
    pub(super) bound: Option<BoundProperties>,
    /// True for a document that was imported for a profile, until it has moved up to the importer of its importer.
    is_movable: bool,
    children: [Option<Vec<ContributionId>>; 2],
}

/// A document of a file.
pub(super) struct LoadedDocument {
    pub(super) file: LoadedFile,
    pub(super) index: usize,
    pub(super) controls: Controls,
    /// True if a profile led to the file.
    pub(super) is_specific: bool,
}

/// The bound properties of a document, placeholders resolved.
#[derive(Default)]
pub(super) struct BoundProperties {
    pub(super) condition: Option<Condition>,
    /// The values of `spring.config.import`.
    pub(super) imports: Vec<String>,
}

impl LoadedDocument {
    pub(super) fn document(&self) -> &Document {
        &self.file.documents[self.index]
    }
}

pub(super) struct Contributions(Vec<Contribution>);

impl Contributions {
    /// Creates the root, which is always active and imports in both phases.
    pub(super) fn new() -> Self {
        Self(vec![Contribution {
            bound: Some(BoundProperties::default()),
            ..Contribution::default()
        }])
    }

    pub(super) fn get(&self, id: ContributionId) -> &Contribution {
        &self.0[id]
    }

    pub(super) fn bind(&mut self, id: ContributionId, bound: BoundProperties) {
        self.0[id].bound = Some(bound);
    }

    /// Adds the documents of a file, last one first, without a place in the tree.
    pub(super) fn add(&mut self, file: &LoadedFile, is_specific: bool) -> Vec<ContributionId> {
        let mut ids = Vec::new();
        for (index, document) in file.documents.iter().enumerate().rev() {
            let controls = Controls::of(document);
            let content = LoadedDocument { file: file.clone(), index, controls, is_specific };
            ids.push(self.0.len());
            self.0.push(Contribution {
                content: Some(content),
                is_movable: is_specific,
                ..Contribution::default()
            });
        }
        ids
    }

    /// Returns true if the contribution has not imported its locations in this phase yet.
    pub(super) fn is_unprocessed(&self, id: ContributionId, phase: Phase) -> bool {
        self.0[id].children[phase as usize].is_none()
    }

    /// The direct imports of a contribution, highest precedence first.
    pub(super) fn children(&self, id: ContributionId) -> Vec<ContributionId> {
        let [before, after] = &self.0[id].children;
        after.iter().chain(before).flatten().copied().collect()
    }

    /// Sets the imports of a contribution in a phase. Imports of its imports for profiles move up to it.
    pub(super) fn set_children(
        &mut self,
        id: ContributionId,
        phase: Phase,
        children: Vec<ContributionId>,
    ) {
        self.0[id].children[phase as usize] = Some(children);
        if phase == Phase::AfterProfiles {
            self.move_up(id);
        }
    }

    fn move_up(&mut self, id: ContributionId) {
        let before = self.0[id].children[Phase::BeforeProfiles as usize].clone();
        let mut moved = Vec::new();
        for child in before.unwrap_or_default() {
            for phase in PHASES {
                let grandchildren = self.0[child].children[phase as usize].clone();
                let (movable, rest): (Vec<ContributionId>, Vec<ContributionId>) = grandchildren
                    .unwrap_or_default()
                    .iter()
                    .partition(|id| self.0[**id].is_movable);
                if !movable.is_empty() {
                    self.0[child].children[phase as usize] = Some(rest);
                    moved.extend(movable);
                }
            }
        }
        moved.iter().for_each(|id| self.0[*id].is_movable = false);
        let after = &mut self.0[id].children[Phase::AfterProfiles as usize];
        moved.extend(after.take().unwrap_or_default());
        *after = Some(moved);
    }

    /// All documents, highest precedence first.
    pub(super) fn in_order(&self) -> Vec<ContributionId> {
        let mut order = Vec::with_capacity(self.0.len());
        self.append(ROOT, &mut order);
        order.pop();
        order
    }

    fn append(&self, id: ContributionId, order: &mut Vec<ContributionId>) {
        for child in self.children(id) {
            self.append(child, order);
        }
        order.push(id);
    }

    /// The active documents as property sources, highest precedence first.
    pub(super) fn sources(
        &self,
        context: Context<'_>,
        name: &dyn Fn(&LoadedDocument) -> Arc<str>,
    ) -> Result<Vec<PropertySource>, crate::model::Problem> {
        let mut sources = Vec::new();
        for id in self.in_order() {
            let contribution = self.get(id);
            if let Some(content) = &contribution.content
                && contribution.is_active(context)?
            {
                sources.push(PropertySource {
                    name: name(content),
                    file: Some(Arc::clone(&content.file.path)),
                    documents: Arc::clone(&content.file.documents),
                    index: content.index,
                });
            }
        }
        Ok(sources)
    }
}

impl Contribution {
    /// Returns true if the contribution is active. An unbound contribution is not.
    pub(super) fn is_active(&self, context: Context<'_>) -> Result<bool, crate::model::Problem> {
        let Some(bound) = &self.bound else {
            return Ok(false);
        };
        bound.condition.as_ref().map_or(Ok(true), |condition| condition.holds(context))
    }
}
