//! Two servers of the same protocol on two repositories: each difference is found, named, and nothing else is.

use std::path::Path;

use serde_json::{Value, json};

use super::{Said, compare};
use crate::fixture::{Repository, Server, settings};
use crate::oracle::repository::git;

const SHOP: &str = "//- application.yml\nshared: 1\nlist: [a, b]\n//- orders.yml\nlimit: 5\nname: orders\n\
                    //- orders-prod.yml\nlimit: 50\npassword: s3cr3t\n";

/// Compares a server on the shop, as Spring, with the shop after a change, as a source.
fn changed(change: &[(&str, Option<&str>)], arguments: &[&str]) -> Said {
    let (spring, ours) = (Repository::new(SHOP), Repository::new(SHOP));
    let change: Vec<_> =
        change.iter().map(|(path, text)| (*path, text.map(str::as_bytes))).collect();
    ours.commit_bytes("main", &change);
    let server = Server::start(&spring.uri());
    let url = format!("http://{}", server.0);
    let uri = ours.uri();
    compare(ours.around(), &[&[&*url, &uri, "--label", "main"], arguments].concat())
}

/// The differences of the environment `orders/prod`, without their names.
#[track_caller]
fn of_orders(said: &Said) -> Vec<Value> {
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(!said.out.contains("s3cr3t") && !said.err.contains("s3cr3t"), "{said:?}");
    let json = said.json();
    let differences = json["differences"].as_array().unwrap();
    let of_orders =
        differences.iter().filter(|it| it["application"] == "orders" && it["profiles"] == "prod");
    of_orders.map(|it| json!([it["kind"], it["source"], it["key"], it["documented"]])).collect()
}

#[track_caller]
fn check(change: &[(&str, Option<&str>)], expected: &Value) {
    let said = changed(change, &["--profiles", "prod", "--output", "json"]);
    assert_eq!(Value::from(of_orders(&said)), *expected, "{}", said.out);
}

#[test]
fn the_same_is_the_same() {
    let said = changed(&[("README.md", Some("text"))], &["--forms", "yml,properties,json"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(said.summary(), "compared 4 environments on 1 label: 4 equal, 0 differ");
    // The two repositories are not at the same commit.
    assert!(said.out.starts_with("note: main: Spring answered from revision "), "{}", said.out);
}

#[test]
fn each_difference_is_named_for_what_it_is() {
    let prod = "limit: 51\npassword: s3cr3t\n";
    check(
        &[("orders-prod.yml", Some(prod))],
        &json!([["value", "orders-prod.yml", "limit", null]]),
    );
    let prod = "limit: \"50\"\npassword: s3cr3t\n";
    check(&[("orders-prod.yml", Some(prod))], &json!([["type", "orders-prod.yml", "limit", null]]));
    let prod = "password: s3cr3t\nlimit: 50\n";
    check(
        &[("orders-prod.yml", Some(prod))],
        &json!([["order", "orders-prod.yml", "limit", null]]),
    );
    check(
        &[("orders-prod.yml", Some("limit: 50\nuser: s3cr3t-too\n"))],
        &json!([
            ["key-only-in-spring", "orders-prod.yml", "password", null],
            ["key-only-in-headwater", "orders-prod.yml", "user", null],
        ]),
    );
    check(
        &[("orders-prod.yml", None)],
        &json!([["source-only-in-spring", "orders-prod.yml", null, null]]),
    );
    check(
        &[("application-prod.yml", Some("more: 1\n"))],
        &json!([["source-only-in-headwater", "application-prod.yml", null, null]]),
    );
    check(&[("orders.yml", Some("limit: [\n"))], &json!([["held", null, null, null]]));
}

#[test]
fn a_documented_difference_is_named_and_no_failure() {
    let (spring, ours) = (Repository::new(SHOP), Repository::new(SHOP));
    ours.commit("//- orders.toml\nlimit = 1\n");
    let settings = format!("[[source]]\nuri = {:?}\ntoml = true\n", ours.uri());
    std::fs::write(ours.around().join("headwater.toml"), settings).unwrap();
    let server = Server::start(&spring.uri());
    let url = format!("http://{}", server.0);
    let changed = |arguments: &[&str]| {
        compare(ours.around(), &[&[&*url, "--label", "main"], arguments].concat())
    };
    let said = changed(&[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let line = "orders/prod at main: orders.toml: the source is only in Headwater (documented: TOML is configuration, \
                docs/differences.md#toml-is-configuration)";
    assert!(said.out.lines().any(|found| found == line), "{}", said.out);
    let summary = "compared 4 environments on 1 label: 2 equal, 2 differ as documented (TOML is configuration), 0 differ";
    assert_eq!(said.summary(), summary);
    assert_eq!(changed(&["--strict"]).code, Some(1));
}

#[test]
fn values_are_printed_only_if_they_are_asked_for() {
    let change = [("orders-prod.yml", Some("limit: 50\npassword: \"s3cr3t\\e[2J\"\n"))];
    let line = "orders/prod at main: orders-prod.yml: password: another value";
    let said = changed(&change, &[]);
    assert!(said.out.lines().any(|found| found == line), "{}", said.out);
    let said = changed(&change, &["--values"]);
    let shown = format!("{line}: Spring \"s3cr3t\", Headwater \"s3cr3t\\u{{1b}}[2J\"");
    assert!(said.out.lines().any(|found| found == shown), "{}", said.out);
    let json = changed(&change, &["--values", "--output", "json"]).json();
    assert_eq!(json["differences"][0]["spring"], "s3cr3t");
}

#[test]
fn another_path_of_the_same_file_is_found() {
    let (spring, ours) = (Repository::new(SHOP), Repository::new(SHOP));
    spring.commit("//- sub/orders.yml\nlimit: 5\nname: orders\n");
    spring.commit_bytes("main", &[("orders.yml", None)]);
    let mut settings = settings(&spring.uri());
    settings.sources[0].search_paths = vec!["sub".to_owned()];
    let server = Server::with(settings);
    let url = format!("http://{}", server.0);
    let arguments =
        [&*url, &ours.uri(), "--label", "main", "--application", "orders", "--output", "json"];
    let said = compare(ours.around(), &arguments);
    let kinds: Vec<Value> = of_orders(&said);
    assert_eq!(Value::from(kinds), json!([["source-name", null, null, null]]), "{}", said.out);
}

#[test]
fn flat_forms_and_files_are_compared_where_they_are_asked_for() {
    let spring = Repository::new(SHOP);
    spring.commit("//- motd\nHello\n${name}\n");
    let ours = Repository::new(SHOP);
    ours.commit("//- motd\nHello\nBye ${name}\n//- orders.yml\nlimit: 5\nname: Orders\n");
    let server = Server::start(&spring.uri());
    let url = format!("http://{}", server.0);
    let arguments = [
        &*url,
        &ours.uri(),
        "--label",
        "main",
        "--application",
        "orders",
        "--forms",
        "yml,json",
        "--file",
        "motd",
    ];
    let said = compare(ours.around(), &arguments);
    assert_eq!(said.code, Some(1), "{said:?}");
    let lines: Vec<&str> = said.out.lines().take(4).collect();
    let expected = [
        "orders/default at main: orders.yml: name: another value",
        "orders/default at main: .yml: the text differs from line 3 on",
        "orders/default at main: .json: the text differs from line 1 on",
        "orders/default at main: motd: the text differs from line 2 on",
    ];
    assert_eq!(lines, expected, "{}", said.out);
}

#[test]
fn labels_are_those_of_the_repository_and_a_missing_one_is_one_line() {
    let (spring, ours) = (Repository::new(SHOP), Repository::new(SHOP));
    for repository in [&spring, &ours] {
        repository.commit_on("feature/x", "//- orders.yml\nlimit: 6\n");
        repository.tag("v1", &repository.commit_on("main", "//- orders.yml\nlimit: 7\n"));
    }
    ours.commit_on("later", "//- orders.yml\nlimit: 8\n");
    let server = Server::start(&spring.uri());
    let url = format!("http://{}", server.0);
    let said = compare(ours.around(), &[&url, &ours.uri()]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(said.out, "later: Spring has none of its 4 environments; Headwater has them\n");
    assert_eq!(said.summary(), "compared 20 environments on 5 labels: 16 equal, 4 differ");
}

#[test]
fn another_default_branch_is_one_line_with_the_remedy() {
    let (spring, ours) = (Repository::new(SHOP), Repository::new(SHOP));
    for repository in [&spring, &ours] {
        repository.commit_on("release", "//- orders.yml\nlimit: 6\n");
    }
    let mut settings = settings(&spring.uri());
    settings.sources[0].default_label = Some("release".to_owned());
    let server = Server::with(settings);
    let url = format!("http://{}", server.0);
    let said = compare(ours.around(), &[&url, &ours.uri()]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let line = "the default label: Spring serves the branch release, Headwater another one, in 4 environments. Set \
                default_label = \"release\" in the [[source]] of headwater.toml (documented: The default label is the branch of \
                HEAD, docs/differences.md#the-default-label-is-the-branch-of-head)\n";
    assert_eq!(said.out, line);
    write_settings(ours.around(), &ours.uri());
    let said = compare(ours.around(), &[&url]);
    assert_eq!((said.code, &*said.out), (Some(0), ""), "{said:?}");
}

fn write_settings(place: &Path, uri: &str) {
    let text = format!("[[source]]\nuri = {uri:?}\ndefault_label = \"release\"\n");
    std::fs::write(place.join("headwater.toml"), text).unwrap();
}

#[test]
fn a_running_headwater_is_compared_for_its_default_label() {
    let (spring, ours) = (Repository::new(SHOP), Repository::new(SHOP));
    ours.commit("//- orders-prod.yml\nlimit: 51\npassword: s3cr3t\n");
    let servers = [&spring, &ours].map(|repository| Server::start(&repository.uri()));
    let [one, other] = [0, 1].map(|at: usize| format!("http://{}", servers[at].0));
    let said = compare(ours.around(), &[&one, &other, "--profiles", "prod,eu"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let line = "orders/prod,eu: orders-prod.yml: limit: another value";
    assert!(said.out.lines().any(|found| found == line), "{}", said.out);
    let labelled = compare(ours.around(), &[&one, &other, "--label", "main"]);
    assert!(labelled.out.contains("orders/prod at main: "), "{labelled:?}");
    assert_eq!(compare(ours.around(), &[&one, &one]).code, Some(0));
}

#[test]
fn an_application_outside_of_the_search_paths_is_asked_for_too() {
    let text = "//- application.yml\na: 1\n//- billing/billing.yml\nb: 1\n//- stock/application.yml\nc: 1\n";
    let (spring, ours) = (Repository::new(text), Repository::new(text));
    let mut settings = settings(&spring.uri());
    settings.sources[0].search_paths = vec!["{application}".to_owned()];
    let server = Server::with(settings);
    let url = format!("http://{}", server.0);
    let said = compare(ours.around(), &[&url, &ours.uri(), "--label", "main"]);
    let expected = "billing/default at main: billing.yml: the source is only in Spring\n\
                    stock/default at main: application.yml: the source is only in Spring\n";
    assert_eq!((said.code, &*said.out), (Some(1), expected), "{said:?}");
    let with = ["--search-path", "{application}"];
    let said =
        compare(ours.around(), &[&[&*url, &ours.uri(), "--label", "main"], &with[..]].concat());
    assert_eq!((said.code, &*said.out), (Some(0), ""), "{said:?}");
}

#[test]
fn the_branches_of_the_remote_of_a_clone_are_compared() {
    let spring = Repository::new(SHOP);
    spring.commit_on("feature/x", "//- orders.yml\nlimit: 6\n");
    let clone = spring.around().join("clone");
    git(&["clone", "-q", &spring.uri(), clone.to_str().unwrap()]);
    let server = Server::start(&spring.uri());
    let url = format!("http://{}", server.0);
    let said = compare(spring.around(), &[&url, "clone"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(said.summary(), "compared 12 environments on 3 labels: 12 equal, 0 differ");
}
