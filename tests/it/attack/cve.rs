//! The published vulnerabilities of Spring Cloud Config, one test each, named by its number. `docs/threat-model.md` lists
//! them with the property that prevents each.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;

use super::paths::{CANARY, Canaries, check_body};
use super::{assert_well, shop};
use crate::fixture::{Address, Child, Server, Session, command, directory, settings};

/// Asks for paths that a canary beside the repository, or a file of the machine, would answer.
fn refuses(requests: &[(&str, &str, u16)]) {
    let repository = shop();
    let _canaries = Canaries::plant(&repository);
    let server = Server::start(&repository.uri());
    for (method, path, status) in requests {
        let reply = server.ask(method, path, &[]);
        assert_eq!(reply.status, *status, "{path}: {}", reply.everything());
        check_body(path, &reply);
    }
    assert_well(*server);
}

/// Traversal through the endpoint for plain files.
#[test]
fn cve_2019_3799() {
    refuses(&[
        ("GET", "/foo/default/main/..%252F..%252F..%252Fetc%252Fpasswd", 400),
        ("GET", "/foo/default/main/..%2F..%2F..%2Fetc%2Fpasswd", 400),
        ("GET", "/foo/default/main/../../../etc/passwd", 400),
        ("GET", "/foo/default/main/..%2Fcanary.txt", 400),
    ]);
}

/// The same through `(_)`, which stands for a slash in a label.
#[test]
fn cve_2020_5405() {
    refuses(&[
        ("GET", "/a/b/..(_)..(_)..(_)etc/passwd", 400),
        ("GET", "/a/b/..%28_%29..%28_%29etc/passwd", 400),
        ("GET", "/a/b/%2E%2E%28%5F%29%2E%2E/x", 400),
        ("GET", "/a/b/..(_)/canary.txt", 400),
    ]);
}

/// The same, encoded twice and ended by an encoded `#`.
#[test]
fn cve_2020_5410() {
    refuses(&[
        ("GET", "/..%252F..%252F..%252F..%252Fetc%252Fpasswd%23foo/development", 400),
        ("GET", "/..%252Fcanary%23foo/dev", 400),
        ("GET", "/orders/dev/..%252F..%252Fcanary%2523", 400),
    ]);
}

/// The token of Vault that a client sends is written to the log.
#[test]
fn cve_2023_20859() {
    let repository = shop();
    let server = Child::serve_with(&["--source", &repository.uri()], &[("HEADWATER_LOG", "trace")]);
    for header in ["X-Config-Token", "X-Vault-Token", "Authorization"] {
        for path in ["/orders/dev", "/orders/dev/nosuch", "/x/..%2f/y", "/metrics"] {
            check_body(path, &server.get_with(path, &[(header, CANARY)]));
        }
    }
    assert_well(*server);
    let (_, log) = server.stop();
    assert!(log.contains("TRACE"), "the log is at its highest level: {log}");
    assert!(!log.contains(CANARY), "the log shows a client's token");
}

/// One client's token is kept and used for the requests of another one.
#[test]
fn cve_2025_22232() {
    let (_place, server) = with_token();
    let right = format!("Bearer {CANARY}");
    // On one connection, which a proxy may share between clients.
    let mut shared = Session::new(*server);
    for _ in 0..3 {
        let good = shared.get_with("/orders/dev", &[("Authorization", &right)]).expect(200);
        assert!(good.text().contains("Orders"));
        for header in ["Authorization", "X-Config-Token"] {
            let reply = shared.get_with("/orders/dev", &[(header, "Bearer other")]).expect(401);
            assert!(!reply.text().contains("Orders"), "{}", reply.everything());
        }
        assert!(!shared.get("/orders/dev").expect(401).text().contains("Orders"));
    }
}

/// A server with a read token.
fn with_token() -> (TempDir, Server) {
    let place = directory(&format!("//- token\n{CANARY}\n//- config/orders.yml\nname: Orders\n"));
    let mut settings = settings(&place.path().join("config").display().to_string());
    settings.token_file = Some(place.path().join("token"));
    (place, Server::with(settings))
}

/// A profile is not validated: traversal, and requests to an address that the client chooses.
#[test]
fn cve_2026_22739() {
    refuses(&[
        ("GET", "/app/..,x/label", 400),
        ("GET", "/app/%2e%2e/label", 400),
        ("GET", "/app/bar%252Ffoo/label", 400),
        ("GET", "/app/bar,%2e%2e,foo/label", 400),
        ("GET", "/app/127.0.0.1:8080/label", 400),
        ("GET", "/app/a@b:1%2f/label", 400),
    ]);
    // An address with a placeholder is rejected at the start, so that no request can complete it.
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    for uri in [
        format!("http://{{profile}}:{port}/x.git"),
        format!("http://127.0.0.1:{port}/{{application}}.git"),
        format!("http://127.0.0.1:{port}/{{label}}/x.git"),
    ] {
        assert_start_is_rejected(&uri, "placeholder");
    }
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "the server has sent a request");
}

#[track_caller]
fn assert_start_is_rejected(uri: &str, reason: &str) {
    let place = tempfile::tempdir().unwrap();
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--source", uri];
    let output = command(place.path()).args(arguments).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{uri}: {message}");
    assert!(message.contains(reason), "{uri}: {message}");
}

/// A header of the client selects whose secrets are read.
#[test]
fn cve_2026_40981() {
    let repository = shop();
    let server = Server::start(&repository.uri());
    let plain = server.get("/orders/dev").expect(200).body;
    let (_place, guarded) = with_token();
    for header in
        ["X-Config-Token", "X-Config-State", "X-Project-ID", "X-Vault-Token", "X-Principal"]
    {
        assert_eq!(server.get_with("/orders/dev", &[(header, "other-project")]).body, plain);
        assert_eq!(server.get("/orders/dev").body, plain, "{header}");
        guarded.get_with("/orders/dev", &[(header, "orders")]).expect(401);
    }
}

/// A name or a path begins with a slash.
#[test]
fn cve_2026_40982() {
    refuses(&[
        ("GET", "/(_)spam/dev", 400),
        ("GET", "/app/dev/(_)spam", 400),
        ("GET", "/app/dev/main/../foo.txt", 400),
        ("GET", "/app/dev/main/%2Ffoo.txt", 400),
        ("GET", "/app/dev/main/%252Ffoo.txt", 404),
        ("POST", "/encrypt/(_)spam/dev", 400),
        ("POST", "/encrypt/app/bar%2Ffoo", 400),
        ("POST", "/decrypt/..%2f/dev", 400),
        ("GET", "/key/(_)spam/dev", 400),
        ("GET", "/key/app/..%2e", 400),
    ]);
}

/// A directory or a file becomes a symbolic link between the check and the use.
#[test]
fn cve_2026_41002() {
    let place = directory(&format!(
        "//- config/orders.yml\nname: Orders\n//- config/plain.txt\nplain\n\
         //- config/blue/orders.yml\ncolour: blue\n//- outside/orders.yml\nname: {CANARY}\n\
         //- outside/plain.txt\n{CANARY}\n"
    ));
    let config = place.path().join("config");
    let server = Server::start(&config.display().to_string());
    let mut session = Session::new(*server);
    let mut read_count = 0;
    for round in 0..100 {
        swap(&config, "plain.txt", &place.path().join("outside/plain.txt"), round);
        swap(&config, "orders.yml", &place.path().join("outside/orders.yml"), round);
        swap(&config, "blue", &place.path().join("outside"), round);
        for path in ["/orders/dev", "/orders/dev/blue", "/orders/dev/main/plain.txt"] {
            let reply = session.get(path);
            check_body(path, &reply);
            read_count += u32::from(reply.status == 200);
        }
    }
    assert!(read_count > 0, "nothing was read");
}

/// Replaces a file or directory by a link to another place, or the link by what was there.
fn swap(config: &Path, name: &str, outside: &Path, round: u32) {
    let (inside, kept) = (config.join(name), config.with_file_name(format!("kept-{name}")));
    if round.is_multiple_of(2) {
        fs::rename(&inside, &kept).unwrap();
        symlink(outside, &inside).unwrap();
    } else {
        fs::remove_file(&inside).unwrap();
        fs::rename(&kept, &inside).unwrap();
    }
}

/// The credentials of a repository are written to the log at TRACE.
#[test]
fn cve_2026_41004() {
    // A port that nothing listens at, so that each attempt fails and is logged.
    let closed = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let uri = format!("http://{}/x.git", closed.local_addr().unwrap());
    drop(closed);
    let variables = [
        ("HEADWATER_LOG", "trace"),
        ("HEADWATER_GIT_USERNAME", "ada"),
        ("HEADWATER_GIT_PASSWORD", CANARY),
    ];
    let server = Child::serve_with(&["--source", &uri], &variables);
    crate::fixture::eventually("the outage is in the log", || {
        server.log().contains("cannot be fetched")
            || server.log().contains("unreachable")
            || server.get("/orders/dev").status == 503
    });
    for path in ["/orders/dev", "/actuator/health", "/metrics", "/-/problems"] {
        check_body(path, &server.get(path));
    }
    let (_, log) = server.stop();
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "the log is at its highest level");
    assert!(!log.contains(CANARY), "the log shows the password of a remote");
}

/// The directory of a Subversion checkout is replaced between the check and the use. There is no such source.
#[test]
fn cve_2026_47836() {
    for uri in ["svn://127.0.0.1/x", "svn+ssh://127.0.0.1/x", "ext::sh -c id", "fd::7"] {
        assert_start_is_rejected(uri, "source");
    }
}

/// Anybody can trigger work through `/monitor`.
#[test]
fn cve_2026_47837() {
    let repository = shop();
    let place = directory("//- secret\na secret of the webhook\n");
    let mut settings = settings(&repository.uri());
    settings.monitor.secret_file = Some(place.path().join("secret"));
    let server = Server::with(settings);
    for headers in ["", "X-GitHub-Event: push\r\n", "X-Hub-Signature-256: sha256=00\r\n"] {
        let reply = post_json(*server, headers, r#"{"path": "orders.yml"}"#);
        assert_eq!(reply, 401, "{headers}");
    }
    // Without a secret, a call without a readable body is none.
    let open = Server::start(&repository.uri());
    open.ask("POST", "/monitor", &[]).expect(400);
    open.ask("POST", "/monitor?path=orders", &[]).expect(400);
}

fn post_json(server: Address, headers: &str, body: &str) -> u16 {
    let request = format!(
        "POST /monitor HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{headers}\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    server.send(request.as_bytes()).status
}

/// A directory as source serves files that are no configuration.
#[test]
fn cve_2026_47894() {
    refuses(&[
        ("GET", "/app/dev/main/.git/config", 404),
        ("GET", "/app/dev/main/etc/passwd", 404),
        ("GET", "/app/dev/main/file:/etc/passwd", 404),
    ]);
    let place = directory(&format!(
        "//- config/orders.yml\nname: Orders\n//- config/.hidden/x.txt\n{CANARY}\n\
         //- config/.env\n{CANARY}\n//- beside.txt\n{CANARY}\n"
    ));
    let config = place.path().join("config");
    symlink("../beside.txt", config.join("link.txt")).unwrap();
    let server = Server::start(&config.display().to_string());
    // Before the start, it would make the directory a repository.
    fs::create_dir(config.join(".git")).unwrap();
    fs::write(config.join(".git/config"), CANARY).unwrap();
    for path in [".git/config", "link.txt", "%2e%2e/beside.txt", "/etc/passwd", "file:/etc/passwd"]
    {
        let path = format!("/orders/dev/main/{path}");
        let reply = server.get(&path);
        check_body(&path, &reply);
        assert!(matches!(reply.status, 400 | 404), "{}", reply.everything());
    }
    server.get("/orders/dev").expect(200);
}
