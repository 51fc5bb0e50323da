//! A clone as a source: branches of its remote, its default label, and what the server reports about both.

use std::path::{Path, PathBuf};

use headwater::model::{Label, Revision};
use headwater::snapshot::Style;
use headwater::source::git::{Findings, GitOptions, GitSource};
use headwater::source::{Source, SourceError};
use tempfile::TempDir;

use super::bed::open_git;
use super::git::git;
use super::{changed, layout, load, named, refusal, text};

/// A repository with a work tree, and room for clones of it.
struct Place(TempDir);

impl Place {
    /// The branches each get one commit; the last one stays checked out.
    fn with(branches: &[&str]) -> Self {
        let place = Self(tempfile::tempdir().expect("a temporary directory"));
        git(place.0.path(), &["init", "-q", "-b", branches[0], "origin"]);
        for (number, branch) in branches.iter().enumerate() {
            if number > 0 {
                git(&place.origin(), &["checkout", "-q", "-b", branch]);
            }
            place.commit(&format!("a: {branch}"));
        }
        place
    }

    fn origin(&self) -> PathBuf {
        self.0.path().join("origin")
    }

    /// Commits on the branch that is checked out.
    fn commit(&self, content: &str) -> Revision {
        std::fs::write(self.origin().join("application.yml"), content).expect("written");
        git(&self.origin(), &["add", "-A"]);
        git(&self.origin(), &["commit", "-q", "-m", content]);
        self.at(&self.origin(), "HEAD")
    }

    fn at(&self, repository: &Path, name: &str) -> Revision {
        Revision::new(git(repository, &["rev-parse", &format!("{name}^{{commit}}")]))
    }

    fn clone(&self, arguments: &[&str]) -> PathBuf {
        git(self.0.path(), &[&["clone", "-q"], arguments, &["origin", "clone"]].concat());
        self.0.path().join("clone")
    }
}

/// Opens a repository as a server does.
fn served(path: &Path, default_label: Option<&str>) -> GitSource {
    let options = GitOptions {
        layout: layout("config", Style::Git),
        default_label: default_label.map(str::to_owned),
        findings: Findings { default_label: true, unfetched_remote: true },
    };
    GitSource::open(path, options).expect("the source")
}

/// What the source reports. A bare `git init` has no remote, so that nothing is said of one.
fn reported(source: &dyn Source) -> Vec<String> {
    source.problems().into_iter().map(|it| it.problem.to_string()).collect()
}

#[track_caller]
fn check_reported(path: &Path, default_label: Option<&str>, parts: &[&str]) {
    let found = reported(&served(path, default_label));
    assert_eq!(found.len(), usize::from(!parts.is_empty()), "{found:?}");
    parts.iter().for_each(|part| assert!(found[0].contains(part), "{part}: {found:?}"));
    assert!(reported(&open_git(path)).is_empty(), "a command that reads one revision reports none");
}

#[tokio::test]
async fn branches_that_only_the_remote_of_a_clone_has_are_served() {
    let place = Place::with(&["feature/x", "main"]);
    let clone = place.clone(&[]);
    let source = open_git(&clone);
    let found = load(&source, &named("feature/x")).await;
    assert_eq!(found.revision, place.at(&place.origin(), "feature/x"));
    assert_eq!(text(&found, "application.yml").as_deref(), Some("a: feature/x"));
    assert_eq!(found.members[0].label.as_deref(), Some("feature/x"));
    assert!(found.members[0].history.is_some(), "a branch has a past");
    for label in ["origin/feature/x", "origin/HEAD", "remotes/origin/feature/x"] {
        let error = refusal(&source, &named(label)).await;
        assert_eq!(error, SourceError::UnknownLabel(named(label)));
    }
    assert_eq!(load(&source, &named("HEAD")).await.revision, place.at(&clone, "main"));
}

#[tokio::test]
async fn a_local_branch_wins_over_the_remotes_which_wins_over_a_tag() {
    let place = Place::with(&["both", "main"]);
    git(&place.origin(), &["tag", "both"]);
    let clone = place.clone(&[]);
    let source = open_git(&clone);
    let of_remote = place.at(&place.origin(), "refs/heads/both");
    assert_eq!(load(&source, &named("both")).await.revision, of_remote);
    git(&clone, &["branch", "-q", "both", "refs/remotes/origin/main"]);
    changed(&source, &named("both"), &of_remote).await;
    assert_eq!(load(&source, &named("both")).await.revision, place.at(&clone, "main"));
}

#[tokio::test]
async fn a_fetch_moves_what_is_served_and_prunes_it() {
    let place = Place::with(&["main", "dev"]);
    git(&place.origin(), &["symbolic-ref", "HEAD", "refs/heads/main"]);
    let clone = place.clone(&[]);
    git(&place.origin(), &["checkout", "-q", "-f", "dev"]);
    let source = open_git(&clone);
    let label = named("dev");
    let mut seen = load(&source, &label).await.revision.clone();
    for round in 0..3 {
        if round == 1 {
            git(&clone, &["pack-refs", "--all", "--prune"]);
            assert!(!clone.join(".git/refs/remotes/origin/dev").exists());
        }
        let next = place.commit(&format!("a: {round}"));
        let ((), _) = tokio::join!(changed(&source, &label, &seen), async {
            tokio::task::yield_now().await;
            git(&clone, &["fetch", "-q"])
        });
        assert_eq!(load(&source, &label).await.revision, next);
        let by_id = load(&source, &named(next.as_str())).await;
        assert_eq!(by_id.revision, next, "a commit that a remote branch leads to has a label");
        seen = next;
    }
    git(&place.origin(), &["checkout", "-q", "main"]);
    git(&place.origin(), &["branch", "-q", "-D", "dev"]);
    git(&clone, &["fetch", "-q", "--prune"]);
    for label in [label, named(seen.as_str())] {
        assert_eq!(refusal(&source, &label).await, SourceError::UnknownLabel(label.clone()));
    }
}

#[tokio::test]
async fn a_clone_without_a_local_branch_serves_the_remotes_by_default() {
    let place = Place::with(&["main"]);
    let clone = place.clone(&[]);
    git(&clone, &["update-ref", "-d", "refs/heads/main"]);
    let source = open_git(&clone);
    assert_eq!(load(&source, &Label::Default).await.revision, place.at(&place.origin(), "main"));
}

#[tokio::test]
async fn a_remote_by_another_name_is_the_remote_unless_there_is_an_origin() {
    let place = Place::with(&["dev", "main"]);
    let clone = place.clone(&["-o", "upstream"]);
    let dev = place.at(&place.origin(), "dev");
    assert_eq!(load(&open_git(&clone), &named("dev")).await.revision, dev);
    check_reported(&clone, None, &["does not fetch the remote upstream"]);
    git(&clone, &["remote", "add", "origin", "https://nowhere.example/config.git"]);
    let error = refusal(&open_git(&clone), &named("dev")).await;
    assert_eq!(error, SourceError::UnknownLabel(named("dev")));
}

#[tokio::test]
async fn clones_of_every_kind_are_served() {
    for arguments in [&["--bare"][..], &["--mirror"], &["--shared"], &["--no-checkout"]] {
        let place = Place::with(&["dev", "main"]);
        let clone = place.clone(arguments);
        let source = open_git(&clone);
        for (label, branch) in
            [(Label::Default, "main"), (named("dev"), "dev"), (named("master"), "main")]
        {
            let found = load(&source, &label).await;
            assert_eq!(found.revision, place.at(&place.origin(), branch), "{arguments:?} {label}");
            assert!(text(&found, "application.yml").is_some());
        }
        check_reported(&clone, None, &["does not fetch the remote origin"]);
    }
}

#[tokio::test]
async fn what_a_shallow_clone_was_cut_off_from_is_unknown() {
    let place = Place::with(&["main"]);
    let lost = place.at(&place.origin(), "HEAD");
    let edge = place.commit("a: 1");
    place.commit("a: 2");
    let url = format!("file://{}", place.origin().display());
    git(place.0.path(), &["clone", "-q", "--depth", "2", &url, "shallow"]);
    let source = open_git(&place.0.path().join("shallow"));
    load(&source, &Label::Default).await;
    assert_eq!(load(&source, &named(edge.as_str())).await.revision, edge);
    let label = named(lost.as_str());
    assert_eq!(refusal(&source, &label).await, SourceError::UnknownLabel(label.clone()));
}

#[test]
fn the_remote_that_nobody_fetches_is_reported_without_its_password() {
    let place = Place::with(&["main"]);
    let clone = place.clone(&[]);
    let remedy = "follow_origin = true";
    check_reported(&clone, None, &["does not fetch the remote origin", remedy]);
    git(&clone, &["remote", "set-url", "origin", "https://git.example.org/config.git"]);
    check_reported(&clone, None, &["origin of this clone (https://git.example.org/config.git)"]);
    git(&clone, &["remote", "set-url", "origin", "https://ada:hunter2@git.example.org/c.git"]);
    let found = reported(&served(&clone, None));
    assert!(!found[0].contains("hunter2") && !found[0].contains("ada"), "{found:?}");
    check_reported(&place.origin(), None, &[]);
}

#[test]
fn a_default_branch_that_the_original_would_not_serve_is_reported() {
    let place = Place::with(&["main", "develop"]);
    let origin = place.origin();
    let parts = ["gets develop", "would serve main", "default_label = \"main\""];
    check_reported(&origin, None, &parts);
    check_reported(&origin, Some("develop"), &[]);
    check_reported(&origin, Some("main"), &[]);
    check_reported(&origin, Some("live"), &["no branch or tag live", "404"]);
    git(&origin, &["checkout", "-q", "--detach", "main"]);
    check_reported(&origin, None, &["would serve main"]);
    git(&origin, &["checkout", "-q", "main"]);
    check_reported(&origin, None, &[]);
}

#[test]
fn the_usual_branches_are_those_of_the_original_in_its_order() {
    let place = Place::with(&["master", "main"]);
    check_reported(&place.origin(), None, &[]);
    git(&place.origin(), &["checkout", "-q", "master"]);
    check_reported(&place.origin(), None, &["gets master", "would serve main"]);
    git(&place.origin(), &["branch", "-q", "-D", "main"]);
    check_reported(&place.origin(), None, &[]);
    check_reported(&place.origin(), Some("main"), &[]);
    git(&place.origin(), &["branch", "-q", "-m", "trunk"]);
    check_reported(&place.origin(), None, &[]);
}

#[tokio::test]
async fn a_head_that_names_no_branch_leaves_main_to_be_served() {
    for usual in ["main", "master"] {
        let place = Place::with(&[usual]);
        let origin = place.origin();
        git(&origin, &["symbolic-ref", "HEAD", "refs/heads/trunk"]);
        let source = served(&origin, None);
        let found = load(&source, &Label::Default).await;
        assert_eq!(found.members[0].label.as_deref(), Some(usual));
        let said = reported(&source);
        assert!(said[0].contains("trunk, which does not exist"), "{said:?}");
        // The branch appears: it is HEAD's, and so the default.
        git(&origin, &["checkout", "-q", "-b", "trunk", usual]);
        let next = place.commit("a: trunk");
        changed(&source, &Label::Default, found.position()).await;
        assert_eq!(load(&source, &Label::Default).await.revision, next);
        assert!(reported(&source)[0].contains("gets trunk"), "{:?}", reported(&source));
    }
}

#[tokio::test]
async fn a_repository_without_branches_says_so() {
    let place = Place::with(&["main"]);
    let origin = place.origin();
    let tagged = place.at(&origin, "main");
    git(&origin, &["tag", "v1"]);
    git(&origin, &["update-ref", "-d", "refs/heads/main"]);
    let source = served(&origin, None);
    assert_eq!(refusal(&source, &Label::Default).await, SourceError::UnknownLabel(Label::Default));
    assert_eq!(load(&source, &named("v1")).await.revision, tagged);
    check_reported(&origin, None, &["neither main nor master", "404"]);
    check_reported(&origin, Some("v1"), &[]);
    git(place.0.path(), &["init", "-q", "-b", "main", "empty"]);
    check_reported(&place.0.path().join("empty"), None, &["neither main nor master"]);
}
