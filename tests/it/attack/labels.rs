//! A label is a name, never an expression; what no branch leads to any more is gone.

use super::{assert_well, shop};
use crate::fixture::{Child, eventually};

#[test]
fn a_label_is_never_an_expression() {
    let repository = shop();
    let tip = repository.commit("//- extra.yml\na: 1\n");
    repository.commit_on("-x", "//- option.yml\na: 1\n");
    let blob = git2::Repository::open_bare(repository.path())
        .expect("the repository")
        .blob(b"secret: 1\n")
        .expect("a blob")
        .to_string();
    let tree = git2::Repository::open_bare(repository.path())
        .and_then(|it| Ok(it.find_reference("refs/heads/main")?.peel_to_tree()?.id().to_string()))
        .expect("a tree");
    let server = Child::serve(&["--source", &repository.uri()]);
    server.get(&format!("/orders/dev/{tip}")).expect(200);
    let short = &tip[..12];
    let upper = tip.to_uppercase();
    for label in [
        "-x",
        "--output=x",
        "--upload-pack=x",
        "@",
        "@{-1}",
        "@{0}",
        "@{u}",
        "main@{0}",
        "main@{1}",
        "main^",
        "main^0",
        "main~0",
        "main~1",
        "main^{}",
        "main^{tree}",
        "main^{%2fChange}",
        ":%2fChange",
        ":(_)Change",
        ":0:orders.yml",
        "main:",
        "main:orders.yml",
        "main:plain.txt",
        "^main",
        "main..main",
        "main...main",
        "refs(_)heads(_)main",
        "refs%2fheads%2fmain",
        "heads(_)main",
        "heads%2Fmain",
        "HEAD~0",
        "FETCH_HEAD",
        "ORIG_HEAD",
        short,
        &blob,
        &tree,
        "0000000000000000000000000000000000000000",
        "ffffffffffffffffffffffffffffffffffffffff",
        "main%20",
        "%20main",
        "main.lock",
        "main.",
        ".main",
        "main(_)",
        "MAIN",
        "ma?in",
        "m*",
        "m[a]in",
        "main%09",
        "config",
    ] {
        for path in [
            format!("/orders/dev/{label}"),
            format!("/orders/dev/{label}/plain.txt"),
            format!("/{label}/orders-dev.yml"),
        ] {
            let reply = server.get(&path);
            assert!(matches!(reply.status, 400 | 404), "{path}: {}", reply.everything());
        }
    }
    // The same id in capitals is the same id, or none.
    assert!(matches!(server.get(&format!("/orders/dev/{upper}")).status, 200 | 404));
    assert_well(*server);
}

#[test]
fn a_commit_that_was_taken_back_is_gone() {
    let repository = shop();
    let server = Child::serve(&["--source", &repository.uri()]);
    let good =
        server.get("/orders/dev").expect(200).header("headwater-revision").map(str::to_owned);
    let good = good.expect("a revision");
    let asked = repository.commit("//- orders.yml\nname: Orders\npassword: leaked-1\n");
    eventually("the leak is served", || server.get("/orders/dev").text().contains("leaked-1"));
    let by_id = format!("/orders/dev/{asked}");
    for _ in 0..3 {
        assert!(server.get(&by_id).expect(200).text().contains("leaked-1"));
    }
    let never_asked = repository.commit("//- orders.yml\nname: Orders\npassword: leaked-2\n");
    repository.force("main", &good);
    eventually("the branch is rewound", || !server.get("/orders/dev").text().contains("leaked"));
    for id in [&asked, &never_asked] {
        for path in [
            format!("/orders/dev/{id}"),
            format!("/{id}/orders-dev.yml"),
            format!("/orders/dev/{id}/orders.yml"),
        ] {
            eventually(&path, || server.get(&path).status == 404);
            assert!(!server.get(&path).everything().contains("leaked"));
        }
    }
    let never = git2::Repository::open_bare(repository.path()).expect("the repository");
    assert!(
        never.find_commit(git2::Oid::from_str(&asked).expect("an id")).is_ok(),
        "it is still there"
    );
    assert_well(*server);
}
