//! The schedule of attempts, on a simulated clock.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

struct Clock {
    pace: Pace,
    start: Instant,
    now: Instant,
}

impl Clock {
    fn new(server_count: usize) -> Clock {
        let now = Instant::now();
        Clock { pace: Pace::new(server_count, now), start: now, now }
    }

    /// Advances the clock to the next attempt. Returns its server and the time until then.
    fn next(&mut self) -> (usize, Duration) {
        let (server, at) = self.pace.next(self.now);
        let waited = at - self.now;
        self.now = at;
        (server, waited)
    }

    fn fail(&mut self, server: usize, retry_after: Option<Duration>) {
        self.pace.record_failure(server, retry_after, self.now);
    }
}

#[test]
fn the_next_server_follows_at_once_and_the_next_round_after_a_pause() {
    for _ in 0..100 {
        let mut clock = Clock::new(2);
        assert_eq!(clock.next(), (0, Duration::ZERO));
        clock.fail(0, None);
        assert_eq!(clock.next(), (1, Duration::ZERO));
        clock.fail(1, None);
        let (server, waited) = clock.next();
        assert_eq!(server, 0);
        assert!(waited <= Duration::from_millis(200));
    }
}

#[test]
fn a_server_that_answers_is_kept_even_when_its_next_request_is_delayed() {
    let mut clock = Clock::new(2);
    clock.next();
    clock.fail(0, None);
    for _ in 0..5 {
        let (server, _) = clock.next();
        assert_eq!(server, 1);
        clock.pace.record_stable(clock.now);
        clock.pace.record_answer(1, SECOND, clock.now);
    }
    assert_eq!(clock.next(), (1, SECOND));
}

#[test]
fn after_a_stable_stream_the_next_server_follows_at_once() {
    let mut clock = Clock::new(2);
    clock.next();
    clock.now += 60 * SECOND;
    clock.pace.record_stable(clock.now);
    clock.fail(0, Some(3 * SECOND));
    assert_eq!(clock.next(), (1, Duration::ZERO));
}

#[test]
fn retry_after_of_the_only_server_is_honoured_up_to_a_maximum() {
    let mut clock = Clock::new(1);
    for (asked, granted) in [(3 * SECOND, 3 * SECOND), (86_400 * SECOND, RETRY_AFTER_MAX)] {
        clock.next();
        clock.pace.record_stable(clock.now);
        clock.fail(0, Some(asked));
        let (_, waited) = clock.next();
        assert!(waited >= granted && waited <= granted + SECOND, "{waited:?}");
        clock.pace.record_stable(clock.now);
    }
}

#[test]
fn retry_after_of_one_server_does_not_delay_the_others() {
    let mut clock = Clock::new(2);
    clock.next();
    clock.fail(0, Some(30 * SECOND));
    for _ in 0..3 {
        let (server, waited) = clock.next();
        assert_eq!(server, 1);
        assert!(waited < 2 * SECOND);
        clock.fail(1, None);
    }
}

#[test]
fn in_a_long_outage_each_server_receives_one_attempt_in_half_a_minute() {
    for _ in 0..20 {
        let mut clock = Clock::new(2);
        let mut asked = [Vec::new(), Vec::new()];
        while clock.now - clock.start < 24 * 60 * MINUTE {
            let (server, _) = clock.next();
            asked[server].push(clock.now);
            clock.fail(server, None);
        }
        for times in &asked {
            assert!(times.len() < 24 * 60 * 2, "{} in a day", times.len());
            // Until then the bounds double: 0.2 s, 0.4 s and so on up to 51.2 s.
            let settled = clock.start + 103 * SECOND;
            let late: Vec<_> = times.iter().filter(|time| **time > settled).collect();
            assert!(late.windows(2).all(|pair| *pair[1] - *pair[0] >= OUTAGE_PAUSE_MIN));
            // A server that returns is found within a minute.
            assert!(late.windows(2).all(|pair| *pair[1] - *pair[0] <= PAUSE_MAX));
        }
    }
}

#[test]
fn an_unstable_server_is_found_again_within_seconds() {
    let mut clock = Clock::new(1);
    for _ in 0..20 {
        clock.next();
        clock.fail(0, None);
    }
    for _ in 0..20 {
        clock.next();
        clock.pace.record_contact();
        clock.fail(0, None);
        let start = clock.now;
        clock.next();
        assert!(clock.now - start <= Duration::from_millis(6_400));
        clock.fail(0, None);
    }
}

/// Counts the pauses of many clients that lost their server at the same moment, in tenths of the range.
#[test]
fn the_pauses_of_a_fleet_are_spread_evenly() {
    const FLEET: usize = 10_000;
    for (round, shortest, longest) in [
        (0, Duration::ZERO, Duration::from_millis(200)),
        (4, Duration::ZERO, Duration::from_millis(3_200)),
        (20, OUTAGE_PAUSE_MIN, PAUSE_MAX),
    ] {
        let mut tenths = [0; 10];
        for _ in 0..FLEET {
            let pause = pause(round);
            let part = (pause - shortest).as_secs_f64() / (longest - shortest).as_secs_f64();
            tenths[(part * 10.0) as usize] += 1;
        }
        // The expected count is a tenth. The range is six standard deviations.
        for count in tenths {
            assert!((820..1_180).contains(&count), "round {round}: {tenths:?}");
        }
    }
}

#[test]
fn the_attempts_of_every_minute_are_limited() {
    let mut clock = Clock::new(3);
    let mut asked = Vec::new();
    for _ in 0..500 {
        let (server, _) = clock.next();
        asked.push(clock.now);
        // The stream seems to be stable and ends at once.
        clock.pace.record_stable(clock.now);
        clock.fail(server, None);
    }
    for (first, last) in asked.iter().zip(&asked[ATTEMPT_COUNT_MAX..]) {
        assert!(*last - *first >= MINUTE);
    }
}
