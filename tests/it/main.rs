//! One test binary for everything that is seen from outside.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests say what they do and stop at the first surprise"
)]

mod access;
mod arrival;
mod attack;
mod audit;
mod bad_input;
mod check;
mod cli;
mod client;
mod clients;
mod compare;
mod conduct;
mod contracts;
mod deploy;
mod differential;
mod documentation;
mod durability;
mod faults;
mod fixture;
mod fleet;
mod fleet_faults;
mod fleet_history;
mod fuzz;
mod holds;
mod http;
mod image;
mod mirror;
mod monitor;
mod oracle;
mod public;
mod push;
mod recipes;
mod reference;
mod replicas;
mod rollout_checks;
mod rollouts;
mod run;
mod secrets;
mod share;
mod shared_push;
mod signals;
mod sources;
mod store;
mod telemetry;
mod tidy;
mod tls;
mod watch;
