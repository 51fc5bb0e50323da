//! Which credentials identify a principal. Everything else is answered by one body.

use super::{Guarded, RULES, basic, bearer, token};
use crate::fixture::{Reply, Session};

fn ask(guarded: &Guarded, path: &str, headers: &[(&str, &str)]) -> Reply {
    guarded.server.get_with(path, headers)
}

#[test]
fn one_credential_in_each_form_identifies_its_principal() {
    let guarded = Guarded::new(RULES);
    let own = token("orders", 1);
    for authorization in [
        bearer("orders", 1),
        bearer("orders", 2),
        basic("user", &own),
        basic("orders", &own),
        basic("", &own),
    ] {
        for _ in 0..2 {
            let headers = [("Authorization", authorization.as_str())];
            ask(&guarded, "/orders/prod", &headers).expect(200);
        }
    }
    ask(&guarded, "/orders/prod", &[("X-Config-Token", &own)]).expect(200);
    // A Spring client that sends both means Vault by the second one.
    let both = [("Authorization", bearer("orders", 1)), ("X-Config-Token", "s.vault".to_owned())];
    let both = both.each_ref().map(|(name, value)| (*name, value.as_str()));
    ask(&guarded, "/orders/prod", &both).expect(200);
}

#[test]
fn everything_unclear_is_answered_by_one_body_for_every_path() {
    let guarded = Guarded::new(RULES);
    let (own, good) = (token("orders", 1), bearer("orders", 1));
    let wrong_user = basic("billing", &own);
    let expired = bearer("orders", 3);
    let unknown = format!("{good}x");
    let cases: [&[(&str, &str)]; 11] = [
        &[],
        &[("Authorization", &unknown)],
        &[("Authorization", &expired)],
        &[("Authorization", &wrong_user)],
        &[("Authorization", &good), ("Authorization", &good)],
        &[("Authorization", "Bearer bad"), ("X-Config-Token", &own)],
        &[("X-Config-Token", &own), ("X-Config-Token", &own)],
        &[("Authorization", &good), ("X-Config-Token", "a"), ("X-Config-Token", "b")],
        &[("Authorization", "Digest x")],
        &[("Authorization", "")],
        &[("X-Forwarded-User", "orders"), ("X-Principal", "orders")],
    ];
    let reference = ask(&guarded, "/orders/prod", &[]).expect(401);
    assert_eq!(reference.header("www-authenticate"), Some("Basic realm=\"Realm\""));
    for headers in cases {
        for path in [
            "/orders/prod",
            "/nosuch/prod",
            "/orders-prod.yml",
            "/orders/prod/main/plain.txt",
            "/-/environments",
            "/metrics",
            "/",
            "/no/such/path/",
            "/a/..%2f..%2fb",
            "/-/git/main.git/info/refs?service=git-upload-pack",
        ] {
            let reply = ask(&guarded, path, headers);
            assert_eq!(reply.body, reference.body, "{path} {headers:?}: {}", reply.everything());
            assert_eq!(reply.status, 401, "{path} {headers:?}");
        }
    }
    for (name, value) in [("token", own.as_str()), ("access_token", own.as_str())] {
        let path = format!("/orders/prod?{name}={value}");
        ask(&guarded, &path, &[]).expect(401);
    }
}

#[test]
fn health_needs_no_credential_and_shows_details_by_a_rule_only() {
    let guarded = Guarded::new(RULES);
    for path in ["/livez", "/readyz", "/actuator/health", "/actuator/health/liveness"] {
        ask(&guarded, path, &[]).expect(200);
        // A bad credential is never ignored.
        ask(&guarded, path, &[("Authorization", "Bearer bad")]).expect(401);
    }
    let health = |principal: &str| guarded.get("/actuator/health", principal).expect(200).text();
    assert!(!health("orders").contains("components"), "{}", health("orders"));
    assert!(health("ops").contains("components"), "{}", health("ops"));
}

#[test]
fn rules_for_anonymous_callers_hold_only_without_a_credential() {
    let anonymous = "[[allow]]\nwho = [\"anonymous\"]\nmay = [\"read\"]\napplication = [\"public\"]\n\
                     profile = [\"*\"]\n";
    let guarded = Guarded::new(&format!("{RULES}{anonymous}"));
    ask(&guarded, "/public/prod", &[]).expect(200);
    ask(&guarded, "/public/prod", &[("Authorization", "Bearer bad")]).expect(401);
    guarded.get("/public/prod", "orders").expect(404);
    // A caller without a credential may need one.
    ask(&guarded, "/orders/prod", &[]).expect(401);
    ask(&guarded, "/orders/prod", &[("X-Config-Token", &token("orders", 1))]).expect(200);
}

#[test]
fn a_connection_forgets_its_principal_with_its_credential() {
    let guarded = Guarded::new(RULES);
    let mut stream = guarded.server.connect();
    let mut ask = |authorization: &str| {
        use std::io::Write;
        let header = match authorization {
            "" => String::new(),
            value => format!("Authorization: {value}\r\n"),
        };
        let request = format!("GET /orders/prod HTTP/1.1\r\nHost: x\r\n{header}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        crate::fixture::read(&mut stream, false).status
    };
    for _ in 0..3 {
        assert_eq!(ask(&bearer("orders", 1)), 200);
        assert_eq!(ask(&bearer("billing", 1)), 404);
        assert_eq!(ask(""), 401);
        assert_eq!(ask(&bearer("orders", 2)), 200);
        assert_eq!(ask(&bearer("orders", 3)), 401);
    }
}

#[test]
fn answers_are_kept_out_of_shared_caches() {
    let guarded = Guarded::new(RULES);
    // The second answer comes from the hot path.
    for _ in 0..2 {
        let reply = guarded.get("/orders/prod", "orders").expect(200);
        assert_eq!(reply.header("vary"), Some("Accept, Authorization, X-Config-Token"));
        assert_eq!(reply.header("cache-control"), Some("private"));
    }
    let open = crate::fixture::Server::start(&guarded.repository.uri());
    let mut session = Session::new(*open);
    for _ in 0..2 {
        let reply = session.get("/orders/prod").expect(200);
        assert_eq!(reply.header("vary"), Some("Accept"));
        assert_eq!(reply.header("cache-control"), None);
    }
}
