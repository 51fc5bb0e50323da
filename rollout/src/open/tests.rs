//! Tests of pushes.

use super::*;
use crate::bucket::{Hold, Named, Shown, Side, choose};
use crate::fixture::{BRANCH, Scene, change, commit, content};
use crate::state::{PAST_SECONDS, RUNNING_COUNT_MAX};
use crate::verdict::Fault;

fn fates(opened: &Opened) -> Vec<String> {
    opened.fates.iter().map(|(name, fate)| format!("{name}: {fate}")).collect()
}

fn branch(scene: &Scene) -> &Branch {
    scene.state.branch(BRANCH).unwrap()
}

/// Rolls the rollout of an application back.
fn withhold(scene: &mut Scene, application: &str) {
    let id = branch(scene).entry(application).unwrap().0.rollout().id.clone();
    let mut next = branch(scene).clone();
    let fault = Fault::Check { check: "errors".into() };
    next.withhold(&id, fault, scene.state.number + 1, scene.wall);
    scene.state = scene.state.replaced(BRANCH, next, scene.wall);
}

fn finish(scene: &mut Scene, application: &str) {
    let id = branch(scene).entry(application).unwrap().0.rollout().id.clone();
    let mut next = branch(scene).clone();
    next.running_mut(&id).unwrap().enter_last_stage(scene.state.number + 1);
    next.finish(&id, scene.wall);
    scene.state = scene.state.replaced(BRANCH, next, scene.wall);
}

#[test]
fn a_change_is_held_for_its_application_only() {
    let mut scene = Scene::new();
    let opened = scene.push(&[change("order", 0, 1)]).unwrap();
    assert_eq!(fates(&opened), ["order: held"]);
    let (hold, member) = branch(&scene).hold("order").unwrap();
    assert_eq!((hold.bound, hold.is_withheld, &member.stable), (Bound::NONE, false, &commit(0)));
    assert!(branch(&scene).hold("cart").is_none());
    assert!(branch(&scene).hold("unknown").is_none());
    assert_eq!(opened.rollout, Some(scene.running()[0].id.clone()));
    assert_eq!(opened.events.len(), 1);
}

#[test]
fn another_application_does_not_wait() {
    let mut scene = Scene::new();
    scene.push(&[change("order", 0, 1)]).unwrap();
    let first = scene.running()[0].clone();
    scene.push(&[change("cart", 0, 1)]).unwrap();
    assert_eq!(scene.running().len(), 2);
    assert_eq!(scene.running()[0], first, "the first rollout continues as it is");
    assert!(scene.running()[1].depends_on.is_empty());
    assert_eq!(branch(&scene).hold("cart").unwrap().1.stable, commit(1));
}

#[test]
fn a_push_without_a_change_leaves_everything() {
    let mut scene = Scene::new();
    scene.push(&[change("order", 0, 1)]).unwrap();
    let before = scene.state.clone();
    let opened = scene.push(&[]).unwrap();
    assert!(opened.next.is_none() && opened.events.is_empty());
    assert_eq!(scene.state, before);
    assert!(scene.push(&[change("order", 1, 1)]).unwrap().next.is_none());
}

#[test]
fn a_change_of_the_same_application_supersedes_from_the_same_stable() {
    let mut scene = Scene::new();
    scene.push(&[change("order", 0, 1), change("cart", 0, 1)]).unwrap();
    let first = scene.running()[0].clone();
    let opened = scene.push(&[change("order", 1, 2)]).unwrap();
    assert_eq!(fates(&opened), [format!("order: held, and {} is superseded for it", first.id)]);
    let [old, new] = scene.running() else { panic!("two rollouts run") };
    assert_eq!(old.applications().map(|name| &**name).collect::<Vec<_>>(), ["cart"]);
    let member = &new.members["order"];
    assert_eq!((&member.stable, member.content), (&commit(0), Some(content(0))));
    assert_eq!((member.salt, new.salt), (first.salt, first.salt), "the same instances go first");
    assert!(new.number > old.number && new.depends_on.contains(&old.id));
    // A third push takes the application over again, and falls with the first rollout as well.
    scene.push(&[change("order", 2, 3)]).unwrap();
    let [old, new] = scene.running() else { panic!("the second has no application left") };
    assert_eq!(new.depends_on, BTreeSet::from([old.id.clone()]));
}

#[test]
fn a_rollout_falls_with_those_that_it_has_taken_applications_from() {
    let mut scene = Scene::new();
    scene.push(&[change("order", 0, 1), change("cart", 0, 1)]).unwrap();
    scene.push(&[change("order", 1, 2)]).unwrap();
    withhold(&mut scene, "cart");
    assert!(scene.running().is_empty());
    let because: Vec<&str> = branch(&scene).withheld.iter().map(|own| &*own.because).collect();
    assert_eq!(because.len(), 2);
    assert!(because[1].contains("which was rolled back"), "{because:?}");
    assert_eq!(branch(&scene).hold("order").unwrap().1.stable, commit(0));
    // The other way round, it does not fall.
    let mut scene = Scene::new();
    scene.push(&[change("order", 0, 1), change("cart", 0, 1)]).unwrap();
    scene.push(&[change("order", 1, 2)]).unwrap();
    withhold(&mut scene, "order");
    assert_eq!(scene.running().len(), 1);
}

#[test]
fn a_revert_is_served_at_once() {
    let mut scene = Scene::new();
    scene.push(&[change("order", 0, 1)]).unwrap();
    let number = scene.running()[0].number;
    let opened = scene.push(&[change("order", 1, 0)]).unwrap();
    assert_eq!(fates(&opened), ["order: served at once: the content was stable before"]);
    assert!(branch(&scene).entry("order").is_none());
    assert!(branch(&scene).id_number("order") > Some(number), "canaries receive a newer one");
    // The same after a rollback.
    let mut scene = Scene::new();
    scene.push(&[change("order", 0, 1)]).unwrap();
    withhold(&mut scene, "order");
    scene.push(&[change("order", 1, 0)]).unwrap();
    assert!(branch(&scene).entry("order").is_none());
}

#[test]
fn a_content_that_was_stable_not_long_ago_is_served_at_once() {
    for (seconds, expected) in [(PAST_SECONDS, true), (PAST_SECONDS + 1, false)] {
        let mut scene = Scene::new();
        scene.push(&[change("order", 0, 1)]).unwrap();
        finish(&mut scene, "order");
        scene.wall.0 += seconds;
        let opened = scene.push(&[change("order", 1, 0)]).unwrap();
        assert_eq!(opened.rollout.is_none(), expected);
    }
    // It counts for its own application only.
    let mut scene = Scene::new();
    scene.push(&[change("order", 0, 1)]).unwrap();
    finish(&mut scene, "order");
    assert!(scene.push(&[change("cart", 5, 0)]).unwrap().rollout.is_some());
}

#[test]
fn withheld_content_stays_withheld_until_its_content_changes() {
    let mut scene = Scene::new();
    scene.push(&[change("order", 0, 1), change("cart", 0, 1)]).unwrap();
    withhold(&mut scene, "order");
    scene.push(&[]).unwrap();
    scene.push(&[change("product", 0, 1)]).unwrap();
    assert_eq!(branch(&scene).withheld[0].rollout.members.len(), 2);
    scene.push(&[change("order", 1, 2)]).unwrap();
    assert_eq!(branch(&scene).withheld[0].rollout.members.len(), 1, "cart is still withheld");
    let running = &scene.running()[0];
    assert_eq!(running.members["order"].stable, commit(0));
    assert!(running.depends_on.is_empty(), "it does not depend on what was rolled back");
    scene.push(&[change("cart", 1, 0)]).unwrap();
    assert!(branch(&scene).withheld.is_empty());
}

#[test]
fn the_option_now_serves_at_once_and_releases_withheld_content() {
    let mut scene = Scene::new();
    scene.push(&[change("order", 0, 1), change("cart", 0, 1)]).unwrap();
    withhold(&mut scene, "order");
    scene.options.is_now = true;
    let opened = scene.push(&[change("order", 1, 2)]).unwrap();
    assert_eq!(fates(&opened), ["order: served at once: the push has the option now"]);
    assert!(branch(&scene).entries().next().is_none(), "all of the entry is released");
    assert!(branch(&scene).id_number("cart").is_some());
    let words: Vec<String> = opened.events.iter().map(|own| own.kind.to_string()).collect();
    assert_eq!(words, ["released for cart", "released for order"]);
    scene.now_policy = NowPolicy::Reason;
    assert_eq!(scene.push(&[]).unwrap_err(), Rejection::NowNeedsReason);
    scene.options.reason = Some("outage".into());
    assert!(scene.push(&[]).is_ok());
    scene.now_policy = NowPolicy::Denied;
    assert_eq!(scene.push(&[]).unwrap_err(), Rejection::NowDenied);
}

#[test]
fn without_witnesses_a_change_is_served_at_once() {
    for (instances, acknowledging, expected) in
        [(0, 0, true), (5, 0, true), (1, 1, true), (2, 1, false)]
    {
        let mut scene = Scene::new();
        scene.headcounts.insert("order", Headcount { instances, acknowledging });
        let opened = scene.push(&[change("order", 0, 1)]).unwrap();
        assert_eq!(opened.rollout.is_none(), expected, "{instances} {acknowledging}");
        if expected {
            assert!(fates(&opened)[0].contains("no canary"));
            assert_eq!(branch(&scene).id_number("order"), None, "ids stay as they were");
        }
    }
}

#[test]
fn what_is_held_stays_held_while_no_instance_is_connected() {
    for is_withheld in [false, true] {
        let mut scene = Scene::new();
        scene.push(&[change("order", 0, 1)]).unwrap();
        if is_withheld {
            withhold(&mut scene, "order");
        }
        scene.headcounts.clear();
        let opened = scene.push(&[change("order", 1, 2), change("cart", 0, 1)]).unwrap();
        assert!(opened.rollout.is_some());
        assert!(fates(&opened).iter().all(|fate| fate.contains("held")), "{:?}", fates(&opened));
    }
}

#[test]
fn a_plan_without_stages_releases_nothing_that_is_held() {
    for is_withheld in [false, true] {
        let mut scene = Scene::new();
        scene.push(&[change("order", 0, 1)]).unwrap();
        if is_withheld {
            withhold(&mut scene, "order");
        }
        scene.plans = PlanFile::without_file("all-at-once").unwrap();
        let opened = scene.push(&[change("order", 1, 2)]).unwrap();
        assert!(fates(&opened)[0].contains("held"), "{:?}", fates(&opened));
        assert_eq!(&*branch(&scene).running[0].plan.name, "auto");
        // Another application follows the new plan.
        let opened = scene.push(&[change("cart", 0, 1)]).unwrap();
        assert!(fates(&opened)[0].contains("served at once"), "{:?}", fates(&opened));
    }
}

#[test]
fn an_application_without_witnesses_waits_for_the_last_stage_unless_its_plan_differs() {
    let plan = |unwatched: &str| {
        let plan = "[plan.p]\nstages = [\"1\", \"all\"]\nbake = \"1m\"\n";
        let rule = "\n[[rule]]\nplan = \"p\"\n";
        let mut scene = Scene::with_plan(&format!("{plan}unwatched = {unwatched:?}{rule}"));
        scene.push(&[change("order", 0, 1), change("product", 0, 1)]).map(|own| fates(&own))
    };
    assert_eq!(plan("last").unwrap(), ["order: held", "product: held"]);
    let now = plan("now").unwrap();
    assert_eq!(now, ["product: served at once: no instance of it acknowledges", "order: held"]);
    let error = plan("refuse").unwrap_err();
    assert!(
        error.to_string().contains("no instance of product acknowledges, and plan p"),
        "{error}"
    );
}

#[test]
fn a_plan_without_stages_and_an_old_replica_lead_to_all_at_once() {
    let mut scene = Scene::new();
    scene.plans = PlanFile::without_file("all-at-once").unwrap();
    let opened = scene.push(&[change("order", 0, 1)]).unwrap();
    assert_eq!(fates(&opened), ["order: served at once: plan all-at-once has no stages"]);
    let mut scene = Scene::new();
    scene.unsupported = Some("r2".into());
    let opened = scene.push(&[change("order", 0, 1)]).unwrap();
    assert!(fates(&opened)[0].contains("replica r2 has a version without rollouts"));
}

#[test]
fn another_plan_has_to_be_at_least_as_strict() {
    let mut scene = Scene::new();
    scene.options.plan = Some("careful".into());
    scene.push(&[change("order", 0, 1)]).unwrap();
    assert_eq!(&*scene.running()[0].plan.name, "careful");
    scene.options.plan = Some("all-at-once".into());
    let error = scene.push(&[change("cart", 0, 1)]).unwrap_err();
    assert!(error.to_string().contains("all-at-once is not at least as strict as auto"), "{error}");
    scene.options.plan = Some("slow".into());
    let error = scene.push(&[change("cart", 0, 1)]).unwrap_err();
    assert!(error.to_string().contains("The plans are all-at-once, auto, careful"), "{error}");
}

#[test]
fn limits_hold_for_what_has_no_stages() {
    let limits = "[limits]\napplications = 1\ninstances = \"50%\"\n";
    let both = [change("order", 0, 1), change("cart", 0, 1)];
    let mut scene = Scene::with_plan(limits);
    assert!(scene.push(&both).is_ok(), "with stages");
    let mut scene = Scene::with_plan(limits);
    scene.options.is_now = true;
    let error = scene.push(&both).unwrap_err();
    assert_eq!(error, Rejection::TooManyApplications { count: 2, most: 1 });
    let error = scene.push(&both[..1]).unwrap_err();
    assert_eq!(error, Rejection::TooManyInstances { count: 12, most: 8 });
    assert!(scene.push(&both[1..]).is_ok());
    scene.options.is_blast = true;
    scene.tip = 0;
    assert!(scene.push(&both).is_ok());
}

#[test]
fn a_forced_push_keeps_every_stable_commit() {
    let mut scene = Scene::new();
    scene.push(&[]).unwrap();
    scene.push(&[change("order", 0, 1)]).unwrap();
    let id = scene.running()[0].id.clone();
    scene.lost = vec![commit(1), commit(2)];
    let error = scene.push_to(3, &[change("order", 1, 2)]).unwrap_err();
    assert_eq!(error, Rejection::Forced { rollouts: BTreeSet::from([id]) });
    assert_eq!(scene.tip, 2);
    // Back to the stable commit, or to a child of it.
    let mut same = Scene::new();
    same.push(&[change("order", 0, 1), change("cart", 0, 1)]).unwrap();
    same.lost = vec![commit(1)];
    let number = same.running()[0].number;
    same.push_to(2, &[change("order", 1, 2)]).unwrap();
    let [old, new] = same.running() else { panic!("two rollouts run") };
    assert_eq!(
        (&old.to, &new.to),
        (&commit(2), &commit(2)),
        "the candidate of cart is the new tip"
    );
    assert!(old.number > number);
    same.lost = vec![commit(1), commit(2)];
    same.push_to(0, &[change("order", 2, 0), change("cart", 1, 0)]).unwrap();
    assert!(same.running().is_empty(), "a push back to stable ends the rollouts");
}

#[test]
fn a_freeze_makes_a_rollout_wait() {
    let mut scene = Scene::with_plan("[[freeze]]\nfrom = 1970-01-01\nuntil = 1980-01-01\n");
    let opened = scene.push(&[change("order", 0, 1)]).unwrap();
    assert_eq!(scene.running()[0].phase, Phase::Waiting);
    let words: Vec<String> = opened.events.iter().map(|own| own.kind.to_string()).collect();
    assert_eq!(words[1], "waits for the end of the freeze 1970-01-01 until 1980-01-01");
    assert!(scene.push(&[change("order", 1, 0)]).unwrap().rollout.is_none(), "a revert passes");
    scene.options.is_now = true;
    assert!(scene.push(&[change("order", 0, 2)]).unwrap().rollout.is_none());
}

#[test]
fn a_shared_file_holds_unknown_applications_too() {
    let mut scene = Scene::new();
    scene.is_shared = true;
    scene.push(&[change("order", 0, 1)]).unwrap();
    let (hold, member) = branch(&scene).hold("anything").unwrap();
    assert_eq!((hold.number, &member.stable), (scene.running()[0].number, &commit(0)));
    // An application that becomes known then goes back to the same stable.
    scene.is_shared = false;
    scene.headcounts.insert("new", Headcount { instances: 3, acknowledging: 3 });
    let new = Change { before: None, ..change("new", 0, 7) };
    scene.push(std::slice::from_ref(&new)).unwrap();
    assert_eq!(branch(&scene).hold("new").unwrap().1.stable, commit(0));
    assert_eq!(scene.running()[1].depends_on, BTreeSet::from([scene.running()[0].id.clone()]));
    // One without a witness goes with the shared change.
    let opened = scene.push(&[Change { before: None, ..change("lone", 0, 7) }]).unwrap();
    assert_eq!(fates(&opened), [format!("lone: held by {}", scene.running()[0].id)]);
    assert!(opened.next.is_none());
    // The next shared change takes the others over.
    scene.is_shared = true;
    scene.push(&[change("order", 1, 2)]).unwrap();
    let last = scene.running().last().unwrap();
    assert_eq!(branch(&scene).hold("anything").unwrap().0.number, last.number);
}

#[test]
fn the_33rd_rollout_is_rejected() {
    let mut scene = Scene::new();
    let names: Vec<String> = (0..33).map(|index| format!("a{index}")).collect();
    for name in &names {
        let name: &'static str = name.clone().leak();
        scene.headcounts.insert(name, Headcount { instances: 2, acknowledging: 2 });
    }
    for name in &names[..RUNNING_COUNT_MAX] {
        scene.push(&[change(name, 0, 1)]).unwrap();
    }
    let error = scene.push(&[change("a32", 0, 1)]).unwrap_err();
    let words = error.to_string();
    assert!(
        words.starts_with("32 rollouts are running on the branch, which is the most."),
        "{words}"
    );
    assert!(words.contains("and 24 more"), "{words}");
    assert!(scene.push(&[change("a3", 1, 2)]).is_ok(), "a fix supersedes");
}

#[test]
fn a_full_list_of_withheld_entries_leaves_no_room_for_another_rollout() {
    let mut scene = Scene::new();
    for index in 0..64 {
        let name: &'static str = format!("a{index}").leak();
        scene.headcounts.insert(name, Headcount { instances: 2, acknowledging: 2 });
        scene.push(&[change(name, 0, 1)]).unwrap();
        withhold(&mut scene, name);
    }
    assert_eq!(branch(&scene).withheld.len(), 64);
    let error = scene.push(&[change("order", 0, 1)]).unwrap_err();
    assert!(matches!(error, Rejection::TooManyWithheld { .. }), "{error:?}");
}

#[test]
fn a_push_of_a_thousand_applications_fits_and_one_of_four_thousand_does_not() {
    let with = |count: usize| {
        let mut scene = Scene::new();
        let changes: Vec<Change> = (0..count)
            .map(|index| {
                let name: &'static str = format!("application-with-a-name-{index}").leak();
                scene.headcounts.insert(name, Headcount { instances: 2, acknowledging: 2 });
                change(name, 0, 1)
            })
            .collect();
        scene.push(&changes).map(|opened| opened.next.unwrap().to_text().len())
    };
    let len = with(1000).unwrap();
    assert!(len < 192 * 1024, "{len}");
    assert_eq!(with(4000).unwrap_err(), Rejection::TooLarge);
}

#[test]
fn canaries_of_a_superseded_candidate_receive_stable_as_a_newer_publication() {
    let mut scene = Scene::new();
    scene.push(&[change("order", 0, 1)]).unwrap();
    let (before, _) = branch(&scene).hold("order").unwrap();
    scene.push(&[change("order", 1, 2)]).unwrap();
    let (after, _) = branch(&scene).hold("order").unwrap();
    let instance = Some(Named { key: 1, is_admitted: false });
    let shown = Some(Shown { number: Some(before.number), is_candidate: true });
    let side = |hold: &Hold| choose(hold, instance, shown);
    assert_eq!((side(&before), side(&after)), (Side::Candidate, Side::Stable));
}

#[test]
fn the_result_depends_on_the_arguments_only() {
    let state = |salt: u8| {
        let mut scene = Scene::new();
        scene.push(&[change("order", 0, salt), change("cart", 0, 1)]).unwrap();
        scene.push(&[change("order", salt, 9)]).unwrap();
        scene.state.to_text()
    };
    assert_eq!(state(1), state(1));
    assert_eq!(Rollout::id("a", "b", 1).len(), 12);
    assert_ne!(Rollout::id("a", "b", 1), Rollout::id("a", "b", 2));
}
