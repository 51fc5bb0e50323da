//! Spring's path shapes, methods and content negotiation.
//!
//! See docs/protocol.md#1-paths and docs/protocol.md#2-methods-representations-and-errors.

use super::shop;

#[test]
fn every_shape_of_path_has_its_answer() {
    let (repository, server) = shop();
    let tip = repository.commit_on("feature/x", "//- cart.yml\nname: Featured\n");
    repository.tag("1.0.0", &tip);
    let tip = format!("/cart/dev/{tip}");
    for (path, status, part) in [
        // R1
        ("/orders/dev", 200, r#""profiles":["dev"],"label":null"#),
        ("/orders/dev,prod", 200, r#""profiles":["dev,prod"]"#),
        ("/orders/dev%2Cprod", 200, r#""profiles":["dev,prod"]"#),
        ("/%6frders/dev", 200, r#""name":"orders""#),
        ("//orders//dev", 200, r#""name":"orders""#),
        ("/orders,cart/dev", 200, r#""name":"orders,cart""#),
        ("/nobody/dev", 200, "everywhere"),
        ("/orders/dev.ymlx", 200, "Orders"),
        ("/orders/dev-yml", 200, "Orders"),
        ("/orders/dev.yml", 404, "Not Found"),
        ("/orders/x.yml.dev", 404, "Not Found"),
        ("/orders/dev/", 404, "Not Found"),
        ("/orders/", 404, "Not Found"),
        ("/orders", 404, "Not Found"),
        // R2
        ("/orders/dev/main", 200, r#""label":"main""#),
        ("/cart/dev/1.0.0", 200, "Featured"),
        ("/cart/dev/feature(_)x", 200, r#""label":"feature/x""#),
        ("/cart/dev/feature%2Fx", 200, "Featured"),
        ("/cart/dev/feature%2fx", 200, "Featured"),
        ("/cart/dev/feature%28_%29x", 200, "Featured"),
        ("/cart/dev/feature/x", 404, ""),
        (&tip, 200, "Featured"),
        ("/orders/dev/master", 200, "Orders"),
        ("/orders/dev/nope", 404, r#""path":"/orders/dev/nope""#),
        ("/a/b/c-d.yml", 404, "Not Found"),
        // R3
        ("/orders-dev.yml", 200, "url: http://Orders.example:8080"),
        ("/orders-dev.yaml", 200, "- two"),
        ("/orders-dev.properties", 200, "url: http://Orders.example:8080"),
        ("/orders-dev.json", 200, r#""list":["one","two"]"#),
        ("/orders-dev.json?resolvePlaceholders=false", 200, "http://${name}.example"),
        ("/orders-dev.yml?resolvePlaceholders=true", 200, "${nowhere}"),
        ("/my-app-dev.yml", 200, "dashed: true"),
        ("/orders-.yml", 200, ""),
        ("/-dev.yml", 200, ""),
        ("/orders-dev.xml", 404, "Not Found"),
        ("/orders-dev", 404, "Not Found"),
        ("/orders.yml", 404, "Not Found"),
        ("/orders-dev.yml/", 404, "Not Found"),
        // R4
        ("/main/orders-dev.yml", 200, "url: http://Orders.example:8080"),
        ("/feature(_)x/cart-dev.properties", 200, "name: Featured"),
        ("/nope/orders-dev.yml", 404, "Not Found"),
        // R5
        ("/orders/dev/main/plain.txt", 200, "dev of Orders"),
        ("/orders/prod/main/plain.txt", 200, "I am Orders of everywhere, not ${name}"),
        ("/orders/prod/main/sub/deep/text.conf", 200, "port=8080"),
        ("/orders/dev/main/none.txt", 404, ""),
        ("/orders/dev/nope/plain.txt", 404, ""),
        ("/orders/dev/main/sub", 404, ""),
        ("/orders/dev/main/", 404, ""),
        // R6
        ("/orders/prod/plain.txt?useDefaultLabel", 200, "I am Orders"),
        ("/orders/prod/plain.txt?useDefaultLabel=false", 200, "I am Orders"),
        ("/orders/prod/plain.txt", 404, "Not Found"),
        ("/orders/dev/sub/none.conf?useDefaultLabel", 404, ""),
        // R7, while there is no key, and R8
        ("/key", 404, "NOT_FOUND"),
        ("/encrypt/status", 404, "INVALID"),
        ("/monitor", 405, "Method Not Allowed"),
        ("/-/nothing", 404, "Not Found"),
        ("/actuator/env", 404, "Not Found"),
    ] {
        let reply = server.get(path);
        assert_eq!(reply.status, status, "{path}: {}", reply.everything());
        assert!(reply.text().contains(part), "{path}: {}", reply.everything());
    }
}

#[test]
fn missing_files_have_an_empty_body() {
    let (_repository, server) = shop();
    for path in [
        "/orders/dev/main/none.txt",
        "/orders/dev/nope/plain.txt",
        "/orders/dev/main/",
        "/orders/dev/none.txt?useDefaultLabel",
    ] {
        assert_eq!(server.get(path).expect(404).text(), "", "{path}");
    }
}

#[test]
fn methods_are_springs() {
    let (_repository, server) = shop();
    for path in [
        "/orders/dev",
        "/orders/dev/main",
        "/orders-dev.yml",
        "/orders/dev/main/plain.txt",
        "/",
        "/livez",
        "/metrics",
        "/openapi.json",
        "/-/problems",
    ] {
        let get = server.get(path).expect(200);
        let head = server.ask("HEAD", path, &[]).expect(200);
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
        assert_eq!(head.header("etag"), get.header("etag"), "{path}");
        assert!(head.body.is_empty(), "{path}");
        let options = server.ask("OPTIONS", path, &[]).expect(200);
        assert_eq!(options.header("allow"), Some("GET,HEAD,OPTIONS"), "{path}");
        assert_eq!(options.header("accept-patch"), Some(""), "{path}");
        for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"] {
            let refused = server.ask(method, path, &[]).expect(405);
            assert_eq!(refused.header("allow"), Some("GET"), "{method} {path}");
        }
        let preflight = [("Origin", "http://evil"), ("Access-Control-Request-Method", "GET")];
        let refused = server.ask("OPTIONS", path, &preflight).expect(403);
        assert_eq!(refused.text(), "Invalid CORS request");
        assert!(refused.header("vary").is_some_and(|vary| vary.starts_with("Origin,")));
        let simple = server.get_with(path, &[("Origin", "http://evil")]).expect(200);
        assert_eq!(simple.header("access-control-allow-origin"), None);
    }
    assert_eq!(server.ask("GET", "/encrypt", &[]).expect(405).header("allow"), Some("POST"));
    let options = server.ask("OPTIONS", "/encrypt", &[]).expect(200);
    assert_eq!(options.header("allow"), Some("POST,OPTIONS"));
    assert_eq!(
        server.ask("POST", "/encrypt/orders/dev", &[]).expect(404).json()["status"],
        "INVALID"
    );
    server.ask("POST", "/encrypt/app/..%2e", &[]).expect(400);
}

#[test]
fn accept_chooses_the_representation() {
    const V1: &str = "application/json";
    const V2: &str = "application/vnd.spring-cloud.config-server.v2+json";
    let (_repository, server) = shop();
    let both = format!("{V2}, {V1}");
    let turned = format!("{V1}, {V2}");
    let weighed = format!("{V1};q=0.5, {V2};q=0.9");
    for (accept, expected) in [
        ("*/*", Some(V1)),
        (V1, Some(V1)),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Some(V1)),
        (V2, Some(V2)),
        ("application/*+json", Some(V2)),
        (both.as_str(), Some(V2)),
        (turned.as_str(), Some(V1)),
        (weighed.as_str(), Some(V2)),
        ("application/vnd.spring-cloud.config-server.v1+json", None),
        ("application/xml", None),
        ("text/plain", None),
        ("application/yaml", None),
        ("application/octet-stream", None),
    ] {
        // Twice: the second time the path is remembered.
        for _ in 0..2 {
            let reply = server.get_with("/orders/dev", &[("Accept", accept)]);
            match expected {
                Some(content_type) => {
                    assert_eq!(reply.status, 200, "{accept}");
                    assert_eq!(reply.header("content-type"), Some(content_type), "{accept}");
                    assert_eq!(reply.header("vary"), Some("Accept"));
                    let source = &reply.json()["propertySources"][1]["source"]["name"];
                    assert_eq!(source.is_object(), content_type == V2, "{accept}: {source}");
                }
                None => {
                    assert_eq!(reply.status, 406, "{accept}");
                    assert_eq!(reply.header("accept"), Some(format!("{V1}, {V2}").as_str()));
                }
            }
        }
    }
    for path in ["/orders-dev.yml", "/orders-dev.json", "/orders-dev.properties"] {
        server.get_with(path, &[("Accept", "image/png")]).expect(200);
    }
}

#[test]
fn flat_forms_have_springs_content_types() {
    let (_repository, server) = shop();
    for (path, content_type) in [
        ("/orders-dev.yml", "text/plain"),
        ("/orders-dev.yaml", "text/plain"),
        ("/orders-dev.properties", "text/plain"),
        ("/orders-dev.json", "application/json"),
    ] {
        let reply = server.get(path).expect(200);
        assert_eq!(reply.header("content-type"), Some(content_type), "{path}");
        assert_eq!(reply.header("content-length"), Some(&*reply.body.len().to_string()), "{path}");
    }
}
