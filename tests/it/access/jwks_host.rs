//! An issuer of JWTs: its keys, the tokens that it signs, and an HTTPS server for its JWKS document.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

/// The size of a document that no server accepts, in bytes.
const LARGE: usize = 10 * 1024 * 1024;

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// An issuer with two keys.
pub(crate) struct Issuer {
    ed25519: Ed25519KeyPair,
    rsa: RsaKeyPair,
}

impl Issuer {
    pub(crate) fn new() -> Self {
        Self {
            ed25519: Ed25519KeyPair::generate().unwrap(),
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
        }
    }

    /// The document with the public keys. Their ids begin with a prefix.
    pub(crate) fn jwks(&self, prefix: &str) -> String {
        let rsa = self.rsa.public_key();
        let (modulus, exponent) = (rsa.modulus(), rsa.exponent());
        let [modulus, exponent] =
            [&modulus, &exponent].map(|number| encode(number.big_endian_without_leading_zero()));
        json!({"keys": [
            {"kty": "OKP", "crv": "Ed25519", "kid": format!("{prefix}ed"), "x": encode(self.ed25519.public_key())},
            {"kty": "RSA", "kid": format!("{prefix}rsa"), "n": modulus, "e": exponent},
        ]})
        .to_string()
    }

    fn message(algorithm: &str, kid: &str, claims: &Value) -> String {
        let header = json!({"alg": algorithm, "kid": kid, "typ": "JWT"});
        format!("{}.{}", encode(header.to_string()), encode(claims.to_string()))
    }

    /// A token that is signed with the first key.
    pub(crate) fn sign(&self, kid: &str, claims: &Value) -> String {
        let message = Self::message("EdDSA", kid, claims);
        format!("{message}.{}", encode(self.ed25519.sign(message.as_bytes())))
    }

    pub(super) fn sign_with_rsa(&self, kid: &str, claims: &Value) -> String {
        let message = Self::message("RS256", kid, claims);
        let mut signature = vec![0; self.rsa.public_modulus_len()];
        let random = SystemRandom::new();
        self.rsa.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature).unwrap();
        format!("{message}.{}", encode(signature))
    }

    /// A token of an attacker who uses the public key as a shared secret.
    pub(super) fn sign_with_public_key(&self, kid: &str, claims: &Value) -> String {
        let message = Self::message("HS256", kid, claims);
        let public: PublicKeyX509Der<'_> = self.rsa.public_key().as_der().unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, public.as_ref());
        format!("{message}.{}", encode(hmac::sign(&key, message.as_bytes())))
    }

    /// A token without a signature.
    pub(super) fn unsigned(kid: &str, claims: &Value) -> [String; 2] {
        let message = Self::message("none", kid, claims);
        [format!("{message}."), format!("{message}.{}", encode("x"))]
    }
}

/// An HTTPS server whose paths behave differently. It ends when it is dropped.
pub(super) struct JwksHost {
    port: u16,
    document: Arc<Mutex<String>>,
    /// The requests for `/held`, which are answered when the lock is free.
    pub(super) held: Arc<Mutex<()>>,
    pub(super) held_count: Arc<AtomicUsize>,
    certificate: String,
    stop: Arc<std::sync::atomic::AtomicBool>,
}

impl JwksHost {
    pub(super) fn new(document: &str) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = Self {
            port: listener.local_addr().unwrap().port(),
            document: Arc::new(Mutex::new(document.to_owned())),
            held: Arc::default(),
            held_count: Arc::default(),
            certificate: made.cert.pem(),
            stop: Arc::default(),
        };
        let visitor = Visitor {
            config: Arc::new(config),
            document: Arc::clone(&host.document),
            held: Arc::clone(&host.held),
            held_count: Arc::clone(&host.held_count),
        };
        let stop = Arc::clone(&host.stop);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let visitor = visitor.clone();
                // A client that closes its connection ends its thread.
                std::thread::spawn(move || drop(visitor.answer(stream)));
            }
        });
        host
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    pub(super) fn replace(&self, document: &str) {
        document.clone_into(&mut self.document.lock().unwrap());
    }

    /// Writes the certificate that clients of this host trust.
    pub(super) fn write_ca(&self, path: &Path) {
        std::fs::write(path, &self.certificate).unwrap();
    }
}

impl Drop for JwksHost {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts connections.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

#[derive(Clone)]
struct Visitor {
    config: Arc<ServerConfig>,
    document: Arc<Mutex<String>>,
    held: Arc<Mutex<()>>,
    held_count: Arc<AtomicUsize>,
}

impl Visitor {
    fn answer(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let connection = ServerConnection::new(Arc::clone(&self.config)).unwrap();
        let mut stream = StreamOwned::new(connection, stream);
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let path = head.split(' ').nth(1).unwrap_or_default();
        let document = self.document.lock().unwrap().clone();
        let json = "application/json";
        let (status, kind, body) = match path {
            "/html" => ("200 OK", "text/html; charset=utf-8", document),
            "/page" => ("200 OK", "text/html", "<html>Sign in</html>".to_owned()),
            "/large" => ("200 OK", json, format!("{{\"keys\": [{}]}}", " ".repeat(LARGE))),
            "/error" => ("500 Internal Server Error", json, document),
            "/redirect" => ("302 Found\r\nLocation: /good", json, document),
            "/held" => {
                self.held_count.fetch_add(1, Ordering::SeqCst);
                drop(self.held.lock().unwrap());
                ("200 OK", json, document)
            }
            "/slow" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")?;
                // Until the client closes the connection.
                let _ = stream.read(&mut byte);
                return Ok(());
            }
            _ => ("200 OK", json, document),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        stream.conn.send_close_notify();
        stream.flush()
    }
}
