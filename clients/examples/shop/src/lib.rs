//! The shared parts of the services of the shop, which a service with configuration from Headwater needs: waiting for the
//! configuration, a health endpoint that shows its state, a database with rotated credentials, and a graceful end.
//!
//! The services are in `bin/`.

mod configuration;
mod database;
mod health;
mod serving;

pub use configuration::configured;
pub use database::{Database, DatabaseError, Login};
pub use health::Health;
pub use serving::serve;

/// Logs an error and answers the request with 500.
pub fn failed(error: impl std::fmt::Display) -> actix_web::Error {
    tracing::error!(%error, "a request failed");
    actix_web::error::ErrorInternalServerError("internal error")
}

/// Logs to standard error. The client crate logs its connections there too.
pub fn start_logging() {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
}
