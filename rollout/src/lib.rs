//! Staged rollouts of a Headwater server, as pure functions.
//!
//! Invariant: nothing here performs I/O, reads a clock or draws a random number. Files, evidence and the time are
//! arguments.
//!
//! | caller | uses |
//! | --- | --- |
//! | the store, for each request | [`bucket::choose`] with the [`Hold`](bucket::Hold) of [`state::Branch::hold`] |
//! | a push | [`plan::PlanFile::parse`], [`open::open`], [`State::intending`](state::State::intending), [`words`] |
//! | the keeper of the rollouts | [`step::step`], [`step::progress`], [`evidence::Report`], [`command::command`] |
//! | the start of a server | [`State::parse`](state::State::parse), [`State::settle`](state::State::settle) |

mod fisher;
#[cfg(test)]
mod fixture;
mod name;
mod transition;

pub mod bucket;
pub mod check;
pub mod command;
pub mod deal;
pub mod event;
pub mod evidence;
pub mod open;
pub mod plan;
pub mod state;
pub mod step;
pub mod verdict;
pub mod words;

pub use fisher::p_value;
pub use name::Name;
