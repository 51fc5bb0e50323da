//! One server, and what its answers mean.

use std::time::{Duration, Instant};

use headwater_client::{Configuration, DeadlineExceeded, Error, Failure};
use serde::Deserialize;
use serde_json::json;

use crate::fixture::{Reply, Server, client, ok, product, response, status};

#[derive(Debug, PartialEq, Deserialize)]
struct Shop {
    name: String,
    max_items: u32,
    greeting: String,
    currencies: Vec<String>,
}

fn shop() -> Shop {
    let currencies = vec!["CHF".to_owned()];
    Shop { name: "corner".into(), max_items: 20, greeting: "hello from corner".into(), currencies }
}

#[tokio::test]
async fn a_service_asks_once_and_has_its_whole_configuration() {
    let server = Server::start([ok(&product())]).await;
    let configuration =
        client([&server]).label("release/7").token("t0ken").connect().await.unwrap();

    assert_eq!(configuration.get_at::<Shop>("shop").unwrap(), shop());
    assert_eq!(configuration.revision(), Some("c0ffee"));
    assert_eq!(configuration.server(), Some(server.url.as_str()));
    assert!(!configuration.is_stale());
    assert_eq!(configuration.environment().property_sources.len(), 2);

    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    let head = requests[0].to_lowercase();
    assert!(head.starts_with("get /product/prod/release(_)7 http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nauthorization: bearer t0ken\r\n"), "{head}");
    assert!(head.contains("\r\naccept: application/json\r\n"), "{head}");
}

#[tokio::test]
async fn every_property_says_where_it_comes_from() {
    let server = Server::start([ok(&product())]).await;
    let configuration = client([&server]).connect().await.unwrap();
    let mut properties: Vec<_> = configuration
        .properties()
        .map(|property| (property.key(), property.value().unwrap().into_owned(), property.source()))
        .collect();
    // The order of keys in a source is that of the JSON library, which the service chooses.
    properties.sort_by_key(|&(key, ..)| key);
    let expected = [
        ("shop.currencies[0]", json!("CHF"), "product-prod.yml"),
        ("shop.greeting", json!("hello from corner"), "application.yml"),
        ("shop.max-items", json!(20), "product-prod.yml"),
        ("shop.name", json!("corner"), "application.yml"),
    ];
    assert_eq!(properties, expected);
    assert_eq!(configuration.value("shop.maxItems"), Some(&json!(20)));
    assert_eq!(configuration.value("shop.greeting"), Some(&json!("hello from ${shop.name}")));
    assert_eq!(configuration.value("shop.nothing"), None);
}

#[tokio::test]
async fn placeholders_can_be_left_alone() {
    let server = Server::start([ok(&product())]).await;
    let configuration = client([&server]).placeholders(false).connect().await.unwrap();
    assert_eq!(configuration.get_at::<Shop>("shop").unwrap().greeting, "hello from ${shop.name}");
}

#[tokio::test]
async fn basic_credentials_come_from_the_builder_or_the_url() {
    let server = Server::start([ok(&product())]).await;
    client([&server]).basic("user", "pass").connect().await.unwrap();
    let own = server.url.replace("http://", "http://me:own@");
    client([&server]).url(own).basic("user", "pass").connect().await.unwrap();
    let heads = server.requests();
    assert!(heads[0].contains(": Basic dXNlcjpwYXNz\r\n"), "{}", heads[0]);
    assert!(heads[1].contains(": Basic bWU6b3du\r\n"), "{}", heads[1]);
}

#[test]
fn a_program_without_a_runtime_can_ask_too() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Server::start([ok(&product())]));
    let configuration = client([&server]).connect_blocking().unwrap();
    assert_eq!(configuration.revision(), Some("c0ffee"));
}

/// The error for an answer that is final; it was asked for once.
async fn refused(reply: Reply) -> Error {
    let server = Server::start([reply]).await;
    let error = client([&server]).connect().await.unwrap_err();
    assert_eq!(server.requests().len(), 1);
    assert!(error.to_string().contains(&server.url), "{error}");
    error
}

#[tokio::test]
async fn not_found_is_final() {
    let error = refused(response("404 Not Found", "", r#"{"status":404}"#)).await;
    assert!(matches!(&error, Error::NotFound { label: None, .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.ends_with("for application `product`, profiles `prod`, the default label"),
        "{text}"
    );
}

#[tokio::test]
async fn refusals_are_final() {
    for (line, expected) in [("401 Unauthorized", 401), ("403 Forbidden", 403)] {
        let error = refused(status(line)).await;
        assert!(
            matches!(error, Error::Unauthorized { status, .. } if status == expected),
            "{error}"
        );
    }
    for (line, expected) in [("400 Bad Request", 400), ("406 Not Acceptable", 406)] {
        let error = refused(status(line)).await;
        assert!(matches!(error, Error::Refused { status, .. } if status == expected), "{error}");
    }
}

#[tokio::test]
async fn an_answer_without_sources_is_an_error_unless_allowed() {
    let empty = json!({"name": "product", "profiles": ["prod"], "propertySources": []});
    assert!(matches!(refused(ok(&empty)).await, Error::Empty { .. }));
    let server = Server::start([ok(&empty)]).await;
    let configuration = client([&server]).allow_empty(true).connect().await.unwrap();
    assert_eq!(configuration.properties().count(), 0);
}

/// The configuration after a first answer that was none.
async fn recovered(first: Reply) -> Configuration {
    let server = Server::start([first, ok(&product())]).await;
    let short = Duration::from_millis(400);
    let configuration = client([&server]).request_timeout(short).connect().await.unwrap();
    assert_eq!(server.requests().len(), 2);
    configuration
}

#[tokio::test]
async fn what_may_pass_is_asked_again() {
    for line in ["500 Internal Server Error", "503 Service Unavailable", "429 Too Many Requests"] {
        recovered(status(line)).await;
    }
    let truncated = "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{\"name\":\"product\"";
    recovered(Reply::Bytes(truncated.into())).await;
    recovered(Reply::Bytes(b"garbage\r\n\r\n".into())).await;
    recovered(Reply::Bytes(vec![])).await;
    recovered(Reply::Hang(vec![])).await;
    recovered(Reply::Hang(truncated.into())).await;
    recovered(response("200 OK", "Content-Type: text/html\r\n", "<html>please sign in</html>"))
        .await;
    recovered(ok(&json!([1]))).await;
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let start = Instant::now();
    recovered(response("503 Service Unavailable", "Retry-After: 1\r\n", "")).await;
    assert!(start.elapsed() >= Duration::from_secs(1));
}

/// What a server did last, when it never does anything else.
async fn failure(reply: Reply) -> Failure {
    let server = Server::start([reply]).await;
    let error = client([&server]).deadline(Duration::from_millis(600)).connect().await.unwrap_err();
    let Error::Deadline(DeadlineExceeded { servers, .. }) = error else { panic!("{error}") };
    servers[0].last.clone().unwrap()
}

#[tokio::test]
async fn bad_answers_are_told_apart() {
    let html = response("200 OK", "Content-Type: text/html\r\n", "<html>");
    assert_eq!(failure(html).await, Failure::BadAnswer("it is no environment in JSON"));
    let other = json!({"name": "cart", "propertySources": [{"name": "s", "source": {"a": 1}}]});
    assert_eq!(failure(ok(&other)).await, Failure::BadAnswer("it is for another application"));
    assert_eq!(failure(status("502 Bad Gateway")).await, Failure::Status(502));
    assert!(matches!(failure(Reply::Hang(vec![])).await, Failure::Timeout(_)));
    assert!(matches!(failure(Reply::Bytes(vec![])).await, Failure::Connection(_)));
}

#[tokio::test]
async fn huge_answers_are_not_read() {
    let announced = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 17 * 1024 * 1024);
    for reply in [Reply::Hang(announced.into_bytes()), Reply::Endless] {
        let server = Server::start([reply, ok(&product())]).await;
        let configuration = client([&server]).connect().await.unwrap();
        assert_eq!(configuration.revision(), Some("c0ffee"));
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = Server::start([ok(&product())]).await;
    let location = format!("Location: {}/product/prod\r\n", elsewhere.url);
    assert_eq!(failure(response("302 Found", &location, "")).await, Failure::Status(302));
    assert!(elsewhere.requests().is_empty());
}
