//! How a replica begins: with what is shared, with what it brings, or not at all.

use tempfile::TempDir;

use super::bed::{Bed, SHOP, listed, revision};
use crate::fixture::{Proxy, Server, Tree, clone, command, directory, eventually, repository_url};

#[test]
fn a_repository_that_was_never_shared_brings_its_history() {
    let bed = Bed::new();
    let alone = bed.replica_with(|settings| settings.share.uri = None);
    let tree = bed.clone(&alone, "work");
    let tip = tree.commit("//- orders.yml\nlimit: 2\n");
    tree.push(&["main"]).succeeds();
    let uri = bed.uri();
    let a = alone.restart_with(|settings| settings.share.uri = Some(uri));
    a.serves(&tip);
    let b = bed.replica();
    b.serves(&tip);
    assert_eq!(listed(&tree, &a.url()), listed(&tree, &b.url()));
}

/// What a server says that does not start on a disk.
#[track_caller]
fn refused(bed: &Bed, disk: &TempDir) -> String {
    let output = command(bed.place.path())
        .args(["serve", "--listen", "127.0.0.1:0", "--source", "hosted:main"])
        .args(["--data", disk.path().join("data").to_str().expect("a path")])
        .args(["--share", &bed.uri()])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_repository_with_a_history_of_its_own_is_not_started() {
    let bed = Bed::new();
    let alone = bed.replica_with(|settings| settings.share.uri = None);
    let tree = bed.clone(&alone, "work");
    tree.commit("//- orders.yml\nlimit: 7\n");
    tree.push(&["main"]).succeeds();
    let a = bed.replica();
    let before = listed(&tree, &a.url());
    let data = alone.stop();
    let said = refused(&bed, &data);
    assert!(said.contains("it has commits that are not in etcd"), "{said}");
    assert_eq!(listed(&tree, &a.url()), before);
    // Nothing was taken from it.
    let repository = Tree { path: data.path().join("data/hosted/main.git") };
    let text = repository.git(&["show", "main:orders.yml"]).succeeds().out;
    assert!(text.contains("limit: 7"), "{text}");
}

#[test]
fn a_repository_that_no_other_replica_would_take_is_not_started() {
    let bed = Bed::new();
    let alone = bed.replica_with(|settings| settings.share.uri = None);
    let repository = alone.repository();
    // A commit by nobody.
    let tree = repository.git(&["rev-parse", "main^{tree}"]).succeeds().out;
    let text = format!("tree {}\n\nOdd\n", tree.trim());
    let file = bed.place.path().join("commit");
    std::fs::write(&file, text).expect("written");
    let file = file.to_str().expect("a path");
    let arguments = ["hash-object", "-t", "commit", "-w", "--literally", file];
    let commit = repository.git(&arguments).succeeds().out;
    repository.git(&["update-ref", "refs/heads/odd", commit.trim()]).succeeds();
    let data = alone.stop();
    let said = refused(&bed, &data);
    assert!(said.contains("fsck"), "{said}");
    assert!(bed.etcd.keys(&bed.keys()).is_empty());
}

#[test]
fn a_copy_of_what_is_shared_joins() {
    let bed = Bed::new();
    let a = bed.replica();
    let tree = bed.clone(&a, "work");
    let old = tree.git(&["rev-parse", "HEAD"]).out.trim().to_owned();
    // It has the first commit, and hears of the second.
    let alone = bed.replica_with(|settings| {
        settings.share.uri = None;
        settings.sources[0].seed = None;
    });
    tree.git(&["push", &alone.url(), &format!("{old}:refs/heads/main")]).succeeds();
    let tip = tree.commit("//- orders.yml\nlimit: 2\n");
    tree.push(&["main"]).succeeds();
    let uri = bed.uri();
    let b = alone.restart_with(|settings| settings.share.uri = Some(uri));
    b.serves(&tip);
}

#[test]
fn without_etcd_a_new_replica_has_nothing_to_serve_and_an_old_one_its_last_good() {
    let bed = Bed::new();
    let proxy = Proxy::to(bed.etcd.address(0));
    let uri = format!("etcd://{}/{}", proxy.address, bed.prefix);
    let a = bed.replica_with(|settings| settings.share.uri = Some(uri.clone()));
    let tip = revision(*a.server).expect("a revision");
    proxy.cut();
    let a = a.restart();
    assert_eq!(revision(*a.server).as_deref(), Some(&*tip));
    let b = bed.replica_with(|settings| settings.share.uri = Some(uri));
    // Never an empty configuration, nor a clone without commits.
    let said = b.server.get("/orders/dev").expect(503).text().to_owned();
    assert!(said.contains("etcd"), "{said}");
    let tree = Tree { path: bed.place.path().to_owned() };
    tree.git(&["ls-remote", &b.url()]).fails(&["503"]);
    proxy.mend();
    b.serves(&tip);
    assert!(listed(&tree, &b.url()).contains(&tip));
}

#[test]
fn etcd_that_lost_everything_takes_nothing_away_and_says_so() {
    let bed = Bed::new();
    let a = bed.replica();
    let tree = bed.clone(&a, "work");
    let tip = tree.commit("//- orders.yml\nlimit: 2\n");
    tree.push(&["main"]).succeeds();
    for key in bed.etcd.keys(&bed.keys()) {
        bed.etcd.delete(&key);
    }
    let says = |server: &Server| {
        eventually("it says so", || {
            let health = server.get("/actuator/health").text().to_owned();
            health.contains("its manifest is missing")
        });
    };
    says(&a.server);
    tree.commit("//- orders.yml\nlimit: 3\n");
    tree.push(&["main"]).fails(&["its manifest is missing", "no branch was updated"]);
    let a = a.restart();
    assert_eq!(revision(*a.server).as_deref(), Some(&*tip));
    says(&a.server);
    // Whoever decides that this replica has the truth says so by taking its mark away.
    let disk = a.stop();
    std::fs::remove_file(disk.path().join("data/hosted/main.git/headwater-shared")).expect("there");
    let settings = bed.settings(&disk.path().join("data"));
    let a = Server::with(settings);
    assert_eq!(revision(*a).as_deref(), Some(&*tip));
    tree.git(&["remote", "set-url", "origin", &repository_url(a.0)]).succeeds();
    tree.push(&["main"]).succeeds();
}

#[test]
fn etcd_that_was_set_back_takes_nothing_away_and_says_so() {
    let bed = Bed::new();
    let a = bed.replica();
    let tree = bed.clone(&a, "work");
    let (mut client, key) = (bed.etcd.client(), format!("{}state", bed.keys()));
    let asked = key.clone();
    let old = bed.etcd.on(async move { client.get(asked, None).await.expect("read") });
    let old = old.kvs().first().expect("a state").value().to_vec();
    let tip = tree.commit("//- orders.yml\nlimit: 2\n");
    tree.push(&["main"]).succeeds();
    bed.etcd.put(&key, &old);
    eventually("it says so", || {
        a.server.get("/actuator/health").text().contains("etcd was restored to an older state")
    });
    a.serves(&tip);
    tree.commit("//- orders.yml\nlimit: 3\n");
    tree.push(&["main"]).fails(&["etcd was restored to an older state"]);
    // The others go on from there with another history, which is not taken for this one.
    let b = bed.replica();
    let other = bed.clone(&b, "other");
    for limit in 4..8 {
        other.commit(&format!("//- orders.yml\nlimit: {limit}\n"));
        other.push(&["main"]).succeeds();
    }
    eventually("it says so", || {
        a.server.get("/actuator/health").text().contains("another history")
    });
    a.serves(&tip);
}

#[test]
fn a_state_that_is_none_of_ours_is_said_and_takes_nothing_away() {
    let bed = Bed::new();
    let a = bed.replica();
    let tip = revision(*a.server).expect("a revision");
    bed.etcd.put(&format!("{}state", bed.keys()), b"{\"references\":{\"refs/heads/../x\":1}}");
    eventually("it says so", || {
        a.server.get("/actuator/health").text().contains("the manifest in etcd cannot be parsed")
    });
    a.serves(&tip);
}

#[test]
fn a_pack_that_is_broken_in_etcd_is_not_taken() {
    let bed = Bed::new();
    let a = bed.replica();
    let tree = bed.clone(&a, "work");
    let tip = tree.commit("//- orders.yml\nlimit: 2\n");
    tree.push(&["main"]).succeeds();
    let pieces = bed.etcd.keys(&format!("{}packs/", bed.keys()));
    let broken = pieces.last().expect("a piece");
    let (mut client, asked) = (bed.etcd.client(), broken.clone());
    let good = bed.etcd.on(async move { client.get(asked, None).await.expect("read") });
    let good = good.kvs().first().expect("a piece").value().to_vec();
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    bed.etcd.put(broken, &bad);
    let b = bed.replica();
    b.server.get("/orders/dev").expect(503);
    bed.etcd.put(broken, &good);
    b.serves(&tip);
    b.repository().git(&["fsck", "--strict"]).succeeds();
}

#[test]
fn two_repositories_under_one_prefix_have_nothing_to_do_with_each_other() {
    let bed = Bed::new();
    let other = directory(&SHOP.replace("limit: 1", "limit: 9"));
    let a = bed.replica_with(|settings| {
        settings.sources.push(headwater::settings::SourceSettings {
            uri: "hosted:main2".to_owned(),
            seed: Some(other.path().to_owned()),
            ..Default::default()
        });
    });
    let text = a.server.get("/orders/dev").expect(200).text().to_owned();
    assert!(text.contains("\"limit\":1") && text.contains("\"limit\":9"), "{text}");
    let second = format!("http://{}/-/git/main2.git", a.server.0);
    let tree = clone(&second, &bed.place.path().join("second"));
    assert_ne!(listed(&tree, &second), listed(&tree, &a.url()));
}
