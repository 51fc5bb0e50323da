//! Every order of events that matters, without a process.

use std::time::Duration;

use super::SupervisorAction::*;
use super::SupervisorEvent::{Changed, Ended, Prepared, Refused, Reloaded, Signalled};
use super::{Reaction, SignalReach, Supervisor, SupervisorAction, SupervisorEvent};
use rustix::process::Signal;

const GRACE: Duration = Duration::from_secs(10);

/// Events, and what each of them leads to.
#[track_caller]
fn check(steps: &[(SupervisorEvent, &[SupervisorAction])]) {
    let mut supervisor = Supervisor::new(GRACE);
    for (event, expected) in steps {
        assert_eq!(supervisor.on(*event), *expected, "{event:?} of {steps:?}");
    }
}

fn us(signal: Signal) -> SupervisorEvent {
    Signalled(signal, SignalReach::Us)
}

#[test]
fn a_change_that_changes_nothing_does_nothing() {
    check(&[(Changed, &[Prepare]), (Prepared(Reaction::Nothing), &[]), (Changed, &[Prepare])]);
}

#[test]
fn a_change_that_is_refused_does_nothing_and_the_next_one_counts() {
    check(&[
        (Changed, &[Prepare]),
        (Refused, &[]),
        (Changed, &[Prepare]),
        (Prepared(Reaction::Signal(Signal::HUP)), &[Send(Signal::HUP)]),
    ]);
}

#[test]
fn changes_during_a_change_are_one_more() {
    check(&[
        (Changed, &[Prepare]),
        (Changed, &[]),
        (Changed, &[]),
        (Prepared(Reaction::Signal(Signal::HUP)), &[Send(Signal::HUP), Prepare]),
        (Prepared(Reaction::Reload), &[Reload]),
        (Changed, &[]),
        (Changed, &[]),
        (Reloaded, &[Prepare]),
        (Prepared(Reaction::Nothing), &[]),
    ]);
    check(&[(Changed, &[Prepare]), (Changed, &[]), (Refused, &[Prepare]), (Refused, &[])]);
}

#[test]
fn a_restart_waits_for_the_end_and_then_looks_for_changes() {
    check(&[
        (Changed, &[Prepare]),
        (Prepared(Reaction::Restart), &[Send(Signal::TERM), Alarm(GRACE)]),
        (Changed, &[]),
        (Ended(0), &[Start, Prepare]),
        (Prepared(Reaction::Nothing), &[]),
    ]);
}

#[test]
fn a_child_that_ignores_its_end_is_killed() {
    check(&[
        (Changed, &[Prepare]),
        (Prepared(Reaction::Restart), &[Send(Signal::TERM), Alarm(GRACE)]),
        (SupervisorEvent::Alarm, &[Kill]),
        (Ended(137), &[Start]),
        // An alarm that was set for the one before.
        (SupervisorEvent::Alarm, &[]),
    ]);
    check(&[
        (us(Signal::TERM), &[Send(Signal::TERM), Alarm(GRACE)]),
        (SupervisorEvent::Alarm, &[Kill]),
        (Ended(137), &[Exit(137)]),
    ]);
}

#[test]
fn the_end_of_the_child_is_the_end() {
    check(&[(Ended(3), &[Exit(3)])]);
    check(&[(Changed, &[Prepare]), (Ended(0), &[Exit(0)])]);
    check(&[
        (Changed, &[Prepare]),
        (Prepared(Reaction::Reload), &[Reload]),
        (Ended(7), &[Exit(7)]),
    ]);
}

#[test]
fn signals_are_the_childs_to_answer() {
    for signal in
        [Signal::HUP, Signal::INT, Signal::QUIT, Signal::USR1, Signal::USR2, Signal::WINCH]
    {
        check(&[
            (us(signal), &[Send(signal)]),
            (Changed, &[Prepare]),
            (us(signal), &[Send(signal)]),
        ]);
    }
}

#[test]
fn what_the_terminal_sends_to_both_is_not_sent_twice() {
    check(&[
        (Signalled(Signal::INT, SignalReach::Both), &[]),
        (Signalled(Signal::WINCH, SignalReach::Both), &[]),
        (Ended(130), &[Exit(130)]),
    ]);
}

#[test]
fn signalled_while_changing_it_ends() {
    check(&[
        (Changed, &[Prepare]),
        (us(Signal::TERM), &[Send(Signal::TERM), Alarm(GRACE)]),
        (Changed, &[]),
        (Prepared(Reaction::Restart), &[]),
        (us(Signal::TERM), &[Send(Signal::TERM)]),
        (us(Signal::USR1), &[Send(Signal::USR1)]),
        (Ended(143), &[Exit(143)]),
    ]);
    check(&[
        (Changed, &[Prepare]),
        (Prepared(Reaction::Reload), &[Reload]),
        (us(Signal::TERM), &[Send(Signal::TERM), Alarm(GRACE)]),
        (Reloaded, &[]),
        (Ended(0), &[Exit(0)]),
    ]);
}

#[test]
fn signalled_while_restarting_it_does_not_start_again() {
    for (signal, reached, expected) in [
        (Signal::TERM, SignalReach::Us, &[][..]),
        (Signal::INT, SignalReach::Us, &[Send(Signal::INT)]),
        (Signal::INT, SignalReach::Both, &[]),
        (Signal::QUIT, SignalReach::Us, &[Send(Signal::QUIT)]),
    ] {
        check(&[
            (Changed, &[Prepare]),
            (Prepared(Reaction::Restart), &[Send(Signal::TERM), Alarm(GRACE)]),
            (Signalled(signal, reached), expected),
            (SupervisorEvent::Alarm, &[Kill]),
            (Ended(137), &[Exit(137)]),
        ]);
    }
    // Any other signal is only handed on.
    check(&[
        (Changed, &[Prepare]),
        (Prepared(Reaction::Restart), &[Send(Signal::TERM), Alarm(GRACE)]),
        (us(Signal::USR1), &[Send(Signal::USR1)]),
        (Ended(0), &[Start]),
    ]);
}
