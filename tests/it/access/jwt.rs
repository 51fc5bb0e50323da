//! JWTs: which are accepted, how the keys of issuers are read, and what follows when they cannot be.

use std::io::Write;
use std::sync::Barrier;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::jwks_host::{Issuer, JwksHost};
use super::{PolicyFile, RULES, SHOP, Stream, get, metric, policy};
use crate::fixture::{Address, Child, Reply, Repository, Server, eventually, read, settings};

const ISSUER: &str = "https://issuer.example.org";

/// A policy whose issuer has its keys at a place.
fn with_issuer(keys: &str) -> String {
    let issuer = issuer("main", ISSUER, keys);
    policy(&format!("{RULES}{issuer}")).replace(
        "name = \"orders\"\n",
        "name = \"orders\"\njwt = [{ issuer = \"main\", sub = \"system:serviceaccount:shop:orders\" }]\n",
    )
}

fn issuer(name: &str, address: &str, keys: &str) -> String {
    format!(
        "[[issuer]]\nname = \"{name}\"\nissuer = \"{address}\"\naudience = \"headwater\"\n{keys}\n"
    )
}

/// The claims of a token for `orders` that expires after some seconds.
fn claims(seconds: i64) -> Value {
    let now = jiff::Timestamp::now().as_second();
    json!({
        "iss": ISSUER, "aud": ["headwater"], "sub": "system:serviceaccount:shop:orders",
        "iat": now - 3_600, "exp": now + seconds,
    })
}

fn changed(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

fn ask(server: Address, path: &str, jwt: &str) -> Reply {
    server.get_with(path, &[("Authorization", &format!("Bearer {jwt}"))])
}

/// A server whose policy reads the keys of an issuer from a file beside it.
struct Bed {
    server: Server,
    policy: PolicyFile,
    issuer: Issuer,
    _repository: Repository,
}

impl Bed {
    fn new() -> Self {
        let (repository, issuer) = (Repository::new(SHOP), Issuer::new());
        let policy = PolicyFile::new(&with_issuer("jwks_file = \"keys.json\""));
        std::fs::write(policy.path().with_file_name("keys.json"), issuer.jwks("a-")).unwrap();
        let mut settings = settings(&repository.uri());
        settings.sources[0].default_label = Some("main".to_owned());
        settings.access.policy_file = Some(policy.path());
        Self { server: Server::with(settings), policy, issuer, _repository: repository }
    }

    /// Writes the keys beside the file and renames it.
    fn write_keys(&self, text: &str) {
        let new = self.policy.path().with_file_name("new-keys");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.policy.path().with_file_name("keys.json")).unwrap();
    }

    fn ask(&self, path: &str, jwt: &str) -> Reply {
        ask(*self.server, path, jwt)
    }
}

#[test]
fn a_jwt_is_accepted_for_its_audience_in_its_time_with_a_signature_of_its_issuer() {
    let bed = Bed::new();
    let issuer = &bed.issuer;
    for _ in 0..2 {
        for jwt in [issuer.sign("a-ed", &claims(300)), issuer.sign_with_rsa("a-rsa", &claims(300))]
        {
            bed.ask("/orders/prod", &jwt).expect(200);
            bed.ask("/billing/prod", &jwt).expect(404);
        }
    }
    // Within the tolerance of clocks.
    bed.ask("/orders/prod", &issuer.sign("a-ed", &claims(-30))).expect(200);
    let reference = bed.server.get("/orders/prod").expect(401).body;
    let now = jiff::Timestamp::now().as_second();
    let [unsigned, unsigned_with_text] = Issuer::unsigned("a-rsa", &claims(300));
    for (what, jwt) in [
        ("expired by 61 s", issuer.sign("a-ed", &claims(-61))),
        ("another audience", issuer.sign("a-ed", &changed(claims(300), "aud", json!("vault")))),
        ("no audience", issuer.sign("a-ed", &changed(claims(300), "aud", Value::Null))),
        ("another issuer", issuer.sign("a-ed", &changed(claims(300), "iss", json!("https://x")))),
        ("no expiry", issuer.sign("a-ed", &changed(claims(300), "exp", Value::Null))),
        ("not yet valid", issuer.sign("a-ed", &changed(claims(300), "nbf", json!(now + 120)))),
        ("another subject", issuer.sign("a-ed", &changed(claims(300), "sub", json!("x")))),
        ("no algorithm", unsigned),
        ("no algorithm, with a signature", unsigned_with_text),
        ("a public key as secret", issuer.sign_with_public_key("a-rsa", &claims(300))),
        ("the key of another", Issuer::new().sign("a-ed", &claims(300))),
        ("a key of another kind", issuer.sign("a-rsa", &claims(300))),
        ("an unknown key", issuer.sign("b-ed", &claims(300))),
        ("a cut token", issuer.sign("a-ed", &claims(300)).rsplit_once('.').unwrap().0.to_owned()),
        ("a long token", issuer.sign("a-ed", &changed(claims(300), "x", json!("x".repeat(9_000))))),
    ] {
        // The second answer is that to a remembered token.
        for _ in 0..2 {
            let reply = bed.ask("/orders/prod", &jwt);
            assert_eq!(reply.status, 401, "{what}: {}", reply.everything());
            assert_eq!(reply.body, reference, "{what}");
        }
    }
    let jwt = issuer.sign("a-ed", &claims(300));
    for (user, status) in [("user", 200), ("orders", 200), ("billing", 401)] {
        let header = super::basic(user, &jwt);
        bed.server.get_with("/orders/prod", &[("Authorization", &header)]).expect(status);
    }
}

/// Good tokens are never counted as bad ones, although each has to be verified.
#[test]
fn five_hundred_clients_with_new_tokens_at_once_are_all_answered() {
    const CLIENT_COUNT: usize = 500;
    /// Together more than the bad tokens of one address that the server verifies at once.
    const TOKEN_COUNT: usize = 5;
    let bed = Bed::new();
    let token = |number: usize| {
        let jwt = bed.issuer.sign("a-ed", &changed(claims(300), "jti", json!(number)));
        format!("Authorization: Bearer {jwt}\r\n")
    };
    let tokens: Vec<String> = (0..CLIENT_COUNT * TOKEN_COUNT).map(token).collect();
    let start = Barrier::new(CLIENT_COUNT);
    std::thread::scope(|scope| {
        for own in tokens.chunks(TOKEN_COUNT) {
            let mut stream = bed.server.connect();
            let start = &start;
            scope.spawn(move || {
                start.wait();
                for header in own {
                    write!(stream, "GET /orders/prod HTTP/1.1\r\nHost: x\r\n{header}\r\n").unwrap();
                    read(&mut stream, false).expect(200);
                }
            });
        }
    });
    assert_eq!(metric(*bed.server, "headwater_access_limited_credentials_total"), 0);
}

#[test]
fn keys_in_a_file_are_read_again_when_it_changes() {
    let bed = Bed::new();
    let stream = |jwt: &str| Stream::open(*bed.server, "/orders/prod", &format!("Bearer {jwt}"));
    let first = bed.issuer.sign("a-ed", &claims(300));
    bed.ask("/orders/prod", &first).expect(200);
    let removed = stream(&first);
    // A file that is half-written leaves the known keys in force.
    let fault = "headwater_faults{kind=\"jwks-unreachable\"} ";
    let metrics = || get(*bed.server, "/metrics", "ops").expect(200).text();
    bed.write_keys(&bed.issuer.jwks("b-")[..40]);
    eventually("the fault is counted", || metrics().contains(&format!("{fault}1\n")));
    bed.ask("/orders/prod", &first).expect(200);
    bed.ask("/orders/prod", &bed.issuer.sign("a-ed", &claims(301))).expect(200);
    assert!(metrics().contains("headwater_access_jwks_age_seconds{issuer=\"main\"} "));
    bed.write_keys(&bed.issuer.jwks("b-"));
    let second = bed.issuer.sign("b-ed", &claims(300));
    eventually("the new key counts", || bed.ask("/orders/prod", &second).status == 200);
    eventually("the fault is over", || metrics().contains(&format!("{fault}0\n")));
    // A token that was accepted before is examined with the new keys.
    bed.ask("/orders/prod", &first).expect(401);
    removed.rest();
    bed.ask("/orders/prod", &second).expect(200);
}

#[test]
fn the_expiry_of_a_jwt_ends_its_stream() {
    let bed = Bed::new();
    // The tolerance of clocks is 60 s.
    let jwt = bed.issuer.sign("a-ed", &claims(-54));
    let ends = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(4);
    let lasting = bed.issuer.sign("a-ed", &claims(300));
    let mut kept = Stream::open(*bed.server, "/orders/prod", &format!("Bearer {lasting}"));
    let stream = Stream::open(*bed.server, "/orders/prod", &format!("Bearer {jwt}"));
    stream.rest();
    assert!(jiff::Timestamp::now() >= ends);
    bed.ask("/orders/prod", &jwt).expect(401);
    bed.server.get("/livez").expect(200);
    kept.read_to("event: environment");
}

/// A server whose issuers have their keys at an HTTPS server.
struct Remote {
    host: JwksHost,
    policy: PolicyFile,
    issuer: Issuer,
    server: Child,
    _repository: Repository,
}

impl Remote {
    fn new(text: impl FnOnce(&JwksHost) -> String) -> Self {
        let (issuer, repository) = (Issuer::new(), Repository::new(SHOP));
        let host = JwksHost::new(&issuer.jwks("a-"));
        let policy = PolicyFile::new(&text(&host));
        let place = policy.path();
        host.write_ca(&place.with_file_name("ca.pem"));
        let config = place.with_file_name("headwater.toml");
        let text = format!(
            "[access]\npolicy_file = {:?}\n[[source]]\nuri = {:?}\ndefault_label = \"main\"\n",
            place,
            repository.uri(),
        );
        std::fs::write(&config, text).unwrap();
        let server = Child::serve(&["--config", config.to_str().unwrap()]);
        Self { host, policy, issuer, server, _repository: repository }
    }

    fn problems(&self) -> String {
        get(*self.server, "/-/problems", "ops").expect(200).text()
    }
}

fn at(host: &JwksHost, path: &str) -> String {
    format!("jwks_url = \"{}\"\nca_file = \"ca.pem\"", host.url(path))
}

#[test]
fn known_keys_stay_in_force_while_their_issuer_is_unreachable() {
    let remote = Remote::new(|host| with_issuer(&at(host, "/html")));
    let (server, issuer) = (*remote.server, &remote.issuer);
    // The first request after the start already.
    ask(server, "/orders/prod", &issuer.sign("a-ed", &claims(300))).expect(200);
    // The keys are replaced, and the operator asks for them.
    remote.host.replace(&issuer.jwks("b-"));
    remote.server.signal("HUP");
    let rotated = |seconds| issuer.sign("b-ed", &claims(seconds));
    eventually("the new key counts", || ask(server, "/orders/prod", &rotated(300)).status == 200);
    ask(server, "/orders/prod", &issuer.sign("a-ed", &claims(300))).expect(401);
    assert!(!remote.problems().contains("jwks-unreachable"));
    remote.host.replace("<html>Sign in</html>");
    remote.server.signal("HUP");
    eventually("the fault is listed", || remote.problems().contains("jwks-unreachable"));
    let text = |path: &str| get(server, path, "ops").expect(200).text();
    assert!(text("/actuator/health").contains("jwks-unreachable"));
    assert!(text("/metrics").contains("headwater_faults{kind=\"jwks-unreachable\"} 1\n"));
    ask(server, "/orders/prod", &rotated(300)).expect(200);
    ask(server, "/orders/prod", &rotated(301)).expect(200);
    // An unknown key causes no request within 30 s of the last one, and no waiting.
    ask(server, "/orders/prod", &issuer.sign("c-ed", &claims(300))).expect(401);
    remote.host.replace(&issuer.jwks("b-"));
    remote.server.signal("HUP");
    eventually("the fault is over", || !remote.problems().contains("jwks-unreachable"));
    let log = remote.server.log();
    assert!(log.contains("\"message\":\"the keys of an issuer cannot be read\""), "{log}");
    eventually("the log has it", || {
        remote.server.log().contains("over: the keys of an issuer cannot be read")
    });
    assert!(!log.contains(&rotated(300)), "a token is in the log");
}

#[test]
fn a_request_waits_for_keys_that_are_being_read() {
    let remote = Remote::new(|_| policy(RULES));
    let server = *remote.server;
    let held = remote.host.held.lock().unwrap();
    remote.policy.replace(&with_issuer(&at(&remote.host, "/held")));
    eventually("the keys are being read", || remote.host.held_count.load(Ordering::SeqCst) == 1);
    let jwt = remote.issuer.sign("a-ed", &claims(300));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| ask(server, "/orders/prod", &jwt));
        // Other requests do not wait.
        get(server, "/orders/prod", "orders").expect(200);
        drop(held);
        waiting.join().unwrap().expect(200);
    });
    assert_eq!(remote.host.held_count.load(Ordering::SeqCst), 1);
}

#[test]
fn documents_that_are_no_key_sets_are_reported_and_change_nothing_else() {
    const PATHS: [&str; 5] = ["/page", "/large", "/error", "/redirect", "/slow"];
    let remote = Remote::new(|host| {
        let others =
            PATHS.map(|path| issuer(&path[1..], &format!("https://x{path}"), &at(host, path)));
        with_issuer(&at(host, "/good")) + &others.concat()
    });
    let server = *remote.server;
    ask(server, "/orders/prod", &remote.issuer.sign("a-ed", &claims(300))).expect(200);
    for (issuer, reason) in [
        ("page", "the JWKS is not a JSON object"),
        ("large", "the JWKS has more than 262144 bytes"),
        ("error", "the issuer answers with 500"),
        ("redirect", "the issuer answers with a redirect (302 Found), which is not followed"),
        ("slow", "no complete answer within 10 s"),
    ] {
        eventually("the fault is listed", || {
            let problems = remote.problems();
            problems.contains(&format!("\"source\":\"the issuer {issuer}\""))
                && problems.contains(reason)
        });
        let stranger = changed(claims(300), "iss", json!(format!("https://x/{issuer}")));
        ask(server, "/orders/prod", &remote.issuer.sign("a-ed", &stranger)).expect(401);
    }
    assert!(!remote.problems().contains("the issuer main"), "{}", remote.problems());
    // The policy does not name the others any more.
    remote.policy.replace(&with_issuer(&at(&remote.host, "/good")));
    eventually("the faults are over", || !remote.problems().contains("jwks-unreachable"));
}
