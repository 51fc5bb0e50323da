//! One test binary for everything that is seen from outside.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests say what they do and stop at the first surprise"
)]

mod arrival;
mod attack;
mod bad_input;
mod check;
mod cli;
mod client;
mod clients;
mod deploy;
mod differential;
mod documentation;
mod durability;
mod fixture;
mod fleet;
mod fleet_faults;
mod http;
mod image;
mod mirror;
mod monitor;
mod oracle;
mod push;
mod recipes;
mod reference;
mod replicas;
mod run;
mod secrets;
mod share;
mod shared_push;
mod sources;
mod store;
mod tidy;
mod tls;
mod watch;
