//! The receivers of events of rollouts: the audit trail, the log, the figures for metrics and the stream of events.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use headwater_rollout::event::EventKind;
use headwater_rollout::state::Pause;
use headwater_rollout::verdict::Fault;

use super::view::{EventSink, RecordedEvent};
use crate::audit::{Audit, AuditEvent, Entry};
use crate::store::{EventLog, RolloutNotice, Store};
use crate::sync::lock;

/// The principal of automatic steps in audit lines.
const PRINCIPAL: &str = "rollout";

/// Returns the receivers of a server, in the order in which they are called, and the figures that one of them counts.
pub fn sinks(
    store: &Store,
    audit: Option<&Arc<Audit>>,
) -> (Vec<Arc<dyn EventSink>>, Arc<RolloutFigures>) {
    let figures = Arc::<RolloutFigures>::default();
    let mut sinks: Vec<Arc<dyn EventSink>> = Vec::new();
    if let Some(audit) = audit {
        sinks.push(Arc::new(AuditSink(Arc::clone(audit))));
    }
    sinks.push(Arc::new(LogSink));
    sinks.push(Arc::clone(&figures) as Arc<dyn EventSink>);
    sinks.push(Arc::new(StreamSink(Arc::clone(&store.events))));
    (sinks, figures)
}

/// Records automatic steps in the audit trail. The lines of commands are durable before the commands take effect, and are
/// written where the commands arrive.
struct AuditSink(Arc<Audit>);

impl EventSink for AuditSink {
    fn record(&self, recorded: &RecordedEvent) {
        let kind = &recorded.event.kind;
        if !is_automatic(kind) {
            return;
        }
        let members: Vec<&str> = recorded.members.iter().map(|name| &**name).collect();
        let application = match members[..] {
            [one] => Some(one.to_owned()),
            _ => None,
        };
        self.0.record(&Entry {
            principal: Some(PRINCIPAL.to_owned()),
            application,
            path: Some(recorded.repository.to_string()),
            branch: Some(recorded.branch.to_string()),
            outcome: Some(kind.as_str().to_owned()),
            reason: Some(kind.to_string()),
            details: vec![
                format!("rollout={}", recorded.event.rollout),
                format!("applications={}", members.join(",")),
            ],
            ..Entry::new(AuditEvent::Rollout)
        });
    }
}

/// Returns true for an event that changes a rollout without a command of a person.
fn is_automatic(kind: &EventKind) -> bool {
    match kind {
        EventKind::Paused { pause: Pause::Person { .. } }
        | EventKind::Withheld { fault: Fault::Person { .. }, .. }
        | EventKind::Resumed { .. }
        | EventKind::Promoted { .. } => false,
        // They are observations, and change nothing that is served.
        EventKind::Suspect { .. } | EventKind::CheckFails { .. } => false,
        EventKind::Opened { .. }
        | EventKind::Waiting { .. }
        | EventKind::Stage { .. }
        | EventKind::All
        | EventKind::Replaced { .. }
        | EventKind::Paused { .. }
        | EventKind::Done
        | EventKind::Withheld { .. }
        | EventKind::Superseded { .. }
        | EventKind::Released { .. }
        | EventKind::Gone => true,
    }
}

/// Writes a line to the log for each event.
struct LogSink;

impl EventSink for LogSink {
    fn record(&self, recorded: &RecordedEvent) {
        let RecordedEvent { repository, branch, event, .. } = recorded;
        let (rollout, kind) = (&event.rollout, &event.kind);
        let (event, text) = (kind.as_str(), kind.to_string());
        let needs_attention = matches!(
            kind,
            EventKind::Withheld { .. } | EventKind::Paused { .. } | EventKind::CheckFails { .. }
        );
        if needs_attention {
            tracing::warn!(%repository, %branch, %rollout, event, text, "a rollout needs attention");
        } else {
            tracing::info!(%repository, %branch, %rollout, event, text, "a rollout has changed");
        }
    }
}

/// Passes events on to the subscribers of the server.
struct StreamSink(Arc<EventLog>);

impl EventSink for StreamSink {
    fn record(&self, recorded: &RecordedEvent) {
        self.0.record_rollout(RolloutNotice {
            at: recorded.at,
            repository: Arc::clone(&recorded.repository),
            branch: recorded.branch.clone(),
            is_head: recorded.is_head,
            members: Arc::clone(&recorded.members),
            event: recorded.event.clone(),
        });
    }
}

/// The end of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolloutOutcome {
    Done,
    Withheld,
    Superseded,
    Released,
    Gone,
}

impl RolloutOutcome {
    pub const ALL: [Self; 5] =
        [Self::Done, Self::Withheld, Self::Superseded, Self::Released, Self::Gone];

    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Withheld => "withheld",
            Self::Superseded => "superseded",
            Self::Released => "released",
            Self::Gone => "gone",
        }
    }

    /// The end that an event means for a rollout. `is_last` tells that the rollout has no entry any more.
    fn of(kind: &EventKind, is_last: bool) -> Option<Self> {
        match kind {
            EventKind::Withheld { .. } => Some(Self::Withheld),
            EventKind::Done => Some(Self::Done),
            EventKind::Gone => Some(Self::Gone),
            EventKind::Superseded { .. } if is_last => Some(Self::Superseded),
            EventKind::Released { .. } if is_last => Some(Self::Released),
            _ => None,
        }
    }
}

/// The figures of rollouts for metrics.
#[derive(Debug, Default)]
pub struct RolloutFigures {
    ended: [AtomicU64; RolloutOutcome::ALL.len()],
    /// By repository with running rollouts, the time at which their evidence was collected last.
    evidence: Mutex<BTreeMap<Arc<str>, Instant>>,
}

impl RolloutFigures {
    /// The number of rollouts with each end since the start of the server.
    pub fn ended(&self) -> impl Iterator<Item = (RolloutOutcome, u64)> {
        let count = |outcome: RolloutOutcome| self.ended[outcome as usize].load(Ordering::Relaxed);
        RolloutOutcome::ALL.into_iter().map(move |outcome| (outcome, count(outcome)))
    }

    /// Records that the evidence of a repository is collected now, or that no rollout needs any.
    pub fn record_evidence(&self, repository: &Arc<str>, is_needed: bool) {
        let mut evidence = lock(&self.evidence);
        if is_needed {
            evidence.insert(Arc::clone(repository), Instant::now());
        } else {
            evidence.remove(repository);
        }
    }

    /// The time since the evidence of a repository was collected. `None` if no rollout needs any.
    pub fn evidence_age(&self, repository: &str) -> Option<Duration> {
        lock(&self.evidence).get(repository).map(Instant::elapsed)
    }
}

impl EventSink for RolloutFigures {
    fn record(&self, recorded: &RecordedEvent) {
        if let Some(outcome) = RolloutOutcome::of(&recorded.event.kind, recorded.is_last) {
            self.ended[outcome as usize].fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use headwater_rollout::Name;
    use headwater_rollout::event::Event;
    use jiff::Timestamp;

    use super::*;

    fn recorded(kind: EventKind, is_last: bool) -> RecordedEvent {
        RecordedEvent {
            at: Timestamp::UNIX_EPOCH,
            repository: "main".into(),
            branch: "main".into(),
            is_head: true,
            members: ["order", "product"].map(Name::from).into(),
            is_last,
            event: Event { rollout: "r-1".into(), kind },
        }
    }

    fn withheld(fault: Fault) -> EventKind {
        let applications = vec!["order".into()];
        EventKind::Withheld { fault, applications, stable: "a".into(), tip: "b".into() }
    }

    #[test]
    fn ends_are_counted_by_outcome() {
        let figures = RolloutFigures::default();
        let released = || EventKind::Released { applications: vec!["order".into()] };
        let rejected = Fault::Rejected { instance: "web-1".into(), reason: None };
        for (kind, is_last) in [
            (released(), false),
            (released(), true),
            (EventKind::All, false),
            (EventKind::Done, true),
            (withheld(rejected), false),
        ] {
            figures.record(&recorded(kind, is_last));
        }
        let ended: Vec<(&str, u64)> =
            figures.ended().map(|(outcome, count)| (outcome.name(), count)).collect();
        let expected =
            [("done", 1), ("withheld", 1), ("superseded", 0), ("released", 1), ("gone", 0)];
        assert_eq!(ended, expected);
    }

    #[test]
    fn evidence_has_an_age_while_a_rollout_needs_it() {
        let figures = RolloutFigures::default();
        assert_eq!(figures.evidence_age("main"), None);
        figures.record_evidence(&"main".into(), true);
        assert!(figures.evidence_age("main").is_some());
        assert_eq!(figures.evidence_age("other"), None);
        figures.record_evidence(&"main".into(), false);
        assert_eq!(figures.evidence_age("main"), None);
    }

    #[test]
    fn commands_of_people_are_not_automatic() {
        let (by, because) = (Name::from("jo"), Name::from("a test"));
        let person = Pause::Person { by: by.clone(), because: because.clone() };
        let abort = Fault::Person { by: by.clone(), because: because.clone() };
        for kind in [
            EventKind::Paused { pause: person },
            EventKind::Promoted { by: by.clone(), because: because.clone() },
            EventKind::Resumed { by, because },
            withheld(abort),
        ] {
            assert!(!is_automatic(&kind), "{kind}");
        }
        let dependency = Fault::Dependency { rollout: "r-0".into() };
        let deadline = Pause::Deadline { why: "no evidence".into() };
        for kind in [EventKind::Paused { pause: deadline }, EventKind::All, withheld(dependency)] {
            assert!(is_automatic(&kind), "{kind}");
        }
    }
}
