//! The applications of a rollout that a caller may see, and the texts about them.
//!
//! Invariant: a caller that may not read every application of a rollout receives no text with the name of an instance, of
//! a person or of a hidden application, because the instances of a hidden application must not be told apart from none.

use std::collections::BTreeSet;

use headwater_rollout::Name;
use headwater_rollout::event::{Canaries, EventKind};
use headwater_rollout::state::{OTHERS, Pause};
use headwater_rollout::verdict::{Fault, Incident, IncidentKind, Lack};

use crate::access::Identity;
use crate::http::identity::ListFilter;
use crate::model::Label;

/// The part of a rollout that a caller may see.
#[derive(Debug, Clone)]
pub(super) struct Sight {
    /// The names of applications, and [`OTHERS`].
    shown: BTreeSet<Name>,
    /// The caller may read every application.
    pub(super) is_complete: bool,
    /// The caller may read the names of replicas.
    shows_replicas: bool,
}

impl Sight {
    /// Returns the part that a filter leaves of a branch with these labels. `None` if it leaves nothing.
    pub(super) fn of<'n>(
        filter: ListFilter<'_>,
        labels: &[Label],
        members: impl IntoIterator<Item = &'n Name>,
    ) -> Option<Self> {
        let Some(identity) = filter.identity() else {
            return Some(Self::complete(members));
        };
        let members: BTreeSet<Name> = members.into_iter().cloned().collect();
        let is_shown = |name: &&Name| labels.iter().any(|label| reads(identity, name, label));
        let shown: BTreeSet<Name> = members.iter().filter(is_shown).cloned().collect();
        // The applications behind OTHERS are not known, so that the caller may not be able to read all of them.
        let is_complete = shown.len() == members.len() && !members.contains(OTHERS);
        (!shown.is_empty()).then_some(Self { shown, is_complete, shows_replicas: false })
    }

    /// The whole rollout.
    pub(super) fn complete<'n>(members: impl IntoIterator<Item = &'n Name>) -> Self {
        let shown = members.into_iter().cloned().collect();
        Self { shown, is_complete: true, shows_replicas: true }
    }

    /// The names of all applications, for a caller that may control but not read them.
    pub(super) fn of_names<'n>(members: impl IntoIterator<Item = &'n Name>) -> Self {
        let shown = members.into_iter().cloned().collect();
        Self { shown, is_complete: false, shows_replicas: false }
    }

    pub(super) fn shows(&self, application: &str) -> bool {
        self.shown.contains(application)
    }

    /// The applications that an event is about, as far as the caller may see them.
    pub(super) fn applications(&self, kind: &EventKind) -> Vec<Name> {
        let named: &[Name] = match kind {
            EventKind::Superseded { applications, .. } | EventKind::Released { applications } => {
                applications
            }
            EventKind::Replaced { application } => std::slice::from_ref(application),
            _ => &[],
        };
        if named.is_empty() {
            return self.shown.iter().cloned().collect();
        }
        let shown: BTreeSet<&Name> = named.iter().filter(|name| self.shows(name)).collect();
        shown.into_iter().cloned().collect()
    }

    /// Describes an event. `None` if it is about hidden applications only.
    pub(super) fn text(&self, kind: &EventKind) -> Option<String> {
        if self.applications(kind).is_empty() {
            return None;
        }
        let shown = |names: &[Name]| -> Vec<Name> {
            names.iter().filter(|name| self.shows(name)).cloned().collect()
        };
        let (by, because) = (a_user(), Name::from("the reason is not shown"));
        let text = match kind {
            EventKind::Paused { pause } => format!("paused: {}", self.pause(pause)),
            _ if self.is_complete => kind.to_string(),
            EventKind::Opened { applications, plan } => {
                let applications = shown(applications);
                EventKind::Opened { applications, plan: plan.clone() }.to_string()
            }
            EventKind::Stage { index, count, canaries } => {
                let shown = canaries.iter().filter(|own| self.shows(&own.application));
                let shown: Vec<String> = shown.map(Canaries::to_string).collect();
                let separator = if shown.is_empty() { "" } else { ": " };
                format!("stage {} of {count}{separator}{}", index + 1, shown.join(", "))
            }
            EventKind::Suspect { incidents } => {
                let incidents = incidents.iter().map(anonymous).collect();
                EventKind::Suspect { incidents }.to_string()
            }
            EventKind::Resumed { .. } => EventKind::Resumed { by, because }.to_string(),
            EventKind::Promoted { .. } => EventKind::Promoted { by, because }.to_string(),
            EventKind::Withheld { fault, .. } => format!("rolled back: {}", anonymous_fault(fault)),
            EventKind::Superseded { applications, next } => {
                let applications = shown(applications);
                EventKind::Superseded { applications, next: next.clone() }.to_string()
            }
            EventKind::Released { applications } => {
                EventKind::Released { applications: shown(applications) }.to_string()
            }
            EventKind::Waiting { .. }
            | EventKind::All
            | EventKind::Replaced { .. }
            | EventKind::Done
            | EventKind::CheckFails { .. }
            | EventKind::Gone => kind.to_string(),
        };
        Some(text)
    }

    /// Describes a pause.
    pub(super) fn pause(&self, pause: &Pause) -> String {
        match pause {
            Pause::Unsupported { .. } if !self.shows_replicas => {
                Pause::Unsupported { replica: "of this fleet".into() }.to_string()
            }
            Pause::Deadline { why } if !self.shows_replicas && names_replicas(why) => {
                Pause::Deadline { why: no_evidence().into() }.to_string()
            }
            _ if self.is_complete => pause.to_string(),
            Pause::Person { .. } => "by another user".to_owned(),
            Pause::Deadline { .. } => {
                Pause::Deadline { why: "the evidence is not sufficient".into() }.to_string()
            }
            Pause::Unsupported { .. } => pause.to_string(),
        }
    }

    /// Describes the part that is lacking for the next stage.
    pub(super) fn lack(&self, lack: &Lack) -> String {
        match lack {
            Lack::Replicas(_) if !self.shows_replicas => no_evidence(),
            _ if self.is_complete => lack.to_string(),
            Lack::Canaries { application, .. } if !self.shows(application) => {
                "not enough canaries have the change".to_owned()
            }
            Lack::Acknowledgements { .. } => "not enough canaries accepted it".to_owned(),
            Lack::Dependency { .. } => "another rollout has to end first".to_owned(),
            Lack::Replicas(_)
            | Lack::Instances
            | Lack::Canaries { .. }
            | Lack::Check { .. }
            | Lack::Time { .. } => lack.to_string(),
        }
    }

    /// Describes the reason of a rollback. `fault` is `None` if only its sentence is known.
    pub(super) fn rollback(&self, sentence: &str, fault: Option<&Fault>) -> String {
        match fault {
            _ if self.is_complete => sentence.to_owned(),
            Some(fault) => anonymous_fault(fault),
            None => "an instance, a check or a user ended it".to_owned(),
        }
    }

    /// The instances that caused an event, each once.
    pub(super) fn instances(&self, kind: &EventKind) -> Vec<Name> {
        let incidents: &[Incident] = match kind {
            EventKind::Suspect { incidents } => incidents,
            EventKind::Withheld { fault: Fault::Suspects { shown, .. }, .. }
            | EventKind::Withheld { fault: Fault::Widespread { shown, .. }, .. } => shown,
            _ => &[],
        };
        let reporter = match kind {
            EventKind::Withheld {
                fault:
                    Fault::Rejected { instance, .. }
                    | Fault::Down { instance, .. }
                    | Fault::Tried { instance, .. },
                ..
            } => Some(instance),
            _ => None,
        };
        let all = incidents.iter().map(|own| &own.instance).chain(reporter);
        let all: BTreeSet<&Name> = all.filter(|_| self.is_complete).collect();
        all.into_iter().cloned().collect()
    }
}

/// Returns true if an identity may read an application of a rollout, or some application for [`OTHERS`].
fn reads(identity: &Identity, name: &Name, label: &Label) -> bool {
    if **name == *OTHERS {
        identity.may_read_some(label)
    } else {
        identity.reads_application_at(name, label)
    }
}

fn a_user() -> Name {
    "another user".into()
}

fn an_instance() -> Name {
    "an instance".into()
}

/// The words for missing evidence of replicas, without their names.
fn no_evidence() -> String {
    Lack::Replicas(vec!["a replica".into()]).to_string()
}

/// Returns true if a text is that of missing evidence, which names replicas.
fn names_replicas(text: &str) -> bool {
    let empty = Lack::Replicas(Vec::new()).to_string();
    text.starts_with(empty.as_str())
}

fn anonymous(incident: &Incident) -> Incident {
    Incident { instance: an_instance(), kind: incident.kind }
}

/// Describes a fault without names and counts.
fn anonymous_fault(fault: &Fault) -> String {
    let instance = an_instance();
    let shown = |kind| Incident { instance: an_instance(), kind }.to_string();
    match fault {
        Fault::Rejected { .. } => Fault::Rejected { instance, reason: None }.to_string(),
        Fault::Down { .. } => Fault::Down { instance, reason: None }.to_string(),
        Fault::Tried { .. } => Fault::Tried { instance, version: None, reason: None }.to_string(),
        Fault::Suspects { shown: incidents, .. } => {
            let kind = incidents.first().map_or(IncidentKind::Gone, |own| own.kind);
            shown(kind)
        }
        Fault::Widespread { .. } => shown(IncidentKind::Bad),
        Fault::Check { .. } => fault.to_string(),
        Fault::Dependency { .. } => {
            Fault::Dependency { rollout: "another rollout".into() }.to_string()
        }
        Fault::Person { .. } => format!("aborted by {}", a_user()),
        // The sentence of another replica may name an instance.
        Fault::Elsewhere { .. } => "another replica has rolled it back".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(is_complete: bool, shown: &[&str]) -> Sight {
        let shown = shown.iter().map(|name| Name::from(*name)).collect();
        Sight { shown, is_complete, shows_replicas: is_complete }
    }

    fn kinds() -> Vec<EventKind> {
        let names = |names: &[&str]| names.iter().map(|name| Name::from(*name)).collect::<Vec<_>>();
        let canaries = |application: &str| Canaries {
            application: application.into(),
            count: 1,
            instances: 7,
        };
        let incident = Incident { instance: "secret-1".into(), kind: IncidentKind::Restarted(2) };
        let withheld = |fault| EventKind::Withheld {
            fault,
            applications: names(&["order", "secret"]),
            stable: "a".into(),
            tip: "b".into(),
        };
        let (instance, reason) = (Name::from("secret-1"), Some(Name::from("type secret.key")));
        let (by, because) = (Name::from("secret-user"), Name::from("secret is broken"));
        let suspects = Fault::Suspects {
            shown: vec![incident.clone()],
            count: 7,
            canaries: 7,
            other_count: 7,
            others: 7,
        };
        let widespread = Fault::Widespread {
            shown: vec![incident.clone()],
            rejected: 7,
            count: 7,
            instances: 7,
        };
        let version = Some(Name::from("secret-1.4"));
        vec![
            EventKind::Opened { applications: names(&["order", "secret"]), plan: "auto".into() },
            EventKind::Stage {
                index: 0,
                count: 2,
                canaries: vec![canaries("secret"), canaries("other")],
            },
            EventKind::Suspect { incidents: vec![incident] },
            EventKind::Replaced { application: "secret".into() },
            EventKind::Paused { pause: Pause::Person { by: by.clone(), because: because.clone() } },
            EventKind::Paused {
                pause: Pause::Deadline { why: "secret needs 7 canaries and has 0".into() },
            },
            EventKind::Paused {
                pause: Pause::Deadline { why: "no current evidence from secret.host".into() },
            },
            EventKind::Paused { pause: Pause::Unsupported { replica: "secret.host".into() } },
            EventKind::Resumed { by: by.clone(), because: because.clone() },
            EventKind::Promoted { by: by.clone(), because: because.clone() },
            withheld(Fault::Rejected { instance: instance.clone(), reason: reason.clone() }),
            withheld(Fault::Down { instance: instance.clone(), reason: reason.clone() }),
            withheld(Fault::Tried { instance, version, reason }),
            withheld(suspects),
            withheld(widespread),
            withheld(Fault::Dependency { rollout: "r-secret".into() }),
            withheld(Fault::Person { by, because }),
            EventKind::Superseded { applications: names(&["secret"]), next: "r-2".into() },
            EventKind::Released { applications: names(&["order", "secret"]) },
        ]
    }

    #[test]
    fn a_partial_reader_learns_nothing_of_hidden_applications() {
        let partial = sight(false, &["order"]);
        for kind in kinds() {
            let text = partial.text(&kind).unwrap_or_default();
            assert!(!text.contains("secret") && !text.contains('7'), "{text}");
            assert!(!text.contains("stage") || text == "stage 1 of 2", "{text}");
            assert!(partial.instances(&kind).is_empty(), "{kind}");
            assert!(partial.applications(&kind).iter().all(|name| **name == *"order"), "{kind}");
        }
        let hidden: Vec<&str> = kinds()
            .iter()
            .filter(|kind| partial.text(kind).is_none())
            .map(EventKind::as_str)
            .collect();
        assert_eq!(hidden, ["replaced", "superseded"]);
        for lack in [
            Lack::Replicas(vec!["secret.host".into()]),
            Lack::Canaries { application: "secret".into(), present: 7, wanted: 7 },
            Lack::Acknowledgements { ok: 7, given: 7 },
            Lack::Dependency { rollout: "r-secret".into() },
        ] {
            let text = partial.lack(&lack);
            assert!(!text.contains("secret") && !text.contains('7'), "{text}");
        }
        assert!(!partial.rollback("secret-1 rejected it", None).contains("secret"));
    }

    #[test]
    fn a_complete_reader_receives_the_sentences_of_the_rollout() {
        let complete = sight(true, &["order", "secret"]);
        for kind in kinds() {
            assert_eq!(complete.text(&kind), Some(kind.to_string()));
        }
        assert_eq!(complete.rollback("web-1 rejected it", None), "web-1 rejected it");
        let instances = kinds().iter().flat_map(|kind| complete.instances(kind)).count();
        assert_eq!(instances, 6);
    }
}
