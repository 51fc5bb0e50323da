//! The audit trail of a running server, read by principals with the right `audit`.

use super::{Guarded, RULES, SHOP, bearer, get};
use crate::audit::TrailFile;
use crate::fixture::Server;

const AUDITOR: &str = "[[allow]]\nwho = [\"lister\"]\nmay = [\"audit\"]\n";

fn guarded(trail: &TrailFile, enforce: &str) -> Guarded {
    let guarded = Guarded::with(SHOP, &format!("{RULES}{AUDITOR}"), |settings| {
        settings.audit.file = Some(trail.path());
        if !enforce.is_empty() {
            let file = settings.access.policy_file.as_ref().unwrap();
            let text = std::fs::read_to_string(file).unwrap();
            let text = text.replacen("version = 1\n", &format!("version = 1\n{enforce}\n"), 1);
            std::fs::write(file, text).unwrap();
        }
    });
    assert!(!guarded.repository.uri().is_empty());
    guarded
}

#[test]
fn a_principal_with_the_right_reads_pages_by_conditions() {
    let trail = TrailFile::new();
    let guarded = guarded(&trail, "");
    for name in ["a", "b", "c"] {
        guarded.get(&format!("/{name}/prod"), "orders").expect(404);
    }
    trail.wait_for("the last denial", |line| line.application.as_deref() == Some("c"));
    let read = |query: &str| guarded.get(&format!("/-/audit?{query}"), "lister").expect(200).json();
    let applications = |page: &serde_json::Value| -> Vec<String> {
        let lines = page["lines"].as_array().unwrap().iter();
        lines.map(|line| line["application"].as_str().unwrap().to_owned()).collect()
    };
    let all = read("event=denied&principal=orders");
    assert_eq!(
        (applications(&all), &all["next"]),
        (vec!["a".into(), "b".into(), "c".into()], &serde_json::Value::Null)
    );
    let first = read("event=denied&principal=orders&limit=2");
    assert_eq!(applications(&first), ["a", "b"]);
    let next = first["next"].as_u64().unwrap();
    assert_eq!(applications(&read(&format!("event=denied&after={next}&limit=2"))), ["c"]);
    assert_eq!(applications(&read("application=b")), ["b"]);
    assert_eq!(read("since=2999-01-01")["lines"].as_array().unwrap().len(), 0);
    let last = read("event=started");
    assert_eq!(last["lines"][0]["seq"], 1);
    for query in ["event=nonsense", "since=soon", "after=-1", "limit=x", "principal=%ff"] {
        guarded.get(&format!("/-/audit?{query}"), "lister").expect(400);
    }
    // The lines are those of the file.
    assert_eq!(
        all["lines"][0]["prev"],
        trail.lines().iter().find(|line| line.application.as_deref() == Some("a")).unwrap().prev
    );
}

#[test]
fn the_trail_is_absent_for_other_principals() {
    for enforce in ["", "enforce = false"] {
        let trail = TrailFile::new();
        let guarded = guarded(&trail, enforce);
        let absent = guarded.get("/-/nothing", "ops").expect(404);
        for principal in ["orders", "ops", "builder"] {
            let denied = guarded.get("/-/audit", principal).expect(404);
            let text = denied.text().replace("/-/audit", "/-/nothing");
            let without_time = |text: &str| text.split_once("\"status\"").unwrap().1.to_owned();
            assert_eq!(without_time(&text), without_time(&absent.text()), "{principal}");
        }
        guarded.server.get("/-/audit").expect(401);
        guarded.get("/-/audit", "lister").expect(200);
    }
}

#[test]
fn without_a_policy_or_a_file_there_is_no_trail_to_read() {
    let guarded = Guarded::with(SHOP, &format!("{RULES}{AUDITOR}"), |_| {});
    guarded.get("/-/audit", "lister").expect(404);
    let trail = TrailFile::new();
    let mut settings = crate::fixture::settings(&guarded.repository.uri());
    settings.audit.file = Some(trail.path());
    let open = Server::with(settings);
    open.get("/-/audit").expect(404);
    open.get_with("/-/audit", &[("Authorization", &bearer("lister", 1))]).expect(404);
    get(*open, "/orders/default", "orders").expect(200);
}
