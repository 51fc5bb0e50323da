//! Durations of the server's work, for `/metrics`, and traces of pushes and sampled reads.
//!
//! Both belong to the process, because a process is one server. Recording takes no lock. Nothing of the hot path is
//! recorded: its answers take microseconds, and a measurement would cost a part of them.

mod histogram;
pub mod otlp;
mod process;
pub mod trace;

use std::time::{Duration, Instant};

pub use histogram::{Histogram, HistogramFigures};
pub use process::ProcessFigures;

use trace::{Span, SpanContext};

/// A kind of read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadKind {
    Environment,
    Flat,
    File,
}

/// The end of a push that the hook has asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushOutcome {
    Accepted,
    Rejected,
    /// The push was a dry run that would have been accepted.
    DryRun,
    /// The server does not know whether the push will be published.
    Unknown,
}

/// A part of a push. `docs/monitoring.md` describes each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushStage {
    Receive,
    Wait,
    Sync,
    Check,
    Replicate,
    Publish,
}

/// The outcome of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    Ok,
    Error,
}

/// The use of a `git` process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GitUse {
    /// A push, a clone, a listing or maintenance of a hosted repository.
    Hosted,
    /// A listing or a fetch of a mirrored remote, and the care of its copy.
    Mirror,
}

impl ReadKind {
    const NAMES: [&'static str; 3] = ["environment", "flat", "file"];

    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

impl PushOutcome {
    const NAMES: [&'static str; 4] = ["accepted", "rejected", "dry_run", "unknown"];

    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

impl PushStage {
    const NAMES: [&'static str; 6] = ["receive", "wait", "sync", "check", "replicate", "publish"];

    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

impl CallOutcome {
    const NAMES: [&'static str; 2] = ["ok", "error"];
}

impl GitUse {
    const NAMES: [&'static str; 2] = ["hosted", "mirror"];
}

static READS: [Histogram; 3] = [const { Histogram::new() }; 3];
static PUSHES: [Histogram; 4] = [const { Histogram::new() }; 4];
static PUSH_STAGES: [Histogram; 6] = [const { Histogram::new() }; 6];
static PUBLICATIONS: [Histogram; 1] = [const { Histogram::new() }; 1];
static EVENT_DELAYS: [Histogram; 1] = [const { Histogram::new() }; 1];
static ROLLOUT_PUBLICATIONS: [Histogram; 1] = [const { Histogram::new() }; 1];
static ETCD_CALLS: [Histogram; 2] = [const { Histogram::new() }; 2];
static GIT_PROCESSES: [Histogram; 2] = [const { Histogram::new() }; 2];

/// Histograms of one name.
pub struct Family {
    /// The name in `/metrics`, without the prefix.
    pub name: &'static str,
    pub help: &'static str,
    /// The name of the one label, and its values in the order of the histograms. Empty for a family without a label.
    pub label: &'static str,
    pub values: &'static [&'static str],
    pub histograms: &'static [Histogram],
}

/// All families, in the order of the documentation.
pub static FAMILIES: [Family; 8] = [
    Family {
        name: "read_seconds",
        help: "Time to answer a read that left the hot path, without waits for a change, by route",
        label: "route",
        values: &ReadKind::NAMES,
        histograms: &READS,
    },
    Family {
        name: "push_seconds",
        help: "Time from the first byte of a push to its report, by outcome",
        label: "outcome",
        values: &PushOutcome::NAMES,
        histograms: &PUSHES,
    },
    Family {
        name: "push_stage_seconds",
        help: "Time of the stages of a push",
        label: "stage",
        values: &PushStage::NAMES,
        histograms: &PUSH_STAGES,
    },
    Family {
        name: "publication_seconds",
        help: "Time to move a label to another revision, with all answers that the move affects",
        label: "",
        values: &[""],
        histograms: &PUBLICATIONS,
    },
    Family {
        name: "event_delay_seconds",
        help: "Time from a publication until a worker has written the event to all its watchers of an environment",
        label: "",
        values: &[""],
        histograms: &EVENT_DELAYS,
    },
    Family {
        name: "rollout_publication_seconds",
        help: "Time from the verdict about a rollout, or a command for it, until it is published to the instances",
        label: "",
        values: &[""],
        histograms: &ROLLOUT_PUBLICATIONS,
    },
    Family {
        name: "etcd_call_seconds",
        help: "Time of calls to etcd, by outcome",
        label: "outcome",
        values: &CallOutcome::NAMES,
        histograms: &ETCD_CALLS,
    },
    Family {
        name: "git_process_seconds",
        help: "Time from the start of a git process to its end, by use",
        label: "use",
        values: &GitUse::NAMES,
        histograms: &GIT_PROCESSES,
    },
];

pub fn record_read(kind: ReadKind, duration: Duration) {
    READS[kind as usize].record(duration);
}

fn record_push(outcome: PushOutcome, duration: Duration) {
    PUSHES[outcome as usize].record(duration);
}

pub fn record_publication(duration: Duration) {
    PUBLICATIONS[0].record(duration);
}

pub fn record_event_delay(duration: Duration) {
    EVENT_DELAYS[0].record(duration);
}

pub fn record_rollout_publication(duration: Duration) {
    ROLLOUT_PUBLICATIONS[0].record(duration);
}

pub fn record_etcd_call(duration: Duration, is_ok: bool) {
    let outcome = if is_ok { CallOutcome::Ok } else { CallOutcome::Error };
    ETCD_CALLS[outcome as usize].record(duration);
}

/// Measures the time of a `git` process until it is dropped.
#[derive(Debug)]
pub struct GitTimer {
    used_for: GitUse,
    begun: Instant,
}

impl GitTimer {
    pub fn start(used_for: GitUse) -> Self {
        Self { used_for, begun: Instant::now() }
    }
}

impl Drop for GitTimer {
    fn drop(&mut self) {
        GIT_PROCESSES[self.used_for as usize].record(self.begun.elapsed());
    }
}

/// A push under way: its duration and its trace.
pub struct PushTimer {
    begun: Instant,
    span: Span,
}

impl PushTimer {
    /// Begins with the first byte of a push to a repository of the settings.
    pub fn start(repository: &str) -> Self {
        let mut span = Span::root("push");
        span.set("repository", repository);
        Self { begun: Instant::now(), span }
    }

    /// The span of the push, for its stages.
    pub fn context(&self) -> Option<SpanContext> {
        self.span.context()
    }

    pub fn end(mut self, outcome: PushOutcome) {
        record_push(outcome, self.begun.elapsed());
        self.span.set("outcome", outcome.name());
        if outcome == PushOutcome::Unknown {
            self.span.mark_failed();
        }
    }
}

/// A stage of a push, which ends when this is dropped.
pub struct StageTimer {
    stage: PushStage,
    begun: Instant,
    _span: Span,
}

impl StageTimer {
    /// Begins a stage of the push with this span.
    pub fn start(push: Option<SpanContext>, stage: PushStage) -> Self {
        Self { stage, begun: Instant::now(), _span: Span::part_of(push, stage.name()) }
    }
}

impl Drop for StageTimer {
    fn drop(&mut self) {
        PUSH_STAGES[self.stage as usize].record(self.begun.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_histogram_of_a_family_has_a_value_of_its_label() {
        for family in &FAMILIES {
            assert_eq!(family.values.len(), family.histograms.len(), "{}", family.name);
        }
        assert_eq!(PushStage::Publish.name(), "publish");
        assert_eq!(PushOutcome::Unknown.name(), "unknown");
        assert_eq!(ReadKind::NAMES[ReadKind::File as usize], "file");
        assert_eq!(CallOutcome::NAMES[CallOutcome::Error as usize], "error");
        assert_eq!(GitUse::NAMES[GitUse::Mirror as usize], "mirror");
    }
}
