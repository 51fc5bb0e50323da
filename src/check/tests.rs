//! What checks find, what they let through, and that they never say a value.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::snapshot::{Layout, Style};
use crate::source::Source;
use crate::source::memory::MemorySource;

/// Stands in every fixture where a secret could, and in no report.
const CANARY: &str = "s3cr3t";

fn layout(search_paths: &[&str]) -> Arc<Layout> {
    Arc::new(Layout {
        base: "memory:".into(),
        style: Style::Git,
        search_paths: search_paths.iter().map(|path| (*path).to_owned()).collect(),
        patterns: Vec::new(),
        json: true,
    })
}

/// A fixture's files: `//- path` begins one; one without any text is deleted.
fn files(fixture: &str) -> Vec<(String, Option<String>)> {
    let parts = fixture.split("//- ").filter(|part| !part.trim().is_empty());
    parts
        .map(|part| {
            let (path, text) = part.split_once('\n').unwrap_or((part, ""));
            (path.trim().to_owned(), (!text.is_empty()).then(|| text.to_owned()))
        })
        .collect()
}

fn commit(source: &MemorySource, fixture: &str) -> Snapshot {
    let files = files(fixture);
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_deref())).collect();
    source.commit("main", &files);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(source.load(&Label::Default, None)).unwrap()
}

/// What is said of a change, with the canary looked for in all that a report holds.
#[track_caller]
fn report(layout: Arc<Layout>, old: &str, change: &str, in_use: &[InUse], terms: &Terms) -> Report {
    let source = MemorySource::new(layout);
    let before = (!old.is_empty()).then(|| commit(&source, old));
    let after = commit(&source, change);
    let report = check(&after, before.as_ref(), in_use, terms).unwrap();
    let all = format!("{report:?}{:?}", words(&report, Manner::Warn));
    assert!(!all.contains(CANARY), "{all}");
    report
}

#[track_caller]
fn check_change(old: &str, change: &str, expected: &[&str]) {
    let report = report(layout(&[]), old, change, &[], &Terms::new(Strictness::Lenient));
    let lines = words(&report, Manner::Tell);
    assert_eq!(lines, expected, "{lines:#?}");
}

#[track_caller]
fn check_strict(old: &str, change: &str, expected: &[&str]) {
    let report = report(layout(&[]), old, change, &[], &Terms::new(Strictness::Strict));
    let lines = findings(&report);
    assert_eq!(lines, expected, "{lines:#?}");
}

/// What the rules say of a whole revision.
#[track_caller]
fn check_alone(files: &str, expected: &[&str]) {
    let report = report(layout(&[]), "", files, &[], &Terms::new(Strictness::Lenient));
    let lines = findings(&report);
    assert_eq!(lines, expected, "{lines:#?}");
}

/// What a schema says of one file of the application.
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
fn a_good_change_is_told_by_environment_and_key() {
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
fn a_file_that_does_not_parse_is_told_once_with_its_place() {
    check_change(
        SHOP,
        "//- orders.yml\nport: [s3cr3t\n",
        &["orders.yml:1:7: brackets do not match", "checked 1 file, 2 environments: 1 problem"],
    );
}

#[test]
fn what_was_wrong_before_is_not_held_against_a_change() {
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
    // Further down in the same file it is still the same.
    check_change(
        broken,
        "//- orders.yml\n# A line more.\nport: [s3cr3t\n",
        &["changes no environment", "checked 1 file, 1 environment: no problem"],
    );
}

#[test]
fn a_shared_file_concerns_everyone_and_a_shared_profile_those_who_have_it() {
    let report =
        |change| report(layout(&[]), SHOP, change, &[], &Terms::new(Strictness::Lenient)).changes;
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
fn search_paths_say_whose_a_file_is() {
    let files = "//- team/orders/application.yml\na: 1\n//- team/orders/orders-prod.yml\nb: 1\n\
                 //- team/billing/billing.yml\na: 1\n//- docs/example.yml\na: 1\n";
    let check = |change| {
        let terms = Terms::new(Strictness::Lenient);
        let report = report(layout(&["*/{application}"]), files, change, &[], &terms);
        words(&report, Manner::Refuse).join("; ")
    };
    assert_eq!(
        check("//- team/orders/application.yml\na: 2\n"),
        "changes 2 environments:;   orders/default  changed a;   orders/prod     changed a; \
         checked 1 file, 2 environments: no problem"
    );
    // Nobody looks into docs, and nobody imports what is there.
    assert_eq!(
        check("//- docs/example.yml\na: [s3cr3t\n"),
        "changes no environment; checked 0 files, 0 environments: no problem"
    );
}

#[test]
fn a_file_that_is_imported_from_elsewhere_counts() {
    let files = "//- orders.yml\nspring.config.import: docs/more.yml\n//- docs/more.yml\na: 1\n";
    check_change(
        files,
        "//- docs/more.yml\na: [s3cr3t\n",
        &["docs/more.yml:1:4: brackets do not match", "checked 0 files, 1 environment: 1 problem"],
    );
}

#[test]
fn what_is_in_use_comes_first_with_its_watchers_and_in_the_time_there_is() {
    let in_use = [("billing", "default", 12), ("orders", "qa,prod", 1), ("nobody", "default", 0)]
        .map(|(application, profiles, watcher_count)| InUse {
            query: Query {
                application: application.into(),
                profiles: profiles.into(),
                label: Label::Named("main".into()),
            },
            watcher_count,
        });
    let change = "//- application.yml\nlog: debug\n";
    let mut terms = Terms::new(Strictness::Lenient);
    terms.environment_count_max = 3;
    let limited = report(layout(&[]), SHOP, change, &in_use, &terms);
    assert_eq!(
        words(&limited, Manner::Refuse),
        [
            "changes 3 environments:",
            "  billing/default  12 watchers  changed log",
            "  orders/qa,prod   1 watcher    changed log",
            "  nobody/default                changed log",
            "checked 1 file, 3 environments: no problem",
        ]
    );
    terms.environment_count_max = 20_000;
    terms.until = Some(Instant::now() + Duration::from_secs(60));
    assert_eq!(report(layout(&[]), SHOP, change, &in_use, &terms).environment_count, 8);
    terms.until = Some(Instant::now());
    let late = report(layout(&[]), SHOP, change, &in_use, &terms);
    assert_eq!((late.environment_count, late.known_count), (0, 3));
    assert_eq!(
        words(&late, Manner::Refuse),
        ["checked 0 of 1 file, 0 of 3 environments: no problem"]
    );
}

#[test]
fn placeholders_without_anything_to_stand_for_warn_and_in_strict_refuse() {
    let files = "//- orders.yml\nhost: ${db.host}\nport: ${PORT:80}\ndb.host: x\n";
    let change = "//- orders.yml\nhost: ${db.host}\nport: ${PORT:80}\ndb.host: x\n\n\
                  url: s3cr3t-${S3CR3T_HOST}\n";
    let said =
        "orders.yml:5:6: url: holds a ${…} that nothing here resolves and that has no default";
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
    // What was there is no news, wherever it stands now.
    let more = "//- orders.yml\n# A comment.\n\nurl: s3cr3t-${S3CR3T_HOST}\n";
    check_strict("//- orders.yml\nurl: s3cr3t-${S3CR3T_HOST}\n", more, &[]);
    // A property that another one stood for is taken away.
    check_strict(
        files,
        "//- orders.yml\nhost: ${db.host}\n",
        &["orders.yml:1:7: host: holds a ${…} that nothing here resolves and that has no default"],
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
fn what_is_missing_is_told_at_the_schema() {
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
fn text_counts_as_the_type_that_spring_would_read_it_as() {
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
    // A number in YAML is text to whom wants text.
    check_schema(r#"{"properties": {"version": {"type": "string"}}}"#, "yml\nversion: 1.10\n", &[]);
    let either = r#"{"properties": {"a": {"anyOf": [{"type": "integer", "maximum": 5}, {"type": "boolean"}]}}}"#;
    check_schema(either, "properties\na=4\n", &[]);
    check_schema(either, "properties\na=off\n", &[]);
    check_schema(
        either,
        "properties\na=s3cr3t\n",
        &[
            "app.properties:1:3: a: must be as one of the alternatives of the schema (app.schema.json/properties/a/anyOf)",
        ],
    );
}

#[test]
fn a_value_that_is_not_known_yet_keeps_every_schema() {
    let unknown = "yml\nserver:\n  port: ${PORT}\n  name: ${NAME}\n  mode: '{cipher}s3cr3t'\n";
    let warning = |place, key| {
        format!(
            "warning: app.yml:{place}: {key}: holds a ${{…}} that nothing here resolves and that has no default"
        )
    };
    check_schema(
        SCHEMA,
        unknown,
        &[&warning("2:9", "server.port"), &warning("3:9", "server.name")],
    );
    // A default is a value.
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
            "app.yml:1:14: server.port: holds a ${…} that nothing here resolves and that has no default",
            "app.yml:1:14: server.port: must be of type integer (app.schema.json/properties/server/properties/port/type)",
        ],
    );
}

#[test]
fn a_schema_that_is_none_is_told_with_its_place() {
    let app = "yml\na: 1\n";
    check_schema(
        "{\n  \"type\": \"s3cret\"\n}",
        app,
        &[
            "app.schema.json:2:11: not a valid schema: must be as one of the alternatives of the schema",
        ],
    );
    check_schema("{\n  \"type\": \n}", app, &["app.schema.json:3:1: not valid json"]);
    check_schema(
        "{\"properties\": {\n  \"a\": {\"$ref\": \"https://example.org/a.json\"}}}",
        app,
        &[
            "app.schema.json:2:17: not a valid schema: a $ref has to stay in its file, as #/… does; nothing is fetched",
        ],
    );
    check_schema(
        "{\"title\": \"x\", \"properties\": {\n\"a\": {\"$ref\": \"#/$defs/none\"}}}",
        app,
        &["app.schema.json:2:15: not a valid schema: a reference leads nowhere"],
    );
    check_schema(
        "{\"title\": \"x\",\n\"$schema\": \"https://example.org/own\"}",
        app,
        &["app.schema.json:2:12: not a valid schema: a reference leads nowhere"],
    );
    check_schema(
        "{\"pattern\": \"(?=a)\"}",
        app,
        &["app.schema.json:1:13: not a valid schema: must be a valid regex"],
    );
}

#[test]
fn a_schema_that_never_ends_or_explodes_is_refused_at_once() {
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
    // Not the fault of the next one.
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
fn what_all_share_need_not_be_whole_by_itself() {
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
fn words_are_bounded_and_cannot_steer_a_terminal() {
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
    let report = report(layout(&[]), SHOP, &files, &[], &Terms::new(Strictness::Lenient));
    assert_eq!(report.problems.len(), 30);
    let lines = words(&report, Manner::Warn);
    assert_eq!(lines[20], "and 10 more problems");
    assert_eq!(
        lines.last().unwrap(),
        "would have been refused: accepted because push.checks = warn"
    );
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config {
        cases: 200,
        failure_persistence: None,
        ..Default::default()
    })]

    /// Whatever is written, and wherever it is wrong: `report` looks for the canary in all that is said.
    #[test]
    fn a_report_never_says_a_value(
        values in proptest::collection::vec("[0-9a-z:{}$\\[\\]\"',#&*!|>%@ -]{0,12}", 5),
        quote in "[\"']?",
        strict in proptest::bool::ANY,
        is_first in proptest::bool::ANY,
    ) {
        let value = |at: usize| format!("{quote}s3cr3t{}s3cr3t{quote}", values[at]);
        let files = format!(
            "//- app.schema.json\n{SCHEMA}\n//- app.yml\nserver:\n  port: {}\n  name: {}\n  hosts: [{}]\n\
             //- app-prod.properties\nserver.mode={}\nserver.other={}\nserver.hosts[x]=s3cr3t\n",
            // In a list a colon would make it a key, and keys are said.
            value(0), value(1), value(2).replace(':', ";"), value(3), value(4),
        );
        let strictness = if strict { Strictness::Strict } else { Strictness::Lenient };
        let old = if is_first { "" } else { "//- app.yml\nserver.port: 8080\n" };
        let _ = report(layout(&[]), old, &files, &[], &Terms::new(strictness));
    }
}
