//! The retry loop against scripted servers, on a paused clock.

use std::collections::VecDeque;
use std::sync::Mutex;

use super::*;

const LIMITS: Limits =
    Limits { deadline: Duration::from_secs(60), request_timeout: Duration::from_secs(5) };

/// The reaction of a scripted server to an attempt. The last step of a script repeats.
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
    attempts: Mutex<Vec<(usize, Duration)>>,
    start: Instant,
}

impl Script {
    fn new(servers: &[&[Step]]) -> Script {
        let servers =
            servers.iter().map(|steps| Mutex::new(steps.iter().cloned().collect())).collect();
        Script { servers, attempts: Mutex::default(), start: Instant::now() }
    }

    fn attempts(&self) -> Vec<(usize, Duration)> {
        self.attempts.lock().unwrap().clone()
    }
}

impl Servers for Script {
    type Answer = &'static str;

    fn names(&self) -> Vec<&str> {
        ["http://a", "http://b", "http://c"][..self.servers.len()].to_vec()
    }

    async fn prepare(&mut self) -> Result<(), Error> {
        Ok(())
    }

    async fn attempt(&self, server: usize) -> Result<&'static str, Attempt> {
        self.attempts.lock().unwrap().push((server, self.start.elapsed()));
        let step = {
            let mut steps = self.servers[server].lock().unwrap();
            if steps.len() > 1 { steps.pop_front() } else { steps.front().cloned() }
        };
        match step.expect("every server has a step") {
            Step::Answer(answer) => Ok(answer),
            Step::Status(status) => Err(AttemptError::Status(status).into()),
            Step::RetryAfter(seconds) => Err(Attempt::Again {
                failure: AttemptError::Status(429),
                retry_after: Some(Duration::from_secs(seconds)),
            }),
            Step::NotFound => {
                Err(Attempt::Final(Error::Rejected { server: "x".into(), status: 404 }))
            }
            Step::Hang => std::future::pending().await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_server_that_answers_is_used() {
    let mut script = Script::new(&[&[Step::Answer("a")], &[Step::Answer("b")]]);
    assert_eq!(first_answer(&mut script, LIMITS).await.unwrap(), (0, "a"));
    assert_eq!(script.attempts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_next_server_is_tried_at_once() {
    let mut script = Script::new(&[&[Step::Status(500)], &[Step::Answer("b")]]);
    assert_eq!(first_answer(&mut script, LIMITS).await.unwrap(), (1, "b"));
    assert_eq!(script.attempts(), [(0, Duration::ZERO), (1, Duration::ZERO)]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_recovers_is_used() {
    let mut script = Script::new(&[&[Step::Status(500), Step::Status(503), Step::Answer("a")]]);
    assert_eq!(first_answer(&mut script, LIMITS).await.unwrap(), (0, "a"));
    assert!(script.start.elapsed() <= Duration::from_millis(200 + 400 + 10));
}

#[tokio::test(start_paused = true)]
async fn a_final_error_ends_the_attempts() {
    let mut script = Script::new(&[&[Step::NotFound], &[Step::Answer("b")]]);
    assert!(matches!(first_answer(&mut script, LIMITS).await, Err(Error::Rejected { .. })));
    assert_eq!(script.attempts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_error_has_the_last_failure_of_each_server() {
    let mut script = Script::new(&[&[Step::Hang], &[Step::Status(502)]]);
    let error = first_answer(&mut script, LIMITS).await.unwrap_err();
    assert!(script.start.elapsed() <= LIMITS.deadline + Duration::from_millis(10));
    let Error::Deadline(deadline) = &error else { panic!("{error}") };
    // The last attempt gets only the remaining time, so its timeout is not reported.
    assert_eq!(deadline.servers[0].last, Some(AttemptError::Timeout(LIMITS.request_timeout)));
    let text = error.to_string();
    let seconds = (deadline.waited.as_secs_f64() * 100.0).round() / 100.0;
    let expected = format!(
        "no configuration within {seconds} s; http://a: no answer within 5000 ms (attempts: "
    );
    assert!(text.starts_with(&expected), "{text}");
    assert!(text.contains("; http://b: status 502 (attempts: "), "{text}");
}

/// Holds for every kind of failure and every `Retry-After`.
#[tokio::test(start_paused = true)]
async fn the_whole_deadline_is_used_and_the_last_round_tries_every_server() {
    for seconds in [1, 10, 60] {
        let limits = Limits { deadline: Duration::from_secs(seconds), ..LIMITS };
        for steps in [
            &[&[Step::Status(500)][..]][..],
            &[&[Step::RetryAfter(30)]],
            &[&[Step::RetryAfter(7)], &[Step::Status(503)], &[Step::RetryAfter(86_400)]],
        ] {
            let mut script = Script::new(steps);
            let error = first_answer(&mut script, limits).await.unwrap_err();
            let Error::Deadline(deadline) = &error else { panic!("{error}") };
            let least = limits.deadline.mul_f64(0.95);
            assert!((least..=limits.deadline).contains(&deadline.waited), "{error}");
            assert_eq!(deadline.waited, script.start.elapsed());
            for server in 0..steps.len() {
                let attempts = script.attempts();
                let last = attempts.iter().rfind(|(it, _)| *it == server).unwrap();
                assert!(last.1 >= least, "server {server} was tried last after {:?}", last.1);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_are_bounded_and_spread() {
    for _ in 0..50 {
        let mut script = Script::new(&[&[Step::Status(500)]]);
        first_answer(&mut script, LIMITS).await.unwrap_err();
        let attempts = script.attempts();
        assert!((6..60).contains(&attempts.len()), "{} attempts", attempts.len());
        let longest = attempts.windows(2).map(|pair| pair[1].1 - pair[0].1).max();
        assert!(longest <= Some(PAUSE_MAX + Duration::from_millis(2)));
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured_up_to_a_maximum() {
    let mut script = Script::new(&[&[Step::RetryAfter(7), Step::Answer("a")]]);
    first_answer(&mut script, LIMITS).await.unwrap();
    assert!(script.attempts()[1].1 >= Duration::from_secs(7));

    let mut script = Script::new(&[&[Step::RetryAfter(86_400), Step::Answer("a")]]);
    first_answer(&mut script, LIMITS).await.unwrap();
    assert!(script.attempts()[1].1 <= RETRY_AFTER_MAX + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn the_retry_after_of_one_server_does_not_delay_the_others() {
    let mut script = Script::new(&[
        &[Step::RetryAfter(30), Step::Answer("a")],
        &[Step::Status(500), Step::Answer("b")],
    ]);
    assert_eq!(first_answer(&mut script, LIMITS).await.unwrap(), (1, "b"));
    assert!(script.start.elapsed() <= Duration::from_secs(1));
    assert_eq!(script.attempts().iter().filter(|(server, _)| *server == 0).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_short_deadline_limits_the_only_attempt() {
    let limits = Limits { deadline: Duration::from_millis(300), ..LIMITS };
    let mut script = Script::new(&[&[Step::Hang], &[Step::Answer("b")]]);
    let error = first_answer(&mut script, limits).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "no configuration within 0.3 s; http://a: no answer within 300 ms (attempts: 1); http://b: never tried"
    );
}
