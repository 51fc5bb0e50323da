//! A plan in words, with what its canaries can detect.

use std::fmt;

use crate::plan::{Plan, Reach, Stage};

/// The probability that at least one of `canaries` shows a fault that a share of all instances shows.
pub fn detection(canaries: u64, share: f64) -> f64 {
    1.0 - (1.0 - share.clamp(0.0, 1.0)).powf(canaries as f64)
}

/// The stages of a plan for a number of instances, with their numbers. Stages without a further canary share a line, and so
/// do the values of an attribute, because they are known only when a rollout begins.
pub fn describe(plan: &Plan, instances: u64) -> Vec<String> {
    let mut lines: Vec<StageLine> = Vec::new();
    let mut number = 1;
    if let Some(name) = &plan.by {
        let seconds = plan.by_bake.as_secs();
        let text = format!("the instances of each {name} in turn, watched for {seconds} s each");
        lines.push(StageLine { first: number, last: number, canaries: None, text });
        number += 1;
    }
    let mut at = 0;
    for stage in &plan.stages {
        let canaries = match &stage.reach {
            Reach::Size(size) => Some(size.of(instances).min(instances)),
            Reach::Attribute { .. } | Reach::All => None,
        };
        match lines.last_mut().filter(|own| canaries.is_some() && own.canaries == canaries) {
            Some(same) => same.last = number,
            None => {
                let text = describe_stage(plan, stage, instances, at);
                lines.push(StageLine { first: number, last: number, canaries, text });
            }
        }
        number += 1;
        at += stage.bake.as_secs();
    }
    lines.iter().map(StageLine::to_string).collect()
}

/// One or several stages with the same canaries.
struct StageLine {
    first: usize,
    last: usize,
    canaries: Option<u64>,
    text: String,
}

impl fmt::Display for StageLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last, text, .. } = self;
        match last - first {
            0 => write!(f, "stage {first}: {text}"),
            1 => write!(f, "stages {first} and {last}: {text}"),
            _ => write!(f, "stages {first} to {last}: {text}"),
        }
    }
}

/// Describes a stage that begins after `at` seconds.
fn describe_stage(plan: &Plan, stage: &Stage, instances: u64, at: u64) -> String {
    let bake = stage.bake.as_secs();
    match &stage.reach {
        Reach::Size(size) => {
            let canaries = size.of(instances).min(instances);
            let percent = |share| (detection(canaries, share) * 100.0).round();
            format!(
                "{canaries} of {instances} after {at} s. A fault that 20 % of the instances show \
                 is seen with {} %, one that 5 % show with {} %",
                percent(0.2),
                percent(0.05)
            )
        }
        Reach::Attribute { name, value } => {
            format!("the instances with {name}={value} after {at} s")
        }
        Reach::All if plan.by.is_some() => {
            format!("all {instances} after that, watched for {bake} s")
        }
        Reach::All => format!("all {instances} after {at} s, watched for {bake} s"),
    }
}
