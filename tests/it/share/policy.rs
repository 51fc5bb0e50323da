//! A policy that replicas share: a change is pushed to one of them, and all follow it.

use std::sync::mpsc;
use std::time::Duration;

use headwater_access::audit::AuditEvent;
use tempfile::TempDir;

use super::bed::{Bed, Replica};
use crate::access::hosted_policy::{follow_repository, policy_url, seed};
use crate::access::{RULES, get, policy};
use crate::audit::TrailFile;
use crate::fixture::{Child, Proxy, Said, Tree, clone, eventually};

/// A rule that the seed does not have.
const BILLING: &str = "[[allow]]\nwho = [\"orders\"]\nmay = [\"read\"]\napplication = [\"billing\"]\n\
                       profile = [\"*\"]\n";
/// A second administrator.
const SECOND: &str = "[[allow]]\nwho = [\"lister\"]\nmay = [\"admin\"]\n";

struct Fleet {
    bed: Bed,
    seed: TempDir,
}

impl Fleet {
    fn new() -> Self {
        Self { bed: Bed::new(), seed: seed(&policy(RULES)) }
    }

    fn replica(&self) -> Replica {
        self.replica_at(&self.bed.uri())
    }

    fn replica_at(&self, share: &str) -> Replica {
        self.bed.replica_with(|settings| {
            settings.sources[0].default_label = Some("main".to_owned());
            settings.share.uri = Some(share.to_owned());
            follow_repository(settings, Some(self.seed.path()));
        })
    }

    fn clone(&self, from: &Replica, principal: &str, name: &str) -> Tree {
        clone(&policy_url(from.server.0, principal), &self.bed.place.path().join(name))
    }
}

fn push(tree: &Tree, text: &str) -> Said {
    tree.commit(&format!("//- policy.toml\n{text}"));
    tree.push(&["main"])
}

/// The status of a request that only [`BILLING`] allows.
fn billing(replica: &Replica) -> u16 {
    get(*replica.server, "/billing/prod", "orders").status
}

#[test]
fn every_replica_follows_a_push_to_one_of_them_also_after_a_restart() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.replica(), fleet.replica());
    let tree = fleet.clone(&a, "ops", "ops");
    push(&tree, &format!("{}{BILLING}", policy(RULES))).succeeds();
    assert_eq!(billing(&a), 200);
    eventually("the other replica follows", || billing(&b) == 200);
    // The next change is on top of it, whichever replica receives it.
    tree.git(&["remote", "set-url", "origin", &policy_url(b.server.0, "ops")]).succeeds();
    push(&tree, &policy(RULES)).succeeds();
    assert_eq!(billing(&b), 404);
    eventually("the first replica follows", || billing(&a) == 404);
    // A replica that was stopped meanwhile serves nothing by the policy that it had.
    let disk = a.stop();
    push(&tree, &format!("{}{BILLING}", policy(RULES))).succeeds();
    let a = fleet.bed.start_on(disk, |settings| {
        settings.sources[0].default_label = Some("main".to_owned());
        follow_repository(settings, Some(fleet.seed.path()));
    });
    assert_eq!(billing(&a), 200);
    // A new replica has nothing but etcd.
    assert_eq!(billing(&fleet.replica()), 200);
}

#[test]
fn every_replica_records_a_policy_each_time_that_it_takes_effect() {
    let fleet = Fleet::new();
    let trails = [TrailFile::new(), TrailFile::new()];
    let [a, b] = trails.each_ref().map(|trail| {
        fleet.bed.replica_with(|settings| {
            settings.sources[0].default_label = Some("main".to_owned());
            settings.audit.file = Some(trail.path());
            settings.push.allow_force = true;
            follow_repository(settings, Some(fleet.seed.path()));
        })
    });
    let tree = fleet.clone(&a, "ops", "ops");
    push(&tree, &format!("{}{BILLING}", policy(RULES))).succeeds();
    eventually("the other replica follows", || billing(&b) == 200);
    tree.git(&["remote", "set-url", "origin", &policy_url(b.server.0, "ops")]).succeeds();
    // The replica that has received the push follows another one back and forth.
    tree.push(&["--force", "HEAD~1:main"]).succeeds();
    eventually("the first replica follows", || billing(&a) == 404);
    tree.push(&["main"]).succeeds();
    eventually("the first replica follows again", || billing(&a) == 200);
    for (trail, name) in trails.iter().zip(["a", "b"]) {
        let digests = trail.of(AuditEvent::PolicyLoaded).into_iter().map(|line| line.digest);
        let digests: Vec<_> = digests.collect();
        assert_eq!(digests.len(), 4, "{name}: {digests:?}");
        assert!(digests[1] == digests[3] && digests[0] == digests[2], "{name}: {digests:?}");
    }
}

#[test]
fn a_removed_administrator_can_push_to_no_replica_at_once() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.replica(), fleet.replica());
    let ops = fleet.clone(&a, "ops", "ops");
    for round in 0..4 {
        let with_second = format!("{}{SECOND}# {round}\n", policy(RULES));
        push(&ops, &with_second).succeeds();
        let lister = clone(
            &policy_url(a.server.0, "lister"),
            &fleet.bed.place.path().join(format!("lister{round}")),
        );
        lister.git(&["remote", "set-url", "origin", &policy_url(b.server.0, "lister")]).succeeds();
        lister.commit(&format!("//- policy.toml\n{with_second}# of lister\n"));
        push(&ops, &format!("{}# {round}\n", policy(RULES))).succeeds();
        // The other replica may still follow the old policy when the push arrives, and not when it decides.
        lister.push(&["main"]).fails(&[]);
        let tip = |replica: &Replica| {
            let url = policy_url(replica.server.0, "ops");
            ops.git(&["ls-remote", &url, "refs/heads/main"]).succeeds().out
        };
        let own = ops.git(&["rev-parse", "HEAD"]).out;
        for replica in [&a, &b] {
            assert!(tip(replica).starts_with(own.trim()), "{round}");
        }
    }
}

#[test]
fn without_etcd_the_last_policy_stays_in_force_and_pushes_are_rejected() {
    let fleet = Fleet::new();
    let proxy = Proxy::to(fleet.bed.etcd.address(0));
    let through = format!("etcd://{}/{}", proxy.address, fleet.bed.prefix);
    let (a, b) = (fleet.replica_at(&through), fleet.replica());
    let tree = fleet.clone(&a, "ops", "ops");
    proxy.cut();
    push(&tree, &format!("{}{BILLING}", policy(RULES)))
        .fails(&["etcd is unreachable", "no branch was updated"]);
    assert_eq!(billing(&a), 404);
    // It starts with the policy that it has.
    let a = a.restart();
    get(*a.server, "/orders/prod", "orders").expect(200);
    assert_eq!(billing(&a), 404);
    tree.git(&["remote", "set-url", "origin", &policy_url(b.server.0, "ops")]).succeeds();
    tree.push(&["main"]).succeeds();
    assert_eq!(billing(&b), 200);
    assert_eq!(billing(&a), 404);
    proxy.mend();
    eventually("it follows", || billing(&a) == 200);
}

/// The number of pushes during which a replica is killed.
const PUSH_COUNT: usize = 12;
/// A push takes about this long, so that the replica is killed somewhere within.
const PUSH_MILLISECONDS_MAX: u64 = 400;

#[test]
fn a_replica_that_is_killed_during_a_push_follows_the_policy_of_the_fleet() {
    let fleet = Fleet::new();
    let config = fleet.bed.place.path().join("headwater.toml");
    let serve = |name: &str| {
        let data = fleet.bed.place.path().join(name);
        let text = format!(
            "data = {data:?}\n[access]\npolicy = \"hosted:policy\"\npolicy_seed = {:?}\n[share]\nuri = {:?}\n\
             [[source]]\nuri = \"hosted:main\"\nseed = {:?}\ndefault_label = \"main\"\n",
            fleet.seed.path(),
            fleet.bed.uri(),
            fleet.bed.seed.path(),
        );
        std::fs::write(&config, text).unwrap();
        Child::serve(&["--config", config.to_str().unwrap()])
    };
    let mut a = Some(serve("a"));
    let b = serve("b");
    let tree = clone(&policy_url(b.0, "ops"), &fleet.bed.place.path().join("work"));
    let allows = |address| get(address, "/billing/prod", "orders").status == 200;
    let mut accepted_count = 0;
    for count in 0..PUSH_COUNT {
        let killed = a.take().unwrap();
        tree.git(&["fetch", "--quiet", &policy_url(b.0, "ops"), "main"]).succeeds();
        tree.git(&["reset", "--quiet", "--hard", "FETCH_HEAD"]).succeeds();
        let before = tree.git(&["rev-parse", "HEAD"]).out;
        let was_allowed = allows(*b);
        let rule = if was_allowed { "" } else { BILLING };
        tree.git(&["remote", "set-url", "origin", &policy_url(killed.0, "ops")]).succeeds();
        tree.commit(&format!("//- policy.toml\n{}{rule}# {count}\n", policy(RULES)));
        let after = Duration::from_millis(fastrand::u64(0..PUSH_MILLISECONDS_MAX));
        let said = std::thread::scope(|scope| {
            let pushing = scope.spawn(|| tree.push(&["main"]));
            // The progress of the push at the kill is left to chance.
            let (_never, instant) = mpsc::channel::<()>();
            let _ = instant.recv_timeout(after);
            drop(killed);
            pushing.join().expect("git runs")
        });
        let again = serve("a");
        // The first answer of the killed replica already follows what etcd has.
        let here = allows(*again);
        let listed = tree.git(&["ls-remote", &policy_url(b.0, "ops"), "refs/heads/main"]);
        let is_there = !listed.succeeds().out.starts_with(before.trim());
        assert_eq!(here, is_there != was_allowed, "push {count}: {said:?}");
        if said.code == Some(0) {
            assert!(is_there, "push {count} was acknowledged and is not there");
            accepted_count += 1;
        }
        eventually("the other replica follows", || allows(*b) == here);
        a = Some(again);
    }
    println!("{accepted_count} of {PUSH_COUNT} pushes were acknowledged");
}
