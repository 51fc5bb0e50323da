//! Our own resources: life, readiness, health, metrics, the contract, the index, what is known.

use headwater::http::route::SERVER_ROUTES;
use serde_json::json;

use super::shop;
use crate::fixture::{Repository, Server, settings};

#[test]
fn life_and_health_are_what_orchestrators_expect() {
    let (_repository, server) = shop();
    for path in ["/livez", "/readyz", "/actuator/health/liveness", "/actuator/health/readiness"] {
        assert_eq!(server.get(path).expect(200).json(), json!({"status": "UP"}), "{path}");
    }
    server.get("/orders/dev").expect(200);
    let health = server.get("/actuator/health").expect(200).json();
    assert_eq!(health["status"], "UP");
    assert_eq!(health["components"]["configServer"]["status"], "UP");
}

#[test]
fn readiness_says_when_nothing_can_be_served() {
    let repository = Repository::new("//- a.yml\na: 1\n");
    let mut settings = settings(&repository.uri());
    settings.sources[0].default_label = Some("nowhere".to_owned());
    let server = Server::with(settings);
    server.get("/livez").expect(200);
    assert_eq!(server.get("/readyz").expect(503).json(), json!({"status": "DOWN"}));
    let readiness = server.get("/actuator/health/readiness").expect(503).json();
    assert_eq!(readiness, json!({"status": "OUT_OF_SERVICE"}));
    assert_eq!(server.get("/actuator/health").expect(503).json()["status"], "DOWN");
    server.get("/a/dev").expect(404);
    server.get("/a/dev/main").expect(200);
    server.get("/readyz").expect(200);
}

#[test]
fn metrics_count_by_route_and_status() {
    let (_repository, server) = shop();
    for path in ["/orders/dev", "/orders/dev", "/orders/dev", "/orders/dev/nope", "/orders-dev.yml"]
    {
        server.get(path);
    }
    let metrics = server.get("/metrics").expect(200);
    assert!(metrics.header("content-type").is_some_and(|is| is.contains("openmetrics-text")));
    let text = metrics.text();
    for line in [
        r#"headwater_http_requests_total{route="environment",status="200"} 3"#,
        r#"headwater_http_requests_total{route="environment",status="404"} 1"#,
        r#"headwater_http_requests_total{route="flat",status="200"} 1"#,
        "headwater_labels 1",
        "headwater_held_back 0",
        "# TYPE headwater_resolved counter",
        "headwater_resolved_total 1",
    ] {
        assert!(text.lines().any(|known| known == line), "{line}: {text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn the_index_links_to_what_there_is() {
    let repository = Repository::new(super::SHOP);
    let mut settings = settings(&repository.uri());
    settings.prefix = "/cfg".to_owned();
    let server = Server::with(settings);
    let index = server.get("/cfg").expect(200).json();
    let links = index["links"].as_array().expect("links");
    // Without a policy and a trail, the server has no `/-/audit`. `/-/fleet/history` needs the name of an instance.
    assert_eq!(links.len(), SERVER_ROUTES.len() - 2);
    for link in links {
        // One of them is a stream, which goes on for as long as it is read.
        server.ask("HEAD", link.as_str().expect("a path"), &[]).expect(200);
    }
    for path in ["/cfg/orders/dev", "/cfg/orders-dev.yml", "/cfg/orders/dev/main/plain.txt"] {
        server.get(path).expect(200);
        server.get(path).expect(200);
    }
    for path in
        ["/orders/dev", "/orders-dev.yml", "/-/problems", "/openapi.json", "/cfg/livez", "/cf"]
    {
        server.get(path).expect(404);
    }
}

#[test]
fn the_known_environments_are_listed() {
    let (repository, server) = shop();
    server.get("/application/dev").expect(200);
    // A name that nothing in the source speaks of is not known because a client requested it.
    for path in ["/invented/dev", "/orders,invented/dev", "/invented-dev.yml"] {
        server.get(path).expect(200);
    }
    let known = server.get("/-/environments").expect(200).json();
    assert_eq!(known["applications"], json!(["cart", "my-app-dev", "orders"]));
    assert_eq!(known["profiles"], json!(["dev", "prod"]));
    assert!(known["label"].is_null());
    repository.commit_on("feature/x", "//- stock.yml\na: 1\n");
    for label in ["feature%2Fx", "feature(_)x", "feature/x"] {
        let known = server.get(&format!("/-/environments?label={label}")).expect(200).json();
        assert_eq!(known["label"], "feature/x");
        assert!(
            known["applications"].as_array().is_some_and(|names| names.contains(&json!("stock")))
        );
    }
    let missing = server.get("/-/environments?label=nope").expect(404);
    assert_eq!(missing.header("content-type"), Some("application/problem+json"));
    assert_eq!(missing.json()["status"], 404);
    for label in ["..", "%2e%2e", "a%00b", "%zz", "..%2f..%2fetc"] {
        let refused = server.get(&format!("/-/environments?label={label}"));
        assert!(matches!(refused.status, 400 | 404), "{label}: {}", refused.everything());
    }
}
