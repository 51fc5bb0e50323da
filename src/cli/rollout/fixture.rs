//! A rollout for tests of its text.

use headwater_wire::{RolloutApplication, RolloutRecord, RolloutState, RolloutStatus};

/// A rollout in its first stage.
pub(super) fn rollout() -> RolloutStatus {
    RolloutStatus {
        id: "r-7f3a2c91d0".to_owned(),
        repository: "config".to_owned(),
        branch: "main".to_owned(),
        from: "81668b06af".repeat(4),
        to: "e796e2dd67".repeat(4),
        state: RolloutState::Stage,
        why: None,
        missing: Some("watching for 7 s more".to_owned()),
        stage: Some(1),
        stages: 2,
        reach: Some("5%".to_owned()),
        plan: "auto".to_owned(),
        applications: vec![application("product", Some(1))],
        instances: Some(12),
        ok: Some(1),
        by: "ada".to_owned(),
        because: None,
        opened: "2026-11-30T20:01:02Z".to_owned(),
        since: None,
        depends_on: Vec::new(),
        events: vec![
            record("opened", "opened for product with plan auto"),
            record("stage", "stage 1 of 2: product 1 of 12"),
        ],
    }
}

pub(super) fn application(name: &str, canaries: Option<u64>) -> RolloutApplication {
    RolloutApplication {
        application: name.to_owned(),
        stable: "81668b06af".repeat(4),
        canaries,
        instances: Some(12),
        ok: canaries,
    }
}

pub(super) fn record(event: &str, text: &str) -> RolloutRecord {
    let at = "2026-11-30T20:01:02.818174983Z".to_owned();
    RolloutRecord { at, event: event.to_owned(), text: text.to_owned() }
}
