//! Assembly: settings, then source, then store, then HTTP; and a server that runs until it is told to stop.

mod listen;
mod tls;

use std::future::Future;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_server::Server;
use actix_web::web;
use socket2::TcpKeepalive;
use tokio::runtime::Handle;

use crate::access::Policy;
use crate::http::{Http, Limits, Metrics, Network, Token, Watchers};
use crate::model::{Document, Position, Property, PropertySource, Scalar, Value};
use crate::settings::{Settings, SourceSettings, WatchSettings};
use crate::source::composite::Composite;
use crate::source::{self, OpenError, OpenOptions, Source};
use crate::store::{Additions, Store};

/// How long a peer may leave data unacknowledged before its connection is closed.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);
/// How long a peer may be silent before it is asked whether it is there, and how often it is asked.
const SILENT_MAX: Duration = Duration::from_secs(15);
const PROBE_COUNT: u32 = 3;
/// The most that is kept for a peer and was not sent yet, in bytes.
const UNSENT_BYTES_MAX: u32 = 128 * 1024;
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
    let mut sources = settings.sources.iter().map(open_one).collect::<Result<Vec<_>, _>>()?;
    if sources.len() == 1 && settings.sources[0].patterns.is_empty() {
        return Ok(sources.remove(0));
    }
    let names: Vec<&str> = sources.iter().map(|source| source.name()).collect();
    let name = names.join(",");
    Ok(Arc::new(Composite::new(name, sources, settings.fail_on_composite_error)))
}

fn open_one(settings: &SourceSettings) -> Result<Arc<dyn Source>, OpenError> {
    let options = OpenOptions {
        name: settings.name.clone(),
        default_label: settings.default_label.clone(),
        search_paths: settings.search_paths.clone(),
        patterns: settings.patterns.clone(),
        json: settings.json,
    };
    source::open(&settings.uri, options)
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
    let store = Store::new(open_source(settings)?, additions(settings), policy, runtime);
    Ok(Http {
        store,
        prefix: settings.prefix.clone(),
        token,
        watchers: Watchers::new(limits(&settings.watch)),
        metrics: Metrics::default(),
    })
}

fn limits(settings: &WatchSettings) -> Limits {
    Limits {
        count_max: settings.watchers_max,
        client_count_max: settings.watchers_per_client_max,
        trusted_proxies: settings
            .trusted_proxies
            .iter()
            .map(|range| Network { address: range.address, prefix_bits: range.prefix_bits })
            .collect(),
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
    set_up(&listener);
    let address = listener.local_addr()?;
    let http = web::Data::new(http);
    let closing = http.clone();
    let tls = settings.tls.as_ref().map(|(certificate, key)| tls::Reloading::new(certificate, key));
    let tls = tls.transpose()?;
    let tls_config = tls.as_ref().map(|tls| Arc::new(tls.config()));
    let mut server = Server::build().shutdown_timeout(SHUTDOWN_MAX_SECONDS).disable_signals();
    if let Some(workers) = settings.workers {
        server = server.workers(workers);
    }
    let draining = server.graceful_shutdown_signal();
    let server = server.listen("http", listener, move || {
        listen::service(http.clone(), tls_config.clone(), draining.clone())
    })?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    tracing::info!(url = format!("{scheme}://{address}{}", settings.prefix), "listening");
    let server = server.run();
    let handle = server.handle();
    let running = actix_web::rt::spawn(server);
    shutdown.await;
    // First nobody new is let in, so that those whose streams end go to another server.
    let stopped = handle.stop(true);
    closing.watchers.close();
    stopped.await;
    running.await.unwrap_or(Ok(()))?;
    Ok(())
}

/// What every connection that is accepted inherits, whether TLS is spoken on it or not. A peer that stops reading, or is
/// gone without a word, would otherwise keep its connection, and what is buffered for it, for ever; and what is buffered
/// for one that reads slowly is older than what it could be told.
fn set_up(listener: &TcpListener) {
    let socket = socket2::SockRef::from(listener);
    let keep_alive = TcpKeepalive::new()
        .with_time(SILENT_MAX)
        .with_interval(SILENT_MAX / PROBE_COUNT)
        .with_retries(PROBE_COUNT);
    let set = [
        socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX)),
        socket.set_tcp_keepalive(&keep_alive),
        socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX),
        socket.set_tcp_nodelay(true),
    ];
    for error in set.into_iter().filter_map(Result::err) {
        tracing::warn!(%error, "connections go without a limit");
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn connections_inherit_the_limits() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        set_up(&listener);
        let _peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let accepted = socket2::SockRef::from(&accepted);
        assert_eq!(accepted.tcp_user_timeout().unwrap(), Some(UNACKNOWLEDGED_MAX));
        assert_eq!(accepted.tcp_notsent_lowat().unwrap(), UNSENT_BYTES_MAX);
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), SILENT_MAX);
        assert!(accepted.keepalive().unwrap() && accepted.tcp_nodelay().unwrap());
    }
}
