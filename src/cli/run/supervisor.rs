//! Decides what `headwater run` does: events in, actions out. It starts no process and has no clock, so that tests can try
//! every order of events.

use std::time::Duration;

use rustix::process::Signal;

/// The reaction of the program to a change that is in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reaction {
    /// None: the program looks for changes itself, or sees no change.
    Nothing,
    /// A signal.
    Signal(Signal),
    /// The reload command runs.
    Reload,
    /// The program is stopped and started again.
    Restart,
}

/// An event for the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SupervisorEvent {
    /// There is or may be a new configuration.
    Changed,
    /// The newest configuration is in place. The program needs this reaction.
    Prepared(Reaction),
    /// The newest configuration cannot be used. The previous one stays.
    Refused,
    /// The reload command has ended, with success or not.
    Reloaded,
    /// This process received a signal, and perhaps the child did too.
    Signalled(Signal, SignalReach),
    /// The child has ended, with this exit code in a shell's count.
    Ended(u8),
    /// The requested time has passed.
    Alarm,
}

/// The processes that a signal has reached already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignalReach {
    /// Only this process.
    Us,
    /// This process and the child: both are in the foreground of a terminal.
    Both,
}

/// An action for the caller of the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SupervisorAction {
    /// Render the newest configuration, check it, put it in place.
    Prepare,
    /// Send the child a signal.
    Send(Signal),
    /// Run the reload command.
    Reload,
    /// Send one alarm after this time.
    Alarm(Duration),
    /// Kill the child and its process group.
    Kill,
    /// Start the child.
    Start,
    /// Exit with this code.
    Exit(u8),
}

/// The state of the supervisor. The child runs in all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SupervisorState {
    /// The child has the newest configuration.
    Quiet,
    /// A configuration is being rendered and checked.
    Preparing,
    /// The reload command runs.
    Reloading,
    /// The child received a signal to end, and will be started again.
    Restarting,
    /// The child received a signal to end, and this process ends with it.
    Leaving,
}

/// Handles one change at a time. All changes meanwhile are one more change.
#[derive(Debug)]
pub(super) struct Supervisor {
    state: SupervisorState,
    grace: Duration,
    /// Something changed while another change was handled.
    changed_meanwhile: bool,
}

impl Supervisor {
    /// Supervises a child that has just been started. A child that receives a signal to end has `grace` to do so.
    pub(super) fn new(grace: Duration) -> Self {
        Self { state: SupervisorState::Quiet, grace, changed_meanwhile: false }
    }

    /// True after a signal to end.
    pub(super) fn is_leaving(&self) -> bool {
        self.state == SupervisorState::Leaving
    }

    /// Returns the actions for an event, in their order.
    pub(super) fn on(&mut self, event: SupervisorEvent) -> Vec<SupervisorAction> {
        match event {
            SupervisorEvent::Changed => self.changed(),
            SupervisorEvent::Prepared(reaction) => self.prepared(reaction),
            SupervisorEvent::Refused | SupervisorEvent::Reloaded => self.settled(),
            SupervisorEvent::Signalled(signal, reached) => self.signalled(signal, reached),
            SupervisorEvent::Ended(code) => self.ended(code),
            SupervisorEvent::Alarm => self.alarm(),
        }
    }

    fn changed(&mut self) -> Vec<SupervisorAction> {
        match self.state {
            SupervisorState::Quiet => {
                self.state = SupervisorState::Preparing;
                vec![SupervisorAction::Prepare]
            }
            SupervisorState::Preparing
            | SupervisorState::Reloading
            | SupervisorState::Restarting => {
                self.changed_meanwhile = true;
                vec![]
            }
            SupervisorState::Leaving => vec![],
        }
    }

    fn prepared(&mut self, reaction: Reaction) -> Vec<SupervisorAction> {
        if self.state != SupervisorState::Preparing {
            return vec![];
        }
        match reaction {
            Reaction::Nothing => self.settled(),
            Reaction::Signal(signal) => {
                let mut actions = vec![SupervisorAction::Send(signal)];
                actions.extend(self.settled());
                actions
            }
            Reaction::Reload => {
                self.state = SupervisorState::Reloading;
                vec![SupervisorAction::Reload]
            }
            Reaction::Restart => {
                self.state = SupervisorState::Restarting;
                vec![SupervisorAction::Send(Signal::TERM), SupervisorAction::Alarm(self.grace)]
            }
        }
    }

    /// Finishes a change, and begins the next one.
    fn settled(&mut self) -> Vec<SupervisorAction> {
        if self.state == SupervisorState::Leaving {
            return vec![];
        }
        self.state = SupervisorState::Quiet;
        if std::mem::take(&mut self.changed_meanwhile) { self.changed() } else { vec![] }
    }

    /// TERM ends this process, and so does a key of the terminal while the child is being started again. Any other
    /// signal is the child's to answer.
    fn signalled(&mut self, signal: Signal, reached: SignalReach) -> Vec<SupervisorAction> {
        let forward = match reached {
            SignalReach::Us => vec![SupervisorAction::Send(signal)],
            SignalReach::Both => vec![],
        };
        let ends = signal == Signal::TERM;
        match self.state {
            SupervisorState::Leaving => forward,
            SupervisorState::Restarting
                if ends || signal == Signal::INT || signal == Signal::QUIT =>
            {
                // It has received the signal already, and its time is running.
                self.state = SupervisorState::Leaving;
                if ends { vec![] } else { forward }
            }
            _ if ends => {
                self.state = SupervisorState::Leaving;
                [forward, vec![SupervisorAction::Alarm(self.grace)]].concat()
            }
            _ => forward,
        }
    }

    fn ended(&mut self, code: u8) -> Vec<SupervisorAction> {
        if self.state != SupervisorState::Restarting {
            return vec![SupervisorAction::Exit(code)];
        }
        let mut actions = vec![SupervisorAction::Start];
        actions.extend(self.settled());
        actions
    }

    fn alarm(&self) -> Vec<SupervisorAction> {
        match self.state {
            SupervisorState::Restarting | SupervisorState::Leaving => vec![SupervisorAction::Kill],
            SupervisorState::Quiet | SupervisorState::Preparing | SupervisorState::Reloading => {
                vec![]
            }
        }
    }
}

#[cfg(test)]
mod tests;
