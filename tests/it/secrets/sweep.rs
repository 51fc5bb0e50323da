//! LOG-1: a hundred secrets pass through a server at TRACE, by every way in. None of them is in its log, its audit trail, its
//! metrics, an error, a list, or in the arguments and the environment of a process, and the server leaves no core file.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use super::core_file::assert_no_core_file;
use super::keys::KeyFiles;
use super::sealing::{TEXT, post};
use super::stand_in::StandIn;
use super::{Planted, beside_the_product};
use crate::access::jwks_host::Issuer;
use crate::access::{RULES, policy, sha256, token};
use crate::fixture::{Child, Repository, Tree, Until, clone, command, eventually};
use crate::mirror::access::spy;
use crate::mirror::host::{Host, Manner};

/// The number of secrets. Each has a place of its own.
const COUNT: usize = 100;

/// Further rules: `ops` may use everything, and orders may name every secret.
const MORE_RULES: &str = r#"
[[allow]]
who = ["ops"]
may = ["open"]
application = ["*"]
profile = ["*"]
label = ["*"]
[[allow]]
who = ["ops"]
may = ["seal"]
[[area]]
path = ["orders.yml"]
file = ["*"]
vault = ["shop/**"]
[[issuer]]
name = "main"
issuer = "https://issuer.example.org"
audience = "headwater"
jwks_file = "jwks.json"
[[principal]]
name = "pipeline"
kind = "ci"
jwt = [{ issuer = "main", sub = "pipeline" }]
"#;

/// The server with its files: a policy, keys of each kind, secrets in files and in Vault, a mirror, and an audit trail.
struct Swept {
    planted: Planted,
    place: TempDir,
    server: Child,
    keys: KeyFiles,
    /// The credential that may do everything.
    credential: String,
    host: Host,
    issuer: Issuer,
    _remote: Repository,
    _vault: StandIn,
}

impl Swept {
    fn new() -> Self {
        let mut planted = Planted::default();
        let place = tempfile::tempdir().unwrap();
        let remote = Repository::new("//- application.yml\nremote: here\n");
        let password = planted.plant("the password of a remote");
        let host = Host::with_login(&remote, "ada", &password);
        write(place.path(), "credentials", &format!("ada\n{password}\n"));
        let hooks: Vec<String> =
            (0..4).map(|number| planted.plant(&format!("webhook {number}"))).collect();
        write(place.path(), "hooks", &hooks.join("\n"));
        let passphrases: Vec<String> =
            (0..4).map(|number| planted.plant(&format!("passphrase {number}"))).collect();
        let passphrases: Vec<&str> = passphrases.iter().map(String::as_str).collect();
        let keys = KeyFiles::passphrases(&passphrases);
        let (issuer, vault) = (Issuer::new(), StandIn::start());
        write_policy(&mut planted, place.path(), &issuer);
        let secrets = write_secrets(&mut planted, place.path(), &keys, &vault);
        let seed = place.path().join("seed");
        std::fs::create_dir(&seed).unwrap();
        write(&seed, "orders.yml", &(properties(&mut planted, &keys, "first", 10) + REFERENCES));
        write(&seed, "text.txt", &planted.plant("a text file"));
        write(place.path(), "headwater.toml", &settings(place.path(), &host, &secrets));
        let credential = token("ops", 1);
        planted.0.push(("the token of an operator".to_owned(), credential.clone()));
        let server = serve(place.path());
        let (_remote, _vault) = (remote, vault);
        Self { planted, place, server, keys, credential, host, issuer, _remote, _vault }
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.credential)
    }

    /// Reads configuration, whose values are the product. Everything else in the answer is searched.
    fn get(&self, path: &str) {
        let reply = self.server.get_with(path, &[("Authorization", &self.bearer())]);
        assert_ne!(reply.status, 401, "{path}");
        self.planted.search(path, &beside_the_product(&reply));
    }

    /// Reads a resource of the server, which contains no values.
    fn get_own(&self, path: &str) {
        let reply = self.server.get_with(path, &[("Authorization", &self.bearer())]).expect(200);
        self.planted.search(path, &reply.everything());
    }
}

/// A server with the settings of a place, which logs everything.
fn serve(place: &Path) -> Child {
    let config = place.join("headwater.toml").display().to_string();
    Child::serve_with(&["--config", &config], &[("HEADWATER_LOG", "trace")])
}

/// Writes the policy, with further principals, each with a token of its own, and the keys of an issuer.
fn write_policy(planted: &mut Planted, place: &Path, issuer: &Issuer) {
    let mut text = policy(&format!("{RULES}{MORE_RULES}"));
    for number in 0..10 {
        let token = planted.plant(&format!("token {number}"));
        let digest = sha256(&token);
        writeln!(
            text,
            "[[principal]]\nname = \"p{number}\"\nkind = \"service\"\ntokens = [{{ sha256 = \"{digest}\" }}]"
        )
        .unwrap();
    }
    write(place, "policy.toml", &text);
    write(place, "jwks.json", &issuer.jwks("a-"));
}

/// The references to the secrets in files and in Vault.
const REFERENCES: &str = "\
file0: '{file}:secret0'
file1: '{file}:secret1'
file2: '{file}:secret2'
file3: '{file}:secret3'
vault0: '{vault}:shop/orders#key0'
vault1: '{vault}:shop/orders#key1'
vault2: '{vault}:shop/orders#key2'
vault3: '{vault}:shop/orders#key3'
";

/// Writes keys and secrets, and returns their settings.
fn write_secrets(planted: &mut Planted, place: &Path, keys: &KeyFiles, vault: &StandIn) -> String {
    let directory = place.join("secrets");
    std::fs::create_dir(&directory).unwrap();
    let mut values = serde_json::Map::new();
    for number in 0..4 {
        let secret = planted.plant(&format!("a secret file {number}"));
        write(&directory, &format!("secret{number}"), &secret);
        let value = planted.plant(&format!("a value of Vault {number}"));
        values.insert(format!("key{number}"), value.into());
    }
    vault.write("shop/orders", values.into());
    let vault_token = planted.plant("a token of Vault");
    write(place, "vault-token", &vault_token);
    vault.accept(&vault_token);
    let sops: serde_json::Value =
        serde_json::from_str(include_str!("../../../secrets/tests/vectors/sops.json")).unwrap();
    let identity = sops["identity"].as_str().unwrap();
    write(place, "age.txt", identity);
    let secret_line = identity.lines().find(|line| line.starts_with("AGE-SECRET-KEY-")).unwrap();
    planted.0.push(("an age identity".to_owned(), secret_line.to_owned()));
    let made = command(place).args(["seal", "--new-key", "seal-2027"]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let seal_key = std::fs::read_to_string(place.join("seal-2027")).unwrap();
    let seal_key = seal_key.trim().strip_prefix("seal-2027.").unwrap().to_owned();
    planted.0.push(("a seal key".to_owned(), seal_key));
    let key_files: Vec<String> =
        keys.settings.key_files.iter().map(|path| format!("{:?}", path.display())).collect();
    let uri = vault.settings().vault[0].uri.clone();
    format!(
        "[secrets]\nkey_files = [{}]\nseal_key_files = [{}]\nage_identity_file = {}\ndirectory = {}\n\
         decrypt_endpoint = true\n[[secrets.vault]]\nuri = {uri:?}\nnamespace = \"shop\"\npoll_seconds = 1\n\
         auth = {{ token_file = {} }}\n",
        key_files.join(", "),
        file(place, "seal-2027"),
        file(place, "age.txt"),
        file(place, "secrets"),
        file(place, "vault-token"),
    )
}

fn file(place: &Path, name: &str) -> String {
    format!("{:?}", place.join(name).display().to_string())
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

fn settings(place: &Path, host: &Host, secrets: &str) -> String {
    format!(
        "data = {}\n[access]\npolicy_file = {}\n[audit]\nfile = {}\n{secrets}[monitor]\nsecret_file = {}\n\
         [[source]]\nuri = \"hosted:main\"\nseed = {}\n\
         [[source]]\nuri = \"{}\"\npoll_seconds = 1\ncredentials_file = {}\n",
        file(place, "data"),
        file(place, "policy.toml"),
        file(place, "audit.jsonl"),
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
    let good = properties(&mut swept.planted, &swept.keys, "second", 10);
    tree.commit(&format!("//- orders.yml\n{good}{REFERENCES}"));
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

/// Sends good credentials: the tokens of principals, JWTs, and the secrets of webhooks.
fn use_credentials(swept: &mut Swept) {
    use_jwts(swept);
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

/// Sends JWTs that are accepted, and others for another audience.
fn use_jwts(swept: &mut Swept) {
    let now = jiff::Timestamp::now().as_second();
    for (number, audience) in ["headwater", "headwater", "other"].into_iter().enumerate() {
        let claims = serde_json::json!({
            "iss": "https://issuer.example.org", "aud": [audience], "sub": "pipeline",
            "exp": now + 300, "jti": number,
        });
        let jwt = swept.issuer.sign("a-ed", &claims);
        let expected = if audience == "headwater" { 404 } else { 401 };
        let header = format!("Bearer {jwt}");
        let reply = swept.server.get_with("/orders/dev", &[("Authorization", &header)]);
        swept.planted.0.push((format!("a JWT {number}"), jwt));
        swept.planted.search("a JWT", &reply.expect(expected).everything());
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
    ] {
        swept.get(path);
    }
    for path in [
        "/metrics",
        "/actuator/health",
        "/readyz",
        "/-/problems",
        "/-/environments",
        "/-/instances",
        "/-/fleet",
        "/-/rollouts",
        "/-/replicas",
        "/openapi.json",
        "/",
    ] {
        swept.get_own(path);
    }
}

/// Waits until every secret is opened, so that all of them are in the memory of the server.
fn wait_for_secrets(server: &Child, planted: &Planted, credential: &str) {
    let of_references = planted
        .0
        .iter()
        .filter(|(place, _)| place.starts_with("a secret file") || place.starts_with("a value of"));
    let expected: Vec<&str> = of_references.map(|(_, secret)| secret.as_str()).collect();
    assert_eq!(expected.len(), 8);
    let bearer = format!("Bearer {credential}");
    eventually("the secrets are opened", || {
        let text = server.get_with("/orders/dev", &[("Authorization", &bearer)]).text();
        expected.iter().all(|secret| text.contains(secret))
    });
}

#[test]
fn a_hundred_canaries_are_found_nowhere() {
    let mut swept = Swept::new();
    eventually("it is ready", || swept.server.get("/readyz").status == 200);
    wait_for_secrets(&swept.server, &swept.planted, &swept.credential);
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
        use_credentials(&mut swept);
        use_keys(&mut swept);
        try_credentials(&mut swept);
        fail_fetches(&swept);
        read_everything(&swept);
        printed
    });
    let Swept { planted, server, place, credential, _remote, _vault, host, .. } = swept;
    planted.search("git's output", &printed);
    let seen = seen.into_inner().unwrap();
    for program in ["headwater", "receive-pack", "ls-remote"] {
        assert!(seen.iter().any(|text| text.contains(program)), "no {program} was seen");
    }
    seen.iter().for_each(|text| planted.search("a process", text));
    let (_, log) = server.stop();
    assert!(log.contains("TRACE"), "the log is at its highest level");
    assert!(log.contains("push rejected"), "{log}");
    planted.search("the log", &log);
    let trail = std::fs::read_to_string(place.path().join("audit.jsonl")).unwrap();
    assert!(trail.contains("\"event\":\"push\"") && trail.contains("pipeline"), "{trail}");
    planted.search("the audit trail", &trail);
    let again = serve(place.path());
    wait_for_secrets(&again, &planted, &credential);
    assert_no_core_file(again);
    drop(host);
    let count = planted.0.len();
    assert!(count >= COUNT, "{count} secrets");
    println!("0 of {count} canaries found");
}
