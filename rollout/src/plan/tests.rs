//! Tests of plans: the file format and its messages, the choice of a plan, strictness and freezes.

mod choice;
mod order;
mod parsing;

use std::time::Duration;

use super::*;

/// The plan of the documentation.
const EXAMPLE: &str = r#"
[plan.payments]
stages = ["1", "5%", "25%", "all"]
bake = "5m"
checks = ["errors", "latency"]
canaries = { zone = "eu-1" }
unwatched = "last"

[plan.slow]
first = "1%"
factor = 2
bake = "10m"

[plan.zones]
by = "zone"
bake = ["5m", "10m"]

[[rule]]
applications = ["order", "rs-billing*"]
plan = "payments"

[[rule]]
profiles = ["dev", "test"]
plan = "all-at-once"

[limits]
applications = 10
instances = "50%"

[[freeze]]
from = "Fri 16:00"
until = "Mon 08:00"
offset = "+01:00"
because = "weekend"

[[freeze]]
from = 2026-12-20
until = 2027-01-03
"#;

fn parse(text: &str) -> PlanFile {
    PlanFile::parse("rollout.toml", text.as_bytes(), &["errors", "latency"])
        .unwrap_or_else(|error| panic!("{error}"))
}

fn problems(text: &str) -> Vec<String> {
    let error = PlanFile::parse("rollout.toml", text.as_bytes(), &["errors", "latency"])
        .expect_err("the plan is invalid");
    error.problems.iter().map(ToString::to_string).collect()
}

fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}
