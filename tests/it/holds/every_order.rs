//! Every short sequence of pushes, rollbacks and promotions, with a server at each of its states.

use std::sync::Arc;

use headwater::model::{LabelPosition, Revision};
use headwater::snapshot::RolloutHold;
use headwater::source::memory::MemorySource;
use headwater::store::{AnswerHandle, Store};

use super::{read, read_as, store, value};
use crate::fixture::held::{in_last_stage, memory, record, rollout, withheld};

/// The number of steps in a sequence.
const STEP_COUNT: usize = 4;
const READERS: [&str; 3] = ["web-1", "web-2", ""];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// A push with another content.
    Push,
    /// A push that does not change the content.
    Other,
    /// The last stage: everyone receives the candidate.
    Widen,
    Withhold,
    /// The end of a rollout: of a good one, or of one that an operator releases.
    Release,
}

const STEPS: [Step; 5] = [Step::Push, Step::Other, Step::Widen, Step::Withhold, Step::Release];

/// A branch after some steps.
struct World {
    source: Arc<MemorySource>,
    tip: Revision,
    v: u64,
    number: u64,
    hold: Option<RolloutHold>,
    is_withheld: bool,
}

impl World {
    fn new() -> Self {
        let source = memory();
        let tip = source.commit("main", &[("cart.yml", Some("v: 0\n"))]);
        Self { source, tip, v: 0, number: 0, hold: None, is_withheld: false }
    }

    /// Takes a step. Returns none if the step is not possible.
    fn step(mut self, step: Step) -> Option<Self> {
        match step {
            Step::Push => {
                self.v += 1;
                self.number += 1;
                let stable = self.hold.as_ref().map_or(&self.tip, |hold| &hold.stable).clone();
                let (number, text) = (self.number, format!("v: {}\n", self.v));
                let mut opened = None;
                let files = [("cart.yml", Some(&*text))];
                self.tip = self.source.commit_held("main", &files, |tip| {
                    let hold = rollout(&["cart"], number, [&stable, tip], &["web-1"]);
                    opened = Some(hold.clone());
                    Some(record(number, [hold]))
                });
                (self.hold, self.is_withheld) = (opened, false);
            }
            Step::Other => {
                let text = self.tip.to_string();
                self.tip = self.source.commit("main", &[("notes.txt", Some(&*text))]);
            }
            Step::Widen | Step::Withhold => {
                let hold = self.hold.as_ref().filter(|_| !self.is_withheld)?;
                self.number += 1;
                self.is_withheld = step == Step::Withhold;
                let hold = match step {
                    Step::Widen => in_last_stage(hold, self.number),
                    _ => withheld(hold, self.number),
                };
                self.source.set_holds("main", record(self.number, [hold.clone()]));
                self.hold = Some(hold);
            }
            Step::Release => {
                self.hold.take()?;
                self.number += 1;
                self.is_withheld = false;
                self.source.set_holds("main", record(self.number, []));
            }
        }
        Some(self)
    }
}

/// Every possible sequence.
fn sequences() -> Vec<Vec<Step>> {
    let mut all = vec![Vec::new()];
    for _ in 0..STEP_COUNT {
        let longer = |before: &Vec<Step>| {
            let before = before.clone();
            STEPS.map(|step| [&before[..], &[step]].concat())
        };
        all = all.iter().flat_map(longer).collect();
    }
    all.retain(|steps| {
        steps.iter().try_fold(World::new(), |world, step| world.step(*step)).is_some()
    });
    all
}

async fn handle(store: &Arc<Store>, reader: &str) -> AnswerHandle {
    match reader {
        "" => read(store, "cart").await,
        name => read_as(store, "cart", name).await,
    }
}

/// What a reader receives, and the position that it shows afterwards.
async fn seen(store: &Arc<Store>, reader: &str) -> (String, LabelPosition) {
    let current = handle(store, reader).await.current();
    (value(&current, "v"), current.position())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_order_of_steps_serves_older_content_after_newer() {
    let sequences = sequences();
    assert!(sequences.len() > 100, "{}", sequences.len());
    let (mut answer_count, mut refusal_count) = (0, 0);
    for steps in &sequences {
        let mut servers = Vec::new();
        for length in 0..=STEP_COUNT {
            let mut world = World::new();
            for step in &steps[..length] {
                world = world.step(*step).unwrap();
            }
            servers.push(store(&world.source));
        }
        for reader in READERS {
            for (seen_at, one) in servers.iter().enumerate() {
                let (content, position) = seen(one, reader).await;
                for (here_at, other) in servers.iter().enumerate() {
                    let mut handle = handle(other, reader).await;
                    let what = || format!("{reader:?} {here_at} after {seen_at} of {steps:?}");
                    if !handle.has_reached(&position).await {
                        assert!(here_at < seen_at, "refused: {}", what());
                        refusal_count += 1;
                        continue;
                    }
                    answer_count += 1;
                    let answered = value(&handle.current(), "v");
                    if here_at <= seen_at {
                        assert_eq!(answered, content, "{}", what());
                    }
                }
            }
        }
    }
    // The test must be able to fail.
    assert!(answer_count > 1_000 && refusal_count > 1_000, "{answer_count} {refusal_count}");
}
