//! What `/health` says: that the service serves, and how its configuration is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::{HttpResponse, rt, web};
use headwater_client::{Live, State};
use serde::Serialize;

/// Looks at the configuration of a service when it is asked.
pub struct Health(Box<dyn Fn() -> Report + Send + Sync>);

#[derive(Serialize)]
struct Report {
    status: &'static str,
    configuration: Configuration,
}

#[derive(Serialize)]
struct Configuration {
    /// `live`: a server says that it is the newest; `stale`: none does, for now; `disconnected`: none ever did.
    state: &'static str,
    /// Of what the service runs with.
    revision: Option<String>,
    /// Changes that were taken since the start.
    change_count: u64,
    /// Why the newest is not taken, if it is not.
    rejection: Option<String>,
}

impl Health {
    /// Watches a configuration, to count its changes. Call it in the runtime of the service.
    pub fn of<T: Send + Sync + 'static>(live: &Live<T>) -> Health {
        let (live, mut changing) = (live.clone(), live.clone());
        let count = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&count);
        rt::spawn(async move {
            while changing.changed().await.is_some() {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
        Health(Box::new(move || report(&live, count.load(Ordering::Relaxed))))
    }
}

fn report<T>(live: &Live<T>, change_count: u64) -> Report {
    let state = match live.health().state() {
        State::Live => "live",
        State::Stale { .. } => "stale",
        _ => "disconnected",
    };
    let configuration = Configuration {
        state,
        revision: live.configuration().revision().map(str::to_owned),
        change_count,
        rejection: live.rejection().map(|rejection| rejection.error.to_string()),
    };
    // Neither a stale configuration nor a rejected one is a reason to take the service away: it works with what it had.
    Report { status: "UP", configuration }
}

/// Answers `GET /health`.
pub async fn show_health(health: web::Data<Health>) -> HttpResponse {
    HttpResponse::Ok().json((health.0)())
}
