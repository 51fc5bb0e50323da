//! Assembly: settings, then source, then store, then HTTP; and a server that runs until it is told to stop.

mod tls;

use std::future::Future;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix_http::Request;
use actix_service::IntoServiceFactory;
use actix_web::{HttpServer, web};
use tokio::runtime::Handle;

use crate::access::Policy;
use crate::check::{Manner, Strictness};
use crate::data::{DataDirectory, DataError};
use crate::http::{self, Hot, Http, Metrics, Token, WATCHER_COUNT_MAX, Watchers};
use crate::model::{Document, Position, Property, PropertySource, Scalar, Value};
use crate::push::{self, Hosted, Hosts, Permission, RepositoryError};
use crate::settings::{Checks, Settings, SourceSettings};
use crate::source::composite::Composite;
use crate::source::git::Incoming;
use crate::source::{self, OpenError, OpenOptions, Source};
use crate::store::{Additions, Store};

/// How long a peer may leave data unacknowledged before its connection is closed.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);
/// How long an idle connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long a request's headers may take.
const HEADERS_MAX: Duration = Duration::from_secs(5);
/// How long requests under way may take once the server is told to stop.
const SHUTDOWN_MAX_SECONDS: u64 = 10;
/// The name of the source that the settings' overrides make; fixed by the protocol.
const OVERRIDES: &str = "overrides";

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A source cannot be opened.
    #[error(transparent)]
    Source(#[from] OpenError),
    /// The data directory cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A hosted repository cannot be used.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// Pushes cannot be answered.
    #[error("the hook of hosted repositories cannot be set up: {0}")]
    Hook(std::io::Error),
    /// A file of the settings cannot be used.
    #[error("{what} {}: {reason}", path.display())]
    File {
        /// What the file is for.
        what: &'static str,
        /// As configured.
        path: std::path::PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The system does not let it run.
    #[error("cannot listen: {0}")]
    Listen(#[from] std::io::Error),
}

/// The source that the settings describe: one, or a composite.
///
/// # Errors
/// When one of them cannot be opened.
pub fn open_source(settings: &Settings) -> Result<Arc<dyn Source>, OpenError> {
    let sources = settings.sources.iter().map(|source| open_one(source, settings));
    composed(settings, sources.collect::<Result<_, _>>()?)
}

fn composed(
    settings: &Settings,
    mut sources: Vec<Arc<dyn Source>>,
) -> Result<Arc<dyn Source>, OpenError> {
    if sources.len() == 1 && settings.sources[0].patterns.is_empty() {
        return Ok(sources.remove(0));
    }
    let names: Vec<&str> = sources.iter().map(|source| source.name()).collect();
    let name = names.join(",");
    Ok(Arc::new(Composite::new(name, sources, settings.fail_on_composite_error)))
}

/// A hosted repository is read here as any other one: whoever serves it holds the data directory.
fn open_one(source: &SourceSettings, settings: &Settings) -> Result<Arc<dyn Source>, OpenError> {
    let Some(name) = hosted_name(source) else {
        return source::open(&source.uri, options(source));
    };
    let path = push::path_of(&settings.data, name)
        .map_err(|_| OpenError::Malformed { reason: "hosted: needs the name of a repository" })?;
    source::open_path(path, &source.uri, options(source))
}

fn hosted_name(source: &SourceSettings) -> Option<&str> {
    source.uri.strip_prefix("hosted:")
}

/// What a server serves, and what it has to hold for that.
struct Opened {
    source: Arc<dyn Source>,
    hosted: Vec<Hosted>,
    data: Option<Arc<DataDirectory>>,
}

/// Opens the sources to serve them. The data directory is made and taken if one of them needs it.
fn open_to_serve(settings: &Settings) -> Result<Opened, StartError> {
    let (mut sources, mut hosted, mut data) = (Vec::new(), Vec::<Hosted>::new(), None);
    for source in &settings.sources {
        let Some(name) = hosted_name(source) else {
            sources.push(open_one(source, settings)?);
            continue;
        };
        if hosted.iter().any(|known| known.name == name) {
            return Err(RepositoryError::Twice(name.to_owned()).into());
        }
        let data = match &data {
            Some(data) => data,
            None => data.insert(Arc::new(DataDirectory::open(&settings.data)?)),
        };
        let path = push::prepare(data.path(), name, source.seed.as_deref())?;
        let opened = source::open_hosted(&source.uri, path.clone(), options(source))?;
        let opened = Arc::new(opened);
        sources.push(Arc::clone(&opened) as Arc<dyn Source>);
        hosted.push(Hosted { name: name.to_owned(), path, source: opened });
    }
    Ok(Opened { source: composed(settings, sources)?, hosted, data })
}

/// A repository that is not the server's own together with what it is receiving, read as the settings of a source say.
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

fn options(settings: &SourceSettings) -> OpenOptions {
    OpenOptions {
        name: settings.name.clone(),
        default_label: settings.default_label.clone(),
        search_paths: settings.search_paths.clone(),
        patterns: settings.patterns.clone(),
        json: settings.json,
    }
}

/// What the settings add to every environment.
pub fn additions(settings: &Settings) -> Additions {
    let property = |(key, value): &(String, String)| Property {
        key: key.as_str().into(),
        value: Value::Plain(Scalar::String(value.as_str().into())),
        position: Position { line: 1, column: 1 },
    };
    let overrides = (!settings.overrides.is_empty()).then(|| PropertySource {
        name: OVERRIDES.into(),
        file: None,
        documents: Arc::new([Document {
            properties: settings.overrides.iter().map(property).collect(),
        }]),
        index: 0,
    });
    Additions { overrides, refuse_empty: !settings.accept_empty }
}

/// Everything that the workers share, built once. Loops and blocking work run on `runtime`.
///
/// # Errors
/// When a source or the token cannot be read.
pub fn build(settings: &Settings, runtime: Handle) -> Result<Http, StartError> {
    let token = settings.token_file.as_deref().map(read_token).transpose()?;
    let policy = if token.is_some() { Policy::TokenRequired } else { Policy::Open };
    let opened = open_to_serve(settings)?;
    let store = Store::new(opened.source, additions(settings), policy, runtime.clone());
    let hosts = opened.data.map(|data| {
        let hook = settings.push.hook_program.as_deref();
        Hosts::open(data, hook, opened.hosted, &store, terms(settings), &runtime)
    });
    Ok(Http {
        store,
        prefix: settings.prefix.clone(),
        token,
        push_token: push_token(settings)?,
        hosts: hosts.transpose().map_err(StartError::Hook)?,
        watchers: Watchers::new(WATCHER_COUNT_MAX),
        metrics: Metrics::default(),
    })
}

/// What is asked of a push.
fn terms(settings: &Settings) -> push::Terms {
    let asked = &settings.push;
    let permission = |allowed| match allowed {
        true => Permission::Allowed,
        false => Permission::Denied,
    };
    push::Terms {
        manner: match asked.checks {
            Checks::Refuse => Manner::Refuse,
            Checks::Warn => Manner::Warn,
        },
        strictness: match asked.strict {
            true => Strictness::Strict,
            false => Strictness::Lenient,
        },
        overrides: additions(settings).overrides,
        forcing: permission(asked.allow_force),
        deleting: permission(asked.allow_delete),
        check_max: Duration::from_secs(asked.check_seconds_max),
        pack_bytes_max: asked.pack_bytes_max,
    }
}

fn push_token(settings: &Settings) -> Result<Option<Token>, StartError> {
    match (&settings.push.token, &settings.push.token_file) {
        (Some(token), _) => Ok(Some(Token::new(token.expose()))),
        (None, Some(path)) => read_token(path).map(Some),
        (None, None) => Ok(None),
    }
}

fn read_token(path: &std::path::Path) -> Result<Token, StartError> {
    let fault =
        |reason: String| StartError::File { what: "token file", path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
    match text.trim() {
        "" => Err(fault("is empty".to_owned())),
        token => Ok(Token::new(token)),
    }
}

/// Runs what serves on this thread, until it is over: the workers need the web framework's own kind of runtime.
pub fn block_on<T>(serving: impl Future<Output = T>) -> T {
    actix_web::rt::System::new().block_on(serving)
}

/// Answers requests on a listener until `shutdown` is over, then lets those under way end.
///
/// # Errors
/// When TLS cannot be set up, or the system does not let it run.
pub async fn run(
    settings: &Settings,
    http: Http,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<(), StartError> {
    limit_unacknowledged(&listener);
    let address = listener.local_addr()?;
    let http = web::Data::new(http);
    let closing = http.clone();
    let tls = settings.tls.as_ref().map(|(certificate, key)| tls::Reloading::new(certificate, key));
    let tls = tls.transpose()?;
    let factory = move || {
        Hot::new(
            IntoServiceFactory::<_, Request>::into_factory(http::app(http.clone())),
            http.clone(),
        )
    };
    let mut server = HttpServer::new(factory)
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(HEADERS_MAX)
        .h1_allow_half_closed(false)
        .shutdown_timeout(SHUTDOWN_MAX_SECONDS)
        .disable_signals();
    if let Some(workers) = settings.workers {
        server = server.workers(workers);
    }
    let server = match &tls {
        Some(tls) => server.listen_rustls_0_23(listener, tls.config())?,
        None => server.listen(listener)?,
    };
    let scheme = if tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{address}{}", settings.prefix);
    tracing::info!(url, "listening");
    for name in closing.hosts.iter().flat_map(Hosts::names) {
        tracing::info!("git clone {url}/-/git/{name}.git");
    }
    let server = server.run();
    let handle = server.handle();
    let running = actix_web::rt::spawn(server);
    shutdown.await;
    closing.watchers.close();
    handle.stop(true).await;
    running.await.unwrap_or(Ok(()))?;
    Ok(())
}

/// A peer that stops reading would otherwise keep its connection, and what is buffered for it, for ever. What is accepted
/// inherits the limit, whether TLS is spoken on it or not.
fn limit_unacknowledged(listener: &TcpListener) {
    // A server without the limit still works; there is nobody to tell.
    let _ = socket2::SockRef::from(listener).set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX));
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn connections_inherit_the_limit_on_what_is_unacknowledged() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        limit_unacknowledged(&listener);
        let _peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let limit = socket2::SockRef::from(&accepted).tcp_user_timeout().unwrap();
        assert_eq!(limit, Some(UNACKNOWLEDGED_MAX));
    }
}
