//! Plain requests under a rollout: their content, their headers and their entity tags.

use super::{Shop, of_cart};
use crate::fixture::Reply;
use crate::fixture::held::{LINEAGE_TEXT, in_last_stage, record, withheld};

const PATHS: [&str; 5] = [
    "/cart/default",
    "/cart/default/main",
    "/cart-default.yml",
    "/cart/default/main/conf.txt",
    "/cart/default/main/conf.txt?resolvePlaceholders=false",
];

fn as_instance(shop: &Shop, path: &str, name: &str) -> Reply {
    shop.server.get_with(path, &[("Headwater-Instance", name)]).expect(200)
}

#[track_caller]
fn has(reply: &Reply, header: &str, value: Option<&str>) {
    assert_eq!(reply.header(header), value, "{header}");
}

#[test]
fn every_read_under_the_name_of_a_held_application_is_held() {
    let (shop, stable) = Shop::new();
    let before = PATHS.map(|path| shop.server.get(path).expect(200));
    let tip = shop.push(2, |tip| record(1, [of_cart(1, &stable, tip)]));
    let epoch = format!("0,{LINEAGE_TEXT}-1");
    for (path, before) in PATHS.iter().zip(&before) {
        // The second request is answered from memory.
        for _ in 0..2 {
            let held = shop.server.get(path).expect(200);
            assert_eq!(held.text(), before.text(), "{path}");
            has(&held, "etag", before.header("etag"));
            has(&held, "headwater-revision", Some(stable.as_str()));
            has(&held, "headwater-held-at", Some(tip.as_str()));
            has(&held, "headwater-rollout", Some("r-1"));
            has(&held, "headwater-epoch", Some(&epoch));
            let tag = before.header("etag").unwrap();
            let known = shop.server.get_with(path, &[("If-None-Match", tag)]).expect(304);
            has(&known, "headwater-rollout", Some("r-1"));
            has(&known, "headwater-held-at", Some(tip.as_str()));
        }
        let other = as_instance(&shop, path, "web-2");
        assert_eq!(other.text(), before.text(), "{path}");
        has(&other, "headwater-held-at", Some(tip.as_str()));
        let canary = as_instance(&shop, path, "web-1");
        assert_ne!(canary.text(), before.text(), "{path}");
        assert_ne!(canary.header("etag"), before.header("etag"), "{path}");
        has(&canary, "headwater-revision", Some(tip.as_str()));
        has(&canary, "headwater-held-at", None);
        has(&canary, "headwater-rollout", Some("r-1"));
        for reply in [&other, &canary] {
            let vary = reply.header("vary").unwrap();
            assert!(vary.ends_with("Headwater-Instance"), "{path}: {vary}");
        }
        assert_eq!(
            shop.server.get(path).header("vary"),
            before.header("vary"),
            "{path}: a request without an instance"
        );
    }
    has(&shop.server.get("/order/default").expect(200), "headwater-rollout", None);

    // The tip moves. The answers from memory name it.
    let next = shop.push(2, |next| {
        assert_ne!(*next, tip);
        record(1, [of_cart(1, &stable, &tip)])
    });
    for path in PATHS {
        has(&shop.server.get(path).expect(200), "headwater-held-at", Some(next.as_str()));
    }
    // In the last stage, everyone has the candidate, and it can still be rolled back.
    let hold = of_cart(1, &stable, &tip);
    shop.publish(record(2, [in_last_stage(&hold, 2)]));
    for path in PATHS {
        for _ in 0..2 {
            let last = shop.server.get(path).expect(200);
            has(&last, "headwater-revision", Some(next.as_str()));
            has(&last, "headwater-held-at", None);
            has(&last, "headwater-rollout", Some("r-1"));
        }
    }
    shop.publish(record(3, [withheld(&hold, 3)]));
    for (path, before) in PATHS.iter().zip(&before) {
        assert_eq!(shop.server.get(path).expect(200).body, before.body, "{path}");
    }
    shop.publish(record(4, []));
    for path in PATHS {
        let released = shop.server.get(path).expect(200);
        has(&released, "headwater-revision", Some(next.as_str()));
        for header in ["headwater-held-at", "headwater-rollout", "headwater-epoch"] {
            has(&released, header, None);
        }
    }
}

#[test]
fn withheld_content_is_a_problem_and_a_rollout_in_progress_is_none() {
    let (shop, stable) = Shop::new();
    shop.server.get("/cart/default").expect(200);
    let tip = shop.push(2, |tip| record(1, [of_cart(1, &stable, tip)]));
    let problems = || shop.server.get("/-/problems").expect(200).json()["problems"].clone();
    assert_eq!(problems(), serde_json::json!([]));
    shop.publish(record(2, [withheld(&of_cart(1, &stable, &tip), 2)]));
    let listed = problems();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(listed[0]["kind"], "withheld");
    assert_eq!(listed[0]["application"], "cart");
    assert_eq!(listed[0]["tip"], tip.as_str());
    assert_eq!(listed[0]["served"], stable.as_str());
    assert!(listed[0]["reason"].as_str().unwrap().contains("r-1"), "{listed}");
    let held = as_instance(&shop, "/cart/default", "web-1");
    has(&held, "headwater-held-at", Some(tip.as_str()));
    assert!(held.text().contains("\"v\":1"));
    shop.push(1, |_| record(3, []));
    assert_eq!(problems(), serde_json::json!([]));
}

#[test]
fn a_script_that_asks_for_the_held_tip_is_refused() {
    let (shop, stable) = Shop::new();
    let tip = shop.push(2, |tip| record(1, [of_cart(1, &stable, tip)]));
    let least = [("Headwater-Min-Revision", tip.as_str())];
    std::thread::scope(|scope| {
        for path in ["/cart/default", "/cart-default.yml", "/cart/default/main/conf.txt"] {
            let (shop, least, stable) = (&shop, &least, &stable);
            scope.spawn(move || {
                let refused = shop.server.get_with(path, least).expect(503);
                has(&refused, "headwater-rollout", Some("r-1"));
                has(&refused, "headwater-revision", Some(stable.as_str()));
                assert!(refused.text().contains("rollout r-1"), "{}", refused.text());
            });
        }
    });
    // An instance that shows it has it.
    let shown = [least[0], ("Headwater-Instance", "web-9")];
    let kept = shop.server.get_with("/cart/default", &shown).expect(200);
    has(&kept, "headwater-revision", Some(tip.as_str()));
    let file = shop.server.get_with("/cart/default/main/conf.txt", &shown).expect(200);
    assert_eq!(file.text(), "two 2");
    shop.publish(record(2, []));
    let reply = shop.server.get_with("/cart/default", &least).expect(200);
    has(&reply, "headwater-revision", Some(tip.as_str()));
}

#[test]
fn two_replicas_with_the_same_record_give_an_instance_the_same_bytes() {
    let (one, stable) = Shop::new();
    let (other, _) = Shop::new();
    for shop in [&one, &other] {
        shop.push(2, |tip| record(1, [of_cart(1, &stable, tip)]));
    }
    for path in PATHS {
        for name in ["web-1", "web-2"] {
            let [a, b] = [&one, &other].map(|shop| as_instance(shop, path, name));
            assert_eq!(a.body, b.body, "{path} {name}");
            for header in ["etag", "headwater-revision", "headwater-epoch", "headwater-held-at"] {
                assert_eq!(a.header(header), b.header(header), "{path} {name} {header}");
            }
        }
    }
}
