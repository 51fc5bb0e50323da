//! Invariant: no answer is silently empty. The stand-in for a broken revision has every file that is read for the
//! revision itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::model::Label;
use crate::snapshot::Layout;
use crate::source::Source;
use crate::source::memory::MemorySource;
use crate::store::published_snapshot::PublishedSnapshot;

/// The files that are read by name for `foo` with the profile `dev`.
const NAMED: [&str; 4] = ["application.yml", "application-dev.yml", "foo.yml", "foo-dev.yml"];
/// The file that `foo.yml` imports in some of its variants.
const IMPORTED: &str = "more/extra.yml";

/// The content of a file in a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    Good(u8),
    /// A file that imports [`IMPORTED`].
    Importing(u8),
    /// A file without a document.
    Comment,
    Broken,
}

impl Text {
    fn yaml(self) -> String {
        match self {
            Self::Good(number) => format!("value: {number}\n"),
            Self::Importing(number) => {
                format!("spring.config.import: optional:{IMPORTED}\nvalue: {number}\n")
            }
            Self::Comment => "# nothing\n".to_owned(),
            Self::Broken => "value: [\n".to_owned(),
        }
    }
}

type Files = BTreeMap<&'static str, Text>;

/// The paths that one commit writes or deletes.
type Changes = Vec<(&'static str, Option<Text>)>;

fn histories() -> impl Strategy<Value = Vec<Changes>> {
    let path = prop::sample::select([&NAMED[..], &[IMPORTED]].concat());
    let text = prop_oneof![
        3 => (0..3_u8).prop_map(|number| Some(Text::Good(number))),
        2 => (0..3_u8).prop_map(|number| Some(Text::Importing(number))),
        1 => Just(Some(Text::Comment)),
        3 => Just(Some(Text::Broken)),
        1 => Just(None),
    ];
    prop::collection::vec(prop::collection::vec((path, text), 1..4), 1..10)
}

fn snapshot(history: &[Changes]) -> Snapshot {
    let layout = Layout {
        base: "memory:".into(),
        style: Style::Git,
        search_paths: Vec::new(),
        patterns: Vec::new(),
        toml: true,
        json: true,
    };
    let source = MemorySource::new(Arc::new(layout));
    for changes in history {
        let texts: Vec<_> =
            changes.iter().map(|(path, text)| (*path, text.map(Text::yaml))).collect();
        let changes: Vec<_> = texts.iter().map(|(path, text)| (*path, text.as_deref())).collect();
        source.commit("main", &changes);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(source.load(&Label::Default, None)).unwrap()
}

fn answer(history: &[Changes]) -> Answer {
    let query = Query { application: "foo".into(), profiles: "dev".into(), label: Label::Default };
    let builder = AnswerBuilder::new(AnswerSettings::default());
    let published = PublishedSnapshot::new(0, Arc::new(snapshot(history)));
    build(&query, published.tip(), &builder, None).unwrap()
}

/// Every revision of a history, the newest first.
fn revisions(history: &[Changes]) -> Vec<Files> {
    let mut files = Files::new();
    let mut revisions: Vec<Files> = history
        .iter()
        .map(|changes| {
            for (path, text) in changes {
                match text {
                    Some(text) => files.insert(*path, *text),
                    None => files.remove(path),
                };
            }
            files.clone()
        })
        .collect();
    revisions.reverse();
    revisions
}

/// The files that are read in a revision.
fn read(files: &Files) -> Files {
    let mut read: Files =
        files.iter().filter(|(path, _)| NAMED.contains(path)).map(|(p, t)| (*p, *t)).collect();
    let is_importing = read.values().any(|text| matches!(text, Text::Importing(_)));
    // A broken file ends the reading, before or after the import. The imported file is irrelevant then.
    if is_importing && let Some(text) = files.get(IMPORTED) {
        read.insert(IMPORTED, *text);
    }
    read
}

fn is_good(files: &Files) -> bool {
    !read(files).values().any(|text| *text == Text::Broken)
}

fn source_count(files: &Files) -> usize {
    read(files).values().filter(|text| **text != Text::Comment).count()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_answer_is_silently_empty_or_lacks_a_file(history in histories()) {
        let answer = answer(&history);
        let revisions = revisions(&history);
        let newest = &revisions[0];
        match (&*answer.content, answer.held_revisions().next()) {
            (Content::Environment(variants), None) => {
                let served = variants.get(Variant::Sealed);
                prop_assert!(is_good(newest));
                prop_assert_eq!(served.environment.sources.len(), source_count(newest));
            }
            (Content::Environment(variants), Some(held)) => {
                let served = variants.get(Variant::Sealed);
                prop_assert!(!is_good(newest));
                prop_assert!(!served.environment.sources.is_empty());
                let broken: &str = &held.problem.origin.file;
                let is_worthy = |files: &&Files| {
                    is_good(files)
                        && source_count(files) > 0
                        && files.contains_key(broken)
                        && NAMED.iter().all(|path| !newest.contains_key(path) || files.contains_key(path))
                };
                let expected = revisions[1..].iter().find(is_worthy);
                prop_assert!(expected.is_some());
                prop_assert_eq!(Some(served.environment.sources.len()), expected.map(source_count));
            }
            (Content::Broken(problem), _) => {
                prop_assert_eq!(newest.get(&*problem.origin.file), Some(&Text::Broken));
                let lacks = |files: &Files| {
                    !is_good(files)
                        || source_count(files) == 0
                        || !files.contains_key(&*problem.origin.file)
                        || NAMED.iter().any(|path| newest.contains_key(path) && !files.contains_key(path))
                };
                prop_assert!(revisions[1..].iter().all(lacks));
            }
            _ => prop_assert!(false, "another kind of answer"),
        }
    }

    /// Every replica gives the same answer, including a replica that has just started.
    #[test]
    fn an_answer_is_a_function_of_the_history(history in histories()) {
        let (one, other) = (answer(&history), answer(&history));
        prop_assert!(!one.differs(&other));
        prop_assert_eq!(one.revision, other.revision);
    }
}

#[track_caller]
fn check(history: &[Changes], expected: Option<usize>) {
    let answer = answer(history);
    let found = answer.served(Variant::Sealed).map(|served| served.environment.sources.len());
    assert_eq!(found, expected);
}

#[test]
fn a_shared_file_that_was_never_good_has_no_last_good_revision() {
    let good = |path| (path, Some(Text::Good(1)));
    let bad = |path| (path, Some(Text::Broken));
    check(&[vec![good("bar.yml")], vec![bad("application.yml")]], None);
    check(&[vec![good("foo.yml")], vec![bad("application.yml")]], None);
    check(&[vec![good("foo.yml")], vec![bad("application-dev.yml")]], None);
    check(&[vec![good("foo.yml"), good("application.yml")], vec![bad("application.yml")]], Some(2));
    check(&[vec![("application.yml", Some(Text::Comment))], vec![bad("application.yml")]], None);
}

#[test]
fn an_import_that_was_never_good_has_no_last_good_revision() {
    let good = |path| (path, Some(Text::Good(1)));
    let importing = ("foo.yml", Some(Text::Importing(1)));
    let bad = (IMPORTED, Some(Text::Broken));
    check(&[vec![good("foo.yml")], vec![importing, bad]], None);
    check(&[vec![importing, good(IMPORTED)], vec![bad]], Some(2));
}
