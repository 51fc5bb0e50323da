//! Files made to hurt whoever reads them: each for an application of its own, which says what is wrong
//! with the file, while all others are served.

use std::time::{Duration, Instant};

use super::{SHOP, assert_well};
use crate::fixture::{Child, Repository, eventually};

/// Stands for the text of a file, which no message may quote.
const CANARY: &str = "hunter2-77af";
/// How much processor time a bad file may take: a second, and more where the build is not optimised.
const SLOWEST: Duration = Duration::from_secs(if cfg!(debug_assertions) { 12 } else { 1 });
/// Resident memory at the end.
const RESIDENT_KIB_MAX: u64 = 400 * 1024;

/// Where it is the file as a whole that is too much.
const WHOLE_FILE: [&str; 4] =
    ["too-large.yml", "documents.yml", "splits.properties", "toml-dots.toml"];

enum Outcome {
    /// 500, with the file in the message.
    Refused,
    /// 200: it can be read after all.
    Read,
}
use Outcome::{Read, Refused};

fn laughs(prefix: &str) -> String {
    let mut text = format!("a0: {prefix}\n");
    for level in 1..20 {
        let below = format!("*b{}", level - 1);
        let list = if level == 1 { "x".to_owned() } else { vec![below; 9].join(", ") };
        text += &format!("a{level}: &b{level} [{list}]\n");
    }
    text
}

fn map_laughs() -> String {
    let mut text = "l0: &l0 {k: v}\n".to_owned();
    for level in 1..25 {
        let below = level - 1;
        text += &format!("l{level}: &l{level} {{a: *l{below}, b: *l{below}, c: *l{below}}}\n");
    }
    text
}

fn merge_laughs() -> String {
    let mut text = "l0: &l0 {k0: v}\n".to_owned();
    for level in 1..25 {
        let below = level - 1;
        text += &format!(
            "l{level}: &l{level}\n  k{level}: {{<<: [*l{below}, *l{below}]}}\n  j: *l{below}\n"
        );
    }
    text
}

/// Name of the application, extension, bytes, what becomes of it.
fn files() -> Vec<(&'static str, &'static str, Vec<u8>, Outcome)> {
    let yaml: Vec<(&str, Vec<u8>, Outcome)> = vec![
        ("laughs", laughs(CANARY).into(), Refused),
        ("map-laughs", map_laughs().into(), Refused),
        ("merge-laughs", merge_laughs().into(), Refused),
        ("dashes", "- ".repeat(50_000).into(), Refused),
        ("questions", "? ".repeat(50_000).into(), Refused),
        ("brackets", "[".repeat(200_000).into(), Refused),
        ("braces", "{a: ".repeat(100_000).into(), Refused),
        (
            "directives",
            format!("{}---\na: 1\n", "%TAG !e! tag:x:\n".repeat(50_000)).into(),
            Refused,
        ),
        (
            "shared-scalar",
            format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), vec!["*a"; 100_000].join(", "))
                .into(),
            Refused,
        ),
        ("depth-51", format!("a: {}1{}\n", "[".repeat(51), "]".repeat(51)).into(), Refused),
        (
            "many-keys",
            (0..200_000).map(|n| format!("k{n}: 1\n")).collect::<String>().into(),
            Refused,
        ),
        ("documents", "---\na: 1\n".repeat(100_000).into(), Refused),
        ("long-key", format!("? {}\n: 1\n", "k".repeat(1 << 20)).into(), Refused),
        ("too-large", format!("a: {}\n", "x".repeat(5 << 20)).into(), Refused),
        ("duplicate", format!("a: {CANARY}\na: 2\n").into(), Refused),
        ("duplicate-number", format!("1: {CANARY}\n0x1: 2\n").into(), Refused),
        ("duplicate-truth", format!("yes: {CANARY}\ntrue: 2\n").into(), Refused),
        ("recursive", "a: &a [1, *a]\n".into(), Refused),
        ("merge-cycle", "a: &a\n  <<: *a\n  b: 1\n".into(), Refused),
        ("undefined", format!("a: *{CANARY}\n").into(), Refused),
        ("java-tag", format!("a: !!javax.script.ScriptEngineManager [{CANARY}]\n").into(), Refused),
        (
            "python-tag",
            format!("a: !!python/object/apply:os.system ['{CANARY}']\n").into(),
            Refused,
        ),
        ("include-tag", format!("a: !include /etc/{CANARY}\n").into(), Refused),
        ("local-tag", format!("a: !{CANARY} x\n").into(), Refused),
        ("tab", format!("a:\n\tb: {CANARY}\n").into(), Refused),
        ("nul", format!("a: {CANARY}\0b\n").into(), Refused),
        ("control", format!("a: {CANARY}\x01\n").into(), Refused),
        ("bad-utf8", [b"a: \xff\xfe ", CANARY.as_bytes(), b"\n"].concat(), Refused),
        ("latin", [b"a: caf\xe9 ", CANARY.as_bytes(), b"\n"].concat(), Refused),
        ("surrogate", format!("a: \"\\uD800{CANARY}\"\n").into(), Refused),
        ("unfinished", format!("a: \"{CANARY}\n").into(), Refused),
        ("unfinished-flow", format!("a: [{CANARY}, \n").into(), Refused),
        ("unquoted-cipher", format!("a: {{cipher}}{CANARY}\n").into(), Refused),
        ("reserved", format!("a: @{CANARY}\n").into(), Refused),
        ("colon", format!("a: b: {CANARY}\n").into(), Refused),
        ("indent", format!("a: 1\n  b: {CANARY}\n").into(), Refused),
        ("list-index", "a[999999999]: 1\n".into(), Read),
        ("digits", format!("a: {}\n", "9".repeat(1_000_000)).into(), Read),
        ("sexagesimal", format!("a: 1{}\n", ":59".repeat(200_000)).into(), Read),
        ("infinite", "a: 1e999\nb: .nan\nc: -.inf\n".into(), Read),
        ("empty", Vec::new(), Read),
        ("only-comment", "# nothing\n".into(), Read),
        ("byte-order-mark", "\u{feff}a: 1\n".into(), Read),
        ("expression-tag", "a: '#{T(java.lang.Runtime).getRuntime()}'\n".into(), Read),
    ];
    let properties: Vec<(&str, Vec<u8>, Outcome)> = vec![
        ("bad-escape", format!("a={CANARY}\\u12G4\n").into(), Refused),
        ("short-escape", format!("a={CANARY}\\u12").into(), Refused),
        ("backslash-end", "a=b\\".into(), Read),
        ("keyless", "=x\n:y\n".into(), Read),
        ("long-line", format!("a={}\n", "x".repeat(1 << 20)).into(), Read),
        ("long-property", format!("{}=1\n", "k".repeat(1 << 20)).into(), Refused),
        ("splits", "a=1\n#---\n".repeat(100_000).into(), Refused),
        (
            "many-properties",
            (0..200_000).map(|n| format!("k{n}=1\n")).collect::<String>().into(),
            Refused,
        ),
        ("continued", "a=\\\n".repeat(100_000).into(), Read),
    ];
    let toml: Vec<(&str, Vec<u8>, Outcome)> = vec![
        (
            "toml-depth",
            format!("a = {}{}\n", "[".repeat(100_000), "]".repeat(100_000)).into(),
            Refused,
        ),
        ("toml-dots", format!("{}a = 1\n", "a.".repeat(50_000)).into(), Refused),
        ("toml-overflow", format!("a = 99999999999999999999 # {CANARY}\n").into(), Refused),
        ("toml-duplicate", format!("a = \"{CANARY}\"\na = 2\n").into(), Refused),
        ("toml-string", format!("a = \"{CANARY}\n").into(), Refused),
        ("toml-bare", format!("a = {CANARY}\n").into(), Refused),
        ("toml-utf8", [b"a = \"\xff ", CANARY.as_bytes(), b"\"\n"].concat(), Refused),
    ];
    let json: Vec<(&str, Vec<u8>, Outcome)> = vec![
        ("json-depth", format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)).into(), Refused),
        ("json-depth-objects", "{\"a\":".repeat(100_000).into(), Refused),
        ("json-duplicate", format!("{{\"a\": \"{CANARY}\", \"a\": 2}}").into(), Refused),
        ("json-comma", format!("{{\"a\": \"{CANARY}\",}}").into(), Refused),
        ("json-string", format!("{{\"a\": \"{CANARY}").into(), Refused),
        ("json-trailing", format!("{{\"a\": 1}} {CANARY}").into(), Refused),
        ("json-bare", CANARY.into(), Refused),
    ];
    let kinds = [("yml", yaml), ("properties", properties), ("toml", toml), ("json", json)];
    kinds
        .into_iter()
        .flat_map(|(kind, files)| {
            files.into_iter().map(move |(name, bytes, it)| (name, kind, bytes, it))
        })
        .collect()
}

#[test]
fn a_bad_file_harms_its_own_application_only() {
    let repository = Repository::new(SHOP);
    let files = files();
    let names: Vec<String> =
        files.iter().map(|(name, kind, ..)| format!("{name}.{kind}")).collect();
    let entries: Vec<(&str, Option<&[u8]>)> = names
        .iter()
        .zip(&files)
        .map(|(name, (_, _, bytes, _))| (name.as_str(), Some(bytes.as_slice())))
        .collect();
    repository.commit_bytes("main", &entries);
    let settings = repository.around().join("headwater.toml");
    let text = format!("[[source]]\nuri = {:?}\ntoml = true\njson = true\n", repository.uri());
    std::fs::write(&settings, text).expect("the settings");
    let settings = settings.display().to_string();
    let server = Child::serve_with(&["--config", &settings], &[("HEADWATER_LOG", "trace")]);
    for (file, (name, _, _, outcome)) in names.iter().zip(&files) {
        let before = server.processor_time();
        let reply = server.get(&format!("/{name}/default"));
        let took = server.processor_time() - before;
        assert!(took < SLOWEST, "{file} took {took:?}");
        let start: String = reply.everything().chars().take(600).collect();
        match outcome {
            Read => assert_eq!(reply.status, 200, "{file}: {start}"),
            Refused => {
                assert_eq!(reply.status, 500, "{file}: {start}");
                let message = reply.json()["message"].as_str().unwrap_or_default().to_owned();
                let place =
                    message.strip_prefix(file.as_str()).unwrap_or_else(|| panic!("{message}"));
                let line = place.strip_prefix(':').and_then(|place| place.chars().next());
                let whole_file = WHOLE_FILE.contains(&file.as_str());
                assert!(whole_file || line.is_some_and(|c| c.is_ascii_digit()), "{message}");
                assert!(message.len() < 400, "{message}");
                assert!(!start.contains(CANARY), "{file}: {start}");
                assert!(!server.get(&format!("/{name}-default.yml")).everything().contains(CANARY));
            }
        }
        let begun = Instant::now();
        server.get("/orders/dev").expect(200);
        server.get("/nobody/dev").expect(200);
        assert!(begun.elapsed() < Duration::from_secs(1), "after {file}");
    }
    assert_well(*server);
    let resident = server.resident_kib();
    assert!(resident < RESIDENT_KIB_MAX, "{resident} KiB");
    let problems = server.get("/-/problems").expect(200);
    assert!(!problems.text().contains(CANARY));
    let refused = files.iter().filter(|(_, _, _, outcome)| matches!(outcome, Refused)).count();
    assert_eq!(problems.json()["problems"].as_array().map(Vec::len), Some(refused));
    let (status, log) = server.stop();
    assert_eq!(status.code(), Some(0));
    assert!(!log.contains(CANARY), "the log quotes a file");
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn placeholders_are_resolved_within_bounds_and_nothing_is_evaluated() {
    let mut doubling = "a0: xxxxxxxxxx\n".to_owned();
    for level in 1..40 {
        let below = level - 1;
        doubling += &format!("a{level}: ${{a{below}}}${{a{below}}}\n");
    }
    let mut chain = "b0: end\n".to_owned();
    for level in 1..1_000 {
        chain += &format!("b{level}: ${{b{}}}\n", level - 1);
    }
    let nested = format!("c: {}x{}\n", "${a:".repeat(10_000), "}".repeat(10_000));
    let opened = format!("d: '{}'\n", "${".repeat(100_000));
    let fixture = format!(
        "{SHOP}//- doubling.yml\n{doubling}//- chain.yml\n{chain}//- nested.yml\n{nested}//- opened.yml\n{opened}\
         //- outside.yml\nhome: ${{env:HOME}} ${{HOME}} ${{PATH}} ${{user.home}} ${{random.uuid}}\n\
         spel: '#{{T(java.lang.Runtime).getRuntime().exec(\"id\")}}'\nshell: $(id) `id` %{{id}}\n"
    );
    let repository = Repository::new(&fixture);
    let server = Child::serve(&["--source", &repository.uri()]);
    for name in ["doubling", "chain", "nested", "opened"] {
        for extension in ["yml", "properties", "json"] {
            let before = server.processor_time();
            let reply = server.get(&format!("/{name}-dev.{extension}"));
            let took = server.processor_time() - before;
            assert!(took < SLOWEST, "{name}.{extension}: {took:?}");
            assert!(matches!(reply.status, 200 | 400), "{name}: {}", reply.status);
            assert!(reply.body.len() < 8 << 20, "{name}: {}", reply.body.len());
        }
        server.get(&format!("/{name}/dev")).expect(200);
    }
    let outside = server.get("/outside-dev.properties").expect(200).text();
    for part in
        ["${env:HOME} ${HOME} ${PATH} ${user.home} ${random.uuid}", "#{T(java", "$(id) `id`"]
    {
        // An `env:` with something after it is a default in Spring's reading.
        let part = part.replace("${env:HOME}", "HOME");
        assert!(outside.contains(&part), "{part}: {outside}");
    }
    assert!(server.resident_kib() < RESIDENT_KIB_MAX);
    assert_well(*server);
}

#[test]
fn a_bad_file_that_comes_later_is_held_back_at_once() {
    let repository = Repository::new(SHOP);
    repository.commit("//- laughs.yml\nfine: true\n");
    let server = Child::serve(&["--source", &repository.uri()]);
    let good = server.get("/laughs/default").expect(200);
    server.get("/orders/dev").expect(200);
    let text = format!("//- laughs.yml\n{}", laughs(CANARY));
    let before = server.processor_time();
    let tip = repository.commit(&text);
    eventually("the others move on", || {
        server.get("/orders/dev").header("headwater-revision") == Some(&tip)
    });
    let took = server.processor_time() - before;
    assert!(took < SLOWEST, "{took:?}");
    let held = server.get("/laughs/default").expect(200);
    assert_eq!(held.body, good.body);
    assert_eq!(held.header("headwater-held-at"), Some(tip.as_str()));
    assert!(!server.get("/-/problems").text().contains(CANARY));
    assert_well(*server);
}

#[test]
fn files_that_all_import_one_another_are_each_read_once() {
    let count = 40;
    let mut fixture = format!("{SHOP}//- all.yml\nspring.config.import: part0.yml\n");
    for part in 0..count {
        let others: Vec<String> = (0..count).map(|other| format!("part{other}.yml")).collect();
        let imports = others.join(", ");
        fixture += &format!("//- part{part}.yml\nspring.config.import: [{imports}]\nk{part}: x\n");
    }
    let repository = Repository::new(&fixture);
    let server = Child::serve(&["--source", &repository.uri()]);
    let begun = Instant::now();
    let body = server.get("/all/dev").expect(200).json();
    assert!(begun.elapsed() < SLOWEST, "{:?}", begun.elapsed());
    let sources = body["propertySources"].as_array().expect("sources");
    assert!(sources.len() >= 16, "{}", sources.len());
    assert_well(*server);
}
