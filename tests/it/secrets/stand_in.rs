//! A stand-in for Vault, which answers as Vault does, or as it does not.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use headwater::settings::{AppRoleSettings, SecretsSettings, VaultLoginSettings, VaultSettings};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::fixture::directory;

/// The namespace that every request has to name.
const NAMESPACE: &str = "shop";

/// How the stand-in answers requests for secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Good,
    Status(u16),
    /// A redirect to another path of this stand-in.
    Redirect,
    /// A response of 10 MB.
    Large,
    /// No response.
    Silent,
    /// Closes every connection.
    Away,
}

/// A Vault with the key-value engine 2 at `secret` and engine 1 at `kv`. It has logins by AppRole, Kubernetes and JWT.
pub(crate) struct StandIn {
    address: SocketAddr,
    pub(crate) state: Arc<State>,
    /// The files that the server logs in with: `role`, `secret`, `jwt`, `token` and, with TLS, `ca.crt`.
    pub(crate) credentials: TempDir,
    is_tls: bool,
}

pub(crate) struct State {
    manner: Mutex<Manner>,
    secrets: Mutex<HashMap<String, (u64, Json)>>,
    token: Mutex<Token>,
    login_count: AtomicUsize,
    pub(crate) renewal_count: AtomicUsize,
    /// The seconds that a token is valid for.
    pub(crate) lease_seconds: AtomicU64,
    pub(crate) renews: AtomicBool,
    /// The methods and paths of all requests.
    pub(crate) requests: Mutex<Vec<String>>,
    tls: Option<Arc<ServerConfig>>,
    is_over: AtomicBool,
}

/// The token that is valid now.
#[derive(Default)]
struct Token {
    text: String,
    /// Never for a token of a file.
    until: Option<Instant>,
    /// The time of the login, and of the first renewal after it.
    granted_at: Option<Instant>,
    renewed_after: Option<Duration>,
}

impl StandIn {
    pub(crate) fn start() -> Self {
        Self::with(None)
    }

    /// A stand-in that answers with TLS only. Its certificate is for `localhost`.
    pub(crate) fn with_tls() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let vault = Self::with(Some(Arc::new(config)));
        vault.write_credential("ca.crt", &made.cert.pem());
        vault
    }

    fn with(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let is_tls = tls.is_some();
        let state = Arc::new(State {
            manner: Mutex::new(Manner::Good),
            secrets: Mutex::default(),
            token: Mutex::default(),
            login_count: AtomicUsize::new(0),
            renewal_count: AtomicUsize::new(0),
            lease_seconds: AtomicU64::new(3600),
            renews: AtomicBool::new(true),
            requests: Mutex::default(),
            tls,
            is_over: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.is_over.load(Ordering::Relaxed) {
                    return;
                }
                let state = Arc::clone(&shared);
                std::thread::spawn(move || state.connection(stream));
            }
        });
        let credentials = directory(
            "//- role\nrole-1\n//- secret\nsecret-1\n//- jwt\njwt-1\n//- token\ns3cret-token-file\n",
        );
        Self { address, state, credentials, is_tls }
    }

    /// Writes a new version of a secret.
    pub(crate) fn write(&self, path: &str, values: Json) {
        let mut secrets = self.state.secrets.lock().unwrap();
        let version = secrets.get(path).map_or(1, |(version, _)| version + 1);
        secrets.insert(path.to_owned(), (version, values));
    }

    pub(crate) fn write_credential(&self, name: &str, text: &str) {
        std::fs::write(self.credentials.path().join(name), text).unwrap();
    }

    pub(crate) fn behave(&self, manner: Manner) {
        *self.state.manner.lock().unwrap() = manner;
    }

    /// No token is valid any more.
    pub(crate) fn expire(&self) {
        *self.state.token.lock().unwrap() = Token::default();
    }

    /// Makes the token of a file valid.
    pub(crate) fn accept(&self, token: &str) {
        *self.state.token.lock().unwrap() = Token { text: token.to_owned(), ..Token::default() };
    }

    pub(crate) fn login_count(&self) -> usize {
        self.state.login_count.load(Ordering::Relaxed)
    }

    pub(crate) fn renewal_count(&self) -> usize {
        self.state.renewal_count.load(Ordering::Relaxed)
    }

    /// The time from the login of the present token to its first renewal.
    pub(crate) fn renewed_after(&self) -> Option<Duration> {
        self.state.token.lock().unwrap().renewed_after
    }

    /// The number of requests with a method and a path.
    pub(crate) fn request_count(&self, request: &str) -> usize {
        let requests = self.state.requests.lock().unwrap();
        requests.iter().filter(|known| *known == request).count()
    }

    /// The settings with a login by AppRole.
    pub(crate) fn settings(&self) -> SecretsSettings {
        let at = |name| self.credentials.path().join(name);
        self.settings_with(VaultLoginSettings::AppRole(AppRoleSettings {
            role_id_file: at("role"),
            secret_id_file: at("secret"),
            mount: None,
        }))
    }

    pub(crate) fn settings_with(&self, auth: VaultLoginSettings) -> SecretsSettings {
        let uri = match self.is_tls {
            true => format!("https://localhost:{}", self.address.port()),
            false => format!("http://{}", self.address),
        };
        let vault = VaultSettings {
            name: String::new(),
            uri,
            mount: "secret".to_owned(),
            kv_version: 2,
            namespace: Some(NAMESPACE.to_owned()),
            ca_file: self.is_tls.then(|| self.credentials.path().join("ca.crt")),
            auth,
            poll_seconds: 1,
        };
        SecretsSettings { vault: vec![vault], ..SecretsSettings::default() }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
    }
}

/// The status, further headers, and the body.
type Answer = (u16, String, String);

fn failed(status: u16) -> Answer {
    (status, String::new(), r#"{"errors":["s3cret-error"]}"#.to_owned())
}

fn good(body: &Json) -> Answer {
    (200, String::new(), body.to_string())
}

impl State {
    fn connection(&self, stream: TcpStream) {
        match &self.tls {
            Some(config) => {
                let connection = ServerConnection::new(Arc::clone(config)).unwrap();
                self.converse(StreamOwned::new(connection, stream));
            }
            None => self.converse(stream),
        }
    }

    /// Reads one request and answers it.
    fn converse(&self, stream: impl Read + Write) {
        let mut reader = BufReader::new(stream);
        let mut first = String::new();
        // A client that does not trust the certificate sends no request.
        if reader.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        let mut headers = HashMap::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap();
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length").map_or(0, |it| it.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let request = first.rsplit_once(' ').unwrap().0.to_owned();
        self.requests.lock().unwrap().push(request.clone());
        let manner = *self.manner.lock().unwrap();
        match manner {
            Manner::Away => {}
            Manner::Silent => {
                // The client closes the connection after its time limit.
                let _ = reader.read(&mut [0]);
            }
            _ => respond(reader.get_mut(), &self.answer(&request, &headers, &body, manner)),
        }
    }

    fn answer(
        &self,
        request: &str,
        headers: &HashMap<String, String>,
        body: &[u8],
        manner: Manner,
    ) -> Answer {
        if headers.get("x-vault-namespace").map(String::as_str) != Some(NAMESPACE) {
            return failed(400);
        }
        if let Some(login) = request.strip_prefix("POST /v1/auth/")
            && let Some(mount) = login.strip_suffix("/login")
        {
            return self.log_in(mount, &serde_json::from_slice(body).unwrap());
        }
        if !self.is_valid(headers.get("x-vault-token")) {
            return failed(403);
        }
        if request == "POST /v1/auth/token/renew-self" {
            return self.renew();
        }
        match manner {
            Manner::Status(status) => return failed(status),
            Manner::Redirect => return (307, "Location: /v1/stolen\r\n".to_owned(), String::new()),
            Manner::Large => return (200, String::new(), " ".repeat(10_000_000)),
            Manner::Good | Manner::Silent | Manner::Away => {}
        }
        let secrets = self.secrets.lock().unwrap();
        if let Some(path) = request.strip_prefix("GET /v1/kv/") {
            let Some((_, values)) = secrets.get(path) else { return failed(404) };
            return good(&json!({"data": values, "lease_duration": 2_764_800}));
        }
        let found = request.strip_prefix("GET /v1/secret/data/").and_then(|path| secrets.get(path));
        let Some((version, values)) = found else { return failed(404) };
        good(&json!({"data": {"data": values, "metadata": {"version": version}}}))
    }

    /// A login by AppRole, or by a JWT at any other mount.
    fn log_in(&self, mount: &str, body: &Json) -> Answer {
        let expected = match mount {
            "approle" => json!({"role_id": "role-1", "secret_id": "secret-1"}),
            _ => json!({"role": "headwater", "jwt": "jwt-1"}),
        };
        if *body != expected {
            return failed(400);
        }
        let number = self.login_count.fetch_add(1, Ordering::Relaxed);
        let (text, now) = (format!("s3cret-token-{number}"), Instant::now());
        *self.token.lock().unwrap() = Token {
            text: text.clone(),
            until: Some(now + self.lease()),
            granted_at: Some(now),
            renewed_after: None,
        };
        good(&self.auth(&text))
    }

    fn renew(&self) -> Answer {
        self.renewal_count.fetch_add(1, Ordering::Relaxed);
        if !self.renews.load(Ordering::Relaxed) {
            return failed(403);
        }
        let mut token = self.token.lock().unwrap();
        token.until = Some(Instant::now() + self.lease());
        token.renewed_after = token.renewed_after.or(token.granted_at.map(|at| at.elapsed()));
        good(&self.auth(&token.text))
    }

    fn lease(&self) -> Duration {
        Duration::from_secs(self.lease_seconds.load(Ordering::Relaxed))
    }

    fn auth(&self, token: &str) -> Json {
        let seconds = self.lease().as_secs();
        json!({"auth": {"client_token": token, "lease_duration": seconds, "renewable": true}})
    }

    fn is_valid(&self, presented: Option<&String>) -> bool {
        let token = self.token.lock().unwrap();
        let is_in_time = token.until.is_none_or(|until| Instant::now() < until);
        !token.text.is_empty() && presented == Some(&token.text) && is_in_time
    }
}

fn respond(stream: &mut impl Write, (status, headers, body): &Answer) {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} x\r\n{headers}Content-Length: {length}\r\n\r\n");
    // A client that does not want the rest has closed the connection.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
    let _ = stream.flush();
}
