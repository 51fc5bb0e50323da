//! Staged rollouts of a Headwater server, as pure functions.
//!
//! Invariant: nothing here performs I/O, reads a clock or draws a random number. Files, evidence and the time are
//! arguments.

pub mod bucket;
pub mod deal;
pub mod plan;
