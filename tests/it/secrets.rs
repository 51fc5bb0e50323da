//! Invariant 8: secrets are in no log line, no error, no metric. Values in the answers that
//! are asked for are the product; everything else that the server says is searched for them, its log at the highest level
//! included.

mod audited;
mod bound;
mod core_file;
pub(crate) mod keys;
mod opening;
mod original;
pub(crate) mod references;
mod sealing;
mod sops;
pub(crate) mod stand_in;
mod sweep;
mod vault;

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::fixture::{Child, Reply, Repository, command, directory, eventually};

/// The secrets, by the place where each was planted.
#[derive(Default)]
struct Planted(Vec<(String, String)>);

impl Planted {
    /// A new secret for a place.
    fn plant(&mut self, place: &str) -> String {
        let secret = format!("hunter{:02}canary", self.0.len());
        self.0.push((place.to_owned(), secret.clone()));
        secret
    }

    #[track_caller]
    fn search(&self, what: &str, text: &str) {
        for (place, secret) in &self.0 {
            let encoded = STANDARD.encode(secret);
            for form in [secret.as_str(), encoded.trim_end_matches('=')] {
                if let Some(at) = text.find(form) {
                    let line = text[..at].rsplit('\n').next().unwrap_or_default();
                    panic!("{what} shows the secret of {place} after: {line}");
                }
            }
        }
    }
}

/// Everything in a reply but the body of an answer.
fn beside_the_product(reply: &Reply) -> String {
    match reply.status {
        200 => format!("{:?}", reply.headers),
        _ => reply.everything(),
    }
}

#[test]
fn invariant_8_secrets_are_in_no_log_no_error_and_no_metric() {
    let mut planted = Planted::default();
    let mut files = String::new();
    let mut applications = Vec::new();
    let mut add =
        |planted: &mut Planted, name: &str, extension: &str, text: &dyn Fn(&str) -> String| {
            let secret = planted.plant(&format!("{name}.{extension}"));
            writeln!(files, "//- {name}.{extension}\n{}", text(&secret)).unwrap();
            applications.push(name.to_owned());
        };
    type Text = fn(&str) -> String;
    let texts: [(&str, &str, Text); 37] = [
        ("plain", "yml", |s| format!("password: {s}")),
        ("plain-toml", "toml", |s| format!("password = \"{s}\"")),
        ("plain-properties", "properties", |s| format!("password={s}")),
        ("plain-json", "json", |s| format!("{{\"password\": \"{s}\"}}")),
        ("cipher", "yml", |s| format!("password: '{{cipher}}{s}'")),
        ("cipher-key", "yml", |s| format!("password: '{{cipher}}{{key:a}}{s}'")),
        ("cipher-properties", "properties", |s| format!("password={{cipher}}{s}")),
        ("cipher-unquoted", "yml", |s| format!("password: {{cipher}}{s}")),
        ("bad-list", "yml", |s| format!("password: [{s}")),
        ("bad-quote", "yml", |s| format!("password: \"{s}")),
        ("bad-quote-after", "yml", |s| format!("password: \"x\" {s}")),
        ("bad-colon", "yml", |s| format!("password: x: {s}")),
        ("bad-indent", "yml", |s| format!("password: x\n   {s}: y")),
        ("bad-anchor", "yml", |s| format!("password: *{s}")),
        ("bad-tag", "yml", |s| format!("password: !{s} x")),
        ("bad-java-tag", "yml", |s| format!("password: !!java.lang.{s} x")),
        ("bad-directive", "yml", |s| format!("%{s} x\n---\na: 1")),
        ("bad-escape", "yml", |s| format!("password: \"{s}\\q\"")),
        ("bad-key", "yml", |s| format!("{s}: 1\n{s}: 2")),
        ("bad-tab", "yml", |s| format!("a:\n\t{s}: x")),
        ("bad-merge", "yml", |s| format!("<<: {s}")),
        ("bad-block", "yml", |s| format!("key: |{s}\n  x")),
        ("bad-reserved", "yml", |s| format!("key: @{s}")),
        ("bad-percent", "yml", |s| format!("key: %{s}")),
        ("bad-number", "yml", |s| format!("key: !!int {s}")),
        ("bad-binary", "yml", |s| format!("key: !!binary '{s}!'")),
        ("bad-unicode", "properties", |s| format!("password={s}\\u00zz")),
        ("bad-toml", "toml", |s| format!("password = {s}")),
        ("bad-toml-string", "toml", |s| format!("password = \"{s}")),
        ("bad-toml-twice", "toml", |s| format!("{s} = 1\n{s} = 2")),
        ("bad-json", "json", |s| format!("{{\"password\": \"{s}")),
        ("bad-json-bare", "json", |s| format!("{{\"password\": {s}}}")),
        ("bad-json-twice", "json", |s| format!("{{\"{s}\": 1, \"{s}\": 2}}")),
        ("bad-json-after", "json", |s| format!("{{}} {s}")),
        ("circle", "yml", |s| format!("a: ${{b}}{s}\nb: ${{a}}")),
        ("clash", "properties", |s| format!("a[0]={s}\na.b={s}")),
        ("bad-import", "yml", |s| format!("spring.config.import: 'https://u:{s}@host.invalid/x'")),
    ];
    for (name, extension, text) in &texts {
        add(&mut planted, name, extension, text);
    }
    let text_file = planted.plant("a text file");
    writeln!(files, "//- circle.txt\n{text_file} ${{a}}").unwrap();
    let repository = Repository::new(&files);

    let token = planted.plant("the token");
    let override_value = planted.plant("an override");
    let remote = planted.plant("the password of a remote");
    let config = repository.path().join("config");
    let mut text = std::fs::read_to_string(&config).unwrap();
    write!(text, "[remote \"origin\"]\n\turl = https://u:{remote}@host.invalid/x.git\n").unwrap();
    std::fs::write(&config, text).unwrap();
    let place = directory(&format!(
        "//- token\n{token}\n//- headwater.toml\ntoken_file = \"token\"\n[overrides]\npassword = \"{override_value}\"\n\
         [[source]]\nuri = {:?}\ntoml = true\njson = true\n",
        repository.uri()
    ));
    let settings = place.path().join("headwater.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    let token_path = place.path().join("token").display().to_string();
    std::fs::write(&settings, text.replace("\"token\"", &format!("{token_path:?}"))).unwrap();
    let settings = settings.display().to_string();
    let server = Child::serve_with(&["--config", &settings], &[("HEADWATER_LOG", "trace")]);

    let bearer = format!("Bearer {token}");
    let right = [("Authorization", bearer.as_str())];
    for application in &applications {
        for path in [
            format!("/{application}/default"),
            format!("/{application}/default?x"),
            format!("/{application}/dev/main"),
            format!("/{application}-default.yml"),
            format!("/{application}-default.json"),
            format!("/{application}-default.properties"),
            format!("/{application}/default/main/circle.txt"),
        ] {
            let reply = server.get_with(&path, &right);
            assert_ne!(reply.status, 401);
            planted.search(&path, &beside_the_product(&reply));
        }
    }
    // What others bring with them.
    for (what, header, format) in [
        ("a wrong bearer", "Authorization", "Bearer {}"),
        ("a wrong scheme", "Authorization", "Digest response={}"),
        ("a token of Vault", "X-Config-Token", "{}"),
        ("a cookie", "Cookie", "session={}"),
        ("a proxy's password", "Proxy-Authorization", "Basic {}"),
    ] {
        let value = format.replace("{}", &planted.plant(what));
        let reply = server.get_with("/plain/default", &[(header, &value)]).expect(401);
        planted.search(what, &reply.everything());
        let reply = server.get_with("/plain/default", &[right[0], (header, &value)]);
        planted.search(what, &beside_the_product(&reply));
    }
    let basic = STANDARD.encode(format!("user:{}", planted.plant("a wrong password")));
    let reply = server.get_with("/plain/default", &[("Authorization", &format!("Basic {basic}"))]);
    planted.search("a wrong password", &reply.expect(401).everything());
    let in_query = planted.plant("a query string");
    let reply = server.get(&format!("/plain/default?access_token={in_query}"));
    planted.search("a query string", &reply.expect(401).everything());
    let in_authority = planted.plant("an address");
    let reply = server.get(&format!("http://u:{in_authority}@localhost/plain/default"));
    planted.search("an address", &reply.everything());
    let in_garbage = planted.plant("a request that is none");
    let reply = server.send(format!("GET /x HTTP/1.1\r\nX {in_garbage}\r\n\r\n").as_bytes());
    planted.search("garbage", &reply.everything());

    // A change that breaks a file, so that the loop that follows the source has something to say.
    let later = planted.plant("a later commit");
    let tip = repository.commit(&format!("//- plain.yml\npassword: [{later}\n"));
    eventually("the bad commit is held back", || {
        server.get_with("/plain/default", &right).header("headwater-held-at") == Some(&tip)
    });
    for path in [
        "/metrics",
        "/actuator/health",
        "/-/problems",
        "/-/environments",
        "/",
        "/openapi.json",
        "/readyz",
    ] {
        planted.search(path, &server.get_with(path, &right).expect(200).everything());
    }
    let arguments = std::fs::read(format!("/proc/{}/cmdline", server.id())).unwrap();
    planted.search("the command line", &String::from_utf8_lossy(&arguments));
    assert!(planted.0.len() >= 50, "{}", planted.0.len());
    for output in ["table", "json"] {
        let mut check = command(place.path());
        let output = check.args(["check", "--output", output]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        planted.search("check", &String::from_utf8_lossy(&output.stdout));
        planted.search("check", &String::from_utf8_lossy(&output.stderr));
    }
    let (_, log) = server.stop();
    assert!(log.contains("TRACE"), "the log is at its highest level");
    planted.search("the log", &log);
}

#[test]
fn settings_that_are_refused_are_not_quoted() {
    let mut planted = Planted::default();
    for line in [
        "overrides = \"{}\"",
        "[overrides]\npassword = {}",
        "[overrides]\npassword = \"{}",
        "[overrides]\npassword = [\"{}\"]",
        "workers = \"{}\"",
        "accept_empty = \"{}\"",
        "[[source]]\nuri = \"https://u:{}@host.invalid/x.git\"",
        "[[source]]\nuri = \"u:{}@host.invalid:x\"",
        "[[source]]\njson = \"{}\"",
        "source = \"https://u:{}@host.invalid/x.git\"",
    ] {
        let secret = planted.plant(line);
        let place = directory(&format!("//- headwater.toml\n{}\n", line.replace("{}", &secret)));
        let output =
            command(place.path()).args(["serve", "--listen", "127.0.0.1:0"]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}");
        planted.search(line, &String::from_utf8_lossy(&output.stderr));
        planted.search(line, &String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn what_a_request_brings_cannot_forge_a_line_of_the_log() {
    let repository = Repository::new("//- a.yml\na: 1\n");
    let server = Child::serve_with(&["--source", &repository.uri()], &[("HEADWATER_LOG", "trace")]);
    let long = "u".repeat(60_000);
    for path in
        ["/a/dev/x%0d%0a%7b%22level%22:%22FORGED%22%7d", "/a/dev/%1b%5b31mFORGED", "/a/dev/nope"]
    {
        server.get(path);
        server.get_with(path, &[("User-Agent", &long), ("X", "\u{1b}[31mFORGED")]);
    }
    let (_, log) = server.stop();
    for line in log.lines() {
        let parsed: serde_json::Value = serde_json::from_str(line).expect("a line is one object");
        assert!(parsed["level"].is_string(), "{line}");
        assert!(!line.contains('\u{1b}'), "{line}");
        assert!(line.len() < 10_000, "a line of {} bytes", line.len());
    }
}
