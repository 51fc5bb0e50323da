//! The end of access while a server runs: tokens are removed, and streams and long polls of their callers end.

use std::io::Write;
use std::time::{Duration, Instant};

use super::{Guarded, RULES, Stream, bearer, metric, policy, sha256, token};
use crate::fixture::{eventually, read};

/// The longest time in which the stream of a removed token is closed.
const CLOSED_AFTER_MAX: Duration = Duration::from_secs(16);

/// The policy without the first token of `orders`.
fn without_first_token() -> String {
    let entry = format!("{{ sha256 = \"{}\" }}, ", sha256(&token("orders", 1)));
    let text = policy(RULES);
    assert!(text.contains(&entry));
    text.replace(&entry, "")
}

#[test]
fn a_removed_token_ends_its_own_stream_and_no_other() {
    let guarded = Guarded::new(RULES);
    let path = "/orders/prod";
    let mut removed = Stream::open(*guarded.server, path, &bearer("orders", 1));
    let mut kept = Stream::open(*guarded.server, path, &bearer("orders", 2));
    for stream in [&mut removed, &mut kept] {
        stream.read_to("event: environment");
        stream.read_to("\n\n");
    }
    guarded.policy.replace(&without_first_token());
    let changed_at = Instant::now();
    eventually("the token is rejected", || guarded.get(path, "orders").status == 401);
    // This change follows the end of the access.
    guarded.repository.commit("//- orders.yml\nname: Later\n");
    let event = kept.read_to("Later");
    assert!(event.contains("event: environment"), "{event}");
    let rest = removed.rest();
    assert!(changed_at.elapsed() < CLOSED_AFTER_MAX, "{:?}", changed_at.elapsed());
    assert!(!rest.contains("Later"), "{rest}");
    let second = [("Authorization", bearer("orders", 2))];
    let second = second.each_ref().map(|(name, value)| (*name, value.as_str()));
    guarded.server.get_with(path, &second).expect(200);
}

#[test]
fn a_silent_stream_ends_too() {
    let guarded = Guarded::new(RULES);
    let mut events = Stream::open(*guarded.server, "/-/events", &bearer("lister", 1));
    events.read_to("retry: ");
    let rules = RULES.replace("may = [\"list\"]", "may = [\"metrics\"]");
    guarded.policy.replace(&policy(&rules));
    let changed_at = Instant::now();
    let rest = events.rest();
    assert!(changed_at.elapsed() < CLOSED_AFTER_MAX, "{:?}", changed_at.elapsed());
    assert!(!rest.contains("event: "), "{rest}");
}

#[test]
fn a_long_poll_that_lost_its_token_returns_no_content() {
    let guarded = Guarded::new(RULES);
    let reply = guarded.get("/orders/prod", "orders").expect(200);
    let etag = reply.header("etag").unwrap();
    let mut stream = guarded.server.connect();
    let authorization = bearer("orders", 1);
    let request = format!(
        "GET /orders/prod HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n\
         If-None-Match: {etag}\r\nPrefer: wait=30\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    eventually("it waits", || metric(*guarded.server, "headwater_watchers") == 1);
    guarded.policy.replace(&without_first_token());
    eventually("the token is rejected", || guarded.get("/orders/prod", "orders").status == 401);
    guarded.repository.commit("//- orders.yml\nname: Later\n");
    let reply = read(&mut stream, false).expect(401);
    assert!(!reply.text().contains("Later"));
}

#[test]
fn an_expiry_ends_a_stream_without_a_change_of_the_policy() {
    let guarded = Guarded::new(RULES);
    let expires = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(2);
    let digest = sha256(&token("orders", 1));
    let text = policy(RULES).replace(
        &format!("{{ sha256 = \"{digest}\" }}"),
        &format!("{{ sha256 = \"{digest}\", expires = {expires} }}"),
    );
    guarded.policy.replace(&text);
    eventually("the token expires", || guarded.get("/orders/prod", "orders").status == 401);
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(6);
    let text = text.replace(&expires.to_string(), &later.to_string());
    guarded.policy.replace(&text);
    eventually("the token is valid", || guarded.get("/orders/prod", "orders").status == 200);
    let stream = Stream::open(*guarded.server, "/orders/prod", &bearer("orders", 1));
    stream.rest();
    assert!(jiff::Timestamp::now() >= later);
}
