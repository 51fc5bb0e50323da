//! Text files, and hints that they may have changed.

use std::time::Duration;

use headwater_client::{ChangeHints, Error};
use tokio::time::timeout;

use crate::fixture::{Reply, Server, client, response, status};

/// The time limit of every step.
const PATIENCE: Duration = Duration::from_secs(20);
/// The time in which an unexpected hint would arrive.
const QUIET: Duration = Duration::from_millis(300);

fn text(body: &str) -> crate::fixture::Reply {
    response("200 OK", "Content-Type: text/plain\r\n", body)
}

#[tokio::test]
async fn a_text_is_requested_as_the_protocol_defines() {
    let server = Server::start([text("bind :8080\n")]).await;
    let asked = client([&server]).token("t0ken").build().unwrap();
    assert_eq!(asked.text("gateway.cfg").await.unwrap(), "bind :8080\n");
    asked.text_as_written("gateway.cfg").await.unwrap();
    let labelled = client([&server]).label("release/7").build().unwrap();
    labelled.text("d/a b?.cfg").await.unwrap();
    labelled.text_as_written("d/e").await.unwrap();
    let heads = server.requests();
    let lines: Vec<&str> = heads.iter().filter_map(|head| head.lines().next()).collect();
    let expected = [
        "GET /product/prod/gateway.cfg?useDefaultLabel HTTP/1.1",
        "GET /product/prod/gateway.cfg?useDefaultLabel&resolvePlaceholders=false HTTP/1.1",
        "GET /product/prod/release(_)7/d/a%20b%3F.cfg HTTP/1.1",
        "GET /product/prod/release(_)7/d/e?resolvePlaceholders=false HTTP/1.1",
    ];
    assert_eq!(lines, expected);
    assert!(heads[0].to_lowercase().contains("authorization: bearer t0ken"));
}

#[tokio::test]
async fn the_next_server_is_tried_and_a_missing_file_is_an_error() {
    let (bad, missing) = (
        Server::start([status("500 Internal Server Error")]).await,
        Server::start([status("404 Not Found")]).await,
    );
    let error = client([&bad, &missing]).build().unwrap().text("none.cfg").await.unwrap_err();
    assert!(matches!(&error, Error::NoText { name, .. } if name == "none.cfg"), "{error}");
    assert!(error.to_string().contains("none.cfg"), "{error}");
}

#[tokio::test]
async fn an_invalid_path_is_rejected_before_a_request() {
    let server = Server::start([text("")]).await;
    for name in ["", "/a", "../a", "a/../b", "a//b", "."] {
        let labelled = client([&server]).label("main").build().unwrap();
        assert!(matches!(labelled.text(name).await, Err(Error::Settings(_))), "{name}");
    }
    let error = client([&server]).build().unwrap().text("d/a").await.unwrap_err();
    assert!(error.to_string().contains("needs a label"), "{error}");
    assert!(server.requests().is_empty());
}

async fn hint(hints: &mut ChangeHints) {
    timeout(PATIENCE, hints.next()).await.expect("a hint");
}

async fn no_hint(hints: &mut ChangeHints) {
    assert!(timeout(QUIET, hints.next()).await.is_err());
}

#[tokio::test]
async fn a_move_and_a_new_connection_are_hints() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nretry: 1\n\n";
    let told = std::sync::Arc::new(tokio::sync::Notify::new());
    let moved = "event: move\nid: 7\ndata: {}\n\n".into();
    let first = Reply::Then([head, ":\n\n"].concat().into(), told.clone(), moved);
    let server = Server::start([Reply::Bytes(head.into()), first]).await;
    let mut hints = client([&server]).token("t0ken").build().unwrap().change_hints();
    // Two connections, of which the first one ends.
    hint(&mut hints).await;
    while server.requests().len() < 2 {
        tokio::task::yield_now().await;
    }
    hint(&mut hints).await;
    no_hint(&mut hints).await;
    told.notify_one();
    hint(&mut hints).await;
    no_hint(&mut hints).await;
    let head = server.requests()[0].to_lowercase();
    assert!(head.starts_with("get /-/events http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nauthorization: bearer t0ken\r\n"), "{head}");
}

#[tokio::test]
async fn a_server_without_events_is_asked_once() {
    for refusal in [status("404 Not Found"), status("403 Forbidden")] {
        let server = Server::start([refusal]).await;
        let mut hints = client([&server]).build().unwrap().change_hints();
        no_hint(&mut hints).await;
        assert_eq!(server.requests().len(), 1);
    }
}
