//! How a remote is opened, and that nothing of it shows.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

use super::host::{Host, Manner};
use super::{Home, comes, failed, hook, remote};
use crate::fixture::{Address, Repository, Until, eventually};

/// What must show nowhere.
const PASSWORD: &str = "canary-4711-hunter2";

fn with_credentials(uri: &str) -> Home {
    let home = Home::new(&format!(
        "[[source]]\nuri = \"{uri}\"\npoll_seconds = 1\ncredentials_file = \"{{place}}/credentials\"\n"
    ));
    home.write("credentials", &format!("ada\n{PASSWORD}\n"));
    home
}

/// The processes that descend from one.
fn descendants(id: u32) -> Vec<u32> {
    let mut all = vec![id];
    let mut at = 0;
    while let Some(id) = all.get(at) {
        let tasks = std::fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
        for task in tasks {
            let children =
                std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            all.extend(children.split_whitespace().map(|id| id.parse::<u32>().expect("an id")));
        }
        at += 1;
    }
    all
}

/// Command lines and environments of all that a server starts, looked at over and over until it is over.
pub(crate) fn spy(id: u32, is_over: &AtomicBool, seen: &Mutex<BTreeSet<String>>) {
    while !is_over.load(Ordering::Relaxed) {
        for id in descendants(id) {
            for what in ["cmdline", "environ"] {
                let text = std::fs::read(format!("/proc/{id}/{what}")).unwrap_or_default();
                let text = String::from_utf8_lossy(&text).replace('\0', " ");
                seen.lock().expect("what was seen").insert(text);
            }
        }
    }
}

#[track_caller]
fn shows_nothing(what: &str, text: &str) {
    let login = STANDARD.encode(format!("ada:{PASSWORD}"));
    for secret in [PASSWORD, &login, &STANDARD.encode(PASSWORD)] {
        assert!(!text.contains(secret), "{what} shows the password");
    }
}

#[test]
fn credentials_open_a_remote_and_show_nowhere() {
    let repository = Repository::new("//- orders.yml\na: 0\n");
    let host = Host::with_login(&repository, "ada", PASSWORD);
    let home = with_credentials(&host.uri());
    let server = home.serve_with(&[("HEADWATER_LOG", "trace")]);
    let (is_over, seen) = (AtomicBool::new(false), Mutex::new(BTreeSet::new()));
    std::thread::scope(|scope| {
        let _until = Until(&is_over);
        scope.spawn(|| spy(server.id(), &is_over, &seen));
        comes(&server, "/orders/dev", "a", "0");
        for round in 1..=4 {
            repository.commit(&format!("//- orders.yml\na: {round}\n"));
            hook(&server, "", "{}");
            comes(&server, "/orders/dev", "a", &round.to_string());
        }
        // What a host repeats of a request goes no further, and neither does a refusal.
        for manner in [Manner::Echo, Manner::Html, Manner::Cut, Manner::Away] {
            host.behave(Manner::Good);
            eventually("it is fetched", || remote(&server)["error"].is_null());
            host.behave(manner);
            eventually("the outage is seen", || !remote(&server)["error"].is_null());
            tell_all(&server);
        }
    });
    let seen = seen.into_inner().expect("what was seen");
    assert!(seen.iter().any(|text| text.contains(" ls-remote ")), "git was not seen");
    seen.iter().for_each(|text| shows_nothing("a process", text));
    let (_, log) = server.stop();
    assert!(log.contains("DEBUG") || log.contains("TRACE"), "{log}");
    shows_nothing("the log", &log);
    for file in files_below(&home.place().join("data")) {
        shows_nothing(
            "the data directory",
            &String::from_utf8_lossy(&std::fs::read(file).expect("read")),
        );
    }
}

fn tell_all(server: &Address) {
    for path in
        ["/actuator/health", "/metrics", "/-/problems", "/", "/orders/dev", "/orders/dev/nobody"]
    {
        shows_nothing(path, &server.get(path).everything());
    }
}

fn files_below(directory: &std::path::Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("a directory").flatten();
    entries
        .flat_map(|entry| match entry.file_type().expect("a type").is_dir() {
            true => files_below(&entry.path()),
            false => vec![entry.path()],
        })
        .collect()
}

#[test]
fn wrong_credentials_and_missing_ones_are_said_and_new_ones_taken_up() {
    let repository = Repository::new("//- orders.yml\na: 1\n");
    let host = Host::with_login(&repository, "ada", "another");
    let home = with_credentials(&host.uri());
    let server = home.serve();
    eventually("they are refused", || {
        failed(&server, "the remote refuses the credentials (git: fatal: ")
    });
    let refused = server.get("/orders/dev").expect(503);
    assert!(refused.text().contains("refuses the credentials"), "{}", refused.text());
    home.write("credentials", "ada\nanother\n");
    comes(&server, "/orders/dev", "a", "1");
    home.write("credentials", "ada\n");
    eventually("the file is looked at", || {
        remote(&server)["error"].as_str().is_some_and(|error| error.contains("two lines"))
    });
    comes(&server, "/orders/dev", "a", "1");
    drop(server);

    let home = Home::of(&host.uri());
    let server = home.serve();
    eventually("there are none", || {
        failed(&server, "the remote asks for credentials, and none are configured")
    });
}

/// A certificate for `localhost`, and the settings of a host that shows it.
fn certificate() -> (String, ServerConfig) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = rustls::crypto::aws_lc_rs::default_provider().into();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("settings");
    (made.cert.pem(), config)
}

#[test]
fn a_certificate_is_verified_and_a_private_authority_can_be_named() {
    let repository = Repository::new("//- orders.yml\na: 1\n");
    let (pem, config) = certificate();
    let host = Host::with_tls(&repository, config);
    let home = Home::of(&host.uri());
    let server = home.serve();
    eventually("it is refused", || {
        failed(&server, "the certificate of the remote cannot be verified (git: fatal: ")
    });
    // It stays so: nothing is tried without.
    server.get("/orders/dev").expect(503);
    assert_eq!(host.request_count(), 0);
    drop(server);

    let home = Home::new(&format!(
        "[[source]]\nuri = \"{}\"\nca_file = \"{{place}}/ca.crt\"\n",
        host.uri()
    ));
    home.write("ca.crt", &pem);
    comes(&home.serve(), "/orders/dev", "a", "1");
}

#[test]
fn the_login_of_the_environment_is_for_one_host() {
    let repository = Repository::new("//- orders.yml\na: 1\n");
    let (pem, config) = certificate();
    let host = Host::with_tls(&repository, config);
    let login = [("HEADWATER_GIT_USERNAME", "ada"), ("HEADWATER_GIT_PASSWORD", PASSWORD)];
    let home = Home::new(&format!(
        "[[source]]\nuri = \"{}\"\nca_file = \"{{place}}/ca.crt\"\n",
        host.uri()
    ));
    home.write("ca.crt", &pem);
    comes(&home.serve_with(&login), "/orders/dev", "a", "1");

    let home = Home::new(
        "[[source]]\nuri = \"https://one.example/r.git\"\n[[source]]\nuri = \"https://two.example/r.git\"\n",
    );
    let (code, said) = refused(&home, &login);
    assert_eq!(code, Some(2));
    assert!(said.contains("is for one host"), "{said}");
    shows_nothing("the refusal", &said);
}

/// Starts a server that does not start, and gives its code and what it says.
pub(super) fn refused(home: &Home, variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = crate::fixture::command(home.place())
        .args(["serve", "--listen", "127.0.0.1:0"])
        .envs(variables.iter().copied())
        .output()
        .expect("the binary starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A `git` that writes down how it was called and then does what git does.
fn recorder(home: &Home) -> (String, PathBuf) {
    let directory = home.place().join("bin");
    std::fs::create_dir(&directory).expect("a directory");
    let record = home.place().join("record");
    let path = std::env::var("PATH").expect("a path");
    let script = format!(
        "#!/bin/sh\n{{ echo CALL; printf 'arg %s\\n' \"$@\"; env | sed 's/^/env /'; }} >>'{}'\nPATH='{path}' exec git \"$@\"\n",
        record.display()
    );
    std::fs::write(directory.join("git"), script).expect("written");
    std::fs::set_permissions(directory.join("git"), std::fs::Permissions::from_mode(0o755))
        .expect("allowed");
    (format!("{}:{path}", directory.display()), record)
}

#[test]
fn git_is_called_with_a_fixed_command_line_and_an_environment_of_ours() {
    let repository = Repository::new("//- orders.yml\na: 1\n");
    let host = Host::with_login(&repository, "ada", PASSWORD);
    let home = with_credentials(&host.uri());
    let (path, record) = recorder(&home);
    let variables = [
        ("PATH", path.as_str()),
        ("GIT_SSL_NO_VERIFY", "1"),
        ("GIT_SSH_COMMAND", "false"),
        ("GIT_CONFIG_COUNT", "1"),
        ("GIT_CONFIG_KEY_0", "http.sslVerify"),
        ("GIT_CONFIG_VALUE_0", "false"),
        ("GIT_TRACE_CURL", "/dev/stderr"),
        ("HOME", "/root"),
        ("SECRET_OF_THE_SERVER", PASSWORD),
    ];
    let server = home.serve_with(&variables);
    comes(&server, "/orders/dev", "a", "1");
    // Names that a request chooses reach no command line.
    for label in ["--upload-pack=x", "$(touch x)", "nobody"] {
        server.get(&format!("/orders/dev/{}", label.replace('$', "%24").replace(' ', "%20")));
    }
    drop(server);
    let recorded = std::fs::read_to_string(record).expect("a record");
    shows_nothing("a call of git", &recorded);
    assert!(!recorded.contains("nobody") && !recorded.contains("touch"), "{recorded}");
    let calls: Vec<&str> = recorded.split("CALL\n").skip(1).collect();
    assert!(calls.len() >= 2, "{recorded}");
    for call in calls {
        let lines = |kind: &str| -> Vec<&str> {
            call.lines().filter_map(|line| line.strip_prefix(kind)).collect()
        };
        let (arguments, environment) = (lines("arg "), lines("env "));
        assert!(arguments.contains(&"transfer.credentialsInUrl=die"));
        assert!(arguments.contains(&"http.followRedirects=false"));
        assert!(arguments.contains(&"http.sslVerify=true"));
        let known = |variable: &str| {
            const KNOWN: [&str; 14] = [
                "PATH=",
                "HOME=",
                "LC_ALL=C",
                "GIT_CONFIG_NOSYSTEM=1",
                "GIT_CONFIG_GLOBAL=/dev/null",
                "GIT_ATTR_NOSYSTEM=1",
                "GIT_TERMINAL_PROMPT=0",
                "GIT_NO_REPLACE_OBJECTS=1",
                "GIT_ALLOW_PROTOCOL=http",
                "PWD=",
                "OLDPWD=",
                "SHLVL=",
                "_=",
                "TMPDIR=",
            ];
            const PROXIES: [&str; 7] = [
                "http_proxy=",
                "https_proxy=",
                "all_proxy=",
                "no_proxy=",
                "HTTPS_PROXY=",
                "ALL_PROXY=",
                "NO_PROXY=",
            ];
            KNOWN.iter().chain(&PROXIES).any(|known| variable.starts_with(known))
        };
        let is_remote = arguments.contains(&"ls-remote") || arguments.contains(&"fetch");
        for variable in environment {
            let is_local = !is_remote && variable == "GIT_ALLOW_PROTOCOL=none";
            assert!(known(variable) || is_local, "{variable}");
            assert_ne!(variable, "HOME=/root");
        }
        if is_remote {
            let dashes =
                arguments.iter().position(|argument| *argument == "--").expect("an end of options");
            assert_eq!(arguments[dashes + 1], host.uri());
        }
    }
}

#[test]
fn what_cannot_open_a_remote_is_refused_at_start() {
    let ssh = "uri = \"git@localhost:config.git\"\n";
    for (settings, message) in [
        (ssh.to_owned(), "needs its ssh_key_file and its known_hosts_file"),
        (format!("{ssh}ssh_key_file = \"/nowhere\"\n"), "must be set together"),
        (
            format!("{ssh}ssh_key_file = \"/nowhere\"\nknown_hosts_file = \"/nowhere\"\n"),
            "ssh_key_file: entity not found",
        ),
        (
            format!("{ssh}ssh_key_file = \"/x' y\"\nknown_hosts_file = \"/nowhere\"\n"),
            "the path must not contain quotes",
        ),
        (
            "uri = \"https://localhost/r.git\"\ncredentials_file = \"/nowhere\"\n".to_owned(),
            "credentials_file cannot be read",
        ),
        (
            "uri = \"http://git.example/r.git\"\ncredentials_file = \"/dev/null\"\n".to_owned(),
            "not sent in clear text",
        ),
        (
            "uri = \"https://localhost/r.git\"\nca_file = \"/nowhere\"\n".to_owned(),
            "ca_file: entity not found",
        ),
        (
            format!("uri = \"https://ada:{PASSWORD}@localhost/r.git\"\n"),
            "write both to its credentials_file",
        ),
    ] {
        let home = Home::new(&format!("[[source]]\n{settings}"));
        let (code, said) = refused(&home, &[]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(message), "{settings}: {said}");
        shows_nothing("the refusal", &said);
    }
    let home = Home::new("");
    let (code, said) = refused(&home, &[("HEADWATER_GIT_PASSWORD", PASSWORD)]);
    assert_eq!(code, Some(2));
    assert!(said.contains("must be set together"), "{said}");
    shows_nothing("the refusal", &said);
}
