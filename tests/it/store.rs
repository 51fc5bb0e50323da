//! The store over a source in memory: what readers and watchers see while the source moves.

use std::sync::Arc;
use std::time::Duration;

use headwater::access::{Caller, Policy};
use headwater::model::{Label, Query, Revision};
use headwater::render::Representation;
use headwater::snapshot::{Layout, Style};
use headwater::source::memory::MemorySource;
use headwater::store::{Additions, AnswerError, Content, Reader, Store};
use proptest::prelude::*;

/// Longer than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

fn source() -> Arc<MemorySource> {
    Arc::new(MemorySource::new(Arc::new(Layout {
        base: "memory".into(),
        style: Style::Git,
        search_paths: Vec::new(),
        patterns: Vec::new(),
        json: false,
    })))
}

fn store(source: &Arc<MemorySource>) -> Arc<Store> {
    let source = Arc::clone(source);
    let runtime = tokio::runtime::Handle::current();
    Store::new(source, Additions::default(), Policy::Open, runtime)
}

fn query(application: &str, profiles: &str) -> Query {
    Query { application: application.into(), profiles: profiles.into(), label: Label::Default }
}

async fn read(store: &Arc<Store>, application: &str) -> Reader {
    store.answer(&Caller::Anonymous, &query(application, "default")).await.unwrap()
}

async fn wait_until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}

async fn settle(reader: &mut Reader, revision: &Revision) {
    tokio::time::timeout(PATIENCE, reader.reached(revision)).await.unwrap().unwrap();
}

/// What a client is told: status, revision, newest revision, body.
fn told(reader: &Reader) -> String {
    let reading = reader.current();
    let body = match &reading.answer.content {
        Content::Environment(served) => {
            let bytes = served.json(Representation::V2, &reading.revision);
            format!("{} {}", served.etag(Representation::V2), String::from_utf8_lossy(&bytes))
        }
        Content::Broken(problem) => format!("broken: {problem}"),
        Content::UnknownLabel => "unknown label".to_owned(),
        Content::Empty => "empty".to_owned(),
    };
    let held: Vec<String> =
        reading.answer.held().map(|held| format!("{}: {}", held.revision, held.problem)).collect();
    format!("{} of {} {held:?} {body}", reading.revision, reading.tip)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_of_an_unaffected_environment_receives_nothing() {
    let source = source();
    source.commit("main", &[("cart.yml", Some("a: 1\n")), ("order.yml", Some("b: 1\n"))]);
    let store = store(&source);
    let (mut cart, mut order) = (read(&store, "cart").await, read(&store, "order").await);
    let before = cart.current();
    let moves = [
        [("order.yml", Some("b: 2\n"))],
        [("other.yml", Some("c: 2\n"))],
        [("cart-prod.yml", Some("for another profile: yes\n"))],
        [("cart.yml", Some("# a comment\na:   1\n"))],
    ];
    let mut last = None;
    for change in &moves {
        last = Some(source.commit("main", change));
    }
    settle(&mut cart, &last.clone().unwrap()).await;
    let after = cart.current();
    assert_eq!(after.tip, last.unwrap(), "the revision is the newest");
    assert_eq!(after.revision, after.tip);
    let digest = |reading: &headwater::store::Reading| reading.answer.served().unwrap().digest;
    assert_eq!(digest(&before), digest(&after));
    tokio::time::timeout(PATIENCE, order.changed()).await.unwrap().unwrap();
    let quiet = tokio::select! {
        biased;
        _ = cart.changed() => false,
        () = std::future::ready(()) => true,
    };
    assert!(quiet, "a comment, another service and another profile woke a watcher");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_one_file_costs_one_parse_and_one_answer() {
    let source = source();
    let files: Vec<(String, String)> =
        (0..50).map(|n| (format!("service{n}.yml"), format!("n: {n}\n"))).collect();
    let mut changes: Vec<(&str, Option<&str>)> =
        files.iter().map(|(path, text)| (path.as_str(), Some(text.as_str()))).collect();
    changes.push(("application.yml", Some("shared: 1\n")));
    source.commit("main", &changes);
    let store = store(&source);
    let mut readers = Vec::new();
    for n in 0..50 {
        readers.push(read(&store, &format!("service{n}")).await);
    }
    let parsed = store.parsed_count();
    assert_eq!(parsed, 51);
    let one = source.commit("main", &[("service7.yml", Some("n: 70\n"))]);
    settle(&mut readers[0], &one).await;
    assert_eq!(store.parsed_count(), parsed + 1);
    let shared = source.commit("main", &[("application.yml", Some("shared: 2\n"))]);
    settle(&mut readers[0], &shared).await;
    assert_eq!(store.parsed_count(), parsed + 2, "the services' own files are not read again");
    assert!(told(&readers[7]).contains(r#""n":{"value":70"#));
    assert!(told(&readers[7]).contains(r#""shared":{"value":2"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_holds_back_only_who_needs_it_and_a_restart_agrees() {
    let source = source();
    let good =
        source.commit("main", &[("cart.yml", Some("a: 1\n")), ("order.yml", Some("b: 1\n"))]);
    let store_live = store(&source);
    let mut cart = read(&store_live, "cart").await;
    let order = read(&store_live, "order").await;
    let bad = source.commit("main", &[("cart.yml", Some("a: [\n"))]);
    settle(&mut cart, &bad).await;
    assert_eq!(cart.current().revision, good);
    assert_eq!(cart.current().tip, bad);
    assert_eq!(order.current().revision, bad);
    let problems = store_live.problems();
    assert_eq!(problems.len(), 1);
    assert_eq!(&*problems[0].problem.origin.file, "cart.yml");
    let later = source.commit("main", &[("order.yml", Some("b: 2\n"))]);
    settle(&mut cart, &later).await;
    let restarted = read(&store(&source), "cart").await;
    assert_eq!(told(&cart), told(&restarted));
    let fixed = source.commit("main", &[("cart.yml", Some("a: 3\n"))]);
    settle(&mut cart, &fixed).await;
    assert_eq!(cart.current().revision, fixed);
    assert!(store_live.problems().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_that_is_bad_has_nothing_to_go_back_to() {
    let source = source();
    source.commit("main", &[("application.yml", Some("shared: 1\n"))]);
    source.commit("main", &[("cart.yml", Some("a: [\n"))]);
    let reader = read(&store(&source), "cart").await;
    assert!(matches!(reader.current().answer.content, Content::Broken(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_does_not_resolve_is_an_error() {
    let source = source();
    source.commit("main", &[("cart.yml", Some("a: 1\n"))]);
    let bad = source.commit("main", &[("cart.yml", Some("a: [\n"))]);
    source.tag("v1", &bad);
    let tagged = Query { label: Label::Named("v1".into()), ..query("cart", "default") };
    let reader = store(&source).answer(&Caller::Anonymous, &tagged).await.unwrap();
    assert!(matches!(reader.current().answer.content, Content::Broken(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_away_leaves_what_is_served() {
    let source = source();
    let first = source.commit("main", &[("cart.yml", Some("a: 1\n"))]);
    let store = store(&source);
    let mut cart = read(&store, "cart").await;
    source.fail(Some("on purpose"));
    source.commit("main", &[("cart.yml", Some("a: 2\n"))]);
    assert_eq!(cart.current().revision, first);
    let unknown = Query { label: Label::Named("other".into()), ..query("cart", "default") };
    let error = store.answer(&Caller::Anonymous, &unknown).await.err().unwrap();
    assert!(matches!(error, AnswerError::Unavailable(_)), "{error}");
    source.fail(None);
    let third = source.commit("main", &[("cart.yml", Some("a: 3\n"))]);
    settle(&mut cart, &third).await;
    assert!(told(&cart).contains(r#""a":{"value":3"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_back_with_nothing_new_is_no_longer_stale() {
    let source = source();
    source.commit("main", &[("cart.yml", Some("a: 1\n"))]);
    let store = store(&source);
    let _cart = read(&store, "cart").await;
    let is_stale = || store.labels().iter().any(|label| label.stale.is_some());
    source.fail(Some("on purpose"));
    wait_until(is_stale).await;
    source.fail(None);
    wait_until(|| !is_stale()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_to_long_lists_do_not_fill_the_memory() {
    let source = source();
    source.commit("main", &[("application.yml", Some("a: 1\n"))]);
    let store = store(&source);
    let list = |name: &str| {
        let items: Vec<String> = (0..64).map(|item| format!("{name}{item}")).collect();
        items.join(",")
    };
    let profiles = list("p");
    for round in 0..110 {
        let long = query(&list(&format!("n{round}-")), &profiles);
        store.answer(&Caller::Anonymous, &long).await.unwrap();
    }
    let kept = store.labels()[0].answer_count;
    assert!((50..100).contains(&kept), "{kept}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_branch_lets_its_watchers_go() {
    let source = source();
    source.commit("main", &[("cart.yml", Some("a: 1\n"))]);
    source.commit("feature", &[("cart.yml", Some("a: 2\n"))]);
    let store = store(&source);
    let on_feature = Query { label: Label::Named("feature".into()), ..query("cart", "default") };
    let mut reader = store.answer(&Caller::Anonymous, &on_feature).await.unwrap();
    source.delete_branch("feature");
    let gone = tokio::time::timeout(PATIENCE, reader.changed()).await.unwrap();
    assert!(gone.is_err());
    let error = store.answer(&Caller::Anonymous, &on_feature).await.err().unwrap();
    assert!(matches!(error, AnswerError::UnknownLabel(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_see_one_revision_whole_while_it_moves() {
    let source = source();
    source.commit("main", &[("application.yml", Some("a: 0\n")), ("cart.yml", Some("b: 0\n"))]);
    let store = store(&source);
    let mut cart = read(&store, "cart").await;
    let reading = tokio::spawn({
        let cart = cart.clone();
        async move {
            let mut newest = 0;
            for _ in 0..20_000 {
                let text = told(&cart);
                let number = |key: &str| -> u64 {
                    let at = text.find(key).unwrap() + key.len();
                    text[at..].split([',', '}']).next().unwrap().parse().unwrap()
                };
                let (a, b) = (number(r#""a":{"value":"#), number(r#""b":{"value":"#));
                assert_eq!(a, b, "two keys of one revision disagree");
                assert!(a >= newest, "an older revision after a newer one");
                newest = a;
                tokio::task::yield_now().await;
            }
        }
    });
    let mut last = None;
    for n in 1..=200 {
        let (a, b) = (format!("a: {n}\n"), format!("b: {n}\n"));
        let changes = [("application.yml", Some(a.as_str())), ("cart.yml", Some(b.as_str()))];
        last = Some(source.commit("main", &changes));
        tokio::task::yield_now().await;
    }
    settle(&mut cart, &last.unwrap()).await;
    reading.await.unwrap();
}

#[derive(Debug, Clone)]
enum Step {
    /// Files by number and what becomes of each.
    Commit(Vec<(usize, usize)>),
    /// Back to the revision with this number.
    Force(usize),
    /// Some application is asked for.
    Ask(usize),
}

const FILES: [&str; 8] = [
    "application.yml",
    "application-dev.yml",
    "cart.yml",
    "cart-dev.properties",
    "order.yml",
    "order.toml",
    "shared/cart.yml",
    "unrelated.txt",
];
const CONTENTS: [Option<&str>; 6] =
    [Some("a: 1\n"), Some("a: 2\nb: x\n"), Some("a: [\n"), Some("a = 1\n"), None, Some("\n")];
const QUERIES: [(&str, &str); 5] =
    [("cart", "dev"), ("cart", "default"), ("order", "dev"), ("order,cart", "dev"), ("none", "x")];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = (0..FILES.len(), 0..CONTENTS.len());
    let step = prop_oneof![
        4 => prop::collection::vec(change, 1..4).prop_map(Step::Commit),
        1 => (0..20_usize).prop_map(Step::Force),
        2 => (0..QUERIES.len()).prop_map(Step::Ask),
    ];
    prop::collection::vec(step, 1..16)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever happened on the way, a store that lived through it and one that was started at the end say the same.
    #[test]
    fn a_live_and_a_restarted_store_give_equal_bytes(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let source = source();
            let mut revisions = vec![source.commit("main", &[("application.yml", Some("a: 0\n"))])];
            let live = store(&source);
            let mut watcher = read(&live, "application").await;
            for step in &steps {
                match step {
                    Step::Commit(changes) => {
                        let changes: Vec<_> = changes
                            .iter()
                            .map(|(file, content)| (FILES[*file], CONTENTS[*content]))
                            .collect();
                        revisions.push(source.commit("main", &changes));
                    }
                    Step::Force(number) => {
                        let revision = revisions[number % revisions.len()].clone();
                        // What no branch leads to any more is gone.
                        if source.force("main", &revision) {
                            revisions.push(revision);
                        }
                    }
                    Step::Ask(number) => {
                        let (application, profiles) = QUERIES[*number];
                        let query = query(application, profiles);
                        live.answer(&Caller::Anonymous, &query).await.unwrap();
                    }
                }
            }
            // A revision that was not there before, so that the store cannot have been at it on the way.
            let last = source.commit("main", &[("last.txt", Some("unrelated"))]);
            settle(&mut watcher, &last).await;
            let restarted = store(&source);
            for (application, profiles) in QUERIES {
                let query = query(application, profiles);
                let ours = live.answer(&Caller::Anonymous, &query).await.unwrap();
                let theirs = restarted.answer(&Caller::Anonymous, &query).await.unwrap();
                assert_eq!(told(&ours), told(&theirs), "{application} {profiles}");
            }
        });
    }
}
