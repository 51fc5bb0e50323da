//! TLS with a certificate that is read again when its files change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::StartError;
use super::file_watch::{FileChanges, FileWatch, Wait};
use crate::faults::{FaultKind, Faults};
use crate::regular_file;

/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The interval between two looks at the expiry of the certificate.
const EXPIRY_PAUSE: Duration = Duration::from_secs(60);
/// The object of a fault of the certificate.
const OBJECT: &str = "the certificate of the server";

/// A certificate and its key that follow their files. The watch ends when this is dropped.
pub(super) struct Reloading {
    current: Arc<Current>,
    watch: FileWatch,
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
    pub(super) fn new(
        certificate: &Path,
        key: &Path,
        faults: Arc<Faults>,
    ) -> Result<Self, StartError> {
        let (watch, changes) = FileWatch::new(&[certificate, key])
            .map_err(|error| fault(certificate, error.to_string()))?;
        // Watched first, so that no change is lost between reading and watching.
        let current = Arc::new(Current(ArcSwap::from_pointee(read(certificate, key)?)));
        let follower = Follower {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            current: Arc::clone(&current),
            faults,
        };
        std::thread::spawn(move || follower.follow(&changes));
        Ok(Self { current, watch })
    }

    /// Reads both files soon, whether a change was noticed or not.
    pub(super) fn read_again(&self) {
        self.watch.read_again();
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

struct Follower {
    certificate: PathBuf,
    key: PathBuf,
    current: Arc<Current>,
    faults: Arc<Faults>,
}

impl Follower {
    /// Ends when the watcher is dropped.
    fn follow(&self, changes: &FileChanges) {
        self.judge(None);
        loop {
            match changes.wait(EXPIRY_PAUSE) {
                Wait::Changed => {}
                Wait::Unchanged => {
                    self.judge(None);
                    continue;
                }
                Wait::Ended => return,
            }
            match read(&self.certificate, &self.key) {
                Ok(key) if key.cert == self.current.0.load().cert => self.judge(None),
                Ok(key) => {
                    self.current.0.store(Arc::new(key));
                    tracing::info!("certificate read again");
                    self.judge(None);
                }
                Err(error) => {
                    tracing::error!(%error, "the certificate was not read again: the old one stays valid");
                    self.judge(Some(&error));
                }
            }
        }
    }

    /// Takes note of whether the files can be used and the certificate that is shown has not expired.
    fn judge(&self, unusable: Option<&StartError>) {
        let reason = match unusable {
            Some(StartError::File { reason, .. }) => Some(format!("its files: {reason}")),
            Some(_) => Some("its files cannot be read".to_owned()),
            None => expired(&self.current.0.load()),
        };
        match reason {
            Some(reason) => _ = self.faults.begin(FaultKind::CertificateUnusable, OBJECT, &reason),
            None => self.faults.end(FaultKind::CertificateUnusable, OBJECT),
        }
    }
}

/// The time at which the certificate, or one in its chain, expired. `None` if all are valid.
fn expired(key: &CertifiedKey) -> Option<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    key.cert.iter().find_map(|der| {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        let end = certificate.validity().not_after;
        let is_over = u64::try_from(end.timestamp()).is_ok_and(|end| end < now);
        is_over.then(|| format!("it expired at {end}"))
    })
}

fn read(certificate: &Path, key: &Path) -> Result<CertifiedKey, StartError> {
    let bytes = |path: &Path| {
        regular_file::read(path, FILE_BYTES_MAX).map_err(|error| fault(path, error.to_string()))
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&bytes(certificate)?)
        .collect::<Result<_, _>>()
        .map_err(|error| fault(certificate, reason(&error)))?;
    if chain.is_empty() {
        return Err(fault(certificate, "holds no certificate".to_owned()));
    }
    let private =
        PrivateKeyDer::from_pem_slice(&bytes(key)?).map_err(|error| fault(key, reason(&error)))?;
    CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider())
        .map_err(|_| fault(key, "is no private key of the certificate".to_owned()))
}

/// The problem of a PEM file, without any of its text.
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
