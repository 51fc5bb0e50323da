//! A service that others send requests to, and its end, which they do not notice.

use std::io;
use std::time::Duration;

use actix_web::rt::signal::unix::{SignalKind, signal};
use actix_web::rt::{spawn, time::sleep};
use actix_web::web::{Data, ServiceConfig, get};
use actix_web::{App, HttpServer};

use crate::health::{Health, show_health};

/// Longer than the gateway keeps an idle connection, so that it is never closed under a request.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long a service that was told to end goes on, so that the gateway, which looks every second, sends nothing any more.
const LEAVE: Duration = Duration::from_secs(3);
/// For requests under way, in seconds.
const SHUTDOWN_SECONDS_MAX: u64 = 5;

/// Serves until TERM: the health says that the service leaves, and after a while it ends, when what is under way is done.
///
/// # Errors
/// When the system does not let it.
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
        tracing::info!("leaving");
        health.leave();
        sleep(LEAVE).await;
        handle.stop(true).await;
    });
    server.await
}
