//! Tests of the sentences that no other test reads.

use std::time::Duration;

use super::*;
use crate::plan::{Plan, Reach, Stage};
use crate::verdict::{Fault, Incident, IncidentKind, Lack};

#[test]
fn a_rollback_names_the_instance_and_the_commits() {
    let fault = Fault::Rejected {
        instance: "web-3".into(),
        reason: Some("type catalogue.page-size".into()),
    };
    let applications = vec!["product".into()];
    let stable = "81668b06af".repeat(4).into();
    let tip = "e796e2dd67".repeat(4).into();
    let kind = EventKind::Withheld { fault, applications, stable, tip };
    let event = Event { rollout: "r-7f3a2c91d0".into(), kind };
    assert_eq!(
        event.to_string(),
        "r-7f3a2c91d0: rolled back: web-3 rejected it (type catalogue.page-size). product is back at \
         81668b06af. e796e2dd67 is withheld until a push changes it"
    );
}

#[test]
fn each_incident_has_a_sentence() {
    let texts = [
        (IncidentKind::Restarted(1), "web-3 has restarted"),
        (IncidentKind::Restarted(2), "web-3 has restarted twice"),
        (IncidentKind::Restarted(3), "web-3 has restarted 3 times"),
        (IncidentKind::Gone, "web-3 has disconnected"),
        (IncidentKind::Silent, "web-3 has not reported"),
        (IncidentKind::Bad, "web-3 has rejected it or is down"),
    ];
    for (kind, expected) in texts {
        assert_eq!(Incident { instance: "web-3".into(), kind }.to_string(), expected);
    }
}

#[test]
fn what_is_missing_is_named() {
    for (lack, expected) in [
        (Lack::Replicas(vec!["r1".into(), "r2".into()]), "no current evidence from r1, r2"),
        (
            Lack::Canaries { application: "order".into(), present: 1, wanted: 2 },
            "order needs 2 canaries and has 1 with the change",
        ),
        (Lack::Acknowledgements { ok: 3, given: 5 }, "3 of 5 instances accepted it"),
        (
            Lack::Check { check: "errors".into(), good: 1, samples: 3, errors: 0 },
            "check errors has 1 of 3 good results",
        ),
        (Lack::Time { seconds: 4 }, "watching for 4 s more"),
    ] {
        assert_eq!(lack.to_string(), expected);
    }
    let lack = Some(Lack::Time { seconds: 4 });
    let progress =
        Progress { rollout: "r-1".into(), stage: Some(0), stages: 4, ok: 1, instances: 12, lack };
    assert_eq!(progress.to_string(), "stage 1 of 4: 1 of 12 have it, watching for 4 s more");
}

#[test]
fn long_lists_are_counted() {
    let names: Vec<Name> = (0..10).map(|index| format!("a{index}").into()).collect();
    assert_eq!(list(&names), "a0, a1, a2, a3, a4, a5, a6, a7 and 2 more");
    assert_eq!(list(&["order".into(), OTHERS.into()]), "order, every other application");
    assert_eq!(list(&names[..8]), "a0, a1, a2, a3, a4, a5, a6, a7");
}

#[test]
fn a_plan_names_what_its_canaries_detect() {
    assert!((detection(1, 0.2) - 0.2).abs() < 1e-9);
    assert_eq!((detection(5, 0.2) * 100.0).round(), 67.0);
    assert_eq!((detection(10, 0.2) * 100.0).round(), 89.0);
    assert_eq!((detection(59, 0.05) * 100.0).round(), 95.0);
    assert_eq!(detection(3, 2.0), 1.0);
    let lines = describe(&Plan::built_in("careful").unwrap(), 1000);
    assert!(lines[0].starts_with("stage 1: 1 of 1000 after 0 s."), "{lines:?}");
    assert!(lines[1].starts_with("stage 2: 50 of 1000 after 120 s."), "{lines:?}");
    assert!(lines[2].starts_with("stage 3: 250 of 1000 after 420 s."), "{lines:?}");
    assert_eq!(lines[3], "stage 4: all 1000 after 720 s, watched for 600 s");
    let last = vec![Stage { reach: Reach::All, bake: Duration::from_secs(600) }];
    let zones = Plan {
        by: Some("zone".into()),
        by_bake: Duration::from_secs(300),
        ..Plan::with_stages("zones", last)
    };
    let expected = [
        "stage 1: the instances of each zone in turn, watched for 300 s each",
        "stage 2: all 90 after that, watched for 600 s",
    ];
    assert_eq!(describe(&zones, 90), expected);
}
