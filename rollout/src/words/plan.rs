//! A plan in words, with what its canaries can detect.

use crate::plan::{Plan, Reach};

/// The probability that at least one of `canaries` shows a fault that a share of all instances shows.
pub fn detection(canaries: u64, share: f64) -> f64 {
    1.0 - (1.0 - share.clamp(0.0, 1.0)).powf(canaries as f64)
}

/// The stages of a plan for a number of instances, one line each. The values of an attribute share a line, because they are
/// known only when a rollout begins.
pub fn describe(plan: &Plan, instances: u64) -> Vec<String> {
    let mut at = 0;
    let by = plan.by.as_ref().map(|name| {
        let seconds = plan.by_bake.as_secs();
        format!("the instances of each {name} in turn, watched for {seconds} s each")
    });
    let has_turns = by.is_some();
    let lines = plan.stages.iter().map(|stage| {
        let line = match &stage.reach {
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
            Reach::All if has_turns => {
                format!("all {instances} after that, watched for {} s", stage.bake.as_secs())
            }
            Reach::All => {
                format!("all {instances} after {at} s, watched for {} s", stage.bake.as_secs())
            }
        };
        at += stage.bake.as_secs();
        line
    });
    by.into_iter().chain(lines).collect()
}
