//! Pushes under a policy: each new commit, each path and each reference has to be allowed.

use std::io::{Read, Write};

use headwater_wire::{Contract, ContractKey, ValueType};

use super::{PolicyFile, RULES, bearer, policy, sha256, token};
use crate::fixture::{Address, Hosted, Said, Tree, acknowledgement_of, clone, eventually};
use crate::push::refused::{command_line, pack};

const SHOP: &str = "\
//- application.yml
shared: everywhere
//- orders.yml
name: Orders
//- billing.yml
name: Billing
key: '{cipher}00aabbccddeeff0011223344556677889900aabbccddeeff00112233445566'
//- billing-canary.yml
x: 1
";

/// `builder` may push the files of orders and the shared ones to `main`, and may read the environments of orders.
const LIMITED: &str = r#"
[[allow]]
who = ["builder"]
may = ["push"]
application = ["application"]
branch = ["main"]
[[allow]]
who = ["builder"]
may = ["read"]
application = ["orders"]
profile = ["*"]
[[must_seal]]
key = ["**.password"]
"#;

/// A hosted repository with a policy, and a place for clones.
pub(super) struct Shop {
    hosted: Hosted,
    policy: PolicyFile,
    place: tempfile::TempDir,
}

impl Shop {
    pub(super) fn new() -> Self {
        Self::with("", "")
    }

    /// The same with further files and rules.
    pub(super) fn with(files: &str, rules: &str) -> Self {
        let file = PolicyFile::new(&policy(&format!("{RULES}{LIMITED}{rules}")));
        let hosted = Hosted::with(&format!("{SHOP}{files}"), |settings| {
            settings.access.policy_file = Some(file.path());
            settings.sources[0].default_label = Some("main".to_owned());
            settings.push.allow_force = true;
            settings.push.allow_delete = true;
        });
        Self { hosted, policy: file, place: tempfile::tempdir().unwrap() }
    }

    fn url(&self, principal: &str) -> String {
        let with_token = format!("http://{principal}:{}@", token(principal, 1));
        self.hosted.url().replacen("http://", &with_token, 1)
    }

    /// A clone of the present content. Only `ops` may clone.
    pub(super) fn clone(&self, name: &str) -> Tree {
        clone(&self.url("ops"), &self.place.path().join(name))
    }

    /// Pushes as `builder` and expects a rejection that moves nothing.
    #[track_caller]
    pub(super) fn rejects(&self, work: &Tree, what: &[&str], parts: &[&str]) {
        let before = self.references();
        let said = self.push(work, "builder", what).fails(parts);
        assert!(!said.err.contains("canary"), "{}", said.err);
        assert_eq!(self.references(), before);
    }

    #[track_caller]
    pub(super) fn accepts(&self, work: &Tree, principal: &str, what: &[&str]) -> String {
        self.push(work, principal, what).succeeds().err
    }

    pub(super) fn push(&self, work: &Tree, principal: &str, what: &[&str]) -> Said {
        work.git(&[&["push", &self.url(principal)], what].concat())
    }

    fn references(&self) -> String {
        self.hosted.repository().git(&["for-each-ref"]).out
    }
}

/// An instance of each service acknowledges the present answer.
fn acknowledge_both(server: Address) {
    for service in ["orders", "billing"] {
        let path = format!("/{service}/prod");
        let bearer = super::bearer(service, 1);
        let answer = server.get_with(&path, &[("Authorization", &bearer)]).expect(200);
        let applied = acknowledgement_of(&answer, "ok");
        let headers = [
            ("Authorization", &*bearer),
            ("Headwater-Instance", &format!("{service}-1")),
            ("Headwater-Applied", &applied),
        ];
        server.get_with(&path, &headers).expect(200);
    }
}

#[test]
fn a_push_waits_for_the_environments_that_its_pusher_may_read() {
    let shop = Shop::new();
    acknowledge_both(*shop.hosted.server);
    let work = shop.clone("own");
    work.commit("//- application.yml\nshared: changed\n");
    let push = ["push", "-o", "wait", "-o", "timeout=1", &shop.url("builder"), "main"];
    let said = work.git(&push).fails(&[
        "orders/prod 1 instance",
        "environments that you may not read",
        "the wait ended after 1 s: 0 of 1 have it. not yet: orders: orders-1. main has moved",
    ]);
    assert!(!said.err.contains("billing"), "{}", said.err);
}

#[test]
fn a_push_that_waits_for_a_rollout_names_nothing_that_its_pusher_may_not_read() {
    let plan = "//- .headwater/rollout.toml\n[limits]\napplications = 9\n";
    let shop = Shop::with(plan, "");
    acknowledge_both(*shop.hosted.server);
    let work = shop.clone("own");
    work.commit("//- application.yml\nshared: changed\n");
    let push = ["push", "-o", "wait", "-o", "timeout=1", &shop.url("builder"), "main"];
    let said = work.git(&push).fails(&[
        "held for every application: rollout r-",
        "the wait ended after 1 s: r-",
        "the rollout continues",
    ]);
    assert!(!said.err.contains("billing"), "{}", said.err);
}

/// The policy of [`Shop`] in which the first token of `builder` is another one.
fn without_token() -> String {
    let known = sha256(&token("builder", 1));
    let rules = policy(&format!("{RULES}{LIMITED}"));
    assert!(rules.contains(&known), "{rules}");
    rules.replace(&known, &sha256("another token"))
}

#[test]
fn a_pusher_that_is_revoked_while_its_push_arrives_is_rejected() {
    let shop = Shop::new();
    let server = *shop.hosted.server;
    let work = shop.clone("own");
    let before = shop.hosted.tip("main");
    let commit = work.commit("//- orders.yml\nname: Changed\n");
    let capabilities = "report-status side-band-64k";
    let mut body = command_line(&before, &commit, "refs/heads/main", capabilities);
    // `builder` may not clone, so that its pack has to be complete.
    body.extend(pack(&work, &"0".repeat(40), &commit));
    let (first, rest) = body.split_at(body.len() - 20);
    let head = format!(
        "POST /-/git/main.git/git-receive-pack HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Authorization: {}\r\nContent-Type: application/x-git-receive-pack-request\r\n\
         Content-Length: {}\r\n\r\n",
        bearer("builder", 1),
        body.len()
    );
    let mut stream = server.connect();
    stream.write_all(&[head.as_bytes(), first].concat()).unwrap();
    eventually("git receives the push", || shop.hosted.contents().contains("tmp_objdir"));
    shop.policy.replace(&without_token());
    eventually("the new policy is in force", || {
        let answer = server.get_with("/orders/prod", &[("Authorization", &bearer("builder", 1))]);
        answer.status == 401
    });
    stream.write_all(rest).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains("your credential has been revoked or has expired"), "{answer}");
    assert_eq!(shop.hosted.tip("main"), before);
}

#[test]
fn a_pusher_that_is_revoked_while_it_waits_learns_nothing_more() {
    let shop = Shop::new();
    let server = *shop.hosted.server;
    let report = |applied: &str| {
        let headers = [
            ("Authorization", &*bearer("orders", 1)),
            ("Headwater-Instance", "orders-1"),
            ("Headwater-Applied", applied),
        ];
        server.get_with("/orders/prod", &headers).expect(200)
    };
    report(&acknowledgement_of(&report(""), "ok"));
    let work = shop.clone("own");
    work.commit("//- orders.yml\nname: Changed\n");
    work.git(&["remote", "set-url", "origin", &shop.url("builder")]).succeeds();
    let pushing = work.begin_push(&["-o", "wait", "main"]);
    pushing.says("0 of 1 have it");
    shop.policy.replace(&without_token());
    pushing.says("the policy has changed, and you may not follow this push any more");
}

#[test]
fn a_broken_contract_names_only_the_services_that_the_pusher_may_read() {
    let shop = Shop::new();
    let server = *shop.hosted.server;
    for service in ["orders", "billing"] {
        let keys = ["shared"].map(|key| ContractKey {
            key: key.to_owned(),
            value_type: ValueType::Text,
            required: true,
        });
        let contract = Contract::new(service.to_owned(), None, keys.to_vec(), vec![]).unwrap();
        let (bearer, body) = (super::bearer(service, 1), contract.to_json());
        let head = format!(
            "PUT /-/contracts/{service}/{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: {bearer}\r\n\
             Content-Length: {}\r\n\r\n",
            contract.digest,
            body.len()
        );
        server.send(&[head.as_bytes(), body.as_bytes()].concat()).expect(201);
        let path = format!("/{service}/prod");
        let answer = server.get_with(&path, &[("Authorization", &bearer)]).expect(200);
        let applied = acknowledgement_of(&answer, "ok");
        let headers = [
            ("Authorization", &*bearer),
            ("Headwater-Instance", &format!("{service}-1")),
            ("Headwater-Applied", &applied),
            ("Headwater-Contract", &contract.digest),
        ];
        server.get_with(&path, &headers).expect(200);
    }
    let work = shop.clone("own");
    work.commit("//- application.yml\nother: x\n");
    let said = shop.push(&work, "builder", &["main"]).fails(&[
        "application.yml: shared: removed: rejected: orders (no instance now) and services that you may not read require it",
    ]);
    assert!(!said.err.contains("billing"), "{}", said.err);
    work.commit("//- application.yml\nshared: x\n");
    shop.accepts(&work, "builder", &["main"]);
}

fn short(commit: &str) -> &str {
    &commit[..7]
}

#[test]
fn every_new_commit_is_compared_with_each_of_its_parents() {
    let shop = Shop::new();
    let work = shop.clone("own");
    work.commit("//- orders.yml\nname: Changed\n");
    shop.accepts(&work, "builder", &["main"]);

    // One commit touches another application, the next one reverts it.
    let touching = work.commit("//- billing.yml\nname: Mine\n");
    work.git(&["revert", "--no-edit", "HEAD"]).succeeds();
    let message = format!(
        "commit {} changes billing.yml, which builder may not push to main",
        short(&touching)
    );
    shop.rejects(&work, &["main"], &[&message, "no branch was updated"]);

    // A rename takes the other file away. The pusher did not write its name.
    work.git(&["reset", "--quiet", "--hard", "origin/main"]).succeeds();
    work.git(&["pull", "--quiet"]).succeeds();
    work.git(&["mv", "billing-canary.yml", "orders-taken.yml"]).succeeds();
    let renaming = work.commit("");
    let message = format!("commit {} deletes a file, which builder may not", short(&renaming));
    shop.rejects(&work, &["main"], &[&message]);

    // A new root without a common history.
    work.git(&["checkout", "--quiet", "--orphan", "other"]).succeeds();
    work.commit("//- orders.yml\nname: Root\n");
    shop.rejects(&work, &["+other:main"], &["may not force-push main"]);
}

#[test]
fn a_merge_takes_over_what_its_branch_has_and_nothing_else() {
    let shop = Shop::new();
    let (own, other) = (shop.clone("own"), shop.clone("other"));
    other.commit("//- billing.yml\nname: Newer\n");
    shop.accepts(&other, "ops", &["main"]);
    own.commit("//- orders.yml\nname: Mine\n");
    own.git(&["fetch", "--quiet"]).succeeds();
    own.git(&["branch", "work"]).succeeds();

    // A merge that keeps the older files of billing undoes the newer ones.
    own.git(&["merge", "--quiet", "--no-edit", "-s", "ours", "origin/main"]).succeeds();
    shop.rejects(&own, &["main"], &["changes billing.yml"]);
    own.git(&["reset", "--quiet", "--hard", "work"]).succeeds();
    own.git(&["merge", "--quiet", "--no-edit", "origin/main"]).succeeds();
    shop.accepts(&own, "builder", &["main"]);

    // A merge with an ancestor can have its files although no parent seems to differ.
    let ancestor = own.git(&["rev-parse", "HEAD~2"]).succeeds().out.trim().to_owned();
    own.commit("//- orders.yml\nname: Again\n");
    own.git(&["checkout", "--quiet", &ancestor, "--", "billing.yml"]).succeeds();
    let tree = own.git(&["write-tree"]).succeeds().out.trim().to_owned();
    let merge = ["commit-tree", &tree, "-p", "HEAD", "-p", &ancestor, "-m", "Merge"];
    let merge = own.git(&merge).succeeds().out.trim().to_owned();
    shop.rejects(&own, &[&format!("{merge}:main")], &["changes billing.yml"]);

    // Commits that are published on another branch are new to this one.
    other.git(&["pull", "--quiet"]).succeeds();
    other.git(&["checkout", "--quiet", "-b", "feature"]).succeeds();
    other.commit("//- billing-canary.yml\nx: 2\n");
    shop.accepts(&other, "ops", &["feature"]);
    shop.rejects(
        &other,
        &["feature:main"],
        &["changes a file, which builder may not push to main"],
    );
}

#[test]
fn branches_and_tags_need_a_rule_of_their_own() {
    let shop = Shop::new();
    let work = shop.clone("own");
    work.commit("//- orders.yml\nname: Changed\n");
    shop.accepts(&work, "builder", &["main"]);
    shop.rejects(&work, &["HEAD~1:refs/heads/old"], &["builder may not create old"]);
    shop.rejects(&work, &["HEAD:refs/tags/v1"], &["builder may not create v1"]);
    shop.rejects(&work, &["+HEAD~1:main"], &["builder may not force-push main"]);
    shop.rejects(&work, &["--delete", "main"], &["builder may not delete main"]);
    let rejected = work.git(&["push", &shop.url("lister"), "main"]);
    rejected.fails(&["not found"]);
}

#[test]
fn the_content_of_a_push_stays_within_its_area() {
    let shop = Shop::new();
    let work = shop.clone("own");
    for (change, parts) in [
        (
            "//- orders.yml\nname: x\nspring.config.import: billing.yml\n",
            ["orders.yml:2", "another area"],
        ),
        ("//- orders.yml\ndb.password: hunter2\n", ["orders.yml:1", "db.password"]),
        (
            "//- orders.yml\nkey: '{cipher}00AABBCCDDEEFF0011223344556677889900aabbccddeeff00112233445566'\n",
            ["orders.yml:1", "already in a file of another area"],
        ),
    ] {
        work.git(&["reset", "--quiet", "--hard", "origin/main"]).succeeds();
        work.commit(change);
        shop.rejects(&work, &["main"], &parts);
    }
    work.git(&["reset", "--quiet", "--hard", "origin/main"]).succeeds();
    std::os::unix::fs::symlink("billing.yml", work.path.join("orders-link.yml")).unwrap();
    work.commit("");
    shop.rejects(&work, &["main"], &["orders-link.yml", "another area"]);

    // The answer does not show whether the file exists.
    work.git(&["reset", "--quiet", "--hard", "origin/main"]).succeeds();
    std::os::unix::fs::symlink("billing-absent.yml", work.path.join("orders-link.yml")).unwrap();
    work.commit("");
    let pushed = work.git(&["push", &shop.url("builder"), "main"]);
    let said = pushed.fails(&["orders-link.yml", "another area"]);
    assert!(!said.err.contains("without a target"), "{}", said.err);
}

#[test]
fn a_pusher_that_may_not_clone_sends_complete_objects() {
    let shop = Shop::new();
    let work = shop.clone("own");
    let long = |count| format!("//- orders.yml\nname: {}\n", "long ".repeat(count));
    work.commit(&long(2_000));
    shop.accepts(&work, "ops", &["main"]);
    // Git itself does as the listing asks.
    let base = work.commit(&long(2_001));
    shop.accepts(&work, "builder", &["main"]);

    // A pack with a difference from a file of the server could show that file to a pusher that knows its id.
    let changed = work.commit(&long(2_002));
    let (revisions, pack) = (shop.place.path().join("revisions"), shop.place.path().join("pack"));
    std::fs::write(&revisions, format!("{changed}\n^{base}\n")).unwrap();
    let made = std::process::Command::new("git")
        .args(["pack-objects", "--thin", "--revs", "--stdout", "-q"])
        .current_dir(&work.path)
        .stdin(std::fs::File::open(&revisions).unwrap())
        .stdout(std::fs::File::create(&pack).unwrap())
        .status();
    assert!(made.unwrap().success());
    let line = format!("{base} {changed} refs/heads/main\0report-status\n");
    let body =
        [format!("{:04x}{line}0000", line.len() + 4).as_bytes(), &std::fs::read(&pack).unwrap()]
            .concat();
    let before = shop.references();
    let thin = |principal: &str| {
        let request = format!(
            "POST /-/git/main.git/git-receive-pack HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Authorization: Bearer {}\r\nContent-Type: application/x-git-receive-pack-request\r\n\
             Content-Length: {}\r\n\r\n",
            token(principal, 1),
            body.len()
        );
        shop.hosted.server.send(&[request.as_bytes(), &body].concat()).expect(200).text()
    };
    let said = thin("builder");
    assert!(said.contains("unpacker error"), "{said}");
    assert_eq!(shop.references(), before);
    let said = thin("ops");
    assert!(said.contains("ok refs/heads/main"), "{said}");
}

#[test]
fn a_report_names_only_what_its_pusher_may_read() {
    let shop = Shop::new();
    // Both environments are in use.
    super::get(*shop.hosted.server, "/orders/default", "orders").expect(200);
    super::get(*shop.hosted.server, "/billing/default", "billing").expect(200);
    let work = shop.clone("own");
    work.commit("//- application.yml\nshared: changed\n");
    let said = shop.accepts(&work, "builder", &["main"]);
    assert!(said.contains("orders/default") && said.contains("that you may not read"), "{said}");
    assert!(!said.contains("billing"), "{said}");

    // A shared value that breaks another application is reported without its name.
    let other = shop.clone("other");
    let schema = r#"{"properties":{"shared":{"enum":["changed","canary"]}}}"#;
    other.commit(&format!("//- billing.schema.json\n{schema}\n"));
    shop.accepts(&other, "ops", &["main"]);
    work.git(&["pull", "--quiet"]).succeeds();
    work.commit("//- application.yml\nshared: bad\n");
    let said = work.git(&["push", &shop.url("builder"), "main"]);
    let said = said.fails(&["application.yml:1", "an environment that you may not read"]);
    assert!(!said.err.contains("billing") && !said.err.contains("canary"), "{}", said.err);
    let said = work.git(&["push", &shop.url("ops"), "main"]).fails(&["billing"]);
    assert!(said.err.contains("application.yml:1"), "{}", said.err);
}

#[test]
fn a_pusher_of_one_application_is_listed_the_branches_that_it_may_push() {
    let shop = Shop::new();
    let work = shop.clone("own");
    work.git(&["checkout", "--quiet", "-b", "canary-branch"]).succeeds();
    work.commit("//- billing.yml\nname: Newer\n");
    shop.accepts(&work, "ops", &["canary-branch"]);
    let path = "/-/git/main.git/info/refs?service=git-receive-pack";
    let listed = |principal: &str| super::get(*shop.hosted.server, path, principal).expect(200);
    assert!(listed("ops").text().contains("refs/heads/canary-branch"));
    let text = listed("builder").text();
    assert!(text.contains("refs/heads/main") && text.contains("report-status"), "{text}");
    assert!(!text.contains("canary"), "{text}");
}
