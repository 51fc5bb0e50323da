//! The HTTP server of a service, and its graceful end.

use std::io;
use std::time::Duration;

use actix_web::rt::signal::unix::{SignalKind, signal};
use actix_web::rt::{spawn, time::sleep};
use actix_web::web::{Data, ServiceConfig, get};
use actix_web::{App, HttpServer};

use crate::health::{Health, show_health};

/// Longer than the gateway keeps an idle connection, so that the service never closes one under a request.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// The time between SIGTERM and the end. The gateway checks every second and stops sending in this time.
const DRAIN: Duration = Duration::from_secs(3);
/// The time limit for requests in progress at the end, in seconds.
const SHUTDOWN_SECONDS_MAX: u64 = 5;

/// Serves until SIGTERM. The service then reports `OUT_OF_SERVICE`, and ends after a while and after the requests in
/// progress.
///
/// # Errors
/// The error of the operating system when the port or the signal handler is not available.
pub async fn serve(
    port: u16,
    health: Health,
    routes: impl Fn(&mut ServiceConfig) + Clone + Send + 'static,
) -> io::Result<()> {
    let health = Data::new(health);
    let shown = health.clone();
    let app = move || {
        let app = App::new().app_data(shown.clone()).route("/health", get().to(show_health));
        app.configure(&routes)
    };
    let server = HttpServer::new(app)
        .workers(2)
        .keep_alive(KEEP_ALIVE)
        .shutdown_timeout(SHUTDOWN_SECONDS_MAX)
        .disable_signals()
        .bind(("127.0.0.1", port))?
        .run();
    let handle = server.handle();
    let mut term = signal(SignalKind::terminate())?;
    spawn(async move {
        term.recv().await;
        tracing::info!("SIGTERM received, the service ends after a while");
        health.start_draining();
        sleep(DRAIN).await;
        handle.stop(true).await;
    });
    server.await
}
