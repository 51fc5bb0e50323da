//! Opening of the configured sources, for a server and for commands.

mod etcd;
mod remotes;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use headwater_etcd::Cluster;
use tokio::runtime::Handle;

use crate::data::{DataDirectory, DataError};
use crate::push::{self, HostedSource, Replication, RepositoryError};
use crate::settings::{Settings, SourceSettings};
use crate::source::composite::Composite;
use crate::source::etcd::EtcdSource;
use crate::source::git::Incoming;
use crate::source::{self, Findings, OpenError, OpenOptions, Source};

pub(crate) use etcd::shared_cluster;

/// The reasons for which the configured sources cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpeningError {
    /// A source cannot be opened.
    #[error(transparent)]
    Source(#[from] OpenError),
    /// The data directory cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A hosted repository cannot be used.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// A source is the repository of the policy.
    #[error(
        "{0}: the repository of the policy cannot be a source of configuration too, because its readers would receive \
         the policy. Remove the source"
    )]
    ServedPolicy(String),
}

/// Opens the sources of the settings, for a command that reads them and does not serve.
///
/// # Errors
/// When a source cannot be opened, or belongs to a running server.
pub async fn open_source(settings: &Settings) -> Result<Arc<dyn Source>, OpenError> {
    let mut sources = Vec::new();
    for source in &settings.sources {
        sources.push(open_one(source, settings).await?);
    }
    Ok(composed(settings, sources))
}

/// Opens one source. A source in etcd has been read when this returns, or is unreachable.
///
/// # Errors
/// As for [`open_source`].
pub async fn open_one(
    source: &SourceSettings,
    settings: &Settings,
) -> Result<Arc<dyn Source>, OpenError> {
    if etcd::is_meant(source) {
        Ok(open_etcd(source, settings).await?)
    } else {
        open_in_place(source, settings, options(source))
    }
}

/// Opens a prefix in etcd, for a command that reads or publishes.
///
/// # Errors
/// When its address or its credentials cannot be used.
pub async fn open_etcd(
    source: &SourceSettings,
    settings: &Settings,
) -> Result<Arc<EtcdSource>, OpenError> {
    let opened = etcd::open(source, settings, &Handle::current())?;
    opened.settled().await;
    Ok(opened)
}

/// Mirrors a remote repository into an empty directory, for as long as the source lives.
///
/// # Errors
/// When its address, its credentials or the directory cannot be used.
pub fn open_mirrored(
    source: &SourceSettings,
    settings: &Settings,
    place: &Path,
) -> Result<Arc<dyn Source>, OpeningError> {
    let mut data = DataDirectorySlot { path: place, held: None };
    remotes::Remotes::new(settings, &Handle::current()).open(source, options(source), &mut data)
}

/// True for a remote repository, which is mirrored.
pub fn is_mirrored(source: &SourceSettings) -> bool {
    remotes::is_mirrored(source)
}

/// Composes the opened sources of the settings, in their order.
pub fn composed(settings: &Settings, mut sources: Vec<Arc<dyn Source>>) -> Arc<dyn Source> {
    if sources.len() == 1 && settings.sources[0].patterns.is_empty() {
        return sources.remove(0);
    }
    let names: Vec<&str> = sources.iter().map(|source| source.name()).collect();
    let name = names.join(",");
    Arc::new(Composite::new(name, sources, settings.fail_on_composite_error))
}

/// Opens a source in place. A hosted repository is read like any other one, because its server owns the data directory.
fn open_in_place(
    source: &SourceSettings,
    settings: &Settings,
    options: OpenOptions,
) -> Result<Arc<dyn Source>, OpenError> {
    let Some(name) = hosted_name(source) else {
        return source::open(&source.uri, options);
    };
    let path = push::path_of(&settings.data, name)
        .map_err(|_| OpenError::Malformed { reason: "hosted: needs the name of a repository" })?;
    source::open_path(path, &source.uri, options)
}

fn hosted_name(source: &SourceSettings) -> Option<&str> {
    source.uri.strip_prefix("hosted:")
}

/// The sources of a server, with the resources that they need.
pub struct OpenedSources {
    /// All sources as one.
    pub(crate) source: Arc<dyn Source>,
    /// The hosted repositories among them.
    pub(crate) hosted: Vec<HostedSource>,
    /// The hosted repository of the policy, which is no source.
    pub(crate) policy: Option<HostedSource>,
    /// The data directory, if it has hosted repositories.
    pub(crate) data: Option<Arc<DataDirectory>>,
}

impl OpenedSources {
    /// One source, without a data directory.
    pub fn over(source: Arc<dyn Source>) -> Self {
        Self { source, hosted: Vec::new(), policy: None, data: None }
    }
}

/// The data directory, which is made and locked when a source needs it.
struct DataDirectorySlot<'a> {
    path: &'a Path,
    held: Option<Arc<DataDirectory>>,
}

impl DataDirectorySlot<'_> {
    fn take(&mut self) -> Result<Arc<DataDirectory>, DataError> {
        if let Some(held) = &self.held {
            return Ok(Arc::clone(held));
        }
        Ok(Arc::clone(self.held.insert(Arc::new(DataDirectory::open(self.path)?))))
    }
}

/// Opens the sources of a server. Repositories are hosted and remotes mirrored from now on. The files of `policy_seed`
/// become the first commit of the repository of the policy.
pub(crate) fn open_to_serve(
    settings: &Settings,
    policy_seed: Option<PathBuf>,
    shared: Option<&Cluster>,
    runtime: &Handle,
) -> Result<OpenedSources, OpeningError> {
    let mut data = DataDirectorySlot { path: &settings.data, held: None };
    let mut remotes = remotes::Remotes::new(settings, runtime);
    let (mut sources, mut hosted) = (Vec::new(), Vec::<HostedSource>::new());
    for source in &settings.sources {
        if let Some(name) = hosted_name(source) {
            if hosted.iter().any(|known| known.name == name) {
                return Err(RepositoryError::Duplicate(name.to_owned()).into());
            }
            let data = data.take()?;
            let opened = host(name, source, &data, shared)?;
            sources.push(opened.source());
            hosted.push(opened);
        } else if etcd::is_meant(source) {
            sources.push(etcd::open(source, settings, runtime)?);
        } else if remotes::is_mirrored(source) {
            sources.push(remotes.open(source, served(source), &mut data)?);
        } else {
            sources.push(open_in_place(source, settings, served(source))?);
        }
    }
    let policy = match settings.access.policy_repository() {
        Some(name) => {
            let data = data.take()?;
            Some(host_policy(name, settings, policy_seed, &data, shared)?)
        }
        None => None,
    };
    let data = data.held.filter(|_| !hosted.is_empty() || policy.is_some());
    Ok(OpenedSources { source: composed(settings, sources), hosted, policy, data })
}

/// Opens the hosted repository of the policy.
fn host_policy(
    name: &str,
    settings: &Settings,
    seed: Option<PathBuf>,
    data: &DataDirectory,
    shared: Option<&Cluster>,
) -> Result<HostedSource, OpeningError> {
    let source = SourceSettings {
        uri: settings.access.policy.clone().unwrap_or_default(),
        seed,
        ..SourceSettings::default()
    };
    let opened = host(name, &source, data, shared)?;
    let own = opened.path.canonicalize().unwrap_or_else(|_| opened.path.clone());
    for source in &settings.sources {
        let path = source::path_of(&source.uri).ok().and_then(|path| path.canonicalize().ok());
        if path.is_some_and(|path| path.starts_with(&own)) {
            return Err(OpeningError::ServedPolicy(source.uri.clone()));
        }
    }
    Ok(opened)
}

/// Opens a hosted repository. The first commit of a shared one waits until etcd is known to have none.
fn host(
    name: &str,
    source: &SourceSettings,
    data: &DataDirectory,
    shared: Option<&Cluster>,
) -> Result<HostedSource, OpeningError> {
    let seed = source.seed.as_deref();
    let path = push::prepare(data.path(), name, seed.filter(|_| shared.is_none()))?;
    let opened = source::open_hosted(&source.uri, path.clone(), options(source))?;
    let replication = shared.map(|cluster| Replication::new(cluster.clone(), name, &path, seed));
    Ok(HostedSource { name: name.to_owned(), path, source: Arc::new(opened), replication })
}

/// Opens a repository of another git server, with the objects that it is receiving.
///
/// # Errors
/// When there is no repository, or none that can be read.
pub fn open_incoming(
    settings: &SourceSettings,
    git_directory: &Path,
    object_directories: Vec<PathBuf>,
) -> Result<Incoming, OpenError> {
    source::open_incoming(git_directory, object_directories, &options(settings))
}

/// The options of a source, from its settings.
pub fn options(settings: &SourceSettings) -> OpenOptions {
    OpenOptions {
        name: settings.name.clone(),
        default_label: settings.default_label.clone(),
        search_paths: settings.search_paths.clone(),
        patterns: settings.patterns.clone(),
        toml: settings.reads_toml(),
        json: settings.json,
        findings: Findings::default(),
    }
}

/// The options for a server, which also reports findings about repositories that it did not make.
fn served(settings: &SourceSettings) -> OpenOptions {
    let findings =
        Findings { default_label: true, unfetched_remote: settings.follow_origin.is_none() };
    OpenOptions { findings, ..options(settings) }
}
