//! `/-/rollouts`: the rollouts that the caller may see, and the commands of people for them.
//!
//! A rollout belongs to applications. A caller sees the part that it may read (`sight`), and may control a rollout if it
//! has the right `rollout` for every application of it. A rollout without a visible part is answered like an unknown one.

mod command;
mod sight;
mod status;

use std::collections::HashMap;
use std::sync::Arc;

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::future::BoxFuture;
use headwater_rollout::command::{Command, CommandError};
use headwater_rollout::event::Event;
use headwater_wire::{RolloutEvent, RolloutList, RolloutState, RolloutStatus};

use super::Http;
use super::error::HttpError;
use super::identity::ListFilter;
use crate::access::Caller;
use crate::conduct::{Conduct, ConductError, RolloutView};
use crate::model::Label;
use crate::store::RolloutNotice;
use sight::Sight;
use status::{Extent, status};

/// The rollouts of a server, and the commands for them.
pub trait RolloutControl: Send + Sync {
    /// The rollouts that run or are withheld, in the order in which they were opened, and the last ones that have ended.
    fn rollouts(&self) -> Vec<RolloutView>;

    /// Carries out a command of a user. It has taken effect when the future ends.
    fn command<'c>(
        &'c self,
        id: &'c str,
        command: Command,
        by: &'c str,
        because: &'c str,
    ) -> BoxFuture<'c, Result<Vec<Event>, RolloutControlError>>;
}

/// The reason why a command has no effect.
#[derive(Debug, thiserror::Error)]
pub enum RolloutControlError {
    /// The command does not fit the rollout.
    #[error("{0}")]
    Command(CommandError),
    /// The state cannot be made durable.
    #[error("the state of the rollouts cannot be written: {0}")]
    Unwritable(String),
}

impl RolloutControl for Conduct {
    fn rollouts(&self) -> Vec<RolloutView> {
        Conduct::rollouts(self)
    }

    fn command<'c>(
        &'c self,
        id: &'c str,
        command: Command,
        by: &'c str,
        because: &'c str,
    ) -> BoxFuture<'c, Result<Vec<Event>, RolloutControlError>> {
        Box::pin(async move {
            Conduct::command(self, id, command, by, because).await.map_err(|error| match error {
                ConductError::Command(error) => RolloutControlError::Command(error),
                other => RolloutControlError::Unwritable(other.to_string()),
            })
        })
    }
}

/// Lists the rollouts that the caller may see.
pub(super) fn list(http: &Http, filter: ListFilter<'_>) -> HttpResponse {
    let views = views(http);
    let shown = views.iter().filter_map(|view| Some((view, sight(view, filter)?)));
    let shown: Vec<(&RolloutView, Sight)> = shown.collect();
    let is_visible = |id: &str| shown.iter().any(|(view, _)| *view.rollout.id == *id);
    let rollouts =
        shown.iter().map(|(view, sight)| status(view, sight, Extent::Summary, is_visible));
    HttpResponse::Ok().json(RolloutList { rollouts: rollouts.collect() })
}

/// Answers a request for one rollout.
pub(super) async fn answer(
    request: &HttpRequest,
    payload: web::Payload,
    http: &web::Data<Http>,
    caller: &Caller,
    id: &str,
) -> Result<HttpResponse, HttpError> {
    if request.method() == Method::POST {
        return command::post(request, payload, http, caller, id).await;
    }
    let (views, filter) = (views(http), ListFilter::of(caller));
    let found = views.iter().find(|view| *view.rollout.id == *id);
    let found = found.and_then(|view| Some((view, sight(view, filter)?)));
    let (view, sight) = found.ok_or(HttpError::UnknownRollout)?;
    let is_visible = |id: &str| is_visible(&views, filter, id);
    Ok(HttpResponse::Ok().json(status(view, &sight, Extent::Whole, is_visible)))
}

/// Makes the document of an event for a subscriber. `None` if it may not see the event.
pub(super) fn event(notice: &RolloutNotice, filter: ListFilter<'_>) -> Option<RolloutEvent> {
    let sight = Sight::of(filter, &labels(&notice.branch, notice.is_head), &*notice.members)?;
    status::event(notice, &sight)
}

fn views(http: &Http) -> Vec<RolloutView> {
    http.rollouts.as_ref().map(|control| control.rollouts()).unwrap_or_default()
}

fn sight(view: &RolloutView, filter: ListFilter<'_>) -> Option<Sight> {
    Sight::of(filter, &labels(&view.branch, view.is_head), view.rollout.members.keys())
}

/// The labels at which clients receive a branch.
fn labels(branch: &str, is_head: bool) -> Vec<Label> {
    let default = is_head.then_some(Label::Default);
    default.into_iter().chain([Label::Named(branch.into())]).collect()
}

fn is_visible(views: &[RolloutView], filter: ListFilter<'_>, id: &str) -> bool {
    let found = views.iter().find(|view| *view.rollout.id == *id);
    found.is_some_and(|view| sight(view, filter).is_some())
}

/// The withheld rollouts that the caller may see, by their ids, with the reasons as far as it may know them.
pub(super) fn withheld(http: &Http, filter: ListFilter<'_>) -> HashMap<String, RolloutStatus> {
    let views = views(http);
    let is_withheld = |view: &&RolloutView| status::state(view) == RolloutState::Withheld;
    let shown = views.iter().filter(is_withheld).filter_map(|view| {
        let sight = sight(view, filter)?;
        let status = status(view, &sight, Extent::Summary, |_| false);
        Some((status.id.clone(), status))
    });
    shown.collect()
}

/// The rollouts of a repository, by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct RolloutCounts {
    pub(super) running: i64,
    pub(super) paused: i64,
    pub(super) withheld: i64,
}

/// Counts the rollouts of a repository by their state.
pub(super) fn count(http: &Http, repository: &str) -> RolloutCounts {
    let mut counts = RolloutCounts::default();
    for view in views(http).iter().filter(|view| *view.repository == *repository) {
        match status::state(view) {
            RolloutState::Paused => counts.paused += 1,
            RolloutState::Withheld => counts.withheld += 1,
            state if state.is_running() => counts.running += 1,
            _ => {}
        }
    }
    counts
}

/// The shared rollouts of a server.
pub(super) type SharedControl = Arc<dyn RolloutControl>;
