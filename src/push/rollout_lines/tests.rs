//! Tests of the lines of a push on rollouts.

use std::collections::BTreeMap;

use headwater_rollout::open::{Change, NowPolicy, Options, Push, open};
use headwater_rollout::plan::{PlanFile, WallTime};
use headwater_rollout::state::{Content, Withheld};

use super::*;

const FROM: &str = "81668b06af81668b06af81668b06af81668b06af";
const TO: &str = "e796e2dd67e796e2dd67e796e2dd67e796e2dd67";

/// Pushes to one branch, with some instances of each application.
struct Scene {
    state: State,
    plans: PlanFile,
    options: Options,
    is_shared: bool,
    counts: BTreeMap<&'static str, u64>,
    hidden: &'static str,
}

fn change(application: &str, before: u8, after: u8) -> Change {
    let content = |index| Some(Content::of(&[index]));
    let (before, after) = (content(before), content(after));
    Change { application: application.into(), profiles: vec!["prod".into()], before, after }
}

/// The lines of one push: those after `published`, the others, and those of a dry run.
struct Told {
    held: Option<String>,
    lines: Vec<String>,
    rehearsal: Vec<String>,
}

impl Scene {
    fn new(counts: &[(&'static str, u64)]) -> Self {
        Self {
            state: State::default(),
            plans: PlanFile::without_file("auto").unwrap(),
            options: Options::default(),
            is_shared: false,
            counts: counts.iter().copied().collect(),
            hidden: "",
        }
    }

    fn plans(&mut self, text: &str) {
        self.plans = PlanFile::parse(PlanFile::PATH, text.as_bytes(), &[]).unwrap();
    }

    fn push(&mut self, changes: &[Change]) -> Told {
        let headcount = |name: &str| {
            let instances = self.counts.get(name).copied().unwrap_or_default();
            Headcount { instances, acknowledging: instances }
        };
        let push = Push {
            branch: "main",
            from: FROM,
            to: TO,
            changes,
            is_shared: self.is_shared,
            contains: &|_| true,
            headcount: &headcount,
            fleet: self.counts.values().sum(),
            plans: &self.plans,
            options: &self.options,
            now_policy: NowPolicy::Allowed,
            by: "ann",
            now: WallTime(1_000_000),
            unsupported: None,
        };
        let opened = open(&self.state, &push).unwrap();
        let lines = RolloutLines {
            branch: "main",
            before: &self.state,
            opened: &opened,
            headcount: &headcount,
            is_visible: &|name| name != self.hidden,
            could_stage: false,
        };
        let told = Told { held: lines.held(), lines: lines.lines(), rehearsal: lines.rehearsal() };
        if let Some(next) = opened.next {
            self.state = next;
        }
        told
    }

    fn id(&self) -> Name {
        self.state.branch("main").unwrap().running.last().unwrap().id.clone()
    }

    /// Rolls every running rollout back.
    fn withhold(&mut self, because: &str) {
        let branch = self.state.branches.get_mut("main").unwrap();
        let withheld = branch.running.drain(..).map(|rollout| Withheld {
            rollout,
            because: because.into(),
            since: WallTime(1_000_100),
        });
        branch.withheld.extend(withheld);
    }
}

#[test]
fn a_held_application_is_named_with_the_way_through_the_plan() {
    let mut scene = Scene::new(&[("product", 12)]);
    let told = scene.push(&[change("product", 0, 1)]);
    let id = scene.id();
    let expected = format!("held for product: rollout {id}, 1 of 12 first, 10 s, then all");
    assert_eq!(told.held, Some(expected));
    assert_eq!(told.lines, [""; 0]);
    assert_eq!(
        told.rehearsal,
        [
            "would be held for product, with plan auto:",
            "  stage 1: 1 of 12 after 0 s. A fault that 20 % of the instances show is seen with 20 %, one that 5 % \
             show with 5 %",
            "  stage 2: all 12 after 10 s, watched for 10 s",
        ]
    );
}

#[test]
fn a_shared_file_holds_every_application_with_one_budget() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let mut scene = Scene::new(&names.map(|name| (name, 15)));
    scene.plans = PlanFile::without_file("careful").unwrap();
    scene.is_shared = true;
    let told = scene.push(&names.map(|name| change(name, 0, 1)));
    let expected = format!(
        "held for every application: rollout {}, 1 of 90 first, 2 min, then 5, 5 min, then 23, 5 min, then all",
        scene.id()
    );
    assert_eq!(told.held, Some(expected));
    let mut scene = Scene::new(&names.map(|name| (name, 3)));
    let told = scene.push(&names.map(|name| change(name, 0, 1)));
    assert!(told.held.unwrap().starts_with("held for a, b, c, d, e and 1 more: rollout r-"));
}

#[test]
fn the_way_through_other_plans_is_told() {
    let mut scene = Scene::new(&[("product", 12)]);
    scene.plans(
        "[plan.x]\nstages = [\"75%\", \"all\"]\nbake = \"30s\"\n[plan.y]\nby = \"zone\"\nbake = \"90s\"\n\
         [[rule]]\napplications = [\"product\"]\nplan = \"x\"\n[[rule]]\nplan = \"y\"\n",
    );
    let told = scene.push(&[change("product", 0, 1)]).held.unwrap();
    assert!(told.ends_with(", 9 of 12 first, 30 s, then all"), "{told}");
    scene.counts.insert("cart", 4);
    let told = scene.push(&[change("cart", 0, 1)]).held.unwrap();
    assert!(told.ends_with(", each zone in turn, 90 s, then all"), "{told}");
    // Stages that add no canary are one part.
    let mut small = Scene::new(&[("product", 4)]);
    small.plans = PlanFile::without_file("careful").unwrap();
    let told = small.push(&[change("product", 0, 1)]);
    assert!(told.held.unwrap().ends_with(", 1 of 4 first, 12 min, then all"));
    let is_named = |line: &&String| line.starts_with("  stage");
    let stages: Vec<&String> = told.rehearsal.iter().filter(is_named).collect();
    assert_eq!(stages.len(), 2, "{stages:?}");
    assert!(stages[0].starts_with("  stages 1 to 3: 1 of 4 after 0 s. "), "{stages:?}");
    assert!(stages[1].starts_with("  stage 4: all 4 after 720 s"), "{stages:?}");
    // Of two, one goes first, whatever the plan says.
    assert_eq!(canary_count(Size::Count(5), 2), 1);
    assert_eq!(canary_count(Size::Count(1), 1), 1);
}

#[test]
fn a_push_that_stages_nothing_is_quiet() {
    let mut scene = Scene::new(&[("product", 12)]);
    let told = scene.push(&[]);
    assert_eq!((told.held, told.lines, told.rehearsal), (None, vec![], vec![]));
    // A revert of what no rollout holds and no instance uses.
    scene.push(&[change("cart", 0, 1)]);
    assert_eq!(scene.push(&[change("cart", 1, 0)]).lines, [""; 0]);
    scene.plans = PlanFile::without_file("all-at-once").unwrap();
    assert_eq!(scene.push(&[change("product", 0, 1)]).lines, [""; 0]);
}

#[test]
fn a_change_without_an_instance_names_what_a_canary_needs_once() {
    let mut scene = Scene::new(&[]);
    let told = scene.push(&[change("product", 0, 1), change("cart", 0, 1)]);
    assert_eq!(told.held, None);
    assert_eq!(
        told.lines,
        ["no canary: it takes two connected instances, one of which reports what it applies"]
    );
}

#[test]
fn what_is_served_at_once_has_its_reason() {
    let mut scene = Scene::new(&[("product", 12), ("cart", 4)]);
    scene.options.is_now = true;
    let told = scene.push(&[change("product", 0, 1), change("cart", 0, 1)]);
    assert_eq!(told.held, None);
    assert_eq!(told.lines, ["served at once: product, cart: the push has the option now"]);
    scene.options.is_now = false;
    let told = scene.push(&[change("product", 1, 0)]);
    assert_eq!(told.lines, ["served at once: product: the content was stable before"]);
}

#[test]
fn a_revert_ends_a_rollout_and_a_fix_supersedes_it() {
    let mut scene = Scene::new(&[("product", 12)]);
    scene.push(&[change("product", 0, 1)]);
    let first = scene.id();
    let told = scene.push(&[change("product", 1, 2)]);
    let second = scene.id();
    let held = told.held.unwrap();
    assert!(held.starts_with(&format!("held for product: rollout {second}, 1 of 12")), "{held}");
    assert_eq!(told.lines, [format!("{first}: superseded for product by {second}")]);
    let rehearsed = format!("{first}: would be superseded for product");
    assert_eq!(told.rehearsal[0], rehearsed);
    let told = scene.push(&[change("product", 2, 0)]);
    assert_eq!(told.rehearsal[1], format!("{second}: would be released for product"));
    assert_eq!(
        told.lines,
        [
            "served at once: product: the content was stable before".to_owned(),
            format!("{second}: released for product"),
        ]
    );
}

#[test]
fn a_later_push_names_what_is_still_held() {
    let mut scene = Scene::new(&[("product", 12), ("cart", 4)]);
    scene.push(&[change("product", 0, 1)]);
    let id = scene.id();
    scene.withhold("web-3 has restarted twice");
    let told = scene.push(&[change("cart", 0, 1)]);
    assert_eq!(
        told.lines,
        [format!(
            "still held: product, without e796e2dd67, because web-3 has restarted twice ({id})"
        )]
    );
    assert_eq!(scene.push(&[]).lines, [""; 0], "a push without a change");
    // A push of other content takes its place.
    let told = scene.push(&[change("product", 1, 2)]);
    assert_eq!(told.lines, [format!("{id}: superseded for product by {}", scene.id())]);
}

#[test]
fn a_branch_without_instances_names_what_a_canary_needs() {
    let (before, opened) = (State::default(), Opened::default());
    let lines = |could_stage| {
        let (headcount, is_visible) = (&|_: &str| Headcount::default(), &|_: &str| true);
        let before = &before;
        RolloutLines { branch: "main", before, opened: &opened, headcount, is_visible, could_stage }
            .lines()
    };
    assert_eq!(lines(false), [""; 0]);
    assert_eq!(lines(true).len(), 1);
}

#[test]
fn a_pusher_reads_no_name_that_it_may_not_read() {
    let mut scene = Scene::new(&[("product", 12), ("cart", 4)]);
    scene.hidden = "cart";
    let held = scene.push(&[change("product", 0, 1), change("cart", 0, 1)]).held.unwrap();
    assert!(held.starts_with("held for product and 1 more: rollout r-"), "{held}");
    scene.withhold("cart-3 rejected it");
    let told = scene.push(&[change("product", 1, 2)]);
    assert_eq!(told.lines.len(), 1, "{:?}", told.lines);
    assert!(told.lines[0].contains("superseded for product by"), "{:?}", told.lines);
    scene.hidden = "product";
    let held = scene.push(&[change("product", 2, 3)]).held.unwrap();
    assert!(held.starts_with("held for 1 application: rollout r-"), "{held}");
}

#[test]
fn a_freeze_is_named() {
    let mut scene = Scene::new(&[("product", 12)]);
    scene.plans(
        "[[freeze]]\nfrom = 1970-01-01\nuntil = 1970-02-01\n\
         [[rule]]\nplan = \"auto\"\n",
    );
    let told = scene.push(&[change("product", 0, 1)]);
    let held = told.held.unwrap();
    assert!(held.ends_with(", after the freeze: 1 of 12 first, 10 s, then all"), "{held}");
    let [line] = &told.lines[..] else { panic!("{:?}", told.lines) };
    assert!(line.contains(": waits for the end of the freeze "), "{line}");
}
