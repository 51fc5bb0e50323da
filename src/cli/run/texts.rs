//! When the texts of the server are worth asking for again: no configuration tells that they have changed.

use std::time::Duration;

use headwater_client::{ChangeHints, Client, Health, HealthState};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};

/// The least time between two hints that are followed: a busy repository moves all the time.
const HINT_PAUSE: Duration = Duration::from_secs(1);

/// Hints that something has moved at the server, and a clock for where none come.
pub(super) struct ServerTexts {
    moves: ChangeHints,
    /// When the next hint may be followed.
    not_before: Instant,
    ticks: Interval,
    health: Health,
}

impl ServerTexts {
    pub(super) fn follow(client: &Client, health: Health, refresh: Duration) -> Self {
        let now = Instant::now();
        let mut ticks = interval_at(now + refresh, refresh);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { moves: client.change_hints(), not_before: now, ticks, health }
    }

    /// Waits until it is worth asking. Nothing is lost if the future is dropped.
    pub(super) async fn changed(&mut self) {
        loop {
            let hint = async {
                sleep_until(self.not_before).await;
                self.moves.next().await;
            };
            tokio::select! {
                () = hint => {
                    self.not_before = Instant::now() + HINT_PAUSE;
                    return;
                }
                // In an outage, texts are requested no more often than the watch connects.
                _ = self.ticks.tick() => if self.health.state() == HealthState::Live {
                    return;
                },
            }
        }
    }
}
