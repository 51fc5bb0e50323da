//! The wait of a push for the rollouts that it has opened: until each of them is done, or until one ends otherwise.

use headwater_rollout::Name;
use headwater_rollout::event::EventKind;
use headwater_rollout::state::OTHERS;
use headwater_rollout::verdict::Lack;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::{
    ClientGoneError, LINE_INTERVAL_MAX, LINE_INTERVAL_MIN, LOOK_INTERVAL_MIN, WaitFailure,
    WaitOutcome, WaitingPush,
};
use crate::conduct::{Conduct, RecordedEvent, RolloutStanding, RolloutView};

/// The number of characters of a commit id that are shown.
const ID_SHOWN: usize = 10;
/// The most applications that a line names.
const NAMED_COUNT_MAX: usize = 5;

/// A rollout that a push has opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::push) struct OpenedRollout {
    pub(in crate::push) id: Name,
    /// The name of the branch.
    pub(in crate::push) branch: String,
    /// False if the pusher may not read every changed environment. Lines then name no instance and no application.
    pub(in crate::push) is_readable: bool,
}

/// A rollout with what was told of it.
struct FollowedRollout {
    opened: OpenedRollout,
    /// The last event that was told.
    told: Option<(Timestamp, EventKind)>,
    /// The stage, and the instances with the change, of the last line on progress.
    shown: Option<(Option<usize>, u64)>,
    /// The progress in words, as of the last look.
    summary: String,
}

/// What a look at a rollout finds.
#[derive(Debug, Default, PartialEq, Eq)]
struct RolloutNews {
    lines: Vec<String>,
    end: Option<RolloutEnd>,
}

/// How a rollout has ended.
#[derive(Debug, PartialEq, Eq)]
enum RolloutEnd {
    Done,
    /// The last line for the pusher.
    Failed(String),
}

impl FollowedRollout {
    fn new(opened: &OpenedRollout) -> Self {
        let summary = format!("{} has not begun", opened.id);
        Self { opened: opened.clone(), told: None, shown: None, summary }
    }

    /// Returns what is new, and records that it is told. Progress is left out unless it is due.
    fn look(&mut self, view: Option<&RolloutView>, is_progress_due: bool) -> RolloutNews {
        let Some(view) = view else {
            let line = format!("rollout {} is not known any more", self.opened.id);
            return RolloutNews { lines: Vec::new(), end: Some(RolloutEnd::Failed(line)) };
        };
        let who = self.who(view);
        let mut news = RolloutNews::default();
        for event in self.untold(&view.events) {
            news.lines.extend(self.line(&who, &event.event.kind));
            self.told = Some((event.at, event.event.kind.clone()));
        }
        if view.standing == RolloutStanding::Running {
            self.summary = summary(&who, view, self.opened.is_readable);
        }
        let position = view.progress.as_ref().map(|own| (own.stage, own.ok));
        if is_progress_due && position.is_some() && position != self.shown {
            news.lines.push(self.summary.clone());
            self.shown = position;
        }
        news.end = self.end(&who, view);
        news
    }

    /// Returns true if progress was made since the last line on it.
    fn has_progress(&self, view: &RolloutView) -> bool {
        let position = view.progress.as_ref().map(|own| (own.stage, own.ok));
        position.is_some() && position != self.shown
    }

    /// The events after the last one that was told.
    fn untold<'v>(&self, events: &'v [RecordedEvent]) -> &'v [RecordedEvent] {
        let Some((at, kind)) = &self.told else { return events };
        let is_told = |own: &RecordedEvent| own.at == *at && own.event.kind == *kind;
        let next = events.iter().rposition(is_told).map_or(0, |index| index + 1);
        &events[next..]
    }

    /// The applications of the rollout, for lines.
    fn who(&self, view: &RolloutView) -> String {
        let members = &view.rollout.members;
        if !self.opened.is_readable || members.is_empty() {
            return self.opened.id.to_string();
        }
        if members.contains_key(OTHERS) {
            return "every application".to_owned();
        }
        listed(&members.keys().map(|name| &**name).collect::<Vec<_>>())
    }

    /// The line on an event. `None` for events that the lines of the push or those on progress contain.
    fn line(&self, who: &str, kind: &EventKind) -> Option<String> {
        let is_readable = self.opened.is_readable;
        Some(match kind {
            EventKind::Opened { .. }
            | EventKind::Waiting { .. }
            | EventKind::Stage { index: 0, .. } => {
                return None;
            }
            EventKind::All => format!("{who}: going to all"),
            EventKind::Done => "done".to_owned(),
            EventKind::Withheld { fault, .. } if is_readable => format!("{who}: {fault}"),
            _ if is_readable => format!("{who}: {kind}"),
            EventKind::Stage { index, count, .. } => {
                format!("{who}: stage {} of {count}", index + 1)
            }
            EventKind::Suspect { .. } => format!("{who}: an incident. The bake begins again"),
            _ => format!("{who}: {}", kind.as_str()),
        })
    }

    fn end(&self, who: &str, view: &RolloutView) -> Option<RolloutEnd> {
        let last = view.events.last().map(|own| &own.event.kind);
        let (branch, id) = (&self.opened.branch, &self.opened.id);
        let tip = short(&view.rollout.to);
        let stays = format!("{branch} stays at {tip}");
        match (&view.standing, last) {
            (RolloutStanding::Running, _) => None,
            (RolloutStanding::Ended { .. }, Some(EventKind::Done)) => Some(RolloutEnd::Done),
            (RolloutStanding::Withheld { .. }, _) => {
                let stable = view.rollout.members.values().map(|own| short(&own.stable)).next();
                let (verb, stable) =
                    (if is_one(view) { "is" } else { "are" }, stable.unwrap_or("stable"));
                Some(RolloutEnd::Failed(format!(
                    "rolled back: {who} {verb} back at {stable}. {stays}, withheld for {who} until a push changes it"
                )))
            }
            (RolloutStanding::Ended { .. }, Some(EventKind::Superseded { next, .. })) => {
                Some(RolloutEnd::Failed(format!(
                    "superseded: a later push has opened {next} in place of {id}. headwater rollout status {next} \
                     shows it"
                )))
            }
            (RolloutStanding::Ended { .. }, Some(EventKind::Gone)) => {
                Some(RolloutEnd::Failed(format!("ended: {branch} was deleted")))
            }
            (RolloutStanding::Ended { .. }, _) => Some(RolloutEnd::Failed(format!(
                "ended: {id} holds nothing any more, and was not done. A later push or a person has released {who}"
            ))),
        }
    }
}

/// Returns true if the rollout has one application.
fn is_one(view: &RolloutView) -> bool {
    view.rollout.members.len() == 1 || view.rollout.members.contains_key(OTHERS)
}

/// How far a rollout is: `product: 1 of 12 has it; watching for 10 s more`. What it lacks, and a pause, can name an
/// application.
fn summary(who: &str, view: &RolloutView, is_readable: bool) -> String {
    let text = match &view.progress {
        Some(own) => {
            let verb = if own.ok == 1 { "has" } else { "have" };
            format!("{who}: {} of {} {verb} it", own.ok, own.instances)
        }
        None => format!("{who}: no instance has it yet"),
    };
    match &view.rollout.paused {
        Some(pause) if is_readable => return format!("{text}; paused: {pause}"),
        Some(_) => return format!("{text}; paused"),
        None => {}
    }
    let lack = view.progress.as_ref().and_then(|own| own.lack.as_ref());
    // The count above has the acknowledgements already.
    let lack = lack.filter(|lack| !matches!(lack, Lack::Acknowledgements { .. }));
    match lack.filter(|lack| is_readable || matches!(lack, Lack::Time { .. })) {
        Some(lack) => format!("{text}; {lack}"),
        None => text,
    }
}

/// The first names of a list, and the number of the others.
fn listed(names: &[&str]) -> String {
    let shown = names[..names.len().min(NAMED_COUNT_MAX)].join(", ");
    match names.len().saturating_sub(NAMED_COUNT_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn short(commit: &str) -> &str {
    commit.get(..ID_SHOWN).unwrap_or(commit)
}

/// The rollouts of one push while it waits.
struct RolloutWait {
    followed: Vec<FollowedRollout>,
    last_line: Instant,
}

impl RolloutWait {
    fn new(opened: &[OpenedRollout]) -> Self {
        let followed = opened.iter().map(FollowedRollout::new).collect();
        Self { followed, last_line: Instant::now() - LINE_INTERVAL_MIN }
    }

    /// Looks at all rollouts. The end is that of the first one that has failed, or `Done` once all are done.
    fn look(&mut self, conduct: &Conduct) -> RolloutNews {
        let is_due = self.last_line + LINE_INTERVAL_MIN <= Instant::now();
        let mut all = RolloutNews { lines: Vec::new(), end: Some(RolloutEnd::Done) };
        for followed in &mut self.followed {
            let view = conduct.rollout(&followed.opened.id);
            let RolloutNews { lines, end } = followed.look(view.as_ref(), is_due);
            all.lines.extend(lines);
            all.end = match (all.end, end) {
                (Some(RolloutEnd::Failed(line)), _) | (_, Some(RolloutEnd::Failed(line))) => {
                    Some(RolloutEnd::Failed(line))
                }
                (Some(RolloutEnd::Done), Some(RolloutEnd::Done)) => Some(RolloutEnd::Done),
                _ => None,
            };
        }
        if all.lines.is_empty() && self.last_line + LINE_INTERVAL_MAX <= Instant::now() {
            all.lines = self.summaries();
        }
        if !all.lines.is_empty() {
            self.last_line = Instant::now();
        }
        all
    }

    fn summaries(&self) -> Vec<String> {
        self.followed.iter().map(|own| own.summary.clone()).collect()
    }

    /// Returns the time of the next line, unless something happens before.
    fn next_due(&self, conduct: &Conduct) -> Instant {
        let has_progress = self
            .followed
            .iter()
            .any(|own| conduct.rollout(&own.opened.id).is_some_and(|view| own.has_progress(&view)));
        self.last_line + if has_progress { LINE_INTERVAL_MIN } else { LINE_INTERVAL_MAX }
    }
}

impl WaitingPush {
    /// Follows the rollouts of the push until all of them are done, or until the wait fails.
    pub(super) async fn follow_rollouts(
        &self,
        conduct: &Conduct,
    ) -> Result<WaitOutcome, ClientGoneError> {
        let deadline = self.ends_at.min(self.published + self.wait.timeout);
        let mut stopping = self.waits.stopping.subscribe();
        let mut changed: watch::Receiver<u64> = conduct.changed();
        let mut pusher = self.pusher.clone();
        let mut wait = RolloutWait::new(&self.rollouts);
        loop {
            if !self.may_still_read(&mut pusher) {
                return Ok(Err(WaitFailure::AccessLost));
            }
            changed.mark_unchanged();
            let RolloutNews { lines, end } = wait.look(conduct);
            for line in lines {
                self.say_at(&line).await?;
            }
            match end {
                Some(RolloutEnd::Done) => return Ok(Ok(())),
                Some(RolloutEnd::Failed(line)) => return Ok(Err(WaitFailure::RolloutEnded(line))),
                None => {}
            }
            let next_look = Instant::now() + LOOK_INTERVAL_MIN;
            tokio::select! {
                () = self.output.closed() => return Err(ClientGoneError),
                _ = stopping.wait_for(|is_stopping| *is_stopping) => {
                    return Ok(Err(WaitFailure::RolloutStopping(wait.summaries())));
                }
                () = sleep_until(deadline) => {
                    return Ok(Err(WaitFailure::RolloutTimeout(wait.summaries())));
                }
                () = sleep_until(wait.next_due(conduct)) => {}
                Ok(()) = changed.changed() => {}
            }
            sleep_until(next_look.min(deadline)).await;
        }
    }
}

#[cfg(test)]
mod tests;
