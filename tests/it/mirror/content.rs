//! Bad content that arrives by a mirror: invariant 3.

use super::host::Host;
use super::{Home, comes};
use crate::fixture::{Address, Repository, eventually};

/// Status, the revision that is served, the one that is held at, and the body.
type Answer = (u16, Option<String>, Option<String>, Vec<u8>);

/// What is asked of every server that has seen the bad file.
fn answers(server: &Address) -> Vec<Answer> {
    ["/orders/dev", "/orders/prod", "/billing/dev", "/fresh/dev", "/-/problems"]
        .map(|path| {
            let reply = server.get(path);
            let header = |name| reply.header(name).map(str::to_owned);
            let body = match reply.status {
                // With the time of day in it.
                500 => Vec::new(),
                _ => reply.body.clone(),
            };
            (reply.status, header("headwater-revision"), header("headwater-held-at"), body)
        })
        .to_vec()
}

#[test]
fn only_the_environments_that_need_a_bad_file_stay_back_on_every_server_alike() {
    let repository = Repository::new(
        "//- application.yml\nshared: 1\n//- orders.yml\na: 1\n//- billing.yml\nb: 1\n",
    );
    let good = repository.commit("//- orders-prod.yml\na: 2\n");
    let host = Host::of(&repository);
    let home = Home::new(&format!(
        "[[source]]\nuri = \"{}\"\nname = \"shop\"\npoll_seconds = 1\n[[source]]\nuri = \"{{place}}/local\"\n",
        host.uri()
    ));
    std::fs::create_dir(home.place().join("local")).expect("a directory");
    home.write("local/application.yml", "c: 1\n");
    let server = home.serve();
    comes(&server, "/orders/prod", "a", "2");
    comes(&server, "/orders/dev", "a", "1");
    comes(&server, "/billing/dev", "b", "1");

    let bad = repository.commit(
        "//- application.yml\nshared: 2\n//- orders-prod.yml\na: 3\nb: [1, 2\n//- billing.yml\nb: 2\n//- fresh.yml\n{\n",
    );
    comes(&server, "/billing/dev", "shared", "2");
    comes(&server, "/orders/dev", "shared", "2");
    let held = server.get("/orders/prod").expect(200);
    assert!(held.header("headwater-held-at").is_some_and(|at| at.starts_with(&bad)), "{held:?}");
    assert!(held.header("headwater-revision").is_some_and(|at| at.starts_with(&good)), "{held:?}");
    server.get("/fresh/dev").expect(500);
    let problems = server.get("/-/problems").json();
    let of = |application: &str| {
        let problems = problems["problems"].as_array().expect("a list");
        problems.iter().find(|problem| problem["application"] == application).cloned()
    };
    let orders = of("orders").expect("a problem");
    assert_eq!(orders["source"], "shop");
    assert_eq!(orders["file"], "orders-prod.yml");
    assert!(orders["line"].is_u64() && orders["reason"].is_string(), "{orders}");
    assert_eq!(orders["served"], good);
    assert_eq!(of("fresh").expect("a problem")["source"], "shop");

    let before = answers(&server);
    drop(server);
    let again = home.serve();
    eventually("it is served again", || again.get("/orders/dev").status == 200);
    assert_eq!(answers(&again), before, "a restart");
    let other = Home::new(&format!(
        "[[source]]\nuri = \"{}\"\nname = \"shop\"\npoll_seconds = 1\n[[source]]\nuri = \"{}/local\"\n",
        host.uri(),
        home.place().display()
    ));
    let second = other.serve();
    eventually("it is served elsewhere", || second.get("/orders/dev").status == 200);
    assert_eq!(answers(&second), before, "another server");

    repository.commit("//- orders-prod.yml\na: 4\n//- fresh.yml\nd: 1\n");
    for server in [&again, &second] {
        let reply = comes(server, "/orders/prod", "a", "4");
        assert_eq!(reply.header("headwater-held-at"), None);
        comes(server, "/fresh/dev", "d", "1");
        assert_eq!(server.get("/-/problems").json()["problems"], serde_json::json!([]));
    }
}
