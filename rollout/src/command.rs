//! The commands of people: pause, resume, promote, abort and retry. They work in every state of a rollout.

use crate::Name;
use crate::event::{Event, EventKind};
use crate::open::Rejection;
use crate::plan::WallTime;
use crate::state::{Branch, Entry, Pause, RUNNING_COUNT_MAX, State};
use crate::verdict::Fault;

/// What a person asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    Pause,
    Resume,
    /// Skips to the last stage, and from there to the end. Withheld content is served at once.
    Promote,
    Abort,
    /// Begins a withheld rollout again, from the first stage.
    Retry,
}

impl Command {
    pub const ALL: [Self; 5] = [Self::Pause, Self::Resume, Self::Promote, Self::Abort, Self::Retry];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Promote => "promote",
            Self::Abort => "abort",
            Self::Retry => "retry",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|own| own.as_str() == text)
    }
}

/// A command for one rollout.
#[derive(Debug, Clone, Copy)]
pub struct Order<'o> {
    pub command: Command,
    pub branch: &'o str,
    pub rollout: &'o str,
    pub by: &'o str,
    pub because: &'o str,
    /// The tip of the branch.
    pub tip: &'o str,
    pub now: WallTime,
}

/// Why a command does nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandError {
    Unknown {
        rollout: Name,
    },
    /// The command is for rollouts that run, and this one is withheld.
    IsWithheld {
        rollout: Name,
        command: Command,
    },
    /// The command is for withheld rollouts, and this one runs.
    IsRunning {
        rollout: Name,
        command: Command,
    },
    IsPaused {
        rollout: Name,
    },
    IsNotPaused {
        rollout: Name,
    },
    TooManyRollouts {
        running: Vec<Name>,
    },
}

/// Carries out a command. The next state takes effect when it is durable.
pub fn command(state: &State, order: &Order<'_>) -> Result<(State, Vec<Event>), CommandError> {
    let mut branch = state.branch(order.branch).cloned().unwrap_or_default();
    let number = state.number + 1;
    let events = if branch.running(order.rollout).is_some() {
        command_running(&mut branch, order, number)?
    } else {
        command_withheld(&mut branch, order, number)?
    };
    Ok((state.replaced(order.branch, branch, order.now), events))
}

fn command_running(
    branch: &mut Branch,
    order: &Order<'_>,
    number: u64,
) -> Result<Vec<Event>, CommandError> {
    let id = || Name::from(order.rollout);
    let (by, because) = (Name::from(order.by), Name::from(order.because));
    if order.command == Command::Abort {
        let fault = Fault::Person { by, because };
        return Ok(branch.withhold(order.rollout, fault, number, order.now));
    }
    let Some(rollout) = branch.running_mut(order.rollout) else {
        return Err(CommandError::Unknown { rollout: id() });
    };
    let event = |kind| vec![Event { rollout: id(), kind }];
    match order.command {
        Command::Pause if rollout.paused.is_some() => Err(CommandError::IsPaused { rollout: id() }),
        Command::Pause => Ok(vec![rollout.pause(Pause::Person { by, because })]),
        Command::Resume if rollout.paused.take().is_some() => {
            Ok(event(EventKind::Resumed { by, because }))
        }
        Command::Resume => Err(CommandError::IsNotPaused { rollout: id() }),
        Command::Promote => {
            let is_last = rollout.is_in_last_stage();
            rollout.enter_last_stage(number);
            let mut events = event(EventKind::Promoted { by, because });
            if is_last {
                events.extend(branch.finish(order.rollout, order.now));
            }
            Ok(events)
        }
        Command::Retry | Command::Abort => {
            Err(CommandError::IsRunning { rollout: id(), command: order.command })
        }
    }
}

fn command_withheld(
    branch: &mut Branch,
    order: &Order<'_>,
    number: u64,
) -> Result<Vec<Event>, CommandError> {
    let id = || Name::from(order.rollout);
    let (by, because) = (Name::from(order.by), Name::from(order.because));
    let index = branch.withheld.iter().position(|own| *own.rollout.id == *order.rollout);
    let index = index.ok_or_else(|| CommandError::Unknown { rollout: id() })?;
    match order.command {
        Command::Promote => {
            let rollout = branch.withheld.remove(index).rollout;
            for (name, member) in &rollout.members {
                branch.record_past(name, Some(number), member.content, order.now);
            }
            let applications = rollout.applications().cloned().collect();
            let kinds = [EventKind::Promoted { by, because }, EventKind::Released { applications }];
            Ok(kinds.into_iter().map(|kind| Event { rollout: id(), kind }).collect())
        }
        Command::Retry if branch.running.len() >= RUNNING_COUNT_MAX => {
            let running = branch.running.iter().map(|own| own.id.clone()).collect();
            Err(CommandError::TooManyRollouts { running })
        }
        Command::Retry => {
            let mut rollout = branch.withheld.remove(index).rollout;
            let before = rollout.id.clone();
            rollout.reopen(order.tip.into(), number, order.now);
            (rollout.by, rollout.because) = (by, Some(because));
            let applications: Vec<Name> = rollout.applications().cloned().collect();
            let next = rollout.id.clone();
            let ended = EventKind::Superseded { applications: applications.clone(), next };
            let kind = EventKind::Opened { applications, plan: rollout.plan.name.clone() };
            let opened = Event { rollout: rollout.id.clone(), kind };
            branch.running.push(rollout);
            Ok(vec![Event { rollout: before, kind: ended }, opened])
        }
        Command::Pause | Command::Resume | Command::Abort => {
            Err(CommandError::IsWithheld { rollout: id(), command: order.command })
        }
    }
}

impl State {
    /// The state without a branch that is to be deleted. An error rejects the deletion while a rollout runs.
    pub fn without_branch(&self, branch: &str) -> Result<Self, Rejection> {
        let rollouts = self.branch(branch).map(|own| own.running.iter().map(|one| one.id.clone()));
        let rollouts: std::collections::BTreeSet<Name> = rollouts.into_iter().flatten().collect();
        if rollouts.is_empty() {
            Ok(self.forget(branch).0)
        } else {
            Err(Rejection::Deleted { rollouts })
        }
    }

    /// The state without a branch that is gone at its source, with the rollouts that end.
    pub fn forget(&self, branch: &str) -> (Self, Vec<Event>) {
        let mut next = self.clone();
        next.number += 1;
        next.intents.remove(branch);
        let gone = next.branches.remove(branch).unwrap_or_default();
        let event =
            |own: Entry<'_>| Event { rollout: own.rollout().id.clone(), kind: EventKind::Gone };
        (next, gone.entries().map(event).collect())
    }
}

#[cfg(test)]
mod tests;
