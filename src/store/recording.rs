//! The moves of labels in the audit trail.

use std::sync::Arc;

use super::Store;
use super::move_event::Actor;
use crate::audit::{Audit, AuditEvent, Entry};
use crate::model::{Label, Revision};

impl Store {
    /// Records moves of labels in a trail from now on.
    pub fn set_audit(&self, audit: Option<&Arc<Audit>>) {
        if let Some(audit) = audit {
            self.audit.get_or_init(|| Arc::clone(audit));
        }
    }

    /// Records a move of a label, or its end.
    pub(super) fn record_move(
        &self,
        label: &Label,
        from: &Revision,
        to: Option<&Revision>,
        actor: &Actor,
    ) {
        let Some(audit) = self.audit.get() else { return };
        let principal = match actor {
            Actor::Push(name) => name.as_deref().unwrap_or("push"),
            Actor::Source => "source",
            Actor::Rollout(_) => "rollout",
        };
        let outcome = if to.is_some() { "published" } else { "deleted" };
        audit.record(&Entry {
            principal: Some(principal.to_owned()),
            label: Some(label.to_string()),
            revision: Some(to.unwrap_or(from).to_string()),
            outcome: Some(outcome.to_owned()),
            details: vec![format!("from {from}")],
            ..Entry::new(AuditEvent::LabelMoved)
        });
    }
}
