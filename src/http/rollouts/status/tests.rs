//! Tests of the documents of rollouts: what a reader of a part of a rollout learns about its instances.

use std::collections::BTreeSet;
use std::sync::Arc;

use headwater_rollout::event::{Event, Progress};
use headwater_rollout::plan::Plan;
use headwater_rollout::state::Pause;

use super::*;

fn member() -> Member {
    let named = BTreeSet::new();
    let (stable, content, salt, bound) = ("a".into(), None, 7, Bound::NONE);
    Member { stable, content, salt, bound, named, wanted: 2 }
}

/// A rollout of two applications and of every other one, with `counted` instances of each of four applications.
fn view(counted: u64) -> RolloutView {
    let names = |names: &[&str]| names.iter().map(|name| Name::from(*name)).collect::<Vec<_>>();
    let members = names(&["*", "billing", "orders"]);
    let counts = Counts { instances: counted, ok: 1, ..Counts::default() };
    let known = names(&["billing", "cart", "orders", "search"]);
    let progress = Progress {
        rollout: "r-1".into(),
        stage: Some(0),
        stages: 2,
        ok: 4,
        instances: 4 * counted,
        lack: None,
    };
    RolloutView {
        repository: "main".into(),
        branch: "main".into(),
        is_head: true,
        standing: RolloutStanding::Running,
        progress: Some(progress),
        counts: known.into_iter().map(|name| (name, counts)).collect(),
        events: Vec::new(),
        rollout: Rollout {
            id: "r-1".into(),
            number: 1,
            from: "a".into(),
            to: "b".into(),
            salt: 7,
            plan: Arc::new(Plan::built_in("auto").expect("a plan")),
            members: members.into_iter().map(|name| (name, member())).collect(),
            phase: Phase::Stage(0),
            paused: None,
            depends_on: BTreeSet::from(["r-2".into(), "r-3".into()]),
            expected: 12,
            by: "ada".into(),
            because: Some("a test".into()),
            opened: WallTime(0),
        },
    }
}

fn counts_of(status: &RolloutStatus) -> Vec<(&str, Option<u64>)> {
    status.applications.iter().map(|own| (&*own.application, own.instances)).collect()
}

#[test]
fn the_instances_of_every_other_application_are_summed_up() {
    let view = view(3);
    let complete = Sight::complete(view.rollout.members.keys());
    let status = status(&view, &complete, Extent::Whole, |id| id == "r-3");
    assert_eq!(counts_of(&status), [("*", Some(6)), ("billing", Some(3)), ("orders", Some(3))]);
    assert_eq!((status.instances, status.ok), (Some(12), Some(4)));
    assert_eq!(status.depends_on, ["r-3"]);
    assert_eq!((&*status.by, status.because.as_deref()), ("ada", Some("a test")));
}

#[test]
fn a_part_of_a_rollout_counts_its_own_instances_only() {
    let view = view(3);
    let part = Sight::of_names([&Name::from("*"), &Name::from("orders")]);
    let status = status(&view, &part, Extent::Whole, |_| false);
    assert_eq!(counts_of(&status), [("*", None), ("orders", Some(3))]);
    assert_eq!((status.instances, status.ok), (Some(3), Some(1)));
    assert_eq!((&*status.by, status.because), ("", None));
    assert!(status.depends_on.is_empty());
}

#[test]
fn what_was_rolled_back_does_not_end_as_done() {
    let mut view = view(3);
    view.rollout.phase = Phase::Stage(view.rollout.plan.stages.len() - 1);
    view.standing = RolloutStanding::Ended { since: WallTime(1) };
    assert_eq!(state(&view), RolloutState::Released, "its events are not known");
    let applications = vec!["orders".into()];
    let ends = [
        (EventKind::Superseded { applications, next: "r-2".into() }, RolloutState::Superseded),
        (EventKind::Gone, RolloutState::Gone),
    ];
    for (kind, expected) in ends {
        view.events.push(RecordedEvent {
            at: Timestamp::UNIX_EPOCH,
            repository: "main".into(),
            branch: "main".into(),
            is_head: true,
            members: Arc::default(),
            is_last: true,
            event: Event { rollout: "r-1".into(), kind },
        });
        assert_eq!(state(&view), expected);
    }
    view.events.clear();
    for member in view.rollout.members.values_mut() {
        member.bound = Bound::EVERYONE;
    }
    assert_eq!(state(&view), RolloutState::Done, "every client had it");
}

#[test]
fn counts_are_absent_until_they_are_known() {
    let mut view = view(3);
    (view.counts, view.progress) = (BTreeMap::new(), None);
    let complete = Sight::complete(view.rollout.members.keys());
    let status = status(&view, &complete, Extent::Whole, |_| true);
    assert!(counts_of(&status).iter().all(|(_, count)| count.is_none()), "{status:?}");
    assert_eq!((status.instances, status.missing), (None, None));
}

#[test]
fn a_pause_hides_what_is_missing() {
    use headwater_rollout::verdict::Lack;
    let mut view = view(3);
    if let Some(progress) = &mut view.progress {
        progress.lack = Some(Lack::Acknowledgements { ok: 1, given: 2 });
    }
    let complete = Sight::complete(view.rollout.members.keys());
    let shown = |view: &RolloutView| status(view, &complete, Extent::Summary, |_| true);
    assert_eq!(shown(&view).missing.as_deref(), Some("1 of 2 instances accepted it"));
    let (by, because) = (Name::from("ada"), Name::from("a test"));
    view.rollout.paused = Some(Pause::Person { by, because });
    let paused = shown(&view);
    assert_eq!((paused.missing, paused.why.as_deref()), (None, Some("by ada: a test")));
    assert_eq!((paused.state, paused.stage), (RolloutState::Paused, Some(1)));
}
