//! `headwater get` shows the place of each value, from a source and from a server alike.

use super::type_in;
use crate::fixture::{Repository, Server, directory, settings};

const SHOP: &str = "\
//- application.yml
shared: everywhere
---
spring.config.activate.on-profile: dev
late: true
//- orders.yml
name: Orders
port: 8080
//- orders-dev.yml
port: 8081
";

const EXPECTED: &str = "\
late                              application.yml:4:7      true
name                              orders.yml:1:7           Orders
port                              orders-dev.yml:1:7       8081
shared                            application.yml:1:9      everywhere
spring.config.activate.on-profile  application.yml:3:36     dev
";

/// The columns of a table.
fn rows(table: &str) -> Vec<Vec<&str>> {
    table
        .lines()
        .map(|line| line.split("  ").map(str::trim).filter(|it| !it.is_empty()).collect())
        .collect()
}

#[test]
fn each_value_has_its_place() {
    let repository = Repository::new(SHOP);
    let server = Server::start(&repository.uri());
    let (uri, url) = (repository.uri(), format!("http://{}", server.0));
    for from in [["--source", &uri], ["--url", &url]] {
        let arguments = [&["get", "orders", "dev"][..], &from].concat();
        let said = type_in(repository.around(), &arguments);
        assert_eq!(said.code, Some(0), "{}", said.err);
        assert_eq!(rows(&said.out), rows(EXPECTED), "{from:?}: {}", said.out);
    }
}

#[test]
fn places_are_those_of_explain() {
    let repository = Repository::new(SHOP);
    let uri = repository.uri();
    let place = repository.around();
    let shown = type_in(place, &["get", "orders", "dev", "--source", &uri]).out;
    let explained = type_in(place, &["explain", "port", "orders", "dev", "--source", &uri]).out;
    let row =
        |text: &str| rows(text).into_iter().find(|row| row[0] == "port").map(|row| row.join(" "));
    assert!(row(&shown).is_some());
    assert_eq!(row(&shown), row(&explained));
}

/// Overrides are in no file, and a label with a slash has another spelling in a path.
#[test]
fn overrides_and_labels_have_their_places() {
    let repository = Repository::new(SHOP);
    repository.commit_on("feature/x", "//- orders.yml\nport: 1\n");
    let mut settings = settings(&repository.uri());
    settings.overrides = vec![("above".to_owned(), "all".to_owned())];
    let server = Server::with(settings);
    let url = format!("http://{}", server.0);
    let arguments = ["get", "orders", "--label", "feature/x", "--url", &url];
    let said = type_in(repository.around(), &arguments);
    let expected = [
        ["above", "overrides", "all"],
        ["port", "orders.yml:1:7", "1"],
        ["shared", "application.yml:1:9", "everywhere"],
    ];
    assert_eq!(rows(&said.out), expected);
}

#[test]
fn a_request_without_a_match_says_what_to_do() {
    let place = directory(
        "//- shop/orders.yml\na: 1\n//- shop/orders-dev.yml\nb: 1\n//- shop/cart-dev.yml\nc: 1\n",
    );
    let source = place.path().join("shop").display().to_string();
    let server = Server::start(&source);
    let url = format!("http://{}", server.0);
    for from in [["--source", &source], ["--url", &url]] {
        let get = |words: &[&str]| {
            let said = type_in(place.path(), &[&["get"], words, &from].concat());
            assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{}", said.err);
            said.err
        };
        let misspelt = get(&["ordres", "dev"]);
        assert_eq!(
            misspelt,
            "headwater: no property source for ordres/dev. Known applications: cart-dev, orders\n"
        );
    }
}
