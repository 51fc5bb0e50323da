//! What every source does, whatever it reads from.

use std::sync::Arc;

use headwater::model::Label;
use headwater::source::SourceError;

use super::bed::{
    Bed, ByHandBed, ConfigMapBed, DirectoryBed, EtcdBed, GitBed, MemoryBed, MirrorBed,
};
use super::{changed, load, text, unchanged};

macro_rules! conformance {
    ($($name:ident: $bed:ty { $($case:ident),* $(,)? })*) => {$(
        mod $name {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::$case(Arc::new(<$bed>::new())).await;
                }
            )*
        }
    )*};
}

conformance! {
    memory: MemoryBed {
        a_snapshot_is_all_of_one_revision,
        a_change_before_anyone_listens_is_not_lost,
        a_change_wakes_the_listener,
        a_burst_ends_in_one_revision,
        an_unreadable_source_does_not_look_empty,
        deleting_a_file_removes_it,
        an_unchanged_file_is_shared_and_not_read_again,
        a_snapshot_outlives_what_came_after_it,
    }
    git: GitBed {
        a_snapshot_is_all_of_one_revision,
        a_change_before_anyone_listens_is_not_lost,
        a_change_wakes_the_listener,
        a_burst_ends_in_one_revision,
        an_unreadable_source_does_not_look_empty,
        deleting_a_file_removes_it,
        an_unchanged_file_is_shared_and_not_read_again,
        a_snapshot_outlives_what_came_after_it,
    }
    mirror: MirrorBed {
        a_snapshot_is_all_of_one_revision,
        a_change_before_anyone_listens_is_not_lost,
        a_change_wakes_the_listener,
        a_burst_ends_in_one_revision,
        an_unreadable_source_does_not_look_empty,
        deleting_a_file_removes_it,
        an_unchanged_file_is_shared_and_not_read_again,
        a_snapshot_outlives_what_came_after_it,
    }
    etcd: EtcdBed {
        a_snapshot_is_all_of_one_revision,
        a_change_before_anyone_listens_is_not_lost,
        a_change_wakes_the_listener,
        a_burst_ends_in_one_revision,
        an_unreadable_source_does_not_look_empty,
        deleting_a_file_removes_it,
        an_unchanged_file_is_shared_and_not_read_again,
        a_snapshot_outlives_what_came_after_it,
    }
    etcd_by_hand: ByHandBed {
        a_change_before_anyone_listens_is_not_lost,
        a_change_wakes_the_listener,
        a_burst_ends_in_one_revision,
        an_unreadable_source_does_not_look_empty,
        deleting_a_file_removes_it,
        an_unchanged_file_is_shared_and_not_read_again,
        a_snapshot_outlives_what_came_after_it,
    }
    config_map: ConfigMapBed {
        a_snapshot_is_all_of_one_revision,
        a_change_before_anyone_listens_is_not_lost,
        a_change_wakes_the_listener,
        a_burst_ends_in_one_revision,
        an_unreadable_source_does_not_look_empty,
        deleting_a_file_removes_it,
        an_unchanged_file_is_shared_and_not_read_again,
        a_snapshot_outlives_what_came_after_it,
    }
    directory: DirectoryBed {
        a_change_before_anyone_listens_is_not_lost,
        a_change_wakes_the_listener,
        a_burst_ends_in_one_revision,
        an_unreadable_source_does_not_look_empty,
        deleting_a_file_removes_it,
        an_unchanged_file_is_shared_and_not_read_again,
        a_snapshot_outlives_what_came_after_it,
    }
}

async fn a_snapshot_is_all_of_one_revision(bed: Arc<impl Bed>) {
    const COMMIT_COUNT: usize = 60;
    let write = |bed: &dyn Bed, round: usize| {
        let content = format!("round: {round}");
        bed.commit(&[("application.yml", Some(&content)), ("team/orders.yml", Some(&content))]);
    };
    write(&*bed, 0);
    let source = bed.source();
    let writer = {
        let bed = Arc::clone(&bed);
        std::thread::spawn(move || (1..=COMMIT_COUNT).for_each(|round| write(&*bed, round)))
    };
    let last = format!("round: {COMMIT_COUNT}");
    loop {
        let snapshot = load(&*source, &Label::Default).await;
        let first = text(&snapshot, "application.yml");
        assert!(first.is_some());
        assert_eq!(first, text(&snapshot, "team/orders.yml"));
        if first.as_deref() == Some(&*last) {
            break;
        }
    }
    writer.join().expect("the writer ends");
}

async fn a_change_before_anyone_listens_is_not_lost(bed: Arc<impl Bed>) {
    bed.commit(&[("application.yml", Some("a: 1"))]);
    let source = bed.source();
    let first = load(&*source, &Label::Default).await;
    bed.commit(&[("application.yml", Some("a: 2"))]);
    changed(&*source, &Label::Default, first.position()).await;
    let second = load(&*source, &Label::Default).await;
    assert_ne!(first.revision, second.revision);
    unchanged(&*source, &Label::Default, second.position()).await;
}

async fn a_change_wakes_the_listener(bed: Arc<impl Bed>) {
    bed.commit(&[("application.yml", Some("a: 0"))]);
    let source = bed.source();
    let mut seen = load(&*source, &Label::Default).await;
    for round in 1..=20 {
        let listening = {
            let (source, seen) = (Arc::clone(&source), Arc::clone(&seen));
            tokio::spawn(async move { changed(&*source, &Label::Default, seen.position()).await })
        };
        tokio::task::yield_now().await;
        bed.commit(&[("application.yml", Some(&format!("a: {round}")))]);
        listening.await.expect("woken");
        seen = Arc::new(source.load(&Label::Default, Some(&seen)).await.expect("loads"));
        assert_eq!(text(&seen, "application.yml"), Some(format!("a: {round}")));
    }
}

async fn a_burst_ends_in_one_revision(bed: Arc<impl Bed>) {
    bed.commit(&[("application.yml", Some("a: 0"))]);
    let source = bed.source();
    let mut seen = load(&*source, &Label::Default).await;
    let writer = {
        let bed = Arc::clone(&bed);
        std::thread::spawn(move || {
            for round in 1..=50 {
                bed.commit(&[("application.yml", Some(&format!("a: {round}")))]);
            }
        })
    };
    while text(&seen, "application.yml").as_deref() != Some("a: 50") {
        changed(&*source, &Label::Default, seen.position()).await;
        seen = load(&*source, &Label::Default).await;
    }
    writer.join().expect("the writer ends");
    unchanged(&*source, &Label::Default, seen.position()).await;
}

async fn an_unreadable_source_does_not_look_empty(bed: Arc<impl Bed>) {
    bed.commit(&[("application.yml", Some("a: 1"))]);
    let source = bed.source();
    let before = load(&*source, &Label::Default).await;
    bed.break_down();
    let refused = source.load(&Label::Default, Some(&before)).await;
    let Err(error @ SourceError::Unavailable { .. }) = refused.map(|found| found.revision) else {
        panic!("an unreadable source gave something else");
    };
    let temporary = std::env::temp_dir().display().to_string();
    assert!(!error.to_string().contains(&temporary), "{error}");
    let waited = source.changed(&Label::Default, &before.position()).await;
    assert!(matches!(waited, Err(SourceError::Unavailable { .. })), "{waited:?}");
    bed.mend();
    let after = load(&*source, &Label::Default).await;
    assert_eq!(before.revision, after.revision);
    bed.commit(&[("application.yml", Some("a: 2"))]);
    changed(&*source, &Label::Default, after.position()).await;
}

async fn deleting_a_file_removes_it(bed: Arc<impl Bed>) {
    bed.commit(&[("application.yml", Some("a: 1")), ("team/orders.yml", Some("b: 1"))]);
    let source = bed.source();
    let before = load(&*source, &Label::Default).await;
    bed.commit(&[("team/orders.yml", None)]);
    changed(&*source, &Label::Default, before.position()).await;
    let after = load(&*source, &Label::Default).await;
    assert_eq!(text(&before, "team/orders.yml").as_deref(), Some("b: 1"));
    assert_eq!(text(&after, "team/orders.yml"), None);
    assert_eq!(text(&after, "application.yml").as_deref(), Some("a: 1"));
}

async fn an_unchanged_file_is_shared_and_not_read_again(bed: Arc<impl Bed>) {
    bed.commit(&[("application.yml", Some("a: 1")), ("orders.yml", Some("b: 1"))]);
    let source = bed.source();
    let before = load(&*source, &Label::Default).await;
    let tree = &before.members[0].tree;
    let file = tree.file("orders.yml").expect("reads").expect("is there");
    tree.documents(&file).expect("reads").expect("parses");
    let parsed_count = tree.parsed_count();

    bed.commit(&[("application.yml", Some("a: 2"))]);
    let after = source.load(&Label::Default, Some(&before)).await;
    let after = after.expect("loads");
    let tree = &after.members[0].tree;
    let shared = tree.file("orders.yml").expect("reads").expect("is there");
    tree.documents(&shared).expect("reads").expect("parses");
    assert!(Arc::ptr_eq(&file, &shared));
    assert_eq!(tree.parsed_count(), parsed_count);
    let changes = tree.changes(&before.members[0].tree).expect("reads");
    assert_eq!(changes.files, ["application.yml"]);
}

async fn a_snapshot_outlives_what_came_after_it(bed: Arc<impl Bed>) {
    bed.commit(&[("application.yml", Some("a: 1"))]);
    let source = bed.source();
    let old = load(&*source, &Label::Default).await;
    for round in 2..6 {
        bed.commit(&[("application.yml", Some(&format!("a: {round}")))]);
        load(&*source, &Label::Default).await;
    }
    assert_eq!(text(&old, "application.yml").as_deref(), Some("a: 1"));
}
