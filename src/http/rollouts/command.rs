//! `POST /-/rollouts/{id}`: a command of a user.
//!
//! The line of the command is durable in the audit trail before the command takes effect.

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use headwater_rollout::command::Command;
use headwater_rollout::event::{Event, EventKind};
use headwater_wire::{RolloutAction, RolloutCommand, RolloutCommandAnswer, RolloutRecord};
use jiff::Timestamp;

use super::sight::Sight;
use super::status::{Extent, status};
use super::{RolloutControlError, SharedControl, is_visible, sight};
use crate::access::{Caller, Operation, Permission, Resource};
use crate::audit::{Audit, AuditEvent, Entry};
use crate::conduct::RolloutView;
use crate::http::error::{HttpError, RolloutToken};
use crate::http::identity::ListFilter;
use crate::http::{Http, git, monitor};
use crate::terminal;

/// The largest body of a command, in bytes.
const BODY_BYTES_MAX: usize = 4 * 1024;
/// The longest reason, in bytes. The audit trail keeps it whole.
const REASON_BYTES_MAX: usize = 240;
/// The name of a caller with the push token, or on this machine.
const PUSHER: &str = "pusher";

pub(super) async fn post(
    request: &HttpRequest,
    payload: web::Payload,
    http: &web::Data<Http>,
    caller: &Caller,
    id: &str,
) -> Result<HttpResponse, HttpError> {
    let is_identified = matches!(caller, Caller::Identified(_));
    if !is_identified && !http.store.may(caller, Operation::ControlRollouts, Resource::Server) {
        return Err(http.rollout_permission_error(request, caller));
    }
    // The permission is decided before the body arrives, so that the body changes nothing for other callers.
    let (control, view) = controlled(request, http, caller, id)?;
    let body = monitor::read_up_to(request, payload, http, BODY_BYTES_MAX).await?;
    let command = parse(&body)?;
    let by = http.commander(request, caller);
    let entry = entry(http, request, caller, &view, &command);
    let order = Order { id: id.to_owned(), command, by };
    // A client that leaves does not interrupt a command that has begun.
    let carried =
        actix_web::rt::spawn(order.carry_out(Arc::clone(&control), http.audit.clone(), entry));
    let effects = carried.await.map_err(|_| HttpError::ClientGone)??;
    Ok(HttpResponse::Ok().json(answer(&control, caller, &view, &effects)))
}

/// Finds a rollout that the caller may control.
fn controlled(
    request: &HttpRequest,
    http: &Http,
    caller: &Caller,
    id: &str,
) -> Result<(SharedControl, RolloutView), HttpError> {
    let control = http.rollouts.as_ref().ok_or(HttpError::UnknownRollout)?;
    let mut views = control.rollouts().into_iter();
    let view = views.find(|view| *view.rollout.id == *id).ok_or(HttpError::UnknownRollout)?;
    if let Caller::Identified(identity) = caller {
        let members = || view.rollout.members.keys().map(|name| &**name);
        let permission = git::closed_to_others(identity.rollout_permission(members()), request);
        let object = identity.describe_rollout(members());
        http.record_denied_object(request, identity, None, &object, permission);
        if permission == Permission::Denied {
            return Err(HttpError::UnknownRollout);
        }
    }
    Ok((Arc::clone(control), view))
}

fn parse(body: &[u8]) -> Result<RolloutCommand, HttpError> {
    let mut command: RolloutCommand = serde_json::from_slice(body).map_err(|error| {
        HttpError::RolloutCommand(format!("the body is not a command: {error}"))
    })?;
    command.because = command.because.trim().to_owned();
    if !(1..=REASON_BYTES_MAX).contains(&command.because.len()) {
        let message = format!("because: expected a text of 1 to {REASON_BYTES_MAX} bytes");
        return Err(HttpError::RolloutCommand(message));
    }
    if command.because.chars().any(terminal::is_escaped) {
        let message = "because: expected a text without control characters".to_owned();
        return Err(HttpError::RolloutCommand(message));
    }
    Ok(command)
}

/// Begins the audit line of a command.
fn entry(
    http: &Http,
    request: &HttpRequest,
    caller: &Caller,
    view: &RolloutView,
    command: &RolloutCommand,
) -> Entry {
    let members: Vec<&str> = view.rollout.members.keys().map(|name| &**name).collect();
    let application = match members[..] {
        [one] => Some(one.to_owned()),
        _ => None,
    };
    Entry {
        application,
        path: Some(view.repository.to_string()),
        branch: Some(view.branch.to_string()),
        outcome: Some("accepted".to_owned()),
        reason: Some(command.because.clone()),
        details: vec![
            format!("do={}", command.action.name()),
            format!("rollout={}", view.rollout.id),
            format!("applications={}", members.join(",")),
        ],
        ..http.audit_actor(request, caller).entry(AuditEvent::Rollout)
    }
}

/// A command of a user for one rollout.
struct Order {
    id: String,
    command: RolloutCommand,
    by: String,
}

impl Order {
    /// Records the command and carries it out. A command without effect is recorded once more, with its outcome.
    async fn carry_out(
        self,
        control: SharedControl,
        audit: Option<Arc<Audit>>,
        entry: Entry,
    ) -> Result<Vec<Event>, HttpError> {
        if let Some(audit) = &audit
            && audit.record_act(&entry).await.is_err()
        {
            record_rejection(Some(audit), entry, "the audit trail could not be written".to_owned());
            return Err(HttpError::AuditUnwritable);
        }
        let Self { id, command, by } = self;
        let (action, because) = (action(command.action)?, &command.because);
        match control.command(&id, action, &by, because).await {
            Ok(effects) => {
                let action = action.as_str();
                tracing::info!(rollout = id, action, by, "a rollout was commanded");
                Ok(effects)
            }
            Err(RolloutControlError::Command(error)) => {
                record_rejection(audit.as_ref(), entry, error.to_string());
                Err(HttpError::RolloutConflict(error.to_string()))
            }
            Err(error @ RolloutControlError::Unwritable(_)) => {
                tracing::error!(rollout = id, by, %error, "a command for a rollout has failed");
                let reason = "the state of the rollouts could not be written".to_owned();
                record_rejection(audit.as_ref(), entry, reason);
                Err(HttpError::RolloutsUnwritable)
            }
        }
    }
}

/// Records that a command has no effect.
fn record_rejection(audit: Option<&Arc<Audit>>, mut entry: Entry, reason: String) {
    (entry.outcome, entry.reason) = (Some("rejected".to_owned()), Some(reason));
    if let Some(audit) = audit {
        audit.record(&entry);
    }
}

fn action(action: RolloutAction) -> Result<Command, HttpError> {
    Command::parse(action.name())
        .ok_or_else(|| HttpError::RolloutCommand(format!("do: {} is unknown", action.name())))
}

/// Shows the rollout after a command. A rollout that begins again has another id.
fn answer(
    control: &SharedControl,
    caller: &Caller,
    before: &RolloutView,
    effects: &[Event],
) -> RolloutCommandAnswer {
    let (views, filter) = (control.rollouts(), ListFilter::of(caller));
    let opened = effects.iter().find(|event| matches!(event.kind, EventKind::Opened { .. }));
    let id = opened.map_or(&before.rollout.id, |event| &event.rollout);
    let view = views.iter().find(|view| view.rollout.id == *id).unwrap_or(before);
    let members = || view.rollout.members.keys();
    let sight = sight(view, filter).unwrap_or_else(|| Sight::of_names(members()));
    let at = Timestamp::now().to_string();
    let own = [&before.rollout.id, &view.rollout.id];
    let effects = effects.iter().filter(|event| own.contains(&&event.rollout));
    let effects = effects.filter_map(|event| {
        let (at, event, text) =
            (at.clone(), event.kind.as_str().to_owned(), sight.text(&event.kind)?);
        Some(RolloutRecord { at, event, text })
    });
    let is_visible = |id: &str| is_visible(&views, filter, id);
    RolloutCommandAnswer {
        rollout: status(view, &sight, Extent::Whole, is_visible),
        effects: effects.collect(),
    }
}

impl Http {
    /// The name of the caller of a command, for other users.
    fn commander(&self, request: &HttpRequest, caller: &Caller) -> String {
        let named = self.push_token.as_ref().and_then(|token| token.name_in(request.headers()));
        match (caller, named) {
            (Caller::Identified(identity), _) => identity.name().to_owned(),
            (_, Some(name)) => name.to_string(),
            (_, None) => PUSHER.to_owned(),
        }
    }

    /// Returns the error for a caller without permission. Where no push token is set, another token would not help.
    fn rollout_permission_error(&self, request: &HttpRequest, caller: &Caller) -> HttpError {
        let may_read = self.store.may(caller, Operation::ReadLists, Resource::Server);
        if may_read && self.push_token.is_none() {
            HttpError::RemoteRolloutCommand
        } else {
            self.rollout_token_error(request.method())
        }
    }

    /// Returns the error for a request whose token is missing or does not permit it.
    pub(in crate::http) fn rollout_token_error(&self, method: &Method) -> HttpError {
        let has_push_token = self.push_token.is_some();
        HttpError::RolloutToken(match (*method == Method::POST, has_push_token) {
            (true, true) => RolloutToken::Push,
            (false, true) => RolloutToken::ReadOrPush,
            (_, false) => RolloutToken::Read,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn rejects(body: &str, part: &str) {
        match parse(body.as_bytes()) {
            Err(HttpError::RolloutCommand(message)) => assert!(message.contains(part), "{message}"),
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn a_command_needs_an_action_and_a_reason() {
        let command = parse(br#"{"do":"promote","because":" a fix "}"#).unwrap();
        assert_eq!((command.action, &*command.because), (RolloutAction::Promote, "a fix"));
        rejects("{", "not a command");
        rejects(r#"{"do":"stop","because":"x"}"#, "unknown variant `stop`");
        rejects(r#"{"do":"pause"}"#, "missing field `because`");
        rejects(r#"{"do":"pause","because":"x","yes":true}"#, "unknown field");
        rejects(r#"{"do":"pause","because":"  "}"#, "1 to 240 bytes");
        let long = "x".repeat(241);
        rejects(&format!(r#"{{"do":"pause","because":"{long}"}}"#), "1 to 240 bytes");
        rejects(r#"{"do":"pause","because":"a\u001b[2J"}"#, "control characters");
    }

    #[test]
    fn every_action_is_a_command() {
        let names = RolloutAction::ALL.map(RolloutAction::name);
        assert_eq!(names, Command::ALL.map(Command::as_str));
        assert!(RolloutAction::ALL.into_iter().all(|it| action(it).is_ok()));
    }
}
