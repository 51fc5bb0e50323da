//! The loop against scripted servers, on a paused clock.

use std::collections::VecDeque;
use std::sync::Mutex;

use super::*;

const LIMITS: Limits =
    Limits { deadline: Duration::from_secs(60), request_timeout: Duration::from_secs(5) };

/// What a scripted server does when it is asked; its last step repeats.
#[derive(Clone)]
enum Step {
    Answer(&'static str),
    Status(u16),
    RetryAfter(u64),
    NotFound,
    Hang,
}

struct Script {
    servers: Vec<Mutex<VecDeque<Step>>>,
    asked: Mutex<Vec<(usize, Duration)>>,
    start: Instant,
}

impl Script {
    fn new(servers: &[&[Step]]) -> Script {
        let servers =
            servers.iter().map(|steps| Mutex::new(steps.iter().cloned().collect())).collect();
        Script { servers, asked: Mutex::default(), start: Instant::now() }
    }

    fn asked(&self) -> Vec<(usize, Duration)> {
        self.asked.lock().unwrap().clone()
    }
}

impl Servers for Script {
    type Answer = &'static str;

    fn names(&self) -> Vec<&str> {
        ["http://a", "http://b"][..self.servers.len()].to_vec()
    }

    async fn prepare(&mut self) -> Result<(), Error> {
        Ok(())
    }

    async fn attempt(&self, server: usize) -> Result<&'static str, Attempt> {
        self.asked.lock().unwrap().push((server, self.start.elapsed()));
        let step = {
            let mut steps = self.servers[server].lock().unwrap();
            if steps.len() > 1 { steps.pop_front() } else { steps.front().cloned() }
        };
        match step.expect("every server has a step") {
            Step::Answer(answer) => Ok(answer),
            Step::Status(status) => Err(Failure::Status(status).into()),
            Step::RetryAfter(seconds) => Err(Attempt::Again {
                failure: Failure::Status(429),
                retry_after: Some(Duration::from_secs(seconds)),
            }),
            Step::NotFound => {
                Err(Attempt::Final(Error::Refused { server: "x".into(), status: 404 }))
            }
            Step::Hang => std::future::pending().await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_server_that_answers_is_taken() {
    let mut script = Script::new(&[&[Step::Answer("a")], &[Step::Answer("b")]]);
    assert_eq!(first_answer(&mut script, LIMITS).await.unwrap(), (0, "a"));
    assert_eq!(script.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_next_server_is_asked_at_once() {
    let mut script = Script::new(&[&[Step::Status(500)], &[Step::Answer("b")]]);
    assert_eq!(first_answer(&mut script, LIMITS).await.unwrap(), (1, "b"));
    assert_eq!(script.asked(), [(0, Duration::ZERO), (1, Duration::ZERO)]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_recovers_is_found() {
    let mut script = Script::new(&[&[Step::Status(500), Step::Status(503), Step::Answer("a")]]);
    assert_eq!(first_answer(&mut script, LIMITS).await.unwrap(), (0, "a"));
    assert!(script.start.elapsed() <= Duration::from_millis(200 + 400 + 10));
}

#[tokio::test(start_paused = true)]
async fn a_final_answer_is_not_argued_with() {
    let mut script = Script::new(&[&[Step::NotFound], &[Step::Answer("b")]]);
    assert!(matches!(first_answer(&mut script, LIMITS).await, Err(Error::Refused { .. })));
    assert_eq!(script.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_it_with_the_last_word_of_each_server() {
    let mut script = Script::new(&[&[Step::Hang], &[Step::Status(502)]]);
    let error = first_answer(&mut script, LIMITS).await.unwrap_err();
    assert!(script.start.elapsed() <= LIMITS.deadline + Duration::from_millis(10));
    let Error::Deadline(deadline) = &error else { panic!("{error}") };
    // The last attempt gets what is left of the time, and has nothing to add.
    assert_eq!(deadline.servers[0].last, Some(Failure::Timeout(LIMITS.request_timeout)));
    let text = error.to_string();
    assert!(
        text.starts_with(
            "no configuration within 60 s; http://a: no answer within 5000 ms (attempts: "
        ),
        "{text}"
    );
    assert!(text.contains("; http://b: status 502 (attempts: "), "{text}");
}

#[tokio::test(start_paused = true)]
async fn attempts_are_bounded_and_spread() {
    for _ in 0..50 {
        let mut script = Script::new(&[&[Step::Status(500)]]);
        first_answer(&mut script, LIMITS).await.unwrap_err();
        let asked = script.asked();
        assert!((6..60).contains(&asked.len()), "{} attempts", asked.len());
        let longest = asked.windows(2).map(|pair| pair[1].1 - pair[0].1).max();
        assert!(longest <= Some(PAUSE_MAX + Duration::from_millis(2)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_for_patience_gets_it_within_bounds() {
    let mut script = Script::new(&[&[Step::RetryAfter(7), Step::Answer("a")]]);
    first_answer(&mut script, LIMITS).await.unwrap();
    assert!(script.asked()[1].1 >= Duration::from_secs(7));

    let mut script = Script::new(&[&[Step::RetryAfter(86_400), Step::Answer("a")]]);
    first_answer(&mut script, LIMITS).await.unwrap();
    assert!(script.asked()[1].1 <= RETRY_AFTER_MAX + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn one_patient_server_does_not_hold_back_the_others() {
    let mut script = Script::new(&[
        &[Step::RetryAfter(30), Step::Answer("a")],
        &[Step::Status(500), Step::Answer("b")],
    ]);
    assert_eq!(first_answer(&mut script, LIMITS).await.unwrap(), (1, "b"));
    assert!(script.start.elapsed() <= Duration::from_secs(1));
    assert_eq!(script.asked().iter().filter(|(server, _)| *server == 0).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_short_deadline_bounds_the_one_attempt_there_is_time_for() {
    let limits = Limits { deadline: Duration::from_millis(300), ..LIMITS };
    let mut script = Script::new(&[&[Step::Hang], &[Step::Answer("b")]]);
    let error = first_answer(&mut script, limits).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "no configuration within 0.3 s; http://a: no answer within 300 ms (attempts: 1); http://b: never tried"
    );
}
