//! Tests of the client against servers that misbehave: raw sockets on free ports.

#![expect(clippy::unwrap_used, reason = "a test that unwraps says by its failure what was wrong")]

mod answers;
mod bad_answers;
mod contracts;
mod examples;
mod failover;
mod fixture;
#[cfg(unix)]
mod last_known_good;
mod live;
mod providers;
mod published;
mod secrets;
mod texts;
#[cfg(feature = "rustls")]
mod tls;
mod watch;
