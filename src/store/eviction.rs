//! The limits on kept answers. Beyond a limit, idle answers are forgotten, the longest idle first.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;

use super::build::AnswerBuilder;
use super::labels::LiveLabels;
use super::live_label::LiveLabel;
use crate::model::Query;

/// The limit on kept answers of all labels together.
const ANSWER_COUNT_MAX: usize = 20_000;
/// The default limit on the bytes of all answers.
pub(super) const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;
/// The pause after a background pass. No other background pass starts within it. A new answer makes room by itself.
const PASS_PAUSE: Duration = Duration::from_secs(1);

/// The limits of one store, and the state of its background pass.
pub(super) struct Eviction {
    labels: Arc<LiveLabels>,
    builder: Arc<AnswerBuilder>,
    runtime: Handle,
    answer_bytes_max: usize,
    /// Set from the start of a background pass until [`PASS_PAUSE`] after its end.
    is_passing: AtomicBool,
}

impl Eviction {
    pub(super) fn new(
        labels: &Arc<LiveLabels>,
        builder: &Arc<AnswerBuilder>,
        runtime: &Handle,
        answer_bytes_max: usize,
    ) -> Arc<Self> {
        Arc::new(Self {
            labels: Arc::clone(labels),
            builder: Arc::clone(builder),
            runtime: runtime.clone(),
            answer_bytes_max,
            is_passing: AtomicBool::new(false),
        })
    }

    /// Starts a background pass if all answers together take more bytes than permitted, unless a pass has run within
    /// the pause.
    pub(super) fn check_bytes(self: &Arc<Self>) {
        let is_over = self.builder.ledger.bytes() > self.answer_bytes_max;
        if !is_over || self.is_passing.swap(true, Ordering::Relaxed) {
            return;
        }
        let eviction = Arc::clone(self);
        self.runtime.spawn(async move {
            let pass = Arc::clone(&eviction);
            // A panic of the pass needs no handling, because the next pass tries again.
            let _ = tokio::task::spawn_blocking(move || pass.make_room()).await;
            tokio::time::sleep(PASS_PAUSE).await;
            eviction.is_passing.store(false, Ordering::Relaxed);
        });
    }

    /// Makes room if all labels together keep too many answers, or if all answers take too many bytes. Then a tenth is
    /// forgotten: first the payloads that were remembered for the next request, then the answers with the oldest last
    /// request. It may free nothing, because watchers may hold every answer.
    pub(super) fn make_room(&self) {
        let lives = self.labels.all();
        let mut answer_count: usize = lives.iter().map(|live| live.kept_count()).sum();
        let is_within = |answer_count: usize, tenths: usize| {
            answer_count <= ANSWER_COUNT_MAX / 10 * tenths
                && self.builder.ledger.bytes() <= self.answer_bytes_max / 10 * tenths
        };
        if is_within(answer_count, 10) {
            return;
        }
        self.builder.payloads.forget_recent();
        let idle = lives.iter().flat_map(|live| {
            let answers = live.idle_answers().into_iter();
            answers.map(move |(seconds, query)| (seconds, live, query))
        });
        let mut idle: Vec<(u64, &Arc<LiveLabel>, Query)> = idle.collect();
        idle.sort_by_key(|(seconds, ..)| Reverse(*seconds));
        for (_, live, query) in idle {
            if is_within(answer_count, 9) {
                return;
            }
            answer_count -= usize::from(live.forget(&query));
        }
    }
}
