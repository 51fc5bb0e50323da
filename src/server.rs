//! Assembles a server from its settings: source, store, HTTP. Runs it until it is stopped.

mod audit;
mod contracts;
mod file_watch;
mod files;
mod jwks;
mod keys;
mod listen;
mod memory;
mod policy;
mod reload;
mod replicas;
mod rollout_checks;
mod rollouts;
mod secrets;
mod tls;
mod traces;

use std::future::Future;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix_server::{Server, ServerBuilder};
use actix_web::web;
use socket2::TcpKeepalive;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::access::Policy;
use crate::allocator;
use crate::check::{Enforcement, Strictness, TimeoutAction};
use crate::conduct;
use crate::data::DataDirectory;
use crate::faults::Faults;
use crate::fleet::{History, Instances};
use crate::http::{
    CredentialLimits, Encryption, Http, IpNetwork, Metrics, Monitor, Renderings, Token,
    WatchLimits, Watchers,
};
use crate::model::{Document, Position, Property, PropertySource, Scalar, SealedKind, Value};
use crate::opening::{self, OpenedSources, OpeningError};
use crate::push::{
    BuildSource, HostedRepositories, Hosts, HostsError, Permission, PushPolicy, RepositoryError,
};
use crate::reveal::Keyring;
use crate::settings::{Checks, Settings, UnfinishedChecks, WatchSettings};
use crate::store::{AnswerSettings, Store};
use crate::telemetry;

use contracts::FleetBuilds;
use policy::{Following, RepositoryPolicy};
use secrets::Secrets;

pub use keys::{SecretsError, read_keys, read_seal_keys};

/// The time that a peer can leave data unacknowledged before its connection is closed.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);
/// The time that a peer can be silent before it is probed, and the number of probes.
const SILENT_MAX: Duration = Duration::from_secs(15);
const PROBE_COUNT: u32 = 3;
/// The limit for buffered data of a peer, in bytes.
const UNSENT_BYTES_MAX: u32 = 128 * 1024;
/// The number of connections that can wait to be accepted, as far as the system allows. A further one retries after a second.
const UNACCEPTED_COUNT_MAX: i32 = 4096;
/// The time that an idle connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// The time limit for the headers of a request.
const HEADERS_MAX: Duration = Duration::from_secs(5);
/// The time limit for requests under way when the server stops.
const SHUTDOWN_MAX_SECONDS: u64 = 10;
/// The time for which a start waits for changes of the policy that other replicas have received.
const POLICY_CATCH_UP_MAX: Duration = Duration::from_secs(10);
/// The permission of a file that every user of the machine has to read it.
const READABLE_BY_ALL: u32 = 0o004;
/// The name of the property source of the overrides, which the protocol fixes.
const OVERRIDES: &str = "overrides";

/// The reason why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The sources cannot be opened.
    #[error(transparent)]
    Sources(#[from] OpeningError),
    /// A hosted repository cannot be shared.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// Repositories cannot be hosted.
    #[error(transparent)]
    Hosts(#[from] HostsError),
    /// A file of the settings cannot be used.
    #[error("{what} {}: {reason}", path.display())]
    File {
        /// The purpose of the file.
        what: &'static str,
        /// As configured.
        path: std::path::PathBuf,
        /// The problem.
        reason: String,
    },
    /// A key for sealed values cannot be used, or a sealed override cannot be opened.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// A hosted repository has no policy that can be used.
    #[error("policy hosted:{repository}: {reason}")]
    Policy {
        /// The name of the repository.
        repository: String,
        /// The problem.
        reason: String,
    },
    /// The system refuses the listener.
    #[error("cannot listen: {0}")]
    Listen(#[from] std::io::Error),
}

/// Blocks this thread until the shared repositories are loaded. No request is served yet.
fn wait_until_ready(hosts: &Hosts, runtime: &Handle) -> Result<(), RepositoryError> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let (ready, caught_up) = (hosts.ready(), hosts.policy_caught_up(POLICY_CATCH_UP_MAX));
    let waiting = async move {
        ready.await?;
        // A principal that another replica has removed must not be accepted here.
        caught_up.await;
        Ok(())
    };
    // The receiver waits until the message arrives.
    runtime.spawn(async move { drop(sender.send(waiting.await)) });
    receiver.recv().unwrap_or(Ok(()))
}

/// Returns the settings that apply to every answer, without keys.
pub fn answer_settings(settings: &Settings) -> AnswerSettings {
    let property = |(key, value): &(String, String)| Property {
        key: key.as_str().into(),
        value: if SealedKind::of(value).is_some() {
            Value::Sealed(value.as_str().into())
        } else {
            Value::Plain(Scalar::String(value.as_str().into()))
        },
        position: Position { line: 1, column: 1 },
    };
    let overrides = (!settings.overrides.is_empty()).then(|| PropertySource {
        name: OVERRIDES.into(),
        file: None,
        documents: Arc::new([Document {
            properties: settings.overrides.iter().map(property).collect(),
            sops: None,
        }]),
        index: 0,
    });
    AnswerSettings { overrides, refuse_empty: !settings.accept_empty, keys: Arc::default() }
}

/// Builds the state that the workers share. Loops and blocking work run on `runtime`.
///
/// # Errors
/// When a source, the data directory or a secret cannot be used.
pub fn build(settings: &Settings, runtime: Handle) -> Result<Http, StartError> {
    assemble(settings, None, runtime)
}

/// As [`build`], over opened sources in place of the configured ones. For tests with a source in memory.
///
/// # Errors
/// As for [`build`].
pub fn build_over(
    settings: &Settings,
    opened: OpenedSources,
    runtime: Handle,
) -> Result<Http, StartError> {
    assemble(settings, Some(opened), runtime)
}

fn assemble(
    settings: &Settings,
    opened: Option<OpenedSources>,
    runtime: Handle,
) -> Result<Http, StartError> {
    headwater_etcd::observe_calls(telemetry::record_etcd_call);
    traces::start(&settings.tracing, replicas::name(settings), &runtime);
    let token = settings.token_file.as_deref().map(read_token).transpose()?;
    let guard = policy::load(settings)?;
    let is_closed = token.is_some() || guard.is_some();
    let policy = if is_closed { Policy::TokenRequired } else { Policy::Open };
    let webhook_secrets = monitor_secrets(settings)?;
    let secrets = Secrets::open(settings, guard.as_ref())?;
    let keys = Arc::clone(&secrets.keys);
    let answer_settings = AnswerSettings { keys: Arc::clone(&keys), ..answer_settings(settings) };
    keys::check_overrides(answer_settings.overrides.as_ref(), &keys)?;
    let shared = opening::shared_cluster(settings)?;
    let seed = policy::check_seed(&settings.access, guard.as_ref());
    let (seed, seed_problem) = match seed {
        Ok(seed) => (seed, None),
        Err(problem) => (None, Some(problem)),
    };
    let opened = match opened {
        Some(opened) => opened,
        None => opening::open_to_serve(settings, seed, shared.as_ref(), &runtime)?,
    };
    let bounds = memory::bounds(&settings.memory);
    let store = Store::with_answer_bytes_max(
        opened.source,
        answer_settings,
        policy,
        runtime.clone(),
        bounds.answers_bytes,
    );
    let audit = audit::open(settings, Arc::clone(&store.faults))?;
    store.set_audit(audit.as_ref());
    let secret_files = secrets.follow(&store, audit.as_ref(), &runtime)?;
    if let Some(guard) = &guard {
        store.replace_areas(guard.areas());
    }
    let hosted_policy = opened.policy.zip(guard.as_ref()).map(|(hosted, guard)| {
        let (repository, files) = (hosted.policy_repository(), secret_files.as_ref());
        let (access, audit) = (&settings.access, audit.as_ref());
        (
            hosted,
            RepositoryPolicy::new(repository, access, guard, audit, &store, files, seed_problem),
        )
    });
    let follower = hosted_policy.as_ref().map(|(_, policy)| Arc::clone(policy));
    let instances = Arc::<Instances>::default();
    let contracts = contracts::open(opened.data.as_deref(), settings.push.contract_hours);
    contracts::maintain(&contracts, &instances, &runtime);
    let builds: Arc<dyn BuildSource> =
        FleetBuilds::new(Arc::clone(&contracts), Arc::clone(&instances));
    let history = history(settings, opened.data.as_deref(), &instances, &store.faults)?;
    let (sinks, rollout_figures) = conduct::sinks(&store, audit.as_ref());
    let hosts = opened.data.map(|data| {
        let hook = settings.push.hook_program.as_deref();
        let of_policy = hosted_policy.map(|(hosted, policy)| (hosted, policy as Arc<_>));
        let repositories = HostedRepositories { sources: opened.hosted, policy: of_policy };
        let policy = push_policy(settings, &keys, &builds);
        let setup = rollouts::setup(settings, &instances, sinks, &rollout_figures);
        Hosts::open(data, hook, repositories, &store, policy, setup, &runtime)
    });
    let hosts = hosts.transpose()?;
    hosts.as_ref().map_or(Ok(()), |hosts| wait_until_ready(hosts, &runtime))?;
    if let Some(policy) = &follower {
        policy.start()?;
    }
    let key_refresh = policy::read_first_keys(settings, guard.as_ref(), follower, &store, &runtime);
    let replicas = replicas::open(settings, &store, guard.clone(), shared, runtime);
    if guard.is_some() {
        // A part of what the first policy took is free only now.
        allocator::release_free_memory();
    }
    if let Some(hosts) = &hosts {
        rollouts::share(hosts, &replicas);
        let replicas = Arc::clone(&replicas);
        hosts.count_replicas_by(Box::new(move || replicas.figures().live_count.saturating_sub(1)));
    }
    Ok(Http {
        store,
        monitor: Monitor::new(webhook_secrets.iter().map(String::as_str)),
        prefix: settings.prefix.clone(),
        token,
        guard,
        credential_limits: CredentialLimits::default(),
        key_refresh,
        push_token: push_token(settings)?,
        encryption: Encryption {
            keys,
            is_decrypting: settings.secrets.decrypt_endpoint,
            files: secret_files,
        },
        rollouts: rollouts::control(hosts.as_ref()),
        hosts,
        renderings: Renderings::new(bounds.texts_bytes),
        watchers: Watchers::new(limits(&settings.watch)),
        instances,
        contracts,
        builds,
        history,
        rollout_figures,
        replicas,
        metrics: Metrics::default(),
        audit,
    })
}

/// Starts the history of instances, if there is a directory for it.
fn history(
    settings: &Settings,
    data: Option<&DataDirectory>,
    instances: &Arc<Instances>,
    faults: &Arc<Faults>,
) -> Result<Option<Arc<History>>, StartError> {
    let days = settings.fleet.history_days;
    let Some(data) = data.filter(|_| days > 0) else { return Ok(None) };
    let directory = data.path().join("history");
    match History::last(directory.clone(), days) {
        Ok(records) => instances.remember(records),
        Err(error) => {
            tracing::warn!(%error, "the history does not tell which instances were there before")
        }
    }
    let started =
        History::start(directory.clone(), days, Arc::clone(instances), Arc::clone(faults));
    started.map(Some).map_err(|error| StartError::File {
        what: "history",
        path: directory,
        reason: error.to_string(),
    })
}

/// The treatment of a push with problems.
pub fn enforcement(settings: &Settings) -> Enforcement {
    match (settings.push.checks, settings.push.unfinished_checks) {
        (Checks::Warn, _) => Enforcement::Warn,
        (Checks::Refuse, UnfinishedChecks::Reject) => Enforcement::Refuse(TimeoutAction::Reject),
        (Checks::Refuse, UnfinishedChecks::Accept) => Enforcement::Refuse(TimeoutAction::Accept),
    }
}

/// The policy for pushes.
fn push_policy(
    settings: &Settings,
    keys: &Arc<Keyring>,
    builds: &Arc<dyn BuildSource>,
) -> PushPolicy {
    let configured = &settings.push;
    let permission = |allowed| if allowed { Permission::Allowed } else { Permission::Denied };
    PushPolicy {
        enforcement: enforcement(settings),
        strictness: if configured.strict { Strictness::Strict } else { Strictness::Lenient },
        overrides: answer_settings(settings).overrides,
        keys: Arc::clone(keys),
        forcing: permission(configured.allow_force),
        deleting: permission(configured.allow_delete),
        check_max: Duration::from_secs(configured.check_seconds_max),
        try_max: Duration::from_secs(configured.try_seconds),
        pack_bytes_max: configured.pack_bytes_max,
        builds: Arc::clone(builds),
    }
}

fn push_token(settings: &Settings) -> Result<Option<Token>, StartError> {
    match (&settings.push.token, &settings.push.token_file) {
        (Some(token), _) => Ok(Some(Token::new(token.expose()))),
        (None, Some(path)) => read_token(path).map(Some),
        (None, None) => Ok(None),
    }
}

fn limits(settings: &WatchSettings) -> WatchLimits {
    WatchLimits {
        count_max: settings.watchers_max,
        client_count_max: settings.watchers_per_client_max,
        trusted_proxies: settings
            .trusted_proxies
            .iter()
            .map(|range| IpNetwork { address: range.address, prefix_bits: range.prefix_bits })
            .collect(),
    }
}

/// The secrets of webhooks, from the environment or from the lines of a file.
fn monitor_secrets(settings: &Settings) -> Result<Vec<String>, StartError> {
    let monitor = &settings.monitor;
    let Some(path) = &monitor.secret_file else {
        return Ok(monitor.secret.iter().map(|secret| secret.expose().to_owned()).collect());
    };
    let text = read_secret("monitor secret file", path)?;
    Ok(secrets_in(&text).map(str::to_owned).collect())
}

/// The secrets in a text: one on each line that is not empty.
fn secrets_in(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

fn read_token(path: &Path) -> Result<Token, StartError> {
    Ok(Token::new(&read_secret("token file", path)?))
}

/// A function that reads keys and secrets again. The policy decides which files may refer to a secret.
fn secret_reader(http: &web::Data<Http>) -> impl Fn() + Send + 'static {
    let http = Arc::downgrade(&http.clone().into_inner());
    move || {
        if let Some(http) = http.upgrade()
            && let Some(files) = &http.encryption.files
        {
            files.read_again();
        }
    }
}

/// Warns of a file with a secret that every user of the machine can read. It remains usable, because servers have been
/// started with such files (docs/decisions/0092).
fn warn_if_public(path: &Path) {
    let mode = std::fs::metadata(path).map_or(0, |metadata| metadata.mode() & 0o777);
    if mode & READABLE_BY_ALL != 0 {
        let (file, mode) = (path.display().to_string(), format!("{mode:o}"));
        tracing::warn!(file, mode, "every user of this machine can read a file with a secret");
    }
}

/// The text of a file that may not be empty.
fn read_secret(what: &'static str, path: &Path) -> Result<String, StartError> {
    let fault = |reason: String| StartError::File { what, path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
    warn_if_public(path);
    if text.trim().is_empty() { Err(fault("is empty".to_owned())) } else { Ok(text) }
}

/// Runs a future on this thread, on the kind of runtime that the workers of the web framework need.
pub fn block_on<T>(serving: impl Future<Output = T>) -> T {
    actix_web::rt::System::new().block_on(serving)
}

/// Answers requests on a listener until `shutdown` ends, and logs the address at the start. Each change of `reload`
/// re-reads the files of the settings.
///
/// # Errors
/// When TLS cannot be set up, or the system does not let it run.
pub async fn run(
    settings: &Settings,
    http: Http,
    listener: TcpListener,
    reload: watch::Receiver<()>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), StartError> {
    let started = start(settings, http, listener)?;
    started.log();
    started.serve(settings, reload, shutdown).await
}

/// A server that is ready to answer requests.
pub struct StartedServer {
    http: web::Data<Http>,
    tls: Option<tls::Reloading>,
    policy: Option<Following>,
    server: ServerBuilder,
    url: String,
}

/// Prepares a listener and TLS, so that only requests are missing. Runs on the thread of [`block_on`].
///
/// # Errors
/// When TLS cannot be set up, or the system does not let it run.
pub fn start(
    settings: &Settings,
    http: Http,
    listener: TcpListener,
) -> Result<StartedServer, StartError> {
    set_up(&listener);
    let address = listener.local_addr()?;
    audit::record_start(http.audit.as_ref(), settings, http.guard.as_deref());
    let http = web::Data::new(http);
    let tls = settings.tls.as_ref().map(|(certificate, key)| {
        warn_if_public(key);
        let faults = Arc::clone(&http.store.faults);
        tls::Reloading::new(certificate, key, &settings.client_certificates, faults)
    });
    let tls = tls.transpose()?;
    let policy = policy::follow(settings, &http, secret_reader(&http))?;
    let tls_terms = tls.as_ref().map(tls::Reloading::terms);
    let mut server = Server::build().shutdown_timeout(SHUTDOWN_MAX_SECONDS).disable_signals();
    if let Some(workers) = settings.workers {
        server = server.workers(workers);
    }
    let draining = server.graceful_shutdown_signal();
    let shared = http.clone();
    let server = server.listen("http", listener, move || {
        listen::service(shared.clone(), tls_terms.clone(), draining.clone())
    })?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{address}{}", settings.prefix);
    Ok(StartedServer { http, tls, policy, server, url })
}

impl StartedServer {
    /// The URL of the server, with the address of the listener.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The names of the hosted repositories.
    pub fn hosted(&self) -> impl Iterator<Item = &str> {
        self.http.hosts.iter().flat_map(Hosts::names)
    }

    /// Logs the address, and the addresses of hosted repositories.
    pub fn log(&self) {
        let url = &self.url;
        tracing::info!(url, "listening");
        for name in self.hosted() {
            tracing::info!("git clone {url}/-/git/{name}.git");
        }
    }

    /// Answers requests until `shutdown` ends, then lets those under way end. Each change of `reload` re-reads the files of
    /// the settings.
    ///
    /// # Errors
    /// When the system does not let it run.
    pub async fn serve(
        self,
        settings: &Settings,
        reload: watch::Receiver<()>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), StartError> {
        let Self { http, tls, policy, server, url } = self;
        http.replicas.start(settings.share.address.as_deref().unwrap_or(&url));
        let server = server.run();
        let handle = server.handle();
        let running = actix_web::rt::spawn(server);
        tokio::select! {
            () = shutdown => {}
            () = files::watch(&http.store.faults) => {}
            () = reload::follow(settings, &http, tls.as_ref(), policy.as_ref(), reload) => {}
        }
        // New connections end first, so that clients whose streams end go to another server.
        let stopped = handle.stop(true);
        http.watchers.close();
        http.hosts.iter().for_each(Hosts::stop_waits);
        tokio::join!(stopped, http.replicas.leave());
        let ended = running.await.unwrap_or(Ok(()));
        if let Some(history) = http.history.clone() {
            // The writes may block. A failure to wait for them loses the last second.
            let _ = tokio::task::spawn_blocking(move || history.close()).await;
        }
        contracts::close(&http.contracts, &http.instances).await;
        if let Some(audit) = &http.audit {
            audit.close(&audit::stopped(http.guard.as_deref())).await;
        }
        Ok(ended?)
    }
}

/// Sets the options that every accepted connection inherits, with and without TLS. Without them, a peer that stops reading or
/// vanishes keeps its connection and its buffer for ever, and the buffered data of a slow peer is out of date. The backlog
/// holds a fleet that connects at once.
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
        tracing::warn!(%error, "a limit for connections cannot be set");
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
        // The connections are not accepted. A connection without room retries after a second.
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
