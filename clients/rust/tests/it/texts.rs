//! Text files that the server keeps beside the properties.

use std::time::Duration;

use headwater_client::{Error, Moves};
use tokio::time::timeout;

use crate::fixture::{Reply, Server, client, response, status};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than what is not to come would take.
const QUIET: Duration = Duration::from_millis(300);

fn text(body: &str) -> crate::fixture::Reply {
    response("200 OK", "Content-Type: text/plain\r\n", body)
}

#[tokio::test]
async fn a_text_is_asked_for_as_the_protocol_spells_it() {
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
async fn another_server_is_asked_and_a_missing_file_is_said() {
    let (bad, missing) = (
        Server::start([status("500 Internal Server Error")]).await,
        Server::start([status("404 Not Found")]).await,
    );
    let error = client([&bad, &missing]).build().unwrap().text("none.cfg").await.unwrap_err();
    assert!(matches!(&error, Error::NoText { name, .. } if name == "none.cfg"), "{error}");
    assert!(error.to_string().contains("none.cfg"), "{error}");
}

#[tokio::test]
async fn a_name_that_is_no_path_is_refused_before_anybody_is_asked() {
    let server = Server::start([text("")]).await;
    for name in ["", "/a", "../a", "a/../b", "a//b", "."] {
        let labelled = client([&server]).label("main").build().unwrap();
        assert!(matches!(labelled.text(name).await, Err(Error::Settings(_))), "{name}");
    }
    let error = client([&server]).build().unwrap().text("d/a").await.unwrap_err();
    assert!(error.to_string().contains("needs a label"), "{error}");
    assert!(server.requests().is_empty());
}

async fn hint(moves: &mut Moves) {
    timeout(PATIENCE, moves.next()).await.expect("a hint");
}

async fn no_hint(moves: &mut Moves) {
    assert!(timeout(QUIET, moves.next()).await.is_err());
}

#[tokio::test]
async fn a_move_is_a_hint_that_texts_may_have_changed_and_so_is_a_new_connection() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nretry: 1\n\n";
    let told = std::sync::Arc::new(tokio::sync::Notify::new());
    let moved = "event: move\nid: 7\ndata: {}\n\n".into();
    let first = Reply::Then([head, ":\n\n"].concat().into(), told.clone(), moved);
    let server = Server::start([Reply::Bytes(head.into()), first]).await;
    let mut moves = client([&server]).token("t0ken").build().unwrap().moves();
    // Two connections, of which the first one ends.
    hint(&mut moves).await;
    while server.requests().len() < 2 {
        tokio::task::yield_now().await;
    }
    hint(&mut moves).await;
    no_hint(&mut moves).await;
    told.notify_one();
    hint(&mut moves).await;
    no_hint(&mut moves).await;
    let head = server.requests()[0].to_lowercase();
    assert!(head.starts_with("get /-/events http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nauthorization: bearer t0ken\r\n"), "{head}");
}

#[tokio::test]
async fn where_moves_are_not_told_nobody_asks_over_and_over() {
    for refusal in [status("404 Not Found"), status("403 Forbidden")] {
        let server = Server::start([refusal]).await;
        let mut moves = client([&server]).build().unwrap().moves();
        no_hint(&mut moves).await;
        assert_eq!(server.requests().len(), 1);
    }
}
