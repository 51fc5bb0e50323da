//! What only git does, some of it with the `git` program on the other side.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use headwater::model::{Label, Revision};
use headwater::source::git::{Findings, GitOptions, GitSource, HoldTable};
use headwater::source::{OpenOptions, SourceError, open};
use headwater::tree::EntryKind;
use tempfile::TempDir;

use super::bed::{Bed, Branches, GitBed, open_git, write_tree};
use super::{changed, load, named, refusal, text};

/// Runs git with nobody's configuration, and returns what it prints.
pub(super) fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").expect("a path"))
        .env("HOME", directory)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_AUTHOR_NAME", "Ada")
        .env("GIT_AUTHOR_EMAIL", "ada@example.org")
        .env("GIT_COMMITTER_NAME", "Ada")
        .env("GIT_COMMITTER_EMAIL", "ada@example.org")
        .output()
        .expect("git runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {complaint}");
    printed.trim_end().to_owned()
}

/// A bare repository, and a clone that pushes to it.
struct Pushed {
    directory: TempDir,
}

impl Pushed {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        git(directory.path(), &["init", "-q", "--bare", "-b", "main", "config.git"]);
        git(directory.path(), &["clone", "-q", "config.git", "clone"]);
        Self { directory }
    }

    fn bare(&self) -> std::path::PathBuf {
        self.directory.path().join("config.git")
    }

    fn clone(&self) -> std::path::PathBuf {
        self.directory.path().join("clone")
    }

    fn push(&self, branch: &str, content: &str) -> Revision {
        std::fs::write(self.clone().join("application.yml"), content).expect("written");
        git(&self.clone(), &["add", "-A"]);
        git(&self.clone(), &["commit", "-q", "-m", "Change"]);
        git(&self.clone(), &["push", "-q", "-f", "origin", &format!("HEAD:refs/heads/{branch}")]);
        Revision::new(git(&self.clone(), &["rev-parse", "HEAD"]))
    }
}

#[test]
fn commit_ids_are_known() {
    let bed = GitBed::new();
    let revision = bed.commit_on("main", &[("application.yml", Some("a: 1"))]);
    assert_eq!(revision.as_str(), "8794207a3f49548750abe0e63855899a014266e0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_is_noticed_whatever_git_does_with_its_references() {
    let pushed = Pushed::new();
    let first = pushed.push("main", "a: 0");
    let source = Arc::new(open_git(&pushed.bare()));
    let label = Label::Default;
    assert_eq!(load(&*source, &label).await.revision, first);
    let mut seen = first;
    for round in 1..=6 {
        let listening = {
            let (source, seen) = (Arc::clone(&source), seen.clone());
            tokio::spawn(async move { changed(&*source, &Label::Default, &seen).await })
        };
        match round % 3 {
            0 => drop(git(&pushed.bare(), &["pack-refs", "--all", "--prune"])),
            1 => drop(git(&pushed.bare(), &["gc", "-q", "--prune=now"])),
            _ => {}
        }
        let next = pushed.push("main", &format!("a: {round}"));
        listening.await.expect("woken");
        let found = load(&*source, &label).await;
        assert_eq!(found.revision, next);
        seen = next;
    }
}

#[tokio::test]
async fn packed_branches_and_tags_are_found() {
    let pushed = Pushed::new();
    let first = pushed.push("main", "a: 0");
    git(&pushed.clone(), &["tag", "-a", "-m", "One", "v1"]);
    git(&pushed.clone(), &["tag", "light/v1"]);
    git(&pushed.clone(), &["push", "-q", "--tags", "origin", "HEAD:refs/heads/feature/x"]);
    git(&pushed.bare(), &["pack-refs", "--all", "--prune"]);
    assert!(!pushed.bare().join("refs/heads/main").exists());
    let source = open_git(&pushed.bare());
    for label in ["main", "master", "feature/x", "v1", "light/v1", first.as_str()] {
        assert_eq!(load(&source, &named(label)).await.revision, first, "{label}");
    }
    let next = pushed.push("feature/x", "a: 1");
    changed(&source, &named("feature/x"), &first).await;
    assert_eq!(load(&source, &named("feature/x")).await.revision, next);
    assert_eq!(load(&source, &named("main")).await.revision, first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_do_not_notice_that_the_repository_is_repacked() {
    let pushed = Arc::new(Pushed::new());
    pushed.push("main", "a: 0");
    let source = open_git(&pushed.bare());
    let is_over = Arc::new(AtomicBool::new(false));
    let writer = {
        let (pushed, is_over) = (Arc::clone(&pushed), Arc::clone(&is_over));
        std::thread::spawn(move || {
            for round in 1..=8 {
                pushed.push("main", &format!("a: {round}"));
                git(&pushed.bare(), &["repack", "-adq"]);
                git(&pushed.bare(), &["prune", "--expire=now"]);
            }
            is_over.store(true, Ordering::Relaxed);
        })
    };
    let mut read_count = 0;
    while !is_over.load(Ordering::Relaxed) {
        let found = load(&source, &Label::Default).await;
        assert!(text(&found, "application.yml").is_some());
        let history = found.members[0].history.as_ref().expect("a history");
        assert!(history.ancestors().all(|ancestor| ancestor.is_ok()));
        read_count += 1;
    }
    writer.join().expect("the writer ends");
    assert!(read_count > 10, "{read_count}");
    let last = load(&source, &Label::Default).await;
    assert_eq!(text(&last, "application.yml").as_deref(), Some("a: 8"));
}

#[tokio::test]
async fn a_commit_that_was_pushed_away_is_unknown_also_after_gc() {
    let pushed = Pushed::new();
    let first = pushed.push("main", "a: 0");
    let secret = pushed.push("main", "password: x");
    let source = open_git(&pushed.bare());
    load(&source, &named(secret.as_str())).await;
    git(&pushed.clone(), &["reset", "-q", "--hard", first.as_str()]);
    git(&pushed.clone(), &["push", "-q", "-f", "origin", "HEAD:refs/heads/main"]);
    let label = named(secret.as_str());
    for _ in 0..2 {
        let error = refusal(&source, &label).await;
        assert_eq!(error, SourceError::UnknownLabel(label.clone()));
        git(&pushed.bare(), &["gc", "-q", "--prune=now"]);
    }
    load(&source, &named(first.as_str())).await;
}

#[tokio::test]
async fn only_commits_are_revisions() {
    let bed = GitBed::new();
    bed.commit(&[("application.yml", Some("a: 1"))]);
    let repository = bed.repository();
    let blob = repository.blob(b"a: 1").expect("a blob");
    let tree = repository.head().expect("a head").peel_to_tree().expect("a tree").id();
    repository.reference("refs/tags/blob", blob, true, "").expect("a tag");
    repository.reference("refs/tags/tree", tree, true, "").expect("a tag");
    repository
        .reference_symbolic("refs/heads/nowhere", "refs/heads/missing", true, "")
        .expect("a branch");
    let (blob, tree) = (blob.to_string(), tree.to_string());
    for label in ["blob", "tree", "nowhere", &blob, &tree] {
        let error = refusal(&*bed.source(), &named(label)).await;
        assert_eq!(error, SourceError::UnknownLabel(named(label)));
    }
    // They do not stand in the way of commits either.
    let tip = load(&*bed.source(), &Label::Default).await;
    load(&*bed.source(), &named(tip.revision.as_str())).await;
}

#[tokio::test]
async fn what_no_tree_may_hold_is_left_out() {
    let bed = GitBed::new();
    let commit = bed.commit_on("other", &[("a.yml", Some("a: 1"))]);
    let tree = write_tree(
        &bed.repository(),
        &[
            ("application.yml", 0o100_644, "a: 1"),
            ("run.sh", 0o100_755, "exit"),
            ("submodule", 0o160_000, commit.as_str()),
            ("new\nline.yml", 0o100_644, "x"),
            ("back\\slash.yml", 0o100_644, "x"),
            ("team/orders.yml", 0o100_644, "b: 1"),
            ("link.yml", 0o120_000, "team/orders.yml"),
            ("folder", 0o120_000, "team"),
            ("passwd.yml", 0o120_000, "/etc/passwd"),
            ("above.yml", 0o120_000, "../config"),
            ("team/up.yml", 0o120_000, "../application.yml"),
        ],
    );
    bed.commit_tree("main", tree);
    let found = load(&*bed.source(), &Label::Default).await;
    let names = found.members[0].tree.list("").expect("lists").expect("is there");
    let names: Vec<(&str, EntryKind)> = names.iter().map(|(name, kind)| (&**name, *kind)).collect();
    assert_eq!(
        names,
        [
            ("application.yml", EntryKind::File),
            ("folder", EntryKind::Directory),
            ("link.yml", EntryKind::File),
            ("run.sh", EntryKind::File),
            ("team", EntryKind::Directory),
        ]
    );
    assert_eq!(text(&found, "link.yml").as_deref(), Some("b: 1"));
    assert_eq!(text(&found, "folder/up.yml").as_deref(), Some("a: 1"));
    assert_eq!(text(&found, "passwd.yml"), None);
    assert_eq!(text(&found, "above.yml"), None);
}

#[tokio::test]
async fn a_working_tree_is_served_as_committed_and_a_linked_one_by_its_own_branch() {
    let pushed = Pushed::new();
    let first = pushed.push("main", "a: 1");
    std::fs::write(pushed.clone().join("application.yml"), "a: not committed").expect("written");
    let source = open_git(&pushed.clone());
    let found = load(&source, &Label::Default).await;
    assert_eq!(found.revision, first);
    assert_eq!(text(&found, "application.yml").as_deref(), Some("a: 1"));

    git(&pushed.clone(), &["worktree", "add", "-q", "-b", "side", "../side"]);
    let side = pushed.directory.path().join("side");
    let source = open_git(&side);
    let found = load(&source, &Label::Default).await;
    assert_eq!(found.members[0].label.as_deref(), Some("side"));
    git(&side, &["commit", "-q", "--allow-empty", "-m", "Side"]);
    changed(&source, &Label::Default, found.position()).await;
    git(&side, &["checkout", "-q", "--detach", first.as_str()]);
    let found = load(&source, &Label::Default).await;
    assert_eq!(found.revision, first);
    assert!(found.members[0].history.is_none());
}

#[tokio::test]
async fn the_default_label_can_be_set() {
    let bed = GitBed::new();
    bed.commit(&[("application.yml", Some("a: 1"))]);
    let other = bed.commit_on("live", &[("application.yml", Some("a: 2"))]);
    let options = GitOptions {
        layout: super::layout("config", headwater::snapshot::Style::Git),
        default_label: Some("live".to_owned()),
        findings: Findings::default(),
    };
    let source = GitSource::open(bed.path(), options).expect("opens");
    for label in [Label::Default, named("HEAD")] {
        assert_eq!(load(&source, &label).await.revision, other);
    }
}

#[tokio::test]
async fn a_moved_head_is_noticed() {
    let bed = GitBed::new();
    let main = bed.commit_on("main", &[("application.yml", Some("a: 1"))]);
    let live = bed.commit_on("live", &[("application.yml", Some("a: 2"))]);
    let source = bed.source();
    let ((), ()) = tokio::join!(changed(&*source, &Label::Default, &main), async {
        tokio::task::yield_now().await;
        git(&bed.path(), &["symbolic-ref", "HEAD", "refs/heads/live"]);
    });
    assert_eq!(load(&*source, &Label::Default).await.revision, live);
}

#[tokio::test]
async fn a_repository_that_was_replaced_goes_on_being_watched() {
    let pushed = Pushed::new();
    let mut seen = pushed.push("main", "a: 0");
    let source = open_git(&pushed.bare());
    changed(&source, &Label::Default, &Revision::new("")).await;
    let (old, new) = (pushed.bare(), pushed.directory.path().join("new.git"));
    git(pushed.directory.path(), &["clone", "-q", "--bare", "config.git", "new.git"]);
    std::fs::remove_dir_all(&old).expect("removed");
    let error = refusal(&source, &Label::Default).await;
    assert!(matches!(error, SourceError::Unavailable { .. }), "{error}");
    std::fs::rename(&new, &old).expect("replaced");
    for round in 1..4 {
        let ((), next) = tokio::join!(changed(&source, &Label::Default, &seen), async {
            tokio::task::yield_now().await;
            pushed.push("main", &format!("a: {round}"))
        });
        let found = load(&source, &Label::Default).await;
        assert_eq!(found.revision, next);
        let content = format!("a: {round}");
        assert_eq!(text(&found, "application.yml"), Some(content));
        seen = next;
    }
}

#[tokio::test]
async fn a_shallow_clones_history_ends_where_it_was_cut_off() {
    let pushed = Pushed::new();
    for round in 0..4 {
        pushed.push("main", &format!("a: {round}"));
    }
    let url = format!("file://{}", pushed.bare().display());
    git(pushed.directory.path(), &["clone", "-q", "--bare", "--depth", "2", &url, "shallow.git"]);
    let source = open_git(&pushed.directory.path().join("shallow.git"));
    let found = load(&source, &Label::Default).await;
    let history = found.members[0].history.as_ref().expect("a history");
    let ancestors: Result<Vec<_>, _> = history.ancestors().collect();
    assert_eq!(ancestors.expect("reads").len(), 1);
}

#[tokio::test]
async fn a_broken_object_does_not_look_like_a_missing_label() {
    let bed = GitBed::new();
    let revision = bed.commit_on("main", &[("application.yml", Some("a: 1"))]);
    let (folder, file) = revision.as_str().split_at(2);
    let object = bed.path().join("objects").join(folder).join(file);
    std::fs::remove_file(object).expect("removed");
    let error = refusal(&open_git(&bed.path()), &Label::Default).await;
    assert!(matches!(error, SourceError::Unavailable { .. }), "{error}");
}

#[test]
fn what_libgit2_cannot_read_is_refused_with_the_reason() {
    let place = tempfile::tempdir().expect("a temporary directory");
    git(place.path(), &["init", "-q", "--object-format=sha256", "new"]);
    git(place.path(), &["init", "-q", "tables"]);
    let tables = place.path().join("tables");
    git(&tables, &["config", "core.repositoryformatversion", "1"]);
    git(&tables, &["config", "extensions.refstorage", "reftable"]);
    std::fs::create_dir_all(place.path().join("empty/.git")).expect("a directory");
    for (name, part) in
        [("new", "SHA-256"), ("tables", "reftable"), ("empty", "no complete git repository")]
    {
        let path = place.path().join(name).display().to_string();
        let error = open(&path, OpenOptions::default()).err().expect("refused");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_source_is_told_apart_by_looking() {
    let pushed = Pushed::new();
    let revision = pushed.push("main", "a: 1");
    let plain = pushed.directory.path().join("plain");
    std::fs::create_dir(&plain).expect("a directory");
    std::fs::write(plain.join("application.yml"), "a: 1").expect("written");
    for (path, is_git) in [(pushed.bare(), true), (pushed.clone(), true), (plain, false)] {
        for uri in [path.display().to_string(), format!("file://{}/", path.display())] {
            let source = open(&uri, OpenOptions::default()).expect("opens");
            assert_eq!(source.name(), uri.trim_end_matches('/'));
            let found = load(&*source, &Label::Default).await;
            assert_eq!(found.revision == revision, is_git);
        }
    }
}

/// Runs itself once more, in a home whose configuration no git can read.
#[test]
fn nobodys_home_is_read() {
    const HOME_OF_CHILD: &str = "HEADWATER_TEST_HOME";
    if std::env::var_os(HOME_OF_CHILD).is_some() {
        open_git(&GitBed::new().path());
        return;
    }
    let home = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(home.path().join(".gitconfig"), "[broken").expect("written");
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "sources::git::nobodys_home_is_read"])
        .env("HOME", home.path())
        .env(HOME_OF_CHILD, "1")
        .output()
        .expect("runs");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}");
    assert!(printed.contains("1 passed"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_table_has_the_references_and_their_rollouts() {
    use headwater::source::Source;

    use crate::fixture::held::{record, rollout};

    let pushed = Pushed::new();
    let stable = pushed.push("main", "v: 1");
    let options = GitOptions {
        layout: super::layout("hosted", headwater::snapshot::Style::Git),
        default_label: None,
        findings: Findings::default(),
    };
    let source = GitSource::open_hosted(pushed.bare(), options).expect("a repository");
    let before = load(&source, &Label::Default).await;
    assert!(before.members[0].holds.branch.is_none());
    assert!(before.members[0].holds.are_recorded);

    let tip = pushed.push("main", "v: 2");
    let holds = record(1, [rollout(&["cart"], 1, [&stable, &tip], &[])]);
    let table: HoldTable = [(Box::from("main"), Arc::new(holds.clone()))].into();
    source.publish_with_holds(&["refs/heads/main"], |_| table.clone()).expect("published");
    for label in [Label::Default, named("main")] {
        let held = load(&source, &label).await;
        assert_eq!(held.revision, tip);
        let member = &held.members[0];
        assert_eq!(member.holds.branch.as_deref(), Some(&holds));
        assert_eq!(member.holds.stables[0].revision, stable);
        assert_ne!(member.holds.stables[0].tree.id(), member.tree.id());
        assert!(!held.is_same_publication(&before));
        // The same publication is loaded once.
        let again = source.load(&label, Some(&held)).await.expect("a snapshot");
        assert!(again.is_same_publication(&held));
    }
    // Another push keeps them, until other rollouts are published.
    let next = pushed.push("main", "v: 3");
    source.publish(&["refs/heads/main"]).expect("published");
    let held = load(&source, &Label::Default).await;
    assert_eq!(held.revision, next);
    assert_eq!(held.members[0].holds.stables[0].revision, stable);
    source.publish_with_holds(&[], |_| HoldTable::new()).expect("published");
    let free = load(&source, &Label::Default).await;
    assert!(!free.is_same_publication(&held), "the end of a rollout is a publication");
    assert!(free.members[0].holds.stables.is_empty());

    // A stable commit that the repository lacks makes the label unreadable, and never serves the candidate.
    let missing = Revision::new("1".repeat(40));
    let broken = record(2, [rollout(&["cart"], 2, [&missing, &next], &[])]);
    let table: HoldTable = [(Box::from("main"), Arc::new(broken))].into();
    source.publish_with_holds(&[], |_| table.clone()).expect("published");
    let error = source.load(&Label::Default, Some(&free)).await.err();
    assert!(matches!(error, Some(SourceError::Unavailable { .. })), "{error:?}");
}
