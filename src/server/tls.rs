//! TLS with files that are read again when they change: the certificate of the server, and the authorities and revocation
//! lists for the certificates of clients.
//!
//! Invariant: a change replaces the whole configuration of TLS, with its memory of sessions. A client whose certificate
//! was revoked can therefore not resume an earlier session, which TLS would not verify again.

mod clients;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::aws_lc_rs::digest::{Context, SHA256};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::sync::watch;

use super::StartError;
use super::file_watch::{FileChanges, FileWatch, Wait};
use crate::faults::{ExpiryKind, FaultKind, Faults};
use crate::regular_file;
use crate::settings::ClientCertificateSettings;
use clients::ClientTerms;

pub(super) use clients::ClientCertificate;

/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The interval between two looks at the expiry of certificate and revocation lists.
const EXPIRY_PAUSE: Duration = Duration::from_secs(60);
/// The object of a fault of the certificate.
const OBJECT: &str = "the certificate of the server";
/// The object of a fault of the files for the certificates of clients.
const CLIENTS_OBJECT: &str = "the certificates of clients";

/// The terms of TLS, as they are in force.
pub(super) type TlsTermsInForce = watch::Receiver<Arc<TlsTerms>>;

/// TLS that follows its files. The watch ends when this is dropped.
pub(super) struct Reloading {
    current: TlsTermsInForce,
    watch: FileWatch,
}

/// One version of the files.
pub(super) struct TlsTerms {
    pub(super) config: Arc<rustls::ServerConfig>,
    certificate: Arc<CertifiedKey>,
    clients: Option<ClientTerms>,
    /// The digest of all files.
    digest: Vec<u8>,
}

/// The files of TLS.
pub(super) struct TlsFiles {
    certificate: PathBuf,
    key: PathBuf,
    clients: ClientCertificateSettings,
}

impl Reloading {
    /// Reads the files and follows them.
    pub(super) fn new(
        certificate: &Path,
        key: &Path,
        clients: &ClientCertificateSettings,
        faults: Arc<Faults>,
    ) -> Result<Self, StartError> {
        let files = TlsFiles {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            clients: clients.clone(),
        };
        let (watch, changes) = FileWatch::new(&files.paths())
            .map_err(|error| fault(certificate, error.to_string()))?;
        // Watched first, so that no change is lost between reading and watching.
        let (sender, current) = watch::channel(Arc::new(files.read_all()?));
        let follower = Follower { files, current: sender, faults };
        std::thread::spawn(move || follower.follow(&changes));
        Ok(Self { current, watch })
    }

    /// Reads the files soon, whether a change was noticed or not.
    pub(super) fn read_again(&self) {
        self.watch.read_again();
    }

    /// The terms, for new connections and for the examination of open ones.
    pub(super) fn terms(&self) -> TlsTermsInForce {
        self.current.clone()
    }
}

impl TlsTerms {
    fn new(certificate: CertifiedKey, clients: Option<ClientTerms>, digest: Vec<u8>) -> Self {
        let certificate = Arc::new(certificate);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has the suites of TLS 1.2 and 1.3");
        let builder = match &clients {
            Some(clients) => builder.with_client_cert_verifier(clients.verifier()),
            None => builder.with_no_client_auth(),
        };
        let shown = SingleCertAndKey::from(Arc::clone(&certificate));
        let mut config = builder.with_cert_resolver(Arc::new(shown));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { config: Arc::new(config), certificate, clients, digest }
    }
}

impl TlsFiles {
    fn paths(&self) -> Vec<&Path> {
        let clients = self.clients.ca.iter().chain(&self.clients.crl);
        [&self.certificate, &self.key].into_iter().chain(clients).map(PathBuf::as_path).collect()
    }

    /// Reads all files, either completely or not at all.
    fn read_all(&self) -> Result<TlsTerms, StartError> {
        // Read before the contents, so that a change in between is noticed by the next event.
        let digest = self.digest()?;
        let certificate = read_certificate(&self.certificate, &self.key)?;
        let clients = ClientTerms::read(&self.clients)?;
        Ok(TlsTerms::new(certificate, clients, digest))
    }

    fn digest(&self) -> Result<Vec<u8>, StartError> {
        let mut context = Context::new(&SHA256);
        for path in self.paths() {
            let bytes = read_file(path)?;
            context.update(&bytes.len().to_be_bytes());
            context.update(&bytes);
        }
        Ok(context.finish().as_ref().to_vec())
    }
}

struct Follower {
    files: TlsFiles,
    current: watch::Sender<Arc<TlsTerms>>,
    faults: Arc<Faults>,
}

impl Follower {
    /// Ends when the watcher is dropped.
    fn follow(&self, changes: &FileChanges) {
        self.judge(None, None);
        loop {
            match changes.wait(EXPIRY_PAUSE) {
                Wait::Changed => self.read_again(),
                Wait::Unchanged => self.judge(None, None),
                Wait::Ended => return,
            }
        }
    }

    /// Replaces the terms if all files can be used and one of them is new.
    fn read_again(&self) {
        let digest = self.files.digest();
        if digest.as_ref().is_ok_and(|digest| *digest == self.current.borrow().digest) {
            return self.judge(None, None);
        }
        let certificate = read_certificate(&self.files.certificate, &self.files.key);
        let clients = ClientTerms::read(&self.files.clients);
        match (certificate, clients, digest) {
            (Ok(certificate), Ok(clients), Ok(digest)) => {
                self.current.send_replace(Arc::new(TlsTerms::new(certificate, clients, digest)));
                tracing::info!("certificate read again");
                self.judge(None, None);
            }
            (certificate, clients, _) => {
                let (certificate, clients) = (certificate.err(), clients.err());
                if let Some(error) = &certificate {
                    tracing::error!(%error, "the certificate was not read again: the old one stays valid");
                }
                if let Some(error) = &clients {
                    tracing::error!(%error, "the files for client certificates were not read again: the old ones stay in force");
                }
                self.judge(certificate.as_ref(), clients.as_ref());
            }
        }
    }

    /// Takes note of whether the files can be used, and of certificates and revocation lists that have expired or will
    /// expire soon.
    fn judge(&self, certificate: Option<&StartError>, clients: Option<&StartError>) {
        let current = Arc::clone(&self.current.borrow());
        let certificate = match certificate {
            Some(error) => Some(unusable(error)),
            None => expired(&current.certificate),
        };
        self.report(FaultKind::CertificateUnusable, OBJECT, certificate);
        let known = current.clients.as_ref();
        let clients = match clients {
            Some(error) => Some(unusable(error)),
            None => known.and_then(ClientTerms::expired_crl),
        };
        self.report(FaultKind::ClientCertificatesUnusable, CLIENTS_OBJECT, clients);
        let expiry = known.and_then(ClientTerms::crl_expiry);
        self.faults.replace_expiries(ExpiryKind::Crl, expiry.into_iter().collect());
    }

    fn report(&self, kind: FaultKind, object: &str, reason: Option<String>) {
        match reason {
            Some(reason) => _ = self.faults.begin(kind, object, &reason),
            None => self.faults.end(kind, object),
        }
    }
}

/// The reason of an error without the path of the file.
fn unusable(error: &StartError) -> String {
    match error {
        StartError::File { reason, .. } => format!("its files: {reason}"),
        _ => "its files cannot be read".to_owned(),
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

fn read_certificate(certificate: &Path, key: &Path) -> Result<CertifiedKey, StartError> {
    let chain = read_certificates(certificate)?;
    let private = PrivateKeyDer::from_pem_slice(&read_file(key)?)
        .map_err(|error| fault(key, reason(&error)))?;
    CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider())
        .map_err(|_| fault(key, "is no private key of the certificate".to_owned()))
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, StartError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&read_file(path)?)
        .collect::<Result<_, _>>()
        .map_err(|error| fault(path, reason(&error)))?;
    if certificates.is_empty() {
        return Err(fault(path, "holds no certificate".to_owned()));
    }
    Ok(certificates)
}

fn read_file(path: &Path) -> Result<Vec<u8>, StartError> {
    regular_file::read(path, FILE_BYTES_MAX).map_err(|error| fault(path, error.to_string()))
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
