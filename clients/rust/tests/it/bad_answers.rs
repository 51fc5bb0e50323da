//! Unusable answers of one server, after which the client tries again.

use std::time::{Duration, Instant};

use headwater_client::{AttemptError, Configuration, DeadlineError, Error};
use serde_json::json;

use crate::fixture::{Reply, Server, client, ok, product, response, status};

/// Returns the configuration that follows an unusable first answer.
async fn recovered(first: Reply) -> Configuration {
    let server = Server::start([first, ok(&product())]).await;
    let short = Duration::from_secs(1);
    let configuration = client([&server]).request_timeout(short).connect().await.unwrap();
    assert_eq!(server.requests().len(), 2);
    configuration
}

#[tokio::test]
async fn temporary_failures_are_retried() {
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

/// Returns the last failure of a server that always replies in the same way.
async fn failure(reply: Reply) -> AttemptError {
    let server = Server::start([reply]).await;
    let error = client([&server]).deadline(Duration::from_millis(600)).connect().await.unwrap_err();
    let Error::Deadline(DeadlineError { servers, .. }) = error else { panic!("{error}") };
    servers[0].last.clone().unwrap()
}

#[tokio::test]
async fn unusable_answers_have_different_errors() {
    let html = response("200 OK", "Content-Type: text/html\r\n", "<html>");
    assert_eq!(failure(html).await, AttemptError::BadAnswer("it is not an environment in JSON"));
    let other = json!({"name": "cart", "propertySources": [{"name": "s", "source": {"a": 1}}]});
    assert_eq!(failure(ok(&other)).await, AttemptError::BadAnswer("it is for another application"));
    assert_eq!(failure(status("502 Bad Gateway")).await, AttemptError::Status(502));
    assert!(matches!(failure(Reply::Hang(vec![])).await, AttemptError::Timeout(_)));
    assert!(matches!(failure(Reply::Bytes(vec![])).await, AttemptError::Connection(_)));
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
    assert_eq!(failure(response("302 Found", &location, "")).await, AttemptError::Status(302));
    assert!(elsewhere.requests().is_empty());
}
