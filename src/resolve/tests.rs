//! Tests beyond the recorded answers of the original: dependencies, notices and limits.

use std::sync::Arc;

use super::*;
use crate::model::Label;
use crate::source::Source;
use crate::source::memory::MemorySource;

fn layout(search_paths: &[&str]) -> Arc<Layout> {
    Arc::new(Layout {
        base: "memory:".into(),
        style: Style::Git,
        search_paths: search_paths.iter().map(|path| (*path).to_owned()).collect(),
        patterns: Vec::new(),
        toml: true,
        json: false,
    })
}

fn snapshot(source: &MemorySource, files: &[(&str, &str)]) -> Snapshot {
    let changes: Vec<_> = files.iter().map(|(path, text)| (*path, Some(*text))).collect();
    source.commit("main", &changes);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(source.load(&Label::Default, None)).unwrap()
}

fn query(application: &str, profiles: &str) -> Query {
    Query { application: application.into(), profiles: profiles.into(), label: Label::Default }
}

fn resolved_in(snapshot: &Snapshot, profiles: &str) -> ResolvedMember {
    let member = &snapshot.members[0];
    resolve(member, &member.tree, &query("foo", profiles)).unwrap()
}

fn resolved(files: &[(&str, &str)], profiles: &str) -> ResolvedMember {
    resolved_in(&snapshot(&MemorySource::new(layout(&[])), files), profiles)
}

fn paths(resolved: &ResolvedMember) -> Vec<&str> {
    let sources = resolved.outcome.as_ref().unwrap();
    sources.iter().map(|source| source.file.as_deref().unwrap()).collect()
}

fn notices(resolved: &ResolvedMember) -> Vec<String> {
    resolved.notices.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn check_problem(resolved: &ResolvedMember, place: &str, words: &str) {
    let problem = resolved.outcome.as_ref().unwrap_err().to_string();
    assert!(problem.contains(place) && problem.contains(words), "{problem}");
}

/// Asserts that a second commit does or does not invalidate the result of the first one.
#[track_caller]
fn check_touched(
    search_paths: &[&str],
    files: &[(&str, &str)],
    change: (&str, &str),
    expected: bool,
) {
    let source = MemorySource::new(layout(search_paths));
    let old = snapshot(&source, files);
    let dependencies = resolved_in(&old, "dev").dependencies;
    let new = snapshot(&source, &[change]);
    let changes = new.members[0].tree.changes(&old.members[0].tree).unwrap();
    assert_eq!(dependencies.is_affected_by(&changes), expected, "{change:?}");
}

#[test]
fn a_candidate_of_an_import_invalidates_the_answer() {
    let folder = [("foo.yml", "spring.config.import: optional:parts/*/\n"), ("parts/a/x", "")];
    check_touched(&[], &folder, ("parts/b/application.yml", "a: 1\n"), true);
    check_touched(&[], &folder, ("parts/a/foo-dev.yml", "a: 1\n"), true);
    check_touched(&[], &folder, ("parts/a/other.yml", "a: 1\n"), false);
    check_touched(&[], &folder, ("parts/a/b/foo.yml", "a: 1\n"), false);
    let absent = [("foo.yml", "spring.config.import: optional:parts/\n")];
    check_touched(&[], &absent, ("parts/application.properties", "a=1\n"), true);
    check_touched(&[], &absent, ("parts/readme.txt", "a=1\n"), false);
    let hint = [("foo.yml", "spring.config.import: optional:plain[.yml]\n")];
    check_touched(&[], &hint, ("plain", "a: 1\n"), true);
    check_touched(&[], &hint, ("plain-dev", "a: 1\n"), true);
    check_touched(&[], &hint, ("plain.yml", "a: 1\n"), false);
}

#[test]
fn a_candidate_of_a_search_invalidates_the_answer() {
    let files = [("a/conf/foo.yml", "a: 1\n"), ("a/conf/bar.yml", "a: 1\n")];
    check_touched(&["*/conf"], &files, ("b/conf/foo.yml", "a: 1\n"), true);
    check_touched(&["*/conf"], &files, ("a/conf/application-dev.yaml", "a: 1\n"), true);
    check_touched(&["*/conf"], &files, ("a/conf/bar.yml", "a: 2\n"), false);
    check_touched(&["*/conf"], &files, ("a/other/foo.yml", "a: 1\n"), false);
    check_touched(&["{application}"], &files, ("foo/foo.yml", "a: 1\n"), true);
    check_touched(&["{application}"], &files, ("bar/foo.yml", "a: 1\n"), false);
}

#[test]
fn an_import_of_a_missing_file_is_noticed() {
    let found = resolved(&[("foo.yml", "a: 1\nspring.config.import: gone.yml\n")], "dev");
    assert_eq!(paths(&found), ["foo.yml"]);
    let notices_of_it = notices(&found);
    assert_eq!(notices_of_it.len(), 1, "{notices_of_it:?}");
    assert!(notices_of_it[0].contains("foo.yml:2") && notices_of_it[0].contains("names no file"));
    for quiet in
        ["optional:gone.yml", "optional:gone/", "vault://x", "optional:vault://${X}", "/x.yml"]
    {
        let found =
            resolved(&[("foo.yml", format!("spring.config.import: {quiet}\n").as_str())], "dev");
        assert_eq!(notices(&found), [""; 0], "{quiet}");
    }
}

#[test]
fn a_placeholder_without_a_value_is_noticed_or_an_error() {
    for left in ["${gone}.yml", "optional:${gone}", "optional:${gone}/"] {
        let found =
            resolved(&[("foo.yml", format!("spring.config.import: {left}\n").as_str())], "dev");
        let notices = notices(&found);
        assert_eq!(notices.len(), 1, "{left} {notices:?}");
        assert!(notices[0].contains("placeholder"), "{notices:?}");
        assert!(!notices[0].contains("gone"), "{notices:?}");
    }
    let found = resolved(&[("foo.yml", "spring.config.import: ${gone}\n")], "dev");
    check_problem(&found, "foo.yml:1", "give it a default");
}

#[test]
fn placeholders_see_no_variable_of_the_process() {
    let files = [("foo.yml", "spring.config.import: ${PATH:near.yml}\n"), ("near.yml", "a: 1\n")];
    assert_eq!(paths(&resolved(&files, "dev")), ["near.yml", "foo.yml"]);
}

#[test]
fn the_repository_sets_the_platform() {
    let document = "a: 1\n---\nspring.config.activate.on_cloud_platform: kubernetes\nb: 1\n";
    assert_eq!(paths(&resolved(&[("foo.yml", document)], "dev")).len(), 1);
    let shared = ("application.yml", "spring.main.cloud-platform: KUBERNETES\n");
    assert_eq!(paths(&resolved(&[("foo.yml", document), shared], "dev")).len(), 3);
}

#[test]
fn conditions_that_depend_on_each_other_are_a_problem() {
    let wait = "a: x\nspring.config.activate.on-profile: ${b}\n---\nb: x\nspring.config.activate.on-profile: ${a}\n";
    check_problem(&resolved(&[("foo.yml", wait)], "dev"), "foo.yml", "depend on each other");
}

/// Each condition is evaluated once, even if many documents refer to it.
#[test]
fn conditions_with_many_references_are_evaluated_once() {
    let mut text = String::new();
    for level in 0..12 {
        for at in 0..8 {
            let condition = format!("spring.config.activate.on-profile: '${{k{}:dev}}'", level + 1);
            text += &format!("k{level}: dev\nn{level}x{at}: 1\n{condition}\n---\n");
        }
    }
    text += "spring.config.import: optional:${k0:gone}.yml\n";
    assert_eq!(paths(&resolved(&[("foo-dev.yml", text.as_str())], "dev")).len(), 97);
}

#[test]
fn the_depth_of_imports_has_an_edge() {
    let chain = |length: usize| {
        let mut files = vec![("foo.yml".to_owned(), "spring.config.import: c0.yml\n".to_owned())];
        for at in 0..length {
            let next = if at + 1 < length { at + 1 } else { 0 };
            files.push((format!("c{at}.yml"), format!("spring.config.import: c{next}.yml\n")));
        }
        let files: Vec<_> = files.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        resolved(&files, "dev")
    };
    assert_eq!(paths(&chain(IMPORT_DEPTH_MAX - 1)).len(), IMPORT_DEPTH_MAX);
    check_problem(&chain(IMPORT_DEPTH_MAX + 1), "yml:1", "more than 100 files");
}

#[test]
fn the_number_of_profiles_has_an_edge() {
    let group = |count: usize| {
        let members: Vec<String> = (0..count).map(|number| format!("p{number}")).collect();
        let text = format!("spring.profiles.group.dev: {}\n", members.join(","));
        resolved(&[("foo.yml", text.as_str()), ("foo-p300.yml", "a: 1\n")], "dev")
    };
    assert_eq!(paths(&group(301)), ["foo-p300.yml", "foo.yml"]);
    check_problem(&group(5_000), "foo.yml:1", "more than 4096 profiles");
}

#[test]
fn every_directory_of_a_search_path_is_searched() {
    let names: Vec<String> = (0..3_000).map(|number| format!("s{number:04}/foo.yml")).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), "a: 1\n")).collect();
    let source = MemorySource::new(layout(&["*"]));
    let found = resolved_in(&snapshot(&source, &files), "dev");
    let found = paths(&found);
    assert_eq!((found.len(), found[0]), (3_000, "s2999/foo.yml"));
    let deep: String = (0..40).map(|level| format!("d{level}/")).collect();
    let source = MemorySource::new(layout(&["**/**/x"]));
    let deep = format!("{deep}x/foo.yml");
    let found = resolved_in(&snapshot(&source, &[(deep.as_str(), "a: 1\n")]), "dev");
    assert_eq!(paths(&found), [deep.as_str()]);
}

#[test]
fn an_application_is_mentioned_by_a_file_in_an_imported_folder() {
    let files = [
        ("application.yml", "spring.config.import: optional:parts/,teams/*/,${team}/\n"),
        ("parts/cart.yml", "a: 1\n"),
        ("teams/x/orders-prod.properties", "a=1\n"),
        ("elsewhere/billing.yml", "a: 1\n"),
    ];
    let snapshot = snapshot(&MemorySource::new(layout(&[])), &files);
    let member = &snapshot.members[0];
    let is_mentioned = |application| {
        mention(member, &member.tree, &query(application, "default"), application).unwrap().file
    };
    assert!(is_mentioned("cart") && is_mentioned("orders"));
    assert!(!is_mentioned("billing") && !is_mentioned("car"));
}

#[test]
fn a_schema_is_no_configuration_where_it_is_imported() {
    let files =
        [("foo.yml", "spring.config.import: bar.schema.json\n"), ("bar.schema.json", "{\"a\": 1}")];
    assert_eq!(paths(&resolved(&files, "dev")), ["foo.yml"]);
}
