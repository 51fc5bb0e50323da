//! Headers that keep a browser from taking a response for a page.

use super::shop;

#[test]
fn only_environments_are_without_the_headers_against_interpretation() {
    let (_repository, server) = shop();
    for (path, status) in [
        ("/", 200),
        ("/metrics", 200),
        ("/livez", 200),
        ("/openapi.json", 200),
        ("/-/problems", 200),
        ("/orders-dev.yml", 200),
        ("/orders-dev.properties", 200),
        ("/orders/dev/nosuch", 404),
        ("/a/..%2fb", 400),
        ("/encrypt", 405),
    ] {
        let reply = server.get(path);
        assert_eq!(reply.status, status, "{path}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{path}");
        let policy = reply.header("content-security-policy").unwrap_or_default();
        assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
    }
    // The first answer and the repeated ones have the same headers.
    let names = |reply: crate::fixture::Reply| -> Vec<String> {
        let mut names: Vec<String> = reply.headers.into_iter().map(|(name, _)| name).collect();
        names.sort();
        names
    };
    let first = server.get("/orders/dev").expect(200);
    assert_eq!(first.header("x-content-type-options"), None);
    assert_eq!(first.header("content-type"), Some("application/json"));
    let first = names(first);
    assert_eq!(names(server.get("/orders/dev").expect(200)), first);
}
