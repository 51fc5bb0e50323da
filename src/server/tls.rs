//! TLS with a certificate that is read again when its files change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecursiveMode, Watcher};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::StartError;

/// How long the files must be quiet before they are read: both are written one after the other.
const QUIET: Duration = Duration::from_millis(100);
/// How long a directory that never is quiet may put that off.
const QUIET_MAX: Duration = Duration::from_secs(2);

/// A certificate and its key that follow their files. The watch ends when this is dropped.
pub(super) struct Reloading {
    current: Arc<Current>,
    _watcher: notify::RecommendedWatcher,
}

#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Reloading {
    /// Reads both files and follows them.
    pub(super) fn new(certificate: &Path, key: &Path) -> Result<Self, StartError> {
        let (changed, changes) = std::sync::mpsc::channel();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| !is_read(event.kind)) {
                // The receiver ends with the watcher, never before it.
                let _ = changed.send(());
            }
        })
        .map_err(|error| fault(certificate, error.to_string()))?;
        for file in [certificate, key] {
            watcher
                .watch(directory(file), RecursiveMode::NonRecursive)
                .map_err(|error| fault(file, error.to_string()))?;
        }
        // Watched first, so that no change is lost between reading and watching.
        let current = Arc::new(Current(ArcSwap::from_pointee(read(certificate, key)?)));
        let follower = Follower {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            current: Arc::clone(&current),
        };
        std::thread::spawn(move || follower.follow(&changes));
        Ok(Self { current, _watcher: watcher })
    }

    pub(super) fn config(&self) -> rustls::ServerConfig {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has the suites of TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config
    }
}

/// Whether an event only says that somebody read a file: this server does so itself whenever one changes.
fn is_read(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(kind) => kind != AccessKind::Close(AccessMode::Write),
        _ => false,
    }
}

fn directory(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

struct Follower {
    certificate: PathBuf,
    key: PathBuf,
    current: Arc<Current>,
}

impl Follower {
    /// Ends when the watcher is dropped.
    fn follow(&self, changes: &std::sync::mpsc::Receiver<()>) {
        while changes.recv().is_ok() {
            let at_last = Instant::now() + QUIET_MAX;
            while Instant::now() < at_last && changes.recv_timeout(QUIET).is_ok() {}
            match read(&self.certificate, &self.key) {
                Ok(key) if key.cert == self.current.0.load().cert => {}
                Ok(key) => {
                    self.current.0.store(Arc::new(key));
                    tracing::info!("certificate read again");
                }
                Err(error) => tracing::error!(%error, "keeping the old certificate"),
            }
        }
    }
}

fn read(certificate: &Path, key: &Path) -> Result<CertifiedKey, StartError> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| fault(certificate, reason(&error)))?;
    if chain.is_empty() {
        return Err(fault(certificate, "holds no certificate".to_owned()));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| fault(key, reason(&error)))?;
    CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider())
        .map_err(|_| fault(key, "is no private key of the certificate".to_owned()))
}

/// What is wrong with a PEM file, without any of its text.
fn reason(error: &rustls::pki_types::pem::Error) -> String {
    use rustls::pki_types::pem::Error;
    match error {
        Error::Io(error) => error.to_string(),
        Error::NoItemsFound => "holds nothing of its kind".to_owned(),
        _ => "is no PEM file".to_owned(),
    }
}

fn fault(path: &Path, reason: String) -> StartError {
    StartError::File { what: "TLS file", path: path.to_owned(), reason }
}
