//! `headwater diff` as a person and as a script see it: the effective difference of two revisions.

use std::process::Command;

use serde_json::{Value, json};

use super::{Said, refuses, type_in};
use crate::fixture::{Repository, directory};

const SHOP: &str = "\
//- application.yml
shared: everywhere
//- orders.yml
name: Orders
port: 8080
//- orders-dev.yml
port: 8081
//- cart.yml
name: Cart
";

#[track_caller]
fn diff(repository: &Repository, arguments: &[&str]) -> Said {
    let uri = repository.uri();
    type_in(repository.around(), &[&["diff", "--source", &uri], arguments].concat())
}

#[track_caller]
fn shows(said: &Said, out: &str, err: &str) {
    assert_eq!((said.out.as_str(), said.err.as_str()), (out, err));
    assert_eq!(said.code, Some(if out.is_empty() { 0 } else { 1 }));
}

#[test]
fn only_environments_that_see_a_difference_are_shown() {
    let repository = Repository::new(SHOP);
    let first = repository.commit("//- orders.yml\n# a comment\nname:   Orders\nport: 8080\n");
    let second =
        repository.commit("//- orders.yml\nname: Orders!\nport: 9090\npassword: hunter2\n");
    repository.tag("v1", &first);
    shows(
        &diff(&repository, &["v1", "main"]),
        "orders/default: 1 key added, 2 keys changed\n  ~ name\n  + password\n  ~ port\n\
         orders/dev: 1 key added, 1 key changed\n  ~ name\n  + password\n",
        "compared 2 environments that may differ: 2 do\n",
    );
    // The other way round, by full ids, and of one environment.
    shows(
        &diff(&repository, &[&second, &first, "--application", "orders", "--profiles", "dev"]),
        "orders/dev: 1 key removed, 1 key changed\n  ~ name\n  - password\n",
        "compared 2 environments that may differ: 2 do\n".replace("2 do", "1 do").as_str(),
    );
}

#[test]
fn an_environment_is_compared_if_it_is_asked_for_by_name() {
    let repository = Repository::new(SHOP);
    repository.commit_on("side", "//- cart.yml\nname: Basket\n//- orders-qa.yml\nport: 1\n");
    for (profiles, expected) in [
        ("dev", "cart/dev: 1 key changed\n  ~ name\n"),
        ("dev,eu", "cart/dev,eu: 1 key changed\n  ~ name\n"),
    ] {
        let filter = ["main", "side", "--application", "cart", "--profiles", profiles];
        assert_eq!(diff(&repository, &filter).out, expected);
    }
    let of_profile = diff(&repository, &["main", "side", "--profiles", "qa"]);
    assert_eq!(
        of_profile.out,
        "cart/qa: 1 key changed\n  ~ name\norders/qa: 1 key changed\n  ~ port\n"
    );
}

#[test]
fn a_difference_that_nobody_sees_is_none() {
    let repository = Repository::new(SHOP);
    repository.tag("v1", &repository.commit("//- README.md\nhello\n"));
    repository
        .commit("//- orders.yml\n# a comment\nname:   Orders\nport: 8080\n//- README.md\nbye\n");
    shows(
        &diff(&repository, &["v1", "main"]),
        "",
        "compared 2 environments that may differ: 0 do\n",
    );
    shows(
        &diff(&repository, &["main", "main"]),
        "",
        "compared 0 environments that may differ: 0 do\n",
    );
}

#[test]
fn values_are_shown_to_those_who_ask_for_them() {
    let repository = Repository::new(SHOP);
    repository
        .commit_on("side", "//- orders-dev.yml\nport: 1\nurl: http://${shared}/\n//- cart.yml\n");
    shows(
        &diff(&repository, &["main", "side", "--values"]),
        "cart/default: 1 key removed\n  - name = Cart\n\
         orders/dev: 1 key added, 1 key changed\n  ~ port = 8081 -> 1\n  + url = http://${shared}/\n",
        "compared 2 environments that may differ: 2 do\n",
    );
}

#[test]
fn programs_read_json() {
    let repository = Repository::new(SHOP);
    let old = repository.commit("//- cart.yml\nname: Cart\na: 1\n");
    let new = repository.commit("//- cart.yml\nname: Basket\nb: true\n");
    let arguments = [&old, &new, "--output", "json", "--profiles", "default"];
    let said = diff(&repository, &arguments);
    assert_eq!((said.code, said.err.as_str()), (Some(1), ""));
    let report: Value = serde_json::from_str(&said.out).unwrap();
    let cart = json!({
        "application": "cart", "profiles": "default",
        "added": ["b"], "removed": ["a"], "changed": ["name"],
    });
    assert_eq!(report["old"], json!({"label": old, "revision": old}));
    assert_eq!(report["environments"], json!([cart]));
    assert_eq!(report["problems"], json!({"old": [], "new": []}));
    assert_eq!((&report["compared"], &report["omitted"]), (&json!(1), &json!(0)));
    let whole = diff(&repository, &[&arguments[..], &["--values"]].concat());
    let report: Value = serde_json::from_str(&whole.out).unwrap();
    assert_eq!(
        report["environments"][0]["values"]["name"],
        json!({"old": "Cart", "new": "Basket"})
    );
    assert_eq!(report["environments"][0]["values"]["b"], json!({"old": null, "new": "true"}));
}

#[test]
fn services_that_come_and_go_are_differences_too() {
    let repository = Repository::new(SHOP);
    repository.tag("v1", &repository.commit("//- application-eu.yml\nregion: eu\n"));
    repository
        .commit_bytes("main", &[("cart.yml", None), ("application.yml", Some(b"shared: 2\n"))]);
    repository.commit("//- stock.yml\nname: Stock\n");
    let said = diff(&repository, &["v1", "main", "--profiles", "eu"]);
    assert_eq!(
        said.out,
        "application/eu: 1 key changed\n  ~ shared\n\
         cart/eu: 1 key removed, 1 key changed\n  - name\n  ~ shared\n\
         orders/eu: 1 key changed\n  ~ shared\n\
         stock/eu: 1 key added, 1 key changed\n  + name\n  ~ shared\n"
    );
}

#[test]
fn what_breaks_and_what_is_repaired_is_said_without_a_value() {
    let repository = Repository::new(SHOP);
    repository.commit_on("broken", "//- orders.yml\nname: Orders\nport: [hunter2\n");
    let breaks = diff(&repository, &["main", "broken"]);
    assert_eq!(breaks.code, Some(1));
    assert!(breaks.out.starts_with("cannot be used at broken: orders.yml:"), "{}", breaks.out);
    let repairs = diff(&repository, &["broken", "main"]);
    assert_eq!(repairs.code, Some(1));
    assert!(repairs.out.starts_with("cannot be used at broken: orders.yml:"), "{}", repairs.out);
    assert!(!(breaks.out + &repairs.out).contains("hunter2"));
    assert_eq!(diff(&repository, &["broken", "broken"]).code, Some(0));
    let others = diff(&repository, &["main", "broken", "--application", "cart"]);
    assert_eq!((others.code, others.out.as_str()), (Some(0), ""));
}

#[test]
fn a_label_is_a_name_and_never_an_expression() {
    let repository = Repository::new(SHOP);
    let id = repository.commit("//- orders.yml\nport: 1\n");
    for label in ["main~1", "HEAD~1", "HEAD^", "nope", &id[..10], ":/Change", "main:", "..", ""] {
        refuses(&diff(&repository, &["main", label]), &["unknown label", "full commit id"]);
    }
    refuses(
        &type_in(repository.around(), &["diff", "a", "b", "--source", "nowhere"]),
        &["nowhere"],
    );
    assert_eq!(type_in(repository.around(), &["diff", "main"]).code, Some(2));
}

#[test]
fn folders_of_a_directory_can_be_compared() {
    let place = directory(
        "//- application.yml\nshared: 1\n//- blue/orders.yml\na: 1\n//- green/orders.yml\na: 2\n\
         //- blue/cart.yml\nb: 1\n",
    );
    let source = place.path().display().to_string();
    let said = type_in(place.path(), &["diff", "blue", "green", "--source", &source]);
    assert_eq!(
        said.out,
        "cart/default: 1 key removed\n  - b\norders/default: 1 key changed\n  ~ a\n"
    );
    assert_eq!(said.code, Some(1));
}

#[test]
fn a_checkout_made_by_git_is_compared_by_what_is_committed() {
    let place = tempfile::tempdir().unwrap();
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.current_dir(place.path()).args([
            "-c",
            "user.name=Ada",
            "-c",
            "user.email=ada@example.org",
        ]);
        git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
        assert!(git.args(arguments).output().unwrap().status.success(), "git {arguments:?}");
    };
    let write = |text: &str| std::fs::write(place.path().join("orders.yml"), text).unwrap();
    git(&["init", "-q", "-b", "main"]);
    write("a: 1\n");
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "one"]);
    git(&["switch", "-q", "-c", "feature"]);
    write("a: 2\n");
    git(&["commit", "-q", "-a", "-m", "two"]);
    write("a: 3\nuncommitted: yes\n");
    let said = type_in(place.path(), &["diff", "main", "feature", "--source", "."]);
    assert_eq!(said.out, "orders/default: 1 key changed\n  ~ a\n", "{}", said.err);
}
