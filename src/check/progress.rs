//! Reports how far a check is to the program that asked for it.

use std::fmt;
use std::sync::Arc;

/// The two stages of a check, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Files are parsed.
    Files,
    /// Environments are resolved and judged.
    Environments,
}

/// Receives the stage, the number of items that are done and their total. The default ignores them.
#[derive(Clone, Default)]
pub struct CheckProgress(Option<Arc<Callback>>);

type Callback = dyn Fn(Stage, usize, usize) + Send + Sync;

impl CheckProgress {
    /// Calls a function with each report.
    pub fn new(report: impl Fn(Stage, usize, usize) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(report)))
    }

    pub(super) fn report(&self, stage: Stage, done: usize, total: usize) {
        if let Some(report) = &self.0 {
            report(stage, done, total);
        }
    }
}

impl fmt::Debug for CheckProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}
