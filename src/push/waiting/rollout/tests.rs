//! Tests of the lines of a push that waits for a rollout.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headwater_rollout::bucket::Bound;
use headwater_rollout::event::{Canaries, Event, Progress};
use headwater_rollout::plan::{Plan, WallTime};
use headwater_rollout::state::{Member, Pause, Phase, Rollout};
use headwater_rollout::verdict::{Fault, Incident, IncidentKind};

use super::*;

const STABLE: &str = "81668b06af81668b06af81668b06af81668b06af";
const TIP: &str = "e796e2dd67e796e2dd67e796e2dd67e796e2dd67";
const ID: &str = "r-7f3a2c91d0";

/// A rollout with its events, as a view shows it.
struct Scene {
    followed: FollowedRollout,
    view: RolloutView,
}

fn member() -> Member {
    Member {
        stable: STABLE.into(),
        content: None,
        salt: 0,
        bound: Bound::NONE,
        named: BTreeSet::new(),
        wanted: 0,
    }
}

impl Scene {
    fn new(applications: &[&str]) -> Self {
        let opened = OpenedRollout { id: ID.into(), branch: "main".to_owned(), is_readable: true };
        let members = applications.iter().map(|name| (Name::from(*name), member()));
        let rollout = Rollout {
            id: ID.into(),
            number: 1,
            from: STABLE.into(),
            to: TIP.into(),
            salt: 0,
            plan: Arc::new(Plan::built_in("auto").unwrap()),
            members: members.collect(),
            phase: Phase::Trying,
            paused: None,
            depends_on: BTreeSet::new(),
            expected: 12,
            by: "ann".into(),
            because: None,
            opened: WallTime(0),
        };
        let view = RolloutView {
            repository: "main".into(),
            branch: "main".into(),
            is_head: true,
            rollout,
            standing: RolloutStanding::Running,
            progress: None,
            counts: BTreeMap::new(),
            events: Vec::new(),
        };
        let mut scene = Self { followed: FollowedRollout::new(&opened), view };
        let applications = applications.iter().map(|name| Name::from(*name)).collect();
        scene.event(EventKind::Opened { applications, plan: "auto".into() });
        scene
    }

    fn event(&mut self, kind: EventKind) {
        let event = Event { rollout: ID.into(), kind };
        let second = self.view.events.len() as i64;
        let at = Timestamp::from_second(second).unwrap();
        let (repository, branch) = ("main".into(), "main".into());
        let members = Arc::default();
        self.view.events.push(RecordedEvent {
            at,
            repository,
            branch,
            is_head: true,
            members,
            is_last: false,
            event,
        });
    }

    fn progress(&mut self, stage: usize, ok: u64, lack: Option<Lack>) {
        let (rollout, stage) = (ID.into(), Some(stage));
        self.view.progress = Some(Progress { rollout, stage, stages: 2, ok, instances: 12, lack });
    }

    fn ends(&mut self, kind: EventKind) {
        self.view.standing = match kind {
            EventKind::Withheld { .. } => {
                RolloutStanding::Withheld { because: "x".into(), since: WallTime(1) }
            }
            _ => RolloutStanding::Ended { since: WallTime(1) },
        };
        self.view.progress = None;
        self.event(kind);
    }

    fn look(&mut self) -> RolloutNews {
        self.followed.look(Some(&self.view), true)
    }

    /// The last line of a rollout that has failed.
    #[track_caller]
    fn failure(&mut self) -> String {
        match self.look().end {
            Some(RolloutEnd::Failed(line)) => line,
            end => panic!("{end:?}"),
        }
    }
}

fn withheld(fault: Fault) -> EventKind {
    let applications = vec!["product".into()];
    EventKind::Withheld { fault, applications, stable: STABLE.into(), tip: TIP.into() }
}

#[test]
fn a_rollout_that_is_done_is_told_from_stage_to_stage() {
    let mut scene = Scene::new(&["product"]);
    assert_eq!(scene.look(), RolloutNews::default(), "the push has named it");
    let canaries = vec![Canaries { application: "product".into(), count: 1, instances: 12 }];
    scene.event(EventKind::Stage { index: 0, count: 2, canaries });
    scene.progress(0, 0, Some(Lack::Acknowledgements { ok: 0, given: 1 }));
    assert_eq!(scene.look().lines, ["product: 0 of 12 have it"]);
    scene.progress(0, 1, Some(Lack::Time { seconds: 10 }));
    assert_eq!(scene.look().lines, ["product: 1 of 12 has it; watching for 10 s more"]);
    scene.progress(0, 1, Some(Lack::Time { seconds: 9 }));
    assert_eq!(scene.look().lines, [""; 0], "the time alone is no news");
    scene.event(EventKind::All);
    scene.progress(1, 12, Some(Lack::Time { seconds: 10 }));
    assert_eq!(
        scene.look().lines,
        ["product: going to all", "product: 12 of 12 have it; watching for 10 s more"]
    );
    scene.ends(EventKind::Done);
    assert_eq!(
        scene.look(),
        RolloutNews { lines: vec!["done".to_owned()], end: Some(RolloutEnd::Done) }
    );
}

#[test]
fn a_rollback_ends_with_the_place_of_the_service_and_of_the_branch() {
    let mut scene = Scene::new(&["product"]);
    scene.progress(0, 1, None);
    scene.look();
    let restarted =
        |count| Incident { instance: "web-3".into(), kind: IncidentKind::Restarted(count) };
    scene.event(EventKind::Suspect { incidents: vec![restarted(1)] });
    assert_eq!(scene.look().lines, ["product: web-3 has restarted. The bake begins again"]);
    let shown = vec![restarted(2)];
    scene.ends(withheld(Fault::Suspects {
        shown,
        count: 2,
        canaries: 1,
        other_count: 0,
        others: 11,
    }));
    let news = scene.look();
    assert_eq!(
        news.lines,
        ["product: web-3 has restarted twice: 2 incidents among 1 canary, none among the other 11"]
    );
    let last = "rolled back: product is back at 81668b06af. main stays at e796e2dd67, withheld for product until a push \
                changes it";
    assert_eq!(news.end, Some(RolloutEnd::Failed(last.to_owned())));
    let mut scene = Scene::new(&["cart", "product"]);
    scene.ends(withheld(Fault::Check { check: "errors".into() }));
    assert!(scene.failure().starts_with("rolled back: cart, product are back at 81668b06af. main"));
    let mut scene = Scene::new(&["cart", "product", OTHERS]);
    scene.ends(withheld(Fault::Person { by: "ann".into(), because: "too many".into() }));
    assert!(scene.failure().starts_with("rolled back: every application is back at 81668b06af"));
}

#[test]
fn a_pause_is_told_and_repeated_while_the_push_waits_on() {
    let mut scene = Scene::new(&["product"]);
    scene.progress(0, 1, Some(Lack::Acknowledgements { ok: 1, given: 2 }));
    let pause = Pause::Person { by: "ann".into(), because: "look first".into() };
    scene.view.rollout.paused = Some(pause.clone());
    scene.event(EventKind::Paused { pause });
    let news = scene.look();
    assert_eq!(
        news.lines,
        [
            "product: paused: by ann: look first",
            "product: 1 of 12 has it; paused: by ann: look first"
        ]
    );
    assert_eq!(news.end, None);
    assert_eq!(scene.followed.summary, "product: 1 of 12 has it; paused: by ann: look first");
}

#[test]
fn a_rollout_that_ends_without_being_done_is_an_error() {
    let next = || Name::from("r-0000000001");
    let mut scene = Scene::new(&["product"]);
    scene.ends(EventKind::Superseded { applications: vec!["product".into()], next: next() });
    assert!(
        scene.failure().starts_with("superseded: a later push has opened r-0000000001 in place of")
    );
    let mut scene = Scene::new(&["product", "cart"]);
    scene.event(EventKind::Superseded { applications: vec!["cart".into()], next: next() });
    let news = scene.look();
    assert_eq!(news.lines, ["cart, product: superseded for cart by r-0000000001"]);
    assert_eq!(news.end, None, "the other application goes on");
    scene.ends(EventKind::Released { applications: vec!["product".into()] });
    assert!(scene.failure().contains("holds nothing any more, and was not done"));
    let mut scene = Scene::new(&["product"]);
    scene.ends(EventKind::Gone);
    assert_eq!(scene.failure(), "ended: main was deleted");
    let news = scene.followed.look(None, true);
    let unknown = "rollout r-7f3a2c91d0 is not known any more".to_owned();
    assert_eq!(news.end, Some(RolloutEnd::Failed(unknown)));
}

#[test]
fn progress_waits_until_it_is_due_and_events_do_not() {
    let mut scene = Scene::new(&["product"]);
    scene.progress(0, 1, None);
    scene.event(EventKind::CheckFails { check: "errors".into(), count: 5 });
    let news = scene.followed.look(Some(&scene.view), false);
    assert_eq!(news.lines, ["product: check errors could not be made 5 times in sequence"]);
    assert!(scene.followed.has_progress(&scene.view));
    assert_eq!(scene.look().lines, ["product: 1 of 12 has it"]);
    assert!(!scene.followed.has_progress(&scene.view));
}

#[test]
fn a_pusher_that_may_not_read_everything_learns_no_name() {
    let mut scene = Scene::new(&["product"]);
    scene.followed.opened.is_readable = false;
    let (application, wanted) = ("product".into(), 2);
    scene.progress(0, 1, Some(Lack::Canaries { application, present: 1, wanted }));
    let incident = Incident { instance: "web-3".into(), kind: IncidentKind::Gone };
    scene.event(EventKind::Suspect { incidents: vec![incident] });
    let pause = Pause::Deadline { why: "product needs 2 canaries".into() };
    scene.event(EventKind::Paused { pause });
    let mut lines = scene.look().lines;
    let fault = Fault::Rejected { instance: "web-3".into(), reason: None };
    scene.ends(withheld(fault));
    lines.extend(scene.look().lines);
    lines.push(scene.failure());
    assert_eq!(lines.len(), 5, "{lines:?}");
    for line in &lines {
        assert!(!line.contains("web-3") && !line.contains("product"), "{line}");
    }
}
