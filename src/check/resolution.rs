//! One environment of one revision, with all that is known of it when it is judged.

use std::sync::Arc;

use super::effective::Effective;
use super::schema::{self, Schemas};
use super::{Rule, Severity, Strictness, placeholders};
use crate::model::{Environment, Problem, PropertySource, Query};
use crate::resolve::{self, Asked, Differences, FoundSchema};
use crate::snapshot::Snapshot;
use crate::tree::{Tree, TreeError};

/// What a query gives at a revision.
pub(super) struct Resolution {
    /// Without what could not be resolved.
    pub(super) environment: Environment,
    /// Why members could not be resolved.
    pub(super) problems: Vec<Problem>,
    /// For each member that was asked, what it was asked for.
    asked: Vec<(usize, Asked)>,
    schemas: Vec<(Tree, FoundSchema)>,
}

impl Resolution {
    /// Resolves a query, and finds the schemas that hold for it.
    ///
    /// # Errors
    /// When a source cannot be read.
    pub(super) fn of(
        snapshot: &Snapshot,
        query: &Query,
        overrides: Option<&PropertySource>,
    ) -> Result<Self, TreeError> {
        let mut resolution = Self {
            environment: Environment {
                application: Arc::clone(&query.application),
                profiles: Arc::clone(&query.profiles),
                label: query.label.clone(),
                sources: overrides.cloned().into_iter().collect(),
            },
            problems: Vec::new(),
            asked: Vec::new(),
            schemas: Vec::new(),
        };
        for index in resolve::choose(snapshot, query).unwrap_or_default() {
            let member = &snapshot.members[index];
            let mut resolved = resolve::resolve(member, &member.tree, query)?;
            match resolved.outcome {
                Ok(sources) => resolution.environment.sources.extend(sources),
                Err(problem) => resolution.problems.push(problem),
            }
            let files = resolve::schema_files(member, &member.tree, query, &mut resolved.asked)?;
            let schemas = files.into_iter().map(|found| (member.tree.clone(), found));
            resolution.schemas.extend(schemas);
            resolution.asked.push((index, resolved.asked));
        }
        Ok(resolution)
    }

    /// Whether a change can make something else of it.
    pub(super) fn is_touched(&self, differences: &Differences) -> bool {
        matches!(differences, Differences::Everything)
            || self.asked.iter().any(|(index, asked)| differences.touch(*index, asked))
    }

    /// All that is wrong with it. What is not whole is not held against any rule.
    ///
    /// # Errors
    /// When a source cannot be read.
    pub(super) fn judge(
        &self,
        rules: &[Rule],
        schemas: &mut Schemas,
    ) -> Result<Vec<(Severity, Problem)>, TreeError> {
        let problems = |problems: Vec<Problem>, severity| {
            problems.into_iter().map(move |problem| (severity, problem))
        };
        if !self.problems.is_empty() {
            return Ok(problems(self.problems.clone(), Severity::Problem).collect());
        }
        let effective = Effective::of(&self.environment);
        let mut found = Vec::new();
        for rule in rules {
            match rule {
                Rule::Entries => {}
                Rule::Placeholders(strictness) => {
                    let severity = match strictness {
                        Strictness::Lenient => Severity::Warning,
                        Strictness::Strict => Severity::Problem,
                    };
                    let left = placeholders::unresolved(&self.environment, &effective);
                    found.extend(problems(left, severity));
                }
                Rule::Schema(strictness) => {
                    let broken = self.violations(&effective, *strictness, schemas)?;
                    found.extend(problems(broken, Severity::Problem));
                }
            }
        }
        Ok(found)
    }

    fn violations(
        &self,
        effective: &Effective<'_>,
        strictness: Strictness,
        schemas: &mut Schemas,
    ) -> Result<Vec<Problem>, TreeError> {
        let whose = format!("{}/{}", self.environment.application, self.environment.profiles);
        let mut found = Vec::new();
        for (tree, FoundSchema { path, file }) in &self.schemas {
            match schemas.get(tree, path, file)? {
                Ok(schema) => found.extend(schema::violations(
                    &schema,
                    &self.environment,
                    effective,
                    &whose,
                    strictness,
                )),
                Err(problem) => found.push(problem),
            }
        }
        Ok(found)
    }
}
