//! What only a directory does.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;

use headwater::model::Label;
use headwater::source::SourceError;

use super::bed::{Bed, ConfigMapBed, DirectoryBed, Files, open_directory};
use super::{changed, load, named, refusal, text, unchanged};

fn bed(files: Files<'_>) -> DirectoryBed {
    let bed = DirectoryBed::new();
    bed.commit(files);
    bed
}

#[tokio::test]
async fn the_first_label_of_a_list_lies_on_top() {
    let bed = bed(&[
        ("application.yml", Some("a: 1")),
        ("master/application.yml", Some("a: 2")),
        ("blue/application.yml", Some("a: 3")),
        ("team/green/application.yml", Some("a: 4")),
    ]);
    let source = bed.source();
    for (label, overlays, effective) in [
        (Label::Default, vec!["master"], "master"),
        (named("blue"), vec!["blue"], "blue"),
        (named("blue,team/green"), vec!["team/green", "blue"], "blue"),
        (named("nowhere,blue"), vec!["blue"], "nowhere"),
    ] {
        let member = &load(&*source, &label).await.members[0];
        let found: Vec<&str> = member.overlays.iter().map(|name| &**name).collect();
        assert_eq!(found, overlays, "{label}");
        assert_eq!(member.label.as_deref(), Some(effective));
    }
}

#[tokio::test]
async fn an_unknown_label_changes_nothing_and_none_leads_outside() {
    let bed = bed(&[("application.yml", Some("a: 1")), (".git/config", Some("secret"))]);
    std::fs::create_dir(bed.outside()).expect("a directory");
    let outside = bed.outside().display().to_string();
    for label in [
        "nowhere",
        "..",
        "../outside",
        "../config",
        ".",
        "./",
        "/",
        &outside,
        ".git",
        "application.yml",
        "-x",
        "HEAD",
        "\u{0}",
        "a//b",
    ] {
        let found = load(&*bed.source(), &named(label)).await;
        assert!(found.members[0].overlays.is_empty(), "{label}");
        assert_eq!(text(&found, "application.yml").as_deref(), Some("a: 1"));
    }
}

#[tokio::test]
async fn links_are_followed_inside_and_left_out_where_they_lead_outside() {
    let bed = bed(&[
        ("shared/application.yml", Some("a: 1")),
        ("shared/deep/orders.yml", Some("b: 1")),
        (".git/config", Some("secret")),
    ]);
    let root = bed.path();
    std::fs::write(bed.outside(), "secret").expect("a file");
    for (name, target) in [
        ("relative.yml", "shared/application.yml".into()),
        ("absolute.yml", root.join("shared/application.yml")),
        ("folder", "shared/deep".into()),
        ("shared/up.yml", "../shared/application.yml".into()),
        ("circle", ".".into()),
        ("shared/parent", "..".into()),
        ("loop", "loop".into()),
        ("dangling.yml", "nowhere.yml".into()),
        ("outside.yml", "../outside".into()),
        ("passwd.yml", "/etc/passwd".into()),
        ("etc", "/etc".into()),
        ("git.yml", ".git/config".into()),
        ("chain.yml", "outside.yml".into()),
    ] as [(&str, std::path::PathBuf); 13]
    {
        symlink(target, root.join(name)).expect("a link");
    }
    let found = load(&*bed.source(), &Label::Default).await;
    for path in ["relative.yml", "absolute.yml", "shared/up.yml"] {
        assert_eq!(text(&found, path).as_deref(), Some("a: 1"), "{path}");
    }
    assert_eq!(text(&found, "folder/orders.yml").as_deref(), Some("b: 1"));
    let mut files = Vec::new();
    let tree = &found.members[0].tree;
    tree.walk(&mut |path| files.push(path.to_owned())).expect("walks");
    assert_eq!(
        files,
        [
            "absolute.yml",
            "folder/orders.yml",
            "relative.yml",
            "shared/application.yml",
            "shared/deep/orders.yml",
            "shared/up.yml",
        ]
    );
}

#[tokio::test]
async fn names_that_no_tree_may_hold_are_left_out() {
    let bed = bed(&[("application.yml", Some("a: 1"))]);
    let root = bed.path();
    std::fs::write(root.join("new\nline.yml"), "x").expect("a file");
    std::fs::write(root.join("back\\slash.yml"), "x").expect("a file");
    let raw = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff.yml");
    std::fs::write(root.join(raw), "x").expect("a file");
    let socket = std::os::unix::net::UnixListener::bind(root.join("socket.yml"));
    let found = load(&*bed.source(), &Label::Default).await;
    let names = found.members[0].tree.list("").expect("lists").expect("is there");
    assert_eq!(names.len(), 1, "{names:?}");
    drop(socket);
}

#[tokio::test]
async fn a_swapped_config_map_is_one_change_and_keeps_its_own_names_to_itself() {
    let bed = ConfigMapBed::new();
    bed.commit(&[("application.yml", Some("a: 1")), ("team/orders.yml", Some("b: 1"))]);
    let source = bed.source();
    let before = load(&*source, &Label::Default).await;
    let names = before.members[0].tree.list("").expect("lists").expect("there");
    let names: Vec<&str> = names.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["application.yml", "team"]);

    let listening = {
        let (source, seen) = (Arc::clone(&source), before.revision.clone());
        tokio::spawn(async move { source.changed(&Label::Default, &(&seen).into()).await })
    };
    tokio::task::yield_now().await;
    bed.commit(&[("team/orders.yml", Some("b: 2"))]);
    listening.await.expect("ends").expect("changes");
    let after = load(&*source, &Label::Default).await;
    let changes = after.members[0].tree.changes(&before.members[0].tree);
    let changes = changes.expect("compares");
    assert_eq!(changes.files, ["team/orders.yml"]);
    assert!(!changes.links);
    unchanged(&*source, &Label::Default, after.position()).await;

    bed.commit(&[]);
    assert_eq!(load(&*source, &Label::Default).await.revision, after.revision);
}

#[tokio::test]
async fn a_file_written_in_place_is_noticed() {
    let bed = bed(&[("application.yml", Some("a: 1"))]);
    let source = bed.source();
    for round in 2..6 {
        let before = load(&*source, &Label::Default).await;
        // The same size each time, and perhaps within one tick of the file system's clock.
        std::fs::write(bed.path().join("application.yml"), format!("a: {round}")).expect("writes");
        changed(&*source, &Label::Default, before.position()).await;
        let after = load(&*source, &Label::Default).await;
        assert_eq!(text(&after, "application.yml"), Some(format!("a: {round}")));
    }
}

#[tokio::test]
async fn two_writes_within_one_tick_of_the_clock_are_two_changes() {
    let bed = bed(&[("application.yml", Some("a: 000"))]);
    let source = bed.source();
    let write = |round: usize| {
        let content = format!("a: {round:03}");
        std::fs::write(bed.path().join("application.yml"), &content).expect("written");
        content
    };
    for round in (0..40).step_by(2) {
        write(round);
        let mut seen = load(&*source, &Label::Default).await;
        let last = write(round + 1);
        while text(&seen, "application.yml").as_ref() != Some(&last) {
            changed(&*source, &Label::Default, seen.position()).await;
            seen = load(&*source, &Label::Default).await;
        }
    }
}

#[tokio::test]
async fn a_directory_that_was_replaced_goes_on_being_watched() {
    let bed = bed(&[("application.yml", Some("a: 1"))]);
    let source = bed.source();
    let first = load(&*source, &Label::Default).await;
    bed.break_down();
    refusal(&*source, &Label::Default).await;
    bed.commit(&[("application.yml", Some("a: 2"))]);
    changed(&*source, &Label::Default, first.position()).await;
    let second = load(&*source, &Label::Default).await;
    let ((), ()) = tokio::join!(changed(&*source, &Label::Default, second.position()), async {
        tokio::task::yield_now().await;
        bed.commit(&[("application.yml", Some("a: 3"))]);
    });
    let third = load(&*source, &Label::Default).await;
    assert_eq!(text(&third, "application.yml").as_deref(), Some("a: 3"));
}

#[tokio::test]
async fn a_file_in_a_new_folder_is_noticed() {
    let bed = bed(&[("application.yml", Some("a: 1"))]);
    let source = bed.source();
    let mut seen = load(&*source, &Label::Default).await.revision.clone();
    for round in 0..5 {
        for step in 0..2 {
            let path = format!("team-{round}/deep/orders.yml");
            bed.commit(&[(&path, Some(&format!("a: {step}")))]);
            changed(&*source, &Label::Default, &seen).await;
            seen = load(&*source, &Label::Default).await.revision.clone();
        }
    }
}

#[tokio::test]
async fn a_directory_that_is_a_link_may_be_moved_to_another_one() {
    let place = tempfile::tempdir().expect("a temporary directory");
    for name in ["one", "two"] {
        let directory = place.path().join(name);
        std::fs::create_dir(&directory).expect("a directory");
        std::fs::write(directory.join("application.yml"), name).expect("a file");
    }
    let current = place.path().join("current");
    symlink("one", &current).expect("a link");
    let source = open_directory(&current);
    let before = load(&source, &Label::Default).await;
    let ((), ()) = tokio::join!(changed(&source, &Label::Default, before.position()), async {
        tokio::task::yield_now().await;
        symlink("two", place.path().join("new")).expect("a link");
        std::fs::rename(place.path().join("new"), &current).expect("moved");
    });
    let after = load(&source, &Label::Default).await;
    assert_eq!(text(&after, "application.yml").as_deref(), Some("two"));
    std::fs::write(place.path().join("two/application.yml"), "three").expect("a file");
    changed(&source, &Label::Default, after.position()).await;
}

#[tokio::test]
async fn an_unreadable_file_is_not_left_out() {
    let bed = bed(&[("team/orders.yml", Some("a: 1"))]);
    let file = bed.path().join("team/orders.yml");
    let forbid = |mode| std::fs::set_permissions(&file, PermissionsExt::from_mode(mode));
    forbid(0o000).expect("forbidden");
    if std::fs::read(&file).is_ok() {
        // Whoever may read everything cannot see this.
        return;
    }
    let error = refusal(&*bed.source(), &Label::Default).await;
    assert!(matches!(error, SourceError::Unavailable { .. }));
    let message = error.to_string();
    assert!(message.contains("team/orders.yml"), "{message}");
    assert!(!message.contains(&*bed.path().to_string_lossy()), "{message}");
}

#[tokio::test]
async fn a_directory_that_is_too_large_is_refused_whole() {
    let bed = bed(&[("application.yml", Some("a: 1"))]);
    let huge = std::fs::File::create(bed.path().join("dump.bin")).expect("a file");
    huge.set_len(257 * 1024 * 1024).expect("a size");
    let error = refusal(&*bed.source(), &Label::Default).await;
    assert!(error.to_string().contains("bytes"), "{error}");
}
