//! The values of other replicas.

use std::collections::BTreeMap;

use headwater_rollout::state::Phase;

use super::*;

fn report(rollout: &str) -> Report {
    Report {
        replica: "a".into(),
        rollout: rollout.into(),
        number: 1,
        phase: Phase::Trying,
        applications: BTreeMap::new(),
        is_trying: false,
        tries: Vec::new(),
    }
}

fn others(exchange: &EvidenceExchange) -> Vec<(String, String)> {
    let reports = exchange.other_reports("own").into_iter();
    reports.map(|(id, report)| (id, report.rollout.to_string())).collect()
}

#[test]
fn values_of_others_are_kept_until_their_keys_are_gone() {
    let exchange = EvidenceExchange::default();
    for id in ["own", "b", "c"] {
        let text = report("r-1").to_text();
        assert!(exchange.record(&format!("{id}/r-1"), Some(text.as_bytes())));
    }
    assert_eq!(others(&exchange), [("b".into(), "r-1".into()), ("c".into(), "r-1".into())]);
    assert!(exchange.record("b/r-1", None));
    assert_eq!(others(&exchange), [("c".into(), "r-1".into())]);
}

#[test]
fn a_value_that_cannot_be_read_does_not_leave_an_old_one() {
    let exchange = EvidenceExchange::default();
    let text = report("r-1").to_text();
    assert!(exchange.record("b/r-1", Some(text.as_bytes())));
    assert!(!exchange.record("b/r-2", Some(text.as_bytes())), "the key names another rollout");
    assert!(!exchange.record("odd", Some(text.as_bytes())));
    assert!(!exchange.record("b/r-1", Some(b"{}")));
    assert!(others(&exchange).is_empty());
}

#[test]
fn reports_are_taken_back_with_their_rollout() {
    let exchange = EvidenceExchange::default();
    exchange.publish_reports(vec![report("r-1"), report("r-2")]);
    let names = || lock(&exchange.own).texts.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(), ["r-1", "r-2"]);
    exchange.publish_headcounts(Bytes::from_static(b"{}"));
    exchange.publish_reports(vec![report("r-2")]);
    assert_eq!(names(), ["instances", "r-2"]);
}
