//! What the services of the shop have in common, and what a service that reads its configuration from Headwater needs:
//! to wait for it, to show in its health how it is, a database that it names, and an end that nobody notices.
//!
//! The services themselves are in `bin/`.

mod configuration;
mod database;
mod health;
mod serving;

pub use configuration::configured;
pub use database::{Database, DatabaseError};
pub use health::Health;
pub use serving::serve;

/// Errors are answered with 500, and logged here.
pub fn failed(error: impl std::fmt::Display) -> actix_web::Error {
    tracing::error!(%error, "a request failed");
    actix_web::error::ErrorInternalServerError("it is our fault")
}

/// Says on standard error what happens; the client crate says there when servers come and go.
pub fn start_logging() {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
}
