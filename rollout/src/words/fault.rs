//! Why a rollout is rolled back, and what it lacks.

use std::fmt;

use super::{count, list};
use crate::Name;
use crate::verdict::{Fault, Incident, IncidentKind, Lack};

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected { instance, reason } => {
                write!(f, "{instance} rejected it{}", because(reason.as_ref()))
            }
            Self::Down { instance, reason } => {
                write!(f, "{instance} reports that it is down{}", because(reason.as_ref()))
            }
            Self::Tried { instance, version, reason } => {
                let version = version.as_ref().map(|own| format!(", version {own},"));
                let version = version.unwrap_or_default();
                write!(f, "{instance}{version} would reject it{}", because(reason.as_ref()))
            }
            Self::Suspects { shown, count, canaries, other_count, others } => {
                f.write_str(&incidents(shown))?;
                let incidents = super::count(*count, "incident");
                let canaries_text =
                    super::count(*canaries, "canary").replace("canarys", "canaries");
                write!(f, ": {incidents} among {canaries_text}, ")?;
                match other_count {
                    0 => write!(f, "none among the other {others}"),
                    _ => write!(f, "{other_count} among the other {others}"),
                }
            }
            Self::Widespread { shown, rejected, count, instances } => {
                f.write_str(&incidents(shown))?;
                let total = super::count(rejected + count, "bad report or incident");
                let total = total.replace("bad report or incidents", "bad reports or incidents");
                write!(f, ": {total} among {instances} instances")
            }
            Self::Check { check } => write!(f, "check {check} is over its threshold"),
            Self::Dependency { rollout } => {
                write!(f, "it contains the content of {rollout}, which was rolled back")
            }
            Self::Person { by, because } => write!(f, "aborted by {by}: {because}"),
            Self::Elsewhere { because } => f.write_str(because),
        }
    }
}

fn because(reason: Option<&Name>) -> String {
    reason.map(|reason| format!(" ({reason})")).unwrap_or_default()
}

/// The first incidents, one after the other.
pub(super) fn incidents(incidents: &[Incident]) -> String {
    let texts: Vec<Name> = incidents.iter().map(|own| own.to_string().into()).collect();
    list(&texts)
}

impl fmt::Display for Incident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instance = &self.instance;
        match self.kind {
            IncidentKind::Restarted(1) => write!(f, "{instance} has restarted"),
            IncidentKind::Restarted(2) => write!(f, "{instance} has restarted twice"),
            IncidentKind::Restarted(count) => write!(f, "{instance} has restarted {count} times"),
            IncidentKind::Gone => write!(f, "{instance} has disconnected"),
            IncidentKind::Silent => write!(f, "{instance} has not reported"),
            IncidentKind::Bad => write!(f, "{instance} has rejected it or is down"),
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replicas(replicas) => {
                write!(f, "no current evidence from {}", list(replicas))
            }
            Self::Instances => f.write_str("no instance to try it on"),
            Self::Canaries { application, present, wanted } => {
                let wanted = count(*wanted, "canary").replace("canarys", "canaries");
                write!(f, "{application} needs {wanted} and has {present} with the change")
            }
            Self::Acknowledgements { ok, given } => {
                write!(f, "{ok} of {} accepted it", count(*given, "instance"))
            }
            Self::Check { check, errors, .. } if *errors > 0 => {
                write!(f, "check {check} could not be made {errors} times in sequence")
            }
            Self::Check { check, good, samples, .. } => {
                write!(f, "check {check} has {good} of {samples} good results")
            }
            Self::Dependency { rollout } => write!(f, "{rollout} has to end first"),
            Self::Time { seconds } => write!(f, "watching for {seconds} s more"),
        }
    }
}
