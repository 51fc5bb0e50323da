//! Trials between a push and the stream of an instance, without a server.

use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll, Wake, Waker};

use super::*;
use crate::model::Label;

fn speaker(name: &str) -> Speaker {
    Speaker {
        name: name.into(),
        incarnation: Some("run-1".into()),
        query: Query {
            application: "product".into(),
            profiles: "prod".into(),
            label: Label::Default,
        },
        principal: "product-service".into(),
    }
}

fn rejected(reason: &str) -> TrialAnswer {
    TrialAnswer { outcome: Outcome::Rejected, reason: Reason::parse(reason) }
}

fn accepted() -> TrialAnswer {
    TrialAnswer { outcome: Outcome::Applied, reason: None }
}

/// The answer, if it is known without waiting. The inner `None` means that the stream has ended.
fn known(trial: &mut Trial) -> Option<Option<TrialAnswer>> {
    let mut context = Context::from_waker(Waker::noop());
    match std::pin::pin!(trial.answer()).poll(&mut context) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

fn question(inbox: &TrialInbox) -> Option<String> {
    inbox.poll_question(&mut Context::from_waker(Waker::noop())).map(|question| question.id)
}

fn begin(trials: &Arc<Trials>, id: &str) -> Option<Trial> {
    let stream = trials.offers(|_| true).first()?.stream;
    let candidate = trials.candidate(b"{}".to_vec()).unwrap();
    trials.begin(stream, id.to_owned(), &candidate)
}

#[test]
fn only_the_first_answer_of_the_asked_instance_counts() {
    let trials = Arc::<Trials>::default();
    let asked = speaker("web-1");
    let _inbox = trials.offer(asked.clone(), true);
    let mut trial = begin(&trials, "a.1").unwrap();
    for other in [
        speaker("web-2"),
        Speaker { incarnation: Some("run-2".into()), ..asked.clone() },
        Speaker { incarnation: None, ..asked.clone() },
        Speaker { principal: "cart-service".into(), ..asked.clone() },
        Speaker { query: Query { profiles: "dev".into(), ..asked.query.clone() }, ..asked.clone() },
    ] {
        trials.record_answer(&other, "a.1", rejected("invalid"));
    }
    trials.record_answer(&asked, "a.2", rejected("invalid"));
    assert_eq!(known(&mut trial), None);
    trials.record_answer(&asked, "a.1", accepted());
    trials.record_answer(&asked, "a.1", rejected("invalid"));
    assert_eq!(known(&mut trial), Some(Some(accepted())));
    drop(trial);
    assert!(lock(&trials.state).open.is_empty());
}

#[test]
fn an_answer_after_the_trial_is_ignored_and_the_silence_is_counted() {
    let trials = Arc::<Trials>::default();
    let inbox = trials.offer(speaker("web-1"), true);
    let missed_count = || trials.offers(|_| true)[0].missed_count;
    drop(begin(&trials, "a.1").unwrap());
    // The content is not sent after the trial.
    assert_eq!(question(&inbox), None);
    trials.record_answer(&speaker("web-1"), "a.1", rejected("invalid"));
    assert_eq!(missed_count(), 1);
    let mut trial = begin(&trials, "a.2").unwrap();
    assert_eq!(question(&inbox).as_deref(), Some("a.2"));
    trials.record_answer(&speaker("web-1"), "a.2", rejected("type page-size"));
    assert_eq!(known(&mut trial), Some(Some(rejected("type page-size"))));
    drop(trial);
    assert_eq!(missed_count(), 0);
}

#[test]
fn the_end_of_the_stream_ends_its_trial() {
    let trials = Arc::<Trials>::default();
    assert!(!trials.has_offers());
    let inbox = trials.offer(speaker("web-1"), true);
    assert!(trials.has_offers());
    let mut trial = begin(&trials, "a.1").unwrap();
    assert_eq!(known(&mut trial), None);
    drop(inbox);
    assert_eq!(known(&mut trial), Some(None));
    assert!(!trials.has_offers());
    assert!(begin(&trials, "a.2").is_none());
}

#[test]
fn a_stream_that_has_not_taken_a_question_receives_no_other() {
    let trials = Arc::<Trials>::default();
    let inbox = trials.offer(speaker("web-1"), true);
    let first = begin(&trials, "a.1").unwrap();
    assert!(begin(&trials, "a.2").is_none());
    assert_eq!(question(&inbox).as_deref(), Some("a.1"));
    let _second = begin(&trials, "a.3").unwrap();
    drop(first);
    assert_eq!(question(&inbox).as_deref(), Some("a.3"));
}

#[test]
fn a_question_wakes_the_stream() {
    struct Flag(AtomicBool);
    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let trials = Arc::<Trials>::default();
    let inbox = trials.offer(speaker("web-1"), true);
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&flag));
    assert!(inbox.poll_question(&mut Context::from_waker(&waker)).is_none());
    let _trial = begin(&trials, "a.1").unwrap();
    assert!(flag.0.load(Ordering::Relaxed));
    assert_eq!(question(&inbox).as_deref(), Some("a.1"));
}

#[test]
fn candidates_are_bounded_and_make_room_when_they_are_dropped() {
    let trials = Arc::<Trials>::default();
    assert!(trials.candidate(vec![b' '; CANDIDATE_BYTES_MAX + 1]).is_none());
    let mut candidates: Vec<_> = (0..BYTES_MAX / CANDIDATE_BYTES_MAX)
        .map(|_| trials.candidate(vec![b' '; CANDIDATE_BYTES_MAX]).unwrap())
        .collect();
    assert!(trials.candidate(vec![b' ']).is_none());
    // A connection that is still sending it holds the bytes.
    let sending = candidates.pop().map(|candidate| candidate.0);
    assert!(trials.candidate(vec![b' ']).is_none());
    drop(sending);
    assert!(trials.candidate(vec![b' ']).is_some());
}
