#![doc = include_str!("../README.md")]
//!
//! # Map
//!
//! The modules in the order in which a start of a service uses them:
//!
//! 1. `builder` and `credentials` hold the settings. `server` builds the URLs.
//! 2. `http` and `tls` send a request within the `limits`. `fetch` makes one attempt. `retry` repeats attempts until the deadline.
//! 3. `last_known_good` is the copy on disk for a start without a server.
//! 4. `effective` merges the sources, and `tree` nests the keys. `names` has the grammar of keys.
//! 5. `placeholder` resolves placeholders, and `de` deserializes the caller's types. `contract` records the keys that they read.
//!
//! `client` and [`Configuration`] combine them. `text` reads text files, `resource` reads the resources of a server about
//! itself, and `exchange` returns a response unchanged.
//!
//! `watch` receives changes, and `sse` decodes its event streams. `live` keeps the service's own type up to date.
//! `instance` is the identity under which servers list this instance. `mock` is a server for tests.
//!
//! Deliberately absent: a cache shared between clients, evaluation of expressions, and decryption.

#![warn(missing_docs)]

mod builder;
mod client;
#[cfg(feature = "config")]
mod config;
mod configuration;
mod contract;
mod credentials;
mod de;
mod effective;
mod error;
mod exchange;
mod fetch;
#[cfg(feature = "figment")]
mod figment;
mod http;
mod instance;
mod last_known_good;
mod limits;
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

pub use headwater_wire::{Environment, InstanceHealth, Outcome, PropertySource};

pub use crate::builder::Builder;
pub use crate::client::Client;
pub use crate::configuration::{Configuration, Property};
pub use crate::error::{
    AttemptError, DeadlineError, Error, InvalidKey, LastKnownGoodError, PlaceholderError,
    ServerAttempts,
};
pub use crate::exchange::RawResponse;
pub use crate::live::{Live, LiveStart, Rejection};
#[cfg(feature = "mock")]
pub use crate::mock::Mock;
pub use crate::watch::{ChangeHints, Health, HealthState, Reporter, Trial, Trials, Update, Watch};
