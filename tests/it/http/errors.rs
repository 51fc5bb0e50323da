//! The bodies and statuses of what is refused (docs/protocol.md#24-errors).

use super::shop;
use crate::fixture::{Repository, Server, settings};

#[test]
fn errors_have_springs_body() {
    let (_repository, server) = shop();
    for (path, status, reason) in [
        ("/orders/dev/nope", 404, "Not Found"),
        ("/orders", 404, "Not Found"),
        ("/orders/-dev", 400, "Bad Request"),
        ("/orders/dev/main/a..b", 400, "Bad Request"),
    ] {
        let reply = server.get(path).expect(status);
        assert_eq!(reply.header("content-type"), Some("application/json"), "{path}");
        let body = reply.json();
        assert_eq!(body["status"], status, "{path}");
        assert_eq!(body["error"], reason, "{path}");
        assert_eq!(body["path"], path);
        let timestamp = body["timestamp"].as_str().expect("a time");
        let shape: String =
            timestamp.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00T00:00:00.000+00:00");
    }
}

#[test]
fn what_the_flat_forms_cannot_show_is_said() {
    let repository = Repository::new(
        "\
//- circle.yml
a: ${b}
b: ${a}
//- empty-part.properties
a..b = 1
//- clash.properties
a[0] = 1
a.b = 2
//- circle.txt
${a}
",
    );
    let server = Server::start(&repository.uri());
    for (path, status) in [
        ("/circle-dev.yml", 400),
        ("/circle-dev.properties", 400),
        ("/circle-dev.json", 400),
        ("/circle-dev.yml?resolvePlaceholders=false", 200),
        ("/circle/dev/main/circle.txt", 500),
        ("/circle/dev", 200),
        ("/empty-part.yml", 400),
        ("/clash-dev.yml", 500),
        ("/clash-dev.json", 500),
        ("/clash-dev.properties", 200),
    ] {
        let reply = server.get(path);
        assert_eq!(reply.status, status, "{path}: {}", reply.everything());
        if status != 200 {
            assert_eq!(reply.header("content-type"), Some("application/json"), "{path}");
            assert_eq!(reply.json()["status"], status);
        }
    }
}

#[test]
fn a_tag_that_does_not_parse_is_500_with_file_line_and_column() {
    let (repository, server) = shop();
    let bad = repository.commit_on("side", "//- orders.yml\nname: x\nbad: [hunter2\n");
    repository.tag("broken", &bad);
    for path in ["/orders/dev/broken", &format!("/orders/dev/{bad}"), "/broken/orders-dev.yml"] {
        let reply = server.get(path).expect(500);
        assert_eq!(reply.header("content-type"), Some("application/json"), "{path}");
        let message = reply.json()["message"].as_str().expect("a message").to_owned();
        assert!(message.starts_with("orders.yml:"), "{message}");
        assert!(!reply.everything().contains("hunter2"), "{}", reply.everything());
    }
    server.get("/cart/dev/broken").expect(200);
}

#[test]
fn no_property_source_at_all_is_404_where_that_is_asked_for() {
    let repository = Repository::new("//- orders.yml\na: 1\n");
    let mut strict = settings(&repository.uri());
    strict.accept_empty = false;
    let server = Server::with(strict);
    server.get("/orders/dev").expect(200);
    for path in ["/nobody/dev", "/nobody-dev.yml", "/main/nobody-dev.json"] {
        let reply = server.get(path).expect(404);
        assert_eq!(reply.json()["status"], 404, "{path}");
    }
    let lenient = Server::start(&repository.uri());
    assert_eq!(
        lenient.get("/nobody/dev").expect(200).json()["propertySources"],
        serde_json::json!([])
    );
}

#[test]
fn overrides_stand_before_everything() {
    let repository = Repository::new(super::SHOP);
    let mut settings = settings(&repository.uri());
    settings.overrides = vec![("name".to_owned(), "Overridden".to_owned())];
    let server = Server::with(settings);
    let first = server.get("/orders/dev").expect(200).json()["propertySources"][0].clone();
    assert_eq!(first, serde_json::json!({"name": "overrides", "source": {"name": "Overridden"}}));
    assert!(server.get("/orders-dev.yml").expect(200).text().contains("name: Overridden"));
    assert!(server.get("/-dev.yml").expect(200).text().contains("Overridden"));
    let text = server.get("/orders/prod/main/plain.txt").expect(200).text();
    assert!(text.contains("I am Overridden"), "{text}");
}
