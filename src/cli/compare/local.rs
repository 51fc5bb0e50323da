//! Headwater in this process: the sources that it would serve, and the answers that it would give.

use std::collections::BTreeSet;
use std::sync::Arc;

use tempfile::TempDir;

use super::answer::{AskError, KnownLabel, ReceivedEnvironment, SideAnswer};
use super::text::{ComparedText, FlatForm, flat_query};
use crate::access::{Caller, Policy};
use crate::model::{Label, Query, SHARED_APPLICATION};
use crate::opening;
use crate::placeholder;
use crate::render::Representation;
use crate::render::flat::{self, PlaceholderMode};
use crate::resolve;
use crate::server;
use crate::settings::Settings;
use crate::snapshot::Snapshot;
use crate::source::Source;
use crate::store::{AnswerAt, AnswerError, Content, Reader, Store};

/// The status of a request without content.
const NOT_FOUND: u16 = 404;
/// The extensions by which files outside of the search paths are taken for configuration: most XML there is not.
const USUAL: [&str; 3] = [".properties", ".yml", ".yaml"];
/// The status of a request whose content cannot be used.
const BROKEN: u16 = 500;

/// Sources that this process reads.
pub(super) struct LocalStore {
    source: Arc<dyn Source>,
    store: Arc<Store>,
    pub(super) bases: Vec<String>,
    /// The copies of remotes, which the source goes on reading.
    _mirrors: Vec<TempDir>,
}

impl LocalStore {
    pub(super) fn new(
        sources: Vec<Arc<dyn Source>>,
        settings: &Settings,
        mirrors: Vec<TempDir>,
    ) -> Self {
        let bases = sources.iter().map(|source| source.name().to_owned()).collect();
        let source = opening::composed(settings, sources);
        let runtime = tokio::runtime::Handle::current();
        let answers = server::answer_settings(settings);
        let store = Store::new(Arc::clone(&source), answers, Policy::Open, runtime);
        Self { source, store, bases, _mirrors: mirrors }
    }

    pub(super) fn name(&self) -> &str {
        self.source.name()
    }

    pub(super) async fn environment(
        &self,
        query: &Query,
    ) -> Result<SideAnswer<ReceivedEnvironment>, AskError> {
        let current = match self.current(query).await? {
            SideAnswer::Content(current) => current,
            SideAnswer::Refused(status) => return Ok(SideAnswer::Refused(status)),
        };
        let is_held_back = current.answer.held_revisions().next().is_some();
        let Some(served) = current.served() else { return Ok(SideAnswer::Refused(BROKEN)) };
        let bytes = served.body(Representation::V1, &current.revision).whole();
        let environment = serde_json::from_slice(&bytes)
            .map_err(|_| AskError::Fatal("Headwater made an environment that is not one".into()))?;
        Ok(SideAnswer::Content(ReceivedEnvironment { environment, is_held_back }))
    }

    pub(super) async fn text(
        &self,
        query: &Query,
        text: &ComparedText,
    ) -> Result<SideAnswer<Vec<u8>>, AskError> {
        match text {
            ComparedText::Flat(form) => self.flat(&flat_query(query), *form).await,
            ComparedText::File(path) => self.file(query, path).await,
        }
    }

    async fn flat(&self, query: &Query, form: FlatForm) -> Result<SideAnswer<Vec<u8>>, AskError> {
        let current = match self.current(query).await? {
            SideAnswer::Content(current) => current,
            SideAnswer::Refused(status) => return Ok(SideAnswer::Refused(status)),
        };
        let Some(served) = current.served() else { return Ok(SideAnswer::Refused(BROKEN)) };
        let written = match form {
            FlatForm::Yml => flat::yaml(&served.environment, PlaceholderMode::Resolve),
            FlatForm::Properties => flat::properties(&served.environment, PlaceholderMode::Resolve),
            FlatForm::Json => flat::json(&served.environment, PlaceholderMode::Resolve),
        };
        Ok(match written {
            Ok(text) => SideAnswer::Content(text.into_bytes()),
            Err(flat::FlatError::ShapeConflict { .. }) => SideAnswer::Refused(BROKEN),
            Err(_) => SideAnswer::Refused(400),
        })
    }

    async fn file(&self, query: &Query, path: &str) -> Result<SideAnswer<Vec<u8>>, AskError> {
        let lookup = match self
            .store
            .find_template(&Caller::Operator, &Reader::default(), query, path)
            .await
        {
            Ok(lookup) => lookup,
            Err(error) => return refused(error),
        };
        let Some(template) = lookup.found else {
            return Ok(SideAnswer::Refused(NOT_FOUND));
        };
        if let Content::Broken(_) = &*template.answer.content {
            return Ok(SideAnswer::Refused(BROKEN));
        }
        let file = template.file.clone();
        let read = tokio::task::spawn_blocking(move || file.read()).await;
        let bytes = match read.map_err(|error| AskError::Fatal(error.to_string()))? {
            Ok(bytes) => bytes,
            Err(error) => return refused(error),
        };
        let text = String::from_utf8_lossy(&bytes);
        let resolved = match template.served() {
            Some(served) => placeholder::resolve_text(&served.environment, &text, &|_| true),
            None => Ok(text.into_owned()),
        };
        Ok(match resolved {
            Ok(text) => SideAnswer::Content(text.into_bytes()),
            Err(_) => SideAnswer::Refused(BROKEN),
        })
    }

    /// The store's content for a query.
    async fn current(&self, query: &Query) -> Result<SideAnswer<AnswerAt>, AskError> {
        let handle = match self.store.answer(&Caller::Operator, query).await {
            Ok(handle) => handle,
            Err(error) => return refused(error),
        };
        let current = handle.current();
        Ok(match &*current.answer.content {
            Content::Environment(_) => SideAnswer::Content(current),
            Content::Broken(_) => SideAnswer::Refused(BROKEN),
            Content::UnknownLabel | Content::Empty => SideAnswer::Refused(NOT_FOUND),
        })
    }

    pub(super) async fn catalog(&self, label: &Label) -> anyhow::Result<Option<KnownLabel>> {
        let (catalog, revision) = match self.store.read_catalog(label).await {
            Ok(found) => found,
            Err(AnswerError::UnknownLabel(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let outside = match self.store.current_snapshot(label) {
            Some(snapshot) => tokio::task::spawn_blocking(move || outside(&snapshot)).await??,
            None => BTreeSet::new(),
        };
        let outside = outside.difference(&catalog.applications).cloned().collect();
        Ok(Some(KnownLabel { catalog, revision: revision.to_string(), outside }))
    }

    pub(super) async fn label_names(&self) -> anyhow::Result<Vec<String>> {
        Ok(self.source.label_names().await?)
    }
}

/// The applications that configuration files anywhere in the trees could be of: their names, and the directories that hold
/// an `application` file. Blocking.
fn outside(snapshot: &Snapshot) -> anyhow::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for member in &snapshot.members {
        member.tree.walk(&mut |path| {
            let is_hidden = path.split('/').any(|segment| segment.starts_with('.'));
            let is_usual = USUAL.iter().any(|extension| path.ends_with(extension));
            if !is_hidden && is_usual && resolve::is_configuration(&member.layout, path) {
                names.extend(application_of(path).map(str::to_owned));
            }
        })?;
    }
    Ok(names)
}

fn application_of(path: &str) -> Option<&str> {
    let (directory, file) = path.rsplit_once('/')?;
    let (stem, _) = file.rsplit_once('.')?;
    if stem == SHARED_APPLICATION || stem.starts_with("application-") {
        directory.rsplit('/').next()
    } else {
        Some(stem)
    }
}

fn refused<T>(error: AnswerError) -> Result<SideAnswer<T>, AskError> {
    match error {
        AnswerError::UnknownLabel(_) => Ok(SideAnswer::Refused(NOT_FOUND)),
        error => Err(AskError::Unanswered(error.to_string())),
    }
}
