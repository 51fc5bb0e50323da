//! Tests of checks: findings, accepted changes, and reports without values.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::snapshot::{Layout, Style};
use crate::source::Source;
use crate::source::memory::MemorySource;

/// The default enforcement of a server.
const REFUSE: Enforcement = Enforcement::Refuse(TimeoutAction::Reject);

/// A secret in the fixtures, which no report may contain.
const CANARY: &str = "s3cr3t";

pub(super) fn layout(search_paths: &[&str]) -> Arc<Layout> {
    Arc::new(Layout {
        base: "memory:".into(),
        style: Style::Git,
        search_paths: search_paths.iter().map(|path| (*path).to_owned()).collect(),
        patterns: Vec::new(),
        toml: true,
        json: true,
    })
}

/// The files of a fixture. `//- path` begins a file. A file without text is deleted.
fn files(fixture: &str) -> Vec<(String, Option<String>)> {
    let parts = fixture.split("//- ").filter(|part| !part.trim().is_empty());
    parts
        .map(|part| {
            let (path, text) = part.split_once('\n').unwrap_or((part, ""));
            (path.trim().to_owned(), (!text.is_empty()).then(|| text.to_owned()))
        })
        .collect()
}

pub(super) fn commit(source: &MemorySource, fixture: &str) -> Snapshot {
    let files = files(fixture);
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_deref())).collect();
    commit_files(source, &files)
}

fn commit_files(source: &MemorySource, files: &[(&str, Option<&str>)]) -> Snapshot {
    source.commit("main", files);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(source.load(&Label::Default, None)).unwrap()
}

/// Checks a change and asserts that the report does not contain the canary.
#[track_caller]
fn report(
    layout: Arc<Layout>,
    old: &str,
    change: &str,
    in_use: &[EnvironmentInUse],
    terms: &CheckPolicy,
) -> CheckReport {
    let source = MemorySource::new(layout);
    let before = (!old.is_empty()).then(|| commit(&source, old));
    let after = commit(&source, change);
    let report = check(&after, before.as_ref(), in_use, terms).unwrap();
    let all = format!("{report:?}{:?}", report_lines(&report, Enforcement::Warn));
    assert!(!all.contains(CANARY), "{all}");
    report
}

#[track_caller]
fn check_change(old: &str, change: &str, expected: &[&str]) {
    let report = report(layout(&[]), old, change, &[], &CheckPolicy::new(Strictness::Lenient));
    let lines = report_lines(&report, Enforcement::Tell);
    assert_eq!(lines, expected, "{lines:#?}");
}

#[track_caller]
fn check_strict(old: &str, change: &str, expected: &[&str]) {
    let report = report(layout(&[]), old, change, &[], &CheckPolicy::new(Strictness::Strict));
    let lines = finding_lines(&report);
    assert_eq!(lines, expected, "{lines:#?}");
}

/// Compares the findings for a whole revision.
#[track_caller]
fn check_alone(files: &str, expected: &[&str]) {
    let report = report(layout(&[]), "", files, &[], &CheckPolicy::new(Strictness::Lenient));
    let lines = finding_lines(&report);
    assert_eq!(lines, expected, "{lines:#?}");
}

/// Compares the findings of a schema for one file of the application.
#[track_caller]
fn check_schema(schema: &str, file: &str, expected: &[&str]) {
    check_alone(&format!("//- app.schema.json\n{schema}\n//- app.{file}"), expected);
}

const SHOP: &str = "\
//- application.yml
log: info
//- orders.yml
port: 1
//- orders-prod.yml
port: 2
//- billing.yml
port: 3
";

#[test]
fn a_good_change_is_reported_by_environment_and_key() {
    check_change(
        SHOP,
        "//- orders-prod.yml\nport: s3cr3t\nnew: s3cr3t\n",
        &[
            "changes 1 environment:",
            "  orders/prod  changed port; added new",
            "checked 1 file, 1 environment: no problem",
        ],
    );
    check_change(
        SHOP,
        "//- orders.yml\nport: 1\nadded: 1\n",
        &[
            "changes 2 environments:",
            "  orders/default  added added",
            "  orders/prod     added added",
            "checked 1 file, 2 environments: no problem",
        ],
    );
}

#[test]
fn a_comment_and_a_file_that_is_no_configuration_change_nothing() {
    check_change(
        SHOP,
        "//- orders.yml\n# s3cr3t\nport: 1\n",
        &["changes no environment", "checked 1 file, 2 environments: no problem"],
    );
    check_change(
        SHOP,
        "//- notes.txt\ns3cr3t\n",
        &["changes no environment", "checked 0 files, 0 environments: no problem"],
    );
}

#[test]
fn a_file_that_does_not_parse_is_reported_once_with_its_place() {
    check_change(
        SHOP,
        "//- orders.yml\nport: [s3cr3t\n",
        &["orders.yml:1:7: brackets do not match", "checked 1 file, 2 environments: 1 problem"],
    );
}

#[test]
fn problems_of_the_old_revision_are_not_reported() {
    let broken = "//- orders.yml\nport: [s3cr3t\n//- other.yml\na: 1\n";
    check_change(
        broken,
        "//- other.yml\na: 2\n",
        &[
            "changes 1 environment:",
            "  other/default  changed a",
            "checked 1 file, 1 environment: no problem",
        ],
    );
    // A known problem that moved within its file stays known.
    check_change(
        broken,
        "//- orders.yml\n# A line more.\nport: [s3cr3t\n",
        &["changes no environment", "checked 1 file, 1 environment: no problem"],
    );
}

#[test]
fn a_shared_file_affects_all_environments_and_a_shared_profile_those_with_it() {
    let report = |change| {
        report(layout(&[]), SHOP, change, &[], &CheckPolicy::new(Strictness::Lenient)).changes
    };
    let names = |change| {
        let changes = report(change);
        let names = changes
            .iter()
            .map(|change| format!("{}/{}", change.query.application, change.query.profiles));
        names.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        names("//- application.yml\nlog: debug\n"),
        "application/default application/prod billing/default billing/prod orders/default orders/prod"
    );
    assert_eq!(
        names("//- application-prod.yml\nlog: debug\n"),
        "application/prod billing/prod orders/prod"
    );
}

#[test]
fn search_paths_decide_which_application_a_file_affects() {
    let files = "//- team/orders/application.yml\na: 1\n//- team/orders/orders-prod.yml\nb: 1\n\
                 //- team/billing/billing.yml\na: 1\n//- docs/example.yml\na: 1\n";
    let check = |change| {
        let terms = CheckPolicy::new(Strictness::Lenient);
        let report = report(layout(&["*/{application}"]), files, change, &[], &terms);
        report_lines(&report, REFUSE).join("; ")
    };
    assert_eq!(
        check("//- team/orders/application.yml\na: 2\n"),
        "changes 2 environments:;   orders/default  changed a;   orders/prod     changed a; \
         checked 1 file, 2 environments: no problem"
    );
    // No search path leads to docs, and no file imports from it.
    assert_eq!(
        check("//- docs/example.yml\na: [s3cr3t\n"),
        "changes no environment; checked 0 files, 0 environments: no problem"
    );
}

#[test]
fn an_imported_file_outside_the_search_paths_is_checked() {
    let files = "//- orders.yml\nspring.config.import: docs/more.yml\n//- docs/more.yml\na: 1\n";
    check_change(
        files,
        "//- docs/more.yml\na: [s3cr3t\n",
        &["docs/more.yml:1:4: brackets do not match", "checked 0 files, 1 environment: 1 problem"],
    );
}

#[test]
fn importers_of_a_changed_file_are_checked() {
    let files = "//- orders.yml\nSPRING.CONFIG.IMPORT: optional:parts/first.yml\n\
                 //- parts/first.yml\nspring: {config: {import: '../deep/second.yml'}}\n\
                 //- deep/second.yml\nport: 1\n\
                 //- billing.yml\nspring.config.import: 'optional:vault:'\n\
                 //- orders.schema.json\n{\"properties\": {\"port\": {\"maximum\": 1}}}\n";
    check_change(
        files,
        "//- deep/second.yml\nport: 2\n",
        &[
            "deep/second.yml:1:7: port: must be at most 1 (orders.schema.json/properties/port/maximum)",
            "checked 0 files, 1 environment: 1 problem",
        ],
    );
    check_change(
        files,
        "//- other/third.yml\nport: 2\n",
        &["changes no environment", "checked 0 files, 0 environments: no problem"],
    );
}

#[test]
fn the_files_of_a_profile_affect_environments_that_add_it() {
    let files = "//- application.yml\nspring.profiles.group.prod: metrics\n\
                 //- orders-prod.yml\na: 1\n//- orders.yml\na: 1\n//- application-metrics.yml\nb: 1\n";
    let terms = CheckPolicy::new(Strictness::Lenient);
    let report = report(layout(&[]), files, "//- application-metrics.yml\nb: 2\n", &[], &terms);
    let names: Vec<String> = report
        .changes
        .iter()
        .map(|change| format!("{}/{}", change.query.application, change.query.profiles))
        .collect();
    assert_eq!(names, ["application/metrics", "application/prod", "orders/metrics", "orders/prod"]);
}

#[test]
fn environments_in_use_come_first_with_their_watchers() {
    let in_use = [("billing", "default", 12), ("orders", "qa,prod", 1), ("nobody", "default", 0)]
        .map(|(application, profiles, watcher_count)| EnvironmentInUse {
            query: Query {
                application: application.into(),
                profiles: profiles.into(),
                label: Label::Named("main".into()),
            },
            watcher_count,
        });
    let change = "//- application.yml\nlog: debug\n";
    let mut terms = CheckPolicy::new(Strictness::Lenient);
    terms.until = Some(Instant::now() + Duration::from_secs(60));
    let all = report(layout(&[]), SHOP, change, &in_use, &terms);
    assert_eq!(
        report_lines(&all, REFUSE)[..4],
        [
            "changes 8 environments:",
            "  billing/default      12 watchers  changed log",
            "  orders/qa,prod       1 watcher    changed log",
            "  nobody/default                    changed log",
        ]
    );
    assert!(!REFUSE.rejects(&all));
}

#[test]
fn a_check_that_runs_out_of_time_rejects_the_change_and_names_what_it_left_out() {
    let change = "//- application.yml\nlog: debug\n//- orders.yml\nport: 9\n";
    let mut terms = CheckPolicy::new(Strictness::Lenient);
    terms.until = Some(Instant::now());
    let late = report(layout(&[]), SHOP, change, &[], &terms);
    let checked = "checked 0 of 2 files, 0 of 6 environments: no problem";
    let left_out = "time ran out (push.check_seconds_max) before 2 files and 6 environments could be checked: \
                    application.yml, orders.yml, application/default, …";
    assert_eq!(report_lines(&late, Enforcement::Tell), [checked, left_out]);
    let said = report_lines(&late, REFUSE);
    assert_eq!(said[..2], [checked, left_out]);
    assert!(said[2].starts_with("push rejected, no branch was updated. Push again"), "{said:?}");
    assert!(REFUSE.rejects(&late));
    let accept = Enforcement::Refuse(TimeoutAction::Accept);
    let said = report_lines(&late, accept);
    assert!(said[2].starts_with("accepted although it was not checked completely"), "{said:?}");
    assert!(!accept.rejects(&late) && !Enforcement::Warn.rejects(&late));
    // A problem found before the deadline rejects the change under every setting.
    let broken = CheckReport {
        problems: vec![Problem {
            origin: Origin { file: "orders.yml".into(), position: None },
            key: None,
            message: "is wrong".to_owned(),
        }],
        ..late
    };
    assert!(accept.rejects(&broken));
    assert!(report_lines(&broken, accept).last().unwrap().contains("Fix the problems above"));
}

#[test]
fn all_of_many_service_directories_are_checked() {
    const COUNT: usize = 2_000;
    let source = MemorySource::new(layout(&["services/{application}"]));
    let mut files = "//- application.yml\nlimit: 1\n".to_owned();
    for number in 0..COUNT {
        files += &format!("//- services/s{number}/s{number}.yml\nport: {number}\n");
    }
    let last = COUNT - 1;
    files += &format!("//- services/s{last}/s{last}.schema.json\n");
    files += "{\"properties\": {\"limit\": {\"maximum\": 1}}}\n";
    let old = commit(&source, &files);
    let new = commit(&source, "//- application.yml\nlimit: 2\n");
    let report = check(&new, Some(&old), &[], &CheckPolicy::new(Strictness::Lenient)).unwrap();
    let schema = format!("services/s{last}/s{last}.schema.json");
    assert_eq!(
        report_lines(&report, Enforcement::Tell),
        [
            format!(
                "application.yml:1:8: limit: must be at most 1 ({schema}/properties/limit/maximum)"
            ),
            "checked 1 file, 2,001 environments: 1 problem".to_owned(),
        ]
    );
}

#[test]
fn a_violation_more_than_before_is_found_however_many_there_are() {
    let lines: String = (0..50).map(|number| format!("k{number:02}: text\n")).collect();
    let files = format!(
        "//- app.schema.json\n{{\"additionalProperties\": {{\"type\": \"integer\"}}}}\n//- app.yml\n{lines}"
    );
    check_strict(
        &files,
        &format!("//- app.yml\n{lines}last: text\n"),
        &[
            "app.yml:51:7: last: must be of type integer (app.schema.json/additionalProperties/type)",
        ],
    );
}

#[test]
fn unresolved_placeholders_are_warnings_and_in_strict_mode_problems() {
    let files = "//- orders.yml\nhost: ${db.host}\nport: ${PORT:80}\ndb.host: x\n";
    let change = "//- orders.yml\nhost: ${db.host}\nport: ${PORT:80}\ndb.host: x\n\n\
                  url: s3cr3t-${S3CR3T_HOST}\n";
    let said = "orders.yml:5:6: url: contains a ${…} without a value in this environment and without a default";
    check_change(
        files,
        change,
        &[
            &format!("warning: {said}"),
            "changes 1 environment:",
            "  orders/default  added url",
            "checked 1 file, 1 environment: no problem, 1 warning",
        ],
    );
    check_strict(files, change, &[said]);
    // A known placeholder that moved is not reported.
    let more = "//- orders.yml\n# A comment.\n\nurl: s3cr3t-${S3CR3T_HOST}\n";
    check_strict("//- orders.yml\nurl: s3cr3t-${S3CR3T_HOST}\n", more, &[]);
    // The removed property was the value of a placeholder.
    check_strict(
        files,
        "//- orders.yml\nhost: ${db.host}\n",
        &[
            "orders.yml:1:7: host: contains a ${…} without a value in this environment and without a default",
        ],
    );
}

const SCHEMA: &str = r#"{
  "type": "object",
  "required": ["server"],
  "properties": {
    "server": {
      "type": "object",
      "properties": {
        "port": {"type": "integer", "minimum": 1024},
        "name": {"type": "string", "pattern": "^[a-z]+$"},
        "mode": {"enum": ["fast", "safe", 3]},
        "tls": {"type": "boolean"},
        "hosts": {"type": "array", "items": {"type": "string", "minLength": 2}, "maxItems": 2}
      },
      "required": ["port"],
      "additionalProperties": false
    }
  }
}"#;

#[test]
fn a_violation_names_key_place_and_keyword_and_never_the_value() {
    check_schema(
        SCHEMA,
        "yml\nserver:\n  port: s3cr3t\n  name: S3cr3t-s3cr3t\n  mode: s3cr3t\n  tls: s3cr3t\n  hosts: [s3cr3t, s3cr3t, a]\n  more: s3cr3t\n",
        &[
            "app.yml:2:9: server.port: must be of type integer (app.schema.json/properties/server/properties/port/type)",
            "app.yml:3:9: server.name: must match ^[a-z]+$ (app.schema.json/properties/server/properties/name/pattern)",
            "app.yml:4:9: server.mode: must be one of \"fast\", \"safe\", 3 (app.schema.json/properties/server/properties/mode/enum)",
            "app.yml:5:8: server.tls: must be of type boolean (app.schema.json/properties/server/properties/tls/type)",
            "app.yml:6:11: server.hosts: must have at most 2 items (app.schema.json/properties/server/properties/hosts/maxItems)",
            "app.yml:6:27: server.hosts[2]: must have at least 2 characters (app.schema.json/properties/server/properties/hosts/items/minLength)",
            "app.yml:7:9: server.more: is not in the schema (app.schema.json/properties/server/additionalProperties)",
        ],
    );
    check_schema(
        SCHEMA,
        "yml\nserver.port: 80\n",
        &[
            "app.yml:1:14: server.port: must be at least 1024 (app.schema.json/properties/server/properties/port/minimum)",
        ],
    );
}

#[test]
fn a_missing_key_is_reported_at_the_schema() {
    check_schema(
        SCHEMA,
        "yml\na: s3cr3t\n",
        &["app.schema.json:3:16: server: is missing in app/default (app.schema.json/required)"],
    );
    check_schema(
        SCHEMA,
        "yml\nserver:\n  tls: true\n",
        &[
            "app.schema.json:14:20: server.port: is missing in app/default (app.schema.json/properties/server/required)",
        ],
    );
}

#[test]
fn text_has_the_type_to_which_spring_would_convert_it() {
    check_schema(
        SCHEMA,
        "properties\nserver.port=8080\nserver.mode=3\nserver.tls=yes\nserver.hosts=ab, cd\nserver.name=x\n",
        &[],
    );
    check_schema(
        SCHEMA,
        "yml\nserver:\n  port: '0x1F90'\n  mode: safe\n  hosts:\n  tls: false\n",
        &[],
    );
    check_schema(
        SCHEMA,
        "properties\nserver.port=80\nserver.hosts=s3cr3t,s\n",
        &[
            "app.properties:1:13: server.port: must be at least 1024 (app.schema.json/properties/server/properties/port/minimum)",
            "app.properties:2:14: server.hosts[1]: must have at least 2 characters (app.schema.json/properties/server/properties/hosts/items/minLength)",
        ],
    );
    // A number in YAML is converted to text if the schema expects text.
    check_schema(r#"{"properties": {"version": {"type": "string"}}}"#, "yml\nversion: 1.10\n", &[]);
    let either = r#"{"properties": {"a": {"anyOf": [{"type": "integer", "maximum": 5}, {"type": "boolean"}]}}}"#;
    check_schema(either, "properties\na=4\n", &[]);
    check_schema(either, "properties\na=off\n", &[]);
    check_schema(
        either,
        "properties\na=s3cr3t\n",
        &[
            "app.properties:1:3: a: must match one of the alternatives in the schema (app.schema.json/properties/a/anyOf)",
        ],
    );
}

#[test]
fn an_unknown_value_satisfies_every_schema() {
    let unknown = "yml\nserver:\n  port: ${PORT}\n  name: ${NAME}\n  mode: '{cipher}s3cr3t'\n";
    let warning = |place, key| {
        format!(
            "warning: app.yml:{place}: {key}: contains a ${{…}} without a value in this environment and without a default"
        )
    };
    check_schema(
        SCHEMA,
        unknown,
        &[&warning("2:9", "server.port"), &warning("3:9", "server.name")],
    );
    // The default of a placeholder is a value.
    check_schema(
        SCHEMA,
        "yml\nserver:\n  port: ${PORT:80}\n",
        &[
            "app.yml:2:9: server.port: must be at least 1024 (app.schema.json/properties/server/properties/port/minimum)",
        ],
    );
    let files = format!("//- app.schema.json\n{SCHEMA}\n//- app.yml\nserver.port: 8080\n");
    check_strict(
        &files,
        "//- app.yml\nserver.port: ${PORT}\n",
        &[
            "app.yml:1:14: server.port: contains a ${…} without a value in this environment and without a default",
            "app.yml:1:14: server.port: must be of type integer (app.schema.json/properties/server/properties/port/type)",
        ],
    );
}

#[test]
fn an_invalid_schema_is_reported_with_its_place() {
    let app = "yml\na: 1\n";
    check_schema(
        "{\n  \"type\": \"s3cret\"\n}",
        app,
        &[
            "app.schema.json:2:11: not a valid schema: must match one of the alternatives in the schema",
        ],
    );
    check_schema("{\n  \"type\": \n}", app, &["app.schema.json:3:1: not valid json"]);
    check_schema(
        "{\"properties\": {\n  \"a\": {\"$ref\": \"https://example.org/a.json\"}}}",
        app,
        &[
            "app.schema.json:2:17: not a valid schema: a $ref has to begin with #/ because no other file is read",
        ],
    );
    check_schema(
        "{\"title\": \"x\", \"properties\": {\n\"a\": {\"$ref\": \"#/$defs/none\"}}}",
        app,
        &["app.schema.json:2:15: not a valid schema: a reference has no target"],
    );
    check_schema(
        "{\"title\": \"x\",\n\"$schema\": \"https://example.org/own\"}",
        app,
        &["app.schema.json:2:12: not a valid schema: a reference has no target"],
    );
    check_schema(
        "{\"pattern\": \"(?=a)\"}",
        app,
        &["app.schema.json:1:13: not a valid schema: must be a valid regex"],
    );
}

#[test]
fn a_schema_without_an_end_is_rejected_at_once() {
    let app = "yml\na: {a: {a: {a: {a: {a: 1}}}}}\n";
    let too_long =
        |place| format!("app.schema.json:{place}: takes too long to apply to app/default");
    let begun = Instant::now();
    check_schema("{\"$ref\": \"#\"}", app, &[&too_long("1:10")]);
    check_schema("{\"allOf\": [{\"$ref\": \"#\"}]}", app, &[&too_long("1:21")]);
    let mut doubling = "{\"$ref\": \"#/$defs/0\", \"$defs\": {".to_owned();
    for level in 0..40 {
        let next = format!("{{\"$ref\": \"#/$defs/{}\"}}", level + 1);
        doubling.push_str(&format!("\"{level}\": {{\"allOf\": [{next}, {next}]}}, "));
    }
    doubling.push_str("\"40\": true}}");
    check_schema(&doubling, app, &[&too_long("1:10")]);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn a_recursive_schema_of_a_tree_is_fine() {
    check_schema(
        r##"{"properties": {"a": {"$ref": "#"}}, "additionalProperties": false}"##,
        "yml\na: {a: {a: {b: s3cr3t}}}\n",
        &["app.yml:1:16: a.a.a.b: is not in the schema (app.schema.json/additionalProperties)"],
    );
}

#[test]
fn a_schema_alone_can_refuse_and_application_holds_for_all() {
    let files = "//- orders.yml\nport: s3cr3t\n//- billing.yml\nport: 1\n";
    check_change(
        files,
        "//- orders.schema.json\n{\"properties\": {\"port\": {\"type\": \"integer\"}}}\n",
        &[
            "orders.yml:1:7: port: must be of type integer (orders.schema.json/properties/port/type)",
            "checked 0 files, 1 environment: 1 problem",
        ],
    );
    check_change(
        files,
        "//- application.schema.json\n{\"properties\": {\"port\": {\"type\": \"integer\"}}}\n",
        &[
            "orders.yml:1:7: port: must be of type integer (application.schema.json/properties/port/type)",
            "checked 0 files, 3 environments: 1 problem",
        ],
    );
    // The next change is not rejected for it.
    check_change(
        "//- orders.yml\nport: s3cr3t\n//- orders.schema.json\n{\"properties\": {\"port\": {\"type\": \"integer\"}}}\n",
        "//- orders.yml\n# More.\nport: s3cr3t\nhost: x\n",
        &[
            "changes 1 environment:",
            "  orders/default  added host",
            "checked 1 file, 1 environment: no problem",
        ],
    );
}

#[test]
fn shared_files_need_not_satisfy_the_rules_alone() {
    let files = "//- application.schema.json\n{\"required\": [\"name\"]}\n\
                 //- application.yml\nmail: help@${name}\n//- orders.yml\nname: s3cr3t\n";
    check_alone(files, &[]);
    check_alone(
        "//- application.schema.json\n{\"required\": [\"name\"]}\n//- application.yml\na: 1\n",
        &[
            "application.schema.json:1:15: name: is missing in application/default (application.schema.json/required)",
        ],
    );
}

#[test]
fn a_schema_is_never_configuration() {
    let source = MemorySource::new(layout(&[]));
    let files = "//- app.json\n{\"a\": 1}\n//- app.schema.json\n{\"title\": \"x\"}\n";
    let snapshot = commit(&source, files);
    let member = &snapshot.members[0];
    for application in ["app", "app.schema"] {
        let query = Query {
            application: application.into(),
            profiles: "schema".into(),
            label: Label::Default,
        };
        let sources = resolve::resolve(member, &member.tree, &query).unwrap().outcome.unwrap();
        let names: Vec<_> = sources.iter().map(|source| source.name.to_string()).collect();
        assert!(!names.iter().any(|name| name.contains("schema")), "{names:?}");
    }
    assert!(!catalog::catalog(&snapshot).unwrap().applications.contains("app.schema"));
}

#[test]
fn a_file_for_a_profile_in_the_directory_of_an_application_makes_both_known() {
    let source = MemorySource::new(layout(&["{application}"]));
    let files =
        "//- cart/cart-prod.yml\na: 1\n//- my-app-dev.yml\na: 1\n//- cart-admin.yml\na: 1\n";
    let catalog = catalog::catalog(&commit(&source, files)).unwrap();
    let applications: Vec<&str> = catalog.applications.iter().map(String::as_str).collect();
    assert_eq!(applications, ["cart", "cart-admin", "my-app-dev"]);
    assert_eq!(catalog.profiles.iter().map(String::as_str).collect::<Vec<_>>(), ["prod"]);
}

#[test]
fn ignored_toml_files_are_warnings_if_they_could_be_configuration() {
    let layout = |toml| Arc::new(Layout { toml, ..(*layout(&[])).clone() });
    let warned = |toml, old: &str, change: &str| {
        let policy = CheckPolicy::new(Strictness::Lenient);
        let warnings = report(layout(toml), old, change, &[], &policy).warnings;
        warnings.iter().map(|warning| warning.origin.to_string()).collect::<Vec<_>>().join(" ")
    };
    let change =
        "//- application.toml\na = 1\n//- orders-prod.toml\na = 1\n//- pyproject.toml\na = 1\n";
    assert_eq!(warned(true, SHOP, change), "");
    assert_eq!(warned(false, SHOP, change), "application.toml orders-prod.toml");
    assert_eq!(warned(false, "", "//- orders.toml\na = 1\n"), "orders.toml");
    assert_eq!(warned(false, SHOP, "//- docs/orders.toml\na = 1\n"), "");
}

#[test]
fn report_lines_are_bounded_and_escaped() {
    let keys: String = (0..30).map(|key| format!("key{key:02}: 1\n")).collect();
    check_change(
        "//- orders.yml\na: 1\n",
        &format!("//- orders.yml\na: 2\n\"\\e[31mred\": 1\n{keys}"),
        &[
            "changes 1 environment:",
            "  orders/default  changed a; added \\u{1b}[31mred, key00, key01, key02, key03 and 26 more",
            "checked 1 file, 1 environment: no problem",
        ],
    );
    let files: String = (0..30).map(|file| format!("//- a{file:02}.yml\na: [s3cr3t\n")).collect();
    let report = report(layout(&[]), SHOP, &files, &[], &CheckPolicy::new(Strictness::Lenient));
    assert_eq!(report.problems.len(), 30);
    let lines = report_lines(&report, Enforcement::Warn);
    assert_eq!(lines[20], "and 10 more problems");
    assert_eq!(lines.last().unwrap(), "accepted in spite of that, because push.checks = warn");
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config {
        cases: 200,
        failure_persistence: None,
        ..Default::default()
    })]

    /// `report` asserts that the canary is absent.
    #[test]
    fn a_report_never_contains_a_value(
        values in proptest::collection::vec("[0-9a-z:{}$\\[\\]\"',#&*!|>%@ -]{0,12}", 5),
        quote in "[\"']?",
        strict in proptest::bool::ANY,
        is_first in proptest::bool::ANY,
    ) {
        let value = |at: usize| format!("{quote}s3cr3t{}s3cr3t{quote}", values[at]);
        let files = format!(
            "//- app.schema.json\n{SCHEMA}\n//- app.yml\nserver:\n  port: {}\n  name: {}\n  hosts: [{}]\n\
             //- app-prod.properties\nserver.mode={}\nserver.other={}\nserver.hosts[x]=s3cr3t\n",
            // In a list, a colon would make the text a key, and reports contain keys.
            value(0), value(1), value(2).replace(':', ";"), value(3), value(4),
        );
        let strictness = if strict { Strictness::Strict } else { Strictness::Lenient };
        let old = if is_first { "" } else { "//- app.yml\nserver.port: 8080\n" };
        let _ = report(layout(&[]), old, &files, &[], &CheckPolicy::new(strictness));
    }
}

/// Files of other kinds that public repositories contain.
const BESIDE: &str = "\
//- pom.xml
<project><properties><a>1</a></properties></project>
//- logback.xml
<configuration/>
//- logback-prod.xml
<configuration/>
//- hazelcast.xml
<?xml version=\"1.0\"?><!-- c --><hazelcast xmlns=\"urn:h\"/>
//- empty.xml

//- template.toml
name = {{ name }}
//- template.json
{\"a\": {{ a }} }
";

#[test]
fn files_of_another_kind_are_no_problem() {
    check_alone(&format!("{SHOP}{BESIDE}"), &[]);
    let nothing = "checked 7 files, 0 environments: no problem";
    check_change(SHOP, BESIDE, &["changes no environment", nothing]);
    // They make no application of files that begin with their names either.
    let more = "//- logback-spring.yml\na: 1\n";
    let change = [
        "changes 1 environment:",
        "  logback-spring/default  added a",
        "checked 1 file, 1 environment: no problem",
    ];
    check_change(&format!("{SHOP}{BESIDE}"), more, &change);
}

#[test]
fn a_file_of_another_kind_that_an_environment_loads_is_a_problem() {
    let reason = "root element is not <properties>: the file is not configuration";
    check_alone(&format!("{SHOP}//- orders.xml\n<beans/>\n"), &[&format!("orders.xml: {reason}")]);
    let problem = format!("orders-prod.xml: {reason}");
    let outcome = "checked 1 file, 1 environment: 1 problem";
    check_change(SHOP, "//- orders-prod.xml\n<beans/>\n", &[&problem, outcome]);
    let all = report(
        layout(&[]),
        SHOP,
        "//- application.xml\n<application/>\n",
        &[],
        &CheckPolicy::new(Strictness::Lenient),
    );
    assert_eq!(finding_lines(&all), [format!("application.xml: {reason}")]);
    // A file that stops being configuration is a problem too.
    let was = format!("{SHOP}//- cart.xml\n<properties><entry key=\"a\">1</entry></properties>\n");
    let problem = format!("cart.xml: {reason}");
    let outcome = "checked 1 file, 1 environment: 1 problem";
    check_change(&was, "//- cart.xml\n<cart/>\n", &[&problem, outcome]);
}

#[test]
fn a_toml_file_is_checked_only_if_the_source_reads_toml() {
    let broken = "//- orders.toml\na = [\n";
    check_alone(&format!("{SHOP}{broken}"), &["orders.toml:1:6: not valid toml"]);
    let plain = Layout { toml: false, ..(*layout(&[])).clone() };
    let terms = CheckPolicy::new(Strictness::Lenient);
    let report = report(Arc::new(plain), "", &format!("{SHOP}{broken}"), &[], &terms);
    assert_eq!(finding_lines(&report), [format!("warning: orders.toml: {IGNORED_TOML}")]);
}

#[test]
fn an_import_of_a_missing_file_is_a_warning() {
    let said = "orders.yml:2:23: spring.config.import: the location names no file of the repository, so the import is \
                ignored: correct it, or mark it `optional:`";
    check_change(
        "//- orders.yml\na: 1\n",
        "//- orders.yml\na: 1\nspring.config.import: gone.yml\n",
        &[
            &format!("warning: {said}"),
            "changes 1 environment:",
            "  orders/default  added spring.config.import",
            "checked 1 file, 1 environment: no problem, 1 warning",
        ],
    );
}

/// A change of a file in an imported folder affects the importers of the folder.
#[test]
fn an_environment_in_use_is_checked_through_an_imported_folder() {
    let in_use = [EnvironmentInUse {
        query: Query {
            application: "orders".into(),
            profiles: "default".into(),
            label: Label::Default,
        },
        watcher_count: 1,
    }];
    let files = "//- orders.yml\nspring.config.import: parts/*/\n//- parts/a/orders.yml\na: 1\n";
    let terms = CheckPolicy::new(Strictness::Lenient);
    let report = report(layout(&[]), files, "//- parts/b/application.yml\nb: [\n", &in_use, &terms);
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    assert_eq!(&*report.problems[0].origin.file, "parts/b/application.yml");
}

mod contracts;
mod scratch;
