//! From a configuration to what the program gets: variables, and files that are rendered, checked and put in place, all
//! of them or none.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use headwater_client::{Client, Configuration, Error};

use super::command;
use super::file::{self, Access, Staged};
use super::form;
use super::template;
use super::values::Values;
use super::variables::{self, Rules, Variables};

/// How long a check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(60);

/// A file to render.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) template: Template,
    pub(super) path: PathBuf,
}

/// What a file is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Template {
    Yaml,
    Properties,
    Json,
    /// Variables as lines.
    Env,
    /// A template on this machine.
    Local(PathBuf),
    /// A text of the server, which resolves its placeholders.
    Text(String),
    /// A template that the server keeps.
    Remote(String),
}

/// How everything is made.
pub(super) struct Recipe {
    pub(super) client: Client,
    pub(super) rules: Rules,
    /// Whether the program gets variables.
    pub(super) environment: Environment,
    pub(super) targets: Vec<Target>,
    pub(super) access: Access,
    /// A command that a new file must pass; the path is added to it.
    pub(super) check: Option<String>,
}

/// Whether configuration goes into the environment of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Environment {
    Variables,
    Untouched,
}

/// What the program gets now.
pub(super) struct Prepared {
    /// What all of it was made from.
    pub(super) configuration: Configuration,
    pub(super) variables: BTreeMap<String, String>,
    pub(super) files: Files,
}

/// Whether any file differs from what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Files {
    Same,
    Replaced,
}

impl Recipe {
    /// Whether something is fetched that changes without the environment.
    pub(super) fn asks_for_texts(&self) -> bool {
        let is_fetched =
            |it: &Target| matches!(it.template, Template::Text(_) | Template::Remote(_));
        self.targets.iter().any(is_fetched)
    }

    /// Renders everything, checks it and puts it in place.
    ///
    /// # Errors
    /// Says which file or key is wrong and why; nothing has been replaced then, or what the message says.
    pub(super) async fn prepare(&self, configuration: &Configuration) -> anyhow::Result<Prepared> {
        let values = Arc::new(Values::of(configuration));
        for problem in values.unanswered() {
            tracing::warn!(problem, "a placeholder is left as it is");
        }
        let variables = match self.environment {
            Environment::Variables => self.variables(&values)?,
            Environment::Untouched => Variables::default(),
        };
        let staged = self.stage(configuration, &values).await?;
        let files = if staged.is_empty() { Files::Same } else { Files::Replaced };
        tokio::task::spawn_blocking(move || staged.into_iter().try_for_each(replace)).await??;
        let configuration = configuration.clone();
        Ok(Prepared { configuration, variables: variables.by_name, files })
    }

    fn variables(&self, values: &Values) -> anyhow::Result<Variables> {
        let variables = variables::variables(&values.0, &self.rules)?;
        for variable in &variables.left_out {
            tracing::warn!(variable, "a key would set a protected variable and does not");
        }
        Ok(variables)
    }

    /// The files that differ, written beside their places and checked.
    async fn stage(
        &self,
        configuration: &Configuration,
        values: &Arc<Values>,
    ) -> anyhow::Result<Vec<Staged>> {
        let mut staged = Vec::new();
        for target in &self.targets {
            let text = self.text(target, configuration, values).await;
            let Some(text) = text.with_context(|| target.path.display().to_string())? else {
                continue;
            };
            let (path, access) = (target.path.clone(), self.access);
            let written =
                tokio::task::spawn_blocking(move || file::stage(&path, &text, access)).await?;
            staged.extend(
                written.with_context(|| format!("cannot write {}", target.path.display()))?,
            );
        }
        for file in &staged {
            self.check(file).await?;
        }
        Ok(staged)
    }

    /// The text of a file; `None` where it cannot be had now and the one in its place stays.
    async fn text(
        &self,
        target: &Target,
        configuration: &Configuration,
        values: &Arc<Values>,
    ) -> anyhow::Result<Option<String>> {
        match &target.template {
            Template::Yaml => Ok(Some(form::yaml(values)?)),
            Template::Json => Ok(Some(form::json(values)?)),
            Template::Properties => Ok(Some(form::properties(values))),
            Template::Env => Ok(Some(form::env(&self.variables(values)?))),
            Template::Text(name) => {
                self.fetched(target, configuration, self.client.text(name)).await
            }
            Template::Remote(name) => {
                let asked = self.client.text_as_written(name);
                let Some(text) = self.fetched(target, configuration, asked).await? else {
                    return Ok(None);
                };
                let (name, values) = (name.clone(), Arc::clone(values));
                let rendered = move || Ok(template::render(&name, &text, &values)?);
                tokio::task::spawn_blocking(rendered).await?.map(Some)
            }
            Template::Local(path) => {
                let (path, values) = (path.clone(), Arc::clone(values));
                let rendered = move || {
                    let text = read(&path)?;
                    Ok(template::render(&path.display().to_string(), &text, &values)?)
                };
                tokio::task::spawn_blocking(rendered).await?.map(Some)
            }
        }
    }

    /// A text of the server. While none answers, the file of before is its last known good copy.
    async fn fetched(
        &self,
        target: &Target,
        configuration: &Configuration,
        asked: impl Future<Output = Result<String, Error>>,
    ) -> anyhow::Result<Option<String>> {
        let failure = match configuration.is_stale() {
            true => anyhow!("no server answers, and there is no file of before"),
            false => match asked.await {
                Ok(text) => return Ok(Some(text)),
                Err(error @ Error::Deadline(_)) => error.into(),
                Err(error) => return Err(error.into()),
            },
        };
        if !target.path.is_file() {
            return Err(failure);
        }
        tracing::warn!(
            file = %target.path.display(), "no server answers: the file stays as it was, stale"
        );
        Ok(None)
    }

    async fn check(&self, file: &Staged) -> anyhow::Result<()> {
        let Some(check) = &self.check else {
            return Ok(());
        };
        let target = file.target().display();
        let checked = command::with_path(check, file.path(), file.target(), CHECK_TIMEOUT).await;
        let status = checked.with_context(|| format!("{target}: cannot run the check"))?;
        if !status.success() {
            bail!("{target}: the check refuses the new file ({status})");
        }
        Ok(())
    }
}

fn replace(file: Staged) -> anyhow::Result<()> {
    let target = file.target().display().to_string();
    file.replace().with_context(|| format!("cannot replace {target}"))?;
    tracing::info!(file = target, "replaced");
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<String> {
    let what = || format!("cannot read the template {}", path.display());
    let limit = template::LENGTH_MAX as u64;
    let mut text = String::new();
    let file = File::open(path).with_context(what)?;
    file.take(limit + 1).read_to_string(&mut text).with_context(what)?;
    if text.len() as u64 > limit {
        bail!("the template {} is longer than {limit} bytes", path.display());
    }
    Ok(text)
}
