//! `docs/spring-settings.md` lists every property of the original and no other. The comparison of `docs/moving.md` is run,
//! also with the original itself.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::none;
use super::page::{Page, root};
use super::typed::{blocks, say, shell};
use crate::fixture::{ORIGINAL, Original, Repository, Server, installed};

/// The page that is typed.
const PAGE: &str = "docs/moving.md";
/// The page that lists the properties of the original.
const SETTINGS: &str = "docs/spring-settings.md";
/// What Maven brought together for the oracle.
const LIBRARIES: &str = "tests/oracle/target/lib";
const METADATA: &str = "META-INF/spring-configuration-metadata.json";
const SERVER: &str = "spring.cloud.config.server.";
const CLIENT: &str = "spring.cloud.config.";

/// Gives a member of a jar, or whether any of its classes holds a text.
const IN_A_JAR: &str = "import sys, zipfile
jar = zipfile.ZipFile(sys.argv[1])
if len(sys.argv) == 3:
    sys.stdout.buffer.write(jar.read(sys.argv[2]))
else:
    classes = (jar.read(name) for name in jar.namelist() if name.endswith('.class'))
    sys.exit(not any(sys.argv[3].encode() in code for code in classes))
";

/// A jar of the original.
fn jar(name: &str) -> PathBuf {
    let libraries = fs::read_dir(root().join(LIBRARIES)).unwrap();
    let paths = libraries.map(|entry| entry.unwrap().path());
    let mut found = paths.filter(|path| {
        let file = path.file_name().unwrap().to_str().unwrap();
        file.strip_prefix(name).is_some_and(|rest| rest.starts_with("-4."))
    });
    found.next().unwrap_or_else(|| panic!("{LIBRARIES} has no {name} 4"))
}

/// The properties that a jar says it has, with whether what is below one may be named at will.
fn properties(name: &str) -> Vec<(String, bool)> {
    let read = Command::new("python3").args(["-c", IN_A_JAR]).arg(jar(name)).arg(METADATA).output();
    let metadata: Value = serde_json::from_slice(&read.expect("python3").stdout).unwrap();
    let properties = metadata["properties"].as_array().expect("properties");
    let properties = properties.iter().map(|property| {
        let kind = property["type"].as_str().unwrap_or_default();
        (property["name"].as_str().unwrap().to_owned(), kind.starts_with("java.util.Map"))
    });
    properties.collect()
}

/// Whether the code asks for a property that its list does not have.
fn is_asked_for(property: &str) -> bool {
    let server = jar("spring-cloud-config-server");
    let searched =
        Command::new("python3").args(["-c", IN_A_JAR]).arg(server).args(["-", property]).status();
    searched.expect("python3").success()
}

/// The names in the first column of the tables whose head says what they are below.
fn named(prefix: &str) -> BTreeSet<String> {
    let text = Page::read(SETTINGS).text;
    let head = format!("| below `{}`", prefix.trim_end_matches('.'));
    let mut names = BTreeSet::new();
    for table in text.split("\n\n").filter(|table| table.trim_start().starts_with(&head)) {
        assert!(table.trim_start()[head.len()..].starts_with(" |"), "{table}");
        for row in table.trim().lines().skip(2) {
            let cell = row.split('|').nth(1).unwrap();
            // Behind the names, how a value looks.
            let names_only = cell.split(" (").next().unwrap().split(" with ").next().unwrap();
            let codes = names_only.split('`').skip(1).step_by(2);
            names.extend(codes.map(|name| format!("{prefix}{name}")));
        }
    }
    assert!(!names.is_empty(), "no table for {prefix}");
    names
}

#[test]
fn every_property_of_the_original_is_there_and_no_other() {
    if !installed(&[LIBRARIES]) {
        return;
    }
    let server = properties("spring-cloud-config-server");
    let (client, context) =
        (properties("spring-cloud-config-client"), properties("spring-cloud-context"));
    assert!(server.len() > 100 && client.len() > 20, "{} {}", server.len(), client.len());

    let of_server: BTreeSet<String> =
        ["", "git.", "native."].iter().flat_map(|part| named(&format!("{SERVER}{part}"))).collect();
    let begins = |prefix: &'static str| move |(name, _): &&(String, bool)| name.starts_with(prefix);
    compare(&server.iter().filter(begins(SERVER)).collect::<Vec<_>>(), &of_server);
    let both = client.iter().chain(&context);
    compare(&both.filter(begins(CLIENT)).collect::<Vec<_>>(), &named(CLIENT));
    compare(&context.iter().filter(begins("encrypt.")).collect::<Vec<_>>(), &named("encrypt."));
}

/// Each of the original's is on the page, itself or under a wildcard; each of the page's is the original's.
#[track_caller]
fn compare(theirs: &[&(String, bool)], ours: &BTreeSet<String>) {
    let covers = |ours: &str, theirs: &str| match ours.strip_suffix('*') {
        Some(begin) => theirs.starts_with(begin),
        // What stands below a map.
        None => ours == theirs || ours.starts_with(&format!("{theirs}.<")),
    };
    let missing = theirs.iter().filter(|(name, _)| !ours.iter().any(|ours| covers(ours, name)));
    none(missing.map(|(name, _)| format!("{SETTINGS} lacks {name}")));
    none(ours.iter().filter_map(|name| {
        let listed = theirs.iter().find(|(theirs, _)| covers(name, theirs));
        let is_map = |(theirs, is_map): &&(String, bool)| *is_map || theirs == name;
        let is_listed = listed.is_some_and(|found| name.ends_with('*') || is_map(found));
        let is_there = is_listed || is_asked_for(name.trim_end_matches(".*"));
        (!is_there).then(|| format!("{SETTINGS} has {name}, which the original has not"))
    }));
}

const COMPARING: &str = "Compare both servers";
const SHOP: &str = "//- application.yml\nshared: 1\nlist: [a, b]\n//- application-prod.properties\nshared=2\n\
                    //- orders.yml\nlimit: 5\nnames: {en: Orders}\n//- orders-prod.yml\nlimit: 50\n";

/// Types the comparison of the page beside a repository.
fn compared(repository: &Repository, spring: &str) -> Result<String, String> {
    let typed = &blocks(PAGE, COMPARING, "sh")[0];
    let typed = typed.replace("127.0.0.1:8889", spring);
    say(shell(repository.around(), None, &typed))
}

#[test]
fn two_servers_are_compared_by_what_services_see() {
    let [result, difference] = &blocks(PAGE, COMPARING, "text")[..] else { panic!("two texts") };
    let (spring, ours) = (Repository::new(SHOP), Repository::new(SHOP));
    let server = Server::start(&spring.uri());
    let address = server.0.to_string();
    assert_eq!(compared(&ours, &address).as_ref(), Ok(result));
    ours.commit("//- orders-prod.yml\nlimit: 51\n");
    let said = compared(&ours, &address).expect_err("a difference");
    assert!(said.lines().any(|line| line == difference.trim()), "{said}");
}

#[test]
fn the_original_and_headwater_give_the_same() {
    if !installed(&ORIGINAL) {
        return;
    }
    let repository = Repository::new(SHOP);
    let clone = repository.around().join("clone");
    let cloned =
        Command::new("git").args(["clone", "--quiet", &repository.uri()]).arg(&clone).status();
    assert!(cloned.expect("git").success());
    let mut original = Original::start();
    let url = original.serve_clone(&clone);
    let result = blocks(PAGE, COMPARING, "text").remove(0);
    assert_eq!(compared(&repository, url.trim_start_matches("http://")), Ok(result));
}
