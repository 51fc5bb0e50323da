//! From a configuration to what the program gets: variables, and files that are rendered, checked and put in place, all
//! of them or none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use headwater_client::{Client, Configuration, Error};

use super::command;
use super::file::{self, FileAccess, StagedFile};
use super::form;
use super::template;
use super::values::KeyValues;
use super::variables::{self, VariableRules, Variables};
use crate::regular_file;

/// The time limit of a check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(60);

/// A file to render.
#[derive(Debug, Clone)]
pub(super) struct FileTarget {
    pub(super) template: TemplateSource,
    pub(super) path: PathBuf,
}

impl FileTarget {
    /// True if the server sends the text or the template.
    fn is_fetched(&self) -> bool {
        matches!(self.template, TemplateSource::Text(_) | TemplateSource::Remote(_))
    }
}

/// The template, or the form, that a file is rendered from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TemplateSource {
    Yaml,
    Properties,
    Json,
    /// Variables as lines.
    Env,
    /// A template on this machine.
    Local(PathBuf),
    /// A text of the server, with placeholders that the server resolves.
    Text(String),
    /// A template that the server keeps.
    Remote(String),
}

/// The options for variables and files.
pub(super) struct Recipe {
    pub(super) client: Client,
    pub(super) rules: VariableRules,
    /// Variables for the program, or none.
    pub(super) environment: ProgramEnvironment,
    pub(super) targets: Vec<FileTarget>,
    pub(super) access: FileAccess,
    /// A command that must accept a new file. The path is added to it.
    pub(super) check: Option<String>,
}

/// The environment of the program: with configuration or without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProgramEnvironment {
    Variables,
    Untouched,
}

/// The variables and files of a configuration.
pub(super) struct PreparedInputs {
    /// The configuration that they are made from.
    pub(super) configuration: Configuration,
    pub(super) variables: BTreeMap<String, String>,
    pub(super) files: FileEffect,
}

/// The effect on the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileEffect {
    Same,
    Replaced,
}

/// The part of the preparation that failed, as the reason that servers receive. It names a file and no value.
#[derive(Debug, thiserror::Error)]
#[error("{place}")]
struct FailedPart {
    /// The beginning of the message.
    place: String,
    /// A word and a path.
    reason: String,
}

impl FailedPart {
    fn new(word: &str, path: &Path, place: String) -> Self {
        Self { place, reason: format!("{word} {}", path.display()) }
    }
}

/// Returns the reason for a failed preparation, as servers receive it.
pub(super) fn reason(problem: &anyhow::Error) -> String {
    if let Some(part) = problem.downcast_ref::<FailedPart>() {
        return part.reason.clone();
    }
    problem.downcast_ref::<Error>().map_or_else(|| "invalid".to_owned(), Error::reason)
}

impl Recipe {
    /// True if a text of the server is fetched. It can change without the environment.
    pub(super) fn fetches_texts(&self) -> bool {
        self.targets.iter().any(FileTarget::is_fetched)
    }

    /// True if a configuration that is not published can be tried: there is a check, and a file that is rendered from the
    /// configuration alone. A text of the server is rendered from what is published.
    pub(super) fn tries(&self) -> bool {
        self.check.is_some() && self.targets.iter().any(|target| !target.is_fetched())
    }

    /// Renders the files of a configuration that is not published, and checks them. Nothing is put in place, and nothing
    /// remains.
    ///
    /// # Errors
    /// As for [`Recipe::prepare`].
    pub(super) async fn try_out(&self, configuration: &Configuration) -> anyhow::Result<()> {
        let values = Arc::new(KeyValues::of(configuration));
        if self.environment == ProgramEnvironment::Variables {
            variables::variables(&values.0, &self.rules)?;
        }
        let targets: Vec<_> = self.targets.iter().filter(|target| !target.is_fetched()).collect();
        // The staged files are deleted when they are dropped.
        self.stage(&targets, configuration, &values).await.map(drop)
    }

    /// Renders everything, checks it and puts it in place.
    ///
    /// # Errors
    /// Names the file or the key, and the reason. Then no file has been replaced, except the files that the message names.
    pub(super) async fn prepare(
        &self,
        configuration: &Configuration,
    ) -> anyhow::Result<PreparedInputs> {
        let values = Arc::new(KeyValues::of(configuration));
        for problem in values.unanswered() {
            tracing::warn!(problem, "a placeholder has no value and stays as it is");
        }
        let variables = match self.environment {
            ProgramEnvironment::Variables => self.variables(&values)?,
            ProgramEnvironment::Untouched => Variables::default(),
        };
        let targets: Vec<_> = self.targets.iter().collect();
        let staged = self.stage(&targets, configuration, &values).await?;
        let files = if staged.is_empty() { FileEffect::Same } else { FileEffect::Replaced };
        tokio::task::spawn_blocking(move || staged.into_iter().try_for_each(replace)).await??;
        let configuration = configuration.clone();
        Ok(PreparedInputs { configuration, variables: variables.by_name, files })
    }

    fn variables(&self, values: &KeyValues) -> anyhow::Result<Variables> {
        let variables = variables::variables(&values.0, &self.rules)?;
        for variable in &variables.left_out {
            tracing::warn!(variable, "a key names a protected variable, which is not set");
        }
        Ok(variables)
    }

    /// The files that differ, written beside their places and checked.
    async fn stage(
        &self,
        targets: &[&FileTarget],
        configuration: &Configuration,
        values: &Arc<KeyValues>,
    ) -> anyhow::Result<Vec<StagedFile>> {
        let mut staged = Vec::new();
        for target in targets {
            let text = self.text(target, configuration, values).await;
            let failed =
                || FailedPart::new("file", &target.path, target.path.display().to_string());
            let Some(text) = text.with_context(failed)? else {
                continue;
            };
            let (path, access) = (target.path.clone(), self.access);
            let written =
                tokio::task::spawn_blocking(move || file::stage(&path, &text, access)).await?;
            staged.extend(written.with_context(|| {
                let place = format!("cannot write {}", target.path.display());
                FailedPart::new("write", &target.path, place)
            })?);
        }
        for file in &staged {
            self.check(file).await?;
        }
        Ok(staged)
    }

    /// The text of a file. `None` if the servers are unreachable, and the file stays as it is.
    async fn text(
        &self,
        target: &FileTarget,
        configuration: &Configuration,
        values: &Arc<KeyValues>,
    ) -> anyhow::Result<Option<String>> {
        match &target.template {
            TemplateSource::Yaml => Ok(Some(form::yaml(values)?)),
            TemplateSource::Json => Ok(Some(form::json(values)?)),
            TemplateSource::Properties => Ok(Some(form::properties(values))),
            TemplateSource::Env => Ok(Some(form::env(&self.variables(values)?))),
            TemplateSource::Text(name) => {
                self.fetch(target, configuration, self.client.text(name)).await
            }
            TemplateSource::Remote(name) => {
                let request = self.client.text_as_written(name);
                let Some(text) = self.fetch(target, configuration, request).await? else {
                    return Ok(None);
                };
                let (name, values) = (name.clone(), Arc::clone(values));
                let rendered = move || Ok(template::render(&name, &text, &values)?);
                tokio::task::spawn_blocking(rendered).await?.map(Some)
            }
            TemplateSource::Local(path) => {
                let (path, values) = (path.clone(), Arc::clone(values));
                let rendered = move || {
                    let text = read(&path)?;
                    Ok(template::render(&path.display().to_string(), &text, &values)?)
                };
                tokio::task::spawn_blocking(rendered).await?.map(Some)
            }
        }
    }

    /// A text of the server. While no server is reachable, the earlier file is its last known good copy.
    async fn fetch(
        &self,
        target: &FileTarget,
        configuration: &Configuration,
        request: impl Future<Output = Result<String, Error>>,
    ) -> anyhow::Result<Option<String>> {
        let failure = if configuration.is_stale() {
            anyhow!("no server is reachable, and there is no earlier file")
        } else {
            match request.await {
                Ok(text) => return Ok(Some(text)),
                Err(error @ Error::Deadline(_)) => error.into(),
                Err(error) => return Err(error.into()),
            }
        };
        if !target.path.is_file() {
            return Err(failure);
        }
        tracing::warn!(
            file = %target.path.display(), "no server is reachable: keeping the stale file"
        );
        Ok(None)
    }

    async fn check(&self, file: &StagedFile) -> anyhow::Result<()> {
        let Some(check) = &self.check else {
            return Ok(());
        };
        let target = file.target().display();
        let checked = command::with_path(check, file.path(), file.target(), CHECK_TIMEOUT).await;
        let status = checked.with_context(|| {
            FailedPart::new("check", file.target(), format!("{target}: cannot run the check"))
        })?;
        if !status.success() {
            let place = format!("{target}: the check command rejected the new file ({status})");
            return Err(FailedPart::new("check", file.target(), place).into());
        }
        Ok(())
    }
}

fn replace(file: StagedFile) -> anyhow::Result<()> {
    let target = file.target().display().to_string();
    file.replace().with_context(|| format!("cannot replace {target}"))?;
    tracing::info!(file = target, "replaced");
    Ok(())
}

/// A template is read again on each change, so that a pipe in its place must not be waited for.
fn read(path: &Path) -> anyhow::Result<String> {
    regular_file::read_text(path, template::LENGTH_MAX as u64)
        .with_context(|| format!("cannot read the template {}", path.display()))
}
