//! One test binary for everything that is seen from outside.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests say what they do and stop at the first surprise"
)]

mod attack;
mod check;
mod cli;
mod clients;
mod differential;
mod durability;
mod fixture;
mod fleet;
mod http;
mod image;
mod oracle;
mod reference;
mod secrets;
mod sources;
mod store;
mod tidy;
mod tls;
mod watch;
