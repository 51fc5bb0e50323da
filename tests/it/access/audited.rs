//! The audit trail of a server with a policy: what becomes a line, and what happens without a disk.

use headwater_access::audit::{AuditEvent, AuditLine};

use super::{PolicyFile, RULES, bearer, get, metric, policy, token};
use crate::audit::{TrailFile, is_rejected_by_the_trail};
use crate::fixture::{Hosted, Tree, clone, eventually};

/// The metric of the fault.
const FAULT: &str = "headwater_faults{kind=\"audit-unwritable\"}";

struct Audited {
    hosted: Hosted,
    policy: PolicyFile,
    trail: TrailFile,
    place: tempfile::TempDir,
}

impl Audited {
    fn new() -> Self {
        let (policy, trail) = (PolicyFile::new(&policy(RULES)), TrailFile::new());
        let hosted = Hosted::with("//- orders.yml\na: 1\n", |settings| {
            settings.access.policy_file = Some(policy.path());
            settings.audit.file = Some(trail.path());
        });
        Self { hosted, policy, trail, place: tempfile::tempdir().unwrap() }
    }

    fn clone(&self) -> Tree {
        let with_token = format!("http://ops:{}@", token("ops", 1));
        let url = self.hosted.url().replacen("http://", &with_token, 1);
        clone(&url, &self.place.path().join("clone"))
    }
}

#[test]
fn acts_denials_and_policies_become_lines() {
    let audited = Audited::new();
    let (server, trail) = (*audited.hosted.server, &audited.trail);
    for _ in 0..3 {
        get(server, "/billing/prod", "orders").expect(404);
        server.get_with("/orders/prod", &[("Authorization", "Bearer not-a-token")]).expect(401);
    }
    let denied = trail.wait_for("a denial", |line| line.event == AuditEvent::Denied);
    assert_eq!(denied.principal.as_deref(), Some("orders"));
    assert_eq!(denied.application.as_deref(), Some("billing"));
    assert_eq!(denied.address.as_deref(), Some("127.0.0.1"));
    assert!(denied.proof.unwrap().starts_with("token:"));
    assert!(denied.reason.unwrap().contains("billing/prod"));
    let clone = audited.clone();
    let commit = clone.commit("//- orders.yml\na: 2\n//- docs/readme.txt\nx\n");
    clone.push(&["main"]).succeeds();
    // The line was durable before the push was acknowledged.
    let pushes = trail.of(AuditEvent::Push);
    let [push] = &pushes[..] else { panic!("{pushes:?}") };
    assert_eq!(push.principal.as_deref(), Some("ops"));
    assert_eq!(push.kind.as_deref(), Some("operator"));
    assert_eq!((push.path.as_deref(), push.branch.as_deref()), (Some("main"), Some("main")));
    assert_eq!(push.commits, std::slice::from_ref(&commit));
    assert_eq!(push.paths, ["docs/readme.txt", "orders.yml"]);
    clone.commit("//- orders.yml\na: [\n");
    clone.push(&["main"]).fails(&["orders.yml"]);
    let rejected = trail.of(AuditEvent::Push).pop().unwrap();
    assert_eq!(rejected.outcome.as_deref(), Some("rejected"));
    assert!(rejected.reason.unwrap().contains("orders.yml"));
    get(server, "/orders/default", "orders").expect(200);
    changes_of_the_policy_become_lines(&audited);
    let Audited { hosted, trail, .. } = audited;
    drop(hosted);
    check_the_end(&trail);
}

fn changes_of_the_policy_become_lines(audited: &Audited) {
    let more = "[[allow]]\nwho = [\"orders\"]\nmay = [\"read\"]\napplication = [\"billing\"]\n\
                profile = [\"*\"]\n";
    audited.policy.replace(&policy(&format!("{RULES}{more}")));
    let change = "orders may now read billing/*";
    audited.trail.wait_for("the difference", |line| {
        line.event == AuditEvent::PolicyLoaded && line.details.iter().any(|it| it == change)
    });
    audited.policy.replace(&policy(RULES).replace("who =", "whom ="));
    let is_rejected = |line: &AuditLine| line.event == AuditEvent::PolicyRejected;
    audited.trail.wait_for("the broken policy", is_rejected);
    let unenforced = policy(RULES).replacen("version = 1\n", "version = 1\nenforce = false\n", 1);
    audited.policy.replace(&unenforced);
    let server = *audited.hosted.server;
    eventually("nothing is denied", || get(server, "/billing/prod", "lister").status == 200);
    let would = |line: &AuditLine| line.event == AuditEvent::WouldDeny;
    let line = audited.trail.wait_for("a request that would be denied", would);
    assert_eq!(line.principal.as_deref(), Some("lister"));
    assert_eq!(line.application.as_deref(), Some("billing"));
}

/// The last lines, and the counts before them.
fn check_the_end(trail: &TrailFile) {
    let counts = |event, principal: Option<&str>| {
        let lines = trail.of(event).into_iter();
        let lines = lines.filter(|line| line.principal.as_deref() == principal);
        lines.map(|line| line.count).collect::<Vec<_>>()
    };
    assert_eq!(counts(AuditEvent::CredentialRejected, None), [None, Some(2)]);
    assert_eq!(counts(AuditEvent::Denied, Some("orders")), [None, Some(2)]);
    let lines = trail.lines();
    assert_eq!(lines.first().unwrap().event, AuditEvent::Started);
    assert_eq!(lines.last().unwrap().event, AuditEvent::Stopped);
    assert!(trail.verify().line_count as usize == lines.len());
    let text = std::fs::read_to_string(trail.path()).unwrap();
    for secret in ["hw_orders", "hw_ops", "Bearer", "not-a-token"] {
        assert!(!text.contains(secret), "the trail contains {secret}");
    }
}

/// The outcome and the reason of the last push in the trail.
fn last_push(audited: &Audited) -> (String, String) {
    let push = audited.trail.of(AuditEvent::Push).pop().expect("a push");
    (push.outcome.unwrap_or_default(), push.reason.unwrap_or_default())
}

#[test]
fn a_push_that_git_itself_rejects_is_recorded_as_rejected() {
    let audited = Audited::new();
    let (clone, before) = (audited.clone(), audited.hosted.tip("main"));
    // Git cannot store a branch below another one. The rejection comes before the push is recorded as accepted.
    let said = clone.push(&["HEAD:refs/heads/main/below"]);
    said.fails(&["main/below: another branch or tag has a name that begins with this one"]);
    let (outcome, reason) = last_push(&audited);
    assert_eq!(outcome, "rejected");
    assert!(reason.contains("main/below"), "{reason}");
    assert_eq!(audited.trail.of(AuditEvent::Push).len(), 1);
    let said = clone.push(&["HEAD:refs/heads/a/b", "HEAD:refs/heads/a"]);
    said.fails(&["another branch or tag has a name that begins with this one"]);
    // Git cannot move a reference that another process has locked.
    clone.commit("//- orders.yml\na: 2\n");
    let lock = audited.hosted.repository().path.join("refs/heads/main.lock");
    std::fs::write(&lock, "").unwrap();
    clone.push(&["main"]).fails(&["main"]);
    let (outcome, reason) = last_push(&audited);
    assert_eq!(outcome, "rejected");
    assert!(reason.contains("git did not move"), "{reason}");
    assert_eq!(audited.hosted.tip("main"), before);
    // Git rejects a damaged pack before it runs the hook.
    let line = format!("{before} {} refs/heads/main\0report-status\n", "1".repeat(40));
    let body = format!("{:04x}{line}0000PACK no pack at all", line.len() + 4);
    let request = format!(
        "POST /-/git/main.git/git-receive-pack HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Authorization: {}\r\nContent-Type: application/x-git-receive-pack-request\r\n\
         Content-Length: {}\r\n\r\n{body}",
        bearer("ops", 1),
        body.len()
    );
    let count = audited.trail.of(AuditEvent::Push).len();
    let said = audited.hosted.server.send(request.as_bytes()).expect(200).text();
    assert!(said.contains("unpack"), "{said}");
    let (outcome, reason) = last_push(&audited);
    assert_eq!(outcome, "rejected");
    assert!(reason.contains("before its review"), "{reason}");
    assert_eq!(audited.trail.of(AuditEvent::Push).len(), count + 1);
    std::fs::remove_file(&lock).unwrap();
    clone.push(&["main"]).succeeds();
    assert_eq!(last_push(&audited).0, "accepted");
    // A push of nothing is no act.
    let count = audited.trail.of(AuditEvent::Push).len();
    clone.push(&["main"]).succeeds();
    assert_eq!(audited.trail.of(AuditEvent::Push).len(), count);
    let Audited { hosted, trail, .. } = audited;
    drop(hosted);
    trail.verify();
}

#[test]
fn an_audit_trail_that_cannot_be_written_rejects_acts_and_is_reported() {
    let audited = Audited::new();
    let (server, trail) = (*audited.hosted.server, &audited.trail);
    let clone = audited.clone();
    clone.commit("//- orders.yml\na: 2\n");
    let before = audited.hosted.tip("main");
    assert_eq!(metric(server, FAULT), 0);
    trail.block();
    is_rejected_by_the_trail(clone.push(&["main"]));
    // The second push finds the trail failing already.
    is_rejected_by_the_trail(clone.push(&["main"]));
    assert_eq!(audited.hosted.tip("main"), before);
    // Reading goes on.
    get(server, "/orders/default", "orders").expect(200);
    get(server, "/billing/prod", "orders").expect(404);
    assert_eq!(metric(server, FAULT), 1);
    assert!(metric(server, "headwater_audit_waiting_bytes") > 0);
    for path in ["/actuator/health", "/-/problems"] {
        let text = get(server, path, "ops").expect(200).text();
        assert!(text.contains("\"kind\":\"audit-unwritable\""), "{text}");
    }
    // A policy whose change cannot be recorded does not take effect.
    let open = "[[allow]]\nwho = [\"orders\"]\nmay = [\"read\"]\napplication = [\"billing\"]\n\
                profile = [\"*\"]\n";
    audited.policy.replace(&policy(&format!("{RULES}{open}")));
    eventually("the policy is reported", || {
        get(server, "/-/problems", "ops").text().contains("policy-unusable")
    });
    get(server, "/billing/prod", "orders").expect(404);

    trail.unblock();
    eventually("the fault is over", || metric(server, FAULT) == 0);
    clone.push(&["main"]).succeeds();
    // The file is read again when it changes.
    audited.policy.replace(&policy(&format!("{RULES}{open}# again\n")));
    eventually("the policy is in force", || {
        server.get_with("/billing/prod", &[("Authorization", &bearer("orders", 1))]).status == 200
    });
    let Audited { hosted, trail, .. } = audited;
    drop(hosted);
    trail.verify();
    let outcomes = trail.of(AuditEvent::Push).into_iter().filter_map(|line| line.outcome);
    let outcomes: Vec<String> = outcomes.collect();
    // If the first push is what finds the failure, it has a line, which the next one corrects.
    let outcomes = outcomes.strip_prefix(&["accepted".to_owned()]).unwrap_or(&outcomes);
    assert_eq!(outcomes, ["rejected", "rejected", "accepted"]);
}
