//! Access by a policy, over real connections: who is recognised, what each principal receives, and what a change of the
//! policy does to a running server.

mod areas;
mod audit_pages;
mod audited;
mod credentials;
pub(crate) mod hosted_policy;
pub(crate) mod jwks_host;
mod jwt;
mod limits;
mod lists;
mod load;
mod matrix;
mod policy_file;
mod pushes;
mod recorded;
mod references;
mod repositories;
mod revocation;
mod rollouts;
mod trials;
mod values;
mod variants;

use std::fmt::Write;
use std::fs::{Permissions, set_permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use headwater::settings::Settings;
use tempfile::TempDir;

use crate::fixture::{Address, Reply, Repository, Server, settings};

/// Two services with their files, and a file that is served by its path.
const SHOP: &str = "\
//- application.yml
shared: everywhere
//- orders.yml
name: Orders
//- orders-prod.yml
level: quiet
//- billing.yml
name: Billing
secret: hunter2billing
//- plain.txt
a plain text
";

/// The principals of the policy. `rules` follows them.
const PRINCIPALS: [(&str, &str); 5] = [
    ("orders", "service"),
    ("billing", "service"),
    ("lister", "person"),
    ("builder", "ci"),
    ("ops", "operator"),
];

/// The rules of most tests.
pub(crate) const RULES: &str = r#"
[[allow]]
who = ["kind:service"]
may = ["read"]
application = ["{principal}"]
profile = ["*"]
[[allow]]
who = ["lister"]
may = ["read"]
application = ["orders"]
profile = ["*"]
[[allow]]
who = ["lister"]
may = ["list"]
[[allow]]
who = ["builder"]
may = ["push"]
application = ["orders"]
branch = ["main"]
[[allow]]
who = ["ops"]
may = ["read", "file", "push"]
application = ["*"]
profile = ["*"]
label = ["*"]
branch = ["**", "tag:**"]
[[allow]]
who = ["ops"]
may = ["rollout"]
application = ["*"]
[[allow]]
who = ["builder"]
may = ["seal"]
[[allow]]
who = ["ops"]
may = ["list", "overview", "metrics", "clone", "unseal", "admin"]
[[area]]
path = ["plain.txt"]
application = ["orders", "billing"]
"#;

/// A token of a principal. Each principal has the tokens 1 and 2, and the token 3, which has expired.
pub(crate) fn token(principal: &str, number: u32) -> String {
    format!("hw_{principal}_{number}_0123456789abcdef0123456789abcdef")
}

pub(crate) fn sha256(text: &str) -> String {
    digest(&SHA256, text.as_bytes()).as_ref().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

/// A policy with the tokens of each principal, and rules.
pub(crate) fn policy(rules: &str) -> String {
    let mut text = "version = 1\n".to_owned();
    for (name, kind) in PRINCIPALS {
        let digests = [1, 2, 3].map(|number| sha256(&token(name, number)));
        let [first, second, expired] = digests;
        writeln!(
            text,
            "[[principal]]\nname = \"{name}\"\nkind = \"{kind}\"\ntokens = [{{ sha256 = \"{first}\" }}, \
             {{ sha256 = \"{second}\" }}, {{ sha256 = \"{expired}\", expires = 2020-01-01 }}]"
        )
        .unwrap();
    }
    text + rules
}

/// A policy file in a directory of its own.
struct PolicyFile {
    directory: TempDir,
}

impl PolicyFile {
    fn new(text: &str) -> Self {
        let file = Self { directory: tempfile::tempdir().unwrap() };
        file.replace(text);
        file
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("policy.toml")
    }

    /// Writes a new file beside the policy and renames it, as an orchestrator does.
    fn replace(&self, text: &str) {
        let new = self.directory.path().join("new");
        std::fs::write(&new, text).unwrap();
        set_permissions(&new, Permissions::from_mode(0o644)).unwrap();
        std::fs::rename(&new, self.path()).unwrap();
    }
}

/// A server with a policy, and the repository that it serves.
struct Guarded {
    server: Server,
    repository: Repository,
    policy: PolicyFile,
}

impl Guarded {
    fn new(rules: &str) -> Self {
        Self::with(SHOP, rules, |_| {})
    }

    /// The same with other files and settings.
    fn with(files: &str, rules: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let (repository, policy) = (Repository::new(files), PolicyFile::new(&policy(rules)));
        let mut settings = settings(&repository.uri());
        settings.sources[0].default_label = Some("main".to_owned());
        settings.access.policy_file = Some(policy.path());
        change(&mut settings);
        Self { server: Server::with(settings), repository, policy }
    }

    fn get(&self, path: &str, principal: &str) -> Reply {
        get(*self.server, path, principal)
    }
}

/// A `GET` with the first token of a principal.
pub(crate) fn get(server: Address, path: &str, principal: &str) -> Reply {
    server.get_with(path, &[("Authorization", &bearer(principal, 1))])
}

pub(crate) fn bearer(principal: &str, number: u32) -> String {
    format!("Bearer {}", token(principal, number))
}

pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// A figure of `/metrics`, read by `ops`.
fn metric(server: Address, name: &str) -> u64 {
    let text = get(server, "/metrics", "ops").expect(200).text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.expect("a figure").parse().unwrap()
}

/// An event stream, read as it comes.
struct Stream(std::net::TcpStream);

impl Stream {
    /// Opens a stream and reads its head.
    fn open(server: Address, path: &str, authorization: &str) -> Self {
        use std::io::Write;
        let mut stream = Self(server.connect());
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nAuthorization: \
             {authorization}\r\n\r\n"
        );
        stream.0.write_all(request.as_bytes()).unwrap();
        let head = stream.read_to("\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        stream
    }

    /// Reads until a text has arrived. Returns everything read.
    #[track_caller]
    fn read_to(&mut self, end: &str) -> String {
        let mut text = String::new();
        let mut byte = [0];
        while !text.ends_with(end) {
            match self.0.read(&mut byte) {
                Ok(0) => panic!("the stream ended before {end:?}: {text}"),
                Ok(_) => text.push(char::from(byte[0])),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => panic!("{error}: {text}"),
            }
        }
        text
    }

    /// Reads until the server closes the stream. Returns everything read.
    fn rest(mut self) -> String {
        let mut bytes = Vec::new();
        match self.0.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the stream stays open: {error}"),
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
