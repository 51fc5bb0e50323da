//! How far each environment has reached its instances, from the reports of all replicas. Pure.

use std::collections::BTreeMap;

use headwater_wire::{
    FleetEnvironment, FleetInstance, FleetInstanceState, FleetRejection, InstanceHealth,
    InstanceStatus, Outcome,
};
use jiff::{SignedDuration, Timestamp};

use crate::model::Digest;

/// The time after which a disconnected instance that reported an outcome counts as gone.
const GONE_AFTER: SignedDuration = SignedDuration::from_secs(60);
/// The most rejections of an environment that are listed.
const REJECTION_COUNT_MAX: usize = 100;

/// An instance as one replica reported it.
#[derive(Debug, Clone)]
pub struct ReportedInstance {
    /// The name of the replica.
    pub replica: String,
    /// The report.
    pub status: InstanceStatus,
}

/// An environment by its names: application, profiles and label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnvironmentName {
    /// The application.
    pub application: String,
    /// The profiles, joined by commas.
    pub profiles: String,
    /// `None` for the default label.
    pub label: Option<String>,
}

/// The content that a server presently serves for an environment.
#[derive(Debug, Clone, Default)]
pub struct PresentContent {
    /// `None` if the server serves no such environment.
    pub revision: Option<String>,
    /// The digests of the variants that callers can receive.
    pub digests: Vec<Digest>,
}

impl EnvironmentName {
    /// The environment that an instance follows.
    pub fn of(status: &InstanceStatus) -> Self {
        let InstanceStatus { application, profiles, label, .. } = status;
        Self { application: application.clone(), profiles: profiles.clone(), label: label.clone() }
    }

    /// The place of the environment in lists. The names contain no NUL.
    pub fn sort_key(&self) -> String {
        let label = self.label.as_deref().unwrap_or_default();
        format!("{}\0{}\0{label}", self.application, self.profiles)
    }
}

/// Groups the instances of all replicas by environment. An instance that several replicas report is in the result once,
/// by the newest report. Several clients with one name stay apart only while they are connected.
pub fn merge(reported: Vec<ReportedInstance>) -> BTreeMap<EnvironmentName, Vec<ReportedInstance>> {
    let mut named: BTreeMap<(EnvironmentName, String), Vec<ReportedInstance>> = BTreeMap::new();
    for instance in reported {
        let key = (EnvironmentName::of(&instance.status), instance.status.instance.clone());
        add(named.entry(key).or_default(), instance);
    }
    let mut merged: BTreeMap<EnvironmentName, Vec<ReportedInstance>> = BTreeMap::new();
    for ((environment, _), instances) in named {
        merged.entry(environment).or_default().extend(instances);
    }
    merged
}

/// Adds a report about one name to the earlier ones.
fn add(known: &mut Vec<ReportedInstance>, new: ReportedInstance) {
    let same = known.iter().position(|it| it.status.incarnation == new.status.incarnation);
    if let Some(at) = same {
        if is_newer(&new.status, &known[at].status) {
            known[at] = new;
        }
        return;
    }
    known.push(new);
    if known.iter().any(|it| it.status.connected) {
        known.retain(|it| it.status.connected);
    } else if let Some(newest) = known.iter().max_by_key(|it| time(&it.status.last_seen)).cloned() {
        *known = vec![newest];
    }
}

/// Compares two reports of one incarnation. A connected client is where it is connected. With two connections, one of
/// which is broken without notice, the later acknowledgement decides.
fn is_newer(new: &InstanceStatus, old: &InstanceStatus) -> bool {
    let order = |it: &InstanceStatus| {
        let by = if it.connected { &it.since } else { &it.last_seen };
        (it.connected, time(by))
    };
    order(new) > order(old)
}

/// Parses the time of a replica. A text that is none is the oldest.
fn time(text: &str) -> Timestamp {
    text.parse().unwrap_or(Timestamp::MIN)
}

/// Returns the state of an instance.
pub fn state(
    status: &InstanceStatus,
    present: &PresentContent,
    now: Timestamp,
) -> FleetInstanceState {
    let is_absent = status
        .disconnected_since
        .as_deref()
        .is_some_and(|since| now.duration_since(time(since)) >= GONE_AFTER);
    let (Some(outcome), Some(digest)) = (status.outcome, status.digest.as_deref()) else {
        return FleetInstanceState::Unreported;
    };
    let is_present = Digest::parse(digest).is_some_and(|it| present.digests.contains(&it));
    match outcome {
        _ if is_absent => FleetInstanceState::Gone,
        Outcome::Applied if is_present => FleetInstanceState::Applied,
        Outcome::Rejected if is_present => FleetInstanceState::Rejected,
        _ => FleetInstanceState::Behind,
    }
}

/// Counts the instances of one environment.
pub fn count(
    name: &EnvironmentName,
    present: &PresentContent,
    instances: &[ReportedInstance],
    now: Timestamp,
) -> FleetEnvironment {
    let mut counted = FleetEnvironment {
        application: name.application.clone(),
        profiles: name.profiles.clone(),
        label: name.label.clone(),
        revision: present.revision.clone(),
        instances: 0,
        applied: 0,
        rejected: 0,
        behind: 0,
        unreported: 0,
        gone: 0,
        down: 0,
        rejections: Vec::new(),
    };
    for ReportedInstance { status, .. } in instances {
        let state = state(status, present, now);
        match state {
            FleetInstanceState::Applied => counted.applied += 1,
            FleetInstanceState::Rejected => counted.rejected += 1,
            FleetInstanceState::Behind => counted.behind += 1,
            FleetInstanceState::Gone => counted.gone += 1,
            _ => counted.unreported += 1,
        }
        if state == FleetInstanceState::Rejected && counted.rejections.len() < REJECTION_COUNT_MAX {
            counted.rejections.push(FleetRejection {
                instance: status.instance.clone(),
                reason: status.reason.clone(),
                since: status.since.clone(),
            });
        }
        let is_gone = state == FleetInstanceState::Gone;
        counted.instances += u64::from(!is_gone);
        counted.down += u64::from(!is_gone && status.health == Some(InstanceHealth::Down));
    }
    counted
}

/// Shows an instance with its state.
pub fn show(
    ReportedInstance { replica, status }: &ReportedInstance,
    present: &PresentContent,
    now: Timestamp,
) -> FleetInstance {
    let state = state(status, present, now);
    FleetInstance { replica: replica.clone(), state, status: status.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-20T14:00:00Z".parse().unwrap()
    }

    fn digest(digit: &str) -> String {
        digit.repeat(64)
    }

    fn status(name: &str, digit: &str, outcome: Option<Outcome>) -> InstanceStatus {
        InstanceStatus {
            instance: name.to_owned(),
            incarnation: Some(format!("{name}-1")),
            attributes: BTreeMap::new(),
            application: "product".to_owned(),
            profiles: "prod".to_owned(),
            label: None,
            revision: outcome.map(|_| digit.repeat(40)),
            digest: outcome.map(|_| digest(digit)),
            outcome,
            since: "2026-11-20T13:00:00Z".to_owned(),
            reason: None,
            contract: None,
            health: None,
            down_reports: 0,
            witness: false,
            tries: false,
            restarts: 0,
            last_seen: "2026-11-20T14:00:00Z".to_owned(),
            connected: true,
            disconnected_since: None,
        }
    }

    fn disconnected(status: InstanceStatus, since: &str) -> InstanceStatus {
        InstanceStatus {
            connected: false,
            last_seen: since.to_owned(),
            disconnected_since: Some(since.to_owned()),
            ..status
        }
    }

    fn at(replica: &str, status: InstanceStatus) -> ReportedInstance {
        ReportedInstance { replica: replica.to_owned(), status }
    }

    fn present() -> PresentContent {
        PresentContent {
            revision: Some("2".repeat(40)),
            // The opened and the sealed variant.
            digests: vec![
                Digest::parse(&digest("2")).unwrap(),
                Digest::parse(&digest("3")).unwrap(),
            ],
        }
    }

    fn only(reported: Vec<ReportedInstance>) -> Vec<ReportedInstance> {
        let mut merged = merge(reported);
        assert_eq!(merged.len(), 1);
        merged.pop_first().unwrap().1
    }

    #[test]
    fn instances_are_counted_by_what_they_run() {
        let ok = Some(Outcome::Applied);
        let rejected = InstanceStatus {
            reason: Some("type a".to_owned()),
            ..status("e", "2", Some(Outcome::Rejected))
        };
        let down = InstanceStatus { health: Some(InstanceHealth::Down), ..status("f", "1", None) };
        let instances = only(vec![
            at("one", status("a", "2", ok)),
            at("one", status("b", "3", ok)),
            at("one", status("c", "1", ok)),
            // It rejected older content and has not reported the present one.
            at("one", status("d", "1", Some(Outcome::Rejected))),
            at("two", rejected),
            at("two", down),
            at("two", disconnected(status("g", "1", ok), "2026-11-20T13:59:00Z")),
            at("two", disconnected(status("h", "2", ok), "2026-11-20T13:59:01Z")),
        ]);
        let name = EnvironmentName::of(&instances[0].status);
        let counted = count(&name, &present(), &instances, now());
        let counts = [
            counted.instances,
            counted.applied,
            counted.rejected,
            counted.behind,
            counted.unreported,
            counted.gone,
            counted.down,
        ];
        assert_eq!(counts, [7, 3, 1, 2, 1, 1, 1]);
        assert_eq!(counted.instances, counts[1..5].iter().sum::<u64>());
        let [rejection] = &*counted.rejections else { panic!("{:?}", counted.rejections) };
        assert_eq!((&*rejection.instance, rejection.reason.as_deref()), ("e", Some("type a")));
        // Without the environment, nothing is the present content.
        let unknown = count(&name, &PresentContent::default(), &instances, now());
        assert_eq!((unknown.applied, unknown.rejected, unknown.behind), (0, 0, 6));
    }

    #[test]
    fn an_instance_at_two_replicas_counts_once_by_the_newest_report() {
        let ok = Some(Outcome::Applied);
        let moved = disconnected(status("a", "1", ok), "2026-11-20T13:59:59Z");
        for reported in [
            [at("one", moved.clone()), at("two", status("a", "2", ok))],
            [at("two", status("a", "2", ok)), at("one", moved.clone())],
        ] {
            let instances = only(reported.to_vec());
            assert_eq!(instances.len(), 1);
            assert_eq!((&*instances[0].replica, instances[0].status.connected), ("two", true));
        }
        // Both connections look alive. The later acknowledgement is true.
        let later =
            InstanceStatus { since: "2026-11-20T13:30:00Z".to_owned(), ..status("a", "2", ok) };
        let instances = only(vec![at("one", status("a", "1", ok)), at("two", later)]);
        assert_eq!((instances.len(), &*instances[0].replica), (1, "two"));
    }

    #[test]
    fn a_restart_at_another_replica_replaces_the_former_run() {
        let ok = Some(Outcome::Applied);
        let former = disconnected(status("a", "1", ok), "2026-11-20T13:59:59Z");
        let restarted =
            InstanceStatus { incarnation: Some("a-2".to_owned()), ..status("a", "2", ok) };
        let instances = only(vec![at("one", former.clone()), at("two", restarted.clone())]);
        assert_eq!(instances.len(), 1);
        assert_eq!(instances[0].status.incarnation.as_deref(), Some("a-2"));
        // Two runs that are both disconnected: the later one counts.
        let stopped = disconnected(restarted.clone(), "2026-11-20T13:59:58Z");
        let instances = only(vec![at("one", former), at("two", stopped)]);
        assert_eq!(instances[0].status.incarnation.as_deref(), Some("a-1"));
        // Two runs that are both connected are two clients.
        let both = only(vec![at("one", status("a", "2", ok)), at("two", restarted)]);
        assert_eq!(both.len(), 2);
    }

    #[test]
    fn the_list_of_rejections_is_bounded() {
        let rejected =
            |number: usize| at("one", status(&format!("i{number}"), "2", Some(Outcome::Rejected)));
        let instances: Vec<_> = (0..REJECTION_COUNT_MAX + 5).map(rejected).collect();
        let name = EnvironmentName::of(&instances[0].status);
        let counted = count(&name, &present(), &instances, now());
        assert_eq!((counted.rejected, counted.rejections.len()), (105, REJECTION_COUNT_MAX));
    }
}
