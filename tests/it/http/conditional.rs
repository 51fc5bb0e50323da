//! Entity tags, 304, and that the short way and the long way to an answer are the same to a client.

use super::shop;
use crate::fixture::{Reply, Repository, Server, eventually};

const V2: &str = "application/vnd.spring-cloud.config-server.v2+json";

fn etag(reply: &Reply) -> String {
    reply.header("etag").expect("an entity tag").to_owned()
}

#[test]
fn a_client_that_has_it_gets_304() {
    let (_repository, server) = shop();
    for path in ["/orders/dev", "/orders/dev/main", "/orders-dev.yml", "/orders-dev.json"] {
        let first = server.get(path).expect(200);
        let tag = etag(&first);
        assert!(tag.starts_with("W/\""), "{path}: {tag}");
        let opaque = tag.trim_start_matches("W/");
        for known in [
            tag.clone(),
            opaque.to_owned(),
            format!("\"a\", {tag}"),
            format!("W/\"x\",{opaque} , \"y\""),
            "*".to_owned(),
        ] {
            let reply = server.get_with(path, &[("If-None-Match", &known)]).expect(304);
            assert!(reply.body.is_empty());
            assert_eq!(etag(&reply), tag, "{path}");
            let revision = first.header("headwater-revision");
            assert_eq!(reply.header("headwater-revision"), revision, "{path}");
            assert_eq!(reply.header("vary"), first.header("vary"), "{path}");
        }
        for unknown in ["\"x\"", "W/\"\"", "", ",", "x", &tag[..tag.len() - 2]] {
            server.get_with(path, &[("If-None-Match", unknown)]).expect(200);
        }
        let head = server.ask("HEAD", path, &[("If-None-Match", &tag)]).expect(304);
        assert_eq!(etag(&head), tag);
    }
}

#[test]
fn each_representation_has_its_own_tag() {
    let (_repository, server) = shop();
    let mut tags = vec![
        etag(&server.get("/orders/dev")),
        etag(&server.get_with("/orders/dev", &[("Accept", V2)])),
        etag(&server.get("/orders-dev.yml")),
        etag(&server.get("/orders-dev.yml?resolvePlaceholders=false")),
        etag(&server.get("/orders-dev.json")),
        etag(&server.get("/orders-dev.properties")),
    ];
    let count = tags.len();
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), count, "{tags:?}");
    let v1 = etag(&server.get("/orders/dev"));
    server.get_with("/orders/dev", &[("Accept", V2), ("If-None-Match", &v1)]).expect(200);
}

#[test]
fn the_answer_names_its_revision() {
    let (repository, server) = shop();
    let tip = repository.commit("//- cart.yml\nname: Cart\n# a comment\n");
    for path in ["/cart/dev", "/cart-dev.yml", "/cart/dev/main/plain.txt"] {
        crate::fixture::eventually(path, || {
            server.get(path).header("headwater-revision") == Some(&tip)
        });
    }
    assert_eq!(server.get("/cart/dev").json()["version"], tip.as_str());
}

/// Headers in order of their names, without the clock.
fn comparable(reply: Reply) -> Reply {
    let mut reply = reply;
    reply.headers.retain(|(name, _)| name != "date");
    reply.headers.sort();
    reply
}

#[test]
fn the_short_way_and_the_long_way_give_the_same() {
    let (_repository, server) = shop();
    let tag = etag(&server.get("/orders/prod"));
    let elsewhere = [("Accept", V2)];
    let known = [("If-None-Match", tag.as_str())];
    let listed = format!("\"x\", {tag}");
    let in_a_list = [("If-None-Match", listed.as_str()), ("Accept", "*/*")];
    for headers in [&[][..], &elsewhere, &known, &in_a_list] {
        for path in ["/orders/dev", "/orders/prod", "/orders/dev/main", "//orders/dev,prod"] {
            let first = comparable(server.get_with(path, headers));
            let again = comparable(server.get_with(path, headers));
            let long = comparable(server.get_with(&format!("{path}?x"), headers));
            assert_eq!(first, again, "{path} {headers:?}");
            assert_eq!(first, long, "{path} {headers:?}");
        }
    }
}

#[test]
fn invariant_5_two_servers_at_one_revision_give_the_same_bytes() {
    let repository = Repository::new(super::SHOP);
    repository.commit("//- orders-dev.yml\nlist: [three]\n");
    let mut named = crate::fixture::settings(&repository.uri());
    named.sources[0].name = Some("config".to_owned());
    let servers = [Server::with(named.clone()), Server::with(named)];
    for path in ["/orders/dev", "/cart/prod/main", "/orders-dev.yml", "/orders/dev/main/plain.txt"]
    {
        let [one, other] = [&servers[0], &servers[1]].map(|server| comparable(server.get(path)));
        assert_eq!(one, other, "{path}");
        assert_eq!(one.status, 200);
    }
}

#[test]
fn a_client_that_only_ever_hears_304_is_told_of_a_change() {
    let (repository, server) = shop();
    let tag = etag(&server.get("/orders/dev?bypass").expect(200));
    let ask = || server.get_with("/orders/dev", &[("If-None-Match", &tag)]);
    let first = ask().expect(304);
    for _ in 0..3 {
        let again = ask().expect(304);
        for header in ["etag", "vary", "headwater-revision"] {
            assert_eq!(again.header(header), first.header(header), "{header}");
        }
    }
    let revision = repository.commit("//- orders-dev.yml\nchanged: yes\n");
    eventually("the change is told", || ask().status == 200);
    assert_eq!(ask().header("headwater-revision"), Some(revision.as_str()));
}
