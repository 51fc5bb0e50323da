//! The schemas of `/openapi.json` describe the documents of the wire crate: the same members, and the same ones required.

use std::collections::BTreeSet;

use headwater::audit::AuditPage;
use headwater_wire::{
    ChangedEnvironment, ConfigServerComponent, ConfigServerDetails, Contract, ContractKey,
    ContractList, ContractStatus, Environment, EnvironmentList, ErrorDocument, FaultHealth,
    FleetChange, FleetEnvironment, FleetHistory, FleetInstance, FleetInstanceState, FleetRecord,
    FleetRejection, FleetReplica, FleetStatus, Health, HealthComponents, InstanceHealth,
    InstanceList, InstanceStatus, KeyList, KeyReader, KeyReaders, LabelHealth, LabelStatus,
    MoveCommit, MoveEvent, OtherChanges, Outcome, PolicyStatus, ProblemDocument, ProblemList,
    ProblemReport, PropertySource, RemoteHealth, ReplicaList, ReplicaState, ReplicaStatus,
    RolloutAction, RolloutApplication, RolloutCommand, RolloutCommandAnswer, RolloutEvent,
    RolloutList, RolloutRecord, RolloutState, RolloutStatus, ShareStatus, SourceProblemHealth,
    SourceStatus, ValueType,
};
use serde_json::{Map, Value, json};

const OPEN_API: &str = include_str!("../../../src/http/openapi.json");

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// A document with every member, and one without the members that may be absent.
struct Sample {
    schema: &'static str,
    full: Value,
    least: Value,
}

fn sample(
    schema: &'static str,
    full: impl serde::Serialize,
    least: impl serde::Serialize,
) -> Sample {
    let value = |document: Result<Value, _>| document.unwrap();
    Sample {
        schema,
        full: value(serde_json::to_value(full)),
        least: value(serde_json::to_value(least)),
    }
}

fn always(schema: &'static str, document: impl serde::Serialize + Clone) -> Sample {
    sample(schema, document.clone(), document)
}

fn record() -> FleetRecord {
    FleetRecord {
        at: "2026-01-02T03:04:05Z".into(),
        change: FleetChange::Rejected,
        replica: "one".into(),
        instance: "one".into(),
        incarnation: text("one-17-1"),
        application: "orders".into(),
        profiles: "prod".into(),
        label: text("main"),
        revision: text("a"),
        digest: text("d"),
        outcome: Some(Outcome::Rejected),
        since: text("2026-01-02T03:04:05Z"),
        reason: text("type a.b"),
        health: Some(InstanceHealth::Up),
    }
}

fn fleet_status(instance: &InstanceStatus) -> FleetStatus {
    FleetStatus {
        replicas: vec![FleetReplica { name: "one".into(), instances: 1, failure: text("no") }],
        environments: vec![FleetEnvironment {
            application: "orders".into(),
            profiles: "prod".into(),
            label: text("main"),
            revision: text("a"),
            instances: 4,
            applied: 1,
            rejected: 1,
            behind: 1,
            unreported: 1,
            gone: 1,
            down: 1,
            rejections: vec![FleetRejection {
                instance: "one".into(),
                reason: text("type a.b"),
                since: "2026-01-02T03:04:05Z".into(),
            }],
        }],
        count: 2,
        next: text("00"),
        instances: vec![FleetInstance {
            replica: "one".into(),
            state: FleetInstanceState::Rejected,
            status: instance.clone(),
        }],
    }
}

fn overview() -> Vec<Sample> {
    let problem = ProblemReport {
        kind: "held-back".into(),
        application: text("orders"),
        profiles: text("prod"),
        label: text("main"),
        source: "s".into(),
        tip: text("b"),
        served: text("a"),
        since: text("2026-01-02T03:04:05Z"),
        file: text("orders.yml"),
        line: Some(1),
        column: Some(2),
        key: text("port"),
        reason: "no".into(),
    };
    let instance = InstanceStatus {
        instance: "one".into(),
        incarnation: text("one-17-1"),
        attributes: [("zone".to_owned(), "eu-1".to_owned())].into(),
        application: "orders".into(),
        profiles: "prod".into(),
        label: None,
        revision: text("a"),
        digest: text("d"),
        outcome: Some(Outcome::Rejected),
        since: "2026-01-02T03:04:05Z".into(),
        reason: text("type a.b"),
        health: Some(InstanceHealth::Down),
        down_reports: 2,
        witness: true,
        tries: false,
        restarts: 1,
        last_seen: "2026-01-02T03:04:05Z".into(),
        connected: false,
        disconnected_since: text("2026-01-02T03:04:05Z"),
        contract: text("d"),
    };
    vec![
        always("ProblemReport", &problem),
        always("ProblemList", &ProblemList { problems: vec![problem.clone()] }),
        always("InstanceStatus", &instance),
        always("FleetStatus", &fleet_status(&instance)),
        always("FleetReplica", &fleet_status(&instance).replicas[0]),
        always("FleetEnvironment", &fleet_status(&instance).environments[0]),
        always("FleetRejection", &fleet_status(&instance).environments[0].rejections[0]),
        always("FleetInstance", &fleet_status(&instance).instances[0]),
        always(
            "FleetHistory",
            &FleetHistory {
                replicas: fleet_status(&instance).replicas,
                records: vec![record()],
                left_out: 1,
            },
        ),
        sample("FleetRecord", record(), json!({ "at": "", "change": "started" })),
        always(
            "InstanceList",
            &InstanceList {
                instances: vec![instance.clone()],
                count: 2,
                next: text("00"),
                left_out: 1,
                replica: "one".into(),
            },
        ),
        sample(
            "Error",
            ErrorDocument {
                timestamp: "2026-01-02T03:04:05.678+00:00".into(),
                status: 404,
                error: "Not Found".into(),
                message: text("no"),
                path: "/a/b".into(),
            },
            json!({ "timestamp": "", "status": 404, "error": "", "path": "" }),
        ),
        sample(
            "Problem",
            ProblemDocument {
                kind: "about:blank".into(),
                title: "Not Found".into(),
                status: 404,
                detail: text("no"),
                file: text("a.yml"),
                line: Some(1),
                column: Some(2),
            },
            ProblemDocument {
                kind: "about:blank".into(),
                title: String::new(),
                status: 404,
                detail: None,
                file: None,
                line: None,
                column: None,
            },
        ),
        always(
            "Environment",
            &Environment {
                name: "orders".into(),
                profiles: vec!["prod".into()],
                label: None,
                version: text("a"),
                state: None,
                property_sources: vec![PropertySource { name: "s".into(), source: Map::new() }],
            },
        ),
        always(
            "EnvironmentList",
            EnvironmentList {
                label: None,
                revision: "a".into(),
                applications: BTreeSet::from(["orders".to_owned()]),
                profiles: BTreeSet::from(["prod".to_owned()]),
            },
        ),
    ]
}

fn contracts() -> Vec<Sample> {
    let key = ContractKey { key: "a".into(), value_type: ValueType::U16, required: true };
    let contract = Contract::new("orders".into(), text("1.4"), vec![key.clone()], vec![]).unwrap();
    let status = ContractStatus {
        application: "orders".into(),
        version: text("1.4"),
        digest: "d".into(),
        key_count: 1,
        instances: 1,
        accepted: true,
        last_seen: "2026-01-02T03:04:05Z".into(),
    };
    let reader = KeyReader {
        application: "orders".into(),
        version: text("1.4"),
        instances: 1,
        value_type: Some(ValueType::U16),
        required: true,
    };
    let readers = KeyReaders {
        key: "a".into(),
        origins: vec!["orders.yml:1:4".into()],
        readers: vec![reader.clone()],
        unread: Some(false),
    };
    let keys = KeyList {
        application: "orders".into(),
        instances: 1,
        reporting: 1,
        keys: vec![readers.clone()],
    };
    vec![
        always("ContractKey", &key),
        always("Contract", &contract),
        always("ContractStatus", &status),
        always("ContractList", &ContractList { contracts: vec![status.clone()] }),
        always("KeyReader", &reader),
        always("KeyReaders", &readers),
        always("KeyList", &keys),
    ]
}

fn fleet() -> Vec<Sample> {
    let label = LabelStatus { label: text("main"), revision: "a".into(), lag_seconds: Some(1) };
    let source = SourceStatus { source: "s".into(), failure: text("no"), heard_seconds: Some(1) };
    let share = ShareStatus { heard_seconds: Some(1), away_seconds: Some(2), failure: text("no") };
    let policy = PolicyStatus { digest: "0123abcd".into(), age_seconds: 1 };
    let replica = ReplicaStatus {
        name: "one".into(),
        id: "1".into(),
        this: true,
        state: ReplicaState::Gone,
        address: "http://a".into(),
        version: "1".into(),
        age_seconds: 1,
        heard_seconds: None,
        lag_seconds: Some(1),
        labels: vec![label.clone()],
        labels_left_out: 0,
        held_back: 1,
        faults: vec!["no".into()],
        sources: vec![source.clone()],
        policy: Some(policy.clone()),
    };
    let environment = ChangedEnvironment {
        application: "orders".into(),
        profiles: "prod".into(),
        added: vec!["a".into()],
        removed: Vec::new(),
        changed: vec!["b".into()],
        more: 1,
    };
    let commit =
        MoveCommit { id: "a".into(), author: "Ada".into(), subject: "More".into(), time: None };
    let others = OtherChanges { environments: 1, files: None };
    let moved = MoveEvent {
        label: None,
        from: text("a"),
        to: text("b"),
        actor: "push".into(),
        commit: Some(commit.clone()),
        environments: vec![environment.clone()],
        others: others.clone(),
    };
    let list =
        ReplicaList { share: Some(share.clone()), replicas: vec![replica.clone()], left_out: 1 };
    vec![
        always("LabelStatus", &label),
        always("PolicyStatus", &policy),
        always("SourceStatus", &source),
        always("ShareStatus", &share),
        always("ReplicaStatus", &replica),
        always("ReplicaList", &list),
        always("ChangedEnvironment", &environment),
        always("MoveCommit", &commit),
        always("OtherChanges", &others),
        always("MoveEvent", &moved),
    ]
}

fn health() -> Vec<Sample> {
    let label = |stale: Option<u64>| LabelHealth {
        label: text("main"),
        version: "a".into(),
        environments: 1,
        stale_seconds: stale,
        error: stale.map(|_| "no".to_owned()),
    };
    let remote = |error: Option<String>| RemoteHealth {
        source: "s".into(),
        last_fetch_seconds: None,
        error,
    };
    let fault = FaultHealth {
        kind: "remote-unreachable".into(),
        object: "s".into(),
        seconds: Some(1),
        error: "no".into(),
    };
    let problem =
        SourceProblemHealth { source: "s".into(), file: "a.yml".into(), reason: "no".into() };
    let details = |remotes, problems| ConfigServerDetails {
        source: "s".into(),
        repositories: vec![label(Some(1))],
        held_back: 1,
        withheld: 1,
        faults: vec![fault.clone()],
        remotes,
        problems,
    };
    let full = details(vec![remote(text("no"))], vec![problem.clone()]);
    let component = ConfigServerComponent { status: "UP".into(), details: full.clone() };
    let components = HealthComponents { config_server: component.clone() };
    vec![
        sample("LabelHealth", label(Some(1)), label(None)),
        sample("RemoteHealth", remote(text("no")), remote(None)),
        always("FaultHealth", &fault),
        always("SourceProblemHealth", &problem),
        sample("ConfigServerDetails", &full, details(Vec::new(), Vec::new())),
        always("ConfigServerComponent", &component),
        always("HealthComponents", &components),
        sample(
            "Health",
            Health { status: "UP".into(), components: Some(components) },
            Health { status: "UP".into(), components: None },
        ),
    ]
}

fn audit() -> Vec<Sample> {
    let page = |next| AuditPage { lines: Vec::new(), next };
    vec![sample("AuditPage", page(Some(1)), page(None))]
}

fn rollouts() -> Vec<Sample> {
    let record = RolloutRecord {
        at: "2026-01-02T03:04:05Z".into(),
        event: "paused".into(),
        text: "paused: by ada: a test".into(),
    };
    let application = RolloutApplication {
        application: "orders".into(),
        stable: "a".into(),
        canaries: Some(1),
        instances: Some(3),
        ok: None,
    };
    let status = RolloutStatus {
        id: "r-0000000000".into(),
        repository: "main".into(),
        branch: "main".into(),
        from: "a".into(),
        to: "b".into(),
        state: RolloutState::Paused,
        why: text("by ada: a test"),
        missing: None,
        stage: Some(1),
        stages: 2,
        reach: text("5%"),
        plan: "auto".into(),
        applications: vec![application.clone()],
        instances: Some(3),
        ok: Some(1),
        by: "ada".into(),
        because: None,
        opened: "2026-01-02T03:04:05Z".into(),
        since: None,
        depends_on: vec!["r-0000000001".into()],
        events: vec![record.clone()],
    };
    let command = RolloutCommand { action: RolloutAction::Retry, because: "a test".into() };
    let answer = RolloutCommandAnswer { rollout: status.clone(), effects: vec![record.clone()] };
    let event = RolloutEvent {
        at: "2026-01-02T03:04:05Z".into(),
        repository: "main".into(),
        branch: "main".into(),
        rollout: "r-0000000000".into(),
        event: "suspect".into(),
        applications: vec!["orders".into()],
        instances: vec!["one".into()],
        text: "one has restarted".into(),
    };
    vec![
        always("RolloutList", &RolloutList { rollouts: vec![status.clone()] }),
        always("RolloutStatus", &status),
        always("RolloutApplication", &application),
        always("RolloutRecord", &record),
        always("RolloutCommand", &command),
        always("RolloutCommandAnswer", &answer),
        always("RolloutEvent", &event),
    ]
}

fn all() -> impl Iterator<Item = Sample> {
    let parts = [overview(), contracts(), fleet(), health(), audit(), rollouts()];
    parts.into_iter().flatten()
}

#[test]
fn states_and_actions_have_one_name() {
    for state in RolloutState::ALL {
        assert_eq!(serde_json::to_value(state).unwrap(), json!(state.name()));
    }
    for action in RolloutAction::ALL {
        assert_eq!(serde_json::to_value(action).unwrap(), json!(action.name()));
    }
}

fn members(document: &Value) -> BTreeSet<&str> {
    document.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn the_schemas_have_the_members_of_the_documents() {
    let contract: Value = serde_json::from_str(OPEN_API).unwrap();
    let schemas = &contract["components"]["schemas"];
    let mut seen = BTreeSet::from([
        "Outcome",
        "InstanceHealth",
        "FleetInstanceState",
        "FleetChange",
        "ValueType",
        "RolloutState",
        "RolloutAction",
    ]);
    for Sample { schema: name, full, least } in all() {
        let schema = &schemas[name];
        assert_eq!(members(&schema["properties"]), members(&full), "{name}");
        let required = schema["required"].as_array().expect("required members");
        let required: BTreeSet<&str> = required.iter().filter_map(Value::as_str).collect();
        assert_eq!(required, members(&least), "{name}");
        let reference = format!("#/components/schemas/{name}");
        let whole = json!({ "$ref": reference, "components": contract["components"] });
        let validator = jsonschema::validator_for(&whole).unwrap();
        for document in [&full, &least] {
            let errors: Vec<String> =
                validator.iter_errors(document).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{name}: {errors:?}");
        }
        seen.insert(name);
    }
    assert_eq!(members(schemas), seen, "a schema without a document");
}

#[test]
fn outcomes_have_one_name_in_documents_and_headers() {
    for outcome in [Outcome::Applied, Outcome::Rejected] {
        assert_eq!(serde_json::to_value(outcome).unwrap(), json!(outcome.name()));
        assert_eq!(Outcome::from_name(outcome.name()), Some(outcome));
    }
    assert_eq!(Outcome::from_name("fine"), None);
    for state in [ReplicaState::Live, ReplicaState::Gone, ReplicaState::Unknown] {
        assert_eq!(serde_json::to_value(state).unwrap(), json!(state.name()));
    }
    let later: ReplicaState = serde_json::from_value(json!("leaving")).unwrap();
    assert_eq!(later, ReplicaState::Unknown);
}
