//! `{vault}` references, against a stand-in that answers as Vault does, or as it does not.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use headwater::settings::{AppRoleSettings, SecretsSettings, VaultLoginSettings, VaultSettings};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::references::{flat, server, tag, wait_for};
use crate::fixture::{Hosted, Repository, Server, directory, eventually};

/// How the stand-in answers requests for secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
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

/// A Vault with the key-value engine 2 at `secret` and AppRole.
struct StandIn {
    address: SocketAddr,
    state: Arc<State>,
    credentials: TempDir,
}

struct State {
    manner: Mutex<Manner>,
    secrets: Mutex<HashMap<String, (u64, Json)>>,
    token: Mutex<String>,
    login_count: AtomicUsize,
    /// The methods and paths of all requests.
    requests: Mutex<Vec<String>>,
    is_over: AtomicBool,
}

impl StandIn {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            manner: Mutex::new(Manner::Good),
            secrets: Mutex::default(),
            token: Mutex::default(),
            login_count: AtomicUsize::new(0),
            requests: Mutex::default(),
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
        let credentials = directory("//- role\nrole-1\n//- secret\nsecret-1\n");
        Self { address, state, credentials }
    }

    /// Writes a new version of a secret.
    fn write(&self, path: &str, values: Json) {
        let mut secrets = self.state.secrets.lock().unwrap();
        let version = secrets.get(path).map_or(1, |(version, _)| version + 1);
        secrets.insert(path.to_owned(), (version, values));
    }

    fn behave(&self, manner: Manner) {
        *self.state.manner.lock().unwrap() = manner;
    }

    /// No token is valid any more.
    fn expire(&self) {
        self.state.token.lock().unwrap().clear();
    }

    fn login_count(&self) -> usize {
        self.state.login_count.load(Ordering::Relaxed)
    }

    fn settings(&self) -> SecretsSettings {
        let at = |name| self.credentials.path().join(name);
        let approle =
            AppRoleSettings { role_id_file: at("role"), secret_id_file: at("secret"), mount: None };
        let vault = VaultSettings {
            name: String::new(),
            uri: format!("http://{}", self.address),
            mount: "secret".to_owned(),
            kv_version: 2,
            namespace: Some("shop".to_owned()),
            ca_file: None,
            auth: VaultLoginSettings::AppRole(approle),
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

impl State {
    fn connection(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut first = String::new();
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
            _ => respond(stream, &self.answer(&request, &headers, &body, manner)),
        }
    }

    /// The status, further headers, and the body.
    fn answer(
        &self,
        request: &str,
        headers: &HashMap<String, String>,
        body: &[u8],
        manner: Manner,
    ) -> (u16, String, String) {
        let failed = |status| (status, String::new(), r#"{"errors":["s3cret-error"]}"#.to_owned());
        if headers.get("x-vault-namespace").map(String::as_str) != Some("shop") {
            return failed(400);
        }
        if request == "POST /v1/auth/approle/login" {
            let body: Json = serde_json::from_slice(body).unwrap();
            if body != json!({"role_id": "role-1", "secret_id": "secret-1"}) {
                return failed(400);
            }
            let number = self.login_count.fetch_add(1, Ordering::Relaxed);
            let token = format!("s3cret-token-{number}");
            *self.token.lock().unwrap() = token.clone();
            let auth = json!({"client_token": token, "lease_duration": 3600, "renewable": true});
            return (200, String::new(), json!({"auth": auth}).to_string());
        }
        let token = self.token.lock().unwrap().clone();
        if token.is_empty() || headers.get("x-vault-token") != Some(&token) {
            return failed(403);
        }
        match manner {
            Manner::Status(status) => return failed(status),
            Manner::Redirect => return (307, "Location: /v1/stolen\r\n".to_owned(), String::new()),
            Manner::Large => return (200, String::new(), " ".repeat(10_000_000)),
            Manner::Good | Manner::Silent | Manner::Away => {}
        }
        let secrets = self.secrets.lock().unwrap();
        let found = request.strip_prefix("GET /v1/secret/data/").and_then(|path| secrets.get(path));
        let Some((version, values)) = found else { return failed(404) };
        let data = json!({"data": values, "metadata": {"version": version}});
        (200, String::new(), json!({"data": data}).to_string())
    }
}

fn respond(mut stream: TcpStream, (status, headers, body): &(u16, String, String)) {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} x\r\n{headers}Content-Length: {length}\r\n\r\n");
    // A client that does not want the rest has closed the connection.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
}

const FILES: &str = "//- orders.yml\npassword: '{vault}:shop/orders#password'\n\
                     //- other.yml\nx: '{vault}:shop/other#x'\n//- plain.yml\na: 1\n";

fn is_faulty(server: &Server) -> bool {
    let metrics = server.get("/metrics").expect(200).text();
    !metrics.contains("headwater_faults{kind=\"vault-unreadable\"} 0\n")
}

/// Waits for the first read.
fn until_served(server: &Server, application: &str) {
    let path = format!("/{application}/none");
    eventually("the secret is read", || server.get(&path).status == 200);
}

#[test]
fn a_new_version_wakes_the_services_that_name_it_and_one_login_serves_all() {
    let vault = StandIn::start();
    vault.write("shop/orders", json!({"password": "one", "more": {}}));
    vault.write("shop/other", json!({"x": 1.5}));
    let repository = Repository::new(FILES);
    vault.behave(Manner::Status(503));
    let server = server(&repository, vault.settings());
    let first = server.get("/orders/none").expect(503);
    assert_eq!(first.header("retry-after"), Some("1"));
    server.get("/plain/none").expect(200);
    vault.behave(Manner::Good);
    until_served(&server, "orders");
    until_served(&server, "other");
    assert_eq!(flat(&server, "orders"), json!({"password": "one"}));
    assert_eq!(flat(&server, "other"), json!({"x": 1.5}));
    let tags = ["other", "plain"].map(|name| tag(&server, name));
    let changed = wait_for(&server, "orders", || {
        vault.write("shop/orders", json!({"password": "two"}));
    });
    assert!(changed.text().contains("\"password\":\"two\""), "{}", changed.text());
    assert_eq!(["other", "plain"].map(|name| tag(&server, name)), tags);
    assert_eq!(vault.login_count(), 1);
    vault.expire();
    eventually("the server logs in again", || vault.login_count() == 2);
    vault.write("shop/orders", json!({"password": "three"}));
    eventually("the new token is used", || flat(&server, "orders") == json!({"password": "three"}));
    // Another replica has the same tags.
    let replica = super::references::server(&repository, vault.settings());
    until_served(&replica, "other");
    assert_eq!(tag(&replica, "other"), tags[0]);
}

#[test]
fn values_stay_in_use_while_vault_fails_in_every_way() {
    let vault = StandIn::start();
    vault.write("shop/orders", json!({"password": "s3cret-kept"}));
    let repository = Repository::new(FILES);
    let server = server(&repository, vault.settings());
    until_served(&server, "orders");
    let before = tag(&server, "orders");
    for manner in [
        Manner::Status(403),
        Manner::Status(404),
        Manner::Status(500),
        Manner::Status(503),
        Manner::Redirect,
        Manner::Large,
        Manner::Away,
        Manner::Silent,
    ] {
        vault.behave(manner);
        eventually(&format!("{manner:?} is reported"), || is_faulty(&server));
        assert_eq!(tag(&server, "orders"), before, "{manner:?}");
        let problems = server.get("/-/problems").expect(200).text();
        assert!(problems.contains("vault-unreadable"), "{manner:?}: {problems}");
        assert!(!problems.contains("s3cret"), "{problems}");
        vault.behave(Manner::Good);
        eventually(&format!("{manner:?} is over"), || !is_faulty(&server));
    }
    let requests = vault.state.requests.lock().unwrap();
    assert!(!requests.iter().any(|request| request.contains("stolen")), "{requests:?}");
}

#[test]
fn an_environment_without_its_value_waits_and_one_with_a_past_stays_there() {
    let vault = StandIn::start();
    vault.behave(Manner::Status(503));
    let hosted = Hosted::with("//- orders.yml\na: 1\n", |settings| {
        settings.secrets = vault.settings();
    });
    assert_eq!(flat(&hosted.server, "orders"), json!({"a": 1}));
    // The push is accepted: it does not wait for Vault.
    let tree = hosted.clone("work");
    tree.commit("//- orders.yml\na: 2\npassword: '{vault}:shop/orders#password'\n//- new.yml\nb: '{vault}:new#b'\n");
    tree.push(&["main"]).succeeds();
    let held = hosted.server.get("/orders/none").expect(200);
    assert!(held.header("headwater-held-at").is_some());
    assert_eq!(held.json()["propertySources"][0]["source"], json!({"a": 1}));
    hosted.server.get("/new/none").expect(503);
    vault.write("shop/orders", json!({"password": "late"}));
    vault.behave(Manner::Good);
    let expected = json!({"a": 2, "password": "late"});
    eventually("the value arrives", || flat(&hosted.server, "orders") == expected);
    // A path that Vault lacks is a problem of the environment, and no request to retry.
    eventually("the lack is known", || hosted.server.get("/new/none").status == 500);
    let error = hosted.server.get("/new/none").text();
    assert!(error.contains("new.yml:1:4: b: Vault has no secret at this path (404)"), "{error}");
    vault.write("new", json!({"b": true}));
    eventually("the secret exists", || hosted.server.get("/new/none").status == 200);
    // A reference that cannot be one is rejected.
    tree.commit("//- orders.yml\npassword: '{vault}:../sys#password'\n");
    tree.push(&["main"]).fails(&["orders.yml:1:11: password: is no reference to Vault"]);
    tree.git(&["reset", "--quiet", "--hard", "origin/main"]).succeeds();
    tree.commit("//- orders.yml\npassword: '{vault:two}:a#password'\n");
    tree.push(&["main"]).fails(&["the settings of the server have no Vault of this name"]);
}
