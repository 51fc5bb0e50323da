//! The end of a service that others send requests to.

use std::io;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::rt::signal::unix::{SignalKind, signal};
use actix_web::rt::{spawn, time::sleep};
use actix_web::web::Data;

use crate::health::Health;

/// How long a service that was told to end goes on, so that the gateway, which looks every second, sends nothing any more.
const LEAVE: Duration = Duration::from_secs(3);

/// Serves until TERM: the health says that the service leaves, and after a while it ends, when what is under way is done.
///
/// # Errors
/// When the system does not let it.
pub async fn serve(server: Server, health: Data<Health>) -> io::Result<()> {
    let handle = server.handle();
    let mut term = signal(SignalKind::terminate())?;
    spawn(async move {
        term.recv().await;
        tracing::info!("leaving");
        health.leave();
        sleep(LEAVE).await;
        handle.stop(true).await;
    });
    server.await
}
