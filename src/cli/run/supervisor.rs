//! What to do when: events in, actions out. It starts nothing and knows no clock, so that every order of events can be
//! tried.

use std::time::Duration;

use rustix::process::Signal;

/// What the running program is told once a change is in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reaction {
    /// Nothing: it looks for itself, or nothing that it can see has changed.
    Nothing,
    /// A signal.
    Signal(Signal),
    /// A command that knows how.
    Reload,
    /// It is stopped and started again.
    Restart,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// There is a new configuration, or there may be.
    Changed,
    /// The newest configuration is in place, and this is to be done about it.
    Prepared(Reaction),
    /// The newest configuration cannot be used; what was there stays.
    Refused,
    /// The reload command has ended, well or not.
    Reloaded,
    /// This process got a signal. `Reached` says who else did.
    Told(Signal, Reached),
    /// The child has ended; exit code as a shell counts.
    Ended(u8),
    /// The time that was asked for is up.
    Alarm,
}

/// Whom a signal has reached already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reached {
    /// Only this process.
    Us,
    /// The child too: both are in the foreground of a terminal.
    Both,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Render the newest configuration, check it, put it in place.
    Prepare,
    /// Send the child a signal.
    Send(Signal),
    /// Run the reload command.
    Reload,
    /// Wake up after this time, once.
    Alarm(Duration),
    /// End the child and all of its group, now.
    Kill,
    /// Start the child.
    Start,
    /// End with this code.
    Exit(u8),
}

/// What is going on. The child runs in all of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It has what there is.
    Quiet,
    /// A configuration is rendered and checked.
    Preparing,
    /// The reload command runs.
    Reloading,
    /// It was told to end and will be started again.
    Restarting,
    /// It was told to end and this process will end with it.
    Leaving,
}

/// The order of things: one change at a time, what comes meanwhile is one more.
#[derive(Debug)]
pub(super) struct Supervisor {
    state: State,
    grace: Duration,
    /// Something changed while another change was dealt with.
    changed_meanwhile: bool,
}

impl Supervisor {
    /// For a child that has just been started. One that is told to end has `grace` to do so.
    pub(super) fn new(grace: Duration) -> Self {
        Self { state: State::Quiet, grace, changed_meanwhile: false }
    }

    /// What to do about an event, in this order.
    pub(super) fn on(&mut self, event: Event) -> Vec<Action> {
        match event {
            Event::Changed => self.changed(),
            Event::Prepared(reaction) => self.prepared(reaction),
            Event::Refused | Event::Reloaded => self.settled(),
            Event::Told(signal, reached) => self.told(signal, reached),
            Event::Ended(code) => self.ended(code),
            Event::Alarm => self.alarm(),
        }
    }

    fn changed(&mut self) -> Vec<Action> {
        match self.state {
            State::Quiet => {
                self.state = State::Preparing;
                vec![Action::Prepare]
            }
            State::Preparing | State::Reloading | State::Restarting => {
                self.changed_meanwhile = true;
                vec![]
            }
            State::Leaving => vec![],
        }
    }

    fn prepared(&mut self, reaction: Reaction) -> Vec<Action> {
        if self.state != State::Preparing {
            return vec![];
        }
        match reaction {
            Reaction::Nothing => self.settled(),
            Reaction::Signal(signal) => {
                let mut actions = vec![Action::Send(signal)];
                actions.extend(self.settled());
                actions
            }
            Reaction::Reload => {
                self.state = State::Reloading;
                vec![Action::Reload]
            }
            Reaction::Restart => {
                self.state = State::Restarting;
                vec![Action::Send(Signal::TERM), Action::Alarm(self.grace)]
            }
        }
    }

    /// One change has been dealt with.
    fn settled(&mut self) -> Vec<Action> {
        if self.state == State::Leaving {
            return vec![];
        }
        self.state = State::Quiet;
        match std::mem::take(&mut self.changed_meanwhile) {
            true => self.changed(),
            false => vec![],
        }
    }

    /// TERM ends this process, and so does a key of the terminal while the child is being started again. Any other
    /// signal is the child's to answer.
    fn told(&mut self, signal: Signal, reached: Reached) -> Vec<Action> {
        let forward = match reached {
            Reached::Us => vec![Action::Send(signal)],
            Reached::Both => vec![],
        };
        let ends = signal == Signal::TERM;
        match self.state {
            State::Leaving => forward,
            State::Restarting if ends || signal == Signal::INT || signal == Signal::QUIT => {
                // It was told to end already, and its time is running.
                self.state = State::Leaving;
                if ends { vec![] } else { forward }
            }
            _ if ends => {
                self.state = State::Leaving;
                [forward, vec![Action::Alarm(self.grace)]].concat()
            }
            _ => forward,
        }
    }

    fn ended(&mut self, code: u8) -> Vec<Action> {
        if self.state != State::Restarting {
            return vec![Action::Exit(code)];
        }
        let mut actions = vec![Action::Start];
        actions.extend(self.settled());
        actions
    }

    fn alarm(&self) -> Vec<Action> {
        match self.state {
            State::Restarting | State::Leaving => vec![Action::Kill],
            State::Quiet | State::Preparing | State::Reloading => vec![],
        }
    }
}

#[cfg(test)]
mod tests;
