//! Rewinds of a mirrored remote: a mirror of Headwater takes the record of its remote over, and any other mirror records
//! the rewinds that it sees.

use super::origin::git;
use super::{Home, comes};
use crate::fixture::{Hosted, Proxy, Reply, Repository, Tree, eventually, repository_url};

const ORDERS: &str = "//- orders.yml\na: 1\n";
const PATH: &str = "/orders/dev";

fn hosted() -> (Hosted, Tree) {
    let hosted = Hosted::with(ORDERS, |settings| {
        settings.push.allow_force = true;
        settings.push.allow_delete = true;
    });
    let tree = hosted.clone("mine");
    (hosted, tree)
}

/// The revision with the epochs, as `Headwater-Min-Revision` takes both.
fn position(reply: &Reply) -> String {
    let revision = reply.header("headwater-revision").expect("a revision");
    match reply.header("headwater-epoch") {
        Some(epoch) => format!("{revision}.{epoch}"),
        None => revision.to_owned(),
    }
}

fn force_back(tree: &Tree, to: &str) {
    tree.git(&["reset", "--quiet", "--hard", to]).succeeds();
    tree.push(&["--force", "main"]).succeeds();
}

#[test]
fn a_mirror_and_its_remote_number_rewinds_alike() {
    let (origin, tree) = hosted();
    let home = Home::new(&format!("[[source]]\nuri = \"{}\"\npoll_seconds = 0\n", origin.url()));
    let mirror = home.serve();
    comes(&mirror, PATH, "a", "1");
    let first = origin.tip("main");
    for round in 2..5 {
        tree.commit(&format!("//- orders.yml\na: {round}\n"));
        tree.push(&["main"]).succeeds();
        comes(&mirror, PATH, "a", &round.to_string());
        force_back(&tree, &first);
        let expected = position(&origin.server.get(PATH).expect(200));
        eventually("the mirror has the epoch", || position(&mirror.get(PATH)) == expected);
        assert!(expected.starts_with(&format!("{first}.")), "{expected}");
    }
    // Forward and back between two fetches: the commit is the same and the epoch is another one.
    let before = position(&mirror.get(PATH));
    tree.commit("//- orders.yml\na: 9\n");
    tree.push(&["main"]).succeeds();
    force_back(&tree, &first);
    let expected = position(&origin.server.get(PATH).expect(200));
    assert_ne!(before, expected);
    eventually("the mirror has the epoch", || position(&mirror.get(PATH)) == expected);
    // A restarted mirror knows it without its remote.
    drop(mirror);
    drop(origin);
    let mirror = home.serve();
    comes(&mirror, PATH, "a", "1");
    assert_eq!(position(&mirror.get(PATH)), expected);
}

#[test]
fn a_mirror_that_is_behind_does_not_give_what_was_rolled_back() {
    let (origin, tree) = hosted();
    let first = origin.tip("main");
    let way = Proxy::to(origin.server.0);
    let url = repository_url(way.address);
    let home = Home::new(&format!("[[source]]\nuri = \"{url}\"\npoll_seconds = 1\n"));
    let mirror = home.serve();
    tree.commit("//- orders.yml\na: 2\n");
    tree.push(&["main"]).succeeds();
    comes(&mirror, PATH, "a", "2");
    way.cut();
    force_back(&tree, &first);
    let seen = position(&origin.server.get(PATH).expect(200));
    // The mirror has the commit behind it, and yet not its second publication.
    comes(&mirror, PATH, "a", "2");
    let refused = mirror.get_with(PATH, &[("Headwater-Min-Revision", &seen)]).expect(503);
    assert!(refused.header("headwater-revision").is_some());
    way.mend();
    eventually("the mirror has it", || {
        let reply = mirror.get_with(PATH, &[("Headwater-Min-Revision", &seen)]);
        reply.status == 200 && position(&reply) == seen
    });
}

#[test]
fn rewinds_of_any_other_remote_are_recorded_by_the_mirror() {
    let repository = Repository::new(ORDERS);
    let first = repository.commit("//- orders.yml\na: 2\n");
    let second = repository.commit("//- orders.yml\na: 3\n");
    let home = Home::new(&format!(
        "[[source]]\nuri = \"{}\"\nmirror = true\npoll_seconds = 1\n",
        repository.uri()
    ));
    let mirror = home.serve();
    comes(&mirror, PATH, "a", "3");
    assert_eq!(position(&mirror.get(PATH)), second);
    repository.force("main", &first);
    let once = position(&comes(&mirror, PATH, "a", "2"));
    assert!(once.starts_with(&format!("{first}.")), "{once}");
    repository.force("main", &second);
    // It follows the one before, so that it is no rewind.
    let forward = position(&comes(&mirror, PATH, "a", "3"));
    assert_eq!(forward.split_once('.').map(|it| it.1), once.split_once('.').map(|it| it.1));
    // A fetch whose rewind was not recorded before the server ended: it is found at the next start.
    drop(mirror);
    repository.force("main", &first);
    let copy = home.copy();
    let path = repository.path().display().to_string();
    git(&copy, &["fetch", "--quiet", &path, "+refs/heads/*:refs/heads/*"]);
    let mirror = home.serve();
    let twice = position(&comes(&mirror, PATH, "a", "2"));
    assert!(twice.starts_with(&format!("{first}.")) && twice != once, "{twice}");
    assert_eq!(lineage(&twice), lineage(&once));
}

fn lineage(position: &str) -> &str {
    let (_, epoch) = position.split_once('.').expect("an epoch");
    epoch.split_once('-').expect("a lineage").0
}
