//! `docs/operating.md`: metrics, log lines, limits and recipes are those of the server.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use headwater::http::route::OWN;

use super::page::{Page, root, rust_files};
use super::typed::{blocks, say, shell};
use super::{none, rows};
use crate::fixture::{Hosted, Repository, Server, directory, eventually, settings};

const PAGE: &str = "docs/operating.md";

/// Rows of the limits, each with the constants behind it in the order in which the row names their values.
const LIMITS: &[(&str, &[(&str, &str)])] = &[
    (
        "a configuration file",
        &[
            ("src/format.rs", "FILE_BYTES_MAX: usize = 4 * 1024 * 1024"),
            ("src/format/toml.rs", "TOML_BYTES_MAX: usize = 256 * 1024"),
        ],
    ),
    (
        "documents in one; flat keys; levels of YAML; of JSON",
        &[
            ("src/format.rs", "DOCUMENTS_MAX: usize = 1_000"),
            ("src/format.rs", "KEYS_MAX: usize = 100_000"),
            ("src/format/yaml/compose.rs", "DEPTH_MAX: usize = 50"),
            ("src/format/json.rs", "DEPTH_MAX: usize = 128"),
        ],
    ),
    (
        "nodes of YAML; after aliases and merges",
        &[
            ("src/format/yaml/compose.rs", "NODES_MAX: usize = 500_000"),
            ("src/format/yaml/compose.rs", "EXPANSION_MAX: u64 = 1_000_000"),
        ],
    ),
    (
        "one flat key; all keys and values of a file, flat",
        &[
            ("src/format/flat.rs", "KEY_BYTES_MAX: usize = 8 * 1024"),
            ("src/format/flat.rs", "FLAT_BYTES_MAX: usize = 32 * 1024 * 1024"),
        ],
    ),
    (
        "a file that is served as text or bytes",
        &[("src/store.rs", "SERVED_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024")],
    ),
    ("a JSON Schema", &[("src/check/schema.rs", "SCHEMA_BYTES_MAX: u64 = 256 * 1024")]),
    (
        "imports within imports; profiles that includes and groups add up to",
        &[
            ("src/resolve.rs", "IMPORT_DEPTH_MAX: usize = 16"),
            ("src/resolve/profiles.rs", "ACCEPTED_COUNT_MAX: usize = 256"),
        ],
    ),
    (
        "directories that search paths lead to; levels of `**`",
        &[
            ("src/resolve/search.rs", "DIRECTORY_COUNT_MAX: usize = 1_000"),
            ("src/resolve/search.rs", "WILDCARD_DEPTH_MAX: usize = 16"),
        ],
    ),
    (
        "placeholders within placeholders; growth of a text by them",
        &[
            ("src/placeholder.rs", "DEPTH_MAX: usize = 32"),
            ("src/placeholder.rs", "GROWTH_MAX: usize = 10"),
            ("src/placeholder.rs", "GROWTH_FREE_BYTES: usize = 64 * 1024"),
        ],
    ),
    (
        "a flat form in YAML",
        &[("src/render/yaml.rs", "OUTPUT_BYTES_MAX: usize = 64 * 1024 * 1024")],
    ),
    (
        "a directory as source",
        &[
            ("src/source/directory/survey.rs", "BYTES_MAX: u64 = 256 * 1024 * 1024"),
            ("src/source/directory/survey.rs", "FILE_COUNT_MAX: usize = 100_000"),
            ("src/source/directory/survey.rs", "DEPTH_MAX: usize = 64"),
        ],
    ),
    (
        "path; names or profiles in one",
        &[
            ("src/http/route.rs", "PATH_BYTES_MAX: usize = 8 * 1024"),
            ("src/http/route.rs", "ITEM_COUNT_MAX: usize = 64"),
        ],
    ),
    (
        "labels in a list; bytes of a label",
        &[
            ("src/source/labels.rs", "LIST_COUNT_MAX: usize = 16"),
            ("src/source/labels.rs", "NAME_BYTES_MAX: usize = 512"),
        ],
    ),
    (
        "time for the headers; for a TLS handshake",
        &[
            ("src/server.rs", "HEADERS_MAX: Duration = Duration::from_secs(5)"),
            ("src/server/listen.rs", "HANDSHAKE_MAX: Duration = Duration::from_secs(5)"),
        ],
    ),
    (
        "an idle connection; data that is not acknowledged",
        &[
            ("src/server.rs", "KEEP_ALIVE: Duration = Duration::from_secs(75)"),
            ("src/server.rs", "UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20)"),
        ],
    ),
    (
        "environments being made; requests that wait for it; how long",
        &[
            ("src/store.rs", "RESOLVING_COUNT_MAX: usize = 8"),
            ("src/store.rs", "WAITING_COUNT_MAX: u64 = 2_048"),
            ("src/store.rs", "WAIT_MAX: Duration = Duration::from_secs(10)"),
        ],
    ),
    (
        "environments kept ready; paths that these looked for",
        &[
            ("src/store.rs", "ANSWER_COUNT_MAX: usize = 20_000"),
            ("src/store.rs", "ASKED_PATH_COUNT_MAX: usize = 2_000_000"),
        ],
    ),
    ("live labels", &[("src/store/labels.rs", "LABEL_COUNT_MAX: usize = 1_000")]),
    (
        "ancestors looked at for a last good revision",
        &[("src/store/build.rs", "LAST_GOOD_DEPTH_MAX: usize = 1_000")],
    ),
    (
        "names remembered for having been asked for",
        &[("src/store.rs", "ASKED_NAME_COUNT_MAX: usize = 10_000")],
    ),
    (
        "requests under way when the server stops",
        &[("src/server.rs", "SHUTDOWN_MAX_SECONDS: u64 = 10")],
    ),
    ("watchers", &[("src/settings/watch.rs", "WATCHERS_MAX: usize = 20_000")]),
    (
        "wait of a long poll; for `Headwater-Min-Revision`",
        &[
            ("src/http/watch.rs", "WAIT_MAX: Duration = Duration::from_secs(45)"),
            ("src/http/watch.rs", "BEHIND_MAX: Duration = Duration::from_secs(5)"),
        ],
    ),
    // Three ticks of five seconds.
    (
        "pause between signs of life",
        &[
            ("src/http/watch/connection.rs", "QUIET_TICKS_MAX: u32 = 3"),
            ("src/http/watch/lists.rs", "TICK: Duration = Duration::from_secs(5)"),
        ],
    ),
    (
        "moves kept for `/-/events`; after the last listener went",
        &[
            ("src/store/moves.rs", "KEPT_COUNT_MAX: usize = 256"),
            ("src/store/moves.rs", "LINGER: Duration = Duration::from_secs(60)"),
        ],
    ),
    (
        "environments a move tells of; keys of each",
        &[
            ("src/store/moves.rs", "ENVIRONMENT_COUNT_MAX: usize = 100"),
            ("src/store/moves.rs", "KEY_COUNT_MAX: usize = 100"),
        ],
    ),
    (
        "instances; how long one is remembered; bytes of its name",
        &[
            ("src/http/instances.rs", "COUNT_MAX: usize = 20_000"),
            (
                "src/http/instances.rs",
                "FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_mins(15)",
            ),
            ("src/http/instances.rs", "NAME_BYTES_MAX: usize = 128"),
        ],
    ),
    (
        "replicas; those that are gone; how long one is listed",
        &[
            ("src/replicas/known.rs", "REPLICA_COUNT_MAX: usize = 1_000"),
            ("src/replicas/known.rs", "GONE_COUNT_MAX: usize = 100"),
            ("src/replicas/known.rs", "GONE_KEPT: Duration = Duration::from_secs(15 * 60)"),
        ],
    ),
    (
        "labels that one tells of; sources; bytes of a text",
        &[
            ("src/replicas/report.rs", "LABEL_COUNT_MAX: usize = 16"),
            ("src/replicas/report.rs", "SOURCE_COUNT_MAX: usize = 16"),
            ("src/replicas/report.rs", "TEXT_BYTES_MAX: usize = 512"),
        ],
    ),
    (
        "a lease; pause between two writes of a key",
        &[
            ("src/replicas.rs", "LEASE_SECONDS: u16 = 10"),
            ("src/replicas/speak.rs", "WRITE_SPACING: Duration = Duration::from_millis(500)"),
        ],
    ),
    ("a pack", &[("src/settings.rs", "pack_bytes_max: 256 * 1024 * 1024")]),
    (
        "a file; all files together; their number",
        &[
            ("src/check/entries.rs", "FILE_BYTES_MAX: u64 = 16 * 1024 * 1024"),
            ("src/check/entries.rs", "TOTAL_BYTES_MAX: u64 = 512 * 1024 * 1024"),
            ("src/check/entries.rs", "FILE_COUNT_MAX: usize = 100_000"),
        ],
    ),
    ("references in one push", &[("src/push/updates.rs", "UPDATE_COUNT_MAX: usize = 1_000")]),
    (
        "pushes at a time; clones and fetches; wait for a place",
        &[
            ("src/push.rs", "PUSH_COUNT_MAX: usize = 8"),
            ("src/push.rs", "FETCH_COUNT_MAX: usize = 32"),
            ("src/push/host.rs", "PERMIT_MAX: Duration = Duration::from_secs(5)"),
        ],
    ),
    (
        "wait for the push before",
        &[("src/push/verdict.rs", "TURN_MAX: Duration = Duration::from_secs(60)")],
    ),
    (
        "the next piece of a body; all of an exchange",
        &[
            ("src/http/git.rs", "IDLE_MAX: Duration = Duration::from_secs(30)"),
            ("src/push.rs", "EXCHANGE_MAX: Duration = Duration::from_secs(15 * 60)"),
        ],
    ),
    (
        "what a clone or fetch asks for",
        &[("src/http/git.rs", "FETCH_BYTES_MAX: u64 = 16 * 1024 * 1024")],
    ),
    (
        "the checks of a push; environments looked at",
        &[
            ("src/settings.rs", "check_seconds_max: 5"),
            ("src/check.rs", "ENVIRONMENT_COUNT_MAX: usize = 20_000"),
        ],
    ),
    (
        "wait at start for the `git` of a server that was killed",
        &[("src/data.rs", "AT_WORK_MAX: Duration = Duration::from_secs(30)")],
    ),
    (
        "processor time of one git process; memory that it maps",
        &[
            ("src/push/command.rs", "PROCESSOR_SECONDS_MAX: u64 = 300"),
            ("src/push/command.rs", "MEMORY_BYTES_MAX: u64 = 8 * 1024 * 1024 * 1024"),
        ],
    ),
    ("pause between looks", &[("src/server/remotes.rs", "POLL_SECONDS: u64 = 30")]),
    (
        "a fetch (the first one ten times as long); its pack",
        &[
            ("src/server/remotes.rs", "FETCH_SECONDS_MAX: u64 = 120"),
            ("src/server/remotes.rs", "FETCH_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024"),
        ],
    ),
    (
        "fetches of one remote, however often somebody asks",
        &[("src/server/remotes.rs", "SPACING: Duration = Duration::from_secs(2)")],
    ),
    (
        "a request that waits for an unknown label; fetches for that; who waits",
        &[
            ("src/source/mirror.rs", "REQUEST_WAIT_MAX: Duration = Duration::from_secs(5)"),
            ("src/source/mirror.rs", "REQUEST_FETCH_SPACING: Duration = Duration::from_secs(10)"),
            ("src/source/mirror/unknown.rs", "WAITING_COUNT_MAX: usize = 64"),
        ],
    ),
    (
        "labels remembered as unknown; how long",
        &[
            ("src/source/mirror/unknown.rs", "LABEL_COUNT_MAX: usize = 1_000"),
            ("src/source/mirror/unknown.rs", "REMEMBERED: Duration = Duration::from_secs(30)"),
        ],
    ),
    (
        "pause after a failed fetch",
        &[
            ("src/source/mirror/keeper.rs", "BACKOFF_MIN: Duration = Duration::from_secs(1)"),
            ("src/source/mirror/keeper.rs", "BACKOFF_MAX: Duration = Duration::from_secs(60)"),
        ],
    ),
    (
        "body of a webhook; time for it; read at a time",
        &[
            ("src/http/monitor.rs", "BODY_BYTES_MAX: usize = 1024 * 1024"),
            ("src/http/monitor.rs", "BODY_TIME_MAX: Duration = Duration::from_secs(5)"),
            ("src/http/monitor.rs", "READING_COUNT_MAX: usize = 32"),
        ],
    ),
    (
        "webhooks in the long run; at once after a quiet time",
        &[
            ("src/http/monitor/deliveries.rs", "COUNT_PER_SECOND: f64 = 10.0"),
            ("src/http/monitor/deliveries.rs", "BURST_COUNT: f64 = 100.0"),
        ],
    ),
    (
        "a rendered file; steps of a template",
        &[
            ("src/cli/run/template.rs", "LENGTH_MAX: usize = 16 * 1024 * 1024"),
            ("src/cli/run/template.rs", "STEP_COUNT_MAX: u64 = 10_000_000"),
        ],
    ),
    (
        "a check; a reload command",
        &[
            ("src/cli/run/prepare.rs", "CHECK_TIMEOUT: Duration = Duration::from_secs(60)"),
            ("src/cli/run/process.rs", "RELOAD_TIMEOUT: Duration = Duration::from_secs(60)"),
        ],
    ),
    (
        "one variable; all of them",
        &[
            ("src/cli/run/variables.rs", "LENGTH_MAX: usize = 128 * 1024 - 1"),
            ("src/cli/run/variables.rs", "TOTAL_LENGTH_MAX: usize = 1024 * 1024"),
        ],
    ),
    ("an answer", &[("clients/rust/src/fetch.rs", "BODY_LENGTH_MAX: usize = 16 * 1024 * 1024")]),
    (
        "requests in a minute",
        &[("clients/rust/src/watch/pace.rs", "ATTEMPT_COUNT_MAX: usize = 60")],
    ),
];

/// Limits that are no constant: there is none unless it is set.
const UNSET: [&str; 1] = ["watchers of one client address"];

/// Whoever changes a limit changes its row, and no row is without one.
#[test]
fn the_limits_are_those_of_the_code() {
    let rows = rows(PAGE, "Limits");
    let rows = rows.iter().filter(|row| !row[1].is_empty());
    let told: BTreeSet<&str> = rows.map(|row| row[0].as_str()).collect();
    let known = LIMITS.iter().map(|(what, _)| *what).chain(UNSET);
    assert_eq!(told, known.collect::<BTreeSet<_>>());
    none(LIMITS.iter().flat_map(|(what, constants)| {
        constants.iter().filter_map(move |(file, constant)| {
            let text = fs::read_to_string(root().join(file)).unwrap();
            let ends = |end| text.contains(&format!("{constant}{end}"));
            let is_there = ends(";") || ends(",");
            (!is_there).then(|| format!("{what}: {file} has no {constant}: put both right"))
        })
    }));
}

/// A metric as the page and the server tell of it: name, type, labels.
type Told = (String, String, String);

#[test]
fn the_metrics_are_those_of_a_running_server() {
    let (repository, data) = (Repository::new("//- orders.yml\na: 1\n"), directory(""));
    let mut settings = settings(&repository.uri());
    settings.sources[0].mirror = true;
    settings.data = data.path().join("data");
    let server = Server::with(settings);
    eventually("it is mirrored", || server.get("/orders/dev").status == 200);
    let mut served = BTreeSet::new();
    eventually("a fetch is over", || {
        served = exposed(&server.get("/metrics").expect(200).text());
        served.iter().any(|(name, ..)| name.contains("fetch_age"))
    });
    let told = rows(PAGE, "Metrics").into_iter();
    let told = told.map(|row| (bare(&row[0]), row[1].clone(), row[2].replace('`', "")));
    assert_eq!(told.collect::<BTreeSet<Told>>(), served);
}

#[test]
fn the_routes_that_are_counted_are_named() {
    let code = fs::read_to_string(root().join("src/http/metrics.rs")).unwrap();
    let (_, named) = code.split_once("let route = match route {").expect("the names");
    let named = named.split("};").next().unwrap().split('"').skip(1).step_by(2);
    let row = rows(PAGE, "Metrics").swap_remove(0)[3].clone();
    let told: BTreeSet<&str> = row.split('`').skip(1).step_by(2).collect();
    let told = told.into_iter().filter(|name| *name != "route");
    assert_eq!(told.collect::<BTreeSet<_>>(), named.collect());
}

/// What a server exposes.
fn exposed(text: &str) -> BTreeSet<Told> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let told = types.map(|line| {
        let (name, kind) = line.split_once(' ').expect("a name and a type");
        let name = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
        let sample = text.lines().find(|line| line.starts_with(&name)).expect("a sample");
        let labels = sample.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
        let labels = labels.map_or("", |(labels, _)| labels).split(',');
        let labels: Vec<_> = labels.map(|label| label.split('=').next().unwrap()).collect();
        (name, kind.to_owned(), labels.join(", "))
    });
    told.collect()
}

fn bare(code: &str) -> String {
    code.trim_matches('`').to_owned()
}

/// Nor is a metric named in any page that no server has.
#[test]
fn no_page_names_a_metric_that_there_is_not() {
    let known: BTreeSet<String> = rows(PAGE, "Metrics").iter().map(|row| bare(&row[0])).collect();
    none(super::pages_for_people().iter().flat_map(|page| {
        let named = page.text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let named = named.filter(|word| word.starts_with("headwater_"));
        let named = named.filter(|word| *word != "headwater_client" && !known.contains(*word));
        named.map(|word| format!("{}: {word}", page.name())).collect::<Vec<_>>()
    }));
}

#[test]
fn the_lines_of_the_log_are_those_of_the_code() {
    let code: Vec<String> = rust_files("src")
        .iter()
        .map(|path| fs::read_to_string(path).unwrap().replace("\\\n             ", ""))
        .collect();
    none(rows(PAGE, "Logs").into_iter().flat_map(|row| {
        let level = row[1].replace("warning", "warn");
        let messages = row[0].split('`').skip(1).step_by(2).map(str::to_owned);
        let messages: Vec<String> = messages.collect();
        let wrong = messages.into_iter().filter_map(|message| {
            let said = code.iter().find_map(|code| level_of(code, &message));
            (said != Some(&level)).then(|| format!("{message}: {said:?}"))
        });
        wrong.collect::<Vec<_>>()
    }));
}

/// How loud a message is said.
fn level_of<'a>(code: &'a str, message: &str) -> Option<&'a str> {
    let at = code.find(&format!("\"{message}\""))?;
    let (_, call) = code[..at].rsplit_once("tracing::")?;
    call.split('!').next()
}

#[test]
fn every_path_of_our_own_and_every_detail_of_health_is_there() {
    let page = Page::read(PAGE);
    for (path, _) in OWN {
        let shown = match path.strip_prefix("/actuator/health") {
            Some(_) => "/actuator/health",
            None => path,
        };
        assert!(page.codes.iter().any(|code| code.starts_with(shown)), "{path}");
    }
    let code = fs::read_to_string(root().join("src/http/health.rs")).unwrap();
    let shown = &blocks(PAGE, "Health", "json")[0];
    let keys = shown.split('"').skip(1).step_by(2);
    let keys = keys.filter(|text| shown.contains(&format!("\"{text}\": ")));
    let keys: BTreeSet<&str> = keys.collect();
    assert!(keys.len() > 10, "{keys:?}");
    for key in keys {
        assert!(code.contains(&format!("\"{key}\"")), "health has no {key}");
    }
}

#[test]
fn a_hosted_repository_is_backed_up_and_restored_as_the_page_says() {
    let hosted = Hosted::new("//- orders.yml\nlimit: 1\n");
    let tree = hosted.clone("work");
    let place = directory("");
    let recipes = blocks(PAGE, "Hosted repositories: backup and restore", "sh");
    let address = hosted.server.0.to_string();
    let mut steps = recipes[0].lines();
    let step = |server: &str, typed: &str| say(shell(place.path(), Some(server), typed));
    step(&address, steps.next().unwrap()).unwrap();
    tree.commit("//- orders.yml\nlimit: 2\n");
    tree.push(&["HEAD:refs/heads/main", "HEAD:refs/heads/other", "HEAD:refs/tags/v1"]).succeeds();
    let served = hosted.server.get("/orders/default").expect(200).text();
    step(&address, steps.next().unwrap()).unwrap();
    drop(hosted);

    let data = directory("");
    let empty = data.path().join("data");
    let server = serve(&empty);
    server.get("/orders/default").expect(404);
    step(&server.0.to_string(), &recipes[1]).unwrap();
    assert_eq!(server.get("/orders/default").expect(200).text(), served);
    server.get("/orders/default/other").expect(200);
    server.get("/orders/default/v1").expect(200);
    drop(server);

    // Or the directory itself, both ways.
    let again = directory("");
    let copied = again.path().join("data/hosted");
    fs::create_dir_all(&copied).unwrap();
    let copy = ["-a", "hosted/main.git"].map(str::to_owned);
    let done =
        std::process::Command::new("cp").args(copy).arg(&copied).current_dir(&empty).status();
    assert!(done.unwrap().success());
    let server = serve(&again.path().join("data"));
    assert_eq!(server.get("/orders/default").expect(200).text(), served);
}

/// A server that hosts what is there, or an empty repository.
fn serve(data: &Path) -> Server {
    let mut settings = settings("hosted:main");
    settings.data = data.to_owned();
    settings.push.hook_program = Some(env!("CARGO_BIN_EXE_headwater").into());
    Server::with(settings)
}
