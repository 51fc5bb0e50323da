//! Property test: a check finds the same as the resolution of every known environment at both revisions.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::catalog::catalog;

/// Lines of files: keys that override, reference and hide each other, and properties that control imports and activation.
const LINES: &[&str] = &[
    "k0: 1",
    "k0: 2",
    "k0: text",
    "k1: ${k0}",
    "k1: ${k2:7}",
    "k1: 5",
    "k2: ${k1:${k0}}",
    "k2: ${s.${k3}}",
    "k2: 8080",
    "k3: a",
    "k3: b",
    "s.a: 1",
    "s.a: ${k0}",
    "s.b: text",
    "s: 4",
    "l[0]: 1",
    "l[0]: ${k3}",
    "l[1]: x",
    "spring.profiles.include: q",
    "spring.profiles.group.p: q",
    "spring.config.import: more.yml",
    "spring.config.import: b.yml",
    "spring.config.import: deep/down/more.yml",
    "spring.config.import: [more.yml, application-q.yml]",
    "spring.config.activate.on-profile: p",
    "spring.config.activate.on-profile: '!p & !q'",
    "spring.config.activate.on-cloud-platform: kubernetes",
    "---",
    "---",
    "broken: [",
];

const SCHEMAS: &[&str] = &[
    r#"{"properties": {"k0": {"type": "integer"}}}"#,
    r#"{"properties": {"s": {"properties": {"a": {"maximum": 1}}}}, "required": ["k1"]}"#,
    r#"{"properties": {"k2": {"minimum": 9}, "l": {"minItems": 2}}}"#,
    r#"{"additionalProperties": {"type": ["integer", "object", "array"]}}"#,
    r##"{"$ref": "#/$defs/none"}"##,
];

const PATHS: &[&str] = &[
    "application.yml",
    "application-p.yml",
    "application-q.yml",
    "a.yml",
    "a-p.yml",
    "a/application.yml",
    "a/a-q.yml",
    "b.yml",
    "b-p.yml",
    "b/b.yml",
    "more.yml",
    "more-p.yml",
    "deep/down/more.yml",
    "application.schema.json",
    "a.schema.json",
    "b/b.schema.json",
];

const SEARCH_PATHS: &[&[&str]] = &[&[], &["{application}"], &["*"]];

/// The content of a file, or `None` for a deleted file.
fn text(is_schema: bool) -> BoxedStrategy<Option<String>> {
    let lines = prop::collection::vec(prop::sample::select(LINES), 1..6);
    if is_schema {
        prop::option::of(prop::sample::select(SCHEMAS).prop_map(str::to_owned)).boxed()
    } else {
        prop::option::weighted(0.85, lines.prop_map(|lines| unique(&lines))).boxed()
    }
}

/// Drops lines whose key is already in the document.
fn unique(lines: &[&str]) -> String {
    let mut keys = BTreeSet::new();
    let mut text = String::new();
    for line in lines {
        let key = line.split(':').next().unwrap_or(line);
        if *line == "---" {
            keys.clear();
        } else if !keys.insert(key) {
            continue;
        }
        text += line;
        text.push('\n');
    }
    text
}

fn commits(
    file_count: std::ops::Range<usize>,
) -> impl Strategy<Value = BTreeMap<String, Option<String>>> {
    let file = prop::sample::select(PATHS)
        .prop_flat_map(|path| (Just(path.to_owned()), text(path.ends_with(".schema.json"))));
    prop::collection::vec(file, file_count).prop_map(|files| files.into_iter().collect())
}

fn loaded(source: &MemorySource, files: &BTreeMap<String, Option<String>>) -> Snapshot {
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_deref())).collect();
    commit_files(source, &files)
}

/// The change and the findings of one environment, resolved and judged at both revisions.
fn from_scratch(
    [old, new]: [&Snapshot; 2],
    query: &Query,
    rules: &[Rule],
) -> (Change, Vec<(FindingSeverity, Problem)>) {
    let mut schemas = Schemas::default();
    let resolve =
        |snapshot| Resolution::of(snapshot, query, None, &mut DirectoryCache::default()).unwrap();
    let [before, after] = [old, new].map(resolve);
    let mut judge = |resolution: &Resolution| {
        resolution.judge(rules, CheckScope::Everything, &mut schemas).unwrap()
    };
    let had = judge(&before);
    let mut found = judge(&after);
    found.retain(|(_, problem)| !had.iter().any(|(_, had)| identity(had) == identity(problem)));
    (change_of(&before, &after), found)
}

type Texts = BTreeSet<String>;

/// Returns true if the files of the application or the shared files mention the profile of a query.
fn is_mentioned(snapshot: &Snapshot, query: &Query) -> bool {
    let Query { application, profiles, .. } = query;
    let member = &snapshot.members[0];
    let tree = &member.tree;
    let searched =
        resolve::directories(member, tree, query, &mut resolve::Dependencies::default()).unwrap();
    let mut speaks = &**profiles == "default";
    let mut paths = Vec::new();
    tree.walk(&mut |path| paths.push(path.to_owned())).unwrap();
    paths.retain(|path| searched.contains(&catalog::directory_of(path).into()));
    for path in paths {
        let stem = catalog::stem_of(&path);
        let name = [&**application, "application"].into_iter().find(|name| stem.starts_with(name));
        let rest = name.map(|name| &stem[name.len()..]);
        let file = tree.file(&path).unwrap().unwrap();
        speaks |=
            rest == Some(&format!("-{profiles}"))
                || rest == Some("")
                    && tree.documents(&file).unwrap().iter().flat_map(|them| them.iter()).any(
                        |it| resolve::named_profiles(it).iter().any(|named| named == &**profiles),
                    );
    }
    speaks
}

/// The findings of all known environments.
#[derive(Default)]
struct Expected {
    problems: Texts,
    warnings: Texts,
    changes: BTreeMap<(String, String), Change>,
}

impl Expected {
    fn of(old: &Snapshot, new: &Snapshot, rules: &[Rule], known: &[Query]) -> Self {
        let mut expected = Self::default();
        for query in known {
            let rules = if is_everyone(query) { &[][..] } else { rules };
            let (change, found) = from_scratch([old, new], query, rules);
            for (severity, problem) in found.into_iter().filter(|(_, it)| !is_of_file(it)) {
                match severity {
                    FindingSeverity::Problem => expected.problems.insert(problem.to_string()),
                    FindingSeverity::Warning => expected.warnings.insert(problem.to_string()),
                };
            }
            if !change.is_empty() {
                let name = (query.application.to_string(), query.profiles.to_string());
                expected.changes.insert(name, change);
            }
        }
        expected
    }
}

/// The texts that only the first set contains.
fn beyond(texts: &Texts, others: &Texts) -> Vec<String> {
    texts.difference(others).cloned().collect()
}

/// Returns true for a file that does not parse. Such a file is reported even if no environment loads it.
fn is_of_file(problem: &Problem) -> bool {
    problem.key.is_none() && !problem.origin.file.ends_with(".schema.json")
}

fn compare(old: &Snapshot, new: &Snapshot, strictness: Strictness) {
    let terms = CheckPolicy::new(strictness);
    let report = check(new, Some(old), &[], &terms).unwrap();
    assert!(report.is_finished());
    let mut all = catalog(new).unwrap();
    let before = catalog(old).unwrap();
    all.applications.extend(before.applications);
    all.profiles.extend(before.profiles);
    // A schema is judged before there is a file of its application, and a directory may have files for a profile only.
    all.applications.extend(["a", "b"].map(str::to_owned));
    all.profiles.extend(["p", "q"].map(str::to_owned));
    let known = all.queries(&Label::Default);
    let mut spoken = catalog(new).unwrap().queries(&Label::Default);
    spoken.retain(|query| is_mentioned(new, query));
    let most = Expected::of(old, new, &terms.rules, &known);
    let least = Expected::of(old, new, &terms.rules, &spoken);
    let texts = |problems: &[Problem]| -> Texts {
        problems.iter().filter(|it| !is_of_file(it)).map(Problem::to_string).collect()
    };
    let none: Vec<String> = Vec::new();
    let problems = texts(&report.problems);
    assert_eq!(beyond(&least.problems, &problems), none, "problems not found");
    assert_eq!(beyond(&problems, &most.problems), none, "problems of no environment");
    let warnings = texts(&report.warnings);
    assert_eq!(beyond(&least.warnings, &warnings), none, "warnings not found");
    assert_eq!(beyond(&warnings, &most.warnings), none, "warnings of no environment");
    let reported: BTreeMap<_, _> = report
        .changes
        .into_iter()
        .map(|EnvironmentChange { query, change, .. }| {
            ((query.application.to_string(), query.profiles.to_string()), change)
        })
        .collect();
    for (name, change) in &least.changes {
        assert_eq!(reported.get(name), Some(change), "{name:?}");
    }
    for (name, change) in most.changes {
        assert!(reported.get(&name).is_none_or(|reported| *reported == change), "{name:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        max_shrink_iters: 300,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn a_check_finds_the_same_as_every_environment(
        files in commits(4..14),
        edits in prop::collection::vec(commits(1..4), 1..4),
        search_path in prop::sample::select(SEARCH_PATHS),
        strict in prop::bool::ANY,
    ) {
        let strictness = if strict { Strictness::Strict } else { Strictness::Lenient };
        let source = MemorySource::new(layout(search_path));
        // The application `zz` ensures that the rules are not applied to the shared files alone.
        let mut files = files;
        files.insert("zz.yml".to_owned(), Some("z: 1".to_owned()));
        let mut old = loaded(&source, &files);
        for edit in &edits {
            let new = loaded(&source, edit);
            compare(&old, &new, strictness);
            old = new;
        }
    }
}
