//! The public-style repositories are no problem: `headwater check` says so, and a hosted repository takes them.

use std::path::Path;

use super::{build, compare};
use crate::fixture::{Server, Tree, command, directory, hosted_settings, repository_url};

/// The repositories, with the search paths that they need.
const REPOSITORIES: &[(&str, &[&str])] = &[
    ("petclinic", &[]),
    ("gitflow", &[]),
    ("monorepo", &["{application}"]),
    ("imports", &[]),
    ("templates", &[]),
];

/// Checks every branch and tag of a repository.
fn check(place: &Path, name: &str, search_paths: &[&str]) -> Vec<String> {
    let source = format!("{name}.git");
    let bare = Tree { path: place.join(&source) };
    let labels = bare.git(&["for-each-ref", "--format=%(refname:short)"]).out;
    let paths = search_paths.iter().flat_map(|path| ["--search-path", *path]);
    let paths: Vec<&str> = paths.collect();
    let mut found = Vec::new();
    for label in labels.lines() {
        let mut check = command(place);
        let output =
            check.args(["check", &source, "--label", label]).args(&paths).output().unwrap();
        if output.status.code() != Some(0) {
            let text = [output.stdout, output.stderr].concat();
            found.push(format!("{name} at {label}: {}", String::from_utf8_lossy(&text)));
        }
    }
    found
}

#[test]
fn public_repositories_pass_the_check() {
    let place = tempfile::tempdir().unwrap();
    let mut found = Vec::new();
    for &(name, search_paths) in REPOSITORIES {
        build(name, place.path());
        found.extend(check(place.path(), name, search_paths));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn public_repositories_are_taken_by_a_hosted_one_and_served_from_it() {
    let place = tempfile::tempdir().unwrap();
    let seed = directory("//- README.md\nempty\n");
    for &(name, search_paths) in REPOSITORIES {
        build(name, place.path());
        let mut settings = hosted_settings(&place.path().join(format!("{name}-data")), seed.path());
        settings.push.allow_force = true;
        settings.sources[0].search_paths =
            search_paths.iter().map(|path| (*path).to_owned()).collect();
        let server = Server::with(settings);
        let bare = Tree { path: place.path().join(format!("{name}.git")) };
        let all = ["refs/heads/*:refs/heads/*", "refs/tags/*:refs/tags/*"];
        let url = repository_url(server.0);
        let pushed = bare.git(&[&["push", "--force", "--quiet", &url], &all[..]].concat());
        assert_eq!(pushed.code, Some(0), "{name}: {}", pushed.err);
        let paths: Vec<&str> =
            search_paths.iter().flat_map(|path| ["--search-path", *path]).collect();
        let (served, source) = (format!("http://{}", server.0), format!("{name}.git"));
        let said =
            compare(place.path(), &[&[&*served, &source, "--label", "main"], &paths[..]].concat());
        assert_eq!(said.code, Some(0), "{name}: {said:?}");
    }
}
