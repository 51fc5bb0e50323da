//! `/openapi.json`: every route is in it, below the prefix that a server has, with every status and media type that a server
//! answers.

use std::collections::BTreeSet;

use headwater::http::route::{GIT_ROUTES, SERVER_ROUTES};
use headwater::settings::SecretsSettings;
use headwater_wire::Contract;
use serde_json::Value;

use super::shop;
use crate::fixture::{
    Address, Reply, Repository, Server, directory, eventually, hosted_settings, settings,
};
use crate::secrets::keys::Vectors;

/// Paths that are neither in the table of our own resources nor git's.
const OTHERS: [&str; 18] = [
    "/{application}/{profiles}",
    "/{application}/{profiles}/{label}",
    "/{application}-{profiles}.{extension}",
    "/{label}/{application}-{profiles}.{extension}",
    "/{application}/{profiles}/{label}/{path}",
    "/{application}/{profiles}/{path}",
    "/monitor",
    "/encrypt",
    "/encrypt/{application}/{profiles}",
    "/encrypt/status",
    "/decrypt",
    "/decrypt/{application}/{profiles}",
    "/key",
    "/key/{application}/{profiles}",
    "/-/contracts/{application}",
    "/-/contracts/{application}/keys",
    "/-/contracts/{application}/{digest}",
    "/-/rollouts/{id}",
];

fn contract(server: Address, path: &str) -> Value {
    let reply = server.get(path).expect(200);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    reply.json()
}

#[test]
fn the_contract_has_every_route() {
    let (_repository, server) = shop();
    let contract = contract(*server, "/openapi.json");
    let paths = contract["paths"].as_object().expect("paths");
    let gits = GIT_ROUTES.map(|(path, _)| path);
    for path in SERVER_ROUTES.iter().map(|(path, _)| *path).chain(gits).chain(OTHERS) {
        assert!(paths.contains_key(path), "{path} is missing");
    }
    let count = SERVER_ROUTES.len() + GIT_ROUTES.len() + OTHERS.len();
    assert_eq!(paths.len(), count, "a path that is not served");
}

#[test]
fn the_paths_of_the_contract_stand_below_the_prefix() {
    let repository = Repository::new(super::SHOP);
    let mut settings = settings(&repository.uri());
    settings.prefix = "/cfg/v1".to_owned();
    let server = Server::with(settings);
    let contract = contract(*server, "/cfg/v1/openapi.json");
    let paths = contract["paths"].as_object().expect("paths");
    assert_eq!(paths.len(), SERVER_ROUTES.len() + GIT_ROUTES.len() + OTHERS.len());
    for path in paths.keys() {
        let asked = path
            .replace("{application}", "orders")
            .replace("{profiles}", "dev")
            .replace("{label}", "main")
            .replace("{extension}", "yml")
            .replace("{path}", "plain.txt")
            .replace("{repository}", "none")
            .replace("{digest}", &"0".repeat(64))
            .replace("{id}", "r-0000000000");
        let asked = if path.ends_with("/history") { asked + "?instance=a" } else { asked };
        // HEAD begins no stream.
        let reply = server.ask("HEAD", &asked, &[]);
        let is_git = path.contains("/-/git/");
        let is_key = ["encrypt", "decrypt", "key"].iter().any(|name| path.contains(name));
        let is_one = path.ends_with("/{digest}") || path.ends_with("/{id}");
        let is_file = path.ends_with("/{profiles}/{path}");
        let is_post = paths[path].get("post").is_some();
        match reply.status {
            200 => {}
            405 => assert!(is_post, "{path}"),
            401 | 403 => assert!(is_git, "{path}"),
            status => {
                let is_audit = path.ends_with("/-/audit");
                let is_absent = is_git || is_key || is_file || is_one || is_audit;
                assert!(status == 404 && is_absent, "{path}: {status}");
            }
        }
    }
    for path in ["/livez", "/metrics", "/monitor", "/cfg/v1", "/cfg/v1/-/problems"] {
        assert!(paths.contains_key(path), "{path}");
    }
}

/// Statuses that no request of this test brings about: they need time, load, or a broken disk. Other tests do.
const ELSEWHERE: [(&str, &str); 32] = [
    ("/-/audit", "503"),
    ("/-/fleet", "503"),
    ("/-/fleet/history", "503"),
    ("/-/contracts/{application}/{digest}", "408"),
    ("/-/contracts/{application}/{digest}", "409"),
    ("/-/rollouts/{id}", "200"),
    ("/-/rollouts/{id}", "400"),
    ("/-/rollouts/{id}", "408"),
    ("/-/rollouts/{id}", "409"),
    ("/-/rollouts/{id}", "413"),
    ("/-/rollouts/{id}", "503"),
    ("/-/events", "429"),
    ("/-/events", "503"),
    ("/-/environments", "503"),
    ("/encrypt", "408"),
    ("/encrypt/{application}/{profiles}", "408"),
    ("/decrypt", "408"),
    ("/decrypt/{application}/{profiles}", "408"),
    ("/monitor", "408"),
    ("/monitor", "429"),
    ("/{application}/{profiles}", "429"),
    ("/{application}/{profiles}/{label}", "429"),
    ("/-/git/{repository}.git/info/refs", "500"),
    ("/-/git/{repository}.git/info/refs", "503"),
    ("/-/git/{repository}.git/git-upload-pack", "408"),
    ("/-/git/{repository}.git/git-upload-pack", "500"),
    ("/-/git/{repository}.git/git-upload-pack", "503"),
    ("/-/git/{repository}.git/git-receive-pack", "408"),
    ("/-/git/{repository}.git/git-receive-pack", "413"),
    ("/-/git/{repository}.git/git-receive-pack", "500"),
    ("/-/git/{repository}.git/git-receive-pack", "503"),
    ("/-/git/{repository}.git/git-receive-pack", "200"),
];

/// What servers answered, by path of the contract, method and status.
struct Answers {
    contract: Value,
    seen: BTreeSet<(String, String)>,
}

impl Answers {
    /// Compares an answer with the contract.
    #[track_caller]
    fn take(&mut self, path: &str, method: &str, reply: &Reply) {
        let status = reply.status.to_string();
        let operation = &self.contract["paths"][path][method];
        let documented = &operation["responses"][&status];
        let what = format!("{method} {path} {status}: {}", reply.everything());
        assert!(documented.is_object(), "not documented: {what}");
        let content = documented["content"].as_object();
        match reply.header("content-type") {
            Some(media_type) => {
                let media_type = media_type.split(';').next().unwrap().trim();
                let is_known = content.is_some_and(|content| content.contains_key(media_type));
                assert!(is_known, "{media_type} is not documented: {what}");
            }
            None => assert!(reply.body.is_empty(), "{what}"),
        }
        self.seen.insert((path.to_owned(), status));
    }

    #[track_caller]
    fn get(&mut self, server: Address, path: &str, asked: &str, headers: &[(&str, &str)]) {
        let reply = server.get_with(asked, headers);
        self.take(path, "get", &reply);
    }

    #[track_caller]
    fn post(&mut self, server: Address, path: &str, asked: &str, headers: &str, body: &str) {
        let request = format!(
            "POST {asked} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let reply = server.send(request.as_bytes());
        self.take(path, "post", &reply);
    }

    #[track_caller]
    fn put(&mut self, server: Address, path: &str, asked: &str, body: &str) {
        let request = format!(
            "PUT {asked} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let reply = server.send(request.as_bytes());
        self.take(path, "put", &reply);
    }

    /// Announces a body of so many bytes, and sends none of it.
    #[track_caller]
    fn post_length(
        &mut self,
        server: Address,
        path: &str,
        asked: &str,
        headers: &str,
        length: usize,
    ) {
        let request = format!(
            "POST {asked} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n"
        );
        let reply = server.send(request.as_bytes());
        self.take(path, "post", &reply);
    }
}

/// Everything that is asked of a server: by path of the contract, with paths that bring about different statuses.
const ASKED: &[(&str, &[&str])] = &[
    ("/", &["/"]),
    ("/openapi.json", &["/openapi.json"]),
    (
        "/-/environments",
        &["/-/environments", "/-/environments?label=..", "/-/environments?label=no"],
    ),
    ("/-/problems", &["/-/problems"]),
    ("/-/instances", &["/-/instances", "/-/instances?limit=0"]),
    (
        "/-/fleet",
        &[
            "/-/fleet",
            "/-/fleet?local&instance=a",
            "/-/fleet?limit=x",
            "/-/fleet?at=x",
            "/-/fleet?at=2026-11-20T14:03:00Z",
        ],
    ),
    ("/-/fleet/history", &["/-/fleet/history?instance=a", "/-/fleet/history"]),
    ("/-/contracts", &["/-/contracts"]),
    ("/-/contracts/{application}", &["/-/contracts/orders", "/-/contracts/..", "/-/contracts/*"]),
    (
        "/-/contracts/{application}/keys",
        &["/-/contracts/orders/keys", "/-/contracts/../keys", "/-/contracts/*/keys"],
    ),
    (
        "/-/contracts/{application}/{digest}",
        &["/-/contracts/orders/0000000000000000000000000000000000000000000000000000000000000000"],
    ),
    ("/-/rollouts", &["/-/rollouts"]),
    ("/-/rollouts/{id}", &["/-/rollouts/r-0000000000"]),
    ("/-/replicas", &["/-/replicas"]),
    ("/-/audit", &["/-/audit"]),
    ("/livez", &["/livez"]),
    ("/readyz", &["/readyz"]),
    ("/metrics", &["/metrics"]),
    ("/actuator/health", &["/actuator/health"]),
    ("/actuator/health/liveness", &["/actuator/health/liveness"]),
    ("/actuator/health/readiness", &["/actuator/health/readiness"]),
    ("/encrypt/status", &["/encrypt/status"]),
    ("/key", &["/key"]),
    ("/key/{application}/{profiles}", &["/key/orders/dev", "/key/orders/.."]),
    ("/{application}/{profiles}", &["/orders/dev", "/orders/..", "/broken/dev"]),
    (
        "/{application}/{profiles}/{label}",
        &["/orders/dev/main", "/orders/dev/..", "/orders/dev/no", "/broken/dev/main"],
    ),
    (
        "/{application}-{profiles}.{extension}",
        &[
            "/orders-dev.yml",
            "/orders-dev.json",
            "/orders-dev.properties",
            "/orders-dev.yml?resolvePlaceholders=x",
            "/broken-dev.yml",
        ],
    ),
    (
        "/{label}/{application}-{profiles}.{extension}",
        &[
            "/main/orders-dev.yml",
            "/main/orders-dev.json",
            "/no/orders-dev.yml",
            "/main/orders-dev.yml?resolvePlaceholders=x",
            "/main/broken-dev.yml",
        ],
    ),
    (
        "/{application}/{profiles}/{label}/{path}",
        &[
            "/orders/dev/main/plain.txt",
            "/orders/dev/main/none.txt",
            "/orders/dev/main/plain.txt?resolvePlaceholders=x",
            "/broken/dev/main/plain.txt",
        ],
    ),
    (
        "/{application}/{profiles}/{path}",
        &[
            "/orders/dev/plain.txt?useDefaultLabel",
            "/orders/dev/none.txt?useDefaultLabel",
            "/orders/dev/plain.txt?useDefaultLabel&resolvePlaceholders=x",
            "/broken/dev/plain.txt?useDefaultLabel",
        ],
    ),
    (
        "/-/git/{repository}.git/info/refs",
        &[
            "/-/git/main.git/info/refs?service=git-upload-pack",
            "/-/git/main.git/info/refs?service=git-receive-pack",
            "/-/git/main.git/info/refs",
            "/-/git/none.git/info/refs?service=git-upload-pack",
        ],
    ),
];

const SEED: &str = "//- orders.yml\na: 1\n//- plain.txt\nhello\n//- broken.yml\na: [\n";

/// Each request as a client sends it, and with headers that bring about other statuses.
#[track_caller]
fn ask_all(answers: &mut Answers, server: Address) {
    let unknown = "f".repeat(40);
    for (path, asked) in ASKED {
        for asked in *asked {
            answers.get(server, path, asked, &[]);
            answers.get(server, path, asked, &[("If-None-Match", "*")]);
        }
        let takes_revision = path.starts_with("/{") || path.contains("/{label}/");
        if takes_revision {
            answers.get(server, path, asked[0], &[("Headwater-Min-Revision", "r")]);
            answers.get(server, path, asked[0], &[("Accept", "nonsense")]);
            answers.get(server, path, asked[0], &[("Accept", "application/octet-stream")]);
            let v2 = "application/vnd.spring-cloud.config-server.v2+json";
            answers.get(server, path, asked[0], &[("Accept", v2)]);
            // HEAD does not wait.
            let reply = server.ask("HEAD", asked[0], &[("Headwater-Min-Revision", &unknown)]);
            assert_eq!(reply.status, 503, "{path}");
            answers.seen.insert(((*path).to_owned(), "503".to_owned()));
        }
    }
}

fn post_all(answers: &mut Answers, server: Address) {
    let json = "Content-Type: application/json\r\n";
    answers.post(server, "/monitor", "/monitor", json, "{}");
    answers.post(server, "/monitor", "/monitor", json, "{");
    answers.post(server, "/monitor", "/monitor", "Content-Type: text/plain\r\n", "{}");
    answers.post_length(server, "/monitor", "/monitor", json, 2 * 1024 * 1024);
    for (path, asked) in [
        ("/encrypt", "/encrypt"),
        ("/decrypt", "/decrypt"),
        ("/encrypt/{application}/{profiles}", "/encrypt/orders/dev"),
        ("/encrypt/{application}/{profiles}", "/encrypt/orders/.."),
        ("/decrypt/{application}/{profiles}", "/decrypt/orders/dev"),
        ("/decrypt/{application}/{profiles}", "/decrypt/orders/.."),
    ] {
        answers.post(server, path, asked, "", "text");
    }
    let (path, asked) = ("/-/rollouts/{id}", "/-/rollouts/r-0000000000");
    answers.post(server, path, asked, "", "{}");
    for kind in ["upload", "receive"] {
        let path = format!("/-/git/{{repository}}.git/git-{kind}-pack");
        let asked = format!("/-/git/main.git/git-{kind}-pack");
        let media_type = format!("Content-Type: application/x-git-{kind}-pack-request\r\n");
        answers.post(server, &path, &asked, &media_type, "0000");
        answers.post(server, &path, &asked, json, "0000");
        let zipped = format!("{media_type}Content-Encoding: gzip\r\n");
        answers.post(server, &path, &asked, &zipped, "nonsense");
        let none = format!("/-/git/none.git/git-{kind}-pack");
        answers.post(server, &path, &none, &media_type, "0000");
    }
    let path = "/-/git/{repository}.git/git-upload-pack";
    let media_type = "Content-Type: application/x-git-upload-pack-request\r\n";
    let asked = "/-/git/main.git/git-upload-pack";
    answers.post_length(server, path, asked, media_type, 17 * 1024 * 1024);
}

/// Registers a contract twice, and bodies that are none.
#[track_caller]
fn put_all(answers: &mut Answers, server: Address) {
    let contract =
        Contract::new("orders".to_owned(), None, Vec::new(), vec![String::new()]).expect("valid");
    let path = "/-/contracts/{application}/{digest}";
    let asked = format!("/-/contracts/orders/{}", contract.digest);
    for body in [&contract.to_json(), &contract.to_json(), "{", &" ".repeat(70_000)] {
        answers.put(server, path, &asked, body);
    }
    answers.put(server, path, &asked.replace("orders", "*"), "{}");
    answers.get(server, path, &asked, &[]);
}

/// Asks a server with a key for encryption, from this machine and through a proxy.
#[track_caller]
fn seal_all(answers: &mut Answers, server: Address, sealed: &str) {
    let text = "Content-Type: text/plain\r\n";
    let proxied = "X-Forwarded-For: 192.0.2.1\r\n";
    for (path, asked) in [
        ("/encrypt", "/encrypt"),
        ("/encrypt/{application}/{profiles}", "/encrypt/orders/dev"),
        ("/decrypt", "/decrypt"),
        ("/decrypt/{application}/{profiles}", "/decrypt/orders/dev"),
    ] {
        answers.post(server, path, asked, text, sealed);
        answers.post(server, path, asked, "", sealed);
        answers.post(server, path, asked, &format!("{text}{proxied}"), sealed);
        answers.post_length(server, path, asked, text, 2 * 1024 * 1024);
    }
    for (path, asked) in [
        ("/encrypt/status", "/encrypt/status"),
        ("/key", "/key"),
        ("/key/{application}/{profiles}", "/key/orders/dev"),
    ] {
        answers.get(server, path, asked, &[]);
        answers.get(server, path, asked, &[("X-Forwarded-For", "192.0.2.1")]);
    }
}

/// Asks a server with a policy and an audit trail, as a principal that may read the trail.
#[track_caller]
fn ask_for_the_trail(answers: &mut Answers) {
    let auditor = "[[allow]]\nwho = [\"ops\"]\nmay = [\"audit\"]\n";
    let policy = crate::access::policy(&format!("{}{auditor}", crate::access::RULES));
    let place = directory(&format!("//- policy.toml\n{policy}"));
    let repository = Repository::new(super::SHOP);
    let mut settings = settings(&repository.uri());
    settings.access.policy_file = Some(place.path().join("policy.toml"));
    settings.audit.file = Some(place.path().join("audit.jsonl"));
    let server = Server::with(settings);
    let authorization = format!("Bearer {}", crate::access::token("ops", 1));
    for asked in ["/-/audit", "/-/audit?limit=x"] {
        answers.get(*server, "/-/audit", asked, &[("Authorization", &authorization)]);
    }
}

#[test]
fn servers_answer_what_the_contract_says_and_nothing_else() {
    let (seed, place) = (directory(SEED), directory("//- token\nsecret\n"));
    let data = |name: &str| place.path().join(name);
    let open = Server::with(hosted_settings(&data("open"), seed.path()));
    eventually("it serves", || open.get("/orders/dev").status == 200);
    let mut answers = Answers { contract: contract(*open, "/openapi.json"), seen: BTreeSet::new() };
    ask_all(&mut answers, *open);
    post_all(&mut answers, *open);
    put_all(&mut answers, *open);

    // One that asks for tokens, to clients that have none.
    let mut guarded = hosted_settings(&data("guarded"), seed.path());
    guarded.token_file = Some(data("token"));
    guarded.push.token_file = Some(data("token"));
    guarded.monitor.secret_file = Some(data("token"));
    let guarded = Server::with(guarded);
    for (path, asked) in ASKED {
        answers.get(*guarded, path, asked[0], &[]);
    }
    answers.get(*guarded, "/-/events", "/-/events", &[]);
    post_all(&mut answers, *guarded);

    // One with a key.
    let vectors = Vectors::read();
    let keys = vectors.key_files("sym-pem");
    let mut keyed = hosted_settings(&data("keyed"), seed.path());
    keyed.secrets = SecretsSettings { decrypt_endpoint: true, ..keys.settings.clone() };
    let keyed = Server::with(keyed);
    let sealed = vectors.of_set("sym-pem").next().unwrap().value;
    seal_all(&mut answers, *keyed, sealed.strip_prefix("{cipher}").unwrap());

    ask_for_the_trail(&mut answers);

    // One that has nothing to serve, and one that cannot be pushed to from elsewhere.
    let mut empty = hosted_settings(&data("empty"), seed.path());
    empty.sources[0].seed = None;
    empty.sources[0].default_label = Some("nowhere".to_owned());
    let empty = Server::with(empty);
    for path in ["/readyz", "/actuator/health", "/actuator/health/readiness"] {
        answers.get(*empty, path, path, &[]);
    }
    for (path, _) in ASKED.iter().filter(|(path, _)| path.starts_with("/{application}-")) {
        answers.get(*empty, path, "/orders-dev.yml", &[]);
    }
    answers.get(*empty, "/{application}/{profiles}", "/orders/dev", &[]);
    let proxied = "X-Forwarded-For: 192.0.2.1\r\n";
    for kind in ["upload", "receive"] {
        let path = format!("/-/git/{{repository}}.git/git-{kind}-pack");
        let asked = format!("/-/git/main.git/git-{kind}-pack");
        let media_type = format!("Content-Type: application/x-git-{kind}-pack-request\r\n");
        answers.post(*open, &path, &asked, &format!("{media_type}{proxied}"), "0000");
    }
    answers.post(*open, "/-/rollouts/{id}", "/-/rollouts/r-0000000000", proxied, "{}");
    let events = open.ask("HEAD", "/-/events", &[]).expect(200);
    assert_eq!(events.header("content-type"), Some("text/event-stream"));
    answers.seen.insert(("/-/events".to_owned(), "200".to_owned()));

    let mut documented = BTreeSet::new();
    for (path, operations) in answers.contract["paths"].as_object().expect("paths") {
        for operation in operations.as_object().expect("operations").values() {
            let statuses = operation["responses"].as_object().expect("responses").keys();
            documented.extend(statuses.map(|status| (path.clone(), status.clone())));
        }
    }
    let elsewhere: BTreeSet<(String, String)> =
        ELSEWHERE.iter().map(|(path, status)| ((*path).into(), (*status).into())).collect();
    let missing: Vec<_> = documented.difference(&answers.seen).collect();
    let missing: Vec<_> = missing.into_iter().filter(|it| !elsewhere.contains(it)).collect();
    assert!(missing.is_empty(), "documented and never answered: {missing:?}");
}
