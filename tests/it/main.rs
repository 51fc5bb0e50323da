//! One test binary for everything that is seen from outside.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests say what they do and stop at the first surprise"
)]

mod attack;
mod differential;
mod fixture;
mod http;
mod oracle;
mod sources;
