//! LOG-1: a hundred secrets pass through a server at TRACE, by every way in. None of them is in its log, its metrics, an
//! error, a list, or in the arguments and the environment of a process.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use super::keys::KeyFiles;
use super::sealing::{TEXT, post};
use super::{Planted, beside_the_product};
use crate::access::{RULES, policy, sha256, token};
use crate::fixture::{Child, Repository, Tree, Until, clone, eventually};
use crate::mirror::access::spy;
use crate::mirror::host::{Host, Manner};

/// The number of secrets. Each has a place of its own.
const COUNT: usize = 100;

/// What the server is protected by. A policy and keys cannot be combined.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Protection {
    Policy,
    TokensAndKeys,
}

/// The server with its files.
struct Swept {
    planted: Planted,
    place: TempDir,
    server: Child,
    keys: KeyFiles,
    /// The credential that may do everything.
    credential: String,
    host: Host,
    _remote: Repository,
}

impl Swept {
    fn new(protection: Protection) -> Self {
        let mut planted = Planted::default();
        let place = tempfile::tempdir().unwrap();
        let remote = Repository::new("//- application.yml\nremote: here\n");
        let password = planted.plant("the password of a remote");
        let host = Host::with_login(&remote, "ada", &password);
        write(place.path(), "credentials", &format!("ada\n{password}\n"));
        let hooks: Vec<String> =
            (0..4).map(|number| planted.plant(&format!("webhook {number}"))).collect();
        write(place.path(), "hooks", &hooks.join("\n"));
        let passphrases: Vec<String> = match protection {
            Protection::Policy => vec!["not given to the server".to_owned()],
            Protection::TokensAndKeys => {
                (0..4).map(|number| planted.plant(&format!("passphrase {number}"))).collect()
            }
        };
        let passphrases: Vec<&str> = passphrases.iter().map(String::as_str).collect();
        let keys = KeyFiles::passphrases(&passphrases);
        let (protecting, credential) = match protection {
            Protection::Policy => with_policy(&mut planted, place.path()),
            Protection::TokensAndKeys => with_keys(&mut planted, place.path(), &keys),
        };
        let seed = place.path().join("seed");
        std::fs::create_dir(&seed).unwrap();
        write(&seed, "orders.yml", &properties(&mut planted, &keys, "first", 8));
        write(&seed, "text.txt", &planted.plant("a text file"));
        let config = settings(place.path(), &host, &protecting);
        write(place.path(), "headwater.toml", &config);
        let config = place.path().join("headwater.toml").display().to_string();
        let server = Child::serve_with(&["--config", &config], &[("HEADWATER_LOG", "trace")]);
        Self { planted, place, server, keys, credential, host, _remote: remote }
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.credential)
    }

    fn get(&self, path: &str) {
        let reply = self.server.get_with(path, &[("Authorization", &self.bearer())]);
        assert_ne!(reply.status, 401, "{path}");
        self.planted.search(path, &beside_the_product(&reply));
    }
}

/// Writes a policy. Returns its settings and the token of an operator.
fn with_policy(planted: &mut Planted, place: &Path) -> (String, String) {
    write(place, "policy.toml", &with_planted_tokens(planted));
    (format!("[access]\npolicy_file = {}\n", file(place, "policy.toml")), token("ops", 1))
}

/// Writes the tokens. Returns their settings, with those of the keys, and the token that opens everything.
fn with_keys(planted: &mut Planted, place: &Path, keys: &KeyFiles) -> (String, String) {
    let token = planted.plant("the token");
    write(place, "token", &token);
    let key_files: Vec<String> =
        keys.settings.key_files.iter().map(|path| format!("{:?}", path.display())).collect();
    let settings = format!(
        "[push]\ntoken_file = {}\n[secrets]\nkey_files = [{}]\ndecrypt_endpoint = true\n",
        file(place, "token"),
        key_files.join(", ")
    );
    (format!("token_file = {}\n{settings}", file(place, "token")), token)
}

fn file(place: &Path, name: &str) -> String {
    format!("{:?}", place.join(name).display().to_string())
}

/// The policy, with further principals, each with a token of its own.
fn with_planted_tokens(planted: &mut Planted) -> String {
    let mut text = policy(RULES);
    for number in 0..10 {
        let token = planted.plant(&format!("token {number}"));
        let digest = sha256(&token);
        writeln!(
            text,
            "[[principal]]\nname = \"p{number}\"\nkind = \"service\"\ntokens = [{{ sha256 = \"{digest}\" }}]"
        )
        .unwrap();
    }
    text
}

/// Plain and sealed properties.
fn properties(planted: &mut Planted, keys: &KeyFiles, what: &str, count: usize) -> String {
    let mut text = String::new();
    for number in 0..count {
        let plain = planted.plant(&format!("{what} plain value {number}"));
        let opened = planted.plant(&format!("{what} opened value {number}"));
        writeln!(text, "plain{number}: {plain}\nsealed{number}: '{}'", keys.seal(&opened)).unwrap();
    }
    text
}

fn settings(place: &Path, host: &Host, protecting: &str) -> String {
    // Settings without a table stand first.
    let (top, tables) = protecting.split_at(protecting.find('[').unwrap_or(0));
    format!(
        "data = {}\n{top}{tables}[monitor]\nsecret_file = {}\n[[source]]\nuri = \"hosted:main\"\nseed = {}\n\
         [[source]]\nuri = \"{}\"\npoll_seconds = 1\ncredentials_file = {}\n",
        file(place, "data"),
        file(place, "hooks"),
        file(place, "seed"),
        host.uri(),
        file(place, "credentials"),
    )
}

/// Writes a file that only its owner may read.
fn write(place: &Path, name: &str, text: &str) {
    let path = place.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
}

/// Pushes good and broken files with secrets, and returns what git printed.
fn push(swept: &mut Swept, tree: &Tree) -> String {
    let mut printed = String::new();
    let good = properties(&mut swept.planted, &swept.keys, "second", 8);
    tree.commit(&format!("//- orders.yml\n{good}"));
    let said = tree.push(&["main"]).succeeds();
    printed += &format!("{}{}", said.out, said.err);
    for (number, line) in ["key: [", "key: \"", "a:\n\tb: ", "key: *", "key: '{cipher}00'\nx: ["]
        .into_iter()
        .enumerate()
    {
        let secret = swept.planted.plant(&format!("broken file {number}"));
        tree.commit(&format!("//- orders.yml\n{line}{secret}\n"));
        let said = tree.push(&["main"]);
        assert_ne!(said.code, Some(0), "{}", said.err);
        printed += &format!("{}{}", said.out, said.err);
        tree.git(&["reset", "--quiet", "--hard", "origin/main"]).succeeds();
    }
    printed
}

/// Sends wrong credentials in every place that a client may put them.
fn try_credentials(swept: &mut Swept) {
    for number in 0..4 {
        let mut wrong = || swept.planted.plant(&format!("wrong credential {number}"));
        let bearer = format!("Bearer {}", wrong());
        let basic = format!("Basic {}", STANDARD.encode(format!("orders:{}", wrong())));
        let jwt = format!("Bearer {}.{}.{}", wrong(), "e30", "c2ln");
        let headers = [
            ("Authorization", bearer),
            ("Authorization", basic),
            ("Authorization", jwt),
            ("X-Config-Token", wrong()),
        ];
        for (name, value) in &headers {
            let path = ["/orders/dev", "/metrics", "/nosuch/x", "/orders/dev/main"][number];
            let reply = swept.server.get_with(path, &[(name, value)]).expect(401);
            swept.planted.search(path, &reply.everything());
        }
    }
    let query = swept.planted.plant("a query string");
    let reply = swept.server.get(&format!("/orders/dev?token={query}"));
    swept.planted.search("a query string", &reply.everything());
}

/// Sends good credentials: the tokens of principals, and the secrets of webhooks.
fn use_credentials(swept: &Swept) {
    let of = |what: &'static str| {
        let planted = swept.planted.0.iter();
        planted.filter(move |(place, _)| place.starts_with(what)).map(|(_, secret)| secret)
    };
    for (number, token) in of("token ").enumerate() {
        let own = format!("/p{number}/dev");
        let basic = format!("Basic {}", STANDARD.encode(format!("user:{token}")));
        for (header, value) in [
            ("Authorization", format!("Bearer {token}")),
            ("Authorization", basic),
            ("X-Config-Token", token.clone()),
        ] {
            let reply = swept.server.get_with(&own, &[(header, &value)]).expect(200);
            swept.planted.search(&own, &beside_the_product(&reply));
            let denied = swept.server.get_with("/orders/dev", &[(header, &value)]).expect(404);
            swept.planted.search("a denial", &denied.everything());
        }
    }
    let json = ("Content-Type", "application/json");
    for secret in of("webhook ") {
        let headers = [json, ("X-Gitlab-Event", "Push Hook"), ("X-Gitlab-Token", secret)];
        let reply = post(*swept.server, "/monitor", &headers, "{\"commits\": []}").expect(200);
        swept.planted.search("/monitor", &reply.everything());
    }
}

/// Seals and opens texts through the endpoints.
fn use_keys(swept: &mut Swept) {
    let authorization = swept.bearer();
    let headers = [TEXT, ("Authorization", authorization.as_str())];
    for number in 0..3 {
        let text = swept.planted.plant(&format!("text for /encrypt {number}"));
        let sealed = post(*swept.server, "/encrypt", &headers, &text);
        swept.planted.search("/encrypt", &sealed.everything());
        let opened = post(*swept.server, "/decrypt", &headers, &swept.keys.seal(&text)[8..]);
        swept.planted.search("/decrypt", &beside_the_product(&opened));
        let broken = swept.planted.plant(&format!("text for /decrypt {number}"));
        let reply = post(*swept.server, "/decrypt", &headers, &broken);
        swept.planted.search("/decrypt", &reply.everything());
    }
}

/// Fails fetches of the remote, once with an answer that repeats the request.
fn fail_fetches(swept: &Swept) {
    for manner in [Manner::Echo, Manner::Away] {
        swept.host.behave(manner);
        eventually("the remote fails", || {
            swept
                .server
                .get_with("/metrics", &[("Authorization", &swept.bearer())])
                .text()
                .lines()
                .any(|line| {
                    line.starts_with("headwater_source_fetch_failing") && line.ends_with(" 1")
                })
        });
        swept.get("/actuator/health");
        swept.host.behave(Manner::Good);
    }
}

fn read_everything(swept: &Swept) {
    for path in [
        "/orders/dev",
        "/orders/dev/nosuch",
        "/orders-dev.yml",
        "/orders-dev.properties",
        "/orders/dev/main/text.txt",
        "/orders/dev/main/orders.yml",
        "/metrics",
        "/actuator/health",
        "/readyz",
        "/-/problems",
        "/-/environments",
        "/-/instances",
        "/-/replicas",
        "/openapi.json",
        "/",
    ] {
        swept.get(path);
    }
}

/// Uses a server by every way in, and searches everything that it says. Returns the number of secrets.
fn sweep(protection: Protection) -> usize {
    let mut swept = Swept::new(protection);
    eventually("it is ready", || swept.server.get("/readyz").status == 200);
    let (is_over, seen) = (AtomicBool::new(false), Mutex::new(BTreeSet::new()));
    let id = swept.server.id();
    let printed = std::thread::scope(|scope| {
        let _until = Until(&is_over);
        scope.spawn(|| spy(id, &is_over, &seen));
        let login = format!("http://ops:{}@", swept.credential);
        let url = crate::fixture::repository_url(swept.server.0).replacen("http://", &login, 1);
        let tree = clone(&url, &swept.place.path().join("work"));
        // Git prints the address with the credential that was typed.
        let printed = push(&mut swept, &tree).replace(&login, "http://");
        use_credentials(&swept);
        use_keys(&mut swept);
        try_credentials(&mut swept);
        fail_fetches(&swept);
        read_everything(&swept);
        printed
    });
    let Swept { planted, server, .. } = swept;
    planted.search("git's output", &printed);
    let seen = seen.into_inner().unwrap();
    assert!(seen.iter().any(|text| text.contains("receive-pack")), "no push was seen");
    assert!(seen.iter().any(|text| text.contains("ls-remote")), "no fetch was seen");
    seen.iter().for_each(|text| planted.search("a process", text));
    let (_, log) = server.stop();
    assert!(log.contains("TRACE"), "the log is at its highest level");
    assert!(log.contains("push rejected"), "{log}");
    planted.search("the log", &log);
    planted.0.len()
}

#[test]
fn a_hundred_canaries_are_found_nowhere() {
    let count = sweep(Protection::Policy) + sweep(Protection::TokensAndKeys);
    assert!(count >= COUNT, "{count} secrets");
    println!("0 of {count} canaries found");
}
