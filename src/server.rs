//! Assembly: settings, then source, then store, then HTTP; and a server that runs until it is told to stop.

mod etcd;
mod listen;
mod remotes;
mod replicas;
mod tls;

use std::future::Future;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix_server::Server;
use actix_web::web;
use headwater_etcd::Cluster;
use socket2::TcpKeepalive;
use tokio::runtime::Handle;

use crate::access::Policy;
use crate::check::{Manner, Strictness};
use crate::data::{DataDirectory, DataError};
use crate::http::{Http, Limits, Metrics, Monitor, Network, Token, Watchers};
use crate::model::{Document, Position, Property, PropertySource, Scalar, Value};
use crate::push::{self, Hosted, Hosts, Permission, RepositoryError, Share};
use crate::settings::{Checks, Settings, SourceSettings, WatchSettings};
use crate::source::composite::Composite;
use crate::source::etcd::EtcdSource;
use crate::source::git::Incoming;
use crate::source::{self, OpenError, OpenOptions, Source};
use crate::store::{Additions, Store};

/// How long a peer may leave data unacknowledged before its connection is closed.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);
/// How long a peer may be silent before it is asked whether it is there, and how often it is asked.
const SILENT_MAX: Duration = Duration::from_secs(15);
const PROBE_COUNT: u32 = 3;
/// The most that is kept for a peer and was not sent yet, in bytes.
const UNSENT_BYTES_MAX: u32 = 128 * 1024;
/// How many connections wait to be accepted, as far as the system allows. The next one would try again after a second.
const UNACCEPTED_COUNT_MAX: i32 = 4096;
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

/// The source that the settings describe, one or a composite, to be read by whoever does not serve it.
///
/// # Errors
/// When one of them cannot be opened, or is kept by a server.
pub async fn open_source(settings: &Settings) -> Result<Arc<dyn Source>, OpenError> {
    let mut sources = Vec::new();
    for source in &settings.sources {
        sources.push(open_one(source, settings).await?);
    }
    Ok(composed(settings, sources))
}

/// One of them. What lies in etcd was read when this returns, or cannot be.
///
/// # Errors
/// As for [`open_source`].
pub async fn open_one(
    source: &SourceSettings,
    settings: &Settings,
) -> Result<Arc<dyn Source>, OpenError> {
    match etcd::is_meant(source) {
        true => Ok(open_etcd(source, settings).await?),
        false => open_in_place(source, settings),
    }
}

/// A prefix in etcd, to be read or published to by whoever does not serve it.
///
/// # Errors
/// When its address, or what is to open it, cannot be used.
pub async fn open_etcd(
    source: &SourceSettings,
    settings: &Settings,
) -> Result<Arc<EtcdSource>, OpenError> {
    let opened = etcd::open(source, settings, &Handle::current())?;
    opened.settled().await;
    Ok(opened)
}

/// A repository elsewhere, mirrored into an empty directory for as long as it is read.
///
/// # Errors
/// When its address, what is to open it, or the directory cannot be used.
pub fn open_mirrored(
    source: &SourceSettings,
    settings: &Settings,
    place: &Path,
) -> Result<Arc<dyn Source>, StartError> {
    let mut data = Data { path: place, held: None };
    remotes::Remotes::new(settings, &Handle::current()).open(source, &mut data)
}

/// Whether a source is a repository elsewhere, which is mirrored.
pub fn is_mirrored(source: &SourceSettings) -> bool {
    remotes::is_mirrored(source)
}

fn composed(settings: &Settings, mut sources: Vec<Arc<dyn Source>>) -> Arc<dyn Source> {
    if sources.len() == 1 && settings.sources[0].patterns.is_empty() {
        return sources.remove(0);
    }
    let names: Vec<&str> = sources.iter().map(|source| source.name()).collect();
    let name = names.join(",");
    Arc::new(Composite::new(name, sources, settings.fail_on_composite_error))
}

/// A hosted repository is read here as any other one: whoever serves it holds the data directory.
fn open_in_place(
    source: &SourceSettings,
    settings: &Settings,
) -> Result<Arc<dyn Source>, OpenError> {
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

/// The data directory: made and taken when a source needs it.
struct Data<'a> {
    path: &'a Path,
    held: Option<Arc<DataDirectory>>,
}

impl Data<'_> {
    fn take(&mut self) -> Result<Arc<DataDirectory>, DataError> {
        if let Some(held) = &self.held {
            return Ok(Arc::clone(held));
        }
        Ok(Arc::clone(self.held.insert(Arc::new(DataDirectory::open(self.path)?))))
    }
}

/// Opens the sources to serve them: repositories are hosted and remotes mirrored from now on.
fn open_to_serve(
    settings: &Settings,
    shared: Option<&Cluster>,
    runtime: &Handle,
) -> Result<Opened, StartError> {
    let mut data = Data { path: &settings.data, held: None };
    let mut remotes = remotes::Remotes::new(settings, runtime);
    let (mut sources, mut hosted) = (Vec::new(), Vec::<Hosted>::new());
    for source in &settings.sources {
        if let Some(name) = hosted_name(source) {
            if hosted.iter().any(|known| known.name == name) {
                return Err(RepositoryError::Twice(name.to_owned()).into());
            }
            let data = data.take()?;
            let opened = host(name, source, &data, shared)?;
            sources.push(opened.source());
            hosted.push(opened);
        } else if etcd::is_meant(source) {
            sources.push(etcd::open(source, settings, runtime)?);
        } else if remotes::is_mirrored(source) {
            sources.push(remotes.open(source, &mut data)?);
        } else {
            sources.push(open_in_place(source, settings)?);
        }
    }
    let data = data.held.filter(|_| !hosted.is_empty());
    Ok(Opened { source: composed(settings, sources), hosted, data })
}

/// Of a repository that is shared, the first commit is made once it is known that there is none.
fn host(
    name: &str,
    source: &SourceSettings,
    data: &DataDirectory,
    shared: Option<&Cluster>,
) -> Result<Hosted, StartError> {
    let seed = source.seed.as_deref();
    let path = push::prepare(data.path(), name, seed.filter(|_| shared.is_none()))?;
    let opened = source::open_hosted(&source.uri, path.clone(), options(source))?;
    let share = shared.map(|cluster| Share::new(cluster.clone(), name, &path, seed));
    Ok(Hosted { name: name.to_owned(), path, source: Arc::new(opened), share })
}

/// Waits on this thread, which serves nobody yet, until what is shared is here.
fn begin(hosts: &Hosts, runtime: &Handle) -> Result<(), RepositoryError> {
    let (begun, waiting) = std::sync::mpsc::channel();
    let beginning = hosts.begun();
    // Who waits is there until it was told.
    runtime.spawn(async move { drop(begun.send(beginning.await)) });
    waiting.recv().unwrap_or(Ok(()))
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

/// How a source is to be served, as its settings say.
pub fn options(settings: &SourceSettings) -> OpenOptions {
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
    let shared = etcd::shared(settings)?;
    let opened = open_to_serve(settings, shared.as_ref(), &runtime)?;
    let store = Store::new(opened.source, additions(settings), policy, runtime.clone());
    let hosts = opened.data.map(|data| {
        let hook = settings.push.hook_program.as_deref();
        Hosts::open(data, hook, opened.hosted, &store, terms(settings), &runtime)
    });
    let hosts = hosts.transpose().map_err(StartError::Hook)?;
    hosts.as_ref().map_or(Ok(()), |hosts| begin(hosts, &runtime))?;
    let replicas = replicas::open(settings, &store, shared, runtime);
    Ok(Http {
        store,
        monitor: Monitor::new(secrets.iter().map(String::as_str)),
        prefix: settings.prefix.clone(),
        token,
        push_token: push_token(settings)?,
        hosts,
        watchers: Watchers::new(limits(&settings.watch)),
        instances: Arc::default(),
        replicas,
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

/// The secrets of hooks: of the environment, or one on each line of a file.
fn monitor_secrets(settings: &Settings) -> Result<Vec<String>, StartError> {
    let monitor = &settings.monitor;
    let Some(path) = &monitor.secret_file else {
        return Ok(monitor.secret.iter().map(|secret| secret.expose().to_owned()).collect());
    };
    let text = read_secret("monitor secret file", path)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(lines.map(str::to_owned).collect())
}

fn read_token(path: &Path) -> Result<Token, StartError> {
    Ok(Token::new(&read_secret("token file", path)?))
}

/// The text of a file that may not be empty.
fn read_secret(what: &'static str, path: &Path) -> Result<String, StartError> {
    let fault = |reason: String| StartError::File { what, path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
    match text.trim().is_empty() {
        true => Err(fault("is empty".to_owned())),
        false => Ok(text),
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
    let url = format!("{scheme}://{address}{}", settings.prefix);
    tracing::info!(url, "listening");
    for name in closing.hosts.iter().flat_map(Hosts::names) {
        tracing::info!("git clone {url}/-/git/{name}.git");
    }
    closing.replicas.begin(&url);
    let server = server.run();
    let handle = server.handle();
    let running = actix_web::rt::spawn(server);
    shutdown.await;
    // First nobody new is let in, so that those whose streams end go to another server.
    let stopped = handle.stop(true);
    closing.watchers.close();
    tokio::join!(stopped, closing.replicas.leave());
    running.await.unwrap_or(Ok(()))?;
    Ok(())
}

/// What every connection that is accepted inherits, whether TLS is spoken on it or not. A peer that stops reading, or is
/// gone without a word, would otherwise keep its connection, and what is buffered for it, for ever; and what is buffered
/// for one that reads slowly is older than what it could be told. And room for a fleet that connects at once.
fn set_up(listener: &TcpListener) {
    let socket = socket2::SockRef::from(listener);
    let keep_alive = TcpKeepalive::new()
        .with_time(SILENT_MAX)
        .with_interval(SILENT_MAX / PROBE_COUNT)
        .with_retries(PROBE_COUNT);
    let set = [
        socket.listen(UNACCEPTED_COUNT_MAX),
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
    fn a_fleet_may_connect_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        set_up(&listener);
        let address = listener.local_addr().unwrap();
        // Nobody accepts them. One that has no room tries again after a second.
        let connect = |_| TcpStream::connect_timeout(&address, Duration::from_millis(900));
        let fleet: Result<Vec<_>, _> = (0..300).map(connect).collect();
        assert!(fleet.is_ok(), "{fleet:?}");
    }

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
