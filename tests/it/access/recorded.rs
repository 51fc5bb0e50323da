//! A policy with `enforce = false`: nothing is denied, and the log and the metrics show what would be.

use super::{Guarded, PolicyFile, RULES, get, metric, policy};
use crate::fixture::{Child, Repository};

fn unenforced() -> String {
    policy(RULES).replacen("version = 1\n", "version = 1\nenforce = false\n", 1)
}

#[test]
fn without_enforcement_requests_are_answered_and_counted() {
    let guarded = Guarded::new(RULES);
    let count =
        || metric(*guarded.server, "headwater_access_denials_total{outcome=\"would_deny\"}");
    guarded.get("/billing/prod", "orders").expect(404);
    assert_eq!(count(), 0);
    guarded.policy.replace(&unenforced());
    crate::fixture::eventually("the new policy is in force", || {
        guarded.get("/billing/prod", "orders").status == 200
    });
    let before = count();
    for _ in 0..3 {
        guarded.get("/billing/prod", "orders").expect(200);
        guarded.server.get("/billing-prod.yml").expect(200);
        guarded.get("/-/environments", "orders").expect(200);
        guarded.get("/billing/prod/main/plain.txt", "orders").expect(200);
    }
    assert_eq!(count() - before, 12);
    // A credential that identifies no principal is rejected all the same.
    guarded.server.get_with("/orders/prod", &[("Authorization", "Bearer bad")]).expect(401);
}

#[test]
fn the_log_names_principal_and_object_once() {
    let (repository, file) = (Repository::new(super::SHOP), PolicyFile::new(&unenforced()));
    let config = file.path().with_file_name("headwater.toml");
    let text = format!("[access]\npolicy_file = {:?}\n", file.path());
    std::fs::write(&config, text).unwrap();
    let config = config.display().to_string();
    let child = Child::serve(&["--source", &repository.uri(), "--config", &config]);
    for _ in 0..3 {
        get(*child, "/billing/prod", "orders").expect(200);
    }
    child.get("/billing/prod").expect(200);
    let (_, log) = child.stop();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|line: &serde_json::Value| line["event"] == "would_deny")
        .collect();
    let of = |principal: &str| {
        let named: Vec<_> = lines.iter().filter(|line| line["principal"] == principal).collect();
        assert_eq!(named.len(), 1, "{principal}: {log}");
        named[0]["object"].as_str().unwrap().to_owned()
    };
    assert!(of("orders").contains("billing/prod"), "{}", of("orders"));
    assert!(of("anonymous").contains("billing/prod"), "{}", of("anonymous"));
    assert!(!log.contains("hw_orders"), "the log contains a token: {log}");
}
