//! Access under load: bad credentials beside good ones, and a policy that is replaced again and again.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use super::{Guarded, RULES, bearer, get, metric, policy, sha256, token};
use crate::fixture::{Address, PATIENCE, Until, eventually};
use crate::secrets::keys::KeyFiles;

/// The requests of each test.
const REQUEST_COUNT: usize = 100_000;
/// The requests that a connection sends at once.
const BATCH_SIZE: usize = 25;
/// The bad credentials that an address may send at once, and each second after that.
const BURST: usize = 2_000;
const RATE: f64 = 20.0;

/// A kept connection that sends many requests at once.
struct Pipeline(BufReader<TcpStream>);

impl Pipeline {
    fn new(server: Address) -> Self {
        let stream = server.connect();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    /// Sends a request for the environment of orders with each credential. Returns the statuses and bodies.
    fn ask(&mut self, authorizations: &[String]) -> Vec<(u16, String)> {
        let requests: String = authorizations
            .iter()
            .map(|value| {
                format!("GET /orders/prod HTTP/1.1\r\nHost: x\r\nAuthorization: {value}\r\n\r\n")
            })
            .collect();
        self.0.get_mut().write_all(requests.as_bytes()).unwrap();
        authorizations.iter().map(|_| self.read()).collect()
    }

    fn read(&mut self) -> (u16, String) {
        let (mut status, mut length) = (None, 0);
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "the server closed the connection");
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
            status = status.or_else(|| line.split(' ').nth(1)?.parse().ok());
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        (status.expect("a status"), String::from_utf8(body).unwrap())
    }
}

#[test]
fn a_hundred_thousand_bad_tokens_disturb_no_good_one() {
    let guarded = Guarded::new(RULES);
    let server = *guarded.server;
    let (is_over, good_count) = (AtomicBool::new(false), AtomicUsize::new(0));
    let begun = Instant::now();
    let (examined, limited) = std::thread::scope(|scope| {
        let until = Until(&is_over);
        for principal in ["orders", "lister", "ops"] {
            let (is_over, good_count) = (&is_over, &good_count);
            scope.spawn(move || {
                let mut kept = Pipeline::new(server);
                let tokens: Vec<String> = (0..BATCH_SIZE)
                    .map(|number| bearer(principal, 1 + u32::from(number % 2 == 0)))
                    .collect();
                while !is_over.load(Ordering::Relaxed) {
                    for (status, body) in kept.ask(&tokens) {
                        assert_eq!(status, 200, "{principal}: {body}");
                    }
                    get(server, "/orders/prod", principal).expect(200);
                    good_count.fetch_add(BATCH_SIZE + 1, Ordering::Relaxed);
                }
            });
        }
        let bad = (0..4).map(|connection| scope.spawn(move || send_bad_tokens(server, connection)));
        let bad: Vec<_> = bad.collect();
        let counts = bad.into_iter().map(|thread| thread.join().unwrap());
        let counts = counts.fold((0, 0), |all, own| (all.0 + own.0, all.1 + own.1));
        drop(until);
        counts
    });
    let seconds = begun.elapsed().as_secs_f64();
    assert_eq!(examined + limited, REQUEST_COUNT);
    // Each address has its burst, and the rate after that.
    assert!(examined >= BURST, "{examined} were examined");
    assert!(examined as f64 <= BURST as f64 + RATE * seconds + 1.0, "{examined} in {seconds} s");
    let counted = metric(server, "headwater_access_limited_credentials_total");
    assert_eq!(counted, limited as u64);
    let good_count = good_count.into_inner();
    assert!(good_count >= BURST, "{good_count} good ones were sent beside them");
}

/// Sends a quarter of the requests, each with another unknown token. Returns how many were examined, and how many were
/// limited.
fn send_bad_tokens(server: Address, connection: usize) -> (usize, usize) {
    let mut kept = Pipeline::new(server);
    let (mut examined, mut limited) = (0, 0);
    for batch in 0..REQUEST_COUNT / 4 / BATCH_SIZE {
        let tokens: Vec<String> = (0..BATCH_SIZE)
            .map(|number| format!("Bearer hw_{connection}_{batch:016}_{number:016}"))
            .collect();
        for (status, body) in kept.ask(&tokens) {
            match status {
                401 => examined += 1,
                429 => limited += 1,
                status => panic!("{status}: {body}"),
            }
        }
    }
    (examined, limited)
}

/// The answers that `lister` receives under the policies, in their order.
const EXPECTED: [&str; 4] = ["sealed", "absent", "rejected", "opened"];

/// The policy with a number. The answers of `lister` differ from those under the policy before and after it.
fn numbered_policy(number: usize) -> String {
    let of_lister = |may: &str| {
        let rule = "[[allow]]\nwho = [\"lister\"]\napplication = [\"orders\"]\nprofile = [\"*\"]";
        format!("{rule}\nmay = [{may}]\n# {number}\n")
    };
    let rules = RULES_OF_OTHERS.to_owned();
    match EXPECTED[number % EXPECTED.len()] {
        "sealed" => policy(&(rules + &of_lister("\"read\""))),
        "absent" => policy(&format!("{rules}# {number}\n")),
        "opened" => policy(&(rules + &of_lister("\"read\", \"open\""))),
        _ => {
            let entry = format!("{{ sha256 = \"{}\" }}, ", sha256(&token("lister", 1)));
            let text = policy(&(rules + &of_lister("\"read\", \"open\"")));
            assert!(text.contains(&entry));
            text.replace(&entry, "")
        }
    }
}

const RULES_OF_OTHERS: &str = r#"
[[allow]]
who = ["orders"]
may = ["read", "open"]
application = ["{principal}"]
profile = ["*"]
[[allow]]
who = ["ops"]
may = ["metrics", "admin"]
"#;

/// The kind of an answer.
fn kind(status: u16, body: &str) -> &'static str {
    match (status, body.contains("{cipher}"), body.contains("s3cret")) {
        (200, true, false) => "sealed",
        (200, false, true) => "opened",
        (404, false, false) => "absent",
        // Rejected credentials are limited after a burst.
        (401 | 429, false, false) => "rejected",
        _ => panic!("an answer of no policy: {status} {body}"),
    }
}

/// The numbers of the policies: `confirmed` is in force everywhere, and `written` may be.
struct Policies {
    confirmed: AtomicUsize,
    written: AtomicUsize,
    request_count: AtomicUsize,
}

impl Policies {
    /// Sends batches as `lister`. Each answer has to follow a policy that was in force while its batch was under way,
    /// and no earlier one than the answer before it on the same connection. Returns how often each answer was seen.
    fn check_answers(&self, server: Address) -> [usize; EXPECTED.len()] {
        let mut kept = Pipeline::new(server);
        let tokens = vec![bearer("lister", 1); BATCH_SIZE];
        let mut seen = [0; EXPECTED.len()];
        while self.request_count.fetch_add(BATCH_SIZE, Ordering::SeqCst) < REQUEST_COUNT {
            let first = self.confirmed.load(Ordering::SeqCst);
            let answers = kept.ask(&tokens);
            let last = self.written.load(Ordering::SeqCst);
            let mut current = first;
            for (status, body) in answers {
                let kind = kind(status, &body);
                let follows = |number: &usize| EXPECTED[number % EXPECTED.len()] == kind;
                current = (current..=last).find(follows).unwrap_or_else(|| {
                    panic!("{kind} follows none of the policies {current} to {last}")
                });
                seen[current % EXPECTED.len()] += 1;
            }
        }
        seen
    }
}

#[test]
fn every_answer_follows_the_old_policy_or_the_new_one() {
    let keys = KeyFiles::passphrases(&["k"]);
    let files = format!("//- orders.yml\npassword: '{}'\n", keys.seal("s3cret"));
    let guarded = Guarded::with(&files, RULES, |settings| {
        settings.secrets = keys.settings.clone();
        settings.workers = Some(2);
    });
    let server = *guarded.server;
    let replace = |number| guarded.policy.replace(&numbered_policy(number));
    let in_force = |number: usize| {
        eventually("the policy is in force", || {
            let reply = get(server, "/orders/prod", "lister");
            kind(reply.status, &reply.text()) == EXPECTED[number % EXPECTED.len()]
        });
    };
    replace(0);
    in_force(0);
    let policies = Policies {
        confirmed: AtomicUsize::new(0),
        written: AtomicUsize::new(0),
        request_count: AtomicUsize::new(0),
    };
    let seen = std::thread::scope(|scope| {
        let listers: Vec<_> =
            (0..4).map(|_| scope.spawn(|| policies.check_answers(server))).collect();
        let mut number = 0;
        let is_checking = || listers.iter().any(|thread| !thread.is_finished());
        while is_checking() || number < 2 * EXPECTED.len() {
            number += 1;
            policies.written.store(number, Ordering::SeqCst);
            replace(number);
            in_force(number);
            policies.confirmed.store(number, Ordering::SeqCst);
            get(server, "/orders/prod", "orders").expect(200);
        }
        listers
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .fold([0; 4], |all, own| std::array::from_fn(|at| all[at] + own[at]))
    });
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
    assert!(seen.iter().sum::<usize>() >= REQUEST_COUNT, "{seen:?}");
}
