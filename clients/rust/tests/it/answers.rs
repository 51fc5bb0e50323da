//! Final answers of one server.

use headwater_client::Error;
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
async fn one_request_returns_the_whole_configuration() {
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
async fn every_property_names_its_source() {
    let server = Server::start([ok(&product())]).await;
    let configuration = client([&server]).connect().await.unwrap();
    let mut properties: Vec<_> = configuration
        .properties()
        .map(|property| (property.key(), property.value().unwrap().into_owned(), property.source()))
        .collect();
    // The order of keys in a source depends on the features of serde_json in the service.
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
async fn placeholders_can_be_left_unresolved() {
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
fn client_and_configuration_can_move_between_threads() {
    fn sent<T: Send + 'static>(_: &T) {}
    fn shared<T: Send + Sync + Clone + 'static>(_: &T) {}
    let client = client([]).build().unwrap();
    shared(&client);
    let connecting = async move { shared(&client.connect().await.unwrap()) };
    sent(&connecting);
}

#[test]
fn a_program_without_a_runtime_can_connect() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Server::start([ok(&product())]));
    let configuration = client([&server]).connect_blocking().unwrap();
    assert_eq!(configuration.revision(), Some("c0ffee"));
}

/// Returns the error for a final answer, after one request.
async fn rejected(reply: Reply) -> Error {
    let server = Server::start([reply]).await;
    let error = client([&server]).connect().await.unwrap_err();
    assert_eq!(server.requests().len(), 1);
    assert!(error.to_string().contains(&server.url), "{error}");
    error
}

#[tokio::test]
async fn not_found_is_final() {
    let error = rejected(response("404 Not Found", "", r#"{"status":404}"#)).await;
    assert!(matches!(&error, Error::NotFound { label: None, .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.ends_with("for application `product`, profiles `prod`, the default label"),
        "{text}"
    );
}

#[tokio::test]
async fn rejections_are_final() {
    for (line, expected) in [("401 Unauthorized", 401), ("403 Forbidden", 403)] {
        let error = rejected(status(line)).await;
        assert!(
            matches!(error, Error::Unauthorized { status, .. } if status == expected),
            "{error}"
        );
    }
    for (line, expected) in [("400 Bad Request", 400), ("406 Not Acceptable", 406)] {
        let error = rejected(status(line)).await;
        assert!(matches!(error, Error::Rejected { status, .. } if status == expected), "{error}");
    }
}

#[tokio::test]
async fn an_answer_without_sources_is_an_error_unless_allowed() {
    let empty = json!({"name": "product", "profiles": ["prod"], "propertySources": []});
    assert!(matches!(rejected(ok(&empty)).await, Error::Empty { .. }));
    let server = Server::start([ok(&empty)]).await;
    let configuration = client([&server]).allow_empty(true).connect().await.unwrap();
    assert_eq!(configuration.properties().count(), 0);
}
