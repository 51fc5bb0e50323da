//! What sources with branches and history do.

use std::sync::Arc;

use headwater::model::{Label, LabelPosition, Revision};
use headwater::source::SourceError;

use super::bed::{Branches, EtcdBed, GitBed, MemoryBed, MirrorBed};
use super::{changed, load, named, refusal, text};

macro_rules! for_each_source {
    ($($case:ident),* $(,)?) => {
        mod memory {
            use super::*;
            $(
                #[tokio::test]
                async fn $case() {
                    super::$case(<MemoryBed as super::super::bed::Bed>::new()).await;
                }
            )*
        }
        mod git {
            use super::*;
            $(
                #[tokio::test]
                async fn $case() {
                    super::$case(<GitBed as super::super::bed::Bed>::new()).await;
                }
            )*
        }
        mod mirror {
            use super::*;
            $(
                #[tokio::test]
                async fn $case() {
                    super::$case(<MirrorBed as super::super::bed::Bed>::new()).await;
                }
            )*
        }
    };
}

/// What of it holds without tags.
mod etcd {
    use super::*;

    macro_rules! cases {
        ($($case:ident),* $(,)?) => {$(
            #[tokio::test]
            async fn $case() {
                super::$case(<EtcdBed as super::super::bed::Bed>::new()).await;
            }
        )*};
    }

    cases! {
        an_unknown_label_is_its_own_error,
        an_expression_is_an_unknown_label,
        main_and_master_stand_in_for_each_other,
        a_list_of_labels_gives_the_last_one_the_highest_precedence,
        a_list_follows_each_of_its_labels,
        a_deleted_branch_is_an_unknown_label,
        a_new_branch_in_a_new_folder_is_noticed,
        a_forced_branch_takes_its_commits_with_it,
        history_goes_back_along_first_parents,
        a_source_without_a_revision_has_no_default_label,
    }
}

for_each_source! {
    an_unknown_label_is_its_own_error,
    a_label_is_a_branch_a_tag_or_a_commit_id,
    an_expression_is_an_unknown_label,
    a_branch_wins_over_a_tag,
    main_and_master_stand_in_for_each_other,
    a_list_of_labels_gives_the_last_one_the_highest_precedence,
    a_list_follows_each_of_its_labels,
    a_deleted_branch_is_an_unknown_label,
    a_new_branch_in_a_new_folder_is_noticed,
    a_forced_branch_takes_its_commits_with_it,
    history_goes_back_along_first_parents,
    a_source_without_a_revision_has_no_default_label,
}

async fn unknown(bed: &impl Branches, label: &str) {
    let error = refusal(&*bed.source(), &named(label)).await;
    assert_eq!(error, SourceError::UnknownLabel(named(label)));
}

async fn an_unknown_label_is_its_own_error(bed: impl Branches) {
    let revision = bed.commit_on("main", &[("application.yml", Some("a: 1"))]);
    unknown(&bed, "nowhere").await;
    let waited = bed.source().changed(&named("nowhere"), &(&revision).into()).await;
    assert_eq!(waited, Err(SourceError::UnknownLabel(named("nowhere"))));
}

async fn a_label_is_a_branch_a_tag_or_a_commit_id(bed: impl Branches) {
    let first = bed.commit_on("main", &[("application.yml", Some("a: 1"))]);
    bed.tag("v1", &first);
    let second = bed.commit_on("main", &[("application.yml", Some("a: 2"))]);
    let other = bed.commit_on("feature/x", &[("application.yml", Some("a: 3"))]);
    let source = bed.source();
    for (label, revision, moves) in [
        ("main", &second, true),
        ("HEAD", &second, true),
        ("feature/x", &other, true),
        ("v1", &first, false),
        (first.as_str(), &first, false),
    ] {
        let found = load(&*source, &named(label)).await;
        assert_eq!(found.revision, *revision, "{label}");
        let member = &found.members[0];
        let effective = if label == "HEAD" { "main" } else { label };
        assert_eq!(member.label.as_deref(), Some(effective));
        assert_eq!(member.history.is_some(), moves, "{label}");
    }
    let default = load(&*source, &Label::Default).await;
    assert_eq!(default.revision, second);
    assert_eq!(default.members[0].label.as_deref(), Some("main"));
}

async fn an_expression_is_an_unknown_label(bed: impl Branches) {
    let first = bed.commit_on("main", &[("application.yml", Some("a: 1"))]);
    bed.commit_on("main", &[("application.yml", Some("a: 2"))]);
    let short = &first.as_str()[..8];
    let long = "x".repeat(5000);
    for label in [
        "-x",
        "--output=x",
        "HEAD~1",
        "HEAD^",
        "main~1",
        "main^",
        "main^{/Change}",
        "@",
        "@{-1}",
        "main@{0}",
        "main@{1}",
        ":/Change",
        "main:",
        "main:application.yml",
        "main..main",
        "refs/heads/main",
        "heads/main",
        "refs/tags/v1",
        "../main",
        "main/../main",
        "main/",
        "/main",
        " main",
        "main ",
        "MAIN",
        "main.lock",
        "*",
        "ma?n",
        "\u{0}",
        "main\n",
        "a//b",
        "",
        " ",
        ",",
        " , ",
        short,
        &long,
        "0000000000000000000000000000000000000000",
        "objects",
        "config",
        "packed-refs",
    ] {
        unknown(&bed, label).await;
    }
}

async fn a_branch_wins_over_a_tag(bed: impl Branches) {
    let first = bed.commit_on("main", &[("application.yml", Some("a: 1"))]);
    bed.tag("both", &first);
    let branch = bed.commit_on("both", &[("application.yml", Some("a: 2"))]);
    let found = load(&*bed.source(), &named("both")).await;
    assert_eq!(found.revision, branch);
}

async fn main_and_master_stand_in_for_each_other(bed: impl Branches) {
    let main = bed.commit_on("main", &[("application.yml", Some("a: 1"))]);
    let source = bed.source();
    let found = load(&*source, &named("master")).await;
    assert_eq!(found.revision, main);
    assert_eq!(found.members[0].label.as_deref(), Some("main"));
    let master = bed.commit_on("master", &[("application.yml", Some("a: 2"))]);
    changed(&*source, &named("master"), found.position()).await;
    assert_eq!(load(&*source, &named("master")).await.revision, master);
    bed.delete_branch("main");
    assert_eq!(load(&*source, &named("main")).await.revision, master);
    assert_eq!(load(&*source, &Label::Default).await.revision, master);
}

async fn a_list_of_labels_gives_the_last_one_the_highest_precedence(bed: impl Branches) {
    let a = bed.commit_on("a", &[("application.yml", Some("from: a"))]);
    let b = bed.commit_on("b", &[("application.yml", Some("from: b"))]);
    let source = bed.source();
    let both = load(&*source, &named("a,, ,b,")).await;
    assert_eq!(both.revision, Revision::new(format!("{a},{b}")));
    let members: Vec<_> = both
        .members
        .iter()
        .map(|member| (member.group, member.revision.clone(), member.label.as_deref()))
        .collect();
    assert_eq!(members, [(0, b, Some("b")), (1, a, Some("a"))]);
    assert_eq!(text(&both, "application.yml").as_deref(), Some("from: b"));
    unknown(&bed, "a,nowhere").await;
    unknown(&bed, &vec!["a"; 100].join(",")).await;
}

async fn a_list_follows_each_of_its_labels(bed: impl Branches) {
    bed.commit_on("a", &[("application.yml", Some("from: a"))]);
    bed.commit_on("b", &[("application.yml", Some("from: b"))]);
    let source = bed.source();
    let label = named("a,b");
    for branch in ["a", "b"] {
        let before = load(&*source, &label).await;
        bed.commit_on(branch, &[("application.yml", Some("from: now"))]);
        changed(&*source, &label, before.position()).await;
        assert_ne!(load(&*source, &label).await.revision, before.revision);
    }
}

async fn a_deleted_branch_is_an_unknown_label(bed: impl Branches) {
    bed.commit_on("main", &[("application.yml", Some("a: 1"))]);
    let revision = bed.commit_on("feature/x", &[("application.yml", Some("a: 1"))]);
    let source = bed.source();
    let label = named("feature/x");
    let before = LabelPosition::from(&revision);
    let (waited, ()) = tokio::join!(source.changed(&label, &before), async {
        tokio::task::yield_now().await;
        bed.delete_branch("feature/x");
    });
    assert_eq!(waited, Err(SourceError::UnknownLabel(label.clone())));
    unknown(&bed, "feature/x").await;
    unknown(&bed, revision.as_str()).await;
}

async fn a_new_branch_in_a_new_folder_is_noticed(bed: impl Branches) {
    bed.commit_on("main", &[("application.yml", Some("a: 1"))]);
    let source = bed.source();
    let default = load(&*source, &Label::Default).await.revision.clone();
    // Someone listens, so that whatever watches is watching before the folder is there.
    let listening = {
        let source = Arc::clone(&source);
        tokio::spawn(async move { changed(&*source, &Label::Default, &default).await })
    };
    tokio::task::yield_now().await;
    for round in 0..10 {
        let branch = format!("team-{round}/deep/x");
        let mut seen = bed.commit_on(&branch, &[("application.yml", Some("a: 1"))]);
        for step in 2..5 {
            let content = format!("a: {step}");
            let label = named(&branch);
            let ((), next) = tokio::join!(changed(&*source, &label, &seen), async {
                tokio::task::yield_now().await;
                bed.commit_on(&branch, &[("application.yml", Some(&content))])
            });
            seen = next;
        }
    }
    listening.abort();
}

async fn a_forced_branch_takes_its_commits_with_it(bed: impl Branches) {
    let first = bed.commit_on("main", &[("application.yml", Some("a: 1"))]);
    let secret = bed.commit_on("main", &[("application.yml", Some("password: x"))]);
    let above = bed.commit_on("main", &[("application.yml", Some("a: 2"))]);
    let source = bed.source();
    for revision in [&first, &secret, &above] {
        load(&*source, &named(revision.as_str())).await;
    }
    bed.force("main", &first);
    changed(&*source, &Label::Default, &above).await;
    assert_eq!(load(&*source, &Label::Default).await.revision, first);
    unknown(&bed, secret.as_str()).await;
    unknown(&bed, above.as_str()).await;
    let next = bed.commit_on("main", &[("application.yml", Some("a: 3"))]);
    unknown(&bed, secret.as_str()).await;
    for revision in [&first, &next] {
        load(&*source, &named(revision.as_str())).await;
    }
}

async fn history_goes_back_along_first_parents(bed: impl Branches) {
    let mut revisions: Vec<Revision> = (0..5)
        .map(|round| bed.commit_on("main", &[("application.yml", Some(&format!("a: {round}")))]))
        .collect();
    let now = load(&*bed.source(), &Label::Default).await;
    assert_eq!(revisions.pop().as_ref(), Some(&now.revision));
    revisions.reverse();
    let history = now.members[0].history.as_ref().expect("a history");
    let mut followed_before = now.members[0].made_seconds.expect("a time") + 1;
    let mut found = Vec::new();
    for (ancestor, round) in history.ancestors().zip((0..4).rev()) {
        let ancestor = ancestor.expect("reads");
        let followed = ancestor.followed_seconds.expect("a time");
        assert!(followed < followed_before);
        followed_before = followed;
        let tree = &ancestor.tree;
        let file = tree.file("application.yml").expect("reads").expect("there");
        let bytes = tree.bytes(&file).expect("reads");
        assert_eq!(bytes, format!("a: {round}").into_bytes());
        found.push(ancestor.revision);
    }
    assert_eq!(found, revisions);
    assert_eq!(history.ancestors().count(), 4);
}

async fn a_source_without_a_revision_has_no_default_label(bed: impl Branches) {
    let error = refusal(&*bed.source(), &Label::Default).await;
    assert_eq!(error, SourceError::UnknownLabel(Label::Default));
    bed.commit_on("main", &[("application.yml", Some("a: 1"))]);
    load(&*bed.source(), &Label::Default).await;
}
