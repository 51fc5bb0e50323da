//! `docs/threat-model.md` against the tests: every threat has a number of its own and a test that exists.

use std::collections::BTreeSet;
use std::process::Command;

use super::all_rows;

const PAGE: &str = "docs/threat-model.md";

#[test]
fn every_threat_has_a_test() {
    let program = std::env::current_exe().unwrap();
    let listed = Command::new(program).args(["--list", "--format", "terse"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let known: BTreeSet<&str> =
        listed.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    let mut numbers = BTreeSet::new();
    for row in all_rows(PAGE).into_iter().filter(|row| row.len() == 4) {
        assert!(numbers.insert(row[0].clone()), "{} is there twice", row[0]);
        let test = row[3].trim_matches('`');
        assert!(known.contains(test), "{}: there is no test {test}", row[0]);
    }
    assert!(numbers.len() >= 50, "{}", numbers.len());
    let vulnerabilities = known.iter().filter(|test| test.starts_with("attack::cve::"));
    for test in vulnerabilities {
        let number = test.trim_start_matches("attack::cve::cve_").replace('_', "-");
        assert!(numbers.contains(&number), "the page does not list CVE-{number}");
    }
}
