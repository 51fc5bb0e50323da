//! The resolution of one environment at one revision, and its judgement by the rules.

use std::cell::OnceCell;
use std::sync::Arc;

use super::directories::DirectoryCache;
use super::effective::EffectiveProperties;
use super::impact::{self, PropertyDifference};
use super::schema::{self, Schema, Schemas};
use super::{FindingSeverity, Rule, Strictness, placeholders};
use crate::model::{Environment, Problem, PropertySource, Query};
use crate::resolve::{self, Dependencies, Differences, FoundSchema};
use crate::snapshot::Snapshot;
use crate::tree::{Tree, TreeError};

/// The environment of a query at a revision.
pub(super) struct Resolution {
    /// The sources of the members that resolved.
    pub(super) environment: Environment,
    /// The problems of the members that did not resolve.
    pub(super) problems: Vec<Problem>,
    /// Ignored imports.
    notices: Vec<Problem>,
    /// Imports and links that lead to files of other areas.
    foreign: Vec<(FindingSeverity, Problem)>,
    /// The dependencies on each member, by its index.
    dependencies: Vec<(usize, Dependencies)>,
    schemas: Vec<(Tree, FoundSchema)>,
}

impl Resolution {
    /// Resolves a query and finds its schemas.
    ///
    /// # Errors
    /// When a source cannot be read.
    pub(super) fn of(
        snapshot: &Snapshot,
        query: &Query,
        overrides: Option<&PropertySource>,
        directories: &mut DirectoryCache,
    ) -> Result<Self, TreeError> {
        let mut resolution = Self {
            environment: Environment {
                application: Arc::clone(&query.application),
                profiles: Arc::clone(&query.profiles),
                label: query.label.clone(),
                sources: overrides.cloned().into_iter().collect(),
            },
            problems: Vec::new(),
            notices: Vec::new(),
            foreign: Vec::new(),
            dependencies: Vec::new(),
            schemas: Vec::new(),
        };
        for index in resolve::choose(snapshot, query).unwrap_or_default() {
            let member = &snapshot.members[index];
            let searched = directories.of(member, query)?;
            let mut resolved = resolve::resolve_in(member, &member.tree, query, searched)?;
            resolution.notices.append(&mut resolved.notices);
            let severity = match member.areas.are_enforced() {
                true => FindingSeverity::Problem,
                false => FindingSeverity::Warning,
            };
            let foreign = resolved.foreign.drain(..).map(|problem| (severity, problem));
            resolution.foreign.extend(foreign);
            let files = resolve::schema_files(member, &member.tree, query, &mut resolved)?;
            match resolved.outcome {
                Ok(sources) => resolution.environment.sources.extend(sources),
                Err(problem) => resolution.problems.push(problem),
            }
            let schemas = files.into_iter().map(|found| (member.tree.clone(), found));
            resolution.schemas.extend(schemas);
            resolution.dependencies.push((index, resolved.dependencies));
        }
        Ok(resolution)
    }

    /// Returns true if the differences can change this resolution.
    pub(super) fn is_affected(&self, differences: &Differences) -> bool {
        matches!(differences, Differences::Everything)
            || self
                .dependencies
                .iter()
                .any(|(index, dependencies)| differences.affects(*index, dependencies))
    }

    /// Returns true if the resolution can be compared with an earlier one key by key: both are complete and have the same
    /// schemas and notices.
    pub(super) fn is_comparable(&self, before: &Self) -> bool {
        let of = |(_, found): &(Tree, FoundSchema)| (Arc::clone(&found.path), found.file.id());
        self.problems.is_empty()
            && before.problems.is_empty()
            && self.notices == before.notices
            && self.foreign == before.foreign
            && self.schemas.iter().map(of).eq(before.schemas.iter().map(of))
    }

    /// The findings of the rules within `scope`. If the environment does not resolve, only its problems are returned.
    ///
    /// # Errors
    /// When a source cannot be read.
    pub(super) fn judge(
        &self,
        rules: &[Rule],
        scope: CheckScope<'_>,
        schemas: &mut Schemas,
    ) -> Result<Vec<(FindingSeverity, Problem)>, TreeError> {
        let problems = |problems: Vec<Problem>, severity| {
            problems.into_iter().map(move |problem| (severity, problem))
        };
        if !self.problems.is_empty() {
            return Ok(problems(self.problems.clone(), FindingSeverity::Problem).collect());
        }
        let reaches_placeholders = scope.reaches_placeholders();
        let effective = OnceCell::new();
        let mut found = self.foreign.clone();
        for rule in rules {
            match rule {
                Rule::Placeholders(strictness) if reaches_placeholders => {
                    let severity = match strictness {
                        Strictness::Lenient => FindingSeverity::Warning,
                        Strictness::Strict => FindingSeverity::Problem,
                    };
                    let left = placeholders::unresolved(
                        &self.environment,
                        effective.get_or_init(|| EffectiveProperties::of(&self.environment)),
                    );
                    found.extend(problems(left, severity));
                    found.extend(problems(self.notices.clone(), severity));
                }
                Rule::Schema(strictness) if !self.schemas.is_empty() => {
                    let broken = self.violations(&effective, *strictness, scope, schemas)?;
                    found.extend(problems(broken, FindingSeverity::Problem));
                }
                Rule::Entries
                | Rule::Schema(_)
                | Rule::Placeholders(_)
                | Rule::Contracts
                | Rule::Plan => {}
            }
        }
        Ok(found)
    }

    /// The violations of all schemas within `scope`, and the problems of invalid schemas.
    fn violations<'a>(
        &'a self,
        effective: &OnceCell<EffectiveProperties<'a>>,
        strictness: Strictness,
        scope: CheckScope<'_>,
        schemas: &mut Schemas,
    ) -> Result<Vec<Problem>, TreeError> {
        let environment = &self.environment;
        let whose = format!("{}/{}", environment.application, environment.profiles);
        let mut found = Vec::new();
        for schema in &self.schemas {
            match schemas.get(schema)? {
                Ok(schema) if scope.reaches(&schema) => {
                    let effective = effective.get_or_init(|| EffectiveProperties::of(environment));
                    let broken =
                        schema::violations(&schema, environment, effective, &whose, strictness);
                    found.extend(broken);
                }
                Ok(_) => {}
                Err(problem) => found.push(problem),
            }
        }
        Ok(found)
    }
}

/// The part of an environment to judge.
#[derive(Clone, Copy)]
pub(super) enum CheckScope<'a> {
    Everything,
    /// Everything that the differences can affect.
    Differences {
        differences: &'a [PropertyDifference<'a>],
        /// True if a placeholder may resolve to another value.
        reaches_placeholders: bool,
    },
}

impl<'a> CheckScope<'a> {
    pub(super) fn of(differences: &'a [PropertyDifference<'a>], after: &Resolution) -> Self {
        let sources = &after.environment.sources;
        let reaches_placeholders = impact::reaches_placeholders(differences, sources);
        Self::Differences { differences, reaches_placeholders }
    }

    pub(super) fn reaches_placeholders(self) -> bool {
        match self {
            Self::Everything => true,
            Self::Differences { reaches_placeholders, .. } => reaches_placeholders,
        }
    }

    /// Returns true if the result of a schema may differ. An added or removed key can change the structure around it.
    fn reaches(self, schema: &Schema) -> bool {
        match self {
            Self::Everything => true,
            Self::Differences { differences, reaches_placeholders } => {
                let concerns = |it: &PropertyDifference<'_>| {
                    !it.is_of_value_only() || schema.depends_on(it.key)
                };
                reaches_placeholders || differences.iter().any(concerns)
            }
        }
    }
}
