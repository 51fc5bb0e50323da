//! One request for a JWKS document. The connection, the time and the size are bounded, and redirects are not followed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::access::JWKS_BYTES_MAX;
use crate::regular_file;

/// The time limit of a request.
const READ_MAX: Duration = Duration::from_secs(10);
/// The largest file of certificate authorities, in bytes.
const CA_BYTES_MAX: u64 = 1024 * 1024;
const HTTPS_PORT: u16 = 443;

/// Reads a document.
///
/// # Errors
/// The reason, without the URL and without any part of the answer.
pub(super) async fn fetch(url: &str, ca_file: Option<PathBuf>) -> Result<Vec<u8>, String> {
    let seconds = READ_MAX.as_secs();
    let read = timeout(READ_MAX, read(url, ca_file)).await;
    read.unwrap_or_else(|_| Err(format!("no complete answer within {seconds} s")))
}

async fn read(url: &str, ca_file: Option<PathBuf>) -> Result<Vec<u8>, String> {
    let uri: Uri = url.parse().map_err(|_| "jwks_url is not a URL".to_owned())?;
    let authority = uri.authority().ok_or("jwks_url has no host")?.clone();
    if uri.scheme_str() != Some("https") || authority.as_str().contains('@') {
        return Err("jwks_url: expected https:// and a host without a user name".to_owned());
    }
    // Files are read on a thread of their own, because the file system may be slow.
    let config = tokio::task::spawn_blocking(move || tls(ca_file.as_deref())).await;
    let config = config.map_err(|_| "the certificate authorities cannot be read")??;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let stream = TcpStream::connect((host.as_str(), authority.port_u16().unwrap_or(HTTPS_PORT)));
    let stream = stream.await.map_err(|error| cause(&error))?;
    let name = ServerName::try_from(host).map_err(|_| "jwks_url has an invalid host")?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let stream = TokioIo::new(stream.map_err(|error| cause(&error))?);
    let (mut sender, connection) = http1::handshake(stream).await.map_err(|error| cause(&error))?;
    // Ends with this request. The sender receives every error of the connection.
    let mut task = JoinSet::new();
    task.spawn(async { drop(connection.await) });
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let request = Request::get(target)
        .header(HOST, authority.as_str())
        .header(ACCEPT, "application/json, application/jwk-set+json")
        .header(USER_AGENT, concat!("headwater/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new());
    let request = request.map_err(|_| "jwks_url is not a URL")?;
    let response = sender.send_request(request).await.map_err(|error| cause(&error))?;
    document(response).await
}

/// Reads the body of an answer. Its media type does not matter, because the keys are parsed strictly.
async fn document(response: Response<Incoming>) -> Result<Vec<u8>, String> {
    let status = response.status();
    if status.is_redirection() {
        return Err(format!(
            "the issuer answers with a redirect ({status}), which is not followed"
        ));
    }
    if status != StatusCode::OK {
        return Err(format!("the issuer answers with {status}"));
    }
    let mut body = response.into_body();
    let mut document = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(bytes) = frame.map_err(|error| cause(&error))?.into_data() {
            if document.len() + bytes.len() > JWKS_BYTES_MAX {
                return Err(format!("the JWKS has more than {JWKS_BYTES_MAX} bytes"));
            }
            document.extend_from_slice(&bytes);
        }
    }
    Ok(document)
}

/// Trusts the authorities of a file, or those of the system.
fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let mut config = if let Some(path) = ca_file {
        let roots = roots(path).map_err(|reason| format!("ca_file: {reason}"))?;
        builder.with_root_certificates(roots).with_no_client_auth()
    } else {
        let verifier = Verifier::new_with_extra_roots(Vec::new(), provider);
        let verifier = verifier.map_err(|error| error.to_string())?;
        let builder = builder.dangerous();
        builder.with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth()
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn roots(path: &Path) -> Result<RootCertStore, String> {
    let pem = regular_file::read(path, CA_BYTES_MAX).map_err(|error| error.to_string())?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| "is no PEM file")?;
        roots.add(certificate).map_err(|_| "holds a certificate that cannot be used")?;
    }
    if roots.is_empty() { Err("holds no certificate".to_owned()) } else { Ok(roots) }
}

/// Describes an error by its innermost cause. The outer ones only say that a request failed.
fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
