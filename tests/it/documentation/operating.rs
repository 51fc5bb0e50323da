//! `docs/monitoring.md`, `docs/limits.md`, `docs/paths.md` and `docs/operating.md`: metrics, log lines, limits, paths and
//! recipes are those of the server.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use headwater::faults::FaultKind;
use headwater::http::route::SERVER_ROUTES;

use super::page::{Page, root, rust_files};
use super::typed::{blocks, say, shell};
use super::{all_rows, none, rows};
use crate::fixture::{Hosted, Repository, Server, directory, eventually, settings};
use crate::secrets::stand_in::StandIn;

const MONITORING: &str = "docs/monitoring.md";
const LIMITS_PAGE: &str = "docs/limits.md";
const PATHS: &str = "docs/paths.md";
const OPERATING: &str = "docs/operating.md";

/// Rows of the limits, each with the constants behind it.
const LIMITS: &[(&str, &[(&str, &str)])] = &[
    ("a configuration file", &[("src/format.rs", "FILE_BYTES_MAX: usize = 4 * 1024 * 1024")]),
    ("a TOML file", &[("src/format/toml.rs", "TOML_BYTES_MAX: usize = 256 * 1024")]),
    ("documents in one file", &[("src/format.rs", "DOCUMENTS_MAX: usize = 1_000")]),
    ("flat keys of one file", &[("src/format.rs", "KEYS_MAX: usize = 100_000")]),
    ("levels of YAML", &[("src/format/yaml/compose.rs", "DEPTH_MAX: usize = 50")]),
    ("levels of JSON", &[("src/format/json.rs", "DEPTH_MAX: usize = 128")]),
    ("nodes of YAML", &[("src/format/yaml/compose.rs", "NODES_MAX: usize = 500_000")]),
    (
        "nodes of YAML after aliases and merges",
        &[("src/format/yaml/limits.rs", "EXPANSION_MAX: u64 = 1_000_000")],
    ),
    ("one flat key", &[("src/format/flat_builder.rs", "KEY_BYTES_MAX: usize = 8 * 1024")]),
    (
        "all flat keys and values of one file",
        &[("src/format/flat_builder.rs", "FLAT_BYTES_MAX: usize = 32 * 1024 * 1024")],
    ),
    (
        "a file that is served as text or bytes",
        &[("src/store/served_file.rs", "SERVED_FILE_BYTES_MAX: usize = 16 * 1024 * 1024")],
    ),
    ("a JSON Schema", &[("src/check/schema.rs", "SCHEMA_BYTES_MAX: u64 = 256 * 1024")]),
    (
        "a contract",
        &[
            ("clients/wire/src/contract.rs", "CONTRACT_BYTES_MAX: usize = 64 * 1024"),
            ("clients/wire/src/contract.rs", "CONTRACT_KEYS_MAX: usize = 4_096"),
        ],
    ),
    (
        "contracts of one application",
        &[("src/fleet/contracts.rs", "APPLICATION_COUNT_MAX: usize = 16")],
    ),
    (
        "contracts of all applications",
        &[
            ("src/fleet/contracts.rs", "COUNT_MAX: usize = 2_000"),
            ("src/fleet/contracts.rs", "BYTES_MAX: usize = 16 * 1024 * 1024"),
        ],
    ),
    (
        "environments in which one contract counts",
        &[("src/fleet/contracts.rs", "ENVIRONMENT_COUNT_MAX: usize = 64")],
    ),
    (
        "hours for which a contract counts after its last instance",
        &[("src/settings/described/tables.rs", "PrintedValue::Default(\"24\")")],
    ),
    (
        "unread keys of one push that are warnings",
        &[("src/check/contracts/unread.rs", "KEY_COUNT_MAX: usize = 20")],
    ),
    ("nested imports", &[("src/resolve.rs", "IMPORT_DEPTH_MAX: usize = 100")]),
    (
        "profiles that includes and groups add up to",
        &[("src/resolve/profiles.rs", "ACCEPTED_COUNT_MAX: usize = 4_096")],
    ),
    (
        "conditions that wait for each other",
        &[("src/resolve/visible_properties.rs", "CONDITION_COUNT_MAX: usize = 100")],
    ),
    ("nested placeholders", &[("src/placeholder.rs", "DEPTH_MAX: usize = 32")]),
    ("growth of a text by placeholders", &[("src/placeholder.rs", "GROWTH_MAX: usize = 10")]),
    (
        "growth of a text that is always permitted",
        &[("src/placeholder.rs", "GROWTH_FREE_BYTES: usize = 64 * 1024")],
    ),
    (
        "a flat form in YAML",
        &[("src/render/yaml.rs", "OUTPUT_BYTES_MAX: usize = 64 * 1024 * 1024")],
    ),
    (
        "all files of a directory",
        &[("src/source/directory/survey.rs", "BYTES_MAX: u64 = 256 * 1024 * 1024")],
    ),
    (
        "files and folders of a directory",
        &[("src/source/directory/survey.rs", "FILE_COUNT_MAX: usize = 100_000")],
    ),
    ("levels of a directory", &[("src/source/directory/survey.rs", "DEPTH_MAX: usize = 64")]),
    (
        "a scan of a directory",
        &[("src/source/directory.rs", "SCAN_TIME_MAX: Duration = Duration::from_secs(30)")],
    ),
    ("live labels without a folder", &[("src/store/labels.rs", "INVENTED_COUNT_MAX: usize = 32")]),
    ("a path", &[("src/http/route.rs", "PATH_BYTES_MAX: usize = 8 * 1024")]),
    ("names or profiles in one path", &[("src/http/route.rs", "ITEM_COUNT_MAX: usize = 64")]),
    ("labels in a list", &[("src/source/labels.rs", "LIST_COUNT_MAX: usize = 16")]),
    ("a label", &[("src/source/labels.rs", "NAME_BYTES_MAX: usize = 512")]),
    (
        "time for the headers",
        &[("src/server.rs", "HEADERS_MAX: Duration = Duration::from_secs(5)")],
    ),
    (
        "time for a TLS handshake",
        &[("src/server/listen.rs", "HANDSHAKE_MAX: Duration = Duration::from_secs(5)")],
    ),
    (
        "bad credentials of one client address, for JWTs and for others",
        &[
            ("src/http/identity/limits.rs", "BURST: u32 = 2_000"),
            ("src/http/identity/limits.rs", "INTERVAL: Duration = Duration::from_millis(50)"),
        ],
    ),
    (
        "client addresses that are counted for it",
        &[("src/http/identity/limits.rs", "ADDRESS_COUNT_MAX: usize = 10_000")],
    ),
    ("a JWT", &[("access/src/jwt.rs", "JWT_BYTES_MAX: usize = 8 * 1024")]),
    (
        "a JWKS document",
        &[
            ("access/src/jwt/jwks.rs", "JWKS_BYTES_MAX: usize = 256 * 1024"),
            ("access/src/jwt/jwks.rs", "JWKS_KEY_COUNT_MAX: usize = 64"),
        ],
    ),
    (
        "time for a JWKS document",
        &[("src/outgoing.rs", "REQUEST_MAX: Duration = Duration::from_secs(10)")],
    ),
    (
        "time between two readings of a JWKS document because of an unknown key",
        &[("src/http/key_refresh.rs", "REQUEST_SPACING: Duration = Duration::from_secs(30)")],
    ),
    (
        "wait for a JWKS document that is being read",
        &[("src/http/key_refresh.rs", "WAIT_MAX: Duration = Duration::from_secs(5)")],
    ),
    (
        "remembered JWTs",
        &[
            ("src/access/issuers.rs", "ACCEPTED_COUNT_MAX: usize = 16_384"),
            ("src/access/issuers.rs", "REJECTED_COUNT_MAX: usize = 4_096"),
            (
                "src/access/issuers.rs",
                "REJECTED_FOR: SignedDuration = SignedDuration::from_secs(10)",
            ),
        ],
    ),
    ("an idle connection", &[("src/server.rs", "KEEP_ALIVE: Duration = Duration::from_secs(75)")]),
    (
        "data that is not acknowledged",
        &[("src/server.rs", "UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20)")],
    ),
    (
        "environments computed at a time",
        &[("src/store/admission.rs", "RESOLVING_COUNT_MAX: usize = 8")],
    ),
    (
        "requests that wait for an environment",
        &[("src/store/admission.rs", "WAITING_COUNT_MAX: u64 = 2_048")],
    ),
    (
        "wait for an environment",
        &[("src/store/admission.rs", "WAIT_MAX: Duration = Duration::from_secs(10)")],
    ),
    ("cached environments", &[("src/store/eviction.rs", "ANSWER_COUNT_MAX: usize = 20_000")]),
    (
        "cached environments of a label for profiles that no file mentions",
        &[("src/store/answer_cells.rs", "UNKNOWN_PROFILE_COUNT_MAX: usize = 1_000")],
    ),
    (
        "memory of all answers",
        &[
            ("src/server/memory.rs", "ANSWERS_BYTES_DEFAULT_MAX: u64 = 1024 * MIB"),
            ("src/server/memory.rs", "ANSWERS_SHARE: u64 = 4"),
        ],
    ),
    (
        "memory of files and flat forms that are rendered or sent",
        &[
            ("src/server/memory.rs", "TEXTS_BYTES_DEFAULT_MAX: u64 = 512 * MIB"),
            ("src/server/memory.rs", "TEXTS_SHARE: u64 = 8"),
        ],
    ),
    (
        "wait for that memory",
        &[("src/http/renderings.rs", "WAIT_MAX: Duration = Duration::from_secs(10)")],
    ),
    (
        "minimum pace of a client that receives a file or flat form",
        &[
            ("src/http/body.rs", "PACE_BYTES: usize = 256 * 1024"),
            ("src/http/body.rs", "PACE_SPAN: Duration = Duration::from_secs(30)"),
        ],
    ),
    (
        "a client that closes its side before a file or flat form is rendered",
        &[("src/http/renderings.rs", "GONE_AFTER: Duration = Duration::from_secs(1)")],
    ),
    ("live labels", &[("src/store/labels.rs", "LABEL_COUNT_MAX: usize = 1_000")]),
    (
        "ancestors searched for a last good revision",
        &[("src/store/build.rs", "LAST_GOOD_DEPTH_MAX: usize = 1_000")],
    ),
    (
        "requests in progress when the server stops",
        &[("src/server.rs", "SHUTDOWN_MAX_SECONDS: u64 = 10")],
    ),
    ("watchers", &[("src/settings/described/tables.rs", "Default(\"20000\")")]),
    (
        "wait of a long poll",
        &[("src/http/watch.rs", "WAIT_MAX: Duration = Duration::from_secs(45)")],
    ),
    (
        "wait for `Headwater-Min-Revision`",
        &[("src/http/watch.rs", "BEHIND_MAX: Duration = Duration::from_secs(5)")],
    ),
    (
        "pause between heartbeats",
        &[
            ("src/http/watch/connection.rs", "QUIET_TICKS_MAX: u32 = 3"),
            ("src/http/watch/groups.rs", "TICK: Duration = Duration::from_secs(5)"),
        ],
    ),
    ("moves kept for `/-/events`", &[("src/store/event_log.rs", "KEPT_COUNT_MAX: usize = 256")]),
    (
        "time for which moves are kept after the last listener",
        &[("src/store/event_log.rs", "LINGER: Duration = Duration::from_secs(60)")],
    ),
    (
        "environments in a move",
        &[("src/store/move_event.rs", "ENVIRONMENT_COUNT_MAX: usize = 100")],
    ),
    (
        "keys of an environment in a move",
        &[("src/store/move_event.rs", "KEY_COUNT_MAX: usize = 100")],
    ),
    ("instances", &[("src/fleet/instances.rs", "COUNT_MAX: usize = 20_000")]),
    (
        "time for which an instance is listed",
        &[(
            "src/fleet/instances.rs",
            "EXPIRES_AFTER: SignedDuration = SignedDuration::from_mins(15)",
        )],
    ),
    ("name of an instance", &[("src/fleet/report.rs", "NAME_BYTES_MAX: usize = 128")]),
    (
        "attributes of an instance",
        &[
            ("src/fleet/report.rs", "ATTRIBUTE_COUNT_MAX: usize = 8"),
            ("src/fleet/report.rs", "ATTRIBUTES_BYTES_MAX: usize = 256"),
        ],
    ),
    ("reason of an instance", &[("src/fleet/report.rs", "REASON_BYTES_MAX: usize = 256")]),
    (
        "clients with the same name",
        &[("src/fleet/instances/named.rs", "RUN_COUNT_MAX: usize = 64")],
    ),
    (
        "rejections of an environment in `/-/fleet`",
        &[("src/fleet/convergence.rs", "REJECTION_COUNT_MAX: usize = 100")],
    ),
    (
        "time in which another replica reports its instances",
        &[("src/fleet/peers.rs", "TIME_MAX: Duration = Duration::from_secs(2)")],
    ),
    (
        "history of instances",
        &[("src/fleet/history/files.rs", "BYTES_MAX: u64 = 1024 * 1024 * 1024")],
    ),
    (
        "records of an application in a second",
        &[("src/fleet/history/records.rs", "APPLICATION_COUNT_MAX: usize = 200")],
    ),
    (
        "records in an answer of `/-/fleet/history`",
        &[("src/fleet/history/files.rs", "RECORD_COUNT_MAX: usize = 10_000")],
    ),
    (
        "instances on a page, if `limit` is set",
        &[("src/http/instances.rs", "PAGE_COUNT_MAX: usize = 1_000")],
    ),
    ("replicas", &[("src/replicas/membership.rs", "REPLICA_COUNT_MAX: usize = 1_000")]),
    ("replicas in state `gone`", &[("src/replicas/membership.rs", "GONE_COUNT_MAX: usize = 100")]),
    (
        "time for which one is listed",
        &[("src/replicas/membership.rs", "GONE_KEPT: Duration = Duration::from_secs(15 * 60)")],
    ),
    ("labels that a replica reports", &[("src/replicas/report.rs", "LABEL_COUNT_MAX: usize = 16")]),
    (
        "sources that a replica reports",
        &[("src/replicas/report.rs", "SOURCE_COUNT_MAX: usize = 16")],
    ),
    ("a text that a replica reports", &[("src/replicas/report.rs", "TEXT_BYTES_MAX: usize = 512")]),
    ("a lease", &[("src/replicas.rs", "LEASE_SECONDS: u16 = 10")]),
    (
        "pause between two writes of a replica's key",
        &[("src/replicas/announce.rs", "WRITE_SPACING: Duration = Duration::from_millis(500)")],
    ),
    ("a pack", &[("src/settings/described/tables.rs", "Default(\"268435456\")")]),
    ("a file of a push", &[("src/check/entries.rs", "FILE_BYTES_MAX: u64 = 16 * 1024 * 1024")]),
    (
        "all files of a revision",
        &[("src/check/entries.rs", "TOTAL_BYTES_MAX: u64 = 512 * 1024 * 1024")],
    ),
    (
        "number of files of a revision",
        &[("src/check/entries.rs", "FILE_COUNT_MAX: usize = 100_000")],
    ),
    ("references in one push", &[("src/push/updates.rs", "UPDATE_COUNT_MAX: usize = 1_000")]),
    (
        "new commits of one update that are compared with a policy",
        &[("src/source/git/pushed.rs", "COMMIT_COUNT_MAX: usize = 2_000")],
    ),
    (
        "changed paths of one update that are compared with a policy",
        &[("src/source/git/pushed.rs", "PATH_COUNT_MAX: usize = 100_000")],
    ),
    ("a policy", &[("access/src/policy/document.rs", "POLICY_BYTES_MAX: usize = 1024 * 1024")]),
    ("lines of one page of `/-/audit`", &[("src/http/audit_query.rs", "COUNT_MAX: usize = 1_000")]),
    (
        "the reading of one page of `/-/audit`",
        &[("src/audit/reading.rs", "PAGE_MAX: Duration = Duration::from_secs(2)")],
    ),
    (
        "files that are searched for a sealed text of another area",
        &[("src/check/areas.rs", "SEARCHED_FILE_COUNT_MAX: usize = 50_000")],
    ),
    ("pushes at a time", &[("src/push/admission.rs", "PUSH_COUNT_MAX: usize = 8")]),
    (
        "pushes at a time from one address, and by one principal",
        &[("src/push/admission.rs", "PUSH_SHARE_MAX: usize = 6")],
    ),
    (
        "wait of a push for a permit",
        &[("src/push/admission.rs", "PUSH_WAIT_MAX: Duration = Duration::from_secs(40)")],
    ),
    ("clones and fetches at a time", &[("src/push/admission.rs", "FETCH_COUNT_MAX: usize = 32")]),
    (
        "clones and fetches at a time from one address",
        &[("src/push/admission.rs", "FETCH_ADDRESS_COUNT_MAX: usize = 16")],
    ),
    (
        "clones and fetches at a time by one principal",
        &[("src/push/admission.rs", "FETCH_PRINCIPAL_COUNT_MAX: usize = 24")],
    ),
    (
        "wait of a clone or fetch for a permit",
        &[("src/push/admission.rs", "FETCH_WAIT_MAX: Duration = Duration::from_secs(25)")],
    ),
    (
        "requests of one address that wait for a permit",
        &[("src/push/admission.rs", "WAITING_COUNT_MAX: usize = 64")],
    ),
    (
        "time in which a client receives less than 1 KiB a second",
        &[
            ("src/push/exchange.rs", "READ_STALL_MAX: Duration = Duration::from_secs(20)"),
            ("src/push/exchange.rs", "BYTES_PER_SECOND_MIN: u64 = 1024"),
        ],
    ),
    (
        "time in which a client sends less than 1 KiB a second",
        &[
            ("src/push/exchange.rs", "PUSH_STALL_MAX: Duration = Duration::from_secs(30)"),
            ("src/push/exchange.rs", "BYTES_PER_SECOND_MIN: u64 = 1024"),
        ],
    ),
    (
        "wait for the previous push",
        &[("src/push/decision.rs", "TURN_WAIT_MAX: Duration = Duration::from_secs(60)")],
    ),
    (
        "a whole exchange",
        &[("src/push/exchange.rs", "EXCHANGE_MAX: Duration = Duration::from_secs(15 * 60)")],
    ),
    (
        "the request of a clone or fetch",
        &[("src/http/git.rs", "FETCH_BYTES_MAX: u64 = 16 * 1024 * 1024")],
    ),
    ("the checks of a push", &[("src/settings/described/tables.rs", "Default(\"30\")")]),
    ("the trials of a push", &[("src/settings/described/tables.rs", "Default(\"5\")")]),
    (
        "environments that one push tries",
        &[("src/push/trial.rs", "ENVIRONMENT_COUNT_MAX: usize = 256")],
    ),
    (
        "content of all trials at a time",
        &[("src/fleet/trials.rs", "BYTES_MAX: usize = 64 * 1024 * 1024")],
    ),
    (
        "all names of branches and tags of a shared repository",
        &[("src/push/replication/manifest.rs", "MANIFEST_BYTES_MAX: usize = 1024 * 1024")],
    ),
    (
        "wait for the outcome of a write to etcd",
        &[(
            "src/push/replication/commit.rs",
            "OUTCOME_WAIT_MAX: Duration = Duration::from_secs(10)",
        )],
    ),
    (
        "wait for etcd before references are listed",
        &[("src/push/host.rs", "LISTING_CATCH_UP_MAX: Duration = Duration::from_secs(1)")],
    ),
    (
        "wait for etcd before a push or fetch",
        &[("src/push/host.rs", "EXCHANGE_CATCH_UP_MAX: Duration = Duration::from_secs(5)")],
    ),
    (
        "wait for etcd at start",
        &[("src/push/hosts.rs", "READY_MAX: Duration = Duration::from_secs(10)")],
    ),
    (
        "wait at start for the `git` of a killed server",
        &[("src/data.rs", "AT_WORK_MAX: Duration = Duration::from_secs(30)")],
    ),
    (
        "processor time of one git process",
        &[("src/push/command.rs", "PROCESSOR_SECONDS_MAX: u64 = 300")],
    ),
    (
        "memory that one git process maps",
        &[("src/push/command.rs", "MEMORY_BYTES_MAX: u64 = 8 * 1024 * 1024 * 1024")],
    ),
    ("pause between fetches", &[("src/opening/remotes.rs", "POLL_SECONDS: u64 = 30")]),
    (
        "a fetch. The first one may take ten times as long",
        &[("src/opening/remotes.rs", "FETCH_SECONDS_MAX: u64 = 120")],
    ),
    (
        "the pack of a fetch",
        &[("src/opening/remotes.rs", "FETCH_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024")],
    ),
    (
        "fetches of one remote",
        &[("src/opening/remotes.rs", "SPACING: Duration = Duration::from_secs(2)")],
    ),
    (
        "wait of a request for an unknown label",
        &[("src/source/mirror.rs", "REQUEST_WAIT_MAX: Duration = Duration::from_secs(5)")],
    ),
    (
        "fetches for unknown labels",
        &[("src/source/mirror.rs", "REQUEST_FETCH_SPACING: Duration = Duration::from_secs(10)")],
    ),
    (
        "requests that wait for unknown labels",
        &[("src/source/mirror/unknown.rs", "WAITING_COUNT_MAX: usize = 64")],
    ),
    (
        "labels remembered as unknown",
        &[("src/source/mirror/unknown.rs", "LABEL_COUNT_MAX: usize = 1_000")],
    ),
    (
        "time for which a label is remembered as unknown",
        &[("src/source/mirror/unknown.rs", "REMEMBERED: Duration = Duration::from_secs(30)")],
    ),
    (
        "pause after a failed fetch",
        &[
            ("src/source/mirror/keeper.rs", "BACKOFF_MIN: Duration = Duration::from_secs(1)"),
            ("src/source/mirror/keeper.rs", "BACKOFF_MAX: Duration = Duration::from_secs(60)"),
        ],
    ),
    ("body of a webhook", &[("src/http/monitor.rs", "BODY_BYTES_MAX: usize = 1024 * 1024")]),
    (
        "time for the body of a webhook",
        &[("src/http/monitor.rs", "BODY_TIME_MAX: Duration = Duration::from_secs(5)")],
    ),
    (
        "bodies of webhooks that are read at a time",
        &[("src/http/monitor/body_slots.rs", "SLOT_COUNT_MAX: usize = 32")],
    ),
    (
        "webhooks in the long run",
        &[("src/http/monitor/deliveries.rs", "COUNT_PER_SECOND: f64 = 10.0")],
    ),
    (
        "webhooks at once after a quiet time",
        &[("src/http/monitor/deliveries.rs", "BURST_COUNT: f64 = 100.0")],
    ),
    (
        "lines of the audit trail that wait for the disk",
        &[("src/audit.rs", "WAITING_BYTES_MAX: usize = 8 * 1024 * 1024")],
    ),
    (
        "wait of an act for its audit line",
        &[("src/audit.rs", "ACT_MAX: Duration = Duration::from_secs(10)")],
    ),
    ("a rendered file", &[("src/cli/run/template.rs", "LENGTH_MAX: usize = 16 * 1024 * 1024")]),
    ("steps of a template", &[("src/cli/run/template.rs", "STEP_COUNT_MAX: u64 = 10_000_000")]),
    ("options of a push", &[("src/push/options.rs", "OPTION_COUNT_MAX: usize = 16")]),
    ("an option of a push", &[("src/push/options.rs", "OPTION_BYTES_MAX: usize = 512")]),
    ("the reason of a push", &[("src/push/options.rs", "REASON_BYTES_MAX: usize = 240")]),
    (
        "the body of a command for a rollout",
        &[("src/http/rollouts/command.rs", "BODY_BYTES_MAX: usize = 4 * 1024")],
    ),
    (
        "the reason of a command for a rollout",
        &[("src/http/rollouts/command.rs", "REASON_BYTES_MAX: usize = 240")],
    ),
    ("wait of a push for instances", &[("src/push/options.rs", "TIMEOUT_SECONDS_MAX: u64 = 840")]),
    (
        "pushes that wait for instances at a time",
        &[("src/push/waiting.rs", "WAITING_COUNT_MAX: usize = 64")],
    ),
    ("a check", &[("src/cli/run/prepare.rs", "CHECK_TIMEOUT: Duration = Duration::from_secs(60)")]),
    (
        "a reload command",
        &[("src/cli/run/process.rs", "RELOAD_TIMEOUT: Duration = Duration::from_secs(60)")],
    ),
    ("one variable", &[("src/cli/run/variables.rs", "LENGTH_MAX: usize = 128 * 1024 - 1")]),
    ("all variables", &[("src/cli/run/variables.rs", "TOTAL_LENGTH_MAX: usize = 1024 * 1024")]),
    (
        "an answer of a server",
        &[("clients/rust/src/fetch.rs", "BODY_LENGTH_MAX: usize = 16 * 1024 * 1024")],
    ),
    (
        "requests in a minute",
        &[("clients/rust/src/watch/pace.rs", "ATTEMPT_COUNT_MAX: usize = 60")],
    ),
];

/// Limits without a constant, which only a setting creates.
const UNSET: [&str; 1] = ["watchers of one client address"];

/// Every limit of the code has a row, and every row has a limit of the code.
#[test]
fn the_limits_are_those_of_the_code() {
    let rows = all_rows(LIMITS_PAGE);
    let listed: BTreeSet<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(listed.len(), rows.len(), "two rows have one subject");
    let known = LIMITS.iter().map(|(subject, _)| *subject).chain(UNSET);
    assert_eq!(listed, known.collect::<BTreeSet<_>>());
    none(LIMITS.iter().flat_map(|(subject, constants)| {
        constants.iter().filter_map(move |(file, constant)| {
            let text = fs::read_to_string(root().join(file)).unwrap();
            let ends = |end| text.contains(&format!("{constant}{end}"));
            let is_there = ends(";") || ends(",");
            (!is_there).then(|| format!("{subject}: {file} has no {constant}: correct both"))
        })
    }));
}

/// A policy with an issuer and an expired token, which have metrics of their own.
const POLICY_WITH_METRICS: &str = r#"version = 1
enforce = false
[[issuer]]
name = "main"
issuer = "https://issuer.example.org"
audience = "headwater"
jwks_file = "keys.json"
[[principal]]
name = "orders"
kind = "service"
tokens = [
    { sha256 = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8", expires = 2020-01-01 },
    { sha256 = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b" },
]
"#;

/// A metric as the page and the server tell of it: name, type, labels.
type Told = (String, String, String);

#[test]
fn the_metrics_are_those_of_a_running_server() {
    let (repository, data) = (Repository::new("//- orders.yml\na: 1\n"), directory(""));
    let mut settings = settings(&repository.uri());
    settings.sources[0].mirror = true;
    settings.sources.push(crate::deploy::monitoring::hosted(data.path()));
    settings.data = data.path().join("data");
    let keys = r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}"#;
    fs::write(data.path().join("keys.json"), keys).unwrap();
    fs::write(data.path().join("policy.toml"), POLICY_WITH_METRICS).unwrap();
    settings.access.policy_file = Some(data.path().join("policy.toml"));
    settings.secrets = StandIn::start().settings();
    let server = Server::with(settings);
    eventually("it is mirrored", || server.get("/orders/dev").status == 200);
    let mut served = BTreeSet::new();
    eventually("a fetch is over", || {
        served = exposed(&server.get("/metrics").expect(200).text());
        served.iter().any(|(name, ..)| name.contains("fetch_age"))
    });
    let told = rows(MONITORING, "Metrics").into_iter();
    let told = told.map(|row| (bare(&row[0]), row[1].clone(), row[2].replace('`', "")));
    assert_eq!(told.collect::<BTreeSet<Told>>(), served);
}

#[test]
fn the_routes_that_are_counted_are_named() {
    let code = fs::read_to_string(root().join("src/http/metrics.rs")).unwrap();
    let (_, named) = code.split_once("let route = match route {").expect("the names");
    let named = named.split("};").next().unwrap().split('"').skip(1).step_by(2);
    let row = rows(MONITORING, "Metrics").swap_remove(0)[3].clone();
    let told: BTreeSet<&str> = row.split('`').skip(1).step_by(2).collect();
    let told = told.into_iter().filter(|name| *name != "route");
    assert_eq!(told.collect::<BTreeSet<_>>(), named.collect());
}

/// What a server exposes.
fn exposed(text: &str) -> BTreeSet<Told> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let told = types.map(|line| {
        let (name, kind) = line.split_once(' ').expect("a name and a type");
        let name = match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        };
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
    let known: BTreeSet<String> =
        rows(MONITORING, "Metrics").iter().map(|row| bare(&row[0])).collect();
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
    none(rows(MONITORING, "Logs").into_iter().flat_map(|row| {
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
    let page = Page::read(PATHS);
    for (path, _) in SERVER_ROUTES {
        let shown = match path.strip_prefix("/actuator/health") {
            Some(_) => "/actuator/health",
            None => path,
        };
        assert!(page.codes.iter().any(|code| code.starts_with(shown)), "{path}");
    }
    let schemas = health_schemas();
    let shown = &blocks(MONITORING, "Health", "json")[0];
    let keys = shown.split('"').skip(1).step_by(2);
    let keys = keys.filter(|text| shown.contains(&format!("\"{text}\": ")));
    let keys: BTreeSet<&str> = keys.collect();
    assert!(keys.len() > 10, "{keys:?}");
    for key in keys {
        assert!(schemas.contains(&format!("\"{key}\"")), "health has no {key}");
    }
}

/// The schemas of the API, which `http::wire` compares with the types that health is made of.
fn health_schemas() -> String {
    fs::read_to_string(root().join("src/http/openapi.json")).unwrap()
}

/// The test of each kind of fault: it asserts the line in the log, the detail, the metric and the finding.
const FAULT_TESTS: &[(&str, &str, &str)] = &[
    (
        "content-unreadable",
        "tests/it/faults.rs",
        "a_lost_or_damaged_object_of_a_hosted_repository_is_told",
    ),
    ("source-unreadable", "tests/it/faults.rs", "a_label_that_cannot_be_read_is_told"),
    ("remote-unreachable", "tests/it/faults.rs", "a_remote_that_was_never_reached_is_told"),
    ("source-problem", "tests/it/faults.rs", "what_is_wrong_in_a_source_is_told"),
    ("held-back", "tests/it/faults.rs", "a_file_that_does_not_parse_is_told"),
    (
        "share-unreachable",
        "tests/it/faults.rs",
        "authentication_that_etcd_is_given_at_run_time_is_told",
    ),
    ("replica-gone", "tests/it/faults.rs", "a_replica_that_is_gone_is_told_until_it_is_back"),
    ("replica-namesake", "tests/it/faults.rs", "two_live_replicas_with_one_name_are_told"),
    (
        "push-not-durable",
        "tests/it/durability.rs",
        "a_full_disk_refuses_pushes_and_disturbs_nobody_else",
    ),
    ("git-unavailable", "tests/it/faults.rs", "a_git_that_cannot_be_run_is_told"),
    (
        "certificate-unusable",
        "tests/it/tls/certificate.rs",
        "files_that_cannot_be_used_are_told_in_every_way",
    ),
    (
        "client-certificates-unusable",
        "tests/it/tls/clients.rs",
        "the_end_of_a_revocation_list_is_reported_before_and_after",
    ),
    (
        "policy-unusable",
        "tests/it/access/policy_file.rs",
        "a_broken_policy_keeps_the_previous_one_and_is_reported",
    ),
    (
        "secret-unreadable",
        "tests/it/secrets/references.rs",
        "a_key_or_a_secret_that_cannot_be_read_again_stays_in_use",
    ),
    (
        "vault-unreadable",
        "tests/it/secrets/vault.rs",
        "values_stay_in_use_while_vault_fails_in_every_way",
    ),
    (
        "audit-unwritable",
        "tests/it/access/audited.rs",
        "an_audit_trail_that_cannot_be_written_rejects_acts_and_is_reported",
    ),
    (
        "jwks-unreachable",
        "tests/it/access/jwt.rs",
        "known_keys_stay_in_force_while_their_issuer_is_unreachable",
    ),
    (
        "history-unwritable",
        "tests/it/durability.rs",
        "a_full_disk_costs_lines_of_the_history_and_no_answer",
    ),
    (
        "rollouts-unwritable",
        "tests/it/rollouts/driven.rs",
        "a_state_that_cannot_be_written_declines_commands_and_is_reported",
    ),
    ("open-files-exhausted", "tests/it/faults.rs", "files_that_run_out_are_told"),
];

/// What stands between backquotes in a cell.
fn codes(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[test]
fn every_fault_has_a_row_and_every_row_is_true_and_tested() {
    let faults = rows(MONITORING, "Faults");
    let kind_of = |row: &[String]| codes(&row[0]).next().expect("a kind").to_owned();
    let listed: BTreeSet<String> = faults.iter().map(|row| kind_of(row)).collect();
    let kinds = FaultKind::ALL.map(FaultKind::name).into_iter().chain(["held-back"]);
    assert_eq!(listed, kinds.map(str::to_owned).collect());
    assert_eq!(listed.len(), faults.len(), "a row that is there twice");
    let tested: BTreeSet<&str> = FAULT_TESTS.iter().map(|(kind, ..)| *kind).collect();
    assert!(listed.iter().all(|kind| tested.contains(kind.as_str())), "a row without a test");
    for (kind, file, name) in FAULT_TESTS {
        let code = fs::read_to_string(root().join(file)).unwrap();
        assert!(code.contains(&format!("#[test]\nfn {name}()")), "{kind}: no test {name}");
    }
    // Another test compares these with a running server.
    let metrics: BTreeSet<String> =
        rows(MONITORING, "Metrics").iter().map(|row| bare(&row[0])).collect();
    let health = health_schemas();
    let code: String =
        rust_files("src").iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    for row in &faults {
        let kind = kind_of(row);
        let summaries = FaultKind::ALL.map(FaultKind::summary);
        for message in codes(&row[3]) {
            let summary = message.strip_prefix("over: ").unwrap_or(message);
            let is_said = summaries.contains(&summary) || level_of(&code, message).is_some();
            assert!(is_said, "{kind}: nothing logs {message}");
        }
        assert!(codes(&row[3]).count() >= 2, "{kind}: no line for its beginning and its end");
        for key in codes(&row[4]) {
            assert!(health.contains(&format!("\"{key}\"")), "{kind}: health has no {key}");
        }
        for metric in codes(&row[5]) {
            assert!(metrics.contains(metric), "{kind}: there is no metric {metric}");
        }
        assert!(codes(&row[4]).count() > 0 && codes(&row[5]).count() > 0, "{kind}");
        assert!(row.len() == 7 && row.iter().all(|cell| !cell.is_empty()), "{kind}: {row:?}");
    }
}

#[test]
fn a_hosted_repository_is_backed_up_and_restored_as_the_page_says() {
    let hosted = Hosted::new("//- orders.yml\nlimit: 1\n");
    let tree = hosted.clone("work");
    let place = directory("");
    let recipes = blocks(OPERATING, "Back up and restore a hosted repository", "sh");
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
