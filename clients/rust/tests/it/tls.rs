//! `https` with a private certificate authority.

use std::sync::Arc;
use std::time::Duration;

use headwater_client::{Client, Error};
use rcgen::{CertificateParams, KeyPair, SanType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::fixture::{Reply, ok, product};

/// Starts a server with a certificate for 127.0.0.1. Returns its URL and the certificate.
async fn start() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
    let certificate = params.self_signed(&key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let Reply::Bytes(answer) = ok(&product()) else { unreachable!("an answer is bytes") };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut head = [0; 4096];
            if stream.read(&mut head).await.is_ok() && stream.write_all(&answer).await.is_ok() {
                drop(stream.shutdown().await);
            }
        }
    });
    (url, certificate.pem())
}

#[tokio::test]
async fn a_configured_certificate_authority_is_trusted() {
    let (url, certificate) = start().await;
    let client = Client::builder().url(url).application("product").deadline(Duration::from_secs(5));
    let configuration = client.root_certificate_pem(certificate).connect().await.unwrap();
    assert_eq!(configuration.revision(), Some("c0ffee"));
}

#[tokio::test]
async fn an_unknown_certificate_is_rejected() {
    let ((url, _), (_, other)) = (start().await, start().await);
    let client = Client::builder()
        .url(url)
        .application("product")
        .deadline(Duration::from_secs(2))
        .root_certificate_pem(other);
    let error = client.connect().await.unwrap_err();
    assert!(matches!(error, Error::Deadline(_)), "{error}");
    assert!(error.to_string().to_lowercase().contains("certificate"), "{error}");
}

#[test]
fn invalid_pem_is_rejected_at_once() {
    let client = Client::builder().application("product").root_certificate_pem("nonsense");
    assert_eq!(
        client.build().unwrap_err().to_string(),
        "a root certificate is not a PEM certificate"
    );
}
