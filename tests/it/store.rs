//! The store over a source in memory: what readers and watchers receive while the source moves.

use std::sync::Arc;
use std::time::Duration;

use headwater::access::{Caller, Policy};
use headwater::model::{Label, Query, Revision};
use headwater::render::Representation;
use headwater::reveal::{KeySet, Keyring, Variant};
use headwater::snapshot::{Layout, Style};
use headwater::source::memory::MemorySource;
use headwater::store::{AnswerAt, AnswerError, AnswerHandle, AnswerSettings, Content, Store};
use headwater_secrets::{SecretText, SpringKey};
use proptest::prelude::*;

/// The limit on any wait. A test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

fn source() -> Arc<MemorySource> {
    Arc::new(MemorySource::new(Arc::new(Layout {
        base: "memory".into(),
        style: Style::Git,
        search_paths: Vec::new(),
        patterns: Vec::new(),
        toml: true,
        json: false,
    })))
}

fn store(source: &Arc<MemorySource>) -> Arc<Store> {
    let source = Arc::clone(source);
    let runtime = tokio::runtime::Handle::current();
    Store::new(source, AnswerSettings::default(), Policy::Open, runtime)
}

fn query(application: &str, profiles: &str) -> Query {
    Query { application: application.into(), profiles: profiles.into(), label: Label::Default }
}

async fn read(store: &Arc<Store>, application: &str) -> AnswerHandle {
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

async fn wait_for(handle: &mut AnswerHandle, revision: &Revision) {
    tokio::time::timeout(PATIENCE, handle.wait_for_revision(revision)).await.unwrap().unwrap();
}

/// Returns the parts of an answer that clients receive: status, revision, newest revision, body.
fn describe(handle: &AnswerHandle) -> String {
    let current = handle.current();
    let body = match &*current.answer.content {
        Content::Environment(_) => {
            let served = current.served().unwrap();
            let bytes = served.body(Representation::V2, &current.revision).whole();
            format!("{} {}", served.etag(Representation::V2), String::from_utf8_lossy(&bytes))
        }
        Content::Broken(problem) => format!("broken: {problem}"),
        Content::UnknownLabel => "unknown label".to_owned(),
        Content::Empty => "empty".to_owned(),
    };
    let held: Vec<String> = current
        .answer
        .held_revisions()
        .map(|held| format!("{}: {}", held.revision, held.problem))
        .collect();
    format!("{} of {} {held:?} {body}", current.revision, current.tip)
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
    wait_for(&mut cart, &last.clone().unwrap()).await;
    let after = cart.current();
    assert_eq!(after.tip, last.unwrap(), "the revision is the newest");
    assert_eq!(after.revision, after.tip);
    let digest = |current: &AnswerAt| current.served().unwrap().digest;
    assert_eq!(digest(&before), digest(&after));
    tokio::time::timeout(PATIENCE, order.changed()).await.unwrap().unwrap();
    let quiet = tokio::select! {
        biased;
        _ = cart.changed() => false,
        () = std::future::ready(()) => true,
    };
    assert!(quiet, "a comment, another service or another profile woke a watcher");
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
    let mut handles = Vec::new();
    for n in 0..50 {
        handles.push(read(&store, &format!("service{n}")).await);
    }
    let parsed = store.parsed_count();
    assert_eq!(parsed, 51);
    let one = source.commit("main", &[("service7.yml", Some("n: 70\n"))]);
    wait_for(&mut handles[0], &one).await;
    assert_eq!(store.parsed_count(), parsed + 1);
    let shared = source.commit("main", &[("application.yml", Some("shared: 2\n"))]);
    wait_for(&mut handles[0], &shared).await;
    assert_eq!(store.parsed_count(), parsed + 2, "the services' own files are not read again");
    assert!(describe(&handles[7]).contains(r#""n":{"value":70"#));
    assert!(describe(&handles[7]).contains(r#""shared":{"value":2"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_holds_back_only_the_environments_that_need_it() {
    let source = source();
    let good =
        source.commit("main", &[("cart.yml", Some("a: 1\n")), ("order.yml", Some("b: 1\n"))]);
    let store_live = store(&source);
    let mut cart = read(&store_live, "cart").await;
    let order = read(&store_live, "order").await;
    let bad = source.commit("main", &[("cart.yml", Some("a: [\n"))]);
    wait_for(&mut cart, &bad).await;
    assert_eq!(cart.current().revision, good);
    assert_eq!(cart.current().tip, bad);
    assert_eq!(order.current().revision, bad);
    let problems = store_live.problems();
    assert_eq!(problems.len(), 1);
    assert_eq!(&*problems[0].problem.origin.file, "cart.yml");
    let later = source.commit("main", &[("order.yml", Some("b: 2\n"))]);
    wait_for(&mut cart, &later).await;
    let restarted = read(&store(&source), "cart").await;
    assert_eq!(describe(&cart), describe(&restarted));
    let fixed = source.commit("main", &[("cart.yml", Some("a: 3\n"))]);
    wait_for(&mut cart, &fixed).await;
    assert_eq!(cart.current().revision, fixed);
    assert!(store_live.problems().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_new_file_has_no_last_good_revision() {
    let source = source();
    source.commit("main", &[("application.yml", Some("shared: 1\n"))]);
    source.commit("main", &[("cart.yml", Some("a: [\n"))]);
    let handle = read(&store(&source), "cart").await;
    assert!(matches!(*handle.current().answer.content, Content::Broken(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_does_not_resolve_is_an_error() {
    let source = source();
    source.commit("main", &[("cart.yml", Some("a: 1\n"))]);
    let bad = source.commit("main", &[("cart.yml", Some("a: [\n"))]);
    source.tag("v1", &bad);
    let tagged = Query { label: Label::Named("v1".into()), ..query("cart", "default") };
    let handle = store(&source).answer(&Caller::Anonymous, &tagged).await.unwrap();
    assert!(matches!(*handle.current().answer.content, Content::Broken(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_source_keeps_the_served_revision() {
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
    wait_for(&mut cart, &third).await;
    assert!(describe(&cart).contains(r#""a":{"value":3"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_back_with_nothing_new_is_no_longer_stale() {
    let source = source();
    source.commit("main", &[("cart.yml", Some("a: 1\n"))]);
    let store = store(&source);
    let _cart = read(&store, "cart").await;
    let is_stale = || store.label_statuses().iter().any(|label| label.stale.is_some());
    source.fail(Some("on purpose"));
    wait_until(is_stale).await;
    source.fail(None);
    wait_until(|| !is_stale()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_to_long_lists_do_not_fill_the_memory() {
    let source = source();
    let files: Vec<String> = (0..64).map(|item| format!("n{item}.yml")).collect();
    let changes: Vec<(&str, Option<&str>)> =
        files.iter().map(|path| (path.as_str(), Some("a: 1\n"))).collect();
    source.commit("main", &changes);
    let runtime = tokio::runtime::Handle::current();
    let (settings, bytes_max) = (AnswerSettings::default(), 2 * 1024 * 1024);
    let store = Store::with_answer_bytes_max(source, settings, Policy::Open, runtime, bytes_max);
    let list = |name: &str, first: usize| {
        let items = (0..64).map(|item| format!("{name}{}", (first + item) % 64));
        items.collect::<Vec<_>>().join(",")
    };
    for round in 0..24 {
        let long = query(&list("n", round), &list("p", 0));
        store.answer(&Caller::Anonymous, &long).await.unwrap();
        assert!(store.answer_bytes() <= bytes_max, "{}", store.answer_bytes());
    }
    let kept = store.label_statuses()[0].answer_count;
    assert!((2..20).contains(&kept), "{kept}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_branch_ends_its_watches() {
    let source = source();
    source.commit("main", &[("cart.yml", Some("a: 1\n"))]);
    source.commit("feature", &[("cart.yml", Some("a: 2\n"))]);
    let store = store(&source);
    let on_feature = Query { label: Label::Named("feature".into()), ..query("cart", "default") };
    let mut handle = store.answer(&Caller::Anonymous, &on_feature).await.unwrap();
    source.delete_branch("feature");
    let gone = tokio::time::timeout(PATIENCE, handle.changed()).await.unwrap();
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
                let text = describe(&cart);
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
    wait_for(&mut cart, &last.unwrap()).await;
    reading.await.unwrap();
}

#[derive(Debug, Clone)]
enum Step {
    /// Changes of files: the number of the file, and the number of its content.
    Commit(Vec<(usize, usize)>),
    /// A rewind to the revision with this number.
    Force(usize),
    /// A request for the query with this number.
    Request(usize),
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
        2 => (0..QUERIES.len()).prop_map(Step::Request),
    ];
    prop::collection::vec(step, 1..16)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// A store that followed all steps and a store that starts after the last one give the same answers.
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
                        // A revision that is reachable from no branch is gone.
                        if source.force("main", &revision) {
                            revisions.push(revision);
                        }
                    }
                    Step::Request(number) => {
                        let (application, profiles) = QUERIES[*number];
                        let query = query(application, profiles);
                        live.answer(&Caller::Anonymous, &query).await.unwrap();
                    }
                }
            }
            // A new revision, which the store cannot have served before.
            let last = source.commit("main", &[("last.txt", Some("unrelated"))]);
            wait_for(&mut watcher, &last).await;
            let restarted = store(&source);
            for (application, profiles) in QUERIES {
                let query = query(application, profiles);
                let ours = live.answer(&Caller::Anonymous, &query).await.unwrap();
                let theirs = restarted.answer(&Caller::Anonymous, &query).await.unwrap();
                assert_eq!(describe(&ours), describe(&theirs), "{application} {profiles}");
            }
        });
    }
}

fn large(keys: usize) -> String {
    (0..keys).map(|key| format!("key{key}: {}\n", "x".repeat(90))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_an_invented_name_is_not_kept_and_shares_its_text() {
    let source = source();
    let shared = large(1_000);
    source.commit("main", &[("application.yml", Some(&shared)), ("cart.yml", Some("a: 1\n"))]);
    let store = store(&source);
    let body = |handle: &AnswerHandle| {
        let current = handle.current();
        current.served().unwrap().body(Representation::V1, &current.revision)
    };
    let first = body(&read(&store, "ghost0").await);
    let after_one = store.answer_bytes();
    for ghost in 1..300 {
        let body = body(&read(&store, &format!("ghost{ghost}")).await);
        assert_eq!(
            body.rest.as_ptr(),
            first.rest.as_ptr(),
            "the text is rendered once for all answers"
        );
        let json: serde_json::Value = serde_json::from_slice(&body.whole()).unwrap();
        assert_eq!(json["name"], format!("ghost{ghost}"));
        assert_eq!(json["propertySources"][0]["source"]["key7"], "x".repeat(90));
    }
    assert_eq!(store.label_statuses()[0].answer_count, 0);
    assert!(store.answer_bytes() <= after_one, "{} of {after_one}", store.answer_bytes());

    drop(read(&store, "cart").await);
    assert_eq!(store.label_statuses()[0].answer_count, 1, "a file mentions it");
    for (applications, profiles) in
        [("cart,ghost", "default"), ("cart,", "default"), (",", "default"), ("cart", "dev,,dev")]
    {
        let list = query(applications, profiles);
        drop(store.answer(&Caller::Anonymous, &list).await.unwrap());
        assert_eq!(store.label_statuses()[0].answer_count, 1, "{applications:?} {profiles:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limited_number_of_unmentioned_profiles_is_kept() {
    let source = source();
    let conditional = "a: 1\n---\nspring.config.activate.on-profile: qa & !live\nb: 1\n";
    let grouped = "spring.profiles.group.all: prod\n";
    source.commit(
        "main",
        &[
            ("cart.yml", Some(conditional)),
            ("cart-prod.yml", Some("c: 1\n")),
            ("application.yml", Some(grouped)),
        ],
    );
    let store = store(&source);
    for profile in 0..1_010 {
        let query = query("cart", &format!("made-up-{profile}"));
        drop(store.answer(&Caller::Anonymous, &query).await.unwrap());
    }
    let kept = || store.label_statuses()[0].answer_count;
    assert_eq!(kept(), 1_000);
    for (count, profiles) in ["prod", "qa", "live", "all", "default", "qa,prod"].iter().enumerate()
    {
        drop(store.answer(&Caller::Anonymous, &query("cart", profiles)).await.unwrap());
        assert_eq!(kept(), 1_001 + count, "{profiles}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invented_name_is_kept_once_a_file_mentions_it() {
    let source = source();
    source.commit("main", &[("application.yml", Some("a: 1\n"))]);
    let store = store(&source);
    let mut ghost = read(&store, "ghost").await;
    let next = source.commit("main", &[("application.yml", Some("a: 2\n"))]);
    tokio::time::timeout(PATIENCE, ghost.changed()).await.unwrap().unwrap();
    wait_for(&mut ghost, &next).await;
    assert!(describe(&ghost).contains(r#""a":{"value":2"#));
    assert_eq!(store.label_statuses()[0].answer_count, 0);
    let held = ghost.id();
    assert_eq!(read(&store, "ghost").await.id(), held, "a request meanwhile shares the answer");

    let own = source.commit("main", &[("ghost.yml", Some("b: 1\n"))]);
    wait_for(&mut ghost, &own).await;
    assert!(describe(&ghost).contains(r#""b":{"value":1"#));
    drop(ghost);
    assert_eq!(store.label_statuses()[0].answer_count, 1);
    assert_eq!(read(&store, "ghost").await.id(), held);

    let mut cart = read(&store, "cart").await;
    let gone = source.commit("main", &[("ghost.yml", None)]);
    wait_for(&mut cart, &gone).await;
    assert_eq!(store.label_statuses()[0].answer_count, 0, "no file mentions it any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_bounded_in_bytes() {
    const BYTES_MAX: usize = 2 * 1024 * 1024;
    let source = source();
    let files: Vec<(String, String)> =
        (0..60).map(|n| (format!("service{n}.yml"), large(1_000))).collect();
    let changes: Vec<(&str, Option<&str>)> =
        files.iter().map(|(path, text)| (path.as_str(), Some(text.as_str()))).collect();
    source.commit("main", &changes);
    let runtime = tokio::runtime::Handle::current();
    let (settings, source) = (AnswerSettings::default(), Arc::clone(&source));
    let store = Store::with_answer_bytes_max(source, settings, Policy::Open, runtime, BYTES_MAX);
    let render = |handle: &AnswerHandle| {
        let current = handle.current();
        let served = current.served().unwrap();
        served.body(Representation::V2, &current.revision).whole().len()
    };
    let watched = read(&store, "service0").await;
    let text = render(&watched);
    assert!(60 * text > 2 * BYTES_MAX);
    let id = watched.id();
    for service in 1..60 {
        render(&read(&store, &format!("service{service}")).await);
        assert!(store.answer_bytes() < BYTES_MAX + 2 * text, "{}", store.answer_bytes());
    }
    let kept = store.label_statuses()[0].answer_count;
    assert!((3..30).contains(&kept), "{kept}");
    assert_eq!(read(&store, "service0").await.id(), id, "a watched answer stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_that_are_rendered_later_count_too() {
    let source = source();
    source.commit("main", &[("cart.yml", Some(&large(1_000))), ("order.yml", Some(&large(1_000)))]);
    let runtime = tokio::runtime::Handle::current();
    let settings = AnswerSettings::default();
    let store = Store::with_answer_bytes_max(source, settings, Policy::Open, runtime, 150_000);
    for application in ["cart", "order"] {
        let handle = read(&store, application).await;
        let current = handle.current();
        let served = current.served().unwrap();
        served.body(Representation::V1, &current.revision);
    }
    assert_eq!(store.label_statuses()[0].answer_count, 2);
    drop(read(&store, "order").await);
    wait_until(|| store.label_statuses()[0].answer_count == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_shared_file_is_a_problem_of_invented_names() {
    let source = source();
    let good = source.commit("main", &[("application.yml", Some("a: 1\n"))]);
    let bad = source.commit("main", &[("application.yml", Some("a: [\n"))]);
    let store = store(&source);
    let ghost = read(&store, "ghost").await;
    assert_eq!(ghost.current().revision, good);
    assert_eq!(ghost.current().tip, bad);
    drop(ghost);
    let problems = store.problems();
    assert_eq!(problems.len(), 1);
    assert_eq!(&*problems[0].query.application, "application");
    assert_eq!(&*problems[0].problem.origin.file, "application.yml");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_variant_is_rendered_once_and_both_change_together() {
    let key = SpringKey::from_passphrase(&SecretText::new("k"), "deadbeef").unwrap();
    let cipher = headwater_secrets::Keyring::new(vec![key]);
    let keys = Arc::new(Keyring::new(KeySet { cipher, ..KeySet::default() }));
    let cart =
        |text: &str| format!("password: '{{cipher}}{}'\n", keys.seal_prefixed(text).unwrap());
    let source = source();
    let first = cart("first");
    source.commit("main", &[("cart.yml", Some(&*first)), ("order.yml", Some("b: 1\n"))]);
    let runtime = tokio::runtime::Handle::current();
    let settings = AnswerSettings { keys: Arc::clone(&keys), ..AnswerSettings::default() };
    let shared = Arc::clone(&source);
    let store = Store::new(shared, settings, Policy::Open, runtime);
    let (mut cart_handle, order) = (read(&store, "cart").await, read(&store, "order").await);
    assert_eq!(cart_handle.variant(), Variant::Opened, "without a policy, all readers open");
    let bytes = |handle: &AnswerHandle, variant| {
        let current = handle.clone().in_variant(variant).current();
        let served = current.served().unwrap();
        (served.body(Representation::V1, &current.revision).head, served.digest)
    };
    let check = |handle: &AnswerHandle, text: &str| {
        let [opened, sealed] = [Variant::Opened, Variant::Sealed].map(|it| bytes(handle, it));
        for (variant, before) in [(Variant::Opened, &opened), (Variant::Sealed, &sealed)] {
            let again = bytes(handle, variant);
            assert_eq!(again.0.as_ptr(), before.0.as_ptr(), "{variant:?} was rendered again");
        }
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(shown(&opened.0).contains(text) && !shown(&opened.0).contains("{cipher}"));
        assert!(shown(&sealed.0).contains("{cipher}") && !shown(&sealed.0).contains(text));
        assert_ne!(opened.1, sealed.1);
    };
    check(&cart_handle, "\"first\"");
    let [one, other] = [Variant::Opened, Variant::Sealed].map(|it| bytes(&order, it));
    assert_eq!(one.0.as_ptr(), other.0.as_ptr(), "without sealed values there is one variant");
    source.commit("main", &[("cart.yml", Some(&*cart("second")))]);
    tokio::time::timeout(PATIENCE, cart_handle.changed()).await.unwrap().unwrap();
    check(&cart_handle, "\"second\"");
}
