//! Opens Headwater's side of the comparison: a running server, or sources in this process.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use tempfile::TempDir;

use super::CompareArguments;
use super::local::LocalStore;
use super::remote::{RemoteCredentials, RemoteServer};
use super::subject::HeadwaterSide;
use crate::cli::sources;
use crate::model::Label;
use crate::opening;
use crate::settings::{Flags, Settings, SourceSettings};
use crate::source::{Source, SourceError};

/// The text of a file that holds a secret, without the line break at its end.
pub(super) fn secret(what: &str, path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("the {what} {} cannot be read", path.display()))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        bail!("the {what} {} is empty", path.display());
    }
    Ok(text.to_owned())
}

/// Certificates (PEM).
pub(super) fn certificates(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("the CA file {} cannot be read", path.display()))
}

/// Opens Headwater's side.
pub(super) async fn open(arguments: &CompareArguments) -> anyhow::Result<HeadwaterSide> {
    let settings = settings(arguments)?;
    if let [source] = &settings.sources[..]
        && is_server(source)
    {
        let credentials = match &arguments.token_file {
            Some(path) => RemoteCredentials::TokenFile(path.clone()),
            None => RemoteCredentials::None,
        };
        let remote = RemoteServer::new(&source.uri, credentials, arguments.limits()?)
            .context("the URL of the running Headwater cannot be used")?;
        let known = remote
            .catalog(&Label::Default)
            .await
            .context("a git URL ends in .git, or is the uri of a [[source]] in headwater.toml");
        known?;
        return Ok(HeadwaterSide::Running(Box::new(remote)));
    }
    let (mut sources, mut mirrors) = (Vec::new(), Vec::new());
    for source in &settings.sources {
        sources.push(open_one(source, &settings, &mut mirrors).await?);
    }
    Ok(HeadwaterSide::Opened(Box::new(LocalStore::new(sources, &settings, mirrors))))
}

/// The settings, with the sources that the command line names. A source that the settings describe keeps what they say.
fn settings(arguments: &CompareArguments) -> anyhow::Result<Settings> {
    let config = arguments.config.clone();
    let described = Settings::load(Flags { config: config.clone(), ..Flags::default() })?;
    let source = arguments.source.clone();
    let mut settings = Settings::load(Flags { config, source, ..Flags::default() })?;
    if !arguments.source.is_empty() {
        for source in &mut settings.sources {
            *source = sources::described(&source.uri, &described);
        }
    }
    if !arguments.search_paths.is_empty() {
        for source in &mut settings.sources {
            source.search_paths.clone_from(&arguments.search_paths);
        }
    }
    Ok(settings)
}

/// True for the address of a server. The address of a repository ends in `.git`, or has settings of its own.
fn is_server(source: &SourceSettings) -> bool {
    let is_http = source.uri.starts_with("http://") || source.uri.starts_with("https://");
    let is_bare = *source == SourceSettings { uri: source.uri.clone(), ..Default::default() };
    is_http && is_bare && !source.uri.trim_end_matches('/').ends_with(".git")
}

async fn open_one(
    source: &SourceSettings,
    settings: &Settings,
    mirrors: &mut Vec<TempDir>,
) -> anyhow::Result<Arc<dyn Source>> {
    if !opening::is_mirrored(source) {
        return Ok(opening::open_one(source, settings).await?);
    }
    let place = tempfile::tempdir().context("cannot make a temporary directory for the mirror")?;
    let opened = opening::open_mirrored(source, settings, place.path())?;
    mirrors.push(place);
    // The first copy is there, or cannot be made.
    match sources::load(&*opened, &Label::Default).await {
        Ok(_) | Err(SourceError::UnknownLabel(_)) => Ok(opened),
        Err(error) => Err(error.into()),
    }
}
