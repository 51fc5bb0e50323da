//! Text files that the server keeps beside the properties.

use headwater_client::Error;

use crate::fixture::{Server, client, response, status};

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
