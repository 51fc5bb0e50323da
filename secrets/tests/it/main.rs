//! The tests of opening and sealing through the public functions of the crate.

#![expect(clippy::unwrap_used, reason = "a test that unwraps says by its failure what was wrong")]

mod debug;
mod keystores;
mod malformed;
mod sealed;
mod sops;
mod spring;
mod vectors;
