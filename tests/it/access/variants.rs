//! The right `open`: which callers receive opened values, which receive markers, and what a change of the right does to
//! them.

use std::io::Write;

use headwater::settings::Settings;

use super::{Guarded, Stream, bearer, get, metric, policy};
use crate::fixture::{Address, Reply, Repository, Server, eventually, read, settings};
use crate::secrets::keys::KeyFiles;

/// The media type of the second representation.
const V2: &str = "application/vnd.spring-cloud.config-server.v2+json";
/// The beginning of every text that only opened values contain.
const OPENED: &str = "s3cret";

/// Each service reads and opens its own environment. `lister` reads two environments and opens none.
const RULES: &str = r#"
[[allow]]
who = ["kind:service"]
may = ["read", "open"]
application = ["{principal}"]
profile = ["*"]
[[allow]]
who = ["lister"]
may = ["read"]
application = ["orders", "billing"]
profile = ["*"]
[[allow]]
who = ["kind:service", "lister"]
may = ["file"]
application = ["*"]
[[allow]]
who = ["builder"]
may = ["seal"]
[[allow]]
who = ["ops"]
may = ["read", "open"]
application = ["*"]
profile = ["*"]
[[allow]]
who = ["ops"]
may = ["list", "overview", "metrics", "unseal", "admin"]
"#;

/// The same rules, in which no service opens anything.
fn rules_without_open() -> String {
    let rules = RULES.replacen("may = [\"read\", \"open\"]", "may = [\"read\"]", 1);
    assert_ne!(rules, RULES);
    rules
}

fn orders(keys: &KeyFiles, text: &str) -> String {
    format!(
        "//- orders.yml\nname: Orders\npassword: '{}'\nurl: db://u:${{password}}@host\n",
        keys.seal(text)
    )
}

fn files(keys: &KeyFiles) -> String {
    let unopened = KeyFiles::passphrases(&["another"]).seal("s3cret-unopened");
    format!(
        "{}//- billing.yml\nname: Billing\n//- stale.yml\nstale: '{unopened}'\n//- orders.txt\nlogin ${{password}}\n",
        orders(keys, "s3cret-orders")
    )
}

fn guarded(keys: &KeyFiles, rules: &str) -> Guarded {
    Guarded::with(&files(keys), rules, |settings| with_keys(settings, keys))
}

fn with_keys(settings: &mut Settings, keys: &KeyFiles) {
    settings.secrets = keys.settings.clone();
    settings.secrets.decrypt_endpoint = true;
}

/// A server without a policy over the same repository, with or without keys.
fn open_server(repository: &Repository, keys: Option<&KeyFiles>) -> Server {
    let mut settings = settings(&repository.uri());
    settings.sources[0].default_label = Some("main".to_owned());
    if let Some(keys) = keys {
        with_keys(&mut settings, keys);
    }
    Server::with(settings)
}

/// The requests that return values of `orders`: a method, a path and the header `Accept`.
fn value_requests() -> Vec<(&'static str, &'static str, &'static str)> {
    let mut requests = Vec::new();
    for path in [
        "/orders/prod",
        "/orders/prod?x",
        "/orders/prod/main",
        "/orders-prod.yml",
        "/orders-prod.properties",
        "/orders-prod.json",
        "/orders-prod.json?resolvePlaceholders=false",
        "/main/orders-prod.yml",
        "/orders/prod/main/orders.txt",
    ] {
        for accept in ["*/*", V2] {
            for method in ["GET", "HEAD"] {
                requests.push((method, path, accept));
            }
        }
    }
    requests
}

/// The parts of a reply that do not depend on time, or on the presence of a policy.
fn content(reply: &Reply) -> String {
    let is_shown = |name: &str| !["date", "vary", "cache-control"].contains(&name);
    let mut headers: Vec<_> = reply.headers.iter().filter(|(name, _)| is_shown(name)).collect();
    headers.sort();
    format!("{} {headers:?} {}", reply.status, reply.text())
}

fn ask(
    server: Address,
    (method, path, accept): (&str, &str, &str),
    principal: Option<&str>,
    etag: Option<&str>,
) -> Reply {
    let authorization = principal.map(|principal| bearer(principal, 1));
    let mut headers = vec![("Accept", accept)];
    headers.extend(authorization.as_deref().map(|value| ("Authorization", value)));
    headers.extend(etag.map(|etag| ("If-None-Match", etag)));
    server.ask(method, path, &headers)
}

#[test]
fn each_caller_receives_its_variant_on_every_route() {
    let keys = KeyFiles::passphrases(&["k"]);
    let guarded = guarded(&keys, RULES);
    let with_keys = open_server(&guarded.repository, Some(&keys));
    let without_keys = open_server(&guarded.repository, None);
    for request in value_requests() {
        let opened = ask(*with_keys, request, None, None);
        let sealed = ask(*without_keys, request, None, None);
        assert_ne!(content(&opened), content(&sealed), "{request:?}");
        // Later requests of the same path come from the hot path, in turn for both variants.
        for _ in 0..3 {
            let own = ask(*guarded.server, request, Some("orders"), None);
            let reader = ask(*guarded.server, request, Some("lister"), None);
            let other = ask(*guarded.server, request, Some("billing"), None);
            assert_eq!(content(&own), content(&opened), "{request:?}");
            assert_eq!(content(&reader), content(&sealed), "{request:?}");
            assert_eq!(other.status, 404, "{request:?}");
            for reply in [&reader, &other] {
                assert!(!reply.everything().contains(OPENED), "{request:?}");
            }
        }
        if request.0 == "GET" {
            assert!(opened.text().contains(OPENED), "{request:?}");
            assert!(sealed.text().contains("{cipher}"), "{request:?}");
        }
    }
    guarded.get("/stale/prod", "ops").expect(200);
    for path in [
        "/-/environments",
        "/-/problems",
        "/-/instances",
        "/-/fleet?instance=a",
        "/-/rollouts",
        "/-/replicas",
        "/metrics",
        "/actuator/health",
    ] {
        let shown = guarded.get(path, "ops").expect(200).everything();
        assert!(!shown.contains(OPENED) && !shown.contains("{cipher}"), "{path}: {shown}");
    }
    assert!(guarded.get("/-/problems", "ops").text().contains("\"key\":\"stale\""));
}

#[test]
fn a_tag_of_one_variant_never_stands_for_the_other() {
    let keys = KeyFiles::passphrases(&["k"]);
    let guarded = guarded(&keys, RULES);
    let server = *guarded.server;
    let tag = |request, principal| {
        let reply = ask(server, request, Some(principal), None).expect(200);
        reply.header("etag").unwrap().to_owned()
    };
    for request in value_requests() {
        let (opened, sealed) = (tag(request, "orders"), tag(request, "lister"));
        assert_ne!(opened, sealed, "{request:?}");
        for _ in 0..2 {
            for (principal, own, other) in
                [("orders", &opened, &sealed), ("lister", &sealed, &opened)]
            {
                let status = |etag: &str| ask(server, request, Some(principal), Some(etag)).status;
                assert_eq!(status(own), 304, "{principal} {request:?}");
                assert_eq!(status(other), 200, "{principal} {request:?}");
            }
        }
    }
    // A long poll with the tag of the other variant does not wait.
    let waiting = |principal: &str, etag: &str| {
        let authorization = bearer(principal, 1);
        let headers =
            [("Authorization", &*authorization), ("If-None-Match", etag), ("Prefer", "wait=45")];
        server.get_with("/orders/prod", &headers).expect(200).text()
    };
    let request = ("GET", "/orders/prod", "*/*");
    let (opened, sealed) = (tag(request, "orders"), tag(request, "lister"));
    assert!(waiting("orders", &sealed).contains(OPENED));
    assert!(!waiting("lister", &opened).contains(OPENED));
    // An environment without sealed values has one variant.
    let request = ("GET", "/billing/prod", "*/*");
    assert_eq!(tag(request, "billing"), tag(request, "lister"));
}

/// Reads one event of an environment to its end.
fn event(stream: &mut Stream) -> String {
    stream.read_to("event: environment") + &stream.read_to("\n\n")
}

#[test]
fn one_change_wakes_the_streams_of_both_variants_with_their_own_bytes() {
    let keys = KeyFiles::passphrases(&["k"]);
    let guarded = guarded(&keys, RULES);
    let open = |principal| Stream::open(*guarded.server, "/orders/prod", &bearer(principal, 1));
    let mut opened = [open("orders"), open("ops")];
    let mut sealed = [open("lister"), open("lister")];
    let check = |opened: &mut [Stream; 2], sealed: &mut [Stream; 2], text: &str| {
        let [one, other] = opened.each_mut().map(event);
        let begin = one.find("event: ").unwrap();
        assert_eq!(one[begin..], other[other.find("event: ").unwrap()..]);
        assert!(one.contains(text), "{one}");
        let [one, other] = sealed.each_mut().map(event);
        assert_eq!(one[one.find("event: ").unwrap()..], other[other.find("event: ").unwrap()..]);
        assert!(one.contains("{cipher}") && !one.contains(OPENED), "{one}");
    };
    check(&mut opened, &mut sealed, "s3cret-orders");
    guarded.repository.commit(&orders(&keys, "s3cret-second"));
    check(&mut opened, &mut sealed, "s3cret-second");
    let mut later = Stream::open(*guarded.server, "/orders/prod", &bearer("lister", 1));
    assert!(!event(&mut later).contains(OPENED));
}

#[test]
fn a_lost_right_ends_streams_before_the_next_value() {
    let keys = KeyFiles::passphrases(&["k"]);
    let guarded = guarded(&keys, RULES);
    let path = "/orders/prod";
    let mut losing = Stream::open(*guarded.server, path, &bearer("orders", 1));
    let mut kept = Stream::open(*guarded.server, path, &bearer("ops", 1));
    for stream in [&mut losing, &mut kept] {
        assert!(event(stream).contains("s3cret-orders"));
    }
    guarded.policy.replace(&policy(&rules_without_open()));
    eventually("the right is lost", || !guarded.get(path, "orders").text().contains(OPENED));
    guarded.repository.commit(&orders(&keys, "s3cret-later"));
    assert!(event(&mut kept).contains("s3cret-later"));
    let rest = losing.rest();
    assert!(!rest.contains("event: ") && !rest.contains(OPENED), "{rest}");
    // The client connects again and receives what it may.
    let mut again = Stream::open(*guarded.server, path, &bearer("orders", 1));
    let sealed = event(&mut again);
    assert!(sealed.contains("{cipher}") && !sealed.contains(OPENED), "{sealed}");
    // A silent stream ends too when the right is gained, so that its client connects again.
    guarded.policy.replace(&policy(RULES));
    let rest = again.rest();
    assert!(!rest.contains(OPENED), "{rest}");
    assert!(guarded.get(path, "orders").expect(200).text().contains("s3cret-later"));
}

#[test]
fn a_long_poll_that_lost_the_right_returns_the_sealed_variant() {
    let keys = KeyFiles::passphrases(&["k"]);
    let guarded = guarded(&keys, RULES);
    let reply = guarded.get("/orders/prod", "orders").expect(200);
    let etag = reply.header("etag").unwrap();
    let mut stream = guarded.server.connect();
    let request = format!(
        "GET /orders/prod HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\nIf-None-Match: {etag}\r\n\
         Prefer: wait=45\r\n\r\n",
        bearer("orders", 1)
    );
    stream.write_all(request.as_bytes()).unwrap();
    eventually("it waits", || metric(*guarded.server, "headwater_watchers") == 1);
    guarded.policy.replace(&policy(&rules_without_open()));
    eventually("the right is lost", || {
        !guarded.get("/orders/prod", "orders").text().contains(OPENED)
    });
    guarded.repository.commit(&orders(&keys, "s3cret-later"));
    let reply = read(&mut stream, false).expect(200);
    assert!(reply.text().contains("{cipher}") && !reply.text().contains(OPENED));
}

#[test]
fn without_enforcement_values_are_opened_and_recorded() {
    let keys = KeyFiles::passphrases(&["k"]);
    let guarded = guarded(&keys, RULES);
    let text = policy(RULES).replacen("version = 1\n", "version = 1\nenforce = false\n", 1);
    guarded.policy.replace(&text);
    eventually("the policy is in force", || {
        guarded.get("/orders/prod", "lister").text().contains(OPENED)
    });
    let count =
        || metric(*guarded.server, "headwater_access_denials_total{outcome=\"would_deny\"}");
    let before = count();
    for request in value_requests() {
        ask(*guarded.server, request, Some("lister"), None).expect(200);
        ask(*guarded.server, request, Some("orders"), None).expect(200);
        ask(*guarded.server, ("GET", "/billing/prod", "*/*"), Some("lister"), None).expect(200);
    }
    assert_eq!(count() - before, value_requests().len() as u64);
    // The keys serve clients on this machine only, as on a server without a policy.
    let sealed = post(*guarded.server, "/encrypt", "lister", &[], "text").expect(200).text();
    post(*guarded.server, "/decrypt", "lister", &[], &sealed).expect(200);
    let forwarded = [("X-Forwarded-For", "192.0.2.1")];
    post(*guarded.server, "/encrypt", "lister", &forwarded, "text").expect(404);
    post(*guarded.server, "/decrypt", "lister", &forwarded, &sealed).expect(404);
}

fn post(
    server: Address,
    path: &str,
    principal: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Reply {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nAuthorization: {}\r\n",
        bearer(principal, 1)
    );
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += &format!("Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    server.send(request.as_bytes())
}

#[test]
fn sealing_and_unsealing_have_rights_of_their_own() {
    let keys = KeyFiles::passphrases(&["k"]);
    let guarded = guarded(&keys, RULES);
    let server = *guarded.server;
    let sealed = post(server, "/encrypt", "builder", &[], "text").expect(200).text();
    get(server, "/encrypt/status", "builder").expect(200);
    assert!(get(server, "/key", "builder").expect(404).text().contains("NOT_FOUND"));
    assert_eq!(post(server, "/decrypt", "ops", &[], &sealed).expect(200).text(), "text");
    // Everything else is answered like an unknown path, also without a valid text.
    let unknown = |reply: &Reply| reply.status == 404 && !reply.text().contains("\"INVALID\"");
    for (path, principal) in [
        ("/decrypt", "builder"),
        ("/decrypt/orders/prod", "orders"),
        ("/decrypt", "lister"),
        ("/encrypt", "ops"),
        ("/encrypt", "orders"),
    ] {
        for body in [&*sealed, "00"] {
            let reply = post(server, path, principal, &[], body);
            assert!(unknown(&reply), "{path} {principal}: {}", reply.everything());
        }
    }
    for path in ["/encrypt/status", "/key"] {
        let reply = get(server, path, "ops");
        assert!(reply.status == 404 && !reply.text().contains("NOT_FOUND"), "{path}");
    }
}
