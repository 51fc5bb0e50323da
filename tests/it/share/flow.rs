//! What is pushed to one replica is served, fetched and cloned from all of them, and from those that come later.

use std::time::Duration;

use super::bed::{Bed, SHOP, listed};
use crate::fixture::{Proxy, Tree, clone, directory, eventually, repository_url};

#[test]
fn what_is_pushed_to_one_replica_is_served_and_fetched_from_another() {
    let bed = Bed::new();
    let (a, b) = (bed.replica(), bed.replica());
    let tree = bed.clone(&a, "work");
    assert!(b.server.get("/orders/dev").expect(200).text().contains("\"limit\":1"));
    let tip = tree.commit("//- orders.yml\nlimit: 2\n");
    tree.push(&["main"]).succeeds().says(&["changes 1 environment", "published main at"]);
    a.serves(&tip);
    // What was acknowledged anywhere is listed everywhere at once.
    assert!(listed(&tree, &b.url()).contains(&tip));
    b.serves(&tip);
    assert!(b.server.get("/orders/dev").expect(200).text().contains("\"limit\":2"));
    let other = bed.clone(&b, "other");
    assert_eq!(other.git(&["rev-parse", "HEAD"]).out.trim(), tip);
    let next = other.commit("//- orders.yml\nlimit: 3\n");
    other.push(&["main"]).succeeds();
    tree.git(&["pull", "--quiet"]).succeeds();
    assert_eq!(tree.git(&["rev-parse", "HEAD"]).out.trim(), next);
    a.serves(&next);
    for replica in [&a, &b] {
        replica.repository().git(&["fsck", "--strict"]).succeeds();
    }
}

#[test]
fn an_empty_disk_is_filled_from_etcd_with_the_same_history() {
    let bed = Bed::new();
    let a = bed.replica();
    let tree = bed.clone(&a, "work");
    for limit in 2..6 {
        tree.commit(&format!("//- orders.yml\nlimit: {limit}\n"));
        tree.push(&["main"]).succeeds();
    }
    tree.git(&["tag", "-a", "v1", "-m", "One"]).succeeds();
    tree.git(&["branch", "feature/x", "HEAD~2"]).succeeds();
    tree.push(&["v1", "feature/x"]).succeeds();
    let expected = listed(&tree, &a.url());
    assert_eq!(expected.lines().count(), 5, "{expected}");
    drop(a);
    let b = bed.replica();
    assert_eq!(listed(&tree, &b.url()), expected);
    let all = |tree: &Tree| tree.git(&["rev-list", "--objects", "--all"]).succeeds().out;
    let (mut before, mut after) = (all(&tree), all(&bed.clone(&b, "again")));
    for objects in [&mut before, &mut after] {
        let mut lines: Vec<&str> = objects.lines().collect();
        lines.sort_unstable();
        *objects = lines.join("\n");
    }
    assert_eq!(before, after);
    b.repository().git(&["fsck", "--strict"]).succeeds();
    // It goes on from there after a restart, and hears of nothing twice.
    let b = b.restart();
    assert_eq!(listed(&tree, &b.url()), expected);
}

#[test]
fn a_large_push_is_carried_as_a_small_one_is() {
    let bed = Bed::new();
    let (a, b) = (bed.replica(), bed.replica());
    let tree = bed.clone(&a, "work");
    let noise: String = std::iter::repeat_with(fastrand::alphanumeric).take(3_500_000).collect();
    let tip = tree.commit(&format!("//- orders.yml\nlimit: 2\n//- noise.txt\n{noise}\n"));
    tree.push(&["main"]).succeeds();
    let clone = bed.clone(&b, "other");
    assert_eq!(clone.git(&["rev-parse", "HEAD"]).out.trim(), tip);
    b.repository().git(&["fsck", "--strict"]).succeeds();
    let pieces = bed.etcd.keys(&format!("{}packs/", bed.keys())).len();
    assert!(pieces > 2, "{pieces} pieces");
    eventually("nobody uploads any more", || {
        bed.etcd.keys(&format!("{}uploads/", bed.keys())).is_empty()
    });
}

#[test]
fn a_push_with_problems_is_refused_and_leaves_nothing_in_etcd() {
    let bed = Bed::new();
    let (a, b) = (bed.replica(), bed.replica());
    let tree = bed.clone(&a, "work");
    let before = bed.etcd.keys(&bed.keys());
    let tip = tree.git(&["rev-parse", "HEAD"]).out;
    let noise: String = std::iter::repeat_with(fastrand::alphanumeric).take(1_500_000).collect();
    tree.commit(&format!("//- orders.yml\nlimit: [\n//- noise.txt\n{noise}\n"));
    tree.push(&["main"]).fails(&["orders.yml", "pre-receive hook declined"]);
    eventually("nothing of it is left", || bed.etcd.keys(&bed.keys()) == before);
    for replica in [&a, &b] {
        replica.serves(tip.trim());
    }
}

#[test]
fn branches_and_tags_come_and_go_everywhere() {
    let bed = Bed::new();
    let allow = |settings: &mut headwater::settings::Settings| {
        settings.push.allow_delete = true;
        settings.push.allow_force = true;
    };
    let (a, b) = (bed.replica_with(allow), bed.replica_with(allow));
    let tree = bed.clone(&a, "work");
    tree.git(&["branch", "feature"]).succeeds();
    tree.push(&["feature"]).succeeds();
    assert!(listed(&tree, &b.url()).contains("refs/heads/feature"));
    tree.git(&["branch", "-m", "feature", "feature/x"]).succeeds();
    tree.push(&["feature/x"]).fails(&["feature/x: another branch or tag has a name"]);
    tree.push(&["--delete", "feature"]).succeeds().says(&["deleted feature"]);
    tree.push(&["feature/x"]).succeeds();
    let names = listed(&tree, &b.url());
    assert!(names.contains("feature/x") && !names.contains("feature\n"), "{names}");
    tree.push(&["--delete", "main"]).fails(&["HEAD leads to"]);
    tree.git(&["commit", "--quiet", "--amend", "-m", "Other"]).succeeds();
    let tip = tree.git(&["rev-parse", "HEAD"]).out;
    tree.push(&["--force", "main"]).succeeds();
    for replica in [&a, &b] {
        replica.serves(tip.trim());
    }
    assert_eq!(listed(&tree, &a.url()), listed(&tree, &b.url()));
}

#[test]
fn force_and_delete_are_refused_everywhere_where_they_are_not_allowed() {
    let bed = Bed::new();
    let (a, b) = (bed.replica(), bed.replica());
    let tree = bed.clone(&a, "work");
    tree.git(&["branch", "feature"]).succeeds();
    tree.push(&["feature"]).succeeds();
    let before = listed(&tree, &b.url());
    tree.git(&["remote", "set-url", "origin", &b.url()]).succeeds();
    tree.push(&["--delete", "feature"]).fails(&["push.allow_delete"]);
    tree.git(&["commit", "--quiet", "--amend", "-m", "Other"]).succeeds();
    tree.push(&["--force", "main"]).fails(&["push.allow_force"]);
    tree.git(&["tag", "-a", "v1", "-m", "One"]).succeeds();
    tree.push(&["v1^{tag}:refs/heads/odd"]).fails(&[]);
    for replica in [&a, &b] {
        assert_eq!(listed(&tree, &replica.url()), before);
    }
}

#[test]
fn a_watcher_at_another_replica_hears_of_a_push() {
    use std::io::{BufRead, BufReader, Write};
    let bed = Bed::new();
    let (a, b) = (bed.replica(), bed.replica());
    let tree = bed.clone(&a, "work");
    let mut stream = b.server.connect();
    let request =
        "GET /orders/dev HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("sent");
    let mut lines = BufReader::new(stream);
    let mut next = move || {
        let mut line = String::new();
        while !line.starts_with("data:") {
            line.clear();
            lines.read_line(&mut line).expect("a line");
        }
        line
    };
    assert!(next().contains("\"limit\":1"));
    let reader = std::thread::spawn(next);
    tree.commit("//- orders.yml\nlimit: 2\n");
    tree.push(&["main"]).succeeds();
    let event = reader.join().expect("an event");
    assert!(event.contains("\"limit\":2"), "{event}");
}

#[test]
fn replicas_that_start_at_once_with_a_seed_have_one_first_commit() {
    for _ in 0..3 {
        let bed = Bed::new();
        // The times of their commits differ, and with them their ids.
        let tips: Vec<String> = std::thread::scope(|scope| {
            let replicas: Vec<_> = (0..3).map(|_| scope.spawn(|| bed.replica())).collect();
            let replicas: Vec<_> =
                replicas.into_iter().map(|replica| replica.join().expect("it starts")).collect();
            let tree = Tree { path: bed.place.path().to_owned() };
            replicas.iter().map(|replica| listed(&tree, &replica.url())).collect()
        });
        assert!(tips[0].contains("refs/heads/main"), "{tips:?}");
        assert!(tips.iter().all(|tip| *tip == tips[0]), "{tips:?}");
    }
}

#[test]
fn a_seed_is_not_used_where_there_is_a_history() {
    let bed = Bed::new();
    let a = bed.replica();
    let tree = bed.clone(&a, "work");
    let other = directory(&SHOP.replace("limit: 1", "limit: 9"));
    let b = bed.replica_with(|settings| {
        settings.sources[0].seed = Some(other.path().to_owned());
    });
    assert_eq!(listed(&tree, &a.url()), listed(&tree, &b.url()));
    assert!(b.server.get("/orders/dev").expect(200).text().contains("\"limit\":1"));
}

/// Behind a load balancer each request of one push or fetch may go to another replica.
#[test]
fn the_requests_of_one_push_or_fetch_may_reach_different_replicas() {
    let bed = Bed::new();
    // One of them is always behind.
    let slow = Proxy::to(bed.etcd.address(0));
    let uri = format!("etcd://{}/{}", slow.address, bed.prefix);
    let (a, b) = (bed.replica(), bed.replica_with(|settings| settings.share.uri = Some(uri)));
    let trees = ["one", "two"].map(|name| {
        let tree = bed.clone(&a, name);
        // Each request is a connection of its own.
        tree.git(&["config", "http.extraHeader", "Connection: close"]).succeeds();
        tree
    });
    // It has what was pushed elsewhere some time later, unless it is asked.
    slow.delay_answers(Duration::from_millis(50));
    for round in 0..3 {
        let balancer = Proxy::among(vec![a.server.0, b.server.0]);
        trees[1]
            .git(&["remote", "set-url", "origin", &repository_url(balancer.address)])
            .succeeds();
        trees[0].commit(&format!("//- orders.yml\nlimit: {round}\n"));
        trees[0].push(&["main"]).succeeds();
        trees[1].git(&["pull", "--quiet", "--ff-only"]).succeeds();
        trees[0].commit(&format!("//- orders.yml\nlimit: again {round}\n"));
        trees[0].push(&["main"]).succeeds();
        trees[1].git(&["fetch", "--quiet", &a.url(), "main"]).succeeds();
        trees[1].git(&["reset", "--quiet", "--hard", "FETCH_HEAD"]).succeeds();
        let tip = trees[1].commit(&format!("//- orders.yml\nlimit: last {round}\n"));
        trees[1].push(&["main"]).succeeds();
        trees[0].git(&["pull", "--quiet", "--ff-only"]).succeeds();
        assert_eq!(trees[0].git(&["rev-parse", "HEAD"]).out.trim(), tip);
        clone(&repository_url(balancer.address), &bed.place.path().join(round.to_string()));
    }
}
