//! Opens and loads sources for commands that read them without a server.

use std::sync::Arc;

use anyhow::Context;
use tokio::runtime::Runtime;

use super::progress::ProgressLine;
use crate::catalog::{Catalog, catalog};
use crate::model::Label;
use crate::opening;
use crate::settings::{Flags, Settings, SourceSettings};
use crate::snapshot::Snapshot;
use crate::source::{RemoteStatus, Source, SourceError};

/// The stack of a thread for background work. The steps of a push are deep, and deeper in a build without optimisation.
const STACK_BYTES: usize = 4 * 1024 * 1024;

/// A runtime for one command.
pub(super) fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()
        .context("cannot start")
}

/// Loads the settings of a command that reads a source itself.
pub(super) fn settings(source: &[String]) -> anyhow::Result<Settings> {
    Ok(Settings::load(Flags { source: source.to_vec(), ..Flags::default() })?)
}

/// Opens the sources of the settings. A source that follows a remote or etcd does so for as long as the runtime lives.
pub(super) fn open(settings: &Settings, runtime: &Runtime) -> anyhow::Result<Arc<dyn Source>> {
    Ok(runtime.block_on(opening::open_source(settings))?)
}

/// The settings of the source with this address. An address without an entry gets default settings.
pub(super) fn described(uri: &str, settings: &Settings) -> SourceSettings {
    let base = |uri: &str| uri.trim_end_matches('/').to_owned();
    let found = settings.sources.iter().find(|source| base(&source.uri) == base(uri));
    found.cloned().unwrap_or_else(|| SourceSettings { uri: uri.to_owned(), ..Default::default() })
}

/// Loads a label. The first fetch of a remote is waited for.
pub(super) async fn load(source: &dyn Source, label: &Label) -> Result<Snapshot, SourceError> {
    let remotes = source.remotes();
    let _progress = is_first_copy(&remotes).then(|| first_copy(source.name()));
    loop {
        let found = source.load(label, None).await;
        match found {
            // Bounded: the source waits for some seconds in each round, and a fetch has a time limit.
            Err(SourceError::Unavailable { .. }) if is_first_copy(&source.remotes()) => {}
            found => return found,
        }
    }
}

/// True while all remotes are being copied for the first time.
pub(super) fn is_first_copy(remotes: &[RemoteStatus]) -> bool {
    !remotes.is_empty()
        && remotes.iter().all(|it| it.failure.is_none() && it.fetched_before.is_none())
}

/// Shows that a remote is being copied.
pub(super) fn first_copy(name: &str) -> ProgressLine {
    ProgressLine::uncounted(&format!("copying {name} for the first time"))
}

/// The catalogue of a source at a label, for a user whose request matched nothing.
pub(super) fn catalog_of_source(source: &[String], label: &Label) -> Option<Catalog> {
    let read = || -> anyhow::Result<Catalog> {
        let runtime = runtime()?;
        let source = open(&settings(source)?, &runtime)?;
        Ok(catalog(&runtime.block_on(load(&*source, label))?)?)
    };
    read().ok()
}
