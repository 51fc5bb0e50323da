//! Assembly: settings, then source, then store, then HTTP; and a server that runs until it is told to stop.

mod remotes;
mod tls;

use std::future::Future;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_http::Request;
use actix_service::IntoServiceFactory;
use actix_web::{HttpServer, web};
use tokio::runtime::Handle;

use crate::access::Policy;
use crate::data::DataError;
use crate::http::{self, Hot, Http, Metrics, Monitor, Token, WATCHER_COUNT_MAX, Watchers};
use crate::model::{Document, Position, Property, PropertySource, Scalar, Value};
use crate::settings::{Settings, SourceSettings};
use crate::source::composite::Composite;
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

/// The source that the settings describe, one or a composite, as far as it can be read in place.
///
/// # Errors
/// When one of them cannot be opened, or is kept by a server.
pub fn open_source(settings: &Settings) -> Result<Arc<dyn Source>, OpenError> {
    let sources = settings.sources.iter().map(open_one).collect::<Result<Vec<_>, _>>()?;
    Ok(composed(settings, sources))
}

/// The same with the remotes, which are mirrored from now on.
fn open_all(settings: &Settings, runtime: &Handle) -> Result<Arc<dyn Source>, StartError> {
    let mut remotes = remotes::Remotes::new(settings, runtime);
    let mut sources = Vec::with_capacity(settings.sources.len());
    for source in &settings.sources {
        sources.push(match remotes::is_mirrored(source) {
            true => remotes.open(source)?,
            false => open_one(source)?,
        });
    }
    Ok(composed(settings, sources))
}

fn composed(settings: &Settings, mut sources: Vec<Arc<dyn Source>>) -> Arc<dyn Source> {
    if sources.len() == 1 && settings.sources[0].patterns.is_empty() {
        return sources.remove(0);
    }
    let names: Vec<&str> = sources.iter().map(|source| source.name()).collect();
    let name = names.join(",");
    Arc::new(Composite::new(name, sources, settings.fail_on_composite_error))
}

fn open_one(settings: &SourceSettings) -> Result<Arc<dyn Source>, OpenError> {
    source::open(&settings.uri, open_options(settings))
}

fn open_options(settings: &SourceSettings) -> OpenOptions {
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
/// When a source, the data directory or a secret cannot be used.
pub fn build(settings: &Settings, runtime: Handle) -> Result<Http, StartError> {
    let token = settings.token_file.as_deref().map(read_token).transpose()?;
    let policy = if token.is_some() { Policy::TokenRequired } else { Policy::Open };
    let secrets = monitor_secrets(settings)?;
    let source = open_all(settings, &runtime)?;
    let store = Store::new(source, additions(settings), policy, runtime);
    Ok(Http {
        store,
        monitor: Monitor::new(secrets.iter().map(String::as_str)),
        prefix: settings.prefix.clone(),
        token,
        watchers: Watchers::new(WATCHER_COUNT_MAX),
        metrics: Metrics::default(),
    })
}

/// The secrets of hooks: of the environment, or one on each line of a file.
fn monitor_secrets(settings: &Settings) -> Result<Vec<String>, StartError> {
    let monitor = &settings.monitor;
    let Some(path) = &monitor.secret_file else {
        return Ok(monitor.secret.iter().map(|secret| secret.expose().to_owned()).collect());
    };
    let fault = |reason: String| StartError::File {
        what: "monitor secret file",
        path: path.clone(),
        reason,
    };
    let text = std::fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let secrets: Vec<String> = lines.map(str::to_owned).collect();
    match secrets.is_empty() {
        true => Err(fault("is empty".to_owned())),
        false => Ok(secrets),
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
    tracing::info!(url = format!("{scheme}://{address}{}", settings.prefix), "listening");
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
