//! The text of an answer of `/-/fleet`. Pure.

use std::collections::BTreeMap;

use headwater_wire::{
    FleetEnvironment, FleetHistory, FleetRecord, FleetRejection, FleetReplica, FleetStatus,
};

use crate::cli::colour::{BOLD, Colours};
use crate::cli::output::{one_line, painted_table, short};

/// The most names of instances in a line.
const NAME_COUNT_MAX: usize = 3;

/// Returns true if every instance that reports runs the present content, and no replica is missing in the answer.
pub(super) fn is_converged(fleet: &FleetStatus) -> bool {
    let is_complete = fleet.replicas.iter().all(|replica| replica.failure.is_none());
    is_complete && fleet.environments.iter().all(|it| it.rejected == 0 && it.behind == 0)
}

/// A table of the environments, and a line for each.
pub(super) fn environments(fleet: &FleetStatus) -> String {
    let head = [
        "ENVIRONMENT",
        "REVISION",
        "INSTANCES",
        "APPLIED",
        "REJECTED",
        "BEHIND",
        "UNREPORTED",
        "GONE",
    ];
    let rows = fleet.environments.iter().map(|it| {
        let counts = [it.instances, it.applied, it.rejected, it.behind, it.unreported, it.gone];
        let names = [name(it), it.revision.as_deref().map_or_else(|| "-".to_owned(), short)];
        names.into_iter().chain(counts.map(|count| count.to_string())).collect()
    });
    let rows: Vec<Vec<String>> =
        std::iter::once(head.map(str::to_owned).to_vec()).chain(rows).collect();
    let lines = fleet.environments.iter().map(line).chain(missing(&fleet.replicas));
    table(&rows) + &below(lines)
}

/// A line for a service without instances.
pub(super) fn unknown(fleet: &FleetStatus, application: &str) -> String {
    let line = format!("no instance of {application} has reported");
    format!("{}\n{}", one_line(&line), below(missing(&fleet.replicas)))
}

/// A table of instances, with their reports.
pub(super) fn instances(fleet: &FleetStatus) -> String {
    let head =
        ["INSTANCE", "ENVIRONMENT", "STATE", "REVISION", "HEALTH", "RESTARTS", "REPLICA", "REASON"];
    let rows = fleet.instances.iter().map(|instance| {
        let status = &instance.status;
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let label = status.label.as_deref();
        vec![
            status.instance.clone(),
            environment_name(&status.application, &status.profiles, label),
            instance.state.name().to_owned(),
            or_none(status.revision.as_deref().map(short)),
            or_none(status.health.map(|health| health.name().to_owned())),
            status.restarts.to_string(),
            instance.replica.clone(),
            or_none(status.reason.clone()),
        ]
    });
    let rows: Vec<Vec<String>> =
        std::iter::once(head.map(str::to_owned).to_vec()).chain(rows).collect();
    table(&rows) + &below(missing(&fleet.replicas))
}

/// A table of the instances that were present at a time.
pub(super) fn past(past: &FleetHistory) -> String {
    let head = ["INSTANCE", "ENVIRONMENT", "OUTCOME", "REVISION", "SINCE", "REPLICA", "REASON"];
    let rows = past.records.iter().map(|record| {
        let or_none = |text: Option<&str>| text.unwrap_or("-").to_owned();
        let FleetRecord { application, profiles, label, .. } = record;
        vec![
            record.instance.clone(),
            environment_name(application, profiles, label.as_deref()),
            or_none(record.outcome.map(|outcome| outcome.name())),
            record.revision.as_deref().map_or_else(|| "-".to_owned(), short),
            or_none(record.since.as_deref()),
            record.replica.clone(),
            or_none(record.reason.as_deref()),
        ]
    });
    let rows: Vec<Vec<String>> =
        std::iter::once(head.map(str::to_owned).to_vec()).chain(rows).collect();
    table(&rows) + &below(missing(&past.replicas))
}

fn table(rows: &[Vec<String>]) -> String {
    painted_table(rows, Colours::of_stdout(), |row, _| (row == 0).then_some(BOLD))
}

/// `product/prod: 98 of 100 run e796e2dd67, 2 rejected it: type a.b (web-7, web-9)`.
fn line(environment: &FleetEnvironment) -> String {
    let FleetEnvironment { instances, applied, rejected, behind, unreported, .. } = environment;
    let name = name(environment);
    let Some(revision) = environment.revision.as_deref().map(short) else {
        return format!(
            "{name}: the server has no such environment, and {instances} instances follow it"
        );
    };
    let mut parts = vec![format!("{name}: {applied} of {instances} run {revision}")];
    if *rejected > 0 {
        let reasons = reasons(&environment.rejections, *rejected);
        parts.push(format!("{rejected} rejected it: {reasons}"));
    }
    let others = [(*behind, "behind"), (*unreported, "unreported"), (environment.down, "down")];
    parts.extend(
        others
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}")),
    );
    parts.join(", ")
}

/// The reasons, each with the first instances that gave it.
fn reasons(rejections: &[FleetRejection], count: u64) -> String {
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for FleetRejection { instance, reason, .. } in rejections {
        by_reason.entry(reason.as_deref().unwrap_or("no reason given")).or_default().push(instance);
    }
    let mut reasons: Vec<String> = by_reason
        .into_iter()
        .map(|(reason, names)| {
            let shown = names[..names.len().min(NAME_COUNT_MAX)].join(", ");
            let more = names.len().saturating_sub(NAME_COUNT_MAX);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("{reason} ({shown}{more})")
        })
        .collect();
    let unlisted = count.saturating_sub(rejections.len() as u64);
    if unlisted > 0 {
        reasons.push(format!("{unlisted} more"));
    }
    reasons.join("; ")
}

/// The replicas whose instances are missing.
fn missing(replicas: &[FleetReplica]) -> impl Iterator<Item = String> {
    replicas.iter().filter_map(|replica| {
        let failure = replica.failure.as_deref()?;
        Some(format!("the instances of replica {} are missing: {failure}", replica.name))
    })
}

/// Lines after an empty one.
fn below(lines: impl Iterator<Item = String>) -> String {
    let lines: String = lines.map(|line| format!("{}\n", one_line(&line))).collect();
    if lines.is_empty() { lines } else { format!("\n{lines}") }
}

fn name(environment: &FleetEnvironment) -> String {
    let FleetEnvironment { application, profiles, label, .. } = environment;
    environment_name(application, profiles, label.as_deref())
}

fn environment_name(application: &str, profiles: &str, label: Option<&str>) -> String {
    let label = label.map(|label| format!(" of {label}")).unwrap_or_default();
    format!("{application}/{profiles}{label}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> FleetEnvironment {
        FleetEnvironment {
            application: "product".to_owned(),
            profiles: "prod".to_owned(),
            label: None,
            revision: Some("e796e2dd67a1".to_owned()),
            instances: 100,
            applied: 98,
            rejected: 0,
            behind: 0,
            unreported: 2,
            gone: 1,
            down: 0,
            rejections: Vec::new(),
        }
    }

    fn rejection(instance: &str, reason: Option<&str>) -> FleetRejection {
        let since = "2026-11-20T14:00:00Z".to_owned();
        FleetRejection { instance: instance.to_owned(), reason: reason.map(str::to_owned), since }
    }

    fn fleet(environment: FleetEnvironment) -> FleetStatus {
        FleetStatus {
            replicas: Vec::new(),
            environments: vec![environment],
            count: 1,
            next: None,
            instances: Vec::new(),
        }
    }

    #[test]
    fn a_line_says_how_many_run_which_revision_and_why_the_others_do_not() {
        assert_eq!(line(&environment()), "product/prod: 98 of 100 run e796e2dd67, 2 unreported");
        let names = ["web-1", "web-2", "web-3", "web-4"];
        let mut rejections: Vec<_> =
            names.iter().map(|name| rejection(name, Some("type a.b"))).collect();
        rejections.push(rejection("web-9", None));
        let rejected = FleetEnvironment {
            applied: 90,
            rejected: 7,
            behind: 1,
            down: 1,
            label: Some("main".to_owned()),
            rejections,
            ..environment()
        };
        assert_eq!(
            line(&rejected),
            "product/prod of main: 90 of 100 run e796e2dd67, \
             7 rejected it: no reason given (web-9); type a.b (web-1, web-2, web-3 and 1 more); 2 more, \
             1 behind, 2 unreported, 1 down"
        );
        assert!(!is_converged(&fleet(rejected)));
    }

    #[test]
    fn an_answer_without_a_replica_is_not_converged() {
        let mut fleet = fleet(environment());
        assert!(is_converged(&fleet));
        fleet.replicas.push(FleetReplica {
            name: "two".to_owned(),
            instances: 0,
            failure: Some("it did not answer within 2 s".to_owned()),
        });
        assert!(!is_converged(&fleet));
        let text = environments(&fleet);
        assert!(text.contains("the instances of replica two are missing: it did not"), "{text}");
    }
}
