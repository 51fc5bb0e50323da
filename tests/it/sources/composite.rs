//! What a composite of sources does.

use std::sync::Arc;

use headwater::model::{Label, Revision};
use headwater::snapshot::{Layout, Snapshot, Style, expand_patterns};
use headwater::source::composite::Composite;
use headwater::source::memory::MemorySource;
use headwater::source::{Source, SourceError};

use super::{changed, load, named, refusal, unchanged};

fn source(base: &str, patterns: &[&str]) -> Arc<MemorySource> {
    let patterns: Vec<String> = patterns.iter().map(|item| (*item).to_owned()).collect();
    Arc::new(MemorySource::new(Arc::new(Layout {
        patterns: expand_patterns(&patterns),
        ..(*super::layout(base, Style::Git)).clone()
    })))
}

fn filled(base: &str, patterns: &[&str]) -> Arc<MemorySource> {
    let source = source(base, patterns);
    source.commit("main", &[("application.yml", Some(base))]);
    source
}

fn composite(sources: &[&Arc<MemorySource>]) -> Composite {
    let sources = sources.iter().map(|source| Arc::clone(source) as Arc<_>);
    Composite::new("composite", sources.collect(), true)
}

fn shape(snapshot: &Snapshot) -> Vec<(usize, &str)> {
    let members = snapshot.members.iter();
    members.map(|member| (member.group, &*member.layout.base)).collect()
}

#[tokio::test]
async fn the_first_source_wins_and_revisions_are_joined() {
    let (a, b) = (filled("a", &[]), filled("b", &[]));
    let both = load(&composite(&[&a, &b]), &Label::Default).await;
    assert_eq!(shape(&both), [(0, "a"), (1, "b")]);
    let revisions: Vec<&str> = both.members.iter().map(|member| member.revision.as_str()).collect();
    assert_eq!(both.revision.as_str(), revisions.join(","));
}

#[tokio::test]
async fn sources_with_patterns_are_alternatives_up_to_the_first_without() {
    let sources = [
        filled("first", &[]),
        filled("orders", &["orders"]),
        filled("pay", &["pay*"]),
        filled("rest", &[]),
        filled("last", &[]),
        filled("tail", &["tail"]),
    ];
    let sources: Vec<_> = sources.iter().collect();
    let all = load(&composite(&sources), &Label::Default).await;
    assert_eq!(
        shape(&all),
        [(0, "first"), (1, "orders"), (1, "pay"), (1, "rest"), (2, "last"), (3, "tail")]
    );
}

#[tokio::test]
async fn an_alternative_that_lacks_the_label_is_left_out() {
    let orders = filled("orders", &["orders"]);
    let rest = filled("rest", &[]);
    let composite = composite(&[&orders, &rest]);
    rest.commit("v2", &[("application.yml", Some("a: 1"))]);
    let found = load(&composite, &named("v2")).await;
    assert_eq!(shape(&found), [(0, "rest")]);
    let error = refusal(&composite, &named("nowhere")).await;
    assert_eq!(error, SourceError::UnknownLabel(named("nowhere")));
}

#[tokio::test]
async fn a_source_of_its_own_that_lacks_the_label_fails_all() {
    let (a, b) = (filled("a", &[]), filled("b", &[]));
    b.commit("v2", &[("application.yml", Some("a: 1"))]);
    let error = refusal(&composite(&[&a, &b]), &named("v2")).await;
    assert_eq!(error, SourceError::UnknownLabel(named("v2")));
}

#[tokio::test]
async fn of_a_list_of_labels_each_ones_alternatives_make_a_group() {
    let (a, b) = (source("a", &["a"]), source("b", &[]));
    for source in [&a, &b] {
        source.commit("x", &[("application.yml", Some("x"))]);
        source.commit("y", &[("application.yml", Some("y"))]);
    }
    let found = load(&composite(&[&a, &b]), &named("x,y")).await;
    let labels: Vec<_> =
        found.members.iter().map(|member| member.label.as_deref().expect("a label")).collect();
    assert_eq!(shape(&found), [(0, "a"), (0, "b"), (1, "a"), (1, "b")]);
    assert_eq!(labels, ["y", "y", "x", "x"]);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_goes_away_keeps_its_last_good_and_holds_back_no_other() {
    let (a, b) = (filled("a", &[]), filled("b", &[]));
    let composite = composite(&[&a, &b]);
    let before = load(&composite, &Label::Default).await;
    a.fail(Some("an outage"));
    let during = load(&composite, &Label::Default).await;
    assert_eq!(during.revision, before.revision);
    b.commit("main", &[("application.yml", Some("b: 2"))]);
    changed(&composite, &Label::Default, during.position()).await;
    let during = load(&composite, &Label::Default).await;
    assert_eq!(during.members[0].revision, before.members[0].revision);
    assert_ne!(during.members[1].revision, before.members[1].revision);
    a.fail(None);
    a.commit("main", &[("application.yml", Some("a: 2"))]);
    changed(&composite, &Label::Default, during.position()).await;
    let after = load(&composite, &Label::Default).await;
    assert_ne!(after.members[0].revision, before.members[0].revision);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_one_source_is_told_until_it_is_back_with_nothing_new() {
    let (a, b) = (filled("a", &[]), filled("b", &[]));
    let composite = Arc::new(composite(&[&a, &b]));
    let found = load(&*composite, &Label::Default).await;
    let waiting = tokio::spawn({
        let composite = Arc::clone(&composite);
        async move { changed(&*composite, &Label::Default, found.position()).await }
    });
    assert!(composite.outage().is_none());
    a.fail(Some("an outage"));
    until(|| composite.outage().is_some()).await;
    let message = composite.outage().expect("an outage").message;
    assert!(message.contains("an outage"), "{message}");
    a.fail(None);
    until(|| composite.outage().is_none()).await;
    assert!(!waiting.is_finished());
    waiting.abort();
}

/// The clock is paused: whoever waits for time to pass is let go on at once.
async fn until(holds: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("it never came");
}

#[tokio::test]
async fn a_source_that_never_could_be_read_fails_all_or_is_left_out() {
    let (a, b) = (filled("a", &[]), filled("b", &[]));
    a.fail(Some("an outage"));
    let strict = composite(&[&a, &b]);
    let error = refusal(&strict, &Label::Default).await;
    assert!(matches!(error, SourceError::Unavailable { .. }));
    let sources: Vec<Arc<dyn Source>> = vec![a.clone(), b.clone()];
    let lenient = Composite::new("composite", sources, false);
    let found = load(&lenient, &Label::Default).await;
    assert_eq!(shape(&found), [(0, "b")]);
    b.fail(Some("an outage"));
    let sources: Vec<Arc<dyn Source>> = vec![a.clone(), b.clone()];
    let error = refusal(&Composite::new("composite", sources, false), &Label::Default).await;
    assert!(matches!(error, SourceError::Unavailable { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_change_of_any_source_is_noticed() {
    let (a, b) = (filled("a", &["a"]), filled("b", &[]));
    let composite = composite(&[&a, &b]);
    let label = named("v2");
    b.commit("v2", &[("application.yml", Some("b: 1"))]);
    let first = load(&composite, &label).await;
    unchanged(&composite, &label, first.position()).await;
    b.commit("v2", &[("application.yml", Some("b: 2"))]);
    changed(&composite, &label, first.position()).await;
    let second = load(&composite, &label).await;
    // The label comes to a source that lacked it.
    a.commit("v2", &[("application.yml", Some("a: 1"))]);
    changed(&composite, &label, second.position()).await;
    let third = load(&composite, &label).await;
    assert_eq!(shape(&third), [(0, "a"), (0, "b")]);
    a.delete_branch("v2");
    changed(&composite, &label, third.position()).await;
    assert_eq!(load(&composite, &label).await.revision, second.revision);
}

#[tokio::test]
async fn a_revision_that_was_not_loaded_last_counts_as_changed() {
    let a = filled("a", &[]);
    let composite = composite(&[&a]);
    changed(&composite, &Label::Default, &Revision::new("x")).await;
    load(&composite, &Label::Default).await;
    changed(&composite, &Label::Default, &Revision::new("x")).await;
}
