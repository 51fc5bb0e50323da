//! A commit appears by itself, and concerns only whom it concerns.

use super::shop;
use crate::fixture::eventually;

#[test]
fn a_commit_appears_and_leaves_others_their_tag() {
    let (repository, server) = shop();
    let (orders, cart) = (server.get("/orders/dev"), server.get("/cart/dev"));
    let tip = repository.commit("//- orders.yml\nname: Renamed\n");
    eventually("the new revision", || {
        server.get("/orders/dev").header("headwater-revision") == Some(&tip)
    });
    let renamed = server.get("/orders/dev").expect(200);
    assert!(renamed.text().contains("Renamed"));
    assert_ne!(renamed.header("etag"), orders.header("etag"));
    let untouched = server.get("/cart/dev").expect(200);
    assert_eq!(untouched.header("etag"), cart.header("etag"));
    assert_eq!(untouched.header("headwater-revision"), Some(tip.as_str()));
    assert_eq!(untouched.json()["version"], tip.as_str());
    let tag = cart.header("etag").expect("a tag");
    let unchanged = server.get_with("/cart/dev", &[("If-None-Match", tag)]).expect(304);
    assert_eq!(unchanged.header("headwater-revision"), Some(tip.as_str()));
}

#[test]
fn a_comment_or_a_new_layout_of_a_file_changes_no_tag() {
    let (repository, server) = shop();
    let before = server.get("/cart/dev").header("etag").map(str::to_owned);
    let tip = repository.commit("//- cart.yml\n# who we are\n\nname:   'Cart'\n");
    eventually("the new revision", || {
        server.get("/cart/dev").header("headwater-revision") == Some(&tip)
    });
    assert_eq!(server.get("/cart/dev").header("etag"), before.as_deref());
}

#[test]
fn a_commit_is_seen_whole() {
    let (repository, server) = shop();
    for round in 0..20 {
        let files = format!("//- a.yml\nround: {round}\n//- application.yml\nround-too: {round}\n");
        let tip = repository.commit(&files);
        eventually("the round", || {
            let body = server.get("/a/dev").json();
            let sources = body["propertySources"].as_array().cloned().unwrap_or_default();
            if let [own, shared] = &sources[..] {
                assert_eq!(own["source"]["round"], shared["source"]["round-too"], "{body}");
            }
            body["version"] == tip.as_str()
        });
    }
}

#[test]
fn a_new_branch_can_be_asked_for_and_a_deleted_one_is_gone() {
    let (repository, server) = shop();
    server.get("/cart/dev/later").expect(404);
    repository.commit_on("later", "//- cart.yml\nname: Later\n");
    eventually("the branch", || server.get("/cart/dev/later").status == 200);
    let open = git2::Repository::open_bare(repository.path()).expect("the repository");
    open.find_reference("refs/heads/later").expect("the branch").delete().expect("deleted");
    eventually("the branch is gone", || server.get("/cart/dev/later").status == 404);
    server.get("/cart/dev").expect(200);
}

#[test]
fn a_change_of_what_a_link_leads_to_is_seen_through_the_link() {
    let (repository, server) = shop();
    repository.commit("//- common/stock.yml\nleft: 1\n");
    repository.commit_link("stock.yml", "common/stock.yml");
    repository.commit_link("later.yml", "common/later.yml");
    let left = |application: &str| {
        let body = server.get(&format!("/{application}/dev")).json();
        body["propertySources"][0]["source"]["left"].clone()
    };
    eventually("the link", || left("stock") == 1);
    left("later");
    repository.commit("//- common/stock.yml\nleft: 2\n//- common/later.yml\nleft: 3\n");
    eventually("the file behind the link", || left("stock") == 2);
    eventually("a file where a link led nowhere", || left("later") == 3);
}

#[test]
fn a_file_that_was_read_as_text_through_a_link_is_configuration_still() {
    let (repository, server) = shop();
    repository.commit("//- stock.yml\nleft: 1\n");
    let tip = repository.commit_link("stock.txt", "stock.yml");
    eventually("the link", || server.get("/cart/dev").header("headwater-revision") == Some(&tip));
    assert_eq!(server.get("/cart/dev/main/stock.txt").expect(200).text().trim(), "left: 1");
    let body = server.get("/stock/dev").expect(200).json();
    assert_eq!(body["propertySources"][0]["source"]["left"], 1, "{body}");
}
