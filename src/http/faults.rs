//! The present faults of the server, as health, metrics and `/-/problems` show them.

use std::time::{Duration, SystemTime};

use headwater_wire::{FaultHealth, ProblemReport};

use super::Http;
use crate::faults::{Expiry, Fault, FaultKind};

/// Collects the present faults from memory.
pub(super) fn current(http: &Http) -> Vec<Fault> {
    let mut faults = http.store.known_faults();
    faults.extend(http.replicas.share_fault());
    faults
}

/// Counts the faults of each kind.
pub(super) fn counts(faults: &[Fault]) -> impl Iterator<Item = (FaultKind, usize)> {
    FaultKind::ALL
        .into_iter()
        .map(|kind| (kind, faults.iter().filter(|it| it.kind == kind).count()))
}

/// Shows a fault as a detail of health.
pub(super) fn detail(fault: &Fault) -> FaultHealth {
    FaultHealth {
        kind: fault.kind.name().to_owned(),
        object: fault.object.clone(),
        seconds: fault.lasted.map(|lasted| lasted.as_secs()),
        error: fault.reason.clone(),
    }
}

/// Shows a fault as a problem of the server, without an environment or a file. Returns `None` for kinds that
/// `/-/problems` shows as problems of a source.
pub(super) fn problem(fault: &Fault) -> Option<ProblemReport> {
    if matches!(fault.kind, FaultKind::RemoteUnreachable | FaultKind::SourceProblem) {
        return None;
    }
    Some(ProblemReport {
        kind: fault.kind.name().to_owned(),
        source: fault.object.clone(),
        since: fault.lasted.and_then(time_ago),
        reason: format!("{}: {}", fault.kind.summary(), fault.reason),
        ..ProblemReport::default()
    })
}

/// Shows a credential that expires soon as a notice.
pub(super) fn expiry(expiry: &Expiry) -> ProblemReport {
    ProblemReport {
        kind: ProblemReport::NOTICE.to_owned(),
        source: "credentials".to_owned(),
        reason: expiry.text(),
        ..ProblemReport::default()
    }
}

/// Formats the point in time that lies a duration in the past.
pub(super) fn time_ago(age: Duration) -> Option<String> {
    let time = jiff::Timestamp::try_from(SystemTime::now().checked_sub(age)?).ok()?;
    Some(time.to_string())
}
