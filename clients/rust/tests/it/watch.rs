//! Watches with servers, proxies and connections that misbehave. A watch always ends with the newest configuration, and never
//! returns an older or a partial one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_client::{
    Builder, Client, Configuration, Error, Health, HealthState, Outcome, Update, Watch,
};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::fixture::{Reply, Server, client, closed_port, response, status};

/// The time limit of every step.
const PATIENCE: Duration = Duration::from_secs(20);
/// The time in which an unexpected update would arrive.
const QUIET: Duration = Duration::from_millis(300);

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nretry: 1\n\n";

/// Returns the environment of `product` and `prod` at a revision.
fn product(revision: &str, items: u32) -> Value {
    json!({
        "name": "product", "profiles": ["prod"], "label": null, "version": revision, "state": "",
        "propertySources": [{"name": "product.yml", "source": {"shop.max-items": items}}],
    })
}

fn digest(items: u32) -> String {
    format!("{items:064x}")
}

fn id(revision: &str, items: u32) -> String {
    format!("{revision}.{}", digest(items))
}

fn event(revision: &str, items: u32) -> String {
    let id = id(revision, items);
    format!("event: environment\nid: {id}\ndata: {}\n\n", product(revision, items))
}

/// Returns a stream that stays open after these events.
fn stream(events: &[String]) -> Reply {
    Reply::Hang([HEAD, &events.concat()].concat().into_bytes())
}

/// Returns a stream that ends after this text.
fn cut(text: &str) -> Reply {
    Reply::Bytes([HEAD, text].concat().into_bytes())
}

fn behind() -> Reply {
    response("503 Service Unavailable", "Retry-After: 0\r\nHeadwater-Revision: r0\r\n", "")
}

/// Returns a plain answer as a cache would.
fn cached(revision: &str, items: u32) -> Reply {
    let headers = format!(
        "Content-Type: application/json\r\nETag: W/\"{}.v1\"\r\nPreference-Applied: wait=25\r\n",
        digest(items)
    );
    response("200 OK", &headers, &product(revision, items).to_string())
}

/// Returns a plain answer of Headwater.
fn answer(revision: &str, items: u32) -> Reply {
    let Reply::Bytes(bytes) = cached(revision, items) else { unreachable!("it is bytes") };
    let knows = "\r\nHeadwater-Min-Revision: {wanted}\r\n\r\n";
    Reply::WithRevision(String::from_utf8(bytes).unwrap().replacen("\r\n\r\n", knows, 1))
}

fn watch<const N: usize>(servers: [&Server; N]) -> Watch {
    client(servers).build().unwrap().watch()
}

async fn next(watch: &mut Watch) -> Configuration {
    match update(watch).await {
        Update::Configuration(configuration) => configuration,
        other => panic!("{other:?}"),
    }
}

async fn update(watch: &mut Watch) -> Update {
    timeout(PATIENCE, watch.next()).await.expect("an update").unwrap().unwrap()
}

fn items(configuration: &Configuration) -> u32 {
    configuration.get_at("shop.max-items").unwrap()
}

async fn nothing_comes(watch: &mut Watch) {
    let update = timeout(QUIET, watch.next()).await;
    assert!(update.is_err(), "{update:?}");
}

async fn becomes(health: &mut Health, what: &str, wanted: impl Fn(&Health) -> bool) {
    while !wanted(health) {
        let changed = timeout(PATIENCE, health.changed()).await;
        assert!(matches!(changed, Ok(true)), "{what} never came: {health:?}");
    }
}

fn heads_with(server: &Server, part: &str) -> usize {
    let part = part.to_lowercase();
    server.requests().iter().filter(|head| head.to_lowercase().contains(&part)).count()
}

#[tokio::test]
async fn a_watch_returns_the_present_configuration_and_then_changes() {
    let told = Arc::new(Notify::new());
    let first = [HEAD, &event("r1", 1)].concat().into_bytes();
    // A new revision with the same content is not a change.
    let others = [event("r2", 1), ":\n\n".into(), event("r3", 3)].concat().into_bytes();
    let server = Server::start([Reply::Then(first, told.clone(), others)]).await;
    let mut watch = watch([&server]);
    let present = next(&mut watch).await;
    assert_eq!((items(&present), present.revision()), (1, Some("r1")));
    assert_eq!(present.digest(), Some(digest(1).as_str()));
    assert_eq!(present.server(), Some(server.url.as_str()));
    assert_eq!(watch.health().state(), HealthState::Live);
    nothing_comes(&mut watch).await;
    told.notify_one();
    let changed = next(&mut watch).await;
    assert_eq!((items(&changed), changed.revision()), (3, Some("r3")));
    nothing_comes(&mut watch).await;
    let head = server.requests()[0].to_lowercase();
    assert!(head.starts_with("get /product/prod http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\naccept: text/event-stream\r\n"), "{head}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_slow_service_receives_only_the_newest_configuration() {
    let server = Server::start([stream(&[event("r1", 1), event("r2", 2), event("r3", 3)])]).await;
    let mut watch = watch([&server]);
    let mut health = watch.health();
    becomes(&mut health, "live", |health| health.state() == HealthState::Live).await;
    // All three arrived in one piece, and the last one replaced the others.
    assert_eq!(items(&next(&mut watch).await), 3);
    nothing_comes(&mut watch).await;
}

#[tokio::test]
async fn a_stream_is_resumed_on_another_server_by_its_last_id() {
    let first = Server::start([cut(&event("r1", 1)), status("500 Internal Server Error")]).await;
    let second = Server::start([stream(&[event("r2", 2)])]).await;
    let mut watch = watch([&first, &second]);
    assert_eq!(items(&next(&mut watch).await), 1);
    assert_eq!(items(&next(&mut watch).await), 2);
    let last = format!("\r\nLast-Event-ID: {}\r\n", id("r1", 1));
    assert_eq!(heads_with(&second, &last), 1, "{:?}", second.requests());
}

#[tokio::test]
async fn an_incomplete_event_is_never_returned() {
    let torn = event("r2", 2);
    for length in [torn.len() - 1, torn.len() / 2, 20, torn.find("data").unwrap()] {
        let cut_short = cut(&[event("r1", 1).as_str(), &torn[..length]].concat());
        let server = Server::start([cut_short, stream(&[event("r3", 3)])]).await;
        let mut watch = watch([&server]);
        assert_eq!(items(&next(&mut watch).await), 1);
        assert_eq!(items(&next(&mut watch).await), 3);
        // The incomplete event does not count, so the stream resumes after the one before it.
        assert_eq!(heads_with(&server, &format!("last-event-id: {}", id("r1", 1))), 1);
    }
}

#[tokio::test]
async fn unusable_events_are_skipped() {
    let foreign = json!({"name": "cart", "propertySources": [{"name": "s", "source": {"a": 1}}]});
    let empty = json!({"name": "product", "propertySources": []});
    let data = |data: &str| cut(&format!("event: environment\nid: r2.x\ndata: {data}\n\n"));
    for bad in [
        data("{"),
        data(&foreign.to_string()),
        data(&empty.to_string()),
        cut("event: something-new\ndata: {}\n\n"),
        cut("\u{fffd}\0\0\0nonsense"),
        Reply::Bytes(b"garbage\r\n\r\n".into()),
        Reply::Bytes(vec![]),
    ] {
        let replies = [cut(&event("r1", 1)), bad, stream(&[event("r2", 2)])];
        let server = Server::start(replies).await;
        let mut watch = watch([&server]);
        assert_eq!(items(&next(&mut watch).await), 1);
        assert_eq!(items(&next(&mut watch).await), 2);
    }
}

#[tokio::test]
async fn a_page_instead_of_a_stream_or_a_poll_is_skipped() {
    let html = response("200 OK", "Content-Type: text/html\r\n", "<html>please sign in</html>");
    let server =
        Server::start([cut(&event("r1", 1)), html.clone(), html, stream(&[event("r2", 2)])]).await;
    let mut watch = watch([&server]);
    assert_eq!(items(&next(&mut watch).await), 1);
    assert_eq!(items(&next(&mut watch).await), 2);
}

/// Returns a random reply for this revision, which may be incomplete or an error.
fn random_reply(random: &mut fastrand::Rng, number: u32) -> Reply {
    let whole = event(&format!("r{number}"), number);
    let as_stream = match random.u8(..8) {
        0 => cut(&whole),
        1 => cut(&whole[..random.usize(..whole.len())]),
        2 => cut(&[whole.as_str(), &whole[..random.usize(..whole.len())]].concat()),
        3 => cut(&[whole.as_str(), &whole].concat()),
        4 => status("500 Internal Server Error"),
        5 => response("200 OK", "Content-Type: text/html\r\n", "<html>"),
        6 => answer(&format!("r{number}"), number),
        _ => Reply::Bytes(vec![]),
    };
    let as_poll = match random.u8(..3) {
        0 => answer(&format!("r{number}"), number),
        1 => status("502 Bad Gateway"),
        _ => Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{".into()),
    };
    Reply::ByForm(as_stream.into(), as_poll.into())
}

#[tokio::test]
async fn after_random_failures_a_watch_ends_with_the_newest_and_never_goes_back() {
    let watches = (0..40).map(|seed| async move {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut replies: Vec<_> = (1..5).map(|number| random_reply(&mut random, number)).collect();
        let newest = (stream(&[event("r9", 9)]), answer("r9", 9));
        replies.push(Reply::ByForm(newest.0.into(), newest.1.into()));
        let server = Server::start(replies).await;
        let mut watch = watch([&server]);
        let mut last = 0;
        while last != 9 {
            let configuration = next(&mut watch).await;
            assert!(items(&configuration) > last, "seed {seed}");
            last = items(&configuration);
            assert_eq!(configuration.revision(), Some(format!("r{last}").as_str()), "seed {seed}");
        }
    });
    let watches: Vec<_> = watches.map(tokio::spawn).collect();
    for watch in watches {
        watch.await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_is_behind_is_skipped_and_nothing_older_is_returned() {
    let first = Server::start([
        cut(&event("r2", 2)),
        status("500 Internal Server Error"),
        status("500 Internal Server Error"),
        stream(&[event("r3", 3)]),
    ])
    .await;
    // This server would send an older configuration to a request without an id.
    let second = Server::start([behind()]).await;
    let mut watch = watch([&first, &second]);
    assert_eq!(items(&next(&mut watch).await), 2);
    assert_eq!(items(&next(&mut watch).await), 3);
    assert_eq!(heads_with(&second, "last-event-id: r2."), second.requests().len());
    assert!(!second.requests().is_empty());
}

#[tokio::test]
async fn when_all_servers_are_behind_the_watch_starts_again() {
    let first = Server::start([cut(&event("r2", 2)), behind(), stream(&[event("r1", 1)])]).await;
    let second = Server::start([behind(), stream(&[event("r1", 1)])]).await;
    let mut watch = watch([&first, &second]);
    assert_eq!(items(&next(&mut watch).await), 2);
    assert_eq!(items(&next(&mut watch).await), 1);
    let requests = [first.requests(), second.requests()].concat();
    let resumed = requests.iter().filter(|head| head.to_lowercase().contains("last-event-id"));
    assert_eq!(resumed.count(), 2, "{requests:?}");
}

#[tokio::test]
async fn a_server_that_is_full_is_not_behind() {
    let full = response("503 Service Unavailable", "Retry-After: 0\r\n", "");
    let replies = [cut(&event("r2", 2)), full.clone(), full, stream(&[event("r3", 3)])];
    let server = Server::start(replies).await;
    let mut watch = watch([&server]);
    assert_eq!(items(&next(&mut watch).await), 2);
    assert_eq!(items(&next(&mut watch).await), 3);
    assert_eq!(heads_with(&server, "last-event-id: r2."), 3, "{:?}", server.requests());
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let patience = response("429 Too Many Requests", "Retry-After: 1\r\n", "");
    let server = Server::start([patience, stream(&[event("r1", 1)])]).await;
    let begun = Instant::now();
    next(&mut watch([&server])).await;
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn the_retry_field_of_a_stream_is_honoured() {
    let text = event("r1", 1) + "retry: 1200\n\n";
    let server = Server::start([cut(&text), stream(&[event("r2", 2)])]).await;
    let mut watch = watch([&server]);
    next(&mut watch).await;
    let begun = Instant::now();
    next(&mut watch).await;
    assert!(begun.elapsed() >= Duration::from_millis(1_100), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_silent_connection_is_replaced() {
    let server = Server::start([stream(&[event("r1", 1)]), stream(&[event("r2", 2)])]).await;
    let short = Duration::from_millis(200);
    let mut watch = client([&server]).silence_timeout(short).build().unwrap().watch();
    assert_eq!(items(&next(&mut watch).await), 1);
    assert_eq!(items(&next(&mut watch).await), 2);
}

fn short_start(server: &Server) -> Builder {
    client([server]).stream_start_timeout(Duration::from_millis(200))
}

#[tokio::test]
async fn behind_a_proxy_without_streams_long_polls_are_used() {
    let head_only = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n".into();
    let unchanged = "ETag: W/\"x.v1\"\r\nPreference-Applied: wait=25\r\n";
    let replies = [
        Reply::Hang(head_only),
        answer("r1", 1),
        response("304 Not Modified", unchanged, ""),
        answer("r2", 2),
        Reply::Hang(vec![]),
    ];
    let server = Server::start(replies).await;
    let mut watch = short_start(&server).build().unwrap().watch();
    assert_eq!(items(&next(&mut watch).await), 1);
    assert_eq!(watch.health().state(), HealthState::Live);
    assert_eq!(items(&next(&mut watch).await), 2);
    let requests = server.requests();
    let second = requests[2].to_lowercase();
    for part in [
        "accept: application/json",
        "prefer: wait=25",
        "headwater-min-revision: r1",
        &format!("if-none-match: w/\"{}.v1\"", digest(1)),
    ] {
        assert!(second.contains(&format!("\r\n{part}\r\n")), "{part}: {second}");
    }
    assert!(!requests[1].to_lowercase().contains("prefer"), "{}", requests[1]);
}

#[tokio::test]
async fn a_server_without_streams_is_polled() {
    for first in [answer("r1", 1), status("406 Not Acceptable")] {
        let server = Server::start([first, answer("r1", 1), answer("r2", 2)]).await;
        let mut watch = watch([&server]);
        assert_eq!(items(&next(&mut watch).await), 1);
        assert_eq!(items(&next(&mut watch).await), 2);
    }
}

#[tokio::test]
async fn a_server_without_long_polls_is_polled_rarely() {
    let plain = response("200 OK", "", &product("r1", 1).to_string());
    let server = Server::start([plain]).await;
    let mut watch = watch([&server]);
    assert_eq!(next(&mut watch).await.digest(), None);
    assert!(timeout(Duration::from_secs(2), watch.next()).await.is_err());
    assert_eq!(server.requests().len(), 2, "the stream that was none, and one poll");
}

#[tokio::test]
async fn gone_and_the_return_are_returned_once() {
    let gone = format!("{}event: gone\ndata:\n\n", event("r1", 1));
    let server = Server::start([
        cut(&gone),
        status("404 Not Found"),
        status("404 Not Found"),
        stream(&[event("r1", 1)]),
    ])
    .await;
    let mut watch = watch([&server]);
    assert_eq!(items(&next(&mut watch).await), 1);
    assert!(matches!(update(&mut watch).await, Update::Gone));
    assert!(matches!(watch.health().state(), HealthState::Stale { .. }));
    assert_eq!(items(&next(&mut watch).await), 1);
    assert_eq!(watch.health().state(), HealthState::Live);
}

#[tokio::test]
async fn one_server_without_the_environment_is_not_gone() {
    let first = Server::start([cut(&event("r1", 1)), status("404 Not Found")]).await;
    let second = Server::start([stream(&[event("r2", 2)])]).await;
    let mut watch = watch([&first, &second]);
    assert_eq!(items(&next(&mut watch).await), 1);
    assert_eq!(items(&next(&mut watch).await), 2);
    nothing_comes(&mut watch).await;
}

#[tokio::test]
async fn an_error_before_the_first_configuration_ends_the_watch() {
    let empty = json!({"name": "product", "propertySources": []});
    let empty = cut(&format!("event: environment\nid: r.x\ndata: {empty}\n\n"));
    for reply in [status("404 Not Found"), status("401 Unauthorized"), empty] {
        let server = Server::start([reply]).await;
        let mut watch = watch([&server]);
        let error = timeout(PATIENCE, watch.next()).await.unwrap().unwrap().unwrap_err();
        assert!(
            matches!(
                error,
                Error::NotFound { .. } | Error::Unauthorized { .. } | Error::Empty { .. }
            ),
            "{error}"
        );
        assert!(timeout(PATIENCE, watch.next()).await.unwrap().is_none());
        assert_eq!(server.requests().len(), 1);
        assert_eq!(watch.health().state(), HealthState::Disconnected);
    }
}

#[tokio::test]
async fn a_later_error_appears_in_the_health_and_a_new_token_is_used() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    std::fs::write(&path, "old").unwrap();
    let (refused, good) = (status("401 Unauthorized"), stream(&[event("r2", 2)]));
    let server = Server::start([cut(&event("r1", 1)), refused.clone(), refused, good]).await;
    let mut watch = client([&server]).token_file(&path).build().unwrap().watch();
    let mut health = watch.health();
    assert_eq!(items(&next(&mut watch).await), 1);
    std::fs::write(&path, "new").unwrap();
    becomes(&mut health, "the rejection", |health| {
        health.problem().is_some_and(|problem| problem.contains("401"))
    })
    .await;
    assert!(matches!(health.state(), HealthState::Stale { .. }));
    assert_eq!(items(&next(&mut watch).await), 2);
    assert_eq!((health.state(), health.problem()), (HealthState::Live, None));
    let last = server.requests().pop().unwrap().to_lowercase();
    assert!(last.contains("authorization: bearer new"), "{last}");
}

#[tokio::test]
async fn without_a_server_the_health_is_disconnected_with_a_reason() {
    let url = closed_port().await;
    let mut watch = client([]).url(&url).build().unwrap().watch();
    let mut health = watch.health();
    becomes(&mut health, "a problem", |health| health.problem().is_some()).await;
    assert_eq!(health.state(), HealthState::Disconnected);
    assert!(health.problem().unwrap().starts_with(&url), "{health:?}");
    nothing_comes(&mut watch).await;
}

#[tokio::test]
async fn a_watch_resumes_from_a_given_configuration() {
    let server =
        Server::start([answer("r1", 1), cut(""), stream(&[event("r2", 1), event("r3", 3)])]).await;
    let client = client([&server]).build().unwrap();
    let configuration = client.connect().await.unwrap();
    assert_eq!(configuration.digest(), Some(digest(1).as_str()));
    let mut watch = client.watch_from(&configuration);
    assert_eq!(items(&next(&mut watch).await), 3);
    assert_eq!(heads_with(&server, &format!("last-event-id: {}", id("r1", 1))), 2);
}

#[cfg(unix)]
#[tokio::test]
async fn a_watch_writes_the_copy_and_confirms_a_stale_start() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("cache");
    let server = Server::start([
        stream(&[event("r1", 1)]),
        status("500 Internal Server Error"),
        stream(&[event("r1", 1)]),
    ])
    .await;
    let keeping = |deadline| client([&server]).last_known_good(&cache).deadline(deadline).build();
    let mut watch = keeping(PATIENCE).unwrap().watch();
    next(&mut watch).await;
    drop(watch);
    let client = keeping(Duration::from_millis(1)).unwrap();
    let configuration = client.connect().await.unwrap();
    assert!(configuration.is_stale());
    let mut watch = client.watch_from(&configuration);
    assert!(matches!(watch.health().state(), HealthState::Stale { .. }));
    let fresh = next(&mut watch).await;
    assert!(!fresh.is_stale());
    assert_eq!(items(&fresh), 1);
}

/// A replica that lags must not return an older configuration than the one of the start.
#[cfg(unix)]
#[tokio::test]
async fn a_server_that_is_behind_does_not_revert_a_stale_start() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("cache");
    let down = || status("500 Internal Server Error").into();
    let first = Server::start([answer("r2", 2), Reply::ByForm(behind().into(), down())]).await;
    let newer = stream(&[event("r3", 3)]);
    let second = Server::start([Reply::ByForm(newer.into(), down())]).await;
    let keeping = |deadline| {
        client([&first, &second]).last_known_good(&cache).deadline(deadline).build().unwrap()
    };
    keeping(PATIENCE).connect().await.unwrap();
    let stale = keeping(Duration::from_millis(100)).connect().await.unwrap();
    assert!(stale.is_stale());
    let mut watch = keeping(PATIENCE).watch_from(&stale);
    assert_eq!(items(&next(&mut watch).await), 3);
    for server in [&first, &second] {
        assert_eq!(heads_with(server, "\r\nheadwater-min-revision: r2\r\n"), 1);
        assert_eq!(heads_with(server, "last-event-id"), 0);
    }
}

#[tokio::test]
async fn an_old_answer_of_a_cache_is_ignored() {
    let polls_only = status("406 Not Acceptable");
    let replies =
        [polls_only.clone(), answer("r1", 1), answer("r2", 2), cached("r1", 1), answer("r3", 3)]
            .map(|poll| Reply::ByForm(polls_only.clone().into(), poll.into()));
    let server = Server::start(replies).await;
    let mut watch = watch([&server]);
    let mut health = watch.health();
    assert_eq!(items(&next(&mut watch).await), 1);
    assert_eq!(items(&next(&mut watch).await), 2);
    becomes(&mut health, "the old answer", |health| {
        health.problem().is_some_and(|problem| problem.contains("a cache returned"))
    })
    .await;
    assert_eq!(items(&next(&mut watch).await), 3);
}

#[derive(Debug, serde::Deserialize)]
struct Shop {
    max_items: u32,
}

#[tokio::test]
async fn after_every_failure_the_former_values_stay_and_the_health_reports_it() {
    let elsewhere = Server::start([answer("r9", 9)]).await;
    let page = response("200 OK", "Content-Type: text/html\r\n", "<html>please sign in</html>");
    let location = format!("Location: {}/product/prod\r\n", elsewhere.url);
    let environment = |environment: Value| {
        let text = environment.to_string();
        let event = cut(&format!("event: environment\nid: {}\ndata: {text}\n\n", id("r2", 2)));
        let plain = response("200 OK", "Content-Type: application/json\r\n", &text);
        Reply::ByForm(event.into(), plain.into())
    };
    let nothing = json!({"name": "product", "propertySources": []});
    let foreign = json!({"name": "cart", "propertySources": [{"name": "s", "source": {"a": 1}}]});
    let huge_event = cut(&format!("data: {}", "x".repeat(17 * 1024 * 1024)));
    let huge_plain = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 17 * 1024 * 1024);
    let huge = Reply::ByForm(huge_event.into(), Reply::Hang(huge_plain.into_bytes()).into());
    let older = Reply::ByForm(behind().into(), cached("r0", 7).into());
    for (bad, expected) in [
        (page, "unexpected answer"),
        (environment(nothing), "without any property source"),
        (huge, "the answer is larger than"),
        (older, "does not have the revision"),
        (environment(foreign), "another application"),
        (response("302 Found", &location, ""), "status 302"),
        (response("500 Internal Server Error", "", ""), "status 500"),
        (response("429 Too Many Requests", "Retry-After: 0\r\n", ""), "status 429"),
    ] {
        // Only one of the two servers fails. The other one returns later.
        let first = Server::start([answer("r1", 1), bad]).await;
        let (down, told) = (Reply::Bytes(vec![]), Arc::new(Notify::new()));
        let back = Reply::Then(HEAD.into(), told.clone(), event("r2", 2).into_bytes());
        let second = Server::start([down.clone(), down, back]).await;
        let client = client([&first, &second]).build().unwrap();
        let live = client.live::<Shop>().at("shop").await.unwrap();
        let mut health = live.health();
        becomes(&mut health, expected, |health| {
            let is_stale = matches!(health.state(), HealthState::Stale { .. });
            is_stale && health.problem().is_some_and(|problem| problem.contains(expected))
        })
        .await;
        assert_eq!(live.current().max_items, 1);
        told.notify_one();
        let mut live = live;
        let newer = timeout(PATIENCE, live.changed()).await.expect(expected).unwrap();
        assert_eq!(newer.max_items, 2);
    }
    assert!(elsewhere.requests().is_empty());
}

/// Simulates a day without a server, in which the service restarts.
#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn a_day_without_a_server_takes_at_most_two_requests_a_minute() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start([answer("r1", 1), Reply::Bytes(vec![])]).await;
    let client = client([&server]).last_known_good(directory.path().join("cache"));
    let client = client.deadline(Duration::from_secs(60)).build().unwrap();
    client.connect().await.unwrap();
    let begun = tokio::time::Instant::now();
    let stale = client.connect().await.unwrap();
    assert!(stale.is_stale());
    let started = server.requests().len();
    assert!((2..60).contains(&started), "{started} requests of two starts");
    let mut watch = client.watch_from(&stale);
    assert!(timeout(DAY - begun.elapsed(), watch.next()).await.is_err());
    let count = server.requests().len() - started;
    assert!(count <= 24 * 60 * 2, "{count} requests in a day");
    // The watch has not given up either.
    assert!(count >= 24 * 60 - 60, "{count} requests in a day");
    assert!(matches!(watch.health().state(), HealthState::Stale { .. }));
}

#[tokio::test]
async fn a_dropped_watch_closes_its_connection_and_is_not_live() {
    let told = Arc::new(Notify::new());
    let first = [HEAD, &event("r1", 1)].concat().into_bytes();
    let server = Server::start([Reply::Then(first, told, vec![])]).await;
    let mut watch = watch([&server]);
    let mut health = watch.health();
    next(&mut watch).await;
    assert_eq!(health.state(), HealthState::Live);
    drop(watch);
    becomes(&mut health, "stale", |health| matches!(health.state(), HealthState::Stale { .. }))
        .await;
    assert!(!timeout(PATIENCE, health.changed()).await.unwrap());
}

#[tokio::test]
async fn an_acknowledgement_leaves_no_connection_behind() {
    let by_form = Reply::ByForm(Box::new(stream(&[event("r1", 1)])), Box::new(answer("r1", 1)));
    let server = Server::start([by_form]).await;
    let mut watch = watch([&server]);
    let configuration = next(&mut watch).await;
    watch.acknowledge(&configuration, Outcome::Applied);
    let begun = Instant::now();
    let head = loop {
        let requests = server.requests();
        if let Some(head) = requests.iter().find(|head| head.starts_with("HEAD ")) {
            break head.to_lowercase();
        }
        assert!(begun.elapsed() < PATIENCE, "{requests:?}");
        tokio::task::yield_now().await;
    };
    assert!(head.contains(&format!("headwater-applied: {} ok", id("r1", 1))), "{head}");
    assert!(head.contains("connection: close"), "{head}");
}

#[tokio::test]
async fn debug_and_health_contain_no_value_and_no_credential() {
    let secret = "s3cret";
    let mut environment = product("r1", 1);
    environment["propertySources"][0]["source"]["password"] = json!(secret);
    let good = format!("event: environment\nid: {}\ndata: {environment}\n\n", id("r1", 1));
    let bad = format!("event: environment\nid: r2.x\ndata: {{\"{secret}\"\n\n");
    let server = Server::start([cut(&good), cut(&bad)]).await;
    let url = server.url.replace("http://", &format!("http://user:{secret}@"));
    let client = Client::builder().url(url).application("product").profiles(["prod"]);
    let mut watch = client.build().unwrap().watch();
    let update = update(&mut watch).await;
    let mut health = watch.health();
    becomes(&mut health, "unexpected answer", |health| {
        health.problem().is_some_and(|problem| problem.contains("unexpected answer"))
    })
    .await;
    let shown = format!("{update:?} {watch:?} {health:?} {:?}", health.problem());
    assert!(!shown.contains(secret), "{shown}");
}
