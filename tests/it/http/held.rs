//! Invariant 3: bad content never replaces good, and one service's bad file never holds back another.

use super::shop;
use crate::fixture::{Server, directory, eventually};

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

#[test]
fn a_directory_goes_back_from_memory_for_those_that_share_everything_too() {
    let place = directory("//- application.yml\nshared: good\n//- cart.yml\nname: Cart\n");
    let server = Server::start(&place.path().display().to_string());
    let good = server.get("/ghost/default").expect(200);
    let write = |text: &str| {
        std::fs::write(place.path().join("next"), text).expect("it is written");
        std::fs::rename(place.path().join("next"), place.path().join("application.yml"))
            .expect("it is put in place");
    };
    write("shared: [\n");
    eventually("the file is broken", || server.get("/-/problems").text().contains("application"));
    for application in ["ghost", "another"] {
        let held = server.get(&format!("/{application}/default")).expect(200);
        assert_eq!(held.json()["propertySources"], good.json()["propertySources"]);
        assert_eq!(held.json()["name"], application);
        assert!(held.header("headwater-held-at").is_some(), "{application}");
    }
    // Whoever has files of its own is not served without them.
    assert_eq!(server.get("/cart/default").status, 500);
    write("shared: mended\n");
    eventually("it is mended", || {
        let reply = server.get("/another/default");
        reply.text().contains("mended") && reply.header("headwater-held-at").is_none()
    });
}

#[test]
fn an_import_that_leads_nowhere_is_listed_and_holds_nothing_back() {
    let (repository, server) = shop();
    let line =
        "//- orders.yml\nname: Orders\nspring.config.import: [\"vault://x\", \"${NOT_SET}.yml\"]\n";
    let tip = repository.commit(line);
    eventually("the import is seen", || server.get("/orders/dev").text().contains("NOT_SET"));
    let reply = server.get("/orders/dev").expect(200);
    assert_eq!(reply.header("headwater-held-at"), None);
    let problems = server.get("/-/problems").expect(200).json();
    let listed = problems["problems"].as_array().expect("a list");
    let notice = listed.iter().find(|problem| problem["profiles"] == "dev").expect("a notice");
    assert_eq!(notice["application"], "orders");
    assert_eq!(notice["key"], "spring.config.import");
    assert_eq!((&notice["file"], &notice["line"]), (&"orders.yml".into(), &2.into()));
    assert_eq!((&notice["served"], &notice["tip"]), (&tip.as_str().into(), &tip.as_str().into()));
    assert!(notice["reason"].as_str().is_some_and(|reason| reason.contains("placeholder")));
    assert_eq!(server.get("/actuator/health").json()["status"], "UP");
    repository.commit("//- orders.yml\nname: Orders again\n");
    eventually("no problem is left", || {
        server.get("/-/problems").json()["problems"] == serde_json::json!([])
    });
}
