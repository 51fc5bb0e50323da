//! The read token: every route that shows configuration is behind the same door.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use crate::fixture::{Child, Repository, Server, settings};

const TOKEN: &str = "s3cret-token-91c2";

struct Guarded {
    server: Server,
    _repository: Repository,
    _directory: TempDir,
}

fn guarded() -> Guarded {
    let repository = Repository::new("//- orders.yml\nname: guarded\n//- plain.txt\nguarded\n");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    std::fs::write(&path, format!("{TOKEN}\n")).unwrap();
    let mut settings = settings(&repository.uri());
    settings.token_file = Some(path);
    Guarded { server: Server::with(settings), _repository: repository, _directory: directory }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

const BEHIND: [&str; 16] = [
    "/orders/dev",
    "/orders/dev/main",
    "/orders/dev/nope",
    "/nobody/dev",
    "/orders-dev.yml",
    "/orders-dev.properties",
    "/main/orders-dev.json",
    "/orders/dev/main/plain.txt",
    "/orders/dev/main/none.txt",
    "/orders/dev/plain.txt?useDefaultLabel",
    "/-/environments",
    "/-/problems",
    "/-/replicas",
    "/metrics",
    "/key",
    "/encrypt/status",
];

#[test]
fn without_the_token_nothing_is_shown() {
    let guarded = guarded();
    let server = &guarded.server;
    for round in 0..2 {
        for path in BEHIND {
            for method in ["GET", "HEAD"] {
                let reply = server.ask(method, path, &[]).expect(401);
                assert!(
                    reply.header("www-authenticate").is_some_and(|it| it.starts_with("Basic "))
                );
                assert!(!reply.everything().contains("guarded"), "{path}");
                assert_eq!(reply.header("etag"), None, "{path}");
                assert_eq!(reply.header("headwater-revision"), None, "{path}");
            }
            server.get_with(path, &[("If-None-Match", "*")]).expect(401);
        }
        // The second round finds what the holder of the token has left in memory.
        if round == 0 {
            let header = format!("Bearer {TOKEN}");
            for path in BEHIND {
                for _ in 0..2 {
                    let reply = server.get_with(path, &[("Authorization", &header)]);
                    assert_ne!(reply.status, 401, "{path}");
                }
            }
        }
    }
    for path in ["/encrypt", "/decrypt", "/encrypt/orders/dev"] {
        server.ask("POST", path, &[]).expect(401);
    }
}

#[test]
fn life_is_open_and_shows_nothing() {
    let guarded = guarded();
    for path in [
        "/livez",
        "/readyz",
        "/actuator/health",
        "/actuator/health/liveness",
        "/actuator/health/readiness",
        "/openapi.json",
        "/",
    ] {
        let reply = guarded.server.get(path).expect(200);
        assert!(!reply.text().contains("guarded"), "{path}");
    }
    let health = guarded.server.get("/actuator/health").json();
    assert_eq!(health, serde_json::json!({"status": "UP"}));
    let detailed = [("Authorization", &*format!("Bearer {TOKEN}"))];
    let health = guarded.server.get_with("/actuator/health", &detailed).expect(200).json();
    assert!(health["components"]["configServer"].is_object());
}

#[test]
fn the_token_comes_as_bearer_or_as_the_password_of_basic() {
    let guarded = guarded();
    let server = &guarded.server;
    for header in [
        format!("Bearer {TOKEN}"),
        format!("bearer {TOKEN}"),
        format!("BEARER {TOKEN}"),
        basic("user", TOKEN),
        basic("", TOKEN),
        basic("config", TOKEN).replacen("Basic", "basic", 1),
    ] {
        for path in ["/orders/dev", "/orders-dev.yml", "/orders/dev/main/plain.txt", "/metrics"] {
            server.get_with(path, &[("Authorization", &header)]).expect(200);
        }
        server.get_with("/orders/dev/nope", &[("Authorization", &header)]).expect(404);
    }
}

#[test]
fn whatever_else_looks_like_it_is_refused() {
    let guarded = guarded();
    let server = &guarded.server;
    for header in [
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("Bearer  {TOKEN}"),
        format!("Bearer {TOKEN} x"),
        format!("Bearer {TOKEN},"),
        format!("Bearer {}", TOKEN.to_uppercase()),
        format!("Bearer {}", &TOKEN[..TOKEN.len() - 1]),
        format!("Bearer {TOKEN}x"),
        format!("Bearer {}", "x".repeat(64 * 1024)),
        format!("Bearer {TOKEN}{}", " ".repeat(8 * 1024) + "x"),
        format!("Token {TOKEN}"),
        TOKEN.to_owned(),
        format!("Basic {TOKEN}"),
        basic(TOKEN, ""),
        basic(TOKEN, "x"),
        format!("Basic {}", STANDARD.encode(TOKEN)),
        "Basic !!!!".to_owned(),
        format!("Digest username=\"x\", response=\"{TOKEN}\""),
    ] {
        let short: String = header.chars().take(60).collect();
        let reply = server.get_with("/orders/dev", &[("Authorization", &header)]);
        assert_eq!(reply.status, 401, "{short}");
        assert!(!reply.everything().contains(TOKEN), "{short}");
    }
    let right = format!("Bearer {TOKEN}");
    let twice = [("Authorization", right.as_str()), ("Authorization", right.as_str())];
    server.get_with("/orders/dev", &twice).expect(401);
    let mixed = [("Authorization", "Bearer x"), ("Authorization", right.as_str())];
    server.get_with("/orders/dev", &mixed).expect(401);
    for name in ["X-Config-Token", "X-Auth-Token", "Proxy-Authorization", "Cookie", "Token"] {
        server.get_with("/orders/dev", &[(name, &right)]).expect(401);
    }
    for path in [
        format!("/orders/dev?access_token={TOKEN}"),
        format!("/orders/dev?token={TOKEN}"),
        format!("/orders/dev?Authorization=Bearer%20{TOKEN}"),
        format!("http://user:{TOKEN}@localhost/orders/dev"),
    ] {
        let reply = server.get(&path);
        assert!(matches!(reply.status, 400 | 401), "{path}: {}", reply.everything());
        assert!(!reply.text().contains(TOKEN), "{path}: {}", reply.everything());
    }
}

#[test]
fn a_token_file_that_every_user_can_read_causes_a_warning() {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    let repository = Repository::new("//- orders.yml\nname: guarded\n");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    std::fs::write(&path, TOKEN).unwrap();
    let file = path.to_str().unwrap();
    for (mode, is_public) in [(0o600, false), (0o640, false), (0o644, true)] {
        set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let server = Child::serve(&["--source", &repository.uri(), "--token-file", file]);
        let authorization = format!("Bearer {TOKEN}");
        server.get_with("/orders/dev", &[("Authorization", &authorization)]).expect(200);
        let log = server.log();
        let warning = "every user of this machine can read a file with a secret";
        let line = log.lines().find(|line| line.contains(warning));
        assert_eq!(line.is_some(), is_public, "{mode:o}: {log}");
        assert!(line.is_none_or(|line| line.contains(file) && line.contains("644")), "{log}");
    }
}
