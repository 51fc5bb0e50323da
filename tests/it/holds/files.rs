//! Plain files and templates under the name of a held application.

use std::sync::Arc;

use headwater::access::Caller;
use headwater::store::{Reader, Side, Store};

use super::{read, store, wait_for};
use crate::fixture::held::{instance, memory, publish, query, record, rollout, withheld};

/// The text of a file, and the value that its placeholders have.
async fn text(store: &Arc<Store>, reader: Reader) -> (String, String, Option<Side>) {
    let caller = Caller::Anonymous;
    let found = store.find_file(&caller, &reader, &query("cart"), "conf.txt").await.unwrap();
    let file = found.found.expect("a file");
    let bytes = tokio::task::spawn_blocking(move || file.read()).await.unwrap().unwrap();
    let found = store.find_template(&caller, &reader, &query("cart"), "conf.txt").await.unwrap();
    let template = found.found.expect("a template");
    let environment = &template.served().expect("an environment").environment;
    let value = environment.sources[0].properties()[0].value.text().to_string();
    let side = template.file.rollout.as_ref().map(|rollout| rollout.side);
    (String::from_utf8(bytes).unwrap(), value, side)
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_templates_are_of_the_side_of_their_reader() {
    let source = memory();
    let files = |text: &'static str, v: &'static str| {
        [("conf.txt", Some(text)), ("cart.yml", Some(v)), ("order.yml", Some(v))]
    };
    let stable = source.commit("main", &files("old", "v: 1\n"));
    let store = store(&source);
    let mut handle = read(&store, "cart").await;
    let tip = source.commit_held("main", &files("new", "v: 2\n"), |tip| {
        Some(record(1, [rollout(&["cart"], 1, [&stable, tip], &["web-1"])]))
    });
    wait_for(&mut handle, &tip).await;
    let reader = |name: &str| Reader { instance: Some(instance("cart", name)), shown: 0 };
    let of = |text: &str, value: &str, side| (text.to_owned(), value.to_owned(), side);
    let old = of("old", "1", Some(Side::Stable));
    assert_eq!(text(&store, Reader::default()).await, old);
    assert_eq!(text(&store, reader("web-2")).await, old);
    assert_eq!(text(&store, reader("web-1")).await, of("new", "2", Some(Side::Candidate)));
    // An instance that has the candidate keeps it.
    let has_it = Reader { shown: 1, ..reader("web-2") };
    assert_eq!(text(&store, has_it).await, of("new", "2", Some(Side::Candidate)));

    let hold = rollout(&["cart"], 1, [&stable, &tip], &["web-1"]);
    publish(&source, &store, record(2, [withheld(&hold, 2)])).await;
    for reader in [Reader::default(), reader("web-1"), has_it] {
        assert_eq!(text(&store, reader).await, old);
    }
    publish(&source, &store, record(3, [])).await;
    assert_eq!(text(&store, Reader::default()).await, of("new", "2", None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_read_without_any_answer() {
    let source = memory();
    let stable = source.commit("main", &[("conf.txt", Some("old")), ("cart.yml", Some("v: 1\n"))]);
    let changes = [("conf.txt", Some("new")), ("cart.yml", Some("v: 2\n"))];
    source.commit_held("main", &changes, |tip| {
        Some(record(1, [rollout(&["cart"], 1, [&stable, tip], &["web-1"])]))
    });
    let store = store(&source);
    let found = text(&store, Reader::default()).await;
    assert_eq!(found, ("old".to_owned(), "1".to_owned(), Some(Side::Stable)));
}
