//! A mirror of another Headwater: it is told of every push, and nothing has to be polled.

use super::host::Host;
use super::{Home, comes};
use crate::fixture::{Child, Hosted, Repository, clone, directory, eventually, repository_url};

/// A mirror that never looks by itself.
fn told_only(uri: &str) -> Home {
    Home::new(&format!("[[source]]\nuri = \"{uri}\"\npoll_seconds = 0\n"))
}

#[test]
fn a_mirror_of_headwater_has_every_push_without_polling() {
    let origin = Hosted::new("//- orders.yml\na: 0\n");
    let tree = origin.clone("mine");
    let home = told_only(&origin.url());
    let server = home.serve();
    comes(&server, "/orders/dev", "a", "0");
    for number in 1..=5 {
        let tip = tree.commit(&format!("//- orders.yml\na: {number}\n"));
        tree.push(&[]).succeeds();
        let reply = comes(&server, "/orders/dev", "a", &number.to_string());
        assert_eq!(reply.header("headwater-revision"), Some(&*tip));
    }
    // A branch that nobody has asked for yet is copied too, and moves.
    tree.git(&["switch", "--quiet", "--create", "next"]).succeeds();
    tree.commit("//- orders.yml\na: 6\n");
    tree.push(&["next"]).succeeds();
    comes(&server, "/orders/dev/next", "a", "6");
}

#[test]
fn a_mirror_reads_the_events_with_the_credentials_of_the_repository() {
    let token = "correct-horse";
    let secrets = directory(&format!("//- token\n{token}\n"));
    let origin = Hosted::with("//- orders.yml\na: 0\n", |settings| {
        settings.token_file = Some(secrets.path().join("token"));
    });
    let home = Home::new(&format!(
        "[[source]]\nuri = \"{}\"\npoll_seconds = 0\ncredentials_file = \"{{place}}/credentials\"\n",
        origin.url()
    ));
    home.write("credentials", &format!("git\n{token}\n"));
    let server = home.serve();
    comes(&server, "/orders/dev", "a", "0");
    eventually("it follows", || server.log().contains("the events of the remote are followed"));
    assert!(!server.log().contains(token));
}

#[test]
fn a_mirror_catches_up_when_headwater_is_back() {
    let place = tempfile::tempdir().unwrap();
    let seed = directory("//- orders.yml\na: 0\n");
    let (data, seed) = (place.path().join("data"), seed.path());
    let origin = |listen: &str| {
        Child::serve(&[
            "--source",
            "hosted:main",
            "--data",
            data.to_str().unwrap(),
            "--seed",
            seed.to_str().unwrap(),
            "--listen",
            listen,
        ])
    };
    let first = origin("127.0.0.1:0");
    let (address, url) = (first.0.to_string(), repository_url(first.0));
    let tree = clone(&url, &place.path().join("mine"));
    let home = told_only(&url);
    let server = home.serve();
    comes(&server, "/orders/dev", "a", "0");
    drop(first);
    comes(&server, "/orders/dev", "a", "0");
    let _second = origin(&address);
    tree.commit("//- orders.yml\na: 1\n");
    tree.push(&[]).succeeds();
    comes(&server, "/orders/dev", "a", "1");
}

#[test]
fn a_remote_that_only_looks_like_headwater_is_polled_as_ever() {
    let repository = Repository::new("//- orders.yml\na: 1\n");
    let around = repository.around();
    std::fs::create_dir_all(around.join("-/git")).unwrap();
    std::os::unix::fs::symlink(repository.path(), around.join("-/git/config.git")).unwrap();
    let host = Host::of(&repository);
    let home = Home::of(&host.uri().replace("/config.git", "/-/git/config.git"));
    let server = home.serve();
    comes(&server, "/orders/dev", "a", "1");
    repository.commit("//- orders.yml\na: 2\n");
    comes(&server, "/orders/dev", "a", "2");
}
