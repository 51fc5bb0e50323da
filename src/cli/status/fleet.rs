//! The findings in the answers of `/-/replicas` and `/-/problems`. Pure.

use std::collections::BTreeMap;

use headwater_wire::{
    LabelStatus, ProblemList, ProblemReport, ReplicaList, ReplicaState, ReplicaStatus, ShareStatus,
    SourceStatus,
};

use crate::cli::colour::{BOLD, Colours};
use crate::cli::output::{one_line, painted_table, short};
use crate::faults::FaultKind;

/// The longest lag, and the longest outage of a source, that is no finding, in seconds.
const LAG_SECONDS_MAX: u64 = 30;

/// The time for which a killed replica is still listed as live.
const LEASE_SECONDS: u64 = 10;
/// The kinds of problems that replicas report themselves.
const REPORTED_BY_REPLICAS: [FaultKind; 4] = [
    FaultKind::RemoteUnreachable,
    FaultKind::ShareUnreachable,
    FaultKind::ReplicaGone,
    FaultKind::ReplicaNamesake,
];

/// A table of the replicas. The revision is the one of the default label, or of the first label.
pub(super) fn table(fleet: &ReplicaList) -> String {
    let head = ["REPLICA", "STATE", "REVISION", "LAG", "AGE", "VERSION"].map(str::to_owned);
    let rows = fleet.replicas.iter().map(|replica| {
        let revision = replica.labels.first().map(|label| short(&label.revision));
        vec![
            replica.name.clone(),
            replica.state.name().to_owned(),
            revision.unwrap_or_else(|| "-".to_owned()),
            replica.lag_seconds.map_or_else(|| "-".to_owned(), duration),
            duration(replica.age_seconds),
            replica.version.clone(),
        ]
    });
    let rows: Vec<_> = std::iter::once(head.to_vec()).chain(rows).collect();
    painted_table(&rows, Colours::of_stdout(), |row, _| (row == 0).then_some(BOLD))
}

/// The findings, one line each.
pub(super) fn findings(fleet: &ReplicaList, problems: &ProblemList) -> Vec<String> {
    let outage = fleet.share.as_ref().and_then(of_share);
    let of_replicas = fleet.replicas.iter().flat_map(of_replica);
    let of_problems = problems.problems.iter().filter_map(of_problem);
    let of_fleet = namesakes(fleet).into_iter().chain(policies(fleet));
    let findings = outage.into_iter().chain(of_replicas).chain(of_fleet).chain(of_problems);
    findings.map(|finding| one_line(&finding)).collect()
}

/// Problems that keep nothing from being served, one line each.
pub(super) fn notices(problems: &ProblemList) -> Vec<String> {
    let notices = problems.problems.iter().filter(|problem| is_notice(problem));
    notices.map(|notice| one_line(&notice_text(notice))).collect()
}

/// Live replicas with the same name, a line for each name. A replica that replaces a killed one shares its name until the
/// lease of the killed one has ended.
fn namesakes(fleet: &ReplicaList) -> Vec<String> {
    let mut by_name: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for replica in &fleet.replicas {
        if replica.state == ReplicaState::Live && replica.age_seconds > LEASE_SECONDS {
            by_name.entry(&replica.name).or_default().push(&replica.address);
        }
    }
    let shared = by_name.into_iter().filter(|(_, addresses)| addresses.len() > 1);
    let findings = shared.map(|(name, addresses)| {
        let (count, addresses) = (addresses.len(), addresses.join(", "));
        format!(
            "{count} live replicas have the name {name}: {addresses}. Give each its own name (--replica)"
        )
    });
    findings.collect()
}

/// Live replicas with different policies, or with and without one. The answer to a request then depends on the replica.
fn policies(fleet: &ReplicaList) -> Option<String> {
    let mut by_digest: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for replica in fleet.replicas.iter().filter(|replica| replica.state == ReplicaState::Live) {
        let (digest, age) = match &replica.policy {
            Some(policy) => {
                (policy.digest.as_str(), format!(" (for {})", duration(policy.age_seconds)))
            }
            None => ("none", String::new()),
        };
        by_digest.entry(digest).or_default().push(format!("{}{age}", replica.name));
    }
    if by_digest.len() < 2 {
        return None;
    }
    let groups =
        by_digest.iter().map(|(digest, names)| format!("{digest} at {}", names.join(", ")));
    let groups = groups.collect::<Vec<_>>().join("; ");
    Some(format!("live replicas have different policies: {groups}. Give each the same policy file"))
}

fn of_share(share: &ShareStatus) -> Option<String> {
    let away = duration(share.away_seconds?);
    let failure = share.failure.as_deref().unwrap_or("no reason given");
    Some(format!("etcd has been unreachable from the server that answered for {away}: {failure}"))
}

fn of_replica(replica: &ReplicaStatus) -> Vec<String> {
    let name = &replica.name;
    let contact = replica.heard_seconds.map(|it| format!(", last contact {} ago", duration(it)));
    let contact = contact.unwrap_or_default();
    match replica.state {
        ReplicaState::Live => {}
        ReplicaState::Gone => return vec![format!("{name} is gone{contact}")],
        _ => return vec![format!("{name} may be gone{contact}")],
    }
    let lags = replica.labels.iter().filter_map(|label| of_label(label, name));
    let sources = replica.sources.iter().filter_map(|source| of_source(source, name));
    // The problems of the server that answered are listed one by one.
    let held_back = (replica.held_back > 0 && !replica.this)
        .then(|| format!("{name} holds back {} environments", replica.held_back));
    // Its faults are among them.
    let faults = replica.faults.iter().filter(|_| !replica.this);
    let faults = faults.map(|fault| format!("{name}: {fault}"));
    lags.chain(sources).chain(held_back).chain(faults).collect()
}

fn of_label(label: &LabelStatus, replica: &str) -> Option<String> {
    let lag = duration(label.lag_seconds.filter(|lag| *lag > LAG_SECONDS_MAX)?);
    let name = label.label.as_deref().map_or_else(String::new, |label| format!(" of {label}"));
    let revision = short(&label.revision);
    Some(format!(
        "{replica} is at {revision}{name}, which has been behind the newest revision for {lag}"
    ))
}

fn of_source(
    SourceStatus { source, failure, heard_seconds }: &SourceStatus,
    replica: &str,
) -> Option<String> {
    let failure = failure.as_deref()?;
    let contact = match heard_seconds {
        Some(seconds) if *seconds <= LAG_SECONDS_MAX => return None,
        Some(seconds) => format!("has not reached {source} for {}", duration(*seconds)),
        None => format!("has never reached {source}"),
    };
    Some(format!("{replica} {contact}: {failure}"))
}

/// A problem that an operator should look after. Replicas report some kinds themselves once they last: a remote or the
/// etcd of the replicas that is unreachable, a replica that is gone or has a name twice. A notice is no finding.
fn of_problem(problem: &ProblemReport) -> Option<String> {
    if is_notice(problem) {
        return None;
    }
    let ProblemReport { kind, source, reason, .. } = problem;
    let Some(place) = place(problem) else {
        if let Some(environment) = environment(problem) {
            return Some(format!("{environment}: {reason}"));
        }
        // The answer of an older server has no kinds.
        let is_omitted = kind.is_empty() || REPORTED_BY_REPLICAS.iter().any(|it| it.name() == kind);
        return (!is_omitted).then(|| format!("{source}: {reason}"));
    };
    Some(match environment(problem) {
        Some(environment) => format!("{environment} is held back: {place}: {reason}"),
        None => format!("{source}: {place}: {reason}"),
    })
}

fn is_notice(problem: &ProblemReport) -> bool {
    problem.kind == ProblemReport::NOTICE
}

fn notice_text(notice: &ProblemReport) -> String {
    let object = environment(notice).unwrap_or_else(|| notice.source.clone());
    let place = place(notice).map_or_else(String::new, |place| format!("{place}: "));
    format!("notice: {object}: {place}{}", notice.reason)
}

/// `orders/prod of main`.
fn environment(problem: &ProblemReport) -> Option<String> {
    let application = problem.application.as_ref()?;
    let profiles = problem.profiles.as_deref().unwrap_or_default();
    let label = problem.label.as_deref().map_or_else(String::new, |label| format!(" of {label}"));
    Some(format!("{application}/{profiles}{label}"))
}

/// `orders.yml:3`.
fn place(problem: &ProblemReport) -> Option<String> {
    let line = problem.line.map_or_else(String::new, |line| format!(":{line}"));
    problem.file.as_ref().map(|file| format!("{file}{line}"))
}

/// Seconds as people read them: only as exact as it matters.
fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn replica(changes: &Value) -> Value {
        let mut replica = json!({
            "name": "one", "this": false, "state": "live", "version": "1", "age_seconds": 90,
            "heard_seconds": 0, "lag_seconds": 0, "held_back": 0, "sources": [],
            "labels": [{"label": null, "revision": "0123456789abcdef", "lag_seconds": 0}],
        });
        for (key, value) in changes.as_object().unwrap() {
            replica[key] = value.clone();
        }
        replica
    }

    #[track_caller]
    fn check(changes: &Value, expected: &[&str]) {
        let fleet = json!({"share": null, "replicas": [replica(changes)]});
        let fleet: ReplicaList = serde_json::from_value(fleet).unwrap();
        assert_eq!(findings(&fleet, &ProblemList { problems: Vec::new() }), expected);
    }

    #[test]
    fn findings_are_the_faults_of_replicas() {
        check(&json!({}), &[]);
        check(
            &json!({"state": "gone", "heard_seconds": 130}),
            &["one is gone, last contact 2m ago"],
        );
        check(&json!({"state": "unknown", "heard_seconds": null}), &["one may be gone"]);
        let behind = |lag: u64| json!([{"label": "a", "revision": "r", "lag_seconds": lag}]);
        check(&json!({"labels": behind(30)}), &[]);
        check(
            &json!({"labels": behind(31)}),
            &["one is at r of a, which has been behind the newest revision for 31s"],
        );
        let source = |heard: Option<u64>, failure: Option<&str>| json!([{"source": "s", "failure": failure, "heard_seconds": heard}]);
        check(&json!({"sources": source(None, None)}), &[]);
        check(&json!({"sources": source(Some(30), Some("no"))}), &[]);
        check(
            &json!({"sources": source(Some(7200), Some("no\u{1b}"))}),
            &["one has not reached s for 2h: no\\u{1b}"],
        );
        check(&json!({"sources": source(None, Some("no"))}), &["one has never reached s: no"]);
        check(&json!({"held_back": 3}), &["one holds back 3 environments"]);
        check(&json!({"held_back": 3, "this": true}), &[]);
        let faults = json!(["git cannot be run: main: gone"]);
        check(&json!({"faults": faults}), &["one: git cannot be run: main: gone"]);
        check(&json!({"faults": faults, "this": true}), &[]);
    }

    #[test]
    fn live_replicas_with_one_name_are_a_finding_after_a_lease() {
        let listed = |ages: [u64; 2], state: &str| {
            let second = json!({"address": "http://b", "age_seconds": ages[1], "state": state});
            let first = json!({"address": "http://a", "age_seconds": ages[0]});
            let fleet = json!({"share": null, "replicas": [replica(&first), replica(&second)]});
            let fleet: ReplicaList = serde_json::from_value(fleet).unwrap();
            findings(&fleet, &ProblemList { problems: Vec::new() })
        };
        let [finding] = &listed([90, 11], "live")[..] else { panic!("no finding") };
        assert!(
            finding.starts_with("2 live replicas have the name one: http://a, http://b."),
            "{finding}"
        );
        assert!(listed([90, 10], "live").is_empty());
        assert_eq!(listed([90, 90], "gone"), ["one is gone, last contact 0s ago"]);
    }

    #[test]
    fn different_policies_of_live_replicas_are_a_finding() {
        let listed = |[first, second]: [Value; 2], state: &str| {
            let second = json!({"name": "two", "state": state, "policy": second});
            let fleet = json!({"share": null, "replicas": [replica(&json!({"policy": first})), replica(&second)]});
            let fleet: ReplicaList = serde_json::from_value(fleet).unwrap();
            policies(&fleet)
        };
        let policy = |digest: &str| json!({"digest": digest, "age_seconds": 90});
        assert_eq!(listed([policy("0123abcd"), policy("0123abcd")], "live"), None);
        assert_eq!(listed([policy("0123abcd"), policy("4567abcd")], "gone"), None);
        assert_eq!(listed([json!(null), json!(null)], "live"), None);
        assert_eq!(
            listed([policy("0123abcd"), json!(null)], "live").as_deref(),
            Some(
                "live replicas have different policies: 0123abcd at one (for 90s); none at two. \
                 Give each the same policy file"
            )
        );
    }

    #[test]
    fn problems_are_of_environments_or_of_sources() {
        let problems = json!({"problems": [
            {"application": "orders", "profiles": "prod", "label": "main", "source": "s", "file": "a.yml", "line": 3, "reason": "no"},
            {"application": null, "profiles": null, "label": null, "source": "s", "file": "refs/x", "line": null, "reason": "none of ours"},
            {"application": null, "profiles": null, "label": null, "source": "s", "file": null, "line": null, "reason": "it is away"},
            {"kind": "remote-unreachable", "application": null, "profiles": null, "label": null, "source": "s", "file": null, "line": null, "reason": "it is away"},
            {"kind": "content-unreadable", "application": null, "profiles": null, "label": null, "source": "cart/prod", "file": null, "line": null, "reason": "no object"},
            {"kind": "withheld", "application": "cart", "profiles": "prod", "label": null, "source": "s", "file": null, "line": null, "reason": "rollout r-1 was rolled back"},
        ]});
        let problems: ProblemList = serde_json::from_value(problems).unwrap();
        let fleet: ReplicaList =
            serde_json::from_value(json!({"share": null, "replicas": []})).unwrap();
        let expected = [
            "orders/prod of main is held back: a.yml:3: no",
            "s: refs/x: none of ours",
            "cart/prod: no object",
            "cart/prod: rollout r-1 was rolled back",
        ];
        assert_eq!(findings(&fleet, &problems), expected);
        assert_eq!(notices(&problems), [""; 0]);
    }

    #[test]
    fn a_notice_is_no_finding() {
        let problems = json!({"problems": [
            {"kind": "notice", "application": "orders", "profiles": "prod", "label": "main", "source": "s", "file": "a.yml", "line": 3, "reason": "it names no file"},
            {"kind": "notice", "application": null, "profiles": null, "label": null, "source": "s", "file": "config", "line": null, "reason": "not fetched\u{1b}"},
        ]});
        let problems: ProblemList = serde_json::from_value(problems).unwrap();
        let fleet: ReplicaList =
            serde_json::from_value(json!({"share": null, "replicas": []})).unwrap();
        assert_eq!(findings(&fleet, &problems), [""; 0]);
        let expected = [
            "notice: orders/prod of main: a.yml:3: it names no file",
            "notice: s: config: not fetched\\u{1b}",
        ];
        assert_eq!(notices(&problems), expected);
    }

    #[test]
    fn every_replica_is_a_line() {
        let fleet = json!({
            "share": null,
            "replicas": [
                replica(&json!({})),
                replica(&json!({"name": "two", "labels": [], "lag_seconds": null, "age_seconds": 400_000})),
            ],
        });
        let fleet: ReplicaList = serde_json::from_value(fleet).unwrap();
        assert_eq!(
            table(&fleet),
            "REPLICA  STATE  REVISION    LAG  AGE  VERSION\n\
             one      live   0123456789  0s   90s  1\n\
             two      live   -           -    4d   1\n"
        );
    }
}
