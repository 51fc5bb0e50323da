//! The rule on contracts: what running builds read stays, and a contract cannot require a new key.

use std::collections::HashMap;
use std::sync::Arc;

use headwater_wire::{Contract, ContractKey, ValueType};

use super::*;

/// A build of an application: name, version, profiles, keys and open prefixes.
struct Build<'a> {
    name: &'a str,
    version: Option<&'a str>,
    profiles: &'a str,
    /// `key type`, with `!` after a required one. `<prefix>` is open.
    reads: &'a str,
    instance_count: usize,
    is_accepted: bool,
}

const PRODUCT: Build<'_> = Build {
    name: "product",
    version: Some("1.4"),
    profiles: "default",
    reads: "catalogue map!, catalogue.page-size u32!, http map, http.retries u8!, http.name text, \
            list list, list[] u16, routes list, routes[] map, routes[].path text!, on bool, <labels.>",
    instance_count: 12,
    is_accepted: true,
};

fn contract(build: &Build<'_>) -> Contract {
    let items = build.reads.split(", ");
    let (mut keys, mut open) = (Vec::new(), Vec::new());
    for item in items {
        match item.strip_prefix('<') {
            Some(prefix) => open.push(prefix.trim_end_matches('>').to_owned()),
            None => {
                let (key, kind) = item.trim().split_once(' ').unwrap();
                let required = kind.ends_with('!');
                let kind = serde_json::Value::from(kind.trim_end_matches('!'));
                let value_type: ValueType = serde_json::from_value(kind).unwrap();
                keys.push(ContractKey { key: key.to_owned(), value_type, required });
            }
        }
    }
    let version = build.version.map(str::to_owned);
    Contract::new(build.name.to_owned(), version, keys, open).unwrap()
}

fn policy(builds: &[Build<'_>]) -> CheckPolicy {
    let mut reporting = HashMap::<Arc<str>, Reporting>::new();
    for build in builds {
        let counts = reporting.entry(build.name.into()).or_default();
        counts.instance_count += build.instance_count;
        counts.reporting_count += build.instance_count;
    }
    let running = builds.iter().map(|build| RunningBuild {
        query: Query {
            application: build.name.into(),
            profiles: build.profiles.into(),
            label: Label::Default,
        },
        version: build.version.map(Into::into),
        contract: Arc::new(CompiledContract::new(&contract(build))),
        instance_count: build.instance_count,
        is_accepted: build.is_accepted,
    });
    let builds = Arc::new(RunningBuilds::new(running, reporting));
    CheckPolicy { builds, ..CheckPolicy::new(Strictness::Lenient) }
}

const BEFORE: &str = "//- product.yml
catalogue:
  pageSize: 20
http:
  retries: 3
  name: x
list: 1, 2
routes:
- path: /a
- path: /b
labels:
  a: b
";

#[track_caller]
fn check_builds(builds: &[Build<'_>], old: &str, change: &str, expected: &[&str]) {
    let report = report(layout(&[]), old, change, &[], &policy(builds));
    assert_eq!(finding_lines(&report), expected, "{:#?}", finding_lines(&report));
}

/// Checks a change of one line of [`BEFORE`].
#[track_caller]
fn check_line(from: &str, to: &str, expected: &[&str]) {
    assert!(BEFORE.contains(from));
    check_builds(&[PRODUCT], BEFORE, &BEFORE.replace(from, to), expected);
}

#[test]
fn a_value_that_no_longer_fits_is_rejected_with_its_place() {
    check_line(
        "pageSize: 20",
        "pageSize: many",
        &[
            "product.yml:2:13: catalogue.pageSize: rejected: product 1.4 (12 instances) reads it as an integer from 0 to 4294967295",
        ],
    );
    check_line(
        "retries: 3",
        "retries: 256",
        &[
            "product.yml:4:12: http.retries: rejected: product 1.4 (12 instances) reads it as an integer from 0 to 255",
        ],
    );
    check_line(
        "list: 1, 2",
        "list: 1, 70000",
        &["product.yml:6:7: list: rejected: product 1.4 (12 instances) reads it as a list"],
    );
    check_line(
        "  name: x",
        "  name:\n    first: x",
        &[
            "product.yml:6:12: http.name: rejected: product 1.4 (12 instances) reads it as a single value",
            "warning: product.yml:6:12: http.name.first: no instance of product reads it (12 of 12 report the keys that they read)",
        ],
    );
}

#[test]
fn a_required_key_stays() {
    check_line(
        "  retries: 3\n",
        "",
        &["product.yml: http.retries: removed: rejected: product 1.4 (12 instances) requires it"],
    );
    check_line(
        "- path: /b",
        "- other: /b",
        &[
            "product.yml: routes[1].path: removed: rejected: product 1.4 (12 instances) requires it",
            "warning: product.yml:9:10: routes[1].other: no instance of product reads it (12 of 12 report the keys that they read)",
        ],
    );
}

#[test]
fn changes_that_the_build_accepts_pass() {
    for (from, to) in [
        ("pageSize: 20", "page_size: \"30\""),
        ("  name: x\n", ""),
        ("  retries: 3\n  name: x\n", "  {}\n"),
        ("list: 1, 2", "list: [3, 4]"),
        ("list: 1, 2\n", ""),
        ("- path: /b\n", ""),
        ("  a: b", "  c: d"),
        ("  retries: 3", "  retries: ${RETRIES}"),
        ("  retries: 3", "  retries: ${RETRIES:none}"),
        ("pageSize: 20", "pageSize: 20\n  # a comment"),
    ] {
        let report =
            report(layout(&[]), BEFORE, &BEFORE.replace(from, to), &[], &policy(&[PRODUCT]));
        assert!(!report.has_problems(), "{to}: {:?}", report.problems);
    }
}

#[test]
fn a_contract_demands_nothing_that_does_not_exist() {
    let greedy = Build {
        reads: "missing text!, new u8!, deep map!, deep.below text!, text u8!, routes list!, routes[] map!, routes[].new text!",
        ..PRODUCT
    };
    let old = "//- product.yml\ntext: x\nroutes:\n- path: a\n";
    check_builds(
        &[greedy],
        old,
        "//- product.yml\ntext: y\nroutes:\n- path: b\n- path: c\nnew: many\n",
        &[
            "warning: product.yml:3:9: routes[0].path: no instance of product reads it (12 of 12 report the keys that they read)",
            "warning: product.yml:4:9: routes[1].path: no instance of product reads it (12 of 12 report the keys that they read)",
        ],
    );
}

#[test]
fn only_accepted_contracts_of_the_environment_count() {
    let change = BEFORE.replace("  retries: 3\n", "");
    for build in [
        Build { is_accepted: false, ..PRODUCT },
        Build { name: "order", ..PRODUCT },
        Build { profiles: "prod", is_accepted: false, ..PRODUCT },
    ] {
        check_builds(&[build], BEFORE, &change, &[]);
    }
}

#[test]
fn an_override_makes_findings_warnings() {
    let change = BEFORE.replace("pageSize: 20", "pageSize: many");
    let policy = CheckPolicy { are_contracts_overridden: true, ..policy(&[PRODUCT]) };
    let report = report(layout(&[]), BEFORE, &change, &[], &policy);
    assert_eq!((report.problems.len(), report.warnings.len()), (0, 1));
    let expected = "warning: product.yml:2:13: catalogue.pageSize: overridden: product 1.4 (12 instances) reads it as an integer from 0 to 4294967295";
    assert_eq!(finding_lines(&report), [expected]);
}

#[test]
fn a_rejection_by_contracts_alone_names_the_override() {
    let last_line = |change: &str| {
        let report = report(layout(&[]), BEFORE, change, &[], &policy(&[PRODUCT]));
        let lines = report_lines(&report, Enforcement::Refuse(TimeoutAction::Reject));
        lines.last().unwrap().clone()
    };
    let change = BEFORE.replace("pageSize: 20", "pageSize: many");
    let hint = ", or push with -o override=contract -o reason=<text>";
    assert!(last_line(&change).ends_with(hint));
    // An override does not accept the other problem.
    assert!(!last_line(&format!("{change}//- order.yml\na: [\n")).contains(hint));
}

#[test]
fn builds_that_share_a_file_share_a_finding() {
    let old = "//- application.yml\nhttp.retries: 3\n//- product.yml\na: 1\n//- order.yml\na: 1\n//- cart.yml\na: 1\n";
    let reads = "http.retries u8!, a u8";
    let builds = [
        Build { reads, ..PRODUCT },
        Build { reads, name: "order", version: Some("2.0"), instance_count: 3, ..PRODUCT },
        Build { reads: "a u8", name: "cart", version: None, instance_count: 0, ..PRODUCT },
    ];
    check_builds(
        &builds,
        old,
        "//- application.yml\nother: 3\n",
        &[
            "application.yml: http.retries: removed: rejected: order 2.0 (3 instances) and product 1.4 (12) require it",
        ],
    );
}

/// A reader of every file, and of the environments of one application.
#[derive(Debug)]
struct ReaderOf(&'static str);

impl Audience for ReaderOf {
    fn reads_environment(&self, query: &Query) -> bool {
        &*query.application == self.0
    }

    fn reads_file(&self, _path: &str) -> bool {
        true
    }
}

#[test]
fn a_finding_names_only_the_services_that_its_reader_may_read() {
    let reads = "http.retries u8!";
    let builds = [Build { reads, ..PRODUCT }, Build { reads, name: "order", ..PRODUCT }];
    let old = "//- application.yml\nhttp.retries: 3\n//- product.yml\na: 1\n//- order.yml\na: 1\n//- cart.yml\na: 1\n";
    for (reader, change, expected) in [
        (
            "product",
            "other: 3",
            "http.retries: removed: rejected: product 1.4 (12 instances) and services that you may not read require it",
        ),
        (
            "order",
            "http.retries: many",
            "http.retries: rejected: order 1.4 (12 instances) and services that you may not read read it as an integer from 0 to 255",
        ),
        (
            "cart",
            "other: 3",
            "http.retries: breaks an environment that you may not read: ask the operator which one",
        ),
    ] {
        let policy = CheckPolicy { audience: Some(Arc::new(ReaderOf(reader))), ..policy(&builds) };
        let report =
            report(layout(&[]), old, &format!("//- application.yml\n{change}\n"), &[], &policy);
        let lines = finding_lines(&report);
        assert!(lines.len() == 1 && lines[0].ends_with(expected), "{reader}: {lines:#?}");
        assert!(report.has_problems());
    }
}

#[test]
fn a_warning_about_an_unread_key_names_no_service_that_its_reader_may_not_read() {
    let builds =
        [PRODUCT, Build { name: "order", ..PRODUCT }].map(|it| Build { reads: "a u8", ..it });
    let old = "//- application.yml\na: 1\n//- product.yml\na: 1\n//- order.yml\na: 1\n";
    let warnings_for = |reader, change| {
        let policy = CheckPolicy { audience: Some(Arc::new(ReaderOf(reader))), ..policy(&builds) };
        finding_lines(&report(layout(&[]), old, change, &[], &policy)).len()
    };
    for reader in ["product", "order", "cart"] {
        assert_eq!(warnings_for(reader, "//- application.yml\na: 1\nb: 1\n"), 0, "{reader}");
    }
    assert_eq!(warnings_for("product", "//- product.yml\na: 1\nb: 1\n"), 1);
}

#[test]
fn a_value_that_a_placeholder_takes_from_another_key_is_judged() {
    let old = "//- product.yml\nhttp.retries: ${default.retries}\ndefault.retries: 3\n";
    let build = Build { reads: "http.retries u8!, default.retries any", ..PRODUCT };
    check_builds(
        &[build],
        old,
        "//- product.yml\nhttp.retries: ${default.retries}\ndefault.retries: many\n",
        &[
            "product.yml:1:15: http.retries: rejected: product 1.4 (12 instances) reads it as an integer from 0 to 255",
        ],
    );
}

#[test]
fn keys_that_no_instance_reads_are_warnings() {
    let warning = "no instance of product reads it (12 of 12 report the keys that they read)";
    let change = BEFORE.replace("http:\n", "opens: 8\nlabels.new: 1\nspring.x: 1\nhttp:\n");
    let report = report(layout(&[]), BEFORE, &change, &[], &policy(&[PRODUCT]));
    assert_eq!(finding_lines(&report), [format!("warning: product.yml:3:8: opens: {warning}")]);

    // A key of a shared file is unread only if every application reports.
    let old = "//- application.yml\na: 1\n//- product.yml\na: 1\n//- order.yml\na: 1\n";
    let change = "//- application.yml\na: 1\nb: 1\n";
    let of = |name, reads| Build { reads, name, version: None, instance_count: 2, ..PRODUCT };
    check_builds(&[of("product", "a u8")], old, change, &[]);
    check_builds(&[of("product", "a u8"), of("order", "b u8")], old, change, &[]);
    check_builds(
        &[of("product", "a u8"), of("order", "a u8")],
        old,
        change,
        &[
            "warning: application.yml:2:4: b: no instance of order and product reads it (4 of 4 report the keys that they read)",
        ],
    );
}

#[test]
fn an_environment_that_needs_a_whole_comparison_is_judged() {
    let change = format!("{}//- product.schema.json\n{{}}\n", BEFORE.replace("  retries: 3\n", ""));
    check_builds(
        &[PRODUCT],
        BEFORE,
        &change,
        &["product.yml: http.retries: removed: rejected: product 1.4 (12 instances) requires it"],
    );
}
