//! What pushes change, over sources in memory.

use std::sync::Arc;

use headwater_rollout::state::{Rollout, State};

use super::*;
use crate::fleet::{Acknowledgement, InstanceReport, Instances, Outcome};
use crate::model::{Digest, Revision};
use crate::snapshot::{Layout, Style};
use crate::source::Source;
use crate::source::memory::MemorySource;

const FILES: &[(&str, &str)] = &[
    ("application.yml", "region: north\n"),
    ("orders.yml", "limit: 1\n"),
    ("orders-prod.yml", "limit: 2\n"),
    ("cart.yml", "size: 1\n"),
];

struct Branches {
    source: MemorySource,
    old: Snapshot,
}

impl Branches {
    fn new() -> Self {
        let layout = Layout {
            base: "memory:".into(),
            style: Style::Git,
            search_paths: Vec::new(),
            patterns: Vec::new(),
            toml: true,
            json: true,
        };
        let source = MemorySource::new(Arc::new(layout));
        let old = commit(&source, FILES);
        Self { source, old }
    }

    fn changes(&self, files: &[(&str, &str)], instances: &[Instance]) -> BranchChanges {
        self.changes_beside(files, instances, None)
    }

    fn changes_beside(
        &self,
        files: &[(&str, &str)],
        instances: &[Instance],
        branch: Option<&Branch>,
    ) -> BranchChanges {
        let new = commit(&self.source, files);
        let comparison = Comparison {
            old: &self.old,
            new: &new,
            overrides: None,
            instances,
            others: &[],
            branch,
            has_plan_file: false,
        };
        changes(&comparison).unwrap()
    }
}

fn commit(source: &MemorySource, files: &[(&str, &str)]) -> Snapshot {
    let files: Vec<_> = files.iter().map(|(path, text)| (*path, Some(*text))).collect();
    source.commit("main", &files);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(source.load(&Label::Default, None)).unwrap()
}

/// Instances that acknowledge, of these applications and profiles.
fn witnesses(of: &[(&str, &str)]) -> Vec<Instance> {
    let instances = Arc::new(Instances::default());
    for (index, (application, profiles)) in of.iter().enumerate() {
        let mut report = InstanceReport::new(&format!("web-{index}")).unwrap();
        report.applied = Some(Acknowledgement {
            revision: Revision::new("1"),
            digest: Digest([0; 32]),
            outcome: Outcome::Applied,
        });
        let (application, profiles) = ((*application).into(), (*profiles).into());
        instances.enter(report, &Query { application, profiles, label: Label::Default });
    }
    instances.list(|_, _| true)
}

fn names(changes: &BranchChanges) -> Vec<&str> {
    changes.changes.iter().map(|change| &*change.application).collect()
}

#[test]
fn nothing_is_compared_without_instances() {
    let changes = Branches::new().changes(&[("orders.yml", "limit: 9\n")], &[]);
    assert_eq!(changes, BranchChanges::default());
}

#[test]
fn an_application_is_named_with_the_profiles_and_instances_that_change() {
    let instances = witnesses(&[("orders", "prod"), ("orders", "dev"), ("cart", "dev")]);
    let changes = Branches::new().changes(&[("orders-prod.yml", "limit: 9\n")], &instances);
    assert_eq!(names(&changes), ["orders"]);
    assert_eq!(changes.changes[0].profiles, ["prod".into()]);
    assert_ne!(changes.changes[0].before, changes.changes[0].after);
    assert!(!changes.is_shared);
    assert_eq!(changes.headcount("orders"), Headcount { instances: 1, acknowledging: 1 });
    assert_eq!(changes.headcount("cart"), Headcount::default());
}

#[test]
fn a_comment_changes_nothing() {
    let instances = witnesses(&[("orders", "prod")]);
    let changes = Branches::new().changes(&[("orders.yml", "# why\nlimit: 1\n")], &instances);
    assert!(changes.changes.is_empty() && !changes.is_shared);
}

#[test]
fn the_content_from_before_is_recognised() {
    let branches = Branches::new();
    let instances = witnesses(&[("orders", "dev"), ("orders", "prod")]);
    let there = branches.changes(&[("orders.yml", "limit: 9\n")], &instances);
    let old = commit(&branches.source, &[("orders.yml", "limit: 9\n")]);
    let back = Branches { old, ..branches }.changes(&[("orders.yml", "limit: 1\n")], &instances);
    assert_eq!(back.changes[0].after, there.changes[0].before);
    assert_eq!(back.changes[0].before, there.changes[0].after);
}

#[test]
fn the_content_does_not_depend_on_the_instances() {
    let files = [("orders.yml", "limit: 9\n")];
    let few = witnesses(&[("orders", "prod,eu")]);
    let many = witnesses(&[("orders", "prod,eu"), ("orders", "prod,us"), ("orders", "us")]);
    let few = Branches::new().changes(&files, &few);
    let many = Branches::new().changes(&files, &many);
    let contents = |own: &BranchChanges| (own.changes[0].before, own.changes[0].after);
    assert_eq!(contents(&few), contents(&many));
    assert_eq!(many.headcount("orders").instances, 3);
}

#[test]
fn a_change_for_a_list_of_profiles_alone_is_a_change() {
    let expression = "limit: 1\n---\nspring.config.activate.on-profile: eu & us\nlimit: 9\n";
    let instances = witnesses(&[("orders", "eu,us")]);
    let changes = Branches::new().changes(&[("orders.yml", expression)], &instances);
    assert_eq!(names(&changes), ["orders"]);
    assert_ne!(changes.changes[0].before, changes.changes[0].after);
}

#[test]
fn a_shared_file_names_the_applications_in_use_and_holds_all_others_together() {
    let instances = witnesses(&[("orders", "dev"), ("unknown", "dev")]);
    let changes = Branches::new().changes(&[("application.yml", "region: south\n")], &instances);
    assert_eq!(names(&changes), ["orders", "unknown"]);
    assert!(changes.is_shared);
    // Without a witness, all of them are served at once and named.
    let mut strangers = witnesses(&[("orders", "dev")]);
    strangers[0].is_witness = false;
    let changes = Branches::new().changes(&[("application.yml", "region: west\n")], &strangers);
    assert_eq!(names(&changes), ["cart", "orders"]);
    assert!(!changes.is_shared);
}

#[test]
fn an_application_with_an_entry_is_named_without_instances() {
    let member = headwater_rollout::state::Member {
        stable: "1".into(),
        content: None,
        salt: 1,
        bound: headwater_rollout::bucket::Bound::NONE,
        named: BTreeSet::new(),
        wanted: 0,
    };
    let plan = headwater_rollout::plan::Plan::built_in("auto").unwrap();
    let rollout = Rollout {
        id: "r-1".into(),
        number: 1,
        from: "1".into(),
        to: "2".into(),
        salt: 1,
        plan: Arc::new(plan),
        members: BTreeMap::from([("cart".into(), member)]),
        phase: headwater_rollout::state::Phase::Trying,
        paused: None,
        depends_on: BTreeSet::new(),
        expected: 2,
        by: "jo".into(),
        because: None,
        opened: headwater_rollout::plan::WallTime(1),
    };
    let branch = Branch { running: vec![rollout], ..Branch::default() };
    let mut state = State::new(1);
    state.branches.insert("main".into(), branch);
    let branch = state.branch("main");
    let changes =
        Branches::new().changes_beside(&[("application.yml", "region: south\n")], &[], branch);
    assert_eq!(names(&changes), ["cart"]);
    assert!(changes.is_shared);
}
