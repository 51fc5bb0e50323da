#![doc = include_str!("../README.md")]
//!
//! # Map
//!
//! In the order in which a start-up passes them: `builder` and `credentials` say what to ask and as whom, `server`
//! spells the URL, `http` (and `tls`) sends it, `fetch` makes one attempt, `retry` decides about the next one, `last_known_good` stands in when there
//! is none, `effective` merges the sources, `tree` nests the keys (`names` says which are the same), `placeholder` and
//! `de` turn them into the caller's types. `client` and [`Configuration`] put them together.
//!
//! `text` asks for a file that is no environment, `resource` for what a server says of itself.
//!
//! `watch` asks on: `sse` reads events, and the rest is in its own folder. `live` makes the service's own type of what
//! it tells, and `instance` is the name under which servers show what became of it.
//!
//! `mock` is a server for tests.
//!
//! Deliberately absent: a cache shared between clients, evaluation of expressions, and decryption.

mod builder;
mod client;
#[cfg(feature = "config")]
mod config;
mod configuration;
mod credentials;
mod de;
mod effective;
mod error;
mod fetch;
#[cfg(feature = "figment")]
mod figment;
mod http;
mod instance;
mod last_known_good;
mod live;
#[cfg(feature = "mock")]
mod mock;
mod names;
mod placeholder;
mod resource;
mod retry;
mod server;
mod sse;
mod text;
#[cfg(feature = "rustls")]
mod tls;
mod tree;
mod watch;

pub use headwater_wire::{Environment, PropertySource};

pub use crate::builder::Builder;
pub use crate::client::Client;
pub use crate::configuration::{Configuration, Property};
pub use crate::error::{DeadlineExceeded, Error, Failure, ServerFailure};
pub use crate::last_known_good::LastKnownGoodProblem;
pub use crate::live::{Live, LiveStart, Rejection};
#[cfg(feature = "mock")]
pub use crate::mock::Mock;
pub use crate::placeholder::PlaceholderProblem;
pub use crate::watch::{Health, Moves, Outcome, State, Update, Watch};
