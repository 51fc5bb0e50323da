//! Push options, as git itself sends them: what each of them does, and what a dry run leaves.

use headwater_access::audit::{AuditEvent, AuditLine};

use super::SHOP;
use super::refused::{command_line, post};
use crate::audit::TrailFile;
use crate::fixture::{Hosted, Tree};

/// Everything that a push can leave behind: objects, references and the served revision.
fn state(hosted: &Hosted) -> (String, String, Option<String>) {
    let served = hosted.server.get("/orders/dev").expect(200);
    let revision = served.header("headwater-revision").map(str::to_owned);
    (hosted.contents(), hosted.repository().git(&["for-each-ref"]).out, revision)
}

/// The lines of pushes in a trail: outcome and details.
fn recorded(trail: &TrailFile) -> Vec<(String, Vec<String>)> {
    let lines = trail.of(AuditEvent::Push).into_iter();
    lines.map(|AuditLine { outcome, details, .. }| (outcome.unwrap(), details)).collect()
}

fn audited() -> (Hosted, TrailFile) {
    let trail = TrailFile::new();
    let hosted = Hosted::with(SHOP, |settings| settings.audit.file = Some(trail.path()));
    (hosted, trail)
}

#[test]
fn an_unknown_option_rejects_the_push_and_names_the_known_ones() {
    let hosted = Hosted::new(SHOP);
    let tree = hosted.clone("work");
    tree.commit("//- orders.yml\nname: Pushed\n");
    let before = state(&hosted);
    tree.push(&["-o", "wiat", "main"]).fails(&[
        "remote: push rejected, no branch was updated: option wiat is unknown. Did you mean wait?",
        "dry-run, reason=<text>, override=contract, now",
        "pre-receive hook declined",
    ]);
    let said = tree.push(&["-o", "token=s3cr3t", "main"]).fails(&["option token is unknown"]);
    assert!(!said.err.contains("s3cr3t"), "{}", said.err);
    tree.push(&["-o", "wait=0", "main"]).fails(&["expected a share from 1% to 100%"]);
    tree.push(&["-o", "timeout=841", "main"]).fails(&["from 1 to 840"]);
    tree.push(&["-o", "plan=careful", "main"]).fails(&["this repository has no rollouts"]);
    assert_eq!(state(&hosted), before);
    tree.push(&["main"]).succeeds();
}

#[test]
fn options_of_the_users_configuration_count_like_those_of_the_command() {
    let hosted = Hosted::new(SHOP);
    let tree = hosted.clone("work");
    let configuration = tree.path.join("../gitconfig");
    std::fs::write(&configuration, "[push]\n\tpushOption = wiat\n\tpushOption = dry-run\n")
        .unwrap();
    let push = |arguments: &[&str]| {
        let mut command = tree.command(&[&["push", "origin", "main"], arguments].concat());
        let output = command.env("GIT_CONFIG_GLOBAL", &configuration).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    tree.commit("//- orders.yml\nname: Pushed\n");
    let (code, said) = push(&[]);
    assert!(code == Some(1) && said.contains("option wiat is unknown"), "{said}");
    std::fs::write(&configuration, "[push]\n\tpushOption = dry-run\n").unwrap();
    let (code, said) = push(&[]);
    assert!(code == Some(1) && said.contains("dry run: the push would be accepted"), "{said}");
    // An option of the command replaces those of the configuration.
    let (code, said) = push(&["-o", "now"]);
    assert!(code == Some(0) && said.contains("published main at"), "{said}");
}

#[test]
fn a_dry_run_reports_what_a_push_would_report_and_leaves_nothing() {
    let (hosted, trail) = audited();
    let tree = hosted.clone("work");
    let tip = tree.commit("//- orders.yml\nname: Pushed\nlimit: 2\n");
    let before = state(&hosted);
    let said = tree.push(&["-o", "dry-run", "main"]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    let said = said.says(&[
        "remote: changes 2 environments",
        "orders/dev",
        "remote: checked ",
        "remote: dry run: the push would be accepted. No branch was updated",
        "[remote rejected] main -> main (pre-receive hook declined)",
    ]);
    assert!(!said.err.contains("published"), "{}", said.err);
    // A dry run of new branches and tags, and one whose names git would refuse.
    tree.push(&["-o", "dry-run", "main:other", "main:refs/tags/v1"]).fails(&["would be accepted"]);
    tree.push(&["-o", "dry-run", "main:main/x"])
        .fails(&["main/x: another branch or tag has a name"]);
    assert_eq!(state(&hosted), before);
    let cat = hosted.repository().git(&["cat-file", "-e", &tip]);
    assert_ne!(cat.code, Some(0), "the commit of the dry run is in the repository");
    assert!(!hosted.contents().contains("tmp_objdir"));
    // One that would be rejected says so, as without the option.
    tree.commit("//- orders.yml\nname: [\n");
    let said = tree.push(&["-o", "dry-run", "main"]).fails(&["orders.yml:1:", "push rejected, no"]);
    assert!(!said.err.contains("would be accepted"), "{}", said.err);
    assert_eq!(state(&hosted), before);
    let dry_run = || vec!["dry-run".to_owned()];
    let expected = ["dry_run", "dry_run", "rejected", "rejected"];
    assert_eq!(recorded(&trail), expected.map(|outcome| (outcome.to_owned(), dry_run())));
    // The push itself is accepted afterwards, and metrics tell them apart.
    tree.commit("//- orders.yml\nname: Pushed\nlimit: 2\n");
    tree.push(&["main"]).succeeds();
    let metrics = hosted.server.get("/metrics").expect(200).text();
    for outcome in ["accepted", "dry_run"] {
        let sample = format!("headwater_push_seconds_count{{outcome=\"{outcome}\"}}");
        assert!(metrics.contains(&sample), "{outcome}: {metrics}");
    }
}

#[test]
fn an_override_is_recorded_with_its_reason() {
    let (hosted, trail) = audited();
    let tree = hosted.clone("work");
    tree.commit("//- orders.yml\nname: Pushed\n");
    tree.push(&["-o", "override=contract", "main"]).fails(&["override=contract needs a reason"]);
    tree.push(&["-o", "override=contract", "-o", "reason=incident 7", "-o", "now", "main"])
        .succeeds()
        .says(&["option now: no effect, because this repository", "published main at"]);
    let facts = ["override=contract", "now", "reason=incident 7"].map(str::to_owned).to_vec();
    let expected = [("rejected".to_owned(), vec![]), ("accepted".to_owned(), facts)];
    assert_eq!(recorded(&trail), expected);
}

/// The request of a push with options, as another client than git could send it. It moves no object.
fn push_with(hosted: &Hosted, tree: &Tree, options: &[String]) -> String {
    let tip = tree.git(&["rev-parse", "HEAD"]).out.trim().to_owned();
    let zero = "0".repeat(40);
    let capabilities = "report-status side-band-64k push-options";
    let mut body = command_line(&zero, &tip, "refs/heads/other", capabilities);
    for option in options {
        body.extend_from_slice(format!("{:04x}{option}", option.len() + 4).as_bytes());
    }
    body.extend_from_slice(b"0000");
    // An empty pack.
    let mut pack = b"PACK\0\0\0\x02\0\0\0\0".to_vec();
    pack.extend_from_slice(&[
        0x02, 0x9d, 0x08, 0x82, 0x3b, 0xd8, 0xa8, 0xea, 0xb5, 0x10, 0xad, 0x6a, 0xc7, 0x5c, 0x82,
        0x3c, 0xfd, 0x3e, 0xd3, 0x1e,
    ]);
    body.extend(pack);
    let reply = post(hosted, &body, &[]);
    String::from_utf8_lossy(&reply.body).into_owned()
}

#[test]
fn options_are_bounded_whatever_client_sends_them() {
    let hosted = Hosted::new(SHOP);
    let tree = hosted.clone("work");
    let before = state(&hosted);
    for (options, part) in [
        (vec!["now".to_owned(); 17], "it has 17 options, and at most 16 are read"),
        (vec!["now".to_owned(); 20_000], "it has 20000 options"),
        (vec![format!("reason={}", "x".repeat(600))], "option 1 has more than 512 bytes"),
        (vec![format!("reason={}", "x".repeat(60_000))], "option 1 has more than 512 bytes"),
        (vec!["now\nreason=two lines".to_owned()], "option 1 contains a character that cannot"),
        (vec!["reason=\u{1b}[2J".to_owned()], "option 1 contains a character that cannot"),
    ] {
        let answer = push_with(&hosted, &tree, &options);
        assert!(answer.contains(part), "{part}: {answer}");
        assert!(answer.contains("pre-receive hook declined"), "{answer}");
    }
    assert_eq!(state(&hosted), before);
    let answer = push_with(&hosted, &tree, &["now".to_owned()]);
    assert!(answer.contains("published other at"), "{answer}");
}
