//! Every sentence about rollouts that a person reads.
//!
//! Invariant: no sentence contains a value of the configuration. Reasons of instances are a word and a key.

mod fault;
mod plan;
mod push;

use std::fmt;

use crate::Name;
use crate::command::CommandError;
use crate::event::{Canaries, Event, EventKind, Progress};
use crate::state::{OTHERS, Pause};

pub use plan::{describe, detection};
pub use push::still_held;

/// The names of a list in a message. Further ones are counted.
const SHOWN_COUNT_MAX: usize = 8;

/// Joins names for a message.
pub(crate) fn list<'n>(names: impl IntoIterator<Item = &'n Name>) -> String {
    let text = |name: &'n Name| if **name == *OTHERS { "every other application" } else { name };
    let names: Vec<&str> = names.into_iter().map(text).collect();
    let shown = names.iter().take(SHOWN_COUNT_MAX).copied().collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(SHOWN_COUNT_MAX) {
        Some(more) if more > 0 => format!("{shown} and {more} more"),
        _ => shown,
    }
}

/// A number with its noun.
pub(crate) fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// The first ten digits of a commit.
pub(crate) fn short(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}

impl fmt::Display for Event {
    /// Writes `r-7f3a2c91d0: …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rollout, self.kind)
    }
}

impl EventKind {
    /// The word for programs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Opened { .. } => "opened",
            Self::Waiting { .. } => "waiting",
            Self::Stage { .. } | Self::All => "stage",
            Self::Suspect { .. } => "suspect",
            Self::Replaced { .. } => "replaced",
            Self::Paused { .. } => "paused",
            Self::Resumed { .. } => "resumed",
            Self::Promoted { .. } => "promoted",
            Self::Done => "done",
            Self::Withheld { .. } => "withheld",
            Self::Superseded { .. } => "superseded",
            Self::Released { .. } => "released",
            Self::CheckFails { .. } => "check",
            Self::Gone => "gone",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened { applications, plan } if applications.is_empty() => {
                write!(f, "opened with plan {plan}")
            }
            Self::Opened { applications, plan } => {
                write!(f, "opened for {} with plan {plan}", list(applications))
            }
            Self::Waiting { freeze } => write!(f, "waits for the end of the freeze {freeze}"),
            Self::Stage { index, count, canaries } => {
                let canaries: Vec<String> = canaries.iter().map(Canaries::to_string).collect();
                let canaries: Vec<Name> = canaries.into_iter().map(Name::from).collect();
                write!(f, "stage {} of {count}: {}", index + 1, list(&canaries))
            }
            Self::All => f.write_str("going to all instances"),
            Self::Suspect { incidents } => {
                write!(f, "{}. The bake begins again", fault::incidents(incidents))
            }
            Self::Replaced { application } => {
                write!(f, "{application}: canaries have vanished, and others take their place")
            }
            Self::Paused { pause } => write!(f, "paused: {pause}"),
            Self::Resumed { by, because } => write!(f, "resumed by {by}: {because}"),
            Self::Promoted { by, because } => write!(f, "promoted by {by}: {because}"),
            Self::Done => f.write_str("done"),
            Self::Withheld { fault, applications, stable, tip } => write!(
                f,
                "rolled back: {fault}. {} {} back at {}. {} is withheld until a push changes it",
                if applications.is_empty() {
                    "every application".into()
                } else {
                    list(applications)
                },
                if applications.len() > 1 { "are" } else { "is" },
                short(stable),
                short(tip)
            ),
            Self::Superseded { applications, next } => {
                write!(f, "superseded for {} by {next}", list(applications))
            }
            Self::Released { applications } if applications.is_empty() => f.write_str("released"),
            Self::Released { applications } => write!(f, "released for {}", list(applications)),
            Self::CheckFails { check, count } => {
                write!(f, "check {check} could not be made {count} times in sequence")
            }
            Self::Gone => f.write_str("ended, because its branch is gone"),
        }
    }
}

impl fmt::Display for Canaries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.application, self.count)?;
        match self.instances {
            0 => Ok(()),
            instances => write!(f, " of {instances}"),
        }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stage, stages, ok, instances, .. } = self;
        match stage {
            Some(stage) => write!(f, "stage {} of {stages}: ", stage + 1)?,
            None => f.write_str("before the first stage: ")?,
        }
        write!(f, "{ok} of {instances} have it")?;
        match &self.lack {
            Some(lack) => write!(f, ", {lack}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person { by, because } => write!(f, "by {by}: {because}"),
            Self::Deadline { why } => {
                write!(f, "the deadline has passed: {why}. Resume, promote or abort the rollout")
            }
            Self::Unsupported { replica } => {
                write!(f, "replica {replica} has a version without rollouts. Upgrade it and resume")
            }
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { rollout } => {
                write!(
                    f,
                    "no rollout {rollout} runs or is withheld. List them with headwater rollout list"
                )
            }
            Self::IsWithheld { rollout, command } => write!(
                f,
                "cannot {} {rollout}, because it is withheld. Retry or promote it",
                command.as_str()
            ),
            Self::IsRunning { rollout, command } => {
                write!(f, "cannot {} {rollout}, because it is running", command.as_str())
            }
            Self::IsPaused { rollout } => write!(f, "{rollout} is paused already"),
            Self::IsNotPaused { rollout } => write!(f, "{rollout} is not paused"),
            Self::TooManyRollouts { running } => write!(
                f,
                "{} are running, which is the most. Promote or abort one of {}",
                count(running.len() as u64, "rollout"),
                list(running)
            ),
        }
    }
}

impl std::error::Error for CommandError {}

#[cfg(test)]
mod tests;
