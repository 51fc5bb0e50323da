//! Invariant 3: bad content never replaces good, and one service's bad file never holds back another.

use super::shop;
use crate::fixture::{Server, eventually};

const BAD: &str = "//- orders.yml\nname: Orders\nport: [8081\n";

#[test]
fn invariant_3_a_broken_environment_stays_and_all_others_move_on() {
    let (repository, server) = shop();
    let good = server.get("/orders/dev").expect(200);
    let old = good.header("headwater-revision").expect("a revision").to_owned();
    let flat = server.get("/orders-dev.yml").expect(200);
    server.get("/cart/dev").expect(200);
    repository.commit(BAD);
    let tip = repository.commit("//- cart.yml\nname: New cart\n");
    eventually("the cart moves on", || {
        server.get("/cart/dev").header("headwater-revision") == Some(&tip)
    });
    assert!(server.get("/cart/dev").text().contains("New cart"));
    for path in ["/orders/dev", "/orders/dev/main", "/orders/dev?x"] {
        let held = server.get(path).expect(200);
        assert_eq!(held.header("headwater-revision"), Some(old.as_str()), "{path}");
        assert_eq!(held.header("headwater-held-at"), Some(tip.as_str()), "{path}");
        assert_eq!(held.json()["version"], old.as_str(), "{path}");
        assert_eq!(held.header("etag"), good.header("etag"), "{path}");
        let tag = good.header("etag").expect("a tag");
        let unchanged = server.get_with(path, &[("If-None-Match", tag)]).expect(304);
        assert_eq!(unchanged.header("headwater-held-at"), Some(tip.as_str()), "{path}");
    }
    assert_eq!(server.get("/orders/dev").body, good.body);
    let held = server.get("/orders-dev.yml").expect(200);
    assert_eq!(held.body, flat.body);
    assert_eq!(held.header("headwater-held-at"), Some(tip.as_str()));
    assert_eq!(server.get("/cart/dev").header("headwater-held-at"), None);

    let problems = server.get("/-/problems").expect(200).json();
    let problem = problems["problems"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|problem| problem["application"] == "orders" && problem["label"].is_null())
        .expect("a problem")
        .clone();
    assert_eq!(problem["file"], "orders.yml");
    assert!(problem["line"].as_u64().is_some_and(|line| line >= 2), "{problem}");
    assert!(problem["column"].is_u64(), "{problem}");
    assert_eq!(problem["served"], old.as_str());
    assert_eq!(problem["tip"], tip.as_str());
    assert!(problem["since"].as_str().is_some_and(|since| since.starts_with("2023-11-14T")));
    assert_eq!(server.get("/readyz").status, 200);
    assert_eq!(server.get("/actuator/health").expect(200).json()["status"], "UP");

    // A server that starts now finds the same in the history.
    let restarted = Server::start(&repository.uri());
    for path in ["/orders/dev", "/orders/prod", "/orders-dev.yml", "/cart/dev"] {
        let (one, other) = (server.get(path), restarted.get(path));
        assert_eq!(one.body, other.body, "{path}");
        for header in ["etag", "headwater-revision", "headwater-held-at"] {
            assert_eq!(one.header(header), other.header(header), "{path} {header}");
        }
    }

    let mended = repository.commit("//- orders.yml\nname: Mended\n");
    eventually("the orders are mended", || {
        server.get("/orders/dev").header("headwater-revision") == Some(&mended)
    });
    let reply = server.get("/orders/dev").expect(200);
    assert!(reply.text().contains("Mended"));
    assert_eq!(reply.header("headwater-held-at"), None);
    eventually("no problem is left", || {
        server.get("/-/problems").json()["problems"] == serde_json::json!([])
    });
}

#[test]
fn what_never_was_good_is_500_and_listed() {
    let (repository, server) = shop();
    repository.commit("//- fresh.yml\nkey: \"unfinished\n");
    eventually("the new file is seen", || server.get("/fresh/dev").status == 500);
    let reply = server.get("/fresh/dev");
    let message = reply.json()["message"].as_str().expect("a message").to_owned();
    assert!(message.starts_with("fresh.yml:"), "{message}");
    assert!(!message.contains("unfinished"), "{message}");
    let problems = server.get("/-/problems").json();
    assert_eq!(problems["problems"][0]["application"], "fresh");
    assert!(problems["problems"][0]["served"].is_null());
    server.get("/orders/dev").expect(200);
}
