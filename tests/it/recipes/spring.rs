//! The Spring Boot application of `docs/services.md`, which `tests/clients/spring-reload` holds and
//! `scripts/install-test-deps.sh` builds.

use std::fs;

use super::bed::{Program, START_MAX, Shop, within};
use super::page::blocks;
use crate::documentation::root;
use crate::fixture::{Address, eventually, installed};

const PROJECT: &str = "tests/clients/spring-reload";
const PARTS: [&str; 2] = [
    "tests/clients/spring-reload/target/classes/shop/Product.class",
    "tests/clients/spring-reload/target/lib",
];

#[test]
fn the_page_shows_the_application_that_is_run() {
    let read = |path: &str| fs::read_to_string(root().join(PROJECT).join(path)).unwrap();
    let shown = |language: &str| blocks("Spring Boot", language).swap_remove(0);
    assert_eq!(shown("java"), read("src/main/java/shop/Product.java"));
    assert_eq!(shown("properties"), read("src/main/resources/application.properties"));
    let without_blanks = |text: String| text.split_whitespace().collect::<String>();
    assert!(without_blanks(read("pom.xml")).contains(&without_blanks(shown("xml"))));
}

#[test]
fn spring_boot_lives_with_changes() {
    if !installed(&PARTS) {
        return;
    }
    let mut shop = Shop::new();
    let application = start(&shop);
    shop.hang_up_once();
    shop.serve();
    let address = address(&application);
    let says = |text: &str| address.get("/discount").expect(200).text() == text;
    assert!(says("10 % off"));

    // What comes before somebody watches is not missed.
    shop.push("//- product-prod.yml\ncatalogue.discount-percent: 15\n");
    let watch = watch(&shop, address);
    eventually("the change of before", || says("15 % off"));
    shop.push("//- product-prod.yml\ncatalogue.discount-percent: 25\n");
    eventually("the change", || says("25 % off"));
    let told = watch.out().lines().count();
    shop.push("//- cart.yml\nof: others\n");
    shop.push("//- product-prod.yml\ncatalogue.discount-percent: 30\n");
    eventually("the next change", || says("30 % off"));
    let new: Vec<_> = watch.out().lines().skip(told).map(str::to_owned).collect();
    assert_eq!(new.len(), 2, "{new:?}");
    assert_eq!(new[1], "  ~ catalogue.discount-percent");

    shop.kill();
    eventually("nobody is found", || watch.err().contains("not connected"));
    assert!(says("30 % off"));
    shop.serve();
    shop.push("//- product-prod.yml\ncatalogue.discount-percent: 35\n");
    eventually("the change after the outage", || says("35 % off"));
    let java = fs::read_to_string(format!("/proc/{}/comm", application.id())).unwrap();
    assert_eq!(java, "java\n", "it is the process of the beginning");
}

fn start(shop: &Shop) -> Program {
    let target = root().join(PROJECT).join("target");
    let java = "exec java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp \"$CLASSES\" shop.Product";
    let mut command = shop.shell(&target, java);
    command.env("CLASSES", format!("{0}/classes:{0}/lib/*", target.display()));
    command.env("SERVER_PORT", "0");
    Program::spawn(command)
}

/// Where it listens, as soon as it says so.
fn address(application: &Program) -> Address {
    let port = || {
        let out = application.out();
        let (_, rest) = out.split_once("Tomcat started on port ")?;
        rest.split(' ').next()?.parse::<u16>().ok()
    };
    within(START_MAX, "the application starts", || port().is_some());
    Address(([127, 0, 0, 1], port().unwrap()).into())
}

/// What the page says runs beside it.
fn watch(shop: &Shop, application: Address) -> Program {
    let command = blocks("Spring Boot", "sh").swap_remove(0);
    let command = command.replace("localhost:8081", &application.0.to_string());
    Program::spawn(shop.shell(root(), &command))
}
